//! One of the paths that every message takes through this crate, so many times: `tests/bench/instructions` counts the
//! instructions of two runs and takes the difference, so that what the process itself costs does not count.
//!
//! ```sh
//! cargo run --release --example instructions -- smtp-data 10
//! ```

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::hint::black_box;

use oxpost_protocol::smtp::Submission;
use oxpost_protocol::smtp::submission::{Options, Peer, Step};
use oxpost_protocol::tap::{Imap, Pop3, Tap};

/// What the relay reads in one call from a plain connection, and rustls from a record.
const READ: usize = 16 * 1024;

/// Its name, and what takes it so many times.
type Path = (&'static str, fn(u32));

/// Each path with what one turn of it is.
const PATHS: [Path; 6] = [
    ("smtp-data", smtp_data),
    ("smtp-small", smtp_small),
    ("smtp-data-bare-lf", smtp_data_bare_lf),
    ("pop3-retr", pop3_retr),
    ("imap-fetch", imap_fetch),
    ("imap-fetch-many", imap_fetch_many),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(turns)) = (arguments.next(), arguments.next()) else {
        for (name, _) in PATHS {
            println!("{name}");
        }
        return;
    };
    let path = PATHS.iter().find(|(path, _)| *path == name).expect("a path of this program").1;
    path(turns.parse().expect("a number of turns"));
}

/// A text of so many bytes with lines of 78 and this end; every five hundredth begins with two dots.
fn text(size: usize, end: &str) -> Vec<u8> {
    let mut text = b"From: alice@contoso.com\r\nSubject: figures\r\n\r\n".to_vec();
    let mut line = 0;
    while text.len() < size {
        line += 1;
        text.extend_from_slice(if line % 500 == 0 { b".." } else { b"ab" });
        text.extend_from_slice(&b"0123456789abcdefghijklmnopqrstuvwxyz ".repeat(2));
        text.extend_from_slice(end.as_bytes());
    }
    text.truncate(size);
    text.extend_from_slice(b"\r\n");
    text
}

/// A message of 1 MiB.
fn smtp_data(turns: u32) {
    let mut session = Session::new();
    let text = text(1 << 20, "\r\n");
    (0..turns).for_each(|_| session.send(&text));
}

/// The same with lines that end in a bare LF.
fn smtp_data_bare_lf(turns: u32) {
    let mut session = Session::new();
    let text = text(1 << 20, "\n");
    (0..turns).for_each(|_| session.send(&text));
}

/// A hundred messages of 2 KiB.
fn smtp_small(turns: u32) {
    let mut session = Session::new();
    let text = text(2048, "\r\n");
    (0..100 * turns).for_each(|_| session.send(&text));
}

struct Session {
    machine: Submission,
    written: usize,
}

impl Session {
    fn new() -> Self {
        let extensions = ["SIZE 157286400", "PIPELINING", "8BITMIME", "CHUNKING"].map(String::from);
        let options = Options { host_name: "gateway.example".into(), extensions: extensions.into() };
        Self { machine: Submission::new(options), written: 0 }
    }

    fn send(&mut self, text: &[u8]) {
        for (command, reply) in [
            ("MAIL FROM:<alice@contoso.com>\r\n", "250 2.1.0 Sender OK\r\n"),
            ("RCPT TO:<bob@fabrikam.example>\r\n", "250 2.1.5 Recipient OK\r\n"),
            ("DATA\r\n", "354 Start mail input; end with <CRLF>.<CRLF>\r\n"),
        ] {
            self.hear(Peer::Client, command.as_bytes());
            self.hear(Peer::Server, reply.as_bytes());
        }
        for piece in text.chunks(READ) {
            self.hear(Peer::Client, piece);
        }
        self.hear(Peer::Client, b".\r\n");
        self.hear(Peer::Server, b"250 2.0.0 OK <1@example> [Hostname=X.PROD.OUTLOOK.COM]\r\n");
    }

    fn hear(&mut self, from: Peer, bytes: &[u8]) {
        self.machine.receive(from, bytes);
        loop {
            match self.machine.poll() {
                Step::Read { .. } => return,
                Step::Write(_, bytes) => self.written += black_box(bytes).len(),
                Step::Begin { .. } => self.machine.begin(),
                Step::Event(_) => {}
                Step::CutServer | Step::Over(_) => panic!("the session is over"),
            }
        }
    }
}

/// One message of 1 MiB.
fn pop3_retr(turns: u32) {
    let mut tap = Pop3::default();
    let answer = [&b"+OK\r\n"[..], &text(1 << 20, "\r\n"), b".\r\n"].concat();
    for _ in 0..turns {
        client(&mut tap, b"RETR 1\r\n");
        server(&mut tap, &answer);
    }
    assert_eq!(tap.counts().fetched, u64::from(turns));
}

/// One message of 1 MiB.
fn imap_fetch(turns: u32) {
    let mut tap = Imap::default();
    let answer = fetched(1, 1 << 20);
    for _ in 0..turns {
        client(&mut tap, b"a7 UID FETCH 1 (BODY.PEEK[])\r\n");
        server(&mut tap, &answer);
        server(&mut tap, b"a7 OK FETCH completed.\r\n");
    }
    assert_eq!(tap.counts().fetched, u64::from(turns));
}

/// A thousand messages of 1 KiB.
fn imap_fetch_many(turns: u32) {
    let mut tap = Imap::default();
    let answer: Vec<u8> = (1..=1000).flat_map(|number| fetched(number, 1024)).collect();
    for _ in 0..turns {
        client(&mut tap, b"a7 UID FETCH 1:* (FLAGS BODY.PEEK[])\r\n");
        server(&mut tap, &answer);
        server(&mut tap, b"a7 OK FETCH completed.\r\n");
    }
    assert_eq!(tap.counts().fetched, u64::from(turns) * 1000);
}

fn fetched(number: usize, size: usize) -> Vec<u8> {
    let text = text(size, "\r\n");
    let head = format!("* {number} FETCH (UID {number} FLAGS (\\Seen) BODY[] {{{}}}\r\n", text.len());
    [head.as_bytes(), &text, b")\r\n"].concat()
}

fn client(tap: &mut impl Tap, bytes: &[u8]) {
    let cut = tap.client(black_box(bytes));
    assert_eq!((cut.pass, cut.taken), (bytes.len(), bytes.len()), "nothing is held");
}

/// As the relay does: what was not taken, or held, goes again, or from the output.
fn server(tap: &mut impl Tap, bytes: &[u8]) {
    for mut piece in bytes.chunks(READ) {
        while !piece.is_empty() {
            let cut = tap.server(black_box(piece), &mut |noticed| drop(black_box(noticed)));
            piece = &piece[cut.taken..];
            drop(black_box(tap.output(Peer::Client)));
        }
    }
}
