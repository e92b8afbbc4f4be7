//! The text of a message, behind DATA, as it goes by (RFC 5321, 2.3.8, 4.1.1.4, 4.5.2).
//!
//! What comes in has lines that end in CRLF or, from old software, in a bare LF. A dot at the beginning of a line is there to
//! be taken away only where the line before ended in CRLF: software that ends its lines in LF does not know of such dots. What
//! goes out has CRLF after every line, and a dot before every line of the message that begins with one.

/// What a client may say behind what it believes to be the end of its message.
const QUIT: &[u8] = b"QUIT";

/// So many bytes go on together at most.
const BLOCK: usize = SMALL_PIECE * GROWTH * GROWTH;

/// How many bytes are examined together at first, so that text with a special byte in every line is not examined again and again.
const SMALL_PIECE: usize = 64;

/// By how much the next piece is larger if one is plain, and smaller if it is not.
const GROWTH: usize = 8;

/// How many bytes are examined together for lines that end in a bare LF.
const PIECE: usize = 512;

/// The text of one message.
#[derive(Debug, Default)]
pub(super) struct Text {
    at: At,
    octets: u64,
    lone_dots: u64,
    /// Behind a lone dot, how much of a QUIT has come; what else comes is more of the message.
    behind_lone_dot: Option<usize>,
    discarding: bool,
}

/// Where in a line the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// At the beginning of a line, after a line that ended in CRLF. The first line of a message begins here too.
    #[default]
    Begin,
    /// Behind a dot there, which is held back.
    Dot,
    /// Behind a dot and a CR there, both held back.
    DotCr,
    /// At its beginning, the line before having ended in a bare LF.
    BeginBehindLf,
    /// Behind a dot there.
    DotBehindLf,
    /// Further on.
    Within,
    /// Behind a CR, which is held back.
    Cr,
}

/// How far the text has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// All bytes were used, and more are to come.
    More,
    /// The end of the text was seen; bytes behind it were not used.
    End,
    /// It cannot go on because of the next byte.
    Flawed(Flaw),
}

/// Bytes that the text of a message must not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    BareCr,
    Nul,
}

