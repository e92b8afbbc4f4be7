//! The task that looks, claims, and has people delivered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oxpost_token_store::database::DatabaseError;
use oxpost_token_store::store::alerts::Alert;
use oxpost_token_store::{Applications, SharedClock, Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::conditions::{Condition, Event, Finding, Observed, Topic, find, unused_since};
use super::decide::{Step, decide, delivered};
use super::deliver::Channels;
use super::digest::{Batch, batches, words};
use super::message::{Kind, Message};
use super::start::Own;
use crate::config::Notify;
use crate::net::tls;

/// The interval of the passes. Each costs a query for what is wrong; a second more is not noticed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// After so many looks, which are ten minutes, all accounts are read, to find rows that are damaged.
const LOOKS_BETWEEN_FULL_ONES: u32 = 120;

/// Messages that are being delivered. What is more is claimed when there is room: so many, each at its slowest, are delivered within
/// a claim.
const ON_THE_WAY: usize = 8;

/// How long the store may fail before an alert is raised: a database that is restarted is no reason for one.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// So long after the beginning, or after the clock was set, what is due may not have been tried yet: ten thousand refreshes take as long.
const SETTLING: Duration = Duration::from_secs(600);

/// A clock that has gone by so much more or less than time has was set.
const CLOCK_SET: Duration = Duration::from_secs(5 * 60);

/// What watches over the accounts.
pub(crate) struct Notifier {
    store: Store,
    applications: Applications,
    channels: Arc<Channels>,
    clock: SharedClock,
    settings: Settings,
    own: Own,
    /// Since when the store fails, by the clock, and by a monotonic one.
    failing_since: Option<(SystemTime, Duration)>,
    /// The last look, by both clocks.
    last_look: Option<(SystemTime, Duration)>,
    /// Until when what is due may not have been tried, by the monotonic clock.
    settling_until: Duration,
    /// The accounts whose rows were found to be damaged when all were last read, and how many looks ago that was.
    unreadable: Vec<String>,
    looks: u32,
}

/// What of the configuration it goes by.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    reminder: Option<Duration>,
    warn_before: Duration,
    host: String,
}

impl Settings {
    /// Those of the configuration.
    pub(crate) fn of(notify: &Notify, host: &str) -> Self {
        Self { reminder: notify.reminder, warn_before: notify.warn_before, host: host.to_owned() }
    }
}

/// What was claimed, to be delivered in one message.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    /// The name of the message: of a digest its own, otherwise the notice's.
    id: String,
    kind: Kind,
    notices: Vec<Alert>,
}

impl Claimed {
    fn new(kind: Kind, notices: Vec<Alert>) -> Self {
        let id = match notices.as_slice() {
            [one] => one.id.clone(),
            _ => new_id(),
        };
        Self { id, kind, notices }
    }

    fn message(&self, now: SystemTime, host: &str) -> Message {
        match self.notices.as_slice() {
            [one] => Message::of(one, self.kind, now, host),
            several => Message::digest(several, self.kind, &self.id, now, host),
        }
    }
}

impl Notifier {
    /// Watches over a store. `own` is what is kept next to it, about the store itself.
    pub(crate) fn new(
        store: &Store,
        applications: Applications,
        channels: Arc<Channels>,
        clock: SharedClock,
        settings: Settings,
        own: Own,
    ) -> Self {
        let store = store.in_background();
        let settling_until = clock.elapsed().saturating_add(SETTLING);
        Self {
            store,
            applications,
            channels,
            clock,
            settings,
            own,
            failing_since: None,
            last_look: None,
            settling_until,
            unreadable: Vec::new(),
            looks: 0,
        }
    }

