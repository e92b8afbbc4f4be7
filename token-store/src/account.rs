//! Accounts: a mailbox, the application that gets its tokens, and the name that mail clients log in with.

use std::{fmt, str::FromStr, time::SystemTime};

use oxpost_protocol::sasl::USER_LIMIT;
use serde::{Deserialize, Serialize};

use crate::sender_policy::SenderPolicy;

/// The longest mail address (RFC 5321, 4.5.3.1: 64 octets of local part, `@`, 255 octets of domain).
const ADDRESS_LIMIT: usize = 64 + 1 + 255;

/// Two addresses and what stands between them, `owner\shared`, are the longest user name that the dialogues take.
const _: () = assert!(USER_LIMIT == 2 * ADDRESS_LIMIT + 1);

/// The address of a mailbox, in lower case, so that two spellings of it are one account.
#[cfg_attr(not(test), derive(PartialEq))]
#[cfg_attr(test, expect(clippy::derived_hash_with_manual_eq, reason = "the same, and counted"))]
#[derive(Clone, Debug, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox(String);

#[cfg(test)]
thread_local! {
    static COMPARISONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many addresses this thread has compared, so that a test can tell a look-up from a scan.
#[cfg(test)]
pub(crate) fn comparisons() -> usize {
    COMPARISONS.get()
}

#[cfg(test)]
impl PartialEq for Mailbox {
    fn eq(&self, other: &Self) -> bool {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0 == other.0
    }
}

impl Mailbox {
    /// Reads an address; blanks around it are ignored.
    pub fn parse(address: &str) -> Result<Self, BadMailbox> {
        let address = address.trim();
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '<' | '>' | '"' | '/' | '\\' | ',');
        let whole = match address.rsplit_once('@') {
            Some((local, domain)) => !local.is_empty() && !domain.is_empty() && !local.contains('@'),
            None => false,
        };
        if whole && address.len() <= ADDRESS_LIMIT && address.chars().all(plain) {
            Ok(Self(address.to_lowercase()))
        } else {
            Err(BadMailbox(address.chars().filter(|c| !c.is_control()).take(80).collect()))
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before its `@`.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(name, _)| name)
    }

    /// Its domain.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl AsRef<str> for Mailbox {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Mailbox {
    type Err = BadMailbox;

    fn from_str(address: &str) -> Result<Self, BadMailbox> {
        Self::parse(address)
    }
}

/// The text is no mail address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mail address; write it like name@contoso.com")]
pub struct BadMailbox(String);

/// How the tokens of an account are got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Delegated: a person signs in once, in a browser or with a device code as they choose then, and a refresh token
    /// carries on (RFC 6749, 6).
    SignIn,
    /// App-only: the application asks in its own name (RFC 6749, 4.4). No person and no refresh token are involved.
    ClientCredentials,
    /// Delegated: Microsoft judges the password that the mail client sends (RFC 6749, 4.3), and a refresh token carries on.
    Password,
}

impl Grant {
    /// The name used in the configuration, on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::ClientCredentials => "client-credentials",
            Self::Password => "password",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Grant {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        [Self::SignIn, Self::ClientCredentials, Self::Password]
            .into_iter()
            .find(|grant| grant.as_str() == text)
            .ok_or(BadGrant)
    }
}

/// The text names no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a grant is sign-in (a person signs in once), client-credentials (the application signs in itself) or password (Microsoft \
     judges the mail program's password)"
)]
pub struct BadGrant;

/// Who says that an account is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A command: `oxpost account add`.
    Command,
    /// The configuration, where it is changed too.
    Declared,
    /// The configuration has said so once, and says so no more: nobody can log in, and nothing is lost.
    Disabled,
}

impl Origin {
    /// The name used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Declared => "declared",
            Self::Disabled => "withdrawn",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Command, Self::Declared, Self::Disabled].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// One mailbox that mail clients may use through us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The mailbox at Microsoft; the SASL user of IMAP and POP3.
    pub mailbox: Mailbox,
    /// The account whose tokens open this one, where it is not the account itself: a shared mailbox goes through the person
    /// who signs in for it. Many may go through one, and none of them goes through a third.
    pub delegate: Option<Mailbox>,
    /// The name of the application that gets the tokens.
    pub application: String,
    /// How the tokens are got.
    pub grant: Grant,
    /// The name mail clients log in with, in lower case; most often the mailbox itself.
    pub login: String,
    /// Who it may send as.
    pub senders: SenderPolicy,
    /// Who says that it is there.
    pub origin: Origin,
    /// When the account was added.
    pub created: SystemTime,
}

impl Account {
    /// An account that logs in with the address of its mailbox.
    pub fn new(mailbox: Mailbox, application: impl Into<String>, grant: Grant, created: SystemTime) -> Self {
        let login = mailbox.as_str().to_owned();
        let origin = Origin::Command;
        let senders = SenderPolicy::default();
        Self { mailbox, delegate: None, application: application.into(), grant, login, senders, origin, created }
    }

    /// The mailbox under which the tokens are kept that open this one.
    pub fn token_of(&self) -> &Mailbox {
        self.delegate.as_ref().unwrap_or(&self.mailbox)
    }

    /// The account that the tokens belong to: the one it goes through, or itself.
    pub(crate) fn token_account(&self) -> Self {
        Self { mailbox: self.token_of().clone(), delegate: None, ..self.clone() }
    }

    /// Whether the mail server would let it send as somebody else: by SMTP a shared mailbox is opened as the person it goes
    /// through, and its password is not theirs.
    pub fn sends_as_another(&self) -> bool {
        self.sender() != &self.mailbox
    }

    /// The SASL user of SMTP; that of IMAP and POP3 is the mailbox. Exchange takes a person's token by SMTP from that person
    /// alone, who then sends in the name of the shared mailbox. An application is nobody, and sends as the mailbox.
    pub fn sender(&self) -> &Mailbox {
        match self.grant {
            Grant::SignIn | Grant::Password => self.token_of(),
            Grant::ClientCredentials => &self.mailbox,
        }
    }
}

/// What may be shown of a local password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPasswordInfo {
    /// The name it was given, such as the device that uses it.
    pub name: String,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// When it was made.
    pub created: SystemTime,
    /// When it last opened a session, to the minute.
    pub last_used: Option<SystemTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_one_account_in_any_spelling() {
        assert_eq!(Mailbox::parse(" Scan@Contoso.COM "), Mailbox::parse("scan@contoso.com"));
        for bad in [
            "",
            "scan",
            "@contoso.com",
            "scan@",
            "a@b@c",
            "a b@c",
            "a\r\n@c",
            "<a@b>",
            &format!("{}@c", "a".repeat(330)),
        ] {
            assert!(Mailbox::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn origins_read_back_what_they_print() {
        for origin in [Origin::Command, Origin::Declared, Origin::Disabled] {
            assert_eq!(Origin::parse(origin.as_str()), Some(origin));
        }
        assert_eq!(Origin::parse("magic"), None);
    }

    #[test]
    fn grants_read_back_what_they_print() {
        for grant in [Grant::SignIn, Grant::ClientCredentials, Grant::Password] {
            assert_eq!(grant.to_string().parse(), Ok(grant));
        }
        assert_eq!("magic".parse::<Grant>(), Err(BadGrant));
    }
}
