//! POP3: which command an answer belongs to says whether it has lines behind it (RFC 1939, 3), and where ours belongs.

use std::collections::VecDeque;
use std::time::Duration;

use super::command_name::{Found, Start, is_padding};
use super::line_stream::{Line, LineStream, Piece};
use super::{ANSWER_BYTES_LIMIT, Counts, Cut, Observation, Over, Peer, Step, Tap, back_off, cut};
use crate::line::{printable, reply_text};

/// Most commands whose replies are pending. A client that sends more is not read until there are fewer.
const COMMANDS_LIMIT: usize = 1024;

/// Capabilities that are for the login, which is over (RFC 2449, 6; RFC 2595, 4; RFC 5034, 3).
const HIDDEN: [&str; 3] = ["SASL", "USER", "STLS"];

/// Between a client and a server of POP3.
#[derive(Default)]
pub struct Pop3 {
    client: LineStream,
    course: LineHandling,
    server: LineStream,
    server_course: ServerLineHandling,
    waiting: VecDeque<Kind>,
    /// The lines of an answer go through, up to the one with a dot.
    answer: Lists,
    /// AUTH was answered here: lines that are no commands belong to it.
    is_authenticating: bool,
    counts: Counts,
    /// It is not known any more which answer is which.
    is_lost: bool,
    has_quit: bool,
    has_said_bye: bool,
    closing: Option<String>,
    over: Option<Over>,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
}

/// What becomes of the client's line.
enum LineHandling {
    /// It is not known yet; what there is of it is held, unless it is too long.
    Start(Start),
    /// It goes on.
    Passes,
    /// It does not, and is answered so, if at all.
    Stays(Option<Kind>),
}

impl Default for LineHandling {
    fn default() -> Self {
        Self::Start(Start::without_tag())
    }
}

/// What becomes of the server's line.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum ServerLineHandling {
    /// It is not known yet; what there is of it is held.
    #[default]
    Start,
    Passes,
    Stays,
}

/// What lines go through.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Lists {
    /// None: the next one is an answer.
    #[default]
    Nothing,
    Anything,
    Capabilities,
}

/// What a command is answered with, if it succeeds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One line.
    Line,
    /// Lines.
    LineStream,
    /// Lines, of which a client may not see all.
    Capabilities,
    /// A message.
    Message,
    /// One line before the end of the session.
    Quit,
    /// An unknown command or an unreadable line.
    Unknown,
    /// Our own words, as it was not sent on.
    LoginAgain,
    StartTls,
}

impl Kind {
    /// Our own answer to it.
    fn local(self) -> Option<&'static str> {
        match self {
            Self::LoginAgain => Some("-ERR Already logged in\r\n"),
            Self::StartTls => Some("-ERR TLS cannot start after the login\r\n"),
            _ => None,
        }
    }
}

impl Tap for Pop3 {
    fn client(&mut self, bytes: &[u8]) -> Cut {
        cut(bytes, |rest| self.client_step(rest))
    }

    fn server(&mut self, bytes: &[u8], notice: &mut dyn FnMut(Observation)) -> Cut {
        cut(bytes, |rest| self.server_step(rest, notice))
    }

    fn end(&mut self, from: Peer) {
        if self.over.is_some() {
            return;
        }
        match from {
            Peer::Client if self.holds_client() => {
                // It may be the answer to a challenge.
                if !self.is_authenticating {
                    self.to_server.extend_from_slice(self.client.head());
                }
                self.client.forget();
            }
            Peer::Server if self.server_course == ServerLineHandling::Start => {
                self.to_client.extend_from_slice(self.server.head());
                self.server.forget();
            }
            Peer::Client | Peer::Server => {}
        }
    }

    fn output(&mut self, to: Peer) -> Vec<u8> {
        std::mem::take(match to {
            Peer::Client => &mut self.to_client,
            Peer::Server => &mut self.to_server,
        })
    }

    fn close(&mut self, text: &str) {
        self.closing.get_or_insert_with(|| text.to_owned());
        self.close_if_quiet();
    }