    /// Evaluates from time to time until the stop. What is being delivered then is delivered again after the next start.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
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
                        self.delivered(claimed, arrived).await;
                    }
                }
            }
        }
        telling.abort();
    }

    /// What is wrong now, and what of it is ours to tell; at most `room` of it.
    pub(crate) async fn look(&mut self, room: usize) -> Vec<Claimed> {
        let now = self.clock.now();
        self.look_at_the_clock(now);
        let mut claimed = Vec::new();
        let failed = self.look_at_accounts(now, room, &mut claimed).await.err();
        // On a full disk everything can be read.
        let failed = failed.or_else(|| self.store.unwritten());
        let findings = self.of_the_store(failed.as_ref(), now);
        for step in decide(&findings, self.own.notices(), now, self.settings.reminder, new_id) {
            if step.tell.is_some() && claimed.len() >= room {
                break;
            }
            self.own.set(&step.new);
            claimed.extend(step.tell.map(|kind| Claimed::new(kind, vec![step.new])));
        }
        for claimed in &claimed {
            match claimed.notices.as_slice() {
                [one] => say(one, claimed.kind),
                several => say_digest(several, claimed),
            }
        }
        claimed
    }

    /// Whether the clock was set since the last look: what was decided by it is decided again.
    fn look_at_the_clock(&mut self, now: SystemTime) {
        let elapsed = self.clock.elapsed();
        let was_set = self.last_look.replace((now, elapsed)).is_some_and(|(last, then)| {
            let expected = last.checked_add(elapsed.saturating_sub(then)).unwrap_or(last);
            let by = now.duration_since(expected).unwrap_or_else(|behind| behind.duration());
            by > CLOCK_SET
        });
        if was_set {
            info!("the clock was set; all alerts are evaluated again");
            self.settling_until = elapsed.saturating_add(SETTLING);
            self.looks = 0;
        }
    }

    async fn look_at_accounts(
        &mut self,
        now: SystemTime,
        room: usize,
        claimed: &mut Vec<Claimed>,
    ) -> Result<(), StoreError> {
        let accounts = self.store.token_states_needing_attention(unused_since(now, self.settings.warn_before)).await?;
        // One that is repaired is not waited for.
        let notices = self.store.alerts().await?;
        // Another node may have found one, which is not over because this one has not looked yet.
        let is_told = notices.iter().any(|notice| notice.topic == Topic::Store.as_str() && !notice.subject.is_empty());
        if self.looks == 0 || is_told || !self.unreadable.is_empty() {
            self.unreadable = self.store.unreadable_accounts().await?;
        }
        self.looks = self.looks.saturating_add(1) % LOOKS_BETWEEN_FULL_ONES;
        // The expiry of a client secret may have been entered just now.
        let applications = self.applications.with_secret_expiries(&self.store.secret_expiries().await?);
        let is_settling = self.clock.elapsed() < self.settling_until;
        let unreadable = &self.unreadable;
        let observed = Observed { accounts: &accounts, unreadable, applications: &applications, is_settling };
        let findings = find(&observed, now, self.settings.warn_before);
        let mut steps = decide(&findings, &notices, now, self.settings.reminder, new_id);
        if is_settling {
            // What may be over in a moment is neither delivered nor reminded of now.
            let is_unsure = |finding: &Finding| match finding {
                Finding::Unsure(subject, topic) => Some((subject.clone(), topic.as_str().to_owned())),
                Finding::Condition(_) => None,
            };
            let unsure: HashSet<_> = findings.iter().filter_map(is_unsure).collect();
            steps.retain(|step| !unsure.contains(&(step.new.subject.clone(), step.new.topic.clone())));
        }
        let (silent, batches) = batches(steps);
        self.claim(silent).await?;
        for Batch { kind, steps } in batches {
            if claimed.len() >= room {
                break;
            }
            let ours = self.claim(steps).await?;
            if !ours.is_empty() {
                claimed.push(Claimed::new(kind, ours));
            }
        }
        Ok(())
    }

    /// Makes these changes, and gives back the notices that were ours to change: another node may have been there first.
    async fn claim(&self, steps: Vec<Step>) -> Result<Vec<Alert>, StoreError> {
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let changes: Vec<_> = steps.iter().map(|step| (step.old.as_ref(), &step.new)).collect();
        let ours = self.store.change_alerts(&changes).await?;
        Ok(steps.into_iter().zip(ours).filter_map(|(step, ours)| ours.then_some(step.new)).collect())
    }

    fn of_the_store(&mut self, failed: Option<&StoreError>, now: SystemTime) -> Vec<Finding> {
        let Some(error) = failed else {
            self.failing_since = None;
            return Vec::new();
        };
        let elapsed = self.clock.elapsed();
        let (since, then) = *self.failing_since.get_or_insert((now, elapsed));
        debug!(%error, "cannot read the store to evaluate alerts");
        if elapsed.saturating_sub(then) < STORE_PATIENCE {
            return vec![Finding::Unsure(String::new(), Topic::Store)];
        }
        vec![Finding::Condition(store_condition(&error.to_string(), cause(error), since))]
    }

    /// Whether every channel has delivered; if not, the claim runs out, and it is sent again.
    async fn delivered(&mut self, claimed: Claimed, arrived: bool) {
        if !arrived {
            return;
        }
        let now = self.clock.now();
        let Claimed { kind, notices, .. } = claimed;
        if let [notice] = notices.as_slice()
            && notice.subject.is_empty()
        {
            if kind == Kind::Resolved {
                self.own.remove(notice);
            } else if self.own.notices().contains(notice) {
                // Otherwise another alert has replaced it during the delivery.
                self.own.set(&delivered(notice, now, self.settings.reminder));
            }
            return;
        }
        let kept = if kind == Kind::Resolved {
            self.store.remove_alerts(&notices).await
        } else {
            let new: Vec<Alert> = notices.iter().map(|notice| delivered(notice, now, self.settings.reminder)).collect();
            let changes: Vec<_> = notices.iter().map(Some).zip(&new).collect();
            self.store.change_alerts(&changes).await.map(drop)
        };
        if let Err(error) = kept {
            warn!(%error, "cannot store that an alert was delivered; it will be delivered again");
        }
    }
}

