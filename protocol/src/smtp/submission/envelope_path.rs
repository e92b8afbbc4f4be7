//! What follows MAIL and RCPT: a path, and parameters (RFC 5321, 4.1.1.2, 4.1.1.3, 4.1.2, 4.1.1.11).
//!
//! The one reader of both. What it finds is what is checked, and the line for the server is made of it, so that no server can read
//! another address in that line. Old software leaves brackets out, puts spaces in, writes a display name ahead of the
//! brackets; what has exactly one reading is understood, everything else is refused.

use crate::smtp::command::is;

/// An argument such as `FROM:<a@b.c> SIZE=1000`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnvelopePath {
    /// The address, without brackets and source route; empty for the null sender (`<>`).
    pub(super) address: String,
    /// The parameters, in order.
    parameters: Vec<String>,
}

/// The two commands that have a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Mail,
    Rcpt,
}

impl Verb {
    /// With the word that belongs to it.
    fn with_word(self) -> &'static str {
        match self {
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Mail => "FROM",
            Self::Rcpt => "TO",
        }
    }
}

impl EnvelopePath {
    /// Reads the argument of this command.
    pub(super) fn parse(verb: Verb, argument: &[u8]) -> Option<Self> {
        let (found, rest) = argument.split_at_checked(verb.word().len())?;
        let behind_word = is(found, verb.word()).then(|| rest.trim_ascii_start())?;
        let text = behind_word.strip_prefix(b":")?.trim_ascii();
        let path = match text.iter().position(|byte| *byte == b'<') {
            Some(0) => Self::in_brackets(text)?,
            // An address without brackets, with `AUTH=<>` behind it, or a display name.
            Some(at) => Self::without_brackets(text).or_else(|| {
                let (name, path) = text.split_at_checked(at)?;
                is_display_name(name.trim_ascii()).then(|| Self::in_brackets(path))?
            })?,
            None => Self::without_brackets(text)?,
        };
        let whole = verb == Verb::Mail || !path.address.is_empty();
        whole.then_some(path)
    }

    /// `<a@b.c>`, `< a@b.c >`, `<@relay,@relay:a@b.c>`, `<>`.
    fn in_brackets(text: &[u8]) -> Option<Self> {
        let inner = without_route(text.strip_prefix(b"<")?.trim_ascii_start())?;
        let length = address(inner)?;
        let (address, rest) = inner.split_at_checked(length)?;
        Self::of(address, rest.trim_ascii_start().strip_prefix(b">")?)
    }

    fn without_brackets(text: &[u8]) -> Option<Self> {
        let length = address(text).filter(|&length| length > 0)?;
        let (address, rest) = text.split_at_checked(length)?;
        Self::of(address, rest)
    }

    fn of(address: &[u8], rest: &[u8]) -> Option<Self> {
        // Two addresses run together mean different things to different readers.
        let apart = rest.first().is_none_or(u8::is_ascii_whitespace);
        let words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let parameters: Option<Vec<String>> = words.map(parameter).collect();
        let address = std::str::from_utf8(address).ok()?.to_owned();
        apart.then_some(Self { address, parameters: parameters? })
    }

    /// The command for the server: exactly this address and these parameters. A line that says just that goes on as it came.
    pub(super) fn command(&self, verb: Verb, line: &[u8]) -> Vec<u8> {
        let mut command = Vec::with_capacity(line.len());
        for part in [verb.with_word(), ":<", &self.address, ">"] {
            command.extend_from_slice(part.as_bytes());
        }
        for parameter in &self.parameters {
            command.push(b' ');
            command.extend_from_slice(parameter.as_bytes());
        }
        if line.eq_ignore_ascii_case(&command) { line.to_vec() } else { command }
    }

    /// Without the parameters that speak of another sender (RFC 4954, 5) or that are of nobody's standard, for where what was checked
    /// is what counts.
    pub(super) fn with_known_parameters(mut self) -> Self {
        self.parameters.retain(|parameter| {
            let keyword = parameter.split('=').next().unwrap_or_default();
            !is(keyword.as_bytes(), "AUTH") && !keyword.starts_with(['X', 'x'])
        });
        self
    }
}

