//! SMTP after the login: between a client and a server, and no byte of it unseen (RFC 5321, 2920, 3030).
//!
//! ```text
//!   receive(Client, bytes) ──▶ ┌────────────┐ ──▶ Write(Server, bytes)
//!   receive(Server, bytes) ──▶ │ Submission │ ──▶ Write(Client, bytes)
//!   receive_end(peer)      ──▶ │            │ ──▶ Event, CutServer, Over
//!   time_out(peer), close  ──▶ │            │ ──▶ waits_for
//!   begin, put_off         ──▶ └────────────┘ ──▶ Begin
//! ```
//!
//! - A client may pipeline as it likes. Towards the server one command is on its way at a time, and of RCPT several, so that
//!   it is known of every reply what it answers. A line that need not change goes on as it came.
//! - A message is relayed as it arrives and is never held. Its end is CRLF.CRLF and nothing else; what goes on has CRLF at
//!   the end of every line, and a dot doubled wherever a line of the message begins with one. So no server, however it
//!   reads line ends, can see an end of the message where the client has not written one.
//! - Whose silence a session waits out is known at any time ([`Wait`]); how long, and when a session is asked to end, the driver says.
//! - A message begins when the driver says so: MAIL is held until then, and what is behind it with it.
//! - Where a login may not send as everybody, the envelope and the header are held to it ([`AllowedSenders`]).
//! - A message that cannot go on is never finished: the server's connection is cut with the message incomplete, which a
//!   server must not deliver (RFC 5321, 4.1.1.4), the rest of it is read and discarded, and the client receives the reply at its end.

mod client;
mod command;
mod data;
mod dot_stuffing;
mod envelope_path;
mod header;
mod mail_from;
mod mailboxes;
mod report;
mod sender_filter;
mod server;
mod timeouts;

use std::collections::VecDeque;
use std::{fmt, mem};

use self::command::Command;
use self::data::Text;
use self::mail_from::{Mail, Waiting};
use self::report::Transaction;
pub use self::report::{Ended, Event, NotSent, Outcome, Report};
use self::sender_filter::SenderFilter;
use self::timeouts::Counted;
pub use self::timeouts::{ClientStage, Progress, ServerStage, Wait};
use super::reply::{Collector, Reply};
use super::sender_policy::{AllowedSenders, Pattern};
use crate::line::Buffer;

/// Longest command line taken, its line end included. RFC 5321, 4.5.3.1.4 asks for 512; the parameters of DSN (RFC 3461, 4)
/// and SMTPUTF8 addresses add some hundreds each.
const COMMAND_LIMIT: usize = 4096;

/// Recipients that may be on their way to the server without a reply. RFC 5321, 4.5.3.1.8 lets a client send a hundred.
const MAX_PENDING_RECIPIENTS: usize = 100;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The mail client, logged in.
    Client,
    /// The mail server, logged in to.
    Server,
}

/// What is known of both ends when the login is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Our own name, for the answer to another EHLO.
    pub host_name: String,
    /// The server's extensions that the client may see, one per line (`SIZE 157286400`).
    pub extensions: Vec<String>,
}

impl Options {
    /// The largest message the server takes, in octets, if it has said so (RFC 1870, 4).
    fn size_limit(&self) -> Option<u64> {
        let size = self.extensions.iter().find_map(|line| {
            let (keyword, size) = line.split_once(' ')?;
            keyword.eq_ignore_ascii_case("SIZE").then_some(size)
        });
        size.and_then(|size| size.trim().parse().ok()).filter(|&size| size > 0)
    }
}

/// What the driver is to do next.
pub enum Step {
    /// Read from those that are true, and hand over what comes. If neither is: wait until what was written has gone.
    Read {
        /// Read from the client.
        client: bool,
        /// Read from the server.
        server: bool,
    },
    /// Send these bytes, in order, before any that come later for the same peer.
    Write(Peer, Vec<u8>),
    /// A message is about to begin. Say `begin` or `put_off` when it is its turn; until then go on as ever.
    Begin {
        /// The server has refused it before, because it takes no more now.
        again: bool,
    },
    /// Close the server's connection immediately. Discard what was not written to it yet.
    CutServer,
    /// An event of the session.
    Event(Event),
    /// The session is over; close both connections once everything is written.
    Over(Ended),
}

