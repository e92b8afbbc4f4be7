//! Accounts: a mailbox, the application that gets its tokens, and the name that mail clients log in with.

use std::{fmt, str::FromStr, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};

pub use crate::mailbox::Mailbox;
#[cfg(test)]
pub(crate) use crate::mailbox::comparisons;
use crate::sender_policy::SenderPolicy;

/// How many local passwords an account may have: a wrong password costs one argon2 for each of them.
pub(crate) const PASSWORDS_LIMIT: usize = 8;

/// Mailboxes for a sentence.
pub(crate) fn list(mailboxes: &[Mailbox]) -> String {
    mailboxes.iter().map(Mailbox::as_str).collect::<Vec<_>>().join(", ")
}

/// How the tokens of an account are obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Delegated: a person signs in once, in a browser or with a device code as they choose then, and a refresh token
    /// carries on (RFC 6749, 6).
    SignIn,
    /// App-only: the application asks in its own name (RFC 6749, 4.4). No person and no refresh token are involved.
    ClientCredentials,
    /// Delegated: Microsoft verifies the password that the mail client sends (RFC 6749, 4.3), and a refresh token carries on.
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
     verifies the mail program's password)"
)]
pub struct BadGrant;

/// Who says that an account is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A command: `oxpost account add`.
    Command,
    /// The configuration, where it is changed too.
    Declared,
    /// No longer in the configuration: no login is possible, and its sign-in and passwords are kept.
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
    /// The delegate: the account whose tokens open this one, such as the user who signs in for a shared mailbox. One account may
    /// be the delegate of many; a delegate has no delegate itself.
    pub delegate: Option<Mailbox>,
    /// The name of the application that gets the tokens.
    pub application: String,
    /// How the tokens are obtained.
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

    /// The mailbox whose tokens open this one: that of the delegate, or its own.
    pub fn token_of(&self) -> &Mailbox {
        self.delegate.as_ref().unwrap_or(&self.mailbox)
    }

    /// The user that token requests for this account name. None: the application asks for itself (client-credentials).
    pub(crate) fn user_in_requests(&self) -> Option<&str> {
        (self.grant != Grant::ClientCredentials).then(|| self.token_of().as_str())
    }

    /// The account that the tokens belong to: the delegate, or itself.
    pub(crate) fn token_account(&self) -> Self {
        Self { mailbox: self.token_of().clone(), delegate: None, ..self.clone() }
    }

    /// Whether SMTP logs in as another user: with a delegated token Exchange knows a shared mailbox only as its delegate, which
    /// has another address.
    pub fn sends_as_another(&self) -> bool {
        self.sender() != &self.mailbox
    }

    /// The SASL user of SMTP; that of IMAP and POP3 is the mailbox. Over SMTP Exchange accepts a delegated token from its own
    /// user only, who then sends on behalf of the shared mailbox. An application has no user, and sends as the mailbox.
    pub fn sender(&self) -> &Mailbox {
        match self.grant {
            Grant::SignIn | Grant::Password => self.token_of(),
            Grant::ClientCredentials => &self.mailbox,
        }
    }
}

/// An account that a client has logged in to. Only this opens a token: the module `admission` makes it after it has verified a
/// password, or where an administrator has configured that no password is needed.
#[derive(Clone, Debug)]
pub struct Admitted {
    account: Arc<Account>,
    credential: Option<Arc<str>>,
}

impl Admitted {
    /// The account was authenticated.
    pub(crate) fn authenticated(account: Account) -> Self {
        Self { account: Arc::new(account), credential: None }
    }

    /// The same, with the local password of this name.
    pub(crate) fn with_credential(self, name: &str) -> Self {
        Self { credential: Some(name.into()), ..self }
    }

    /// The name of the local password with which the client logged in, if it was one. It is nothing secret.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
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
