//! TLS towards clients: from the first byte, and started on the way.

use std::sync::Arc;

use oxpost_tests::harness::{ALICE, InProcess, PASSWORD};
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

async fn proxy_with(listeners: &str) -> InProcess {
    let in_process = InProcess::start(tenant().await, listeners).await.unwrap();
    in_process.add_account(ALICE).await.unwrap();
    in_process.sign_in(ALICE, ALICE).await.unwrap();
    in_process
}

/// What is said to log in, and how the answer begins.
fn logins() -> [(&'static str, String, &'static str); 3] {
    [
        ("imap", format!("a LOGIN {ALICE} {PASSWORD}"), "a OK"),
        ("pop3", format!("USER {ALICE}\r\nPASS {PASSWORD}"), "+OK Logged in"),
        ("smtp", format!("AUTH LOGIN\r\n{}\r\n{}", b64(ALICE), b64(PASSWORD)), "235 "),
    ]
}

#[tokio::test]
async fn tls_from_the_first_byte() {
    let certificate = Certificate::new();
    for (protocol, login, answer) in logins() {
        let port = free_port();
        let in_process = proxy_with(&certificate.listener(protocol, port, "implicit")).await;
        let mut client = certificate.secure(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await;
        client.say(&login).await;
        client.until(answer).await;
        if protocol == "imap" {
            client.say("b STATUS INBOX (MESSAGES)").await;
            assert_eq!(client.line().await.as_deref(), Some("* STATUS INBOX (MESSAGES 1)"));
        }
        in_process.stop().await;
    }
}

#[tokio::test]
async fn tls_started_on_the_way() {
    let certificate = Certificate::new();
    let (imap, pop3, smtp) = (free_port(), free_port(), free_port());
    let in_process = proxy_with(&format!(
        "{}{}{}",
        certificate.listener("imap", imap, "start-tls"),
        certificate.listener("pop3", pop3, "start-tls"),
        certificate.listener("smtp", smtp, "start-tls")
    ))
    .await;
    for (port, (ask, go_ahead), (_, login, answer)) in [imap, pop3, smtp]
        .into_iter()
        .zip([("t STARTTLS", "t OK"), ("STLS", "+OK"), ("STARTTLS", "220 ")])
        .zip(logins())
        .map(|((port, starts), login)| (port, starts, login))
    {
        let mut plain = Client::connect(([127, 0, 0, 1], port).into()).await;
        plain.line().await.unwrap();
        plain.say(ask).await;
        assert!(plain.line().await.unwrap().starts_with(go_ahead));
        let mut client = certificate.secure(plain.into_inner()).await;
        client.say(&login).await;
        client.until(answer).await;
    }
    in_process.stop().await;
}

/// A command slipped in behind STARTTLS would be taken for one that was said within TLS.
#[tokio::test]
async fn bytes_behind_starttls_end_the_connection() {
    let certificate = Certificate::new();
    println!("table:\ntable: {:<40} what was answered to it, and what reached Exchange", "behind STARTTLS, STLS");
    for (protocol, bytes) in [
        ("imap", format!("t STARTTLS\r\na LOGIN {ALICE} {PASSWORD}\r\n")),
        ("imap", "t STARTTLS\r\na".to_owned()),
        ("pop3", format!("STLS\r\nUSER {ALICE}\r\nPASS {PASSWORD}\r\n")),
        ("pop3", "STLS\r\n\n".to_owned()),
        ("smtp", "STARTTLS\r\nNOOP\r\n".to_owned()),
        ("smtp", "STARTTLS\r\n\0".to_owned()),
    ] {
        let port = free_port();
        let in_process = proxy_with(&certificate.listener(protocol, port, "start-tls")).await;
        let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
        client.line().await.unwrap();
        client.send(bytes.as_bytes()).await;
        let heard = client.rest().await;
        let (command, shown) = (bytes.split("\r\n").nth(1).unwrap_or_default(), format!("{protocol}: "));
        let shown: String =
            format!("{shown}{}", command.replace(PASSWORD, "…").escape_debug()).chars().take(40).collect();
        println!("table: {shown:<40} {heard:?}, {} connections", in_process.tenant.transcripts().len());
        assert_eq!(heard, "", "{protocol}");
        assert!(in_process.tenant.transcripts().is_empty());
        in_process.stop().await;
    }
}

/// Where TLS is required before the login, no form of login works without it.
#[tokio::test]
async fn no_login_before_tls_where_it_is_demanded() {
    let certificate = Certificate::new();
    for (protocol, says) in [
        (
            "imap",
            vec![
                ("a LOGIN x y".to_owned(), "a NO [PRIVACYREQUIRED]"),
                (format!("b AUTHENTICATE PLAIN {}", b64(&format!("\0{ALICE}\0{PASSWORD}"))), "b NO [PRIVACYREQUIRED]"),
            ],
        ),
        (
            "pop3",
            vec![
                ("USER x".to_owned(), "-ERR"),
                ("PASS y".to_owned(), "-ERR"),
                ("AUTH PLAIN AHgAeQ==".to_owned(), "-ERR"),
            ],
        ),
        (
            "smtp",
            vec![
                ("AUTH PLAIN AHgAeQ==".to_owned(), "538 "),
                ("AUTH LOGIN".to_owned(), "538 "),
                ("MAIL FROM:<a@b.c>".to_owned(), "530 "),
            ],
        ),
    ] {
        let port = free_port();
        let listener = format!("{}tls-before-login = true\n", certificate.listener(protocol, port, "start-tls"));
        let in_process = proxy_with(&listener).await;
        let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
        client.line().await.unwrap();
        for (line, answer) in says {
            client.say(&line).await;
            let heard = client.line().await.unwrap();
            assert!(heard.starts_with(answer), "{line}: {heard}");
        }
        assert!(in_process.tenant.transcripts().is_empty());
        in_process.stop().await;
    }
}

/// A first message of 65,000 bytes may come in many records (RFC 8446, 4 and 5.1). What has come of it would be kept.
#[tokio::test]
async fn a_handshake_without_end_is_ended() {
    let (certificate, port) = (Certificate::new(), free_port());
    let in_process = proxy_with(&certificate.listener("imap", port, "implicit")).await;
    let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
    let mut record = [[22, 3, 1, 0x40, 0].as_slice(), &[0; 16 * 1024]].concat();
    client.send(&[&record[..5], &[1, 0, 0xfd, 0xe8], &record[9..]].concat()).await;
    record.truncate(12 * 1024);
    client.send(&record).await;
    assert_eq!(client.rest().await, "");
    in_process.stop().await;
}

fn b64(text: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
}
