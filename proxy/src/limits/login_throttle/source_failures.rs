//! What blocks a source: different wrong logins that are not repeated. A device that does not have the new password repeats
//! the same login for months; a guesser never does.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::recent_attempts::PairTag;

/// Those that are too young to count, on top of those that do.
const YOUNG: usize = 512;

/// When a source is blocked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLimits {
    /// Different wrong logins that block a source from which no login has ever succeeded. 0: none do.
    pub after: u32,
    /// A wrong login that was not repeated for this long counts. Mail programs and devices try again within minutes.
    pub repeat_interval: Duration,
    /// How long a block lasts.
    pub duration: Duration,
    /// How long it takes until one of them is forgotten.
    pub decay_interval: Duration,
}

/// The wrong logins of one source that were not repeated.
#[derive(Debug, Default)]
pub(super) struct SourceFailures {
    /// In the order of their times.
    failures: VecDeque<(Instant, PairTag)>,
    /// Until when the oldest is kept.
    decays: Option<Instant>,
}

impl SourceFailures {
    /// A login was wrong that was not seen before. Whether the source is to be blocked now.
    pub(super) fn note(&mut self, tag: PairTag, limits: &BlockLimits, now: Instant) -> bool {
        self.decay(limits, now);
        if self.failures.is_empty() {
            self.decays = Some(now + limits.decay_interval);
        }
        self.failures.push_back((now, tag));
        if self.failures.len() > limits.after as usize + YOUNG {
            self.failures.pop_front();
        }
        let old = self
            .failures
            .iter()
            .take_while(|(since, _)| now.saturating_duration_since(*since) >= limits.repeat_interval);
        limits.after > 0 && old.count() >= limits.after as usize
    }

    /// It was repeated: no guess.
    pub(super) fn repeated(&mut self, tag: &PairTag) {
        if let Some(at) = self.failures.iter().position(|(_, failure)| failure == tag) {
            self.failures.remove(at);
        }
    }

    /// Forgets one for each interval that has passed. Whether there are none left.
    pub(super) fn decay(&mut self, limits: &BlockLimits, now: Instant) -> bool {
        while let Some(decays) = self.decays.filter(|&decays| decays <= now) {
            self.failures.pop_front();
            self.decays = (!self.failures.is_empty()).then(|| decays + limits.decay_interval);
        }
        self.failures.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BlockLimits = BlockLimits {
        after: 3,
        repeat_interval: Duration::from_secs(900),
        duration: Duration::from_secs(900),
        decay_interval: Duration::from_secs(3600),
    };

    fn minutes(number: u64) -> Duration {
        Duration::from_secs(60 * number)
    }

    #[test]
    fn guesses_block_after_the_repeat_interval() {
        let (mut failures, start) = (SourceFailures::default(), Instant::now());
        for number in 0..3 {
            assert!(!failures.note([number; 16], &LIMITS, start));
        }
        assert!(!failures.note([3; 16], &LIMITS, start + minutes(14)));
        assert!(failures.note([4; 16], &LIMITS, start + minutes(15)));
        let off = BlockLimits { after: 0, ..LIMITS };
        assert!(!failures.note([5; 16], &off, start + minutes(59)), "switched off");
    }

    #[test]
    fn repeated_wrong_logins_never_block() {
        let (mut failures, start) = (SourceFailures::default(), Instant::now());
        for device in 0..200 {
            assert!(!failures.note([device; 16], &LIMITS, start));
            failures.repeated(&[device; 16]);
        }
        assert!(!failures.note([201; 16], &LIMITS, start + minutes(59)));
    }

    #[test]
    fn one_failure_is_forgotten_per_decay_interval() {
        let (mut failures, start) = (SourceFailures::default(), Instant::now());
        for number in 0..3 {
            failures.note([number; 16], &LIMITS, start);
        }
        assert!(!failures.decay(&LIMITS, start + minutes(60)));
        assert!(!failures.note([3; 16], &LIMITS, start + minutes(60)), "two are left that are old enough");
        assert!(!failures.decay(&LIMITS, start + minutes(239)));
        assert!(failures.decay(&LIMITS, start + minutes(240)));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut failures, now) = (SourceFailures::default(), Instant::now());
        for _ in 0..10_000 {
            failures.note([0; 16], &LIMITS, now);
        }
        assert_eq!(failures.failures.len(), 3 + YOUNG);
    }
}
