//! The reader and player of transcripts; the format is described in `transcripts.rs`.

// Two test programs share it, and neither uses all of it.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::path::Path;

use base64::Engine;
use oxpost_protocol::{
    Action, Dialogue, LocalDialogue, LocalEvent, Refusal, RefusalKind, UpstreamDialogue, UpstreamEvent, UpstreamFailure,
};

/// Which side of the conversation the dialogue under test is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Local,
    Upstream,
}

#[derive(Debug)]
enum Step {
    Peer(Vec<u8>),
    PeerCloses,
    Ours(Vec<u8>),
    Event(String),
    Answer(String),
    Read,
}

/// A transcript, read.
pub(crate) struct Script {
    name: String,
    options: Vec<String>,
    /// Each step with its line number.
    steps: Vec<(usize, Step)>,
    /// `None`: not written down.
    unread: Option<Vec<u8>>,
}

impl Script {
    /// Everything the peer says, and whether it disconnects at the end.
    pub(crate) fn peer_says(&self) -> (Vec<u8>, bool) {
        let said = self.steps.iter().flat_map(|(_, step)| if let Step::Peer(bytes) = step { &bytes[..] } else { &[] });
        (said.copied().collect(), self.steps.iter().any(|(_, step)| matches!(step, Step::PeerCloses)))
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }

    /// What follows the name of an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix(' '))
    }

    pub(crate) fn parse(file: &Path, text: &str, side: Side) -> Self {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let mut script = Self { name, options: Vec::new(), steps: Vec::new(), unread: None };
        let (peer, ours) = if side == Side::Local { ('C', 'S') } else { ('S', 'C') };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let wrong = || -> ! { panic!("{}:{number}: cannot read this step: {line}", script_name(file)) };
            let mut chars = line.chars();
            let (first, kind) = (chars.next(), chars.next());
            let step = if line.is_empty() || line.starts_with('#') {
                continue;
            } else if let Some(option) = line.strip_prefix("option ") {
                script.options.push(option.trim().to_owned());
                continue;
            } else if let Some(rest) = line.strip_prefix("UNREAD: ") {
                script.unread = Some(unescape(rest));
                continue;
            } else if let Some(rest) = line.strip_prefix("E: ") {
                Step::Event(rest.to_owned())
            } else if let Some(rest) = line.strip_prefix("> ") {
                Step::Answer(rest.to_owned())
            } else if line == "CLOSE" {
                Step::PeerCloses
            } else if line == "READ" {
                Step::Read
            } else if let (Some(who), Some(kind @ (':' | '-' | '+' | '='))) = (first, kind) {
                let bytes = said(kind, line.get(2..).unwrap().strip_prefix(' ').unwrap_or_default());
                if who == peer {
                    Step::Peer(bytes)
                } else if who == ours {
                    Step::Ours(bytes)
                } else {
                    wrong()
                }
            } else {
                wrong()
            };
            script.steps.push((number, step));
        }
        script
    }
}

fn script_name(file: &Path) -> String {
    file.display().to_string()
}

/// What one line of the transcript says on the wire.
pub(crate) fn said(kind: char, rest: &str) -> Vec<u8> {
    match kind {
        ':' => [unescape(rest), b"\r\n".to_vec()].concat(),
        '-' => unescape(rest),
        '+' => {
            let (count, text) = rest.split_once(' ').expect("`+ COUNT TEXT`");
            unescape(text).repeat(count.parse().expect("a count"))
        }
        _ => {
            let (prefix, text) = rest.split_once(' ').expect("`= PREFIX TEXT`, PREFIX `-` for none");
            let prefix = if prefix == "-" { String::new() } else { prefix.replace('_', " ") + " " };
            let encoded = base64::engine::general_purpose::STANDARD.encode(unescape(text));
            format!("{prefix}{encoded}\r\n").into_bytes()
        }
    }
}

pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('0') => bytes.push(0),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let hex: String = chars.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).expect("\\xHH"));
            }
            other => panic!("unknown escape \\{other:?} in {text:?}"),
        }
    }
    bytes
}

