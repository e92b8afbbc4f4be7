//! `oxpost account remove`: it asks nothing, and says what is gone.

use oxpost_token_store::{Mailbox, Store};

use super::known;
use crate::cli::Failed;

pub(super) async fn remove(store: &Store, mailbox: &Mailbox) -> Result<(), Failed> {
    // Not only accounts that can be read: to remove it is the remedy for one that cannot.
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
        Some(through) => println!("  it was opened through {through}, whose sign-in stays"),
        None if removed.signed_in => println!("  with its sign-in; to have it again, somebody must sign in again"),
        None => println!("  nobody had signed in for it"),
    }
    println!("Sessions that run now go on until they end.");
    if let Some(through) = &removed.delegate
        && store.passwords(through).await?.is_empty()
        && store.dependents(through).await?.is_empty()
    {
        println!(
            "\nNothing needs the sign-in of {through} any more. To remove that too: oxpost account remove {through}"
        );
    }
    Ok(())
}
