//! Plays every transcript under `transcripts/smtp/submission/`: a client on the left, the server it was logged in to
//! indented, and the machine between them. What either says is cut into pieces of one byte, of seven, and not at all.
//!
//! ```text
//! # a comment: what story this is, and which device has it
//! option EXTENSION            an extension of the server that is offered to the client (before the first step)
//! sender OWN ALLOWED…         allowed senders of messages (before the first step); others are refused, or with
//! replace own                 get the first one's address, or with
//! replace FROM TO             that of the first rule that fits
//! recipient PATTERN           allowed recipients (before the first step)
//! C: MAIL FROM:<a@b.c>        the client says this line; also C- and C+ as in `transcripts.rs`
//!         C: MAIL FROM:<…>    the server hears this line, and
//!         S: 250 2.1.0 OK     says this one; also S- and S+
//! S: 250 2.1.0 OK             the client hears this line
//! CLOSE                       the client closes its side
//!         CLOSE               the server closes its side
//! paced                       messages begin when the transcript says so, not immediately (before the first step)
//! BEGIN                       one asks whether it may begin; `BEGIN again` after the server refused it for now
//! GO                          it may
//! LATER 451 4.3.2 Later       it may not, and this is the client's reply if the server has said nothing
//! WAITS Client(Envelope)      which peer it waits for, behind READ
//! TIMEOUT client              this one was waited for too long (`client` or `server`)
//! ROOM                        others wait for what the session holds
//! GOODBYE text                the session is asked to end
//! CUT                         the server's connection is cut
//! E: accepted a@b.c …         an event, as `event_text` prints it
//! OVER ByClient               the session is over
//! READ client server          everything was said, and these may speak now
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod player;
/// Public, since the fuzz target uses the same file.
#[path = "player/session.rs"]
pub mod session;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use oxpost_protocol::smtp::sender_policy::{AllowedSenders, Fallback, RewriteRule};
use oxpost_protocol::smtp::submission::{Event, Options, Outcome, Peer, Report, Step, Submission};
use player::{pieces, said, show};

#[test]
fn every_transcript() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/smtp/submission");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for chunk in [1, 7, usize::MAX] {
            Play::new(&file, &text, chunk).run(&text);
        }
    }
}

struct Play {
    name: String,
    machine: Submission,
    chunk: usize,
    /// What each peer has said and the machine has not asked for yet, and whether it closes behind it.
    says: [(VecDeque<u8>, bool); 2],
    /// What each peer was sent and the transcript has not called for yet.
    told: [Vec<u8>; 2],
    happened: VecDeque<String>,
    over: bool,
    paced: bool,
}

