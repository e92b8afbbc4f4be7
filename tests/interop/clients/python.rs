//! Python's imaplib, poplib and smtplib, which many an administrator's script is made of.

use std::net::SocketAddr;

use oxpost_tests::harness::{Ran, run};

use super::{assert_refused, client};
use crate::message;
use crate::world::{ALICE, World};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/clients/python.py");
const REFUSED: i32 = 67;

async fn python(world: &World, what: &str, at: SocketAddr, password: &str, input: &[u8]) -> Ran {
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    run(client(world, "python3", &[SCRIPT, what, &host, &port, ALICE, password]), input).await.unwrap()
}

async fn story(world: &World) {
    let went = message::hard();
    let right = &world.password;
    python(world, "smtp", world.smtp(), right, &went).await.output().unwrap();
    for (what, at) in [("imap", world.imap()), ("imap-plain", world.imap()), ("pop3", world.pop3())] {
        let came = python(world, what, at, right, b"").await.output().unwrap();
        message::assert_same(&came, &went);
    }

    let all = [("smtp", world.smtp()), ("imap", world.imap()), ("imap-plain", world.imap()), ("pop3", world.pop3())];
    for (what, at) in all {
        assert_refused(world, REFUSED, async |password: &str| python(world, what, at, password, b"never").await).await;
    }
}

super::cells!("python", story);
