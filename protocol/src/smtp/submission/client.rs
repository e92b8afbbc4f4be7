//! What the client says: its commands, and the messages behind them.

use std::mem;

use super::command::{Command, is_harmless};
use super::data::{Flaw, Progress};
use super::report::{Ended, NotSent, Outcome};
use super::sender_filter::SenderFilter;
use super::server::reply_line;
use super::{COMMAND_LIMIT, Disposition, MAX_PENDING_RECIPIENTS, Sent, State, Submission};

/// Lines that a client may send behind a refused AUTH before it notices: those of AUTH LOGIN, a user and a password.
const LINES_OF_A_LOGIN: u8 = 2;

impl Submission {
    /// Goes one step further with what the client has sent. `false`: it cannot without more bytes, or a reply.
    pub(super) fn process_client(&mut self) -> bool {
        if self.waiting.is_some() {
            return self.process_waiting_client();
        }
        match self.state {
            State::Commands | State::Ending(_) => self.next_command(),
            State::Text(..) => self.text(),
            State::Chunk { .. } => self.chunk(),
            State::Header { .. } => self.header_in_chunk(),
            State::Leaving(_) | State::Over(_) => false,
        }
    }

    fn next_command(&mut self) -> bool {
        if matches!(self.sent.back(), Some(Sent::Data)) {
            // Whether commands follow or a message is for the server to say.
            return self.client.is_ended() && self.client.is_empty() && self.client_left();
        }
        let command = match self.held.take() {
            Some(command) => command,
            None => match self.client.take_line(COMMAND_LIMIT) {
                Ok(Some(line)) => Command::parse(&line),
                // Where the rest of the line ends is not known, so that nothing behind it can be a command.
                Err(_) => Command::Fatal { answer: "500 5.5.6 Line is too long", why: "a line without end" },
                Ok(None) => return self.client.is_ended() && self.client_left(),
            },
        };
        if matches!(self.state, State::Ending(_)) {
            self.answer_after_end(&command);
        } else if self.may_be_sent(&command) {
            self.execute(command);
        } else {
            self.held = Some(command);
            return false;
        }
        true
    }

    /// The client has closed its side, and has said nothing that could be done. What is on its way can lead to no message, and
    /// sessions that wait for its slot need not wait for its reply; only the result of a complete message is still needed.
    /// `false`: that is waited for.
    fn client_left(&mut self) -> bool {
        match self.sent.back() {
            Some(Sent::Message | Sent::Chunk { last: true }) => return false,
            None => {}
            Some(Sent::Quit) => self.say("221 2.0.0 Oxpost signing off"),
            Some(_) => {
                self.cut();
                self.say("421 4.4.2 You closed your side before the mail server had answered, closing");
            }
        }
        self.forget_transaction();
        self.over(Ended::ByClient);
        true
    }

    /// Every command waits until all before it are answered, but recipients may follow each other (RFC 2920, 3.1).
    fn may_be_sent(&self, command: &Command) -> bool {
        let recipients = || self.sent.iter().all(|sent| matches!(sent, Sent::Rcpt(_)));
        self.sent.is_empty()
            || (command.is_recipient() && self.pipelining() && self.sent.len() < MAX_PENDING_RECIPIENTS && recipients())
    }

    /// Whether there is something that messages are held to.
    fn is_held(&self) -> bool {
        self.senders.is_some() || self.recipients.is_some()
    }

    fn pipelining(&self) -> bool {
        self.offers("PIPELINING")
    }

    fn offers(&self, extension: &str) -> bool {
        self.options.extensions.iter().any(|line| line.eq_ignore_ascii_case(extension))
    }

