//! Bounds password hashing: each hash takes 19 MiB and a core for tens of milliseconds, so that a flood of wrong passwords could
//! occupy the machine. There are few permits, each with a working memory that is reused, a bounded queue in front of them, and
//! some permits that are reserved for familiar sources.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use oxpost_protocol::Secret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Denied, spare_memory::SpareMemory};
use crate::{
    password::{HashingFailed, PasswordHash},
    working_memory::WorkingMemory,
};

/// The most permits that are reserved for familiar sources; their logins come one by one, each once in ten minutes.
const MOST_RESERVED: usize = 2;

/// The door a login comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    /// It comes from a source that is familiar to the account. Any permit is for it.
    Familiar,
    /// Any other. All permits but the reserved ones are for them.
    Unfamiliar,
}

pub(super) struct HashPool {
    permits: Arc<Semaphore>,
    /// The permits that unfamiliar sources may hold.
    unfamiliar: Arc<Semaphore>,
    memory: Arc<SpareMemory>,
    waiting: AtomicUsize,
    waiting_limit: usize,
    hashes: AtomicUsize,
}

impl HashPool {
    pub(super) fn new(permits: usize, waiting_limit: usize) -> Self {
        let permits = permits.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            unfamiliar: Arc::new(Semaphore::new(permits_for_unfamiliar(permits))),
            memory: Arc::default(),
            waiting: AtomicUsize::new(0),
            waiting_limit,
            hashes: AtomicUsize::new(0),
        }
    }

    /// The index of the hash that matches this password.
    ///
    /// # Errors
    /// The queue is full, or there is no memory.
    pub(super) async fn find(
        &self,
        priority: Priority,
        hashes: Vec<PasswordHash>,
        password: &Secret,
    ) -> Result<Option<usize>, Denied> {
        let permit = self.permit(priority).await?;
        self.hashes.fetch_add(hashes.len(), Ordering::Relaxed);
        let password = password.clone();
        let find = move |memory: &mut WorkingMemory| hashes.iter().position(|hash| hash.verify_in(&password, memory));
        self.run(permit, find).await.map_err(|HashingFailed| Denied::Busy)
    }

    /// Hashes a password that was right a moment ago.
    ///
    /// # Errors
    /// There is no memory, or there are no random numbers.
    pub(super) async fn hash(&self, password: Secret) -> Result<PasswordHash, HashingFailed> {
        let permit = self.permit(Priority::Familiar).await.map_err(|_| HashingFailed)?;
        self.run(permit, move |memory| PasswordHash::of_in(&password, memory)).await?
    }

    async fn permit(&self, priority: Priority) -> Result<Permit, Denied> {
        let (waiting, unfamiliar) = match priority {
            Priority::Familiar => (None, None),
            Priority::Unfamiliar => {
                let waiting = Waiting::enter(&self.waiting, self.waiting_limit).ok_or(Denied::Busy)?;
                let unfamiliar = self.unfamiliar.clone().acquire_owned().await.map_err(|_| Denied::Busy)?;
                (Some(waiting), Some(unfamiliar))
            }
        };
        // First come, first served: no more unfamiliar logins than may run are ever in front of a familiar one.
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Denied::Busy)?;
        drop(waiting);
        Ok(Permit { _stranger: unfamiliar, _permit: permit })
    }

    /// Hashes on a blocking thread.
    async fn run<T: Send + 'static>(
        &self,
        permit: Permit,
        work: impl FnOnce(&mut WorkingMemory) -> T + Send + 'static,
    ) -> Result<T, HashingFailed> {
        let memories = Arc::clone(&self.memory);
        let done = tokio::task::spawn_blocking(move || {
            // The permit goes with the work: a client that disconnects must not let more hashes run than allowed.
            let _permit = permit;
            let mut memory = memories.take()?;
            let done = work(&mut memory);
            // Before the permit is: so there are never more memories than permits.
            memories.put_back(memory);
            Ok(done)
        });
        done.await.map_err(|_| HashingFailed)?
    }

    /// How many passwords were compared with a hash.
    #[cfg(test)]
    pub(super) fn hashes(&self) -> usize {
        self.hashes.load(Ordering::Relaxed)
    }

    /// Holds this many of the permits for unfamiliar sources, as a flood of logins would.
    #[cfg(test)]
    pub(super) async fn occupy(&self, permits: u32) -> [OwnedSemaphorePermit; 2] {
        let unfamiliar = self.unfamiliar.clone().acquire_many_owned(permits).await.unwrap();
        [unfamiliar, self.permits.clone().acquire_many_owned(permits).await.unwrap()]
    }
}

