//! The side that faces the mail client: greets it, reads a user name and a password, and reports the result.

use std::fmt;

use super::capability::{before_login, for_client};
use super::command::{self, Command};
use super::framer::{Framed, Framer, LINE_LIMIT};
use crate::line::{TooLong, reply_text};
use crate::preamble::{Preamble, PreambleAction, PreambleDetector};
use crate::sasl::exchange::{Exchange, Mechanism, NO_TOKEN_NEEDED, Progress};
use crate::sasl::{PASSWORD_LIMIT, USER_LIMIT};
use crate::state_machine::{Io, StateMachine};
use crate::{Closed, LocalDialogue, LocalEvent, Login, Offer, Refusal, RefusalKind, Secret};

/// Most refused logins of one connection. Users mistype; programs retry the same password.
pub const MAX_ATTEMPTS: u32 = 5;

/// Most commands of one connection that are unknown or not allowed. A mail client does not send more.
pub const MAX_ERRORS: u32 = 20;

/// One client before its login.
pub struct Local {
    offer: Offer,
    framer: Framer,
    preamble: PreambleDetector,
    state: State,
    io: Io<LocalEvent>,
    refused: u32,
    errors: u32,
}

enum State {
    /// A command is awaited, or the rest of one.
    Commands,
    /// Within AUTHENTICATE: waiting for the client's response.
    Answer { tag: String, exchange: Exchange },
    /// The reply that starts TLS was written.
    StartingTls,
    /// A login was reported and the driver has not answered yet.
    Deciding { tag: String },
    /// Logged in, or closed.
    Over,
}

impl Local {
    /// A client that has just connected.
    pub fn new(offer: Offer) -> Self {
        let mut local = Self {
            offer,
            framer: Framer::default(),
            preamble: PreambleDetector::default(),
            state: State::Commands,
            io: Io::default(),
            refused: 0,
            errors: 0,
        };
        // In the greeting too: some clients disconnect immediately if it is missing there.
        local.io.out.say(format!("* OK [CAPABILITY {}] Oxpost ready", before_login(offer)));
        local
    }

    fn next_command(&mut self) -> bool {
        if self.framer.is_between_commands() && self.preamble.is_tls(self.io.input.unread()) {
            self.close(Closed::NotMail(Preamble::TlsHello));
            return true;
        }
        let may_log_in = self.offer.login_allowed();
        let wants_literal = |begun: &[u8]| may_log_in && command::is(begun, "LOGIN");
        match self.framer.next(&mut self.io.input, wants_literal) {
            Framed::NeedsMore if self.io.input.is_ended() => self.close(Closed::EndOfStream),
            Framed::NeedsMore => return false,
            Framed::GoAhead => self.io.out.say("+ Ready"),
            Framed::Command(command) => match self.preamble.detect(&command) {
                Some(PreambleAction::Skip(preamble)) => self.io.out.report(LocalEvent::SkippedPreamble(preamble)),
                Some(PreambleAction::Close(preamble)) => self.close(Closed::NotMail(preamble)),
                None => match command::tag(&command) {
                    Some(tag) => self.obey(tag, command::parse(&command)),
                    None => self.not_understood("*", "A command is a tag, a blank and a name"),
                },
            },
            Framed::Refused(begun) => {
                self.preamble.detect(&begun);
                match command::tag(&begun) {
                    Some(tag) => self.refuse_literal(tag, &begun),
                    None => self.not_understood("*", "A command is a tag, a blank and a name"),
                }
            }
            Framed::TooLong => self.close_too_long(),
        }
        true
    }

    fn obey(&mut self, tag: &str, command: Command) {
        match command {
            Command::Capability => {
                self.io.out.say(format!("* CAPABILITY {}", before_login(self.offer)));
                self.io.out.say(format!("{tag} OK CAPABILITY completed"));
            }
            Command::Id => {
                self.io.out.say("* ID (\"name\" \"Oxpost\")");
                self.io.out.say(format!("{tag} OK ID completed"));
            }
            Command::Noop => self.io.out.say(format!("{tag} OK NOOP completed")),
            Command::Logout => {
                self.io.out.say("* BYE Oxpost signing off");
                self.io.out.say(format!("{tag} OK LOGOUT completed"));
                self.close(Closed::ByClient);
            }
            Command::StartTls if !self.offer.start_tls => self.not_understood(tag, "STARTTLS is not offered"),
            // Bytes after it arrived unencrypted and would be treated as received over TLS (CVE-2011-0411 and its
            // kin).
            Command::StartTls if !self.io.input.is_empty() => self.close(Closed::BytesBehindStartTls),
            Command::StartTls => {
                self.io.out.say(format!("{tag} OK Begin TLS now"));
                self.state = State::StartingTls;
            }
            Command::Login { .. } | Command::Authenticate { .. } if !self.offer.login_allowed() => {
                self.privacy_required(tag);
            }
            Command::Login { user, password } => self.log_in(tag, &user, password),
            Command::Authenticate { mechanism, initial } => self.authenticate(tag, mechanism, initial.as_ref()),
            Command::Bearer => self.wrong(&format!("{tag} NO {NO_TOKEN_NEEDED}")),
            Command::NeedsLogin => self.not_understood(tag, "Log in first"),
            Command::Unknown => self.not_understood(tag, "Unknown command"),
            Command::Malformed => self.not_understood(tag, "Arguments not understood"),
        }
    }

