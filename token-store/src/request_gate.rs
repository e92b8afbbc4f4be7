//! Every request to an authority passes this gate, which decides whether it may be made now, together with how many others, and
//! how fast.
//!
//! The store keeps how an authority has answered ([`Circuit`]), for restarts and other nodes; how many requests are in flight is
//! each process's own. A request belongs to a [`Class`]: logins wait a short time only, and the background has a limit of its
//! own.

mod account_outcomes;
mod authority_state;
mod concurrency;
mod rate_limiter;
mod refusal;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use dashmap::DashMap;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{
    authority_state::{AuthorityState, Endpoint, Known, Unsaved},
    concurrency::{Permit, TotalConcurrency},
    refusal::{busy, ending, paced, paused, probed},
};
use crate::{
    application::Application,
    circuit::{Asked, Circuit, Permission, RequestFailure},
    clock::SharedClock,
    schedule,
    store::{CircuitKey, Store, StoreError, StoredCircuit},
};

pub(crate) use self::refusal::Refusal;

/// How often a change of a circuit is decided again because another node was faster. After that it is left to the next request.
const TRIES: usize = 5;

/// How long the background waits for a place.
const BACKGROUND_PATIENCE: Duration = Duration::from_secs(60);

/// How many requests are made, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestGateLimits {
    /// In flight, to one authority for one application.
    pub(crate) per_authority: usize,
    /// In flight, in all. The first request of each authority does not count, so that none waits for another.
    pub(crate) in_all: usize,
    /// Begun in a second, to one authority for one application.
    pub(crate) per_second: u32,
    /// How long a login waits for a place.
    pub(crate) login_patience: Duration,
}

/// Who wants to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A mail program waits.
    Login,
    /// The background: no client waits.
    Background,
    /// An administrator at the command line: no open circuit prevents it, and its answer counts.
    Diagnosis,
}

/// The gate of a process.
pub(crate) struct RequestGate {
    node: String,
    store: Store,
    clock: SharedClock,
    limits: RequestGateLimits,
    total: TotalConcurrency,
    authorities: DashMap<CircuitKey, Arc<AuthorityState>>,
    /// By the key of no account's tenant.
    endpoints: DashMap<CircuitKey, Arc<Endpoint>>,
    /// Counts how often a circuit was closed, for those who wait for that.
    closed: watch::Sender<u64>,
    /// The process ends: no request waits any longer.
    ending: CancellationToken,
}

/// What the circuit allows a request at a moment.
struct Permitted {
    asked: Asked,
    circuit: Circuit,
}

/// Permission for one request. Its holder reports the outcome.
pub(crate) struct RequestPermit {
    gate: Arc<RequestGate>,
    authority: Arc<AuthorityState>,
    asked: Asked,
    /// The user it is about. None: the application itself.
    account: Option<String>,
    /// Nothing is wrong as far as is known, so an answer need not be written.
    clean: bool,
    _permit: Option<Permit>,
}

/// How a request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    /// The authority answered, whatever it said about the account.
    Answered,
    /// It has not.
    Failed(RequestFailure),
    /// It was not asked after all.
    NotAsked,
}

/// What the background may do with an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Ask.
    Open,
    /// Ask once.
    OneProbe,
    /// Come back.
    Closed(Duration),
}

impl fmt::Debug for RequestGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl RequestGate {
    pub(crate) fn new(node: String, store: Store, clock: SharedClock, limits: RequestGateLimits) -> Self {
        let total = TotalConcurrency::new(limits.in_all);
        Self {
            node,
            store,
            clock,
            limits,
            total,
            authorities: DashMap::new(),
            endpoints: DashMap::new(),
            closed: watch::Sender::new(0),
            ending: CancellationToken::new(),
        }
    }

