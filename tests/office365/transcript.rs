//! What was said on each connection, in order, for the demo and the stories. Credentials are masked before they are kept;
//! of literals and message texts only the first lines are kept, and the rest is counted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::lock;

/// So many connections are remembered; the oldest is forgotten first.
const MAX_CONNECTIONS: usize = 1_000;
/// So many lines of one connection are kept; further ones are counted.
const MAX_ENTRIES: usize = 4_000;
/// So many characters of a line are kept.
const MAX_LINE: usize = 400;
/// So many lines of a literal or a message are kept.
const BODY_LINES: usize = 5;

/// The services that keep transcripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// IMAP4rev1.
    Imap,
    /// POP3.
    Pop3,
    /// SMTP submission.
    Smtp,
}

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The client of Exchange, which is Oxpost.
    Client,
    /// The simulated Exchange.
    Server,
    /// Neither side: a remark, such as "TLS 1.3" or "closed".
    Note,
}

/// The transcript of one connection.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// A number that rises with each connection of the tenant.
    pub connection: u64,
    /// Its protocol.
    pub protocol: Protocol,
    /// The lines, in order, without their line ends.
    pub entries: Vec<(Direction, String)>,
    /// How often the client has said something that it could say only once it had heard what was said before: what it waits, in
    /// times that its words need to Exchange and back. TCP's and TLS's own are not counted.
    pub round_trips: usize,
    /// Lines that came after the transcript was full.
    pub omitted: usize,
    /// The connection is over.
    pub closed: bool,
}

impl fmt::Display for Transcript {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (direction, line) in &self.entries {
            match direction {
                Direction::Client => writeln!(formatter, "C: {line}")?,
                Direction::Server => writeln!(formatter, "S: {line}")?,
                Direction::Note => writeln!(formatter, "-- {line}")?,
            }
        }
        if self.omitted > 0 {
            writeln!(formatter, "-- {} more lines", self.omitted)?;
        }
        Ok(())
    }
}

/// All transcripts of a tenant.
#[derive(Debug, Default)]
pub(super) struct Transcripts {
    kept: VecDeque<Arc<Mutex<Transcript>>>,
    count: u64,
}

impl Transcripts {
    pub(super) fn begin(&mut self, protocol: Protocol) -> Recorder {
        self.count += 1;
        let transcript = Transcript {
            connection: self.count,
            protocol,
            entries: Vec::new(),
            round_trips: 0,
            omitted: 0,
            closed: false,
        };
        let transcript = Arc::new(Mutex::new(transcript));
        self.kept.push_back(Arc::clone(&transcript));
        if self.kept.len() > MAX_CONNECTIONS {
            self.kept.pop_front();
        }
        Recorder { transcript }
    }

    pub(super) fn all(&self) -> Vec<Transcript> {
        self.kept.iter().map(|transcript| lock(transcript).clone()).collect()
    }

    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }
}

/// The pen of one connection.
#[derive(Debug)]
pub(super) struct Recorder {
    transcript: Arc<Mutex<Transcript>>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        lock(&self.transcript).closed = true;
    }
}

impl Recorder {
    pub(super) fn connection(&self) -> u64 {
        lock(&self.transcript).connection
    }

    pub(super) fn note(&self, text: &str) {
        self.push(Direction::Note, text.to_owned());
    }

    /// A line without credentials, or with masked ones.
    pub(super) fn line(&self, direction: Direction, line: &[u8]) {
        self.push(direction, shown(line));
    }

