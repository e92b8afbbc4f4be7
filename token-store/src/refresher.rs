//! The background refresher: one task that keeps every account's tokens fresh, idle ones too, so that the 90 days after
//! which an unused refresh token dies never pass on a running service.
//!
//! It sleeps in short naps and decides from the wall clock and the stored plan after each, so that a laptop that slept, a
//! clock that jumped, or another process that added an account needs no message. Hints of the database cut a nap short.
//!
//! A look asks an index for what is due, so that it costs the same with ten accounts and ten thousand. Now and then, at the start, and
//! when the clock was set back, it reads all accounts: then what no index can know is found, such as a plan that was written by a
//! clock that was wrong.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::Pin,
    time::{Duration, SystemTime},
};

use tokio::{
    task::{Id, JoinSet},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    account::{Grant, Mailbox},
    request_gate::Availability,
    schedule::{REQUEST_TIME, is_due},
    store::{CircuitKey, Due, Planned, Store, StoreError},
    tokens::Tokens,
};

/// The shortest nap, however close the next refresh is.
const SHORTEST_NAP: Duration = Duration::from_secs(1);

/// The longest nap while the store cannot be read.
const NAP_WITHOUT_STORE: Duration = Duration::from_secs(5);

/// How often all accounts are read.
const FULL_LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

/// How long the shutdown waits for requests in flight: as long as one may take, and the write after it.
const LAST_WAIT: Duration = REQUEST_TIME.saturating_add(Duration::from_secs(5));

/// How long the end waits for a store that is to take what it did not take before.
const LAST_WRITE: Duration = Duration::from_secs(5);

impl Tokens {
    /// Keeps tokens fresh until `stop` is cancelled. Then it starts nothing new and waits for requests in flight, so that no new
    /// refresh token is lost.
    pub async fn keep_fresh(self, stop: CancellationToken) {
        let mut running = Running::default();
        let mut hints = self.hints();
        let mut recoveries = self.recoveries();
        while !stop.is_cancelled() {
            // Before the plan is read, so that no hint is missed that comes after it.
            hints.catch_up();
            recoveries.mark_unchanged();
            let (mut due, nap) = self.look(&mut running).await;
            tracing::trace!(authorities = due.len(), ?nap, "the refresher has looked");
            let nap_over = sleep(nap);
            tokio::pin!(nap_over);
            loop {
                for authority in &mut due {
                    running.start_what_may(&self, authority);
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = &mut nap_over => break,
                    () = hints.any() => wake_soon(nap_over.as_mut(), SHORTEST_NAP),
                    Ok(()) = recoveries.changed() => wake_soon(nap_over.as_mut(), SHORTEST_NAP),
                    Some(ended) = running.tasks.join_next_with_id() => {
                        if let Some((key, pause)) = running.ended(ended) {
                            due.iter_mut().filter(|authority| authority.key == key).for_each(DueAccounts::close);
                            wake_soon(nap_over.as_mut(), pause.max(SHORTEST_NAP));
                        }
                        // New tokens have a plan that this nap does not know of yet.
                        if due.iter().all(|authority| authority.accounts.is_empty()) && running.tasks.is_empty() {
                            wake_soon(nap_over.as_mut(), SHORTEST_NAP);
                        }
                    }
                }
            }
        }
        self.gate().end();
        // First, so that no request that hangs comes before it.
        let _ = timeout(LAST_WRITE, self.write_unsaved_of_idle()).await;
        let over = timeout(LAST_WAIT, self.wait_for_refreshes()).await;
        if timeout(LAST_WRITE, self.write_unsaved()).await.is_err() {
            tracing::error!("unsaved tokens could not be written in time before the shutdown");
        }
        if over.is_err() {
            tracing::warn!(
                "token requests are still running at the end; their accounts are refreshed at the next start"
            );
        }
    }

    /// What is due now, by authority, and how long until the next look.
    async fn look(&self, running: &mut Running) -> (Vec<DueAccounts>, Duration) {
        let look_every = self.limits().look_every;
        self.look_at_the_time().await;
        let now = self.now();
        let looked = match running.full_look_is_due(now) {
            true => self.look_at_all(now).await,
            false => self.look_at_due(now).await,
        };
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => {
                if !std::mem::replace(&mut running.without_store, true) {
                    tracing::error!("the refresher cannot read the store, and tries again: {error}");
                }
                running.full_look = None;
                return (Vec::new(), look_every.min(NAP_WITHOUT_STORE));
            }
        };
        if std::mem::take(&mut running.without_store) {
            tracing::info!("the refresher can read the store again");
        }
        self.write_unsaved_where_there_is_room().await;
        let soonest = looked.next.and_then(|next| next.duration_since(now).ok());
        let in_hand: HashSet<Mailbox> = running.accounts.values().map(|(mailbox, _)| mailbox.clone()).collect();
        let mut due: HashMap<Option<CircuitKey>, VecDeque<Planned>> = HashMap::new();
        for planned in looked.due {
            if wants_refresh(&planned, now) && !in_hand.contains(&planned.account.mailbox) {
                if planned.next_refresh.is_some_and(|next| next > now) {
                    // The index does not find what a clock that was wrong has planned.
                    running.full_look = None;
                }
                due.entry(self.authority_of(&planned.account)).or_default().push_back(planned);
            }
        }
        let availabilities = if due.is_empty() { HashMap::new() } else { self.gate().availabilities().await };
        let mut wake = soonest.unwrap_or(look_every);
        let due = due.into_iter().map(|(key, mut accounts)| {
            let availability =
                key.as_ref().and_then(|key| availabilities.get(key)).copied().unwrap_or(Availability::Open);
            if let Availability::Closed(left) = availability {
                wake = wake.min(left);
                // Those whose tokens are only to be written.
                accounts.retain(|planned| self.has_unsaved(&planned.account.token_account().mailbox));
            }
            let may_run = self.limits().background_per_authority.max(1);
            DueAccounts { key, accounts, may_run, once: availability == Availability::OneProbe }
        });
        let mut due: Vec<DueAccounts> = due.collect();
        // A probe is one request, and does not wait for the other tenants of its endpoint.
        due.sort_by_key(|due| !due.once);
        (due, wake.max(SHORTEST_NAP).min(look_every))
    }

    async fn look_at_due(&self, now: SystemTime) -> Result<Due, StoreError> {
        let store = self.store_in_background();
        let due = store.due(now).await?;
        note_idle(&store, &due.idle).await;
        Ok(due)
    }

    async fn look_at_all(&self, now: SystemTime) -> Result<Due, StoreError> {
        let store = self.store_in_background();
        note_idle(&store, &store.wrongly_idle().await?).await;
        let plan = store.plan().await?;
        let known: HashSet<&Mailbox> = plan.iter().map(|planned| &planned.account.mailbox).collect();
        self.forget_all_but(&known);
        let next = plan.iter().filter_map(|planned| planned.next_refresh.filter(|next| *next > now)).min();
        Ok(Due { due: plan, idle: Vec::new(), next })
    }
}

