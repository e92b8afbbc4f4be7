//! The login throttle: limits guesses at passwords without delaying other logins.
//!
//! [`policy`] decides; this module drives it: waits, reads the clock, writes blocks to the store. It makes two
//! promises. A guess is counted before anything is compared with it, so that a guess beyond the bounds learns nothing, not even if it
//! is right. And guesses from elsewhere do not keep an owner out: a source from which a login to this account succeeded before
//! has a small budget of its own.

mod attempt;
mod blocks;
mod policy;
mod rate;
mod recent_attempts;
mod source_failures;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use oxpost_token_store::{Accounts, Attempt, Denied, SharedClock, Source, Store};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

pub(crate) use self::attempt::Comparison;
use self::attempt::{Subject, Target};
use self::blocks::{Blocks, Change};
use self::policy::{Charge, Decision, Policy, QUEUE_TIMEOUT, Ticket};
pub use self::source_failures::BlockLimits;

/// The time within which passwords are counted that were compared.
const WINDOW: Duration = Duration::from_secs(600);

/// How long an attempt beyond the bounds waits for its answer: it occupies a connection of the client for so long.
const REFUSED_AFTER: Duration = Duration::from_secs(5);

/// User names that are refused without looking them up.
const MAX_REFUSED_NAMES: usize = 16_384;

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
    blocks: Blocks,
    key: RandomState,
}

/// Whether a password may be compared now.
#[derive(Debug)]
pub enum Admission<'a> {
    /// It may, and was counted.
    Granted(Permit<'a>),
    /// The login was wrong before and is repeated.
    Repeated,
}

/// When an attempt came, and how long it has waited to be admitted.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// When it came.
    pub arrived: Instant,
    /// How long it waited.
    pub waited: Duration,
}

impl Timing {
    /// One that comes now.
    pub fn begin() -> Self {
        Self { arrived: Instant::now(), waited: Duration::ZERO }
    }

    /// Waits until so much time has passed without that in the queue. What was done meanwhile does not show.
    pub async fn answer_after(self, delay: Duration) {
        sleep_until(self.arrived + self.waited + delay).await;
    }
}