    /// The text of a literal or of a message.
    pub(super) fn body(&self, direction: Direction, bytes: &[u8]) {
        let mut rest = bytes;
        for _ in 0..BODY_LINES {
            if rest.is_empty() {
                return;
            }
            let (line, behind) =
                match rest.iter().position(|byte| *byte == b'\n').and_then(|at| rest.split_at_checked(at)) {
                    Some((line, behind)) => (line, behind.get(1..).unwrap_or_default()),
                    None => (rest, <&[u8]>::default()),
                };
            self.line(direction, line.strip_suffix(b"\r").unwrap_or(line));
            rest = behind;
        }
        if !rest.is_empty() {
            let lines = rest.iter().filter(|byte| **byte == b'\n').count();
            self.push(direction, format!("… {lines} more lines, {} octets in all", bytes.len()));
        }
    }

    /// The client has answered.
    pub(super) fn round_trip(&self) {
        lock(&self.transcript).round_trips += 1;
    }

    fn push(&self, direction: Direction, line: String) {
        let mut transcript = lock(&self.transcript);
        if transcript.entries.len() < MAX_ENTRIES {
            transcript.entries.push((direction, line));
        } else {
            transcript.omitted += 1;
        }
    }
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    if text.chars().count() <= MAX_LINE {
        return text.into_owned();
    }
    let start: String = text.chars().take(MAX_LINE).collect();
    format!("{start}… {} octets in all", line.len())
}

/// A command of any of the three protocols with its credentials, if it carries any, replaced by their length. Words before
/// them (a tag, the mechanism) stay as they were sent.
pub(super) fn masked(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split(' ').collect();
    let is = |at: usize, verbs: &[&str]| {
        words.get(at).is_some_and(|word| verbs.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
    };
    let kept = if is(0, &["AUTH"]) || is(1, &["LOGIN"]) {
        2
    } else if is(1, &["AUTHENTICATE"]) {
        3
    } else if is(0, &["PASS", "APOP"]) {
        1
    } else {
        return line.to_vec();
    };
    let Some((shown, hidden)) = words.split_at_checked(kept) else { return line.to_vec() };
    if hidden.is_empty() {
        return line.to_vec();
    }
    format!("{} {}", shown.join(" "), hidden_octets(hidden.join(" ").len())).into_bytes()
}

/// The replacement for credentials in a transcript.
pub(super) fn hidden_octets(octets: usize) -> String {
    format!("<{octets} octets hidden>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_before_they_are_kept() {
        let cases = [
            ("A1 AUTHENTICATE XOAUTH2 dXNlcj10ZXN0", "A1 AUTHENTICATE XOAUTH2 <12 octets hidden>"),
            ("A1 authenticate xoauth2", "A1 authenticate xoauth2"),
            ("A1 LOGIN alice secret", "A1 LOGIN <12 octets hidden>"),
            ("AUTH XOAUTH2 dXNl", "AUTH XOAUTH2 <4 octets hidden>"),
            ("AUTH XOAUTH2", "AUTH XOAUTH2"),
            ("PASS a b", "PASS <3 octets hidden>"),
            ("A2 SELECT INBOX", "A2 SELECT INBOX"),
        ];
        for (line, expected) in cases {
            assert_eq!(String::from_utf8(masked(line.as_bytes())).unwrap(), expected);
        }
    }

    #[test]
    fn bodies_and_long_conversations_are_bounded() {
        let mut transcripts = Transcripts::default();
        let pen = transcripts.begin(Protocol::Imap);
        pen.body(Direction::Server, b"1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n");
        for _ in 0..MAX_ENTRIES {
            pen.line(Direction::Client, &vec![b'x'; 10_000]);
        }
        let kept = transcripts.all();
        let kept = kept.first().unwrap();
        assert_eq!(kept.entries.get(4).unwrap().1, "5");
        assert_eq!(kept.entries.get(5).unwrap().1, "… 2 more lines, 21 octets in all");
        assert_eq!(kept.entries.len(), MAX_ENTRIES);
        assert_eq!(kept.omitted, 6);
        assert!(kept.entries.last().unwrap().1.ends_with("… 10000 octets in all"));
        assert!(!kept.closed);
        drop(pen);
        assert!(transcripts.all().first().unwrap().closed);
    }
}
