//! Handles the server's replies.

use std::mem;

use super::data::Text;
use super::report::{Ended, NotSent, Outcome};
use super::{Disposition, Sent, State, Submission};
use crate::line;
use crate::smtp::reply::Reply;
use crate::smtp::throttled::is_throttled;

impl Submission {
    /// Processes the next reply of the server. `false`: no complete reply yet.
    pub(super) fn process_server(&mut self) -> bool {
        match self.state {
            State::Over(_) | State::Ending(_) | State::Text(_, Disposition::Discard { .. } | Disposition::Skip(_)) => {
                return false;
            }
            State::Leaving(ref ended) => {
                let done = self.server.is_ended() || !matches!(self.replies.take(&mut self.server), Ok(None));
                if done {
                    let ended = ended.clone();
                    self.over(ended);
                }
                return done;
            }
            State::Chunk { disposition: Disposition::Pass, .. } if self.refusal.is_none() => {
                return self.process_early_reply();
            }
            State::Chunk { .. } | State::Header { .. } => return self.detect_server_close(),
            State::Commands | State::Text(_, Disposition::Pass) => {}
        }
        match self.replies.take(&mut self.server) {
            Ok(Some(reply)) => {
                self.counted.reply();
                self.reply(&reply);
            }
            Ok(None) if self.server.is_ended() => self.lose_server(Ended::ByServer),
            Ok(None) => return false,
            Err(what) => self.lose_server(Ended::ServerBroke(what)),
        }
        true
    }

    fn reply(&mut self, reply: &Reply) {
        match (self.sent.front(), reply.class()) {
            (None, _) => self.unasked(reply),
            (Some(Sent::Data), 3) if reply.code == 354 => self.go_ahead(reply),
            // The server waits for something that the client does not mean to send.
            (Some(_), 3) | (Some(Sent::Data), 2) => {
                self.lose_server(Ended::ServerBroke(format!("an answer that cannot be: {}", words(reply))));
            }
            (Some(_), _) => {
                self.answered(reply);
                if reply.code == 421 {
                    // It closes, whatever it was asked (RFC 5321, 3.8).
                    self.server_closes();
                }
            }
        }
    }

    /// A chunk is answered when it is over. What the server says before that can be a refusal, and no success.
    fn process_early_reply(&mut self) -> bool {
        let broken = match self.replies.take(&mut self.server) {
            Ok(None) => return self.detect_server_close(),
            Ok(Some(reply)) if matches!(reply.class(), 4 | 5) => {
                self.refusal = Some(reply);
                return true;
            }
            Ok(Some(reply)) => format!("an answer ahead of the chunk: {}", words(&reply)),
            Err(what) => what,
        };
        self.sent.clear();
        self.discard(reply_line(NOT_SENT), Outcome::NotSent(NotSent::ServerGone), Ended::ServerBroke(broken));
        true
    }

    /// Detects immediately that the server has closed, so that nothing more is written to it.
    fn detect_server_close(&mut self) -> bool {
        let newly_gone = self.server.is_ended() && self.server_open;
        if newly_gone {
            self.cut();
        }
        newly_gone
    }

    pub(super) fn end_of_chunk(&mut self) {
        if let Some(reply) = self.refusal.take() {
            self.reply(&reply);
        } else if !self.server_open {
            self.sent.clear();
            self.say(NOT_SENT);
            self.report(Outcome::NotSent(NotSent::ServerGone));
            self.state = State::Ending(Ended::ByServer);
        }
    }

    fn answered(&mut self, reply: &Reply) {
        let Some(sent) = self.sent.pop_front() else { return };
        let done = reply.class() == 2;
        let no_go_ahead = matches!(sent, Sent::Data);
        match sent {
            Sent::Hello { extended } if done => {
                self.forget_transaction();
                return self.hello(extended);
            }
            Sent::Rset if done => self.forget_transaction(),
            Sent::Mail(mail) if done => {
                self.forget_transaction();
                self.transaction.open(mail.address, mail.given);
                self.counted.sender();
            }
            // Not where it closes behind that: the client must come again anyway.
            Sent::Mail(mail) if reply.code != 421 && is_throttled(&words(reply)) => {
                return self.wait_again(mail, reply);
            }
            Sent::Rcpt(recipient) if done => {
                self.transaction.add_recipient(recipient);
                self.counted.recipients(self.transaction.recipient_count());
            }
            Sent::Message | Sent::Chunk { last: true } if done => self.report(Outcome::Accepted(words(reply))),
            Sent::Message | Sent::Chunk { .. } if !done => self.report(Outcome::Refused(words(reply))),
            Sent::Mail(mail) => self.report_refused("MAIL", mail.address, words(reply)),
            Sent::Rcpt(recipient) => self.report_refused("RCPT", recipient, words(reply)),
            Sent::Data => self.report_refused("DATA", String::new(), words(reply)),
            Sent::Quit => self.over(Ended::ByClient),
            Sent::Message | Sent::Chunk { .. } | Sent::Rset | Sent::Hello { .. } | Sent::Other => {}
        }
        self.pass_on(reply);
        if no_go_ahead && !self.client.is_empty() {
            // The client did not wait. What it has sent is a message, and must not be taken for commands.
            self.say("421 4.7.0 The message came ahead of the go-ahead, closing");
            self.over(Ended::ClientBroke("a message ahead of the go-ahead"));
        }
    }

