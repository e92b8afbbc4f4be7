//! Familiar sources: where successful logins to an account came from within the last 30 days. The published pattern is smart
//! lockout with familiar locations (<https://learn.microsoft.com/entra/identity/authentication/howto-password-smart-lockout>).
//!
//! The store keeps them across restarts and for other nodes. What was read is kept in memory too, so that repeated logins
//! neither read nor write.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    account::Mailbox,
    clock::SharedClock,
    source::Source,
    store::{SOURCES_PER_ACCOUNT, Seen, Store},
};

/// How long a source stays familiar after the last login that succeeded.
pub(super) const FAMILIAR_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often it is written that a source is still in use: a write costs a flush to the disk.
const WRITTEN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How long an account that has no such source is believed to have none: another node may have seen one meanwhile.
const BELIEVED_FOR: Duration = Duration::from_secs(5);

/// Accounts and sources that are kept in memory at most.
const KEPT: usize = 262_144;

pub(super) struct FamiliarSources {
    store: Store,
    clock: SharedClock,
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    seen: HashMap<(Mailbox, Source), SystemTime>,
    /// When a source was last familiar to any account.
    sources: HashMap<Source, SystemTime>,
    /// Sources that could not be written; the next login tries again.
    unwritten: HashSet<(Mailbox, Source)>,
    /// When the sources of an account were last read.
    read: HashMap<Mailbox, Instant>,
}

impl FamiliarSources {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock, state: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Reads them all.
    pub(super) async fn load(&self) -> Result<(), crate::store::StoreError> {
        let all = self.store.all_familiar_sources().await?;
        let mut state = self.state();
        for (mailbox, seen) in all {
            state.note(&mailbox, seen);
        }
        Ok(())
    }

    /// Whether a login from there has succeeded, to whatever account. As far as is known here.
    pub(super) fn is_familiar_to_any(&self, source: Source) -> bool {
        let now = self.clock.now();
        self.state().sources.get(&source).is_some_and(|&at| is_recent(at, now, FAMILIAR_FOR))
    }

    /// Whether a login to this account has succeeded from there. If the store cannot be read, memory alone decides.
    pub(super) async fn is_familiar(&self, mailbox: &Mailbox, source: Source) -> bool {
        if self.is_in_memory(mailbox, source) {
            return true;
        }
        let now = Instant::now();
        {
            let mut state = self.state();
            let recent = |read: &Instant| now.saturating_duration_since(*read) < BELIEVED_FOR;
            if state.read.get(mailbox).is_some_and(recent) {
                return false;
            }
            if state.read.len() >= KEPT {
                state.read.retain(|_, read| recent(read));
            }
            state.read.insert(mailbox.clone(), now);
        }
        if let Ok(seen) = self.store.familiar_sources(mailbox).await {
            let mut state = self.state();
            for seen in seen.into_iter().take(SOURCES_PER_ACCOUNT) {
                state.note(mailbox, seen);
            }
        }
        self.is_in_memory(mailbox, source)
    }

    /// Stores in the background that a login has succeeded.
    pub(super) fn note(&self, mailbox: &Mailbox, source: Source) {
        let now = self.clock.now();
        let key = (mailbox.clone(), source);
        {
            let mut state = self.state();
            let flush = state.seen.get(&key).is_some_and(|&at| is_recent(at, now, WRITTEN_EVERY));
            if !state.unwritten.remove(&key) && flush {
                return;
            }
            state.note(mailbox, Seen { source, at: now });
        }
        let (store, state) = (self.store.clone(), Arc::clone(&self.state));
        self.tasks.spawn(async move {
            if let Err(error) = store.note_familiar_source(&key.0, source, now, FAMILIAR_FOR).await {
                tracing::warn!(account = %key.0, "cannot store where a login succeeded from: {error}");
                locked(&state).unwritten.insert(key);
            }
        });
    }

    /// Until everything is written.
    pub(super) async fn flush(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn is_in_memory(&self, mailbox: &Mailbox, source: Source) -> bool {
        let now = self.clock.now();
        self.state().seen.get(&(mailbox.clone(), source)).is_some_and(|&at| is_recent(at, now, FAMILIAR_FOR))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn note(&mut self, mailbox: &Mailbox, seen: Seen) {
        if self.seen.len() >= KEPT {
            // Only what is in memory; the store has them still.
            self.seen.clear();
            self.unwritten.clear();
            self.sources.clear();
        }
        let latest = |there: &mut SystemTime| *there = seen.at.max(*there);
        self.seen.entry((mailbox.clone(), seen.source)).and_modify(latest).or_insert(seen.at);
        self.sources.entry(seen.source).and_modify(latest).or_insert(seen.at);
    }
}

/// A time in the future was noted before the clock was set back, and counts as now.
fn is_recent(at: SystemTime, now: SystemTime, within: Duration) -> bool {
    now.duration_since(at).unwrap_or_default() < within
}
