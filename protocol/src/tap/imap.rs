//! IMAP: the commands that matter (SELECT, EXAMINE, APPEND, LOGOUT, and those behind which nothing can be read), and the
//! answers to them.

mod words;

use std::collections::VecDeque;

use self::words::{Literal, announces_message, astring, literal, number, number_behind, word};
use super::lines::{Line, Lines, Next};
use super::{Counts, Noticed, Tap, back_off};
use crate::line::printable;

/// Longest folder name that is remembered, in bytes. Exchange's have 255 characters at most.
const FOLDER_LIMIT: usize = 400;

/// Longest tag that is followed. Programs use a handful of characters.
const TAG_LIMIT: usize = 64;

/// Most commands that are remembered at once, of those that matter. A client that sends more without waiting for one answer
/// is followed no further.
const COMMANDS_LIMIT: usize = 128;

/// Follows IMAP (RFC 3501, RFC 9051).
#[derive(Default)]
pub struct Imap {
    client: Lines,
    server: Lines,
    unfinished: Option<Unfinished>,
    /// The next line of the server goes on with a response that had a literal.
    continues: Option<Response>,
    waiting: VecDeque<Command>,
    counts: Counts,
    is_aside: bool,
}

/// A command that matters, and whose answer is still to come.
struct Command {
    tag: Vec<u8>,
    kind: Kind,
}

/// A command whose literal goes through, or is to come.
struct Unfinished {
    command: Command,
    /// The literal is only sent once the server has asked for it, which it may never do (RFC 3501, 7.5).
    waits: bool,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// SELECT or EXAMINE of this folder, whose UIDVALIDITY was seen or not.
    Open {
        folder: Vec<u8>,
        is_seen: bool,
    },
    Append,
    Logout,
    /// What follows the answer is no IMAP that could be read.
    Aside,
    Other,
    /// Cannot be followed.
    Lost,
}

/// A response that goes over several lines, because it has literals.
#[derive(Clone, Copy)]
enum Response {
    /// A FETCH; the message in it was counted or not.
    Fetch {
        is_counted: bool,
    },
    Other,
}

impl Tap for Imap {
    fn client(&mut self, mut bytes: &[u8]) {
        while !self.is_aside {
            let mut client = std::mem::take(&mut self.client);
            let went_on = client.next(&mut bytes, |next| match next {
                Next::Line(line) => self.said(&line),
                Next::Literal(piece) => {
                    self.name_of(piece);
                    None
                }
            });
            self.client = client;
            match went_on {
                None => return,
                Some(None) => {}
                Some(Some(size)) => self.client.skip(size),
            }
        }
    }

    fn server(&mut self, mut bytes: &[u8], notice: &mut dyn FnMut(Noticed)) {
        while !self.is_aside {
            let mut server = std::mem::take(&mut self.server);
            let went_on = server.next(&mut bytes, |next| match next {
                Next::Line(line) => self.answered(&line, notice),
                Next::Literal(_) => None,
            });
            self.server = server;
            match went_on {
                None => return,
                Some(None) => {}
                Some(Some(size)) => self.server.skip(size),
            }
        }
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn held(&self) -> usize {
        let all = self.waiting.iter().chain(self.unfinished.as_ref().map(|unfinished| &unfinished.command));
        let commands = all.map(Command::held).sum::<usize>() + self.waiting.capacity() * size_of::<Command>();
        self.client.held() + self.server.held() + commands
    }
}

/// What the client says.
impl Imap {
    /// A line of a command; gives back the size of the literal behind it.
    fn said(&mut self, line: &Line<'_>) -> Option<u64> {
        let literal = literal(line.tail);
        let command = match self.unfinished.take() {
            Some(unfinished) => unfinished.command,
            None => Command::read(line.head, literal.is_some())?,
        };
        if command.kind == Kind::Lost || self.waiting.len() >= COMMANDS_LIMIT {
            self.step_aside();
            return None;
        }
        if let Some(Literal { size, waits }) = literal {
            self.unfinished = Some(Unfinished { command, waits });
            return Some(size);
        }
        if command.kind != Kind::Other {
            self.waiting.push_back(command);
        }
        None
    }

