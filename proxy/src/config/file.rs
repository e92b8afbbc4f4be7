//! The shape of `proxy.toml` on disk. Every key an administrator can write is a field here, in kebab-case.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use oxpost_token_store::RefreshLimits;
use serde::Deserialize;

use super::account::Account;
use super::login_throttle::LoginThrottle;
use super::problem::BACKSLASHES;

/// Longest name of a password for mail programs, in characters.
pub(crate) const PASSWORD_NAME_LIMIT: usize = 64;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct File {
    /// The name this machine gives itself in greetings and in EHLO; by default the host's.
    pub host_name: Option<String>,
    /// `[[listener]]`
    pub listener: Vec<Listener>,
    /// `[[application]]`
    pub application: Vec<Application>,
    /// `[[account]]`
    pub account: Vec<Account>,
    /// `[[provider]]`
    pub provider: Vec<Provider>,
    /// `[store]`
    pub store: Store,
    /// `[trust]`
    pub trust: Trust,
    /// `[log]`
    pub log: Log,
    /// `[notify]`
    pub notify: super::notify::Section,
    /// `[journal]`
    pub journal: super::journal::Section,
    /// `[limits]`
    pub limits: Limits,
    /// `[login-throttle]`
    pub login_throttle: LoginThrottle,
}

/// `[[listener]]`: an address clients connect to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Listener {
    /// The protocol spoken there.
    pub protocol: Protocol,
    /// Address and port, such as `127.0.0.1:1143`.
    pub address: String,
    /// Whether and when TLS starts.
    #[serde(default)]
    pub tls: ListenerTls,
    /// Certificate chain, PEM.
    pub certificate: Option<FilePath>,
    /// Private key, PEM.
    pub private_key: Option<FilePath>,
    /// Passwords may cross a network unencrypted.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// A login is refused until TLS is on. By default wherever passwords may not cross the network unencrypted.
    pub tls_before_login: Option<bool>,
    /// Client networks served.
    #[serde(default)]
    pub networks: Vec<String>,
    /// `[[listener.device]]`
    #[serde(default)]
    pub device: Vec<super::device::Section>,
}

/// `[[application]]`: an app registration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Application {
    /// What accounts call it.
    pub name: String,
    /// A preset or the name of a `[[provider]]`.
    #[serde(default = "office365")]
    pub provider: String,
    /// Tenant id or verified domain, or `organizations`, `common`, `consumers`. A managed identity needs none.
    pub tenant: Option<String>,
    /// Application (client) id. Of a managed identity it is needed only where the machine has several.
    #[serde(default)]
    pub client_id: String,
    /// Where the registration sends the browser back to; `http://localhost` by default.
    pub redirect_uri: Option<String>,
    /// A file that holds the client secret and nothing else.
    pub client_secret_file: Option<FilePath>,
    /// An environment variable that holds the client secret.
    pub client_secret_environment: Option<String>,
    /// The day that secret expires, such as `2027-06-30`: it is known at Microsoft only.
    pub client_secret_expires: Option<String>,
    /// A certificate that is registered with it, PEM.
    pub certificate: Option<FilePath>,
    /// The certificate's private key, PEM, if it is not in the same file.
    pub private_key: Option<FilePath>,
    /// Certificate and private key in one file, PKCS#12.
    pub pfx_file: Option<FilePath>,
    /// A file that holds the passphrase of the PFX file and nothing else.
    pub pfx_passphrase_file: Option<FilePath>,
    /// A certificate that takes the place of the current one when that is refused, PEM.
    pub next_certificate: Option<FilePath>,
    /// Its private key, PEM, if it is not in the same file.
    pub next_private_key: Option<FilePath>,
    /// The same two in one file, PKCS#12.
    pub next_pfx_file: Option<FilePath>,
    /// A file that holds the passphrase of that PFX file and nothing else.
    pub next_pfx_passphrase_file: Option<FilePath>,
    /// How the certificate's key signs.
    pub assertion: Option<Assertion>,
    /// A file with a client assertion that a platform keeps current (workload identity federation).
    pub federated_token_file: Option<FilePath>,
    /// The application is the identity of this machine in Azure.
    pub managed_identity: Option<Machine>,
    /// Where the machine's own service is, if not at its usual address.
    pub managed_identity_endpoint: Option<String>,
    /// Where the agent of Azure Arc writes its key files, if not in its usual folder.
    pub managed_identity_keys: Option<FilePath>,
}

