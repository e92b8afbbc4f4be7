//! Blocks as administrators see them: in the log, in `oxpost status`, and lifted by `oxpost block lift`; and as other nodes see them, which have
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
use tracing::{debug, info, warn};

use super::locked;

/// How often the store is read for lifted blocks and those of other nodes, and expired blocks are removed.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// What is to be done about a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Its block was lifted.
    Lift(Source),
    /// Another node has blocked it, at this address, until then. It is said again as long as that is so.
    Block(IpAddr, Instant),
}

/// Whether the store has a block of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// It is being written.
    NotYet,
    /// It was written. If it is gone from there, it was lifted.
    Written,
    /// It could not be written, and is written again.
    Failed,
}

/// A block that this node has made.
#[derive(Debug, Clone, Copy)]
struct OwnBlock {
    until: Instant,
    /// The same in wall-clock time, as in the store.
    since: SystemTime,
    ends: SystemTime,
    stored: Stored,
}

/// A block that another node has made.
#[derive(Debug, Clone, Copy)]
struct RemoteBlock {
    address: IpAddr,
    /// When it ends here: found out once, so that a clock that is set makes it neither shorter nor longer.
    until: Instant,
    since: SystemTime,
    ends: SystemTime,
}

/// The blocks of this node, which the store has as well, and those of others, by source and node.
pub(super) struct Blocks {
    running: Arc<Mutex<HashMap<Source, OwnBlock>>>,
    of_others: Mutex<HashMap<(Source, String), RemoteBlock>>,
    store: Store,
    clock: SharedClock,
    node: String,
}

impl Blocks {
    pub(super) fn new(store: Store, clock: SharedClock, node: String) -> Self {
        Self { running: Arc::default(), of_others: Mutex::default(), store, clock, node }
    }

    /// A source is blocked from now on. It is written in the background, so that a client that disconnects cannot prevent it.
    pub(super) fn note(&self, source: Source, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        warn!(%source, minutes = left.as_secs() / 60, "source blocked: too many different wrong logins");
        let since = self.clock.now();
        let runtime = tokio::runtime::Handle::try_current().ok();
        let stored = if runtime.is_some() { Stored::NotYet } else { Stored::Failed };
        let own = OwnBlock { until, since, ends: since + left, stored };
        locked(&self.running).insert(source, own);
        let Some(runtime) = runtime else { return };
        let (block, store, running) = (self.as_stored(source, &own), self.store.clone(), Arc::clone(&self.running));
        runtime.spawn(async move {
            let written = store.note_block(&block).await;
            if let Err(error) = &written {
                warn!(%source, "the block is active, but `oxpost status` and other nodes cannot see it yet: {error}");
            }
            set_stored(&running, source, &own, if written.is_ok() { Stored::Written } else { Stored::Failed });
        });
    }

    fn as_stored(&self, source: Source, own: &OwnBlock) -> Block {
        Block { source: source.to_string(), node: self.node.clone(), since: own.since, until: own.ends }
    }

