//! A browser: opens the address that `oxpost sign-in` prints, chooses an account on the tenant's page, and
//! goes where that sends them.

use std::process::Stdio;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_rustls::TlsConnector;
use url::Url;

use super::Problem;
use super::binary::PATIENCE;
use crate::office365::Tenant;

/// What a browser shows after one request.
#[derive(Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// Where it sends the browser on to.
    pub location: Option<Url>,
    /// Header and text.
    pub text: String,
}

/// Opens the sign-in page of the tenant and chooses an account; an empty one is "Cancel".
///
/// # Errors
/// The page is not available.
pub async fn choose(tenant: &Tenant, address: &Url, account: &str) -> Result<Page, Problem> {
    let mut address = address.clone();
    address.query_pairs_mut().append_pair("account", account);
    let mut roots = rustls::RootCertStore::empty();
    let broken = |error: &dyn std::fmt::Display| Problem::new(error.to_string());
    let authority = CertificateDer::from_pem_slice(tenant.ca_pem().as_bytes()).map_err(|error| broken(&error))?;
    roots.add(authority).map_err(|error| broken(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = connect(&address).await?;
    let name = ServerName::try_from("localhost").map_err(|error| broken(&error))?;
    exchange(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?, &get(&address)).await
}

/// Opens an address of this machine without TLS.
///
/// # Errors
/// Nothing answers there.
pub async fn open(address: &Url) -> Result<Page, Problem> {
    say(address, &get(address)).await
}

/// Says something of its own to an address of this machine.
///
/// # Errors
/// Nothing answers there.
pub async fn say(address: &Url, request: &str) -> Result<Page, Problem> {
    exchange(connect(address).await?, request).await
}

async fn connect(address: &Url) -> Result<TcpStream, Problem> {
    let port = address.port().ok_or_else(|| Problem::new(format!("{address} has no port")))?;
    Ok(TcpStream::connect(("localhost", port)).await?)
}

fn get(address: &Url) -> String {
    let query = address.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("GET {}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", address.path())
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Result<Page, Problem> {
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A cut without TLS's farewell is an end like another.
    let _ = reading.map_err(|_| Problem::new("the page does not come"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let location =
        text.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("location")));
    Ok(Page {
        status: status.ok_or_else(|| Problem::new(format!("no HTTP: {text}")))?,
        location: location.and_then(|(_, value)| Url::parse(value.trim()).ok()),
        text,
    })
}

/// A running `oxpost sign-in`, and what it has said so far.
pub struct SigningIn {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stdin: ChildStdin,
    /// What it has said so far.
    pub shown: String,
    /// The address that it asks a person to open.
    pub address: Url,
}

impl SigningIn {
    /// Waits until it shows the address.
    pub(super) async fn begin(mut command: Command) -> Result<Self, Problem> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let missing = || Problem::new("a standard stream is missing");
        let stdout = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let placeholder = Url::parse("http://localhost").map_err(|error| Problem::new(error.to_string()))?;
        let mut begun = Self { child, stdout, stdin, shown: String::new(), address: placeholder };
        let line = begun.until("  https://").await?;
        begun.address = Url::parse(line.trim()).map_err(|error| Problem::new(format!("{line}: {error}")))?;
        Ok(begun)
    }

    /// Reads up to the first line that has these words in it.
    ///
    /// # Errors
    /// It ends without such a line.
    pub async fn until(&mut self, words: &str) -> Result<String, Problem> {
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(PATIENCE, self.stdout.read_line(&mut line)).await;
            if read.map_err(|_| Problem::new(format!("{words:?} does not come:\n{}", self.shown)))?? == 0 {
                let mut complaint = String::new();
                if let Some(stderr) = &mut self.child.stderr {
                    stderr.read_to_string(&mut complaint).await?;
                }
                return Err(Problem::new(format!("no {words:?}:\n{}{complaint}", self.shown)));
            }
            self.shown.push_str(&line);
            if line.contains(words) {
                return Ok(line);
            }
        }
    }

    /// The query of the address, by name.
    pub fn asks(&self, name: &str) -> String {
        let found = self.address.query_pairs().find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    /// Types a line.
    ///
    /// # Errors
    /// It listens no longer.
    pub async fn types(&mut self, line: &str) -> Result<(), Problem> {
        Ok(self.stdin.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Waits for its end: whether it was well, and all that it said.
    ///
    /// # Errors
    /// It does not end.
    pub async fn end(mut self) -> Result<(bool, String), Problem> {
        drop(self.stdin);
        let ending = async {
            self.stdout.read_to_string(&mut self.shown).await?;
            if let Some(stderr) = &mut self.child.stderr {
                stderr.read_to_string(&mut self.shown).await?;
            }
            Ok(self.child.wait().await?.success())
        };
        let ended: Result<bool, std::io::Error> =
            tokio::time::timeout(PATIENCE, ending).await.map_err(|_| Problem::new("`oxpost sign-in` does not end"))?;
        Ok((ended?, self.shown))
    }
}