    /// Says what EHLO and HELO are answered with. It is the same before and after the login, so far as the server keeps it.
    fn hello(&mut self, extended: bool) {
        let host_name = line::reply_text(&self.options.host_name);
        if !extended || self.options.extensions.is_empty() {
            return self.say(&format!("250 {host_name}"));
        }
        self.say(&format!("250-{host_name} Hello"));
        let extensions = mem::take(&mut self.options.extensions);
        for (at, text) in extensions.iter().enumerate() {
            let separator = if at + 1 == extensions.len() { ' ' } else { '-' };
            self.say(&format!("250{separator}{}", line::reply_text(text)));
        }
        self.options.extensions = extensions;
    }

    fn go_ahead(&mut self, reply: &Reply) {
        self.sent.pop_front();
        self.message_begins(0);
        self.header = None;
        self.begin_header();
        self.state = State::Text(Text::default(), Disposition::Pass);
        if reply.lines.iter().all(|line| line.trim_ascii().is_empty()) {
            // System.Net.Mail cannot read a go-ahead without a text.
            self.say("354 Start mail input; end with <CRLF>.<CRLF>");
        } else {
            self.pass_on(reply);
        }
    }

    /// A reply that nothing was waiting for. In the middle of a message it is the server's last word on it; what it would
    /// reply to the end of the message could not be distinguished from a reply to what follows.
    fn unasked(&mut self, reply: &Reply) {
        if matches!(self.state, State::Text(..)) && matches!(reply.class(), 4 | 5) {
            self.discard(reply.wire(), Outcome::Refused(words(reply)), Ended::ByServer);
        } else if matches!(self.state, State::Commands) && reply.code == 421 {
            self.pass_on(reply);
            self.server_closes();
        } else {
            self.lose_server(Ended::ServerBroke(format!("an answer to nothing: {}", words(reply))));
        }
    }

    /// The server has said 421.
    fn server_closes(&mut self) {
        self.cut();
        self.report(Outcome::NotSent(NotSent::ServerGone));
        self.over(Ended::ByServer);
    }

    /// The server is gone, is silent, or cannot be followed any more.
    pub(super) fn lose_server(&mut self, ended: Ended) {
        self.cut();
        let waiting = self.sent.pop_front();
        self.sent.clear();
        let what = match ended {
            Ended::ServerSilent => "did not answer in time",
            _ => "closed the connection",
        };
        match (&self.state, waiting) {
            (State::Text(..), _) => {
                self.discard(reply_line(NOT_SENT), Outcome::NotSent(NotSent::ServerGone), ended);
            }
            (_, Some(Sent::Message | Sent::Chunk { last: true })) => {
                self.say(&format!("451 4.4.2 The mail server {what}. Whether it took the message is not known"));
                self.report(Outcome::InDoubt);
                self.state = State::Ending(ended);
            }
            (_, Some(Sent::Chunk { last: false })) => {
                self.say(NOT_SENT);
                self.report(Outcome::NotSent(NotSent::ServerGone));
                self.state = State::Ending(ended);
            }
            (_, Some(Sent::Quit)) => {
                self.say("221 2.0.0 Oxpost signing off");
                self.over(Ended::ByClient);
            }
            _ => {
                self.say(&format!("421 4.4.2 The mail server {what}"));
                self.report(Outcome::NotSent(NotSent::ServerGone));
                self.over(ended);
            }
        }
    }

    pub(super) fn pass_on(&mut self, reply: &Reply) {
        reply.write_to(&mut self.to_client);
    }
}

const NOT_SENT: &str = "451 4.4.2 The mail server went away in the middle of the message. It was not sent: try again";

pub(super) fn reply_line(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\r\n"].concat()
}

pub(super) fn words(reply: &Reply) -> String {
    line::printable(&reply.joined())
}
