//! Log lines that anybody may cause, as often as they like: the first is written, and then one a minute that counts the rest,
//! so that a flood of connections does not become a flood of the disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often at most.
const EVERY: Duration = Duration::from_secs(60);

/// One kind of line.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Whether to write the line now, and how many were not written since the last one.
    pub fn say(&self) -> Option<u64> {
        let now = Instant::now();
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if since.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            since.unsaid = since.unsaid.saturating_add(1);
            return None;
        }
        since.last = Some(now);
        Some(std::mem::take(&mut since.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_said_and_then_one_a_minute() {
        let seldom = Seldom::default();
        assert_eq!(seldom.say(), Some(0));
        assert_eq!([(); 3].map(|()| seldom.say()), [None; 3]);
        tokio::time::advance(EVERY).await;
        assert_eq!(seldom.say(), Some(3));
        assert_eq!(seldom.say(), None);
    }
}
