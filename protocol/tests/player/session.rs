//! A whole session of SMTP after the login, with any bytes at all: what must hold of it, however the bytes are cut.
//!
//! - It neither panics nor continues without end, and never writes more in one step than a command, a reply and one read.
//! - What it says to either side and reports does not depend on how the bytes are cut.
//! - What reaches the server is commands in whole lines, messages that every server reads alike, and chunks of the size that
//!   was announced; the server has as many messages as were reported.
//! - Every MAIL and RCPT that reaches the server has exactly one address, to a reader that shares nothing with ours; it is one that this
//!   login may send from or to, and the one that is reported.
//! - Where senders are checked, no message reaches the server that any reader could attribute to another sender.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use oxpost_protocol::smtp::AllowedSenders;
use oxpost_protocol::smtp::sender_policy::{Fallback, Pattern, RewriteRule};
use oxpost_protocol::smtp::submission::{Event, Options, Outcome, Peer, Step, Submission};

/// Public, since the fuzz target uses the same file.
#[path = "strict_path.rs"]
pub mod strict_path;

/// What the driver of the real proxy reads in one call.
const READ: usize = 2048;

/// What one write may have: a read, all of its dots doubled and its LF made CRLF; or a reply.
const WRITE_BOUND: usize = 70 * 1024;

/// Between what the client says and what the server says, if the server is not an obedient one.
const DIVISION: &[u8] = b"\xff\xfe\xff";

/// Plays these bytes. The first one chooses what the server can do and whether it is obedient. Says how many messages reached it.
pub fn check(data: &[u8]) -> usize {
    let Some((&choice, bytes)) = data.split_first() else { return 0 };
    let whole = run(choice, bytes, READ);
    for cut in [1, 7] {
        let in_pieces = run(choice, bytes, cut);
        let (one, other) = (whole.to_client.escape_ascii().to_string(), in_pieces.to_client.escape_ascii().to_string());
        assert_eq!(one, other, "{choice} {}", bytes.escape_ascii());
        assert_eq!(whole.happened, in_pieces.happened, "{}", bytes.escape_ascii());
        // A transparent dot may be left away where a header is looked at, and how far that is depends on the pieces.
        let (one, other) = (without_dots(&whole.to_server), without_dots(&in_pieces.to_server));
        // How far a message has gone that is cut depends on the pieces.
        let alike = if whole.cut { one.starts_with(&other) || other.starts_with(&one) } else { one == other };
        assert!(alike, "{}\n{}", one.escape_ascii(), other.escape_ascii());
    }
    whole.messages
}

/// What a server makes of it: a transparency dot is not part of the line (RFC 5321, 4.5.2).
fn without_dots(said: &[u8]) -> Vec<u8> {
    let bare = |line: &[u8]| line.strip_prefix(b".").filter(|rest| !rest.starts_with(b"\r\n")).unwrap_or(line).to_vec();
    said.split_inclusive(|byte| *byte == b'\n').flat_map(bare).collect()
}

#[derive(Default)]
struct Run {
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    happened: Vec<String>,
    cut: bool,
    messages: usize,
}

