//! One command of a client, with its literals, taken apart.
//!
//! First by imap-codec, which follows the grammar of RFC 3501; what it refuses, by a reader that lets through what
//! legacy software writes: backslashes that are not escaped (`DOMAIN\user`), letters of another character set, brackets
//! and percent signs in a password without quotes, more than one blank, base64 without its padding.

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;
use zeroize::Zeroizing;

use super::framer::{Literal, is_blank};
use crate::Secret;
use crate::line::without_end;
use crate::sasl::exchange::{Mechanism, is_bearer};

/// Longest tag answered, in bytes. RFC 3501 sets none; clients have less than 20.
const TAG_LIMIT: usize = 64;

/// What a client wants. There is no `Debug`, as there may be a password in it.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Command {
    Capability,
    Id,
    Noop,
    Logout,
    StartTls,
    Login {
        user: Secret,
        password: Secret,
    },
    /// `None`: a mechanism that is not offered. The initial response is still in base64.
    Authenticate {
        mechanism: Option<Mechanism>,
        initial: Option<Secret>,
    },
    /// AUTHENTICATE with an access token of the client's own.
    Bearer,
    /// A command for after the login.
    NeedsLogin,
    Unknown,
    /// A command we know, with arguments we do not understand.
    Malformed,
}

/// The commands of RFC 3501, 9051 and the extensions that Exchange has, which mean something once logged in.
const AFTER_LOGIN: [&str; 27] = [
    "APPEND",
    "CHECK",
    "CLOSE",
    "COMPRESS",
    "COPY",
    "CREATE",
    "DELETE",
    "ENABLE",
    "EXAMINE",
    "EXPUNGE",
    "FETCH",
    "GETQUOTA",
    "GETQUOTAROOT",
    "IDLE",
    "LIST",
    "LSUB",
    "MOVE",
    "NAMESPACE",
    "RENAME",
    "SEARCH",
    "SELECT",
    "STATUS",
    "STORE",
    "SUBSCRIBE",
    "UID",
    "UNSELECT",
    "UNSUBSCRIBE",
];

/// The tag, if it is one that may be echoed (RFC 3501, 9) and a command follows it. A lone word has no tag: it
/// may as well be a password or a base64 message that was sent at the wrong time.
pub(super) fn tag(command: &[u8]) -> Option<&str> {
    let line = without_end(first_line(command));
    let (tag, rest) = line.split_at_checked(line.iter().position(is_blank)?)?;
    let is_tag_char = |byte: &u8| byte.is_ascii_graphic() && !b"(){%*\"\\+".contains(byte);
    let well_formed = (1..=TAG_LIMIT).contains(&tag.len()) && tag.iter().all(is_tag_char);
    (well_formed && !rest.trim_ascii().is_empty()).then(|| std::str::from_utf8(tag).ok()).flatten()
}

/// Whether the command's name is this one.
pub(super) fn is(command: &[u8], name: &str) -> bool {
    let (_, verb, _) = split(command);
    verb.eq_ignore_ascii_case(name.as_bytes())
}

/// Takes a whole command apart.
pub(super) fn parse(command: &[u8]) -> Command {
    match CommandCodec::new().decode(command) {
        Ok(([], understood)) => by_the_grammar(understood.body, command),
        _ => leniently(command),
    }
}

fn by_the_grammar(body: CommandBody<'_>, command: &[u8]) -> Command {
    match body {
        CommandBody::Capability => Command::Capability,
        CommandBody::Id { .. } => Command::Id,
        CommandBody::Noop => Command::Noop,
        CommandBody::Logout => Command::Logout,
        CommandBody::StartTLS => Command::StartTls,
        CommandBody::Login { username, password } => Command::Login {
            user: Secret::new(username.as_ref()),
            password: Secret::new(password.declassify().as_ref()),
        },
        // The message stays as it is on the wire: the exchange decodes them all, this one and those to come, alike.
        CommandBody::Authenticate { .. } => leniently(command),
        _ => Command::NeedsLogin,
    }
}

fn leniently(command: &[u8]) -> Command {
    let (_, verb, arguments) = split(command);
    let verb = verb.to_ascii_uppercase();
    match verb.as_slice() {
        b"CAPABILITY" => Command::Capability,
        b"ID" => Command::Id,
        b"NOOP" => Command::Noop,
        b"LOGOUT" => Command::Logout,
        b"STARTTLS" => Command::StartTls,
        b"LOGIN" => login(arguments).unwrap_or(Command::Malformed),
        b"AUTHENTICATE" => authenticate(arguments).unwrap_or(Command::Malformed),
        verb if AFTER_LOGIN.iter().any(|name| name.as_bytes() == verb) => Command::NeedsLogin,
        _ => Command::Unknown,
    }
}

fn login(arguments: &[u8]) -> Option<Command> {
    let (user, rest) = word(arguments)?;
    let (password, rest) = word(rest)?;
    is_end(rest).then_some(Command::Login { user, password })
}

