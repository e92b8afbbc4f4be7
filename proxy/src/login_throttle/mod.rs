//! The login throttle: what bounds guesses at passwords, and keeps everybody else's logins going meanwhile.
//!
//! [`policy`] decides; this drives it: waits for turns, tells the time, writes blocks where people see them. Two promises lead
//! it. A guess is counted before anything is compared with it, so that a guess beyond the bounds learns nothing, not even if it
//! is right. And nobody is kept out by guesses from elsewhere: a source from which a login to this account succeeded before has
//! a small budget of its own.

mod blocks;
mod lane;
mod pace;
mod policy;
mod strikes;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use oxpost_token_store::{Accounts, Attempt, Denied, SharedClock, Source, Store};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use self::blocks::Blocks;
pub use self::policy::Compared;
use self::policy::{Charge, Decision, PATIENCE, Policy, Subject, Target, Ticket};
pub use self::strikes::BlockLimits;

/// The time within which passwords are counted that were compared.
const WINDOW: Duration = Duration::from_secs(600);

/// How long an attempt beyond the bounds waits for its answer: it costs whoever sends it a connection for so long.
const REFUSED_AFTER: Duration = Duration::from_secs(5);

/// How long Microsoft counts as slow after it did not verify a password in time.
const SLOW_FOR: Duration = Duration::from_secs(60);

/// User names that are refused without looking them up.
const NAMES: usize = 16_384;

/// What an administrator may move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// When a source is blocked.
    pub block: BlockLimits,
    /// When a wrong login is answered at the earliest. It is the same for every account and for none, and as Dovecot has it
    /// (`auth_failure_delay`); Microsoft verifies a password within it, most often.
    pub failure_delay: Duration,
    /// Addresses that many clients share, such as a load balancer's: never blocked.
    pub exempt_networks: Vec<IpNet>,
}

/// Why a password is not compared now. The answer is the same whether it is right or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttled {
    /// Its source is blocked for this long.
    Blocked(Duration),
    /// Too many passwords were tried; it may come again after this time.
    TooMany(Duration),
}

/// The login throttle of all listeners.
#[derive(Debug)]
pub struct LoginThrottle {
    limits: ThrottleLimits,
    policy: Mutex<Policy>,
    /// An attempt has ended, or left.
    changed: Notify,
    /// Names from a source that are refused until then, whatever the password.
    refused_names: Mutex<HashMap<(Source, u64), Instant>>,
    /// Until when passwords that Microsoft verifies are not waited for by unfamiliar sources.
    slow_until: Mutex<Option<Instant>>,
    blocks: Blocks,
    key: RandomState,
}

/// Whether a password may be compared now.
#[derive(Debug)]
pub enum Turn<'a> {
    /// It may, and was counted.
    Granted(Permit<'a>),
    /// The login was wrong before and is repeated.
    Repeated,
}

/// An attempt that was counted. Dropped without a word it stays so.
#[derive(Debug)]
pub struct Permit<'a> {
    throttle: &'a LoginThrottle,
    charge: Option<Charge>,
}

/// One that waits; it leaves the queue when its client does.
struct Queued<'a> {
    throttle: &'a LoginThrottle,
    ticket: Ticket,
}

impl LoginThrottle {
    /// A throttle that writes its blocks into this store, under the name of this node.
    pub fn new(limits: ThrottleLimits, store: Store, clock: SharedClock, node: String) -> Self {
        Self {
            policy: Mutex::new(Policy::new(limits.block)),
            limits,
            changed: Notify::new(),
            refused_names: Mutex::default(),
            slow_until: Mutex::default(),
            blocks: Blocks::new(store, clock, node),
            key: RandomState::new(),
        }
    }

    /// When a wrong login is answered at the earliest.
    pub fn failure_delay(&self) -> Duration {
        self.limits.failure_delay
    }

    /// For how long a source is blocked from now on, if it is.
    pub fn blocked(&self, peer: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        self.policy().blocked_until(Source::of(peer), now).map(|until| until - now)
    }

