//! The server behind every proxy, and what its clients need to log in through it.

use std::ffi::OsStr;
use std::sync::Arc;

use oxpost_tests::harness::{Oxpost, Problem, Settings};
use oxpost_tests::office365::behaviour::{Act, Fault, Stage as At};
use oxpost_tests::office365::{Application, Mailbox, Tenant};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Credentials;

/// Whose mailbox it is.
pub(crate) const ALICE: &str = "alice@contoso.com";

/// What Alice types at Microsoft; the proxy that keeps no passwords of its own sends it there once.
pub(crate) const MICROSOFT_PASSWORD: &str = "typed-at-microsoft";

/// The app registration of all proxies.
pub(crate) const CLIENT_ID: &str = "2b0e5c11-9f7c-4a83-8c5e-61d1f60a7c02";

/// The permissions that a person gives to a mail client.
pub(crate) const SCOPES: &str = "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/POP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access";

/// Room for all connections of this bench, and a listener for those in TLS in addition to the plain ones.
const FOR_STRANGERS: &str = r#"
[limits]
max-unauthenticated = 10000
max-sessions-per-account = 10000

[[listener]]
protocol = "imap"
address = "127.0.0.1:0"
tls = "implicit"
certificate = "listener.crt"
private-key = "listener.key"
"#;

/// Mailboxes of others that Alice may open, so many.
pub(crate) const OWNERS: usize = 1_000;

/// The address of one of them.
pub(crate) fn owner(number: usize) -> String {
    format!("owner{number}@contoso.com")
}

/// The tenant, an installed Oxpost, and a folder for the others' files.
pub(crate) struct Stage {
    pub(crate) tenant: Tenant,
    pub(crate) oxpost: Oxpost,
    pub(crate) folder: TempDir,
    /// The local password at Oxpost.
    pub(crate) password: String,
    /// An access token, for clients that speak XOAUTH2 themselves.
    pub(crate) token: String,
    tls: TlsConnector,
    /// What the proxies are started by, if not by themselves.
    under: Vec<String>,
}

impl Stage {
    /// Starts the tenant; Alice has an account at Oxpost and is signed in.
    pub(crate) async fn set() -> Result<Self, Problem> {
        let alice = Tenant::builder().mailbox(Mailbox::user(ALICE).password(MICROSOFT_PASSWORD));
        let owners = (0..OWNERS).map(|number| Mailbox::shared(&owner(number)).full_access(ALICE));
        let tenant = owners
            .fold(alice, |tenant, owner| tenant.mailbox(owner))
            .application(Application::public(CLIENT_ID))
            .behave(|it| {
                it.entra.device_code_interval = std::time::Duration::from_secs(1);
                // Gigabytes are sent and thrown away.
                it.smtp.faults.push(Fault {
                    stage: At::Message,
                    act: Act::Say("250 2.0.0 OK thrown away".into()),
                    times: None,
                });
            })
            .start()
            .await
            .map_err(|error| Problem::new(error.to_string()))?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), tenant.ca_pem())?;
        let settings =
            Settings { level: "info".into(), more: FOR_STRANGERS.into(), ..Settings::of(&tenant, CLIENT_ID) };
        let oxpost = Oxpost::new(&settings)?;
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(|error| Problem::new(error.to_string()))?;
        std::fs::write(oxpost.folder().join("listener.crt"), certificate.cert.pem())?;
        std::fs::write(oxpost.folder().join("listener.key"), certificate.signing_key.serialize_pem())?;
        let password = oxpost.add_account(ALICE, &[]).await?;
        oxpost.sign_in(ALICE, &tenant, ALICE).await?;
        let tls = trusting(&[tenant.ca_pem(), &certificate.cert.pem()])?;
        let token = fetch_token(&tenant, &tls).await?;
        Ok(Self { tenant, oxpost, folder, password, token, tls, under: Vec::new() })
    }

    /// Raises a connection to TLS, with the tenant or with Oxpost's own listener.
    pub(crate) async fn secure(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Problem> {
        secure(&self.tls, tcp).await
    }

    /// From now on proxies are started by this program with these arguments.
    pub(crate) fn start_under(&mut self, program_and_arguments: &[String]) {
        self.under = program_and_arguments.to_vec();
        self.oxpost.run_under(program_and_arguments);
    }

    /// A command that starts a proxy.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(self.under.first().map_or(program.as_ref(), OsStr::new));
        if let Some((_, arguments)) = self.under.split_first() {
            command.args(arguments).arg(program);
        }
        command
    }

    /// How a client logs in where it must speak XOAUTH2 itself.
    pub(crate) fn with_token(&self) -> Credentials {
        Credentials::Token(self.token.clone())
    }
}

fn trusting(authorities: &[&str]) -> Result<TlsConnector, Problem> {
    let wrong = |error: &dyn std::fmt::Display| Problem::new(format!("TLS: {error}"));
    let mut roots = RootCertStore::empty();
    for pem in authorities {
        let authority = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(&error))?;
        roots.add(authority).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn secure(tls: &TlsConnector, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Problem> {
    let name = ServerName::try_from("localhost").map_err(|error| Problem::new(error.to_string()))?;
    Ok(tls.connect(name, tcp).await?)
}

/// One request to the token endpoint. It lasts for the whole bench.
async fn fetch_token(tenant: &Tenant, tls: &TlsConnector) -> Result<String, Problem> {
    let port = tenant.authority().rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| Problem::new("the authority has no port"))?;
    let mut stream = secure(tls, TcpStream::connect(("127.0.0.1", port)).await?).await?;
    let form = form(&[
        ("grant_type", "password"),
        ("client_id", CLIENT_ID),
        ("username", ALICE),
        ("password", MICROSOFT_PASSWORD),
        ("scope", SCOPES),
    ]);
    let request = format!(
        "POST /{}/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        tenant.id(),
        form.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let token =
        serde_json::from_str::<Value>(body).ok().and_then(|json| json.get("access_token")?.as_str().map(str::to_owned));
    token.ok_or_else(|| Problem::new(format!("the tenant gave no token: {answer}")))
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}
