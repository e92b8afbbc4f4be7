//! The accounts that `proxy.toml` declares, and those of the store.

use std::time::SystemTime;

use oxpost_token_store::{Changes, DeclareError, Declared, Mailbox, Store};
use tracing::{info, warn};

use crate::config::{Config, ConfigError};
use crate::context::StartError;

/// Makes the accounts of the store what the configuration says they are, and tells the log. `hand_over` names those that
/// were added by command, and are the configuration's from now on.
///
/// # Errors
/// The two do not go together; nothing was changed. The message has the line and the remedy.
pub(crate) async fn reconcile(
    config: &Config,
    store: &Store,
    hand_over: &[Mailbox],
    now: SystemTime,
) -> Result<Changes, StartError> {
    let changes = store.reconcile(&of(config), hand_over, now).await.map_err(|error| explained(config, error))?;
    for mailbox in &changes.added {
        info!(%mailbox, "account added: proxy.toml declares it");
    }
    for mailbox in &changes.changed {
        info!(%mailbox, "account changed: proxy.toml declares it differently");
    }
    for mailbox in &changes.disabled {
        warn!(
            %mailbox,
            "account disabled: proxy.toml no longer declares it; its sign-in is kept until `oxpost account remove {mailbox}`"
        );
    }
    Ok(changes)
}

/// Whether that can be done.
///
/// # Errors
/// It cannot; the message has the line and the remedy.
pub(crate) async fn check(config: &Config, store: &Store) -> Result<(), StartError> {
    store.compare(&of(config)).await.map(drop).map_err(|error| explained(config, error))
}

/// Where an account is declared, if it is: for a person who wants to change it.
pub(crate) fn place(config: &Config, mailbox: &Mailbox) -> Option<String> {
    let found = config.accounts.iter().find(|account| account.declared.mailbox == *mailbox)?;
    let line = found.line.map(|line| format!(", line {line}")).unwrap_or_default();
    Some(format!("{}{line}", config.file.display()))
}

fn of(config: &Config) -> Vec<Declared> {
    config.accounts.iter().map(|account| account.declared.clone()).collect()
}

fn explained(config: &Config, error: DeclareError) -> StartError {
    match error {
        DeclareError::Conflicts(conflicts) => {
            let line = |index: usize| config.accounts.get(index).and_then(|account| account.line);
            let problems = conflicts.into_iter().map(|one| (line(one.index), format!("{}.", one.why))).collect();
            StartError::Config(ConfigError::of_file(&config.file, problems))
        }
        DeclareError::Store(error) => StartError::Store(error),
        DeclareError::Hashing(error) => {
            StartError::Config(ConfigError::of_file(&config.file, vec![(None, error.to_string())]))
        }
    }
}
