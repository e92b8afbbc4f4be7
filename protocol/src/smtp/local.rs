//! SMTP as a mail client sees it before it has logged in (RFC 5321, 4954; STARTTLS: RFC 3207; codes: RFC 3463, 5248).
//!
//! No reply repeats what the client sent: it may be a password on the wrong line.

use std::{fmt, mem};

use zeroize::Zeroizing;

use super::command::{Auth, Command, begins_auth, is_mail};
use crate::line;
use crate::preamble::{Preamble, PreambleAction, PreambleDetector};
use crate::sasl;
use crate::sasl::exchange::{Exchange, NO_TOKEN_NEEDED, Progress};
use crate::state_machine::{Io, StateMachine};
use crate::{Closed, LocalDialogue, LocalEvent, Login, Offer, Refusal, RefusalKind};

/// Longest command line taken, its line end included. RFC 5321, 4.5.3.1.4 asks for 512 and more with extensions. AUTH
/// lines and the answers to challenges have the bound of SASL lines.
const COMMAND_LIMIT: usize = 2048;

/// Logins refused on one connection before it is closed.
const MAX_ATTEMPTS: u32 = 5;

/// Commands answered with an error, other than a refused login, before the connection is closed.
const MAX_ERRORS: u32 = 20;

/// What an SMTP listener says of itself before the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The name in the greeting and in the answer to EHLO.
    pub host_name: String,
    /// The extensions to offer, a line each (`SIZE 157286400`); AUTH and STARTTLS are added by the dialogue.
    pub extensions: Vec<String>,
}

/// The dialogue with a mail client, up to its login.
pub struct Local {
    offer: Offer,
    greeting: Greeting,
    io: Io<LocalEvent>,
    state: State,
    preamble: PreambleDetector,
    /// The sentence of the last refusal, cleaned for use in a reply.
    last_refusal: Option<(RefusalKind, String)>,
    attempts: u32,
    errors: u32,
    without_login: bool,
    /// The MAIL of a client that sends without a login: what follows the login begins with it.
    mail: Option<Zeroizing<Vec<u8>>>,
    /// Why that was put off: what it has pipelined behind is as well.
    put_off: Option<String>,
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
    pub fn new(offer: Offer, greeting: Greeting) -> Self {
        Self {
            offer,
            greeting,
            io: Io::default(),
            state: State::Greeting,
            preamble: PreambleDetector::default(),
            last_refusal: None,
            attempts: 0,
            errors: 0,
            without_login: false,
            mail: None,
            put_off: None,
        }
    }

    fn line(&mut self, line: Zeroizing<Vec<u8>>) {
        match self.preamble.detect(&line) {
            Some(PreambleAction::Skip(preamble)) => {
                // Whose client it is the balancer knows; its own network must not speak for everybody behind it.
                self.without_login = false;
                self.io.out.report(LocalEvent::SkippedPreamble(preamble));
            }
            Some(PreambleAction::Close(preamble)) => self.close(Closed::NotMail(preamble)),
            None if self.needs_no_login() && is_mail(&line) => {
                self.put_off = None;
                self.mail = Some(line);
                self.state = State::Verdict;
                self.io.out.report(LocalEvent::WithoutLogin);
            }
            None => self.command(Command::parse(&line)),
        }
    }

    /// Whether the client may send without a login. After a refused login it may not: a client with a password must log in.
    fn needs_no_login(&self) -> bool {
        self.without_login && self.offer.login_allowed() && self.last_refusal.is_none()
    }

