//! Who may sign in for an account: the mailbox itself, or somebody declared for it.

use super::SignInError;
use crate::{
    account::{Account, Mailbox},
    application::Application,
    store::{Store, StoreError},
};

/// The people whose sign-in an account takes. Tokens of anybody else are thrown away unseen: single sign-on likes to
/// choose the person who happens to be logged in at the computer.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    mailbox: Mailbox,
    delegates: Vec<String>,
    /// Whether the authority can say who signed in (OpenID Connect).
    asks: bool,
}

impl Expected {
    pub(super) async fn of(store: &Store, account: &Account, application: &Application) -> Result<Self, StoreError> {
        let declared = store.delegates(&account.mailbox).await?.into_iter().map(|delegate| delegate.to_string());
        let delegates = account.smtp_user.iter().map(|user| user.to_lowercase()).chain(declared).collect();
        Ok(Self { mailbox: account.mailbox.clone(), delegates, asks: application.openid })
    }

    /// Whom the sign-in page should propose: nobody can sign in as a shared mailbox.
    pub(super) fn hint(&self) -> &str {
        self.delegates.first().map_or(self.mailbox.as_str(), String::as_str)
    }

    /// Whether the person who signed in is one of them.
    pub(super) fn check(&self, signed_in_as: Option<&str>) -> Result<(), SignInError> {
        let mailbox = self.mailbox.to_string();
        match signed_in_as {
            _ if !self.asks => Ok(()),
            None => Err(SignInError::NobodyNamed { mailbox }),
            Some(who) if who == mailbox || self.delegates.iter().any(|delegate| delegate == who) => Ok(()),
            Some(who) => Err(SignInError::WrongPerson { mailbox, signed_in_as: who.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mailbox_and_its_delegates_may_and_nobody_else() {
        let mut expected = Expected {
            mailbox: Mailbox::parse("Info@contoso.com").unwrap(),
            delegates: vec!["alice@contoso.com".into()],
            asks: true,
        };
        assert_eq!(expected.hint(), "alice@contoso.com");
        expected.check(Some("info@contoso.com")).unwrap();
        expected.check(Some("alice@contoso.com")).unwrap();
        let said = expected.check(Some("bob@contoso.com")).unwrap_err().to_string();
        for part in [
            "bob@contoso.com",
            "info@contoso.com",
            "nothing was stored",
            "`oxpost account delegate info@contoso.com bob@contoso.com`",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let said = expected.check(None).unwrap_err().to_string();
        assert!(said.contains("openid = false"), "{said}");
        expected.asks = false;
        expected.check(None).unwrap();
    }
}
