//! `oxpost account apply` and `declare`: accounts declared in `proxy.toml`.

use std::collections::HashSet;
use std::time::SystemTime;

use oxpost_token_store::{Grant, Mailbox, Origin, Store};

use super::known;
use crate::admin::reconcile::{place, reconcile};
use crate::cli::Failed;
use crate::config::Config;

/// Refuses to change an account that proxy.toml declares: the next start would revert it.
pub(super) fn not_declared(config: &Config, mailbox: &Mailbox) -> Result<(), Failed> {
    match place(config, mailbox) {
        Some(place) => Err(Failed::new(format!(
            "{mailbox} is declared in {place}. Change it there, then run `oxpost account apply`, or restart Oxpost."
        ))),
        None => Ok(()),
    }
}

/// `oxpost account apply`, and what it changed.
pub(super) async fn apply(store: &Store, config: &Config, hand_over: &[Mailbox]) -> Result<(), Failed> {
    let changes = reconcile(config, store, hand_over, SystemTime::now()).await?;
    for (mailboxes, what) in [
        (&changes.added, "Added, as declared:"),
        (&changes.changed, "Changed, as declared:"),
        (&changes.disabled, "Disabled, because proxy.toml no longer declares it (its sign-in is kept):"),
    ] {
        for mailbox in mailboxes {
            println!("{what} {mailbox}");
        }
    }
    if changes.is_empty() {
        println!("The accounts already match proxy.toml.");
    }
    for mailbox in &changes.added {
        let account = known(store, mailbox).await?;
        let holder = account.token_of();
        if account.grant == Grant::SignIn && !store.token_state(holder).await?.has_refresh_token {
            println!("\nNext: oxpost sign-in {holder}");
        }
    }
    Ok(())
}

/// `oxpost account declare`
pub(super) async fn declare(store: &Store, config: &Config, mailboxes: &[Mailbox]) -> Result<(), Failed> {
    let declared: HashSet<&Mailbox> = config.accounts.iter().map(|account| &account.declared.mailbox).collect();
    if let Some(mailbox) = mailboxes.iter().find(|mailbox| !declared.contains(mailbox)) {
        return Err(Failed::new(format!(
            "{} has no [[account]] section for {mailbox}; write it first, with the same grant and application.",
            config.file.display()
        )));
    }
    apply(store, config, mailboxes).await
}

/// Applies proxy.toml if it declares this account and the store does not have it yet.
pub(in crate::cli) async fn apply_if_new(store: &Store, config: &Config, mailbox: &Mailbox) -> Result<(), Failed> {
    let there = store.account(mailbox).await?.is_some_and(|account| account.origin != Origin::Disabled);
    if there || place(config, mailbox).is_none() { Ok(()) } else { apply(store, config, &[]).await }
}
