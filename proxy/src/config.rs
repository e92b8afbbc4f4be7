//! `proxy.toml`: read, checked, and made absolute.
//!
//! [`mod@file`] is its shape on disk, [`Config`] what the rest of the program works with; a `Config` exists only if everything
//! in it can be used.

mod account;
mod application_certificate;
mod check;
mod credential;
mod device;
pub(crate) mod file;
mod journal;
mod log;
mod login_throttle;
mod mail_service;
pub(crate) mod notify;
mod password_checks;
mod positions;
mod problem;
mod provider;
mod read;
mod renamed;
mod secret;
mod senders;
mod slots;
mod store;
mod token_requests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use oxpost_token_store::text_file::{Text, TextFile};
use oxpost_token_store::{AdmissionLimits, Applications, KeySource, PostgresSettings, RefreshLimits};

pub(crate) use account::DeclaredAccount;
pub(crate) use application_certificate::{CertificateFiles, Slot};
pub use device::Device;
pub(crate) use file::LogFormat;
pub use file::{ListenerTls, Protocol, ServerTls};
pub(crate) use journal::JournalSettings;
pub(crate) use log::{QUIET, log_filter};
pub use mail_service::MailService;
pub(crate) use notify::date;
pub(crate) use notify::{Command as NotifyCommand, Notify, Webhook};
pub(crate) use problem::ConfigError;
#[cfg(test)]
pub(crate) use provider::PRESETS;

use crate::limits::connection_slots::SlotSettings;
use crate::limits::login_throttle::ThrottleLimits;

/// Longest `proxy.toml` read, in bytes. An `[[account]]` has some 200.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

/// The error for a configuration without a listener.
pub(crate) const NO_LISTENER: &str = "proxy.toml has no [[listener]]. Add at least one.";

/// A configuration that was checked. Paths are absolute or relative to the working directory of the process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The addresses clients connect to.
    pub listeners: Vec<Listener>,
    /// The app registrations accounts can use, with what they need of their provider.
    pub applications: Applications,
    /// The files of the applications' certificates, with the application's name.
    pub(crate) certificate_files: Vec<(String, CertificateFiles)>,
    /// The accounts that the file declares.
    pub accounts: Vec<DeclaredAccount>,
    /// The mail servers of each application, under its name.
    pub servers: std::collections::HashMap<String, Servers>,
    /// Where the store is.
    pub store: StorePlace,
    /// What the files of this node alone are named after: the store's file or, with PostgreSQL, `oxpost` in the folder of proxy.toml.
    pub own_files: PathBuf,
    /// Where the key comes from that seals tokens and secrets in the store.
    pub key: KeySource,
    /// A file of further certificate authorities to trust upstream, PEM.
    pub ca_file: Option<PathBuf>,
    /// The line of `proxy.toml` that names it.
    pub ca_file_line: Option<usize>,
    /// Whether the system's certificate authorities are trusted upstream.
    pub system_roots: bool,
    /// What is logged.
    pub log: Log,
    /// How alerts are delivered.
    pub notify: Notify,
    /// What the journal keeps.
    pub journal: JournalSettings,
    /// Timeouts.
    pub limits: Limits,
    /// How many connections and sessions there may be.
    pub slots: SlotSettings,
    /// What bounds guesses at passwords.
    pub login_throttle: ThrottleLimits,
    /// What checking passwords may cost.
    pub admission: AdmissionLimits,
    /// How many token requests are made, and how fast.
    pub refresh: RefreshLimits,
    /// The name this machine gives itself in greetings and in EHLO.
    pub host_name: String,
}

/// Where accounts and tokens are kept.
#[derive(Debug, Clone)]
pub enum StorePlace {
    /// In a SQLite file, for one node.
    File(PathBuf),
    /// In a PostgreSQL database, for several.
    Postgres(Box<PostgresSettings>),
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(settings) => f.write_str(settings.server()),
        }
    }
}

