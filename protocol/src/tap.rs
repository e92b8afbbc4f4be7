//! What sits between client and server of IMAP and POP3 after the login.
//!
//! ```text
//!   client(bytes) ──▶ ┌─────┐ ──▶ Cut: so many of them go on to the server, so many do not
//!   server(bytes) ──▶ │ Tap │ ──▶ Cut: so many of them go on to the client, so many do not
//!   close(text)   ──▶ │     │ ──▶ output(peer): what goes to this peer behind that
//!   end(peer)     ──▶ └─────┘ ──▶ Observation, Counts
//! ```
//!
//! - Bytes go on as they came and in order, but for two things. A client that logs in again is answered here, and no byte of
//!   what it sends for that reaches the server; lists of capabilities lose what a client may not use.
//! - What goes on is lent, never copied. Held back is only the beginning of a line whose command is not known yet, and of a
//!   list of capabilities one word. What is behind `{35000000}` is counted off.
//! - A local answer has the place that the server's would have: behind the replies to the commands before it.
//! - Besides, it notices what is worth knowing. Where it cannot follow a peer it may notice something wrong, or nothing.

mod command_name;
mod imap;
mod line_stream;
mod pop3;

use std::time::Duration;

pub use self::{imap::Imap, pop3::Pop3};
use crate::line::printable;
pub use crate::smtp::submission::Peer;

/// Local answers that may wait for their place, and bytes of them that the client has not taken: a client that sends on is
/// not read until there are less.
const ANSWERS_LIMIT: usize = 64;
const ANSWER_BYTES_LIMIT: usize = 4096;

/// Longest back-off that is believed. Exchange suggests five minutes.
pub const BACK_OFF_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The back-off where the server names none.
const BACK_OFF: Duration = Duration::from_secs(60);

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// A folder's UIDVALIDITY (RFC 3501, 2.3.1.1): if it is another one than before, all UIDs of the folder are void.
    UidValidity {
        /// The folder as the protocol writes it; `INBOX` in capitals.
        folder: String,
        /// Its value.
        value: u32,
    },
    /// The client has created, deleted or renamed this folder: another UIDVALIDITY of it is no surprise.
    FolderChanged {
        /// The folder as the protocol writes it.
        folder: String,
    },
    /// The server says why it is about to end the session.
    Bye {
        /// Its words, bounded and on one line.
        text: String,
        /// The client had asked for the end.
        asked_for: bool,
    },
    /// The server throttles the mailbox.
    Throttled {
        /// The duration of the back-off that it requests, at most [`BACK_OFF_LIMIT`].
        back_off: Duration,
    },
}

/// What went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages that the client received completely.
    pub fetched: u64,
    /// Whole messages that the client put into a folder.
    pub stored: u64,
}

/// What becomes of bytes that a peer has sent. What [`Tap::output`] then has for the other peer goes behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// So many go on as they are.
    pub pass: usize,
    /// So many are done with: those, and behind them some that do not go on, or are held. The rest is to be given again; if
    /// none was taken and there is no output, then after the other peer was heard, or has taken what there is for it.
    pub taken: usize,
}

/// Why a session is over before one of its ends has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// [`Tap::close`] was called, and nothing is in flight any more.
    Asked,
    /// The client logs in again where it is not known which answer is which.
    LoginNotFollowed,
}

/// Reads along between the two ends of one session. Bytes may be cut anywhere, but what one side says in answer to the other must
/// follow it.
pub trait Tap {
    /// The client has sent this.
    fn client(&mut self, bytes: &[u8]) -> Cut;

    /// Processes bytes from the server. Calls `notice` for each observation in them.
    fn server(&mut self, bytes: &[u8], notice: &mut dyn FnMut(Observation)) -> Cut;

    /// No more comes from this peer. What was held of it goes on.
    fn end(&mut self, from: Peer);

    /// Takes what is to be sent to this peer, behind all that has gone on to it so far.
    fn output(&mut self, to: Peer) -> Vec<u8>;

    /// Ends the session as soon as nothing is in flight, with this sentence. No new command goes on.
    fn close(&mut self, text: &str);

    /// Whether the session is over: its last words are in the output, and nothing goes on any more.
    fn over(&self) -> Option<Over>;

    /// Whether the server has still something to answer.
    fn owes_reply(&self) -> bool;

    /// Whether this peer has ended the session in the protocol's words: what it closes then is closed in order.
    fn has_said_goodbye(&self, peer: Peer) -> bool;

    /// What went through so far.
    fn counts(&self) -> Counts;

    /// How many bytes it has taken of the memory: none between two lines with no command unanswered; never more than 128 KiB,
    /// for a client that sends its commands without waiting for any answer.
    fn held(&self) -> usize;
}

/// What one look at a peer's bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// So many go on.
    pass: usize,
    /// So many behind them do not.
    drop: usize,
    /// The rest has to wait until what there is for output has gone.
    stops: bool,
}

impl Step {
    fn pass(count: usize) -> Self {
        Self { pass: count, drop: 0, stops: false }
    }

    fn drop(count: usize) -> Self {
        Self { pass: 0, drop: count, stops: true }
    }

    fn stop() -> Self {
        Self::drop(0)
    }

    fn and_stop(self) -> Self {
        Self { stops: true, ..self }
    }
}

/// Step by step through these bytes, as far as it goes.
fn cut(bytes: &[u8], mut step: impl FnMut(&[u8]) -> Step) -> Cut {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Step { pass, drop, stops } = step(rest);
        at += pass;
        if stops {
            return Cut { pass: at, taken: at + drop };
        }
    }
    Cut { pass: at, taken: at }
}

