//! The recipients of a day: of the last twenty-four hours, counted hour by hour.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const HOUR: u64 = 3600;

const DAY: Duration = Duration::from_secs(24 * HOUR);

/// The part of the limit at which there is a warning, in percent.
const WARN_FROM: u64 = 80;

/// The recipients of the last day.
#[derive(Debug)]
pub(super) struct RecipientsPerDay {
    limit: u64,
    since: Instant,
    /// Hours since then, with how many there were in them; the newest last, no more than 24.
    hours: VecDeque<(u64, u64)>,
    warned: Option<Instant>,
}

/// The mailbox is near its limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Warning {
    pub(super) recipients: u64,
    pub(super) limit: u64,
}

impl RecipientsPerDay {
    /// Of so many; with 0 there is no limit.
    pub(super) fn of(limit: u64) -> Self {
        Self { limit, since: Instant::now(), hours: VecDeque::new(), warned: None }
    }

    /// A message with so many has been sent. A warning is due once a day, while there are nearly as many as may be.
    pub(super) fn count(&mut self, recipients: usize, now: Instant) -> Option<Warning> {
        if self.limit == 0 {
            return None;
        }
        let hour = now.saturating_duration_since(self.since).as_secs() / HOUR;
        while self.hours.front().is_some_and(|(old, _)| old + 24 <= hour) {
            self.hours.pop_front();
        }
        let recipients = recipients as u64;
        match self.hours.back_mut() {
            Some((last, count)) if *last == hour => *count = count.saturating_add(recipients),
            _ => self.hours.push_back((hour, recipients)),
        }
        let sum = self.hours.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let warned = self.warned.is_some_and(|at| now.saturating_duration_since(at) < DAY);
        if warned || sum.saturating_mul(100) < self.limit.saturating_mul(WARN_FROM) {
            return None;
        }
        self.warned = Some(now);
        Some(Warning { recipients: sum, limit: self.limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_comes_once_a_day_from_80_percent() {
        let mut day = RecipientsPerDay::of(10_000);
        let start = Instant::now();
        let at = |hours: u64| start + Duration::from_secs(hours * HOUR);
        assert_eq!(day.count(4_000, at(1)), None);
        assert_eq!(day.count(3_999, at(12)), None);
        assert_eq!(day.count(1, at(13)), Some(Warning { recipients: 8_000, limit: 10_000 }));
        assert_eq!(day.count(1_000, at(14)), None, "said already");
        // The first 4,000 are older than a day.
        assert_eq!(day.count(1, at(26)), None);
        assert_eq!(day.count(3_000, at(30)), None, "8,001, but said within the last day");
        assert_eq!(day.count(2_000, at(37)), None, "those of hours 12 and 13 are gone");
        assert_eq!(day.count(3_999, at(38)), Some(Warning { recipients: 9_000, limit: 10_000 }));
        assert!(day.hours.len() <= 24);
    }

    #[test]
    fn warning_comes_again_exactly_a_day_later() {
        let (mut day, start) = (RecipientsPerDay::of(100), Instant::now());
        let at = |hours: u64| start + Duration::from_secs(hours * HOUR);
        assert_eq!(day.count(80, at(1)), Some(Warning { recipients: 80, limit: 100 }));
        assert_eq!(day.count(1, at(25) - Duration::from_secs(1)), None);
        assert_eq!(day.count(80, at(25)), Some(Warning { recipients: 81, limit: 100 }));
    }

    #[test]
    fn no_warning_without_a_limit() {
        assert_eq!(RecipientsPerDay::of(0).count(1_000_000, Instant::now()), None);
    }
}
