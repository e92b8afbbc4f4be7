//! What is worth knowing of a session: folders that are opened, messages that go through, throttling, the end.

use std::collections::VecDeque;

use super::syntax::{announces_message, astring, astring_and_rest, literal, number, number_behind, word};
use crate::line::printable;
use crate::tap::line_stream::{Line, TAIL};
use crate::tap::{Counts, Observation, back_off};

/// Longest folder name that is remembered, in bytes. Exchange's have 255 characters at most.
const FOLDER_LIMIT: usize = 400;

/// So much of a tag is compared. Programs use a handful of characters.
const TAG_LIMIT: usize = 64;

/// Most relevant commands that are tracked at a time. Of a client that sends more without waiting for one answer
/// nothing more is noticed.
pub(super) const COMMANDS_LIMIT: usize = 64;

/// What was noticed, and the commands whose answers are worth it.
#[derive(Default)]
pub(super) struct Tracker {
    waiting: VecDeque<Command>,
    pub(super) counts: Counts,
    /// Nothing is noticed any more.
    is_lost: bool,
}

/// A command, and what its answer means.
pub(super) struct Command {
    tag: Vec<u8>,
    kind: Kind,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// SELECT or EXAMINE of this folder, whose UIDVALIDITY was seen or not.
    Open {
        folder: Vec<u8>,
        is_seen: bool,
    },
    /// CREATE, DELETE or RENAME of these folders.
    Change(Names),
    Append,
    Logout,
    Other,
}

/// The names of folders that a command has, in its lines and literals.
#[derive(Default, PartialEq, Eq)]
struct Names {
    names: Vec<Vec<u8>>,
    /// So many it has.
    wanted: usize,
    /// The last one is that of a literal.
    is_literal: bool,
}

impl Names {
    /// Reads those of a line.
    fn read(&mut self, mut line: &[u8]) {
        self.is_literal = false;
        while self.names.len() < self.wanted
            && let Some((name, rest)) = astring_and_rest(line)
        {
            self.names.push(name);
            line = rest;
        }
    }

    /// A piece of a literal.
    fn add(&mut self, piece: &[u8]) {
        if !self.is_literal && self.names.len() < self.wanted {
            self.names.push(Vec::new());
            self.is_literal = true;
        }
        if let Some(name) = self.names.last_mut().filter(|_| self.is_literal) {
            extend(name, piece);
        }
    }
}

/// One byte more than may be, so that it is seen to be too long.
fn extend(name: &mut Vec<u8>, piece: &[u8]) {
    let room = (FOLDER_LIMIT + 1).saturating_sub(name.len());
    name.extend_from_slice(piece.get(..room).unwrap_or(piece));
}

/// A response that goes over several lines, because it has literals.
#[derive(Clone, Copy)]
pub(super) enum Response {
    /// A FETCH; the message in it was counted or not.
    Fetch {
        is_counted: bool,
    },
    Other,
}

impl Command {
    /// `tag SELECT folder`. The folder of one with a literal comes in that.
    pub(super) fn read(line: &[u8], has_literal: bool) -> Option<Self> {
        let (tag, rest) = word(line);
        let (verb, rest) = word(rest.trim_ascii_start());
        let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
        if verb.is_empty() {
            // DONE, the answer to a challenge, or nothing; but a literal is one whatever precedes it.
            return has_literal.then(|| Self { tag: Vec::new(), kind: Kind::Other });
        }
        let kind = if is("SELECT") || is("EXAMINE") {
            let folder = astring(rest).filter(|folder| !has_literal && folder.len() <= FOLDER_LIMIT);
            Kind::Open { folder: folder.unwrap_or_default(), is_seen: false }
        } else if is("CREATE") || is("DELETE") || is("RENAME") {
            let mut names = Names { wanted: if is("RENAME") { 2 } else { 1 }, ..Names::default() };
            names.read(rest);
            Kind::Change(names)
        } else if is("APPEND") {
            Kind::Append
        } else if is("LOGOUT") {
            Kind::Logout
        } else {
            Kind::Other
        };
        Some(Self { tag: start_of(tag).to_vec(), kind })
    }

    /// A piece of its literal: the name of a folder, if it is one.
    pub(super) fn add_name(&mut self, piece: &[u8]) {
        match &mut self.kind {
            Kind::Open { folder, .. } => extend(folder, piece),
            Kind::Change(names) => names.add(piece),
            Kind::Append | Kind::Logout | Kind::Other => {}
        }
    }

    /// The line behind its literal.
    pub(super) fn go_on(&mut self, line: &[u8]) {
        if let Kind::Change(names) = &mut self.kind {
            names.read(line);
        }
    }

    pub(super) fn has_tag(&self, tag: &[u8]) -> bool {
        self.tag == start_of(tag)
    }

    pub(super) fn held(&self) -> usize {
        let names = match &self.kind {
            Kind::Open { folder, .. } => folder.capacity(),
            Kind::Change(names) => names.names.iter().map(|name| name.capacity() + size_of::<Vec<u8>>()).sum(),
            Kind::Append | Kind::Logout | Kind::Other => 0,
        };
        self.tag.capacity() + names
    }
}

fn start_of(tag: &[u8]) -> &[u8] {
    tag.get(..TAG_LIMIT).unwrap_or(tag)
}

impl Tracker {
    /// A command went on to the server, all of it.
    pub(super) fn sent(&mut self, command: Command) {
        if self.is_lost || command.kind == Kind::Other {
            return;
        }
        if self.waiting.len() >= COMMANDS_LIMIT {
            return self.lose();
        }
        self.waiting.push_back(command);
    }

