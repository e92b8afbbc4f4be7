//! nodemailer and imapflow, the mail libraries of Node.js.

use std::net::SocketAddr;
use std::path::PathBuf;

use oxpost_tests::harness::{Ran, run};

use super::{Curl, assert_refused, client};
use crate::message;
use crate::world::{ALICE, World};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/clients/node/client.mjs");
const WANTED: &str = include_str!("node/package-lock.json");
const REFUSED: i32 = 67;

/// Where tests/install has put the libraries: outside the repository, and never in other versions than these.
fn libraries() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    let folder = cache.join("oxpost-tests/node");
    let installed = std::fs::read_to_string(folder.join("package-lock.json")).unwrap_or_default();
    assert!(
        installed == WANTED && folder.join("node_modules").is_dir(),
        "imapflow and nodemailer are not in {}, or not in the versions this test plays with. Run: ./tests/install",
        folder.display()
    );
    folder.join("node_modules")
}

async fn node(world: &World, what: &str, at: SocketAddr, password: &str, input: &[u8]) -> Ran {
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    let mut command = client(world, "node", &[SCRIPT, what, &host, &port, ALICE, password, "listener-ca.pem"]);
    command.env("OXPOST_NODE_MODULES", libraries());
    run(command, input).await.unwrap()
}

async fn story(world: &World) {
    let senders = [
        ("smtp-plain", world.smtp()),
        ("smtp-login", world.smtp()),
        ("smtp-starttls", world.with_tls("SMTP", "StartTls").await),
    ];
    let readers =
        [("imap", world.imap()), ("imap-login", world.imap()), ("imap-tls", world.with_tls("IMAP", "Implicit").await)];
    for (number, (what, at)) in (1_u32..).zip(senders) {
        let went = message::hard();
        node(world, what, at, &world.password, &went).await.output().unwrap();
        for (what, at) in readers {
            let came = node(world, what, at, &world.password, number.to_string().as_bytes()).await.output().unwrap();
            message::assert_same(&came, &went);
        }
        message::assert_same(&Curl::new(world).pop3_message(number).await.output().unwrap(), &went);
    }

    for (what, at) in senders.into_iter().chain(readers) {
        assert_refused(world, REFUSED, async |password: &str| node(world, what, at, password, b"1").await).await;
    }
}

super::cells!("node", story);
