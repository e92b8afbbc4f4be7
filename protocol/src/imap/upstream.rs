//! The side that faces the mail server: logs in with an access token and makes sure that the mailbox opens.

use std::fmt;
use std::sync::Arc;

use super::framer::Literal;
use super::response::{Condition, Greeting, Response, capability_code, greeting, is_error, is_temporary, response};
use crate::line::TooLong;
use crate::sasl::Malformed;
use crate::sasl::redact::Redactor;
use crate::sasl::xoauth2::XOAuth2;
use crate::state_machine::{Io, StateMachine};
use crate::{KnownOffer, LoginStep, Secret, UpstreamDialogue, UpstreamEvent, UpstreamFailure};

/// Longest line of a server before we are logged in.
const LINE_LIMIT: usize = 16 * 1024;

/// Largest literal of a server before we are logged in. It is skipped, not kept.
const LITERAL_LIMIT: u64 = 64 * 1024;

/// Most lines of a server before we are logged in; Exchange needs about ten.
const MAX_LINES: u32 = 1000;

/// Most challenges after the token. One tells what is wrong with it (RFC 7628, 3.2.3); the answer to it is empty.
const MAX_CHALLENGES: u32 = 3;

const XOAUTH2: &str = "AUTH=XOAUTH2";
const SASL_IR: &str = "SASL-IR";

const CAPABILITY_TAG: &str = "X1";
const AUTHENTICATE_TAG: &str = "X2";
const CAPABILITY_AGAIN_TAG: &str = "X3";
const PROBE_TAG: &str = "X4";
/// Of the second AUTHENTICATE, in the other form.
const AUTHENTICATE_AGAIN_TAG: &str = "X5";

/// One login at the server.
pub struct Upstream {
    /// The SASL message with the token.
    message: Secret,
    redactor: Redactor,
    state: State,
    io: Io<UpstreamEvent>,
    /// What the server offers before the login, listed on this connection or known beforehand; and what it listed after it.
    offered: Arc<[String]>,
    offered_after: Option<Vec<String>>,
    /// The list is the server's own, of this connection.
    listed: Option<Arc<[String]>>,
    /// What AUTHENTICATE was given, and in which form.
    authenticate_tag: &'static str,
    initial_response: bool,
    /// The refusal of an AUTHENTICATE that was sent because of what was known: it counts if the server still offers that.
    doubted: Option<UpstreamFailure>,
    /// What follows from what was known, and nothing this connection has confirmed.
    assuming: bool,
    misled: bool,
    failed_at: Option<LoginStep>,
    /// The last untagged NO or BAD, which is sometimes all that explains a hang-up.
    complaint: Option<String>,
    lines: u32,
    /// What is missing of a literal that is skipped.
    skipping: usize,
    /// The next line goes on with a response that had a literal.
    continues: bool,
}

#[derive(Debug)]
enum State {
    Greeting,
    Capabilities,
    /// AUTHENTICATE was refused, and may have been the wrong one: the server is asked what it offers.
    Doubting,
    /// Without SASL-IR: the `+` is awaited before the token is sent.
    GoAhead,
    Verdict {
        challenges: u32,
    },
    /// The login succeeded. What is still to be answered of capabilities and probe.
    Probing {
        capabilities: bool,
        probe: bool,
    },
    Over,
}

impl Upstream {
    /// A connection that has just been made, TLS included.
    ///
    /// # Errors
    /// The user or the token contains bytes that an XOAUTH2 message cannot carry.
    pub fn new(credentials: &XOAuth2) -> Result<Self, Malformed> {
        let message = credentials.message()?;
        Ok(Self {
            redactor: Redactor::new(credentials, &message),
            message,
            state: State::Greeting,
            io: Io::default(),
            offered: Arc::default(),
            offered_after: None,
            listed: None,
            authenticate_tag: AUTHENTICATE_TAG,
            initial_response: false,
            doubted: None,
            assuming: false,
            misled: false,
            failed_at: None,
            complaint: None,
            lines: 0,
            skipping: 0,
            continues: false,
        })
    }

    /// The server's list is known and not asked for: one round trip less.
    #[must_use]
    pub fn with_known_offer(mut self, offer: &KnownOffer) -> Self {
        if has(&offer.capabilities, XOAUTH2) {
            self.offered = Arc::clone(&offer.capabilities);
        }
        self
    }

