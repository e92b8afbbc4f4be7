//! The login half of IMAP, POP3 and SMTP, as pure state machines.
//!
//! Bytes go in, actions come out. Nothing here knows a socket, a clock or a thread, so that every dialogue can be played
//! from a text file (`transcripts/`), cut into any pieces, and fuzzed.
//!
//! There are six dialogues: each protocol has a *local* one, which faces the mail client and ends with its [`Login`], and
//! an *upstream* one, which faces the mail server and ends when the server has accepted an access token. They share one
//! trait, [`Dialogue`], and two event types, [`LocalEvent`] and [`UpstreamEvent`].
//!
//! ```text
//!             receive(bytes) ──▶ ┌──────────┐ ──▶ poll() = Read | Write(bytes) | Event(e)
//!             receive_end()  ──▶ │ Dialogue │
//!  accept(), refuse(), tls…  ──▶ └──────────┘ ──▶ into_unread() = what came behind the login's last line
//! ```

#![forbid(unsafe_code)]

mod event;
pub mod imap;
mod known_offer;
pub mod line;
mod outbox;
pub mod pop3;
mod preamble;
pub mod sasl;
pub mod secret;
pub mod smtp;
mod state_machine;
pub mod tap;

use std::fmt;
use std::sync::Arc;

pub use event::{Closed, LocalEvent, Login, LoginStep, Offer, Refusal, RefusalKind, UpstreamEvent, UpstreamFailure};
pub use known_offer::KnownOffer;
pub use preamble::Preamble;
pub use secret::Secret;
use state_machine::StateMachine;

/// What the driver must do next.
pub enum Action<E> {
    /// Read from the peer and hand what came to [`Dialogue::receive`], or call [`Dialogue::receive_end`].
    Read,
    /// Send these bytes to the peer, all of them, before the next poll.
    Write(Vec<u8>),
    /// Something the driver has to decide or to know.
    Event(E),
}

/// What is written can be a token, so only its length is shown.
impl<E: fmt::Debug> fmt::Debug for Action<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::Write(bytes) => write!(f, "Write({} bytes)", bytes.len()),
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
        }
    }
}

/// One side of a conversation, up to and including the login.
///
/// The driver polls; on [`Action::Read`] it reads some bytes (as many or as few as there are) and hands them over. A
/// dialogue asks to read only when it can go no further with what it has, so what it holds unread never exceeds one line
/// or literal within its bounds plus one read of the driver.
pub trait Dialogue {
    /// What this dialogue reports.
    type Event;

    /// Accepts bytes from the peer. They may end anywhere, also within a line.
    fn receive(&mut self, bytes: &[u8]);

    /// The peer has closed its side of the connection; no more bytes will come.
    fn receive_end(&mut self);

    /// The next thing to do. After an event that asks for an answer, polling again before the answer gives
    /// [`Action::Read`].
    fn poll(&mut self) -> Action<Self::Event>;

    /// Ends the dialogue and gives back the bytes that were received and not used, to be forwarded.
    fn into_unread(self) -> Vec<u8>;
}

/// The side that faces the mail client.
pub trait LocalDialogue: Dialogue<Event = LocalEvent> + StateMachine<Event = LocalEvent> {
    /// Allows this connection to send without a login. Protocols that do not send mail ignore it.
    fn allow_without_login(&mut self) {}

    /// Answers [`LocalEvent::Login`]: the upstream login has succeeded. Poll until the reply is written and
    /// [`Action::Read`] comes, then take the unread bytes and relay.
    ///
    /// `capabilities` is what [`UpstreamEvent::Authenticated`] reported; IMAP shows the part of it that a client may use.
    fn accept(&mut self, capabilities: &[String]);

    /// Answers [`LocalEvent::Login`]: the login is refused for this reason.
    fn refuse(&mut self, refusal: &Refusal);

    /// Ends the connection with the protocol's own words for it (SMTP `421 4.3.2`, IMAP `* BYE`, POP3 `-ERR [SYS/TEMP]`) and
    /// this sentence, at any point of the dialogue. Poll until [`LocalEvent::Closed`], or [`Action::Read`] if the dialogue is
    /// already over. A login that was reported needs no answer any longer. Nothing is said while TLS is being started,
    /// where plain text would break the handshake.
    fn say_goodbye(&mut self, text: &str);

    /// Whether the client has said more than was used: while [`LocalEvent::Login`] waits for its answer, whatever was said
    /// behind it.
    fn has_unread(&self) -> bool {
        !self.io().input.is_empty()
    }

    /// Whether the client has ever sent anything. A client that has not is a probe, or connected by mistake.
    fn has_spoken(&self) -> bool {
        self.io().input.has_received()
    }

    /// TLS is active: discards everything received before (RFC 3207, 4.2; RFC 2595, 4; RFC 9051, 6.2.1).
    fn tls_started(&mut self);
}

/// The side that faces the mail server.
pub trait UpstreamDialogue: Dialogue<Event = UpstreamEvent> {
    /// TLS is active: discards everything the server sent before.
    fn tls_started(&mut self);

    /// What the dialogue waits for, for a log: "its greeting".
    fn waits_for(&self) -> &'static str;

    /// Where the login is, or has failed.
    fn step(&self) -> LoginStep;

    /// The capabilities that the server itself listed on this connection before the login, for a later
    /// [`KnownOffer::capabilities`]. Only IMAP has them.
    fn listed_before_login(&self) -> Option<&Arc<[String]>> {
        None
    }

    /// Whether the login has failed and a [`KnownOffer`] that was wrong can be the reason: then it is worth an attempt without
    /// it, with the same token.
    fn known_offer_may_be_wrong(&self) -> bool {
        false
    }
}
