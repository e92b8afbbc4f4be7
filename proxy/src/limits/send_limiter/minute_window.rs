//! The messages of a minute: never more than the limit within any sixty seconds.
//!
//! The first half of them may begin immediately, so that a few messages never wait. The others are spread over what is left of the
//! minute: otherwise a program that sends hundreds, one after the other, would use its thirty within some seconds and then
//! wait for the rest of the minute with the thirty-first, longer than its timeout. Spread, none waits longer than four seconds.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// When the messages of the last minute began.
#[derive(Debug)]
pub(super) struct MinuteWindow {
    limit: usize,
    began: VecDeque<Instant>,
}

impl MinuteWindow {
    /// Of so many; with 0 there is no limit.
    pub(super) fn of(limit: usize) -> Self {
        Self { limit, began: VecDeque::new() }
    }

    /// One begins now if it may (`None`); otherwise, how long to wait before asking again.
    pub(super) fn take(&mut self, now: Instant) -> Option<Duration> {
        let wait = self.wait(now);
        if wait.is_none() && self.limit > 0 {
            self.began.push_back(now);
        }
        wait
    }

    /// How long until the next one may begin; `None`: it may now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        if self.limit == 0 {
            return None;
        }
        self.forget(now);
        self.due().filter(|due| *due > now).map(|due| due - now)
    }

    /// Whether one more may begin with this limit, where 0 lets none begin.
    pub(super) fn may_begin(&mut self, limit: u32, now: Instant) -> bool {
        self.limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.forget(now);
        self.began.len() < self.limit && self.due().is_none_or(|due| due <= now)
    }

    /// One begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.forget(now);
        self.began.push_back(now);
    }

    fn forget(&mut self, now: Instant) {
        while self.began.front().is_some_and(|first| now.saturating_duration_since(*first) >= MINUTE) {
            self.began.pop_front();
        }
    }

    /// When the next one may begin; `None`: immediately.
    fn due(&self) -> Option<Instant> {
        let (first, last) = (self.began.front()?, self.began.back()?);
        let left = self.limit.saturating_sub(self.began.len());
        if self.began.len() < self.limit.div_ceil(2) {
            return None;
        }
        let free_again = *first + MINUTE;
        let parts = u32::try_from(left + 1).unwrap_or(u32::MAX);
        Some(*last + free_again.saturating_duration_since(*last) / parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of so many begins, in seconds, if all want to begin at the same time.
    fn begin(limit: usize, count: usize) -> Vec<f64> {
        let (mut minute, start) = (MinuteWindow::of(limit), Instant::now());
        let mut now = start;
        let mut began = Vec::new();
        while began.len() < count {
            match minute.take(now) {
                None => began.push((now - start).as_secs_f64()),
                Some(wait) => {
                    assert!(!wait.is_zero());
                    now += wait;
                }
            }
        }
        began
    }

    #[test]
    fn never_more_than_the_limit_within_any_minute() {
        for limit in [1, 2, 3, 7, 30, 100] {
            let began = begin(limit, 5 * limit);
            for (first, beyond) in began.iter().zip(began.iter().skip(limit)) {
                assert!(beyond - first >= 59.999, "{limit}: {began:?}");
            }
        }
    }

    #[test]
    fn limit_is_reached_if_enough_messages_wait() {
        for limit in [1, 2, 3, 7, 30, 100] {
            let began = begin(limit, 5 * limit + 1);
            let last = began.last().unwrap();
            assert!(*last < 60.0 * 5.0 + 0.001, "{limit}: {began:?}");
        }
    }

    #[test]
    fn first_half_is_immediate_and_the_rest_is_spread() {
        let began = begin(30, 300);
        assert_eq!(began.iter().filter(|at| **at == 0.0).count(), 15);
        for (one, next) in began.iter().zip(began.iter().skip(1)) {
            assert!(next - one < 3.8, "one waits {} s: {began:?}", next - one);
        }
    }

    #[test]
    fn asking_for_the_wait_uses_no_permit() {
        let (mut minute, now) = (MinuteWindow::of(2), Instant::now());
        assert_eq!((minute.wait(now), minute.take(now)), (None, None));
        let wait = minute.wait(now).unwrap();
        assert_eq!((minute.wait(now), minute.take(now)), (Some(wait), Some(wait)));
        assert_eq!(minute.take(now + wait), None);
        assert_eq!(MinuteWindow::of(0).wait(now), None);
    }

    #[test]
    fn no_wait_without_a_limit() {
        assert_eq!(begin(0, 1000), [0.0; 1000]);
    }
}
