//! A mail client of few words, the same for all proxies: only the login differs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::Problem;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::peer::Peer;
use crate::stage::{ALICE, Stage};

/// What is read in one call.
const BUFFER: usize = 64 * 1024;

/// How a client logs in.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// With a password, at a proxy that swaps it for a token.
    Password(String),
    /// With a token, through a proxy that swaps nothing.
    Token(String),
}

/// Any connection.
trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// A connection.
pub(crate) struct Client(BufReader<Box<dyn Bytes>>);

impl Client {
    fn over(stream: impl Bytes + 'static) -> Self {
        Self(BufReader::with_capacity(BUFFER, Box::new(stream)))
    }

    /// Connects by IMAP and waits for the greeting.
    pub(crate) async fn imap(stage: &Stage, peer: &Peer) -> Result<Self, Problem> {
        let tcp = connect(peer.imap).await?;
        let mut client = if peer.is_direct() { Self::over(stage.secure(tcp).await?) } else { Self::over(tcp) };
        client.until("* OK").await?;
        Ok(client)
    }

    /// Connects and logs in by IMAP.
    pub(crate) async fn imap_session(stage: &Stage, peer: &Peer) -> Result<Self, Problem> {
        let mut client = Self::imap(stage, peer).await?;
        let login = match &peer.credentials {
            Credentials::Password(password) => format!("a LOGIN {ALICE} {password}\r\n"),
            Credentials::Token(token) => format!("a AUTHENTICATE XOAUTH2 {}\r\n", xoauth2(token)),
        };
        client.send(login.as_bytes()).await?;
        client.until("a OK").await?;
        Ok(client)
    }

    /// Connects and logs in by POP3.
    pub(crate) async fn pop3_session(stage: &Stage, peer: &Peer) -> Result<Self, Problem> {
        let tcp = connect(peer.pop3.clone().map_err(Problem::new)?).await?;
        let mut client = if peer.is_direct() { Self::over(stage.secure(tcp).await?) } else { Self::over(tcp) };
        client.until("+OK").await?;
        match &peer.credentials {
            Credentials::Password(password) => {
                client.command(&format!("USER {ALICE}"), "+OK").await?;
                client.command(&format!("PASS {password}"), "+OK").await?;
            }
            Credentials::Token(token) => {
                client.command("AUTH XOAUTH2", "+").await?;
                client.command(&xoauth2(token), "+OK").await?;
            }
        }
        Ok(client)
    }

    /// Connects and logs in by SMTP.
    pub(crate) async fn smtp_session(stage: &Stage, peer: &Peer) -> Result<Self, Problem> {
        let address = peer.smtp.clone().map_err(Problem::new)?;
        let mut client = if peer.is_direct() {
            let mut plain = BufReader::new(connect(address).await?);
            for (says, hears) in [("", "220 "), ("EHLO bench\r\n", "250 "), ("STARTTLS\r\n", "220 ")] {
                plain.write_all(says.as_bytes()).await?;
                until(&mut plain, hears).await?;
            }
            Self::over(stage.secure(plain.into_inner()).await?)
        } else {
            let mut client = Self::over(connect(address).await?);
            client.until("220 ").await?;
            client
        };
        client.command("EHLO bench", "250 ").await?;
        let login = match &peer.credentials {
            Credentials::Password(password) => {
                format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}")))
            }
            Credentials::Token(token) => format!("AUTH XOAUTH2 {}", xoauth2(token)),
        };
        client.command(&login, "235 ").await?;
        Ok(client)
    }

    /// Says a line and waits for a line that begins like this; gives that line.
    pub(crate) async fn command(&mut self, line: &str, answer: &str) -> Result<String, Problem> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.until(answer).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.0.write_all(bytes).await?;
        Ok(self.0.flush().await?)
    }

    /// Lines up to the first that begins like this.
    pub(crate) async fn until(&mut self, beginning: &str) -> Result<String, Problem> {
        until(&mut self.0, beginning).await
    }

    /// Reads so many bytes and forgets them.
    pub(crate) async fn forget(&mut self, mut count: usize) -> Result<(), Problem> {
        while count > 0 {
            let there = self.0.fill_buf().await?.len().min(count);
            if there == 0 {
                return Err(Problem::new("the connection ended within a message"));
            }
            self.0.consume(there);
            count -= there;
        }
        Ok(())
    }
}

async fn until<S: AsyncRead + Unpin>(stream: &mut BufReader<S>, beginning: &str) -> Result<String, Problem> {
    let mut heard = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(Problem::new(format!("the connection ended before {beginning:?}, after {heard:?}")));
        }
        if line.starts_with(beginning) {
            return Ok(line);
        }
        // Multi-line replies and untagged data are passed over; a refusal is not waited through.
        if ["a NO", "a BAD", "* BYE", "-ERR", "4", "5"].iter().any(|no| line.starts_with(no)) {
            return Err(Problem::new(format!("{:?} instead of {beginning:?}", line.trim_end())));
        }
        heard = line;
    }
}

/// Connects, without delay for small packets.
pub(crate) async fn connect(address: std::net::SocketAddr) -> std::io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

fn xoauth2(token: &str) -> String {
    STANDARD.encode(format!("user={ALICE}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}
