//! What stands behind MAIL and RCPT: a path, and parameters (RFC 5321, 4.1.1.2, 4.1.1.3, 4.1.2).

/// An argument such as `FROM:<a@b.c> SIZE=1000`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path<'a> {
    /// What stands between the angle brackets, without a source route.
    pub(super) address: &'a [u8],
    /// What follows, without blanks around it.
    pub(super) parameters: &'a [u8],
    /// Whether it was written as RFC 5321 has it. Old software leaves brackets out and puts blanks in.
    pub(super) strict: bool,
}

impl<'a> Path<'a> {
    /// Reads an argument that begins with this word (`FROM`, `TO`) and a colon.
    pub(super) fn parse(argument: &'a [u8], word: &str) -> Option<Self> {
        let (found, rest) = argument.split_at_checked(word.len())?;
        let behind_word = found.eq_ignore_ascii_case(word.as_bytes()).then(|| rest.trim_ascii_start())?;
        let behind_colon = behind_word.strip_prefix(b":")?;
        let path = behind_colon.trim_ascii_start();
        let (address, rest, bracketed) = match path.strip_prefix(b"<") {
            Some(inner) => {
                let end = end_of(inner, |byte| byte == b'>')?;
                (inner.get(..end)?, inner.get(end + 1..)?, true)
            }
            None => {
                let end = end_of(path, |byte| byte.is_ascii_whitespace()).unwrap_or(path.len());
                (path.get(..end)?, path.get(end..)?, false)
            }
        };
        let parameters = rest.trim_ascii();
        // Two addresses run together, or brackets within an address, mean different things to different readers.
        let apart = rest.first().is_none_or(u8::is_ascii_whitespace);
        let address = address.trim_ascii();
        let one = end_of(address, |byte| matches!(byte, b'<' | b'>') || byte.is_ascii_whitespace()).is_none();
        if !apart || !one || (address.is_empty() && !bracketed) {
            return None;
        }
        let usual = argument.len() == word.len() + 1 + path.len() && bracketed && path.get(1..)?.starts_with(address);
        let strict = usual && (rest.is_empty() || rest.len() == parameters.len() + 1);
        Some(Self { address: without_route(address), parameters, strict })
    }
}

/// Where the first byte stands that is looked for, quoted strings left aside (RFC 5321, 4.1.2, `Quoted-string`).
fn end_of(bytes: &[u8], looked_for: impl Fn(u8) -> bool) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    bytes.iter().position(|&byte| {
        let found = !quoted && looked_for(byte);
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        found
    })
}

/// `@relay,@relay:a@b.c` without the relays: a route is to be ignored (RFC 5321, 4.1.1.3).
fn without_route(address: &[u8]) -> &[u8] {
    if !address.starts_with(b"@") {
        return address;
    }
    let end = address.iter().position(|&byte| byte == b':');
    end.and_then(|end| address.get(end + 1..)).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_devices_write() {
        let table: &[(&str, &str, &str, bool)] = &[
            ("FROM:<a@b.c>", "a@b.c", "", true),
            ("from:<A@b.c> SIZE=1000 BODY=8BITMIME", "A@b.c", "SIZE=1000 BODY=8BITMIME", true),
            ("FROM:<>", "", "", true),
            ("FROM:<a@b.c> X-NEW=1 <odd>", "a@b.c", "X-NEW=1 <odd>", true),
            ("FROM:<\"a > \\\" b\"@b.c>", "\"a > \\\" b\"@b.c", "", true),
            ("FROM:<\u{fc}@b.c> SMTPUTF8", "\u{fc}@b.c", "SMTPUTF8", true),
            ("FROM:<@x,@y:a@b.c>", "a@b.c", "", true),
            ("FROM: <a@b.c>", "a@b.c", "", false),
            ("FROM : <a@b.c>", "a@b.c", "", false),
            ("FROM:a@b.c", "a@b.c", "", false),
            ("FROM: a@b.c SIZE=3", "a@b.c", "SIZE=3", false),
            ("FROM:< a@b.c >", "a@b.c", "", false),
            ("FROM:<a@b.c>  SIZE=3", "a@b.c", "SIZE=3", false),
        ];
        for (argument, address, parameters, strict) in table {
            let path = Path::parse(argument.as_bytes(), "FROM").unwrap_or_else(|| panic!("{argument}"));
            assert_eq!(path.address, address.as_bytes(), "{argument}");
            assert_eq!((path.parameters, path.strict), (parameters.as_bytes(), *strict), "{argument}");
        }
    }

    #[test]
    fn refuses_what_has_two_readings() {
        for argument in [
            "",
            "FROM",
            "FROM:",
            "FROM: ",
            "<a@b.c>",
            "TO:<a@b.c>",
            "FROM a@b.c",
            "FROM:<a@b.c",
            "FROM:<a@b.c>x@y.z",
            "FROM:<a@b.c><x@y.z>",
            "FROM:<<a@b.c>>",
            "FROM:<a@b.c x@y.z>",
            "FROM:a<b>@c",
            "FROM:<\"a>",
        ] {
            assert_eq!(Path::parse(argument.as_bytes(), "FROM"), None, "{argument}");
        }
    }
}
