//! A listener as its sessions see it.

use tokio_rustls::TlsAcceptor;

use crate::config::Listener;
use crate::server::device::Devices;

/// One listener and what its sessions need of it.
pub struct ListenerContext {
    /// Its configuration.
    pub config: Listener,
    /// Its certificate, when it speaks TLS.
    pub acceptor: Option<TlsAcceptor>,
    /// Who may send without a login.
    pub devices: Devices,
}
