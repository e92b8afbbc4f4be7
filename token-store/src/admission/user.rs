//! From the user name of a login to the account that it opens, and to the passwords that open it.
//!
//! A mail program sends a login name, a mailbox, or Exchange's old way of naming a shared mailbox: `owner\shared`,
//! `owner/shared`, `DOMAIN/owner/shared`. A mailbox without an account may be opened by the pattern of its domain. The mailbox
//! that opens is always the last one. Its own passwords open it, and those
//! of the owner where it goes through them; an owner's password opens nothing else in this way.

use crate::{
    account::{Account, Origin},
    store::{PasswordRow, Store, StoreError},
};

/// Finds the account of a user name, with every password that opens it under this name.
pub(super) async fn find(store: &Store, user: &str) -> Result<Option<(Account, Vec<PasswordRow>)>, StoreError> {
    // A login name may have a backslash in it.
    if let Some(found) = store.account_that_opens(user).await? {
        return Ok(in_use(found));
    }
    let Some((owner, shared)) = owner_and_shared(user) else { return Ok(None) };
    let Some((account, mut passwords)) = store.account_that_opens(shared).await?.and_then(in_use) else {
        return Ok(None);
    };
    if account.through.is_some()
        && let Some((owner, theirs)) = store.account_that_opens(owner).await?.and_then(in_use)
        && account.through.as_ref() == Some(&owner.mailbox)
    {
        passwords.extend(theirs);
    }
    Ok(Some((account, passwords)))
}

/// An account that proxy.toml declares no more is nobody's.
fn in_use(found: (Account, Vec<PasswordRow>)) -> Option<(Account, Vec<PasswordRow>)> {
    (found.0.origin != Origin::Withdrawn).then_some(found)
}

/// Takes the last two names apart. What stands before them is the name of a Windows domain.
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
