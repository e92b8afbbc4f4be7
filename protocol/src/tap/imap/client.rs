//! What the client says: it goes on, or is answered here.

use std::borrow::Cow;

use super::syntax::{Ending, Literal};
use super::tracker::Command;
use super::{Imap, Unfinished};
use crate::tap::command_name::{Found, Start, first_word};
use crate::tap::line_stream::{Line, Piece};
use crate::tap::{Over, Step};

/// The reply to a client whose literal has an unknown end.
const UNREADABLE: &str = "The length of this literal cannot be read";

/// What becomes of the client's command.
pub(super) enum LineHandling {
    /// It is not known yet; what there is of its line is held, unless it is too long.
    Start(Start),
    /// It goes on.
    Passes,
    /// It does not, nor do its literals, and is answered here, if at all.
    Stays(Option<Local>),
}

/// A command that is answered here.
pub(super) struct Local {
    kind: Kind,
    tag: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Login,
    Authenticate,
    Unauthenticate,
    StartTls,
    Compress,
}

impl Default for LineHandling {
    fn default() -> Self {
        Self::Start(Start::with_tag())
    }
}

impl LineHandling {
    pub(super) fn held(&self) -> usize {
        if let Self::Stays(Some(local)) = self { local.tag.capacity() } else { 0 }
    }

    /// Whether the server has nothing of the command.
    pub(super) fn has_passed_nothing(&self) -> bool {
        match self {
            Self::Start(start) => start.room() > 0,
            Self::Passes => false,
            Self::Stays(_) => true,
        }
    }
}

impl Kind {
    fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"LOGIN" => Some(Self::Login),
            b"AUTHENTICATE" => Some(Self::Authenticate),
            b"UNAUTHENTICATE" => Some(Self::Unauthenticate),
            b"STARTTLS" => Some(Self::StartTls),
            b"COMPRESS" => Some(Self::Compress),
            _ => None,
        }
    }

    /// The reply that the client receives.
    fn answer(self) -> &'static str {
        match self {
            Self::Login | Self::Authenticate => "BAD Already logged in",
            // RFC 5530: CANNOT is for what will never succeed.
            Self::Unauthenticate => "NO [CANNOT] UNAUTHENTICATE is not available; log in on a new connection",
            Self::StartTls => "BAD TLS cannot start after the login",
            Self::Compress => "NO [CANNOT] Compression is not available",
        }
    }
}

impl Imap {
    pub(super) fn client_step(&mut self, rest: &[u8]) -> Step {
        if self.over.is_some() {
            return Step::drop(rest.len());
        }
        // Whether a literal or a command comes next is for the server to say.
        if self.unfinished.as_ref().is_some_and(|one| one.waits) {
            return Step::stop();
        }
        let (length, is_whole) = match self.client.piece(rest) {
            Piece::Literal(count) => return self.client_literal(rest.get(..count).unwrap_or(rest)),
            Piece::Line { length, is_whole } => (length, is_whole),
        };
        let piece = rest.get(..length).unwrap_or(rest);
        if self.course.has_passed_nothing() && self.must_client_wait() {
            return Step::stop();
        }
        if let Some(step) = self.begin(piece) {
            return step;
        }
        if let LineHandling::Stays(_) = self.course {
            if let Some(ending) = self.client.take_secret(piece, is_whole, Ending::of_secret) {
                self.stayed(ending);
            }
            return Step::drop(length);
        }
        if let Some(whole) = self.client.take(piece, is_whole) {
            self.passed(&whole.line());
        }
        Step::pass(length)
    }

    fn client_literal(&mut self, piece: &[u8]) -> Step {
        self.client.take_literal(piece.len());
        if let LineHandling::Stays(_) = self.course {
            return Step::drop(piece.len());
        }
        if let Some(Unfinished { command, .. }) = &mut self.unfinished {
            command.add_name(piece);
        }
        Step::pass(piece.len())
    }

    /// Reads the beginning of a command's line. `None` when it is known what becomes of it, or it is so long that it goes on
    /// meanwhile.
    fn begin(&mut self, piece: &[u8]) -> Option<Step> {
        let LineHandling::Start(start) = &mut self.course else { return None };
        let room = start.room();
        let is_held = room > 0;
        let window = if is_held { piece.get(..room).unwrap_or(piece) } else { piece };
        let before = start.seen();
        match start.read(window) {
            Some(Found::Name(name)) if !is_held && Kind::of(name.as_bytes()).is_some() => {
                let name_ends = start.seen().saturating_sub(before + 1);
                return Some(self.give_up(name_ends));
            }
            Some(Found::NoName) if !is_held => self.course = LineHandling::Passes,
            Some(found) => self.course = self.course_of(found, piece),
            None if !is_held => return None,
            None if start.room() > 0 => {
                self.client.take(piece, false);
                return Some(Step::drop(piece.len()));
            }
            // No known command begins so, but it may be the response to a challenge.
            None if self.is_authenticating => self.course = LineHandling::Stays(None),
            None => {
                let count = window.len();
                if self.client.head().is_empty() {
                    self.client.take(window, false);
                    return Some(Step::pass(count));
                }
                self.client.take(window, false);
                self.to_server.extend_from_slice(self.client.head());
                return Some(Step::drop(count));
            }
        }
        // What was held goes on first.
        if matches!(self.course, LineHandling::Passes) && !self.client.head().is_empty() && is_held {
            self.to_server.extend_from_slice(self.client.head());
            return Some(Step::stop());
        }
        None
    }

