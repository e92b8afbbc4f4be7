//! A message that is hard to carry, and the comparison of what came out with what went in.

use std::sync::atomic::{AtomicU32, Ordering};

/// RFC 5322 section 2.1.1 allows 998 octets; devices write more. Python's poplib takes 2048 with the line's end.
const LONG_LINE: usize = 2_000;
/// More than any buffer on the way.
const PADDING_LINES: usize = 2_000;

/// They occur in every hard message, often.
pub const SOME_WORDS: &str = "The quick brown fox jumps over the lazy dog.";

/// Text with dots at the beginnings of lines, 8-bit octets that are no UTF-8, long lines, and an end in the middle of one.
pub fn hard() -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut message = format!(
        "X-Begin: hard {number}\r\n\
         From: Alice <alice@contoso.com>\r\n\
         To: alice@contoso.com\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <hard-{number}-{}@contoso.com>\r\n\
         Subject: Hard to carry,\r\n and folded\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=iso-8859-1\r\n\
         Content-Transfer-Encoding: 8bit\r\n\
         \r\n\
         .one dot\r\n..two dots\r\n.\r\n..\r\n\
         From the beginning of a line\r\n\
         \r\n\r\n\
         A001 OK LOGIN completed.\r\n+OK\r\n250 OK\r\n* BYE\r\n)\r\n{{4}}\r\n\
         trailing blanks  \t\r\n",
        std::process::id()
    )
    .into_bytes();
    message.extend((0x80_u8..=0xff).chain(*b"\r\n"));
    message.extend(std::iter::repeat_n(b'.', LONG_LINE).chain(*b"\r\n"));
    for line in 0..PADDING_LINES {
        message.extend(format!("{line:>8} {SOME_WORDS}\r\n").bytes());
    }
    message.extend(b"no end of line");
    message
}

/// A hard message, and then lines of an attachment up to 35 MB, of which some begin with dots.
pub fn large() -> Vec<u8> {
    const SIZE: usize = 35_000_000;
    let mut message = hard();
    message.extend(b"\r\n");
    let mut line = 0_u32;
    while message.len() < SIZE - 100 {
        message.extend(format!("{}{line:0>75}\r\n", if line.is_multiple_of(7) { "." } else { "" }).bytes());
        line += 1;
    }
    message
}

/// The number of a hard message; they are sent in this order.
pub fn number(message: &[u8]) -> u32 {
    let begin = b"X-Begin: hard ";
    let at = message.windows(begin.len()).position(|part| part == begin).expect("a hard message");
    let digits = message[at + begin.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// Checks that what came out is what went in: byte for byte, but for the end of the last line, which SMTP adds, and for
/// the trace that a server puts in front (RFC 5321 section 4.4).
#[track_caller]
pub fn assert_same(came: &[u8], went: &[u8]) {
    let begin = b"X-Begin:";
    let at = came.windows(begin.len()).position(|part| part == begin);
    let at = at.unwrap_or_else(|| panic!("the message is not in it:\n{}", start_of(came)));
    let (trace, came) = came.split_at(at);
    let is_trace =
        |line: &&[u8]| line.first().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b' ' | b'\t'));
    let mut lines = trace.split_inclusive(|&byte| byte == b'\n');
    assert!(lines.all(|line| line.ends_with(b"\r\n") && is_trace(&line)), "no trace headers: {}", start_of(trace));
    let went: Vec<u8> = if went.ends_with(b"\r\n") { went.to_vec() } else { [went, b"\r\n"].concat() };
    if came == went {
        return;
    }
    let differ = came.iter().zip(&went).position(|(came, went)| came != went).unwrap_or(came.len().min(went.len()));
    panic!(
        "the message was changed: {} octets went in, {} came out, and they differ at {differ}:\n went in: {}\ncame out: {}",
        went.len(),
        came.len(),
        start_of(&went[differ..]),
        start_of(&came[differ..]),
    );
}

/// Line ends as they were before a program stored the message as a Unix text.
pub fn with_network_line_ends(stored: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(stored.len());
    for (at, &byte) in stored.iter().enumerate() {
        if byte == b'\n' && (at == 0 || stored[at - 1] != b'\r') {
            message.push(b'\r');
        }
        message.push(byte);
    }
    message
}

fn start_of(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

#[test]
fn a_changed_message_is_noticed() {
    let went = hard();
    assert_same(&[b"Return-Path: <a@b>\r\nReceived: x\r\n y\r\n".as_slice(), &went, b"\r\n"].concat(), &went);
    let whole = [went.as_slice(), b"\r\n"].concat();
    for came in [&whole[..whole.len() - 1], &whole.replace_byte(0xe9, b'e'), &[b"\r\n", whole.as_slice()].concat()] {
        std::panic::catch_unwind(|| assert_same(came, &went)).unwrap_err();
    }
}

#[cfg(test)]
trait ReplaceByte {
    fn replace_byte(&self, from: u8, to: u8) -> Vec<u8>;
}

#[cfg(test)]
impl ReplaceByte for Vec<u8> {
    fn replace_byte(&self, from: u8, to: u8) -> Vec<u8> {
        self.iter().map(|&byte| if byte == from { to } else { byte }).collect()
    }
}
