//! What every session shares.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxpost_token_store::http::client_with_resolver;
use oxpost_token_store::{
    Accounts, HttpPolicy, KeySource, Postgres, SharedClock, Store, StoreError, Tokens, VaultError,
    database::{Database, DatabaseError, sqlite::Sqlite},
    store::STORE_SCHEMA,
};
use tokio_rustls::TlsConnector;

use crate::advertised_extensions::AdvertisedExtensions;
use crate::config::{Config, ConfigError, Limits, Servers, StorePlace};
use crate::connect::lookups::Lookups;
use crate::connection_slots::ConnectionSlots;
use crate::log_limits::LogLimits;
use crate::login_offers::LoginOffers;
use crate::login_throttle::LoginThrottle;
use crate::nodes::Nodes;
use crate::observe::Observer;
use crate::pacing::Pacing;
use crate::platform;
use crate::throttle::Throttles;
use crate::tls::{self, TlsError};

/// What every session shares: accounts, tokens, where the mail servers are, and the bounds.
pub struct Gateway {
    /// The accounts as they are stored.
    pub store: Store,
    /// How many connections there may be.
    pub slots: ConnectionSlots,
    /// What bounds guesses at passwords.
    pub throttle: LoginThrottle,
    /// The gate: local passwords, and those that Microsoft judges.
    pub accounts: Accounts,
    /// The tokens of the accounts.
    pub tokens: Tokens,
    /// What time it is.
    pub clock: SharedClock,
    /// The mail servers of each application.
    pub servers: std::collections::HashMap<String, Servers>,
    /// TLS towards mail servers.
    pub tls: TlsConnector,
    /// Lookups of the names of mail servers and authorities.
    pub lookups: Lookups,
    /// What SMTP clients are offered before they log in.
    pub advertised_extensions: AdvertisedExtensions,
    /// What mail servers offer at a login.
    pub login_offers: LoginOffers,
    /// This process among the nodes that share the store, if it is one that they share.
    pub nodes: Option<Arc<Nodes>>,
    /// Who may send when.
    pub pacing: Pacing,
    /// Mailboxes that mail servers want to be left alone.
    pub throttles: Throttles,
    /// Takes what is noticed in sessions.
    pub observer: Observer,
    /// Limits for lines that unauthenticated clients can cause.
    pub log_limits: LogLimits,
    /// Our own name.
    pub host_name: String,
    /// The bounds.
    pub limits: Limits,
    /// Where a fuzzer has its mail server.
    #[cfg(fuzzing)]
    pub dial: Dial,
}

/// Gives a connection to a mail server that lives in memory.
#[cfg(fuzzing)]
pub type Dial = Box<dyn Fn(&crate::config::Server) -> crate::stream::Stream + Send + Sync>;

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
    fn database(error: DatabaseError) -> Self {
        Self::Store(error.into())
    }

    fn store_missing(config: &Config) -> Self {
        Self::StoreMissing { store: config.store.to_string(), key: config.key.clone() }
    }
}

impl Gateway {
    /// Opens the store (creating it and its key at the first start) and prepares everything a session needs.
    ///
    /// # Errors
    /// Something of it cannot be used; the message says what to do.
    pub async fn open(config: &Config, clock: SharedClock) -> Result<Self, StartError> {
        Self::with(open_store(config).await?, config, clock)
    }

    /// The same with a store that is there already; nothing if there is none, and then nothing is made.
    ///
    /// # Errors
    /// Something of it cannot be used; the message says what to do.
    pub async fn open_existing(config: &Config, clock: SharedClock) -> Result<Option<Self>, StartError> {
        open_existing_store(config).await?.map(|store| Self::with(store, config, clock)).transpose()
    }

    fn with(store: Store, config: &Config, clock: SharedClock) -> Result<Self, StartError> {
        // Nodes compare what they have stored by one clock.
        let clock = store.clock(clock);
        let tls = tls::client_config(config.ca_file.as_deref(), config.system_roots).map_err(StartError::Tls)?;
        let lookups = Lookups::default();
        let http = client_with_resolver(tls.clone(), HttpPolicy::HttpsOnly, Arc::new(lookups.clone()))
            .map_err(|error| StartError::Http(error.to_string()))?;
        let tokens = Tokens::new(store.clone(), config.applications.clone(), http, Arc::clone(&clock), config.refresh);
        let accounts =
            Accounts::with_remote_verification(store.clone(), Arc::clone(&clock), config.admission, tokens.clone());
        let nodes = Nodes::of(&store, &config.host_name).map(Arc::new);
        Ok(Self {
            slots: ConnectionSlots::with_accounts(config.slots.clone(), accounts.clone()),
            throttle: LoginThrottle::new(
                config.login_throttle.clone(),
                store.clone(),
                Arc::clone(&clock),
                config.host_name.clone(),
            ),
            accounts,
            store,
            tokens,
            clock,
            servers: config.servers.clone(),
            tls: TlsConnector::from(Arc::new(tls)),
            lookups,
            advertised_extensions: AdvertisedExtensions::new(
                config.servers.iter().map(|(application, servers)| (application.as_str(), &servers.smtp)),
            ),
            login_offers: LoginOffers::new(config.servers.values()),
            pacing: Pacing::new(config.limits.send_slot_timeout).shared_by(nodes.clone()),
            nodes,
            throttles: Throttles::default(),
            observer: Observer::default(),
            log_limits: LogLimits::default(),
            host_name: config.host_name.clone(),
            limits: config.limits.clone(),
            #[cfg(fuzzing)]
            dial: Box::new(|_| unreachable!("a fuzzer makes its gateway itself")),
        })
    }
}

