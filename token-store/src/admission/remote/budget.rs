//! The budget of wrong passwords by source, over all accounts: password spraying through this proxy must not make Entra block
//! the whole site as an attacker (AADSTS50053).

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use crate::source::Source;

/// The time within which wrong passwords are counted.
const WINDOW: Duration = Duration::from_secs(3600);

/// How many wrong passwords Microsoft hears within [`WINDOW`] from one place.
const PER_SOURCE_LIMIT: usize = 16;

/// How many from all of them together.
const TOTAL_LIMIT: usize = 64;

/// Wrong passwords from sources that are unfamiliar to the account; at most [`TOTAL_LIMIT`] of them.
#[derive(Default)]
pub(super) struct UnfamiliarBudget(HashMap<Source, Vec<SystemTime>>);

impl UnfamiliarBudget {
    /// Counts a password as wrong before the answer is known, so that concurrent ones are counted too. `false` if the budget is
    /// used up.
    pub(super) fn take(&mut self, from: Source, now: SystemTime) -> bool {
        self.0.retain(|_, times| {
            // A time in the future was noted before the clock was set back, and counts from now on.
            times.iter_mut().for_each(|time| *time = (*time).min(now));
            times.retain(|time| now.duration_since(*time).is_ok_and(|age| age < WINDOW));
            !times.is_empty()
        });
        let from_all: usize = self.0.values().map(Vec::len).sum();
        let may = from_all < TOTAL_LIMIT && self.0.get(&from).map_or(0, Vec::len) < PER_SOURCE_LIMIT;
        if may {
            self.0.entry(from).or_default().push(now);
        }
        may
    }

    /// The last one was not wrong.
    pub(super) fn give_back(&mut self, from: Source) {
        if let Some(times) = self.0.get_mut(&from) {
            times.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn at(minutes: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + 60 * minutes)
    }

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn source_and_total_have_limits_and_get_attempts_back() {
        let mut unfamiliar = UnfamiliarBudget::default();
        let mut heard = 0;
        for place in 0..100 {
            let from = Source::of(IpAddr::from([203, 0, 113, place]));
            let of_one = (0..50).filter(|_| unfamiliar.take(from, at(0))).count();
            assert!(of_one <= PER_SOURCE_LIMIT);
            heard += of_one;
        }
        assert_eq!(heard, TOTAL_LIMIT);
        assert!(!unfamiliar.take(source("10.0.0.1"), at(59)));
        assert!(!unfamiliar.take(source("10.0.0.1"), at(0) - Duration::from_secs(86_400)), "the clock was set back");
        assert!(unfamiliar.take(source("10.0.0.1"), at(60)));
        for _ in 0..50 {
            unfamiliar.give_back(source("10.0.0.1"));
            assert!(unfamiliar.take(source("10.0.0.1"), at(60)), "right passwords are not counted");
        }
    }
}
