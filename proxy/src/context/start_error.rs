//! Why Oxpost cannot start.

use std::fmt;

use oxpost_token_store::database::DatabaseError;
use oxpost_token_store::{KeySource, StoreError, VaultError};

use crate::config::{Config, ConfigError};
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
    /// The accounts that the configuration declares do not go together with those of the store.
    Declared(ConfigError),
    /// Certificates and trust.
    Tls(TlsError),
    /// The HTTP client.
    Http(String),
    /// A listener's address cannot be bound.
    Bind(std::net::SocketAddr, std::io::Error),
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
            Self::Tls(error) => error.fmt(f),
            Self::Declared(error) => error.fmt(f),
            Self::Http(error) => f.write_str(error),
            Self::Bind(address, error) => {
                write!(f, "cannot listen on {address}: {error}. ")?;
                match error.kind() {
                    std::io::ErrorKind::AddrInUse => write!(
                        f,
                        "Another program (perhaps another Oxpost) already listens there; stop it or choose another port in \
                         proxy.toml."
                    ),
                    std::io::ErrorKind::PermissionDenied => f.write_str(platform::PORT_REFUSED_ADVICE),
                    std::io::ErrorKind::AddrNotAvailable => {
                        write!(f, "This machine has no such address; check `address` in proxy.toml.")
                    }
                    _ => write!(f, "Check `address` in proxy.toml."),
                }
            }
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    pub(super) fn database(error: DatabaseError) -> Self {
        Self::Store(error.into())
    }

    pub(super) fn store_missing(config: &Config) -> Self {
        Self::StoreMissing { store: config.store.to_string(), key: config.key.clone() }
    }
}
