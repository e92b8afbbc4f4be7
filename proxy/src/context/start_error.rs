//! Why Oxpost cannot start.

use std::fmt;
use std::io;

use oxpost_token_store::database::DatabaseError;
use oxpost_token_store::{KeySource, StoreError, VaultError};

use crate::config::{Config, ConfigError, Listener};
use crate::net::tls::TlsError;
use crate::platform;

/// What keeps Oxpost from starting.
#[derive(Debug)]
pub enum StartError {
    /// There is a store, and its key has gone.
    KeyMissing {
        /// Where the key should be.
        key: KeySource,
        /// The store it belongs to.
        store: String,
    },
    /// There is a key, and the store that it was made for is missing or empty.
    StoreMissing {
        /// Where the store should be.
        store: String,
        /// Its key.
        key: KeySource,
    },
    /// The key file.
    Vault(VaultError),
    /// The store.
    Store(StoreError),
    /// What the configuration says cannot be done: its certificates, addresses, accounts.
    Config(ConfigError),
    /// The HTTP client.
    Http(String),
    /// Several of these.
    Several(Vec<StartError>),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMissing { key, store } => write!(
                f,
                "{key} is missing, and without it the store {store} cannot be opened. Copy it from another node that uses this \
                 store, or put it back from your backup; if it is lost, move the store away too, then add the accounts and sign \
                 in again."
            ),
            Self::StoreMissing { store, key } => write!(
                f,
                "the store {store} is missing or empty, although {key} is there. Put the store back (check that its disk is mounted; \
                 `oxpost store restore FILE` restores a backup). If this is a new installation, make an empty store: oxpost store \
                 create"
            ),
            Self::Vault(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Http(error) => f.write_str(error),
            Self::Several(errors) => {
                for (index, error) in errors.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{error}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    pub(super) fn database(error: DatabaseError) -> Self {
        Self::Store(error.into())
    }

    /// A certificate authority that `[trust]` names cannot be used, or the system has none.
    pub(crate) fn trust(config: &Config, error: &TlsError) -> Self {
        let line = error.path().and(config.ca_file_line);
        Self::Config(ConfigError::of_file(&config.file, vec![(line, error.to_string())]))
    }

    /// The certificate or key of a listener cannot be used.
    pub(crate) fn certificate(config: &Config, listener: &Listener, error: &TlsError) -> Self {
        let of_key = listener
            .certificate
            .as_ref()
            .is_some_and(|(certificate, key)| certificate != key && error.path() == Some(key.as_path()));
        let line = if of_key { listener.lines.private_key } else { listener.lines.certificate };
        Self::Config(ConfigError::of_file(&config.file, vec![(line, error.to_string())]))
    }

    /// A listener's address cannot be bound.
    pub(crate) fn address(config: &Config, listener: &Listener, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "Another program (perhaps another Oxpost) already listens there; stop it or choose another port in proxy.toml."
            }
            io::ErrorKind::PermissionDenied => platform::PORT_REFUSED_ADVICE,
            io::ErrorKind::AddrNotAvailable => "This machine has no such address; check `address` in proxy.toml.",
            _ => "Check `address` in proxy.toml.",
        };
        let sentence = format!("cannot listen on {}: {error}. {advice}", listener.address);
        Self::Config(ConfigError::of_file(&config.file, vec![(listener.lines.address, sentence)]))
    }

    /// The errors one by one.
    pub(crate) fn each(&self) -> Vec<&Self> {
        match self {
            Self::Several(errors) => errors.iter().flat_map(Self::each).collect(),
            one => vec![one],
        }
    }

    /// The sentences as they are printed, each with its line of the configuration where it has one.
    pub(crate) fn sentences(&self) -> Vec<(Option<usize>, String)> {
        let of = |error: &Self| -> Vec<(Option<usize>, String)> {
            match error {
                Self::Config(error) => error.sentences().collect(),
                other => vec![(None, other.to_string())],
            }
        };
        self.each().into_iter().flat_map(of).collect()
    }

    pub(super) fn store_missing(config: &Config) -> Self {
        Self::StoreMissing { store: config.store.to_string(), key: config.key.clone() }
    }
}
