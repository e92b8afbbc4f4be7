//! `oxpost account password …`: what mail programs log in with.

use std::time::SystemTime;

use clap::Subcommand;
use oxpost_token_store::{Grant, LocalPassword, Mailbox, Store};

use super::known;
use crate::cli::Failed;
use crate::cli::table::table;
use crate::cli::times::distance;

/// The name of a password when none is given.
pub(in crate::cli) const DEFAULT_NAME: &str = "default";

/// Longest name of a password, in characters.
const NAME_LIMIT: usize = 64;

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
}

pub(super) async fn run(command: PasswordCommand, store: &Store) -> Result<(), Failed> {
    match command {
        PasswordCommand::Add { mailbox, name, replace } => add(store, &mailbox, &name, replace).await,
        PasswordCommand::List { mailbox } => list(store, &mailbox).await,
        PasswordCommand::Remove { mailbox, name } => remove(store, &mailbox, &name).await,
    }
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
    let rows: Vec<Vec<String>> = passwords
        .into_iter()
        .map(|password| {
            let used = password.last_used.map_or_else(|| "never".to_owned(), |used| distance(Some(used), now));
            vec![password.name, distance(Some(password.created), now), used]
        })
        .collect();
    print!("{}", table(&["NAME", "MADE", "LAST USED"], &rows));
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