pub(crate) fn play_local<D: LocalDialogue>(dialogue: D, script: &Script, chunk: usize) {
    play(dialogue, script, chunk, local_event_text, |dialogue, answer| {
        let (verb, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        match verb {
            "accept" => {
                let capabilities: Vec<String> = rest.split_whitespace().map(String::from).collect();
                dialogue.accept(&capabilities);
            }
            "refuse" => {
                let (kind, text) = rest.split_once(' ').expect("refuse KIND TEXT");
                let kind = match kind {
                    "bad-credentials" => RefusalKind::BadCredentials,
                    "unavailable" => RefusalKind::Unavailable,
                    "limit" => RefusalKind::LimitReached,
                    "administrator" => RefusalKind::AdministratorMustAct,
                    _ => panic!("unknown kind of refusal: {kind}"),
                };
                dialogue.refuse(&Refusal::new(kind, String::from_utf8(unescape(text)).unwrap()));
            }
            "tls-started" => dialogue.tls_started(),
            "goodbye" => dialogue.say_goodbye(&String::from_utf8(unescape(rest)).unwrap()),
            _ => panic!("unknown answer: {answer}"),
        }
    });
}

pub(crate) fn play_upstream<D: UpstreamDialogue>(dialogue: D, script: &Script, chunk: usize) {
    play(dialogue, script, chunk, upstream_event_text, |dialogue, answer| match answer {
        "tls-started" => dialogue.tls_started(),
        "misled" => assert!(dialogue.known_offer_may_be_wrong(), "{}: not misled", script.name),
        "not-misled" => assert!(!dialogue.known_offer_may_be_wrong(), "{}: misled", script.name),
        "listed" => assert!(dialogue.listed_before_login().is_some(), "{}: nothing listed", script.name),
        "not-listed" => assert!(dialogue.listed_before_login().is_none(), "{}: listed", script.name),
        _ => panic!("unknown answer: {answer}"),
    });
}

pub(crate) fn local_event_text(event: &LocalEvent) -> String {
    match event {
        LocalEvent::Login(login) => {
            format!("login {} {}", login.user, login.password.reveal().escape_ascii())
        }
        LocalEvent::WithoutLogin => "without-login".into(),
        LocalEvent::StartTls => "start-tls".into(),
        LocalEvent::SkippedPreamble(stray) => format!("passed over {stray:?}"),
        LocalEvent::Closed(why) => format!("closed {why:?}"),
    }
}

pub(crate) fn upstream_event_text(event: &UpstreamEvent) -> String {
    match event {
        UpstreamEvent::StartTls => "start-tls".into(),
        UpstreamEvent::Authenticated { capabilities } => {
            format!("authenticated {}", capabilities.join(", ")).trim_end().to_owned()
        }
        UpstreamEvent::Failed(failure) => failure_text(failure),
    }
}

fn failure_text(failure: &UpstreamFailure) -> String {
    match failure {
        UpstreamFailure::TokenRefused(text) => format!("token-refused {text}"),
        UpstreamFailure::NotConnected(text) => format!("not-connected {text}"),
        UpstreamFailure::Unavailable(text) => format!("unavailable {text}"),
        UpstreamFailure::ConnectionClosed => "connection-closed".into(),
        UpstreamFailure::NotOffered(text) => format!("not-offered {text}"),
        UpstreamFailure::Protocol(text) => format!("protocol {text}"),
    }
}

/// The driver of the play: what `drive.rs` is to a real stream.
struct Stage<D> {
    dialogue: D,
    /// What the peer has said and the dialogue has not asked for yet.
    waiting: VecDeque<u8>,
    peer_closes: bool,
    /// What the dialogue wrote and the script has not called for yet.
    written: Vec<u8>,
    chunk: usize,
}

fn play<D: Dialogue>(
    dialogue: D,
    script: &Script,
    chunk: usize,
    event_text: impl Fn(&D::Event) -> String,
    answer: impl Fn(&mut D, &str),
) {
    // What is left of a dialogue that failed has no use; how much it is depends on the pieces.
    let mut failed = false;
    let mut stage = Stage { dialogue, waiting: VecDeque::new(), peer_closes: false, written: Vec::new(), chunk };
    for (number, step) in &script.steps {
        let here = format!("{}:{number} (pieces of {})", script.name, pieces(chunk));
        match step {
            Step::Peer(bytes) => stage.waiting.extend(bytes),
            Step::PeerCloses => stage.peer_closes = true,
            Step::Answer(text) => answer(&mut stage.dialogue, text),
            Step::Ours(expected) => {
                while stage.written.len() < expected.len() {
                    match stage.step() {
                        Happened::Wrote => {}
                        Happened::Event(event) => {
                            panic!("{here}: event `{}` instead of {}", event_text(&event), show(expected))
                        }
                        Happened::WantsMore => panic!(
                            "{here}: expected {}, but the dialogue wants to read; it has written {}",
                            show(expected),
                            show(&stage.written)
                        ),
                    }
                }
                let said: Vec<u8> = stage.written.drain(..expected.len()).collect();
                assert!(said == *expected, "{here}: expected {}, said {}", show(expected), show(&said));
            }
            Step::Event(expected) => match stage.step() {
                Happened::Event(event) => {
                    assert_eq!(&event_text(&event), expected, "{here}");
                    failed = !["login ", "start-tls", "authenticated", "passed over "]
                        .iter()
                        .any(|e| expected.starts_with(e));
                    assert!(stage.written.is_empty(), "{here}: wrote too much: {}", show(&stage.written));
                }
                Happened::Wrote => {
                    panic!("{here}: expected event `{expected}`, but it wrote {}", show(&stage.written))
                }
                Happened::WantsMore => {
                    panic!("{here}: expected event `{expected}`, but the dialogue wants to read")
                }
            },
            Step::Read => stage.settle(&here, &event_text),
        }
    }
    stage.settle(&format!("{} at its end (pieces of {})", script.name, pieces(chunk)), &event_text);
    let mut unread = stage.dialogue.into_unread();
    unread.extend(stage.waiting);
    let expected = script.unread.as_deref().unwrap_or_default();
    assert!(
        unread == expected || (failed && script.unread.is_none()),
        "{} (pieces of {}): unread {}, expected {}",
        script.name,
        pieces(chunk),
        show(&unread),
        show(expected)
    );
}

enum Happened<E> {
    Wrote,
    Event(E),
    WantsMore,
}

impl<D: Dialogue> Stage<D> {
    /// Polls once, feeding the dialogue as long as it reads and there is something to feed.
    fn step(&mut self) -> Happened<D::Event> {
        loop {
            match self.dialogue.poll() {
                Action::Write(bytes) => {
                    self.written.extend(bytes);
                    return Happened::Wrote;
                }
                Action::Event(event) => return Happened::Event(event),
                Action::Read if !self.waiting.is_empty() => {
                    let count = self.chunk.min(self.waiting.len());
                    let bytes: Vec<u8> = self.waiting.drain(..count).collect();
                    self.dialogue.receive(&bytes);
                }
                Action::Read if self.peer_closes => {
                    self.peer_closes = false;
                    self.dialogue.receive_end();
                }
                Action::Read => return Happened::WantsMore,
            }
        }
    }

    /// Nothing may be left to say. What the peer has said behind a login stays with the driver.
    fn settle(&mut self, here: &str, event_text: &impl Fn(&D::Event) -> String) {
        assert!(self.written.is_empty(), "{here}: wrote more: {}", show(&self.written));
        match self.dialogue.poll() {
            Action::Read => {}
            Action::Write(bytes) => panic!("{here}: wrote more: {}", show(&bytes)),
            Action::Event(event) => panic!("{here}: another event: {}", event_text(&event)),
        }
    }
}

pub(crate) fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

pub(crate) fn pieces(chunk: usize) -> String {
    if chunk == usize::MAX { "any size".into() } else { chunk.to_string() }
}