    /// Looks after them until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken, change: impl Fn(Change)) {
        while stop.run_until_cancelled(sleep(CHECK_INTERVAL)).await.is_some() {
            self.check_once(&change).await;
        }
    }

    async fn check_once(&self, change: &impl Fn(Change)) {
        let now = Instant::now();
        // Before the store is read: what is written meanwhile is not there yet.
        let before = {
            let mut running = locked(&self.running);
            running.retain(|source, own| {
                let goes_on = own.until > now;
                if !goes_on {
                    info!(%source, "block expired");
                }
                goes_on
            });
            running.clone()
        };
        // Whatever the clock says: a block that it has left behind was not lifted.
        let Ok(stored) = self.store.in_background().all_blocks().await else { return };
        let (own, of_others): (Vec<_>, Vec<_>) = stored.into_iter().partition(|block| block.node == self.node);
        let shown: HashSet<_> = own.iter().filter_map(|block| address(&block.source).map(Source::of)).collect();
        for (source, own) in &before {
            if own.stored == Stored::Written && !shown.contains(source) && self.remove(*source, own) {
                info!(%source, "block lifted");
                change(Change::Lift(*source));
            }
        }
        self.follow(&of_others, change);
        self.write_again(&before).await;
        self.forget_ended(own).await;
    }

    /// Removes a block of its own, unless its source was blocked again.
    fn remove(&self, source: Source, own: &OwnBlock) -> bool {
        let mut running = locked(&self.running);
        let is_this = running.get(&source).is_some_and(|running| running.ends == own.ends);
        is_this && running.remove(&source).is_some()
    }

    /// Writes what could not be written before.
    async fn write_again(&self, running: &HashMap<Source, OwnBlock>) {
        for (source, own) in running.iter().filter(|(_, own)| own.stored == Stored::Failed) {
            // What does not go now does not go for the others either; they are written at the next look.
            if self.store.note_block(&self.as_stored(*source, own)).await.is_err() {
                return;
            }
            set_stored(&self.running, *source, own, Stored::Written);
        }
    }

    /// Removes its own blocks that are over from the store.
    async fn forget_ended(&self, mut own: Vec<Block>) {
        let time = self.clock.now();
        {
            let running = locked(&self.running);
            let is_running =
                |block: &Block| address(&block.source).is_some_and(|it| running.contains_key(&Source::of(it)));
            own.retain(|block| block.until <= time && !is_running(block));
        }
        if let Err(error) = self.store.forget_ended_blocks(&own).await {
            debug!("cannot remove expired blocks from the store: {error}");
        }
    }

    /// Blocks what other nodes have blocked, for as long; a source that several have blocked until the last of them ends.
    fn follow(&self, stored: &[Block], change: &impl Fn(Change)) {
        let (now, time) = (Instant::now(), self.clock.now());
        let mut known = locked(&self.of_others);
        let before = std::mem::take(&mut *known);
        let known_sources: HashSet<_> = before.keys().map(|(source, _)| *source).collect();
        let mut there = HashMap::new();
        for block in stored {
            let Some(address) = address(&block.source) else { continue };
            let key = (Source::of(address), block.node.clone());
            let same =
                before.get(&key).filter(|known| (known.since, known.ends) == (block.since, block.until)).copied();
            let followed = same.unwrap_or_else(|| {
                // A clock that is wrong makes no block longer than it was.
                let whole = block.until.duration_since(block.since).unwrap_or_default();
                let left = block.until.duration_since(time).unwrap_or_default().min(whole);
                RemoteBlock { address, until: now + left, since: block.since, ends: block.until }
            });
            let until = there.entry(key.0).or_insert(followed.until);
            *until = followed.until.max(*until);
            known.insert(key, followed);
        }
        let lifted: HashSet<_> = before
            .iter()
            .filter(|((source, _), known)| known.until > now && !there.contains_key(source))
            .map(|((source, _), _)| *source)
            .filter(|source| !locked(&self.running).contains_key(source))
            .collect();
        for source in lifted {
            info!(%source, "block lifted");
            change(Change::Lift(source));
        }
        // On every look: there may have been no room for it, or a shorter one of this node's own.
        for ((source, _), followed) in known.iter().filter(|(_, followed)| followed.until > now) {
            if !known_sources.contains(source) && there.get(source) == Some(&followed.until) {
                info!(%source, minutes = (followed.until - now).as_secs() / 60, "source blocked by another node");
            }
            change(Change::Block(followed.address, followed.until));
        }
    }
}

/// What has become of the writing of a block, if it is still the one of its source.
fn set_stored(running: &Mutex<HashMap<Source, OwnBlock>>, source: Source, own: &OwnBlock, stored: Stored) {
    if let Some(running) = locked(running).get_mut(&source).filter(|running| running.ends == own.ends) {
        running.stored = stored;
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