impl Play {
    fn new(file: &Path, text: &str, chunk: usize) -> Self {
        let extensions = text.lines().filter_map(|line| line.strip_prefix("option ")).map(String::from).collect();
        let options = Options { host_name: "mail.example".into(), extensions };
        Self {
            name: file.file_name().unwrap().to_string_lossy().into_owned(),
            machine: Submission::new(options).with_senders(senders(text)).with_recipients(recipients(text)),
            chunk,
            says: Default::default(),
            told: Default::default(),
            happened: VecDeque::new(),
            over: false,
            paced: text.lines().any(|line| line == "paced"),
        }
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
                (_, "" | "#" | "option" | "sender" | "replace" | "recipient" | "paced") => {}
                (Peer::Client, "C:" | "C-" | "C+") | (Peer::Server, "S:" | "S-" | "S+") => {
                    let bytes = said(verb.chars().nth(1).unwrap(), rest);
                    self.says[peer as usize].0.extend(bytes);
                }
                (Peer::Client, "S:" | "S-" | "S+") | (Peer::Server, "C:" | "C-" | "C+") => {
                    self.expect_told(&here, peer, &said(verb.chars().nth(1).unwrap(), rest));
                }
                (_, "CLOSE") => self.says[peer as usize].1 = true,
                (Peer::Client, "E:") => self.expect(&here, rest),
                (Peer::Client, "CUT" | "OVER" | "BEGIN") => self.expect(&here, step),
                (Peer::Client, "GO") => self.machine.begin(),
                (Peer::Client, "LATER") => self.machine.put_off(rest),
                (Peer::Client, "WAITS") => {
                    let waits = self.machine.waits_for().map_or("nobody".into(), |wait| format!("{wait:?}"));
                    assert_eq!(waits, rest, "{here}");
                }
                (Peer::Client, "TIMEOUT") => self.machine.time_out(match rest {
                    "client" => Peer::Client,
                    "server" => Peer::Server,
                    _ => panic!("{here}: who is {rest}?"),
                }),
                (Peer::Client, "ROOM") => self.machine.make_room(),
                (Peer::Client, "GOODBYE") => self.machine.close(rest),
                (Peer::Client, "READ") => {
                    let read = loop {
                        match self.go_on() {
                            Next::Fed => {}
                            read => break read,
                        }
                    };
                    assert_eq!(read, Next::Reads(rest.to_owned()), "{here}");
                    self.nothing_more(&here);
                }
                _ => panic!("{here}: cannot read this step: {line}"),
            }
        }
        let here = format!("{} at its end (pieces of {})", self.name, pieces(self.chunk));
        while self.go_on() == Next::Fed {}
        self.nothing_more(&here);
    }

    fn nothing_more(&self, here: &str) {
        for (peer, told) in ["client", "server"].iter().zip(&self.told) {
            assert!(told.is_empty(), "{here}: the {peer} was sent more: {}", show(told));
        }
        assert!(self.happened.is_empty(), "{here}: more has happened: {:?}", self.happened);
    }

    fn expect_told(&mut self, here: &str, peer: Peer, expected: &[u8]) {
        while self.told[peer as usize].len() < expected.len() {
            let told = self.told[peer as usize].len();
            let next = self.go_on();
            assert!(
                next == Next::Fed || self.told[peer as usize].len() > told,
                "{here}: expected {}, but {next:?}; told were {} and {}; happened: {:?}",
                show(expected),
                show(&self.told[0]),
                show(&self.told[1]),
                self.happened
            );
        }
        let told: Vec<u8> = self.told[peer as usize].drain(..expected.len()).collect();
        assert!(told == expected, "{here}: expected {}, told was {}", show(expected), show(&told));
    }

    fn expect(&mut self, here: &str, expected: &str) {
        while self.happened.is_empty() {
            let next = self.go_on();
            assert!(next == Next::Fed || !self.happened.is_empty(), "{here}: expected `{expected}`, but {next:?}");
        }
        assert_eq!(self.happened.pop_front().unwrap(), expected, "{here}");
    }

    /// Goes on until something was fed, or there is nothing to feed, or all is over.
    fn go_on(&mut self) -> Next {
        loop {
            match self.machine.poll() {
                Step::Write(peer, bytes) => self.told[peer as usize].extend(bytes),
                Step::Begin { .. } if !self.paced => self.machine.begin(),
                Step::Begin { again } => self.happened.push_back(format!("BEGIN{}", if again { " again" } else { "" })),
                Step::CutServer => self.happened.push_back("CUT".into()),
                Step::Event(event) => self.happened.push_back(event_text(&event)),
                Step::Over(ended) => {
                    if !std::mem::replace(&mut self.over, true) {
                        self.happened.push_back(format!("OVER {ended:?}"));
                    }
                    return Next::Over;
                }
                Step::Read { client, server } => {
                    let may = [(client, Peer::Client, "client"), (server, Peer::Server, "server")];
                    if may.iter().any(|(may, peer, _)| *may && self.feed(*peer)) {
                        return Next::Fed;
                    }
                    let names: Vec<&str> = may.iter().filter(|(may, ..)| *may).map(|(.., name)| *name).collect();
                    return Next::Reads(names.join(" "));
                }
            }
        }
    }

    fn feed(&mut self, peer: Peer) -> bool {
        let (says, closes) = &mut self.says[peer as usize];
        if says.is_empty() {
            if !*closes {
                return false;
            }
            *closes = false;
            self.machine.receive_end(peer);
            return true;
        }
        let count = self.chunk.min(says.len());
        let bytes: Vec<u8> = says.drain(..count).collect();
        self.machine.receive(peer, &bytes);
        true
    }
}

fn words<'a>(text: &'a str, verb: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.filter(move |words| words[0] == verb).map(|words| words[1..].to_vec())
}

