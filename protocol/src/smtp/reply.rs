//! A server's reply, collected from its lines (RFC 5321, 4.2).

use crate::line::{Buffer, TooLong, without_end};

/// Longest reply line taken, its line end included. RFC 5321, 4.5.3.1.5 allows 512; Exchange's explanations and the error
/// challenges of others are longer.
const LINE_LIMIT: usize = 4096;

/// Most lines of one reply.
const LINES_LIMIT: usize = 128;

/// Most bytes of one reply, so that lines and their number cannot both be stretched.
const REPLY_LIMIT: usize = 64 * 1024;

/// A reply, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// The text after the code, one entry per line; at least one.
    pub(super) lines: Vec<Vec<u8>>,
}

impl Reply {
    /// Its class, the first digit of the code.
    pub(super) fn class(&self) -> u16 {
        self.code / 100
    }

    /// The reply as it is relayed to a client.
    pub(super) fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        self.write_to(&mut wire);
        wire
    }

    /// Appends it to the bytes for a client.
    pub(super) fn write_to(&self, wire: &mut Vec<u8>) {
        let code = self.digits();
        let around = code.len() + "-\r\n".len();
        wire.reserve(self.lines.iter().map(|text| text.len() + around).sum());
        for (at, text) in self.lines.iter().enumerate() {
            let separator = if at + 1 == self.lines.len() { b' ' } else { b'-' };
            wire.extend_from_slice(&code);
            wire.push(separator);
            wire.extend_from_slice(text);
            wire.extend_from_slice(b"\r\n");
        }
    }

    /// Its code as it is written; it has three digits.
    fn digits(&self) -> [u8; 3] {
        [self.code / 100, self.code / 10, self.code].map(|number| {
            let [digit, _] = (number % 10).to_le_bytes();
            b'0' + digit
        })
    }

    /// All of it on one line: the code once, the texts joined by ` / `.
    pub(super) fn joined(&self) -> Vec<u8> {
        let mut joined = [&self.digits()[..], b" ", &self.lines.join(&b" / "[..])].concat();
        joined.truncate(joined.trim_ascii_end().len());
        joined
    }
}

/// Collects the lines of one reply after the other.
#[derive(Debug, Default)]
pub(super) struct Collector {
    code: u16,
    lines: Vec<Vec<u8>>,
}

impl Collector {
    /// The next reply, once it is complete.
    ///
    /// # Errors
    /// The line is not a reply or exceeds a bound; the text says which.
    pub(super) fn take(&mut self, input: &mut Buffer) -> Result<Option<Reply>, String> {
        while let Some(line) = input.take_line(LINE_LIMIT).map_err(too_long)? {
            let (code, is_last, text) = parse(without_end(&line)).ok_or("a line is no SMTP reply")?;
            if !self.lines.is_empty() && self.code != code {
                return Err(format!("a reply has two codes, {} and {code}", self.code));
            }
            if self.lines.len() == LINES_LIMIT {
                return Err(format!("a reply has more than {LINES_LIMIT} lines"));
            }
            if self.lines.iter().map(Vec::len).sum::<usize>() + text.len() > REPLY_LIMIT {
                return Err(format!("a reply has more than {REPLY_LIMIT} bytes"));
            }
            self.code = code;
            self.lines.push(text.to_vec());
            if is_last {
                return Ok(Some(Reply { code, lines: std::mem::take(&mut self.lines) }));
            }
        }
        Ok(None)
    }
}

fn too_long(TooLong: TooLong) -> String {
    format!("a reply line has more than {LINE_LIMIT} bytes")
}

/// Code, whether it is the last line, text. A bare code is a last line (RFC 5321, 4.2 asks clients to take it).
fn parse(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    let [class @ b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] = code else { return None };
    let digits = code.iter().skip(1).fold(u16::from(class - b'0'), |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Some((digits, true, rest)),
        Some((b' ', text)) => Some((digits, true, text)),
        Some((b'-', text)) => Some((digits, false, text)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(bytes: &[u8]) -> Result<Option<Reply>, String> {
        let mut input = Buffer::default();
        input.receive(bytes);
        Collector::default().take(&mut input)
    }

    #[test]
    fn collects_the_lines_of_a_reply() {
        let reply = collect(b"250-mail.example\r\n250-SIZE 1000\n250 DSN\r\n").unwrap().unwrap();
        assert_eq!(reply, Reply { code: 250, lines: ["mail.example", "SIZE 1000", "DSN"].map(Vec::from).into() });
        assert_eq!(reply.joined(), b"250 mail.example / SIZE 1000 / DSN");
        assert_eq!(reply.wire(), b"250-mail.example\r\n250-SIZE 1000\r\n250 DSN\r\n");
        assert_eq!(collect(b"334\r\n").unwrap().unwrap().joined(), b"334");
        assert_eq!(collect(b"334 \r\n").unwrap().unwrap().lines, vec![b"".to_vec()]);
        assert_eq!(collect(b"250-mail.example\r\n250 D"), Ok(None));
    }

    #[test]
    fn codes_go_on_as_they_came() {
        for code in 200..600 {
            let line = format!("{code} text\r\n");
            assert_eq!(collect(line.as_bytes()).unwrap().unwrap().wire(), line.as_bytes());
        }
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for line in ["\r\n", "25\r\n", "2500 x\r\n", "25a x\r\n", "150 x\r\n", "650 x\r\n", "+OK\r\n", "250_x\r\n"] {
            assert!(collect(line.as_bytes()).is_err(), "{line}");
        }
        assert!(collect(b"250-a\r\n251 b\r\n").is_err());
    }

    #[test]
    fn bounds_lines_and_their_number() {
        assert!(collect(&[b'2'; LINE_LIMIT]).is_err());
        let within = [b"250-x\r\n".repeat(LINES_LIMIT - 1), b"250 x\r\n".to_vec()].concat();
        assert!(collect(&within).unwrap().is_some());
        assert!(collect(&b"250-x\r\n".repeat(LINES_LIMIT + 1)).is_err());
        let long = [b"250-".to_vec(), vec![b'x'; 4000], b"\r\n".to_vec()].concat();
        assert!(collect(&long.repeat(REPLY_LIMIT / 4000 + 1)).is_err());
    }
}
