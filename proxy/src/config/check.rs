//! From a file that could be parsed to a [`Config`] that can be used: what a type cannot say is checked here, all of it
//! at once, so that an administrator mends a file in one go.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use oxpost_protocol::Secret;
use oxpost_token_store::{Application, Applications, KeySource};
use rustls::pki_types::ServerName;
use url::Url;

use super::account::{self, DeclaredAccount};
use super::device;
use super::file::{self, File, ListenerTls, ServerTls};
use super::guarding;
use super::notify::{self, Notify};
use super::problem::{ConfigError, line_of, line_of_key};
use super::provider::{self, Provider};
use super::{Config, Limits, Listener, Log, Server, Servers, StorePlace, store};

/// The longest timeout taken. Nobody means more, and the clock must be able to add it.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest a client is let wait for its turn to send: it gives the answer to MAIL five minutes (RFC 5321, 4.5.3.2.2).
const LONGEST_WAIT: Duration = Duration::from_secs(4 * 60);

/// The most messages a minute that are counted one by one, and sessions at once.
const MOST_SENDING: usize = 10_000;

/// The longest period of another kind.
pub(super) const LONGEST_PERIOD: Duration = Duration::from_secs(366 * 24 * 3600);

/// Longest secret file read, in bytes. Entra's secrets have 40 characters.
const SECRET_FILE_LIMIT: u64 = 4096;

pub(super) fn check(path: &Path, text: &str, file: File) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut checker = Checker { text, folder, problems: Vec::new() };
    let listeners: Vec<Listener> =
        file.listener.iter().enumerate().filter_map(|(index, listener)| checker.listener(index, listener)).collect();
    checker.no_address_twice(&listeners);
    let (applications, servers) = checker.applications(&file);
    let (accounts, problems) = account::check(folder, &file, &applications);
    for (index, key, sentence) in problems {
        checker.report("account", Some(index), Some(key), sentence);
    }
    checker.limits(&file.limits);
    let (guard, admission, problems) = guarding::check(&file.limits, &file.wrong_passwords);
    for (section, key, sentence) in problems {
        checker.report(section, None, Some(key), sentence);
    }
    checker.trust(&file.trust);
    checker.log(&file.log);
    checker.host_name(file.host_name.as_deref());
    let key = checker.key(&file.store.key.0.to_string_lossy());
    let notify = checker.notify(&file.notify, key.as_ref());
    let store =
        store::place(&file.store, folder).map_err(|(key, sentence)| checker.report("store", None, Some(key), sentence));
    let (Some(key), Ok(store), true) = (key, store, checker.problems.is_empty()) else {
        return Err(ConfigError::of_file(path, checker.problems));
    };
    // Whatever was left out has a problem, and there is none.
    let accounts = accounts.into_iter().enumerate();
    let accounts = accounts
        .map(|(index, declared)| DeclaredAccount { declared, line: line_of(text, "account", Some(index), None) })
        .collect();
    Ok(Config {
        file: path.to_owned(),
        listeners,
        accounts,
        applications,
        servers,
        own_files: match &store {
            StorePlace::File(path) => path.clone(),
            StorePlace::Postgres(_) => folder.join("oxpost"),
        },
        store,
        key,
        ca_file: file.trust.ca_file.map(|ca_file| folder.join(ca_file.0)),
        system_roots: file.trust.system_roots,
        log: Log { level: file.log.level, format: file.log.format },
        notify,
        limits: Limits {
            connections: file.limits.connections,
            login_timeout: file.limits.login_timeout.0,
            upstream_timeout: file.limits.upstream_timeout.0,
            idle_timeout: file.limits.idle_timeout.0,
            drain_timeout: file.limits.drain_timeout.0,
            sending_wait: file.limits.sending_wait.0,
        },
        guard,
        admission,
        host_name: file.host_name.unwrap_or_else(own_host_name),
    })
}