    /// A piece of a literal: the name of a folder, if it is one.
    fn name_of(&mut self, piece: &[u8]) {
        let Some(Unfinished { command, waits }) = &mut self.unfinished else { return };
        *waits = false;
        if let Kind::Open { folder, .. } = &mut command.kind {
            // One byte more than may be, so that it is seen to be too long.
            let room = (FOLDER_LIMIT + 1).saturating_sub(folder.len());
            folder.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
    }
}

impl Command {
    fn held(&self) -> usize {
        let folder = if let Kind::Open { folder, .. } = &self.kind { folder.capacity() } else { 0 };
        self.tag.capacity() + folder
    }

    /// `tag SELECT folder`. The folder of one with a literal comes in that.
    fn read(line: &[u8], has_literal: bool) -> Option<Self> {
        let (tag, rest) = word(line);
        let (verb, rest) = word(rest.trim_ascii_start());
        let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
        if verb.is_empty() {
            // DONE, the answer to a challenge, or nothing; but a literal is one whatever stands before it.
            return has_literal.then(|| Self { tag: Vec::new(), kind: Kind::Other });
        }
        if tag.len() > TAG_LIMIT {
            return Some(Self { tag: Vec::new(), kind: Kind::Lost });
        }
        let kind = if is("SELECT") || is("EXAMINE") {
            let folder = astring(rest).filter(|folder| !has_literal && folder.len() <= FOLDER_LIMIT);
            Kind::Open { folder: folder.unwrap_or_default(), is_seen: false }
        } else if is("APPEND") {
            Kind::Append
        } else if is("LOGOUT") {
            Kind::Logout
        } else if is("COMPRESS") || is("STARTTLS") {
            Kind::Aside
        } else {
            Kind::Other
        };
        Some(Self { tag: tag.to_vec(), kind })
    }
}

/// What the server says.
impl Imap {
    /// A line of a response; gives back the size of the literal behind it.
    fn answered(&mut self, line: &Line<'_>, notice: &mut dyn FnMut(Noticed)) -> Option<u64> {
        // Only a literal may have a NUL (RFC 3501, 9): whatever this is, it is no IMAP.
        if memchr::memchr(0, line.head).is_some() {
            self.step_aside();
            return None;
        }
        let response = match self.continues.take() {
            Some(response) => response,
            None => self.begun(line.head, notice)?,
        };
        let size = literal(line.tail)?.size;
        self.continues = Some(match response {
            Response::Fetch { is_counted: false } if announces_message(line.tail) => {
                self.counts.fetched += 1;
                Response::Fetch { is_counted: true }
            }
            other => other,
        });
        Some(size)
    }

    /// The first line of a response. Gives back what it is if it may have a literal; the text of a condition has none, whatever
    /// it looks like.
    fn begun(&mut self, head: &[u8], notice: &mut dyn FnMut(Noticed)) -> Option<Response> {
        let (first, rest) = word(head);
        match first {
            b"+" => {
                if let Some(unfinished) = &mut self.unfinished {
                    unfinished.waits = false;
                }
                None
            }
            b"*" => self.untagged(rest, notice),
            // Exchange has been seen to leave `* OK` out before a code.
            _ if first.starts_with(b"[") => {
                self.code(head, notice);
                None
            }
            _ => {
                self.tagged(first, rest, notice);
                None
            }
        }
    }

