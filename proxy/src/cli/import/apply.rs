//! What was said is done, account by account, so that one that fails keeps none of the others back.

use std::time::SystemTime;

use oxpost_protocol::Secret;
use oxpost_protocol::sasl::PASSWORD_LIMIT;
use oxpost_token_store::{Account, Grant, PasswordHash, Store};

use super::passwords::Opened;
use super::{Step, Work};
use crate::admin::import;
use crate::cli::Failed;
use crate::cli::account::{DEFAULT_NAME, new_password};

/// A kept password with fewer bytes is reported as short.
const SHORT: usize = 12;

pub(super) async fn apply(work: &Work, opened: &[Opened], store: &Store) -> Result<(), Failed> {
    secrets(work, opened, store).await?;
    let width = work.plan.accounts.iter().map(|account| account.mailbox.as_str().len()).max().unwrap_or_default();
    let mut first = true;
    for ((account, step), opened) in work.plan.accounts.iter().zip(&work.steps).zip(opened) {
        if !matches!(step, Step::Add | Step::SignIn) {
            continue;
        }
        if std::mem::take(&mut first) {
            println!("\nAccounts, with their passwords for mail programs (shown once):\n");
        }
        let done = match step {
            Step::Add => add(work, account, opened, store).await,
            _ => Ok("password unchanged".to_owned()),
        };
        let line = match done {
            Ok(password) => format!("{password}, {}", sign_in(account, opened, store).await?),
            Err(Failed { message, .. }) => message,
        };
        println!("  {:<width$}  {line}", account.mailbox.as_str());
    }
    Ok(())
}

/// Client secrets, for applications that have nothing yet to prove themselves with.
async fn secrets(work: &Work, opened: &[Opened], store: &Store) -> Result<(), Failed> {
    for (place, application) in work.plan.applications.iter().enumerate() {
        let named = work.missing.applications.get(place).and_then(Option::as_ref).filter(|named| named.usable);
        let Some(name) = named.map(|named| named.name.as_str()) else { continue };
        let sealed = || {
            let of_it = |(account, _): &(&import::Account, &Opened)| account.application == place;
            work.plan.accounts.iter().zip(opened).filter(of_it).find_map(|(_, opened)| opened.client_secret.clone())
        };
        let wanted = work.secretless.get(place).copied().unwrap_or_default();
        let Some(secret) = application.secret.clone().or_else(sealed).filter(|_| wanted) else { continue };
        store.set_client_secret(name, &secret).await?;
        println!("Sealed the client secret of the application {name} into the store.");
    }
    Ok(())
}

/// Gives back what is to be said of its password.
async fn add(work: &Work, account: &import::Account, opened: &Opened, store: &Store) -> Result<String, Failed> {
    let named = work.missing.applications.get(account.application).and_then(Option::as_ref);
    let name = named.map(|named| named.name.clone()).unwrap_or_default();
    let mailbox = &account.mailbox;
    store.add_account(&Account::new(mailbox.clone(), name, account.grant, SystemTime::now())).await?;
    if account.grant == Grant::Password {
        return Ok("password of Microsoft 365, as before".to_owned());
    }
    let Some(kept) =
        opened.password.as_ref().filter(|password| work.keep_passwords && password.len() <= PASSWORD_LIMIT)
    else {
        return Ok(format!("password {}", new_password(store, mailbox, DEFAULT_NAME).await?));
    };
    let hash = hash(kept.clone()).await?;
    store.set_password(mailbox, DEFAULT_NAME, &hash, SystemTime::now()).await?;
    let short = if kept.len() < SHORT { ", which is short and may be guessed" } else { "" };
    Ok(format!("password kept{short}"))
}

async fn hash(password: Secret) -> Result<PasswordHash, Failed> {
    let hashed = tokio::task::spawn_blocking(move || PasswordHash::of(&password)).await;
    hashed.map_err(Failed::new)?.map_err(Failed::new)
}

/// Takes the sign-in over, and says what is left to do.
async fn sign_in(account: &import::Account, opened: &Opened, store: &Store) -> Result<String, Failed> {
    let mailbox = &account.mailbox;
    match &opened.refresh_token {
        Some(token) if account.grant == Grant::SignIn && store.adopt_refresh_token(mailbox, token).await? => {
            Ok("signed in: its sign-in was imported".to_owned())
        }
        _ => Ok(format!("next: oxpost sign-in {mailbox}")),
    }
}