    fn over(&self) -> Option<Over> {
        self.over
    }

    fn owes_reply(&self) -> bool {
        !self.waiting.is_empty() || self.answer != Lists::Nothing
    }

    fn has_said_goodbye(&self, peer: Peer) -> bool {
        match peer {
            Peer::Client => self.has_quit,
            Peer::Server => self.has_said_bye,
        }
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn held(&self) -> usize {
        self.client.held()
            + self.server.held()
            + self.waiting.capacity() * size_of::<Kind>()
            + self.to_client.capacity()
            + self.to_server.capacity()
    }
}

/// What the client says.
impl Pop3 {
    fn client_step(&mut self, rest: &[u8]) -> Step {
        if self.over.is_some() {
            return Step::drop(rest.len());
        }
        let (length, is_whole) = length(self.client.piece(rest));
        let piece = rest.get(..length).unwrap_or(rest);
        if self.holds_client() && self.must_client_wait() {
            return Step::stop();
        }
        if let Some(step) = self.begin(piece) {
            return step;
        }
        if let LineHandling::Stays(kind) = self.course {
            if self.client.take_secret(piece, is_whole, |_| ()).is_some() {
                self.course = LineHandling::default();
                self.waiting.extend(kind);
                self.give_answers();
            }
            return Step::drop(length);
        }
        if let Some(whole) = self.client.take(piece, is_whole) {
            self.course = LineHandling::default();
            self.passed(&whole.line());
        }
        Step::pass(length)
    }

    /// Reads the beginning of a line. `None` when it is known what becomes of it, or it is so long that it goes on meanwhile.
    fn begin(&mut self, piece: &[u8]) -> Option<Step> {
        let LineHandling::Start(start) = &mut self.course else { return None };
        let room = start.room();
        let is_held = room > 0;
        let window = if is_held { piece.get(..room).unwrap_or(piece) } else { piece };
        let before = start.seen();
        match start.read(window) {
            Some(found) => {
                let name_ends = start.seen().saturating_sub(before + 1);
                let is_word = window.get(name_ends).is_some_and(|byte| is_padding(*byte) || *byte == b'\n');
                self.course = self.course_of(found, is_word);
                if matches!(self.course, LineHandling::Stays(Some(_))) && !is_held {
                    // Its beginning has gone to the server, and no more of it does.
                    self.over = Some(Over::LoginNotFollowed);
                }
                if self.over.is_some() {
                    return Some(Step::pass(if is_held { 0 } else { name_ends }));
                }
                if !is_held {
                    self.course = LineHandling::Passes;
                }
            }
            None if !is_held => return None,
            // No known command begins so, but it may be the response to a challenge.
            None if self.is_authenticating && start.room() == 0 => self.course = LineHandling::Stays(None),
            None => {
                let is_long = start.room() == 0;
                let was_empty = self.client.head().is_empty();
                self.client.take(window, false);
                if is_long && was_empty {
                    return Some(Step::pass(window.len()));
                }
                if is_long {
                    self.to_server.extend_from_slice(self.client.head());
                }
                return Some(Step::drop(window.len()));
            }
        }
        // What was held goes on first.
        if is_held && matches!(self.course, LineHandling::Passes) && !self.client.head().is_empty() {
            self.to_server.extend_from_slice(self.client.head());
            return Some(Step::stop());
        }
        None
    }

    fn course_of(&mut self, found: Found, is_word: bool) -> LineHandling {
        let name = match &found {
            Found::NoName => &b""[..],
            Found::Name(name) => name.as_bytes(),
        };
        let kind = match name {
            b"USER" | b"PASS" | b"APOP" | b"AUTH" => Some(Kind::LoginAgain),
            b"STLS" => Some(Kind::StartTls),
            _ => None,
        };
        let is_command = kind.is_some() || is_word && of(name, true) != Kind::Unknown;
        if self.is_authenticating && !is_command {
            return LineHandling::Stays(None);
        }
        self.is_authenticating = name == b"AUTH";
        // Which answer is that of CAPA, and where ours belongs, is not known.
        if self.is_lost && (kind.is_some() || name == b"CAPA") {
            self.over = Some(Over::LoginNotFollowed);
        }
        kind.map_or(LineHandling::Passes, |kind| LineHandling::Stays(Some(kind)))
    }

