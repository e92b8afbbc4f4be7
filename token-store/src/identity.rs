//! Who a sign-in belongs to: the object that the authority never changes, and its name, which it may. Pure.
//!
//! The name that mail servers know a user by (the UPN) can be renamed in Microsoft Entra. The account keeps the address under which
//! it was added, in the store and for mail programs; the name that is sent to the mail server follows, as long as tenant and object
//! id are those of the sign-in.

use oxpost_protocol::Secret;
use serde::{Deserialize, Serialize};

use crate::account::Mailbox;

/// A user, as the authority tells with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The id of the tenant (`tid`).
    pub tenant: String,
    /// The id of the user in it (`oid`).
    pub object_id: String,
    /// The present name (`preferred_username`, or `upn`), in lower case.
    pub name: String,
    /// Whether an id token has told it, rather than the access token.
    pub from_id_token: bool,
}

impl Identity {
    fn is_same_user(&self, other: &Self) -> bool {
        (&self.tenant, &self.object_id) == (&other.tenant, &other.object_id)
    }
}

/// What is stored of a sign-in's user, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownIdentity {
    pub(crate) user: Identity,
    /// The sign-in was made as the mailbox of the account itself, so that its name is the mailbox's name. It is not where a token
    /// of another user opens the mailbox.
    pub(crate) is_mailbox: bool,
}

/// A change of a user's identity that an administrator should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It has another name from now on.
    Renamed { from: String, to: String },
    /// The token belongs to another user than the sign-in; nothing is changed.
    AnotherUser { told: String },
    /// The sign-in was made by an earlier version, and its user has another name than the account by now. Whether it is the same user
    /// cannot be known; nothing is changed.
    NeverKnown { told: String },
}

impl KnownIdentity {
    /// The name that mail servers know the account by; none if that is the account's address.
    pub(crate) fn sign_in_name(&self) -> Option<Mailbox> {
        if self.is_mailbox { Mailbox::parse(&self.user.name).ok() } else { None }
    }

    /// The account's user signed in, under this name if it was written down. Where the answer does not tell the user, the known one
    /// is kept, unless the name is another one: it may have been given to another user since.
    pub(crate) fn of_sign_in(
        told: Option<&Identity>,
        known: Option<&Self>,
        mailbox: &Mailbox,
        signed_in_as: Option<&str>,
    ) -> Option<Self> {
        let Some(user) = told.cloned() else {
            return known.filter(|known| signed_in_as.is_none_or(|name| name == known.user.name)).cloned();
        };
        let is_mailbox = user.name == mailbox.as_str() || known.is_some_and(|known| known.is_mailbox_of(&user));
        Some(Self { user, is_mailbox })
    }

    /// Whether the user is the one whose mailbox the account is, whatever their name is now.
    pub(crate) fn is_mailbox_of(&self, user: &Identity) -> bool {
        self.is_mailbox && self.user.is_same_user(user)
    }

    /// A refresh token of this account has brought tokens. Gives back what is to be stored now, and what is to be said of it.
    /// `signed_in_as` is who had signed in, as far as it was written down.
    pub(crate) fn of_refresh(
        told: Option<&Identity>,
        known: Option<&Self>,
        mailbox: &Mailbox,
        signed_in_as: Option<&str>,
    ) -> (Option<Self>, Option<News>) {
        let Some(told) = told else { return (known.cloned(), None) };
        let Some(known) = known else {
            let is_mailbox = told.name == mailbox.as_str();
            let was_mailbox = signed_in_as == Some(mailbox.as_str());
            let news = (was_mailbox && !is_mailbox).then(|| News::NeverKnown { told: told.name.clone() });
            return (Some(Self { user: told.clone(), is_mailbox }), news);
        };
        if !known.user.is_same_user(told) {
            return (Some(known.clone()), Some(News::AnotherUser { told: told.name.clone() }));
        }
        let renamed = News::Renamed { from: known.user.name.clone(), to: told.name.clone() };
        let news = (known.is_mailbox && known.user.name != told.name).then_some(renamed);
        // An id token may be left out of an answer; that one was given says that it may be asked for.
        let user = Identity { from_id_token: told.from_id_token || known.user.from_id_token, ..told.clone() };
        (Some(Self { user, is_mailbox: known.is_mailbox }), news)
    }

    pub(crate) fn to_json(&self) -> Option<Secret> {
        serde_json::to_vec(self).ok().map(Secret::new)
    }

