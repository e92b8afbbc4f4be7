//! What keeps strangers from harming anybody: the counting of wrong passwords.
//!
//! Two promises lead it. Nobody who was let in before is kept out by somebody else: whoever logged in within the last day, with
//! the same password, passes by everything here, even from an address that is banned. And nobody learns anything: every wrong
//! login has the same answer, and gets it at the same time.

mod guesses;
mod source;
mod turns;

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use oxpost_token_store::store::Ban;
use oxpost_token_store::{SharedClock, Standing, Store};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::guesses::{Guesses, Next};
use self::turns::{Turn, Turns};
use crate::seldom::Seldom;

pub use self::guesses::GuessLimits;
pub use self::source::{Source, counted};

/// When a wrong login is answered at the earliest, from the moment on when its check began. An account may have eight
/// passwords, and each costs a hash of some 22 ms, where a name without an account costs one: the answer must not tell.
const ANSWER_AFTER: Duration = Duration::from_millis(400);

/// How often it is looked whether somebody has lifted a ban, and whether one is over.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why a login is not checked now. The answer to it is the same whether the password is right or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Its source is banned for this long.
    Banned(Duration),
    /// So many wrong passwords were tried that its turn would come too late; it may try again after this time.
    TooMany(Duration),
}

/// The guard of all listeners.
#[derive(Debug)]
pub struct Guard {
    guesses: Mutex<Guesses>,
    turns: Turns,
    never_ban: Vec<IpNet>,
    names: RandomState,
    /// The bans that stand in the store as well.
    bans: Mutex<Vec<(Source, Instant)>>,
    store: Store,
    clock: GuardClock,
    node: String,
    said: Said,
}

/// The clock of what is written down for people.
struct GuardClock(SharedClock);

impl std::fmt::Debug for GuardClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuardClock")
    }
}

/// What anybody may cause to be said.
#[derive(Debug, Default)]
struct Said {
    turned_away: Seldom,
}

/// What the guard goes by.
#[derive(Debug, Clone)]
pub struct GuardLimits {
    /// Wrong passwords.
    pub guesses: GuessLimits,
    /// Addresses that are never banned, such as a load balancer's.
    pub never_ban: Vec<IpNet>,
}

/// A login whose password may be checked now.
#[derive(Debug)]
pub struct Check<'a> {
    guard: &'a Guard,
    peer: IpAddr,
    name: u64,
    standing: Standing,
    began: Instant,
    turn: Option<Turn<'a>>,
}

impl Guard {
    /// A guard that writes its bans into this store, under the name of this node.
    pub fn new(limits: GuardLimits, store: Store, clock: SharedClock, node: String) -> Self {
        Self {
            guesses: Mutex::new(Guesses::new(limits.guesses)),
            turns: Turns::default(),
            never_ban: limits.never_ban,
            names: RandomState::new(),
            bans: Mutex::default(),
            store,
            clock: GuardClock(clock),
            node,
            said: Said::default(),
        }
    }

    /// Whether a connection is turned away, because its source is banned and nobody has logged in from there. It was said in the
    /// log.
    pub fn turns_away(&self, peer: IpAddr, is_familiar: bool) -> bool {
        let away = !is_familiar && self.ban_of(peer).is_some();
        if away && let Some(unsaid) = self.said.turned_away.say() {
            warn!(%peer, unsaid, "turned away: banned for too many wrong passwords");
        }
        away
    }

    /// Waits until a login may be checked. Whoever is known need not wait.
    ///
    /// # Errors
    /// It may not be checked now.
    pub async fn check(&self, peer: IpAddr, user: &str, standing: Standing) -> Result<Check<'_>, Held> {
        let name = self.names.hash_one(name_of(user));
        let granted = |began, turn| Check { guard: self, peer, name, standing, began, turn };
        if standing == Standing::Known {
            return Ok(granted(Instant::now(), None));
        }
        if standing == Standing::New {
            self.wait_for_the_slot(peer, name).await?;
        }
        let turn = self.turns.wait(Source::of(peer)).await;
        // Others may have brought the ban about meanwhile.
        self.not_banned(peer)?;
        Ok(granted(Instant::now(), Some(turn)))
    }

    async fn wait_for_the_slot(&self, peer: IpAddr, name: u64) -> Result<(), Held> {
        let sources: Vec<Source> = counted(peer, &self.never_ban).collect();
        let next = self.guesses().next(&sources, name, Instant::now());
        match next {
            Next::Now => Ok(()),
            Next::After(wait) => {
                sleep(wait).await;
                Ok(())
            }
            Next::TooMany(later) => Err(Held::TooMany(later)),
            Next::Banned(_, until) => Err(Held::Banned(until.saturating_duration_since(Instant::now()))),
        }
    }

    fn not_banned(&self, peer: IpAddr) -> Result<(), Held> {
        match self.ban_of(peer) {
            Some((_, until)) => Err(Held::Banned(until.saturating_duration_since(Instant::now()))),
            None => Ok(()),
        }
    }

    fn ban_of(&self, peer: IpAddr) -> Option<(Source, Instant)> {
        let sources: Vec<Source> = counted(peer, &self.never_ban).collect();
        self.guesses().ban_of(&sources, Instant::now())
    }

    async fn wrong(&self, peer: IpAddr, name: u64) {
        let sources: Vec<Source> = counted(peer, &self.never_ban).collect();
        let (now, ban_for) = (Instant::now(), self.guesses().ban_for());
        let banned = self.guesses().wrong(&sources, name, now);
        for source in banned {
            warn!(%source, minutes = ban_for.as_secs() / 60, "banned: too many wrong passwords came from there");
            let since = self.clock.0.now();
            let ban = Ban { source: source.to_string(), node: self.node.clone(), since, until: since + ban_for };
            match self.store.note_ban(&ban).await {
                Ok(()) => self.bans().push((source, now + ban_for)),
                Err(error) => warn!(%source, "the ban stands, but `oxpost status` cannot show it: {error}"),
            }
        }
    }

    /// Looks after the bans until `stop`: who was unbanned by a command is let in, and the end of a ban is said.
    pub async fn look_after_bans(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            self.look_once().await;
        }
    }

    async fn look_once(&self) {
        let now = Instant::now();
        let bans = std::mem::take(&mut *self.bans());
        for (source, until) in bans {
            if until <= now {
                info!(%source, "the ban is over");
                continue;
            }
            match self.store.ban_stands(&source.to_string(), &self.node).await {
                Ok(false) => {
                    info!(%source, "the ban was lifted");
                    self.guesses().lift(source);
                }
                Ok(true) | Err(_) => self.bans().push((source, until)),
            }
        }
    }

    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bans(&self) -> MutexGuard<'_, Vec<(Source, Instant)>> {
        self.bans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check<'_> {
    /// The password was wrong: counts it, unless it is the same again, and waits until the answer may be given.
    pub async fn was_wrong(self) {
        let Self { guard, peer, name, standing, began, turn } = self;
        if standing != Standing::WrongAgain {
            guard.wrong(peer, name).await;
        }
        drop(turn);
        sleep_until(began + ANSWER_AFTER).await;
    }
}

/// The part of a login name that says whose password it is: `owner\shared` and `owner/shared` are the account of `shared`,
/// whoever the owner is.
fn name_of(user: &str) -> String {
    user.rsplit(['\\', '/']).next().unwrap_or(user).trim().to_lowercase()
}

#[cfg(test)]
mod tests;