struct Checker<'a> {
    text: &'a str,
    folder: &'a Path,
    problems: Vec<(Option<usize>, String)>,
}

impl Checker<'_> {
    fn report(&mut self, section: &str, index: Option<usize>, key: Option<&str>, sentence: impl Into<String>) {
        self.problems.push((line_of(self.text, section, index, key), sentence.into()));
    }

    fn listener(&mut self, index: usize, listener: &file::Listener) -> Option<Listener> {
        let before = self.problems.len();
        let folder = self.folder;
        let mut wrong = |key: &str, sentence: String| self.report("listener", Some(index), Some(key), sentence);
        let address: Option<SocketAddr> = listener.address.parse().ok();
        if address.is_none() {
            wrong(
                "address",
                format!("`{}` is not an address with a port; write it like \"127.0.0.1:1143\".", listener.address),
            );
        }
        let mut networks = Vec::new();
        for network in &listener.networks {
            match guarding::network(network) {
                Some(network) => networks.push(network),
                None => wrong("networks", format!("`{network}` is not a network; write it like \"192.168.1.0/24\".")),
            }
        }
        let certificate = match (listener.tls, &listener.certificate, &listener.private_key) {
            (ListenerTls::None, None, None) => None,
            (ListenerTls::None, _, _) => {
                wrong(
                    "certificate",
                    "a certificate is named but tls is \"none\"; set tls = \"start-tls\" or \"implicit\".".into(),
                );
                None
            }
            (_, Some(certificate), Some(key)) => Some((folder.join(&certificate.0), folder.join(&key.0))),
            (_, _, _) => {
                wrong("tls", "TLS needs both `certificate` and `private-key` (PEM files).".into());
                None
            }
        };
        if let Some(address) = address
            && !address.ip().is_loopback()
        {
            if listener.tls == ListenerTls::None && !listener.allow_plaintext {
                wrong(
                    "address",
                    format!(
                        "{address} can be reached from other machines, and without TLS their passwords would cross the network \
                         in clear. Set tls = \"start-tls\" or \"implicit\" with a certificate, or, if that is really meant, \
                         allow-plaintext = true."
                    ),
                );
            }
            if networks.is_empty() {
                wrong(
                    "address",
                    format!(
                        "{address} can be reached from other machines; list the networks it serves, for example \
                         networks = [\"192.168.1.0/24\"]."
                    ),
                );
            }
        }
        let (devices, wrong) = device::check(&listener.device, listener.protocol, &networks);
        for (number, key, sentence) in wrong {
            self.problems.push((device::line_of(self.text, index, number, key), sentence));
        }
        let mut wrong = |key: &str, sentence: String| self.report("listener", Some(index), Some(key), sentence);
        let reachable = address.is_some_and(|address| !address.ip().is_loopback());
        match (listener.tls_before_login, listener.tls) {
            (Some(true), ListenerTls::None) => wrong(
                "tls-before-login",
                "there is no TLS on this listener; set tls = \"start-tls\" or \"implicit\" with a certificate.".into(),
            ),
            (Some(false), ListenerTls::StartTls) if reachable && !listener.allow_plaintext => wrong(
                "tls-before-login",
                "with tls-before-login = false passwords may cross the network in clear; if that is really meant, set \
                 allow-plaintext = true as well."
                    .into(),
            ),
            _ => {}
        }
        let address = address.filter(|_| self.problems.len() == before)?;
        Some(Listener {
            protocol: listener.protocol,
            address,
            tls: listener.tls,
            certificate,
            tls_before_login: listener.tls == ListenerTls::StartTls
                && listener.tls_before_login.unwrap_or(reachable && !listener.allow_plaintext),
            networks,
            devices,
        })
    }

    fn no_address_twice(&mut self, listeners: &[Listener]) {
        let mut seen = HashSet::new();
        for (index, listener) in listeners.iter().enumerate() {
            if listener.address.port() != 0 && !seen.insert(listener.address) {
                let sentence =
                    format!("{} is taken by another listener above; give each its own port.", listener.address);
                self.report("listener", Some(index), Some("address"), sentence);
            }
        }
    }

    fn applications(&mut self, file: &File) -> (Applications, HashMap<String, Servers>) {
        let mut applications = Vec::new();
        let mut servers = HashMap::new();
        for (index, provider) in file.provider.iter().enumerate() {
            self.provider(index, provider);
        }
        for (index, application) in file.application.iter().enumerate() {
            if application.name.trim().is_empty() {
                self.report("application", Some(index), Some("name"), "an application needs a name.");
            }
            if servers.contains_key(&application.name) {
                let sentence = format!("there are two applications named `{}`.", application.name);
                self.report("application", Some(index), Some("name"), sentence);
            }
            let provider = match file.provider.iter().find(|provider| provider.name == application.provider) {
                // What is wrong with it was told above.
                Some(written) => Provider::spelt_out(written).ok(),
                None => {
                    let preset = provider::preset(&application.provider);
                    if preset.is_none() {
                        let sentence = provider::no_such(&application.provider);
                        self.report("application", Some(index), Some("provider"), sentence);
                    }
                    preset
                }
            };
            let Some(provider) = provider else { continue };
            if let Some(made) = self.application(index, application, &provider) {
                applications.push(made);
            }
            let of = |server: &file::Server| Server { host: server.host.clone(), port: server.port, tls: server.tls };
            servers.insert(
                application.name.clone(),
                Servers {
                    imap: of(&provider.imap),
                    pop3: of(&provider.pop3),
                    smtp: of(&provider.smtp),
                    sending: provider.sending,
                },
            );
        }
        (applications.into_iter().collect(), servers)
    }

    fn provider(&mut self, index: usize, provider: &file::Provider) {
        if provider::preset(&provider.name).is_some() {
            let sentence = format!("`{}` is the name of a preset; choose another one.", provider.name);
            self.report("provider", Some(index), Some("name"), sentence);
        }
        for (key, server) in [("imap", &provider.imap), ("pop3", &provider.pop3), ("smtp", &provider.smtp)] {
            let Some(server) = server else { continue };
            let host = ServerName::try_from(server.host.as_str());
            if host.is_err() || server.port == 0 {
                let sentence = format!(
                    "`{}`, port {}, is not a server; write host = \"imap.example.com\", port = 993.",
                    server.host, server.port
                );
                self.report("provider", Some(index), Some(key), sentence);
            }
        }
        if let Some(sending) = &provider.sending {
            self.sending(index, sending);
        }
        for (key, sentence) in Provider::spelt_out(provider).err().unwrap_or_default() {
            self.report("provider", Some(index), Some(key), sentence);
        }
        for (key, server) in [("imap", &provider.imap), ("pop3", &provider.pop3)] {
            if server.as_ref().is_some_and(|server| server.tls == ServerTls::StartTls) {
                let sentence =
                    "tls = \"start-tls\" is for smtp only; IMAP and POP3 servers are reached by implicit TLS.";
                self.report("provider", Some(index), Some(key), sentence);
            }
        }
        for (key, scopes) in [("delegated-scopes", &provider.delegated_scopes), ("app-scopes", &provider.app_scopes)] {
            if scopes.iter().flatten().any(|scope| scope.is_empty() || scope.contains(char::is_whitespace)) {
                self.report(
                    "provider",
                    Some(index),
                    Some(key),
                    "a scope is empty or has blanks; write each as its own string.",
                );
            }
        }
    }

    fn application(
        &mut self,
        index: usize,
        application: &file::Application,
        provider: &Provider,
    ) -> Option<Application> {
        let before = self.problems.len();
        let tenant = application.tenant.as_ref().or(provider.tenant.as_ref());
        for (key, value) in [("tenant", tenant), ("client-id", Some(&application.client_id))] {
            let Some(value) = value else { continue };
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if value.is_empty() && application.managed_identity.is_none() {
                let sentence = format!("the key is missing: `{key}`. Add it to this section.");
                self.report("application", Some(index), Some(key), sentence);
            } else if !value.chars().all(plain) {
                let sentence = format!(
                    "`{value}` cannot be a {key}; copy it from the Overview page of the app registration (Entra admin center)."
                );
                self.report("application", Some(index), Some(key), sentence);
            }
        }
        let client_secret = application.client_secret_file.as_ref().and_then(|secret_file| {
            read_secret(&self.folder.join(&secret_file.0), "the client secret's Value")
                .map_err(|sentence| self.report("application", Some(index), Some("client-secret-file"), sentence))
                .ok()
        });
        let client_secret = client_secret.or_else(|| {
            let variable = application.client_secret_environment.as_deref()?;
            secret_in_environment(variable)
                .map_err(|sentence| {
                    self.report("application", Some(index), Some("client-secret-environment"), sentence)
                })
                .ok()
        });
        let client_secret_expires = application.client_secret_expires.as_deref().and_then(|text| {
            let wrong = |sentence| self.report("application", Some(index), Some("client-secret-expires"), sentence);
            notify::date(text).map_err(wrong).ok()
        });
        let credential = super::credential::credential(self.folder, application)
            .map_err(|(key, sentence)| self.report("application", Some(index), Some(key), sentence))
            .unwrap_or_default();
        if let Some(text) = application.redirect_uri.as_deref()
            && !can_be_redirect(text)
        {
            let sentence = format!(
                "`{text}` cannot be a redirect-uri here; leave it out and register http://localhost, or write the https:// address that \
                 is registered."
            );
            self.report("application", Some(index), Some("redirect-uri"), sentence);
        }
        // A managed identity asks none of these addresses, and need not name a tenant for them.
        let tenant_or_any = tenant.map(String::as_str).or(application.managed_identity.map(|_| "common"));
        let endpoints = provider
            .endpoints(tenant_or_any)
            .map_err(|(key, sentence)| self.report("application", Some(index), Some(key), sentence))
            .ok()?;
        (self.problems.len() == before).then(|| Application {
            name: application.name.clone(),
            tenant: tenant.cloned(),
            authorize_url: endpoints.authorize,
            authorize_parameters: provider.authorize_parameters.clone().into_iter().collect(),
            redirect_uri: application.redirect_uri.clone(),
            openid: provider.openid,
            token_url: endpoints.token,
            device_code_url: endpoints.device_code,
            client_id: application.client_id.clone(),
            credential,
            client_secret,
            client_secret_expires,
            delegated_scopes: provider.delegated_scopes.clone(),
            app_scopes: provider.app_scopes.clone(),
        })
    }

    fn limits(&mut self, limits: &file::Limits) {
        if limits.connections == 0 {
            self.report(
                "limits",
                None,
                Some("connections"),
                "with 0 connections nobody can connect; the default is 10000.",
            );
        }
        if limits.sending_wait.0 > LONGEST_WAIT {
            let sentence = "at most 4 minutes: few mail programs wait longer for an answer.";
            self.report("limits", None, Some("sending-wait"), sentence);
        }
        for (key, period) in [
            ("login-timeout", limits.login_timeout),
            ("upstream-timeout", limits.upstream_timeout),
            ("idle-timeout", limits.idle_timeout),
            ("drain-timeout", limits.drain_timeout),
        ] {
            if period.0.is_zero() && key != "drain-timeout" {
                self.report("limits", None, Some(key), "a timeout of zero ends every session at once.");
            }
            if period.0 > LONGEST_TIMEOUT {
                self.report("limits", None, Some(key), "a timeout is at most 30 days.");
            }
        }
    }

    /// Numbers of messages and sessions that are meant as no limit are written 0.
    fn sending(&mut self, index: usize, sending: &file::Sending) {
        for (key, count) in [("at-once", sending.at_once), ("messages-per-minute", sending.messages_per_minute)] {
            if count.is_some_and(|count| count > MOST_SENDING) {
                let sentence = format!("{key} is at most {MOST_SENDING}; 0 is no limit.");
                self.report("provider", Some(index), Some("sending"), sentence);
            }
        }
    }

    fn trust(&mut self, trust: &file::Trust) {
        if !trust.system_roots && trust.ca_file.is_none() {
            let sentence = "with system-roots = false and no ca-file nobody is trusted; name a ca-file.";
            self.report("trust", None, Some("system-roots"), sentence);
        }
    }

    fn host_name(&mut self, name: Option<&str>) {
        if let Some(name) = name.filter(|name| !can_stand_in_ehlo(name)) {
            let sentence =
                format!("`{name}` cannot stand in an EHLO; write a DNS name such as \"gateway.contoso.com\".");
            self.problems.push((line_of_key(self.text, "host-name"), sentence));
        }
    }

    fn key(&mut self, key: &str) -> Option<KeySource> {
        match key.parse::<KeySource>() {
            Ok(source) => Some(source.within(self.folder)),
            Err(error) => {
                self.report("store", None, Some("key"), format!("{error}."));
                None
            }
        }
    }

    fn notify(&mut self, section: &notify::Section, key: Option<&KeySource>) -> Notify {
        let mut wrong = Vec::new();
        let notify = notify::check(self.folder, section, key, &mut wrong);
        for (key, sentence) in wrong {
            self.report("notify", None, Some(key), sentence);
        }
        notify
    }

    fn log(&mut self, log: &file::Log) {
        if let Err(error) = crate::log::filter(&log.level) {
            let sentence =
                format!("`{}` is not a log level ({error}); write error, warn, info, debug or trace.", log.level);
            self.report("log", None, Some("level"), sentence);
        }
    }
}

