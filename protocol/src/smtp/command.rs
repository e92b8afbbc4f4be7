//! One command line of a client that has not logged in, understood as leniently as the devices of the field need.

use smtp_proto::{AUTH_LOGIN, AUTH_OAUTHBEARER, AUTH_PLAIN, AUTH_XOAUTH2, Error, Request};
use zeroize::Zeroizing;

use crate::sasl::exchange::{Mechanism, trimmed};

/// What a client may ask before its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Ehlo,
    Helo,
    StartTls {
        /// Whether it came without parameters, as RFC 3207, 4 demands.
        bare: bool,
    },
    Auth(Auth<'a>),
    Noop,
    Rset,
    Quit,
    Help,
    Vrfy,
    /// The only command whose data does not wait for a reply: the bytes after it are a message, not commands.
    Bdat,
    /// MAIL and all that follows it, in good shape or not.
    NeedsLogin,
    /// A known verb with parameters that cannot be.
    BadParameters,
    Unknown,
}

/// The parameters of AUTH (RFC 4954, 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth<'a> {
    With {
        mechanism: Mechanism,
        initial: Option<&'a [u8]>,
    },
    /// XOAUTH2 or OAUTHBEARER: a client that would bring a token of its own.
    Bearer,
    OtherMechanism,
    NoMechanism,
}

impl<'a> Command<'a> {
    /// Understands a line, its line end still on or not.
    ///
    /// smtp-proto knows the verbs, the mechanisms and the shapes of the parameters. It sees the line after the padding and
    /// the doubled blanks of old devices are off, and the initial response never passes through it.
    pub(super) fn parse(line: &'a [u8]) -> Self {
        let (verb, rest) = split(trimmed(line));
        // A verb alone is given a parameter: `EHLO` without a name is an error otherwise.
        let (parameter, initial) = if is(verb, "AUTH") { split(rest) } else { (rest, &b""[..]) };
        let parameter = if rest.is_empty() { b"-" } else { parameter };
        let simple = Zeroizing::new([verb, b" ", parameter, b"\r\n"].concat());
        match Request::parse(&mut simple.iter()) {
            Ok(Request::Ehlo { .. }) => Self::Ehlo,
            Ok(Request::Helo { .. }) => Self::Helo,
            Ok(Request::StartTls) => Self::StartTls { bare: rest.is_empty() },
            Ok(Request::Auth { mechanism, .. }) => {
                let initial = (!initial.is_empty()).then_some(initial);
                Self::Auth(match mechanism {
                    _ if rest.is_empty() => Auth::NoMechanism,
                    AUTH_PLAIN => Auth::With { mechanism: Mechanism::Plain, initial },
                    AUTH_LOGIN => Auth::With { mechanism: Mechanism::Login, initial },
                    AUTH_XOAUTH2 | AUTH_OAUTHBEARER => Auth::Bearer,
                    _ => Auth::OtherMechanism,
                })
            }
            Err(_) if is(verb, "AUTH") && rest.is_empty() => Self::Auth(Auth::NoMechanism),
            Err(_) if is(verb, "AUTH") => Self::Auth(Auth::OtherMechanism),
            Ok(Request::Noop { .. }) => Self::Noop,
            Ok(Request::Rset) => Self::Rset,
            Ok(Request::Quit) => Self::Quit,
            Ok(Request::Help { .. }) => Self::Help,
            Ok(Request::Vrfy { .. }) => Self::Vrfy,
            Ok(Request::Bdat { .. }) => Self::Bdat,
            Err(_) if is(verb, "BDAT") => Self::Bdat,
            Err(_) if is(verb, "EHLO") || is(verb, "HELO") => Self::BadParameters,
            Ok(Request::Lhlo { .. }) | Err(Error::UnknownCommand) => Self::Unknown,
            Err(_) if is(verb, "LHLO") => Self::Unknown,
            Ok(_) | Err(_) => Self::NeedsLogin,
        }
    }
}

/// The first word, and what follows the blanks behind it. `AUTH=LOGIN`, as old servers wrote it in their answer to EHLO
/// and some clients repeat it, is `AUTH LOGIN`.
pub(super) fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let begins_with_auth = line.get(..4).is_some_and(|verb| is(verb, "AUTH"));
    let end = line
        .iter()
        .position(|&byte| byte.is_ascii_whitespace() || (byte == b'=' && begins_with_auth))
        .unwrap_or(line.len());
    let rest = line.get(end..).unwrap_or_default();
    let rest = if begins_with_auth { rest.strip_prefix(b"=").unwrap_or(rest) } else { rest };
    (line.get(..end).unwrap_or_default(), rest.trim_ascii_start())
}

/// Padding before a verb that is looked past to see AUTH behind it. Far below the bound of a command: were it not, the
/// bound of a line would depend on how much of it arrives in one read.
const PADDING_LIMIT: usize = 64;