    /// What becomes of a command that begins so.
    fn course_of(&mut self, found: Found, piece: &[u8]) -> LineHandling {
        let name = match found {
            Found::Name(name) => name,
            Found::NoName => {
                let is_done = self.is_idling && first_word(&self.beginning(piece)).eq_ignore_ascii_case(b"DONE");
                self.is_idling &= !is_done;
                let is_answer = self.is_authenticating && !is_done;
                return if is_answer { LineHandling::Stays(None) } else { LineHandling::Passes };
            }
        };
        self.is_authenticating = false;
        if let Some(kind) = Kind::of(name.as_bytes()) {
            let tag = tag(first_word(&self.beginning(piece)));
            return LineHandling::Stays(Some(Local { kind, tag }));
        }
        self.order.sent = self.order.sent.saturating_add(1);
        self.is_idling = name.as_bytes() == b"IDLE";
        self.waiting_idles = self.waiting_idles.saturating_add(self.is_idling.into());
        self.has_logged_out |= name.as_bytes() == b"LOGOUT";
        LineHandling::Passes
    }

    /// The line so far.
    fn beginning<'a>(&self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        match self.client.head() {
            [] => Cow::Borrowed(piece),
            head => Cow::Owned([head, piece].concat()),
        }
    }

    /// A line of a command that went on.
    fn passed(&mut self, line: &Line<'_>) {
        let literal = match Ending::of(line.tail) {
            Ending::Literal(literal) => Some(literal),
            Ending::Plain => None,
            Ending::Unreadable => return self.lose(UNREADABLE),
        };
        let command = match self.unfinished.take() {
            Some(Unfinished { mut command, .. }) => {
                command.go_on(line.head);
                Some(command)
            }
            None => Command::read(line.head, literal.is_some()),
        };
        match (literal, command) {
            (Some(Literal { size, waits }), Some(command)) => {
                self.unfinished = Some(Unfinished { command, waits });
                self.client.skip(size);
            }
            (_, command) => {
                self.course = LineHandling::default();
                if let Some(command) = command {
                    self.tracker.sent(command);
                }
            }
        }
    }

    /// A line of a command that did not. Its literals are asked for, so that it is known where they end.
    fn stayed(&mut self, ending: Ending) {
        let LineHandling::Stays(local) = &self.course else { return };
        match (ending, local) {
            (Ending::Unreadable, Some(_)) => self.lose(UNREADABLE),
            (Ending::Literal(Literal { size, waits }), Some(_)) => {
                self.client.skip(size);
                if waits {
                    self.answer("+ Ready".into());
                }
            }
            (_, Some(Local { kind, tag })) => {
                let answer = format!("{tag} {}", kind.answer());
                self.is_authenticating = *kind == Kind::Authenticate;
                self.course = LineHandling::default();
                self.answer(answer);
            }
            (_, None) => self.course = LineHandling::default(),
        }
    }

    /// A login behind a tag that is too long to be held: its beginning has gone to the server, and no more of it does.
    fn give_up(&mut self, name_ends: usize) -> Step {
        self.lose("The tag of this command is too long");
        Step::pass(name_ends)
    }

    /// The client cannot be followed any more: the session is over, and nothing else of it goes on.
    fn lose(&mut self, why: &str) {
        if self.is_between_responses() {
            self.to_client.extend_from_slice(format!("* BYE {why}\r\n").as_bytes());
        }
        self.over = Some(Over::LoginNotFollowed);
    }

    /// The server did not want the literal of this command: it is never sent, and the client's next byte begins a command.
    pub(super) fn literal_was_refused(&mut self) {
        self.unfinished = None;
        self.client.skip(0);
        self.course = LineHandling::default();
    }

    pub(super) fn client_ends(&mut self) {
        let LineHandling::Start(start) = &self.course else { return };
        if start.room() > 0 && self.over.is_none() {
            // It may be the answer to a challenge.
            if !self.is_authenticating {
                self.to_server.extend_from_slice(self.client.head());
            }
            self.client.forget();
        }
    }
}

/// A tag that may be repeated (RFC 3501, 9), or what stands for one.
pub(super) fn tag(word: &[u8]) -> String {
    let is_tag_char = |byte: &u8| byte.is_ascii_graphic() && !b"(){%*\"\\+".contains(byte);
    match std::str::from_utf8(word) {
        Ok(tag) if !tag.is_empty() && word.iter().all(is_tag_char) => tag.to_owned(),
        _ => "*".to_owned(),
    }
}
