//! Plays every transcript under `transcripts/imap/relay/` and `transcripts/pop3/relay/`: a client on the left, the server it was
//! logged in to indented, and the tap between them. What either says is cut into pieces of one byte, of seven, and not at all.
//!
//! ```text
//! # a comment: what story this is
//! C: a NOOP               the client says this line; also C- and C+ as in `transcripts.rs`
//!         C: a NOOP       the server hears this line, and
//!         S: a OK         says this one; also S- and S+
//! S: a OK                 the client hears this line
//! QUIET                   neither has heard more than the transcript says
//! CLOSE                   the client closes its side
//!         CLOSE           the server closes its side
//! STOP                    the session is asked to close
//! WAITS                   what the client has said last may not go on yet
//! OVER Asked              the session is over
//! N: Bye …                something is noticed
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod player;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use oxpost_protocol::tap::{Cut, Imap, Observation, Peer, Pop3, Tap};
use player::{pieces, said, show};

#[test]
fn every_transcript() {
    for protocol in ["imap", "pop3"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(protocol).join("relay");
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for chunk in [1, 7, usize::MAX] {
                if protocol == "imap" {
                    Play::new(&file, Imap::default(), chunk).run(&text);
                } else {
                    Play::new(&file, Pop3::default(), chunk).run(&text);
                }
            }
        }
    }
}

struct Play<T> {
    name: String,
    tap: T,
    chunk: usize,
    /// What each peer has said that has not gone on yet.
    waiting: [Vec<u8>; 2],
    /// What each peer was sent and the transcript has not called for yet.
    told: [Vec<u8>; 2],
    noticed: VecDeque<Observation>,
}

impl<T: Tap> Play<T> {
    fn new(file: &Path, tap: T, chunk: usize) -> Self {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        Self { name, tap, chunk, waiting: Default::default(), told: Default::default(), noticed: VecDeque::new() }
    }

    fn run(&mut self, text: &str) {
        for (index, line) in text.lines().enumerate() {
            let here = format!("{}:{} (pieces of {})", self.name, index + 1, pieces(self.chunk));
            let (peer, step) = match line.strip_prefix("        ") {
                Some(indented) => (Peer::Server, indented),
                None => (Peer::Client, line),
            };
            let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
            match (peer, verb) {
                (_, "" | "#") => {}
                (Peer::Client, "C:" | "C-" | "C+") | (Peer::Server, "S:" | "S-" | "S+") => {
                    self.says(peer, &said(verb.chars().nth(1).unwrap(), rest));
                }
                (Peer::Client, "S:" | "S-" | "S+") | (Peer::Server, "C:" | "C-" | "C+") => {
                    let expected = said(verb.chars().nth(1).unwrap(), rest);
                    let told = &mut self.told[peer as usize];
                    assert!(
                        told.starts_with(&expected),
                        "{here}: expected {}, told was {}",
                        show(&expected),
                        show(told)
                    );
                    told.drain(..expected.len());
                }
                (_, "CLOSE") => {
                    self.tap.end(peer);
                    self.take_output();
                }
                (_, "QUIET") => self.nothing_more(&here),
                (_, "STOP") => {
                    self.tap.close(rest);
                    self.take_output();
                }
                (_, "WAITS") => assert!(!self.waiting[Peer::Client as usize].is_empty(), "{here}: all has gone on"),
                (_, "OVER") => assert_eq!(format!("{:?}", self.tap.over().expect(&here)), rest, "{here}"),
                (_, "N:") => {
                    assert_eq!(self.noticed.pop_front().map(|one| text_of(&one)).as_deref(), Some(rest), "{here}")
                }
                _ => panic!("{here}: cannot read this step: {line}"),
            }
            if verb != "OVER" && self.tap.over().is_some() {
                let is_expected = text.lines().skip(index).any(|line| line.trim_start().starts_with("OVER"));
                assert!(is_expected || text.lines().take(index).any(|line| line.contains("OVER")), "{here}: over");
            }
        }
        self.nothing_more(&format!("{} at its end (pieces of {})", self.name, pieces(self.chunk)));
    }

    fn says(&mut self, peer: Peer, bytes: &[u8]) {
        for piece in bytes.chunks(self.chunk) {
            self.waiting[peer as usize].extend_from_slice(piece);
            // What waits on one side may go on after the other was heard.
            while self.go_on(peer) | self.go_on(other(peer)) {}
        }
    }

    /// Whether anything has gone on.
    fn go_on(&mut self, from: Peer) -> bool {
        let bytes = std::mem::take(&mut self.waiting[from as usize]);
        if bytes.is_empty() {
            return false;
        }
        let Cut { pass, taken } = match from {
            Peer::Client => self.tap.client(&bytes),
            Peer::Server => self.tap.server(&bytes, &mut |noticed| self.noticed.push_back(noticed)),
        };
        self.told[other(from) as usize].extend_from_slice(&bytes[..pass]);
        self.waiting[from as usize] = bytes[taken..].to_vec();
        self.take_output() || taken > 0
    }

    fn take_output(&mut self) -> bool {
        let mut is_any = false;
        for peer in [Peer::Client, Peer::Server] {
            let output = self.tap.output(peer);
            is_any |= !output.is_empty();
            self.told[peer as usize].extend(output);
        }
        is_any
    }

    fn nothing_more(&self, here: &str) {
        for (peer, told) in ["client", "server"].iter().zip(&self.told) {
            assert!(told.is_empty(), "{here}: the {peer} was sent more: {}", show(told));
        }
        assert!(self.noticed.is_empty(), "{here}: more is noticed: {:?}", self.noticed);
    }
}

fn other(peer: Peer) -> Peer {
    match peer {
        Peer::Client => Peer::Server,
        Peer::Server => Peer::Client,
    }
}

fn text_of(noticed: &Observation) -> String {
    match noticed {
        Observation::UidValidity { folder, value } => format!("UidValidity {folder} {value}"),
        Observation::FolderChanged { folder } => format!("FolderChanged {folder}"),
        Observation::Bye { text, asked_for } => format!("Bye {text}{}", if *asked_for { " (asked for)" } else { "" }),
        Observation::Throttled { back_off } => format!("Throttled {}", back_off.as_secs()),
    }
}
