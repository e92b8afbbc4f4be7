//! Who may sign in for an account: the mailbox's own user, or the delegate.

use super::SignInError;
use crate::{
    account::{Account, Mailbox},
    application::Application,
    identity::{Identity, KnownIdentity},
    store::{Store, StoreError},
};

/// The user whose sign-in an account accepts. Tokens of other users are discarded unread: single sign-on tends to choose
/// the user who is logged in at the computer.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    mailbox: Mailbox,
    person: Mailbox,
    /// Whether the authority can say who signed in (OpenID Connect).
    asks: bool,
    /// The person as the last sign-in and what came after it have told: by another name, if they were renamed.
    known: Option<KnownIdentity>,
}

impl Expected {
    pub(super) async fn of(store: &Store, account: &Account, application: &Application) -> Result<Self, StoreError> {
        let (mailbox, person) = (account.mailbox.clone(), account.token_of().clone());
        let known = match store.tokens(&person).await {
            Ok(stored) => stored.identity,
            // Whatever the sign-in brings cannot be stored, which is said then.
            Err(StoreError::NoSuchAccount(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { mailbox, person, asks: application.openid, known })
    }

    /// The user name that the sign-in page should propose.
    pub(super) fn hint(&self) -> &str {
        let known = self.known.as_ref().filter(|known| known.is_mailbox);
        known.map_or(self.person.as_str(), |known| known.user.name.as_str())
    }

    /// Whether the person who signed in is that one.
    pub(super) fn check(&self, signed_in_as: Option<&str>, user: Option<&Identity>) -> Result<(), SignInError> {
        match signed_in_as {
            _ if !self.asks => Ok(()),
            None => Err(SignInError::NobodyNamed { mailbox: self.mailbox.to_string() }),
            Some(who) if who == self.person.as_str() => Ok(()),
            Some(_) if user.is_some_and(|user| self.known.as_ref().is_some_and(|known| known.is_mailbox_of(user))) => {
                Ok(())
            }
            Some(who) => Err(SignInError::WrongPerson {
                mailbox: self.mailbox.clone(),
                account: self.person.clone(),
                expected: self.hint().to_owned(),
                signed_in_as: who.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_user_or_the_delegate_may_sign_in() {
        let mailbox = |address| Mailbox::parse(address).unwrap();
        let info = mailbox("Info@contoso.com");
        let mut expected = Expected { mailbox: info.clone(), person: info, asks: true, known: None };
        expected.check(Some("info@contoso.com"), None).unwrap();
        let said = expected.check(Some("bob@contoso.com"), None).unwrap_err().to_string();
        for part in [
            "made as bob@contoso.com, but this account is info@contoso.com",
            "nothing was stored",
            "`oxpost account delegate info@contoso.com bob@contoso.com --create`",
        ] {
            assert!(said.contains(part), "{said}");
        }
        expected.person = mailbox("alice@contoso.com");
        assert_eq!(expected.hint(), "alice@contoso.com");
        expected.check(Some("alice@contoso.com"), None).unwrap();
        let said = expected.check(Some("info@contoso.com"), None).unwrap_err().to_string();
        assert!(said.contains("info@contoso.com is opened through alice@contoso.com"), "{said}");
        assert!(said.contains("choose alice@contoso.com"), "{said}");
        let said = expected.check(None, None).unwrap_err().to_string();
        assert!(said.contains("openid = false"), "{said}");
        expected.asks = false;
        expected.check(None, None).unwrap();
    }

    #[test]
    fn renamed_person_signs_in_under_the_new_name() {
        let ann = Mailbox::parse("ann@contoso.com").unwrap();
        let user = |object_id: &str, name: &str| Identity {
            tenant: "t".into(),
            object_id: object_id.into(),
            name: name.into(),
            from_id_token: true,
        };
        let anna = user("1", "anna@contoso.com");
        let known = Some(KnownIdentity { user: anna.clone(), is_mailbox: true });
        let expected = Expected { mailbox: ann.clone(), person: ann, asks: true, known };
        assert_eq!(expected.hint(), "anna@contoso.com");
        expected.check(Some("anna@contoso.com"), Some(&anna)).unwrap();
        expected.check(Some("anna@contoso.com"), Some(&user("2", "anna@contoso.com"))).unwrap_err();
        expected.check(Some("anna@contoso.com"), None).unwrap_err();
        let long = format!("{}@contoso.com", "b".repeat(80));
        for who in ["bob@contoso.com", &long] {
            let said = expected.check(Some(who), Some(&user("2", who))).unwrap_err().to_string();
            for part in [
                &format!("made as {who}, but"),
                "this account is ann@contoso.com, whose user name is anna@contoso.com now,",
                "choose anna@contoso.com on",
                &format!("`oxpost account delegate ann@contoso.com {who} --create`"),
            ] {
                assert!(said.contains(part), "{said}");
            }
        }
        let said = expected.check(Some(&"x".repeat(80)), None).unwrap_err().to_string();
        assert!(said.contains("made as [redacted], but"), "no name is that long without a domain: {said}");
    }
}