/// The store as a whole, or its key, cannot be used. `what` has the remedy in it.
pub(super) fn store_condition(what: &str, cause: &str, since: SystemTime) -> Condition {
    let (event, topic, remedy) = (Event::Store, Topic::Store, String::new());
    Condition { subject: String::new(), topic, event, cause: cause.to_owned(), what: capital(what), remedy, since }
}

/// The kind of a store error. The texts for an unreachable database vary, which must not raise new alerts.
pub(super) fn cause(error: &StoreError) -> &'static str {
    match error {
        StoreError::WrongKey => "wrong key",
        StoreError::Vault(_) => "key",
        StoreError::Database(DatabaseError::TooOpen { .. }) => "too open",
        StoreError::Database(DatabaseError::Garbled { .. } | DatabaseError::Damaged(_)) => "garbled",
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

/// Every alert is logged, before it is delivered.
pub(super) fn say(notice: &Alert, kind: Kind) {
    let Alert { id, subject, event, what, remedy, .. } = notice;
    let subject = if subject.is_empty() { "Oxpost" } else { subject };
    match kind {
        Kind::Resolved => info!(%subject, event, alert = id, "alert resolved: {what}"),
        Kind::Reminder => warn!(%subject, event, alert = id, "alert not resolved: {what} {remedy}"),
        _ => warn!(%subject, event, alert = id, "alert: {what} {remedy}"),
    }
}

/// Each of them is in `oxpost status`, and at the level debug here.
fn say_digest(notices: &[Alert], claimed: &Claimed) {
    let (what, remedy) = words(notices, claimed.kind);
    let (id, count) = (&claimed.id, notices.len());
    let event = notices.first().map_or("", |notice| notice.event.as_str());
    match claimed.kind {
        Kind::Resolved => info!(count, event, alert = id, "alerts resolved: {what}"),
        Kind::Reminder => warn!(count, event, alert = id, "alert not resolved: {what} {remedy}"),
        _ => warn!(count, event, alert = id, "alert: {what} {remedy}"),
    }
    for Alert { id, subject, what, .. } in notices {
        debug!(%subject, event, alert = id, digest = claimed.id, "{what}");
    }
}

/// Delivers one alert after the other, in a task of its own, so that evaluation never waits for a webhook.
async fn tell(
    channels: Arc<Channels>,
    clock: SharedClock,
    host: String,
    mut jobs: mpsc::Receiver<Claimed>,
    reports: mpsc::Sender<(Claimed, bool)>,
) {
    while let Some(claimed) = jobs.recv().await {
        let message = claimed.message(clock.now(), &host);
        let mut arrived = true;
        for (channel, outcome) in channels.deliver(&message).await {
            if let Err(undelivered) = outcome {
                arrived = false;
                error!(channel, alert = claimed.id, "alert not delivered: {undelivered}; trying again within the hour");
            }
        }
        if reports.send((claimed, arrived)).await.is_err() {
            return;
        }
    }
}

/// A random name.
pub(super) fn new_id() -> String {
    let mut bytes = [0; 8];
    // Without random numbers TLS would not work either; a constant id is acceptable then.
    let _ = tls::provider().secure_random.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
