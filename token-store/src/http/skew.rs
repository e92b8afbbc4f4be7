//! Whether our clock agrees with those of the authorities, from the dates of their answers. It is said once that it does not, and
//! once that it does again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::database::time::distance;

/// What Entra tolerates in a signed statement.
const TOLERATED: Duration = Duration::from_secs(5 * 60);

/// What was said of each authority.
#[derive(Debug, Default)]
pub(super) struct Skew(Mutex<HashMap<String, bool>>);

impl Skew {
    /// An answer had this date when our clock said `now`.
    pub(super) fn note(&self, host: &str, date: SystemTime, now: SystemTime) {
        let (by, ahead) = distance(now, date);
        match self.changed(host, by > TOLERATED) {
            Some(true) => tracing::warn!(
                host,
                seconds = by.as_secs(),
                "the clock is {} that of the sign-in service; tokens and certificates are judged by it: set it (NTP)",
                if ahead { "ahead of" } else { "behind" }
            ),
            Some(false) => tracing::info!(host, "the clock agrees with that of the sign-in service again"),
            None => {}
        }
    }

    /// Whether it is wrong, if that is news.
    fn changed(&self, host: &str, wrong: bool) -> Option<bool> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(host).copied().unwrap_or_default() == wrong {
            return None;
        }
        said.insert(host.to_owned(), wrong);
        Some(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_clock_is_news_once_for_each_authority() {
        let skew = Skew::default();
        assert_eq!(skew.changed("a", false), None);
        assert_eq!(skew.changed("a", true), Some(true));
        assert_eq!(skew.changed("a", true), None);
        assert_eq!(skew.changed("b", true), Some(true));
        assert_eq!(skew.changed("a", false), Some(false));
        assert_eq!(skew.changed("a", false), None);
    }
}
