//! A text of one line: a secret, a password, a token.

use super::error::{Fault, Side};

/// Quotes that a shell or an editor adds, and what closes them.
const QUOTES: [(char, char); 6] = [('"', '"'), ('\'', '\''), ('“', '”'), ('„', '“'), ('‘', '’'), ('«', '»')];

/// Characters that are neither seen nor typed: they come from copying out of a web page or a document.
const INVISIBLE: [char; 7] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}'];

/// The only line, without its end.
pub(super) fn of(text: &str) -> Result<&str, Fault> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    if line.trim().is_empty() {
        return Err(Fault::Empty);
    }
    if line.contains('\n') {
        return Err(Fault::SeveralLines { lines: line.split('\n').count() });
    }
    match (line.starts_with(char::is_whitespace), line.ends_with(char::is_whitespace)) {
        (true, true) => return Err(Fault::Spaced(Side::Both)),
        (true, false) => return Err(Fault::Spaced(Side::Before)),
        (false, true) => return Err(Fault::Spaced(Side::After)),
        (false, false) => {}
    }
    let quotes = QUOTES
        .iter()
        .find(|(open, close)| line.strip_prefix(*open).and_then(|rest| rest.strip_suffix(*close)).is_some());
    if let Some((open, close)) = quotes {
        return Err(Fault::Quoted { open: *open, close: *close });
    }
    if let Some(found) = line.chars().find(|c| c.is_control() || INVISIBLE.contains(c)) {
        return Err(Fault::Invisible(found));
    }
    Ok(line)
}
