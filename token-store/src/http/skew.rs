//! Whether our clock agrees with those of the authorities, from the dates of their answers. It is said once that it does not, and
//! once that it does again. What was measured last is kept for people.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use crate::{clock::ClockSkew, database::time::distance};

/// What Entra tolerates in a signed statement.
const TOLERATED: Duration = Duration::from_secs(5 * 60);

/// For how long a measurement counts: tokens are refreshed within the hour, so an authority that is in use has answered by then. What was
/// measured before that may have been corrected since, and is not shown.
const MEASURED_WITHIN: Duration = Duration::from_secs(2 * 3600);

/// What the clock of each authority has said last.
#[derive(Debug, Default)]
pub(super) struct Skew {
    measured: Mutex<HashMap<String, Measured>>,
    /// Counts how often one began or ceased to be wrong.
    news: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    by: Duration,
    ahead: bool,
    /// When, by a monotonic clock.
    at: Duration,
}

impl Measured {
    fn is_wrong(self, elapsed: Duration) -> bool {
        self.by > TOLERATED && elapsed.saturating_sub(self.at) < MEASURED_WITHIN
    }
}

impl Skew {
    /// An answer had this date when our clock said `now`, and a monotonic one `elapsed`.
    pub(super) fn note(&self, host: &str, date: SystemTime, now: SystemTime, elapsed: Duration) {
        let (by, ahead) = distance(now, date);
        match self.changed(host, Measured { by, ahead, at: elapsed }) {
            Some(true) => tracing::warn!(
                host,
                seconds = by.as_secs(),
                "the clock is {} that of the sign-in service, which checks tokens and certificates by its own: set it (NTP)",
                if ahead { "ahead of" } else { "behind" }
            ),
            Some(false) => tracing::info!(host, "the clock agrees with that of the sign-in service again"),
            None => {}
        }
    }

    /// Whether it is wrong, if that is news.
    fn changed(&self, host: &str, now: Measured) -> Option<bool> {
        let before = self.lock().insert(host.to_owned(), now).is_some_and(|before| before.is_wrong(now.at));
        let is_wrong = now.is_wrong(now.at);
        if before == is_wrong {
            return None;
        }
        self.news.send_modify(|count| *count += 1);
        Some(is_wrong)
    }

    /// The authorities whose clock disagrees with ours, by name, as far as that was measured lately.
    pub(super) fn wrong(&self, elapsed: Duration) -> Vec<ClockSkew> {
        let measured = self.lock();
        let wrong = measured.iter().filter(|(_, measured)| measured.is_wrong(elapsed));
        let skew = |(host, Measured { by, ahead, .. }): (&String, &Measured)| ClockSkew {
            peer: host.clone(),
            by: *by,
            ahead: *ahead,
        };
        let mut wrong: Vec<ClockSkew> = wrong.map(skew).collect();
        wrong.sort_by(|one, other| one.peer.cmp(&other.peer));
        wrong
    }

    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Measured>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_clock_is_news_once_for_each_authority() {
        let skew = Skew::default();
        let news = skew.news();
        let changed = |host, wrong| {
            let by = if wrong { TOLERATED + Duration::from_secs(1) } else { TOLERATED };
            skew.changed(host, Measured { by, ahead: true, at: Duration::ZERO })
        };
        assert_eq!(changed("b", false), None);
        assert!(!news.has_changed().unwrap());
        assert_eq!(changed("b", true), Some(true));
        assert_eq!(changed("b", true), None);
        assert_eq!(changed("a", true), Some(true));
        let wrong: Vec<_> =
            skew.wrong(Duration::ZERO).into_iter().map(|skew| (skew.peer, skew.by.as_secs(), skew.ahead)).collect();
        assert_eq!(wrong, [("a".to_owned(), 301, true), ("b".to_owned(), 301, true)]);
        assert_eq!(changed("b", false), Some(false));
        assert_eq!(changed("b", false), None);
        assert_eq!((skew.wrong(Duration::ZERO).len(), *news.borrow()), (1, 3));
    }

    #[test]
    fn measurement_that_is_old_is_not_shown() {
        let skew = Skew::default();
        let measured = |at| Measured { by: TOLERATED + Duration::from_secs(1), ahead: true, at };
        assert_eq!(skew.changed("a", measured(Duration::ZERO)), Some(true));
        assert_eq!(skew.wrong(MEASURED_WITHIN - Duration::from_secs(1)).len(), 1);
        assert!(skew.wrong(MEASURED_WITHIN).is_empty());
        // The next answer that shows it is news, and counts from then on.
        assert_eq!(skew.changed("a", measured(MEASURED_WITHIN)), Some(true));
        assert_eq!(skew.wrong(2 * MEASURED_WITHIN - Duration::from_secs(1)).len(), 1);
        assert!(skew.wrong(2 * MEASURED_WITHIN).is_empty());
    }
}