    /// A line of a response. Gives back what goes on behind it with a literal, and the size of that.
    pub(super) fn response(
        &mut self,
        continued: Option<Response>,
        line: &Line<'_>,
        notice: &mut dyn FnMut(Observation),
    ) -> Option<(Response, u64)> {
        // Only a literal may have a NUL (RFC 3501, 9): whatever this is, it is no IMAP.
        if memchr::memchr(0, line.head).is_some() {
            self.lose();
        }
        let mut nothing = |_| {};
        let notice = if self.is_lost { &mut nothing } else { notice };
        let response = match continued {
            Some(response) => response,
            None => self.begun(line.head, notice)?,
        };
        let size = literal(line.tail)?.size;
        let response = match response {
            Response::Fetch { is_counted: false } if announces_message(line.tail) => {
                self.counts.fetched += u64::from(!self.is_lost);
                Response::Fetch { is_counted: true }
            }
            other => other,
        };
        Some((response, size))
    }

    /// What follows `* ` in the first line of a FETCH that ends in a literal; nothing of any other line. It has no NUL.
    pub(super) fn fetch_with_literal(&mut self, numbered: &[u8]) -> Option<(Response, u64)> {
        let digits = numbered.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let name = numbered.get(digits..)?.get(..FETCH.len())?;
        if !name.eq_ignore_ascii_case(FETCH) {
            return None;
        }
        let (size, before) = plain_literal(numbered)?;
        let is_message =
            before.ends_with(b" BODY[] ") || before.ends_with(b"(BODY[] ") || announces_message(tail(numbered));
        self.counts.fetched += u64::from(is_message && !self.is_lost);
        Some((Response::Fetch { is_counted: is_message }, size))
    }

    /// The first line of a response. Gives back what it is if it may have a literal; the text of a condition has none, whatever
    /// it looks like.
    fn begun(&mut self, head: &[u8], notice: &mut dyn FnMut(Observation)) -> Option<Response> {
        let (first, rest) = word(head);
        match first {
            b"+" => None,
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

    fn untagged(&mut self, rest: &[u8], notice: &mut dyn FnMut(Observation)) -> Option<Response> {
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
            notice(Observation::Bye { text: printable(text), asked_for });
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
    fn code(&mut self, text: &[u8], notice: &mut dyn FnMut(Observation)) {
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

    fn tagged(&mut self, tag: &[u8], rest: &[u8], notice: &mut dyn FnMut(Observation)) {
        let (condition, text) = word(rest);
        let is_ok = condition.eq_ignore_ascii_case(b"OK");
        if !is_ok {
            throttled(text, notice);
        }
        let Some(at) = self.waiting.iter().position(|command| command.has_tag(tag)) else { return };
        let command = self.waiting.remove(at);
        if self.waiting.is_empty() {
            // Without memory until the next one.
            self.waiting = VecDeque::new();
        }
        match command.map(|command| command.kind) {
            Some(Kind::Append) if is_ok => self.counts.stored += 1,
            Some(Kind::Change(names)) if is_ok => {
                for folder in names.names.iter().filter(|name| is_known(name) && !name.eq_ignore_ascii_case(b"INBOX")) {
                    notice(Observation::FolderChanged { folder: printable(folder) });
                }
            }
            _ => {}
        }
    }

    /// Notices nothing any more, and forgets everything but what was counted.
    fn lose(&mut self) {
        *self = Self { counts: self.counts, is_lost: true, ..Self::default() };
    }

    pub(super) fn held(&self) -> usize {
        self.waiting.iter().map(Command::held).sum::<usize>() + self.waiting.capacity() * size_of::<Command>()
    }
}

/// `{345}` at the end of a line, and what is before it. A number that may be too large is not read.
fn plain_literal(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut line = line.strip_suffix(b"}")?;
    let (mut size, mut unit) = (0, 1);
    while let Some((digit @ b'0'..=b'9', before)) = line.split_last().filter(|_| unit < PLAIN_LIMIT) {
        size += u64::from(digit - b'0') * unit;
        unit *= 10;
        line = before;
    }
    let before = line.strip_suffix(b"{")?;
    (unit > 1).then_some((size, before))
}

/// Numbers of fewer digits than this are read here.
const PLAIN_LIMIT: u64 = 1_000_000_000_000;

/// Between the number and the items of a response.
const FETCH: &[u8] = b" FETCH ";

/// As much of the end of a line as is kept.
fn tail(line: &[u8]) -> &[u8] {
    line.get(line.len().saturating_sub(TAIL - "\r\n".len())..).unwrap_or(line)
}

fn throttled(text: &[u8], notice: &mut dyn FnMut(Observation)) {
    if let Some(back_off) = back_off(text) {
        notice(Observation::Throttled { back_off });
    }
}

/// `STATUS folder (MESSAGES 3 UIDVALIDITY 14)`, with the folder on the same line.
fn status(text: &[u8], notice: &mut dyn FnMut(Observation)) {
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

fn is_known(folder: &[u8]) -> bool {
    (1..=FOLDER_LIMIT).contains(&folder.len())
}

fn tell(folder: &[u8], value: u32, notice: &mut dyn FnMut(Observation)) {
    if !is_known(folder) {
        return;
    }
    let folder = if folder.eq_ignore_ascii_case(b"INBOX") { b"INBOX" } else { folder };
    notice(Observation::UidValidity { folder: printable(folder), value });
}
