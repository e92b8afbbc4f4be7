//! `oxpost account through`: who signs in for an account that is there already.

use std::time::SystemTime;

use oxpost_token_store::{Account, Grant, Mailbox, Store, StoreError, pattern};

use super::known;
use crate::cli::Failed;

pub(super) async fn set(store: &Store, mailbox: &Mailbox, through: &Mailbox, create: bool) -> Result<(), Failed> {
    let before = known(store, mailbox).await?;
    if before.token_of() == through {
        println!("That is so already: {} signs in for {mailbox}.", before.token_of());
        return Ok(());
    }
    // Before the person it is to go through is added for nothing.
    pattern::check(mailbox, Some(through), before.grant, &before.login)?;
    let needed = store.dependents(mailbox).await?;
    if through != mailbox && !needed.is_empty() {
        return Err(StoreError::HasDependents(mailbox.clone(), needed).into());
    }
    let had_signed_in = store.token_state(before.token_of()).await?.has_refresh_token;
    if through != mailbox && store.account(through).await?.is_none() {
        if !create {
            return Err(Failed::new(format!(
                "there is no account {through}. `oxpost account list` shows those there are; to add it as the delegate of {mailbox}, run: \
                 oxpost account through {mailbox} {through} --create"
            )));
        }
        // Nobody goes through a person in whose place an application signs in.
        let grant = if before.grant == Grant::Password { Grant::Password } else { Grant::SignIn };
        let person = Account::new(through.clone(), &*before.application, grant, SystemTime::now());
        store.add_account(&person).await?;
        println!("{}", added(&person));
    }
    store.set_delegate(mailbox, through).await?;
    if through == mailbox {
        println!("{mailbox} has a sign-in of its own from now on.");
    } else {
        println!("{mailbox} is opened through {through} from now on.");
        if before.delegate.is_none() && had_signed_in {
            println!("Its own sign-in is kept until a login with that of {through} has succeeded.");
        }
        if through.is_pattern() {
            println!("The application must be allowed to open {mailbox} at Exchange.");
        } else {
            println!("{through} needs Full Access to {mailbox}, and Send As to send as {mailbox} by SMTP.");
        }
    }
    let after = known(store, mailbox).await?;
    if after.grant == Grant::Password {
        println!("Mail programs use the password of {through} at Microsoft 365, and no other.");
    } else if store.passwords(mailbox).await?.is_empty() {
        println!("It has no password for mail programs; `oxpost account password add {mailbox}` makes one.");
    }
    if after.grant != Grant::ClientCredentials && !store.token_state(through).await?.has_refresh_token {
        println!("\nNext: oxpost sign-in {through}");
    }
    Ok(())
}

/// What is said of a person who was added because others go through them.
pub(super) fn added(person: &Account) -> String {
    let who = &person.mailbox;
    match person.grant {
        Grant::Password => format!("Added {who}, who signs in for it with every login of a mail program."),
        _ => format!(
            "Added {who}, who signs in for it and has no password here: no mail program can open their own mailbox."
        ),
    }
}
