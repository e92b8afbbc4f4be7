//! From the user name of a login to the account that it opens, and to the passwords that open it.
//!
//! A mail program sends a login name, a mailbox, or Exchange's old way of naming a shared mailbox: `owner\shared`,
//! `owner/shared`, `DOMAIN/owner/shared`, each name in full or up to its `@`. A mailbox without an account may be opened by the
//! pattern of its domain. The last name is always the mailbox that opens. Its own passwords open it, and those of the owner if
//! the owner is its delegate; in this form an owner's password opens nothing else.

use crate::{
    account::{Account, Mailbox, Origin},
    store::{PasswordRow, Store, StoreError},
};

type Found = (Account, Vec<PasswordRow>);

/// Finds the account of a user name, with every password that opens it under this name.
pub(super) async fn find(store: &Store, user: &str) -> Result<Option<Found>, StoreError> {
    // A login name may have a backslash in it.
    if let Some(found) = store.account_that_opens(user).await? {
        return Ok(in_use(found));
    }
    let Some((owner, shared)) = owner_and_shared(user) else { return Ok(None) };
    let owner = Owner { name: owner, account: store.account_that_opens(owner).await? };
    let found = match store.account_that_opens(shared).await? {
        Some(found) => Some(found),
        None => by_alias(store, &owner, shared).await?,
    };
    let Some((account, mut passwords)) = found.and_then(in_use) else { return Ok(None) };
    if let Some(delegate) = account.delegate.as_ref().filter(|delegate| owner.is(delegate))
        && let Some((_, theirs)) = store.account_that_opens(delegate.as_str()).await?.and_then(in_use)
    {
        passwords.extend(theirs);
    }
    Ok(Some((account, passwords)))
}

/// `alice\info`: the only mailbox of this alias that has this owner as its delegate. None if there are two.
async fn by_alias(store: &Store, owner: &Owner<'_>, shared: &str) -> Result<Option<Found>, StoreError> {
    let named = store.shared_by_alias(shared).await?;
    let mut named = named.into_iter().filter(|(_, delegate)| owner.is(delegate));
    match (named.next(), named.next()) {
        (Some((mailbox, _)), None) => store.account_that_opens(mailbox.as_str()).await,
        _ => Ok(None),
    }
}

/// The name before the shared mailbox, and its account if the name is complete.
struct Owner<'a> {
    name: &'a str,
    account: Option<Found>,
}

impl Owner<'_> {
    /// Whether this mailbox is the owner. A complete name takes precedence over an alias.
    fn is(&self, mailbox: &Mailbox) -> bool {
        match &self.account {
            Some((account, _)) => account.mailbox == *mailbox,
            None => mailbox.name().eq_ignore_ascii_case(self.name.trim()),
        }
    }
}

/// A disabled account does not open.
fn in_use(found: Found) -> Option<Found> {
    (found.0.origin != Origin::Disabled).then_some(found)
}

/// Splits off the last two names. A name before them is that of a Windows domain.
fn owner_and_shared(user: &str) -> Option<(&str, &str)> {
    let (before, shared) = user.rsplit_once(SEPARATORS)?;
    let owner = before.rsplit_once(SEPARATORS).map_or(before, |(_, owner)| owner);
    Some((owner, shared))
}

const SEPARATORS: [char; 2] = ['\\', '/'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_is_the_mailbox_and_the_one_before_it_the_owner() {
        for user in ["alice@x\\info@x", "alice@x/info@x", "CONTOSO\\alice@x\\info@x", "CONTOSO/alice@x/info@x"] {
            assert_eq!(owner_and_shared(user), Some(("alice@x", "info@x")), "{user}");
        }
        assert_eq!(owner_and_shared("CONTOSO\\scanner7"), Some(("CONTOSO", "scanner7")));
        assert_eq!(owner_and_shared("alice@x\\"), Some(("alice@x", "")));
        assert_eq!(owner_and_shared("\\info@x"), Some(("", "info@x")));
        assert_eq!(owner_and_shared("info@x"), None);
    }
}
