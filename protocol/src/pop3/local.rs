//! POP3 as a mail client sees it before it has logged in (RFC 1939, 2449, 5034; STLS: RFC 2595).

use std::{fmt, mem};

use zeroize::Zeroizing;

use crate::line;
use crate::preamble::{Preamble, PreambleAction, PreambleDetector};
use crate::sasl::exchange::{Exchange, Mechanism, NO_TOKEN_NEEDED, Progress, is_bearer};
use crate::sasl::{self, login};
use crate::state_machine::{Io, StateMachine};
use crate::{Closed, LocalDialogue, LocalEvent, Login, Offer, Refusal, RefusalKind, Secret};

/// Longest command line taken, its line end included. RFC 2449, 4 allows 255; `PASS` with the longest password and `USER`
/// with the longest name need more. `AUTH` with an initial response has the bound of SASL lines.
const COMMAND_LIMIT: usize = 2048;

/// Logins refused on one connection before it is closed.
const MAX_ATTEMPTS: u32 = 5;

/// Commands answered with an error, other than a refused login, before the connection is closed.
const MAX_ERRORS: u32 = 20;

/// The dialogue with a mail client, up to its login.
pub struct Local {
    offer: Offer,
    io: Io<LocalEvent>,
    state: State,
    preamble: PreambleDetector,
    /// The argument of USER, until PASS uses it.
    user: Option<Secret>,
    attempts: u32,
    errors: u32,
}

#[derive(Debug)]
enum State {
    Greeting,
    Command,
    Exchange(Exchange),
    /// The login was reported and the driver has not answered yet.
    Verdict,
    /// The reply that starts TLS was written; no more plain text may arrive.
    StartingTls,
    /// Logged in, or closed.
    Over,
}

impl Local {
    /// A new connection. The greeting is the first thing it says.
    pub fn new(offer: Offer) -> Self {
        Self {
            offer,
            io: Io::default(),
            state: State::Greeting,
            preamble: PreambleDetector::default(),
            user: None,
            attempts: 0,
            errors: 0,
        }
    }

    fn begins_with_auth(&self) -> bool {
        self.io.input.unread().get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"))
    }