fn authenticate(arguments: &[u8]) -> Option<Command> {
    let (name, rest) = word(arguments)?;
    if is_bearer(name.reveal()) {
        return Some(Command::Bearer);
    }
    let mechanism = Mechanism::named(name.reveal());
    if is_end(rest) {
        return Some(Command::Authenticate { mechanism, initial: None });
    }
    let (initial, rest) = word(rest)?;
    is_end(rest).then_some(Command::Authenticate { mechanism, initial: Some(initial) })
}

/// Tag, name and the rest, which begins with the blank before it.
fn split(command: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (tag, rest) = until_blank(command);
    let (verb, rest) = until_blank(without_blanks(rest));
    (tag, verb, rest)
}

fn first_line(command: &[u8]) -> &[u8] {
    command.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default()
}

fn until_blank(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| is_blank(byte) || is_line_end(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or_default()
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

fn is_end(rest: &[u8]) -> bool {
    without_end(without_blanks(rest)).is_empty()
}

/// The next word: literal, quoted, or anything without a blank. No NUL in any of them: it separates the fields of SASL
/// PLAIN and ends a string in many a client.
fn word(text: &[u8]) -> Option<(Secret, &[u8])> {
    let (before, text) = text.split_at_checked(text.len() - without_blanks(text).len())?;
    if before.is_empty() {
        return None;
    }
    let (word, rest) = match text.first()? {
        b'"' => quoted(text.get(1..)?)?,
        b'{' if Literal::at_end_of(first_line(text)).is_some_and(|literal| literal.begins_at == 0) => literal(text)?,
        _ => {
            let (word, rest) = until_blank(text);
            (!word.is_empty()).then(|| (Zeroizing::new(word.to_vec()), rest))?
        }
    };
    (!word.contains(&0)).then(|| (Secret::new(word.as_slice()), rest))
}

/// The inside of a quoted string: `\\` and `\"` are what RFC 3501, 9 says; a backslash before anything else was meant
/// as one.
fn quoted(text: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    let mut word = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    loop {
        rest = match rest {
            [b'\\', escaped @ (b'\\' | b'"'), after @ ..] => {
                word.push(*escaped);
                after
            }
            [b'"', after @ ..] => {
                break after.first().is_some_and(|b| is_blank(b) || is_line_end(b)).then_some((word, after));
            }
            [b'\r' | b'\n', ..] | [] => break None,
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        };
    }
}

fn literal(text: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    let announcement = first_line(text);
    let size = usize::try_from(Literal::at_end_of(announcement)?.size).ok()?;
    let (word, rest) = text.get(announcement.len()..)?.split_at_checked(size)?;
    Some((Zeroizing::new(word.to_vec()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login_of(line: &[u8]) -> Option<(String, String)> {
        match parse(line) {
            Command::Login { user, password } => {
                Some((user.reveal().escape_ascii().to_string(), password.reveal().escape_ascii().to_string()))
            }
            _ => None,
        }
    }

    #[test]
    fn login_is_parsed_strictly_and_leniently() {
        let cases: &[(&[u8], &str, &str)] = &[
            (b"a LOGIN alice secret\r\n", "alice", "secret"),
            (b"a login alice secret\n", "alice", "secret"),
            (b"a LOGIN \"alice\" \"se cret\"\r\n", "alice", "se cret"),
            (br#"a LOGIN "alice" "a\\b\"c""#, "", ""),
            (b"a LOGIN \"alice\" \"a\\\\b\\\"c\"\r\n", "alice", r#"a\\b\"c"#),
            (b"a LOGIN \"alice\" \"\\\\\\\"\\\\\"\r\n", "alice", r#"\\\"\\"#),
            (b"a LOGIN \"alice\" \"pa\\ss\"\r\n", "alice", r"pa\\ss"),
            (b"a LOGIN \"DOM\\alice\" \"pa\\ss\\\\\"\r\n", r"DOM\\alice", r"pa\\ss\\"),
            (b"a LOGIN DOM\\alice secret\r\n", r"DOM\\alice", "secret"),
            (b"a LOGIN DOM\\\\alice secret\r\n", r"DOM\\\\alice", "secret"),
            (b"a LOGIN  alice \t secret \r\n", "alice", "secret"),
            (b"a LOGIN alice (p){%*]\"x\r\n", "alice", r#"(p){%*]\"x"#),
            (b"a LOGIN alice pa{3}\r\n", "alice", "pa{3}"),
            (b"a LOGIN alice {-3}\r\n", "alice", "{-3}"),
            (b"a LOGIN alice caf\xe9\r\n", "alice", r"caf\xe9"),
            (b"a LOGIN alice \"caf\xe9\"\r\n", "alice", r"caf\xe9"),
            (b"a LOGIN alice \"caf\xc3\xa9 \\\\ \\\"\"\r\n", "alice", r#"caf\xc3\xa9 \\ \""#),
            (b"a LOGIN {5}\r\nalice {6}\r\nsecret\r\n", "alice", "secret"),
            (b"a LOGIN {5+}\r\nalice {7+}\r\nse\r\n\"{t\r\n", "alice", r#"se\r\n\"{t"#),
            (b"a LOGIN alice {6}\r\ns\xe9 ret \r\n", "alice", r"s\xe9 ret"),
            (b"a LOGIN DOM\\a {6+}\r\nsecret\r\n", r"DOM\\a", "secret"),
            (b"a LOGIN \"\" \"\"\r\n", "", ""),
            (b"a LOGIN alice {0}\r\n\r\n", "alice", ""),
        ];
        for (line, user, password) in cases {
            let expected = line.ends_with(b"\n").then(|| ((*user).to_owned(), (*password).to_owned()));
            assert_eq!(login_of(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn refuses_logins_that_cannot_be_meant() {
        for line in [
            &b"a LOGIN\r\n"[..],
            b"a LOGIN alice\r\n",
            b"a LOGIN alice \r\n",
            b"a LOGIN alice secret more\r\n",
            b"a LOGIN \"alice secret\r\n",
            b"a LOGIN \"alice\"secret\r\n",
            b"a LOGIN \"ali\"ce\" secret\r\n",
            b"a LOGIN alice se\0cret\r\n",
            b"a LOGIN alice {3}\r\na\0b\r\n",
            b"a LOGIN alice {3}\r\nabcd\r\n",
            b"a LOGIN alice {9}\r\nabcd\r\n",
            b"a LOGIN alice se\rcret\r\n",
        ] {
            assert!(parse(line) == Command::Malformed, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn takes_authenticate_with_and_without_a_response() {
        let cases: &[(&[u8], Option<Mechanism>, Option<&str>)] = &[
            (b"a AUTHENTICATE PLAIN\r\n", Some(Mechanism::Plain), None),
            (b"a authenticate pLaIn \r\n", Some(Mechanism::Plain), None),
            (b"a AUTHENTICATE \"LOGIN\"\r\n", Some(Mechanism::Login), None),
            (b"a AUTHENTICATE LOGIN =\r\n", Some(Mechanism::Login), Some("=")),
            (b"a AUTHENTICATE PLAIN =\n", Some(Mechanism::Plain), Some("=")),
            (b"a AUTHENTICATE LOGIN YWxpY2U=\r\n", Some(Mechanism::Login), Some("YWxpY2U=")),
            (b"a AUTHENTICATE  login  YWxpY2U \r\n", Some(Mechanism::Login), Some("YWxpY2U")),
            (b"a AUTHENTICATE NTLM\r\n", None, None),
        ];
        for (line, mechanism, initial) in cases {
            let expected = Command::Authenticate { mechanism: *mechanism, initial: initial.map(Secret::from) };
            assert!(parse(line) == expected, "{}", line.escape_ascii());
        }
        for line in [&b"a AUTHENTICATE XOAUTH2 YWxpY2U=\r\n"[..], b"a authenticate oauthbearer\r\n"] {
            assert!(parse(line) == Command::Bearer, "{}", line.escape_ascii());
        }
        for line in [&b"a AUTHENTICATE\r\n"[..], b"a AUTHENTICATE PLAIN YQ== YQ==\r\n"] {
            assert!(parse(line) == Command::Malformed, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn tells_commands_for_later_from_unknown_ones() {
        let cases: &[(&[u8], Command)] = &[
            (b"a CAPABILITY\r\n", Command::Capability),
            (b"a  capability \r\n", Command::Capability),
            (b"a ID NIL\r\n", Command::Id),
            (b"a ID (\"name\" \"caf\xe9\")\r\n", Command::Id),
            (b"a NOOP now\r\n", Command::Noop),
            (b"a starttls\r\n", Command::StartTls),
            (b"a SELECT INBOX\r\n", Command::NeedsLogin),
            (b"a uid fetch what ever\r\n", Command::NeedsLogin),
            (b"a XYZZY\r\n", Command::Unknown),
            (b"GET / HTTP/1.1\r\n", Command::Unknown),
        ];
        for (line, expected) in cases {
            assert!(parse(line) == *expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_tag_is_echoed_only_if_it_is_one() {
        for (line, expected) in [("a1 NOOP\r\n", "a1"), ("A.b]~=1\tNOOP\r\n", "A.b]~=1"), ("LOGIN a b\n", "LOGIN")] {
            assert_eq!(tag(line.as_bytes()), Some(expected));
        }
        for line in [
            "",
            "\r\n",
            " a NOOP\r\n",
            "c2VjcmV0\r\n",
            "a1 \r\n",
            "a* NOOP\r\n",
            "+ x\r\n",
            "a\u{7f} x\r\n",
            "\u{e9} x\r\n",
        ] {
            assert_eq!(tag(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(tag(format!("{} NOOP\r\n", "a".repeat(TAG_LIMIT + 1)).as_bytes()), None);
    }
}
