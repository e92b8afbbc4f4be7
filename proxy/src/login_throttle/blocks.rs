//! Blocks as people see them: in the log, in `oxpost status`, and lifted by `oxpost block lift`; and as other nodes see them, which have
//! them too.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use oxpost_token_store::store::Block;
use oxpost_token_store::{SharedClock, Source, Store};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::locked;

/// How often it is looked whether a block was lifted by a command, whether one is over, and what other nodes have blocked.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is to be done about a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Its block was lifted.
    Lift(Source),
    /// Another node has blocked it, at this address, until then.
    Block(IpAddr, Instant),
}

/// The blocks of this node, which the store has as well, and those of others.
pub(super) struct Blocks {
    running: Arc<Mutex<Vec<(Source, Instant)>>>,
    /// Until when, here and as the store has it.
    of_others: Mutex<HashMap<Source, (Instant, SystemTime)>>,
    store: Store,
    clock: SharedClock,
    node: String,
}

impl Blocks {
    pub(super) fn new(store: Store, clock: SharedClock, node: String) -> Self {
        Self { running: Arc::default(), of_others: Mutex::default(), store, clock, node }
    }

    /// A source is blocked from now on. It is written beside what goes on: no client that leaves keeps it from being shown.
    pub(super) fn note(&self, source: Source, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        warn!(%source, minutes = left.as_secs() / 60, "blocked: too many different wrong logins came from there");
        let since = self.clock.now();
        let block = Block { source: source.to_string(), node: self.node.clone(), since, until: since + left };
        let (store, running) = (self.store.clone(), Arc::clone(&self.running));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match store.note_block(&block).await {
                Ok(()) => locked(&running).push((source, until)),
                Err(error) => warn!(%source, "the block is in force, but `oxpost status` cannot show it: {error}"),
            }
        });
    }

    /// Looks after them until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken, change: impl Fn(Change)) {
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            self.look_once(&change).await;
        }
    }

    async fn look_once(&self, change: &impl Fn(Change)) {
        // Before the store is read: what is noted meanwhile is not there yet.
        let running = std::mem::take(&mut *locked(&self.running));
        let now = Instant::now();
        let (over, running): (Vec<_>, Vec<_>) = running.into_iter().partition(|(_, until)| *until <= now);
        for (source, _) in over {
            info!(%source, "the block is over");
        }
        // Those that are over by the wall clock, too: one that was set forward lifts no block.
        let Ok(stored) = self.store.in_background().blocks(SystemTime::UNIX_EPOCH).await else {
            return locked(&self.running).extend(running);
        };
        let own: HashSet<&str> =
            stored.iter().filter(|block| block.node == self.node).map(|block| block.source.as_str()).collect();
        for (source, until) in running {
            if own.contains(source.to_string().as_str()) {
                locked(&self.running).push((source, until));
            } else {
                info!(%source, "the block was lifted");
                change(Change::Lift(source));
            }
        }
        self.follow(&stored, change);
    }

    /// Blocks what other nodes have blocked, for as long as the one that blocks it for longest.
    fn follow(&self, stored: &[Block], change: &impl Fn(Change)) {
        let (now, time) = (Instant::now(), self.clock.now());
        let mut there = HashMap::new();
        for block in stored.iter().filter(|block| block.node != self.node && block.until > time) {
            let Some(address) = address(&block.source) else { continue };
            // A clock that is wrong makes no block longer than it was.
            let whole = block.until.duration_since(block.since).unwrap_or_default();
            let left = block.until.duration_since(time).unwrap_or_default().min(whole);
            let longest = there.entry(Source::of(address)).or_insert((address, now, block.until));
            (longest.1, longest.2) = (longest.1.max(now + left), longest.2.max(block.until));
        }
        let mut known = locked(&self.of_others);
        known.retain(|source, (until, _)| {
            let stays = there.contains_key(source);
            if !stays && *until > now && !locked(&self.running).iter().any(|(own, _)| own == source) {
                info!(%source, "the block was lifted");
                change(Change::Lift(*source));
            }
            stays
        });
        for (source, (address, until, stored)) in there {
            let minutes = until.saturating_duration_since(now).as_secs() / 60;
            match known.get(&source) {
                None => info!(%source, minutes, "blocked: another node has blocked it"),
                Some((_, before)) if *before < stored => info!(%source, minutes, "blocked for longer by another node"),
                Some(_) => continue,
            }
            known.insert(source, (until, stored));
            change(Change::Block(address, until));
        }
    }
}

/// The address of a source as it is shown: itself, or the first of its network.
fn address(source: &str) -> Option<IpAddr> {
    source.split('/').next()?.parse().ok()
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("running", &self.running).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