/// How long the address is that the bytes begin with, as far as it is one that every reader finds there. `None`: not an address.
///
/// RFC 5321's `Mailbox` and RFC 6531's, and what is no other address for being wrong: a local part alone (`postmaster`, or
/// the name of a device), dots at any place of it, an underscore in a domain.
fn address(bytes: &[u8]) -> Option<usize> {
    let local = match bytes.first() {
        Some(b'"') => quoted(bytes)?,
        _ => count(bytes, is_atext_or_dot),
    };
    let rest = bytes.get(local..)?;
    let length = match rest.strip_prefix(b"@") {
        Some(domain) if local > 0 => local + 1 + domain_length(domain)?,
        None if bytes.first() != Some(&b'"') => local,
        _ => return None,
    };
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    (!text.chars().any(is_deceptive)).then_some(length)
}

/// A quoted string with its quotes: no control characters, quotes and backslashes escaped (RFC 5321, 4.1.2).
fn quoted(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return Some(at + 1),
            byte if byte.is_ascii_control() || (escaped && !byte.is_ascii()) => return None,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    None
}

/// Labels with single dots between them, or a literal in square brackets.
fn domain_length(bytes: &[u8]) -> Option<usize> {
    if let Some(literal) = bytes.strip_prefix(b"[") {
        let length = count(literal, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-'));
        return (length > 0 && literal.get(length) == Some(&b']')).then_some(length + 2);
    }
    let length =
        count(bytes, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || !byte.is_ascii());
    let domain = bytes.get(..length)?;
    domain.split(|byte| *byte == b'.').all(|label| !label.is_empty()).then_some(length)
}

/// `@relay,@relay:a@b.c` without the relays: a route is to be ignored (RFC 5321, 4.1.1.3).
fn without_route(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    while let Some(relay) = rest.strip_prefix(b"@") {
        let behind = relay.get(domain_length(relay)?..)?;
        match behind.split_first()? {
            (b':', address) => return Some(address),
            (b',', next) if next.starts_with(b"@") => rest = next,
            _ => return None,
        }
    }
    Some(rest)
}

/// Words, or one quoted string, without anything that could be an address or part of one. It goes nowhere.
fn is_display_name(name: &[u8]) -> bool {
    let inner = match name {
        [b'"', inner @ .., b'"'] => inner,
        _ => name,
    };
    !inner.is_empty()
        && !inner.iter().any(|byte| b"<>()[]:;@\\,\"=".contains(byte) || (*byte != b'\t' && byte.is_ascii_control()))
}

/// A parameter (RFC 5321, 4.1.2, `esmtp-param`; RFC 6531, 3.3). Its value may be empty and have `=` in it, as some programs write
/// it. Brackets are an address to some readers, but for the `AUTH=<>` of RFC 4954, 5.
fn parameter(word: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(word).ok()?;
    let (keyword, value) = text.split_once('=').unwrap_or((text, ""));
    let named = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
        && keyword.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let nobody = is(keyword.as_bytes(), "AUTH") && value == "<>";
    let plain = !value.chars().any(|c| matches!(c, '<' | '>') || c.is_control() || c.is_whitespace());
    (named && (plain || nobody)).then(|| text.to_owned())
}

/// RFC 5322, 3.2.3 and RFC 6531, 3.3, and the dot.
fn is_atext_or_dot(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte)
}

/// What is not ASCII and becomes a control character, a space, a bracket or an at-sign once a reader normalises it (Unicode
/// Standard Annex 15), or stands for bytes that were not understood.
fn is_deceptive(c: char) -> bool {
    !c.is_ascii()
        && (c.is_control()
            || c.is_whitespace()
            || matches!(
                c,
                char::REPLACEMENT_CHARACTER
                    | '\u{37e}'
                    | '\u{200b}'..='\u{200f}'
                    | '\u{2024}'..='\u{2026}'
                    | '\u{202a}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}'
                    | '\u{226e}'
                    | '\u{226f}'
                    | '\u{fe50}'..='\u{fe6f}'
                    | '\u{feff}'
                    | '\u{ff00}'..='\u{ff65}'
            ))
}

