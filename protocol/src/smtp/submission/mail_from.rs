//! A message may have to wait before it begins: a mail server takes so many of one mailbox, and refuses what is beyond.
//!
//! MAIL is held back, and with it everything behind it, until the driver lets it go or puts it off. Behind MAIL nothing is
//! ever tried again: that it was refused is certain, and that nothing else was is not.

use super::envelope_path::{EnvelopePath, Verb};
use super::report::{Ended, Event};
use super::server::words;
use super::{Sent, Submission};
use crate::line;
use crate::smtp::reply::Reply;
use crate::smtp::sender_policy::{Pattern, Verdict};

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
    line: Vec<u8>,
    /// The sender; empty for the null sender (`<>`).
    pub(super) address: String,
    /// The one that the client has given, if that is another.
    pub(super) given: Option<String>,
}

impl Submission {
    /// A message begins once the driver says so, one within another too: whether that one is over only the server knows.
    pub(super) fn mail(&mut self, line: &[u8], path: EnvelopePath) {
        let (mut path, mut given) = (path, None);
        if let Some(senders) = &self.senders {
            path = path.with_known_parameters();
            match senders.verdict(&path.address) {
                _ if path.address.is_empty() => {}
                Verdict::Allowed => {}
                Verdict::Replaced(instead) => given = Some(std::mem::replace(&mut path.address, instead.to_owned())),
                Verdict::Refused => {
                    let answer = line::reply_text(&senders.answer(&path.address));
                    return self.refuse("MAIL", path.address, answer);
                }
            }
        }
        let mail = Mail { line: path.command(Verb::Mail, line), address: path.address, given };
        self.waiting = Some(Waiting { mail, refused: None, asked: false });
    }

    /// A recipient, if it is one that messages may go to.
    pub(super) fn rcpt(&mut self, line: &[u8], path: EnvelopePath) {
        let path = match &self.recipients {
            Some(allowed) if !allowed.iter().any(|pattern| pattern.fits(&path.address)) => {
                let names: Vec<&str> = allowed.iter().map(Pattern::name).collect();
                let answer = format!(
                    "550 5.7.1 Without a login, mail goes to {} only, as `recipients` says in proxy.toml",
                    names.join(", ")
                );
                return self.refuse("RCPT", path.address, line::reply_text(&answer));
            }
            Some(_) => path.with_known_parameters(),
            None => path,
        };
        self.send(&path.command(Verb::Rcpt, line), Sent::Rcpt(path.address));
    }

    /// MAIL or RCPT without an address that every reader finds in it. What was checked is what goes on, so this goes nowhere.
    pub(super) fn no_path(&mut self, verb: Verb) {
        let (command, answer) = match verb {
            Verb::Mail => ("MAIL", "501 5.5.4 Not understood: write MAIL FROM:<address>"),
            Verb::Rcpt => ("RCPT", "501 5.5.4 Not understood: write RCPT TO:<address>"),
        };
        self.say(answer);
        self.events.push_back(Event::Malformed { command, answer });
    }

    /// It is not even asked of the server.
    fn refuse(&mut self, command: &'static str, address: String, answer: String) {
        self.say(&answer);
        self.events.push_back(Event::NotAllowed { command, address, answer });
    }

    /// The server has refused it because it takes no more now. It may be sent again.
    pub(super) fn wait_again(&mut self, mail: Mail, reply: &Reply) {
        self.waiting = Some(Waiting { mail, refused: Some(reply.clone()), asked: false });
    }

    /// The sender of the message that waits to begin ([`Step::Begin`](super::Step::Begin)); empty for the null sender.
    pub fn waiting_sender(&self) -> Option<&str> {
        self.waiting.as_ref().map(|waiting| waiting.mail.address.as_str())
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

    /// While a MAIL waits. `false`: nothing happens but that.
    pub(super) fn process_waiting_client(&mut self) -> bool {
        // With more behind it, it has said all it wants and still wants its answers; otherwise it has gone.
        let gone = self.client.is_ended() && self.client.is_empty();
        if gone {
            self.over(Ended::ByClient);
        }
        gone
    }
}
