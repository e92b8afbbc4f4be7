//! The instructions of whole processes, Oxpost and HAProxy, for the same mail: counted by callgrind, so that neither the machine nor
//! what else it does changes them. Each path is gone once first, and counted then, in the same session.

use std::process::Stdio;
use std::time::Duration;

use oxpost_tests::harness::{Problem, find};
use tokio::process::Command;

use super::per;
use crate::client::Client;
use crate::peer::{Kind, Peer};
use crate::stage::{ALICE, Stage};
use crate::table::{Figure, Measured, Table};

/// A large message, in bytes.
const LARGE: usize = 8 * 1024 * 1024;

/// Small messages that are fetched together, of a KiB each.
const MANY: usize = 2_000;

/// Small messages that are sent in a session, of two KiB each.
const SENT: usize = 100;

/// Logins, one behind the other.
const LOGINS: usize = 20;

/// Work that a proxy has begun is ended after so long; under callgrind it takes fifty times as long as usual.
const REST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Login,
    Fetch,
    FetchMany,
    Retr,
    Data,
    Small,
}

impl Path {
    const ALL: [Self; 6] = [Self::Login, Self::Fetch, Self::FetchMany, Self::Retr, Self::Data, Self::Small];

    fn name(self) -> &'static str {
        match self {
            Self::Login => "an IMAP session with its login (HAProxy: the same without a look)",
            Self::Fetch => "IMAP FETCH, for each byte of a large message",
            Self::FetchMany => "IMAP FETCH of many, for each message of 1 KiB",
            Self::Retr => "POP3 RETR, for each byte of a large message",
            Self::Data => "SMTP DATA, for each byte of a large message",
            Self::Small => "SMTP, for each message of 2 KiB",
        }
    }

    /// How many of what is counted there are.
    fn units(self) -> usize {
        match self {
            Self::Login => LOGINS,
            Self::FetchMany => MANY,
            Self::Small => SENT,
            Self::Fetch | Self::Retr | Self::Data => LARGE,
        }
    }
}

pub(crate) async fn measure(table: &mut Table) -> Result<(), Problem> {
    let mut stage = Stage::set().await?;
    let valgrind = find("valgrind")?.display().to_string();
    find("callgrind_control")?;
    stage.start_under(&[
        valgrind,
        "--quiet".into(),
        "--tool=callgrind".into(),
        format!(
            "--callgrind-out-file={}",
            profiles().map_or("/dev/null".into(), |folder| format!("{folder}/callgrind.%p"))
        ),
    ]);
    stage.tenant.deliver(ALICE, text(LARGE));
    for number in 0..MANY {
        let message = format!("Message-ID: <{number}@contoso.com>\r\n{}", String::from_utf8_lossy(&text(960)));
        stage.tenant.deliver_to(ALICE, "Many", message.into_bytes());
    }
    let mut rows: Vec<(Path, Vec<(Kind, Figure)>)> = Path::ALL.map(|path| (path, Vec::new())).into();
    for kind in [Kind::Oxpost, Kind::HaProxy] {
        eprintln!("{} under callgrind …", kind.name());
        let peer = kind.start(&stage).await?;
        for (path, figures) in &mut rows {
            let counted = count(&stage, &peer, *path).await;
            let per_unit = counted.map(|counted| Measured { value: per(counted, path.units()), n: path.units() });
            figures.push((kind, per_unit.map_err(|problem| problem.to_string())));
        }
    }
    for (path, figures) in rows {
        table.add(format!("instructions of {}", path.name()), figures);
    }
    Ok(())
}

/// What a path costs once it has been gone.
async fn count(stage: &Stage, peer: &Peer, path: Path) -> Result<f64, Problem> {
    let mut walker = Walker::begin(stage, peer, path).await?;
    walker.go(stage, peer).await?;
    tokio::time::sleep(REST).await;
    if profiles().is_some() {
        control(peer.id()?, "-z").await?;
    }
    let before = instructions(peer.id()?).await?;
    walker.go(stage, peer).await?;
    tokio::time::sleep(REST).await;
    let counted = instructions(peer.id()?).await? - before;
    if profiles().is_some() {
        control(peer.id()?, "--dump").await?;
    }
    Ok(counted)
}

