//! The message permits of a mailbox that count at this moment, whichever node they went to. Pure: times are given, in milliseconds of
//! the database's clock.
//!
//! A permit is good for one message that begins within [`USE_WITHIN`]. It counts for a minute from the moment when it was used at the
//! latest: until its node says that it has used it, that is its end. So no minute has more messages than permits.

use serde::{Deserialize, Serialize};

/// How long a node may wait with a permit that it was granted.
pub(super) const USE_WITHIN: i64 = 5_000;

const MINUTE: i64 = 60_000;

/// Permits that were used within the same time are counted together, so that the row stays small.
const TOGETHER: i64 = 1_000;

/// The permits that count.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Window {
    permits: Vec<Permits>,
    /// When the last one was granted.
    last: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Permits {
    /// Who may use them; `None` once they are used.
    node: Option<String>,
    /// When they were used, or will be, at the latest.
    used_by: i64,
    count: u32,
}

impl Window {
    /// Forgets what counts no longer. A clock that was set back prolongs nothing.
    pub(super) fn tick(&mut self, now: i64) {
        self.last = self.last.min(now);
        for permits in &mut self.permits {
            permits.used_by = permits.used_by.min(now.saturating_add(USE_WITHIN));
        }
        self.permits.retain(|permits| permits.count > 0 && permits.used_by.saturating_add(MINUTE) > now);
    }

    /// How many may be granted now, or in how many milliseconds one more: half of them without a pause, the others spread over the
    /// minute, as in [`super::super::minute_window`].
    pub(super) fn available(&self, limit: u32, now: i64) -> Result<u32, i64> {
        let counted = self.permits.iter().fold(0_u32, |sum, permits| sum.saturating_add(permits.count));
        let half = limit.div_ceil(2);
        if counted < half {
            return Ok(half - counted);
        }
        let Some(first) = self.permits.iter().map(|permits| permits.used_by).min() else { return Ok(0) };
        let free_again = first.saturating_add(MINUTE);
        let parts = i64::from(limit.saturating_sub(counted)).saturating_add(1);
        let due = if counted >= limit { free_again } else { self.last + (free_again - self.last).max(0) / parts };
        if due <= now { Ok(1) } else { Err(due - now) }
    }

    /// A node gets one.
    pub(super) fn grant(&mut self, node: &str, now: i64) {
        self.last = now;
        let used_by = now.saturating_add(USE_WITHIN);
        let same = |permits: &&mut Permits| permits.used_by == used_by && permits.node.as_deref() == Some(node);
        match self.permits.iter_mut().find(same) {
            Some(permits) => permits.count = permits.count.saturating_add(1),
            None => self.permits.push(Permits { node: Some(node.to_owned()), used_by, count: 1 }),
        }
    }

    /// A node has used so many by now, and gives so many back. Of those that are over the oldest are given back, so that what was used
    /// counts for long enough; of the others the newest. The newest are those that were used, because of older ones the node may not have
    /// heard. What it has used beyond those it had was sent while it could not ask.
    pub(super) fn settle(&mut self, node: &str, mut used: u32, mut returned: u32, now: i64) {
        let of_node = |permits: &&mut Permits| permits.node.as_deref() == Some(node);
        let (over, good): (Vec<_>, Vec<_>) =
            self.permits.iter_mut().filter(of_node).partition(|permits| permits.used_by <= now);
        for permits in over.into_iter().chain(good.into_iter().rev()) {
            let back = permits.count.min(returned);
            permits.count -= back;
            returned -= back;
        }
        let mut times = Vec::new();
        for permits in self.permits.iter_mut().rev().filter(|permits| permits.node.as_deref() == Some(node)) {
            let settled = permits.count.min(used);
            permits.count -= settled;
            used -= settled;
            times.push((permits.used_by.min(now), settled));
        }
        times.push((now, used));
        for (used_by, count) in times.into_iter().filter(|(_, count)| *count > 0) {
            self.note_used(used_by, count);
        }
        self.permits.retain(|permits| permits.count > 0);
    }