/// Whether the peer's bytes begin an AUTH line, which may be longer than others.
pub(super) fn begins_auth(unread: &[u8]) -> bool {
    let padding = unread.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | 0)).count();
    padding <= PADDING_LIMIT && unread.get(padding..padding + 4).is_some_and(|verb| is(verb, "AUTH"))
}

/// Whether the line is MAIL, in whatever shape.
pub(super) fn is_mail(line: &[u8]) -> bool {
    is(split(trimmed(line)).0, "MAIL")
}

pub(super) fn is(word: &[u8], verb: &str) -> bool {
    word.eq_ignore_ascii_case(verb.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_what_devices_send() {
        let plain = |initial| Command::Auth(Auth::With { mechanism: Mechanism::Plain, initial });
        let login = |initial| Command::Auth(Auth::With { mechanism: Mechanism::Login, initial });
        let table: &[(&[u8], Command<'_>)] = &[
            (b"EHLO printer\r\n", Command::Ehlo),
            (b"EHLO\r\n", Command::Ehlo),
            (b"ehlo \r\n", Command::Ehlo),
            (b"EHLO  two blanks\n", Command::Ehlo),
            (b"EHLO [192.0.2.1]\r\n", Command::Ehlo),
            (b"EHLO b\xfcro\r\n", Command::Ehlo),
            (b"HELO\r\n", Command::Helo),
            (b"Helo scanner \0\0\0\r\n", Command::Helo),
            (b"\0\0EHLO x\r\n", Command::Ehlo),
            (b"STARTTLS\r\n", Command::StartTls { bare: true }),
            (b"STARTTLS \r\n", Command::StartTls { bare: true }),
            (b"STARTTLS now\r\n", Command::StartTls { bare: false }),
            (b"AUTH PLAIN\r\n", plain(None)),
            (b"auth  plain  AGEAYg==\r\n", plain(Some(b"AGEAYg=="))),
            (b"AUTH PLAIN =\r\n", plain(Some(b"="))),
            (b"AUTH LOGIN \r\n", login(None)),
            (b"AUTH login YWxpY2U=\r\n", login(Some(b"YWxpY2U="))),
            (b"AUTH=LOGIN\r\n", login(None)),
            (b"AUTH=PLAIN AGEAYg==\r\n", plain(Some(b"AGEAYg=="))),
            (b"AUTH\tLOGIN\r\n", login(None)),
            (b"AUTH\r\n", Command::Auth(Auth::NoMechanism)),
            (b"AUTH=\r\n", Command::Auth(Auth::NoMechanism)),
            (b"AUTH -\r\n", Command::Auth(Auth::OtherMechanism)),
            (b"AUTH NTLM\r\n", Command::Auth(Auth::OtherMechanism)),
            (b"AUTH CRAM-MD5\r\n", Command::Auth(Auth::OtherMechanism)),
            (b"AUTH X-NEVER-HEARD-OF-THIS-ONE abc\r\n", Command::Auth(Auth::OtherMechanism)),
            (b"AUTH XOAUTH2 dXNlcj0=\r\n", Command::Auth(Auth::Bearer)),
            (b"AUTH OAUTHBEARER\r\n", Command::Auth(Auth::Bearer)),
            (b"NOOP\r\n", Command::Noop),
            (b"noop are you there\r\n", Command::Noop),
            (b"RSET\r\n", Command::Rset),
            (b"quit\r\n", Command::Quit),
            (b"QUIT  \r\r\n", Command::Quit),
            (b"HELP\r\n", Command::Help),
            (b"VRFY postmaster\r\n", Command::Vrfy),
            (b"VRFY\r\n", Command::Vrfy),
            (b"MAIL FROM:<a@b.c>\r\n", Command::NeedsLogin),
            (b"MAIL FROM: a@b.c\r\n", Command::NeedsLogin),
            (b"mail from:<a@b.c> SIZE=1000 X-NEW=1\r\n", Command::NeedsLogin),
            (b"RCPT TO:<Postmaster>\r\n", Command::NeedsLogin),
            (b"DATA\r\n", Command::NeedsLogin),
            (b"EXPN list\r\n", Command::NeedsLogin),
            (b"ETRN b.c\r\n", Command::NeedsLogin),
            (b"BDAT 12 LAST\r\n", Command::Bdat),
            (b"BDAT\r\n", Command::Bdat),
            (b"LHLO x\r\n", Command::Unknown),
            (b"LHLO\r\n", Command::Unknown),
            (b"XCLIENT NAME=x\r\n", Command::Unknown),
            (b"GET / HTTP/1.1\r\n", Command::Unknown),
            (b"AUTHENTICATE PLAIN\r\n", Command::Unknown),
            (b"\r\n", Command::Unknown),
            (b"\xff\xfe\x00\x01\r\n", Command::Unknown),
        ];
        for (line, command) in table {
            assert_eq!(Command::parse(line), *command, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_name_longer_than_any_domain_is_refused() {
        let line = [b"EHLO ".to_vec(), vec![b'x'; 300]].concat();
        assert_eq!(Command::parse(&line), Command::BadParameters);
    }
}
