//! IMAP (RFC 3501, RFC 9051): what goes on, what is answered here, and the commands that are worth following.

mod capability_list;
mod client;
mod server;
mod syntax;
mod tracker;

use std::collections::VecDeque;

use self::capability_list::CapabilityList;
use self::client::LineHandling;
use self::tracker::{Command, Response, Tracker};
use super::line_stream::LineStream;
use super::{ANSWER_BYTES_LIMIT, ANSWERS_LIMIT, Counts, Cut, Observation, Over, Peer, Tap, cut};

/// Between a client and a server of IMAP.
#[derive(Default)]
pub struct Imap {
    client: LineStream,
    course: LineHandling,
    /// A command whose literal is being relayed or is still expected.
    unfinished: Option<Unfinished>,
    server: LineStream,
    server_course: ServerLineHandling,
    /// The next line of the server goes on with a response that had a literal.
    continues: Option<Response>,
    order: Order,
    /// IDLE was sent, and no DONE.
    is_idling: bool,
    /// So many IDLEs were sent that the server has neither continued nor, as far as is known, answered.
    waiting_idles: u64,
    /// AUTHENTICATE was answered here: lines that are no commands belong to it.
    is_authenticating: bool,
    has_logged_out: bool,
    has_said_bye: bool,
    closing: Option<String>,
    over: Option<Over>,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    tracker: Tracker,
}

/// A command whose literal is being relayed or is still expected.
struct Unfinished {
    command: Command,
    /// The literal is only sent once the server has asked for it, which it may never do (RFC 3501, 7.5).
    waits: bool,
}

/// What becomes of the server's line.
#[derive(Default)]
enum ServerLineHandling {
    /// It is not known yet; what there is of it is held.
    #[default]
    Start,
    /// It goes on.
    Passes,
    /// It has a list of capabilities.
    Lists(CapabilityList),
}

/// Which replies come before which local answer. Only their number counts: a reply that comes out of turn lets an answer
/// come out of turn, which IMAP allows (RFC 3501, 5.5).
#[derive(Default)]
struct Order {
    /// Commands that went on to the server, and how many of them it has answered.
    sent: u64,
    replied: u64,
    /// Local answers that wait for their place.
    answers: VecDeque<Answer>,
}

struct Answer {
    /// So many commands were sent before.
    after: u64,
    line: String,
}

impl Order {
    fn reply(&mut self) {
        self.replied = self.sent.min(self.replied.saturating_add(1));
    }

    /// Whether all but so many commands are answered.
    fn is_answered_but(&self, count: u64) -> bool {
        self.replied.saturating_add(count) >= self.sent
    }

    fn push(&mut self, line: String) {
        self.answers.push_back(Answer { after: self.sent, line });
    }

    /// The next answer, if its place has come. IDLE is answered only behind DONE.
    fn next(&mut self, is_idling: bool) -> Option<String> {
        let answered = self.replied.saturating_add(is_idling.into());
        let answer = self.answers.pop_front_if(|answer| answer.after <= answered)?;
        if self.answers.is_empty() {
            self.answers = VecDeque::new();
        }
        Some(answer.line)
    }
}

impl Tap for Imap {
    fn client(&mut self, bytes: &[u8]) -> Cut {
        cut(bytes, |rest| self.client_step(rest))
    }

    fn server(&mut self, bytes: &[u8], notice: &mut dyn FnMut(Observation)) -> Cut {
        cut(bytes, |rest| self.server_step(rest, notice))
    }

    fn end(&mut self, from: Peer) {
        match from {
            Peer::Client => self.client_ends(),
            Peer::Server => self.server_ends(),
        }
    }

    fn output(&mut self, to: Peer) -> Vec<u8> {
        std::mem::take(match to {
            Peer::Client => &mut self.to_client,
            Peer::Server => &mut self.to_server,
        })
    }

    fn close(&mut self, text: &str) {
        self.closing.get_or_insert_with(|| text.to_owned());
        self.close_if_quiet();
    }

    fn over(&self) -> Option<Over> {
        self.over
    }

    fn owes_reply(&self) -> bool {
        !self.order.is_answered_but(self.is_idling.into())
    }

    fn has_said_goodbye(&self, peer: Peer) -> bool {
        match peer {
            Peer::Client => self.has_logged_out,
            Peer::Server => self.has_said_bye,
        }
    }

    fn counts(&self) -> Counts {
        self.tracker.counts
    }

    fn held(&self) -> usize {
        let answers = self.order.answers.iter().map(|answer| answer.line.capacity()).sum::<usize>();
        let unfinished = self.unfinished.as_ref().map_or(0, |unfinished| unfinished.command.held());
        let list = if let ServerLineHandling::Lists(list) = &self.server_course { list.held() } else { 0 };
        self.client.held()
            + self.server.held()
            + self.course.held()
            + list
            + self.tracker.held()
            + unfinished
            + answers
            + self.order.answers.capacity() * size_of::<Answer>()
            + self.to_client.capacity()
            + self.to_server.capacity()
    }
}

impl Imap {
    /// A local answer, in its place.
    fn answer(&mut self, line: String) {
        self.order.push(line);
        self.give_answers();
    }

    /// The local answers whose place has come.
    fn give_answers(&mut self) {
        while self.is_between_responses()
            && let Some(line) = self.order.next(self.is_idling)
        {
            self.to_client.extend_from_slice(line.as_bytes());
            self.to_client.extend_from_slice(b"\r\n");
        }
        self.close_if_quiet();
    }

    /// Whether something may be said to the client now.
    fn is_between_responses(&self) -> bool {
        self.server.is_between() && self.continues.is_none()
    }

    /// No new command goes on: the session is to end, or too many answers wait.
    fn must_client_wait(&self) -> bool {
        self.closing.is_some()
            || self.order.answers.len() >= ANSWERS_LIMIT
            || self.to_client.len() >= ANSWER_BYTES_LIMIT
    }

    fn close_if_quiet(&mut self) {
        if self.closing.is_none() {
            return;
        }
        let is_quiet = self.is_between_responses()
            && self.order.is_answered_but(self.is_idling.into())
            && self.order.answers.is_empty()
            && self.unfinished.is_none()
            && self.course.has_passed_nothing();
        if let Some(text) = &self.closing
            && is_quiet
            && self.over.is_none()
        {
            self.to_client.extend_from_slice(format!("* BYE {}\r\n", crate::line::reply_text(text)).as_bytes());
            if self.is_idling {
                self.to_server.extend_from_slice(b"DONE\r\n");
            }
            self.to_server.extend_from_slice(b"OXPOST LOGOUT\r\n");
            self.over = Some(Over::Asked);
        }
    }
}

#[cfg(test)]
mod tests;
