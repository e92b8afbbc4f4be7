//! TLS towards clients: from the first byte, and started on the way.

use std::sync::Arc;

use oxpost_tests::harness::{ALICE, Inside, PASSWORD};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::Client;
use crate::story::tenant;

/// A certificate for `localhost` in a folder, and the configuration of a client that trusts it.
struct Certificate {
    folder: tempfile::TempDir,
    connector: TlsConnector,
}

impl Certificate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("oxpost.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("oxpost.key"), made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { folder, connector: TlsConnector::from(Arc::new(config)) }
    }

    fn listener(&self, protocol: &str, port: u16, tls: &str) -> String {
        let folder = self.folder.path().display();
        format!(
            "[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:{port}\"\ntls = \"{tls}\"\n\
             certificate = '{folder}/oxpost.crt'\nprivate-key = '{folder}/oxpost.key'\n"
        )
    }

    async fn secure(&self, tcp: TcpStream) -> Client<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        Client::over(self.connector.connect(name, tcp).await.unwrap())
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn proxy_with(listeners: &str) -> Inside {
    let inside = Inside::start(tenant().await, listeners).await.unwrap();
    inside.add_account(ALICE).await.unwrap();
    inside.sign_in(ALICE, ALICE).await.unwrap();
    inside
}

#[tokio::test]
async fn tls_from_the_first_byte() {
    let (certificate, port) = (Certificate::new(), free_port());
    let inside = proxy_with(&certificate.listener("imap", port, "implicit")).await;
    let mut client = certificate.secure(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await;
    client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    assert!(client.until("a ").await.starts_with("a OK"));
    client.say("b STATUS INBOX (MESSAGES)").await;
    assert_eq!(client.line().await.as_deref(), Some("* STATUS INBOX (MESSAGES 1)"));
    inside.stop().await;
}

#[tokio::test]
async fn tls_started_on_the_way() {
    let certificate = Certificate::new();
    let (imap, pop3, smtp) = (free_port(), free_port(), free_port());
    let inside = proxy_with(&format!(
        "{}{}{}",
        certificate.listener("imap", imap, "start-tls"),
        certificate.listener("pop3", pop3, "start-tls"),
        certificate.listener("smtp", smtp, "start-tls")
    ))
    .await;
    for (port, ask, go_ahead, login, answer) in [
        (imap, "t STARTTLS", "t OK", format!("a LOGIN {ALICE} {PASSWORD}"), "a OK"),
        (pop3, "STLS", "+OK", format!("USER {ALICE}\r\nPASS {PASSWORD}"), "+OK Logged in"),
        (smtp, "STARTTLS", "220 ", format!("AUTH LOGIN\r\n{}\r\n{}", b64(ALICE), b64(PASSWORD)), "235 "),
    ] {
        let mut plain = Client::connect(([127, 0, 0, 1], port).into()).await;
        plain.line().await.unwrap();
        plain.say(ask).await;
        assert!(plain.line().await.unwrap().starts_with(go_ahead));
        let mut client = certificate.secure(plain.into_inner()).await;
        client.say(&login).await;
        client.until(answer).await;
    }
    inside.stop().await;
}

/// A command slipped in behind STARTTLS would be taken for one that was said within TLS.
#[tokio::test]
async fn bytes_behind_starttls_end_the_connection() {
    let (certificate, port) = (Certificate::new(), free_port());
    let inside = proxy_with(&certificate.listener("smtp", port, "start-tls")).await;
    let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
    client.line().await.unwrap();
    client.send(b"STARTTLS\r\nNOOP\r\n").await;
    assert_eq!(client.rest().await, "");
    inside.stop().await;
}

/// A first message of 65,000 bytes may come in many records (RFC 8446, 4 and 5.1). What has come of it would be kept.
#[tokio::test]
async fn a_handshake_without_end_is_ended() {
    let (certificate, port) = (Certificate::new(), free_port());
    let inside = proxy_with(&certificate.listener("imap", port, "implicit")).await;
    let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
    let mut record = [[22, 3, 1, 0x40, 0].as_slice(), &[0; 16 * 1024]].concat();
    client.send(&[&record[..5], &[1, 0, 0xfd, 0xe8], &record[9..]].concat()).await;
    record.truncate(12 * 1024);
    client.send(&record).await;
    assert_eq!(client.rest().await, "");
    inside.stop().await;
}

fn b64(text: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
}
