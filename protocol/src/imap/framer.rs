//! Puts the lines and literals of one command together, and decides about every literal before a byte of it is taken.

use std::fmt;

use zeroize::Zeroizing;

use crate::line::{Buffer, TooLong, stripped, without_end};
use crate::sasl::{PASSWORD_LIMIT, USER_LIMIT};

/// Longest line of a command. RFC 7162, 4 asks for at least 8192, and a line with a SASL message may have 12288
/// (as RFC 4954, 4 says for SMTP).
pub(super) const LINE_LIMIT: usize = 12288;

/// Longest literal taken: a user name or password.
const LITERAL_LIMIT: u64 = if USER_LIMIT > PASSWORD_LIMIT { USER_LIMIT as u64 } else { PASSWORD_LIMIT as u64 };

/// A literal that comes unasked and is not wanted is thrown away up to this length (the most that a
/// client may send so under LITERAL-: RFC 7888, 5); beyond it the connection ends (RFC 7888, 4).
const THROW_AWAY_LIMIT: u64 = 4096;

/// Most bytes of one command, its literals included, taken or thrown away, before its last line.
const COMMAND_LIMIT: usize = 16384;

/// Longest ID, its literals included: 30 fields of 30 octets with values of 1024, every octet of them behind a backslash (RFC
/// 2971, 3.3). Nothing of it is kept.
const ID_LIMIT: usize = 64 * 1024;

/// So much of an ID's line is kept as its announcement of a literal may need.
const ID_TAIL: usize = 32;

/// What a line announces at its end: `{5}`, or `{5+}` for one that comes without being asked for (RFC 7888).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Literal {
    /// Its length; a number too large for the type is as good as the largest.
    pub(super) size: u64,
    /// The peer waits until it is asked for the literal.
    pub(super) synchronising: bool,
    /// Where in the line the announcement begins.
    pub(super) begins_at: usize,
}

impl Literal {
    /// What this line announces at its end. The announcement has to be a word of its own, as `secret{1}` may be a
    /// password.
    pub(super) fn at_end_of(line: &[u8]) -> Option<Self> {
        let text = without_end(line).strip_suffix(b"}")?;
        let begins_at = memchr::memrchr(b'{', text)?;
        if begins_at.checked_sub(1).is_some_and(|before| !line.get(before).is_some_and(is_blank)) {
            return None;
        }
        let number = text.get(begins_at + 1..)?;
        let (number, synchronising) = match number.strip_suffix(b"+") {
            Some(number) => (number, false),
            None => (number, true),
        };
        if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let size = std::str::from_utf8(number).ok()?.parse().unwrap_or(u64::MAX);
        Some(Self { size, synchronising, begins_at })
    }
}

/// A blank between words; old software uses the tab as well.
pub(super) fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Where the reading of a command stands.
#[derive(Default)]
pub(super) struct Framer {
    /// The command so far, as it was on the wire. Of a refused one only what came before the refusal.
    raw: Zeroizing<Vec<u8>>,
    /// What is missing of the literal under way.
    missing: usize,
    /// A literal of this command was refused; the rest of the command is thrown away.
    refused: bool,
    /// How much was.
    thrown_away: usize,
    /// An ID, whose arguments mean nothing here: they are passed over.
    passed_over: Option<PassedOver>,
}

/// How far an ID is passed over.
#[derive(Default)]
struct PassedOver {
    /// All of it so far, and of a literal under way all of that.
    length: usize,
    /// The end of its line.
    tail: Vec<u8>,
    /// What is missing of a literal.
    literal: usize,
}

/// What there is after a look at the buffer.
pub(super) enum Framed {
    /// Not a whole command yet.
    NeedsMore,
    /// The client waits for the go-ahead for a literal, which is granted: `+`.
    GoAhead,
    /// A command, with its literals.
    Command(Zeroizing<Vec<u8>>),
    /// A command with a literal that was refused; this is how it began. It is over, a reply may be sent.
    Refused(Zeroizing<Vec<u8>>),
    /// A bound was broken in a way that leaves nothing but to close.
    TooLong,
}

