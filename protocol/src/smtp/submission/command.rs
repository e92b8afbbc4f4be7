//! One command line of a client that has logged in.

use smtp_proto::Request;

use super::envelope_path::{EnvelopePath, Verb};
use crate::sasl::exchange::trimmed;
use crate::smtp::command::{is, split};

/// Most digits of a chunk's size: as many as no reader of 64 bits can take for another number.
const CHUNK_DIGITS: usize = 18;

/// What a client wants. Lines are without their ends, as they are to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Mail {
        line: Vec<u8>,
        path: EnvelopePath,
    },
    Rcpt {
        line: Vec<u8>,
        path: EnvelopePath,
    },
    /// MAIL or RCPT without an address that every reader finds in it.
    NoPath(Verb),
    Data {
        line: Vec<u8>,
    },
    Bdat {
        count: u64,
        last: bool,
    },
    Rset,
    Hello {
        extended: bool,
    },
    Quit,
    Auth,
    /// A command that begins nothing and that is answered once: known or not, it goes on.
    Other {
        line: Vec<u8>,
    },
    /// It is answered here, with this.
    Refused(&'static str),
    /// The bytes that follow cannot be distinguished from commands: send this reply and end the session.
    Fatal {
        answer: &'static str,
        why: &'static str,
    },
}

impl Command {
    /// Understands a line, its line end still on or not.
    pub(super) fn parse(line: &[u8]) -> Self {
        let line = trimmed(line);
        let (verb, rest) = split(line);
        let upper = verb.to_ascii_uppercase();
        if upper == b"BDAT" {
            return Self::bdat(rest);
        }
        // A CR within a line would be a line end to some servers, and what follows it another command.
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Self::Refused("500 5.5.2 A command cannot have control characters");
        }
        match upper.as_slice() {
            b"" => Self::Refused("500 5.5.2 This line has no command"),
            b"MAIL" => match EnvelopePath::parse(Verb::Mail, rest) {
                Some(path) => Self::Mail { line: line.to_vec(), path },
                None => Self::NoPath(Verb::Mail),
            },
            b"RCPT" => match EnvelopePath::parse(Verb::Rcpt, rest) {
                Some(path) => Self::Rcpt { line: line.to_vec(), path },
                None => Self::NoPath(Verb::Rcpt),
            },
            b"AUTH" => Self::Auth,
            b"EHLO" => Self::Hello { extended: true },
            b"HELO" => Self::Hello { extended: false },
            b"STARTTLS" => Self::Refused("503 5.5.1 TLS can only start before the login"),
            // They begin a message as MAIL does (RFC 821, 3.4), end one as DATA does (RFC 4468, 3), turn the connection
            // round (RFC 821, 3.8; RFC 2645), or speak in the name of another client: each would go past what is checked here.
            b"SEND" | b"SOML" | b"SAML" | b"BURL" | b"TURN" | b"ATRN" | b"XCLIENT" | b"XFORWARD" | b"XPROXY"
            | b"XPROXYFROM" | b"XPROXYTO" | b"X-EXPS" => Self::Refused("502 5.5.1 This command is not offered"),
            _ => Self::simple(line),
        }
    }

    /// The verbs without a path.
    fn simple(line: &[u8]) -> Self {
        let whole = [line, b"\r\n"].concat();
        match Request::parse(&mut whole.iter()) {
            Ok(Request::Data) => Self::Data { line: line.to_vec() },
            Ok(Request::Rset) => Self::Rset,
            Ok(Request::Quit) => Self::Quit,
            _ => Self::Other { line: line.to_vec() },
        }
    }

    /// How many octets follow must be certain: they are no commands. So this is read more strictly than anything else, and sent
    /// in canonical form.
    fn bdat(rest: &[u8]) -> Self {
        let mut words = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let count = words.next().filter(|word| word.len() <= CHUNK_DIGITS).and_then(number);
        let last = words.next().map(|word| is(word, "LAST"));
        match (count, last, words.next()) {
            (Some(count), None | Some(true), None) => Self::Bdat { count, last: last.is_some() },
            _ => Self::Fatal {
                answer: "501 5.5.4 Not understood: write BDAT size, or BDAT size LAST",
                why: "a chunk of unknown size",
            },
        }
    }

    /// Whether several of these may be sent before the first reply.
    pub(super) fn is_recipient(&self) -> bool {
        matches!(self, Self::Rcpt { .. })
    }
}

