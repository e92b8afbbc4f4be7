//! What a stranger may make us hold: no client sends 64 KiB without an answer, or the end.
//!
//! A local dialogue holds nothing but what it was sent since it last answered, and what it has not read yet, at most one
//! read: with an answer a command is over, and forgotten.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use oxpost_protocol::{Action, Closed, LocalDialogue, LocalEvent, Offer, Refusal, RefusalKind, imap, pop3, smtp};

const BOUND: usize = 64 * 1024;
/// What the driver reads at once.
const READ: usize = 2048;

/// What a client sends in all, if it is not stopped.
const SENT: usize = 16 * BOUND;

/// How it begins, and what comes then, again and again.
const ENDLESS: [(&[u8], &[u8]); 27] = [
    (b"", b"x"),
    (b"", b"\n"),
    (b"", b"\r\n"),
    (b"", b"\r"),
    (b"", b"\0"),
    (b"", b"\0\n"),
    (b"", b" "),
    (b"", b"("),
    (b"", b"\xff"),
    (b"", b"{0+}\r\n"),
    (b"", b"{9}\r\n"),
    (b"a LOGIN ", b"("),
    (b"a LOGIN \"", b"x"),
    (b"a LOGIN \"", b"\\"),
    (b"a LOGIN ", b"{4096+}\r\n"),
    (b"a LOGIN {1000+}\r\n", b"x {1000+}\r\n"),
    (b"a LOGIN {18446744073709551615+}\r\n", b"x"),
    (b"a LOGIN {4294967296+}\r\n", b"x"),
    (b"a LOGIN {-1+}\r\n", b"x"),
    (b"a ID (", b"\"x\" {0+}\r\n "),
    (b"a AUTHENTICATE PLAIN ", b"A"),
    (b"a AUTHENTICATE PLAIN\r\n", b"A"),
    (b"AUTH PLAIN ", b"A"),
    (b"AUTH PLAIN\r\n", b"A"),
    (b"AUTH LOGIN\r\nYQ==\r\n", b"A"),
    (b"USER x\r\nPASS ", b"x"),
    (b"MAIL FROM:<", b"x"),
];

#[test]
fn a_client_without_end_makes_nobody_hold_64_kib() {
    for (beginning, again) in ENDLESS {
        let offer = Offer::default();
        let greeting = smtp::Greeting { host_name: "mail.example".into(), extensions: Vec::new() };
        for (name, sent) in [
            ("IMAP", most_held(imap::Local::new(offer), beginning, again)),
            ("POP3", most_held(pop3::Local::new(offer), beginning, again)),
            ("SMTP", most_held(smtp::Local::new(offer, greeting), beginning, again)),
        ] {
            assert!(sent + READ <= BOUND, "{name} holds {sent} bytes of {}", beginning.escape_ascii());
        }
    }
}

/// The most that it may have held.
fn most_held(mut dialogue: impl LocalDialogue, beginning: &[u8], again: &[u8]) -> usize {
    let stream: Vec<u8> = beginning.iter().chain(again.iter().cycle()).copied().take(SENT).collect();
    let mut pieces = stream.chunks(READ);
    let (mut held, mut most) = (0, 0);
    loop {
        match dialogue.poll() {
            Action::Write(_) => held = 0,
            Action::Event(LocalEvent::Closed(why)) => {
                assert!(!matches!(why, Closed::EndOfStream | Closed::ByClient), "{why:?}");
                return most;
            }
            Action::Event(LocalEvent::Login(_)) => dialogue.refuse(&Refusal::new(RefusalKind::BadCredentials, "no")),
            Action::Event(other) => panic!("{other:?}"),
            Action::Read => match pieces.next() {
                Some(piece) => {
                    held += piece.len();
                    most = most.max(held);
                    dialogue.receive(piece);
                }
                None => return most,
            },
        }
    }
}
