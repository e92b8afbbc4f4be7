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
    /// Make an empty store under a key that is there already
    ///
    /// The first start makes the store and its key by itself. Where the key is there before (from systemd, from the environment,
    /// or because the store was lost), a missing store is an error until this command was run.
    Create,
    /// Change the key: make a new one, and seal everything in the store again with it
    ///
    /// The service must be stopped meanwhile. A key file is written by this command: first the new key
    /// goes in front of the old one, then everything is sealed with the new one, in batches, then the old key goes. If the machine fails in
    /// between, the store works as before, and running the command again finishes the change.
    ///
    /// A key that comes from systemd or from the environment is yours to change: put a new one (`oxpost store new-key`) in
    /// front of the old one with a space between them, run this command, then take the old one out.
    ///
    /// A store in PostgreSQL that several nodes share: stop the service on all of them, run this on one, copy the new key to
    /// the others, then start them.
    RotateKey,
    /// Print a new random key, for a systemd credential or an environment variable
    NewKey,
    /// Copy the key to a new file
    ///
    /// `file:FILE` holds the key itself and opens the store on any machine: lock it away. `dpapi:FILE` (Windows) is sealed by
    /// the system and opens on this machine only. To change from one form to the other, copy the key, name the new file in
    /// proxy.toml (`[store] key`), and remove the old one.
    CopyKey {
        /// The file to make; one that is there already is never overwritten
        #[arg(value_name = "file:FILE|dpapi:FILE")]
        to: KeySource,
    },
    /// Copy the store to a new file, also while the service runs
    ///
    /// The copy is of use only together with the key, which is not in it. Keep the two apart. A store in PostgreSQL is
    /// copied with pg_dump; this command says how.
    Backup {
        /// The file to make; one that is there already is never overwritten
        file: PathBuf,
    },
    /// Put a copy made by `oxpost store backup` in the place of the store, and keep the old store beside it
    ///
    /// The copy is checked first: that it is whole, and that the present key opens it. The service must be stopped.
    Restore {
        /// The copy; it stays as it is
        file: PathBuf,
    },
    /// Show which accounts something other than Oxpost has changed in the database, and take them as they stand
    ///
    /// What grants access to an account (its delegate, application, grant, login name, senders, local passwords) is sealed. An
    /// account that was changed past Oxpost is not opened. Look at what is shown: `oxpost store undo` puts back what was there, and
    /// this command with the code it prints takes the accounts as they stand.
    Confirm {
        /// The code that this command has printed
        code: Option<String>,
    },
    /// Put back what something other than Oxpost has changed in the database
    ///
    /// Accounts get what Oxpost has written of them last; accounts and local passwords that it has not written are deleted. What is
    /// gone, or was put back as it was once, cannot be undone, and is shown.
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
            println!("There is a store already: {}. It stays as it is.", config.store);
            return Ok(());
        }
        Ok(None) | Err(StartError::StoreMissing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    create_store(config).await?;
    println!("Made an empty store: {}.", config.store);
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
        println!("Finished the change of the key that had begun: {sealed} sealed values were left to do.");
    } else {
        println!("The store has a new key; {sealed} values were sealed again.");
    }
    if unreadable > 0 {
        println!(
            "{unreadable} values do not open with any key, and were left as they are; `oxpost status` names their accounts when \
             they are next used."
        );
    }
    if old_key_removed {
        println!(
            "\n{} is another one now: back it up. Backups of the store that are older than this message need the older key, or both keys.",
            of(&config.key)
        );
    } else {
        println!("\nNow take the old key out of {}: all but the first word.", config.key);
    }
    match config.store {
        StorePlace::File(_) => println!("The service can be started."),
        StorePlace::Postgres(_) => {
            println!("Give the new key to every other node; then the service can be started there.");
            if let KeySource::Dpapi(_) = config.key {
                println!("`oxpost store copy-key file:FILE` makes a copy that opens there.");
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
        _ => println!("It opens the store on any machine, for whoever can read it: keep it apart from the store."),
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
        "It can be opened only with the key, which is not in it: keep a copy of {} too, apart from this one.",
        config.key
    );
    if let KeySource::Dpapi(_) = config.key {
        println!(
            "That file opens on this machine only. `oxpost store copy-key file:FILE` makes one that opens elsewhere."
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
    // Colons cannot stand in a file's name on Windows.
    let name = format!("before-{}", now.replace(':', ""));
    let kept = maintenance::restore(store, &config.key.read()?, file, &name).await?;
    println!("{} is the store now.", file.display());
    if let Some(kept) = kept {
        println!("What was there before is kept as {}; remove it when you no longer need it.", kept.display());
        match maintenance::restored_access(store, &kept, &config.key.read()?).await {
            Ok(Some(lines)) if !lines.is_empty() => {
                println!("\nThe copy brings back:");
                for line in lines {
                    println!("  {line}");
                }
                println!("Revoke or change again what should not be so, before the service is started.\n");
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => println!(
                "What the copy brings back, such as passwords that were revoked since, is not known: look at `oxpost account list`."
            ),
        }
    }
    println!(
        "The service can be started. Sign-ins made after the copy was taken are not in it: `oxpost status` shows who must sign in."
    );
    Ok(())
}

async fn confirm(config: &Config, code: Option<String>) -> Result<(), Failed> {
    let store = open_existing_store(config).await?.ok_or_else(no_store)?;
    let audit = store.audit_access().await?;
    if audit.changed.is_empty() {
        println!("Every account is as Oxpost has written it.");
        return Ok(());
    }
    println!("Changed in the database by something other than Oxpost:");
    for one in &audit.changed {
        println!("  {one}");
    }
    match code {
        Some(code) if store.confirm_access(&code).await? => {
            println!("The accounts are taken as they stand.");
            Ok(())
        }
        Some(_) => Err(Failed::new(format!(
            "nothing was changed: the accounts are not what that code was for. The code of what is shown here is {}",
            audit.code
        ))),
        None => Err(Failed::new(format!(
            "nothing was changed. `oxpost store undo` puts back what was there; to take the accounts as they stand: oxpost store \
             confirm {}",
            audit.code
        ))),
    }
}

async fn undo(config: &Config) -> Result<(), Failed> {
    let store = open_existing_store(config).await?.ok_or_else(no_store)?;
    let before = store.audit_access().await?.changed;
    if before.is_empty() {
        println!("Every account is as Oxpost has written it.");
        return Ok(());
    }
    let left = store.undo_outside_changes().await?;
    let undone = before.iter().filter(|one| !left.contains(one));
    println!("Undone:");
    for one in undone {
        println!("  {one}");
    }
    if left.is_empty() {
        return Ok(());
    }
    let left: Vec<String> = left.iter().map(|one| format!("  {one}")).collect();
    Err(Failed::new(format!(
        "not everything can be undone. Remove these accounts or passwords and add them again, or see `oxpost store confirm`:\n{}",
        left.join("\n")
    )))
}

fn no_store() -> Failed {
    Failed::new("there is no store yet.")
}

/// PostgreSQL has better programs for it than we could write.
fn dump_instead(settings: &PostgresSettings, file: &Path) -> String {
    format!(
        "the store is in PostgreSQL, whose own program copies it, also while the service runs:\n  pg_dump --format=custom \
         --schema=oxpost --file={} {}\nThe key is not in the copy: keep both, apart from each other.",
        quoted(&file.display()),
        quoted(&settings.server())
    )
}

fn restore_dump_instead(settings: &PostgresSettings, file: &Path) -> String {
    format!(
        "the store is in PostgreSQL, whose own program puts a copy back. Stop the service on every node, then run:\n  pg_restore \
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