fn count(bytes: &[u8], matches: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| matches(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on for the argument of MAIL, without the verb.
    fn goes_on(argument: &[u8]) -> Option<String> {
        let path = EnvelopePath::parse(Verb::Mail, argument)?;
        let line = [b"MAIL ", argument].concat();
        let command = String::from_utf8(path.command(Verb::Mail, &line)).unwrap();
        Some(command.strip_prefix("MAIL FROM:").unwrap().to_owned())
    }

    #[test]
    fn one_address_in_any_shape_is_read() {
        for (argument, expected) in [
            ("FROM:<a@b.c>", "<a@b.c>"),
            ("FROM:<>", "<>"),
            ("FROM:< >", "<>"),
            ("FROM:<A.b+c@b-c.d_e>", "<A.b+c@b-c.d_e>"),
            ("FROM:<a..b.@b.c>", "<a..b.@b.c>"),
            ("FROM:<postmaster>", "<postmaster>"),
            ("FROM:<a@[192.0.2.1]>", "<a@[192.0.2.1]>"),
            ("FROM:<a@[IPv6:2001:db8::1]>", "<a@[IPv6:2001:db8::1]>"),
            ("FROM:<\"a > \\\" <x@y.z> b\"@b.c>", "<\"a > \\\" <x@y.z> b\"@b.c>"),
            ("FROM:<\u{fc}@b\u{fc}.c> SMTPUTF8", "<\u{fc}@b\u{fc}.c> SMTPUTF8"),
            ("FROM:<\"abc\"@b.c>", "<\"abc\"@b.c>"),
            ("FROM:<\"a\\\\\"@b.c>", "<\"a\\\\\"@b.c>"),
            // A route is dropped.
            ("FROM:<@x,@y.z:a@b.c>", "<a@b.c>"),
            // Old devices.
            ("FROM: <a@b.c>", "<a@b.c>"),
            ("FROM : <a@b.c>", "<a@b.c>"),
            ("FROM:a@b.c", "<a@b.c>"),
            ("FROM: a@b.c SIZE=3", "<a@b.c> SIZE=3"),
            ("FROM: a@b.c AUTH=<>", "<a@b.c> AUTH=<>"),
            ("FROM:scanner", "<scanner>"),
            ("FROM:< a@b.c >", "<a@b.c>"),
            ("FROM:<a@b.c>\t SIZE=3  BODY=7BIT ", "<a@b.c> SIZE=3 BODY=7BIT"),
            // A display name.
            ("FROM:Scanner <lift@hall.local>", "<lift@hall.local>"),
            ("FROM:Scanner 2. OG<lift@hall.local>", "<lift@hall.local>"),
            ("FROM:Scanner\t2 <lift@hall.local>", "<lift@hall.local>"),
            ("FROM: \"Scanner 2\" <lift@hall.local> SIZE=1", "<lift@hall.local> SIZE=1"),
            ("FROM:B\u{fc}ro <lift@hall.local>", "<lift@hall.local>"),
            // Parameters.
            ("FROM:<a@b.c> AUTH=<> BODY=8BITMIME", "<a@b.c> AUTH=<> BODY=8BITMIME"),
            ("FROM:<a@b.c> X-NEW= ENVID=a+3Db= RET=HDRS", "<a@b.c> X-NEW= ENVID=a+3Db= RET=HDRS"),
            ("FROM:<a@b.c> ORCPT=rfc822;Bob+2Bx@b.c", "<a@b.c> ORCPT=rfc822;Bob+2Bx@b.c"),
            ("FROM:<a@b.c> ORCPT=utf-8;b\u{fc}@b.c", "<a@b.c> ORCPT=utf-8;b\u{fc}@b.c"),
        ] {
            assert_eq!(goes_on(argument.as_bytes()).as_deref(), Some(expected), "{argument}");
        }
        assert_eq!(goes_on(b"FROM:B\xfcro <a@b.c>").as_deref(), Some("<a@b.c>"), "a name in Latin-1 goes nowhere");
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for argument in [
            "",
            "FROM",
            "FROM:",
            "FROM: ",
            "<a@b.c>",
            "TO:<a@b.c>",
            "FROM a@b.c",
            // Brackets.
            "FROM:<a@b.c",
            "FROM:a@b.c>",
            "FROM:<<a@b.c>>",
            "FROM:<a@b.c>>",
            "FROM:a<b>@c",
            "FROM:<\"a>",
            "FROM:<\"a\"b@c>",
            "FROM:<\"a\\",
            "FROM:<\"a\">",
            // Two addresses.
            "FROM:<a@b.c>x@y.z",
            "FROM:<a@b.c><x@y.z>",
            "FROM:<a@b.c> <x@y.z>",
            "FROM:<a@b.c> x@y.z",
            "FROM:<a@b.c x@y.z>",
            "FROM:<a@b.c,x@y.z>",
            "FROM:<a@b.c>,<x@y.z>",
            "FROM:a@b.c <x@y.z>",
            "FROM:\"a@b.c\" <x@y.z>",
            "FROM:a@b.c, x@y.z",
            "FROM:Name <a@b.c> <x@y.z>",
            "FROM:Name SIZE=3 <a@b.c>",
            "FROM:Name \"x\" <a@b.c>",
            "FROM:Group: <a@b.c>",
            "FROM:\"\" <a@b.c>",
            "FROM:<a@x.z@b.c>",
            "FROM:<a@b.c@x.z>",
            // Routes.
            "FROM:<@x>",
            "FROM:<@x:>x",
            "FROM:<@x,y:a@b.c>",
            "FROM:<@x,a@b.c>",
            "FROM:Na\u{7}me <a@b.c>",
            "FROM:<@:a@b.c>",
            "FROM:<@x.z:victim@x.z:a@b.c>",
            "FROM:@x:a@b.c",
            "FROM:@b.c",
            // Comments.
            "FROM:<a@b.c> (x)",
            "FROM:(x) <a@b.c>",
            "FROM:<a(x)@b.c>",
            // What is no mailbox.
            "FROM:<@b.c>",
            "FROM:<a@>",
            "FROM:<a@b..c>",
            "FROM:<a@b.c.>",
            "FROM:<a\\@b.c>",
            "FROM:<a@[1.2>",
            "FROM:<a@[]>",
            "FROM:<a@[x<y]>",
            "FROM:<a:b@c>",
            "FROM:<\"a\u{7}\"@b.c>",
            "FROM:<\"\\\u{fc}\"@b.c>",
            // What becomes one when it is normalised.
            "FROM:<a\u{ff20}x.z@b.c>",
            "FROM:<a@b.c\u{ff1e}>",
            "FROM:<a\u{a0}b@c>",
            "FROM:<a\u{85}b@c>",
            "FROM:<a\u{fffd}b@c>",
            "FROM:<a\u{226e}b@c>",
            // Parameters.
            "FROM:<a@b.c> X-NEW=1 <odd>",
            "FROM:<a@b.c> AUTH=<x@y.z>",
            "FROM:<a@b.c> XAUTH=<>",
            "FROM:<a@b.c> =1",
            "FROM:<a@b.c> -x",
            "FROM:<a@b.c> A_B=1",
            "FROM:<a@b.c> A=\u{85}",
            "FROM:<a@b.c> A=\u{a0}b",
        ] {
            assert_eq!(goes_on(argument.as_bytes()), None, "{argument}");
        }
        assert_eq!(goes_on(b"FROM:<b\xfcro@b.c>"), None, "Latin-1 is read in different ways");
        assert_eq!(goes_on(b"FROM:<a@b.c> A=\xfc"), None, "in a parameter too");
        assert_eq!(EnvelopePath::parse(Verb::Rcpt, b"TO:<>"), None, "a message has a recipient");
        assert!(EnvelopePath::parse(Verb::Rcpt, b"to:<postmaster>").is_some());
    }

    #[test]
    fn a_line_in_good_shape_goes_on_as_it_came() {
        let path = EnvelopePath::parse(Verb::Rcpt, b"to:<A@b.c> Notify=Never").unwrap();
        assert_eq!(path.command(Verb::Rcpt, b"rcpt to:<A@b.c> Notify=Never"), b"rcpt to:<A@b.c> Notify=Never");
        assert_eq!(path.command(Verb::Rcpt, b"rcpt  to:<A@b.c> Notify=Never"), b"RCPT TO:<A@b.c> Notify=Never");
    }

    #[test]
    fn parameters_of_another_sender_are_dropped() {
        let path = EnvelopePath::parse(Verb::Mail, b"FROM:<a@b.c> SIZE=1 auth=<> XOORG=x x-y RET=HDRS").unwrap();
        let command = path.with_known_parameters().command(Verb::Mail, b"");
        assert_eq!(command, b"MAIL FROM:<a@b.c> SIZE=1 RET=HDRS");
    }
}
