//! What blocks a source: different wrong logins that are not repeated. A device that was not told of a new password repeats
//! the same login for months; a guesser never does.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::lane::PairTag;

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
pub(super) struct Strikes {
    /// In the order of their times.
    strikes: VecDeque<(Instant, PairTag)>,
    /// Until when the oldest is kept.
    decays: Option<Instant>,
}

impl Strikes {
    /// A login was wrong that was not seen before. Whether the source is to be blocked now.
    pub(super) fn strike(&mut self, tag: PairTag, limits: &BlockLimits, now: Instant) -> bool {
        self.decay(limits, now);
        if self.strikes.is_empty() {
            self.decays = Some(now + limits.decay_interval);
        }
        self.strikes.push_back((now, tag));
        if self.strikes.len() > limits.after as usize + YOUNG {
            self.strikes.pop_front();
        }
        let old = self
            .strikes
            .iter()
            .take_while(|(since, _)| now.saturating_duration_since(*since) >= limits.repeat_interval);
        limits.after > 0 && old.count() >= limits.after as usize
    }

    /// It was repeated: no guess.
    pub(super) fn repeated(&mut self, tag: &PairTag) {
        if let Some(at) = self.strikes.iter().position(|(_, strike)| strike == tag) {
            self.strikes.remove(at);
        }
    }

    /// Forgets one for each interval that has passed. Whether there are none left.
    pub(super) fn decay(&mut self, limits: &BlockLimits, now: Instant) -> bool {
        while let Some(decays) = self.decays.filter(|&decays| decays <= now) {
            self.strikes.pop_front();
            self.decays = (!self.strikes.is_empty()).then(|| decays + limits.decay_interval);
        }
        self.strikes.is_empty()
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
    fn guesses_block_once_they_are_old_enough_not_to_be_a_device() {
        let (mut strikes, start) = (Strikes::default(), Instant::now());
        for number in 0..3 {
            assert!(!strikes.strike([number; 16], &LIMITS, start));
        }
        assert!(!strikes.strike([3; 16], &LIMITS, start + minutes(14)));
        assert!(strikes.strike([4; 16], &LIMITS, start + minutes(15)));
        let off = BlockLimits { after: 0, ..LIMITS };
        assert!(!strikes.strike([5; 16], &off, start + minutes(59)), "switched off");
    }

    #[test]
    fn any_number_of_devices_that_repeat_themselves_block_nothing() {
        let (mut strikes, start) = (Strikes::default(), Instant::now());
        for device in 0..200 {
            assert!(!strikes.strike([device; 16], &LIMITS, start));
            strikes.repeated(&[device; 16]);
        }
        assert!(!strikes.strike([201; 16], &LIMITS, start + minutes(59)));
    }

    #[test]
    fn one_is_forgotten_in_each_interval() {
        let (mut strikes, start) = (Strikes::default(), Instant::now());
        for number in 0..3 {
            strikes.strike([number; 16], &LIMITS, start);
        }
        assert!(!strikes.decay(&LIMITS, start + minutes(60)));
        assert!(!strikes.strike([3; 16], &LIMITS, start + minutes(60)), "two are left that are old enough");
        assert!(!strikes.decay(&LIMITS, start + minutes(239)));
        assert!(strikes.decay(&LIMITS, start + minutes(240)));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut strikes, now) = (Strikes::default(), Instant::now());
        for _ in 0..10_000 {
            strikes.strike([0; 16], &LIMITS, now);
        }
        assert_eq!(strikes.strikes.len(), 3 + YOUNG);
    }
}
