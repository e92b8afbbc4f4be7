//! `oxpost application …`

use std::io::{IsTerminal, Read};

use clap::Subcommand;
use oxpost_protocol::Secret;

use super::Failed;
use crate::config::Config;
use crate::gateway::open_store;

/// Longest client secret taken, in bytes. Entra's have 40 characters.
const SECRET_LIMIT: u64 = 4096;

#[derive(Debug, Subcommand)]
pub(super) enum ApplicationCommand {
    /// Seal the client secret of an application into the store; it is asked for, or read from standard input
    Secret {
        /// The name of the application in proxy.toml
        application: String,
    },
}

pub(super) async fn run(command: ApplicationCommand, config: &Config) -> Result<(), Failed> {
    let ApplicationCommand::Secret { application } = command;
    if config.applications.get(&application).is_none() {
        return Err(Failed::new(format!("proxy.toml has no application `{application}`.")));
    }
    let secret = ask()?;
    if secret.is_empty() {
        return Err(Failed::new("the secret is empty; nothing was stored."));
    }
    open_store(config).await?.set_client_secret(&application, &secret).await?;
    println!("Stored the client secret of `{application}`, sealed.");
    Ok(())
}

/// Asks without an echo at a terminal, and reads standard input otherwise. Never from an argument: those are seen by
/// every user of the machine.
fn ask() -> Result<Secret, Failed> {
    if std::io::stdin().is_terminal() {
        let typed = rpassword::prompt_password("Client secret (the Value, not the Secret ID): ")?;
        return Ok(Secret::new(typed.trim()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(SECRET_LIMIT).read_to_end(&mut bytes)?;
    let read = Secret::new(bytes);
    Ok(Secret::new(read.reveal().trim_ascii()))
}