    fn command(&mut self, command: Command<'_>) {
        match command {
            Command::Ehlo => self.ehlo(),
            Command::Helo => self.io.out.say(format!("250 {}", line::reply_text(&self.greeting.host_name))),
            Command::StartTls { bare } => self.start_tls(bare),
            Command::Auth(auth) => self.auth(auth),
            Command::Noop | Command::Rset => self.io.out.say("250 2.0.0 OK"),
            Command::Help => self.io.out.say("214 2.0.0 Log in with AUTH PLAIN or AUTH LOGIN and your Oxpost password"),
            Command::Vrfy => self.io.out.say("252 2.1.5 Cannot verify, but will take the message after a login"),
            Command::Quit => {
                self.io.out.say("221 2.0.0 Oxpost signing off");
                self.close(Closed::ByClient);
            }
            Command::NeedsLogin if self.needs_no_login() => self.mail_first(),
            Command::NeedsLogin => self.login_first(),
            Command::Bdat => {
                // Its data is on the way already, and must not be taken for commands (RFC 3030, 3).
                self.login_first();
                self.disconnect(Closed::TooManyErrors, "A message came ahead of the login");
            }
            Command::BadParameters => self.error("501 5.5.4 These parameters cannot be"),
            Command::Unknown => self.error("500 5.5.2 Unknown command"),
        }
    }

    fn ehlo(&mut self) {
        let mut lines = vec![format!("{} Hello", self.greeting.host_name)];
        lines.extend(self.greeting.extensions.iter().cloned());
        if self.offer.start_tls {
            lines.push("STARTTLS".into());
        }
        if self.offer.login_allowed() {
            lines.push("AUTH PLAIN LOGIN".into());
        }
        let last = lines.len() - 1;
        for (at, text) in lines.iter().enumerate() {
            let separator = if at == last { ' ' } else { '-' };
            self.io.out.say(format!("250{separator}{}", line::reply_text(text)));
        }
    }

    fn start_tls(&mut self, bare: bool) {
        if !self.offer.start_tls {
            return self.error("502 5.5.1 STARTTLS is not offered");
        }
        if !bare {
            return self.error("501 5.5.4 STARTTLS takes no parameters");
        }
        if !self.io.input.is_empty() {
            // An attacker on the network could have inserted them, to have them treated as encrypted.
            return self.close(Closed::BytesBehindStartTls);
        }
        self.io.out.say("220 2.0.0 Ready to start TLS");
        self.io.out.report(LocalEvent::StartTls);
        self.state = State::StartingTls;
    }

    /// Accepts AUTH before EHLO and after HELO: old devices send it so.
    fn auth(&mut self, auth: Auth<'_>) {
        if !self.offer.login_allowed() {
            return self.error(if self.offer.start_tls {
                "538 5.7.11 A login needs TLS here, start it with STARTTLS"
            } else {
                "538 5.7.11 A login needs TLS, which this port does not have"
            });
        }
        match auth {
            Auth::With { mechanism, initial } => self.go_on(Exchange::start(mechanism, initial)),
            Auth::Bearer => self.error(&format!("504 5.5.4 {NO_TOKEN_NEEDED}, by AUTH PLAIN or AUTH LOGIN")),
            Auth::OtherMechanism => self.error("504 5.5.4 Unknown mechanism, use PLAIN or LOGIN"),
            Auth::NoMechanism => self.error("501 5.5.4 AUTH needs a mechanism, PLAIN or LOGIN"),
        }
    }

    fn go_on(&mut self, progress: Progress) {
        match progress {
            Progress::Challenge(text, exchange) => {
                self.io.out.say(format!("334 {text}"));
                self.state = State::Exchange(exchange);
            }
            Progress::Done(login) => self.present(login),
            Progress::Cancelled => self.error("501 5.7.0 Authentication cancelled"),
            Progress::Malformed => self.error("501 5.5.2 This is not what the mechanism prescribes"),
        }
    }

    fn present(&mut self, login: Login) {
        self.state = State::Verdict;
        self.io.out.report(LocalEvent::Login(login));
    }

    /// .NET's System.Net.Mail does not look at the answer to AUTH: it goes on to MAIL and shows its user only what is said
    /// to that. So the true reason stands here again, and what was temporary stays temporary: a 5xx here bounces its mail.
    fn login_first(&mut self) {
        let reply = match &self.last_refusal {
            Some((RefusalKind::BadCredentials, text)) => format!("530 5.7.0 {text}"),
            Some((_, text)) => format!("451 4.7.0 {text}"),
            None if self.offer.login_allowed() => {
                "530 5.7.0 Authentication required: log in with your Oxpost password".to_owned()
            }
            None => "530 5.7.0 Must issue a STARTTLS command first".to_owned(),
        };
        self.error(&reply);
    }

