//! The server's side of PLAIN and LOGIN, step by step, for the protocols to put into their own words.

use super::{Malformed, decode, login, plain};
use crate::line::stripped;
use crate::{Login, Secret};

/// A mechanism that clients may log in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// \[MS-XLOGIN\].
    Login,
}

impl Mechanism {
    /// What is offered, in the order of preference. Never NTLM or GSSAPI: a .NET client would try those first.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Login];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// The reply to a client that sends an access token of its own: Oxpost cannot verify whose token that is, and the program
/// that made it was set up for Microsoft's own server.
pub const NO_TOKEN_NEEDED: &str = "No token is needed here, log in with your Oxpost password";

/// Whether this is a mechanism by which a client presents an access token (RFC 7628, and Google's and Microsoft's own).
pub fn is_bearer(name: &[u8]) -> bool {
    [&b"XOAUTH2"[..], b"OAUTHBEARER", b"XOAUTH"].iter().any(|bearer| bearer.eq_ignore_ascii_case(name))
}

/// An exchange that waits for the client's next answer.
#[derive(Debug)]
pub struct Exchange(Step);

#[derive(Debug)]
enum Step {
    Plain,
    LoginUser,
    LoginPassword { user: Secret },
}

/// Where an exchange stands.
#[derive(Debug)]
pub enum Progress {
    /// Send this challenge, base64 already, and give the client's line to the exchange.
    Challenge(&'static str, Exchange),
    /// The client has said everything.
    Done(Login),
    /// The client gave up with a lone `*`.
    Cancelled,
    /// What the client sent is not base64 or not what the mechanism prescribes.
    Malformed,
}

impl Exchange {
    /// Begins, with the initial response if the client sent one. An empty one (nothing, or `=`) is as good as none: neither
    /// mechanism has a use for it, and clients that send it expect to be asked.
    pub fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> Progress {
        let exchange = Self(match mechanism {
            Mechanism::Plain => Step::Plain,
            Mechanism::Login => Step::LoginUser,
        });
        match initial.map(trimmed) {
            None | Some(b"" | b"=") => Progress::Challenge(exchange.challenge(), exchange),
            Some(initial) => exchange.answer(initial),
        }
    }

    /// Goes on with the line that answers the last challenge, its line end still on or not.
    pub fn answer(self, line: &[u8]) -> Progress {
        let line = trimmed(line);
        if line == b"*" {
            return Progress::Cancelled;
        }
        self.decoded(line).unwrap_or(Progress::Malformed)
    }

    fn decoded(self, line: &[u8]) -> Result<Progress, Malformed> {
        let message = decode(line)?;
        Ok(match self.0 {
            Step::Plain => Progress::Done(plain::login(&message)?),
            Step::LoginUser => {
                let next = Self(Step::LoginPassword { user: message });
                Progress::Challenge(next.challenge(), next)
            }
            Step::LoginPassword { user } => Progress::Done(login::login(&user, &message)?),
        })
    }

    fn challenge(&self) -> &'static str {
        match self.0 {
            Step::Plain => "",
            Step::LoginUser => login::USER_PROMPT,
            Step::LoginPassword { .. } => login::PASSWORD_PROMPT,
        }
    }
}

/// Without the blanks, line ends and NUL at either end; devices pad their lines with all of them.
pub(crate) fn trimmed(line: &[u8]) -> &[u8] {
    let padding = |byte: u8| byte.is_ascii_whitespace() || byte == 0;
    stripped(line, padding, padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(progress: Progress) -> (&'static str, Exchange) {
        match progress {
            Progress::Challenge(text, exchange) => (text, exchange),
            other => panic!("{other:?}"),
        }
    }

    fn done(progress: Progress) -> (String, String) {
        match progress {
            Progress::Done(login) => (login.user, login.password.reveal_str().unwrap().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_is_accepted_with_or_without_initial_response() {
        let alice = ("alice".to_owned(), "secret".to_owned());
        assert_eq!(done(Exchange::start(Mechanism::Plain, Some(b"AGFsaWNlAHNlY3JldA=="))), alice);
        for nothing in [None, Some(&b""[..]), Some(b"=")] {
            let (text, exchange) = challenge(Exchange::start(Mechanism::Plain, nothing));
            assert_eq!(text, "");
            assert_eq!(done(exchange.answer(b"AGFsaWNlAHNlY3JldA==\r\n")), alice);
        }
    }

    #[test]
    fn login_in_two_steps_or_with_the_user_ahead() {
        let alice = ("alice".to_owned(), "secret".to_owned());
        let (text, exchange) = challenge(Exchange::start(Mechanism::Login, None));
        assert_eq!(text, login::USER_PROMPT);
        let (text, exchange) = challenge(exchange.answer(b"YWxpY2U=\r\n"));
        assert_eq!(text, login::PASSWORD_PROMPT);
        assert_eq!(done(exchange.answer(b"c2VjcmV0\n")), alice);
        let (text, exchange) = challenge(Exchange::start(Mechanism::Login, Some(b"YWxpY2U=")));
        assert_eq!(text, login::PASSWORD_PROMPT);
        assert_eq!(done(exchange.answer(b"c2VjcmV0\0\r\n")), alice);
    }

    #[test]
    fn ends_when_cancelled_or_malformed() {
        let (_, exchange) = challenge(Exchange::start(Mechanism::Login, None));
        assert!(matches!(exchange.answer(b"*\r\n"), Progress::Cancelled));
        assert!(matches!(Exchange::start(Mechanism::Plain, Some(b"!!")), Progress::Malformed));
        assert!(matches!(Exchange::start(Mechanism::Plain, Some(b"YWxpY2U=")), Progress::Malformed));
    }

    #[test]
    fn knows_its_mechanisms_in_any_case() {
        assert_eq!(Mechanism::named(b"plain"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::named(b"Login"), Some(Mechanism::Login));
        assert_eq!(Mechanism::named(b"NTLM"), None);
        assert!(is_bearer(b"xoauth2") && is_bearer(b"OAUTHBEARER") && !is_bearer(b"PLAIN") && !is_bearer(b""));
    }
}