    fn execute(&mut self, command: Command) {
        let secret_may_follow = self.secrets_to_come > 0;
        self.secrets_to_come = match command {
            Command::Auth => LINES_OF_A_LOGIN,
            Command::Other { .. } => self.secrets_to_come.saturating_sub(1),
            _ => 0,
        };
        match command {
            Command::Mail { line, path } => self.mail(&line, path),
            Command::Rcpt { line, path } => self.rcpt(&line, path),
            Command::NoPath(verb) => self.no_path(verb),
            Command::Data { line } => self.send(&line, Sent::Data),
            Command::Bdat { count, last } => self.begin_chunk(count, last),
            Command::Rset => self.send(b"RSET", Sent::Rset),
            // It clears everything, as RSET does (RFC 5321, 4.1.4); the server hears our name once, and not the client's.
            Command::Hello { extended } => self.send(b"RSET", Sent::Hello { extended }),
            Command::Quit => self.send(b"QUIT", Sent::Quit),
            Command::Auth => self.say("503 5.5.1 Already authenticated"),
            Command::Other { .. } if secret_may_follow => self.say("500 5.5.2 Unknown command"),
            Command::Other { line } if self.is_held() && !is_harmless(&line) => {
                self.say("502 5.5.1 This command is not offered")
            }
            Command::Other { line } => self.send(&line, Sent::Other),
            Command::Refused(answer) => self.say(answer),
            Command::Fatal { answer, why } => {
                self.say(answer);
                self.report(Outcome::NotSent(NotSent::GivenUp));
                self.over(Ended::ClientBroke(why));
            }
        }
    }

    /// The server is gone, and the client may not know yet.
    fn answer_after_end(&mut self, command: &Command) {
        let State::Ending(ended) = mem::replace(&mut self.state, State::Commands) else { return };
        if *command == Command::Quit {
            self.say("221 2.0.0 Oxpost signing off");
            self.over(Ended::ByClient);
        } else {
            self.say(match ended {
                Ended::MessageGivenUp => {
                    "421 4.3.0 The session has ended with the message that was not sent, connect again"
                }
                _ => "421 4.3.0 The connection to the mail server has ended, closing",
            });
            self.over(ended);
        }
    }

    fn text(&mut self) -> bool {
        let client = mem::take(&mut self.client);
        let (used, progress) = self.pass_text(client.unread());
        self.client = client;
        self.client.skip(used);
        match progress {
            Progress::More if used == 0 && self.client.is_ended() => self.client_gone(),
            Progress::More if used == 0 => return false,
            _ => {}
        }
        true
    }

