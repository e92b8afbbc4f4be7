//! What time it is: the wall clock of the machine, or one that a test turns by hand.
//!
//! Everything that is stored (expiry, next refresh) is wall-clock time, because it must mean the same after a restart and
//! after a laptop has slept. Sleeping itself is `tokio::time`.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// A source of wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// The time now. It may jump either way between two calls.
    fn now(&self) -> SystemTime;

    /// How much time has passed since some moment, by a monotonic clock.
    fn elapsed(&self) -> Duration {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed()
    }
}

/// That the clock of a machine disagrees with another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockSkew {
    /// Whose clock the other one is: the host of a sign-in service, or [`ClockSkew::DATABASE`].
    pub peer: String,
    /// By how much.
    pub by: Duration,
    /// Whether the machine's clock is ahead; otherwise it is behind.
    pub ahead: bool,
}

impl ClockSkew {
    /// The peer that is the database.
    pub const DATABASE: &'static str = "the database";
}

/// A clock that parts of the program share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until it is moved, for tests and stories. Clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<(SystemTime, Duration)>>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: SystemTime) -> Self {
        Self(Arc::new(Mutex::new((now, Duration::ZERO))))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (now.0.checked_add(by).unwrap_or(now.0), now.1.saturating_add(by));
    }

    /// Sets the clock, backwards as well.
    pub fn set(&self, to: SystemTime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// What it was moved forward.
    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
