//! Python's imaplib, poplib and smtplib, which many an administrator's script is made of.

use std::net::SocketAddr;

use oxpost_tests::harness::{Ran, run};

use super::{assert_refused, client};
use crate::message;
use crate::world::{ALICE, World};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/clients/python.py");
const REFUSED: i32 = 67;

/// How it comes: what the script is to do, with which TLS, and where.
type Way = (&'static str, &'static str, SocketAddr);

pub async fn python(world: &World, (what, tls, at): Way, password: &str, input: &[u8]) -> Ran {
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    run(client(world, "python3", &[SCRIPT, what, tls, &host, &port, ALICE, password]), input).await.unwrap()
}

async fn story(world: &World) {
    let mut ways: Vec<Way> = vec![
        ("smtp", "plain", world.smtp()),
        ("imap", "plain", world.imap()),
        ("imap-plain", "plain", world.imap()),
        ("pop3", "plain", world.pop3()),
    ];
    for tls in ["StartTls", "Implicit"] {
        for (what, protocol) in [("smtp", "SMTP"), ("imap", "IMAP"), ("pop3", "POP3")] {
            ways.push((what, tls, world.with_tls(protocol, tls).await));
        }
    }
    let went = message::hard();
    for &way in &ways {
        let came = python(world, way, &world.password, &went).await.output().unwrap();
        if way.0 != "smtp" {
            message::assert_same(&came, &went);
        }
    }
    for &way in &ways {
        assert_refused(world, REFUSED, async |password: &str| python(world, way, password, b"never").await).await;
    }
}

super::cells!("python", story);
