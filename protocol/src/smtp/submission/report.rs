//! Reports about relayed messages and about the end of a session. They never contain message text.

use super::Submission;

/// Most recipients of a message that are remembered by name; the others are counted.
const RECIPIENTS_NAMED: usize = 100;

/// An event of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message that had begun has come to its end, one way or another.
    Message(Report),
    /// A message that might not begin was put off.
    PutOff {
        /// Its sender.
        sender: String,
        /// The reply that the client received.
        answer: String,
    },
    /// A sender or a recipient that this login has no right to. The server was not asked.
    NotAllowed {
        /// `MAIL` or `RCPT`.
        command: &'static str,
        /// The sender or recipient.
        address: String,
        /// The reply that the client received.
        answer: String,
    },
    /// A MAIL or RCPT without exactly one address, or with invalid parameters. The server was not asked, and the client's words
    /// are not repeated: they can be anything.
    Malformed {
        /// `MAIL` or `RCPT`.
        command: &'static str,
        /// The reply that the client received.
        answer: &'static str,
    },
    /// The server refused a command that belongs to a message, before the message began.
    Refused {
        /// `MAIL`, `RCPT` or `DATA`.
        command: &'static str,
        /// The sender or recipient; empty for DATA.
        address: String,
        /// The server's words, on one line.
        reply: String,
    },
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The sender of its envelope; empty for the null sender (`<>`).
    pub sender: String,
    /// The sender that the client gave, if it was replaced.
    pub given_sender: Option<String>,
    /// Whether the sender in the header was replaced.
    pub from_changed: bool,
    /// The recipients that the server accepted; of very many, only the first.
    pub recipients: Vec<String>,
    /// How many recipients the server accepted.
    pub recipient_count: usize,
    /// Its size, as far as it came (RFC 1870, 3: what makes dots transparent does not count).
    pub octets: u64,
    /// Its disposition.
    pub outcome: Outcome,
}

/// The disposition of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server accepted it with this reply.
    Accepted(String),
    /// The server rejected it with this reply.
    Refused(String),
    /// The server never received all of it.
    NotSent(NotSent),
    /// The server received all of it and closed without a reply.
    InDoubt,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// It has a CR that is not followed by LF.
    BareCr,
    /// It has a NUL.
    Nul,
    /// It is larger than the server accepts.
    TooLarge,
    /// Its sender is an address that this login may not send as.
    OtherSender,
    /// Its sender cannot be determined.
    UnreadableSender,
    /// Its header exceeds the limit.
    HeaderTooLong,
    /// Its header has a line that does not end in CRLF.
    HeaderLineEnd,
    /// The client closed in the middle of it.
    ClientGone,
    /// The client went away in the middle, and had sent a line with nothing but a dot that did not end a message, because
    /// it, or the line before it, ended in a bare LF.
    ClientGoneBehindBareLf,
    /// The client stopped in the middle of it and timed out.
    ClientSilent,
    /// The client ended it with a dot that ends no message, because that line, or the one before it, ended in a bare LF, and waited.
    EndedWithBareLf,
    /// The client gave it up between two chunks.
    GivenUp,
    /// The server closed in the middle of it, or sent an invalid reply.
    ServerGone,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The client said QUIT, or closed.
    ByClient,
    /// The server closed, or announced that it would.
    ByServer,
    /// The client was silent for too long.
    ClientSilent,
    /// The server did not reply in time, or stopped reading.
    ServerSilent,
    /// The client was idle, and others waited for what the session held.
    MadeRoom,
    /// The driver asked for it.
    OnRequest,
    /// A message could not go on, and the server's connection was cut for it.
    MessageGivenUp,
    /// The client sent what cannot be understood safely; what, in words.
    ClientBroke(&'static str),
    /// The server sent what cannot be understood safely; what, in words.
    ServerBroke(String),
}

/// The envelope as far as the server has agreed to it, and the message behind it.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    phase: Phase,
    sender: String,
    given_sender: Option<String>,
    recipients: Vec<String>,
    recipient_count: usize,
    octets: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// No transaction is open, or it has failed and waits for a reset.
    #[default]
    None,
    /// The server has accepted the sender.
    Open,
    /// The message has begun.
    Began,
}

impl Transaction {
    pub(super) fn open(&mut self, sender: String, given_sender: Option<String>) {
        *self = Self { phase: Phase::Open, sender, given_sender, ..Self::default() };
    }

    pub(super) fn add_recipient(&mut self, address: String) {
        self.recipient_count += 1;
        if self.recipients.len() < RECIPIENTS_NAMED {
            self.recipients.push(address);
        }
    }

    /// The message begins (`true`), or goes on with another chunk of this size.
    pub(super) fn begin(&mut self, octets: u64) -> bool {
        let begins = self.phase == Phase::Open;
        if begins {
            self.phase = Phase::Began;
        }
        self.octets = self.octets.saturating_add(octets);
        begins
    }

    pub(super) fn recipient_count(&self) -> usize {
        self.recipient_count
    }

    /// Whether the server has taken a sender, and the message behind it is not over.
    pub(super) fn is_open(&self) -> bool {
        self.phase != Phase::None
    }

    /// Whether a part of the message was, or may be, with the server.
    pub(super) fn has_begun(&self) -> bool {
        self.phase == Phase::Began
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn set_octets(&mut self, octets: u64) {
        self.octets = octets;
    }
}

impl Submission {
    /// The message has come to its end, and the transaction with it. If none had begun there is nothing to report.
    pub(super) fn report(&mut self, outcome: Outcome) {
        let Transaction { phase, sender, given_sender, recipients, recipient_count, octets } =
            std::mem::take(&mut self.transaction);
        let from_changed = self.header.take().is_some_and(|header| header.is_changed());
        if phase == Phase::Began {
            self.counted.message();
            let report = Report { sender, given_sender, from_changed, recipients, recipient_count, octets, outcome };
            self.events.push_back(Event::Message(report));
        }
    }

    /// The message begins, or goes on with another chunk of this size.
    pub(super) fn message_begins(&mut self, octets: u64) {
        if self.transaction.begin(octets) {
            self.counted.message();
        }
    }

    /// The client does not want it any more.
    pub(super) fn forget_transaction(&mut self) {
        self.report(Outcome::NotSent(NotSent::GivenUp));
    }

    pub(super) fn report_refused(&mut self, command: &'static str, address: String, reply: String) {
        self.events.push_back(Event::Refused { command, address, reply });
    }
}