fn run(choice: u8, bytes: &[u8], cut: usize) -> Run {
    let mut extensions = vec!["8BITMIME".to_owned()];
    extensions.extend((choice & 1 != 0).then(|| "PIPELINING".to_owned()));
    extensions.extend((choice & 2 != 0).then(|| "SIZE 100".to_owned()));
    extensions.extend((choice & 8 != 0).then(|| "CHUNKING".to_owned()));
    let mut machine = Submission::new(Options { host_name: "mail.example".into(), extensions });
    machine = machine.with_senders(senders(choice)).with_recipients(recipients(choice));
    let division = bytes.windows(DIVISION.len()).position(|window| window == DIVISION);
    let (mut client, mut server, mut obedient) = match division {
        Some(at) if choice & 4 != 0 => (&bytes[..at], &bytes[at + DIVISION.len()..], None),
        _ => (
            bytes,
            &b""[..],
            Some(Obedient { watched: choice & 48 != 0, held_recipients: choice & 64 != 0, ..Obedient::default() }),
        ),
    };
    let mut run = Run::default();
    let (mut polls, mut client_ended, mut server_ended) = (0, false, false);
    let (mut reports, mut begun) = (0, 0);
    loop {
        polls += 1;
        assert!(polls < 20_000 + 20 * bytes.len(), "it goes on without end");
        match machine.poll() {
            Step::Write(peer, written) => {
                assert!(written.len() <= WRITE_BOUND, "{} bytes in one step", written.len());
                if peer == Peer::Client {
                    run.to_client.extend(written);
                } else {
                    assert!(!run.cut, "written to a server that was cut");
                    if let Some(obedient) = &mut obedient {
                        obedient.hear(&written);
                    }
                    run.to_server.extend(written);
                }
            }
            Step::Begin { again } => {
                begun += 1;
                // Every third is put off, if it is a session in which some are.
                if choice & 8 != 0 && begun % 3 == 0 {
                    machine.put_off("451 4.3.2 Later");
                } else {
                    machine.begin();
                }
                run.happened.push(format!("begin {again}"));
            }
            Step::CutServer => run.cut = true,
            Step::Event(event) => {
                if let Event::Message(report) = &event {
                    reports += usize::from(!matches!(report.outcome, Outcome::NotSent(_)));
                    if let (Some(obedient), false) = (&obedient, matches!(report.outcome, Outcome::NotSent(_))) {
                        let (sender, recipients) = obedient.envelopes.last().expect("the server has it");
                        assert_eq!(&report.sender, sender, "{}", run.to_server.escape_ascii());
                        assert_eq!(report.recipient_count, recipients.len(), "{}", run.to_server.escape_ascii());
                        // Only the first of very many are remembered by name.
                        let named = &recipients[..report.recipients.len()];
                        assert_eq!(report.recipients, named, "{}", run.to_server.escape_ascii());
                        assert!(named.len() == recipients.len() || named.len() == 100, "{} are named", named.len());
                    }
                }
                run.happened.push(format!("{event:?}"));
            }
            Step::Over(ended) => {
                run.happened.push(format!("{ended:?}"));
                break;
            }
            Step::Read { client: true, .. } if !client.is_empty() => {
                let (now, later) = client.split_at(cut.min(client.len()));
                machine.receive(Peer::Client, now);
                client = later;
            }
            Step::Read { server: true, .. } if obedient.as_ref().is_some_and(|server| !server.says.is_empty()) => {
                let says = &mut obedient.as_mut().unwrap().says;
                let now: Vec<u8> = says.drain(..cut.min(says.len())).collect();
                machine.receive(Peer::Server, &now);
            }
            Step::Read { server: true, .. } if !server.is_empty() => {
                // A line at a time: an answer that comes ahead of its question is one to nothing, and whether it does is a
                // matter of time.
                let line = server.iter().position(|byte| *byte == b'\n').map_or(server.len(), |end| end + 1);
                let (now, later) = server.split_at(cut.min(line));
                machine.receive(Peer::Server, now);
                server = later;
            }
            Step::Read { client: true, .. } if !client_ended => {
                client_ended = true;
                machine.receive_end(Peer::Client);
            }
            Step::Read { server: true, .. } if !server_ended => {
                server_ended = true;
                machine.receive_end(Peer::Server);
            }
            Step::Read { .. } => match machine.waits_for() {
                Some(wait) => machine.time_out(wait.peer()),
                None => panic!("it reads, and waits for no peer: {machine:?}"),
            },
        }
    }
    if let Some(obedient) = obedient {
        assert_eq!(obedient.messages, reports, "{}", run.to_server.escape_ascii());
        run.messages = obedient.messages;
    }
    run
}

/// The senders that messages may have, if they are checked.
fn senders(choice: u8) -> Option<AllowedSenders> {
    let rule = || RewriteRule { from: "old@b.c".parse().unwrap(), to: "a@b.c".into() };
    let otherwise = match choice & 48 {
        0 => return None,
        16 => Fallback::Reject,
        32 => Fallback::Account,
        _ => Fallback::Map(vec![rule()]),
    };
    Some(AllowedSenders::new("a@b.c", vec!["scan@b.c".parse().unwrap()], otherwise))
}

/// The recipients that messages may have, if they are checked.
fn recipients(choice: u8) -> Option<Vec<Pattern>> {
    (choice & 64 != 0).then(|| vec!["*@y.z".parse().unwrap(), "boss@b.c".parse().unwrap()])
}

/// A server that takes almost everything, and complains aloud about what no server may be sent.
#[derive(Default)]
struct Obedient {
    input: Vec<u8>,
    says: Vec<u8>,
    state: Expects,
    /// A sender was taken.
    open: bool,
    messages: usize,
    /// Who messages are from is looked at.
    watched: bool,
    /// Recipients are checked.
    held_recipients: bool,
    /// The envelope that is open, as a strict reader finds it, and those of the messages that came.
    envelope: (String, Vec<String>),
    envelopes: Vec<(String, Vec<String>)>,
    /// The message so far, without its dots.
    message: Vec<u8>,
}

#[derive(Default)]
enum Expects {
    #[default]
    Commands,
    Text,
    Chunk(u64, bool),
}

impl Obedient {
    fn hear(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.go_on() {}
    }