/// A folder for callgrind's profiles of what is counted, if wanted.
fn profiles() -> Option<String> {
    std::env::var("OXPOST_BENCH_PROFILES").ok()
}

async fn control(id: u32, what: &str) -> Result<String, Problem> {
    let mut command = Command::new(find("callgrind_control")?);
    command.args([what, &id.to_string()]).stdin(Stdio::null());
    Ok(oxpost_tests::harness::run(command, b"").await?.text())
}

/// A session on its path.
struct Walker {
    path: Path,
    /// None where each turn has sessions of its own.
    client: Option<Client>,
}

impl Walker {
    async fn begin(stage: &Stage, peer: &Peer, path: Path) -> Result<Self, Problem> {
        let client = match path {
            Path::Login => None,
            Path::Fetch | Path::FetchMany => {
                let mut client = Client::imap_session(stage, peer).await?;
                let folder = if path == Path::Fetch { "INBOX" } else { "Many" };
                client.command(&format!("a EXAMINE {folder}"), "a OK").await?;
                Some(client)
            }
            Path::Retr => Some(Client::pop3_session(stage, peer).await?),
            Path::Data | Path::Small => Some(Client::smtp_session(stage, peer).await?),
        };
        Ok(Self { path, client })
    }

    async fn go(&mut self, stage: &Stage, peer: &Peer) -> Result<(), Problem> {
        let Some(client) = &mut self.client else {
            for _ in 0..LOGINS {
                let mut client = Client::imap_session(stage, peer).await?;
                client.command("a LOGOUT", "* BYE").await?;
            }
            return Ok(());
        };
        match self.path {
            Path::Login => {}
            Path::Fetch => {
                client.command("a FETCH 1 BODY.PEEK[]", "a OK").await?;
            }
            Path::FetchMany => {
                client.command("a FETCH 1:* BODY.PEEK[]", "a OK").await?;
            }
            Path::Retr => {
                client.command("RETR 1", "+OK").await?;
                client.until(".\r\n").await?;
            }
            Path::Data => submit(client, &text(LARGE)).await?,
            Path::Small => {
                let message = text(2 * 1024);
                for _ in 0..SENT {
                    submit(client, &message).await?;
                }
            }
        }
        Ok(())
    }
}

async fn submit(client: &mut Client, message: &[u8]) -> Result<(), Problem> {
    client.command(&format!("MAIL FROM:<{ALICE}>"), "250 ").await?;
    client.command(&format!("RCPT TO:<{ALICE}>"), "250 ").await?;
    client.command("DATA", "354 ").await?;
    client.send(message).await?;
    client.command(".", "250 ").await?;
    // The tenant that throws messages away does not forget their sender.
    client.command("RSET", "250 ").await?;
    Ok(())
}

/// A message of about so many bytes, with lines of 78 that do not look like a reply, and a doubled dot before every five hundredth.
fn text(size: usize) -> Vec<u8> {
    let mut message = format!("From: {ALICE}\r\nTo: {ALICE}\r\nSubject: figures\r\n\r\n").into_bytes();
    let mut line = 0;
    while message.len() < size {
        line += 1;
        message.extend_from_slice(if line % 500 == 0 { b".." } else { b"ab" });
        message.extend_from_slice(&b"cdefghijklmnopqrstuvwxyz0123456789 ,".repeat(2));
        message.extend_from_slice(b"\r\n");
    }
    message
}

/// How many instructions a process under callgrind has gone through, in all its threads.
async fn instructions(id: u32) -> Result<f64, Problem> {
    let said = control(id, "-e").await?;
    let counted = said.lines().filter_map(|line| {
        let (_, count) = line.trim().strip_prefix("Th ")?.split_once(' ')?;
        count.trim().replace(',', "").parse::<f64>().ok()
    });
    let counted: Vec<f64> = counted.collect();
    if counted.is_empty() {
        return Err(Problem::new(format!("callgrind_control does not say how many: {said}")));
    }
    Ok(counted.iter().sum())
}
