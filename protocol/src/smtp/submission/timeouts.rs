//! Which peer a session waits for, and for what. The driver has the clock and sets the time limits (RFC 5321, 4.5.3.2).
//!
//! A client's silence ends with what brings a message forward, not with any bytes: NOOP, RSET, HELP and VRFY are no progress, nor
//! is a MAIL that is reset again. What counts only ever grows between two messages, so no client can repeat itself for ever.

use super::command::Command;
use super::report::{Ended, NotSent, Outcome};
use super::{Disposition, Peer, Sent, State, Submission};

/// So many octets of a message are progress. A client that sends fewer within its time is as good as silent.
const PROGRESS_OCTETS: u64 = 16 * 1024;

/// Who is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The client.
    Client(ClientStage),
    /// The server.
    Server(ServerStage),
}

impl Wait {
    /// Who it is, without what for.
    pub fn peer(self) -> Peer {
        match self {
            Self::Client(_) => Peer::Client,
            Self::Server(_) => Peer::Server,
        }
    }
}

/// What a client is to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientStage {
    /// Its next message, or QUIT.
    NextMessage,
    /// A recipient, the message, or RSET: the server has taken the sender.
    Envelope,
    /// More of a message.
    Message,
    /// More of a message; but its last line was nothing but a dot that does not end it, because of a bare LF. The client may believe
    /// that it does, and wait for the answer.
    LoneDot,
    /// QUIT: it was notified that the session has ended.
    Quit,
}

/// What a server is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerStage {
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, before the message.
    Data,
    /// A chunk that is not the last.
    Chunk,
    /// The end of a message.
    FinalDot,
    /// Any other command.
    Command,
    /// QUIT.
    Quit,
    /// Any command, where the client has closed its side and what it has sent ahead holds no whole message: no answer can lead to one.
    Unused,
}

/// How far a client has brought its messages. Any difference is progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Messages that have begun, and those that have ended.
    messages: u64,
    /// A sender was taken since.
    sender: bool,
    /// The most recipients of one envelope since.
    recipients: usize,
    /// The octets of messages, in pieces that count.
    pieces: u64,
}

/// What [`Progress`] is made from.
#[derive(Debug, Default)]
pub(super) struct Counted {
    progress: Progress,
    octets: u64,
    replies: u64,
}

impl Counted {
    /// A message has begun, or has ended.
    pub(super) fn message(&mut self) {
        let Progress { messages, pieces, .. } = self.progress;
        self.progress = Progress { messages: messages.wrapping_add(1), pieces, ..Progress::default() };
    }

    pub(super) fn sender(&mut self) {
        self.progress.sender = true;
    }

    pub(super) fn recipients(&mut self, count: usize) {
        self.progress.recipients = self.progress.recipients.max(count);
    }

    pub(super) fn octets(&mut self, count: usize) {
        self.octets = self.octets.wrapping_add(count as u64);
        self.progress.pieces = self.octets / PROGRESS_OCTETS;
    }

    pub(super) fn reply(&mut self) {
        self.replies = self.replies.wrapping_add(1);
    }
}

impl Submission {
    /// Which peer the session waits for when it wants to read. `None`: for neither, because a message waits for the driver, or all
    /// is over.
    pub fn waits_for(&self) -> Option<Wait> {
        use ClientStage::{Envelope, LoneDot, Message, NextMessage, Quit};
        Some(match &self.state {
            State::Over(_) => return None,
            _ if self.waiting.is_some() => return None,
            State::Leaving(_) => Wait::Server(ServerStage::Quit),
            State::Ending(_) => Wait::Client(Quit),
            State::Text(text, _) if text.is_behind_a_lone_dot() => Wait::Client(LoneDot),
            State::Text(..) | State::Chunk { .. } | State::Header { .. } => Wait::Client(Message),
            State::Commands => match self.sent.front() {
                Some(sent) => Wait::Server(self.stage(sent)),
                None if self.transaction.is_open() => Wait::Client(Envelope),
                None => Wait::Client(NextMessage),
            },
        })
    }

