//! SMTP towards the mail server: EHLO, STARTTLS, EHLO, `AUTH XOAUTH2` (RFC 5321, 3207, 4954).
//!
//! The token goes on a line of its own, after the server's 334: with a token of some thousand characters the initial
//! response exceeds the 512 octets of a command line (RFC 4954, 4), and many servers refuse that. Exchange Online documents
//! both forms; where the initial response is known to be accepted it saves a round trip.
//! <https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>

use std::fmt;

use super::reply::{Collector, Reply};
use crate::line;
use crate::sasl::Malformed;
use crate::sasl::redact::Redactor;
use crate::sasl::xoauth2::XOAuth2;
use crate::state_machine::{Io, StateMachine};
use crate::{KnownOffer, LoginStep, Secret, UpstreamDialogue, UpstreamEvent, UpstreamFailure};

/// Longest AUTH command with an initial response, its line end included: what RFC 4954, 4 considers sufficient for the lines
/// of an authentication. A longer token takes two steps.
const INITIAL_RESPONSE_LIMIT: usize = 12_288;

const AUTH: &str = "AUTH XOAUTH2";

/// How the upstream connection is to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The name to say in EHLO.
    pub host_name: String,
    /// Whether the connection starts in plain text and must be raised to TLS before the token is sent; otherwise it is TLS
    /// from its first byte, for which the caller vouches.
    pub start_tls: bool,
}

/// The dialogue with the mail server, up to the login.
pub struct Upstream {
    host_name: String,
    message: Secret,
    redactor: Redactor,
    replies: Collector,
    io: Io<UpstreamEvent>,
    state: State,
    tls: Tls,
    /// Whether the server is known to accept an initial response.
    initial_response: bool,
    misled: bool,
    failed_at: Option<LoginStep>,
    /// The extension lines of the last EHLO.
    extensions: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    StartTls,
    /// The server is ready for TLS; not one byte may come before that.
    StartingTls,
    /// AUTH is said, the go-ahead awaited.
    Offering,
    /// AUTH is said with the token in it.
    InitialResponse,
    /// The token is sent.
    TokenSent,
    /// The server gave its reason in a challenge; that is answered and the refusal itself awaited.
    ChallengeAnswered,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    ToStart,
    On,
}

impl Upstream {
    /// A new connection that will log in with these.
    ///
    /// # Errors
    /// The user or the token contains bytes that an XOAUTH2 message cannot carry.
    pub fn new(credentials: &XOAuth2, options: Options) -> Result<Self, Malformed> {
        let Options { host_name, start_tls } = options;
        let message = credentials.message()?;
        Ok(Self {
            host_name: line::reply_text(&host_name),
            redactor: Redactor::new(credentials, &message),
            message,
            replies: Collector::default(),
            io: Io::default(),
            state: State::Greeting,
            tls: if start_tls { Tls::ToStart } else { Tls::On },
            initial_response: false,
            misled: false,
            failed_at: None,
            extensions: Vec::new(),
        })
    }

    /// Sends the token with AUTH, if the server is known to accept that: one round trip less.
    #[must_use]
    pub fn with_known_offer(mut self, offer: &KnownOffer) -> Self {
        self.initial_response = offer.initial_response;
        self
    }

    fn reply(&mut self, reply: &Reply) {
        match (self.state, reply.code) {
            (State::Greeting, 220) => self.ehlo(),
            (State::Ehlo, 250) => self.extensions(reply),
            (State::StartTls, 220) => self.start_tls(),
            (State::Offering, 334) => self.send_token(),
            // The initial response was not read; an error challenge is never empty.
            (State::InitialResponse, 334) if reply.lines.iter().all(|line| line.trim_ascii().is_empty()) => {
                self.send_token()
            }
            (State::InitialResponse | State::TokenSent, 334) => {
                // The reason, in base64; an empty line asks for the refusal itself.
                self.io.out.say("");
                self.state = State::ChallengeAnswered;
            }
            (State::InitialResponse | State::TokenSent | State::ChallengeAnswered, 235) => {
                let capabilities = std::mem::take(&mut self.extensions)
                    .into_iter()
                    .filter(|line| !line.is_empty() && !is_auth(line) && !has_keyword(line, "STARTTLS"))
                    .collect();
                self.io.out.report(UpstreamEvent::Authenticated { capabilities });
                self.state = State::Over;
            }
            _ => self.unexpected(reply),
        }
    }