    /// Passes bytes of a text directly, without buffering them, if nothing is buffered before them. Returns the rest, which must be
    /// buffered.
    pub(super) fn pass_text_directly<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let is_first = self.client.is_empty()
            && self.server.is_empty()
            // To a server that has closed, the end of the text must not go.
            && !self.server.is_ended()
            && self.to_server.is_empty()
            && self.to_client.is_empty()
            && self.events.is_empty()
            && self.closing.is_none()
            && self.header.as_ref().is_none_or(SenderFilter::is_over);
        if !is_first || !matches!(self.state, State::Text(_, Disposition::Pass)) {
            return bytes;
        }
        let (used, _) = self.pass_text(bytes);
        bytes.get(used..).unwrap_or_default()
    }

    /// Uses bytes of the client for the text that goes by, as far as they belong to it and nothing is wrong with it.
    fn pass_text(&mut self, bytes: &[u8]) -> (usize, Progress) {
        let State::Text(text, disposition) = &mut self.state else { return (0, Progress::More) };
        let mut header =
            self.header.as_mut().filter(|header| matches!(disposition, Disposition::Pass) && !header.is_over());
        let mut came = Vec::new();
        let out = if header.is_some() { &mut came } else { &mut self.to_server };
        let (used, progress) = text.pass(bytes, out);
        self.counted.octets(used);
        if let (Some(header), Some(senders)) = (&mut header, &self.senders)
            && let Err(wrong) = header.pass_text(&came, progress == Progress::End, senders, &mut self.to_server)
        {
            self.refuse_header(wrong);
        }
        let State::Text(text, disposition) = &mut self.state else { return (used, progress) };
        if matches!(disposition, Disposition::Pass) {
            let octets = text.octets();
            self.enforce_size(octets);
        }
        match progress {
            Progress::Flawed(Flaw::BareCr) => self.give_up(NotSent::BareCr),
            Progress::Flawed(Flaw::Nul) => self.give_up(NotSent::Nul),
            Progress::End => self.end_of_message(),
            Progress::More => {}
        }
        (used, progress)
    }

    /// A text of so many octets so far must not be larger than the server takes.
    fn enforce_size(&mut self, octets: u64) {
        self.transaction.set_octets(octets);
        if let Some(limit) = self.too_large() {
            // As far as it came: to the first octet too many.
            self.transaction.set_octets(limit + 1);
            self.give_up(NotSent::TooLarge);
        }
    }

    /// A message goes no further, and must not be delivered as far as it came.
    pub(super) fn give_up(&mut self, why: NotSent) {
        if matches!(self.state, State::Text(_, Disposition::Discard { .. })) {
            return;
        }
        let answer = match why {
            NotSent::Nul => "550 5.6.0 The message has a NUL byte. Nothing of it was sent",
            NotSent::TooLarge => "552 5.3.4 The message is larger than the mail server takes. Nothing of it was sent",
            _ => "550 5.6.0 The message has a CR without LF. Nothing of it was sent: lines must end in CRLF",
        };
        self.discard(reply_line(answer), Outcome::NotSent(why), Ended::MessageGivenUp);
    }

    /// The rest of a message is forgotten. At its end the client hears this answer.
    pub(super) fn discard(&mut self, answer: Vec<u8>, outcome: Outcome, ended: Ended) {
        self.cut();
        let discard = Disposition::Discard { answer, outcome, ended };
        match &mut self.state {
            State::Text(text, disposition) => {
                text.discard();
                *disposition = discard;
            }
            State::Chunk { disposition, .. } => *disposition = discard,
            State::Commands | State::Header { .. } | State::Ending(_) | State::Leaving(_) | State::Over(_) => {}
        }
    }

    fn end_of_message(&mut self) {
        match mem::replace(&mut self.state, State::Commands) {
            State::Text(_, Disposition::Pass) => self.sent.push_back(Sent::Message),
            State::Text(_, Disposition::Discard { answer, outcome, ended })
            | State::Chunk { disposition: Disposition::Discard { answer, outcome, ended }, .. } => {
                self.to_client.extend_from_slice(&answer);
                self.report(outcome);
                self.state = State::Ending(ended);
            }
            State::Chunk { disposition: Disposition::Pass, .. } => self.end_of_chunk(),
            State::Chunk { disposition: Disposition::Skip(answer), .. } => self.say(answer),
            State::Text(_, Disposition::Skip(_))
            | State::Commands
            | State::Header { .. }
            | State::Ending(_)
            | State::Leaving(_)
            | State::Over(_) => {}
        }
    }

    pub(super) fn client_gone(&mut self) {
        let lone_dot = matches!(&self.state, State::Text(text, _) if text.had_a_lone_dot());
        let why = if lone_dot { NotSent::ClientGoneBehindBareLf } else { NotSent::ClientGone };
        self.cut();
        self.report(Outcome::NotSent(why));
        self.over(Ended::ByClient);
    }

    fn begin_chunk(&mut self, count: u64, last: bool) {
        if !self.offers("CHUNKING") {
            // A server that does not know it would take the octets for commands.
            self.state = State::Chunk {
                left: count,
                disposition: Disposition::Skip("502 5.5.1 The mail server does not take BDAT"),
            };
            return;
        }
        self.message_begins(count);
        self.begin_header();
        self.state = State::Chunk { left: count, disposition: Disposition::Pass };
        if self.too_large().is_some() {
            self.give_up(NotSent::TooLarge);
        } else if self.header.as_ref().is_some_and(|header| !header.is_over()) {
            self.state = State::Header { left: count, last, held: Vec::new() };
        } else {
            self.send_chunk(count, last);
        }
    }

    pub(super) fn send_chunk(&mut self, count: u64, last: bool) {
        let line = format!("BDAT {count}{}", if last { " LAST" } else { "" });
        self.send(line.as_bytes(), Sent::Chunk { last });
    }

    /// The server's limit, if the message is beyond it.
    pub(super) fn too_large(&self) -> Option<u64> {
        self.size_limit.filter(|&limit| self.transaction.octets() > limit)
    }

    /// The octets of a chunk are counted and not looked at (RFC 3030, 2).
    fn chunk(&mut self) -> bool {
        let State::Chunk { left, disposition } = &mut self.state else { return false };
        let unread = self.client.unread();
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
        if matches!(disposition, Disposition::Pass) && self.server_open {
            self.to_server.extend_from_slice(unread.get(..count).unwrap_or_default());
        }
        self.client.skip(count);
        self.counted.octets(count);
        *left = left.saturating_sub(count as u64);
        if *left == 0 {
            self.end_of_message();
        } else if count == 0 && self.client.is_ended() {
            self.client_gone();
        } else {
            return count > 0;
        }
        true
    }
}
