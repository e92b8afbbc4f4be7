//! `oxpost store …`

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Subcommand;
use oxpost_token_store::store::key_rotation::{self, Rotated};
use oxpost_token_store::store::maintenance;
use oxpost_token_store::{KeySource, NewKey, PostgresSettings};

use super::Failed;
use crate::config::{Config, StorePlace};
use crate::context::{StartError, create_store, open_existing_store};
use crate::net::tls;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Create an empty store for an existing key
    ///
    /// The first start creates the store and its key. If the key already exists (from systemd, from the environment, or because the
    /// store was lost), a missing store is an error until you run this command.
    Create,
    /// Create a new key and encrypt the store again with it
    ///
    /// Stop the service first. The command adds the new key to the key file before the old one, encrypts the store again in batches,
    /// then removes the old key. If it is interrupted, the store works as before; run the command again to finish.
    ///
    /// A key from systemd or from the environment must be changed by hand: put a new one (`oxpost store new-key`) before the old
    /// one, separated by a space, run this command, then remove the old one.
    ///
    /// If several nodes share a PostgreSQL database: stop the service on all nodes, run this on one, copy the new key to the
    /// others, then start them.
    RotateKey,
    /// Print a new random key, for a systemd credential or an environment variable
    NewKey,
    /// Copy the key to a new file
    ///
    /// `file:FILE` contains the key itself and opens the store on any machine: store it safely. `dpapi:FILE` (Windows) is encrypted
    /// by the system and opens on this machine only. To change from one form to the other, copy the key, name the new file in
    /// proxy.toml (`[store] key`), and remove the old one.
    CopyKey {
        /// The file to create; an existing file is never overwritten
        #[arg(value_name = "file:FILE|dpapi:FILE")]
        to: KeySource,
    },
    /// Copy the store to a new file; the service may run
    ///
    /// The copy does not contain the key, and is useless without it. Keep the two apart. For a store in PostgreSQL the command
    /// prints the pg_dump command instead.
    Backup {
        /// The file to create; an existing file is never overwritten
        file: PathBuf,
    },
    /// Replace the store with a copy made by `oxpost store backup`; the old store is kept under another name
    ///
    /// Stop the service first. The command checks that the copy is complete and that the present key opens it.
    Restore {
        /// The copy; it is not changed
        file: PathBuf,
    },
    /// Show changes of accounts in the database that Oxpost did not make, and accept them
    ///
    /// The access data of an account (delegate, application, grant, login name, senders, local passwords) is sealed. Oxpost does not
    /// open an account that was changed outside Oxpost. Review the changes: `oxpost store undo` reverts them; this command with the
    /// printed code accepts them.
    Confirm {
        /// The code that this command printed
        code: Option<String>,
    },
    /// Revert changes in the database that Oxpost did not make
    ///
    /// Restores what Oxpost last wrote, and deletes accounts and local passwords that Oxpost did not write. Deleted accounts and
    /// restored older versions cannot be reverted; the command lists them.
    Undo,
}

pub(super) async fn run(command: StoreCommand, config: &Config) -> Result<(), Failed> {
    match command {
        StoreCommand::Create => create(config).await,
        StoreCommand::RotateKey => rotate_key(config).await,
        StoreCommand::NewKey => {
            println!("{}", NewKey::generate()?.text().reveal_str().unwrap_or_default());
            Ok(())
        }
        StoreCommand::CopyKey { to } => copy_key(&config.key, &to),
        StoreCommand::Backup { file } => back_up(config, &file).await,
        StoreCommand::Restore { file } => restore(config, &file).await,
        StoreCommand::Confirm { code } => confirm(config, code).await,
        StoreCommand::Undo => undo(config).await,
    }
}