    fn ehlo(&mut self) {
        self.io.out.say(format!("EHLO {}", self.host_name));
        self.state = State::Ehlo;
    }

    /// The one place from which AUTH is reached, and only with TLS.
    fn extensions(&mut self, reply: &Reply) {
        self.extensions = reply.lines.iter().skip(1).map(|line| line::printable(line.trim_ascii())).collect();
        match self.tls {
            Tls::ToStart if self.extensions.iter().any(|line| has_keyword(line, "STARTTLS")) => {
                self.io.out.say("STARTTLS");
                self.state = State::StartTls;
            }
            Tls::ToStart => {
                // A firewall that masks commands shows in what is offered instead.
                let offered = self.extensions.join(", ");
                let offered = if offered.is_empty() { "nothing" } else { &offered };
                let text = format!("the server does not offer STARTTLS but {offered}");
                self.fail(UpstreamFailure::NotOffered(self.redactor.printable(text.as_bytes())));
            }
            Tls::On if self.extensions.iter().any(|line| offers_xoauth2(line)) => self.authenticate(),
            Tls::On => {
                let offered: Vec<&str> = self.extensions.iter().map(String::as_str).filter(|l| is_auth(l)).collect();
                let offered = if offered.is_empty() { "no AUTH".into() } else { offered.join(", ") };
                let text = format!("the server does not offer XOAUTH2 but {offered}");
                self.fail(UpstreamFailure::NotOffered(self.redactor.printable(text.as_bytes())));
            }
        }
    }

    fn authenticate(&mut self) {
        let length = AUTH.len() + " ".len() + self.message.len() + "\r\n".len();
        if self.initial_response && length <= INITIAL_RESPONSE_LIMIT {
            self.io.out.say([AUTH.as_bytes(), b" ", self.message.reveal()].concat());
            self.state = State::InitialResponse;
        } else {
            self.io.out.say(AUTH);
            self.state = State::Offering;
        }
    }

    fn send_token(&mut self) {
        self.io.out.say(self.message.reveal());
        self.state = State::TokenSent;
    }

    fn start_tls(&mut self) {
        if !self.io.input.is_empty() {
            // An attacker on the network may have inserted them to pass them off as the server's.
            return self.fail(UpstreamFailure::Protocol("bytes ahead of TLS".into()));
        }
        self.io.out.report(UpstreamEvent::StartTls);
        self.state = State::StartingTls;
    }

    /// Every reply that does not lead on. 421 and the other 4xx are the server's passing troubles, in whichever state.
    fn unexpected(&mut self, reply: &Reply) {
        let text = self.redactor.printable(&reply.joined());
        if self.state == State::InitialResponse && is_about_the_form(reply) {
            return self.fail(UpstreamFailure::NotOffered(text));
        }
        self.fail(match (self.state, reply.class()) {
            (_, 4) | (State::Greeting, 5) => UpstreamFailure::Unavailable(text),
            // Of the command: no authentication without something else (RFC 4954, 6).
            (State::InitialResponse, 5) if matches!(reply.code, 530 | 534 | 538) => UpstreamFailure::NotOffered(text),
            (State::InitialResponse | State::TokenSent | State::ChallengeAnswered, 5) => {
                UpstreamFailure::TokenRefused(text)
            }
            // "SmtpClientAuthentication is disabled" and its like, said before the token instead of behind it.
            (State::Offering, 5) if matches!(reply.code, 535 | 550 | 554) => UpstreamFailure::TokenRefused(text),
            (State::Ehlo | State::StartTls | State::Offering, 5) => UpstreamFailure::NotOffered(text),
            _ => UpstreamFailure::Protocol(text),
        });
    }

