//! The addresses in a header field such as `From:` (RFC 5322, 3.4), as far as it can be said for certain who they are.
//!
//! Old software writes names with commas and raw Latin-1 where none may stand. A name may be anything here, but whatever could be
//! an address to any reader is treated as one: no other reader can find a different sender in the field.

use crate::smtp::sender_policy::is_plain;

/// What a field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mailboxes {
    /// Every address in it, at least one.
    pub(super) addresses: Vec<String>,
    /// The display name of the first address, in a form that may precede another address.
    pub(super) name: Option<Vec<u8>>,
}

/// Most addresses that one field may have. Real messages have fewer.
const ADDRESSES_LIMIT: usize = 32;

/// What ends a word that stands outside quotes and brackets (RFC 5322, 3.2.3, `specials`, without `.`, `@` and `[]`).
const SPECIALS: &[u8] = b"()<>:;\\,\"";

/// One of the parts that commas, colons and semicolons divide a field into.
#[derive(Default)]
struct Part {
    /// An address in brackets.
    bracketed: Option<String>,
    /// The words outside of brackets, comments and quotes that are addresses.
    addresses: Vec<String>,
    /// All that stands outside of brackets and comments.
    pieces: usize,
}

impl Mailboxes {
    /// Reads a field's body. `None`: it has no address, or something that readers may read as different ones: quotes, brackets and
    /// comments that do not end, an address next to words that some readers join to it (RFC 5322, 4.4).
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader { body, at: 0 };
        let (mut addresses, mut name) = (Vec::new(), None);
        // A name with a comma in it needs a mailbox in brackets behind it.
        let mut open_name = false;
        loop {
            let (part, first_bracket, more) = reader.part()?;
            if let Some(bracket) = first_bracket.filter(|_| addresses.is_empty()) {
                name = body.get(..bracket).and_then(phrase);
            }
            match (&part.bracketed, part.addresses.len(), part.pieces) {
                (_, 0, _) | (_, 1, 1) => {}
                _ => return None,
            }
            open_name = match part.bracketed {
                Some(_) => false,
                None if part.addresses.is_empty() => open_name || part.pieces > 0,
                None if open_name => return None,
                None => false,
            };
            addresses.extend(part.addresses);
            addresses.extend(part.bracketed);
            if !more {
                break;
            }
        }
        let whole = !open_name && (1..=ADDRESSES_LIMIT).contains(&addresses.len());
        (whole && addresses.iter().all(|address| is_plain(address))).then_some(Self { addresses, name })
    }

    /// The addresses as another field may have them, a line each.
    pub(super) fn listed(&self) -> Vec<u8> {
        let listed: Vec<String> = self.addresses.iter().map(|address| format!("<{address}>")).collect();
        listed.join(",\r\n ").into_bytes()
    }
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next part, where its bracket begins, and whether another part follows.
    fn part(&mut self) -> Option<(Part, Option<usize>, bool)> {
        let mut part = Part::default();
        let mut bracket = None;
        while let Some(&byte) = self.body.get(self.at) {
            let rest = self.body.get(self.at + 1..)?;
            match byte {
                b',' | b';' | b':' => {
                    self.at += 1;
                    return Some((part, bracket, true));
                }
                b'(' => self.at += comment(rest)? + 2,
                byte if byte.is_ascii_whitespace() => self.at += 1,
                // Only comments may follow an address in brackets.
                _ if part.bracketed.is_some() => return None,
                b'"' => {
                    self.at += quoted(rest)? + 2;
                    part.pieces += 1;
                }
                b'<' => {
                    bracket = Some(self.at);
                    let end = rest.iter().position(|byte| *byte == b'>')?;
                    let inner = std::str::from_utf8(rest.get(..end)?).ok()?;
                    part.bracketed = Some(inner.trim_ascii().to_owned());
                    self.at += end + 2;
                }
                b'>' | b')' | b'\\' => return None,
                _ => {
                    let word = self.word()?;
                    part.pieces += 1;
                    part.addresses.extend(word);
                }
            }
        }
        Some((part, bracket, false))
    }

    /// A word, if it is an address: then it stands apart from everything else.
    fn word(&mut self) -> Option<Option<String>> {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || SPECIALS.contains(byte);
        let rest = self.body.get(self.at..)?;
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        let (before, word) = (self.at.checked_sub(1).and_then(|at| self.body.get(at)), rest.get(..length)?);
        let behind = rest.get(length);
        self.at += length;
        if !word.contains(&b'@') {
            return Some(None);
        }
        let apart = |byte: Option<&u8>| byte.is_none_or(|byte| byte.is_ascii_whitespace() || b",;:".contains(byte));
        let address = std::str::from_utf8(word).ok()?;
        (apart(before) && apart(behind)).then(|| Some(address.to_owned()))
    }
}

