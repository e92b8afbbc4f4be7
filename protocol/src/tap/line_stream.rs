//! Lines as they pass: of each the beginning and the end, in constant memory, and literals counted off.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::line::without_end;

/// So much of a line's beginning is kept: more than a `STATUS` with a long folder name has.
pub(super) const HEAD: usize = 1024;

/// So much of its end: enough for `BINARY[1.2.3]<0> ~{18446744073709551615}`.
pub(super) const TAIL: usize = 64;

/// A whole line, as much of it as is kept, without its end.
pub(super) struct Line<'a> {
    /// Its beginning.
    pub(super) head: &'a [u8],
    /// Its end, which is its beginning too if it is short.
    pub(super) tail: &'a [u8],
}

/// The same, before its end is taken off: lent if the line came in one piece.
pub(super) struct Whole<'a> {
    head: Cow<'a, [u8]>,
    tail: Cow<'a, [u8]>,
}

/// What comes next in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// This many bytes of a literal.
    Literal(usize),
    /// So many bytes of a line, up to its end or not.
    Line { length: usize, is_whole: bool },
}

/// One direction of a session.
#[derive(Default)]
pub(super) struct LineStream {
    /// The incomplete line; it holds no memory when empty.
    head: Vec<u8>,
    /// It may be that of a password.
    tail: Zeroizing<Vec<u8>>,
    begun: bool,
    /// Bytes of a literal that are still to come.
    literal: u64,
}

impl LineStream {
    /// The next `size` bytes are a literal.
    pub(super) fn skip(&mut self, size: u64) {
        self.literal = size;
    }

    /// The memory it has taken.
    pub(super) fn held(&self) -> usize {
        self.head.capacity() + self.tail.capacity()
    }

    /// Whether the next byte begins a line, and none of a literal is missing.
    pub(super) fn is_between(&self) -> bool {
        !self.begun && self.literal == 0
    }

    /// How the line begins that is not whole yet: all of it, while it is shorter than [`HEAD`].
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// What these bytes begin with.
    pub(super) fn piece(&self, bytes: &[u8]) -> Piece {
        if self.literal > 0 {
            return Piece::Literal(
                usize::try_from(self.literal).map_or(bytes.len(), |missing| missing.min(bytes.len())),
            );
        }
        match memchr::memchr(b'\n', bytes) {
            Some(end) => Piece::Line { length: end + 1, is_whole: true },
            None => Piece::Line { length: bytes.len(), is_whole: false },
        }
    }

    /// So many bytes of the literal have come.
    pub(super) fn take_literal(&mut self, count: usize) {
        self.literal = self.literal.saturating_sub(count as u64);
    }

    /// Takes a piece of a line. Gives back the line once it is whole.
    pub(super) fn take<'a>(&mut self, piece: &'a [u8], is_whole: bool) -> Option<Whole<'a>> {
        if is_whole && !self.begun {
            let head = piece.get(..HEAD).unwrap_or(piece);
            return Some(Whole { head: Cow::Borrowed(head), tail: Cow::Borrowed(last(piece)) });
        }
        self.keep(piece);
        is_whole.then(|| {
            self.begun = false;
            let (head, tail) = (std::mem::take(&mut self.head), std::mem::take(&mut *self.tail));
            Whole { head: Cow::Owned(head), tail: Cow::Owned(tail) }
        })
    }

    /// Takes a piece of a line that may have a password in it, of which only the end is kept. Gives back, once the line is whole,
    /// what `see` sees in its end.
    pub(super) fn take_secret<T>(&mut self, piece: &[u8], is_whole: bool, see: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.begun = true;
        self.head = Vec::new();
        self.keep_tail(piece);
        is_whole.then(|| {
            self.begun = false;
            see(without_end(&std::mem::take(&mut self.tail)))
        })
    }

    /// Forgets the line that is not whole yet.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.begun = true;
        let room = HEAD - self.head.len().min(HEAD);
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.keep_tail(bytes);
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        // It never grows, which would leave a copy of it behind.
        let kept = self.tail.len();
        self.tail.reserve_exact((2 * TAIL).saturating_sub(kept));
        self.tail.extend_from_slice(last(bytes));
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }
}

impl Whole<'_> {
    pub(super) fn line(&self) -> Line<'_> {
        // A short line is whole in both; of a long one the beginning has no end.
        let head = if self.head.len() < HEAD { without_end(&self.head) } else { &self.head };
        Line { head, tail: without_end(&self.tail) }
    }
}

fn last(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line as it was seen, or piece of a literal, which `{5}` at the end of a line begins.
    fn seen(bytes: &[u8], cut: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut lines, mut seen) = (LineStream::default(), Vec::<(Vec<u8>, Vec<u8>)>::new());
        for mut piece in bytes.chunks(cut) {
            while !piece.is_empty() {
                let length = match lines.piece(piece) {
                    Piece::Literal(length) => {
                        lines.take_literal(length);
                        let bytes = piece[..length].to_vec();
                        match seen.last_mut() {
                            Some((name, literal)) if name == b"literal" => literal.extend(bytes),
                            _ => seen.push((b"literal".to_vec(), bytes)),
                        }
                        length
                    }
                    Piece::Line { length, is_whole } => {
                        if let Some(whole) = lines.take(&piece[..length], is_whole) {
                            let line = whole.line();
                            if line.tail.ends_with(b"{5}") {
                                lines.skip(5);
                            }
                            seen.push((line.head.to_vec(), line.tail.to_vec()));
                        }
                        length
                    }
                };
                piece = &piece[length..];
            }
        }
        seen
    }

    #[test]
    fn lines_and_literals_are_the_same_however_they_are_cut() {
        let long = format!("{}end {{5}}\r\n", "x".repeat(3 * HEAD));
        let exact = format!("{}\r\n", "y".repeat(HEAD - 2));
        let bytes =
            [b"a b\r\n\n{5}\r\n\n\n\n\n\nc\r\n", long.as_bytes(), b"12345)\r\n", exact.as_bytes(), b"rest"].concat();
        let whole = seen(&bytes, bytes.len());
        let tails: Vec<&[u8]> = whole.iter().map(|(_, tail)| tail.as_slice()).collect();
        assert_eq!(tails.len(), 9);
        assert_eq!(&tails[..5], [b"a b".as_slice(), b"", b"{5}", b"\n\n\n\n\n", b"c"]);
        assert!(tails[5].ends_with(b"xxend {5}") && tails[5].len() <= TAIL && whole[5].0.len() == HEAD);
        assert_eq!(&tails[6..8], [b"12345".as_slice(), b")"]);
        assert_eq!(whole[8].0.len(), HEAD);
        for cut in [1, 2, 7, 64, 1000] {
            assert_eq!(seen(&bytes, cut), whole, "{cut}");
        }
    }

    #[test]
    fn a_line_without_end_costs_its_bounds() {
        let mut lines = LineStream::default();
        for _ in 0..1000 {
            assert!(lines.take(&[b'x'; 5000], false).is_none());
        }
        assert!(lines.head.capacity() <= 2 * HEAD && lines.tail.capacity() <= 4 * TAIL);
        assert_eq!(lines.held(), lines.head.capacity() + lines.tail.capacity());
        assert!(!lines.is_between() && lines.take(b"\n", true).is_some());
        assert!(lines.is_between());
        assert_eq!((lines.head.capacity(), lines.tail.capacity()), (0, 0), "an idle session holds nothing");
        assert_eq!(lines.held(), 0);
    }
}