    /// A literal in a command that takes none, or one that is too large (RFC 7888, 4).
    fn refuse_literal(&mut self, tag: &str, begun: &[u8]) {
        let is_login = command::is(begun, "LOGIN");
        if is_login && !self.offer.login_allowed() {
            self.privacy_required(tag);
        } else if is_login || command::is(begun, "ID") {
            self.wrong(&format!("{tag} NO [TOOBIG] No literal of this length is taken here"));
        } else {
            // The literal is no argument of any command that may be given now.
            let command = match command::parse(begun) {
                Command::Unknown => Command::Unknown,
                Command::NeedsLogin => Command::NeedsLogin,
                _ => Command::Malformed,
            };
            self.obey(tag, command);
        }
    }

    fn log_in(&mut self, tag: &str, user: &Secret, password: Secret) {
        let bounded = user.len() <= USER_LIMIT && password.len() <= PASSWORD_LIMIT;
        if user.is_empty() || password.is_empty() || !bounded {
            return self.refused(tag, RefusalKind::BadCredentials, "User name or password is empty or too long");
        }
        self.decide(tag, Login::new(user.reveal(), password));
    }

    fn authenticate(&mut self, tag: &str, mechanism: Option<Mechanism>, initial: Option<&Secret>) {
        match mechanism {
            Some(mechanism) => self.go_on(tag, Exchange::start(mechanism, initial.map(Secret::reveal))),
            None => self.wrong(&format!("{tag} NO Unknown mechanism; there are PLAIN and LOGIN")),
        }
    }

    fn next_answer(&mut self, tag: String, exchange: Exchange) -> bool {
        match self.io.input.take_line(LINE_LIMIT).map(|line| line.map(Secret::new)) {
            Ok(Some(line)) => self.go_on(&tag, exchange.answer(line.reveal())),
            Ok(None) if self.io.input.is_ended() => self.close(Closed::EndOfStream),
            Ok(None) => {
                self.state = State::Answer { tag, exchange };
                return false;
            }
            Err(TooLong) => self.close_too_long(),
        }
        true
    }

    fn go_on(&mut self, tag: &str, progress: Progress) {
        match progress {
            Progress::Challenge(challenge, exchange) => {
                self.io.out.say(format!("+ {challenge}"));
                self.state = State::Answer { tag: tag.to_owned(), exchange };
            }
            Progress::Done(login) => self.decide(tag, login),
            Progress::Cancelled => self.not_understood(tag, "AUTHENTICATE cancelled"),
            Progress::Malformed => self.not_understood(tag, "Not base64, or not what the mechanism wants"),
        }
    }

    fn decide(&mut self, tag: &str, login: Login) {
        self.state = State::Deciding { tag: tag.to_owned() };
        self.io.out.report(LocalEvent::Login(login));
    }

    fn refused(&mut self, tag: &str, kind: RefusalKind, text: &str) {
        let code = match kind {
            RefusalKind::BadCredentials => "AUTHENTICATIONFAILED",
            RefusalKind::Unavailable => "UNAVAILABLE",
            RefusalKind::LimitReached => "LIMIT",
            RefusalKind::AdministratorMustAct => "CONTACTADMIN",
        };
        let text = reply_text(text);
        let text = if text.trim().is_empty() { "Login refused" } else { text.as_str() };
        self.io.out.say(format!("{tag} NO [{code}] {text}"));
        self.refused += 1;
        if self.refused >= MAX_ATTEMPTS {
            self.io.out.say("* BYE Too many refused logins");
            self.close(Closed::TooManyAttempts);
        }
    }

    fn privacy_required(&mut self, tag: &str) {
        self.wrong(&format!("{tag} NO [PRIVACYREQUIRED] No login without TLS"));
    }

    fn not_understood(&mut self, tag: &str, why: &str) {
        self.wrong(&format!("{tag} BAD {why}"));
    }

    /// Writes this line and counts the error.
    fn wrong(&mut self, line: &str) {
        self.io.out.say(line);
        self.errors += 1;
        if self.errors >= MAX_ERRORS {
            self.io.out.say("* BYE Too many errors");
            self.close(Closed::TooManyErrors);
        }
    }

    fn close_too_long(&mut self) {
        self.io.out.say("* BYE Line or literal too long");
        self.close(Closed::TooLong);
    }

