//! `oxpost check`: checks the configuration, its files and the store.

use std::collections::HashSet;
use std::path::Path;
use std::time::SystemTime;

use oxpost_protocol::smtp::sender_policy::Pattern;
use oxpost_token_store::{Applications, Credential, Mailbox, Origin, SenderMode, Store};

use super::Failed;
use crate::admin::credential_expiry;
use crate::admin::reconcile;
use crate::config::NO_LISTENER;
use crate::config::{Config, Device, Listener};
use crate::context::open_existing_store;
use crate::net::certificate::CertificateInfo;
use crate::net::tls;
use crate::server::device;

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
    let store = open_existing_store(config).await?;
    let applications = accounts(config, store.as_ref()).await?;
    let missing = device::without_account(config, store.as_ref()).await?;
    let declared: HashSet<&Mailbox> = config.accounts.iter().map(|account| &account.declared.mailbox).collect();
    let ends = credential_expiry::ends(&applications, SystemTime::now());
    if let Some(end) = ends.iter().find(|end| end.has_passed()) {
        return Err(Failed::new(format!("{end}.")));
    }
    println!("{} is valid.", path.display());
    for listener in &config.listeners {
        println!("  {} on {}, {}", listener.protocol, listener.address, listener.tls.name());
        for device in &listener.devices {
            println!("    {}", without_login(device));
        }
        if let Some(info) = certificate(listener) {
            let near = if info.expires_soon(SystemTime::now()) {
                "; renew it (`oxpost cert` if that command created it)"
            } else {
                ""
            };
            println!("    certificate for {}, valid until {}{near}", info.names.join(", "), info.expiry_date());
        }
    }
    for mailbox in missing.iter().filter(|mailbox| !declared.contains(mailbox)) {
        println!("  a device sends as {mailbox}, which has no account yet: oxpost account add {mailbox}");
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
    for warning in credential_expiry::secret_id_warnings(&config.applications) {
        println!("  warning: {warning}");
    }
    for account in &config.accounts {
        println!("  account {}", account.declared.mailbox);
    }
    if names.is_empty() {
        println!("  no [[application]] yet: add the tenant and client id of your app registration");
    }
    Ok(())
}

/// Which clients may send without a login, as which sender and to which recipients.
fn without_login(device: &Device) -> String {
    let Device { networks, account, senders, recipients, messages_per_minute } = device;
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let to = match recipients {
        None => "any recipient".to_owned(),
        Some(patterns) => patterns.iter().map(Pattern::name).collect::<Vec<_>>().join(", "),
    };
    let others = match senders.mode {
        SenderMode::AsIs => "refused",
        SenderMode::Account => "replaced",
        SenderMode::Map => "replaced by the map",
    };
    let allowed: String = senders.allowed.iter().map(|sender| format!(", {sender}")).collect();
    format!(
        "without a login: {} sends as {account}{allowed} (other senders are {others}) to {to}, {messages_per_minute} messages a minute",
        networks.join(", ")
    )
}

/// What the certificate of a listener says.
fn certificate(listener: &Listener) -> Option<CertificateInfo> {
    let (certificate, _) = listener.certificate.as_ref()?;
    tls::certificates(certificate).ok()?.first().and_then(CertificateInfo::of)
}

/// Checks that the applications suit their accounts, and returns the applications with the expiries that the store knows. Does not
/// create a store.
async fn accounts(config: &Config, store: Option<&Store>) -> Result<Applications, Failed> {
    let Some(store) = store else { return Ok(config.applications.clone()) };
    reconcile::check(config, store).await?;
    if let Some(changed) = store.audit_access().await?.changed.first() {
        return Err(Failed::new(format!(
            "access data in the database was changed outside Oxpost: {changed}. `oxpost store confirm` shows all changes; \
             `oxpost store undo` reverts them"
        )));
    }
    let kept = store.accounts().await?.into_iter().filter(|account| account.origin == Origin::Command);
    for account in kept {
        let Some(application) = config.applications.get(&account.application) else { continue };
        application.suits(account.grant).map_err(|problem| Failed::new(format!("{}: {problem}", account.mailbox)))?;
    }
    Ok(config.applications.with_secret_expiries(&store.secret_expiries().await?))
}