    /// Waits until a request about this account (none: the application itself) may be made.
    ///
    /// # Errors
    /// Why it may not, and how long to wait.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        application: &Application,
        account: Option<&str>,
        class: Class,
    ) -> Result<RequestPermit, Refusal> {
        let authority = self.authority(application, account);
        let account = account.map(str::to_owned);
        if class == Class::Diagnosis {
            let asked = Asked { since: self.clock.now(), is_probe: false };
            return Ok(RequestPermit { gate: self.clone(), authority, asked, account, clean: false, _permit: None });
        }
        let begun = Instant::now();
        let patience = if class == Class::Login { self.limits.login_patience } else { BACKGROUND_PATIENCE };
        self.refusal_of(&authority, &self.load(&authority).await).map_or(Ok(()), Err)?;
        let permit = tokio::select! {
            permit = authority.endpoint.share.take(&self.total, patience) => permit.ok_or_else(|| busy(&authority.host, patience))?,
            () = self.ending.cancelled() => return Err(ending()),
        };
        // While it waited, everything may have changed.
        let mut permitted = self.permitted(&authority).await?;
        if !permitted.asked.is_probe {
            let left = patience.saturating_sub(begun.elapsed());
            let wait = authority.pace(&permitted.circuit, permitted.asked.since, self.limits.per_second, left);
            let wait = wait.map_err(|wait| paced(&authority.host, wait))?;
            if !wait.is_zero() {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = self.ending.cancelled() => return Err(ending()),
                }
                // Checked again: requests before it may have opened the circuit.
                permitted = self.permitted(&authority).await?;
            }
        }
        let Permitted { asked, circuit } = permitted;
        let clean = circuit.failures == 0 && circuit.pauses == 0;
        Ok(RequestPermit { gate: self.clone(), authority, asked, account, clean, _permit: Some(permit) })
    }

    /// Why the authority is not asked about an account now, and until when; none if it may be, or if nothing is known.
    pub(crate) async fn refusal(&self, application: &Application, account: Option<&str>) -> Option<Refusal> {
        let authority = self.authority(application, account);
        let circuit = self.load(&authority).await;
        self.refusal_of(&authority, &circuit)
    }

    /// What the background may do with each authority that anything is known of.
    pub(crate) async fn availabilities(&self) -> HashMap<CircuitKey, Availability> {
        let now = self.clock.now();
        let stored = self.store.circuits().await.ok();
        let is_read = stored.is_some();
        let mut stored: HashMap<CircuitKey, StoredCircuit> = stored.into_iter().flatten().collect();
        let mut circuits = HashMap::new();
        for authority in &self.authorities {
            let row = stored.remove(&authority.key).unwrap_or_default();
            circuits.insert(authority.key.clone(), authority.known(is_read.then_some(row), now).circuit);
        }
        circuits.extend(stored.into_iter().map(|(key, stored)| (key, stored.circuit)));
        let availability = |circuit: &Circuit| match circuit.permission(now) {
            Permission::Ask => Availability::Open,
            Permission::Probe => Availability::OneProbe,
            Permission::Wait(left) | Permission::Probed(left) => Availability::Closed(left),
        };
        circuits.into_iter().map(|(key, circuit)| (key, availability(&circuit))).collect()
    }

    /// Changes whenever this process has closed a circuit.
    pub(crate) fn closed(&self) -> watch::Receiver<u64> {
        self.closed.subscribe()
    }

    /// Shutdown: waiting requests are refused.
    pub(crate) fn end(&self) {
        self.ending.cancel();
    }

    /// When the authority last answered a request of this process.
    pub(crate) fn answered(&self, application: &Application, account: Option<&str>) -> Option<SystemTime> {
        self.authority(application, account).lock().answered
    }

    /// Whether it has left a request without an answer since then.
    pub(crate) fn failed_since(&self, application: &Application, account: Option<&str>, since: SystemTime) -> bool {
        self.authority(application, account).lock().failed.is_some_and(|failed| failed >= since)
    }

    fn authority(&self, application: &Application, account: Option<&str>) -> Arc<AuthorityState> {
        let key = CircuitKey::of(application, account);
        if let Some(authority) = self.authorities.get(&key) {
            return authority.clone();
        }
        let host = application.token_url.host_str().unwrap_or("the configured address").to_owned();
        let new = || Arc::new(Endpoint::new(self.limits.per_authority));
        let endpoint = self.endpoints.entry(key.endpoint()).or_insert_with(new).clone();
        let authority = || Arc::new(AuthorityState { key: key.clone(), host, endpoint, state: Mutex::default() });
        self.authorities.entry(key.clone()).or_insert_with(authority).clone()
    }

    /// The circuit as it counts now. What the store did not accept before is written now if the store accepts it.
    async fn known(&self, authority: &AuthorityState) -> Known {
        let known = authority.known(self.store.circuit(&authority.key).await.ok(), self.clock.now());
        if let (Some(version), Some(unsaved)) = (known.version, &known.unsaved)
            && authority.may_try(Instant::now())
            && self.store.save_circuit(&authority.key, version, &unsaved.circuit).await == Ok(true)
        {
            authority.saved(known.unsaved.as_ref());
            return Known { version: Some(version.saturating_add(1)), circuit: known.circuit, unsaved: None };
        }
        known
    }

    async fn load(&self, authority: &AuthorityState) -> Circuit {
        self.known(authority).await.circuit
    }

    /// Whether a request may be made now. If it is to be the probe, this claims it.
    async fn permitted(&self, authority: &AuthorityState) -> Result<Permitted, Refusal> {
        // Before the circuit is read: the request knows nothing of what opens it later.
        let since = self.clock.now();
        let known = self.known(authority).await;
        let circuit = known.circuit.clone();
        let is_probe = match circuit.permission(since) {
            Permission::Ask => false,
            Permission::Probe => self.claim_probe(authority, known).await?,
            Permission::Wait(_) | Permission::Probed(_) => {
                return Err(self.refusal_of(authority, &circuit).unwrap_or_else(|| probed(&authority.host, &circuit)));
            }
        };
        Ok(Permitted { asked: Asked { since, is_probe }, circuit })
    }

    fn refusal_of(&self, authority: &AuthorityState, circuit: &Circuit) -> Option<Refusal> {
        match circuit.permission(self.clock.now()) {
            Permission::Ask | Permission::Probe => None,
            Permission::Wait(wait) => Some(paused(&authority.host, circuit, self.clock.now(), wait)),
            Permission::Probed(_) => Some(probed(&authority.host, circuit)),
        }
    }

    /// Makes this request the probe, unless another request is.
    async fn claim_probe(&self, authority: &AuthorityState, known: Known) -> Result<bool, Refusal> {
        let Known { version, mut circuit, unsaved } = known;
        circuit.begin_probe(&self.node, self.clock.now());
        match self.save(authority, version, &circuit).await {
            Ok(true) => {
                authority.saved(unsaved.as_ref());
                tracing::info!(authority = authority.host, "sending a probe to the sign-in service after a pause");
                Ok(true)
            }
            Ok(false) => Err(probed(&authority.host, &circuit)),
            Err(error) => {
                tracing::debug!(authority = authority.host, "a probe could not be noted: {error}");
                let refusal = probed(&authority.host, &circuit);
                let claimed = Unsaved { circuit, base: version };
                authority.claim_in_memory(unsaved.as_ref(), claimed).then_some(true).ok_or(refusal)
            }
        }
    }

    /// Changes a circuit by what a request has shown. `change` returns whether there is anything to write.
    async fn change(&self, authority: &AuthorityState, mut change: impl FnMut(&mut Circuit) -> bool) {
        for _ in 0..TRIES {
            let read = self.store.circuit(&authority.key).await.ok();
            let Known { version, circuit: before, unsaved } = authority.known(read, self.clock.now());
            let mut after = before.clone();
            if !change(&mut after) {
                return;
            }
            match self.save(authority, version, &after).await {
                Ok(true) => authority.saved(unsaved.as_ref()),
                Ok(false) => continue,
                Err(_) => {
                    let base = version.or(unsaved.and_then(|unsaved| unsaved.base));
                    authority.lock().unsaved = Some(Unsaved { circuit: after.clone(), base });
                }
            }
            self.log_change(authority, &before, &after);
            return;
        }
    }

    async fn save(
        &self,
        authority: &AuthorityState,
        version: Option<i64>,
        circuit: &Circuit,
    ) -> Result<bool, StoreError> {
        match version {
            Some(version) => self.store.save_circuit(&authority.key, version, circuit).await,
            None => Err(StoreError::Database(crate::database::DatabaseError::Closed)),
        }
    }

    fn log_change(&self, authority: &AuthorityState, before: &Circuit, after: &Circuit) {
        let (authority, application) = (&authority.key.authority, &authority.key.client_id);
        if before.pauses > 0 && after.pauses == 0 {
            tracing::info!(authority, application, "the sign-in service answers again");
            self.closed.send_modify(|closed| *closed += 1);
        } else if after.pauses > before.pauses {
            let pause = after.pause.map(|pause| pause.length);
            tracing::warn!(
                authority,
                application,
                ?pause,
                "requests to the sign-in service are paused for all accounts: {}",
                after.reason
            );
        }
    }
}

