//! Large messages, down by IMAP and up by SMTP: processor time and throughput.

use std::time::{Duration, Instant};

use oxpost_tests::harness::Problem;

use super::per;
use crate::client::Client;
use crate::peer::{Kind, Peer};
use crate::process::cpu;
use crate::stage::{ALICE, Stage};
use crate::table::{Figure, Measured, Table};

/// The size of a message.
const MEBIBYTES: usize = 50;
const SIZE: usize = MEBIBYTES * 1024 * 1024;

/// Rounds in which each proxy has its turn, so that a disturbance of the machine does not meet one of them alone.
const ROUNDS: usize = 3;

/// A turn ends after so many messages, or this time.
const MESSAGES: usize = 8;
const TURN: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// IMAP FETCH.
    Down,
    /// SMTP DATA.
    Up,
}

/// What a proxy has moved so far.
#[derive(Debug, Default, Clone, Copy)]
struct Moved {
    messages: usize,
    seconds: f64,
    cpu: f64,
}

pub(crate) async fn measure(stage: &Stage, table: &mut Table) {
    let message = message();
    stage.tenant.deliver(ALICE, message.clone());
    let mut peers = Vec::new();
    for kind in Kind::ALL {
        peers.push((kind, kind.start(stage).await.map_err(|problem| problem.to_string())));
    }
    for (way, name) in [(Way::Down, "IMAP FETCH"), (Way::Up, "SMTP DATA")] {
        let mut all: Vec<(Kind, Result<Moved, String>)> = Vec::new();
        for (kind, peer) in &peers {
            all.push((*kind, rehearse(stage, peer, way, &message).await));
        }
        for _ in 0..ROUNDS {
            for ((_, moved), (_, peer)) in all.iter_mut().zip(&peers) {
                if let (Ok(so_far), Ok(peer)) = (&mut *moved, peer)
                    && let Err(problem) = turn(stage, peer, way, &message, so_far).await
                {
                    *moved = Err(problem.to_string());
                }
            }
        }
        let proxies = all.iter().filter(|(kind, _)| *kind != Kind::Direct);
        let spent = proxies.map(|(kind, moved)| (*kind, figure(moved, |it| it.cpu * 1024.0 / per_mebibyte(it))));
        table.add(format!("CPU per GiB, {name} of {MEBIBYTES} MiB, s"), spent.collect());
        let speed = all.iter().map(|(kind, moved)| (*kind, figure(moved, |it| per_mebibyte(it) / it.seconds)));
        table.add(format!("throughput, {name} of {MEBIBYTES} MiB, MiB/s"), speed.collect());
    }
}

fn figure(moved: &Result<Moved, String>, of: impl Fn(&Moved) -> f64) -> Figure {
    moved.as_ref().map(|moved| Measured { value: of(moved), n: moved.messages }).map_err(Clone::clone)
}

fn per_mebibyte(moved: &Moved) -> f64 {
    1.0 / per(1.0, moved.messages * MEBIBYTES)
}

/// One message that does not count: buffers grow, sockets find their size.
async fn rehearse(stage: &Stage, peer: &Result<Peer, String>, way: Way, message: &[u8]) -> Result<Moved, String> {
    let peer = peer.as_ref().map_err(Clone::clone)?;
    if way == Way::Up
        && let Err(why) = &peer.smtp
    {
        return Err(why.clone());
    }
    transfer(stage, peer, way, message, 1).await.map_err(|problem| problem.to_string())?;
    Ok(Moved::default())
}

async fn turn(stage: &Stage, peer: &Peer, way: Way, message: &[u8], so_far: &mut Moved) -> Result<(), Problem> {
    let used = || if peer.is_direct() { Ok(0.0) } else { cpu(peer.id()?) };
    let before = used()?;
    let (messages, seconds) = transfer(stage, peer, way, message, MESSAGES).await?;
    so_far.cpu += used()? - before;
    so_far.messages += messages;
    so_far.seconds += seconds;
    Ok(())
}

/// Moves messages in one session until there were enough; the time is that of the messages alone.
async fn transfer(stage: &Stage, peer: &Peer, way: Way, message: &[u8], most: usize) -> Result<(usize, f64), Problem> {
    let mut client = match way {
        Way::Down => {
            let mut client = Client::imap_session(stage, peer).await?;
            client.command("a EXAMINE INBOX", "a OK").await?;
            client
        }
        Way::Up => Client::smtp_session(stage, peer).await?,
    };
    let (mut messages, mut taken) = (0, Duration::ZERO);
    while messages < most && taken < TURN {
        taken += match way {
            Way::Down => fetch(&mut client).await?,
            Way::Up => submit(&mut client, message).await?,
        };
        messages += 1;
    }
    Ok((messages, taken.as_secs_f64()))
}

async fn fetch(client: &mut Client) -> Result<Duration, Problem> {
    let began = Instant::now();
    let line = client.command("a FETCH 1 BODY.PEEK[]", "* 1 FETCH").await?;
    let size = line.rsplit_once('{').and_then(|(_, size)| size.trim_end().trim_end_matches('}').parse().ok());
    client.forget(size.ok_or_else(|| Problem::new(format!("no literal: {line}")))?).await?;
    client.until("a OK").await?;
    Ok(began.elapsed())
}

async fn submit(client: &mut Client, message: &[u8]) -> Result<Duration, Problem> {
    client.command(&format!("MAIL FROM:<{ALICE}>"), "250 ").await?;
    client.command(&format!("RCPT TO:<{ALICE}>"), "250 ").await?;
    client.command("DATA", "354 ").await?;
    let began = Instant::now();
    client.send(message).await?;
    client.command(".", "250 ").await?;
    let taken = began.elapsed();
    // The tenant that throws messages away does not forget their sender.
    client.command("RSET", "250 ").await?;
    Ok(taken)
}

fn message() -> Vec<u8> {
    let mut message = format!("From: {ALICE}\r\nTo: {ALICE}\r\nSubject: large\r\n\r\n").into_bytes();
    let line = [[b'x'; 76].as_slice(), b"\r\n"].concat();
    while message.len() < SIZE {
        message.extend_from_slice(&line);
    }
    message
}
