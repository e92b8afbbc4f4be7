//! The task that looks, claims, and has people told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oxpost_token_store::database::DatabaseError;
use oxpost_token_store::store::notices::Notice;
use oxpost_token_store::{Applications, SharedClock, Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::decide::{Step, decide, told};
use super::deliver::Channels;
use super::message::{Kind, Message};
use super::start::Own;
use super::trouble::{Event, Facts, Finding, Topic, Trouble, find};
use crate::config::Notify;
use crate::tls;

/// How often the store is looked at. It costs a query; nobody misses a second.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Messages on their way at once. What is more is claimed when there is room: so many, each at its slowest, are told within
/// a claim.
const ON_THE_WAY: usize = 8;

/// How long the store may fail before people are told: a database that is restarted is none of their business.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// What watches over the accounts.
pub struct Watch {
    store: Store,
    applications: Applications,
    channels: Arc<Channels>,
    clock: SharedClock,
    settings: Settings,
    own: Own,
    failing_since: Option<SystemTime>,
}

/// What of the configuration it goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    reminder: Option<Duration>,
    warn_before: Duration,
    host: String,
}

impl Settings {
    /// Those of the configuration.
    pub fn of(notify: &Notify, host: &str) -> Self {
        Self { reminder: notify.reminder, warn_before: notify.warn_before, host: host.to_owned() }
    }
}

/// Something that was claimed, to be told.
type Claimed = (Notice, Kind);

impl Watch {
    /// Watches over a store. `own` is what is remembered beside it, about the store itself.
    pub fn new(
        store: Store,
        applications: Applications,
        channels: Arc<Channels>,
        clock: SharedClock,
        settings: Settings,
        own: Own,
    ) -> Self {
        Self { store, applications, channels, clock, settings, own, failing_since: None }
    }

    /// Looks from time to time until it is told to stop. What is on its way then is told again after the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        let (queue, jobs) = mpsc::channel(ON_THE_WAY);
        let (reports, mut reported) = mpsc::channel(ON_THE_WAY);
        let host = self.settings.host.clone();
        let telling = tokio::spawn(tell(Arc::clone(&self.channels), Arc::clone(&self.clock), host, jobs, reports));
        let mut room = ON_THE_WAY;
        while !stop.is_cancelled() {
            for claimed in self.look(room).await {
                room = room.saturating_sub(1);
                if queue.send(claimed).await.is_err() {
                    break;
                }
            }
            let next = tokio::time::sleep(LOOK_EVERY);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = &mut next => break,
                    Some((claimed, arrived)) = reported.recv() => {
                        room += 1;
                        self.told(claimed, arrived).await;
                    }
                }
            }
        }
        telling.abort();
    }

    /// What is wrong now, and what of it is ours to tell; at most `room` of it.
    pub async fn look(&mut self, room: usize) -> Vec<Claimed> {
        let now = self.clock.now();
        let mut claimed = Vec::new();
        let failed = self.look_at_accounts(now, room, &mut claimed).await.err();
        let findings = self.of_the_store(failed.as_ref(), now);
        for step in decide(&findings, self.own.notices(), now, self.settings.reminder, new_id) {
            if step.tell.is_some() && claimed.len() >= room {
                break;
            }
            self.own.set(&step.new);
            claimed.extend(step.tell.map(|kind| (step.new, kind)));
        }
        for (notice, kind) in &claimed {
            say(notice, *kind);
        }
        claimed
    }

    async fn look_at_accounts(
        &self,
        now: SystemTime,
        room: usize,
        claimed: &mut Vec<Claimed>,
    ) -> Result<(), StoreError> {
        let accounts = self.store.token_states().await?;
        let unreadable = self.store.unreadable_accounts().await?;
        // Somebody may have told the end of a client secret just now.
        let applications = self.applications.with_secret_ends(&self.store.secret_ends().await?);
        let facts = Facts { accounts: &accounts, unreadable: &unreadable, applications: &applications };
        let findings = find(&facts, now, self.settings.warn_before);
        let notices = self.store.notices().await?;
        for step in decide(&findings, &notices, now, self.settings.reminder, new_id) {
            if step.tell.is_some() && claimed.len() >= room {
                continue;
            }
            if self.claim(&step).await? {
                claimed.extend(step.tell.map(|kind| (step.new, kind)));
            }
        }
        Ok(())
    }

    async fn claim(&self, step: &Step) -> Result<bool, StoreError> {
        match &step.old {
            Some(old) => self.store.change_notice(old, &step.new).await,
            None => self.store.add_notice(&step.new).await,
        }
    }

    fn of_the_store(&mut self, failed: Option<&StoreError>, now: SystemTime) -> Vec<Finding> {
        let Some(error) = failed else {
            self.failing_since = None;
            return Vec::new();
        };
        let since = *self.failing_since.get_or_insert(now);
        debug!(%error, "the store cannot be read to see who must act");
        if now.duration_since(since).unwrap_or_default() < STORE_PATIENCE {
            return vec![Finding::Unsure(String::new(), Topic::Store)];
        }
        vec![Finding::Trouble(store_trouble(&error.to_string(), cause(error), since))]
    }

    /// Everybody was told, or not everybody: then the claim runs out, and it is told again.
    async fn told(&mut self, (notice, kind): Claimed, arrived: bool) {
        if !arrived {
            return;
        }
        let now = self.clock.now();
        let kept = match (notice.subject.is_empty(), kind) {
            (true, Kind::Solved) => {
                self.own.remove(&notice);
                Ok(true)
            }
            (true, _) => {
                // Another trouble may have taken its place while it was told.
                if self.own.notices().contains(&notice) {
                    self.own.set(&told(&notice, now, self.settings.reminder));
                }
                Ok(true)
            }
            (false, Kind::Solved) => self.store.remove_notice(&notice).await,
            (false, _) => self.store.change_notice(&notice, &told(&notice, now, self.settings.reminder)).await,
        };
        if let Err(error) = kept {
            warn!(%error, "it could not be noted that people were told; they will be told again");
        }
    }
}

