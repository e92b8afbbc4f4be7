//! Damages what the peers of the transcripts say and watches two things: no dialogue panics or goes on without end, and
//! what it does never depends on how the bytes are cut into pieces.
//!
//! The damage is pseudo-random from fixed seeds, so a failure repeats; its message names the transcript and the seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod player;
/// Public, since the fuzz target uses the same file.
#[path = "player/tap.rs"]
pub mod tap;

use std::path::{Path, PathBuf};

use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::{
    Action, Dialogue, KnownOffer, LocalDialogue, LocalEvent, Offer, Refusal, RefusalKind, Secret, imap, pop3, smtp,
};
use player::{Script, Side, local_event_text, upstream_event_text};

/// How often each transcript is damaged.
const ROUNDS: u64 = 60;

/// More polls than any dialogue can need for what a transcript says.
const MAX_POLLS: usize = 400_000;

#[test]
fn imap_local() {
    damage_each("imap/local", Side::Local, |script, said, ends, chunk| {
        run_local(imap::Local::new(offer(script)), said, ends, chunk)
    });
}

#[test]
fn imap_upstream() {
    damage_each("imap/upstream", Side::Upstream, |script, said, ends, chunk| {
        run(
            imap::Upstream::new(&credentials()).unwrap().with_known_offer(&known(script)),
            said,
            ends,
            chunk,
            |_, event| upstream_event_text(&event),
        )
    });
}

#[test]
fn pop3_local() {
    damage_each("pop3/local", Side::Local, |script, said, ends, chunk| {
        run_local(pop3::Local::new(offer(script)), said, ends, chunk)
    });
}

#[test]
fn pop3_upstream() {
    damage_each("pop3/upstream", Side::Upstream, |_, said, ends, chunk| {
        run(pop3::Upstream::new(&credentials()).unwrap(), said, ends, chunk, |_, event| upstream_event_text(&event))
    });
}

#[test]
fn smtp_local() {
    damage_each("smtp/local", Side::Local, |script, said, ends, chunk| {
        let greeting = smtp::Greeting { host_name: "mail.example".into(), extensions: vec!["SIZE 1000".into()] };
        let mut local = smtp::Local::new(offer(script), greeting);
        if script.has("without-login") {
            local.allow_without_login();
        }
        run_local(local, said, ends, chunk)
    });
}

#[test]
fn smtp_upstream() {
    damage_each("smtp/upstream", Side::Upstream, |script, said, ends, chunk| {
        let options = smtp::Options { host_name: "gateway.example".into(), start_tls: false };
        let dialogue = smtp::Upstream::new(&credentials(), options).unwrap().with_known_offer(&known(script));
        run(dialogue, said, ends, chunk, |_, event| upstream_event_text(&event))
    });
}

#[test]
fn taps() {
    for session in tap::SESSIONS {
        for round in 0..20 * ROUNDS {
            let mut damage = Damage(0x9e37_79b9_7f4a_7c15 ^ (round + 1).wrapping_mul(0xd134_2543_de82_ef95));
            let said = tap::seed(session);
            tap::check(&if round == 0 { said } else { damage.of(&said) });
        }
    }
}

/// More commands than a tap keeps in mind, and logins behind them; the server says nothing.
#[test]
fn taps_with_very_many_commands() {
    let logins = "c LOGIN {5}\r\nalice {7+}\r\nhunter2\r\nd AUTHENTICATE LOGIN\r\nQUFB\r\n*\r\ne NOOP\r\n";
    for (count, begin) in [(300, "c LOGIN {5}\r\nalice "), (300, "b NOOP\r\n"), (300, "b LOGIN alice hunter2\r\n")] {
        let said = ["a NOOP\r\n", &begin.repeat(count), "\r\n", logins].concat();
        tap::check(&tap::seed((0, &[&said])));
    }
    let logins = "PASS hunter2\r\nAUTH LOGIN\r\nQUFB\r\nQUFB\r\nQUFB\r\nSTAT\r\n";
    for begin in ["NOOP\r\n", "PASS hunter2\r\n", "AUTH LOGIN\r\nQUFB\r\n"] {
        tap::check(&tap::seed((1, &[&[&begin.repeat(1500), logins].concat()])));
    }
}

fn known(script: &Script) -> KnownOffer {
    let capabilities = script.option("known").unwrap_or_default().split_whitespace().map(String::from);
    KnownOffer { capabilities: capabilities.collect(), initial_response: script.has("initial-response") }
}

