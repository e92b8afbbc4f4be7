//! Connections that never log in: silent ones, and ones that try to make the proxy hold as much as they can.
//!
//! Each kind meets a proxy that has just started, so that none hides in memory another has left behind.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oxpost_tests::harness::Problem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::{REST, per};
use crate::client::connect;
use crate::peer::Kind;
use crate::process::memory;
use crate::stage::Stage;
use crate::table::{Figure, Measured, Table};

/// How long they go on. Memory is read again and again, and the most counts.
const TIME: Duration = Duration::from_secs(2);

/// How often memory is read.
const LOOK: Duration = Duration::from_millis(50);

/// A hostile client whose proxy takes everything stops after so much, or this machine would be full.
const ENOUGH: usize = 1024 * 1024;

/// A hostile client that was sent away waits so long before it comes again.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
enum Stranger {
    Silent,
    /// Begins a command and never ends the line.
    EndlessLine,
    /// Announces 100 MB as its user name, and sends them without waiting to be asked.
    GiantLiteral,
    /// Sends just less than a line may have, then a byte now and then.
    SlowBytes,
}

impl Stranger {
    fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent stranger (IMAP, not logged in)",
            Self::EndlessLine => "stranger with a line without end",
            Self::GiantLiteral => "stranger with a literal of 100 MB",
            Self::SlowBytes => "stranger with 8,000 bytes, then one at a time",
        }
    }
}

pub(crate) async fn measure(stage: &Stage, table: &mut Table) {
    for stranger in [Stranger::Silent, Stranger::EndlessLine, Stranger::GiantLiteral, Stranger::SlowBytes] {
        let mut figures = Vec::new();
        for kind in Kind::PROXIES {
            let figure = match stranger {
                Stranger::Silent => strangers(kind, stage, stranger).await.map_err(|problem| problem.to_string()),
                _ => hostile(kind, stage, stranger).await,
            };
            figures.push((kind, figure));
        }
        table.add(format!("memory of a {}, KiB", stranger.name()), figures);
    }
}

async fn hostile(kind: Kind, stage: &Stage, stranger: Stranger) -> Figure {
    if !kind.logs_in() {
        return Err("It knows no commands and hands all strangers on to the mail server, in TLS.".into());
    }
    strangers(kind, stage, stranger).await.map_err(|problem| problem.to_string())
}

async fn strangers(kind: Kind, stage: &Stage, stranger: Stranger) -> Result<Measured, Problem> {
    let n = if kind == Kind::EmailProxy { 200 } else { 1_000 };
    let peer = kind.start(stage).await?;
    let id = peer.id()?;
    drop(greeted(peer.imap).await?);
    tokio::time::sleep(REST).await;
    let before = memory(id)?;
    let mut strangers = JoinSet::new();
    for _ in 0..n {
        let tcp = greeted(peer.imap).await?;
        strangers.spawn(behave(stranger, tcp, peer.imap));
    }
    let (began, mut most) = (Instant::now(), before);
    while began.elapsed() < TIME {
        tokio::time::sleep(LOOK).await;
        most = most.max(memory(id)?);
    }
    Ok(Measured { value: per(most - before, n), n })
}

async fn greeted(address: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let mut tcp = connect(address).await?;
    let _ = tcp.read(&mut [0; 512]).await?;
    Ok(tcp)
}

/// One stranger, who comes again when he is sent away.
async fn behave(stranger: Stranger, mut tcp: tokio::net::TcpStream, address: SocketAddr) {
    loop {
        let _ = play(stranger, &mut tcp).await;
        tokio::time::sleep(PAUSE).await;
        if let Ok(again) = greeted(address).await {
            tcp = again;
        }
    }
}

async fn play(stranger: Stranger, tcp: &mut tokio::net::TcpStream) -> std::io::Result<()> {
    match stranger {
        Stranger::Silent => {}
        Stranger::EndlessLine => flood(tcp, b"a LOGIN ").await?,
        Stranger::GiantLiteral => flood(tcp, b"a LOGIN {100000000+}\r\n").await?,
        Stranger::SlowBytes => {
            tcp.write_all(b"a LOGIN ").await?;
            tcp.write_all(&[b'x'; 7_992]).await?;
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                tcp.write_all(b"x").await?;
            }
        }
    }
    // Until the proxy sends it away.
    while tcp.read(&mut [0; 512]).await? > 0 {}
    Ok(())
}

async fn flood(tcp: &mut tokio::net::TcpStream, beginning: &[u8]) -> std::io::Result<()> {
    const CHUNK: [u8; 4096] = [b'x'; 4096];
    tcp.write_all(beginning).await?;
    for _ in 0..ENOUGH / CHUNK.len() {
        tcp.write_all(&CHUNK).await?;
    }
    Ok(())
}
