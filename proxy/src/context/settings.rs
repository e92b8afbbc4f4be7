//! What sessions need of the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::TlsConnector;

use crate::config::{Config, Limits, Servers};

/// A snapshot of the configuration, which is never changed.
pub struct Settings {
    /// The mail servers of each application.
    pub servers: HashMap<String, Servers>,
    /// TLS towards mail servers.
    pub tls: TlsConnector,
    /// The name by which Oxpost introduces itself.
    pub host_name: String,
    /// Timeouts of a session.
    pub limits: Limits,
    /// Where a fuzzer has its mail server.
    #[cfg(fuzzing)]
    pub dial: Dial,
}

/// Gives a connection to a mail server that lives in memory.
#[cfg(fuzzing)]
pub type Dial = Box<dyn Fn(&crate::config::Server) -> crate::net::stream::Stream + Send + Sync>;

impl Settings {
    pub(super) fn new(config: &Config, tls: rustls::ClientConfig) -> Self {
        Self {
            servers: config.servers.clone(),
            tls: TlsConnector::from(Arc::new(tls)),
            host_name: config.host_name.clone(),
            limits: config.limits.clone(),
            #[cfg(fuzzing)]
            dial: Box::new(|_| unreachable!("a fuzzer makes its context itself")),
        }
    }
}