    /// With an initial response, only a verdict on the token and a server that is not at its service now are no reason to doubt
    /// its form.
    fn fail(&mut self, failure: UpstreamFailure) {
        self.misled = self.state == State::InitialResponse
            && !matches!(failure, UpstreamFailure::TokenRefused(_) | UpstreamFailure::Unavailable(_));
        self.failed_at = Some(self.step());
        self.io.out.report(UpstreamEvent::Failed(failure));
        self.state = State::Over;
    }
}

/// Whether a refusal is of the command and not of the token in it: the codes of RFC 5321, 4.2.1 for syntax, sequence and
/// unknown parameters, `555 5.5.2` of Gmail, the protocol class of RFC 3463, 3.6 (X.5.X), or the words for a line too long.
fn is_about_the_form(reply: &Reply) -> bool {
    let text = String::from_utf8_lossy(&reply.joined()).to_ascii_lowercase();
    let is_protocol_status = text.split_ascii_whitespace().nth(1).is_some_and(|status| {
        let mut parts = status.split('.');
        parts.next().is_some_and(|class| ["4", "5"].contains(&class))
            && parts.next() == Some("5")
            && parts.next().is_some()
    });
    matches!(reply.code, 500..=504 | 555) || is_protocol_status || reply.class() == 5 && text.contains("too long")
}

fn has_keyword(line: &str, keyword: &str) -> bool {
    line.split_ascii_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(keyword))
}

/// `AUTH LOGIN XOAUTH2`, or `AUTH=LOGIN XOAUTH2` as servers wrote it before RFC 2554.
fn is_auth(line: &str) -> bool {
    has_keyword(line, "AUTH") || line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("AUTH="))
}

fn offers_xoauth2(line: &str) -> bool {
    is_auth(line) && line.split([' ', '\t', '=']).skip(1).any(|name| name.eq_ignore_ascii_case("XOAUTH2"))
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
        match self.state {
            State::Over => return false,
            State::StartingTls if !self.io.input.is_empty() => {
                self.fail(UpstreamFailure::Protocol("bytes ahead of TLS".into()));
                return true;
            }
            State::StartingTls if !self.io.input.is_ended() => return false,
            _ => {}
        }
        match self.replies.take(&mut self.io.input) {
            Ok(Some(reply)) => self.reply(&reply),
            Ok(None) if self.io.input.is_ended() => self.fail(UpstreamFailure::ConnectionClosed),
            Ok(None) => return false,
            Err(what) => self.fail(UpstreamFailure::Protocol(what)),
        }
        true
    }
}

impl UpstreamDialogue for Upstream {
    fn step(&self) -> LoginStep {
        match self.state {
            State::Greeting => LoginStep::Greeting,
            State::Ehlo => LoginStep::Capabilities,
            State::StartTls | State::StartingTls => LoginStep::StartTls,
            State::Offering | State::InitialResponse | State::TokenSent | State::ChallengeAnswered => {
                LoginStep::Authenticate
            }
            State::Over => self.failed_at.unwrap_or(LoginStep::Authenticate),
        }
    }

