//! The tenant checked from outside, by a client that knows nothing but lines: every important one is compared exactly.

mod entra;
mod imap;
mod imap_faults;
mod pop3;
mod smtp;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Application, Mailbox, Tenant};

const DESKTOP: &str = "0c6b2f4e-0000-4000-8000-000000000001";
const SERVICE: &str = "0c6b2f4e-0000-4000-8000-000000000002";
const OUTLOOK: &str = "https://outlook.office.com/.default offline_access";

/// A server that says nothing for so long has a defect; no test passes by it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Alice, Bob who may open the shared mailbox and send as it, and two applications.
async fn tenant() -> Tenant {
    Tenant::builder()
        .mailbox("alice@contoso.com")
        .mailbox(Mailbox::user("bob@contoso.com").full_access(SERVICE))
        .mailbox(Mailbox::shared("info@contoso.com").full_access("bob@contoso.com").send_as("bob@contoso.com"))
        .application(Application::public(DESKTOP))
        .application(Application::confidential(SERVICE, "s3cret"))
        .start()
        .await
        .unwrap()
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

fn connector(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

struct Client(BufReader<Box<dyn Duplex>>);

impl Client {
    async fn plain(address: SocketAddr) -> Self {
        Self(BufReader::new(Box::new(TcpStream::connect(address).await.unwrap())))
    }

    async fn tls(tenant: &Tenant, address: SocketAddr) -> Self {
        Self::plain(address).await.start_tls(tenant).await.unwrap()
    }

    async fn start_tls(self, tenant: &Tenant) -> Result<Self, std::io::Error> {
        let name = ServerName::try_from("outlook.office365.com").unwrap();
        let stream = connector(tenant.ca_pem()).connect(name, self.0.into_inner()).await?;
        Ok(Self(BufReader::new(Box::new(stream))))
    }

    async fn send(&mut self, line: &str) {
        self.raw(format!("{line}\r\n").as_bytes()).await;
    }

    async fn raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// One line without its CRLF; empty at the end of the stream.
    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        // A cut without TLS's farewell is an end like another.
        let read = tokio::time::timeout(PATIENCE, self.0.read_until(b'\n', &mut line)).await;
        assert!(read.is_ok(), "no line came");
        let line = String::from_utf8_lossy(&line).into_owned();
        line.strip_suffix("\r\n").map(str::to_owned).unwrap_or(line)
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.line().await
    }

    /// The lines up to and with the first that begins with `end`.
    async fn until(&mut self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            assert!(!line.is_empty() || lines.len() < 10_000, "closed before {end:?}: {lines:?}");
            let over = line.starts_with(end);
            lines.push(line);
            if over {
                return lines;
            }
        }
    }

    async fn all(&mut self, line: &str, end: &str) -> Vec<String> {
        self.send(line).await;
        self.until(end).await
    }

    async fn closed(&mut self) -> bool {
        let mut octet = [0; 1];
        tokio::time::timeout(PATIENCE, self.0.read(&mut octet)).await.expect("still open").unwrap_or(0) == 0
    }
}

fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

/// An access token by a refresh token that was granted for the purpose.
async fn token(tenant: &Tenant, user: &str) -> String {
    token_for(tenant, user, OUTLOOK).await
}

async fn token_for(tenant: &Tenant, user: &str, scope: &str) -> String {
    let refresh = tenant.grant_refresh_token(DESKTOP, user).unwrap();
    let form = [("grant_type", "refresh_token"), ("client_id", DESKTOP), ("refresh_token", &refresh), ("scope", scope)];
    let answer = post(tenant, &format!("/{}/oauth2/v2.0/token", tenant.id()), &form).await;
    answer.text("access_token")
}

async fn app_token(tenant: &Tenant) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", SERVICE),
        ("client_secret", "s3cret"),
        ("scope", "https://outlook.office365.com/.default"),
    ];
    post(tenant, &format!("/{}/oauth2/v2.0/token", tenant.id()), &form).await.text("access_token")
}

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self, name: &str) -> String {
        let json = self.json();
        json.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("{name} in {json}")).to_owned()
    }

    fn code(&self) -> u64 {
        self.json().get("error_codes").and_then(|codes| codes.get(0)).and_then(Value::as_u64).unwrap()
    }
}

async fn get(tenant: &Tenant, path: &str) -> Answer {
    http(tenant, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await.unwrap()
}

async fn post(tenant: &Tenant, path: &str, form: &[(&str, &str)]) -> Answer {
    try_post(tenant, path, form).await.unwrap()
}

async fn try_post(tenant: &Tenant, path: &str, form: &[(&str, &str)]) -> Option<Answer> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    http(tenant, &head).await
}

/// One request on one connection; nothing if it is closed without an answer.
async fn http(tenant: &Tenant, request: &str) -> Option<Answer> {
    let address = tenant.authority().trim_start_matches("https://").replace("localhost", "127.0.0.1");
    let mut client = Client::tls(tenant, address.parse().unwrap()).await;
    client.raw(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = client.0.read_to_end(&mut answer).await;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Some(Answer { status, headers, body: answer[end + 4..].to_vec() })
}
