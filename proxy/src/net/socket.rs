//! Socket options.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A connection that has been silent this long is probed, so that a peer that vanished is noticed (Exchange, firewalls
/// and laptops all drop connections silently).
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Socket options for either side: small packets are sent immediately, and a vanished peer is noticed.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}