    fn stage(&self, sent: &Sent) -> ServerStage {
        let stage = match sent {
            Sent::Message | Sent::Chunk { last: true } => ServerStage::FinalDot,
            Sent::Chunk { last: false } => ServerStage::Chunk,
            Sent::Mail(_) => ServerStage::Mail,
            Sent::Rcpt(_) => ServerStage::Rcpt,
            Sent::Data => ServerStage::Data,
            Sent::Quit => ServerStage::Quit,
            Sent::Rset | Sent::Hello { .. } | Sent::Other => ServerStage::Command,
        };
        let unused = self.client.is_ended() && stage != ServerStage::FinalDot && !self.whole_message_ahead();
        if unused { ServerStage::Unused } else { stage }
    }

    /// Whether what a client has sent ahead may have a message in it with its end. All of it is there once the client has ended.
    fn whole_message_ahead(&self) -> bool {
        let held = matches!(self.held, Some(Command::Bdat { last: true, .. }));
        let ahead = self.client.unread().to_ascii_uppercase();
        held || ahead.starts_with(b".\r\n")
            || [&b"\n.\r\n"[..], b"LAST"].iter().any(|end| memchr::memmem::find(&ahead, end).is_some())
    }

    /// How far the client has come.
    pub fn progress(&self) -> Progress {
        self.counted.progress
    }

    /// How many replies the server has given.
    pub fn replies(&self) -> u64 {
        self.counted.replies
    }

    /// How many lines that were nothing but a dot and no end the message has that goes by.
    pub fn lone_dots(&self) -> u64 {
        match &self.state {
            State::Text(text, _) => text.lone_dots(),
            _ => 0,
        }
    }

    /// This peer was silent for too long, or does not take what it is sent.
    pub fn time_out(&mut self, peer: Peer) {
        match peer {
            Peer::Client => self.client_silent(),
            Peer::Server => self.server_silent(),
        }
    }

    fn client_silent(&mut self) {
        const COMMAND: &str = "421 4.4.2 Nothing was said for too long, closing";
        const MESSAGE: &str = "421 4.4.2 The rest of the message did not come, closing. Nothing of it was sent";
        const LONE_DOT: &str = "550 5.6.0 A line with only a dot ends a message only if that line and the one before it end in CRLF, \
                                and here one ended in LF. Nothing of the message was sent";
        match std::mem::replace(&mut self.state, State::Commands) {
            state @ State::Over(_) => self.state = state,
            State::Leaving(ended) => self.over(ended),
            State::Ending(ended) => {
                self.say(COMMAND);
                self.over(ended);
            }
            State::Text(text, disposition) if text.is_behind_a_lone_dot() => {
                self.cut();
                let ended = match disposition {
                    Disposition::Discard { answer, outcome, ended } => {
                        self.to_client.extend_from_slice(&answer);
                        self.report(outcome);
                        ended
                    }
                    Disposition::Pass | Disposition::Skip(_) => {
                        self.say(LONE_DOT);
                        self.report(Outcome::NotSent(NotSent::EndedWithBareLf));
                        Ended::MessageGivenUp
                    }
                };
                self.state = State::Ending(ended);
            }
            State::Text(_, disposition) | State::Chunk { disposition, .. } => self.message_silent(MESSAGE, disposition),
            State::Header { .. } => self.message_silent(MESSAGE, Disposition::Pass),
            State::Commands => self.close_with(COMMAND, Ended::ClientSilent),
        }
    }

    fn message_silent(&mut self, answer: &str, disposition: Disposition) {
        self.cut();
        self.say(answer);
        self.report(match disposition {
            Disposition::Discard { outcome, .. } => outcome,
            Disposition::Pass | Disposition::Skip(_) => Outcome::NotSent(NotSent::ClientSilent),
        });
        self.over(Ended::ClientSilent);
    }

    fn server_silent(&mut self) {
        match &self.state {
            State::Over(_) | State::Ending(_) => {}
            State::Leaving(ended) => {
                let ended = ended.clone();
                self.over(ended);
            }
            // The octets that still come must not be taken for commands: the client hears of it behind them.
            State::Chunk { .. } | State::Header { .. } => self.cut(),
            State::Commands | State::Text(..) => self.lose_server(Ended::ServerSilent),
        }
    }

    /// Nothing was said for a while, and others wait for what this session holds.
    pub fn make_room(&mut self) {
        if matches!(self.state, State::Commands) && self.sent.is_empty() {
            self.close_with("421 4.3.2 Idle while others wait to send from this mailbox, closing", Ended::MadeRoom);
        }
    }