/// The address a browser comes back to: this machine, or a page whose address a person can copy.
fn can_be_redirect(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1"));
    let page = url.scheme() == "https" && url.has_host() || url.scheme() == "http" && here;
    page && url.query().is_none() && url.fragment().is_none()
}

/// A secret from a file that holds nothing else; a line end behind it is not part of it.
pub(super) fn read_secret(path: &Path, what: &str) -> Result<Secret, String> {
    let cannot = |error: &dyn Display| format!("{} cannot be read: {error}.", path.display());
    let length = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if length > SECRET_FILE_LIMIT {
        return Err(format!("{} is too large to hold nothing but {what} ({length} bytes).", path.display()));
    }
    let secret = Secret::new(std::fs::read(path).map_err(|error| cannot(&error))?);
    let trimmed = secret.reveal().trim_ascii();
    if trimmed.is_empty() {
        return Err(format!("{} is empty; put {what} into it.", path.display()));
    }
    Ok(Secret::new(trimmed))
}

/// A client secret that whoever starts us has put into a variable.
fn secret_in_environment(variable: &str) -> Result<Secret, String> {
    let value =
        Some(variable).filter(|name| !name.is_empty() && !name.contains(['=', '\0'])).and_then(std::env::var_os);
    let secret = value.as_deref().and_then(std::ffi::OsStr::to_str).map(|text| Secret::from(text.trim()));
    secret.filter(|secret| !secret.is_empty()).ok_or_else(|| {
        format!("the environment has no variable `{variable}` with the client secret's Value in it; set it where Oxpost is started.")
    })
}

/// The host's own name, as far as it can stand in an EHLO.
fn own_host_name() -> String {
    let name = hostname::get().unwrap_or_default().to_string_lossy().into_owned();
    if can_stand_in_ehlo(&name) { name } else { "oxpost.localdomain".into() }
}

/// RFC 5321, 4.1.2: letters, digits, hyphens and dots; at most 255 of them (4.5.3.1.2).
fn can_stand_in_ehlo(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    !name.is_empty() && name.len() <= 255 && name.chars().all(plain)
}
