//! Mailboxes that the mail server wants to be left alone for a while. A login that comes meanwhile waits, if it is not for
//! long, and is told to come back otherwise: Exchange lengthens the back-off of whoever knocks on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use oxpost_protocol::tap::BACK_OFF_LIMIT;
use oxpost_token_store::{Mailbox, SharedClock};
use tokio::time::{Instant, sleep};

use crate::config::Protocol;

/// How long a login waits for the end of a back-off. Mail programs give up after a minute.
pub const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// How long a login that waits sleeps at most before it looks at the clock again, which may have been set.
const NAP: Duration = Duration::from_secs(1);

/// Whether the mail server may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// At once.
    Now,
    /// After this, at most [`WAIT_LIMIT`].
    After(Duration),
    /// Not before this, which is longer.
    NotFor(Duration),
}

/// A back-off that was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// When it ends.
    pub until: SystemTime,
    /// Whether the mailbox was not throttled before.
    pub is_new: bool,
}

/// Until when each mailbox is left alone, by protocol: Exchange counts them apart. Each node learns it by itself.
#[derive(Debug, Default)]
pub struct Throttles(Mutex<HashMap<(Mailbox, Protocol), SystemTime>>);

impl Throttles {
    /// The mail server has named a back-off.
    pub fn note(&self, mailbox: &Mailbox, protocol: Protocol, back_off: Duration, now: SystemTime) -> Noted {
        let until = now + back_off.min(BACK_OFF_LIMIT);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, until| left(*until, now).is_some());
        let before = all.insert((mailbox.clone(), protocol), until);
        match before.filter(|before| *before > until) {
            // A shorter one does not end a longer one.
            Some(longer) => {
                all.insert((mailbox.clone(), protocol), longer);
                Noted { until: longer, is_new: false }
            }
            None => Noted { until, is_new: before.is_none() },
        }
    }

    /// Waits until a login may be tried, [`WAIT_LIMIT`] at most.
    ///
    /// # Errors
    /// It may not be tried for so long, which is too long to wait.
    pub async fn wait(&self, mailbox: &Mailbox, protocol: Protocol, clock: &SharedClock) -> Result<(), Duration> {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            match self.may_log_in(mailbox, protocol, clock.now()) {
                May::Now => return Ok(()),
                May::NotFor(left) => return Err(left),
                May::After(left) if Instant::now() >= deadline => return Err(left),
                May::After(left) => sleep(left.min(NAP)).await,
            }
        }
    }

    /// Whether a login may be tried now.
    pub fn may_log_in(&self, mailbox: &Mailbox, protocol: Protocol, now: SystemTime) -> May {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&(mailbox.clone(), protocol)).and_then(|until| left(*until, now)) {
            None => May::Now,
            Some(left) if left <= WAIT_LIMIT => May::After(left),
            Some(left) => May::NotFor(left),
        }
    }
}

/// What is left of it. A clock that was set back makes no back-off longer than the longest.
fn left(until: SystemTime, now: SystemTime) -> Option<Duration> {
    until.duration_since(now).ok().filter(|left| !left.is_zero() && *left <= BACK_OFF_LIMIT)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oxpost_token_store::ManualClock;

    use super::*;

    #[test]
    fn a_mailbox_is_left_alone_by_protocol_and_until_then() {
        let (throttles, now) = (Throttles::default(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let second = Duration::from_secs(1);
        let mailbox = |name: &str| Mailbox::parse(&format!("{name}@contoso.com")).unwrap();
        let may = |name: &str, protocol, now| throttles.may_log_in(&mailbox(name), protocol, now);
        let noted = throttles.note(&mailbox("a"), Protocol::Imap, 300 * second, now);
        assert_eq!(noted, Noted { until: now + 300 * second, is_new: true });
        assert_eq!(may("a", Protocol::Imap, now), May::NotFor(300 * second));
        assert_eq!((may("a", Protocol::Pop3, now), may("b", Protocol::Imap, now)), (May::Now, May::Now));
        // A shorter one does not end a longer one.
        let noted = throttles.note(&mailbox("a"), Protocol::Imap, second, now);
        assert_eq!(noted, Noted { until: now + 300 * second, is_new: false });
        assert_eq!(may("a", Protocol::Imap, now + 270 * second), May::After(WAIT_LIMIT));
        assert_eq!(may("a", Protocol::Imap, now + 300 * second), May::Now);
        // No server keeps anybody out for a day, and no clock either.
        throttles.note(&mailbox("a"), Protocol::Imap, 86_400 * second, now);
        assert_eq!(may("a", Protocol::Imap, now), May::NotFor(BACK_OFF_LIMIT));
        assert_eq!(may("a", Protocol::Imap, now - 86_400 * second), May::Now);
        // What is over is forgotten.
        throttles.note(&mailbox("b"), Protocol::Imap, second, now + 2 * BACK_OFF_LIMIT);
        assert_eq!(throttles.0.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_back_off_is_waited_for_by_whichever_clock_ends_it() {
        let manual = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let clock: SharedClock = Arc::new(manual.clone());
        let (throttles, mailbox) = (Throttles::default(), Mailbox::parse("a@contoso.com").unwrap());
        let wait = || throttles.wait(&mailbox, Protocol::Imap, &clock);
        assert_eq!(wait().await, Ok(()));
        throttles.note(&mailbox, Protocol::Imap, WAIT_LIMIT, clock.now());
        let began = Instant::now();
        let ends = async {
            sleep(3 * NAP).await;
            manual.advance(WAIT_LIMIT);
        };
        assert_eq!(tokio::join!(wait(), ends).0, Ok(()));
        assert!(began.elapsed() <= 4 * NAP);
        // A clock that stands still, or runs back, is not waited for.
        throttles.note(&mailbox, Protocol::Imap, WAIT_LIMIT, clock.now());
        let began = Instant::now();
        assert_eq!(wait().await, Err(WAIT_LIMIT));
        assert!(began.elapsed() <= WAIT_LIMIT + NAP);
        throttles.note(&mailbox, Protocol::Imap, 2 * WAIT_LIMIT, clock.now());
        let began = Instant::now();
        assert_eq!((wait().await, began.elapsed()), (Err(2 * WAIT_LIMIT), Duration::ZERO));
    }
}
