//! POP3 towards the mail server: `AUTH XOAUTH2` in two lines.
//!
//! Exchange Online answers the one-line form, which RFC 5034 allows, with `-ERR Protocol error. Connection is closed. 10`;
//! <https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>
//! documents the two-line form only.

use std::fmt;

use crate::line;
use crate::sasl::Malformed;
use crate::sasl::redact::Redactor;
use crate::sasl::xoauth2::XOAuth2;
use crate::state_machine::{Io, StateMachine};
use crate::{LoginStep, Secret, UpstreamDialogue, UpstreamEvent, UpstreamFailure};

/// Longest line taken from the server. RFC 2449, 4 allows 512; an error challenge in base64 may be longer.
const LINE_LIMIT: usize = 8192;

/// The dialogue with the mail server, up to the login. The connection has TLS from its first byte.
pub struct Upstream {
    message: Secret,
    redactor: Redactor,
    io: Io<UpstreamEvent>,
    state: State,
    failed_at: Option<LoginStep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    /// AUTH is said, the go-ahead awaited.
    Offering,
    /// The token is sent.
    TokenSent,
    /// The server gave its reason in a challenge; that is answered and the refusal itself awaited.
    ChallengeAnswered,
    Over,
}

/// The beginnings of a line that mean something here (RFC 1939, 3; RFC 5034, 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    Err,
    Challenge,
    Other,
}

impl Upstream {
    /// A new connection that will log in with these.
    ///
    /// # Errors
    /// The user or the token contains bytes that an XOAUTH2 message cannot carry.
    pub fn new(credentials: &XOAuth2) -> Result<Self, Malformed> {
        let message = credentials.message()?;
        Ok(Self {
            redactor: Redactor::new(credentials, &message),
            message,
            io: Io::default(),
            state: State::Greeting,
            failed_at: None,
        })
    }

    fn reply(&mut self, line: &[u8]) {
        let text = self.redactor.printable(line);
        match (self.state, Status::of(line)) {
            (State::Greeting, Status::Ok) => {
                self.io.out.say("AUTH XOAUTH2");
                self.state = State::Offering;
            }
            (State::Greeting, Status::Err) => self.fail(UpstreamFailure::Unavailable(text)),
            (State::Offering, Status::Challenge) => {
                self.io.out.say(self.message.reveal());
                self.state = State::TokenSent;
            }
            (State::TokenSent, Status::Challenge) => {
                // The reason, in base64; an empty line asks for the refusal itself.
                self.io.out.say("");
                self.state = State::ChallengeAnswered;
            }
            (State::TokenSent | State::ChallengeAnswered, Status::Ok) => {
                self.io.out.report(UpstreamEvent::Authenticated { capabilities: Vec::new() });
                self.state = State::Over;
            }
            (_, Status::Err) if is_temporary(&text) => self.fail(UpstreamFailure::Unavailable(text)),
            (State::Offering, Status::Err) => self.fail(UpstreamFailure::NotOffered(text)),
            // Exchange says this to a token of more than 4096 characters: a fresh one will not be shorter.
            (_, Status::Err) if has(&text, "protocol error") => self.fail(UpstreamFailure::Protocol(text)),
            (_, Status::Err) => self.fail(UpstreamFailure::TokenRefused(text)),
            _ => self.fail(UpstreamFailure::Protocol(text)),
        }
    }

    fn fail(&mut self, failure: UpstreamFailure) {
        self.failed_at = Some(self.step());
        self.io.out.report(UpstreamEvent::Failed(failure));
        self.state = State::Over;
    }
}

impl Status {
    fn of(line: &[u8]) -> Self {
        let begins_with = |word: &[u8]| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if begins_with(b"+OK") {
            Self::Ok
        } else if begins_with(b"-ERR") {
            Self::Err
        } else if begins_with(b"+") {
            Self::Challenge
        } else {
            Self::Other
        }
    }
}

/// Whether the server says it would work at another time (RFC 3206, 4; RFC 2449, 8.1; Exchange's throttling has no code).
fn is_temporary(text: &str) -> bool {
    ["[SYS/TEMP", "[IN-USE", "[LOGIN-DELAY", "throttled"].iter().any(|sign| has(text, sign))
}

fn has(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

impl StateMachine for Upstream {
    type Event = UpstreamEvent;

    fn io(&self) -> &Io<UpstreamEvent> {
        &self.io
    }

    fn io_mut(&mut self) -> &mut Io<UpstreamEvent> {
        &mut self.io
    }

    fn advance(&mut self) -> bool {
        if self.state == State::Over {
            return false;
        }
        match self.io.input.take_line(LINE_LIMIT) {
            Ok(Some(line)) => self.reply(&line),
            Ok(None) if self.io.input.is_ended() => self.fail(UpstreamFailure::ConnectionClosed),
            Ok(None) => return false,
            Err(line::TooLong) => {
                self.fail(UpstreamFailure::Protocol(format!("a reply line has more than {LINE_LIMIT} bytes")));
            }
        }
        true
    }
}

impl UpstreamDialogue for Upstream {
    fn step(&self) -> LoginStep {
        match self.state {
            State::Greeting => LoginStep::Greeting,
            State::Offering | State::TokenSent | State::ChallengeAnswered => LoginStep::Authenticate,
            State::Over => self.failed_at.unwrap_or(LoginStep::Authenticate),
        }
    }

    fn waits_for(&self) -> &'static str {
        match self.state {
            State::Greeting => "its greeting",
            State::Offering => "its go-ahead for the token",
            State::TokenSent | State::ChallengeAnswered => "its answer to the token",
            State::Over => "nothing more",
        }
    }

    /// Nothing to forget: this dialogue never starts TLS itself.
    fn tls_started(&mut self) {}
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_of_a_line() {
        for (line, status) in [
            (&b"+OK\r\n"[..], Status::Ok),
            (b"+ok The Microsoft Exchange POP3 service is ready.\r\n", Status::Ok),
            (b"-ERR no\r\n", Status::Err),
            (b"+\r\n", Status::Challenge),
            (b"+ \r\n", Status::Challenge),
            (b"+ T0sgbm8=\r\n", Status::Challenge),
            (b"* OK IMAP\r\n", Status::Other),
            (b"\r\n", Status::Other),
        ] {
            assert_eq!(Status::of(line), status, "{}", line.escape_ascii());
        }
    }
}