/// The service of this machine that issues tokens of its managed identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Machine {
    /// The instance metadata service of a virtual machine in Azure.
    AzureVm,
    /// The agent of Azure Arc, on a server that is elsewhere.
    AzureArc,
}

/// How a certificate's key signs client assertions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Assertion {
    /// RSASSA-PSS, the certificate named by its SHA-256 thumbprint.
    #[default]
    Ps256,
    /// RSASSA-PKCS1-v1_5, the certificate named by its SHA-1 thumbprint.
    Rs256,
}

fn office365() -> String {
    "office365".to_owned()
}

/// `[[provider]]`: a mail service that is not a preset.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Provider {
    /// What applications call it.
    pub name: String,
    /// The preset for what is not written here.
    pub based_on: Option<String>,
    /// Its IMAP server.
    pub imap: Option<Server>,
    /// Its POP3 server.
    pub pop3: Option<Server>,
    /// Its SMTP submission server.
    pub smtp: Option<Server>,
    /// Whether it documents that its SMTP server accepts the token in the AUTH command itself, which saves a round trip.
    pub smtp_initial_response: Option<bool>,
    /// What its SMTP server accepts from one mailbox.
    pub sending: Option<Sending>,
    /// Its authority, without the tenant: `https://login.microsoftonline.com`.
    pub authority: Option<String>,
    /// The page where a person signs in, where it is not `{authority}/{tenant}/oauth2/v2.0/authorize`.
    pub authorize_url: Option<String>,
    /// The token endpoint, where it is not `{authority}/{tenant}/oauth2/v2.0/token`.
    pub token_url: Option<String>,
    /// The device code endpoint, where it is not `{authority}/{tenant}/oauth2/v2.0/devicecode`.
    pub device_code_url: Option<String>,
    /// Further parameters of the sign-in page's address.
    #[serde(default)]
    pub authorize_parameters: BTreeMap<String, String>,
    /// Whether it can say who signed in (OpenID Connect).
    pub openid: Option<bool>,
    /// What a signed-in user's token is asked for.
    pub delegated_scopes: Option<Vec<String>>,
    /// What an app-only token is asked for.
    pub app_scopes: Option<Vec<String>>,
}

/// One mail server of a `[[provider]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Server {
    /// DNS name, also the name its certificate must carry.
    pub host: String,
    /// Port.
    pub port: u16,
    /// When TLS begins.
    #[serde(default)]
    pub tls: ServerTls,
}

/// What an SMTP server takes of one mailbox; 0 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Sending {
    /// See [`super::SendingLimits::max_connections`].
    pub max_connections: Option<usize>,
    /// See [`super::SendingLimits::messages_per_minute`].
    pub messages_per_minute: Option<usize>,
    /// See [`super::SendingLimits::recipients_per_day`].
    pub recipients_per_day: Option<u64>,
}

/// `[store]`: where accounts and tokens are kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Store {
    /// The SQLite file; by default `oxpost.db`.
    pub path: Option<FilePath>,
    /// The URL of a PostgreSQL database, instead of a file.
    pub postgres: Option<String>,
    /// A file that holds the password for it and nothing else.
    pub postgres_password_file: Option<FilePath>,
    /// Where the key comes from that seals what is secret in it: `file:PATH`, `dpapi:PATH`, `credential:NAME` or
    /// `environment:NAME`.
    pub key: FilePath,
}

impl Default for Store {
    fn default() -> Self {
        Self { path: None, postgres: None, postgres_password_file: None, key: FilePath("file:oxpost.key".into()) }
    }
}

/// `[trust]`: whose certificates are believed upstream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Trust {
    /// Further certificate authorities, PEM.
    pub ca_file: Option<FilePath>,
    /// Whether the system's certificate authorities are trusted.
    pub system_roots: bool,
}

impl Default for Trust {
    fn default() -> Self {
        Self { ca_file: None, system_roots: true }
    }
}