/// Never with TLS to be started: there, what has already arrived does matter, and must.
fn offer(script: &Script) -> Offer {
    Offer { start_tls: false, tls_before_login: script.has("tls-before-login") }
}

fn credentials() -> XOAuth2 {
    XOAuth2 { user: "a@b.c".into(), token: Secret::from("T0") }
}

fn run_local(dialogue: impl LocalDialogue, said: &[u8], ends: bool, chunk: usize) -> Done {
    run(dialogue, said, ends, chunk, |dialogue, event| {
        if let LocalEvent::Login(login) = &event {
            // Something that depends on what was said, and on nothing else.
            if login.password.len() % 2 == 0 {
                dialogue.accept(&["IMAP4rev1".to_owned()]);
            } else {
                dialogue.refuse(&Refusal::new(RefusalKind::BadCredentials, "no"));
            }
        }
        local_event_text(&event)
    })
}

/// What a dialogue did: what it wrote and reported, in order, and what it left when it did not fail.
#[derive(Debug, PartialEq)]
struct Done {
    steps: Vec<String>,
    unread: Option<Vec<u8>>,
}

fn damage_each(folder: &str, side: Side, play: impl Fn(&Script, &[u8], bool, usize) -> Done) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no transcript in {}", folder.display());
    for file in files {
        let script = Script::parse(&file, &std::fs::read_to_string(&file).unwrap(), side);
        let (said, ends) = script.peer_says();
        for round in 0..ROUNDS {
            let mut damage = Damage(0x9e37_79b9_7f4a_7c15 ^ (round + 1).wrapping_mul(0xd134_2543_de82_ef95));
            let said = if round == 0 { said.clone() } else { damage.of(&said) };
            let whole = play(&script, &said, ends, usize::MAX);
            let chunk = 1 + damage.below(9);
            let in_pieces = play(&script, &said, ends, chunk);
            assert_eq!(
                whole,
                in_pieces,
                "{} round {round} in pieces of {chunk}: {}",
                file.display(),
                said.escape_ascii()
            );
        }
    }
}

fn run<D: Dialogue>(
    mut dialogue: D,
    said: &[u8],
    ends: bool,
    chunk: usize,
    mut event_text: impl FnMut(&mut D, D::Event) -> String,
) -> Done {
    let mut waiting = said;
    let mut ends = ends;
    let mut steps = vec![String::new()];
    let mut over = false;
    for _ in 0..MAX_POLLS {
        match dialogue.poll() {
            // Two writes are the same as one.
            Action::Write(bytes) => steps.last_mut().unwrap().push_str(&bytes.escape_ascii().to_string()),
            Action::Event(event) => {
                assert!(!over, "an event after the end");
                let text = event_text(&mut dialogue, event);
                over = !text.starts_with("login ") && !text.starts_with("passed over ");
                steps.extend([text, String::new()]);
            }
            Action::Read if !waiting.is_empty() && !over => {
                let (piece, rest) = waiting.split_at(chunk.min(waiting.len()));
                dialogue.receive(piece);
                waiting = rest;
            }
            Action::Read if ends && !over => {
                ends = false;
                dialogue.receive_end();
            }
            Action::Read => {
                let failed = over && !steps.iter().any(|step| step.starts_with("authenticated"));
                let unread = (!failed).then(|| [&dialogue.into_unread(), waiting].concat());
                return Done { steps, unread };
            }
        }
    }
    panic!("it goes on without end: {}", said.escape_ascii());
}

/// A xorshift generator, and what it does to bytes.
struct Damage(u64);

impl Damage {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// A few strokes: bytes flipped, put in, taken out, pieces doubled, and the words that mean something.
    fn of(&mut self, said: &[u8]) -> Vec<u8> {
        const WORDS: [&[u8]; 16] = [
            b"\r\n",
            b"\n",
            b"\r",
            b"{3}\r\n",
            b"{3+}\r\n",
            b" {99999}\r\n",
            b" {4294967296+}\r\n",
            b"\"",
            b"\\",
            b"\0",
            b"* BYE x\r\n",
            b"+ \r\n",
            b"X2 OK x\r\n",
            b"X4 OK [Error=\r\n",
            b"a LOGIN ",
            b"\xff",
        ];
        let mut bytes = said.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                3 => bytes.truncate(at.max(bytes.len() / 2)),
                _ => drop(bytes.splice(at..at, WORDS[self.below(WORDS.len())].iter().copied())),
            }
        }
        bytes
    }
}
