//! Back-offs: mailboxes that the mail server asked not to use for a while. A login that comes meanwhile waits, if it is not for
//! long, and is refused temporarily otherwise: Exchange lengthens the back-off of a client that keeps trying.
//!
//! The node that receives a back-off writes it to the store; each login reads it there, so it counts on every node and after a
//! restart. With SQLite there is no other node, and the store is read once after a start. A store that cannot be read leaves a node with
//! what it has received itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use oxpost_protocol::tap::BACK_OFF_LIMIT;
use oxpost_token_store::{Mailbox, SharedClock, Store, StoreError};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::config::Protocol;

/// How long a login waits for the end of a back-off. Mail programs give up after a minute.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// How long a login that waits sleeps at most before it looks at the clock again, which may have been set.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether the mail server may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAllowed {
    /// Now.
    Now,
    /// After this, at most [`WAIT_LIMIT`].
    WaitFor(Duration),
    /// Not before this, which is longer.
    RetryAfter(Duration),
}

/// A back-off that was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// When it ends.
    pub until: SystemTime,
    /// Whether the mailbox was not throttled before.
    pub is_new: bool,
    /// Whether it ends so much later than what was reported to the other nodes that it is reported again: a program that repeats a command in
    /// a throttled mailbox makes it longer by a moment each time.
    pub is_longer: bool,
}

/// The end of each mailbox's back-off, by protocol: Exchange counts them separately. As far as this node knows.
#[derive(Debug, Default)]
pub struct BackOffs {
    known: Mutex<HashMap<(Mailbox, Protocol), Known>>,
    /// What this process has heard before its start was read, where it is the only one.
    was_read: OnceCell<()>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    until: SystemTime,
    /// What was reported to the other nodes.
    reported: SystemTime,
}

