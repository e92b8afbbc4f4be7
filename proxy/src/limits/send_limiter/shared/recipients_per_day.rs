//! The recipients of a mailbox's last twenty-four hours, of all nodes together. Pure: times are given, in milliseconds of the
//! database's clock.

use serde::{Deserialize, Serialize};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// The part of the limit from which on an administrator is warned, in percent.
const WARN_FROM: u64 = 80;

/// The recipients of the last day, hour by hour.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RecipientsPerDay {
    hours: Vec<(i64, u64)>,
    warned: Option<i64>,
}

impl RecipientsPerDay {
    /// Forgets what is older than a day. What a clock counted that was ahead counts from now on.
    pub(super) fn tick(&mut self, now: i64) {
        let hour = now.div_euclid(HOUR);
        self.warned = self.warned.filter(|at| (0..DAY).contains(&now.saturating_sub(*at)));
        self.hours.retain(|(old, _)| old.saturating_add(24) > hour);
        let ahead: u64 = self.hours.iter().filter(|(at, _)| *at > hour).fold(0, |sum, (_, n)| sum.saturating_add(*n));
        self.hours.retain(|(at, _)| *at <= hour);
        self.add(hour, ahead);
    }

    /// So many more. With a warning, which is due once a day, how many there were.
    pub(super) fn count(&mut self, recipients: u64, limit: u64, now: i64) -> Option<u64> {
        if limit == 0 {
            return None;
        }
        self.add(now.div_euclid(HOUR), recipients);
        let sum = self.hours.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        if self.warned.is_some() || sum.saturating_mul(100) < limit.saturating_mul(WARN_FROM) {
            return None;
        }
        self.warned = Some(now);
        Some(sum)
    }

    /// When nothing counts any more.
    pub(super) fn ends(&self) -> i64 {
        let last = self.hours.iter().map(|(hour, _)| *hour).max();
        last.map_or(0, |hour| hour.saturating_add(24).saturating_mul(HOUR))
    }

    fn add(&mut self, hour: i64, recipients: u64) {
        match self.hours.iter_mut().find(|(at, _)| *at == hour) {
            _ if recipients == 0 => {}
            Some((_, count)) => *count = count.saturating_add(recipients),
            None => self.hours.push((hour, recipients)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_is_given_once_a_day_for_all_nodes() {
        let mut day = RecipientsPerDay::default();
        let mut count = |recipients, hour: i64| {
            day.tick(hour * HOUR);
            day.count(recipients, 10_000, hour * HOUR)
        };
        assert_eq!(count(4_000, 500_001), None);
        assert_eq!(count(4_000, 500_012), Some(8_000));
        assert_eq!(count(1_000, 500_014), None, "said already");
        assert_eq!(count(2_999, 500_036), None, "the first 8,000 are older than a day");
        assert_eq!(count(4_001, 500_037), Some(8_000), "and so is the warning");
        // A clock that is set back by a week loses none and keeps none for longer than a day.
        assert_eq!(count(1, 500_037 - 168), Some(8_001));
        assert_eq!(count(1, 500_037 - 168 + 24), None);
        assert_eq!(day.hours.len(), 1);
    }
}
