//! One buffer that cuts what arrives into lines and literals, and bounds both before memory is taken.

use std::fmt;

/// Bytes received and not used yet.
///
/// The bound of a line is checked against what is really there: a line that has grown past its bound is reported
/// without waiting for its end, so a peer that never ends its line costs that bound plus one read.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// Where the unread part begins.
    start: usize,
    /// How far the unread part is known to hold no LF, so that a line arriving byte by byte is searched once.
    searched: usize,
    received: bool,
    ended: bool,
}

/// A line is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Buffer {
    /// Adds what the peer sent.
    pub fn receive(&mut self, bytes: &[u8]) {
        // The used part goes, or a peer that always leaves half a line behind would make it grow without end.
        self.bytes.drain(..self.start);
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
        self.received |= !bytes.is_empty();
    }

    /// Whether any byte was ever received.
    pub fn has_received(&self) -> bool {
        self.received
    }

    /// Marks the end: the peer will send nothing more.
    pub fn receive_end(&mut self) {
        self.ended = true;
    }

    /// Whether the peer has closed. What is not a whole line by now never will be.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The bytes not used yet.
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Whether every byte was used.
    pub fn is_empty(&self) -> bool {
        self.unread().is_empty()
    }

    /// Takes the next line with its line end, LF or CRLF. `None`: its end has not come yet.
    ///
    /// # Errors
    /// The line, its end included, is longer than `bound` bytes, or already has that many without an end.
    pub fn take_line(&mut self, bound: usize) -> Result<Option<Vec<u8>>, TooLong> {
        let from = self.searched.max(self.start);
        let unsearched = self.bytes.get(from..).filter(|rest| !rest.is_empty());
        let end = unsearched.and_then(|rest| memchr::memchr(b'\n', rest)).map(|at| from + at + 1);
        self.searched = end.unwrap_or(self.bytes.len());
        match end {
            Some(end) if end - self.start > bound => Err(TooLong),
            Some(end) => Ok(Some(self.take(end - self.start))),
            None if self.bytes.len() - self.start >= bound => Err(TooLong),
            None => Ok(None),
        }
    }

    /// Takes exactly `count` bytes, once they are there. The caller has bounded `count`.
    pub fn take_exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        (self.unread().len() >= count).then(|| self.take(count))
    }

    /// Discards up to `count` of the buffered bytes and returns how many: an unwanted literal costs no
    /// memory.
    pub fn skip(&mut self, count: usize) -> usize {
        let count = count.min(self.unread().len());
        self.advance(count);
        count
    }

    /// Returns all unused bytes, for the next stage.
    pub fn into_unread(mut self) -> Vec<u8> {
        self.bytes.split_off(self.start.min(self.bytes.len()))
    }

    /// Throws away everything not used yet (at a TLS boundary nothing may survive).
    pub fn clear(&mut self) {
        *self = Self { received: self.received, ended: self.ended, ..Self::default() };
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        if self.start == 0 && count == self.bytes.len() {
            let all = std::mem::take(&mut self.bytes);
            self.clear();
            return all;
        }
        let end = (self.start + count).min(self.bytes.len());
        let taken = self.bytes.get(self.start..end).unwrap_or_default().to_vec();
        self.advance(taken.len());
        taken
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        self.searched = self.searched.max(self.start);
        if self.start >= self.bytes.len() {
            // Free it: an idle session should hold nothing.
            self.clear();
        }
    }
}

/// What is in it may be a password.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("unread", &self.unread().len()).field("ended", &self.ended).finish()
    }
}