    /// The session is to end, for this reason, as soon as no message is in flight: the client hears it as a 421 now, in place of its
    /// next MAIL, or behind the answer to its message.
    pub fn close(&mut self, reason: &str) {
        self.closing.get_or_insert_with(|| format!("421 4.3.2 {}", crate::line::reply_text(reason)));
    }

    /// Closes if that was asked for and nothing is in flight. `true`: it did.
    pub(super) fn close_if_asked(&mut self) -> bool {
        let Some(line) = &self.closing else { return false };
        let between = match self.state {
            State::Commands if self.sent.is_empty() && !self.transaction.has_begun() => {
                self.waiting.is_some() || !self.transaction.is_open()
            }
            State::Ending(_) => true,
            _ => false,
        };
        if between {
            let line = line.clone();
            self.close_with(&line, Ended::OnRequest);
        }
        between
    }

    /// Says this to the client, takes leave of the server if nothing of a message has gone to it, and ends.
    fn close_with(&mut self, line: &str, ended: Ended) {
        self.say(line);
        self.waiting = None;
        self.held = None;
        if self.transaction.has_begun() {
            self.cut();
        }
        self.report(Outcome::NotSent(NotSent::ClientSilent));
        if self.server_open && self.sent.is_empty() {
            self.send(b"QUIT", Sent::Quit);
            self.state = State::Leaving(ended);
        } else {
            self.over(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Step};
    use super::*;

    /// Does all that can be done now.
    fn settle(machine: &mut Submission) {
        loop {
            match machine.poll() {
                Step::Begin { .. } => machine.begin(),
                Step::Read { .. } | Step::Over(_) => return,
                Step::Write(..) | Step::CutServer | Step::Event(_) => {}
            }
        }
    }

    #[test]
    fn only_what_brings_a_message_forward_is_progress() {
        let mut machine = Submission::new(Options { host_name: "x".into(), extensions: Vec::new() });
        let mut replies = 0;
        let mut seen = vec![machine.progress()];
        let block = "x".repeat(998) + "\r\n";
        for (command, reply, is_progress) in [
            ("NOOP", "250 OK", false),
            ("MAIL FROM:<a@b.c>", "550 no", false),
            ("MAIL FROM:<a@b.c>", "250 OK", true),
            ("RCPT TO:<x@y.z>", "550 no", false),
            ("RCPT TO:<x@y.z>", "250 OK", true),
            ("RSET", "250 OK", false),
            ("MAIL FROM:<a@b.c>", "250 OK", false),
            ("RCPT TO:<x@y.z>", "250 OK", false),
            ("RCPT TO:<x@y.z>", "250 OK", true),
            ("DATA", "354 Go", true),
            ("hello", "", false),
            (&block.repeat(17), "", true),
            (".", "250 OK", true),
            ("EHLO x", "250 OK", false),
            ("MAIL FROM:<a@b.c>", "250 OK", true),
            ("RCPT TO:<x@y.z>", "250 OK", true),
        ] {
            machine.receive(Peer::Client, format!("{command}\r\n").as_bytes());
            settle(&mut machine);
            if !reply.is_empty() {
                replies += 1;
                machine.receive(Peer::Server, format!("{reply}\r\n").as_bytes());
                settle(&mut machine);
            }
            let progress = machine.progress();
            assert_eq!(!seen.contains(&progress), is_progress, "{command:.20}: {progress:?}");
            assert_eq!(machine.replies(), replies, "{command:.20}");
            seen.push(progress);
        }
    }

    #[test]
    fn lone_dots_of_the_message_are_counted() {
        let mut machine = Submission::new(Options { host_name: "x".into(), extensions: Vec::new() });
        for (command, reply) in [("MAIL FROM:<a@b.c>", "250 OK"), ("DATA", "354 Go")] {
            machine.receive(Peer::Client, format!("{command}\r\n").as_bytes());
            settle(&mut machine);
            machine.receive(Peer::Server, format!("{reply}\r\n").as_bytes());
            settle(&mut machine);
            assert_eq!(machine.lone_dots(), 0);
        }
        machine.receive(Peer::Client, b"a\n.\nb\n.\r\n");
        settle(&mut machine);
        assert_eq!(machine.lone_dots(), 2);
    }
}
