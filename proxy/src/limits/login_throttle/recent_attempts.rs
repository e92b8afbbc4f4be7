//! One account from one source: how many passwords were compared lately, and which of them were wrong.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::WINDOW;
use super::attempt::Comparison;

/// An account and a password under a key that never leaves the process.
pub(super) type PairTag = [u8; 16];

/// How long a wrong login is recognized when it comes again: a device that sends once a week is.
const WRONG_KEPT: Duration = Duration::from_secs(8 * 24 * 3600);

/// Wrong passwords that are recognized for one account from one source: devices that do not have the new one.
pub(super) const WRONG_LIMIT: usize = 256;

/// The same where no login from the source has ever succeeded.
pub(super) const UNFAMILIAR_WRONG_LIMIT: usize = 32;

/// Right passwords that are recognized while the same one is being compared.
const RIGHT_LIMIT: usize = 8;

/// The recent attempts of one account from one source.
#[derive(Debug)]
pub(super) struct RecentAttempts {
    /// When passwords were compared that were wrong, or of which it is not known yet, within [`WINDOW`].
    compared: VecDeque<(Instant, PairTag)>,
    /// Those that are being compared.
    in_progress: Vec<InProgress>,
    wrong: Vec<WrongPair>,
    /// How many were wrong, ever: a source that guesses is admitted after a new source.
    guesses: u32,
    /// Those that were right last.
    right: VecDeque<PairTag>,
    last_used: Instant,
}

#[derive(Debug)]
struct InProgress {
    tag: PairTag,
    /// By how many attempts at the same time.
    times: usize,
    /// Whether one of them has ended so that it may have been a guess; and whether one was right.
    counts: bool,
    right: bool,
}

#[derive(Debug)]
struct WrongPair {
    tag: PairTag,
    last: Instant,
}

