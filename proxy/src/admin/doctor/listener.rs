//! Connects to the listeners of the service, as a mail program would, and reads the greeting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::admin::service_record::RecordedListener;
use crate::config::{Listener, ListenerTls, Protocol};
use crate::net::tls;

/// How long a listener may take for its greeting.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest part of a greeting that is read and shown.
const GREETING_LIMIT: usize = 200;

/// A listener, and how it answers.
#[derive(Debug, Clone)]
pub(crate) struct ListenerFinding {
    pub(super) protocol: Protocol,
    /// Where it listens.
    pub(super) address: SocketAddr,
    pub(super) tls: ListenerTls,
    /// Its greeting, or why there is none.
    pub(super) answer: Answer,
}

impl ListenerFinding {
    /// Of a service that does not run.
    pub(super) fn not_tried(listener: &Listener) -> Self {
        let Listener { protocol, address, tls, .. } = *listener;
        Self { protocol, address, tls, answer: Answer::NotOpened }
    }
}

/// How a listener answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The greeting of its protocol.
    Greeting(String),
    /// Something else.
    Other(String),
    /// The connection or TLS fails, for this reason.
    Failed(String),
    /// It closes connections from this machine: they are outside its networks.
    OtherNetworks,
    /// The running service has no such listener: proxy.toml was changed after its start.
    NotOpened,
}

/// Connects to a listener of the configuration. `recorded` are those that the running service has opened, if it is known.
pub(super) async fn probe(listener: &Listener, recorded: Option<&[RecordedListener]>) -> ListenerFinding {
    let Listener { protocol, address, tls, .. } = *listener;
    let finding = |address, answer| ListenerFinding { protocol, address, tls, answer };
    let opened = match recorded {
        None => Some(address),
        Some(recorded) => recorded.iter().find(|one| is_same(one, listener)).map(|one| one.address),
    };
    let Some(opened) = opened else { return finding(address, Answer::NotOpened) };
    let reachable = SocketAddr::new(reachable(opened.ip()), opened.port());
    let answer = match tokio::time::timeout(TIMEOUT, greeting(reachable, tls)).await {
        Ok(Ok(line)) if line.is_empty() && is_outside(listener, reachable.ip()) => Answer::OtherNetworks,
        Ok(Ok(line)) if line.is_empty() => Answer::Failed("it closes the connection".to_owned()),
        Ok(Ok(line)) if line.starts_with(greets(protocol)) => Answer::Greeting(line),
        Ok(Ok(line)) => Answer::Other(line),
        Ok(Err(_)) if is_outside(listener, reachable.ip()) => Answer::OtherNetworks,
        Ok(Err(error)) => Answer::Failed(error.to_string()),
        Err(_) => Answer::Failed(format!("no greeting within {} s", TIMEOUT.as_secs())),
    };
    finding(opened, answer)
}

/// A port of 0 is chosen by the system at the start.
fn is_same(recorded: &RecordedListener, listener: &Listener) -> bool {
    let Listener { protocol, address, tls, .. } = listener;
    recorded.protocol == protocol.to_string()
        && recorded.tls == tls.name()
        && recorded.address.ip() == address.ip()
        && (address.port() == 0 || recorded.address.port() == address.port())
}

/// Where a client of this machine reaches an address that stands for all of them.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// A connection to an own address comes from that address.
fn is_outside(listener: &Listener, own: IpAddr) -> bool {
    !listener.networks.is_empty() && !listener.networks.iter().any(|network| network.contains(&own.to_canonical()))
}

/// How the greeting of each protocol begins (RFC 9051, 7.1; RFC 1939, 4; RFC 5321, 3.1).
fn greets(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Imap => "* OK",
        Protocol::Pop3 => "+OK",
        Protocol::Smtp => "220",
    }
}

async fn greeting(address: SocketAddr, tls: ListenerTls) -> std::io::Result<String> {
    let tcp = TcpStream::connect(address).await?;
    if tls != ListenerTls::Implicit {
        return first_line(tcp).await;
    }
    let config = tls::client_config_with(Arc::new(AnyCertificate)).map_err(std::io::Error::other)?;
    let name = ServerName::IpAddress(address.ip().into());
    first_line(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?).await
}

async fn first_line(mut stream: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut line = Vec::new();
    while line.len() < GREETING_LIMIT {
        match stream.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&line).chars().filter(|character| !character.is_control()).collect())
}

/// Accepts every certificate. The probe asks whether a listener serves at all and sends it nothing; whether mail programs trust the
/// certificate depends on what is installed on their machines.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &tls::provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &tls::provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn configured(address: SocketAddr, networks: &[&str]) -> Listener {
        Listener {
            protocol: Protocol::Imap,
            address,
            tls: ListenerTls::None,
            certificate: None,
            tls_before_login: false,
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            devices: Vec::new(),
            lines: crate::config::ListenerLines::default(),
        }
    }

    /// Answers one connection with these words, and ends it.
    async fn answering(words: &'static str) -> SocketAddr {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut connection, _) = socket.accept().await.unwrap();
            connection.write_all(words.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn each_answer_is_distinguished() {
        let greeting = answering("* OK ready\r\n").await;
        let answer = probe(&configured(greeting, &[]), None).await.answer;
        assert_eq!(answer, Answer::Greeting("* OK ready".into()));
        let other = probe(&configured(answering("220 mail.example ESMTP\r\n").await, &[]), None).await;
        assert_eq!(other.answer, Answer::Other("220 mail.example ESMTP".into()));
        let closed = probe(&configured(answering("").await, &[]), None).await;
        assert_eq!(closed.answer, Answer::Failed("it closes the connection".into()));
        let networks = ["192.0.2.0/24"];
        let outside = probe(&configured(answering("").await, &networks), None).await;
        assert_eq!(outside.answer, Answer::OtherNetworks);
    }

    #[tokio::test]
    async fn only_listeners_of_the_running_service_are_tried() {
        let opened: SocketAddr = answering("* OK ready\r\n").await;
        let any_port = configured("127.0.0.1:0".parse().unwrap(), &[]);
        let recorded = [RecordedListener::of(&any_port, opened)];
        let found = probe(&any_port, Some(&recorded)).await;
        assert_eq!((found.address, found.answer), (opened, Answer::Greeting("* OK ready".into())));
        let found = probe(&configured("127.0.0.1:1".parse().unwrap(), &[]), Some(&recorded)).await;
        assert_eq!(found.answer, Answer::NotOpened);
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), Ipv4Addr::LOCALHOST);
        assert_eq!(reachable("::".parse().unwrap()), Ipv6Addr::LOCALHOST);
    }
}
