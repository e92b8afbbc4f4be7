//! What is known of the addresses of one name: when it may be used as it is, and when it is asked for again. Without a
//! resolver or a clock.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long an answer is used without asking again. The system's resolver does not tell how long an answer is good; names of
/// mail services change theirs within minutes.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(30);

/// How long an answer is used when there is no newer one (RFC 8767, 5).
pub(super) const STALE_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a lookup is waited for when there is an old answer (RFC 8767, 5: "client response timer").
pub(super) const STALE_ANSWER_TIMEOUT: Duration = Duration::from_millis(1800);

/// How long an old answer is used without asking again after a lookup that failed (RFC 8767, 5: "failure recheck timer").
pub(super) const RECHECK_AFTER: Duration = Duration::from_secs(30);

/// Addresses, in the order of the resolver.
pub(super) type Addresses = Arc<[IpAddr]>;

/// The last answer for one name.
#[derive(Debug, Default)]
pub(super) struct CachedAnswer {
    answer: Option<(Addresses, Instant)>,
    expired: bool,
    failed: Option<Instant>,
}

/// Whether the cached addresses can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Use these.
    Nothing(Addresses),
    /// Ask; wait for [`STALE_ANSWER_TIMEOUT`], and use these if there is no answer by then.
    Newer(Addresses),
    /// Ask, and wait.
    Any,
}

impl CachedAnswer {
    /// Whether these addresses will do.
    pub(super) fn need(&self, now: Instant) -> Need {
        let Some((addresses, at)) = &self.answer else { return Need::Any };
        let age = now.saturating_duration_since(*at);
        if age >= STALE_FOR {
            return Need::Any;
        }
        let asked_in_vain = self.failed.is_some_and(|at| now.saturating_duration_since(at) < RECHECK_AFTER);
        if age < FRESH_FOR && !self.expired || asked_in_vain {
            return Need::Nothing(Arc::clone(addresses));
        }
        Need::Newer(Arc::clone(addresses))
    }

    /// The resolver has answered.
    pub(super) fn answered(&mut self, addresses: Addresses, now: Instant) {
        *self = Self { answer: Some((addresses, now)), expired: false, failed: None };
    }

    /// The resolver has failed, or takes too long.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failed = Some(now);
    }

    /// None of the addresses answers: there may be others by now.
    pub(super) fn expire(&mut self) {
        self.expired = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(last: u8) -> Addresses {
        [IpAddr::from([192, 0, 2, last])].into()
    }

    #[test]
    fn answer_is_fresh_then_stale_then_gone() {
        let (mut known, now) = (CachedAnswer::default(), Instant::now());
        assert_eq!(known.need(now), Need::Any);
        known.answered(addresses(1), now);
        let just_before = |age: Duration| now + age - Duration::from_millis(1);
        assert_eq!(known.need(just_before(FRESH_FOR)), Need::Nothing(addresses(1)));
        assert_eq!(known.need(now + FRESH_FOR), Need::Newer(addresses(1)));
        assert_eq!(known.need(just_before(STALE_FOR)), Need::Newer(addresses(1)));
        assert_eq!(known.need(now + STALE_FOR), Need::Any);
        known.answered(addresses(2), now + STALE_FOR);
        assert_eq!(known.need(now + STALE_FOR), Need::Nothing(addresses(2)));
    }

    #[test]
    fn stale_answer_is_used_for_a_while_after_a_failure() {
        let (mut known, now) = (CachedAnswer::default(), Instant::now());
        known.failed(now);
        assert_eq!(known.need(now), Need::Any, "there is nothing to use instead");
        known.answered(addresses(1), now);
        let failed = now + FRESH_FOR;
        known.failed(failed);
        assert_eq!(known.need(failed), Need::Nothing(addresses(1)));
        assert_eq!(known.need(failed + RECHECK_AFTER - Duration::from_millis(1)), Need::Nothing(addresses(1)));
        assert_eq!(known.need(failed + RECHECK_AFTER), Need::Newer(addresses(1)));
        known.failed(now + STALE_FOR);
        assert_eq!(known.need(now + STALE_FOR), Need::Any, "too old, whatever the resolver does");
    }

    #[test]
    fn answer_whose_addresses_fail_is_asked_for_again() {
        let (mut known, now) = (CachedAnswer::default(), Instant::now());
        known.expire();
        assert_eq!(known.need(now), Need::Any);
        known.answered(addresses(1), now);
        known.expire();
        assert_eq!(known.need(now), Need::Newer(addresses(1)));
        known.answered(addresses(2), now);
        assert_eq!(known.need(now), Need::Nothing(addresses(2)));
    }
}
