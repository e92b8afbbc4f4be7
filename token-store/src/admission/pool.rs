//! Where passwords are hashed: each hash takes 19 MiB and a core for tens of milliseconds, so that whoever sends wrong
//! passwords fast enough could have the whole machine. So there are few places, a bounded queue before them, and another
//! door for logins that were right a short while ago: no crowd of strangers keeps those out.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use oxpost_protocol::Secret;
use tokio::sync::Semaphore;

use super::Denied;
use crate::password::PasswordHash;

/// Hashes at once for those who are known, beside the others: they come one by one, each once in ten minutes.
const FOR_THE_KNOWN: usize = 2;

/// The door a login comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// This very login was right within the last day.
    Known,
    /// Any other.
    Stranger,
}

pub(super) struct Pool {
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_limit: usize,
    hashes: AtomicUsize,
}

impl Pool {
    pub(super) fn new(at_once: usize, waiting_limit: usize) -> Self {
        Self {
            known: Arc::new(Semaphore::new(FOR_THE_KNOWN)),
            strangers: Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            waiting_limit,
            hashes: AtomicUsize::new(0),
        }
    }

    /// Which of the hashes is that of this password, counted from 0.
    ///
    /// # Errors
    /// The queue is full.
    pub(super) async fn find(
        &self,
        door: Door,
        hashes: Vec<PasswordHash>,
        password: &Secret,
    ) -> Result<Option<usize>, Denied> {
        let permit = match door {
            Door::Known => self.known.clone().acquire_owned().await,
            Door::Stranger => {
                let waiting = Waiting::enter(&self.waiting, self.waiting_limit).ok_or(Denied::Busy)?;
                let permit = self.strangers.clone().acquire_owned().await;
                drop(waiting);
                permit
            }
        };
        let permit = permit.map_err(|_| Denied::Busy)?;
        self.hashes.fetch_add(hashes.len(), Ordering::Relaxed);
        let password = password.clone();
        let checked = tokio::task::spawn_blocking(move || {
            // The permit goes with the work: a client that hangs up must not let more hashes run than allowed.
            let _permit = permit;
            hashes.iter().position(|hash| hash.verify(&password))
        });
        checked.await.map_err(|_| Denied::Busy)
    }

    /// How many hashes were computed.
    #[cfg(test)]
    pub(super) fn hashes(&self) -> usize {
        self.hashes.load(Ordering::Relaxed)
    }

    /// Takes all places of the strangers, as a crowd of them would.
    #[cfg(test)]
    pub(super) async fn crowd(&self, at_once: u32) -> tokio::sync::OwnedSemaphorePermit {
        self.strangers.clone().acquire_many_owned(at_once).await.unwrap()
    }
}

/// One place in the queue; it is given back when the caller goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        (before < limit).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
