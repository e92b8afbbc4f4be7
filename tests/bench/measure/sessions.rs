//! Sessions that are logged in by IMAP and idle: what each takes, and what its login took.

use std::time::Duration;

use oxpost_tests::harness::Problem;

use super::{REST, per};
use crate::client::Client;
use crate::peer::{Kind, Peer};
use crate::process::{cpu, memory};
use crate::stage::Stage;
use crate::table::{Measured, Table};

/// A proxy that takes longer for all of them has failed.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn measure(stage: &Stage, table: &mut Table) {
    let (mut memories, mut logins) = (Vec::new(), Vec::new());
    for kind in Kind::PROXIES {
        // It selects on file descriptors, of which it can name 1,024, and a fifth of a second each is enough to wait for.
        let n = if kind == Kind::EmailProxy { 200 } else { 1_000 };
        let ended = tokio::time::timeout(PATIENCE, sessions(kind, stage, n)).await;
        let ended = ended.unwrap_or_else(|_| Err(Problem::new(format!("{} takes too long to log in", kind.name()))));
        let (held, spent) = match ended {
            Ok((held, spent)) => (Ok(held), Ok(spent)),
            Err(problem) => (Err(problem.to_string()), Err(problem.to_string())),
        };
        memories.push((kind, held));
        logins.push((kind, spent));
    }
    table.add("memory of an idle IMAP session, KiB", memories);
    table.add("CPU of an IMAP login (HAProxy, stunnel: of a TLS connection), ms", logins);
}

async fn sessions(kind: Kind, stage: &Stage, n: usize) -> Result<(Measured, Measured), Problem> {
    let peer = kind.start(stage).await?;
    let id = peer.id()?;
    // The first one pays for what is made once: the token, the password check, the pools of memory.
    let _first = Client::imap_session(stage, &peer).await?;
    tokio::time::sleep(REST).await;
    let (memory_before, cpu_before) = (memory(id)?, cpu(id)?);
    let clients = open(stage, &peer, n).await?;
    let spent = cpu(id)? - cpu_before;
    tokio::time::sleep(REST).await;
    let held = memory(id)? - memory_before;
    drop(clients);
    Ok((Measured { value: per(held, n), n }, Measured { value: per(spent * 1e3, n), n }))
}

/// Four at a time, as on a busy morning.
async fn open(stage: &Stage, peer: &Peer, n: usize) -> Result<Vec<Client>, Problem> {
    let mut clients = Vec::with_capacity(n);
    let one = || Client::imap_session(stage, peer);
    while clients.len() < n {
        let (a, b, c, d) = tokio::try_join!(one(), one(), one(), one())?;
        clients.extend([a, b, c, d]);
    }
    Ok(clients)
}