impl Framer {
    /// Looks for the next command. `wants_literal` is asked, with the command so far, whether a literal makes sense in
    /// it.
    pub(super) fn next(&mut self, buffer: &mut Buffer, wants_literal: impl Fn(&[u8]) -> bool) -> Framed {
        if self.is_between_commands()
            && let Some(tag) = id_tag(buffer.unread())
        {
            self.raw.extend_from_slice(&[tag, b" ID\r\n"].concat());
            self.passed_over = Some(PassedOver::default());
        }
        if let Some(passed_over) = &mut self.passed_over {
            return match passed_over.next(buffer) {
                Passed::All { refused } => {
                    self.refused = refused;
                    self.finish()
                }
                Passed::NeedsMore => Framed::NeedsMore,
                Passed::GoAhead => Framed::GoAhead,
                Passed::TooLong => Framed::TooLong,
            };
        }
        loop {
            if !self.take_literal(buffer) {
                return Framed::NeedsMore;
            }
            let line = match buffer.take_line(LINE_LIMIT) {
                Ok(Some(line)) => without_nuls(Zeroizing::new(line), self.is_between_commands()),
                Ok(None) => return Framed::NeedsMore,
                Err(TooLong) => return Framed::TooLong,
            };
            if self.refused {
                self.thrown_away += line.len();
            } else {
                self.raw.extend_from_slice(&line);
            }
            let Some(literal) = Literal::at_end_of(&line) else { return self.finish() };
            if !self.refused && self.has_room_for(literal.size) && wants_literal(&self.raw) {
                self.missing = usize::try_from(literal.size).unwrap_or(usize::MAX);
                if literal.synchronising {
                    return Framed::GoAhead;
                }
                continue;
            }
            self.refused = true;
            if literal.synchronising {
                // A tagged reply instead of `+`: the client will not send it (RFC 3501, 7.5).
                return self.finish();
            }
            let size = usize::try_from(literal.size).unwrap_or(usize::MAX);
            self.thrown_away = self.thrown_away.saturating_add(size);
            if literal.size > THROW_AWAY_LIMIT || self.thrown_away > COMMAND_LIMIT {
                return Framed::TooLong;
            }
            self.missing = size;
        }
    }

    /// Whether the next byte begins a command.
    pub(super) fn is_between_commands(&self) -> bool {
        self.raw.is_empty()
    }

    /// Takes what is missing of a literal, or throws it away. `false`: it has not all come yet.
    fn take_literal(&mut self, buffer: &mut Buffer) -> bool {
        if self.refused {
            self.missing -= buffer.skip(self.missing);
        } else if let Some(bytes) = buffer.take_exactly(self.missing) {
            self.raw.extend_from_slice(&Zeroizing::new(bytes));
            self.missing = 0;
        }
        self.missing == 0
    }

    fn has_room_for(&self, size: u64) -> bool {
        size <= LITERAL_LIMIT && self.raw.len() as u64 + size <= COMMAND_LIMIT as u64
    }

    fn finish(&mut self) -> Framed {
        let Self { raw, refused, .. } = std::mem::take(self);
        if refused { Framed::Refused(raw) } else { Framed::Command(raw) }
    }
}

enum Passed {
    NeedsMore,
    GoAhead,
    /// The command has ended, perhaps with a literal that was refused.
    All {
        refused: bool,
    },
    TooLong,
}

impl PassedOver {
    /// Passes over what there is, up to the end of the command.
    fn next(&mut self, buffer: &mut Buffer) -> Passed {
        loop {
            self.literal -= buffer.skip(self.literal);
            if self.literal > 0 || buffer.is_empty() {
                return Passed::NeedsMore;
            }
            let unread = buffer.unread();
            let end = memchr::memchr(b'\n', unread).map(|at| at + 1);
            let line = unread.get(..end.unwrap_or(unread.len())).unwrap_or_default();
            let count = line.len();
            self.tail.extend_from_slice(line.get(count.saturating_sub(ID_TAIL)..).unwrap_or(line));
            let surplus = self.tail.len().saturating_sub(ID_TAIL);
            self.tail.drain(..surplus);
            buffer.skip(count);
            self.length = self.length.saturating_add(count);
            if self.length > ID_LIMIT {
                return Passed::TooLong;
            }
            if end.is_none() {
                return Passed::NeedsMore;
            }
            let mut tail = std::mem::take(&mut self.tail);
            // The first string of the list has no blank before it.
            tail.iter_mut().filter(|byte| **byte == b'(').for_each(|byte| *byte = b' ');
            let Some(literal) = Literal::at_end_of(&tail) else { return Passed::All { refused: false } };
            let size = usize::try_from(literal.size).unwrap_or(usize::MAX);
            self.length = self.length.saturating_add(size);
            match (self.length > ID_LIMIT, literal.synchronising) {
                // A tagged reply instead of `+`: the client will not send it (RFC 3501, 7.5).
                (true, true) => return Passed::All { refused: true },
                (true, false) => return Passed::TooLong,
                (false, synchronising) => {
                    self.literal = size;
                    if synchronising {
                        return Passed::GoAhead;
                    }
                }
            }
        }
    }
}