/// Whether a command that is not understood can have no part in sending.
pub(super) fn is_harmless(line: &[u8]) -> bool {
    ["NOOP", "VRFY", "HELP"].iter().any(|verb| is(split(line).0, verb))
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(line: &str) -> Command {
        Command::Other { line: line.into() }
    }

    /// What goes on for MAIL or RCPT.
    fn command(line: &[u8]) -> String {
        let (verb, path, line) = match Command::parse(line) {
            Command::Mail { line, path } => (Verb::Mail, path, line),
            Command::Rcpt { line, path } => (Verb::Rcpt, path, line),
            other => panic!("{other:?}"),
        };
        String::from_utf8(path.command(verb, &line)).unwrap()
    }

    #[test]
    fn paths_go_on_as_they_came_or_as_they_should_have() {
        for (line, expected) in [
            (&b"MAIL FROM:<a@b.c>\r\n"[..], "MAIL FROM:<a@b.c>"),
            (b"mail from:<a@b.c> SIZE=1 X-NEW=\r\n", "mail from:<a@b.c> SIZE=1 X-NEW="),
            (b"MAIL FROM:<a@b.c>\n", "MAIL FROM:<a@b.c>"),
            (b"MAIL FROM:<a@b.c> \0\0\r\n", "MAIL FROM:<a@b.c>"),
            (b"MAIL  FROM:<a@b.c>\r\n", "MAIL FROM:<a@b.c>"),
            (b"MAIL\tFROM:<a@b.c>\r\n", "MAIL FROM:<a@b.c>"),
            (b"mail from: a@b.c  SIZE=1\r\n", "MAIL FROM:<a@b.c> SIZE=1"),
            (b"rcpt to:a@b.c\r\n", "RCPT TO:<a@b.c>"),
            (b"rcpt to:<a@b.c>\r\n", "rcpt to:<a@b.c>"),
        ] {
            assert_eq!(command(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn understands_commands_in_good_and_in_bad_shape() {
        let table: &[(&[u8], Command)] = &[
            (b"DATA\r\n", Command::Data { line: b"DATA".into() }),
            (b"data now\r\n", Command::Data { line: b"data now".into() }),
            (b"BDAT 10\r\n", Command::Bdat { count: 10, last: false }),
            (b"bdat 0 last\r\n", Command::Bdat { count: 0, last: true }),
            (b"RSET\r\n", Command::Rset),
            (b"QUIT\r\n", Command::Quit),
            (b"EHLO x\r\n", Command::Hello { extended: true }),
            (b"HELO\r\n", Command::Hello { extended: false }),
            (b"AUTH PLAIN AGEAYg==\r\n", Command::Auth),
            (b"AUTH=LOGIN\r\n", Command::Auth),
            (b"NOOP\r\n", other("NOOP")),
            (b"VRFY bob\r\n", other("VRFY bob")),
            (b"X-NEW thing  with blanks\r\n", other("X-NEW thing  with blanks")),
        ];
        for (line, command) in table {
            assert_eq!(Command::parse(line), *command, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn unchecked_or_ambiguous_command_is_not_relayed() {
        for line in [
            &b"MAIL FROM:<a@b.c>\rRCPT TO:<x@y.z>\r\n"[..],
            b"NOOP\0RSET\r\n",
            b"RSET\x0bDATA\r\n",
            b"\r\n",
            b"STARTTLS\r\n",
            b"SEND FROM:<a@b.c>\r\n",
            b"soml from:<a@b.c>\r\n",
            b"SAML FROM:<a@b.c>\r\n",
            b"BURL imap://x LAST\r\n",
            b"TURN\r\n",
            b"ATRN b.c\r\n",
            b"XCLIENT NAME=x\r\n",
        ] {
            assert!(matches!(Command::parse(line), Command::Refused(_)), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn invalid_path_is_distinguished_from_other_errors() {
        assert_eq!(Command::parse(b"MAIL a@b.c\r\n"), Command::NoPath(Verb::Mail));
        assert_eq!(Command::parse(b"RCPT TO:<a@b.c\r\n"), Command::NoPath(Verb::Rcpt));
    }

    #[test]
    fn a_chunk_of_uncertain_size_ends_the_session() {
        for line in [
            "BDAT",
            "BDAT x",
            "BDAT -1",
            "BDAT +1",
            "BDAT 1e3",
            "BDAT 0x10",
            "BDAT 10 LAST x",
            "BDAT 10 MORE",
            "BDAT 10LAST",
            "BDAT 99999999999999999999 LAST",
            "BDAT 10\rLAST",
            "BDAT 10\tLAST",
            "BDAT 10\0LAST",
            "BDAT LAST",
        ] {
            assert!(matches!(Command::parse(line.as_bytes()), Command::Fatal { .. }), "{line:?}");
        }
    }
}