    /// Commands after a deferred MAIL are deferred too: a client that reads only the reply to RCPT keeps its mail.
    fn mail_first(&mut self) {
        let reply = match &self.put_off {
            Some(text) => format!("451 4.7.0 {text}"),
            None => "503 5.5.1 Begin with MAIL".to_owned(),
        };
        self.error(&reply);
    }

    fn error(&mut self, reply: &str) {
        self.io.out.say(reply);
        self.errors += 1;
        if self.errors >= MAX_ERRORS {
            self.disconnect(Closed::TooManyErrors, "Too many errors");
        }
    }

    /// Announces the end in a separate reply (RFC 5321, 3.8), after the one the client waits for. Only the first end counts.
    fn disconnect(&mut self, why: Closed, text: &str) {
        if !matches!(self.state, State::Over) {
            self.io.out.say(format!("421 4.7.0 {text}, closing the connection"));
            self.close(why);
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
                self.io.out.say(format!("220 {} ESMTP Oxpost ready", line::reply_text(&self.greeting.host_name)));
                self.state = State::Command;
                return true;
            }
            State::Exchange(_) => sasl::LINE_LIMIT,
            State::Command if self.preamble.is_tls(self.io.input.unread()) => {
                self.close(Closed::NotMail(Preamble::TlsHello));
                return true;
            }
            State::Command if begins_auth(self.io.input.unread()) => sasl::LINE_LIMIT,
            State::Command => COMMAND_LIMIT,
            State::Verdict | State::StartingTls | State::Over => return false,
        };
        match self.io.input.take_line(bound).map(|line| line.map(Zeroizing::new)) {
            Ok(Some(line)) => match mem::replace(&mut self.state, State::Command) {
                State::Exchange(exchange) => self.go_on(exchange.answer(&line)),
                _ => self.line(line),
            },
            Ok(None) if self.io.input.is_ended() => self.close(Closed::EndOfStream),
            Ok(None) => return false,
            Err(line::TooLong) => {
                // The end of the line is unknown, so nothing after it can be read as a command.
                self.io.out.say("500 5.5.6 Line is too long");
                self.close(Closed::TooLong);
            }
        }
        true
    }

    /// The MAIL of a client that sends without a login comes first: it was read here and is still to be sent.
    fn take_unread(&mut self) -> Vec<u8> {
        let rest = mem::take(&mut self.io.input).into_unread();
        match self.mail.take() {
            Some(mail) => [mail.as_slice(), &rest].concat(),
            None => rest,
        }
    }
}

impl LocalDialogue for Local {
    fn allow_without_login(&mut self) {
        self.without_login = true;
    }

    fn accept(&mut self, _capabilities: &[String]) {
        if matches!(self.state, State::Verdict) {
            if self.mail.is_none() {
                self.io.out.say("235 2.7.0 Authentication successful");
            }
            self.state = State::Over;
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        if !matches!(self.state, State::Verdict) {
            return;
        }
        // 454 if an administrator must fix something: a mail queue keeps its mail until then; 535 would bounce it.
        let code = match refusal.kind {
            RefusalKind::BadCredentials => "535 5.7.8",
            RefusalKind::Unavailable | RefusalKind::LimitReached | RefusalKind::AdministratorMustAct => "454 4.7.0",
        };
        let text = line::reply_text(&refusal.text);
        if self.mail.take().is_some() {
            self.io.out.say(format!("451 4.7.0 {text}"));
            self.put_off = Some(text);
        } else {
            self.io.out.say(format!("{code} {text}"));
            self.last_refusal = Some((refusal.kind, text));
        }
        self.state = State::Command;
        self.attempts += 1;
        if self.attempts >= MAX_ATTEMPTS {
            self.disconnect(Closed::TooManyAttempts, "Too many refused logins");
        }
    }

    fn say_goodbye(&mut self, text: &str) {
        match mem::replace(&mut self.state, State::Over) {
            State::Over => return,
            State::StartingTls => {}
            State::Greeting | State::Command | State::Exchange(_) | State::Verdict => {
                self.io.out.say(format!("421 4.3.2 {}", line::reply_text(text)));
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
        self.last_refusal = None;
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
mod tests;
