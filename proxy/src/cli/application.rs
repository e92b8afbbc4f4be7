//! `oxpost application …`

use std::time::SystemTime;

use clap::Subcommand;
use oxpost_protocol::Secret;
use oxpost_token_store::{Application, Credential};

use super::Failed;
use super::ask::ask;
use crate::admin::credential_expiry;
use crate::config::{Config, date};
use crate::context::open_store;

#[derive(Debug, Subcommand)]
pub(super) enum ApplicationCommand {
    /// Seal the client secret of an application into the store; it is asked for, or read from standard input
    Secret {
        /// The name of the application in proxy.toml
        application: String,
        /// Keep the current secret until Microsoft refuses it, and use this one then: a secret is replaced before it expires, while
        /// the service runs
        #[arg(long)]
        next: bool,
        /// The day it expires, as Microsoft shows it next to the secret: `oxpost status` and the log warn from 30 days before
        #[arg(long, value_name = "YYYY-MM-DD", value_parser = secret_end)]
        expires: Option<SystemTime>,
        /// Accept a client secret that is a GUID, as older versions of the Azure CLI created them
        #[arg(long)]
        allow_guid: bool,
    },
}

pub(super) async fn run(command: ApplicationCommand, config: &Config) -> Result<(), Failed> {
    let ApplicationCommand::Secret { application, next, expires, allow_guid } = command;
    let Some(configured) = config.applications.get(&application) else {
        return Err(Failed::new(format!("proxy.toml has no application `{application}`.")));
    };
    if next {
        may_have_next(config, configured)?;
    } else if expires.is_some() {
        may_have_end(config, &application)?;
    }
    let secret = ask("Client secret (the Value, not the Secret ID): ", "the client secret's Value")?;
    let secret = Secret::new(secret.reveal().trim_ascii());
    if secret.is_empty() {
        return Err(Failed::new("the secret is empty; nothing was stored."));
    }
    if !allow_guid && configured.looks_like_secret_id(&secret) {
        let what = credential_expiry::secret_id_warning(&application);
        return Err(Failed::new(format!(
            "{what} Nothing was stored. If the client secret really is a GUID, as older versions of the Azure CLI created them, add --allow-guid."
        )));
    }
    let store = open_store(config).await?;
    if next && store.has_client_secret(&application).await? {
        let Some(current) = store.client_secret(&application).await? else {
            return Err(Failed::new(format!(
                "the current client secret of `{application}` does not open: its row is damaged. The next one is used in its place. To replace \
                 it, run this command without --next. Nothing was stored."
            )));
        };
        if current == secret {
            return Err(Failed::new("this is the current client secret; nothing was stored."));
        }
        store.set_next_client_secret(&application, &secret, expires).await?;
        println!(
            "Stored the next client secret of `{application}`, sealed. The current one is used until Microsoft refuses it; then this one \
             takes its place, and the old one is removed from the store."
        );
        return Ok(());
    }
    store.set_client_secret(&application, &secret).await?;
    println!("Stored the client secret of `{application}`, sealed.");
    if configured.client_secret.is_some() {
        println!(
            "It is not used yet: {} has one as well (client-secret-file or client-secret-environment). Remove it there, and restart \
             Oxpost.",
            config.file.display()
        );
    }
    match expires {
        Some(expires) => store.set_secret_expiry(&application, expires).await?,
        None if store.forget_secret_expiry(&application).await? => {
            println!(
                "The end that was known was that of the old one, and is forgotten; say that of the new one with --expires."
            );
        }
        None => {}
    }
    Ok(())
}

/// Whether a next client secret would be used.
fn may_have_next(config: &Config, application: &Application) -> Result<(), Failed> {
    let (name, file) = (&application.name, config.file.display());
    if !matches!(application.credential, Credential::Secret) {
        return Err(Failed::new(format!(
            "the application {name} proves itself with a {}, not with a client secret.",
            application.credential.name()
        )));
    }
    if application.client_secret.is_some() {
        return Err(Failed::new(format!(
            "{file} has the client secret of {name} (client-secret-file or client-secret-environment), and there is one of those only. \
             Store it with `oxpost application secret {name}`, remove it from {file}, and restart Oxpost; then store the next one."
        )));
    }
    if application.client_secret_expires.is_some() {
        return Err(Failed::new(format!(
            "{file} says when the client secret of {name} ends (client-secret-expires), which would be wrong once the next one is used. \
             Remove it there, and restart Oxpost; then store the next one."
        )));
    }
    Ok(())
}

/// A day that has not passed, at its beginning: a secret that ends too late is worse than one that ends too early.
pub(super) fn secret_end(text: &str) -> Result<SystemTime, String> {
    let end = date(text)?;
    if end <= SystemTime::now() {
        return Err(format!("{text} has passed; make a new secret first"));
    }
    Ok(end)
}

/// Whether the end of its client secret is for the store to know.
pub(super) fn may_have_end(config: &Config, application: &str) -> Result<(), Failed> {
    let Some(found) = config.applications.get(application) else { return Ok(()) };
    if !matches!(found.credential, Credential::Secret) {
        return Err(Failed::new(format!(
            "the application {application} proves itself with a {}, not with a client secret; its end is known.",
            found.credential.name()
        )));
    }
    if found.client_secret_expires.is_some() {
        return Err(Failed::new(format!(
            "{} says when the client secret of {application} ends (client-secret-expires); change it there.",
            config.file.display()
        )));
    }
    Ok(())
}
