//! What is removed from the journal, and when: pure decisions.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::database::{BATCH, Measure};
use crate::config::JournalSettings;

/// How often the journal is looked at.
pub(super) const CLEAN_EVERY: Duration = Duration::from_secs(600);

/// It is also looked at after so many events, so that a burst stays within a hundredth of the smallest bound.
pub(super) const CLEAN_AFTER_EVENTS: u64 = 1_000;

/// For how long after the start, or after the clock was set, nothing is removed because of its age: a clock that is wrong for a while must
/// not cost the whole journal.
const CLOCK_SETTLES: Duration = Duration::from_secs(600);

/// A clock that differs from the monotonic one by more than this was set.
const CLOCK_WAS_SET: Duration = Duration::from_secs(60);

/// Whether the clock can be trusted with what is old.
#[derive(Debug)]
pub(super) struct ClockGuard {
    last: (SystemTime, Instant),
    settled: Instant,
}

impl ClockGuard {
    pub(super) fn new(now: SystemTime, instant: Instant) -> Self {
        Self { last: (now, instant), settled: instant + CLOCK_SETTLES }
    }

    /// Looks at the clock; `true` if it was not set for a while.
    pub(super) fn is_settled(&mut self, now: SystemTime, instant: Instant) -> bool {
        let (time, at) = std::mem::replace(&mut self.last, (now, instant));
        let expected = time.checked_add(instant.saturating_duration_since(at)).unwrap_or(now);
        let off = now.duration_since(expected).unwrap_or_else(|error| error.duration());
        if off > CLOCK_WAS_SET {
            self.settled = instant + CLOCK_SETTLES;
        }
        instant >= self.settled
    }
}

/// Everything from before this is too old. `None` before 1970.
pub(super) fn oldest_kept(settings: &JournalSettings, now: SystemTime) -> Option<SystemTime> {
    now.checked_sub(settings.keep)
}

/// How many of the oldest events are removed next, because there are too many; 0 if there are not.
pub(super) fn surplus(settings: &JournalSettings, measure: Measure) -> usize {
    let too_many = usize::try_from(measure.events.saturating_sub(settings.max_events)).unwrap_or(BATCH);
    let too_large = if measure.bytes > settings.max_bytes { BATCH } else { 0 };
    too_many.max(too_large).min(BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn surplus_is_what_is_beyond_a_bound() {
        let settings = JournalSettings { max_events: 1_000, max_bytes: 1_000_000, ..JournalSettings::default() };
        let of = |events, bytes| surplus(&settings, Measure { events, bytes });
        assert_eq!(of(1_000, 1_000_000), 0);
        assert_eq!(of(1_003, 5), 3);
        assert_eq!(of(100_000, 5), BATCH);
        assert_eq!(of(10, 1_000_001), BATCH);
    }

    #[test]
    fn clock_that_was_set_is_not_trusted_for_a_while() {
        let (start, instant) = (SystemTime::UNIX_EPOCH + 20_000 * DAY, Instant::now());
        let mut guard = ClockGuard::new(start, instant);
        let mut look = |wall: Duration, since: Duration| guard.is_settled(start + wall, instant + since);
        assert!(!look(CLEAN_EVERY / 2, CLEAN_EVERY / 2), "it has just started");
        assert!(look(CLEAN_EVERY, CLEAN_EVERY));
        // Ten years ahead, and back again.
        assert!(!look(3650 * DAY, CLEAN_EVERY * 2));
        assert!(!look(CLEAN_EVERY * 5 / 2, CLEAN_EVERY * 5 / 2));
        assert!(look(CLEAN_EVERY * 7 / 2, CLEAN_EVERY * 7 / 2));
    }
}
