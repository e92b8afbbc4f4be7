//! The time that nodes share: the database's, if it is on another machine. Times that nodes compare with each other (when a token
//! was issued, when it is due, until when no request goes to an authority) use it, so that a node with a wrong clock acts like the
//! others.
//!
//! Between two queries of the database, time advances by the node's monotonic clock, which cannot be set.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::clock::{Clock, SharedClock};

/// A look that took longer says too little.
const SLOWEST_LOOK: Duration = Duration::from_secs(5);

/// A node's clock may differ by so much without a word.
pub(crate) const SKEW_TOLERATED: Duration = Duration::from_secs(60);

/// The time of a database, as of the last look at it.
#[derive(Default)]
pub(crate) struct DatabaseTime(Mutex<State>);

#[derive(Default)]
struct State {
    read: Option<(SystemTime, Instant)>,
    /// How far the node's clock was from it, and whether ahead.
    distance: Option<(Duration, bool)>,
    /// The warning that the node's clock is wrong was given.
    told: bool,
}

/// What is to be said about the node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkewNews {
    /// It is wrong by this; ahead, if `ahead`.
    Wrong { by: Duration, ahead: bool },
    /// It is right again.
    Right,
}

impl DatabaseTime {
    /// A look that began at `begun` has found this time. `node` is what the node's own clock says now.
    pub(crate) fn looked(&self, found: SystemTime, begun: Instant, now: Instant, node: SystemTime) -> Option<SkewNews> {
        let took = now.saturating_duration_since(begun);
        if took > SLOWEST_LOOK {
            return None;
        }
        let found = found.checked_add(took / 2)?;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.read = Some((found, now));
        let (by, ahead) = distance(node, found);
        state.distance = Some((by, ahead));
        let wrong = by > SKEW_TOLERATED;
        if wrong == std::mem::replace(&mut state.told, wrong) {
            return None;
        }
        Some(if wrong { SkewNews::Wrong { by, ahead } } else { SkewNews::Right })
    }

    /// How far the node's clock was from it at the last look, and whether ahead, if that is too far.
    pub(crate) fn skew(&self) -> Option<(Duration, bool)> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.distance.filter(|(by, _)| *by > SKEW_TOLERATED)
    }

    fn at(&self, now: Instant) -> Option<SystemTime> {
        let (found, at) = self.0.lock().unwrap_or_else(PoisonError::into_inner).read?;
        found.checked_add(now.saturating_duration_since(at))
    }
}

/// How far a clock is from another one, and whether it is ahead.
pub(crate) fn distance(clock: SystemTime, other: SystemTime) -> (Duration, bool) {
    match clock.duration_since(other) {
        Ok(ahead) => (ahead, true),
        Err(behind) => (behind.duration(), false),
    }
}

/// The database's time; the node's own until the first look.
pub(crate) struct DatabaseClock {
    pub(crate) time: std::sync::Arc<DatabaseTime>,
    pub(crate) node: SharedClock,
}

impl Clock for DatabaseClock {
    fn now(&self) -> SystemTime {
        self.time.at(Instant::now()).unwrap_or_else(|| self.node.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn the_time_goes_on_from_the_last_look() {
        let (time, begun) = (DatabaseTime::default(), Instant::now());
        assert_eq!(time.at(begun), None);
        assert_eq!(time.looked(at(100), begun, begun + 2 * SECOND, at(101)), None);
        assert_eq!(time.at(begun + 2 * SECOND), Some(at(101)), "half of the way is added");
        assert_eq!(time.at(begun + 12 * SECOND), Some(at(111)));
        // A look that took too long changes nothing.
        assert_eq!(time.looked(at(500), begun, begun + 6 * SECOND, at(0)), None);
        assert_eq!(time.at(begun + 12 * SECOND), Some(at(111)));
    }

    #[test]
    fn wrong_clock_is_reported_once_and_once_more_when_it_is_right() {
        let (time, now) = (DatabaseTime::default(), Instant::now());
        let look = |node| time.looked(at(10_000), now, now, node);
        assert_eq!(look(at(10_060)), None);
        assert_eq!(look(at(10_000) + 61 * 60 * SECOND), Some(SkewNews::Wrong { by: HOUR + 60 * SECOND, ahead: true }));
        assert_eq!(look(at(10_000) + HOUR), None);
        assert_eq!(time.skew(), Some((HOUR, true)));
        assert_eq!(look(at(9_990)), Some(SkewNews::Right));
        assert_eq!(time.skew(), None);
        assert_eq!(look(at(6_400)), Some(SkewNews::Wrong { by: HOUR, ahead: false }));
    }
}
