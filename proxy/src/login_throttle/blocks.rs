//! Blocks as people see them: in the log, in `oxpost status`, and lifted by `oxpost block lift`.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxpost_token_store::store::Block;
use oxpost_token_store::{SharedClock, Source, Store};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::locked;

/// How often it is looked whether a block was lifted by a command, and whether one is over.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The blocks of this node, which the store has as well.
pub(super) struct Blocks {
    running: Arc<Mutex<Vec<(Source, Instant)>>>,
    store: Store,
    clock: SharedClock,
    node: String,
}

impl Blocks {
    pub(super) fn new(store: Store, clock: SharedClock, node: String) -> Self {
        Self { running: Arc::default(), store, clock, node }
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
    pub(super) async fn watch(&self, stop: CancellationToken, lift: impl Fn(Source)) {
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            self.look_once(&lift).await;
        }
    }

    async fn look_once(&self, lift: &impl Fn(Source)) {
        let now = Instant::now();
        let running = std::mem::take(&mut *locked(&self.running));
        for (source, until) in running {
            if until <= now {
                info!(%source, "the block is over");
                continue;
            }
            match self.store.has_block(&source.to_string(), &self.node).await {
                Ok(false) => {
                    info!(%source, "the block was lifted");
                    lift(source);
                }
                Ok(true) | Err(_) => locked(&self.running).push((source, until)),
            }
        }
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("running", &self.running).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
