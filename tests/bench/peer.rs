//! The proxies that are compared, each started the way its users start it, with what it does by default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use oxpost_tests::harness::{Problem, Running, find};
use tokio::process::{Child, Command};

use crate::client::{Credentials, connect};
use crate::stage::{ALICE, CLIENT_ID, MICROSOFT_PASSWORD, SCOPES, Stage};

/// How long a proxy may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names a folder where `bin/emailproxy` was installed.
const VENV: &str = "OXPOST_BENCH_VENV";

/// What is between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Oxpost,
    HaProxy,
    Stunnel,
    EmailProxy,
    /// Nothing: the client speaks TLS and XOAUTH2 to the server.
    Direct,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Oxpost, Self::HaProxy, Self::Stunnel, Self::EmailProxy, Self::Direct];
    pub(crate) const PROXIES: [Self; 4] = [Self::Oxpost, Self::HaProxy, Self::Stunnel, Self::EmailProxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Oxpost => "Oxpost",
            Self::HaProxy => "HAProxy",
            Self::Stunnel => "stunnel",
            Self::EmailProxy => "emailproxy",
            Self::Direct => "no proxy",
        }
    }

    /// Whether it understands the login, and so handles unauthenticated connections before the server does.
    pub(crate) fn logs_in(self) -> bool {
        matches!(self, Self::Oxpost | Self::EmailProxy)
    }

    /// What it calls itself, or why it is not there.
    pub(crate) async fn version(self, stage: &Stage) -> String {
        let text = match self {
            Self::Oxpost => stage.oxpost.call(&["--version"]).await.map(|ran| ran.text()),
            Self::Direct => Ok(String::new()),
            Self::HaProxy => ask(find("haproxy"), "-v").await,
            Self::Stunnel => ask(find("stunnel4"), "-version").await,
            Self::EmailProxy => ask(email_proxy(), "--version").await,
        };
        let text = text.unwrap_or_else(|problem| problem.to_string());
        let line = text.lines().find(|line| line.chars().any(|c| c.is_ascii_digit()));
        line.or_else(|| text.lines().next()).unwrap_or_default().to_owned()
    }

    /// Starts it, up to the moment when it listens.
    pub(crate) async fn start(self, stage: &Stage) -> Result<Peer, Problem> {
        match self {
            Self::Oxpost => oxpost(stage).await,
            Self::HaProxy => haproxy(stage).await,
            Self::Stunnel => stunnel(stage).await,
            Self::EmailProxy => emailproxy(stage).await,
            Self::Direct => Ok(Peer {
                kind: self,
                imap: stage.tenant.imap(),
                imap_tls: None,
                pop3: Ok(stage.tenant.pop3()),
                smtp: Ok(stage.tenant.smtp()),
                credentials: stage.with_token(),
                process: Process::None,
            }),
        }
    }
}

/// A running proxy. It is killed when this is dropped.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) imap: SocketAddr,
    /// Where it speaks IMAP in TLS to its clients, if it is configured to.
    pub(crate) imap_tls: Option<SocketAddr>,
    /// Where it speaks POP3, or why it does not.
    pub(crate) pop3: Result<SocketAddr, String>,
    /// Where it takes mail for submission, or why it does not.
    pub(crate) smtp: Result<SocketAddr, String>,
    /// How its clients log in.
    pub(crate) credentials: Credentials,
    process: Process,
}

enum Process {
    None,
    Oxpost(Running),
    Other(Child),
}

impl Peer {
    pub(crate) fn is_direct(&self) -> bool {
        self.kind == Kind::Direct
    }

    /// Its process, for measuring; a proxy that has ended cannot be measured.
    pub(crate) fn id(&self) -> Result<u32, Problem> {
        let id = match &self.process {
            Process::None => None,
            Process::Oxpost(running) => running.id(),
            Process::Other(child) => child.id(),
        };
        id.ok_or_else(|| Problem::new(format!("{} has no process", self.kind.name())))
    }
}