/// An attempt that was counted. Until it is dropped it counts as in progress.
#[derive(Debug)]
pub struct Permit<'a> {
    throttle: &'a LoginThrottle,
    charge: Option<Charge>,
    compared: Comparison,
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
    pub async fn check_before_lookup(&self, peer: IpAddr, user: &str, timing: Timing) -> Result<(), Throttled> {
        let (source, now) = (Source::of(peer), Instant::now());
        let wait = if self.is_shared(peer) {
            None
        } else if self.policy().is_beyond(source) {
            Some(QUEUE_TIMEOUT)
        } else {
            let names = locked(&self.refused_names);
            names.get(&(source, self.whole_name(user))).and_then(|until| until.checked_duration_since(now))
        };
        match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => {
                timing.answer_after(REFUSED_AFTER).await;
                Err(Throttled::TooMany(wait))
            }
            None => Ok(()),
        }
    }

    /// Waits until the password of an attempt may be compared.
    ///
    /// # Errors
    /// It may not be compared now, or the store cannot be read.
    pub async fn wait_until_admitted(
        &self,
        accounts: &Accounts,
        peer: IpAddr,
        user: &str,
        attempt: &Attempt,
        timing: &mut Timing,
    ) -> Result<Result<Admission<'_>, Throttled>, Denied> {
        let guessed = attempt.targets().await;
        let subject = |mailbox: &str| Subject(self.key.hash_one(mailbox));
        let mut targets: Vec<Target> = guessed
            .iter()
            .map(|guessed| Target { subject: subject(guessed.mailbox.as_str()), familiar: guessed.familiar })
            .collect();
        if targets.is_empty() {
            targets.push(Target { subject: Subject(self.name_of(user)), familiar: false });
        }
        let source = Source::of(peer);
        let attempt = attempt::Attempt {
            targets,
            source,
            shared: self.is_shared(peer),
            familiar_source: accounts.is_familiar_to_any(source),
            pair: attempt.pair_tag()?,
        };
        let began = Instant::now();
        let admission = self.wait_for_admission(attempt).await;
        timing.waited = began.elapsed();
        let admission = match admission {
            Ok(admission) => Ok(admission),
            Err(throttled) => {
                self.refuse_name(source, self.whole_name(user), throttled);
                timing.answer_after(REFUSED_AFTER).await;
                Err(throttled)
            }
        };
        Ok(admission)
    }

    async fn wait_for_admission(&self, attempt: attempt::Attempt) -> Result<Admission<'_>, Throttled> {
        let source = attempt.source;
        let mut decision = self.policy().begin(attempt, Instant::now());
        let mut queued = None;
        loop {
            match decision {
                Decision::Repeated => return Ok(Admission::Repeated),
                Decision::Compare(charge) => {
                    let (charge, compared) = (Some(charge), Comparison::Unknown);
                    return Ok(Admission::Granted(Permit { throttle: self, charge, compared }));
                }
                Decision::Refuse(wait) => {
                    let blocked = self.policy().blocked_until(source, Instant::now()).is_some();
                    return Err(if blocked { Throttled::Blocked(wait) } else { Throttled::TooMany(wait) });
                }
                Decision::Wait(ticket, until) => {
                    queued.get_or_insert_with(|| Queued { throttle: self, ticket });
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

    /// Ends the blocks that were lifted by a command, says which are over, and blocks what other nodes have blocked, until `stop`.
    pub async fn watch_blocks(&self, stop: CancellationToken) {
        let change = |change| match change {
            Change::Lift(source) => {
                self.policy().unblock(source);
                locked(&self.refused_names).retain(|(refused, _), _| *refused != source);
            }
            // Here it may be the address of a load balancer.
            Change::Block(address, _) if self.is_shared(address) => {}
            Change::Block(address, until) => self.policy().block(Source::of(address), until, Instant::now()),
        };
        self.blocks.watch(stop, change).await;
    }

    /// Whether many clients share this address.
    fn is_shared(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || self.limits.exempt_networks.iter().any(|network| network.contains(&peer))
    }

    fn refuse_name(&self, source: Source, name: u64, throttled: Throttled) {
        let (Throttled::Blocked(wait) | Throttled::TooMany(wait)) = throttled;
        // It may be admitted before that; only what is beyond the time that attempts wait is certain.
        let Some(certain) = wait.checked_sub(QUEUE_TIMEOUT).filter(|certain| !certain.is_zero()) else { return };
        let now = Instant::now();
        let mut names = locked(&self.refused_names);
        if names.len() >= MAX_REFUSED_NAMES {
            names.retain(|_, until| *until > now);
        }
        if names.len() < MAX_REFUSED_NAMES {
            names.insert((source, name), now + certain);
        }
    }

    /// The part of a user name that says whose password it is: `owner\shared` and `owner/shared` are the account of `shared`.
    fn name_of(&self, user: &str) -> u64 {
        self.key.hash_one(user.rsplit(['\\', '/']).next().unwrap_or(user).trim().to_lowercase())
    }

    /// All of a user name.
    fn whole_name(&self, user: &str) -> u64 {
        self.key.hash_one(user.trim().to_lowercase())
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        locked(&self.policy)
    }

    fn end(&self, charge: Charge, compared: Comparison) {
        let source = charge.source();
        let blocked = self.policy().end(charge, compared, Instant::now());
        self.changed.notify_waiters();
        if let Some(until) = blocked {
            self.blocks.note(source, until);
        }
    }
}

impl Permit<'_> {
    /// How the comparison went. A right one ends immediately; any other counts as in progress until its answer is sent, so that
    /// the next attempt does not show how long it took.
    pub fn note(&mut self, compared: Comparison) {
        self.compared = compared;
        if compared == Comparison::Right
            && let Some(charge) = self.charge.take()
        {
            self.throttle.end(charge, compared);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            self.throttle.end(charge, self.compared);
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.throttle.policy().leave(self.ticket) {
            self.throttle.changed.notify_waiters();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