/// What is written can be a message, so only its length is shown.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { client, server } => {
                f.debug_struct("Read").field("client", client).field("server", server).finish()
            }
            Self::Write(peer, bytes) => write!(f, "Write({peer:?}, {} bytes)", bytes.len()),
            Self::Begin { again } => f.debug_struct("Begin").field("again", again).finish(),
            Self::CutServer => f.write_str("CutServer"),
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Over(ended) => f.debug_tuple("Over").field(ended).finish(),
        }
    }
}

/// A session between its login and its end.
pub struct Submission {
    options: Options,
    /// The largest message the server takes, in octets.
    size_limit: Option<u64>,
    client: Buffer,
    server: Buffer,
    replies: Collector,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    events: VecDeque<Event>,
    state: State,
    /// A command that has to wait until what is on its way is answered.
    held: Option<Command>,
    /// The allowed senders; `None` if every sender is allowed.
    senders: Option<AllowedSenders>,
    /// The allowed recipients; `None` if every recipient is allowed.
    recipients: Option<Vec<Pattern>>,
    /// The header of the message that goes by, where senders are looked at.
    header: Option<SenderFilter>,
    /// A message that may not begin yet.
    waiting: Option<Waiting>,
    /// What the server has been sent and has not answered, in order.
    sent: VecDeque<Sent>,
    transaction: Transaction,
    /// What the server has said to a chunk that is not over.
    refusal: Option<Reply>,
    /// Whether anything may still be written to the server.
    server_open: bool,
    cut_server: bool,
    /// The reason that the client receives when the session was asked to end.
    closing: Option<String>,
    counted: Counted,
    /// The last AUTH was refused here: this many of the lines that follow may be an unsolicited password.
    secrets_to_come: u8,
}

/// What the client's bytes are.
#[derive(Debug)]
enum State {
    Commands,
    /// The text of a message, behind the server's 354.
    Text(Text, Disposition),
    /// So many octets of a chunk are still to come.
    Chunk {
        left: u64,
        disposition: Disposition,
    },
    /// The same, with the header in it: how large it is when it goes on is known when the header is over.
    Header {
        left: u64,
        last: bool,
        /// What goes on, so far.
        held: Vec<u8>,
    },
    /// The server is gone: the client may say QUIT.
    Ending(Ended),
    /// The client received the final reply, and QUIT was sent to the server.
    Leaving(Ended),
    Over(Ended),
}

/// What becomes of a message.
#[derive(Debug)]
enum Disposition {
    Pass,
    /// It is read and forgotten. At its end the client hears this answer.
    Discard {
        answer: Vec<u8>,
        outcome: Outcome,
        ended: Ended,
    },
    /// It never begins: it is read and forgotten, the client hears this answer, and the session goes on.
    Skip(&'static str),
}

/// What a reply of the server will answer.
#[derive(Debug)]
enum Sent {
    Mail(Mail),
    Rcpt(String),
    Data,
    /// A whole message, by DATA.
    Message,
    Chunk {
        last: bool,
    },
    Rset,
    /// RSET, in place of the client's own EHLO or HELO.
    Hello {
        extended: bool,
    },
    Quit,
    Other,
}

impl Submission {
    /// Both ends have logged in.
    pub fn new(options: Options) -> Self {
        Self {
            size_limit: options.size_limit(),
            options,
            client: Buffer::default(),
            server: Buffer::default(),
            replies: Collector::default(),
            to_client: Vec::new(),
            to_server: Vec::new(),
            events: VecDeque::new(),
            state: State::Commands,
            held: None,
            senders: None,
            recipients: None,
            header: None,
            waiting: None,
            sent: VecDeque::new(),
            transaction: Transaction::default(),
            refusal: None,
            server_open: true,
            cut_server: false,
            closing: None,
            counted: Counted::default(),
            secrets_to_come: 0,
        }
    }