impl BackOffs {
    /// The mail server has named a back-off.
    pub fn note(&self, mailbox: &Mailbox, protocol: Protocol, back_off: Duration, now: SystemTime) -> Noted {
        let until = now + back_off.min(BACK_OFF_LIMIT);
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, known| left(known.until, now).is_some());
        let none = Known { until: SystemTime::UNIX_EPOCH, reported: SystemTime::UNIX_EPOCH };
        let known = all.entry((mailbox.clone(), protocol)).or_insert(none);
        let is_new = known.until == SystemTime::UNIX_EPOCH;
        // A shorter one does not end a longer one.
        known.until = until.max(known.until);
        let is_longer = known.until.duration_since(known.reported).is_ok_and(|more| more > back_off / 10);
        if is_longer {
            known.reported = known.until;
        }
        Noted { until: known.until, is_new, is_longer }
    }

    /// Reads what other nodes have heard, or this one before its start. With SQLite a login costs no read for that, but for the first one.
    pub async fn read_stored(&self, store: &Store, mailbox: &Mailbox, protocol: Protocol, now: SystemTime) {
        if store.is_shared_by_nodes() {
            self.hear_of(store, mailbox, protocol, now).await;
        } else if let Err(error) = self.was_read.get_or_try_init(|| self.hear_of_all(store, now)).await {
            debug!("the back-offs from before the start could not be read: {error}");
        }
    }

    async fn hear_of(&self, store: &Store, mailbox: &Mailbox, protocol: Protocol, now: SystemTime) {
        match store.back_off(mailbox, &protocol.to_string()).await {
            Ok(until) => {
                if let Some(left) = until.and_then(|until| left(until, now)) {
                    self.note(mailbox, protocol, left, now);
                }
            }
            Err(error) => debug!(%mailbox, "the back-offs that other nodes know of could not be read: {error}"),
        }
    }

    async fn hear_of_all(&self, store: &Store, now: SystemTime) -> Result<(), StoreError> {
        for (mailbox, protocol, until) in store.back_offs(now).await? {
            let protocols = [Protocol::Imap, Protocol::Pop3, Protocol::Smtp];
            let protocol = protocols.into_iter().find(|one| one.to_string() == protocol);
            if let (Some(protocol), Some(left)) = (protocol, left(until, now)) {
                self.note(&mailbox, protocol, left, now);
            }
        }
        Ok(())
    }

    /// Waits until a login may be tried, [`WAIT_LIMIT`] at most. What other nodes know was read before ([`Self::read_stored`]), and is read
    /// again after a wait.
    ///
    /// # Errors
    /// It may not be tried for so long, which is too long to wait.
    pub async fn wait(
        &self,
        store: &Store,
        mailbox: &Mailbox,
        protocol: Protocol,
        clock: &SharedClock,
    ) -> Result<(), Duration> {
        let deadline = Instant::now() + WAIT_LIMIT;
        let mut has_waited = false;
        loop {
            match self.may_log_in(mailbox, protocol, clock.now()) {
                LoginAllowed::Now if has_waited => {
                    has_waited = false;
                    self.read_stored(store, mailbox, protocol, clock.now()).await;
                }
                LoginAllowed::Now => return Ok(()),
                LoginAllowed::RetryAfter(left) => return Err(left),
                LoginAllowed::WaitFor(left) if Instant::now() >= deadline => return Err(left),
                LoginAllowed::WaitFor(left) => {
                    has_waited = true;
                    sleep(left.min(CLOCK_CHECK_INTERVAL)).await;
                }
            }
        }
    }

    /// Whether a login may be tried now.
    pub fn may_log_in(&self, mailbox: &Mailbox, protocol: Protocol, now: SystemTime) -> LoginAllowed {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&(mailbox.clone(), protocol)).and_then(|known| left(known.until, now)) {
            None => LoginAllowed::Now,
            Some(left) if left <= WAIT_LIMIT => LoginAllowed::WaitFor(left),
            Some(left) => LoginAllowed::RetryAfter(left),
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

    use oxpost_token_store::store::mail_use::Used;
    use oxpost_token_store::{Account, Grant, ManualClock, Vault};

    use super::*;

    async fn store() -> Store {
        Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap()
    }

    /// What one node has written counts for another one, and for the same one after a restart.
    #[tokio::test]
    async fn back_off_of_another_node_applies_at_login() {
        let (store, now) = (store().await, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let (back_offs, mailbox) = (BackOffs::default(), Mailbox::parse("a@contoso.com").unwrap());
        store.add_account(&Account::new(mailbox.clone(), "default", Grant::SignIn, now)).await.unwrap();
        let write = async |until| {
            let used = Used { throttled: Some((now, until)), ..Used::default() };
            store.add_mail_use([(&mailbox, "IMAP", &used)]).await.unwrap();
        };
        let may = async |at| {
            back_offs.hear_of(&store, &mailbox, Protocol::Imap, at).await;
            back_offs.may_log_in(&mailbox, Protocol::Imap, at)
        };
        assert_eq!(may(now).await, LoginAllowed::Now);
        write(now + 2 * WAIT_LIMIT).await;
        assert_eq!(may(now).await, LoginAllowed::RetryAfter(2 * WAIT_LIMIT));
        assert_eq!(back_offs.may_log_in(&mailbox, Protocol::Pop3, now), LoginAllowed::Now);
        assert_eq!(may(now + 2 * WAIT_LIMIT).await, LoginAllowed::Now);
        // Nothing keeps a mailbox from being used for longer than any back-off lasts.
        write(now + 10 * BACK_OFF_LIMIT).await;
        assert_eq!(may(now).await, LoginAllowed::RetryAfter(2 * WAIT_LIMIT), "what was received before");
        // Neither does a store that cannot be read.
        store.remove_account(&mailbox).await.unwrap();
        assert_eq!(may(now + 3 * WAIT_LIMIT).await, LoginAllowed::Now);
    }

    /// A process that has its store to itself knows what it has heard: only what it heard before its start is read.
    #[tokio::test]
    async fn back_off_is_read_once_where_there_is_one_node() {
        let (store, now) = (store().await, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let mailboxes = ["a@contoso.com", "b@contoso.com"].map(|mailbox| Mailbox::parse(mailbox).unwrap());
        let throttled = Used { throttled: Some((now, now + 2 * WAIT_LIMIT)), ..Used::default() };
        for mailbox in &mailboxes {
            store.add_account(&Account::new(mailbox.clone(), "default", Grant::SignIn, now)).await.unwrap();
        }
        let [a, b] = &mailboxes;
        store.add_mail_use([(a, "IMAP", &throttled)]).await.unwrap();
        let back_offs = BackOffs::default();
        let may = async |mailbox| {
            back_offs.read_stored(&store, mailbox, Protocol::Imap, now).await;
            back_offs.may_log_in(mailbox, Protocol::Imap, now)
        };
        assert_eq!((may(b).await, may(a).await), (LoginAllowed::Now, LoginAllowed::RetryAfter(2 * WAIT_LIMIT)));
        store.add_mail_use([(b, "IMAP", &throttled)]).await.unwrap();
        assert_eq!(may(b).await, LoginAllowed::Now, "it is not read again");
    }

    #[test]
    fn back_off_applies_per_protocol_until_its_end() {
        let (back_offs, now) = (BackOffs::default(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let second = Duration::from_secs(1);
        let mailbox = |name: &str| Mailbox::parse(&format!("{name}@contoso.com")).unwrap();
        let may = |name: &str, protocol, now| back_offs.may_log_in(&mailbox(name), protocol, now);
        let noted = back_offs.note(&mailbox("a"), Protocol::Imap, 300 * second, now);
        assert_eq!(noted, Noted { until: now + 300 * second, is_new: true, is_longer: true });
        assert_eq!(may("a", Protocol::Imap, now), LoginAllowed::RetryAfter(300 * second));
        assert_eq!(
            (may("a", Protocol::Pop3, now), may("b", Protocol::Imap, now)),
            (LoginAllowed::Now, LoginAllowed::Now)
        );
        // A shorter one does not end a longer one.
        let noted = back_offs.note(&mailbox("a"), Protocol::Imap, second, now);
        assert_eq!(noted, Noted { until: now + 300 * second, is_new: false, is_longer: false });
        // The same back-off repeatedly is reported once in a tenth of it.
        assert!(back_offs.note(&mailbox("c"), Protocol::Imap, 300 * second, now).is_longer);
        for (after, is_longer) in [(1, false), (30, false), (31, true), (40, false)] {
            let noted = back_offs.note(&mailbox("c"), Protocol::Imap, 300 * second, now + second * after);
            assert_eq!(noted, Noted { until: now + second * (300 + after), is_new: false, is_longer });
        }
        assert_eq!(may("a", Protocol::Imap, now + 270 * second), LoginAllowed::WaitFor(WAIT_LIMIT));
        assert_eq!(may("a", Protocol::Imap, now + 300 * second), LoginAllowed::Now);
        // Neither a server nor a clock blocks a mailbox for a day.
        back_offs.note(&mailbox("a"), Protocol::Imap, 86_400 * second, now);
        assert_eq!(may("a", Protocol::Imap, now), LoginAllowed::RetryAfter(BACK_OFF_LIMIT));
        assert_eq!(may("a", Protocol::Imap, now - 86_400 * second), LoginAllowed::Now);
        // What is over is forgotten.
        back_offs.note(&mailbox("b"), Protocol::Imap, second, now + 2 * BACK_OFF_LIMIT);
        assert_eq!(back_offs.known.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn short_back_off_is_waited_for_by_either_clock() {
        let manual = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let clock: SharedClock = Arc::new(manual.clone());
        let (back_offs, mailbox) = (BackOffs::default(), Mailbox::parse("a@contoso.com").unwrap());
        let store = store().await;
        let wait = || back_offs.wait(&store, &mailbox, Protocol::Imap, &clock);
        assert_eq!(wait().await, Ok(()));
        back_offs.note(&mailbox, Protocol::Imap, WAIT_LIMIT, clock.now());
        let began = Instant::now();
        let ends = async {
            sleep(3 * CLOCK_CHECK_INTERVAL).await;
            manual.advance(WAIT_LIMIT);
        };
        assert_eq!(tokio::join!(wait(), ends).0, Ok(()));
        assert!(began.elapsed() <= 4 * CLOCK_CHECK_INTERVAL);
        // A clock that has stopped, or runs back, is not waited for.
        back_offs.note(&mailbox, Protocol::Imap, WAIT_LIMIT, clock.now());
        let began = Instant::now();
        assert_eq!(wait().await, Err(WAIT_LIMIT));
        assert!(began.elapsed() <= WAIT_LIMIT + CLOCK_CHECK_INTERVAL);
        back_offs.note(&mailbox, Protocol::Imap, 2 * WAIT_LIMIT, clock.now());
        let began = Instant::now();
        assert_eq!((wait().await, began.elapsed()), (Err(2 * WAIT_LIMIT), Duration::ZERO));
    }
}