    /// A line that went on.
    fn passed(&mut self, line: &Line<'_>) {
        let kind = kind(line.head);
        self.has_quit |= kind == Kind::Quit;
        if !self.is_lost {
            self.waiting.push_back(kind);
        }
    }

    /// Whether the server has nothing of the client's line.
    fn holds_client(&self) -> bool {
        match &self.course {
            LineHandling::Start(start) => start.room() > 0,
            LineHandling::Passes => false,
            LineHandling::Stays(_) => true,
        }
    }

    fn must_client_wait(&self) -> bool {
        self.closing.is_some() && !self.is_lost
            || self.waiting.len() >= COMMANDS_LIMIT
            || self.to_client.len() >= ANSWER_BYTES_LIMIT
    }
}

/// A line of the server that means something.
enum Answer {
    Good,
    Bad {
        text: String,
        back_off: Option<Duration>,
    },
    /// Something else where an answer should be.
    None,
}

impl Answer {
    fn of(line: &[u8]) -> Self {
        let begins_with = |word: &[u8]| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if begins_with(b"+OK") {
            Self::Good
        } else if begins_with(b"-ERR") {
            let text = line.get(4..).unwrap_or_default().trim_ascii_start();
            Self::Bad { text: printable(text), back_off: back_off(line) }
        } else {
            Self::None
        }
    }
}

/// What the server says.
impl Pop3 {
    fn server_step(&mut self, rest: &[u8], notice: &mut dyn FnMut(Observation)) -> Step {
        if self.over.is_some() {
            return Step::drop(rest.len());
        }
        if self.answer == Lists::Anything && self.server_course == ServerLineHandling::Start && self.server.is_between()
        {
            let lines = lines_without_dot(rest);
            if lines > 0 {
                let step = Step::pass(lines);
                return if self.to_client.is_empty() { step } else { step.and_stop() };
            }
        }
        let (length, is_whole) = length(self.server.piece(rest));
        let piece = rest.get(..length).unwrap_or(rest);
        if self.server_course == ServerLineHandling::Start {
            match self.look(piece) {
                Some(course) => self.server_course = course,
                None => {
                    self.server.take(piece, false);
                    return Step::drop(length);
                }
            }
            if self.server_course == ServerLineHandling::Passes && !self.server.head().is_empty() {
                self.to_client.extend_from_slice(self.server.head());
                return Step::stop();
            }
        }
        let step =
            if self.server_course == ServerLineHandling::Stays { Step::drop(length) } else { Step::pass(length) };
        if let Some(whole) = self.server.take(piece, is_whole) {
            self.server_course = ServerLineHandling::Start;
            let line = whole.line();
            if self.answer == Lists::Nothing {
                self.responded(Answer::of(line.head), notice);
            } else if line.head == b"." {
                self.answer = Lists::Nothing;
            }
            self.give_answers();
        }
        if self.to_client.is_empty() { step } else { step.and_stop() }
    }

    /// What becomes of a line that begins so; `None` as long as more of it is needed.
    fn look(&self, piece: &[u8]) -> Option<ServerLineHandling> {
        if self.answer != Lists::Capabilities {
            return Some(ServerLineHandling::Passes);
        }
        let mut beginning = self.server.head().iter().chain(piece);
        let word: Vec<u8> =
            beginning.by_ref().take_while(|byte| !byte.is_ascii_whitespace()).take(5).copied().collect();
        // The byte behind a whole word was looked at as well.
        let seen = self.server.head().len() + piece.len();
        if word.len() == seen && word.len() < 5 {
            return None;
        }
        let is_hidden = HIDDEN.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
        Some(if is_hidden { ServerLineHandling::Stays } else { ServerLineHandling::Passes })
    }

