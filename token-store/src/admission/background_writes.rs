//! What logins store in the background: when passwords were last used, and what mail servers answered. A locked store or a slow
//! disk must not delay a login.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio_util::task::TaskTracker;

use crate::{
    account::Mailbox,
    clock::SharedClock,
    store::{Store, StoreError, UpstreamRefusal},
};

/// How often a use is written at most: a write costs a flush to the disk.
const EVERY: Duration = Duration::from_secs(60);

/// A password that was used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Used {
    /// A local password, by its name.
    Local(Mailbox, String),
    /// The password that Microsoft verifies.
    Remote(Mailbox),
}

/// The mailbox and the protocol of a mail server's answer.
type Answer = (Mailbox, String);

#[derive(Clone)]
pub(super) struct BackgroundWrites {
    store: Store,
    clock: SharedClock,
    /// Uses being written: at most one write for each password, so that a store that hangs holds no more than these.
    writing: Arc<Mutex<HashSet<Used>>>,
    /// Answers being written, each with the answer that has come since.
    answers: Arc<Mutex<HashMap<Answer, Option<Option<UpstreamRefusal>>>>>,
    tasks: TaskTracker,
}

impl BackgroundWrites {
    pub(super) fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock, writing: Arc::default(), answers: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Notes the use of a password that was last used then, unless that was a short while ago.
    pub(super) fn note(&self, used: Used, last: Option<SystemTime>) {
        let now = self.clock.now();
        let recent = |last: SystemTime| now.duration_since(last).is_ok_and(|passed| passed < EVERY);
        if last.is_some_and(recent) || !self.writing().insert(used.clone()) {
            return;
        }
        let background_writes = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = background_writes.write(&used, now).await {
                tracing::warn!(mailbox = %used.mailbox(), "the last use of a password could not be stored: {error}");
            }
            background_writes.writing().remove(&used);
        });
    }

    /// Stores that a mail server refused a login for a reason that an administrator must fix, or (`None`) that it accepted one.
    pub(super) fn note_upstream_result(&self, mailbox: Mailbox, protocol: String, refused: Option<UpstreamRefusal>) {
        let answer = (mailbox, protocol);
        let mut answers = held(&self.answers);
        if let Some(newer) = answers.get_mut(&answer) {
            *newer = Some(refused);
            return;
        }
        answers.insert(answer.clone(), None);
        drop(answers);
        let background_writes = self.clone();
        self.tasks.spawn(async move { background_writes.write_answers(answer, refused).await });
    }

    /// Notes that a mail server has accepted a login with the token of an account's delegate.
    pub(super) fn note_delegate_login_succeeded(&self, mailbox: Mailbox, delegate: Mailbox) {
        let store = self.store.clone();
        self.tasks.spawn(async move {
            if let Err(error) = store.delegate_login_succeeded(&mailbox, &delegate).await {
                tracing::warn!(%mailbox, "the sign-in that the account had before its delegate could not be removed: {error}");
            }
        });
    }

    /// Writes an answer, and then the last one that came meanwhile.
    async fn write_answers(&self, answer: Answer, mut refused: Option<UpstreamRefusal>) {
        let (mailbox, protocol) = &answer;
        loop {
            let flush = match &refused {
                Some(refused) => self.store.note_upstream_refusal(mailbox, refused).await,
                None => self.store.forget_upstream_refusal(mailbox, protocol).await,
            };
            if let Err(error) = flush {
                tracing::warn!(%mailbox, "the mail server's answer could not be stored: {error}");
            }
            let mut answers = held(&self.answers);
            match answers.get_mut(&answer).and_then(Option::take) {
                Some(newer) => refused = newer,
                None => {
                    answers.remove(&answer);
                    return;
                }
            }
        }
    }

    async fn write(&self, used: &Used, now: SystemTime) -> Result<(), StoreError> {
        match used {
            Used::Local(mailbox, name) => self.store.password_used(mailbox, name, now).await,
            Used::Remote(mailbox) => self.store.note_remote_login(mailbox, now).await,
        }
    }

    fn writing(&self) -> MutexGuard<'_, HashSet<Used>> {
        held(&self.writing)
    }

    /// Until everything is written.
    pub(super) async fn flush(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Used {
    fn mailbox(&self) -> &Mailbox {
        match self {
            Self::Local(mailbox, _) | Self::Remote(mailbox) => mailbox,
        }
    }
}
