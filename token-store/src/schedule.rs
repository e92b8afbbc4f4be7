//! When a token is refreshed, and when a refresh that failed is tried again. Pure: everything from what is stored and
//! the time now, so that a clock that jumps or a week of sleep needs no case of its own.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;

use crate::error::ErrorKind;

/// A refresh is due at this part of the lifetime, give or take [`SPREAD`].
const DUE: f64 = 0.70;

/// Accounts that were added together drift apart.
const SPREAD: f64 = 0.05;

/// A caller waits for a new token when less than this, or a tenth of its lifetime, is left.
const NEARLY_OVER: Duration = Duration::from_secs(5 * 60);

/// A clock that was set back further than this has lost the age of what is stored.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// How long a whole request to an authority may take, to the last byte of the answer.
pub const REQUEST_TIME: Duration = Duration::from_secs(30);

/// The longest that a `Retry-After` is obeyed.
pub const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(3600);

/// By how much of it a Retry-After is lengthened at most.
const RETRY_AFTER_SPREAD: f64 = 0.1;

/// The shortest and the longest pause after failures of each kind. Entra reports some failures that pass by themselves as
/// `invalid_grant`, so no kind is ever final.
const fn pauses(kind: ErrorKind) -> (Duration, Duration) {
    match kind {
        ErrorKind::Transient => (Duration::from_secs(1), Duration::from_secs(5 * 60)),
        // Our own disk is no server that must be spared, and what waits in memory is to be written soon.
        ErrorKind::Store => (Duration::from_secs(1), Duration::from_secs(60)),
        ErrorKind::Misconfigured => (Duration::from_secs(60), Duration::from_secs(15 * 60)),
        ErrorKind::SignInRequired => (Duration::from_secs(60), Duration::from_secs(3600)),
    }
}

/// `time + by`, at the end of time if it has one.
pub(crate) fn after(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_add(by).unwrap_or(time)
}

