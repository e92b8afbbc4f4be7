//! From bytes to text: which encoding it is, and its line ends.

use zeroize::Zeroizing;

use super::error::Fault;
use crate::platform::ByteOrder;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [(&[u8], ByteOrder); 2] = [(b"\xff\xfe", ByteOrder::Little), (b"\xfe\xff", ByteOrder::Big)];

/// The text of these bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, Fault> {
    if let Some((_, order)) = UTF16_MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Err(Fault::Utf16 { order: *order });
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(unmarked_utf16(bytes)
            .map_or_else(|| Fault::Binary { line: line_at(bytes, at) }, |order| Fault::Utf16 { order }));
    }
    let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    let text =
        std::str::from_utf8(bytes).map_err(|error| Fault::NotUtf8 { line: line_at(bytes, error.valid_up_to()) })?;
    Ok(with_plain_line_ends(text))
}

/// The text with LF in place of CRLF and CR.
pub(super) fn with_plain_line_ends(text: &str) -> Zeroizing<String> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\r' {
            characters.next_if_eq(&'\n');
            plain.push('\n');
        } else {
            plain.push(character);
        }
    }
    plain
}

/// The byte order of UTF-16 without a mark: most characters of a configuration are below U+0100, so every other byte is zero.
fn unmarked_utf16(bytes: &[u8]) -> Option<ByteOrder> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let zeros = |is_zero: fn(&[u8; 2]) -> bool| pairs.iter().filter(|pair| is_zero(pair)).count() * 2 > pairs.len();
    let (first, second) = (zeros(|[first, _]| *first == 0), zeros(|[_, second]| *second == 0));
    match (first, second) {
        (true, false) => Some(ByteOrder::Big),
        (false, true) => Some(ByteOrder::Little),
        _ => None,
    }
}

/// The line, counted from 1, of a byte.
fn line_at(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(..at).unwrap_or(bytes);
    let returns = before.iter().filter(|byte| **byte == b'\r').count();
    let feeds = before.iter().filter(|byte| **byte == b'\n').count();
    // CRLF has one of each, and a text has one kind of line end.
    returns.max(feeds).saturating_add(1)
}
