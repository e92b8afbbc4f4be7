//! A rate with a burst: the generic cell rate algorithm (ITU-T I.371, annex A), as one point in time.

use std::time::Duration;

use tokio::time::Instant;

/// So many immediately, and then one in each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// How many may go immediately after a rest.
    pub(super) burst: u32,
    /// How long one more takes after that.
    pub(super) interval: Duration,
}

/// How much of a rate is used up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// When all of the burst is available again.
    rested: Option<Instant>,
}

impl Pace {
    /// When the next one may go; in the past, or now, if it may go immediately.
    pub(super) fn next(&self, rate: Rate, now: Instant) -> Instant {
        let ahead = rate.interval.saturating_mul(rate.burst.saturating_sub(1));
        self.rested.and_then(|rested| rested.checked_sub(ahead)).map_or(now, |next| next.max(now))
    }

    /// One goes.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) {
        self.rested = Some(self.rested.map_or(now, |rested| rested.max(now)) + rate.interval);
    }

    /// One that went does not count.
    pub(super) fn give_back(&mut self, rate: Rate) {
        self.rested = self.rested.and_then(|rested| rested.checked_sub(rate.interval));
    }

    /// Whether nothing of the rate is used up.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        self.rested.is_none_or(|rested| rested <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, interval: Duration::from_secs(10) };

    #[test]
    fn burst_then_one_per_interval() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut went = Vec::new();
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            while pace.next(RATE, now) <= now {
                pace.take(RATE, now);
                went.push(second);
            }
        }
        assert_eq!(went, [0, 0, 0, 10, 20, 30, 40, 50]);
        assert!(!pace.is_rested(start + Duration::from_secs(79)));
        assert!(pace.is_rested(start + Duration::from_secs(80)));
    }

    #[test]
    fn returned_permit_can_be_taken_once() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..3 {
            pace.take(RATE, now);
        }
        assert_eq!(pace.next(RATE, now), now + RATE.interval);
        pace.give_back(RATE);
        assert_eq!(pace.next(RATE, now), now);
        pace.take(RATE, now);
        assert_eq!(pace.next(RATE, now), now + RATE.interval);
        // Given back long after it was available again anyway.
        let later = now + Duration::from_secs(3600);
        pace.give_back(RATE);
        for _ in 0..3 {
            assert_eq!(pace.next(RATE, later), later);
            pace.take(RATE, later);
        }
        assert_eq!(pace.next(RATE, later), later + RATE.interval);
    }
}