    pub(crate) fn from_json(text: &Secret) -> Option<Self> {
        serde_json::from_slice(text.reveal()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ann@contoso.com";
    const ANNA: &str = "anna@contoso.com";

    fn user(object_id: &str, name: &str) -> Identity {
        Identity { tenant: "t".into(), object_id: object_id.into(), name: name.into(), from_id_token: true }
    }

    fn known(object_id: &str, name: &str, is_mailbox: bool) -> KnownIdentity {
        KnownIdentity { user: user(object_id, name), is_mailbox }
    }

    fn refreshed(
        told: &Identity,
        before: Option<&KnownIdentity>,
        signed_in_as: Option<&str>,
    ) -> (KnownIdentity, Option<News>) {
        let mailbox = Mailbox::parse(ANN).unwrap();
        let (after, news) = KnownIdentity::of_refresh(Some(told), before, &mailbox, signed_in_as);
        (after.unwrap(), news)
    }

    #[test]
    fn renamed_user_is_followed_and_named_once() {
        let before = known("1", ANN, true);
        assert_eq!(before.sign_in_name().unwrap().as_str(), ANN);
        let (after, news) = refreshed(&user("1", ANNA), Some(&before), Some(ANN));
        assert_eq!(news, Some(News::Renamed { from: ANN.into(), to: ANNA.into() }));
        assert_eq!(after.sign_in_name().unwrap().as_str(), ANNA);
        assert_eq!(refreshed(&user("1", ANNA), Some(&after), Some(ANNA)), (after.clone(), None));
        // And back.
        let (after, news) = refreshed(&user("1", ANN), Some(&after), Some(ANNA));
        assert_eq!((after.sign_in_name().unwrap().as_str(), news.is_some()), (ANN, true));
    }

    #[test]
    fn another_object_or_tenant_changes_nothing_and_is_said() {
        let before = known("1", ANN, true);
        let mut elsewhere = user("1", ANNA);
        elsewhere.tenant = "another".into();
        for told in [user("2", ANNA), elsewhere] {
            let (after, news) = refreshed(&told, Some(&before), Some(ANN));
            assert_eq!((after, news), (before.clone(), Some(News::AnotherUser { told: ANNA.into() })));
        }
    }

    #[test]
    fn user_who_is_not_the_mailbox_is_never_its_name() {
        // A refresh token of Bob's, taken over from another program, opens Ann's mailbox.
        let bob = user("2", "bob@contoso.com");
        let (after, news) = refreshed(&bob, None, None);
        assert_eq!((after.sign_in_name(), news), (None, None));
        let (after, news) = refreshed(&user("2", "robert@contoso.com"), Some(&after), None);
        assert_eq!((after.sign_in_name(), news), (None, None));
        // Signed in before the object id was kept, and renamed before it was first seen.
        let (after, news) = refreshed(&user("1", ANNA), None, Some(ANN));
        assert_eq!((after.sign_in_name(), news), (None, Some(News::NeverKnown { told: ANNA.into() })));
        assert_eq!(refreshed(&user("1", ANNA), Some(&after), Some(ANN)).1, None, "said once");
    }

    #[test]
    fn first_refresh_of_an_older_sign_in_learns_who_it_is() {
        let (after, news) = refreshed(&user("1", ANN), None, Some(ANN));
        assert_eq!((after, news), (known("1", ANN, true), None));
        let mailbox = Mailbox::parse(ANN).unwrap();
        let nothing = KnownIdentity::of_refresh(None, Some(&known("1", ANNA, true)), &mailbox, Some(ANN));
        assert_eq!(nothing, (Some(known("1", ANNA, true)), None), "an answer without a name is no rename");
    }

    #[test]
    fn sign_in_under_the_new_name_is_that_of_the_same_mailbox() {
        let mailbox = Mailbox::parse(ANN).unwrap();
        let before = known("1", ANNA, true);
        let of = |told: &Identity, known| KnownIdentity::of_sign_in(Some(told), known, &mailbox, None).unwrap();
        assert!(of(&user("1", ANNA), Some(&before)).is_mailbox);
        assert!(!of(&user("2", ANNA), Some(&before)).is_mailbox && !of(&user("1", ANNA), None).is_mailbox);
        assert!(of(&user("2", ANN), Some(&before)).is_mailbox, "any user who has the account's address now");
        let untold = |name| KnownIdentity::of_sign_in(None, Some(&before), &mailbox, name);
        assert_eq!((untold(None), untold(Some(ANNA))), (Some(before.clone()), Some(before.clone())));
        assert_eq!(untold(Some(ANN)), None, "another user may have this name by now");
    }
}