/// A time as the store keeps it.
pub(crate) fn to_the_millisecond(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    after(SystemTime::UNIX_EPOCH, Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// When to refresh a token. `jitter` is between 0 and 1.
pub fn next_refresh(issued_at: SystemTime, lifetime: Duration, jitter: f64) -> SystemTime {
    after(issued_at, lifetime.mul_f64(DUE + SPREAD * (2.0 * jitter.clamp(0.0, 1.0) - 1.0)))
}

/// What a caller may do with an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// Use the token.
    Yes,
    /// Refresh it; if that fails temporarily, this one is still valid.
    NearlyOver,
    /// The token has expired.
    No,
}

/// Whether an access token may be used now.
pub fn usable(issued_at: SystemTime, expires_at: SystemTime, now: SystemTime) -> Usable {
    let Ok(left) = expires_at.duration_since(now) else { return Usable::No };
    let lifetime = expires_at.duration_since(issued_at).unwrap_or_default();
    if left.is_zero() {
        Usable::No
    } else if left < NEARLY_OVER.min(lifetime / 10) || set_back(issued_at, now) {
        Usable::NearlyOver
    } else {
        Usable::Yes
    }
}

/// Whether the refresher should act. `written_at` is when the plan was made; a plan from the future was made before the
/// clock was set back, and says nothing.
pub fn is_due(next_refresh: Option<SystemTime>, written_at: Option<SystemTime>, now: SystemTime) -> bool {
    next_refresh.is_none_or(|due| due <= now) || written_at.is_some_and(|written| set_back(written, now))
}

fn set_back(written_at: SystemTime, now: SystemTime) -> bool {
    written_at > after(now, CLOCK_TOLERANCE)
}

/// How long to leave an account alone after its `failures`-th failure in a row. `jitter` is between 0 and 1.
pub fn pause(kind: ErrorKind, failures: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let (shortest, longest) = pauses(kind);
    if let Some(asked) = retry_after {
        // Never before the time that was asked for, and not all accounts at the same moment behind it.
        return asked.clamp(shortest, RETRY_AFTER_LIMIT).mul_f64(1.0 + RETRY_AFTER_SPREAD * jitter.clamp(0.0, 1.0));
    }
    let doubled =
        shortest.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(longest);
    // Between three quarters and the whole of it, but never less than the shortest.
    doubled.mul_f64(0.75 + 0.25 * jitter.clamp(0.0, 1.0)).max(shortest)
}

/// A random number between 0 and 1.
pub(crate) fn jitter() -> f64 {
    let mut bytes = [0; 2];
    // Without random numbers everybody acts in the middle.
    rand::fill(&mut bytes).map_or(0.5, |()| f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn a_refresh_is_due_at_seventy_percent_give_or_take() {
        assert_eq!(next_refresh(at(0), HOUR, 0.5), at(2520));
        assert_eq!(next_refresh(at(0), HOUR, 0.0), at(2340));
        assert_eq!(next_refresh(at(0), HOUR, 1.0), at(2700));
        assert_eq!(next_refresh(at(0), HOUR, f64::INFINITY), at(2700), "a wild jitter is bounded");
        let jitters: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(jitters.iter().all(|jitter| (0.0..=1.0).contains(jitter)));
        assert!(jitters.iter().any(|jitter| jitter != &jitters[0]), "accounts drift apart");
    }

    #[test]
    fn a_token_is_used_until_it_is_nearly_over() {
        let usable = |now| usable(at(0), at(3600), at(now));
        assert_eq!(usable(0), Usable::Yes);
        assert_eq!(usable(3300), Usable::Yes);
        assert_eq!(usable(3301), Usable::NearlyOver);
        assert_eq!(usable(3599), Usable::NearlyOver);
        assert_eq!(usable(3600), Usable::No);
        assert_eq!(usable(7 * 24 * 3600), Usable::No, "after a week of sleep");
        // Ten minutes of life, the shortest that a tenant's policy allows: one minute is nearly over.
        assert_eq!(super::usable(at(0), at(600), at(539)), Usable::Yes);
        assert_eq!(super::usable(at(0), at(600), at(541)), Usable::NearlyOver);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_everything_due() {
        assert!(!is_due(Some(at(2520)), Some(at(0)), at(2519)));
        assert!(is_due(Some(at(2520)), Some(at(0)), at(2520)));
        assert!(is_due(None, None, at(0)), "never planned");
        assert!(!is_due(Some(at(2520)), Some(at(200)), at(0)), "a small correction does not count");
        assert!(!is_due(Some(at(2520)), Some(at(300)), at(0)), "as far as one may be");
        assert!(is_due(Some(at(2520)), Some(at(301)), at(0)));
        assert!(is_due(Some(at(9000)), Some(at(6480)), at(0)));
        assert_eq!(usable(at(6480), at(10080), at(0)), Usable::NearlyOver, "its age is unknown");
    }

    #[test]
    fn pauses_grow_within_their_bounds() {
        assert_eq!(pause(ErrorKind::Transient, 1, None, 0.0), Duration::from_secs(1));
        assert_eq!(pause(ErrorKind::Transient, 3, None, 1.0), Duration::from_secs(4));
        assert_eq!(pause(ErrorKind::Transient, 3, None, 0.0), Duration::from_secs(3));
        assert_eq!(pause(ErrorKind::Transient, u32::MAX, None, 1.0), 5 * MINUTE);
        assert_eq!(pause(ErrorKind::SignInRequired, 1, None, 0.3), MINUTE);
        assert_eq!(pause(ErrorKind::SignInRequired, 40, None, 1.0), HOUR);
        assert_eq!(pause(ErrorKind::Misconfigured, 40, None, 1.0), 15 * MINUTE);
        assert_eq!(pause(ErrorKind::Transient, 9, Some(7 * MINUTE), 0.0), 7 * MINUTE, "Retry-After wins");
        assert_eq!(
            pause(ErrorKind::Transient, 9, Some(10 * MINUTE), 1.0),
            11 * MINUTE,
            "and is not the same moment for all"
        );
        assert_eq!(pause(ErrorKind::Transient, 1, Some(Duration::ZERO), 0.0), Duration::from_secs(1));
        assert_eq!(pause(ErrorKind::Transient, 1, Some(24 * HOUR), 0.0), HOUR);
    }
}