    fn waits_for(&self) -> &'static str {
        match self.state {
            State::Greeting => "its greeting",
            State::Ehlo => "its answer to EHLO",
            State::StartTls | State::StartingTls => "its go-ahead for TLS",
            State::Offering => "its go-ahead for the token",
            State::InitialResponse | State::TokenSent | State::ChallengeAnswered => "its answer to the token",
            State::Over => "nothing more",
        }
    }

    fn known_offer_may_be_wrong(&self) -> bool {
        self.misled
    }

    fn tls_started(&mut self) {
        if self.state != State::StartingTls {
            return;
        }
        if !self.io.input.is_empty() {
            self.io.input.clear();
            return self.fail(UpstreamFailure::Protocol("bytes ahead of TLS".into()));
        }
        self.extensions.clear();
        self.tls = Tls::On;
        self.ehlo();
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("state", &self.state).field("tls", &self.tls).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Dialogue};

    fn ready_for_tls(behind: &[u8]) -> Upstream {
        let credentials = XOAuth2 { user: "a@b.c".into(), token: Secret::from("T0") };
        let options = Options { host_name: "gateway.example".into(), start_tls: true };
        let mut upstream = Upstream::new(&credentials, options).unwrap();
        upstream.receive(b"220 x\r\n250-x\r\n250 STARTTLS\r\n");
        assert!(matches!(upstream.poll(), Action::Write(_)));
        assert!(matches!(upstream.poll(), Action::Write(_)));
        upstream.receive(&[b"220 go\r\n", behind].concat());
        upstream
    }

    fn failed_for_bytes_ahead(upstream: &mut Upstream) -> bool {
        match upstream.poll() {
            Action::Event(UpstreamEvent::Failed(UpstreamFailure::Protocol(text))) => text == "bytes ahead of TLS",
            _ => false,
        }
    }

    /// A transcript cannot show this: in pieces of one byte the injected bytes come after the go-ahead.
    #[test]
    fn bytes_behind_the_go_ahead_are_an_injection() {
        assert!(failed_for_bytes_ahead(&mut ready_for_tls(b"250-x\r\n250 AUTH XOAUTH2\r\n")));
    }

    #[test]
    fn bytes_between_the_go_ahead_and_tls_are_an_injection() {
        let mut polled = ready_for_tls(b"");
        assert!(matches!(polled.poll(), Action::Event(UpstreamEvent::StartTls)));
        assert!(matches!(polled.poll(), Action::Read));
        polled.receive(b"2");
        assert!(failed_for_bytes_ahead(&mut polled));

        let mut raised = ready_for_tls(b"");
        assert!(matches!(raised.poll(), Action::Event(UpstreamEvent::StartTls)));
        raised.receive(b"250 AUTH XOAUTH2\r\n");
        raised.tls_started();
        assert!(failed_for_bytes_ahead(&mut raised));
        assert!(raised.into_unread().is_empty());
    }

    #[test]
    fn tls_cannot_be_claimed_unasked() {
        let credentials = XOAuth2 { user: "a@b.c".into(), token: Secret::from("T0") };
        let options = Options { host_name: "gateway.example".into(), start_tls: true };
        let mut upstream = Upstream::new(&credentials, options).unwrap();
        upstream.tls_started();
        upstream.receive(b"220 x\r\n250-x\r\n250 AUTH XOAUTH2\r\n");
        assert!(matches!(upstream.poll(), Action::Write(_)));
        assert!(matches!(upstream.poll(), Action::Event(UpstreamEvent::Failed(UpstreamFailure::NotOffered(_)))));
    }

    /// Found by fuzzing: the list of mechanisms is the server's text like any other.
    #[test]
    fn token_echoed_among_the_mechanisms_is_redacted() {
        let credentials = XOAuth2 { user: "a@b.c".into(), token: Secret::from("eyJhbGciOiJSUzI1NiJ9") };
        let options = Options { host_name: "gateway.example".into(), start_tls: false };
        let mut upstream = Upstream::new(&credentials, options).unwrap();
        upstream.receive(b"220 x\r\n");
        assert!(matches!(upstream.poll(), Action::Write(_)));
        upstream.receive(b"250-x\r\n250 AUTH XeyJhbGciOiJSUzI1NiJ9\r\n");
        let Action::Event(UpstreamEvent::Failed(UpstreamFailure::NotOffered(text))) = upstream.poll() else {
            panic!("XOAUTH2 is not offered");
        };
        assert!(text.contains("[redacted]") && !text.contains("eyJ"), "{text}");
    }

    #[test]
    fn finds_the_mechanism_in_both_spellings() {
        for line in ["AUTH LOGIN XOAUTH2", "auth xoauth2", "AUTH=LOGIN XOAUTH2", "AUTH=XOAUTH2", "AUTH  XOAUTH2"] {
            assert!(offers_xoauth2(line), "{line}");
        }
        for line in ["AUTH LOGIN", "AUTH XOAUTH", "XOAUTH2", "AUTHX XOAUTH2", "", "SIZE XOAUTH2"] {
            assert!(!offers_xoauth2(line), "{line}");
        }
    }
}
