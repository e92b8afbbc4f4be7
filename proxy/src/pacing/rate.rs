//! The messages a minute of those who send without a login.

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::minute::Minute;

/// So many messages within any minute, whoever of them sends.
#[derive(Debug)]
pub struct Rate {
    limit: usize,
    minute: Mutex<Minute>,
}

impl Rate {
    /// Nothing was sent yet.
    pub fn of(limit: usize) -> Self {
        Self { limit, minute: Mutex::new(Minute::of(limit)) }
    }

    /// How many a minute.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Waits for a message's turn, behind those who came before.
    pub(super) async fn turn(&self) {
        let mut minute = self.minute.lock().await;
        while let Some(wait) = minute.take(Instant::now()) {
            sleep(wait).await;
        }
    }
}