impl RequestPermit {
    /// Says how it went, and gives the place back.
    pub(crate) async fn complete(self, went: RequestOutcome) {
        let now = self.gate.clock.now();
        match went {
            RequestOutcome::Answered => {
                {
                    let mut state = self.authority.lock();
                    state.answered = Some(now);
                    if let Some(account) = &self.account {
                        state.accounts.answered(account, Instant::now());
                    }
                }
                // While nothing was wrong an answer is no news, and costs no look at the store.
                if !self.clean || self.authority.lock().failed.is_some_and(|failed| failed >= self.asked.since) {
                    self.gate.change(&self.authority, |circuit| circuit.answered(self.asked, now)).await;
                }
            }
            RequestOutcome::Failed(trouble) => {
                let counts = {
                    let mut state = self.authority.lock();
                    state.failed = Some(now);
                    self.account.as_ref().is_none_or(|account| state.accounts.failed(account, Instant::now()))
                };
                // A requested pause counts whichever account was asked about, and so does a failed probe.
                if !counts && !self.asked.is_probe && !trouble.throttled && trouble.retry_after.is_none() {
                    return;
                }
                let jitter = schedule::jitter();
                let failed = |circuit: &mut Circuit| {
                    circuit.failed(self.asked, &trouble, now, jitter);
                    true
                };
                self.gate.change(&self.authority, failed).await;
            }
            RequestOutcome::NotAsked if self.asked.is_probe => {
                let node = self.gate.node.clone();
                let given_up = |circuit: &mut Circuit| {
                    circuit.give_up_probe(&node);
                    true
                };
                self.gate.change(&self.authority, given_up).await;
            }
            RequestOutcome::NotAsked => {}
        }
    }
}
