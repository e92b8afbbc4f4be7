//! `oxpost check`: everything that can be known without serving a client.

use std::path::Path;
use std::time::SystemTime;

use oxpost_token_store::{Applications, Credential, Origin};

use super::{Failed, NO_LISTENER, credential};
use crate::certificate::Held;
use crate::config::{Config, Listener, ListenerTls};
use crate::declared;
use crate::gateway::{StartError, open_existing_store};
use crate::tls;

pub(super) async fn check(config: &Config, path: &Path) -> Result<(), Failed> {
    if config.listeners.is_empty() {
        return Err(Failed::new(NO_LISTENER));
    }
    tls::client_config(config.ca_file.as_deref(), config.system_roots)?;
    for listener in &config.listeners {
        if let Some((certificate, key)) = &listener.certificate {
            tls::server_config(certificate, key)?;
        }
    }
    let applications = accounts(config).await?;
    let ends = credential::ends(&applications, SystemTime::now());
    if let Some(end) = ends.iter().find(|end| end.has_passed()) {
        return Err(Failed::new(format!("{end}.")));
    }
    println!("{} can be used.", path.display());
    for listener in &config.listeners {
        let tls = match listener.tls {
            ListenerTls::None => "plain text",
            ListenerTls::StartTls => "STARTTLS",
            ListenerTls::Implicit => "TLS",
        };
        println!("  {} on {}, {tls}", listener.protocol, listener.address);
        if let Some(held) = certificate(listener) {
            let near =
                if held.ends_soon(SystemTime::now()) { "; renew it (`oxpost cert`, if that made it)" } else { "" };
            println!("    certificate for {}, good until {}{near}", held.names.join(", "), held.last_day());
        }
    }
    let names = config.applications.names();
    for name in &names {
        match config.applications.get(name).map(|application| &application.credential) {
            None | Some(Credential::Secret) => println!("  application {name}"),
            Some(other) => println!("  application {name}, {}", other.name()),
        }
    }
    for end in &ends {
        println!("  {end}");
    }
    for account in &config.accounts {
        println!("  account {}", account.declared.mailbox);
    }
    if names.is_empty() {
        println!("  no [[application]] yet: add the tenant and client id of your app registration");
    }
    Ok(())
}

/// What the certificate of a listener says.
fn certificate(listener: &Listener) -> Option<Held> {
    let (certificate, _) = listener.certificate.as_ref()?;
    Held::of_pem(&std::fs::read(certificate).ok()?)
}

/// What accounts ask of their application and it cannot give; gives back what is known of the applications then. A store that
/// is not there yet has none, and is not made.
async fn accounts(config: &Config) -> Result<Applications, Failed> {
    let Some(store) = open_existing_store(config).await? else {
        if config.key.exists() {
            config.key.read().map_err(StartError::Vault)?;
        }
        return Ok(config.applications.clone());
    };
    declared::check(config, &store).await?;
    let kept = store.accounts().await?.into_iter().filter(|account| account.origin == Origin::Command);
    for account in kept {
        let Some(application) = config.applications.get(&account.application) else { continue };
        application.suits(account.grant).map_err(|problem| Failed::new(format!("{}: {problem}", account.mailbox)))?;
    }
    Ok(config.applications.with_secret_ends(&store.secret_ends().await?))
}