    fn go_on(&mut self) -> bool {
        if let Expects::Chunk(left, last) = self.state {
            let count = left.min(self.input.len() as u64);
            let octets: Vec<u8> = self.input.drain(..count as usize).collect();
            self.message.extend(octets);
            let left = left - count;
            self.state = Expects::Chunk(left, last);
            if left == 0 {
                self.state = Expects::Commands;
                if last && self.open {
                    self.message_came();
                }
                if last {
                    self.look_at_message();
                }
                self.open &= !last;
                self.says.extend(b"250 OK\r\n");
                return true;
            }
            return false;
        }
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else { return false };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let inner = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no CRLF: {}", line.escape_ascii()));
        assert!(!inner.iter().any(|byte| matches!(byte, b'\r' | 0)), "CR or NUL: {}", line.escape_ascii());
        match self.state {
            Expects::Text if inner == b"." => {
                self.state = Expects::Commands;
                if self.open {
                    self.message_came();
                }
                self.open = false;
                self.look_at_message();
                self.says.extend(b"250 OK <id>\r\n");
            }
            Expects::Text => {
                self.message.extend(inner.strip_prefix(b".").unwrap_or(inner));
                self.message.extend(b"\r\n");
            }
            _ => self.command(inner),
        }
        true
    }

    fn message_came(&mut self) {
        self.messages += 1;
        self.envelopes.push(std::mem::take(&mut self.envelope));
    }

    /// Panics if it is no address that was to be let through.
    fn address(&self, line: &[u8], mail: bool) -> String {
        let address = strict_path::address(line);
        let lower = address.to_ascii_lowercase();
        let allowed = if mail {
            !self.watched || matches!(&*lower, "" | "a@b.c" | "scan@b.c")
        } else {
            let in_domain = |local: &str| !local.contains(['@', '"', '%', '!']) && !local.starts_with("imcea");
            !self.held_recipients || lower == "boss@b.c" || lower.strip_suffix("@y.z").is_some_and(in_domain)
        };
        assert!(allowed, "not allowed: {}", line.escape_ascii());
        address
    }

    /// As the most gullible reader looks at it: every kind of line end is one, and a line that is no field is passed over.
    fn look_at_message(&mut self) {
        let message = String::from_utf8_lossy(&std::mem::take(&mut self.message)).into_owned();
        if !self.watched || message.contains('"') {
            return;
        }
        let header = message.split("\r\n\r\n").next().unwrap_or_default();
        let header = if message.starts_with("\r\n") { "" } else { header };
        let mut field = String::new();
        for line in header.split(['\r', '\n']).chain([""]) {
            if line.starts_with([' ', '\t']) {
                field += line;
                continue;
            }
            let (name, body) = field.split_once(':').unwrap_or_default();
            let says_who = matches!(&*name.trim_end().to_ascii_lowercase(), "from" | "sender");
            assert!(!says_who || !body.to_ascii_lowercase().contains("ceo@b.c"), "{}", message.escape_debug());
            field = line.to_owned();
        }
    }

    fn command(&mut self, line: &[u8]) {
        let upper = line.to_ascii_uppercase();
        let words: Vec<&[u8]> = upper.split(|byte| *byte == b' ').collect();
        if matches!(words[0], b"MAIL" | b"RSET" | b"DATA") {
            self.message.clear();
        }
        let answer: &[u8] = match words[0] {
            b"MAIL" if upper.contains(&b'!') => b"550 no\r\n",
            b"MAIL" => {
                self.open = true;
                self.envelope = (self.address(line, true), Vec::new());
                b"250 OK\r\n"
            }
            b"RCPT" if upper.contains(&b'!') => b"550-no\r\n550 no\r\n",
            b"RCPT" => {
                let address = self.address(line, false);
                self.envelope.1.push(address);
                b"250 OK\r\n"
            }
            b"DATA" if upper.contains(&b'!') => b"503 no\r\n",
            b"DATA" => {
                self.state = Expects::Text;
                b"354 go\r\n"
            }
            b"BDAT" => {
                let count = std::str::from_utf8(words[1]).unwrap().parse().unwrap();
                self.state = Expects::Chunk(count, words.get(2) == Some(&&b"LAST"[..]));
                b""
            }
            b"RSET" => {
                self.open = false;
                self.envelope = Default::default();
                b"250 OK\r\n"
            }
            b"QUIT" => b"221 bye\r\n",
            b"AUTH" | b"STARTTLS" | b"BURL" | b"TURN" | b"XCLIENT" => panic!("{}", line.escape_ascii()),
            _ => b"500 what\r\n",
        };
        self.says.extend(answer);
        if matches!(self.state, Expects::Chunk(0, _)) {
            self.go_on();
        }
    }
}
