//! The simulation: one application in one tenant, second by second. Due times come from the program's own schedule; the rate is the
//! default of `[limits] token-requests-per-second` on each node. Entra answers immediately.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use oxpost_token_store::schedule::next_refresh;

/// `[limits] token-requests-per-second`
const RATE: usize = 20;

/// How long after an outage the full rate is reached (`gate/pace.rs`).
const RECOVERY: usize = 60;

/// Entra's access tokens live 60 to 90 minutes.
/// <https://learn.microsoft.com/entra/identity-platform/access-tokens#token-lifetime>
const LIFETIMES: std::ops::Range<u64> = 3_600..5_400;

/// More seconds than any token lives.
const WHEEL: usize = 8_192;

/// In which state the mailboxes are at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// As they are after some days: at any moment of the life of their tokens.
    Spread,
    /// All people have signed in within the same minute.
    SameMinute,
    /// No token is left.
    AfterOutage,
}

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) mailboxes: usize,
    pub(crate) nodes: usize,
    pub(crate) start: Start,
    pub(crate) hours: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Requests a second, on the average of the last hour.
    pub(crate) mean: f64,
    /// The most within one second.
    pub(crate) most: usize,
    /// The longest that a refresh had to wait after it was due, in seconds.
    pub(crate) longest_delay: usize,
    /// How many tokens had ended before their refresh, those that were at an end at the beginning included.
    pub(crate) ended: usize,
}

/// Random numbers that are the same in each run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }

    fn part(&mut self) -> f64 {
        f64::from(u32::try_from(self.below(1 << 16)).unwrap_or_default()) / 65_536.0
    }
}

/// One mailbox that waits: when it was due, and when its token ends.
#[derive(Clone, Copy)]
struct Due {
    due: usize,
    ends: usize,
}

/// The seconds to come, each with the mailboxes that are due then.
struct Wheel(Vec<Vec<Due>>);

impl Wheel {
    /// A token that is issued at this second.
    fn issue(&mut self, second: usize, random: &mut Random) -> Due {
        let lifetime = LIFETIMES.start + random.below(LIFETIMES.end - LIFETIMES.start);
        let due = next_refresh(SystemTime::UNIX_EPOCH, Duration::from_secs(lifetime), random.part());
        let after = due.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let in_seconds = |seconds: u64| second + usize::try_from(seconds).unwrap_or(WHEEL);
        Due { due: in_seconds(after), ends: in_seconds(lifetime) }
    }

    fn add(&mut self, due: Due) {
        if let Some(slot) = self.0.get_mut(due.due % WHEEL) {
            slot.push(due);
        }
    }

    fn take(&mut self, second: usize) -> Vec<Due> {
        self.0.get_mut(second % WHEEL).map(std::mem::take).unwrap_or_default()
    }
}

pub(crate) fn simulate(scenario: Scenario) -> Outcome {
    let Scenario { mailboxes, nodes, start, hours } = scenario;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut wheel = Wheel(vec![Vec::new(); WHEEL]);
    let mut waiting = VecDeque::new();
    for _ in 0..mailboxes {
        let first = wheel.issue(0, &mut random);
        match start {
            Start::Spread => {
                let passed = usize::try_from(random.below(u64::try_from(first.due).unwrap_or_default())).unwrap_or(0);
                wheel.add(Due { due: first.due - passed, ends: first.ends - passed });
            }
            Start::SameMinute => {
                let later = usize::try_from(random.below(60)).unwrap_or_default();
                wheel.add(Due { due: first.due + later, ends: first.ends + later });
            }
            Start::AfterOutage => waiting.push_back(Due { due: 0, ends: 0 }),
        }
    }
    let seconds = hours * 3_600;
    let (mut most, mut longest_delay, mut ended, mut last_hour) = (0, 0, 0, 0);
    for second in 0..seconds {
        waiting.extend(wheel.take(second));
        let full = RATE * nodes;
        let recovering = start == Start::AfterOutage && second < RECOVERY;
        let rate = if recovering { nodes.max(full * second / RECOVERY) } else { full };
        let now = waiting.len().min(rate);
        for Due { due, ends } in waiting.drain(..now) {
            longest_delay = longest_delay.max(second - due);
            ended += usize::from(ends <= second);
            let next = wheel.issue(second, &mut random);
            wheel.add(next);
        }
        most = most.max(now);
        last_hour += if second + 3_600 >= seconds { now } else { 0 };
    }
    let mean = f64::from(u32::try_from(last_hour).unwrap_or(u32::MAX)) / 3_600.0;
    Outcome { mean, most, longest_delay, ended }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(mailboxes: usize, nodes: usize, start: Start) -> Outcome {
        simulate(Scenario { mailboxes, nodes, start, hours: 5 })
    }

    #[test]
    fn every_token_is_renewed_in_time_while_nodes_have_room() {
        for start in [Start::Spread, Start::SameMinute] {
            let Outcome { mean, most, longest_delay, ended } = outcome(10_000, 1, start);
            assert_eq!(ended, 0, "{start:?}");
            // 10,000 tokens that are renewed at 70 % of 75 minutes.
            assert!(
                (2.9..3.6).contains(&mean) && most <= RATE && longest_delay < 300,
                "{start:?}: {mean} {longest_delay}"
            );
        }
    }

    #[test]
    fn after_an_outage_all_are_renewed_at_the_pace_and_stay_so() {
        let Outcome { most, longest_delay, ended, .. } = outcome(10_000, 1, Start::AfterOutage);
        assert_eq!(ended, 10_000, "those that had ended before, and none after");
        assert!((500..600).contains(&longest_delay) && most <= RATE, "{longest_delay}");
    }

    #[test]
    fn one_node_is_too_little_for_a_hundred_thousand() {
        let Outcome { ended, .. } = outcome(100_000, 1, Start::Spread);
        assert!(ended > 1_000, "{ended}");
        assert_eq!(outcome(100_000, 2, Start::Spread).ended, 0);
    }
}
