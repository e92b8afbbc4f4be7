//! The background refresher: one task that keeps every account's tokens fresh, idle ones too, so that the 90 days after
//! which an unused refresh token dies never pass on a running service.
//!
//! It sleeps in short naps and decides from the wall clock and the stored plan after each, so that a laptop that slept, a
//! clock that jumped, or another process that added an account needs no message. Hints of the database cut a nap short.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, SystemTime},
};

use tokio::{
    task::{Id, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    account::{Grant, Mailbox},
    http::REQUEST_TIME,
    schedule::is_due,
    store::Planned,
    tokens::Tokens,
};

/// The shortest nap, however close the next refresh is.
const SHORTEST_NAP: Duration = Duration::from_secs(1);

/// The longest nap while the store cannot be read.
const NAP_WITHOUT_STORE: Duration = Duration::from_secs(5);

/// How long the end waits for requests in flight: as long as one may take, and the write behind it.
const LAST_WAIT: Duration = REQUEST_TIME.saturating_add(Duration::from_secs(5));

impl Tokens {
    /// Keeps tokens fresh until it is told to stop. Then it starts nothing new, and waits for what is in flight, so that
    /// no new refresh token is lost.
    pub async fn keep_fresh(self, stop: CancellationToken) {
        let mut running = Running::default();
        let mut hints = self.hints();
        while !stop.is_cancelled() {
            // Before the plan is read, so that no hint is missed that comes after it.
            hints.catch_up();
            let (mut due, nap) = self.look(&mut running).await;
            tracing::trace!(due = due.len(), ?nap, "the refresher has looked");
            let nap_over = sleep(nap);
            tokio::pin!(nap_over);
            loop {
                while running.tasks.len() < self.limits().at_once.max(1)
                    && let Some(account) = due.pop_front()
                {
                    running.start(&self, account);
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = &mut nap_over => break,
                    () = hints.any() => {
                        let soon = Instant::now() + SHORTEST_NAP;
                        if soon < nap_over.deadline() {
                            nap_over.as_mut().reset(soon);
                        }
                    }
                    Some(ended) = running.tasks.join_next_with_id() => {
                        running.ended(ended);
                        // What was just got has a plan that this nap does not know of yet.
                        let soon = Instant::now() + SHORTEST_NAP;
                        if due.is_empty() && running.tasks.is_empty() && soon < nap_over.deadline() {
                            nap_over.as_mut().reset(soon);
                        }
                    }
                }
            }
        }
        let over = async {
            self.flights_over().await;
            self.write_unsaved().await;
        };
        if timeout(LAST_WAIT, over).await.is_err() {
            tracing::warn!(
                "token requests are still running at the end; their accounts are refreshed at the next start"
            );
        }
    }

    /// What is due now, and how long until the next look.
    async fn look(&self, running: &mut Running) -> (VecDeque<Planned>, Duration) {
        let look_every = self.limits().look_every;
        let plan = match self.plan().await {
            Ok(plan) => plan,
            Err(error) => {
                if !std::mem::replace(&mut running.without_store, true) {
                    tracing::error!("the refresher cannot read the store, and tries again: {error}");
                }
                return (VecDeque::new(), look_every.min(NAP_WITHOUT_STORE));
            }
        };
        if std::mem::take(&mut running.without_store) {
            tracing::info!("the refresher can read the store again");
        }
        let known: HashSet<&Mailbox> = plan.iter().map(|planned| &planned.account.mailbox).collect();
        self.forget_all_but(&known);
        let now = self.now();
        let soonest = plan.iter().filter_map(|planned| planned.next_refresh?.duration_since(now).ok()).min();
        let nap = soonest.unwrap_or(look_every).max(SHORTEST_NAP).min(look_every);
        (
            plan.into_iter()
                .filter(|planned| wants_refresh(planned, now) && !running.has(&planned.account.mailbox))
                .collect(),
            nap,
        )
    }
}

fn wants_refresh(planned: &Planned, now: SystemTime) -> bool {
    // Nobody has signed in yet: there is nothing to refresh with.
    let possible = planned.account.grant == Grant::ClientCredentials || planned.has_refresh_token;
    possible && is_due(planned.next_refresh, planned.issued_at.max(planned.error_at), now)
}

/// The accounts in hand.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    accounts: HashMap<Id, Mailbox>,
    /// The last look failed.
    without_store: bool,
}

impl Running {
    fn start(&mut self, tokens: &Tokens, planned: Planned) {
        let mailbox = planned.account.mailbox.clone();
        let tokens = tokens.clone();
        let task = self.tasks.spawn(async move { tokens.refresh_due(&planned.account, planned.version).await });
        self.accounts.insert(task.id(), mailbox);
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.accounts.remove(&id);
    }

    fn has(&self, mailbox: &Mailbox) -> bool {
        self.accounts.values().any(|running| running == mailbox)
    }
}
