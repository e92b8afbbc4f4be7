//! `oxpost store …`

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Subcommand;
use oxpost_token_store::store::care::{self, Rotated};
use oxpost_token_store::{KeySource, NewKey};

use super::Failed;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Change the key: a new one is made, and everything in the store is sealed anew with it
    ///
    /// The service must be stopped meanwhile; it takes a moment. A key file is written by this command: first the new key
    /// goes in front of the old one, then everything is sealed anew at once, then the old key goes. If the machine fails in
    /// between, the store works as before, and running the command again finishes the change.
    ///
    /// A key that comes from systemd or from the environment is yours to change: put a new one (`oxpost store new-key`) in
    /// front of the old one with a blank between them, run this command, then take the old one out.
    RotateKey,
    /// Print a new random key, for a systemd credential or an environment variable
    NewKey,
    /// Copy the store to a new file, also while the service runs
    ///
    /// The copy is of use only together with the key, which is not in it. Keep the two apart.
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
}

pub(super) async fn run(command: StoreCommand, config: &Config) -> Result<(), Failed> {
    match command {
        StoreCommand::RotateKey => rotate_key(config).await,
        StoreCommand::NewKey => {
            println!("{}", NewKey::generate()?.text().reveal_str().unwrap_or_default());
            Ok(())
        }
        StoreCommand::Backup { file } => back_up(config, &file).await,
        StoreCommand::Restore { file } => restore(config, &file).await,
    }
}

async fn rotate_key(config: &Config) -> Result<(), Failed> {
    there_is(&config.store)?;
    let Rotated { resumed, sealed, unreadable, old_key_removed } = care::rotate_key(&config.store, &config.key).await?;
    if resumed {
        println!("Finished the change of the key that had begun: {sealed} sealed values were left to do.");
    } else {
        println!("The store has a new key; {sealed} values were sealed anew.");
    }
    if unreadable > 0 {
        println!(
            "{unreadable} values do not open with any key, and were left as they are; `oxpost status` names their accounts when \
             they are next used."
        );
    }
    if old_key_removed {
        println!(
            "\n{} is another one now: back it up. Older backups of the store need the older key.",
            of(&config.key)
        );
    } else {
        println!("\nNow take the old key out of {}: all but the first word.", config.key);
    }
    println!("The service can be started.");
    Ok(())
}

async fn back_up(config: &Config, file: &Path) -> Result<(), Failed> {
    there_is(&config.store)?;
    care::back_up(&config.store, &config.key.read()?, file).await?;
    println!("Copied the store to {}.", file.display());
    println!(
        "It can be opened only with the key, which is not in it: keep a copy of {} too, apart from this one.",
        config.key
    );
    Ok(())
}

async fn restore(config: &Config, file: &Path) -> Result<(), Failed> {
    there_is(file)?;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    // Colons cannot stand in a file's name on Windows.
    let name = format!("before-{}", now.replace(':', ""));
    let kept = care::restore(&config.store, &config.key.read()?, file, &name).await?;
    println!("{} is the store now.", file.display());
    if let Some(kept) = kept {
        println!("What was there before is kept as {}; remove it when you no longer need it.", kept.display());
    }
    println!(
        "The service can be started. Sign-ins made after the copy was taken are not in it: `oxpost status` shows who must sign in."
    );
    Ok(())
}

fn there_is(file: &Path) -> Result<(), Failed> {
    if file.exists() { Ok(()) } else { Err(Failed::new(format!("there is no {}.", file.display()))) }
}

/// The name of the key at the start of a sentence.
fn of(key: &KeySource) -> String {
    let text = key.to_string();
    text.strip_prefix("the ").map_or_else(|| text.clone(), |rest| format!("The {rest}"))
}