/// A note that cannot be written costs the next look a few rows more, and no refresh.
async fn note_idle(store: &Store, mailboxes: &[String]) {
    if !mailboxes.is_empty()
        && let Err(error) = store.note_idle(mailboxes).await
    {
        tracing::debug!("it could not be noted that there is nothing to refresh: {error}");
    }
}

fn wants_refresh(planned: &Planned, now: SystemTime) -> bool {
    // There is no sign-in yet: there is nothing to refresh with.
    let possible = planned.account.grant == Grant::ClientCredentials || planned.has_refresh_token;
    possible && is_due(planned.next_refresh, planned.issued_at.max(planned.error_at), now)
}

fn endpoint(key: &Option<CircuitKey>) -> Option<CircuitKey> {
    key.as_ref().map(CircuitKey::endpoint)
}

/// Cuts a nap short.
fn wake_soon(mut nap: Pin<&mut Sleep>, after: Duration) {
    let soon = Instant::now() + after;
    if soon < nap.deadline() {
        nap.as_mut().reset(soon);
    }
}

/// The accounts of one authority that are due.
struct DueAccounts {
    /// None: their application is not configured.
    key: Option<CircuitKey>,
    accounts: VecDeque<Planned>,
    /// How many may be in flight at their token endpoint.
    may_run: usize,
    /// One of them, to see whether the authority answers.
    once: bool,
}

impl DueAccounts {
    /// None of them until the next look.
    fn close(&mut self) {
        self.may_run = 0;
    }
}

/// The accounts in hand.
#[derive(Default)]
struct Running {
    /// Each ends with how long its authority is left alone, if it is.
    tasks: JoinSet<Option<Duration>>,
    accounts: HashMap<Id, (Mailbox, Option<CircuitKey>)>,
    /// How many of them at each token endpoint.
    counts: HashMap<Option<CircuitKey>, usize>,
    /// The last look failed.
    without_store: bool,
    /// When all accounts were last read, and by which time the last look was.
    full_look: Option<(Instant, SystemTime)>,
    /// The refreshes that were in flight when the clock was set back. Each may plan the next one by the old time, which no index
    /// finds, so all accounts are read again after it.
    before_set_back: HashSet<Id>,
}

impl Running {
    fn start_what_may(&mut self, tokens: &Tokens, due: &mut DueAccounts) {
        if due.once && self.accounts.values().any(|(_, key)| *key == due.key) {
            return;
        }
        let endpoint = endpoint(&due.key);
        while self.counts.get(&endpoint).copied().unwrap_or_default() < due.may_run
            && let Some(planned) = due.accounts.pop_front()
        {
            self.start(tokens, planned, due.key.clone());
            if due.once {
                due.close();
            }
        }
    }

    fn start(&mut self, tokens: &Tokens, planned: Planned, key: Option<CircuitKey>) {
        let mailbox = planned.account.mailbox.clone();
        let tokens = tokens.clone();
        let task = self.tasks.spawn(async move { tokens.refresh_due(&planned.account, planned.version).await });
        *self.counts.entry(endpoint(&key)).or_default() += 1;
        self.accounts.insert(task.id(), (mailbox, key));
    }

    /// Whether to read all accounts now: it is time, or the clock was set back.
    fn full_look_is_due(&mut self, now: SystemTime) -> bool {
        if self.full_look.is_some_and(|(_, looked)| looked > now) {
            self.before_set_back.extend(self.accounts.keys());
            self.full_look = None;
        }
        let recent = self.full_look.filter(|(at, _)| at.elapsed() < FULL_LOOK_EVERY);
        let at = recent.map_or_else(Instant::now, |(at, _)| at);
        self.full_look = Some((at, now));
        recent.is_none()
    }

    /// Which authority is paused after a refresh ended, and for how long.
    fn ended(
        &mut self,
        ended: Result<(Id, Option<Duration>), tokio::task::JoinError>,
    ) -> Option<(Option<CircuitKey>, Duration)> {
        let (id, pause) = match ended {
            Ok((id, pause)) => (id, pause),
            Err(error) => (error.id(), None),
        };
        let (_, key) = self.accounts.remove(&id)?;
        if self.before_set_back.remove(&id) {
            self.full_look = None;
        }
        let endpoint = endpoint(&key);
        if let Some(count) = self.counts.get_mut(&endpoint) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&endpoint);
            }
        }
        Some((key, pause?))
    }
}