/// Opens the store under its key. Both are made at the first start; a store that is missing or empty although its key is there is an
/// error, because an empty one would tell every program that its password is wrong.
///
/// # Errors
/// The key or the store cannot be used; the message says what to do.
pub async fn open_store(config: &Config) -> Result<Store, StartError> {
    open_or_make(config, !config.key.exists()).await
}

/// The same for an administrator who wants a new store under the key that is there.
///
/// # Errors
/// The key or the store cannot be used; the message says what to do.
pub async fn create_store(config: &Config) -> Result<Store, StartError> {
    open_or_make(config, true).await
}

async fn open_or_make(config: &Config, may_be_new: bool) -> Result<Store, StartError> {
    if config.key.file().is_none() {
        // It is not ours to make: without it no store is begun either.
        config.key.read().map_err(StartError::Vault)?;
    }
    match &config.store {
        StorePlace::File(path) if may_be_new || is_written(path) => {
            let opened = Sqlite::open(path.clone(), STORE_SCHEMA).await;
            with_key(config, Arc::new(opened.map_err(StartError::database)?), may_be_new).await
        }
        StorePlace::File(_) => Err(StartError::store_missing(config)),
        StorePlace::Postgres(settings) => {
            let (settings, tls) = (settings.as_ref().clone(), tls_of_the_database(config)?);
            let opened = match may_be_new {
                true => Postgres::open(settings, tls, STORE_SCHEMA).await,
                false => Postgres::open_existing(settings, tls, STORE_SCHEMA).await,
            };
            match opened {
                Ok(database) => with_key(config, Arc::new(database), may_be_new).await,
                Err(DatabaseError::NoStore { .. }) => Err(StartError::store_missing(config)),
                Err(error) => Err(StartError::database(error)),
            }
        }
    }
}

/// Opens the store if there is one, and makes nothing. There is none before the first start, and then there is no key either.
///
/// # Errors
/// The key or the store cannot be used; the message says what to do.
pub async fn open_existing_store(config: &Config) -> Result<Option<Store>, StartError> {
    let is_there = match &config.store {
        StorePlace::File(path) => is_written(path),
        // It is made only if neither it nor its key is there.
        StorePlace::Postgres(settings) if !config.key.exists() => {
            match Postgres::open_existing(settings.as_ref().clone(), tls_of_the_database(config)?, STORE_SCHEMA).await {
                Ok(database) => return with_key(config, Arc::new(database), false).await.map(Some),
                Err(DatabaseError::NoStore { .. }) => false,
                Err(error) => return Err(StartError::database(error)),
            }
        }
        StorePlace::Postgres(_) => true,
    };
    match is_there || config.key.exists() {
        true => open_or_make(config, false).await.map(Some),
        false => Ok(None),
    }
}

/// Whether there is a file with something in it.
fn is_written(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// How often, and after which pause, an unsealed store is looked at again: another process may be making it at this moment.
const LOOKS_AT_UNSEALED: u32 = 10;
const PAUSE_BETWEEN_LOOKS: Duration = Duration::from_millis(100);

async fn with_key(config: &Config, database: Arc<dyn Database>, may_be_new: bool) -> Result<Store, StartError> {
    let mut is_sealed = Store::is_sealed(database.as_ref()).await.map_err(StartError::Store)?;
    for _ in 0..LOOKS_AT_UNSEALED {
        if is_sealed || may_be_new {
            break;
        }
        tokio::time::sleep(PAUSE_BETWEEN_LOOKS).await;
        is_sealed = Store::is_sealed(database.as_ref()).await.map_err(StartError::Store)?;
    }
    match (is_sealed, may_be_new) {
        (true, _) => key_must_exist(config, &config.store)?,
        (false, true) => {}
        (false, false) => return Err(StartError::store_missing(config)),
    }
    let (vault, _) = config.key.open().map_err(StartError::Vault)?;
    Store::with(database, vault).await.map_err(StartError::Store)
}

fn tls_of_the_database(config: &Config) -> Result<rustls::ClientConfig, StartError> {
    tls::client_config(config.ca_file.as_deref(), config.system_roots).map_err(StartError::Tls)
}

/// A fresh key would only hide that the right one is somewhere else.
fn key_must_exist(config: &Config, store: &dyn fmt::Display) -> Result<(), StartError> {
    if config.key.exists() || config.key.file().is_none() {
        return Ok(());
    }
    Err(StartError::KeyMissing { key: config.key.clone(), store: store.to_string() })
}
