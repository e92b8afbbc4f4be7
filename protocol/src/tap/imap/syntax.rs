//! The words of a line, as far as the tap needs them.

use crate::tap::line_stream::TAIL;

/// The number in `NAME number`, up to what is no digit.
pub(super) fn number_behind(text: &[u8], name: &str) -> Option<u32> {
    let (start, rest) = text.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name.as_bytes()) {
        return None;
    }
    number(rest.strip_prefix(b" ")?)
}

pub(super) fn number(text: &[u8]) -> Option<u32> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    std::str::from_utf8(text.get(..end)?).ok()?.parse().ok()
}

/// The first word, and what is behind its blank.
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', text) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

/// An atom or a quoted string (RFC 3501, 9), up to its end; more blanks before it than one are passed over.
pub(super) fn astring(text: &[u8]) -> Option<Vec<u8>> {
    astring_and_rest(text).map(|(string, _)| string)
}

/// The same, and what is behind it.
pub(super) fn astring_and_rest(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let text = text.trim_ascii_start();
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (atom, rest) = word(text);
        return (!atom.is_empty() && !atom.ends_with(b"}")).then(|| (atom.to_vec(), rest));
    };
    let (mut string, mut bytes) = (Vec::new(), quoted.iter());
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return Some((string, bytes.as_slice())),
            b'\\' => string.push(*bytes.next()?),
            byte => string.push(byte),
        }
    }
    None
}

/// A literal that was announced.
pub(super) struct Literal {
    pub(super) size: u64,
    /// It is only sent once the server has asked for it (RFC 3501, 7.5).
    pub(super) waits: bool,
}

/// `{123}`, `{123+}` or `~{123}` at the end of a line (RFC 3501, 9; RFC 7888; RFC 3516).
pub(super) fn literal(tail: &[u8]) -> Option<Literal> {
    let inner = tail.strip_suffix(b"}")?;
    let digits = inner.strip_suffix(b"+").unwrap_or(inner);
    let at = memchr::memrchr(b'{', digits)?;
    let waits = digits.len() == inner.len();
    let digits = digits.get(at + 1..)?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let size = is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()?;
    Some(Literal { size, waits })
}

/// How a line of the client ends.
pub(super) enum Ending {
    Plain,
    Literal(Literal),
    /// A literal whose size cannot be read, so its end is unknown.
    Unreadable,
}

impl Ending {
    pub(super) fn of(tail: &[u8]) -> Self {
        if let Some(literal) = literal(tail) {
            return Self::Literal(literal);
        }
        let Some(inner) = tail.strip_suffix(b"}") else { return Self::Plain };
        let digits = inner.strip_suffix(b"+").unwrap_or(inner);
        let begin = digits.iter().rposition(|byte| !byte.is_ascii_digit());
        // More digits than are kept, or a larger number than there is.
        let is_number = match begin {
            Some(at) => at + 1 < digits.len() && digits.get(at) == Some(&b'{'),
            None => digits.len() > TAIL / 2,
        };
        if is_number { Self::Unreadable } else { Self::Plain }
    }

    /// The same of a login, of which nothing may be mistaken for a command: whatever looks like a literal is taken for one.
    pub(super) fn of_secret(tail: &[u8]) -> Self {
        match Self::of(tail) {
            Self::Plain if tail.ends_with(b"}") && tail.contains(&b'{') => Self::Unreadable,
            ending => ending,
        }
    }
}

/// Whether the literal at the end of this line is a whole message, or the first part of one: `BODY[] {…}`, `BODY[]<0> {…}`,
/// `BINARY[] ~{…}`, `RFC822 {…}`.
pub(super) fn announces_message(tail: &[u8]) -> bool {
    let before = memchr::memrchr(b'{', tail).and_then(|at| tail.get(..at)).unwrap_or_default();
    let before = before.strip_suffix(b"~").unwrap_or(before).trim_ascii_end();
    let before = before.strip_suffix(b"<0>").unwrap_or(before);
    let (start, item) = match before.iter().rposition(|&byte| matches!(byte, b' ' | b'(')) {
        Some(at) => before.split_at(at + 1),
        None => (b"".as_slice(), before),
    };
    !start.is_empty() && ["BODY[]", "BINARY[]", "RFC822"].iter().any(|name| item.eq_ignore_ascii_case(name.as_bytes()))
}
