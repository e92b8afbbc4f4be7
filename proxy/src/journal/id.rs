//! Ids of messages: short, unique over restarts and nodes, and in the order of time.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::rand;

/// Digits in the order of their bytes, without those that are easily confused (Crockford's base 32).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Digits of the time: milliseconds since 1970, which fill them in the year 3084.
const TIME_DIGITS: u32 = 9;

/// Digits of the process: two that write to one journal have the same with a probability of 1 to 33 million, and then only ids of the same
/// millisecond are the same.
const PROCESS_DIGITS: u32 = 5;

/// Makes the ids of one process.
#[derive(Debug)]
pub(super) struct IdSource {
    process: String,
    /// The time in the last id. A clock that is set back, or two messages in a millisecond, do not repeat it.
    last: Mutex<u64>,
}

impl Default for IdSource {
    fn default() -> Self {
        let mut bytes = [0; 8];
        // Without random numbers nothing could be sealed either; the process id is better than one number for all.
        let random = match rand::fill(&mut bytes) {
            Ok(()) => u64::from_be_bytes(bytes),
            Err(_) => u64::from(std::process::id()),
        };
        Self { process: digits(random, PROCESS_DIGITS), last: Mutex::default() }
    }
}

impl IdSource {
    /// An id that this process has not made before, greater than all of them.
    pub(super) fn next(&self, now: SystemTime) -> String {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = now.max(last.saturating_add(1));
        format!("{}-{}", digits(*last, TIME_DIGITS), self.process)
    }
}

/// The last digits of a number.
fn digits(number: u64, count: u32) -> String {
    let digit = |place: u32| {
        let index = usize::try_from(number >> (5 * place) & 31).unwrap_or_default();
        char::from(DIGITS.get(index).copied().unwrap_or(b'0'))
    };
    (0..count).rev().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn ids_are_short_and_in_the_order_of_time() {
        let source = IdSource::default();
        let ids: Vec<String> = [1_796_000_000_000, 1_796_000_000_000, 1_796_000_000_007, 1_796_086_400_000]
            .map(|at_| source.next(at(at_)))
            .into();
        assert!(ids.is_sorted() && ids.iter().collect::<BTreeSet<_>>().len() == 4, "{ids:?}");
        assert!(ids.iter().all(|id| id.len() == 15), "{ids:?}");
    }

    /// NTP, or a person, sets the clock back.
    #[test]
    fn clock_that_is_set_back_repeats_no_id() {
        let source = IdSource::default();
        let (first, second) = (source.next(at(1_796_000_000_000)), source.next(at(1_795_000_000_000)));
        assert!(second > first, "{first} {second}");
        assert!(source.next(SystemTime::UNIX_EPOCH - Duration::from_secs(1)) > second);
    }

    /// Another process, or the same program after a restart, may make an id in the same millisecond.
    #[test]
    fn processes_make_different_ids_at_the_same_time() {
        let all: BTreeSet<String> = (0..100).map(|_| IdSource::default().next(at(1_796_000_000_000))).collect();
        assert!(all.len() >= 99, "{}", all.len());
    }
}