/// How long a quoted string is, up to the quote that ends it.
fn quoted(rest: &[u8]) -> Option<usize> {
    let mut escaped = false;
    rest.iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// How long a comment is, up to the parenthesis that ends it. One with brackets or an at-sign in it would be read by some as
/// what it says.
fn comment(rest: &[u8]) -> Option<usize> {
    let (mut depth, mut escaped) = (1, false);
    for (at, &byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => {}
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'<' | b'>' | b'@' => return None,
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// A name that may precede another address: words of a phrase or one quoted string, encoded words included. One
/// that is raw or has an at-sign in it may not: it could be read as an address.
fn phrase(bytes: &[u8]) -> Option<Vec<u8>> {
    let unfolded: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let bytes = unfolded.trim_ascii();
    let words =
        |byte: &u8| byte.is_ascii_graphic() && !SPECIALS.contains(byte) && !b"@[]".contains(byte) || *byte == b' ';
    let string = match bytes {
        [b'"', inner @ .., b'"'] => {
            quoted(bytes.get(1..)?) == Some(inner.len())
                && inner.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
        }
        _ => false,
    };
    (!bytes.is_empty() && (string || bytes.iter().all(words))).then(|| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let table: &[(&str, &[&str], Option<&str>)] = &[
            ("a@b.c", &["a@b.c"], None),
            (" <a@b.c>", &["a@b.c"], None),
            ("Info Desk <a@b.c>", &["a@b.c"], Some("Info Desk")),
            ("Info\r\n Desk\r\n <a@b.c>", &["a@b.c"], Some("Info Desk")),
            ("\"Desk, Info\" <a@b.c>", &["a@b.c"], Some("\"Desk, Info\"")),
            ("=?utf-8?q?M=C3=BCller?= <a@b.c>", &["a@b.c"], Some("=?utf-8?q?M=C3=BCller?=")),
            ("a@b.c (Info Desk)", &["a@b.c"], None),
            ("a@b.c (In(f)o \\) Desk)", &["a@b.c"], None),
            ("Info <a@b.c> (Desk)", &["a@b.c"], Some("Info")),
            ("() (I) (Info) a@b.c", &["a@b.c"], None),
            ("a@b.c (I), x@y.z (Other)", &["a@b.c", "x@y.z"], None),
            ("\"\" <a@b.c>, \"I\" <d@b.c>, \"Info\" <x@y.z>", &["a@b.c", "d@b.c", "x@y.z"], Some("\"\"")),
            ("\"ceo@b.c\" <a@b.c>", &["a@b.c"], Some("\"ceo@b.c\"")),
            ("\"a \\\" <x@y.z> \" <a@b.c>", &["a@b.c"], Some("\"a \\\" <x@y.z> \"")),
            ("Müller, Info <a@b.c>", &["a@b.c"], None),
            ("a@b.c <a@b.c>", &["a@b.c", "a@b.c"], None),
            ("ceo@b.c <a@b.c>", &["ceo@b.c", "a@b.c"], None),
            ("a@b.c, Other <x@y.z>", &["a@b.c", "x@y.z"], None),
            ("<b\u{fc}ro@b.c>", &["b\u{fc}ro@b.c"], None),
        ];
        for (body, addresses, name) in table {
            let read = Mailboxes::read(body.as_bytes()).unwrap_or_else(|| panic!("{body}"));
            assert_eq!(read.addresses, *addresses, "{body}");
            assert_eq!(read.name.as_deref(), name.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn what_has_no_address_or_two_readings_is_not_read() {
        for body in [
            "",
            "  ",
            "scan",
            "<>",
            "<scan>",
            "<a@b.c",
            "a@b.c>",
            "<<a@b.c>>",
            "<a@b.c x@y.z>",
            "<a@b.c,x@y.z>",
            "<a@b.c> <x@y.z>",
            "<a@b.c> x",
            "<\"a\"@b.c>",
            "\"a b\"@b.c",
            "\"<a@b.c>",
            "(x <a@b.c>",
            "(x) ) a@b.c",
            "(ceo@b.c) a@b.c",
            "(<x>) a@b.c",
            "a\\@b.c <a@b.c>",
            "<@x,@y:a@b.c>",
            "ceo@\r\n b.c <a@b.c>",
            // What readers of the obsolete syntax join to one address (RFC 5322, 4.4).
            "ceo. a@b.c",
            "ceo.(x)a@b.c",
            "\"ceo.\"a@b.c",
            "a@b.c .evil.z",
            "a@b.c(x).evil.z",
            "a(x)@b.c",
            "ceo a@b.c <a@b.c>",
            // Some readers treat these as local users.
            "ceo, a@b.c",
            "\"ceo\", a@b.c",
            "\"ceo\" a@b.c",
            "a@b.c \"ceo\"",
            "a@b.c, \"ceo\"",
            // Addresses within addresses, and what hides one.
            "ceo@x.z@b.c",
            "<ceo@x.z@b.c>",
            "ceo@x.z\x0bx@b.c",
            "<ceo@x.z\u{a0}x@b.c>",
            "=?utf-8?b?Y2VvQHguegA==?=@b.c",
            "<.a@b.c>",
            "<a@b.c.>",
            &"a@b.c, ".repeat(33),
        ] {
            assert_eq!(Mailboxes::read(body.as_bytes()), None, "{body}");
        }
        assert_eq!(Mailboxes::read(b"<b\xfcro@b.c>"), None, "Latin-1 is read in different ways");
    }

    #[test]
    fn addresses_are_listed_a_line_each() {
        let read = Mailboxes::read(b"Ceo <a@b.c>, x@y.z").unwrap();
        assert_eq!(read.listed(), b"<a@b.c>,\r\n <x@y.z>");
    }
}
