//! What every session shares.

use std::fmt;
use std::sync::Arc;

use oxpost_token_store::http::client_with_resolver;
use oxpost_token_store::{
    Accounts, HttpPolicy, KeySource, Postgres, PostgresSettings, SharedClock, Store, StoreError, Tokens, VaultError,
    database::DatabaseError, store::STORE_SCHEMA,
};
use tokio_rustls::TlsConnector;

use crate::advertised_extensions::AdvertisedExtensions;
use crate::config::{Config, ConfigError, Limits, Servers, StorePlace};
use crate::connect::lookups::Lookups;
use crate::connection_slots::ConnectionSlots;
use crate::log_limits::LogLimits;
use crate::login_throttle::LoginThrottle;
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
        let tls = tls::client_config(config.ca_file.as_deref(), config.system_roots).map_err(StartError::Tls)?;
        let lookups = Lookups::default();
        let http = client_with_resolver(tls.clone(), HttpPolicy::HttpsOnly, Arc::new(lookups.clone()))
            .map_err(|error| StartError::Http(error.to_string()))?;
        let tokens = Tokens::new(store.clone(), config.applications.clone(), http, Arc::clone(&clock), config.refresh);
        let accounts = Accounts::judged_by(store.clone(), Arc::clone(&clock), config.admission, tokens.clone());
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
            pacing: Pacing::new(config.limits.send_slot_timeout),
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

/// Opens the store under its key, creating both at the first start.
///
/// # Errors
/// The key or the store cannot be used; the message says what to do.
pub async fn open_store(config: &Config) -> Result<Store, StartError> {
    match &config.store {
        StorePlace::File(path) => {
            if path.exists() {
                key_must_exist(config, &path.display())?;
            }
            let (vault, _) = config.key.open().map_err(StartError::Vault)?;
            Store::open(path, vault).await.map_err(StartError::Store)
        }
        StorePlace::Postgres(settings) => {
            let opened = Postgres::open(settings.as_ref().clone(), tls_of_the_database(config)?, STORE_SCHEMA).await;
            with_key(config, settings, opened.map_err(|error| StartError::Store(error.into()))?).await
        }
    }
}

/// Opens the store if there is one, and makes nothing.
///
/// # Errors
/// The key or the store cannot be used; the message says what to do.
pub async fn open_existing_store(config: &Config) -> Result<Option<Store>, StartError> {
    match &config.store {
        StorePlace::File(path) if !path.exists() => Ok(None),
        StorePlace::File(_) => open_store(config).await.map(Some),
        StorePlace::Postgres(settings) => {
            match Postgres::open_existing(settings.as_ref().clone(), tls_of_the_database(config)?, STORE_SCHEMA).await {
                Ok(database) => with_key(config, settings, database).await.map(Some),
                Err(DatabaseError::NoStore { .. }) => Ok(None),
                Err(error) => Err(StartError::Store(error.into())),
            }
        }
    }
}

async fn with_key(config: &Config, settings: &PostgresSettings, database: Postgres) -> Result<Store, StartError> {
    let database = Arc::new(database);
    if Store::is_sealed(database.as_ref()).await.map_err(StartError::Store)? {
        key_must_exist(config, &settings.server())?;
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