    /// A node has gone. What it had counts as used.
    pub(super) fn close(&mut self, is_gone: impl Fn(&str) -> bool) {
        for permits in self.permits.iter_mut().filter(|permits| permits.node.as_deref().is_some_and(&is_gone)) {
            permits.node = None;
        }
    }

    /// The permits that a node may still use: until when, and how many.
    pub(super) fn in_hand(&self, node: &str, now: i64) -> Vec<(i64, u32)> {
        let open = |permits: &&Permits| permits.node.as_deref() == Some(node) && permits.used_by > now;
        self.permits.iter().filter(open).map(|permits| (permits.used_by, permits.count)).collect()
    }

    /// When nothing counts any more.
    pub(super) fn ends(&self) -> i64 {
        self.permits.iter().map(|permits| permits.used_by.saturating_add(MINUTE)).max().unwrap_or(0)
    }

    fn note_used(&mut self, used_by: i64, count: u32) {
        let together = |permits: &&mut Permits| {
            permits.node.is_none() && permits.used_by.div_euclid(TOGETHER) == used_by.div_euclid(TOGETHER)
        };
        match self.permits.iter_mut().find(together) {
            Some(permits) => {
                permits.used_by = permits.used_by.max(used_by);
                permits.count = permits.count.saturating_add(count);
            }
            None => self.permits.push(Permits { node: None, used_by, count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permit_counts_for_a_minute_from_its_use_or_its_end() {
        let mut window = Window::default();
        for node in ["a", "a", "b"] {
            window.grant(node, 0);
        }
        assert_eq!(window.available(6, 0), Err(15 * 1000 + 1_250), "the other half is spread");
        assert_eq!(window.in_hand("a", 0), [(USE_WITHIN, 2)]);
        // One was used, one is given back, and the third is not mentioned.
        window.settle("a", 1, 1, 1_000);
        assert_eq!(window.in_hand("a", 1_000), []);
        assert_eq!(window.available(6, 1_000), Ok(1));
        window.tick(61_000);
        assert_eq!(window.available(6, 61_000), Ok(2), "the one of the other node counts from its end on");
        window.tick(65_000);
        assert_eq!((window.available(6, 65_000), &window.permits[..]), (Ok(3), &[][..]));
    }

    #[test]
    fn used_permit_counts_from_the_end_of_the_newest_that_is_over() {
        let mut window = Window::default();
        window.grant("a", 5_000);
        window.grant("a", 7_000);
        // One was used at 11.5 s, which can only have been the second.
        window.settle("a", 1, 1, 12_500);
        assert_eq!(window.permits, [Permits { node: None, used_by: 12_000, count: 1 }]);
    }

    #[test]
    fn used_permit_is_not_in_hand_despite_an_unknown_older_one() {
        let mut window = Window::default();
        // The answer was lost.
        window.grant("a", 0);
        window.grant("a", 10_000);
        window.settle("a", 1, 0, 11_000);
        assert_eq!(window.in_hand("a", 11_000), []);
        assert_eq!(window.permits.iter().map(|permits| permits.used_by).collect::<Vec<_>>(), [5_000, 11_000]);
    }

    #[test]
    fn use_without_a_permit_is_counted() {
        let mut window = Window::default();
        window.settle("a", 4, 0, 500);
        window.settle("b", 1, 0, 900);
        assert_eq!(window.permits, [Permits { node: None, used_by: 900, count: 5 }]);
        assert!(window.available(4, 900).is_err());
    }

    #[test]
    fn clock_that_is_set_back_prolongs_nothing() {
        let mut window = Window::default();
        window.grant("a", 3_600_000);
        window.close(|node| node == "a");
        window.tick(0);
        assert_eq!((window.ends(), window.last), (USE_WITHIN + MINUTE, 0));
    }
}