impl Text {
    /// Takes bytes, adds to `out` what goes on for them (the final dot included), and says how many it has used.
    pub(super) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Progress) {
        let mut used = 0;
        if !self.discarding {
            out.reserve(bytes.len());
        }
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            // Within a line only at first, so that lines that end in a bare LF do not cost a look more.
            if self.at == At::Begin || used == 0 {
                let plain = self.pass_plain(rest, out);
                if plain > 0 {
                    used += plain;
                    continue;
                }
            }
            let bare = self.pass_bare_lines(rest, out);
            if bare > 0 {
                used += bare;
                continue;
            }
            match self.step(rest, out) {
                Ok(count) => used += count,
                Err(Progress::End) => return (used + 1, Progress::End),
                Err(progress) => return (used, progress),
            }
        }
        (used, Progress::More)
    }

    /// Takes bytes up to where not all goes on as it is, adds them to `out`, and says how many they are. The end of the text is
    /// never among them.
    fn pass_plain(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let mut used = 0;
        while self.may_be_plain()
            && let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty())
        {
            let plain = plain_lines(rest.get(..BLOCK).unwrap_or(rest), self.at == At::Begin);
            let Some(&last) = plain.last() else { break };
            self.put(plain, plain.len(), out);
            self.at = if last == b'\n' { At::Begin } else { At::Within };
            used += plain.len();
        }
        used
    }

    /// Passes whole lines that end in a bare LF and do not begin with a dot to `out`. Returns how many bytes they are.
    fn pass_bare_lines(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let at_begin = self.at == At::BeginBehindLf;
        let may_be = at_begin || self.at == At::Within;
        if !may_be || self.discarding || self.behind_lone_dot.is_some() || (at_begin && bytes.first() == Some(&b'.')) {
            return 0;
        }
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        let piece = piece.get(..memchr::memchr2(b'\r', 0, piece).unwrap_or(piece.len())).unwrap_or_default();
        let mut used = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            let line = piece.get(used..end).unwrap_or_default();
            if line.first() == Some(&b'.') && (at_begin || used > 0) {
                break;
            }
            self.put(line, line.len(), out);
            self.put(b"\r\n", 2, out);
            self.at = At::BeginBehindLf;
            used = end + 1;
        }
        used
    }

    /// From now on it is only read to its end. It may have any flaw then.
    pub(super) fn discard(&mut self) {
        self.discarding = true;
    }

    /// Its size so far, without what makes dots transparent.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Whether it had a line with nothing but a dot that was not its end.
    pub(super) fn had_a_lone_dot(&self) -> bool {
        self.lone_dots > 0
    }

    /// How many of them.
    pub(super) fn lone_dots(&self) -> u64 {
        self.lone_dots
    }

    /// Whether nothing of a message has followed the last of them, but at most a QUIT: to its client it may have been the end.
    pub(super) fn is_behind_a_lone_dot(&self) -> bool {
        self.behind_lone_dot.is_some_and(|quit| quit == 0 || quit == QUIT.len())
    }

    fn lone_dot(&mut self) {
        self.lone_dots = self.lone_dots.saturating_add(1);
        self.behind_lone_dot = Some(0);
    }

    /// Sees what follows a lone dot: line ends and a QUIT are no more of the message.
    fn look_behind_lone_dot(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let Some(quit) = self.behind_lone_dot else { return };
            self.behind_lone_dot = match QUIT.get(quit) {
                Some(expected) if byte.eq_ignore_ascii_case(expected) => Some(quit + 1),
                _ if matches!(byte, b'\r' | b'\n') && (quit == 0 || quit == QUIT.len()) => Some(quit),
                _ => None,
            };
        }
    }

    /// Whether lines can go on by the block: nothing is held back, and what has come says nothing of a lone dot. Of a discarded text
    /// nothing goes on: a sender who puts a NUL into each block would have each of its lines looked at again.
    fn may_be_plain(&self) -> bool {
        !self.discarding && matches!(self.at, At::Begin | At::Within) && self.behind_lone_dot.is_none()
    }

    /// Uses one byte, several where they are all alike, or none where the place has changed.
    fn step(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<usize, Progress> {
        let Some(&byte) = rest.first() else { return Ok(0) };
        match (self.at, byte) {
            (At::DotCr, b'\n') => {
                self.put(b".\r\n", 0, out);
                return Err(Progress::End);
            }
            (At::Cr, b'\n') => {
                self.put(b"\r\n", 2, out);
                self.at = At::Begin;
            }
            (At::DotCr | At::Cr, _) => {
                self.flaw(Flaw::BareCr)?;
                return Ok(0);
            }
            (_, 0) => {
                self.flaw(Flaw::Nul)?;
                return Ok(1);
            }
            (At::Begin, b'.') => self.at = At::Dot,
            (At::Dot, b'\r') => self.at = At::DotCr,
            (At::Dot, b'\n') => {
                // The dot is one to be taken away, and the line behind it is empty. It must not go on as it is: with the
                // LF made a CRLF it would be the end.
                self.put(b"\r\n", 2, out);
                self.at = At::BeginBehindLf;
                self.lone_dot();
                return Ok(1);
            }
            (At::Dot, _) => {
                self.put(b".", 0, out);
                self.at = At::Within;
                return Ok(0);
            }
            (At::BeginBehindLf, b'.') => {
                self.put(b"..", 1, out);
                self.at = At::DotBehindLf;
            }
            (At::DotBehindLf, b'\r') => {
                self.at = At::Cr;
                self.lone_dot();
                return Ok(1);
            }
            (At::DotBehindLf, b'\n') => {
                self.put(b"\r\n", 2, out);
                self.at = At::BeginBehindLf;
                self.lone_dot();
                return Ok(1);
            }
            (_, b'\r') => self.at = At::Cr,
            (_, b'\n') => {
                self.put(b"\r\n", 2, out);
                self.at = At::BeginBehindLf;
            }
            (At::Begin | At::BeginBehindLf | At::DotBehindLf | At::Within, _) => {
                let end = memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                let plain = rest.get(..end).unwrap_or_default();
                self.put(plain, plain.len(), out);
                self.at = At::Within;
                self.look_behind_lone_dot(plain);
                return Ok(plain.len());
            }
        }
        self.look_behind_lone_dot(&[byte]);
        Ok(1)
    }

    fn put(&mut self, bytes: &[u8], octets: usize, out: &mut Vec<u8>) {
        if !self.discarding {
            out.extend_from_slice(bytes);
            self.octets = self.octets.saturating_add(octets as u64);
        }
    }

    /// A text that is forgotten anyway may have it.
    fn flaw(&mut self, flaw: Flaw) -> Result<(), Progress> {
        if !self.discarding {
            return Err(Progress::Flawed(flaw));
        }
        self.at = At::Within;
        Ok(())
    }
}

