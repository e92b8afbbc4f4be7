//! What every session shares, in two parts: [`Runtime`] lives as long as the process, [`Settings`] is a snapshot of the configuration.
//! No counter, map or channel belongs into the second one, so that it can be replaced while sessions that began with it go on.

mod runtime;
mod settings;
mod start_error;
mod store;

use std::sync::Arc;

use oxpost_token_store::{SharedClock, Store};
use rustls::ClientConfig;

pub use self::runtime::Runtime;
#[cfg(fuzzing)]
pub use self::settings::Dial;
pub use self::settings::Settings;
pub(crate) use self::start_error::StartError;
pub(crate) use self::store::{create_store, journal_place, may_create_store, open_existing_store, open_store};
use crate::config::Config;
use crate::net::tls;

/// How mail servers, authorities and the database are reached.
///
/// # Errors
/// The certificate authorities cannot be used; the message has the line.
pub(crate) fn trust(config: &Config) -> Result<ClientConfig, StartError> {
    tls::client_config(config.ca_file.as_deref(), config.system_roots)
        .map_err(|error| StartError::trust(config, &error))
}

/// What every session shares. A clone is another handle to the same.
#[derive(Clone)]
pub struct ServerContext {
    /// What lives as long as the process.
    pub runtime: Arc<Runtime>,
    /// What the configuration says.
    pub settings: Arc<Settings>,
}

impl ServerContext {
    /// Opens the store (creating it and its key at the first start) and prepares everything a session needs.
    ///
    /// # Errors
    /// The store, its key or the TLS settings cannot be used; the message says what to do.
    pub async fn open(config: &Config, clock: SharedClock) -> Result<Self, StartError> {
        Self::with(open_store(config).await?, config, trust(config)?, clock)
    }

    /// The same with an existing store; `None` if there is none, and then none is created.
    ///
    /// # Errors
    /// The store, its key or the TLS settings cannot be used; the message says what to do.
    pub async fn open_existing(config: &Config, clock: SharedClock) -> Result<Option<Self>, StartError> {
        let Some(store) = open_existing_store(config).await? else { return Ok(None) };
        Self::with(store, config, trust(config)?, clock).map(Some)
    }

    /// The same with an open store.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub(crate) fn with(
        store: Store,
        config: &Config,
        tls: ClientConfig,
        clock: SharedClock,
    ) -> Result<Self, StartError> {
        let runtime = Runtime::new(store, config, &tls, clock)?;
        Ok(Self { runtime: Arc::new(runtime), settings: Arc::new(Settings::new(config, tls)) })
    }
}