/// `[log]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, `off`, or a filter such as `info,oxpost::server=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// `[limits]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Limits {
    /// See [`crate::limits::connection_slots::SlotLimits::max_connections`].
    pub max_connections: usize,
    /// See [`crate::limits::connection_slots::SlotLimits::max_unauthenticated`].
    pub max_unauthenticated: usize,
    /// See [`crate::limits::connection_slots::SlotLimits::max_unauthenticated_per_source`].
    pub max_unauthenticated_per_source: usize,
    /// See [`crate::limits::connection_slots::SlotLimits::max_sessions_per_account`]; by default it depends on `max-connections`.
    pub max_sessions_per_account: Option<usize>,
    /// See [`crate::limits::connection_slots::SlotLimits::max_sessions_per_delegate`]; by default it depends on `max-connections`.
    pub max_sessions_per_delegate: Option<usize>,
    /// See [`crate::limits::connection_slots::SlotLimits::max_sessions_per_source`]; by default it depends on `max-connections`.
    pub max_sessions_per_source: Option<usize>,
    /// See [`oxpost_token_store::AdmissionLimits::concurrent_hashes`].
    pub concurrent_password_checks: usize,
    /// See [`oxpost_token_store::AdmissionLimits::hashes_waiting`].
    pub password_checks_waiting: usize,
    /// See [`oxpost_token_store::RefreshLimits::per_authority`].
    pub concurrent_token_requests: usize,
    /// See [`oxpost_token_store::RefreshLimits::per_second`].
    pub token_requests_per_second: u32,
    /// See [`super::Limits::login_timeout`].
    pub login_timeout: Period,
    /// See [`super::Limits::upstream_timeout`].
    pub upstream_timeout: Period,
    /// See [`super::Limits::idle_timeout`].
    pub idle_timeout: Period,
    /// See [`super::Limits::smtp_command_timeout`].
    pub smtp_command_timeout: Period,
    /// See [`super::Limits::drain_timeout`].
    pub drain_timeout: Period,
    /// See [`super::Limits::send_slot_timeout`].
    pub send_slot_timeout: Period,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            // None of them holds more than 64 KiB.
            max_unauthenticated: 1_000,
            // A terminal server has a hundred users, and their programs reconnect within a second.
            max_unauthenticated_per_source: 200,
            max_sessions_per_account: None,
            max_sessions_per_delegate: None,
            max_sessions_per_source: None,
            concurrent_password_checks: 4,
            // Six seconds on one core.
            password_checks_waiting: 256,
            concurrent_token_requests: RefreshLimits::default().per_authority,
            token_requests_per_second: RefreshLimits::default().per_second,
            // Exchange waits 60 s for a login; a person typing into telnet deserves a little more.
            login_timeout: Period(Duration::from_secs(120)),
            // Outlook waits a minute for an answer unless configured otherwise, and must receive one before that. Exchange takes
            // about 9 s to refuse a POP3 login, and there may be two attempts.
            upstream_timeout: Period(Duration::from_secs(50)),
            // RFC 9051, 5.4: not under 30 minutes. Exchange ends a session before that by itself.
            idle_timeout: Period(Duration::from_secs(35 * 60)),
            // RFC 5321, 4.5.3.2.7. Exchange gives a client as long.
            smtp_command_timeout: Period(Duration::from_secs(5 * 60)),
            // Exchange's answer to a message can take 40 s; systemd's own patience is 90 s.
            drain_timeout: Period(Duration::from_secs(60)),
            // Outlook waits a minute for an answer unless configured otherwise, .NET a hundred seconds for all of a message.
            send_slot_timeout: Period(Duration::from_secs(45)),
        }
    }
}

/// The mail protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IMAP4rev1, RFC 3501.
    Imap,
    /// POP3, RFC 1939.
    Pop3,
    /// SMTP submission, RFC 6409.
    Smtp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imap => "IMAP",
            Self::Pop3 => "POP3",
            Self::Smtp => "SMTP",
        })
    }
}

/// TLS towards clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerTls {
    /// Plain text; for loopback.
    #[default]
    None,
    /// Plain text that can be raised to TLS (STARTTLS, STLS).
    StartTls,
    /// TLS from the first byte.
    Implicit,
}

impl ListenerTls {
    /// Its name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "plain text",
            Self::StartTls => "STARTTLS",
            Self::Implicit => "TLS",
        }
    }
}

/// TLS towards a mail server. There is no "none": a token never crosses a network unencrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerTls {
    /// TLS from the first byte.
    #[default]
    Implicit,
    /// SMTP only: STARTTLS, RFC 3207.
    StartTls,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// A duration: `30s`, `5m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period(pub Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|_| {
            serde::de::Error::custom(format!("`{text}` is not a duration; write it like \"30s\", \"5m\" or \"1h 30m\""))
        })
    }
}

/// Where a file is; what is relative is relative to `proxy.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(pub PathBuf);

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // "C:\temp\new" is valid TOML with a tab and a line feed.
        if text.contains(char::is_control) {
            return Err(serde::de::Error::custom(format!("a path contains a control character; {BACKSLASHES}")));
        }
        Ok(Self(text.into()))
    }
}