    fn untagged(&mut self, rest: &[u8], notice: &mut dyn FnMut(Noticed)) -> Option<Response> {
        let (verb, text) = word(rest);
        let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is(verb, "OK") {
            self.code(text, notice);
            return None;
        }
        if is(verb, "NO") || is(verb, "BAD") || is(verb, "PREAUTH") {
            throttled(text, notice);
            return None;
        }
        if is(verb, "BYE") {
            throttled(text, notice);
            let asked_for = self.waiting.iter().any(|command| matches!(command.kind, Kind::Logout));
            notice(Noticed::Bye { text: printable(text), asked_for });
            return None;
        }
        if is(verb, "STATUS") {
            status(text, notice);
            return Some(Response::Other);
        }
        let is_fetch = verb.iter().all(u8::is_ascii_digit) && is(word(text).0, "FETCH");
        Some(if is_fetch { Response::Fetch { is_counted: false } } else { Response::Other })
    }

    /// `[UIDVALIDITY 14]` belongs to the folder that is being opened.
    fn code(&mut self, text: &[u8], notice: &mut dyn FnMut(Noticed)) {
        let Some(value) = text.strip_prefix(b"[").and_then(|code| number_behind(code, "UIDVALIDITY")) else { return };
        let opening = self.waiting.iter_mut().find_map(|command| match &mut command.kind {
            Kind::Open { folder, is_seen } => Some((folder, is_seen)),
            _ => None,
        });
        if let Some((folder, is_seen)) = opening
            && !std::mem::replace(is_seen, true)
        {
            tell(folder, value, notice);
        }
    }

    fn tagged(&mut self, tag: &[u8], rest: &[u8], notice: &mut dyn FnMut(Noticed)) {
        let (condition, text) = word(rest);
        let is_ok = condition.eq_ignore_ascii_case(b"OK");
        if !is_ok {
            throttled(text, notice);
        }
        // A literal that the server does not want is never sent; the client's next byte begins a command.
        if self.unfinished.as_ref().is_some_and(|one| one.waits && one.command.tag == tag) && !is_ok {
            self.unfinished = None;
            self.client.skip(0);
        }
        let Some(at) = self.waiting.iter().position(|command| command.tag == tag) else { return };
        let command = self.waiting.remove(at);
        if self.waiting.is_empty() {
            // Without memory until the next one.
            self.waiting = VecDeque::new();
        }
        match command.map(|command| command.kind) {
            Some(Kind::Append) if is_ok => self.counts.stored += 1,
            Some(Kind::Aside) if is_ok => self.step_aside(),
            _ => {}
        }
    }

    /// Follows nothing any more, and forgets everything but what was counted.
    fn step_aside(&mut self) {
        *self = Self { counts: self.counts, is_aside: true, ..Self::default() };
    }
}

fn throttled(text: &[u8], notice: &mut dyn FnMut(Noticed)) {
    if let Some(back_off) = back_off(text) {
        notice(Noticed::Throttled { back_off });
    }
}

/// `STATUS folder (MESSAGES 3 UIDVALIDITY 14)`, with the folder on the same line.
fn status(text: &[u8], notice: &mut dyn FnMut(Noticed)) {
    let Some(folder) = astring(text) else { return };
    // The items stand behind the last parenthesis; a folder's name may have one too.
    let items = text.rsplit(|&byte| byte == b'(').next().unwrap_or_default();
    let found = items
        .split(u8::is_ascii_whitespace)
        .position(|word| word.eq_ignore_ascii_case(b"UIDVALIDITY"))
        .and_then(|at| items.split(u8::is_ascii_whitespace).nth(at + 1))
        .and_then(number);
    if let Some(value) = found {
        tell(&folder, value, notice);
    }
}

fn tell(folder: &[u8], value: u32, notice: &mut dyn FnMut(Noticed)) {
    if folder.is_empty() || folder.len() > FOLDER_LIMIT {
        return;
    }
    let folder = if folder.eq_ignore_ascii_case(b"INBOX") { b"INBOX" } else { folder };
    notice(Noticed::UidValidity { folder: printable(folder), value });
}

#[cfg(test)]
mod tests;