impl RecentAttempts {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            compared: VecDeque::new(),
            in_progress: Vec::new(),
            wrong: Vec::new(),
            guesses: 0,
            right: VecDeque::new(),
            last_used: now,
        }
    }

    /// Whether this login was wrong before, and would be again. It stays so for as long as it keeps being repeated.
    pub(super) fn is_repeated(&mut self, tag: &PairTag, now: Instant) -> bool {
        self.wrong.retain(|pair| now.saturating_duration_since(pair.last) < WRONG_KEPT);
        let Some(pair) = self.wrong.iter_mut().find(|pair| pair.tag == *tag) else { return false };
        pair.last = now;
        self.last_used = now;
        true
    }

    /// How many are compared at this moment.
    pub(super) fn in_progress(&self) -> usize {
        self.in_progress.len()
    }

    /// Whether this very login is compared at this moment.
    pub(super) fn is_in_progress(&self, tag: &PairTag) -> bool {
        self.in_progress.iter().any(|other| other.tag == *tag)
    }

    /// How many of the last [`WINDOW`] count.
    pub(super) fn compared(&mut self, now: Instant) -> usize {
        while self.compared.front().is_some_and(|(then, _)| now.saturating_duration_since(*then) >= WINDOW) {
            self.compared.pop_front();
        }
        self.compared.len()
    }

    /// How many were wrong, as long as anything of this recent is kept.
    pub(super) fn guesses(&self) -> u32 {
        self.guesses
    }

    /// When one more may be compared under this limit; now, if it may.
    pub(super) fn next(&mut self, limit: usize, now: Instant) -> Instant {
        let excess = (self.compared(now) + 1).saturating_sub(limit);
        match excess.checked_sub(1).and_then(|index| self.compared.get(index)) {
            Some((oldest, _)) => *oldest + WINDOW,
            None => now,
        }
    }

    /// Whether this very login counts already within [`WINDOW`]: once more it is no other guess.
    pub(super) fn is_counted(&self, tag: &PairTag, now: Instant) -> bool {
        self.compared.iter().any(|(then, other)| other == tag && now.saturating_duration_since(*then) < WINDOW)
    }

    /// One is compared from now on. The same one twice is one guess.
    pub(super) fn begin(&mut self, tag: PairTag, now: Instant) {
        self.last_used = now;
        if let Some(same) = self.in_progress.iter_mut().find(|other| other.tag == tag) {
            same.times += 1;
            return;
        }
        self.compared.retain(|(_, other)| *other != tag);
        self.compared.push_back((now, tag));
        self.in_progress.push(InProgress { tag, times: 1, counts: false, right: false });
    }

    /// It was compared. One that was right, or was not compared after all, is no guess.
    pub(super) fn end(&mut self, tag: &PairTag, compared: Comparison) {
        let Some(at) = self.in_progress.iter().position(|other| other.tag == *tag) else { return };
        let Some(ended) = self.in_progress.get_mut(at) else { return };
        ended.times -= 1;
        ended.counts |= matches!(compared, Comparison::Wrong | Comparison::Unknown);
        ended.right |= compared == Comparison::Right;
        if ended.times > 0 {
            return;
        }
        let ended = self.in_progress.swap_remove(at);
        if !ended.right && ended.counts {
            self.guesses = self.guesses.saturating_add(1);
        }
        if ended.right || !ended.counts {
            self.compared.retain(|(_, other)| other != tag);
        }
    }

    /// It was right.
    pub(super) fn note_right(&mut self, tag: PairTag) {
        if !self.was_right(&tag) {
            self.right.push_back(tag);
            if self.right.len() > RIGHT_LIMIT {
                self.right.pop_front();
            }
        }
    }

    /// Whether it was right lately. This says how many may be compared at the same time, never what is answered.
    pub(super) fn was_right(&self, tag: &PairTag) -> bool {
        self.right.contains(tag)
    }

    /// It was wrong.
    pub(super) fn note_wrong(&mut self, tag: PairTag, limit: usize, now: Instant) {
        if self.wrong.len() >= limit
            && let Some((oldest, _)) = self.wrong.iter().enumerate().min_by_key(|(_, pair)| pair.last)
        {
            self.wrong.swap_remove(oldest);
        }
        self.wrong.push(WrongPair { tag, last: now });
    }

    /// Whether nothing of it limits a guess.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.in_progress.is_empty() && self.compared(now) == 0
    }

    /// When it was last used.
    pub(super) fn last_used(&self) -> Instant {
        self.last_used
    }

    /// Whether it can be removed.
    pub(super) fn is_empty(&mut self, now: Instant) -> bool {
        self.is_idle(now) && now.saturating_duration_since(self.last_used) >= WRONG_KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u8) -> PairTag {
        [number; 16]
    }

    #[test]
    fn limit_holds_within_the_sliding_window() {
        let start = Instant::now();
        let mut recent = RecentAttempts::new(start);
        for number in 0..3 {
            let now = start + Duration::from_secs(u64::from(number));
            assert_eq!(recent.next(3, now), now);
            recent.begin(tag(number), now);
            recent.end(&tag(number), Comparison::Wrong);
        }
        let now = start + Duration::from_secs(3);
        assert_eq!(
            (recent.next(3, now), recent.next(1, now)),
            (start + WINDOW, start + Duration::from_secs(2) + WINDOW)
        );
        assert_eq!(recent.next(3, start + WINDOW), start + WINDOW);
        // A right one does not count.
        recent.begin(tag(9), start + WINDOW);
        assert!(
            recent.is_in_progress(&tag(9)) && !recent.is_in_progress(&tag(8)) && !recent.is_idle(start + WINDOW * 9)
        );
        recent.end(&tag(9), Comparison::Right);
        assert_eq!((recent.compared(start + WINDOW), recent.in_progress()), (2, 0));
        assert!(recent.is_idle(start + WINDOW * 2));
    }

    #[test]
    fn concurrent_identical_logins_are_one_guess() {
        let start = Instant::now();
        let mut recent = RecentAttempts::new(start);
        for compared in [Comparison::Right, Comparison::NotMade, Comparison::Wrong] {
            recent.begin(tag(1), start);
            recent.begin(tag(1), start + Duration::from_secs(1));
            assert_eq!((recent.compared(start), recent.in_progress()), (1, 1));
            recent.end(&tag(1), compared);
            assert!(recent.is_in_progress(&tag(1)) && recent.compared(start) == 1, "the other goes on");
            recent.end(&tag(1), compared);
            assert_eq!((recent.compared(start), recent.in_progress()), (usize::from(compared == Comparison::Wrong), 0));
        }
        recent.end(&tag(1), Comparison::Right);
        assert_eq!(recent.compared(start), 1, "nothing is left to end");
        // One that was cut off and comes again is the same guess still.
        for (compared, count) in [(Comparison::Right, 1), (Comparison::NotMade, 2), (Comparison::Unknown, 2)] {
            recent.begin(tag(2), start);
            recent.begin(tag(2), start);
            recent.end(&tag(2), Comparison::Unknown);
            recent.end(&tag(2), compared);
            assert_eq!(recent.compared(start), count, "{compared:?}");
        }
    }

    #[test]
    fn wrong_login_is_recognized_while_it_is_repeated() {
        let mut now = Instant::now();
        let mut recent = RecentAttempts::new(now);
        assert!(!recent.is_repeated(&tag(1), now));
        recent.note_wrong(tag(1), WRONG_LIMIT, now);
        for _ in 0..10 {
            now += Duration::from_secs(7 * 24 * 3600);
            assert!(recent.is_repeated(&tag(1), now));
            assert!(!recent.is_empty(now + WRONG_KEPT - Duration::from_secs(1)) && recent.is_empty(now + WRONG_KEPT));
        }
        assert!(!recent.is_repeated(&tag(1), now + WRONG_KEPT));
    }

    #[test]
    fn least_recent_wrong_login_is_forgotten_at_the_limit() {
        let start = Instant::now();
        let mut recent = RecentAttempts::new(start);
        for number in 0..=255 {
            recent.note_wrong(tag(number), WRONG_LIMIT, start + Duration::from_secs(u64::from(number)));
        }
        let now = start + Duration::from_secs(300);
        assert!(recent.is_repeated(&tag(0), now));
        recent.note_wrong([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], WRONG_LIMIT, now);
        assert!(
            recent.is_repeated(&tag(0), now) && !recent.is_repeated(&tag(1), now) && recent.is_repeated(&tag(2), now)
        );
        assert_eq!(recent.wrong.len(), WRONG_LIMIT);
    }
}
