//! Who may sign in for an account: the mailbox itself, or the one it goes through.

use super::SignInError;
use crate::{
    account::{Account, Mailbox},
    application::Application,
};

/// The person whose sign-in an account takes. Tokens of anybody else are thrown away unseen: single sign-on likes to choose
/// the person who happens to be logged in at the computer.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    mailbox: Mailbox,
    person: Mailbox,
    /// Whether the authority can say who signed in (OpenID Connect).
    asks: bool,
}

impl Expected {
    pub(super) fn of(account: &Account, application: &Application) -> Self {
        Self { mailbox: account.mailbox.clone(), person: account.token_of().clone(), asks: application.openid }
    }

    /// Whom the sign-in page should propose.
    pub(super) fn hint(&self) -> &str {
        self.person.as_str()
    }

    /// Whether the person who signed in is that one.
    pub(super) fn check(&self, signed_in_as: Option<&str>) -> Result<(), SignInError> {
        let (mailbox, expected) = (self.mailbox.clone(), self.person.clone());
        match signed_in_as {
            _ if !self.asks => Ok(()),
            None => Err(SignInError::NobodyNamed { mailbox: mailbox.to_string() }),
            Some(who) if who == expected.as_str() => Ok(()),
            Some(who) => Err(SignInError::WrongPerson { mailbox, expected, signed_in_as: who.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mailbox_or_the_one_it_goes_through_may_and_nobody_else() {
        let mailbox = |address| Mailbox::parse(address).unwrap();
        let info = mailbox("Info@contoso.com");
        let mut expected = Expected { mailbox: info.clone(), person: info, asks: true };
        expected.check(Some("info@contoso.com")).unwrap();
        let said = expected.check(Some("bob@contoso.com")).unwrap_err().to_string();
        for part in [
            "made as bob@contoso.com, but this account is info@contoso.com",
            "nothing was stored",
            "`oxpost account through info@contoso.com bob@contoso.com --create`",
        ] {
            assert!(said.contains(part), "{said}");
        }
        expected.person = mailbox("alice@contoso.com");
        assert_eq!(expected.hint(), "alice@contoso.com");
        expected.check(Some("alice@contoso.com")).unwrap();
        let said = expected.check(Some("info@contoso.com")).unwrap_err().to_string();
        assert!(said.contains("info@contoso.com is opened through alice@contoso.com"), "{said}");
        assert!(said.contains("choose alice@contoso.com"), "{said}");
        let said = expected.check(None).unwrap_err().to_string();
        assert!(said.contains("openid = false"), "{said}");
        expected.asks = false;
        expected.check(None).unwrap();
    }
}
