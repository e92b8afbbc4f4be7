//! `oxpost account remove`: asks nothing, and prints what was removed.

use oxpost_token_store::{Mailbox, Store};

use super::known;
use crate::cli::Failed;

pub(super) async fn remove(store: &Store, mailbox: &Mailbox) -> Result<(), Failed> {
    // Includes accounts that cannot be read: removing one is the remedy.
    let Some(removed) = store.remove_account(mailbox).await? else {
        return known(store, mailbox).await.map(drop);
    };
    println!("Removed the account {mailbox}:");
    match removed.passwords.as_slice() {
        [] => println!("  it had no password"),
        [one] => println!("  with its password `{one}`"),
        many => println!("  with its {} passwords: {}", many.len(), many.join(", ")),
    }
    match &removed.delegate {
        Some(delegate) => println!("  its delegate {delegate} keeps its sign-in"),
        None if removed.signed_in => println!("  with its sign-in"),
        None => println!("  it was not signed in"),
    }
    println!("Open sessions continue until they end.");
    if let Some(delegate) = &removed.delegate
        && store.passwords(delegate).await?.is_empty()
        && store.dependents(delegate).await?.is_empty()
    {
        println!(
            "\nNo account uses the sign-in of {delegate} any more. To remove it too: oxpost account remove {delegate}"
        );
    }
    Ok(())
}
