//! The addresses in a header field such as `From:` (RFC 5322, 3.4), as far as it can be said for certain who they are.
//!
//! Old software writes names with commas, at-signs and raw Latin-1 where none may stand. A name may be anything here, but
//! whatever could be an address to somebody is one: it is left to no other reader to find another sender in the field.

/// What a field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mailboxes {
    /// Every address in it, at least one.
    pub(super) addresses: Vec<String>,
    /// What stands in front of the first address, as it may stand in front of another.
    pub(super) name: Option<Vec<u8>>,
}

/// Most addresses that one field may have. Nobody writes a message with more.
const ADDRESSES_LIMIT: usize = 32;

/// What ends a word that stands outside quotes and brackets (RFC 5322, 3.2.3, `specials`, without `.`, `@` and `[]`).
const SPECIALS: &[u8] = b"()<>:;\\,\"";

impl Mailboxes {
    /// Reads a field's body. `None`: it has no address, or quotes, brackets or comments that do not end, so that every
    /// reader may find other ones in it.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut addresses = Vec::new();
        let mut name = None;
        let mut at = 0;
        while let Some(&byte) = body.get(at) {
            let rest = body.get(at + 1..)?;
            match byte {
                b'"' => at += quoted(rest)? + 2,
                b'(' => at += comment(rest)? + 2,
                b'<' => {
                    if addresses.is_empty() {
                        name = body.get(..at).and_then(phrase);
                    }
                    let end = rest.iter().position(|byte| *byte == b'>')?;
                    addresses.push(address(rest.get(..end)?)?);
                    at += end + 2;
                }
                b'>' | b')' | b'\\' => return None,
                b',' | b';' | b':' => at += 1,
                byte if byte.is_ascii_whitespace() => at += 1,
                _ => {
                    let word = |byte: &u8| byte.is_ascii_whitespace() || SPECIALS.contains(byte);
                    let end = at + body.get(at..)?.iter().position(word).unwrap_or(body.len() - at);
                    let word = body.get(at..end)?;
                    // `"john smith"@contoso.com` has its at-sign in a word of its own, which is nobody's address.
                    if word.contains(&b'@') {
                        addresses.push(String::from_utf8_lossy(word).into_owned());
                    }
                    at = end;
                }
            }
        }
        (1..=ADDRESSES_LIMIT).contains(&addresses.len()).then_some(Self { addresses, name })
    }

    /// The addresses as another field may have them. Those that are none are left out.
    pub(super) fn listed(&self) -> Vec<u8> {
        let plain =
            |address: &&String| address.parse::<super::super::senders::Pattern>().is_ok() && !address.contains('*');
        let listed: Vec<String> = self.addresses.iter().filter(plain).map(|address| format!("<{address}>")).collect();
        listed.join(", ").into_bytes()
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

/// What stands between angle brackets: one address, and nothing that could be two. Folded, it may have blanks around it.
fn address(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.trim_ascii();
    let one = |byte: &u8| !byte.is_ascii_whitespace() && !byte.is_ascii_control() && !b"<>\"(),;:\\".contains(byte);
    (!bytes.is_empty() && bytes.iter().all(one)).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// A name that may stand in front of another address: words of a phrase or one quoted string, encoded words included. One
/// that is raw or has an at-sign in it may not: it could be read as an address.
fn phrase(bytes: &[u8]) -> Option<Vec<u8>> {
    let bytes = bytes.trim_ascii();
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
            ("\"Desk, Info\" <a@b.c>", &["a@b.c"], Some("\"Desk, Info\"")),
            ("=?utf-8?q?M=C3=BCller?= <a@b.c>", &["a@b.c"], Some("=?utf-8?q?M=C3=BCller?=")),
            ("a@b.c (Info Desk)", &["a@b.c"], None),
            ("a@b.c (In(f)o \\) Desk)", &["a@b.c"], None),
            ("\"ceo@b.c\" <a@b.c>", &["a@b.c"], Some("\"ceo@b.c\"")),
            ("\"a \\\" <x@y.z> \" <a@b.c>", &["a@b.c"], Some("\"a \\\" <x@y.z> \"")),
            ("Müller, Info <a@b.c>", &["a@b.c"], None),
            ("a@b.c <a@b.c>", &["a@b.c", "a@b.c"], None),
            ("ceo@b.c <a@b.c>", &["ceo@b.c", "a@b.c"], None),
            ("a@b.c, Other <x@y.z>", &["a@b.c", "x@y.z"], None),
            ("Team: a@b.c, x@y.z;", &["a@b.c", "x@y.z"], None),
            ("Info\r\n Desk\r\n\t<a@b.c>", &["a@b.c"], None),
            ("ceo@\r\n b.c <a@b.c>", &["ceo@", "a@b.c"], None),
            ("\"john smith\"@b.c", &["@b.c"], None),
            ("<scan>", &["scan"], None),
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
            "<a@b.c",
            "a@b.c>",
            "<<a@b.c>>",
            "<a@b.c x@y.z>",
            "<a@b.c,x@y.z>",
            "<\"a\"@b.c>",
            "\"<a@b.c>",
            "(x <a@b.c>",
            "(x) ) a@b.c",
            "(ceo@b.c) a@b.c",
            "(<x>) a@b.c",
            "a\\@b.c <a@b.c>",
            "<@x,@y:a@b.c>",
            &"a@b.c, ".repeat(33),
        ] {
            assert_eq!(Mailboxes::read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn only_plain_addresses_are_listed_again() {
        let read = Mailboxes::read(b"ceo@ <a@b.c>, x@y.z, *@y.z").unwrap();
        assert_eq!(read.listed(), b"<a@b.c>, <x@y.z>");
    }
}