    fn command(&mut self, line: &[u8]) {
        let (verb, rest) = match line.iter().position(|&byte| byte == b' ') {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        match verb.trim_ascii().to_ascii_uppercase().as_slice() {
            b"CAPA" => self.capabilities(),
            b"USER" | b"PASS" | b"AUTH" | b"APOP" if !self.offer.login_allowed() => {
                self.error(if self.offer.start_tls { "Start TLS first (STLS)" } else { "TLS is required to log in" });
            }
            b"USER" => self.user(rest.trim_ascii()),
            b"PASS" => self.pass(rest),
            b"AUTH" => self.auth(rest.trim_ascii()),
            b"APOP" => self.error("APOP is not offered, log in with USER and PASS"),
            b"STLS" => self.start_tls(),
            b"NOOP" => self.io.out.say("+OK"),
            b"QUIT" => {
                self.io.out.say("+OK Oxpost signing off");
                self.close(Closed::ByClient);
            }
            b"STAT" | b"LIST" | b"RETR" | b"DELE" | b"TOP" | b"UIDL" | b"RSET" | b"LAST" => self.error("Log in first"),
            _ => self.error("Unknown command"),
        }
    }

    /// RFC 2449, 5. It lists what the mailbox behind us has too, for clients that ask only once.
    fn capabilities(&mut self) {
        self.io.out.say("+OK Capability list follows");
        if self.offer.login_allowed() {
            self.io.out.say("USER");
            self.io.out.say("SASL PLAIN LOGIN");
        }
        for capability in ["RESP-CODES", "AUTH-RESP-CODE", "UIDL", "TOP", "PIPELINING"] {
            self.io.out.say(capability);
        }
        if self.offer.start_tls {
            self.io.out.say("STLS");
        }
        self.io.out.say(".");
    }

    /// Replies OK to every name, so that a client cannot find out which names exist.
    fn user(&mut self, name: &[u8]) {
        if name.is_empty() || name.len() > sasl::USER_LIMIT {
            return self.error("USER needs a name");
        }
        self.user = Some(Secret::new(name));
        self.io.out.say("+OK");
    }

    /// Takes everything behind the one blank: a password may begin, end and be cut by blanks (RFC 1939, 7).
    fn pass(&mut self, password: &[u8]) {
        let Some(user) = self.user.take() else {
            return self.error("Say USER first");
        };
        match login::login(&user, &Secret::new(password)) {
            Ok(login) => self.present(login),
            Err(sasl::Malformed) => self.error("PASS needs a password"),
        }
    }

    fn auth(&mut self, rest: &[u8]) {
        let mut words = rest.splitn(2, u8::is_ascii_whitespace);
        let name = words.next().unwrap_or_default();
        if name.is_empty() {
            // Outlook Express and others of its time ask so for the mechanisms, as the draft that became RFC 1734 had it.
            self.io.out.say("+OK Mechanisms follow");
            for mechanism in Mechanism::ALL {
                self.io.out.say(mechanism.name());
            }
            return self.io.out.say(".");
        }
        match Mechanism::named(name) {
            Some(mechanism) => self.go_on(Exchange::start(mechanism, words.next())),
            None if is_bearer(name) => self.error(NO_TOKEN_NEEDED),
            None => self.error("Mechanism is not offered, use PLAIN or LOGIN with your Oxpost password"),
        }
    }

    fn go_on(&mut self, progress: Progress) {
        match progress {
            Progress::Challenge(text, exchange) => {
                self.io.out.say(format!("+ {text}"));
                self.state = State::Exchange(exchange);
            }
            Progress::Done(login) => self.present(login),
            Progress::Cancelled => self.error("Authentication cancelled"),
            Progress::Malformed => self.error("This is not what the mechanism prescribes"),
        }
    }

    fn present(&mut self, login: Login) {
        self.user = None;
        self.state = State::Verdict;
        self.io.out.report(LocalEvent::Login(login));
    }

    fn start_tls(&mut self) {
        if !self.offer.start_tls {
            return self.error("STLS is not offered");
        }
        if !self.io.input.is_empty() {
            // An attacker on the network could have inserted them, to have them treated as encrypted.
            return self.close(Closed::BytesBehindStartTls);
        }
        self.io.out.say("+OK Begin TLS negotiation");
        self.io.out.report(LocalEvent::StartTls);
        self.state = State::StartingTls;
    }

    fn error(&mut self, text: &str) {
        self.io.out.say(format!("-ERR {text}"));
        self.errors += 1;
        if self.errors >= MAX_ERRORS {
            self.close(Closed::TooManyErrors);
        }
    }

    fn close(&mut self, why: Closed) {
        self.io.out.report(LocalEvent::Closed(why));
        self.state = State::Over;
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
        let bound = match self.state {
            State::Greeting => {
                self.io.out.say("+OK Oxpost POP3 ready");
                self.state = State::Command;
                return true;
            }
            State::Exchange(_) => sasl::LINE_LIMIT,
            State::Command if self.preamble.is_tls(self.io.input.unread()) => {
                self.close(Closed::NotMail(Preamble::TlsHello));
                return true;
            }
            State::Command if self.begins_with_auth() => sasl::LINE_LIMIT,
            State::Command => COMMAND_LIMIT,
            State::Verdict | State::StartingTls | State::Over => return false,
        };
        match self.io.input.take_line(bound).map(|line| line.map(Zeroizing::new)) {
            Ok(Some(line)) => match mem::replace(&mut self.state, State::Command) {
                State::Exchange(exchange) => self.go_on(exchange.answer(&line)),
                _ => match self.preamble.detect(&line) {
                    Some(PreambleAction::Skip(preamble)) => self.io.out.report(LocalEvent::SkippedPreamble(preamble)),
                    Some(PreambleAction::Close(preamble)) => self.close(Closed::NotMail(preamble)),
                    None => self.command(line::without_padding(&line)),
                },
            },
            Ok(None) if self.io.input.is_ended() => self.close(Closed::EndOfStream),
            Ok(None) => return false,
            Err(line::TooLong) => {
                self.io.out.say("-ERR Line is too long");
                self.close(Closed::TooLong);
            }
        }
        true
    }
}

impl LocalDialogue for Local {
    fn accept(&mut self, _capabilities: &[String]) {
        if matches!(self.state, State::Verdict) {
            self.io.out.say("+OK Logged in");
            self.state = State::Over;
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        if !matches!(self.state, State::Verdict) {
            return;
        }
        let code = match refusal.kind {
            RefusalKind::BadCredentials => "AUTH",
            RefusalKind::Unavailable | RefusalKind::LimitReached => "SYS/TEMP",
            RefusalKind::AdministratorMustAct => "SYS/PERM",
        };
        self.io.out.say(format!("-ERR [{code}] {}", line::reply_text(&refusal.text)));
        self.state = State::Command;
        self.attempts += 1;
        if self.attempts >= MAX_ATTEMPTS {
            self.close(Closed::TooManyAttempts);
        }
    }

    /// The codes are those of RFC 3206; a client without them shows its user the sentence.
    fn say_goodbye(&mut self, text: &str) {
        match mem::replace(&mut self.state, State::Over) {
            State::Over => return,
            State::StartingTls => {}
            State::Greeting | State::Command | State::Exchange(_) | State::Verdict => {
                self.io.out.say(format!("-ERR [SYS/TEMP] {}", line::reply_text(text)));
            }
        }
        self.io.out.report_instead(LocalEvent::Closed(Closed::Asked));
    }

    fn tls_started(&mut self) {
        if !matches!(self.state, State::StartingTls) {
            return;
        }
        self.state = State::Command;
        self.offer = Offer::default();
        self.user = None;
        if !self.io.input.is_empty() {
            self.io.input.clear();
            self.close(Closed::BytesBehindStartTls);
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("offer", &self.offer).field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Dialogue};

    fn starting_tls(behind: &[u8]) -> Local {
        let mut local = Local::new(Offer { start_tls: true, tls_before_login: true });
        assert!(matches!(local.poll(), Action::Write(_)));
        local.receive(&[b"STLS\r\n", behind].concat());
        local
    }

    /// A transcript cannot show this: in pieces of one byte the injected bytes come after the go-ahead.
    #[test]
    fn bytes_behind_stls_end_the_connection() {
        let mut local = starting_tls(b"USER alice\r\n");
        assert!(matches!(local.poll(), Action::Event(LocalEvent::Closed(Closed::BytesBehindStartTls))));
    }

    #[test]
    fn bytes_between_the_go_ahead_and_tls_end_the_connection() {
        let mut local = starting_tls(b"");
        assert!(matches!(local.poll(), Action::Write(_)));
        assert!(matches!(local.poll(), Action::Event(LocalEvent::StartTls)));
        local.receive(b"USER mallory\r\n");
        assert!(matches!(local.poll(), Action::Read));
        local.tls_started();
        assert!(matches!(local.poll(), Action::Event(LocalEvent::Closed(Closed::BytesBehindStartTls))));
        assert!(local.into_unread().is_empty());
    }

    #[test]
    fn debug_output_contains_no_client_input() {
        let mut local = Local::new(Offer::default());
        local.receive(b"USER alice\r\nPASS hunter2");
        while !matches!(local.poll(), Action::Read) {}
        assert!(!format!("{local:?}").contains("alice"));
    }
}