    fn greeted(&mut self, line: &[u8]) {
        match greeting(line) {
            // What it says is anything; the wording has changed before.
            Greeting::Ok(text) => match capability_code(text) {
                Some(offered) => {
                    self.is_offered(offered);
                    self.authenticate();
                }
                None if !self.offered.is_empty() => {
                    self.assuming = true;
                    self.authenticate();
                }
                None => {
                    self.io.out.say(format!("{CAPABILITY_TAG} CAPABILITY"));
                    self.state = State::Capabilities;
                }
            },
            Greeting::Bye(text) => self.fail(UpstreamFailure::Unavailable, text),
            Greeting::PreAuth => self.broke_the_protocol("the server has already logged in a user (PREAUTH)"),
            Greeting::Other => self.fail(UpstreamFailure::Protocol, line),
        }
    }

    fn responded(&mut self, line: &[u8]) {
        match response(line) {
            Response::Continue => self.challenged(),
            Response::Capability(list) => self.listed(list),
            Response::Bye(text) => match self.state {
                State::Probing { .. } => self.not_connected(text),
                State::Doubting => self.stop_doubting(),
                _ => self.fail(UpstreamFailure::Unavailable, text),
            },
            Response::Tagged { tag, condition, text } => self.completed(tag, condition, text),
            Response::Remark { condition: Condition::Ok, .. } => {}
            Response::Remark { text, .. } => self.complaint = Some(self.redactor.printable(text)),
            Response::Data => self.skip_literal_of(line),
        }
    }

    fn listed(&mut self, list: Vec<String>) {
        match self.state {
            State::Greeting | State::Capabilities | State::Doubting | State::GoAhead => self.is_offered(list),
            // Some servers list what changes with the login just before they say that it succeeded.
            _ => self.offered_after = Some(list),
        }
    }

    /// By the server itself, on this connection.
    fn is_offered(&mut self, list: Vec<String>) {
        self.offered = list.into();
        self.listed = Some(Arc::clone(&self.offered));
        // While AUTHENTICATE is on its way, its form has been chosen already.
        self.assuming &= matches!(self.state, State::GoAhead);
    }

    fn completed(&mut self, tag: &[u8], condition: Condition, text: &[u8]) {
        match self.state {
            State::Capabilities if tag == CAPABILITY_TAG.as_bytes() => self.told_capabilities(condition, text),
            State::Doubting if tag == CAPABILITY_TAG.as_bytes() => self.told_capabilities_in_doubt(condition, text),
            State::GoAhead if tag == self.authenticate_tag.as_bytes() => match condition {
                Condition::Ok => self.broke_the_protocol("the server accepted a login before it had the token"),
                Condition::No | Condition::Bad => self.refused(text),
            },
            State::Verdict { .. } if tag == self.authenticate_tag.as_bytes() => match condition {
                Condition::Ok if is_error(text) => self.fail(UpstreamFailure::Unavailable, text),
                Condition::Ok => self.authenticated(text),
                Condition::No | Condition::Bad => self.refused(text),
            },
            State::Probing { capabilities: true, probe } if tag == CAPABILITY_AGAIN_TAG.as_bytes() => {
                self.probed(condition, text, State::Probing { capabilities: false, probe });
            }
            State::Probing { capabilities, probe: true } if tag == PROBE_TAG.as_bytes() => {
                self.probed(condition, text, State::Probing { capabilities, probe: false });
            }
            _ => self.broke_the_protocol("a reply to a command that was not given"),
        }
    }

    fn told_capabilities(&mut self, condition: Condition, text: &[u8]) {
        if condition != Condition::Ok || is_error(text) {
            let failure = if is_temporary(text) { UpstreamFailure::Unavailable } else { UpstreamFailure::Protocol };
            return self.fail(failure, text);
        }
        if let Some(offered) = capability_code(text) {
            self.is_offered(offered);
        }
        self.authenticate();
    }

    /// The refusal counts if the server offers what was taken for granted, or does not say what it offers. Otherwise the login
    /// begins again, in the form that it does offer.
    fn told_capabilities_in_doubt(&mut self, condition: Condition, text: &[u8]) {
        if condition == Condition::Ok
            && let Some(offered) = capability_code(text)
        {
            self.is_offered(offered);
        }
        if self.assuming || self.is_as_assumed() {
            return self.stop_doubting();
        }
        self.doubted = None;
        self.authenticate_tag = AUTHENTICATE_AGAIN_TAG;
        self.authenticate();
    }

    fn is_as_assumed(&self) -> bool {
        has(&self.offered, XOAUTH2) && has(&self.offered, SASL_IR) == self.initial_response
    }