/// A line without its line end, CRLF or bare LF.
pub fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The same, and without the NULs and doubled CRs that firmware with lines of a fixed size leaves around it.
pub(crate) fn without_padding(line: &[u8]) -> &[u8] {
    stripped(line, |byte| byte == 0, |byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// The line without the bytes that are padding in front of it, and those that are behind it.
pub(crate) fn stripped(line: &[u8], in_front: impl Fn(u8) -> bool, behind: impl Fn(u8) -> bool) -> &[u8] {
    let start = line.iter().take_while(|byte| in_front(**byte)).count();
    let line = line.get(start..).unwrap_or_default();
    let end = line.iter().rev().take_while(|byte| behind(**byte)).count();
    line.get(..line.len() - end).unwrap_or_default()
}

/// Longest text of a peer that goes into a log or an error, in characters.
const PRINTABLE_LIMIT: usize = 400;

/// What a peer said, made fit for a log or an error: one line, no control characters, bounded.
pub fn printable(text: &[u8]) -> String {
    let text = without_end(text);
    // Most texts of servers are.
    if text.len() <= PRINTABLE_LIMIT && text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return String::from_utf8_lossy(text).into_owned();
    }
    let text = String::from_utf8_lossy(text);
    let mut clean: String = text.chars().take(PRINTABLE_LIMIT).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(PRINTABLE_LIMIT).is_some() {
        clean.push('…');
    }
    clean
}

/// Longest sentence of ours in a reply, in bytes: it leaves room for the reply's code within 512 (RFC 5321, 4.5.3.1.5).
pub const REPLY_TEXT_LIMIT: usize = 440;

/// Our own sentence made fit for a reply line: one line, printable ASCII, bounded (RFC 5321, 4.2; RFC 3501, 9, `text`).
pub fn reply_text(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ' '..='~' => c,
            '\u{2018}' | '\u{2019}' => '\'',
            '\u{201c}' | '\u{201d}' => '"',
            '\u{2013}' | '\u{2014}' => '-',
            c if c.is_control() => ' ',
            _ => '?',
        })
        .take(REPLY_TEXT_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_lines_however_they_arrive() {
        let mut buffer = Buffer::default();
        for byte in b"one\r\ntw" {
            buffer.receive(&[*byte]);
        }
        assert_eq!(buffer.take_line(10), Ok(Some(b"one\r\n".to_vec())));
        assert_eq!(buffer.take_line(10), Ok(None));
        buffer.receive(b"o\nrest");
        assert_eq!(buffer.take_line(10), Ok(Some(b"two\n".to_vec())));
        assert_eq!(buffer.into_unread(), b"rest");
    }

    #[test]
    fn a_line_that_never_ends_is_reported_at_its_bound() {
        let mut buffer = Buffer::default();
        buffer.receive(b"123456789");
        assert_eq!(buffer.take_line(10), Ok(None));
        buffer.receive(b"0");
        assert_eq!(buffer.take_line(10), Err(TooLong));
        let mut buffer = Buffer::default();
        buffer.receive(b"1234567890\n");
        assert_eq!(buffer.take_line(10), Err(TooLong));
        let mut buffer = Buffer::default();
        buffer.receive(b"123456789\n");
        assert_eq!(buffer.take_line(10), Ok(Some(b"123456789\n".to_vec())));
    }

    #[test]
    fn takes_exact_counts() {
        let mut buffer = Buffer::default();
        buffer.receive(b"abc");
        assert_eq!(buffer.take_exactly(4), None);
        buffer.receive(b"de\n");
        assert_eq!(buffer.take_exactly(4), Some(b"abcd".to_vec()));
        assert_eq!(buffer.take_line(10), Ok(Some(b"e\n".to_vec())));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_peer_that_always_leaves_half_a_line_does_not_make_it_grow() {
        let mut buffer = Buffer::default();
        buffer.receive(b"a");
        for _ in 0..1000 {
            buffer.receive(b"bc\na");
            assert_eq!(buffer.take_line(10), Ok(Some(b"abc\n".to_vec())));
            assert!(buffer.bytes.len() < 10, "{}", buffer.bytes.len());
        }
        assert_eq!(buffer.into_unread(), b"a");
    }

    #[test]
    fn unwanted_bytes_are_discarded() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.skip(3), 0);
        buffer.receive(b"abcdef\n");
        assert_eq!(buffer.take_line(7), Ok(Some(b"abcdef\n".to_vec())));
        buffer.receive(b"abcd\n");
        assert_eq!(buffer.skip(3), 3);
        assert_eq!(buffer.take_line(7), Ok(Some(b"d\n".to_vec())));
        buffer.receive(b"xy");
        assert_eq!(buffer.skip(9), 2);
        assert!(buffer.is_empty());
    }

    #[test]
    fn prints_nothing_of_its_bytes() {
        let mut buffer = Buffer::default();
        buffer.receive(b"hunter2");
        assert_eq!(format!("{buffer:?}"), "Buffer { unread: 7, ended: false }");
    }

    #[test]
    fn what_a_peer_said_is_printed_on_one_bounded_line() {
        assert_eq!(printable(b"a\x1b[31m\tb\xff\r\n"), "a?[31m?b\u{fffd}");
        assert_eq!(printable(&[b'x'; 5000]).chars().count(), PRINTABLE_LIMIT + 1);
        assert_eq!(reply_text("a\r\nb\u{2014}\u{e9}"), "a  b-?");
    }
}
