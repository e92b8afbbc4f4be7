//! `oxpost check`: everything that can be known without serving a client.

use std::path::Path;

use super::{Failed, NO_LISTENER};
use crate::config::{Config, ListenerTls};
use crate::gateway::open_store;
use crate::tls;

pub(super) async fn check(config: &Config, path: &Path) -> Result<(), Failed> {
    if config.listeners.is_empty() {
        return Err(Failed::new(NO_LISTENER));
    }
    if config.store.exists() || config.key_file.exists() {
        open_store(config).await?;
    }
    tls::client_config(config.ca_file.as_deref(), config.system_roots)?;
    for listener in &config.listeners {
        if let Some((certificate, key)) = &listener.certificate {
            tls::server_config(certificate, key)?;
        }
    }
    println!("{} can be used.", path.display());
    for listener in &config.listeners {
        let tls = match listener.tls {
            ListenerTls::None => "plain text",
            ListenerTls::StartTls => "STARTTLS",
            ListenerTls::Implicit => "TLS",
        };
        println!("  {} on {}, {tls}", listener.protocol, listener.address);
    }
    let names = config.applications.names();
    for name in &names {
        println!("  application {name}");
    }
    if names.is_empty() {
        println!("  no [[application]] yet: add the tenant and client id of your app registration");
    }
    Ok(())
}