    fn stop_doubting(&mut self) {
        self.assuming |= !self.is_as_assumed();
        if let Some(refusal) = self.doubted.take() {
            self.end(refusal);
        }
    }

    fn authenticate(&mut self) {
        if !has(&self.offered, XOAUTH2) {
            return self.fail(UpstreamFailure::NotOffered, b"no AUTH=XOAUTH2");
        }
        let tag = self.authenticate_tag;
        self.initial_response = has(&self.offered, SASL_IR);
        if self.initial_response {
            let begin = format!("{tag} AUTHENTICATE XOAUTH2 ").into_bytes();
            self.io.out.say([&begin, self.message.reveal()].concat());
            self.state = State::Verdict { challenges: 0 };
        } else {
            self.io.out.say(format!("{tag} AUTHENTICATE XOAUTH2"));
            self.state = State::GoAhead;
        }
    }

    fn challenged(&mut self) {
        match &mut self.state {
            State::GoAhead => {
                self.state = State::Verdict { challenges: 0 };
                self.io.out.say(self.message.reveal());
            }
            // It tells what is wrong; the reply that counts comes only after an answer.
            State::Verdict { challenges } if *challenges < MAX_CHALLENGES => {
                *challenges += 1;
                self.io.out.say("");
            }
            _ => self.broke_the_protocol("a challenge where none can be"),
        }
    }

    fn refused(&mut self, text: &[u8]) {
        if is_temporary(text) {
            return self.fail(UpstreamFailure::Unavailable, text);
        }
        let refusal = UpstreamFailure::TokenRefused(self.redactor.printable(text));
        if !self.assuming {
            return self.end(refusal);
        }
        self.doubted = Some(refusal);
        self.io.out.say(format!("{CAPABILITY_TAG} CAPABILITY"));
        self.state = State::Doubting;
    }

    /// The token was good. Exchange says so even if the mailbox cannot be opened, and answers CAPABILITY as well; the
    /// first command that needs the mailbox gets `BAD User is authenticated but not connected`. So one is tried before
    /// the client hears OK. Both commands go in one write, which costs one round trip.
    fn authenticated(&mut self, text: &[u8]) {
        if let Some(list) = capability_code(text) {
            self.offered_after = Some(list);
        }
        if self.offered_after.is_none() {
            self.io.out.say(format!("{CAPABILITY_AGAIN_TAG} CAPABILITY"));
        }
        let known = self.offered_after.as_deref().unwrap_or(&self.offered);
        let probe = if has(known, "NAMESPACE") { "NAMESPACE" } else { "LIST \"\" \"\"" };
        // From here on only the choice of the probe can be wrong.
        self.assuming &= self.offered_after.is_none();
        self.io.out.say(format!("{PROBE_TAG} {probe}"));
        self.state = State::Probing { capabilities: self.offered_after.is_none(), probe: true };
    }

    fn probed(&mut self, condition: Condition, text: &[u8], next: State) {
        if condition != Condition::Ok {
            return self.not_connected(text);
        }
        if is_error(text) {
            return self.fail(UpstreamFailure::Unavailable, text);
        }
        if matches!(next, State::Probing { capabilities: false, probe: false }) {
            let capabilities = self.offered_after.take().unwrap_or_else(|| self.offered.to_vec());
            self.state = State::Over;
            self.io.out.report(UpstreamEvent::Authenticated { capabilities });
        } else {
            self.state = next;
        }
    }

    fn not_connected(&mut self, text: &[u8]) {
        let failure = if is_temporary(text) { UpstreamFailure::Unavailable } else { UpstreamFailure::NotConnected };
        self.fail(failure, text);
    }

    /// Passes over a literal, should this line announce one (servers do not ask, whatever the form).
    fn skip_literal_of(&mut self, line: &[u8]) {
        let literal = Literal::at_end_of(line);
        self.continues = literal.is_some();
        match literal.map_or(Some(0), |literal| literal_size(literal.size)) {
            Some(size) => self.skipping = size,
            None => self.broke_the_protocol("a literal is too large"),
        }
    }

    /// Exchange disconnects a throttled mailbox, at best after one explanatory line.
    fn server_disconnected(&mut self) {
        if matches!(self.state, State::Doubting) {
            return self.stop_doubting();
        }
        match self.complaint.take() {
            Some(text) if is_temporary(text.as_bytes()) => self.end(UpstreamFailure::Unavailable(text)),
            _ => self.end(UpstreamFailure::ConnectionClosed),
        }
    }

    fn broke_the_protocol(&mut self, how: &str) {
        self.end(UpstreamFailure::Protocol(how.to_owned()));
    }

