//! One line of a server, taken apart as far as a login needs it.
//!
//! First by imap-codec; what it refuses (8-bit text, an OK without a text, data it does not know) by the few words that
//! matter here. Texts and capabilities are taken from the line itself, since the codec does not keep a server's
//! spelling.

use imap_codec::decode::Decoder;
use imap_codec::imap_types::response as codec;
use imap_codec::{GreetingCodec, ResponseCodec};

use crate::line::without_end;

/// The first line of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting<'a> {
    Ok(&'a [u8]),
    PreAuth,
    Bye(&'a [u8]),
    /// This is not IMAP.
    Other,
}

/// Every later line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response<'a> {
    /// `+`: the server waits for more of the command.
    Continue,
    Capability(Vec<String>),
    Bye(&'a [u8]),
    Tagged {
        tag: &'a [u8],
        condition: Condition,
        text: &'a [u8],
    },
    /// An untagged OK, NO or BAD.
    Remark {
        condition: Condition,
        text: &'a [u8],
    },
    /// Anything else. Only this may announce a literal.
    Data,
}

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Ok,
    No,
    Bad,
}

pub(super) fn greeting(line: &[u8]) -> Greeting<'_> {
    let (first, kind, text) = three(line);
    match GreetingCodec::new().decode(line) {
        Ok((_, understood)) => match understood.kind {
            codec::GreetingKind::Ok => Greeting::Ok(text),
            codec::GreetingKind::PreAuth => Greeting::PreAuth,
            codec::GreetingKind::Bye => Greeting::Bye(text),
        },
        Err(_) if first != b"*" => Greeting::Other,
        Err(_) => match kind.to_ascii_uppercase().as_slice() {
            b"OK" => Greeting::Ok(text),
            b"PREAUTH" => Greeting::PreAuth,
            b"BYE" => Greeting::Bye(text),
            _ => Greeting::Other,
        },
    }
}

pub(super) fn response(line: &[u8]) -> Response<'_> {
    match ResponseCodec::new().decode(line) {
        Ok(([], understood)) => by_the_grammar(&understood, line),
        _ => leniently(line),
    }
}

fn by_the_grammar<'a>(understood: &codec::Response<'_>, line: &'a [u8]) -> Response<'a> {
    let (tag, _, text) = three(line);
    match understood {
        codec::Response::CommandContinuationRequest(_) => Response::Continue,
        codec::Response::Data(codec::Data::Capability(_)) => Response::Capability(words(text)),
        codec::Response::Data(_) => Response::Data,
        codec::Response::Status(codec::Status::Bye(_)) => Response::Bye(text),
        codec::Response::Status(codec::Status::Untagged(body)) => {
            Response::Remark { condition: condition(body.kind), text }
        }
        codec::Response::Status(codec::Status::Tagged(codec::Tagged { body, .. })) => {
            Response::Tagged { tag, condition: condition(body.kind), text }
        }
    }
}

fn condition(kind: codec::StatusKind) -> Condition {
    match kind {
        codec::StatusKind::Ok => Condition::Ok,
        codec::StatusKind::No => Condition::No,
        codec::StatusKind::Bad => Condition::Bad,
    }
}

fn leniently(line: &[u8]) -> Response<'_> {
    let (tag, kind, text) = three(line);
    let kind = kind.to_ascii_uppercase();
    let condition = match kind.as_slice() {
        b"OK" => Some(Condition::Ok),
        b"NO" => Some(Condition::No),
        b"BAD" => Some(Condition::Bad),
        _ => None,
    };
    match (tag, condition) {
        (b"+", _) => Response::Continue,
        (b"*", Some(condition)) => Response::Remark { condition, text },
        (b"*", None) if kind == b"BYE" => Response::Bye(text),
        (b"*", None) if kind == b"CAPABILITY" => Response::Capability(words(text)),
        (tag, Some(condition)) if !tag.is_empty() => Response::Tagged { tag, condition, text },
        _ => Response::Data,
    }
}

/// The capabilities in the response code at the beginning of a text, if there is one (RFC 3501, 7.1).
pub(super) fn capability_code(text: &[u8]) -> Option<Vec<String>> {
    let code = text.strip_prefix(b"[")?;
    let code = code.get(..memchr::memchr(b']', code)?)?;
    let (name, list) = split_word(code);
    name.eq_ignore_ascii_case(b"CAPABILITY").then(|| words(list))
}

/// Exchange can answer OK and mean an error: `OK [Error="...WrongServerException"...] AUTHENTICATE completed.`
pub(super) fn is_error(text: &[u8]) -> bool {
    text.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case(b"[Error="))
}

