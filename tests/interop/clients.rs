//! The clients, one story each: a message goes out by SMTP and is read back by IMAP and by POP3; a wrong password is
//! refused, and the mail server hears nothing of it. A client that only sends or only reads is complemented by curl.

mod curl;
mod curl_tls;
mod fetchmail;
mod getmail;
mod large;
mod mbsync;
mod mpop;
mod msmtp;
mod mutt;
mod node;
mod offlineimap;
mod perl;
mod php;
mod python;
mod snail;
mod swaks;

use std::io::Write as _;

use oxpost_tests::harness::{Ran, find, run};
use tokio::process::Command;

use crate::world::{Kind, Ways, World};

pub use curl::{Curl, LOGIN_DENIED};

/// Two cells of the matrix for a client: its story in front of each server.
macro_rules! cells {
    ($client:literal, $story:path) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn in_front_of_dovecot() {
            $crate::clients::play($client, $crate::world::Kind::Dovecot, $story).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn in_front_of_exchange() {
            $crate::clients::play($client, $crate::world::Kind::Exchange, $story).await;
        }
    };
}
use cells;

pub async fn play(client: &'static str, server: Kind, story: impl AsyncFnOnce(&World)) {
    let mut cell = Cell { client, server, ways: Ways::default() };
    let world = World::start(server).await;
    cell.ways = world.ways.clone();
    story(&world).await;
    world.stop().await;
}

/// Prints its line at the end of the story, also where the test runner keeps the rest of the output to itself; `tests/matrix`
/// makes its tables of these.
struct Cell {
    client: &'static str,
    server: Kind,
    ways: Ways,
}

impl Drop for Cell {
    fn drop(&mut self) {
        let result = if std::thread::panicking() { "FAILED" } else { "ok" };
        let ways = self.ways.lock().map(|ways| ways.iter().cloned().collect::<Vec<_>>().join(" ")).unwrap_or_default();
        let line = format!("matrix: {:<12} {:<10} {result:<6} {ways}\n", self.client, format!("{:?}", self.server));
        // In one piece: other tests print at the same time.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// A client, with a home of its own so that nobody's settings play a part.
fn client(world: &World, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(find(program).unwrap());
    command.args(arguments).current_dir(world.oxpost.folder()).env("HOME", world.oxpost.folder()).env("LC_ALL", "C");
    command
}

/// Runs a client to its end.
async fn call(world: &World, program: &str, arguments: &[&str]) -> Ran {
    run(client(world, program, arguments), b"").await.unwrap()
}

/// Writes a file that holds a password: some clients insist that no other user may read it.
fn private_file(world: &World, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = world.oxpost.folder().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_string_lossy().into_owned()
}

/// Writes a message into a file.
fn message_file(world: &World, message: &[u8]) -> String {
    let path = world.oxpost.folder().join("message");
    std::fs::write(&path, message).unwrap();
    path.to_string_lossy().into_owned()
}

/// What a client does with a wrong password: it ends with this status, and the mail server hears nothing of it.
async fn assert_refused(world: &World, status: i32, attempt: impl AsyncFnOnce(&str) -> Ran) {
    let before = world.arrivals();
    let ran = attempt(&world.wrong_password()).await;
    assert_eq!(ran.status, Some(status), "{ran}");
    assert_eq!(world.arrivals(), before, "a wrong password led to the mail server");
}