    fn close(&mut self, why: Closed) {
        self.state = State::Over;
        self.io.out.report(LocalEvent::Closed(why));
    }
}

impl StateMachine for Local {
    type Event = LocalEvent;

    fn io(&self) -> &Io<LocalEvent> {
        &self.io
    }

    fn io_mut(&mut self) -> &mut Io<LocalEvent> {
        &mut self.io
    }

    fn advance(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Commands) {
            State::Commands => self.next_command(),
            State::Answer { tag, exchange } => self.next_answer(tag, exchange),
            State::StartingTls if self.io.input.is_empty() => {
                self.state = State::Over;
                self.io.out.report(LocalEvent::StartTls);
                true
            }
            State::StartingTls => {
                self.close(Closed::BytesBehindStartTls);
                true
            }
            state @ (State::Deciding { .. } | State::Over) => {
                self.state = state;
                false
            }
        }
    }
}

impl LocalDialogue for Local {
    fn accept(&mut self, capabilities: &[String]) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Deciding { tag } => {
                let capabilities = for_client(capabilities).join(" ");
                self.io.out.say(format!("{tag} OK [CAPABILITY {capabilities}] Logged in"));
            }
            state => self.state = state,
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        match std::mem::replace(&mut self.state, State::Commands) {
            State::Deciding { tag } => self.refused(&tag, refusal.kind, &refusal.text),
            state => self.state = state,
        }
    }

    /// RFC 3501, 7.1.5: at any time, also within a command, and no tagged reply follows.
    fn say_goodbye(&mut self, text: &str) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return,
            State::StartingTls => {}
            State::Commands | State::Answer { .. } | State::Deciding { .. } => {
                self.io.out.say(format!("* BYE {}", reply_text(text)));
            }
        }
        self.io.out.report_instead(LocalEvent::Closed(Closed::Asked));
    }

    /// In IMAP the client speaks next; there is no second greeting (RFC 3501, 6.2.1).
    fn tls_started(&mut self) {
        let greeted = Self::new(Offer { start_tls: false, tls_before_login: false });
        let mut input = std::mem::take(&mut self.io.input);
        input.clear();
        *self = Self { io: Io { input, ..Io::default() }, ..greeted };
    }
}

/// Input of a client may be a password, so it is not printed.
impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("offer", &self.offer).field("buffer", &self.io.input).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Dialogue};

    const STARTTLS: Offer = Offer { start_tls: true, tls_before_login: true };

    fn local(offer: Offer) -> Local {
        let mut local = Local::new(offer);
        assert!(matches!(local.poll(), Action::Write(_)));
        local
    }

    /// No transcript can tell this, as it depends on how the bytes arrive.
    #[test]
    fn bytes_that_arrive_with_starttls_end_it_without_a_go_ahead() {
        let mut local = local(STARTTLS);
        local.receive(b"a STARTTLS\r\nb LOGIN mallory x\r\n");
        assert!(matches!(local.poll(), Action::Event(LocalEvent::Closed(Closed::BytesBehindStartTls))));
        assert!(matches!(local.poll(), Action::Read));
    }

    #[test]
    fn bytes_that_arrive_between_the_go_ahead_and_tls_end_it() {
        let mut local = local(STARTTLS);
        local.receive(b"a STARTTLS\r\n");
        assert!(matches!(local.poll(), Action::Write(_)));
        local.receive(b"b");
        assert!(matches!(local.poll(), Action::Event(LocalEvent::Closed(Closed::BytesBehindStartTls))));
    }

    #[test]
    fn nothing_from_before_tls_is_left() {
        let mut local = local(STARTTLS);
        local.receive(b"a STARTTLS\r\n");
        assert!(matches!(local.poll(), Action::Write(_)));
        assert!(matches!(local.poll(), Action::Event(LocalEvent::StartTls)));
        assert!(matches!(local.poll(), Action::Read));
        local.receive(b"b NOOP\r\n");
        assert!(matches!(local.poll(), Action::Read));
        local.tls_started();
        assert!(matches!(local.poll(), Action::Read));
        assert!(local.into_unread().is_empty());
    }

    #[test]
    fn unsolicited_driver_answer_is_ignored() {
        let mut local = local(Offer::default());
        local.accept(&[]);
        local.refuse(&Refusal::new(RefusalKind::Unavailable, "x"));
        assert!(matches!(local.poll(), Action::Read));
        local.receive(b"a NOOP\r\n");
        assert!(matches!(local.poll(), Action::Write(_)));
    }

    #[test]
    fn prints_nothing_of_what_a_client_said() {
        let mut local = local(Offer::default());
        local.receive(b"a LOGIN alice hunter2\r\n");
        assert!(matches!(local.poll(), Action::Event(_)));
        local.receive(b"hunter3");
        let printed = format!("{local:?}");
        assert!(!printed.contains("hunter") && !printed.contains("104"), "{printed}");
    }
}