async fn create(config: &Config) -> Result<(), Failed> {
    match open_existing_store(config).await {
        Ok(Some(_)) => {
            println!("The store already exists: {}. Nothing was changed.", config.store);
            return Ok(());
        }
        Ok(None) | Err(StartError::StoreMissing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    create_store(config).await?;
    println!("Created an empty store: {}.", config.store);
    Ok(())
}

async fn rotate_key(config: &Config) -> Result<(), Failed> {
    let Rotated { resumed, sealed, unreadable, old_key_removed } = match &config.store {
        StorePlace::File(path) => {
            there_is(path)?;
            key_rotation::rotate_key(path, &config.key).await?
        }
        StorePlace::Postgres(settings) => {
            let tls = tls::client_config(config.ca_file.as_deref(), config.system_roots)?;
            key_rotation::rotate_key_on_postgres(settings.as_ref().clone(), tls, &config.key).await?
        }
    };
    if resumed {
        println!("Finished the interrupted key rotation: encrypted the remaining {sealed} values.");
    } else {
        println!("The store has a new key; encrypted {sealed} values again.");
    }
    if unreadable > 0 {
        println!(
            "{unreadable} values cannot be decrypted with either key and were not changed; `oxpost status` names their accounts when \
             they are next used."
        );
    }
    if old_key_removed {
        println!("\n{} has changed: back it up. Older backups of the store need the old key.", of(&config.key));
    } else {
        println!("\nNow remove the old key from {}: keep only the first word.", config.key);
    }
    match config.store {
        StorePlace::File(_) => println!("You can start the service."),
        StorePlace::Postgres(_) => {
            println!("Copy the new key to every other node; then start the service there.");
            if let KeySource::Dpapi(_) = config.key {
                println!("`oxpost store copy-key file:FILE` creates a copy that opens there.");
            }
        }
    }
    Ok(())
}

fn copy_key(key: &KeySource, to: &KeySource) -> Result<(), Failed> {
    key.copy_to(to)?;
    println!("Copied {key} to {to}.");
    match to {
        KeySource::Dpapi(_) => println!("Only this machine can open it."),
        _ => println!("It opens the store on any machine: protect it, and keep it apart from the store."),
    }
    Ok(())
}

async fn back_up(config: &Config, file: &Path) -> Result<(), Failed> {
    let store = match &config.store {
        StorePlace::File(path) => path,
        StorePlace::Postgres(settings) => return Err(Failed::new(dump_instead(settings, file))),
    };
    there_is(store)?;
    maintenance::back_up(store, &config.key.read()?, file).await?;
    println!("Copied the store to {}.", file.display());
    println!(
        "The copy opens only with the key, which it does not contain: also keep a copy of {}, apart from this one.",
        config.key
    );
    if let KeySource::Dpapi(_) = config.key {
        println!(
            "That file opens on this machine only. `oxpost store copy-key file:FILE` creates one that opens elsewhere."
        );
    }
    Ok(())
}

async fn restore(config: &Config, file: &Path) -> Result<(), Failed> {
    let store = match &config.store {
        StorePlace::File(path) => path,
        StorePlace::Postgres(settings) => return Err(Failed::new(restore_dump_instead(settings, file))),
    };
    there_is(file)?;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    // File names on Windows cannot contain colons.
    let name = format!("before-{}", now.replace(':', ""));
    let kept = maintenance::restore(store, &config.key.read()?, file, &name).await?;
    println!("Restored the store from {}.", file.display());
    if let Some(kept) = kept {
        println!("The old store is kept as {}; remove it when you no longer need it.", kept.display());
        match maintenance::restored_access(store, &kept, &config.key.read()?).await {
            Ok(Some(lines)) if !lines.is_empty() => {
                println!("\nRestored from the copy:");
                for line in lines {
                    println!("  {line}");
                }
                println!("Revoke or change what should not have been restored before you start the service.\n");
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => println!(
                "The differences to the old store, such as passwords revoked since, are unknown: check `oxpost account list`."
            ),
        }
    }
    println!("You can start the service. The copy lacks later sign-ins: `oxpost status` shows accounts that need one.");
    Ok(())
}

async fn confirm(config: &Config, code: Option<String>) -> Result<(), Failed> {
    let store = open_existing_store(config).await?.ok_or_else(no_store)?;
    let audit = store.audit_access().await?;
    if audit.changed.is_empty() {
        println!("No account was changed outside Oxpost.");
        return Ok(());
    }
    println!("Changed in the database, and not by Oxpost:");
    for one in &audit.changed {
        println!("  {one}");
    }
    match code {
        Some(code) if store.confirm_access(&code).await? => {
            println!("Accepted the changes.");
            Ok(())
        }
        Some(_) => Err(Failed::new(format!(
            "nothing was changed: the accounts have changed since that code was printed. The code for the changes above is {}",
            audit.code
        ))),
        None => Err(Failed::new(format!(
            "nothing was changed. To revert the changes: oxpost store undo. To accept them: oxpost store \
             confirm {}",
            audit.code
        ))),
    }
}

async fn undo(config: &Config) -> Result<(), Failed> {
    let store = open_existing_store(config).await?.ok_or_else(no_store)?;
    let before = store.audit_access().await?.changed;
    if before.is_empty() {
        println!("No account was changed outside Oxpost.");
        return Ok(());
    }
    let left = store.undo_outside_changes().await?;
    let undone = before.iter().filter(|one| !left.contains(one));
    println!("Reverted:");
    for one in undone {
        println!("  {one}");
    }
    if left.is_empty() {
        return Ok(());
    }
    let left: Vec<String> = left.iter().map(|one| format!("  {one}")).collect();
    Err(Failed::new(format!(
        "some changes cannot be reverted. Remove these accounts or passwords and add them again, or accept them with `oxpost store confirm`:\n{}",
        left.join("\n")
    )))
}

fn no_store() -> Failed {
    Failed::new(
        "there is no store yet. The first start of the service creates it. The first start of the service creates it.",
    )
}

/// pg_dump copies a PostgreSQL database.
fn dump_instead(settings: &PostgresSettings, file: &Path) -> String {
    format!(
        "the store is in PostgreSQL. Copy it with pg_dump; the service may run:\n  pg_dump --format=custom \
         --schema=oxpost --file={} {}\nThe copy does not contain the key: keep both, apart from each other.",
        quoted(&file.display()),
        quoted(&settings.server())
    )
}

fn restore_dump_instead(settings: &PostgresSettings, file: &Path) -> String {
    format!(
        "the store is in PostgreSQL. Restore it with pg_restore. Stop the service on every node, then run:\n  pg_restore \
         --clean --if-exists --no-owner --single-transaction --dbname={} {}",
        quoted(&settings.server()),
        quoted(&file.display())
    )
}

/// For a shell.
fn quoted(text: &dyn Display) -> String {
    let text = text.to_string();
    let plain = |c: char| c.is_alphanumeric() || "/.-_+:@%,=".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn there_is(file: &Path) -> Result<(), Failed> {
    if file.exists() { Ok(()) } else { Err(Failed::new(format!("there is no {}.", file.display()))) }
}

/// The name of the key at the start of a sentence.
fn of(key: &KeySource) -> String {
    let text = key.to_string();
    text.strip_prefix("the ").map_or_else(|| text.clone(), |rest| format!("The {rest}"))
}
