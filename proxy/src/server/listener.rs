//! Accepting connections: which are served, how many, and what happens to them when Oxpost stops.

use std::io::{self, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oxpost_token_store::Source;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Level, debug, info_span, warn};

use crate::config::{Listener, ListenerTls, Protocol};
use crate::context::ServerContext;
use crate::limits::close_request::CloseReason;
use crate::log::rate_limit::LogRateLimit;
use crate::net::socket;
use crate::net::stream::Stream;
use crate::server::device::Devices;
use crate::server::listener_context::ListenerContext;
use crate::server::session;

/// How long to wait after `accept` has failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A listener that is bound and does not accept yet.
pub(crate) struct BoundListener {
    context: Arc<ListenerContext>,
    socket: TcpListener,
    address: SocketAddr,
    accept_failed: LogRateLimit,
    not_served: LogRateLimit,
}

impl BoundListener {
    /// A listener with its socket, and with how it speaks TLS.
    ///
    /// # Errors
    /// The system does not say which port it has chosen.
    pub(crate) fn of(listener: Listener, acceptor: Option<TlsAcceptor>, socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let devices = Devices::new(&listener.devices);
        let context = Arc::new(ListenerContext { config: listener, acceptor, devices });
        let accept_failed = LogRateLimit::new(Level::WARN, "connection not accepted");
        let not_served = LogRateLimit::new(Level::WARN, "connection from outside the networks of the listener");
        Ok(Self { context, socket, address, accept_failed, not_served })
    }

    /// The address it listens on; the real port if the configuration says 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As it is configured.
    pub(crate) fn listener(&self) -> &Listener {
        &self.context.config
    }

    /// Accepts until `stop`; sessions are spawned on the tracker and go on, until `hard_stop` ends them wherever they are.
    pub(crate) async fn accept(
        self,
        context: ServerContext,
        sessions: TaskTracker,
        stop: CancellationToken,
        hard_stop: CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                // A client that disconnected before it was accepted must not delay the others.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) =>
                {
                    debug!(address = %self.address, %error, "a client disconnected before it was accepted");
                    continue;
                }
                Err(error) => {
                    if self.accept_failed.permit() {
                        warn!(address = %self.address, %error, "connection not accepted; pausing");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if !serves(&self.context.config, peer.ip()) {
                if self.not_served.permit() {
                    warn!(client = %peer, address = %self.address, "connection from outside the networks of the listener");
                }
                continue;
            }
            if context.runtime.login_throttle.blocked(peer.ip()).is_some() {
                if context.runtime.log_limits.blocked.permit_for(Source::of(peer.ip())) {
                    warn!(client = %peer, address = %self.address, "connection from a blocked source closed");
                }
                continue;
            }
            let slot = match context.runtime.slots.enter(peer.ip()) {
                Ok(slot) => slot,
                Err(_) => {
                    refuse(tcp, &self.context.config);
                    continue;
                }
            };
            if let Err(error) = socket::tune(&tcp) {
                debug!(%peer, %error, "the client disconnected immediately");
                continue;
            }
            let id = session_id();
            let span = info_span!("session", %id, protocol = %self.context.config.protocol, %peer);
            let client = session::Client { stream: Stream::Plain(tcp), id, peer: peer.ip(), slot };
            // Boxed: a task that can be canceled has space for its future twice.
            let serve = Box::pin(session::serve(context.clone(), Arc::clone(&self.context), client).instrument(span));
            sessions.spawn(hard_stop.clone().run_until_cancelled_owned(serve));
        }
    }
}

/// Whether a listener serves this address. A loopback listener without a list serves every client that reaches it.
fn serves(listener: &Listener, peer: IpAddr) -> bool {
    // An IPv4 client on a dual-stack socket arrives as ::ffff:a.b.c.d.
    let peer = peer.to_canonical();
    listener.networks.is_empty() || listener.networks.iter().any(|network| network.contains(&peer))
}

/// Tells a client, instead of a greeting, that it is not served now. This does not wait: so few bytes fit into the buffer of a
/// new connection. Within TLS it would need a handshake, so a TLS connection is just closed.
fn refuse(tcp: TcpStream, listener: &Listener) {
    if listener.tls != ListenerTls::Implicit
        && let Ok(mut tcp) = tcp.into_std()
    {
        let _ = tcp.write_all(refusal(listener.protocol).as_bytes());
        let _ = tcp.shutdown(Shutdown::Write);
    }
}

/// SMTP: RFC 5321, 3.8; IMAP: RFC 9051, 7.1.5; POP3 with the code of RFC 3206.
fn refusal(protocol: Protocol) -> String {
    let text = CloseReason::Evicted.text();
    match protocol {
        Protocol::Imap => format!("* BYE {text}\r\n"),
        Protocol::Pop3 => format!("-ERR [SYS/TEMP] {text}\r\n"),
        Protocol::Smtp => format!("421 4.3.2 {text}\r\n"),
    }
}

/// The id of a session, for the log and the client's error message. Unique within a process.
fn session_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{:06x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_serves_its_networks_only() {
        let mut listener = Listener {
            protocol: Protocol::Smtp,
            address: "0.0.0.0:25".parse().unwrap(),
            tls: ListenerTls::None,
            certificate: None,
            tls_before_login: false,
            networks: vec!["10.1.0.0/16".parse().unwrap()],
            devices: Vec::new(),
            lines: crate::config::ListenerLines::default(),
        };
        for (peer, served) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("10.2.0.1", false), ("::1", false)] {
            assert_eq!(serves(&listener, peer.parse().unwrap()), served, "{peer}");
        }
        listener.networks.clear();
        assert!(serves(&listener, "127.0.0.1".parse().unwrap()));
    }
}
