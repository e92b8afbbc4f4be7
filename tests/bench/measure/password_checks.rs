//! What password checks leave resident: wrong logins from this machine, and the first logins of many owners. A process of its
//! own for each, as the second would find what the first has left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oxpost_protocol::Secret;
use oxpost_tests::harness::{Oxpost, Problem, Running, Settings};
use oxpost_token_store::PasswordHash;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::JoinSet;

use super::REST;
use crate::client::connect;
use crate::peer::Kind;
use crate::process::memory;
use crate::stage::{ALICE, CLIENT_ID, OWNERS, Stage, owner};
use crate::table::{Measured, Table};

/// After so many wrong logins memory is read.
const COUNTS: [usize; 4] = [10, 200, 1_000, 10_000];

/// Clients at the same time.
const CLIENTS: usize = 64;

/// After so many refused logins Oxpost ends a connection by itself; this is one less.
const LOGINS_OF_A_CONNECTION: usize = 4;

/// A minute, after which unused working memory goes back to the system, and a bit.
const MINUTE: Duration = Duration::from_secs(70);

/// What all owners have.
const PASSWORD: &str = "correct-horse-battery";

pub(crate) async fn measure(stage: &Stage, table: &mut Table) {
    for (name, outcome) in [("wrong", wrong_logins(stage).await), ("first", first_logins(stage).await)] {
        match outcome {
            Ok(rows) => rows.into_iter().for_each(|(what, figure)| table.add(what, vec![(Kind::Oxpost, Ok(figure))])),
            Err(problem) => table
                .add(format!("memory that {name} logins leave, MiB"), vec![(Kind::Oxpost, Err(problem.to_string()))]),
        }
    }
}

type Rows = Vec<(String, Measured)>;

async fn wrong_logins(stage: &Stage) -> Result<Rows, Problem> {
    let running = stage.oxpost.run().await?;
    let id = pid(&running)?;
    // What is made once, such as threads, belongs to no login.
    refused(running.imap, &AtomicUsize::new(usize::MAX), usize::MAX).await?;
    tokio::time::sleep(REST).await;
    let (before, sent) = (memory(id)?, Arc::new(AtomicUsize::new(0)));
    let mut rows = Vec::new();
    for n in COUNTS {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (address, sent) = (running.imap, Arc::clone(&sent));
            clients.spawn(async move { refused(address, &sent, n).await });
        }
        while let Some(done) = clients.join_next().await {
            done.map_err(|error| Problem::new(error.to_string()))??;
        }
        sent.store(n, Ordering::Relaxed);
        tokio::time::sleep(REST).await;
        rows.push((format!("memory that {n} wrong logins leave, MiB"), mib(before, memory(id)?, n)));
    }
    tokio::time::sleep(MINUTE).await;
    let n = sent.load(Ordering::Relaxed);
    rows.push(("the same, a minute later, MiB".to_owned(), mib(before, memory(id)?, n)));
    Ok(rows)
}

async fn first_logins(stage: &Stage) -> Result<Rows, Problem> {
    let (oxpost, running) = with_owners(stage).await?;
    let id = pid(&running)?;
    tokio::time::sleep(REST).await;
    // The first login of all pays for what is made once, such as the token.
    let before = memory(id)?;
    logged_in(running.imap, ALICE, &oxpost.1).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, next) = (running.imap, Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= OWNERS {
                    return Ok::<_, Problem>(());
                }
                logged_in(address, &owner(number), PASSWORD).await?;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.map_err(|error| Problem::new(error.to_string()))??;
    }
    tokio::time::sleep(REST).await;
    let first =
        (format!("memory that the first logins of {OWNERS} owners leave, MiB"), mib(before, memory(id)?, OWNERS));
    tokio::time::sleep(MINUTE).await;
    Ok(vec![first, ("the same, a minute later, MiB".to_owned(), mib(before, memory(id)?, OWNERS))])
}

/// An Oxpost whose owners are declared, and go through Alice; and Alice's password.
async fn with_owners(stage: &Stage) -> Result<((Oxpost, String), Running), Problem> {
    let hash = PasswordHash::of(&Secret::from(PASSWORD)).map_err(|error| Problem::new(error.to_string()))?;
    let accounts = (0..OWNERS).map(|number| {
        let (owner, hash) = (owner(number), hash.text());
        format!("[[account]]\nmailbox = \"{owner}\"\ndelegate = \"{ALICE}\"\npassword-hash = '{hash}'\n")
    });
    let more: String = accounts.collect();
    let settings = Settings { level: "info".into(), ..Settings::of(&stage.tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings)?;
    let password = oxpost.add_account(ALICE, &[]).await?;
    oxpost.sign_in(ALICE, &stage.tenant, ALICE).await?;
    Settings { more, ..settings }.write(oxpost.folder())?;
    let running = oxpost.run().await?;
    Ok(((oxpost, password), running))
}

fn pid(running: &Running) -> Result<u32, Problem> {
    running.id().ok_or_else(|| Problem::new("Oxpost has ended"))
}

/// In KiB as they are read.
fn mib(before: f64, after: f64, n: usize) -> Measured {
    Measured { value: (after - before) / 1024.0, n }
}

/// Sends wrong passwords for names that do not exist, each another one, until so many were sent by all clients.
async fn refused(address: SocketAddr, sent: &AtomicUsize, until: usize) -> Result<(), Problem> {
    loop {
        let mut imap = BufReader::new(connect(address).await?);
        let mut line = String::new();
        imap.read_line(&mut line).await?;
        for _ in 0..LOGINS_OF_A_CONNECTION {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            if number >= until {
                return Ok(());
            }
            imap.write_all(format!("a LOGIN unknown{number}@contoso.com guess{number}\r\n").as_bytes()).await?;
            line.clear();
            // A refusal, whatever it says; a rejected client tries again.
            if imap.read_line(&mut line).await? == 0 {
                break;
            }
        }
    }
}

async fn logged_in(address: SocketAddr, user: &str, password: &str) -> Result<(), Problem> {
    let mut imap = BufReader::new(connect(address).await?);
    let mut line = String::new();
    imap.read_line(&mut line).await?;
    imap.write_all(format!("a LOGIN {user} {password}\r\n").as_bytes()).await?;
    loop {
        line.clear();
        if imap.read_line(&mut line).await? == 0 || line.starts_with("a NO") || line.starts_with("* BYE") {
            return Err(Problem::new(format!("{user} cannot log in: {}", line.trim_end())));
        }
        if line.starts_with("a OK") {
            return Ok(());
        }
    }
}