async fn oxpost(stage: &Stage) -> Result<Peer, Problem> {
    let running = stage.oxpost.run().await?;
    let line = running.wait_for_log(r#""protocol":"IMAP","tls":"Implicit""#).await?;
    let line: serde_json::Value = serde_json::from_str(&line).map_err(|error| Problem::new(error.to_string()))?;
    let address = line.get("address").and_then(|address| address.as_str()?.parse().ok());
    Ok(Peer {
        kind: Kind::Oxpost,
        imap: running.imap,
        imap_tls: address,
        pop3: Ok(running.pop3),
        smtp: Ok(running.smtp),
        credentials: Credentials::Password(stage.password.clone()),
        process: Process::Oxpost(running),
    })
}

/// Plain in, TLS out, verified. It cannot begin STARTTLS towards a server, so its submission server has TLS from the first byte.
async fn haproxy(stage: &Stage) -> Result<Peer, Problem> {
    let (imap, pop3, smtp) = (free_port()?, free_port()?, free_port()?);
    let file = stage.folder.path().join("haproxy.cfg");
    let ca = stage.folder.path().join("ca.pem");
    let listen = |name: &str, accept: SocketAddr, to: SocketAddr| {
        format!(
            "listen {name}\n  bind {accept}\n  server exchange {to} ssl verify required ca-file {} sni str(localhost) \
             verifyhost localhost\n",
            ca.display()
        )
    };
    let text = format!(
        "global\n  maxconn 2000\n\
         defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n{}{}{}",
        listen("imap", imap, stage.tenant.imap()),
        listen("pop3", pop3, stage.tenant.pop3()),
        listen("smtp", smtp, stage.tenant.smtp_tls()),
    );
    std::fs::write(&file, text)?;
    let mut command = stage.command(find("haproxy")?);
    command.arg("-db").arg("-f").arg(&file);
    let peer = start(Kind::HaProxy, command, imap, Ok(smtp), stage.with_token()).await?;
    Ok(Peer { pop3: Ok(pop3), ..peer })
}

/// Client mode: plain in, TLS out, verified.
async fn stunnel(stage: &Stage) -> Result<Peer, Problem> {
    let (imap, smtp, file) = (free_port()?, free_port()?, stage.folder.path().join("stunnel.conf"));
    let ca = stage.folder.path().join("ca.pem");
    let service = |name: &str, accept: SocketAddr, to: SocketAddr, more: &str| {
        format!(
            "[{name}]\nclient = yes\naccept = {accept}\nconnect = {to}\n{more}CAfile = {}\nverifyChain = yes\n\
             checkHost = localhost\nsni = localhost\n",
            ca.display()
        )
    };
    let text = format!(
        "foreground = yes\npid =\ndebug = warning\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n{}{}",
        service("imap", imap, stage.tenant.imap(), ""),
        service("smtp", smtp, stage.tenant.smtp(), "protocol = smtp\n"),
    );
    std::fs::write(&file, text)?;
    let mut command = Command::new(find("stunnel4")?);
    command.arg(&file);
    start(Kind::Stunnel, command, imap, Ok(smtp), stage.with_token()).await
}

/// With the password grant, because there is no browser here; after the first login it refreshes as always.
async fn emailproxy(stage: &Stage) -> Result<Peer, Problem> {
    let (imap, smtp, file) = (free_port()?, free_port()?, stage.folder.path().join("emailproxy.config"));
    let text = format!(
        "[IMAP-{}]\nlocal_address = 127.0.0.1\nserver_address = localhost\nserver_port = {}\n\
         [SMTP-{}]\nlocal_address = 127.0.0.1\nserver_address = localhost\nserver_port = {}\nserver_starttls = True\n\
         [{ALICE}]\ntoken_url = {}/{}/oauth2/v2.0/token\noauth2_scope = {SCOPES}\noauth2_flow = password\n\
         redirect_uri = http://localhost\nclient_id = {CLIENT_ID}\n",
        imap.port(),
        stage.tenant.imap().port(),
        smtp.port(),
        stage.tenant.smtp().port(),
        stage.tenant.authority(),
        stage.tenant.id(),
    );
    std::fs::write(&file, text)?;
    let mut command = Command::new(email_proxy()?);
    command.arg("--no-gui").arg("--config-file").arg(&file);
    command.arg("--log-file").arg(stage.folder.path().join("emailproxy.log"));
    command.env("SSL_CERT_FILE", stage.folder.path().join("ca.pem"));
    start(Kind::EmailProxy, command, imap, Ok(smtp), Credentials::Password(MICROSOFT_PASSWORD.into())).await
}

async fn start(
    kind: Kind,
    mut command: Command,
    imap: SocketAddr,
    smtp: Result<SocketAddr, String>,
    credentials: Credentials,
) -> Result<Peer, Problem> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let listening = async {
        while connect(imap).await.is_err() {
            if let Some(status) = child.try_wait()? {
                return Err(Problem::new(format!("{} ended immediately, with {status}", kind.name())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    let ended = tokio::time::timeout(PATIENCE, listening).await;
    ended.unwrap_or_else(|_| Err(Problem::new(format!("{} does not listen", kind.name()))))?;
    let pop3 = Err(format!("{} is not set up for POP3 here.", kind.name()));
    Ok(Peer { kind, imap, imap_tls: None, pop3, smtp, credentials, process: Process::Other(child) })
}

fn email_proxy() -> Result<PathBuf, Problem> {
    let missing = || {
        Problem::new(format!("emailproxy is not installed; {VENV} names no folder that has it. Run: tests/bench/run"))
    };
    let file = PathBuf::from(std::env::var_os(VENV).ok_or_else(missing)?).join("bin/emailproxy");
    if file.is_file() { Ok(file) } else { Err(missing()) }
}

async fn ask(program: Result<PathBuf, Problem>, argument: &str) -> Result<String, Problem> {
    let mut command = Command::new(program?);
    command.arg(argument);
    Ok(oxpost_tests::harness::run(command, b"").await?.text())
}

/// A port that was free a moment ago.
fn free_port() -> Result<SocketAddr, Problem> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