/// Whether it would have worked at another time: the codes of RFC 5530, 3, and how Exchange words it
/// (`Request is throttled. Suggested Backoff Time: 299961 milliseconds`, `Server Unavailable. 15`).
pub(super) fn is_temporary(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_uppercase();
    ["[UNAVAILABLE]", "[SERVERBUG]", "[LIMIT]", "[INUSE]"].iter().any(|code| text.starts_with(code))
        || ["THROTTLED", "BACKOFF TIME", "SERVER UNAVAILABLE"].iter().any(|words| text.contains(words))
}

fn words(text: &[u8]) -> Vec<String> {
    text.split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The first two words and the rest.
fn three(line: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (first, rest) = split_word(without_end(line));
    let (second, rest) = split_word(rest);
    (first, second, rest)
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or_default();
    (word, rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_greetings_of_any_text() {
        assert_eq!(
            greeting(b"* OK The Microsoft Exchange IMAP4 service is ready. [QgBY==]\r\n"),
            Greeting::Ok(b"The Microsoft Exchange IMAP4 service is ready. [QgBY==]")
        );
        assert_eq!(greeting(b"* ok []\n"), Greeting::Ok(b"[]"));
        assert_eq!(greeting(b"* OK\r\n"), Greeting::Ok(b""));
        assert_eq!(greeting(b"* OK caf\xe9\r\n"), Greeting::Ok(b"caf\xe9"));
        assert_eq!(greeting(b"* PREAUTH hello\r\n"), Greeting::PreAuth);
        assert_eq!(greeting(b"* BYE [UNAVAILABLE] busy\r\n"), Greeting::Bye(b"[UNAVAILABLE] busy"));
        for line in [&b"220 smtp ready\r\n"[..], b"+OK pop3\r\n", b"\r\n", b"* NO\r\n", b"a OK x\r\n", b"SSH-2.0-x\r\n"]
        {
            assert_eq!(greeting(line), Greeting::Other, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn reads_responses_with_and_without_the_grammar() {
        let tagged = |condition, text| Response::Tagged { tag: b"X1", condition, text };
        let cases: &[(&[u8], Response<'_>)] = &[
            (b"+ \r\n", Response::Continue),
            (b"+\r\n", Response::Continue),
            (b"+\n", Response::Continue),
            (b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n", Response::Continue),
            (b"+ caf\xe9\r\n", Response::Continue),
            (b"X1 OK AUTHENTICATE completed.\r\n", tagged(Condition::Ok, b"AUTHENTICATE completed.")),
            (b"X1 OK\r\n", tagged(Condition::Ok, b"")),
            (b"X1 NO [UNAVAILABLE] later\n", tagged(Condition::No, b"[UNAVAILABLE] later")),
            (b"X1 BAD caf\xe9\r\n", tagged(Condition::Bad, b"caf\xe9")),
            (b"* BYE Connection closed. 14\r\n", Response::Bye(b"Connection closed. 14")),
            (b"* bye\r\n", Response::Bye(b"")),
            (b"* OK still here\r\n", Response::Remark { condition: Condition::Ok, text: b"still here" }),
            (b"* NO caf\xe9\r\n", Response::Remark { condition: Condition::No, text: b"caf\xe9" }),
            (b"* 3 EXISTS\r\n", Response::Data),
            (b"* XYZZY (what \"ever\"\r\n", Response::Data),
            (b"[ALERT] without a star\r\n", Response::Data),
            (b"\r\n", Response::Data),
        ];
        for (line, expected) in cases {
            assert_eq!(response(line), *expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn keeps_the_spelling_of_capabilities() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            response(b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 Sasl-IR \r\n"),
            Response::Capability(list(&["IMAP4rev1", "AUTH=XOAUTH2", "Sasl-IR"]))
        );
        assert_eq!(response(b"* capability  A (b\r\n"), Response::Capability(list(&["A", "(b"])));
        assert_eq!(capability_code(b"[CAPABILITY IMAP4rev1 IDLE] hi"), Some(list(&["IMAP4rev1", "IDLE"])));
        assert_eq!(capability_code(b"[capability IDLE]"), Some(list(&["IDLE"])));
        for no in [&b"CAPABILITY IDLE"[..], b"[CAPABILITY IDLE", b"[ALERT] [CAPABILITY IDLE]", b""] {
            assert_eq!(capability_code(no), None);
        }
    }

    #[test]
    fn tells_temporary_refusals_from_others() {
        for text in [
            "[UNAVAILABLE] x",
            "[unavailable] x",
            "[LIMIT] x",
            "[SERVERBUG] x",
            "Server Unavailable. 15",
            "Request is throttled. Suggested Backoff Time: 299961 milliseconds",
        ] {
            assert!(is_temporary(text.as_bytes()), "{text}");
        }
        for text in ["AUTHENTICATE failed.", "[AUTHENTICATIONFAILED] Invalid credentials (Failure)", ""] {
            assert!(!is_temporary(text.as_bytes()), "{text}");
        }
    }
}