/// How many of these permits unfamiliar sources may hold. A single permit is theirs too; then a familiar login waits for one
/// hash at most.
fn permits_for_unfamiliar(permits: usize) -> usize {
    let reserved = permits.div_ceil(4).min(MOST_RESERVED);
    permits.saturating_sub(reserved).max(1)
}

/// One hash at a time. The fields are dropped in this order.
struct Permit {
    _stranger: Option<OwnedSemaphorePermit>,
    _permit: OwnedSemaphorePermit,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_quarter_of_the_permits_is_reserved_but_two_at_most() {
        let unfamiliar = [1, 2, 3, 4, 5, 8, 9, 256].map(permits_for_unfamiliar);
        assert_eq!(unfamiliar, [1, 1, 2, 3, 3, 6, 7, 254]);
    }

    /// However many come, and however they end, there is one memory for each permit.
    #[tokio::test(start_paused = true)]
    async fn checks_make_no_more_memories_than_permits() {
        let pool = Arc::new(HashPool::new(2, 1000));
        let mut checks = tokio::task::JoinSet::new();
        for number in 0..40 {
            let pool = Arc::clone(&pool);
            checks.spawn(async move {
                let password = Secret::from("wrong");
                match number % 4 {
                    0 => drop(pool.hash(password).await.unwrap()),
                    1 => assert_eq!(
                        pool.find(Priority::Familiar, vec![PasswordHash::dummy()], &password).await,
                        Ok(None)
                    ),
                    _ => assert_eq!(
                        pool.find(Priority::Unfamiliar, vec![PasswordHash::dummy()], &password).await,
                        Ok(None)
                    ),
                }
            });
        }
        // A client that disconnects does not stop its check.
        for _ in 0..10 {
            checks.join_next().await.unwrap().unwrap();
        }
        checks.abort_all();
        while checks.join_next().await.is_some() {}
        let _all = pool.permits.clone().acquire_many_owned(2).await.unwrap();
        let (spare, made) = pool.memory.spare_and_made();
        assert!((1..=2).contains(&made) && spare == made, "{made} were made, {spare} are spare");
        tokio::time::sleep(super::super::spare_memory::KEEP_UNUSED * 2).await;
        assert_eq!(pool.memory.spare_and_made(), (0, made), "after a minute without use");
    }

    #[tokio::test]
    async fn a_hash_made_in_used_memory_is_that_of_its_password_alone() {
        let pool = HashPool::new(1, 1);
        let (right, wrong) = (Secret::from("right"), Secret::from("wrong"));
        let hash = pool.hash(right.clone()).await.unwrap();
        for priority in [Priority::Familiar, Priority::Unfamiliar] {
            let hashes = vec![PasswordHash::dummy(), hash.clone()];
            assert_eq!(pool.find(priority, hashes.clone(), &wrong).await, Ok(None));
            assert_eq!(pool.find(priority, hashes, &right).await, Ok(Some(1)));
        }
        assert!(hash.verify(&right) && !hash.verify(&wrong), "and in new memory");
        assert_eq!(pool.memory.spare_and_made(), (1, 1));
    }

    /// Whatever unknown sources do, one permit is not theirs.
    #[tokio::test(start_paused = true)]
    async fn reserved_permit_is_for_familiar_sources_only() {
        let pool = HashPool::new(4, 1);
        let _crowd = pool.occupy(3).await;
        let password = Secret::from("wrong");
        let unfamiliar = pool.find(Priority::Unfamiliar, vec![PasswordHash::dummy()], &password);
        assert!(tokio::time::timeout(Duration::from_secs(3600), unfamiliar).await.is_err(), "it waits");
        assert_eq!(pool.find(Priority::Familiar, vec![PasswordHash::dummy()], &password).await, Ok(None));
    }
}
