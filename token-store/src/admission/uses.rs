//! When passwords were last used, noted beside the login and not on its way: somebody else who holds the store's write lock, or
//! a slow disk, must not keep anybody from their mail.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio_util::task::TaskTracker;

use crate::{
    account::Mailbox,
    clock::SharedClock,
    store::{Store, StoreError},
};

/// How often a use is written at most: a write costs a flush to the disk.
const EVERY: Duration = Duration::from_secs(60);

/// A password that was used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Used {
    /// One of ours, by its name.
    Local(Mailbox, String),
    /// The one that Microsoft judges.
    Judged(Mailbox),
}

#[derive(Clone)]
pub(super) struct Uses {
    store: Store,
    clock: SharedClock,
    /// What is being written: one write at a time for each password, so that a store that hangs costs no more than these.
    writing: Arc<Mutex<HashSet<Used>>>,
    tasks: TaskTracker,
}

impl Uses {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock, writing: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Notes the use of a password that was last used then, unless that was a short while ago.
    pub(super) fn note(&self, used: Used, last: Option<SystemTime>) {
        let now = self.clock.now();
        let recent = |last: SystemTime| now.duration_since(last).is_ok_and(|passed| passed < EVERY);
        if last.is_some_and(recent) || !self.writing().insert(used.clone()) {
            return;
        }
        let uses = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = uses.write(&used, now).await {
                tracing::warn!(mailbox = %used.mailbox(), "the use of a password could not be noted: {error}");
            }
            uses.writing().remove(&used);
        });
    }

    async fn write(&self, used: &Used, now: SystemTime) -> Result<(), StoreError> {
        match used {
            Used::Local(mailbox, name) => self.store.password_used(mailbox, name, now).await,
            Used::Judged(mailbox) => self.store.judged_login(mailbox, now).await,
        }
    }

    fn writing(&self) -> MutexGuard<'_, HashSet<Used>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until everything is written.
    pub(super) async fn written(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Used {
    fn mailbox(&self) -> &Mailbox {
        match self {
            Self::Local(mailbox, _) | Self::Judged(mailbox) => mailbox,
        }
    }
}