    fn fail(&mut self, kind: impl FnOnce(String) -> UpstreamFailure, text: &[u8]) {
        let text = self.redactor.printable(text);
        self.end(kind(text));
    }

    fn end(&mut self, failure: UpstreamFailure) {
        let is_temporary = matches!(&failure, UpstreamFailure::Unavailable(text)
            if is_temporary(text.as_bytes()) || is_error(text.as_bytes()));
        self.misled = self.assuming && !is_temporary;
        self.failed_at = Some(self.step());
        self.state = State::Over;
        self.io.out.report(UpstreamEvent::Failed(failure));
    }
}

fn has(capabilities: &[String], name: &str) -> bool {
    capabilities.iter().any(|capability| capability.eq_ignore_ascii_case(name))
}

fn literal_size(size: u64) -> Option<usize> {
    (size <= LITERAL_LIMIT).then(|| usize::try_from(size).ok()).flatten()
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
        if matches!(self.state, State::Over) {
            return false;
        }
        self.skipping -= self.io.input.skip(self.skipping);
        let line = match if self.skipping > 0 { Ok(None) } else { self.io.input.take_line(LINE_LIMIT) } {
            Ok(Some(line)) => line,
            Ok(None) if self.io.input.is_ended() => {
                self.server_disconnected();
                return true;
            }
            Ok(None) => return false,
            Err(TooLong) => {
                self.broke_the_protocol("a line is too long");
                return true;
            }
        };
        self.lines += 1;
        if self.lines > MAX_LINES {
            self.broke_the_protocol("too many lines before the login was done");
        } else if self.continues {
            self.skip_literal_of(&line);
        } else if matches!(self.state, State::Greeting) {
            self.greeted(&line);
        } else {
            self.responded(&line);
        }
        true
    }
}

impl UpstreamDialogue for Upstream {
    fn step(&self) -> LoginStep {
        match self.state {
            State::Greeting => LoginStep::Greeting,
            State::Capabilities => LoginStep::Capabilities,
            State::Doubting | State::GoAhead | State::Verdict { .. } => LoginStep::Authenticate,
            State::Probing { .. } => LoginStep::Mailbox,
            State::Over => self.failed_at.unwrap_or(LoginStep::Mailbox),
        }
    }

    fn waits_for(&self) -> &'static str {
        match self.state {
            State::Greeting => "its greeting",
            State::Capabilities | State::Doubting => "its capabilities",
            State::GoAhead => "its go-ahead for the token",
            State::Verdict { .. } => "its answer to the token",
            State::Probing { .. } => "the mailbox to open",
            State::Over => "nothing more",
        }
    }

    fn listed_before_login(&self) -> Option<&Arc<[String]>> {
        self.listed.as_ref()
    }

    fn known_offer_may_be_wrong(&self) -> bool {
        self.misled
    }

    /// IMAP is spoken over TLS from the first byte (port 993), so there is nothing that was said before.
    fn tls_started(&mut self) {
        self.io.input.clear();
    }
}

/// What waits to be written may be the token.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("state", &self.state).field("buffer", &self.io.input).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Dialogue};

    #[test]
    fn nothing_prints_the_token() {
        let credentials = XOAuth2 { user: "a@b.c".into(), token: Secret::from("eyJhbGciOiJub25lIn0.e30.c2ln") };
        let mut upstream = Upstream::new(&credentials).unwrap();
        upstream.receive(b"* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR] hi\r\n");
        upstream.advance();
        assert_eq!(
            format!("{upstream:?}"),
            "Upstream { state: Verdict { challenges: 0 }, buffer: Buffer { unread: 0, ended: false }, .. }"
        );
        let message = credentials.message().unwrap();
        assert!(matches!(upstream.poll(), Action::Write(_)));
        upstream
            .receive(&[b"X2 BAD what is ", &message.reveal()[..40], b" / eyJhbGciOiJub25lIn0.e30.c2ln\r\n"].concat());
        let Action::Event(UpstreamEvent::Failed(failure)) = upstream.poll() else { panic!("it did not fail") };
        assert_eq!(failure, UpstreamFailure::TokenRefused("what is [redacted] / [redacted]".into()));
    }

    #[test]
    fn credentials_that_would_forge_a_field_are_refused() {
        let credentials = XOAuth2 { user: "a\x01auth=Bearer x".into(), token: Secret::from("t") };
        assert!(matches!(Upstream::new(&credentials), Err(Malformed)));
    }
}