    /// Messages may have these senders and no other, in the envelope and in the header, whatever the server would accept;
    /// the null sender (`<>`) is always allowed.
    #[must_use]
    pub fn with_senders(mut self, senders: Option<AllowedSenders>) -> Self {
        self.senders = senders;
        self
    }

    /// Messages may go only to these recipients.
    #[must_use]
    pub fn with_recipients(mut self, recipients: Option<Vec<Pattern>>) -> Self {
        self.recipients = recipients;
        self
    }

    /// Takes bytes from a peer, cut anywhere.
    pub fn receive(&mut self, from: Peer, bytes: &[u8]) {
        let bytes = if from == Peer::Client { self.pass_text_directly(bytes) } else { bytes };
        self.input(from).receive(bytes);
    }

    /// A peer has closed its side; no more bytes will come from it.
    pub fn receive_end(&mut self, from: Peer) {
        self.input(from).receive_end();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Step {
        loop {
            if mem::take(&mut self.cut_server) {
                return Step::CutServer;
            }
            if !self.to_server.is_empty() {
                return Step::Write(Peer::Server, mem::take(&mut self.to_server));
            }
            if !self.to_client.is_empty() {
                return Step::Write(Peer::Client, mem::take(&mut self.to_client));
            }
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            if let State::Over(ended) = &self.state {
                return Step::Over(ended.clone());
            }
            if self.close_if_asked() {
                continue;
            }
            if let Some(waiting) = &mut self.waiting
                && !mem::replace(&mut waiting.asked, true)
            {
                return Step::Begin { again: waiting.refused.is_some() };
            }
            if !self.process_server() && !self.process_client() {
                return self.read();
            }
        }
    }

    /// A client is read from ahead of its turn, so that it is noticed when it goes away, but not further than a line.
    fn read(&self) -> Step {
        Step::Read {
            client: !self.client.is_ended() && self.client.unread().len() < COMMAND_LIMIT,
            server: !self.server.is_ended() && self.server.unread().len() < COMMAND_LIMIT,
        }
    }

    fn input(&mut self, from: Peer) -> &mut Buffer {
        match from {
            Peer::Client => &mut self.client,
            Peer::Server => &mut self.server,
        }
    }

    /// A reply of our own.
    fn say(&mut self, line: &str) {
        self.to_client.reserve(line.len() + 2);
        self.to_client.extend_from_slice(line.as_bytes());
        self.to_client.extend_from_slice(b"\r\n");
    }

    /// A line to the server, and what its reply will answer.
    fn send(&mut self, line: &[u8], sent: Sent) {
        self.to_server.reserve(line.len() + 2);
        self.to_server.extend_from_slice(line);
        self.to_server.extend_from_slice(b"\r\n");
        self.sent.push_back(sent);
    }

    /// Nothing more may reach the server, and a message that is on its way must not be finished.
    fn cut(&mut self) {
        if self.server_open {
            self.server_open = false;
            self.cut_server = true;
            self.to_server = Vec::new();
            self.server.receive_end();
        }
    }

    fn over(&mut self, ended: Ended) {
        self.waiting = None;
        self.state = State::Over(ended);
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission").field("state", &self.state).field("sent", &self.sent.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{COMMAND_LIMIT, Options, Peer, Step, Submission};

    /// RFC 1870, 4: a server that names no number, or 0, has no fixed limit.
    #[test]
    fn size_limit_is_a_number_above_zero() {
        let limit = |line: &str| {
            let extensions = vec!["DSN 7".to_owned(), line.to_owned(), "8BITMIME".to_owned()];
            Options { host_name: "mail.example".into(), extensions }.size_limit()
        };
        for line in
            ["SIZE 0", "SIZE 00", "SIZE", "SIZE ", "SIZE x", "SIZE -1", "SIZE 99999999999999999999999", "XSIZE 5"]
        {
            assert_eq!(limit(line), None, "{line}");
        }
        for line in ["SIZE 1000", "size 1000", "SIZE  1000 "] {
            assert_eq!(limit(line), Some(1000), "{line}");
        }
    }

    /// The end of a text that arrives with, or after, the server's own end is not sent: the message has an outcome that is known.
    #[test]
    fn final_dot_is_not_sent_to_a_server_that_has_closed() {
        for text in [&b"text\r\n.\r\n"[..], b"text\r\n..a\r\n.\r\nQUIT\r\n", b".\r\n"] {
            let mut machine = Submission::new(Options { host_name: "x".into(), extensions: Vec::new() });
            for (command, reply) in [("MAIL FROM:<a@b.c>", "250 OK"), ("RCPT TO:<d@e.f>", "250 OK"), ("DATA", "354 Go")]
            {
                machine.receive(Peer::Client, format!("{command}\r\n").as_bytes());
                loop {
                    match machine.poll() {
                        Step::Begin { .. } => machine.begin(),
                        Step::Read { .. } => break,
                        _ => {}
                    }
                }
                machine.receive(Peer::Server, format!("{reply}\r\n").as_bytes());
                while !matches!(machine.poll(), Step::Read { .. }) {}
            }
            machine.receive_end(Peer::Server);
            machine.receive(Peer::Client, text);
            let (mut to_server, mut outcomes) = (Vec::new(), Vec::new());
            loop {
                match machine.poll() {
                    Step::Write(Peer::Server, bytes) => to_server.extend(bytes),
                    Step::Event(event) => outcomes.push(format!("{event:?}")),
                    Step::Read { .. } | Step::Over(_) => break,
                    _ => {}
                }
            }
            assert!(!to_server.ends_with(b".\r\n"), "{}", to_server.escape_ascii());
            assert!(outcomes.iter().any(|outcome| outcome.contains("NotSent(ServerGone)")), "{outcomes:?}");
        }
    }

    /// Bytes of a peer that are not processed yet are read up to one line and no further.
    #[test]
    fn side_that_is_ahead_is_read_up_to_the_longest_line() {
        fn reads(machine: &mut Submission) -> (bool, bool) {
            match machine.poll() {
                Step::Read { client, server } => (client, server),
                other => panic!("{other:?}"),
            }
        }
        let session = || Submission::new(Options { host_name: "x".into(), extensions: vec!["CHUNKING".into()] });

        let mut waits_for_its_turn = session();
        waits_for_its_turn.receive(Peer::Client, b"MAIL FROM:<a@b.c>\r\n");
        assert!(matches!(waits_for_its_turn.poll(), Step::Begin { again: false }));
        waits_for_its_turn.receive(Peer::Client, &[b'x'; COMMAND_LIMIT - 1]);
        assert_eq!(reads(&mut waits_for_its_turn), (true, true));
        waits_for_its_turn.receive(Peer::Client, b"x");
        assert_eq!(reads(&mut waits_for_its_turn), (false, true));

        let mut has_refused_a_chunk = session();
        has_refused_a_chunk.receive(Peer::Client, b"BDAT 10 LAST\r\n");
        assert!(matches!(has_refused_a_chunk.poll(), Step::Write(Peer::Server, _)));
        has_refused_a_chunk.receive(Peer::Server, b"503 5.5.2 Need MAIL\r\n");
        assert_eq!(reads(&mut has_refused_a_chunk), (true, true));
        has_refused_a_chunk.receive(Peer::Server, &[b'x'; COMMAND_LIMIT - 1]);
        assert_eq!(reads(&mut has_refused_a_chunk), (true, true));
        has_refused_a_chunk.receive(Peer::Server, b"x");
        assert_eq!(reads(&mut has_refused_a_chunk), (true, false));
    }
}