    fn responded(&mut self, answer: Answer, notice: &mut dyn FnMut(Observation)) {
        if self.is_lost {
            return;
        }
        match answer {
            Answer::None => self.lose(),
            Answer::Good => match self.next_command() {
                Some(Kind::Unknown) | None => self.lose(),
                Some(kind) => {
                    self.answer = match kind {
                        Kind::LineStream | Kind::Message => Lists::Anything,
                        Kind::Capabilities => Lists::Capabilities,
                        _ => Lists::Nothing,
                    };
                    self.counts.fetched += u64::from(kind == Kind::Message);
                    self.has_said_bye |= kind == Kind::Quit;
                }
            },
            Answer::Bad { text, back_off } => {
                if let Some(back_off) = back_off {
                    notice(Observation::Throttled { back_off });
                }
                // Unsolicited: the server announces that it closes.
                if self.next_command().is_none() {
                    self.has_said_bye = true;
                    notice(Observation::Bye { text, asked_for: false });
                }
            }
        }
    }

    /// The command that an answer belongs to.
    fn next_command(&mut self) -> Option<Kind> {
        let kind = self.waiting.pop_front();
        if self.waiting.is_empty() {
            // Without memory until the next one.
            self.waiting = VecDeque::new();
        }
        kind
    }

    /// The local answers whose place has come.
    fn give_answers(&mut self) {
        while self.server.is_between()
            && self.answer == Lists::Nothing
            && let Some(text) = self.waiting.front().and_then(|kind| kind.local())
        {
            self.next_command();
            self.to_client.extend_from_slice(text.as_bytes());
        }
        self.close_if_quiet();
    }

    /// What is asked and answered is not known any more.
    fn lose(&mut self) {
        if self.waiting.iter().any(|kind| kind.local().is_some()) {
            self.over = Some(Over::LoginNotFollowed);
        }
        self.waiting = VecDeque::new();
        self.is_lost = true;
    }

    /// There are no untagged replies here: what is said now is taken for the answer to the next command, as it should be. QUIT is
    /// not said, so the server deletes nothing that the client has not said QUIT for.
    fn close_if_quiet(&mut self) {
        if self.closing.is_none() {
            return;
        }
        let is_quiet = self.server.is_between() && !self.owes_reply() && !self.is_lost && self.holds_client();
        if let Some(text) = &self.closing
            && is_quiet
            && self.over.is_none()
        {
            self.to_client.extend_from_slice(format!("-ERR [SYS/TEMP] {}\r\n", reply_text(text)).as_bytes());
            self.over = Some(Over::Asked);
        }
    }
}

/// How long the whole lines are that these bytes begin with and that do not begin with a dot: none of them ends the answer.
fn lines_without_dot(bytes: &[u8]) -> usize {
    if bytes.starts_with(b".") {
        return 0;
    }
    let last = memchr::memmem::find(bytes, b"\n.").or_else(|| memchr::memrchr(b'\n', bytes));
    last.map_or(0, |at| at + 1)
}

fn length(piece: Piece) -> (usize, bool) {
    match piece {
        Piece::Literal(length) => (length, false),
        Piece::Line { length, is_whole } => (length, is_whole),
    }
}

fn kind(line: &[u8]) -> Kind {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default().to_ascii_uppercase();
    of(&name, words.next().is_none())
}

/// A command by its name in capitals.
fn of(name: &[u8], is_alone: bool) -> Kind {
    match name {
        b"RETR" => Kind::Message,
        b"TOP" => Kind::LineStream,
        b"CAPA" => Kind::Capabilities,
        b"LIST" | b"UIDL" | b"LANG" if is_alone => Kind::LineStream,
        b"QUIT" => Kind::Quit,
        b"STAT" | b"DELE" | b"NOOP" | b"RSET" | b"LIST" | b"UIDL" | b"LANG" | b"UTF8" | b"LAST" => Kind::Line,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests;