fn senders(text: &str) -> Option<AllowedSenders> {
    let senders = words(text, "sender").next()?;
    let rules: Vec<Vec<&str>> = words(text, "replace").collect();
    let otherwise = match rules.first().map(Vec::as_slice) {
        None => Fallback::Reject,
        Some(["own"]) => Fallback::Account,
        Some(_) => {
            let rule = |rule: &Vec<&str>| RewriteRule { from: rule[0].parse().unwrap(), to: rule[1].to_owned() };
            Fallback::Map(rules.iter().map(rule).collect())
        }
    };
    let allowed = senders[1..].iter().map(|pattern| pattern.parse().unwrap()).collect();
    Some(AllowedSenders::new(senders[0], allowed, otherwise).with_remedy("Ask the administrator"))
}

fn recipients(text: &str) -> Option<Vec<oxpost_protocol::smtp::sender_policy::Pattern>> {
    let patterns: Vec<_> = words(text, "recipient").map(|pattern| pattern[0].parse().unwrap()).collect();
    (!patterns.is_empty()).then_some(patterns)
}

#[derive(Debug, PartialEq)]
enum Next {
    Fed,
    /// Nothing is left to feed; these may speak.
    Reads(String),
    Over,
}

fn event_text(event: &Event) -> String {
    match event {
        Event::Message(Report { sender, given_sender, from_changed, recipients, recipient_count, octets, outcome }) => {
            let given = given_sender.as_ref().map_or_else(String::new, |given| format!(" (given <{given}>)"));
            let from = if *from_changed { " (From: changed)" } else { "" };
            let outcome = match outcome {
                Outcome::Accepted(words) => format!("accepted: {words}"),
                Outcome::Refused(words) => format!("refused: {words}"),
                Outcome::NotSent(why) => format!("not sent: {why:?}"),
                Outcome::InDoubt => "in doubt".into(),
            };
            let more = recipient_count - recipients.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("message of <{sender}>{given}{from} to {}{more}, {octets} octets, {outcome}", recipients.join(" "))
        }
        Event::PutOff { sender, answer } => format!("{sender} put off: {answer}"),
        Event::NotAllowed { command, address, answer } => format!("{command} {address} not allowed: {answer}"),
        Event::Malformed { command, answer } => format!("{command} malformed: {answer}"),
        Event::Refused { command, address, reply } => format!("{command} {address} refused: {reply}"),
    }
}