/// The bytes at the beginning of these that go on as they are: lines that end in CRLF, begin with no dot and have no NUL, and what
/// has come of the last one, without a CR of which it is not known what follows.
fn plain_lines(block: &[u8], at_begin: bool) -> &[u8] {
    match block.first() {
        // Single steps know more of these.
        None | Some(b'\r' | b'\n' | 0) => return &[],
        Some(b'.') if at_begin => return &[],
        Some(_) => {}
    }
    // Each piece begins with the last byte of the one before. One that is not plain is not examined again as a whole.
    let (mut end, mut size, mut largest) = (1, SMALL_PIECE, BLOCK);
    while let Some(rest) = block.get(end - 1..).filter(|rest| rest.len() > 1) {
        let piece = rest.get(..=size).unwrap_or(rest);
        if is_plain(piece) {
            end += piece.len() - 1;
            size = (size * GROWTH).min(largest);
        } else if size > SMALL_PIECE {
            largest = size / GROWTH;
            size = largest;
        } else {
            end += piece.windows(2).position(|pair| !all_plain(pair)).unwrap_or_default();
            break;
        }
    }
    let plain = block.get(..end).unwrap_or_default();
    plain.strip_suffix(b"\r").unwrap_or(plain)
}

/// [`all_plain`], 32 bytes at a time where the processor can. Every x86-64 processor can do 16, every ARM64 one what is best for it.
#[multiversion::multiversion(targets("x86_64+avx2"))]
fn is_plain(piece: &[u8]) -> bool {
    all_plain(piece)
}

