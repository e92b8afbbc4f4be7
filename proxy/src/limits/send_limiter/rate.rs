//! The messages of any minute, and who of those that wait is next.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, sleep};

use super::fair_queue::Class;
use super::fair_slots::FairSlots;
use super::minute_window::MinuteWindow;

/// A limit of messages within any minute, for all clients together.
#[derive(Debug)]
pub struct Rate {
    limit: usize,
    minute: Mutex<MinuteWindow>,
    /// One waits for the minute, the others for this one slot.
    next: Arc<FairSlots>,
}

impl Rate {
    /// Nothing was sent yet.
    pub fn of(limit: usize) -> Self {
        Self { limit, minute: Mutex::new(MinuteWindow::of(limit)), next: Arc::new(FairSlots::new(1)) }
    }

    /// How many a minute.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How long until the next message may begin; `None`: it may now.
    pub(super) fn wait(&self) -> Option<std::time::Duration> {
        self.minute.lock().unwrap_or_else(PoisonError::into_inner).wait(Instant::now())
    }

    /// Waits for a message's permit, after those of its class that came before.
    pub(super) async fn permit(&self, class: Class) {
        let _next = self.next.acquire(class).await;
        while let Some(wait) = self.take() {
            sleep(wait).await;
        }
    }

    fn take(&self) -> Option<std::time::Duration> {
        self.minute.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}