/// The tag of the ID that begins here.
fn id_tag(unread: &[u8]) -> Option<&[u8]> {
    let text = stripped(unread, |byte| byte == 0, |_| false);
    let (tag, rest) = text.split_at_checked(text.iter().position(|byte| is_blank(byte) || *byte == b'\n')?)?;
    let (name, behind) = rest.get(rest.iter().position(|byte| !is_blank(byte))?..)?.split_at_checked(2)?;
    let is_whole = behind.first().is_some_and(|byte| is_blank(byte) || matches!(byte, b'\r' | b'\n' | 0));
    (name.eq_ignore_ascii_case(b"ID") && is_whole).then_some(tag)
}

/// Firmware with lines of a fixed size fills them up with NULs: behind the text, or behind the line end, which is ahead of
/// the next command. A line of nothing else is left as it is.
fn without_nuls(line: Zeroizing<Vec<u8>>, begins_command: bool) -> Zeroizing<Vec<u8>> {
    let text = stripped(&line, |byte| begins_command && byte == 0, |byte| matches!(byte, b'\r' | b'\n' | 0));
    let padded = begins_command && line.starts_with(b"\0") || without_end(&line).ends_with(b"\0");
    if padded && !(begins_command && text.is_empty()) { Zeroizing::new([text, b"\r\n"].concat()) } else { line }
}

/// What is in it may be a password.
impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framer").field("missing", &self.missing).field("refused", &self.refused).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(line: &str) -> Option<(u64, bool)> {
        Literal::at_end_of(line.as_bytes()).map(|literal| (literal.size, literal.synchronising))
    }

    #[test]
    fn sees_what_a_line_announces() {
        assert_eq!(literal("a LOGIN {5}\r\n"), Some((5, true)));
        assert_eq!(literal("a LOGIN {5}\n"), Some((5, true)));
        assert_eq!(literal("a LOGIN\t{0005+}\r\n"), Some((5, false)));
        assert_eq!(literal("{0}\r\n"), Some((0, true)));
        assert_eq!(literal("a LOGIN {99999999999999999999999}\r\n"), Some((u64::MAX, true)));
        for no in [
            "",
            "\r\n",
            "}\r\n",
            "{}\r\n",
            "{+}\r\n",
            "{-5}\r\n",
            "{5-}\r\n",
            "{+5}\r\n",
            "{5 }\r\n",
            "{5++}\r\n",
            "{0x5}\r\n",
            "a LOGIN bob secret{5}\r\n",
            "a LOGIN {5} x\r\n",
            "a LOGIN {5\r\n",
            "a LOGIN \"{5}\"\r\n",
            "{\u{664}}\r\n",
        ] {
            assert_eq!(literal(no), None, "{no:?}");
        }
    }

    #[test]
    fn a_command_of_nothing_but_empty_literals_is_bounded() {
        let mut buffer = Buffer::default();
        for _ in 0..10_000 {
            buffer.receive(b"a {0+}\r\n");
        }
        assert!(matches!(Framer::default().next(&mut buffer, |_| true), Framed::TooLong));
    }

    #[test]
    fn prints_nothing_of_a_command() {
        let mut framer = Framer::default();
        let mut buffer = Buffer::default();
        buffer.receive(b"a LOGIN {5}\r\nhunter2");
        assert!(matches!(framer.next(&mut buffer, |_| true), Framed::GoAhead));
        assert_eq!(format!("{framer:?}"), "Framer { missing: 5, refused: false, .. }");
    }
}
