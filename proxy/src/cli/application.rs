//! `oxpost application …`

use clap::Subcommand;
use oxpost_protocol::Secret;

use super::Failed;
use super::ask::ask;
use crate::config::Config;
use crate::gateway::open_store;

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
    let secret = ask("Client secret (the Value, not the Secret ID): ")?;
    let secret = Secret::new(secret.reveal().trim_ascii());
    if secret.is_empty() {
        return Err(Failed::new("the secret is empty; nothing was stored."));
    }
    open_store(config).await?.set_client_secret(&application, &secret).await?;
    println!("Stored the client secret of `{application}`, sealed.");
    Ok(())
}
