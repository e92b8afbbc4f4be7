//! Working memory that no check uses at the moment. It is kept for the next one, and given back to the system after a minute
//! without use.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

use crate::{password::HashingFailed, working_memory::WorkingMemory};

/// How long an unused working memory is kept: long enough that a busy minute allocates nothing.
pub(super) const KEEP_UNUSED: Duration = Duration::from_secs(60);

/// The memories. Of each that was taken one comes back, so there are never more than checks that ran concurrently.
#[derive(Default)]
pub(super) struct SpareMemory(Mutex<State>);

#[derive(Default)]
struct State {
    /// The one that was used last is at the end, and is the next to be taken.
    spare: Vec<Spare>,
    /// Whether a task is there that gives them back.
    releasing: bool,
    /// How many were ever taken from the system.
    #[cfg(test)]
    made: usize,
}

struct Spare {
    memory: WorkingMemory,
    unused_since: Instant,
}

impl SpareMemory {
    /// A memory for one check.
    ///
    /// # Errors
    /// None is spare, and the system has none.
    pub(super) fn take(&self) -> Result<WorkingMemory, HashingFailed> {
        let spare = self.state().spare.pop();
        if let Some(spare) = spare {
            return Ok(spare.memory);
        }
        #[cfg(test)]
        {
            self.state().made += 1;
        }
        WorkingMemory::new()
    }

    /// Keeps a memory for the next hash. Without a runtime it could not be freed later, so it is not kept.
    pub(super) fn put_back(self: &Arc<Self>, memory: WorkingMemory) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut state = self.state();
        state.spare.push(Spare { memory, unused_since: Instant::now() });
        if !std::mem::replace(&mut state.releasing, true) {
            runtime.spawn(release(Arc::downgrade(self)));
        }
    }

    /// Frees memories that were unused for [`KEEP_UNUSED`]. Returns when to look again; `None`: nothing is left.
    fn release_unused(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        let until = |spare: &Spare| spare.unused_since + KEEP_UNUSED;
        let kept = state.spare.iter().position(|spare| until(spare) > now).unwrap_or(state.spare.len());
        let released: Vec<Spare> = state.spare.drain(..kept).collect();
        let next = state.spare.first().map(until);
        state.releasing = next.is_some();
        drop(state);
        // Unmapping takes a while; no login should wait for it.
        drop(released);
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are spare, and how many were ever taken from the system.
    #[cfg(test)]
    pub(super) fn spare_and_made(&self) -> (usize, usize) {
        let state = self.state();
        (state.spare.len(), state.made)
    }
}

/// Gives the memories back as their time comes, until none is left or their pool is gone.
async fn release(memories: Weak<SpareMemory>) {
    let mut next = Instant::now() + KEEP_UNUSED;
    loop {
        sleep_until(next).await;
        let Some(memories) = memories.upgrade() else { return };
        match memories.release_unused(Instant::now()) {
            Some(later) => next = later,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn unused_memory_is_released_after_a_minute() {
        let memories = Arc::new(SpareMemory::default());
        let (first, second) = (memories.take().unwrap(), memories.take().unwrap());
        memories.put_back(first);
        tokio::time::sleep(KEEP_UNUSED / 2).await;
        memories.put_back(second);
        assert_eq!(memories.spare_and_made(), (2, 2));
        tokio::time::sleep(KEEP_UNUSED / 2 + Duration::from_millis(10)).await;
        assert_eq!(memories.spare_and_made(), (1, 2), "the first, and not the second");
        let again = memories.take().unwrap();
        assert_eq!(memories.spare_and_made(), (0, 2), "a spare one is used again");
        tokio::time::sleep(KEEP_UNUSED).await;
        memories.put_back(again);
        tokio::time::sleep(KEEP_UNUSED - Duration::from_millis(10)).await;
        assert_eq!(memories.spare_and_made(), (1, 2), "its minute began when it was used last");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(memories.spare_and_made(), (0, 2));
    }

    #[test]
    fn without_a_runtime_nothing_is_kept() {
        let memories = Arc::new(SpareMemory::default());
        memories.put_back(memories.take().unwrap());
        assert_eq!(memories.spare_and_made(), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_releasing_task_ends_with_its_pool() {
        let memories = Arc::new(SpareMemory::default());
        memories.put_back(memories.take().unwrap());
        let gone = Arc::downgrade(&memories);
        drop(memories);
        assert!(gone.upgrade().is_none(), "the task does not keep it");
        tokio::time::sleep(KEEP_UNUSED * 2).await;
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    }
}
