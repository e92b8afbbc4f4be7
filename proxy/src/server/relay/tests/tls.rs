//! How TLS ends: with `close_notify`, or cut, which an attacker on the network can do.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream, client};

use super::*;
use crate::net::handshake_limit::HandshakeLimit;

/// The peer's end of a TLS connection, and ours.
async fn tls_pair() -> (client::TlsStream<TcpStream>, Stream) {
    tls_over(pair().await).await
}

async fn tls_over((near, far): (TcpStream, TcpStream)) -> (client::TlsStream<TcpStream>, Stream) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ours = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let theirs = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let (near, far) = tokio::join!(
        TlsConnector::from(Arc::new(theirs)).connect(name, near),
        TlsAcceptor::from(Arc::new(ours)).accept(HandshakeLimit::client(far))
    );
    (near.unwrap(), Stream::Tls(Box::new(TlsStream::Server(far.unwrap()))))
}

/// How a peer ends its side.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    /// With `close_notify`.
    InOrder,
    /// The connection ends without it.
    Cut,
    /// With something that is no TLS.
    Broken,
}

async fn says(peer: &mut client::TlsStream<TcpStream>, said: &str) {
    peer.write_all(said.as_bytes()).await.unwrap();
    peer.flush().await.unwrap();
}

/// A peer ends its side. Its connection is given back: closed with unread bytes in it, it would break.
async fn ends(mut peer: client::TlsStream<TcpStream>, how: How) -> TcpStream {
    if how == How::InOrder {
        peer.shutdown().await.unwrap();
    }
    let (mut tcp, _) = peer.into_inner();
    if how == How::Broken {
        tcp.write_all(&[0x16; 100]).await.unwrap();
    }
    tcp.shutdown().await.unwrap();
    tcp
}

async fn relay_of(client: Stream, server: Stream) -> Relayed {
    let of = |stream| Connection { stream, unread: Vec::new() };
    relay(of(client), of(server), &mut Imap::default(), |_| {}, HOUR, CloseRequest::never()).await
}

#[tokio::test]
async fn tls_cut_by_client_is_orderly_only_after_goodbye() {
    for (said, how, end) in [
        ("a NOOP\r\n", How::InOrder, End::ByClient),
        ("a NOOP\r\n", How::Cut, End::ClientTruncated),
        ("a NOOP\r\n", How::Broken, End::ClientBroke),
        ("a LOGOUT\r\n", How::Cut, End::ByClient),
        ("a LOGOUT\r\n", How::Broken, End::ByClient),
    ] {
        let (mut client, facing_client) = tls_pair().await;
        let (mut server, facing_server) = pair().await;
        let session = tokio::spawn(relay_of(facing_client, Stream::Plain(facing_server)));
        says(&mut client, said).await;
        let mut got = vec![0; said.len()];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), said);
        let _client = ends(client, how).await;
        assert_eq!(rest(&mut server).await, (String::new(), Ok(())), "{said} {how:?}");
        drop(server);
        let relayed = session.await.unwrap();
        assert_eq!((relayed.end, relayed.to_server), (end, said.len() as u64), "{said} {how:?}");
    }
}

#[tokio::test]
async fn tls_cut_by_server_is_not_orderly_for_the_client() {
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    for (said, how, at_client, end) in [
        ("* 1 EXISTS\r\n", How::InOrder, Ok(()), End::ByServer),
        ("* 1 EXISTS\r\n", How::Cut, reset, End::ServerTruncated),
        ("* 1 EXISTS\r\n", How::Broken, reset, End::ServerBroke),
        ("* BYE signing off\r\n", How::Cut, Ok(()), End::ByServer),
        ("* BYE signing off\r\n", How::Broken, Ok(()), End::ByServer),
    ] {
        let (mut client, facing_client) = pair().await;
        let (mut server, facing_server) = tls_pair().await;
        let session = tokio::spawn(relay_of(Stream::Plain(facing_client), facing_server));
        says(&mut server, said).await;
        let mut got = vec![0; said.len()];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), said);
        let _server = ends(server, how).await;
        assert_eq!(rest(&mut client).await, (String::new(), at_client), "{said} {how:?}");
        drop(client);
        let relayed = session.await.unwrap();
        assert_eq!((relayed.end, relayed.to_client), (end, said.len() as u64), "{said} {how:?}");
    }
}

/// TLS of both sides moves everything, in both directions.
#[tokio::test]
async fn everything_goes_on_within_tls() {
    let ((mut client, facing_client), (mut server, facing_server)) = (tls_pair().await, tls_pair().await);
    let session = tokio::spawn(async move {
        let of = |stream| Connection { stream, unread: Vec::new() };
        relay(of(facing_client), of(facing_server), &mut Everything, |_| {}, HOUR, CloseRequest::never()).await
    });
    let (up, down) = (pattern(300_001), pattern(500_003));
    let (mut at_server, mut at_client) = (vec![0; up.len()], vec![0; down.len()]);
    let client_side = async {
        let (mut reads, mut writes) = tokio::io::split(&mut client);
        let (wrote, read) = tokio::join!(
            async {
                writes.write_all(&up).await?;
                writes.flush().await
            },
            reads.read_exact(&mut at_client)
        );
        wrote.unwrap();
        read.unwrap();
    };
    let server_side = async {
        let (mut reads, mut writes) = tokio::io::split(&mut server);
        let (wrote, read) = tokio::join!(
            async {
                writes.write_all(&down).await?;
                writes.flush().await
            },
            reads.read_exact(&mut at_server)
        );
        wrote.unwrap();
        read.unwrap();
    };
    tokio::join!(client_side, server_side);
    assert!(at_server == up && at_client == down);
    let _client = ends(client, How::InOrder).await;
    let _server = ends(server, How::InOrder).await;
    let relayed = session.await.unwrap();
    assert_eq!((relayed.to_server, relayed.to_client), (up.len() as u64, down.len() as u64));
}

/// What rustls has sealed and the connection did not take goes out though nothing else comes.
#[tokio::test]
async fn last_bytes_within_tls_reach_a_client_that_was_slow() {
    let (near, far) = pair().await;
    socket2::SockRef::from(&near).set_recv_buffer_size(4096).unwrap();
    socket2::SockRef::from(&far).set_send_buffer_size(4096).unwrap();
    let ((mut client, facing_client), (mut server, facing_server)) = (tls_over((near, far)).await, pair().await);
    let session = tokio::spawn(async move {
        let of = |stream| Connection { stream, unread: Vec::new() };
        let facing_server = Stream::Plain(facing_server);
        relay(of(facing_client), of(facing_server), &mut Everything, |_| {}, HOUR, CloseRequest::never()).await
    });
    let sent = pattern(48 * 1024);
    server.write_all(&sent).await.unwrap();
    // The server says nothing more, and does not close.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut got = vec![0; sent.len()];
    tokio::time::timeout(LINGER, client.read_exact(&mut got)).await.expect("all of it comes").unwrap();
    assert!(got == sent);
    drop(server);
    let _client = ends(client, How::InOrder).await;
    assert_eq!(session.await.unwrap().to_client, sent.len() as u64);
}
