//! Lines as they pass: of each the beginning and the end, in constant memory, and literals counted off.

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

/// What comes next in a stream.
pub(super) enum Next<'a> {
    /// A line that is whole now.
    Line(Line<'a>),
    /// Some bytes of a literal.
    Literal(&'a [u8]),
}

/// One direction of a session.
#[derive(Default)]
pub(super) struct Lines {
    /// The line that is not whole yet; without memory when there is none.
    head: Vec<u8>,
    tail: Vec<u8>,
    begun: bool,
    /// Bytes of a literal that are still to come.
    literal: u64,
}

impl Lines {
    /// The next `size` bytes are a literal.
    pub(super) fn skip(&mut self, size: u64) {
        self.literal = size;
    }

    /// The memory it has taken.
    pub(super) fn held(&self) -> usize {
        self.head.capacity() + self.tail.capacity()
    }

    /// Goes on to the next line or piece of a literal, and takes it off `bytes`. `None`: there is no whole line left.
    pub(super) fn next<T>(&mut self, bytes: &mut &[u8], see: impl FnOnce(Next<'_>) -> T) -> Option<T> {
        if bytes.is_empty() {
            return None;
        }
        if self.literal > 0 {
            let count = usize::try_from(self.literal).map_or(bytes.len(), |missing| missing.min(bytes.len()));
            let (piece, rest) = bytes.split_at(count);
            *bytes = rest;
            self.literal -= count as u64;
            return Some(see(Next::Literal(piece)));
        }
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.keep(bytes);
            *bytes = &[];
            return None;
        };
        let (line, rest) = bytes.split_at(end + 1);
        *bytes = rest;
        if !self.begun {
            return Some(see(Next::Line(Line::of(line))));
        }
        self.keep(line);
        let (head, tail) = (std::mem::take(&mut self.head), std::mem::take(&mut self.tail));
        self.begun = false;
        // A short line is whole in both; of a long one the beginning has no end.
        let head = if head.len() < HEAD { without_end(&head) } else { &head };
        Some(see(Next::Line(Line { head, tail: without_end(&tail) })))
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.begun = true;
        let room = HEAD - self.head.len().min(HEAD);
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.tail.extend_from_slice(last(bytes));
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }
}

impl<'a> Line<'a> {
    fn of(line: &'a [u8]) -> Self {
        let head = if line.len() < HEAD { without_end(line) } else { line.get(..HEAD).unwrap_or(line) };
        Self { head, tail: without_end(last(line)) }
    }
}

fn last(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and literals as they are seen when the bytes come in pieces of this size.
    fn seen(bytes: &[u8], cut: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut lines, mut seen) = (Lines::default(), Vec::<(Vec<u8>, Vec<u8>)>::new());
        for mut piece in bytes.chunks(cut) {
            loop {
                let literal = lines.literal > 0;
                let next = lines.next(&mut piece, |next| match next {
                    Next::Line(line) => (line.head.to_vec(), line.tail.to_vec()),
                    Next::Literal(piece) => (b"literal".to_vec(), piece.to_vec()),
                });
                match next {
                    None => break,
                    Some((_, piece)) if literal && seen.last().is_some_and(|(head, _)| head == b"literal") => {
                        seen.last_mut().unwrap().1.extend(piece);
                    }
                    Some(one) => {
                        if one.1.ends_with(b"{5}") {
                            lines.skip(5);
                        }
                        seen.push(one);
                    }
                }
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
        let mut lines = Lines::default();
        for _ in 0..1000 {
            let mut piece = [b'x'; 5000].as_slice();
            assert!(lines.next(&mut piece, |_| ()).is_none());
        }
        assert!(lines.head.capacity() <= 2 * HEAD && lines.tail.capacity() <= 4 * TAIL);
        assert!(lines.next(&mut b"\n".as_slice(), |_| ()).is_some());
        assert_eq!((lines.head.capacity(), lines.tail.capacity()), (0, 0), "an idle session holds nothing");
    }
}
