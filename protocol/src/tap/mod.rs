//! What is noticed behind the login, without changing a byte: a tap listens to both directions and follows lines and
//! literals, as far as it needs to.
//!
//! It keeps the beginning and the end of a line that is not whole yet, and nothing of a literal: what is behind `{35000000}`
//! is counted off. When compression or TLS begins within the session there is nothing left to follow, and it steps aside. A tap
//! that is led astray by a peer may notice something wrong, or nothing; it can do no more than that.

mod imap;
mod lines;
mod pop3;

use std::time::Duration;

pub use self::{imap::Imap, pop3::Pop3};
use crate::line::printable;

/// Longest back-off that is believed. Exchange suggests five minutes.
pub const BACK_OFF_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The back-off where the server names none.
const BACK_OFF: Duration = Duration::from_secs(60);

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noticed {
    /// A folder's UIDVALIDITY (RFC 3501, 2.3.1.1): if it is another one than before, all UIDs of the folder are void.
    UidValidity {
        /// The folder as the protocol writes it; `INBOX` in capitals.
        folder: String,
        /// Its value.
        value: u32,
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
        /// How long it wants to be left alone, at most [`BACK_OFF_LIMIT`].
        back_off: Duration,
    },
}

/// What went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Whole messages that the client got.
    pub fetched: u64,
    /// Whole messages that the client put into a folder.
    pub stored: u64,
}

/// Follows one session. Bytes may be cut anywhere, but what one side says in answer to the other must come behind it.
pub trait Tap {
    /// The client has said this, and it was sent on.
    fn client(&mut self, bytes: &[u8]);

    /// The server has said this. `notice` is told what is in it.
    fn server(&mut self, bytes: &[u8], notice: &mut dyn FnMut(Noticed));

    /// What went through so far.
    fn counts(&self) -> Counts;

    /// How many bytes it has taken of the memory: none between two lines with no command unanswered; never more than 128 KiB,
    /// for a client that sends its commands without waiting for any answer.
    fn held(&self) -> usize;
}

/// How long a server wants to be left alone, if this is what it says: `NO Request is throttled. Suggested Backoff Time: 299961
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
    use super::{Counts, Noticed, Tap};

    /// What is noticed and counted in a session, and whether the tap has stepped aside.
    pub(super) type Heard = (Vec<Noticed>, Counts, bool);

    /// The same, however the bytes are cut: one by one, in sevens, and not at all.
    pub(super) fn alike<T: Tap + Default>(session: &[(char, &str)], is_aside: impl Fn(&T) -> bool) -> Heard {
        let whole = follow(session, &is_aside, usize::MAX);
        for cut in [1, 7] {
            assert_eq!(follow(session, &is_aside, cut), whole, "{cut}");
        }
        whole
    }

    fn follow<T: Tap + Default>(session: &[(char, &str)], is_aside: impl Fn(&T) -> bool, cut: usize) -> Heard {
        let (mut tap, mut noticed) = (T::default(), Vec::new());
        for (side, text) in session {
            for piece in text.as_bytes().chunks(cut) {
                match side {
                    'C' => tap.client(piece),
                    _ => tap.server(piece, &mut |one| noticed.push(one)),
                }
            }
        }
        (noticed, tap.counts(), is_aside(&tap))
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
