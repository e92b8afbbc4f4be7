//! How far one gets on the way to a server: its name, its port, TLS. Nothing secret is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::{Secret, UpstreamEvent, UpstreamFailure, smtp};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificate::{Distrust, Witness};
use super::findings::{NotSecured, Reach, Secured};
use crate::config::{Server, ServerTls};
use crate::net::drive::drive;
use crate::net::stream::Stream;
use crate::net::tls;
use crate::upstream::connect;
use crate::upstream::lookups::Lookups;

/// How long a server may take over TLS, and over what comes before it.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long all addresses of a server together may take to accept a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// Goes the way.
pub(super) async fn explore(server: &Server, host_name: &str, verifier: &Arc<dyn ServerCertVerifier>) -> Reach {
    // A resolver of its own: what an earlier lookup found proves nothing.
    let addresses: Vec<SocketAddr> = match connect::addresses(&Lookups::default(), &server.host, server.port).await {
        Ok(addresses) => addresses,
        Err(error) => return Reach { addresses: Some(Err(error.to_string())), ..Reach::default() },
    };
    let begun = Instant::now();
    let connecting = tokio::time::timeout(CONNECT_PATIENCE, connect::first_of(addresses.iter().copied())).await;
    let (connection, connected) = match connecting {
        Ok(Ok(tcp)) => (Some(tcp), Ok(begun.elapsed())),
        Ok(Err(error)) => (None, Err(error.to_string())),
        Err(_) => (None, Err(format!("no address of it answers within {} s", CONNECT_PATIENCE.as_secs()))),
    };
    let secured = match connection {
        Some(tcp) => Some(
            tokio::time::timeout(PATIENCE, secure(server, host_name, verifier, tcp))
                .await
                .unwrap_or_else(|_| Err(NotSecured::Broken(format!("nothing came for {} s", PATIENCE.as_secs())))),
        ),
        None => None,
    };
    Reach { addresses: Some(Ok(addresses.len())), connected: Some(connected), secured }
}

async fn secure(
    server: &Server,
    host_name: &str,
    verifier: &Arc<dyn ServerCertVerifier>,
    tcp: TcpStream,
) -> Result<Secured, NotSecured> {
    let tcp = match server.tls {
        ServerTls::Implicit => tcp,
        ServerTls::StartTls => start_tls(host_name, tcp).await.map_err(NotSecured::Before)?,
    };
    let broken = |error: &dyn std::fmt::Display| NotSecured::Broken(error.to_string());
    let witness = Arc::new(Witness::new(Arc::clone(verifier)));
    // A configuration of its own: a session that is resumed would show no certificate.
    let config =
        tls::client_config_with(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>).map_err(|error| broken(&error))?;
    let name = ServerName::try_from(server.host.clone()).map_err(|error| broken(&error))?;
    let begun = Instant::now();
    let certificate = || witness.seen().unwrap_or_default();
    match TlsConnector::from(Arc::new(config)).connect(name, tcp).await {
        Ok(stream) => {
            let version = stream.get_ref().1.protocol_version().and_then(|version| version.as_str());
            let version = version.unwrap_or("TLS").replace('v', " ").replace('_', ".");
            Ok(Secured { version, certificate: certificate(), took: begun.elapsed() })
        }
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Err(NotSecured::Distrusted(Distrust::of(reason), certificate()))
            }
            _ => Err(broken(&error)),
        },
    }
}

/// Sends EHLO and STARTTLS as a login does, with an invalid token: the dialogue ends before it would be sent.
async fn start_tls(host_name: &str, tcp: TcpStream) -> Result<TcpStream, UpstreamFailure> {
    let nobody = XOAuth2 { user: "nobody".into(), token: Secret::from("none") };
    let options = smtp::Options { host_name: host_name.to_owned(), start_tls: true };
    let broken = |what: &str| UpstreamFailure::Protocol(what.to_owned());
    let mut dialogue = smtp::Upstream::new(&nobody, options).map_err(|_| broken("the test user name is invalid"))?;
    let mut stream = Stream::Plain(tcp);
    match (drive(&mut dialogue, &mut stream).await, stream) {
        (Ok(UpstreamEvent::StartTls), Stream::Plain(tcp)) => Ok(tcp),
        (Ok(UpstreamEvent::Failed(failure)), _) => Err(failure),
        (Ok(_), _) => Err(broken("it accepted a login before TLS")),
        (Err(_), _) => Err(UpstreamFailure::ConnectionClosed),
    }
}