/// The store as a whole, or its key, cannot be used. `what` has the remedy in it.
pub(super) fn store_trouble(what: &str, cause: &str, since: SystemTime) -> Trouble {
    let (event, topic, remedy) = (Event::Store, Topic::Store, String::new());
    Trouble { subject: String::new(), topic, event, cause: cause.to_owned(), what: capital(what), remedy, since }
}

/// What is wrong with a store, in a word. A database that is away says so in ever other words, which is no news.
pub(super) fn cause(error: &StoreError) -> &'static str {
    match error {
        StoreError::WrongKey => "wrong key",
        StoreError::Vault(_) => "key",
        StoreError::Database(DatabaseError::TooOpen { .. }) => "too open",
        StoreError::Database(DatabaseError::Garbled { .. }) => "garbled",
        StoreError::Database(DatabaseError::Newer { .. }) => "newer",
        StoreError::Database(DatabaseError::Refused { .. }) => "refused",
        StoreError::Database(_) => "away",
        _ => "other",
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The log is told first, and always.
pub(super) fn say(notice: &Notice, kind: Kind) {
    let Notice { id, subject, event, what, remedy, .. } = notice;
    let subject = if subject.is_empty() { "Oxpost" } else { subject };
    match kind {
        Kind::Solved => info!(%subject, event, notice = id, "solved. It was: {what}"),
        Kind::Reminder => warn!(%subject, event, notice = id, "a person must still act: {what} {remedy}"),
        _ => warn!(%subject, event, notice = id, "a person must act: {what} {remedy}"),
    }
}

/// Tells one after the other. It is a task of its own, so that looking never waits for a webhook.
async fn tell(
    channels: Arc<Channels>,
    clock: SharedClock,
    host: String,
    mut jobs: mpsc::Receiver<Claimed>,
    reports: mpsc::Sender<(Claimed, bool)>,
) {
    while let Some((notice, kind)) = jobs.recv().await {
        let message = Message::of(&notice, kind, clock.now(), &host);
        let mut arrived = true;
        for (channel, outcome) in channels.deliver(&message).await {
            if let Err(undelivered) = outcome {
                arrived = false;
                error!(
                    channel,
                    notice = notice.id,
                    "nobody was told: {undelivered}; it is tried again within the hour"
                );
            }
        }
        if reports.send(((notice, kind), arrived)).await.is_err() {
            return;
        }
    }
}

/// A random name.
pub(super) fn new_id() -> String {
    let mut bytes = [0; 8];
    // Without random numbers nobody could speak TLS either; a name that is always the same is still a name.
    let _ = tls::provider().secure_random.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
