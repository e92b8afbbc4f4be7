//! `oxpost account password …`: what mail programs log in with.

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
    /// Make a password and print it (shown once)
    Add {
        /// The mail address
        mailbox: Mailbox,
        /// A name to tell several passwords apart, such as the device that has it
        #[arg(long, default_value = DEFAULT_NAME, value_parser = name)]
        name: String,
        /// In place of the one of the same name, which stops working at once
        #[arg(long)]
        replace: bool,
    },
    /// List the passwords of an account by name, with when each was last used
    List {
        /// The mail address
        mailbox: Mailbox,
    },
    /// Remove a password; it stops working at once
    Remove {
        /// The mail address
        mailbox: Mailbox,
        /// Its name
        #[arg(default_value = DEFAULT_NAME, value_parser = name)]
        name: String,
    },
    /// Make a password and print it with its hash, for an account that proxy.toml declares; nothing is stored
    Hash {
        /// Ask for the password instead of making one (from standard input, if that is no terminal)
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
            "the password `{name}` of {mailbox} is declared in {place}. Change it there (`oxpost account password hash` makes a new one), \
             then run `oxpost account apply`, or restart Oxpost."
        ))),
        None => Ok(()),
    }
}

/// Shortest password that a person may choose, in bytes: its hash may be seen by many, and can be attacked at leisure.
const CHOSEN_LEAST: usize = 12;

pub(super) async fn hash(chosen: bool) -> Result<(), Failed> {
    let (password, hash) = if chosen {
        let password = ask("Password for mail programs: ")?;
        if !(CHOSEN_LEAST..=PASSWORD_LIMIT).contains(&password.len()) {
            return Err(Failed::new(format!(
                "a password has {CHOSEN_LEAST} to {PASSWORD_LIMIT} bytes; nothing was made."
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
        println!("In the mail program, use the password (shown once)\n");
        println!("  {}\n", password.secret().reveal_str().unwrap_or_default());
    }
    println!("In the [[account]] section of proxy.toml, write\n");
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
            "{mailbox} has the grant password: Microsoft judges its password, and Oxpost gives it none. Use that of {} at Microsoft 365 \
             in the mail program, or add the account again with another grant.",
            account.token_of()
        )));
    }
    let there = store.passwords(mailbox).await?.iter().any(|password| password.name == name);
    if there && !replace {
        return Err(Failed::new(format!(
            "{mailbox} has a password named `{name}` already. Give the new one another name with --name, so that both work, or \
             --replace it, so that the old one stops working at once."
        )));
    }
    let password = new_password(store, mailbox, name).await?;
    println!("New password `{name}` for the user name {} (shown once):\n\n  {password}\n", account.login);
    if there {
        println!("The old one no longer works.");
    }
    Ok(())
}

/// Stores a fresh password and gives it back for the one time it is shown.
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
            "{mailbox} has no password, so no mail program can open it. Make one with: oxpost account password add {mailbox}"
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
    let mut header = vec!["NAME", "MADE", "LAST USED"];
    header.extend(declared.then_some("DECLARED IN"));
    print!("{}", table(&header, &rows));
    Ok(())
}

async fn remove(store: &Store, mailbox: &Mailbox, name: &str) -> Result<(), Failed> {
    known(store, mailbox).await?;
    if !store.revoke_password(mailbox, name).await? {
        return Err(Failed::new(format!(
            "{mailbox} has no password named `{name}`; `oxpost account password list {mailbox}` shows those there are."
        )));
    }
    println!("Removed the password `{name}` of {mailbox}; nobody can log in with it any more.");
    if store.passwords(mailbox).await?.is_empty() {
        println!(
            "It was the last one: no mail program can open {mailbox} until `oxpost account password add {mailbox}`."
        );
    }
    Ok(())
}