/// One address clients connect to.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The protocol spoken there.
    pub protocol: Protocol,
    /// The address and port.
    pub address: SocketAddr,
    /// Whether and when TLS is spoken.
    pub tls: ListenerTls,
    /// Certificate chain and private key, PEM, when TLS is spoken.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A login is refused until TLS is on.
    pub tls_before_login: bool,
    /// The networks served; a connection from elsewhere is closed immediately.
    pub networks: Vec<IpNet>,
    /// Clients that may send without a login.
    pub devices: Vec<Device>,
    /// Where the file says so.
    pub lines: ListenerLines,
}

/// On which lines of `proxy.toml` a listener is declared, counted from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerLines {
    /// That of `address`.
    pub address: Option<usize>,
    /// That of `certificate`.
    pub certificate: Option<usize>,
    /// That of `private-key`.
    pub private_key: Option<usize>,
}

/// The mail servers of one application's provider.
#[derive(Debug, Clone)]
pub struct Servers {
    /// IMAP, implicit TLS.
    pub imap: Server,
    /// POP3, implicit TLS.
    pub pop3: Server,
    /// SMTP submission.
    pub smtp: Server,
    /// Whether the provider documents that its SMTP server accepts AUTH with an initial response.
    pub smtp_initial_response: bool,
    /// What the SMTP server accepts from one mailbox.
    pub sending: SendingLimits,
    /// Whose servers they are, which decides what their replies mean.
    pub service: MailService,
}

impl Servers {
    /// The server of one protocol.
    pub fn of(&self, protocol: Protocol) -> &Server {
        match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
            Protocol::Smtp => &self.smtp,
        }
    }
}

/// What an SMTP server accepts from one mailbox. Excess messages wait; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendingLimits {
    /// Sessions at the same time.
    pub max_connections: usize,
    /// Messages within any minute.
    pub messages_per_minute: usize,
    /// Recipients within any day. They are counted and warned about, not held back.
    pub recipients_per_day: u64,
}

/// One mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its DNS name, which is also the name its certificate must carry.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When TLS begins.
    pub tls: ServerTls,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// A filter such as `info` or `oxpost=debug`.
    pub level: String,
    /// One line of text or one JSON object per event.
    pub format: LogFormat,
}

/// Timeouts that an administrator may change, in wall time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a client may take to log in, from its connection on, not counting what the upstream takes.
    pub login_timeout: Duration,
    /// How long the whole upstream login may take: the wait for a send slot, a back-off, the token, both attempts.
    pub upstream_timeout: Duration,
    /// How long a logged-in IMAP or POP3 session may go without a byte in either direction.
    pub idle_timeout: Duration,
    /// How long an SMTP client may take for its next command after the login, or for the next part of a message.
    pub smtp_command_timeout: Duration,
    /// How long sessions may continue after a stop was requested.
    pub drain_timeout: Duration,
    /// How long a client waits for a send slot; at the login, within nine tenths of `upstream_timeout`.
    pub send_slot_timeout: Duration,
}

impl Config {
    /// Reads and checks a file, with overrides from the environment (`OXPOST__LOG__LEVEL=debug`).
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line and the remedy.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with_text(path).map(|(config, _)| config)
    }

    /// The same, with the text of the file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line and the remedy.
    pub(crate) fn load_with_text(path: &Path) -> Result<(Self, Text), ConfigError> {
        let text = TextFile::open(path).and_then(|file| file.text(FILE_LIMIT));
        let text = text.map_err(|error| ConfigError::unreadable(&error.about("the configuration")))?;
        let parsed = read::parse(path, text.reveal())?;
        let config = check::check(path, text.reveal(), parsed)?;
        Ok((config, text))
    }

    /// Checks a text as if it were this file.
    pub(crate) fn try_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        check::check(path, text, read::parse_alone(path, text)?)
    }
}

/// The mail servers of a preset.
#[cfg(test)]
pub(crate) fn preset_hosts(name: &str) -> Option<[String; 3]> {
    provider::preset(name).map(|preset| [preset.imap.host, preset.pop3.host, preset.smtp.host])
}

#[cfg(test)]
mod tests;
