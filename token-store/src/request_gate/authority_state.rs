//! One authority as one application asks it: what this process knows of it, and the part of its circuit that the store did not
//! accept. The limits of concurrency and rate belong to its token endpoint, which may serve many tenants (`common`).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    account_outcomes::Accounts,
    concurrency::EndpointConcurrency,
    rate_limiter::{RECOVERY, RateLimiter},
};
use crate::{
    circuit::Circuit,
    schedule,
    store::{CircuitKey, StoredCircuit},
};

/// How often it is tried to write a circuit that the store did not take.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// One authority as one application asks it.
pub(super) struct AuthorityState {
    pub(super) key: CircuitKey,
    /// Its host name, for messages.
    pub(super) host: String,
    /// What it has in common with other tenants at the same token endpoint.
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) state: Mutex<Observations>,
}

/// A token endpoint as one application asks it, for all tenants that it serves.
pub(super) struct Endpoint {
    pub(super) share: EndpointConcurrency,
    pace: Mutex<RateLimiter>,
}

impl Endpoint {
    pub(super) fn new(requests: usize) -> Self {
        Self { share: EndpointConcurrency::new(requests), pace: Mutex::default() }
    }
}

#[derive(Default)]
pub(super) struct Observations {
    /// The accounts that it was asked about.
    pub(super) accounts: Accounts,
    /// The end of the last outage that the pace knows of.
    pub(super) recovered: Option<SystemTime>,
    /// What the store did not take.
    pub(super) unsaved: Option<Unsaved>,
    /// When it was last tried to write that.
    pub(super) tried: Option<Instant>,
    /// When a request was last answered, and when one was not.
    pub(super) answered: Option<SystemTime>,
    pub(super) failed: Option<SystemTime>,
}

/// A circuit that the store did not take; it counts until it does, or until another node has written something that counts more.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Unsaved {
    pub(super) circuit: Circuit,
    /// The version it was decided from. None: nothing could be read.
    pub(super) base: Option<i64>,
}

/// A circuit as it counts now.
pub(super) struct Known {
    /// What to write over. None: nothing can be read.
    pub(super) version: Option<i64>,
    pub(super) circuit: Circuit,
    /// If it is not written.
    pub(super) unsaved: Option<Unsaved>,
}

impl AuthorityState {
    pub(super) fn lock(&self) -> MutexGuard<'_, Observations> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What counts now, after the store was read, if it could be.
    pub(super) fn known(&self, stored: Option<StoredCircuit>, now: SystemTime) -> Known {
        let mut state = self.lock();
        let Some(stored) = stored else {
            let unsaved = state.unsaved.clone();
            let circuit = unsaved.as_ref().map(|unsaved| unsaved.circuit.clone()).unwrap_or_default();
            return Known { version: None, circuit, unsaved };
        };
        // Another node has written since: its circuit replaces the unsaved one, unless that has a longer pause.
        state
            .unsaved
            .take_if(|unsaved| unsaved.base != Some(stored.version) && !unsaved.circuit.outlasts(&stored.circuit, now));
        let unsaved = state.unsaved.clone();
        let circuit = unsaved.as_ref().map_or(stored.circuit, |unsaved| unsaved.circuit.clone());
        Known { version: Some(stored.version), circuit, unsaved }
    }

    /// Whether it is time to try again to write what the store did not take.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let is_time = state.tried.is_none_or(|tried| now.saturating_duration_since(tried) >= WRITE_AGAIN);
        if is_time {
            state.tried = Some(now);
        }
        is_time
    }

    /// This circuit was written, or one that was derived from it.
    pub(super) fn saved(&self, unsaved: Option<&Unsaved>) {
        self.lock().unsaved.take_if(|there| Some(&*there) == unsaved);
    }

    /// The store accepts no writes: then each process makes one probe at a time. `false`: another request was faster.
    pub(super) fn claim_in_memory(&self, read: Option<&Unsaved>, claimed: Unsaved) -> bool {
        let mut state = self.lock();
        if state.unsaved.as_ref() != read {
            return false;
        }
        state.unsaved = Some(claimed);
        true
    }

    pub(super) fn pace(
        &self,
        circuit: &Circuit,
        now: SystemTime,
        rate: u32,
        patience: Duration,
    ) -> Result<Duration, Duration> {
        let mut state = self.lock();
        let mut pace = self.endpoint.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if circuit.recovered.is_some() && circuit.recovered != state.recovered {
            state.recovered = circuit.recovered;
            // An outage that was over long before this process began does not slow it down.
            if circuit.recovered.is_some_and(|recovered| now.duration_since(recovered).unwrap_or_default() < RECOVERY) {
                pace.recover(Instant::now());
            }
        }
        pace.take(Instant::now(), rate, patience, schedule::jitter())
    }
}
