//! `oxpost account delegate`: changes whose sign-in opens an account.

use std::time::SystemTime;

use oxpost_token_store::{Account, Grant, Mailbox, Store, StoreError, pattern};

use super::known;
use crate::cli::Failed;

pub(super) async fn set(store: &Store, mailbox: &Mailbox, delegate: &Mailbox, create: bool) -> Result<(), Failed> {
    let before = known(store, mailbox).await?;
    if before.token_of() == delegate {
        println!("Nothing to change: {} already signs in for {mailbox}.", before.token_of());
        return Ok(());
    }
    // Before an account is added for the delegate.
    pattern::check(mailbox, Some(delegate), before.grant, &before.login)?;
    let needed = store.dependents(mailbox).await?;
    if delegate != mailbox && !needed.is_empty() {
        return Err(StoreError::HasDependents(mailbox.clone(), needed).into());
    }
    let had_signed_in = store.token_state(before.token_of()).await?.has_refresh_token;
    if delegate != mailbox && store.account(delegate).await?.is_none() {
        if !create {
            return Err(Failed::new(format!(
                "there is no account {delegate}. `oxpost account list` shows the accounts; to add it as the delegate of {mailbox}, run: \
                 oxpost account delegate {mailbox} {delegate} --create"
            )));
        }
        // An app-only account has no user who could be a delegate.
        let grant = if before.grant == Grant::Password { Grant::Password } else { Grant::SignIn };
        let person = Account::new(delegate.clone(), &*before.application, grant, SystemTime::now());
        store.add_account(&person).await?;
        println!("{}", added(&person));
    }
    store.set_delegate(mailbox, delegate).await?;
    if delegate == mailbox {
        println!("{mailbox} now uses a sign-in of its own.");
    } else {
        println!("{delegate} is now the delegate of {mailbox}.");
        if before.delegate.is_none() && had_signed_in {
            println!("Its own sign-in is kept until a login with that of {delegate} has succeeded.");
        }
        if delegate.is_pattern() {
            println!("The application must be allowed to open {mailbox} at Exchange.");
        } else {
            println!("{delegate} needs Full Access to {mailbox}, and Send As to send as {mailbox} by SMTP.");
        }
    }
    let after = known(store, mailbox).await?;
    if after.grant == Grant::Password {
        println!("Mail programs log in with the Microsoft 365 password of {delegate} only.");
    } else if store.passwords(mailbox).await?.is_empty() {
        println!("It has no password for mail programs. Create one: oxpost account password add {mailbox}");
    }
    if after.grant != Grant::ClientCredentials && !store.token_state(delegate).await?.has_refresh_token {
        println!("\nNext: oxpost sign-in {delegate}");
    }
    Ok(())
}

/// The message about an account that was added for a delegate.
pub(super) fn added(person: &Account) -> String {
    let who = &person.mailbox;
    match person.grant {
        Grant::Password => format!("Added {who}, the delegate, whose password each login of a mail program sends."),
        _ => format!(
            "Added {who}, the delegate, for the sign-in only: it has no password, so no mail program can open {who} itself."
        ),
    }
}
