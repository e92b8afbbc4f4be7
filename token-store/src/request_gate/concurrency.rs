//! How many requests are in flight: each authority has a limit of its own, and all share one. The first request of an authority
//! does not count towards the shared limit, so that one that hangs does not block the others.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Who waits in line for a share, and how long that line may be: as many as are served within the patience of a login.
const WAITING: usize = 512;

/// The bound of all.
pub(super) struct TotalConcurrency(Arc<Semaphore>);

impl TotalConcurrency {
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit.max(1))))
    }
}

/// That of one authority.
pub(super) struct EndpointConcurrency {
    places: Arc<Semaphore>,
    /// The place that needs no part of the bound of all.
    first: Arc<Semaphore>,
    line: Arc<Semaphore>,
}

/// Permission for one request in flight. Dropping it frees its slot.
pub(super) struct Permit {
    _place: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl EndpointConcurrency {
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { places: semaphore(limit), first: semaphore(1), line: semaphore(WAITING.max(limit)) }
    }

    /// Waits for a slot, in order of arrival. None if there is none in time, or the queue is full.
    pub(super) async fn take(&self, total: &TotalConcurrency, patience: Duration) -> Option<Permit> {
        let _in_line = self.line.try_acquire().ok()?;
        let taken = async {
            let place = self.places.clone().acquire_owned().await.ok()?;
            let of_all = match self.first.clone().try_acquire_owned() {
                Ok(first) => first,
                Err(_) => tokio::select! {
                    biased;
                    first = self.first.clone().acquire_owned() => first.ok()?,
                    of_all = total.0.clone().acquire_owned() => of_all.ok()?,
                },
            };
            Some(Permit { _place: place, _of_all: of_all })
        };
        timeout(patience, taken).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_share_and_the_bound_of_all_are_kept() {
        let total = TotalConcurrency::new(4);
        let (hung, well) = (EndpointConcurrency::new(3), EndpointConcurrency::new(3));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(hung.take(&total, PATIENCE).await.unwrap());
        }
        assert!(hung.take(&total, PATIENCE).await.is_none(), "its share is used up");
        assert_eq!(hung.places.available_permits(), 0);
        for _ in 0..3 {
            held.push(well.take(&total, PATIENCE).await.unwrap());
        }
        // Four of all and the first of each: two are left, for a third authority one.
        let third = EndpointConcurrency::new(3);
        assert!(third.take(&total, PATIENCE).await.is_some(), "the first of each authority goes through");
        let first = third.take(&total, PATIENCE).await.unwrap();
        assert!(third.take(&total, PATIENCE).await.is_none(), "a second one waits");
        held.clear();
        assert!(third.take(&total, PATIENCE).await.is_some());
        drop(first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_has_an_end() {
        let (total, share) = (TotalConcurrency::new(100), Arc::new(EndpointConcurrency::new(1)));
        let held = share.take(&total, PATIENCE).await.unwrap();
        let total = Arc::new(total);
        let waiting: tokio::task::JoinSet<bool> = (0..WAITING + 50)
            .map(|_| {
                let (share, total) = (share.clone(), total.clone());
                async move { share.take(&total, 1000 * PATIENCE).await.is_some() }
            })
            .collect();
        tokio::task::yield_now().await;
        drop(held);
        let served = waiting.join_all().await.into_iter().filter(|served| *served).count();
        assert_eq!(served, WAITING);
    }
}
