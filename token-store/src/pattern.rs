//! One account for all mailboxes of a domain: `*@contoso.com`.
//!
//! Only an application that asks in its own name can have one: its token depends on no mailbox, so that one token, refreshed
//! once, opens all those it was given at Exchange. A mailbox of the domain that has an account of its own is opened by that
//! one alone.

use crate::account::{Account, Grant, Mailbox};

/// The local part of a pattern.
const ANY: &str = "*";

/// Why an account cannot stand for a whole domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// A person's token opens what the person may open.
    #[error(
        "{0} is a pattern for every mailbox of its domain, and the token of a user (grant {1}) opens that user's mailboxes \
         only; a pattern needs the grant client-credentials"
    )]
    Person(Mailbox, Grant),
    /// The same, with a delegate.
    #[error(
        "{0} is a pattern for every mailbox of its domain and cannot have a delegate; it needs the grant client-credentials and \
         an application of its own"
    )]
    Delegate(Mailbox),
    /// A login name says which mailbox is meant.
    #[error(
        "{0} is a pattern for every mailbox of its domain, and mail programs log in with the address of the mailbox; remove \
         `login`"
    )]
    Login(Mailbox),
    /// The domain is invalid.
    #[error("`{0}` is not a pattern of a domain; write it like *@contoso.com")]
    Domain(Mailbox),
}

impl Mailbox {
    /// Whether this is no mailbox, but stands for all of a domain.
    pub fn is_pattern(&self) -> bool {
        self.as_str().rsplit_once('@').is_some_and(|(local, _)| local == ANY)
    }

    /// What stands for all of its domain. Nothing for `bob+scan@contoso.com`, which Exchange takes for another name of
    /// `bob@contoso.com`, whose own password it must not go around, and for `smtp:bob@contoso.com`, which is him too.
    pub fn pattern(&self) -> Option<Self> {
        if self.name().contains(['+', ':']) {
            return None;
        }
        Self::parse(&format!("{ANY}@{}", self.domain())).ok()
    }
}

/// Whether an account that stands for a whole domain can; any other one can.
pub fn check(mailbox: &Mailbox, delegate: Option<&Mailbox>, grant: Grant, login: &str) -> Result<(), BadPattern> {
    if !mailbox.is_pattern() {
        return Ok(());
    }
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.');
    if !mailbox.domain().chars().all(plain) {
        return Err(BadPattern::Domain(mailbox.clone()));
    }
    if delegate.is_some() {
        return Err(BadPattern::Delegate(mailbox.clone()));
    }
    if grant != Grant::ClientCredentials {
        return Err(BadPattern::Person(mailbox.clone(), grant));
    }
    if login != mailbox.as_str() {
        return Err(BadPattern::Login(mailbox.clone()));
    }
    Ok(())
}

/// The account of one mailbox that the pattern of its domain opens: it goes through the pattern.
pub(crate) fn opened(pattern: &Account, mailbox: Mailbox) -> Account {
    Account { login: mailbox.to_string(), delegate: Some(pattern.mailbox.clone()), mailbox, ..pattern.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    #[test]
    fn pattern_is_for_applications_and_names_no_mailbox() {
        let all = mailbox("*@Contoso.com");
        assert!(all.is_pattern() && !mailbox("a*@contoso.com").is_pattern());
        assert_eq!(mailbox("bob@contoso.com").pattern(), Some(all.clone()));
        for alias in ["bob+scan@contoso.com", "smtp:bob@contoso.com"] {
            assert_eq!(mailbox(alias).pattern(), None, "{alias}");
        }
        let app = Grant::ClientCredentials;
        assert_eq!(check(&all, None, app, "*@contoso.com"), Ok(()));
        assert_eq!(check(&mailbox("bob@contoso.com"), Some(&all), Grant::SignIn, "scanner"), Ok(()));
        for grant in [Grant::SignIn, Grant::Password] {
            assert_eq!(check(&all, None, grant, "*@contoso.com"), Err(BadPattern::Person(all.clone(), grant)));
        }
        assert_eq!(check(&all, Some(&mailbox("a@b")), app, "*@contoso.com"), Err(BadPattern::Delegate(all.clone())));
        assert_eq!(check(&all, None, app, "scanner"), Err(BadPattern::Login(all.clone())));
        assert!(matches!(check(&mailbox("*@*"), None, app, "*@*"), Err(BadPattern::Domain(_))));
    }
}