/// However large a message is: what came in has gone out when more is asked for, all but what may be the beginning of an end.
#[test]
fn a_message_is_never_held() {
    const PIECE: usize = 16 * 1024;
    let line: Vec<u8> = [vec![b'.'; 2], vec![b'x'; 900], b"\n".to_vec()].concat();
    let message: Vec<u8> = line.iter().copied().cycle().take(16 << 20).collect();
    for (begin, said, stretched) in [
        (&b"MAIL FROM:<a@b.c>\r\nDATA\r\n"[..], vec![b"250 OK\r\n".to_vec(), b"354 Go\r\n".to_vec()], true),
        (b"MAIL FROM:<a@b.c>\r\nBDAT 16777216 LAST\r\n", vec![b"250 OK\r\n".to_vec()], false),
    ] {
        let mut machine = Submission::new(Options { host_name: "x".into(), extensions: vec!["CHUNKING".into()] });
        machine.receive(Peer::Client, begin);
        let mut answers = said.into_iter();
        let mut pieces = message.chunks(PIECE).peekable();
        while pieces.peek().is_some() {
            match machine.poll() {
                Step::Write(..) => {}
                Step::Begin { .. } => machine.begin(),
                Step::Read { .. } => match answers.next() {
                    Some(answer) => machine.receive(Peer::Server, &answer),
                    None => {
                        machine.receive(Peer::Client, pieces.next().unwrap());
                        let Step::Write(Peer::Server, bytes) = machine.poll() else { panic!("nothing goes out") };
                        let limit = if stretched { PIECE + PIECE / 100 } else { PIECE + 64 };
                        assert!((PIECE - 3..=limit).contains(&bytes.len()), "{} bytes", bytes.len());
                        assert!(matches!(machine.poll(), Step::Read { client: true, .. }));
                    }
                },
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Sessions put together from what matters, in any order, from fixed seeds.
#[test]
fn sessions_made_of_anything() {
    const WORDS: [&[u8]; 45] = [
        b"MAIL FROM:<a@b.c>\r\n",
        b"MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\n",
        b"mail from: a@b.c\n",
        b"MAIL FROM:<!@b.c>\r\n",
        b"RCPT TO:<x@y.z>\r\n",
        b"RCPT TO:<!@y.z>\r\nRCPT TO:<x@y.z>\r\n",
        b"DATA\r\n",
        b"DATA !\r\n",
        b"BDAT 5\r\n",
        b"BDAT 5 LAST\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 200\r\n",
        b"BDAT x\r\n",
        b"RSET\r\n",
        b"EHLO x\r\n",
        b"NOOP\r\n",
        b"AUTH PLAIN\r\n",
        b"QUIT\r\n",
        b"X!\r\n",
        b"hello\r\n",
        b"hello\n",
        b".\r\n",
        b".\n",
        b"..\r\n",
        b".",
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b"x",
        b"\r\n.\r\n",
        b"\xff\xfe\xff",
        b"250 OK\r\n354 go\r\n250 OK\r\n",
        b"MAIL FROM:<a@b.c>\r\nDATA\r\nX: y\r\n",
        b"MAIL FROM:<a@b.c>\r\nDATA\r\n.From: a@b.c\r\n",
        b"From: a@b.c\r\n",
        b"From: ceo@b.c\r\n",
        b".From: old@b.c, <ceo@b.c>\r\n",
        b"From :\r\n",
        b" <ceo@b.c>\r\n",
        b"Sender: ceo@b.c\r\n",
        b"BDAT 22 LAST\r\nFrom: ceo@b.c\r\n\r\nhello",
        b"BDAT 9\r\nFrom: ceo",
        b"421 bye\r\n",
        b"432 4.3.2 Concurrent connections limit exceeded\r\n",
    ];
    let mut next = dice();
    for _ in 0..40_000 {
        let mut data = vec![u8::try_from(next(128)).unwrap()];
        for _ in 0..=next(14) {
            data.extend(WORDS[next(WORDS.len())]);
        }
        session::check(&data);
    }
}

/// Envelopes put together from what addresses, and attacks on their readers, are made of. What reaches the server is held to a
/// strict reader's opinion in [`session`].
#[test]
fn envelopes_made_of_anything() {
    const PIECES: [&str; 48] = [
        "<",
        ">",
        "<",
        ">",
        "a@b.c",
        "boss@b.c",
        "evil@x.z",
        "@",
        "\"",
        "\\",
        "\\\"",
        " ",
        "  ",
        "\t",
        ",",
        ":",
        ";",
        "(",
        ")",
        "[",
        "]",
        "@x.z:",
        "@y.z,",
        "@y.z",
        "@b.c",
        "b.c",
        "x.z",
        "a",
        ".",
        "Name",
        "\"Na me\"",
        "\u{fc}",
        "\u{ff20}",
        "\u{a0}",
        "%x.z",
        "!",
        "SIZE=1",
        " SIZE=1",
        " AUTH=<>",
        " AUTH=<evil@x.z>",
        " X-A=b=",
        " NOTIFY=NEVER",
        "=",
        "-",
        "postmaster",
        "IMCEA",
        "\0",
        "?",
    ];
    let mut next = dice();
    let mut sent = 0;
    for _ in 0..15_000 {
        let mut data = vec![u8::try_from(next(128)).unwrap() & !4];
        for verb in ["MAIL FROM:", "RCPT TO:", "RCPT TO:"] {
            data.extend(verb.as_bytes());
            let shape = next(4);
            data.extend(if shape == 0 { "" } else { "<" }.as_bytes());
            for _ in 0..=next(6) {
                data.extend(PIECES[next(PIECES.len())].as_bytes());
            }
            data.extend(if shape < 2 { "" } else { ">" }.as_bytes());
            data.extend(if next(4) == 0 { PIECES[next(PIECES.len())] } else { "" }.as_bytes());
            data.extend(b"\r\n");
        }
        data.extend(b"DATA\r\nhello\r\n.\r\n");
        sent += session::check(&data);
    }
    assert!(sent > 50, "{sent} messages with an odd envelope went through: too few to prove anything");
}

/// Numbers below a bound that are the same each time.
fn dice() -> impl FnMut(usize) -> usize {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    move |bound| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    }
}