/// The back-off that a server requests, if this is what it says: `NO Request is throttled. Suggested Backoff Time: 299961
/// milliseconds`.
pub fn back_off(text: &[u8]) -> Option<Duration> {
    let text = printable(text).to_ascii_lowercase();
    if !text.contains("is throttled") {
        return None;
    }
    let number = text.split_once("backoff time:").map(|(_, rest)| rest.trim_start());
    let digits = number.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let milliseconds = digits.and_then(|digits| digits.parse().ok());
    Some(milliseconds.map_or(BACK_OFF, Duration::from_millis).min(BACK_OFF_LIMIT))
}

/// How the tests of both taps play a session.
#[cfg(test)]
mod playing {
    use super::{Counts, Cut, Observation, Peer, Tap};

    /// Which side says what, in order: the client (`C`) and the server (`S`).
    pub(super) type Session<'a> = &'a [(char, &'a str)];

    /// What came of a session.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(super) struct Played {
        pub(super) noticed: Vec<Observation>,
        pub(super) counts: Counts,
        pub(super) to_server: String,
        pub(super) to_client: String,
    }

    /// The same, however the bytes are cut: one by one, in sevens, and not at all.
    pub(super) fn alike<T: Tap + Default>(session: Session<'_>) -> Played {
        let whole = follow(&mut T::default(), session, usize::MAX);
        for cut in [1, 7] {
            assert_eq!(follow(&mut T::default(), session, cut), whole, "{cut}");
        }
        whole
    }

    pub(super) fn follow(tap: &mut impl Tap, session: Session<'_>, cut: usize) -> Played {
        let (mut noticed, mut out) = (Vec::new(), [Vec::new(), Vec::new()]);
        for (side, text) in session {
            let (from, to) = if *side == 'C' { (Peer::Client, Peer::Server) } else { (Peer::Server, Peer::Client) };
            for mut piece in text.as_bytes().chunks(cut) {
                while !piece.is_empty() {
                    let Cut { pass, taken } = match from {
                        Peer::Client => tap.client(piece),
                        Peer::Server => tap.server(piece, &mut |one| noticed.push(one)),
                    };
                    out[to as usize].extend_from_slice(&piece[..pass]);
                    piece = &piece[taken..];
                    let more = tap.output(to);
                    assert!(taken > 0 || !more.is_empty(), "it waits at {}", piece.escape_ascii());
                    out[to as usize].extend(more);
                    out[from as usize].extend(tap.output(from));
                }
            }
        }
        let [to_client, to_server] = out.map(|bytes| String::from_utf8(bytes).unwrap());
        Played { noticed, counts: tap.counts(), to_server, to_client }
    }

    /// The same, of a session in which every byte goes on.
    pub(super) fn unchanged<T: Tap + Default>(session: Session<'_>) -> Played {
        let played = alike::<T>(session);
        let said = |side| session.iter().filter(|one| one.0 == side).map(|one| one.1).collect::<String>();
        assert_eq!((&played.to_server, &played.to_client), (&said('C'), &said('S')), "all of it goes on");
        played
    }

    /// A tap behind a session.
    pub(super) fn after<T: Tap + Default>(session: Session<'_>) -> T {
        let mut tap = T::default();
        follow(&mut tap, session, usize::MAX);
        tap
    }

    /// Whether a reply is owed after each of these sessions.
    pub(super) fn assert_owed<T: Tap + Default>(sessions: &[(Session<'_>, bool)]) {
        for (session, is_owed) in sessions {
            assert_eq!(after::<T>(session).owes_reply(), *is_owed, "{session:?}");
        }
    }

    /// Whether client and server have said goodbye in each of these sessions.
    pub(super) fn assert_goodbyes<T: Tap + Default>(sessions: &[(Session<'_>, (bool, bool))]) {
        for (session, said) in sessions {
            let tap = after::<T>(session);
            let known = (tap.has_said_goodbye(Peer::Client), tap.has_said_goodbye(Peer::Server));
            assert_eq!(known, *said, "{session:?}");
        }
    }

    /// What was held of a peer goes on when it ends, once, and nothing is held then.
    pub(super) fn assert_released_at_end<T: Tap + Default>(session: Session<'_>, from: Peer, held: &str) {
        let to = if from == Peer::Client { Peer::Server } else { Peer::Client };
        let mut tap = after::<T>(session);
        tap.end(from);
        assert_eq!(tap.output(to), held.as_bytes());
        tap.end(from);
        assert_eq!((tap.output(to), tap.held()), (vec![], 0), "{session:?}");
    }

    /// More of a line than is held back goes on once, and the session is not over then: the server has a part of the line.
    pub(super) fn assert_passed_once<T: Tap + Default>(long: &str) {
        for cut in [1, 7, usize::MAX] {
            let mut tap = T::default();
            assert_eq!(follow(&mut tap, &[('C', long)], cut).to_server, long, "{cut}");
            tap.close("Oxpost is stopping");
            assert_eq!(tap.over(), None);
            tap.end(Peer::Client);
            assert_eq!(tap.output(Peer::Server), b"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_off_is_believed_within_its_bound() {
        let said = |text: &str| back_off(text.as_bytes());
        let suggested = "a NO Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n";
        assert_eq!(said(suggested), Some(Duration::from_millis(299_961)));
        assert_eq!(said("-ERR Request is throttled."), Some(BACK_OFF));
        assert_eq!(said("request IS THROTTLED; suggested backoff time:5 milliseconds"), Some(Duration::from_millis(5)));
        assert_eq!(said(&suggested.replace("299961", "99999999999")), Some(BACK_OFF_LIMIT));
        assert_eq!(said(&suggested.replace("299961", "99999999999999999999999")), Some(BACK_OFF));
        assert_eq!(said("a NO AUTHENTICATE failed."), None);
    }
}
