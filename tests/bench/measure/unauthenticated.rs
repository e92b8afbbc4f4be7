//! Connections that never log in: silent ones, and ones that try to make the proxy hold as much as they can.
//!
//! Each kind meets a proxy that has just started, so that none hides in memory another has left behind.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oxpost_tests::harness::Problem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::{REST, per};
use crate::client::connect;
use crate::peer::Kind;
use crate::process::memory;
use crate::stage::Stage;
use crate::table::{Measured, Table};

/// How long they go on. Memory is read again and again, and the most counts.
const TIME: Duration = Duration::from_secs(2);

/// How often memory is read.
const LOOK: Duration = Duration::from_millis(50);

/// A hostile client whose proxy takes everything stops after so much, or this machine would be full.
const ENOUGH: usize = 1024 * 1024;

/// A hostile client that was sent away waits so long before it comes again.
const PAUSE: Duration = Duration::from_millis(50);

/// Less than Oxpost's longest line before a login (12,288 bytes), so that the client is not rejected.
const NEARLY_A_LINE: usize = 12_200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Silent,
    /// Begins a command and never ends the line.
    EndlessLine,
    /// Announces 100 MB as its user name, and sends them without waiting to be asked.
    GiantLiteral,
    /// Sends just less than a line may have, then a byte now and then.
    SlowBytes,
    /// Has made its TLS handshake and says nothing.
    SilentInTls,
    /// Announces a first TLS message of nearly 64 KiB, the most that TLS libraries take, and never ends it.
    EndlessHello,
}

impl Behaviour {
    const ALL: [Self; 6] =
        [Self::Silent, Self::EndlessLine, Self::GiantLiteral, Self::SlowBytes, Self::SilentInTls, Self::EndlessHello];

    fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent connection (IMAP, not logged in)",
            Self::EndlessLine => "connection with a line without end",
            Self::GiantLiteral => "connection with a literal of 100 MB",
            Self::SlowBytes => "connection with 12,200 bytes of a line, then one at a time",
            Self::SilentInTls => "silent connection in TLS",
            Self::EndlessHello => "connection with a TLS handshake without end",
        }
    }

    fn in_tls(self) -> bool {
        matches!(self, Self::SilentInTls | Self::EndlessHello)
    }
}

pub(crate) async fn measure(stage: &Stage, table: &mut Table) {
    for behaviour in Behaviour::ALL {
        let mut figures = Vec::new();
        for kind in Kind::PROXIES {
            let figure = match behaviour {
                _ if behaviour.in_tls() && kind != Kind::Oxpost => Err("It listens without TLS in this bench.".into()),
                Behaviour::EndlessLine | Behaviour::GiantLiteral | Behaviour::SlowBytes if !kind.logs_in() => {
                    Err("It knows no commands and forwards all clients to the mail server, in TLS.".into())
                }
                _ => memory_of(kind, stage, behaviour).await.map_err(|problem| problem.to_string()),
            };
            figures.push((kind, figure));
        }
        table.add(format!("most memory of a {}, KiB", behaviour.name()), figures);
    }
}

async fn memory_of(kind: Kind, stage: &Stage, behaviour: Behaviour) -> Result<Measured, Problem> {
    let n = if kind == Kind::EmailProxy { 200 } else { 1_000 };
    let peer = kind.start(stage).await?;
    let id = peer.id()?;
    let address = match peer.imap_tls {
        Some(address) if behaviour.in_tls() => address,
        _ => peer.imap,
    };
    drop(Met::by(behaviour, stage, address).await?);
    tokio::time::sleep(REST).await;
    let before = memory(id)?;
    let mut clients = JoinSet::new();
    for _ in 0..n {
        let met = Met::by(behaviour, stage, address).await?;
        clients.spawn(behave(behaviour, met, address));
    }
    let (began, mut most) = (Instant::now(), before);
    while began.elapsed() < TIME {
        tokio::time::sleep(LOOK).await;
        most = most.max(memory(id)?);
    }
    Ok(Measured { value: per(most - before, n), n })
}

/// A connection, at the point where its behaviour begins.
enum Met {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Met {
    async fn by(behaviour: Behaviour, stage: &Stage, address: SocketAddr) -> Result<Self, Problem> {
        match behaviour {
            Behaviour::SilentInTls => {
                let mut tls = stage.secure(connect(address).await?).await?;
                let _ = tls.read(&mut [0; 512]).await?;
                Ok(Self::Tls(Box::new(tls)))
            }
            Behaviour::EndlessHello => Ok(Self::Plain(connect(address).await?)),
            _ => Ok(Self::Plain(greeted(address).await?)),
        }
    }
}

async fn greeted(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut tcp = connect(address).await?;
    let _ = tcp.read(&mut [0; 512]).await?;
    Ok(tcp)
}

/// One client, which reconnects when its connection is closed.
async fn behave(behaviour: Behaviour, met: Met, address: SocketAddr) {
    let mut tcp = match met {
        Met::Plain(tcp) => tcp,
        Met::Tls(mut tls) => {
            let _ = tls.read(&mut [0; 512]).await;
            return;
        }
    };
    loop {
        let _ = play(behaviour, &mut tcp).await;
        tokio::time::sleep(PAUSE).await;
        let again = if behaviour == Behaviour::EndlessHello { connect(address).await } else { greeted(address).await };
        if let Ok(again) = again {
            tcp = again;
        }
    }
}

async fn play(behaviour: Behaviour, tcp: &mut TcpStream) -> std::io::Result<()> {
    match behaviour {
        Behaviour::Silent | Behaviour::SilentInTls => {}
        Behaviour::EndlessLine => flood(tcp, b"a LOGIN ").await?,
        Behaviour::GiantLiteral => flood(tcp, b"a LOGIN {100000000+}\r\n").await?,
        Behaviour::SlowBytes => {
            tcp.write_all(b"a LOGIN ").await?;
            tcp.write_all(&[b'x'; NEARLY_A_LINE]).await?;
            trickle(tcp).await?;
        }
        Behaviour::EndlessHello => {
            // Three full records of 16 KiB (RFC 8446, 5.1), the first of which announces a ClientHello of 65,000 bytes
            // (RFC 8446, 4), and a fourth that never ends.
            let mut records = Vec::new();
            for _ in 0..4 {
                records.extend_from_slice(&[22, 3, 1, 0x40, 0x00]);
                records.extend_from_slice(&[0; 16 * 1024]);
            }
            if let Some(header) = records.get_mut(5..9) {
                header.copy_from_slice(&[1, 0x00, 0xfd, 0xe8]);
            }
            records.truncate(60_000);
            tcp.write_all(&records).await?;
            trickle(tcp).await?;
        }
    }
    // Until the proxy sends it away.
    while tcp.read(&mut [0; 512]).await? > 0 {}
    Ok(())
}

async fn trickle(tcp: &mut TcpStream) -> std::io::Result<()> {
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tcp.write_all(b"x").await?;
    }
    Ok(())
}

async fn flood(tcp: &mut TcpStream, beginning: &[u8]) -> std::io::Result<()> {
    const CHUNK: [u8; 4096] = [b'x'; 4096];
    tcp.write_all(beginning).await?;
    for _ in 0..ENOUGH / CHUNK.len() {
        tcp.write_all(&CHUNK).await?;
    }
    Ok(())
}
