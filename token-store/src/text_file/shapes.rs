//! For tests: one text in every shape that editors, shells and downloads give it, and what a reader must do with each. Every place that reads
//! a text has a test that goes through this table.

/// What a reader must do with a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Read it as the text that was meant.
    Meant,
    /// Reject it, with these words in the error.
    Named(&'static str),
    /// Depends on the format.
    Any,
}

/// A text in one of its shapes.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What it is.
    pub name: &'static str,
    /// The content of the file.
    pub bytes: Vec<u8>,
    /// What a reader of one line must do: a secret, a password, a token.
    pub one_line: Reading,
    /// What a reader of several lines must do: PEM, a configuration.
    pub several_lines: Reading,
}

/// The shapes of a text in ASCII, which ends with a line end if it has several lines.
pub fn of(text: &str) -> Vec<Shape> {
    use Reading::{Any, Meant, Named};
    let bare = text.strip_suffix('\n').unwrap_or(text);
    let ended = |end: &str| format!("{bare}\n").replace('\n', end);
    let utf16 = |mark: bool, in_order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(ended("\r\n").encode_utf16()).flat_map(in_order).collect()
    };
    let around = |before: &str, after: &str| format!("{before}{bare}{after}\n").into_bytes();
    let shape = |name, bytes: &dyn AsRef<[u8]>, one_line, several_lines| Shape {
        name,
        bytes: bytes.as_ref().to_vec(),
        one_line,
        several_lines,
    };
    let latin1 = [bare.as_bytes(), b"\n# \xe9\n"].concat();
    let wide = Named("is UTF-16");
    let spaced = |before, after, words| shape("white space around it", &around(before, after), Named(words), Any);
    let quoted = |before, after| shape("quotes around it", &around(before, after), Named("has quotes around"), Any);
    vec![
        shape("no line end", &bare, Meant, Meant),
        shape("LF", &ended("\n"), Meant, Meant),
        shape("CRLF", &ended("\r\n"), Meant, Meant),
        shape("CR", &ended("\r"), Meant, Meant),
        shape("a byte order mark", &format!("\u{feff}{bare}"), Meant, Meant),
        shape("a byte order mark and CRLF", &format!("\u{feff}{}", ended("\r\n")), Meant, Meant),
        shape("Windows PowerShell's UTF-16", &utf16(true, u16::to_le_bytes), wide, wide),
        shape("UTF-16, big end first", &utf16(true, u16::to_be_bytes), wide, wide),
        shape("UTF-16 without a mark", &utf16(false, u16::to_le_bytes), wide, wide),
        shape("UTF-16 without a mark, big end first", &utf16(false, u16::to_be_bytes), wide, wide),
        shape("Windows-1252", &latin1, Named("is not UTF-8 in line"), Named("is not UTF-8 in line")),
        shape("NUL in it", &format!("{bare}\n\0\n"), Named("NUL"), Named("NUL")),
        quoted("\"", "\""),
        quoted("'", "'"),
        quoted("“", "”"),
        quoted("„", "“"),
        quoted("‘", "’"),
        spaced(" ", "", "white space before"),
        spaced("", " ", "white space after"),
        spaced("\t", "\t", "white space before and after"),
        spaced("", "\u{a0}", "white space after"),
        shape("another line", &format!("{bare}\nmore\n"), Named("has 2 lines"), Any),
        shape("an empty line at the end", &format!("{bare}\n\n"), Named("has 2 lines"), Meant),
        shape("an empty line at the beginning", &format!("\n{bare}\n"), Named("has 2 lines"), Meant),
        shape("an invisible character", &format!("{bare}\u{200b}"), Named("U+200B"), Any),
        shape("an invisible mark", &format!("{bare}\u{feff}\n"), Named("U+FEFF"), Any),
        shape("nothing", &"", Named("is empty"), Any),
        shape("a byte order mark alone", &"\u{feff}", Named("is empty"), Any),
        shape("white space alone", &" \r\n", Named("is empty"), Any),
    ]
}
