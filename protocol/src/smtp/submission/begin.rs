//! A message may have to wait before it begins: a mail server takes so many of one mailbox, and refuses what is beyond.
//!
//! MAIL is held back, and with it everything behind it, until the driver lets it go or puts it off. Behind MAIL nothing is
//! ever tried again: that it was refused is certain, and that nothing else was is not.

use super::report::{Ended, Event};
use super::server::words;
use super::{Sent, Submission};
use crate::line;
use crate::smtp::reply::Reply;

/// A MAIL that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) mail: Mail,
    /// What the server has said to it already, if it was sent before.
    pub(super) refused: Option<Reply>,
    /// The driver knows of it.
    pub(super) asked: bool,
}

/// A MAIL, as it goes on.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) line: Vec<u8>,
    /// The sender; empty if it is nobody.
    pub(super) address: String,
}

impl Submission {
    /// A message begins once the driver says so. One that comes within another the server will refuse anyway.
    pub(super) fn mail(&mut self, mail: Mail) {
        let is_another = |only: &String| !mail.address.is_empty() && !mail.address.eq_ignore_ascii_case(only);
        if let Some(only) = self.only_sender.clone().filter(is_another) {
            let answer = format!("550 5.7.60 This login sends as {} only", line::reply_text(&only));
            self.say(&answer);
            self.report_refused("MAIL", mail.address, answer);
            return;
        }
        if self.transaction.is_open() {
            let line = mail.line.clone();
            return self.send(&line, Sent::Mail(mail));
        }
        self.waiting = Some(Waiting { mail, refused: None, asked: false });
    }

    /// The server has refused it because it takes no more now. It may be sent again.
    pub(super) fn wait_again(&mut self, mail: Mail, reply: &Reply) {
        self.waiting = Some(Waiting { mail, refused: Some(reply.clone()), asked: false });
    }

    /// The message that was asked for ([`Step::Begin`](super::Step::Begin)) may begin.
    pub fn begin(&mut self) {
        if let Some(Waiting { mail, .. }) = self.waiting.take() {
            let line = mail.line.clone();
            self.send(&line, Sent::Mail(mail));
        }
    }

    /// It may not. The client hears what the server has said to it or, if that was nothing, this reply, which should be a
    /// temporary one.
    pub fn put_off(&mut self, answer: &str) {
        match self.waiting.take() {
            Some(Waiting { mail, refused: Some(reply), .. }) => {
                self.report_refused("MAIL", mail.address, words(&reply));
                self.pass_on(&reply);
            }
            Some(Waiting { mail, refused: None, .. }) => {
                self.events.push_back(Event::PutOff { sender: mail.address, answer: answer.to_owned() });
                self.say(answer);
            }
            None => {}
        }
    }

    /// Whether nothing has begun, and nothing is waited for but the client's next command.
    pub fn is_at_rest(&self) -> bool {
        let orders = matches!(self.state, super::State::Orders) && self.sent.is_empty() && self.held.is_none();
        orders && self.waiting.is_none() && self.client.is_empty() && !self.transaction.is_open()
    }

    /// While a MAIL waits. `false`: nothing happens but that.
    pub(super) fn hear_waiting_client(&mut self) -> bool {
        // With more behind it, it has said all it wants and still wants its answers; otherwise it has gone.
        let gone = self.client.is_ended() && self.client.is_empty();
        if gone {
            self.over(Ended::ByClient);
        }
        gone
    }
}
