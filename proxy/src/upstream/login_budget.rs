//! The time that one upstream login may take, whatever it waits for: a send slot, the end of a back-off, a token, a
//! connection, TLS, the mail server.

use std::time::Duration;

use tokio::time::Instant;

/// The part of the budget that is left for the login itself when a send slot has come. It takes a second or two.
const FOR_THE_LOGIN: u32 = 10;

/// One login's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoginBudget {
    whole: Duration,
    began: Instant,
}

impl LoginBudget {
    /// It begins now.
    pub(crate) fn new(whole: Duration) -> Self {
        Self { whole, began: Instant::now() }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Duration {
        self.whole
    }

    /// When it ends.
    pub(crate) fn end(&self) -> Instant {
        self.began + self.whole
    }

    /// Until when a send slot is worth waiting for: a tenth of the budget before its end.
    pub(crate) fn end_for_slots(&self) -> Instant {
        self.began + (self.whole - self.whole / FOR_THE_LOGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slots_end_a_tenth_before_the_budget() {
        let (now, budget) = (Instant::now(), LoginBudget::new(Duration::from_secs(50)));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(budget.end(), now + Duration::from_secs(50));
        assert_eq!(budget.end_for_slots(), now + Duration::from_secs(45));
        assert_eq!(budget.whole(), Duration::from_secs(50));
    }
}
