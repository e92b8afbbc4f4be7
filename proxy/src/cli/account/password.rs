//! `oxpost account password …`: passwords for mail programs.

use std::time::SystemTime;

use clap::Subcommand;
use oxpost_protocol::sasl::PASSWORD_LIMIT;
use oxpost_token_store::{Grant, LocalPassword, Mailbox, PasswordHash, Store};

use super::known;
use crate::admin::reconcile::place;
use crate::cli::Failed;
use crate::cli::ask::ask;
use crate::cli::table::table;
use crate::cli::times::distance;
use crate::config::Config;
use crate::config::file::PASSWORD_NAME_LIMIT as NAME_LIMIT;

/// The name of a password when none is given.
pub(in crate::cli) const DEFAULT_NAME: &str = "default";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PasswordCommand {
    /// Create a password and print it (shown once)
    Add {
        /// The mail address
        mailbox: Mailbox,
        /// A name for the password, such as the device that uses it
        #[arg(long, default_value = DEFAULT_NAME, value_parser = name)]
        name: String,
        /// Replace the password of the same name, which stops working immediately
        #[arg(long)]
        replace: bool,
    },
    /// List the passwords of an account with their last use
    List {
        /// The mail address
        mailbox: Mailbox,
    },
    /// Remove a password; it stops working immediately
    Remove {
        /// The mail address
        mailbox: Mailbox,
        /// Its name
        #[arg(default_value = DEFAULT_NAME, value_parser = name)]
        name: String,
    },
    /// Create a password and print it with its hash, for an `[[account]]` in proxy.toml; stores nothing
    Hash {
        /// Ask for the password instead of creating one (read from standard input if it is not a terminal)
        #[arg(long)]
        ask: bool,
    },
}

pub(super) async fn run(command: PasswordCommand, store: &Store, config: &Config) -> Result<(), Failed> {
    match command {
        PasswordCommand::Add { mailbox, name, replace } => {
            if replace {
                not_a_declared_one(store, config, &mailbox, &name).await?;
            }
            add(store, &mailbox, &name, replace).await
        }
        PasswordCommand::List { mailbox } => list(store, &mailbox).await,
        PasswordCommand::Remove { mailbox, name } => {
            not_a_declared_one(store, config, &mailbox, &name).await?;
            remove(store, &mailbox, &name).await
        }
        PasswordCommand::Hash { ask } => hash(ask).await,
    }
}

/// A password that the configuration declares would be back at the next start.
async fn not_a_declared_one(store: &Store, config: &Config, mailbox: &Mailbox, name: &str) -> Result<(), Failed> {
    let declared = store.passwords(mailbox).await?.iter().any(|password| password.name == name && password.declared);
    match place(config, mailbox).filter(|_| declared) {
        Some(place) => Err(Failed::new(format!(
            "the password `{name}` of {mailbox} is declared in {place}. Change it there (`oxpost account password hash` creates a new one), \
             then run `oxpost account apply`, or restart Oxpost."
        ))),
        None => Ok(()),
    }
}

/// Shortest chosen password, in bytes: its hash in a configuration file can be attacked offline.
const CHOSEN_LEAST: usize = 12;

pub(super) async fn hash(chosen: bool) -> Result<(), Failed> {
    let (password, hash) = if chosen {
        let password = ask("Password for mail programs: ", "the password")?;
        if !(CHOSEN_LEAST..=PASSWORD_LIMIT).contains(&password.len()) {
            return Err(Failed::new(format!(
                "a password must have {CHOSEN_LEAST} to {PASSWORD_LIMIT} bytes; no hash was created."
            )));
        }
        let hashing = tokio::task::spawn_blocking(move || PasswordHash::of(&password));
        (None, hashing.await.map_err(Failed::new)??)
    } else {
        let password = LocalPassword::generate()?;
        let hash = password.hash().await?;
        (Some(password), hash)
    };
    if let Some(password) = password {
        println!("Password for the mail program (shown once):\n");
        println!("  {}\n", password.secret().reveal_str().unwrap_or_default());
    }
    println!("For the [[account]] section of proxy.toml:\n");
    println!("password-hash = '{}'", hash.text());
    Ok(())
}

/// A name that can be typed again to remove the password.
fn name(name: &str) -> Result<String, String> {
    let name = name.trim();
    let plain = !name.is_empty() && name.chars().count() <= NAME_LIMIT && !name.chars().any(char::is_control);
    plain.then(|| name.to_owned()).ok_or_else(|| format!("a name has 1 to {NAME_LIMIT} characters"))
}

async fn add(store: &Store, mailbox: &Mailbox, name: &str, replace: bool) -> Result<(), Failed> {
    let account = known(store, mailbox).await?;
    if account.grant == Grant::Password {
        return Err(Failed::new(format!(
            "{mailbox} has the grant password: Microsoft verifies its password, and Oxpost has none for it. Use the Microsoft 365 password \
             of {} in the mail program, or add the account again with another grant.",
            account.token_of()
        )));
    }
    let there = store.passwords(mailbox).await?.iter().any(|password| password.name == name);
    if there && !replace {
        return Err(Failed::new(format!(
            "{mailbox} already has a password named `{name}`. Choose another name with --name to keep both, or replace the old one \
             with --replace."
        )));
    }
    let password = new_password(store, mailbox, name).await?;
    println!("New password `{name}` for the user name {} (shown once):\n\n  {password}\n", account.login);
    if there {
        println!("The old password no longer works.");
    }
    Ok(())
}

/// Stores a new password and returns it, to be shown once.
pub(in crate::cli) async fn new_password(store: &Store, mailbox: &Mailbox, name: &str) -> Result<String, Failed> {
    let password = LocalPassword::generate()?;
    let hash = password.hash().await?;
    store.set_password(mailbox, name, &hash, SystemTime::now()).await?;
    Ok(password.secret().reveal_str().unwrap_or_default().to_owned())
}

async fn list(store: &Store, mailbox: &Mailbox) -> Result<(), Failed> {
    known(store, mailbox).await?;
    let passwords = store.passwords(mailbox).await?;
    if passwords.is_empty() {
        println!(
            "{mailbox} has no password, so no mail program can open it. Create one: oxpost account password add {mailbox}"
        );
        return Ok(());
    }
    let now = SystemTime::now();
    let declared = passwords.iter().any(|password| password.declared);
    let rows: Vec<Vec<String>> = passwords
        .into_iter()
        .map(|password| {
            let used = password.last_used.map_or_else(|| "never".to_owned(), |used| distance(Some(used), now));
            let mut row = vec![password.name, distance(Some(password.created), now), used];
            let kept_in = if password.declared { "proxy.toml" } else { "the store" };
            row.extend(declared.then(|| kept_in.to_owned()));
            row
        })
        .collect();
    let mut header = vec!["NAME", "CREATED", "LAST USED"];
    header.extend(declared.then_some("DECLARED IN"));
    print!("{}", table(&header, &rows));
    Ok(())
}

async fn remove(store: &Store, mailbox: &Mailbox, name: &str) -> Result<(), Failed> {
    known(store, mailbox).await?;
    if !store.revoke_password(mailbox, name).await? {
        return Err(Failed::new(format!(
            "{mailbox} has no password named `{name}`; `oxpost account password list {mailbox}` lists its passwords."
        )));
    }
    println!("Removed the password `{name}` of {mailbox}; it no longer works.");
    if store.passwords(mailbox).await?.is_empty() {
        println!(
            "It was the last one: no mail program can open {mailbox}. Create a new one: oxpost account password add {mailbox}"
        );
    }
    Ok(())
}
