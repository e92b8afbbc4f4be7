//! The address of a mailbox.

use std::{fmt, str::FromStr};

use oxpost_protocol::sasl::USER_LIMIT;

/// The longest mail address (RFC 5321, 4.5.3.1: 64 octets of local part, `@`, 255 octets of domain).
const ADDRESS_LIMIT: usize = 64 + 1 + 255;

/// Two addresses and what separates them, `owner\shared`, are the longest user name that the dialogues accept.
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

    /// What precedes its `@`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailbox_in_any_case_is_one_account() {
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
}