/// Whether the bytes after the first one contain no NUL, no dot at the start of a line, and CR and LF only as pairs. Every byte is
/// examined in the same way and the loop has no early exit, so that the compiler can vectorize it.
#[inline(always)]
fn all_plain(piece: &[u8]) -> bool {
    let Some((_, behind)) = piece.split_first() else { return true };
    let (mut lone, mut least) = (0_u8, u8::MAX);
    for (&before, &byte) in piece.iter().zip(behind) {
        lone |= u8::from(before == b'\r') ^ u8::from(byte == b'\n');
        // Zero if a dot follows an LF.
        let dot = (before ^ b'\n') | (byte ^ b'.');
        least = least.min(dot).min(byte);
    }
    lone == 0 && least != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte, as it was before there were blocks: the model that they are held to.
    fn by_steps(bytes: &[u8], discarding: bool) -> (Vec<u8>, usize, Progress, Text) {
        let (mut text, mut out, mut used) = (Text { discarding, ..Text::default() }, Vec::new(), 0);
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            match text.step(rest, &mut out) {
                Ok(count) => used += count,
                Err(Progress::End) => return (out, used + 1, Progress::End, text),
                Err(progress) => return (out, used, progress, text),
            }
        }
        (out, used, Progress::More, text)
    }

    fn by_blocks(bytes: &[u8], discarding: bool, piece: usize) -> (Vec<u8>, usize, Progress, Text) {
        let (mut text, mut out, mut all) = (Text { discarding, ..Text::default() }, Vec::new(), 0);
        for piece in bytes.chunks(piece) {
            let (used, progress) = text.pass(piece, &mut out);
            all += used;
            if progress != Progress::More {
                return (out, all, progress, text);
            }
        }
        (out, all, Progress::More, text)
    }

    #[test]
    fn blocks_give_what_single_steps_give_however_the_text_is_cut() {
        // Mostly plain lines, of CRLF or of a bare LF, and every so often one of the bytes that matter.
        let matters: [&[u8]; 10] =
            [b"\r\n", b"\n", b"\r", b".", b"\0", b"\r\n.", b"\n.\r\n", b"\r\n.\r\n", b"QUIT\r\n", b"\n."];
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).unwrap() % below
        };
        for round in 0..300 {
            let rare = [0, 1, 30, 300][round % 4];
            let line_end: &[u8] = if round % 8 < 4 { b"\r\n" } else { b"\n" };
            // Those that end the text at its beginning leave nothing to compare.
            let matters = if rare < 30 && round % 3 > 0 { &matters[..2] } else { &matters[..] };
            let mut bytes = Vec::new();
            while bytes.len() < BLOCK + 200 {
                bytes.extend_from_slice(
                    &b"abcdefghijklmnopqrstuvwxyz.abcdefghijklmnopqrstuvwxyz0123456789abcdefghi"[..next(70)],
                );
                bytes.extend_from_slice(if next(rare + 1) == 0 { matters[next(matters.len())] } else { line_end });
            }
            for discarding in [false, true] {
                let (out, used, progress, model) = by_steps(&bytes, discarding);
                for piece in [1, 7, 100, BLOCK, usize::MAX] {
                    let (seen, seen_used, seen_progress, text) = by_blocks(&bytes, discarding, piece);
                    assert_eq!((seen_used, seen_progress), (used, progress), "{round} {piece}");
                    assert!(seen == out, "{round} {piece}: {}", bytes.escape_ascii());
                    // Alike in everything that what comes next depends on.
                    assert_eq!(format!("{text:?}"), format!("{model:?}"), "{round} {piece}");
                }
            }
        }
    }

    /// What goes on for a text that comes in pieces of this size, and how far it came.
    fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, Progress, u64) {
        let (mut text, mut out) = (Text::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            match text.pass(piece, &mut out) {
                (used, Progress::More) => assert_eq!(used, piece.len()),
                (_, progress) => return (out, progress, text.octets()),
            }
        }
        (out, Progress::More, text.octets())
    }

    #[test]
    fn what_goes_on_has_crlf_and_doubled_dots() {
        let table: &[(&str, &str, u64)] = &[
            ("", "", 0),
            ("a\r\nb\r\n", "a\r\nb\r\n", 6),
            ("a\nb\n", "a\r\nb\r\n", 6),
            ("\r\n\n\r\n", "\r\n\r\n\r\n", 6),
            // Behind CRLF a dot makes the line transparent, doubled or not.
            ("..a\r\n", "..a\r\n", 4),
            (".a\r\n", ".a\r\n", 3),
            ("...\r\n", "...\r\n", 4),
            // Behind LF it is a dot of the message.
            ("a\n.b\r\n", "a\r\n..b\r\n", 7),
            ("a\n..b\n", "a\r\n...b\r\n", 8),
            ("a\n.\nb\n", "a\r\n..\r\nb\r\n", 9),
            ("a\n.\r\nb\n", "a\r\n..\r\nb\r\n", 9),
            ("a\r\n.\nb\r\n", "a\r\n\r\nb\r\n", 8),
            (".\n.\r\n", "\r\n..\r\n", 5),
        ];
        for (text, expected, octets) in table {
            for piece in [1, 2, 3, usize::MAX] {
                let (out, progress, counted) = passed(text.as_bytes(), piece);
                assert_eq!(String::from_utf8(out).unwrap(), *expected, "{text:?}");
                assert_eq!((progress, counted), (Progress::More, *octets), "{text:?}");
            }
        }
    }

    #[test]
    fn only_crlf_dot_crlf_ends_it() {
        for (text, expected) in [(".\r\n", ".\r\n"), ("a\r\n.\r\n", "a\r\n.\r\n"), ("a\n\r\n.\r\n", "a\r\n\r\n.\r\n")] {
            for behind in ["", "QUIT\r\n"] {
                let mut out = Vec::new();
                let (used, progress) = Text::default().pass(format!("{text}{behind}").as_bytes(), &mut out);
                assert_eq!(
                    (used, progress, out.as_slice()),
                    (text.len(), Progress::End, expected.as_bytes()),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn bare_cr_and_nul_end_it_before_they_go_on() {
        use Flaw::{BareCr, Nul};
        for (text, flaw) in [
            ("a\rb", BareCr),
            ("a\r\rb", BareCr),
            ("a\r\r\n", BareCr),
            ("\r.\r", BareCr),
            (".\r.", BareCr),
            (".\r\0", BareCr),
            ("a\0b", Nul),
            (".\0\r\n", Nul),
            ("\n.\0", Nul),
        ] {
            for piece in [1, 2, usize::MAX] {
                let (out, progress, _) = passed(text.as_bytes(), piece);
                assert_eq!(progress, Progress::Flawed(flaw), "{text:?}");
                assert!(!out.contains(&0) && !out.contains(&b'\r') || out == b"\r\n..", "{text:?}: {out:?}");
            }
        }
    }

    #[test]
    fn what_is_discarded_has_the_same_end() {
        let (mut text, mut out) = (Text::default(), Vec::new());
        assert_eq!(text.pass(b"a\rb", &mut out), (2, Progress::Flawed(Flaw::BareCr)));
        text.discard();
        assert!(!text.may_be_plain(), "nothing goes on, so no block is worth a look");
        out.clear();
        assert_eq!(text.pass(b"b\0\r.\r\r\n.\n.\r\n\r\n.\r\nQUIT", &mut out), (17, Progress::End));
        assert!(out.is_empty());
    }
}
