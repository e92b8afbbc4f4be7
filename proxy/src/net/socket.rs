//! Socket options.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::platform;

/// A connection that has been silent this long is probed, so that a peer that vanished is noticed (Exchange, firewalls
/// and laptops all drop connections silently).
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// Listens on an address. An IPv6 socket serves IPv6 alone, on every system: without the option `[::]` would also be every IPv4 address on Linux,
/// and not on Windows (RFC 3493, 5.3).
///
/// # Errors
/// The system does not give the address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    if platform::PORT_OUTLIVES_SOCKET {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Socket options for either side: small packets are sent immediately, and a vanished peer is noticed.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unspecified_addresses_of_both_families_share_a_port() {
        let v6 = listen("[::]:0".parse().unwrap()).unwrap();
        let port = v6.local_addr().unwrap().port();
        let v4 = listen(SocketAddr::from(([0, 0, 0, 0], port))).unwrap();
        let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_, peer) = v4.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap(), "an IPv4 client reaches the IPv4 listener");
        assert!(SockRef::from(&v6).only_v6().unwrap());
    }

    #[tokio::test]
    async fn port_in_use_is_an_error() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