    /// Whether it is known already that a login from there with this user name is not compared now: before the store is read.
    ///
    /// # Errors
    /// It is not.
    pub async fn may_be_looked_up(&self, peer: IpAddr, user: &str) -> Result<(), Throttled> {
        let (source, now) = (Source::of(peer), Instant::now());
        let wait = if self.is_shared(peer) {
            None
        } else if self.policy().is_beyond(source) {
            Some(PATIENCE)
        } else {
            let names = locked(&self.refused_names);
            names.get(&(source, self.name_of(user))).and_then(|until| until.checked_duration_since(now))
        };
        match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => {
                sleep(REFUSED_AFTER).await;
                Err(Throttled::TooMany(wait))
            }
            None => Ok(()),
        }
    }

    /// Waits until the password of an attempt may be compared.
    ///
    /// # Errors
    /// It may not be compared now, or the store cannot be read.
    pub async fn turn(
        &self,
        accounts: &Accounts,
        peer: IpAddr,
        user: &str,
        attempt: &Attempt,
    ) -> Result<Result<Turn<'_>, Throttled>, Denied> {
        let guessed = attempt.guessed().await;
        let subject = |mailbox: &str| Subject(self.key.hash_one(mailbox));
        let mut targets: Vec<Target> = guessed
            .iter()
            .map(|guessed| Target { subject: subject(guessed.mailbox.as_str()), familiar: guessed.familiar })
            .collect();
        if targets.is_empty() {
            targets.push(Target { subject: Subject(self.name_of(user)), familiar: false });
        }
        let source = Source::of(peer);
        let attempt = policy::Attempt {
            targets,
            source,
            shared: self.is_shared(peer),
            familiar_source: accounts.is_familiar_to_any(source),
            remote: attempt.is_remote(),
            pair: attempt.pair_tag()?,
        };
        Ok(self.wait_for_turn(attempt, self.name_of(user)).await)
    }

    async fn wait_for_turn(&self, attempt: policy::Attempt, name: u64) -> Result<Turn<'_>, Throttled> {
        let source = attempt.source;
        let mut decision = self.policy().begin(attempt, Instant::now());
        let mut queued = None;
        loop {
            match decision {
                Decision::Repeated => return Ok(Turn::Repeated),
                Decision::Compare(charge) => return Ok(Turn::Granted(Permit { throttle: self, charge: Some(charge) })),
                Decision::Refuse(wait) => {
                    self.refuse_name(source, name, wait);
                    let blocked = self.policy().blocked_until(source, Instant::now()).is_some();
                    sleep(REFUSED_AFTER).await;
                    return Err(if blocked { Throttled::Blocked(wait) } else { Throttled::TooMany(wait) });
                }
                Decision::Wait(ticket, until) => {
                    queued.get_or_insert(Queued { throttle: self, ticket });
                    let changed = self.changed.notified();
                    tokio::pin!(changed);
                    // From here on it is woken; what has changed until now is seen by asking.
                    changed.as_mut().enable();
                    decision = self.policy().ask_again(ticket, Instant::now());
                    if matches!(decision, Decision::Wait(..)) {
                        let _ = timeout_at(until, changed).await;
                        decision = self.policy().ask_again(ticket, Instant::now());
                    }
                }
            }
        }
    }

    /// Ends the blocks that were lifted by a command, and says which are over, until `stop`.
    pub async fn watch_blocks(&self, stop: CancellationToken) {
        self.blocks.watch(stop, |source| self.policy().unblock(source)).await;
    }

    /// A password that Microsoft verifies for an unfamiliar source was not verified in time.
    pub fn note_slow_verification(&self) {
        *locked(&self.slow_until) = Some(Instant::now() + SLOW_FOR);
    }

    /// Whether that was so a short while ago. Then no wrong login from an unfamiliar source is told that it is wrong: the
    /// answer must not tell accounts that Microsoft verifies from others.
    pub fn is_verification_slow(&self) -> bool {
        locked(&self.slow_until).is_some_and(|until| until > Instant::now())
    }

    /// Whether many clients share this address.
    fn is_shared(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || self.limits.exempt_networks.iter().any(|network| network.contains(&peer))
    }

    fn refuse_name(&self, source: Source, name: u64, wait: Duration) {
        // A turn may be free before that; what is known for sure is longer than anybody waits for one.
        let Some(certain) = wait.checked_sub(PATIENCE).filter(|certain| !certain.is_zero()) else { return };
        let now = Instant::now();
        let mut names = locked(&self.refused_names);
        if names.len() >= NAMES {
            names.retain(|_, until| *until > now);
        }
        if names.len() < NAMES {
            names.insert((source, name), now + certain);
        }
    }

    /// The part of a user name that says whose password it is: `owner\shared` and `owner/shared` are the account of `shared`.
    fn name_of(&self, user: &str) -> u64 {
        self.key.hash_one(user.rsplit(['\\', '/']).next().unwrap_or(user).trim().to_lowercase())
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        locked(&self.policy)
    }

    async fn ended(&self, charge: Charge, compared: Compared) {
        let source = charge.source();
        let blocked = self.policy().end(charge, compared, Instant::now());
        self.changed.notify_waiters();
        if let Some(until) = blocked {
            self.blocks.note(source, until).await;
        }
    }
}

impl Permit<'_> {
    /// The password was compared, or was not after all.
    pub async fn ended(mut self, compared: Compared) {
        if let Some(charge) = self.charge.take() {
            self.throttle.ended(charge, compared).await;
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            self.throttle.policy().end(charge, Compared::Unknown, Instant::now());
            self.throttle.changed.notify_waiters();
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.throttle.policy().leave(self.ticket);
        self.throttle.changed.notify_waiters();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
