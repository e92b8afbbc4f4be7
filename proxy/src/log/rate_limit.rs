//! Rate-limited log: lines that an unauthenticated client can cause, as often as it likes.
//!
//! Of each kind of line a few are written in a minute; the others are counted, and their number is written when the minute is
//! over, also if nothing follows. So a flood of connections does not become a flood of the disk, and is still seen. What was
//! not written is known to the caller: a client is shown the id of its session only if a line of the log has it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tracing::{Level, info, warn};

/// The time that lines are counted for.
const WINDOW: Duration = Duration::from_secs(60);

/// The time that the lines of one key, such as a source, are counted for.
const KEY_WINDOW: Duration = Duration::from_secs(600);

/// Lines of most kinds in a minute: enough for an administrator who tests something, too few to fill a disk (a year of
/// 11 lines a minute is under 2 GB).
pub(crate) const LINES: u32 = 10;

/// One kind of line. With a key, each key also has a limit of its own, so that one source leaves lines to the others.
#[derive(Debug)]
pub struct LogRateLimit<K = ()>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K> {
    event: &'static str,
    level: Level,
    windows: Mutex<Windows<K>>,
}

impl LogRateLimit {
    /// Lines about this event, at `info` or `warn`; [`LINES`] in a minute.
    pub fn new(level: Level, event: &'static str) -> Self {
        Self::with_limits(level, event, Limits { lines: LINES, lines_per_key: u32::MAX })
    }

    /// Whether this line may be written; if not, it is counted.
    pub fn permit(&self) -> bool {
        self.permit_for(())
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> LogRateLimit<K> {
    /// Lines about this event, at `info` or `warn`.
    pub fn with_limits(level: Level, event: &'static str, limits: Limits) -> Self {
        Self(Arc::new(Shared { event, level, windows: Mutex::new(Windows::new(limits)) }))
    }

    /// Whether this line may be written; if not, it is counted.
    pub fn permit_for(&self, key: K) -> bool {
        let permit = self.0.windows().permit(key, Instant::now());
        match permit {
            Permit::Write => true,
            Permit::Suppress { summary_at: None } => false,
            Permit::Suppress { summary_at: Some(at) } => {
                // Made before the task is: it writes the summary also if the runtime ends before the minute does.
                let summary = Summary(Arc::clone(&self.0));
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(async move {
                        sleep_until(at).await;
                        drop(summary);
                    });
                }
                false
            }
        }
    }
}

/// How many lines are written.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In a minute, of all keys together.
    pub lines: u32,
    /// In ten minutes, of one key.
    pub lines_per_key: u32,
}

/// Writes what was not written when it is dropped.
struct Summary<K>(Arc<Shared<K>>);

impl<K> Drop for Summary<K> {
    fn drop(&mut self) {
        let (event, count) = (self.0.event, self.0.windows().take_suppressed());
        if self.0.level == Level::WARN {
            warn!(event, count, "similar events in the last minute");
        } else {
            info!(event, count, "similar events in the last minute");
        }
    }
}

impl<K> Shared<K> {
    fn windows(&self) -> MutexGuard<'_, Windows<K>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines that were written of one kind, and how many were not. Pure; the clock is the caller's.
#[derive(Debug)]
struct Windows<K> {
    limits: Limits,
    began: Option<Instant>,
    written: u32,
    /// Only keys whose lines were written: never more than the limit allows in [`KEY_WINDOW`].
    keys: HashMap<K, (Instant, u32)>,
    suppressed: u64,
    /// Whether a summary of those is scheduled.
    summary_is_due: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Permit {
    Write,
    /// If it is the first, the number of them is to be written then.
    Suppress {
        summary_at: Option<Instant>,
    },
}

impl<K> Windows<K> {
    fn new(limits: Limits) -> Self {
        Self { limits, began: None, written: 0, keys: HashMap::new(), suppressed: 0, summary_is_due: false }
    }

    /// How many lines were not written since this was asked last.
    fn take_suppressed(&mut self) -> u64 {
        self.summary_is_due = false;
        std::mem::take(&mut self.suppressed)
    }
}

impl<K: Eq + Hash> Windows<K> {
    fn permit(&mut self, key: K, now: Instant) -> Permit {
        let began = match self.began {
            Some(began) if now.saturating_duration_since(began) < WINDOW => began,
            _ => {
                self.written = 0;
                self.keys.retain(|_, (began, _)| now.saturating_duration_since(*began) < KEY_WINDOW);
                *self.began.insert(now)
            }
        };
        if self.written < self.limits.lines && self.permit_key(key, now) {
            self.written += 1;
            return Permit::Write;
        }
        self.suppressed = self.suppressed.saturating_add(1);
        let is_first = !std::mem::replace(&mut self.summary_is_due, true);
        Permit::Suppress { summary_at: is_first.then(|| began + WINDOW) }
    }

    fn permit_key(&mut self, key: K, now: Instant) -> bool {
        if self.limits.lines_per_key == u32::MAX {
            return true;
        }
        let (began, written) = self.keys.entry(key).or_insert((now, 0));
        if now.saturating_duration_since(*began) >= KEY_WINDOW {
            (*began, *written) = (now, 0);
        }
        let permitted = *written < self.limits.lines_per_key;
        *written += u32::from(permitted);
        permitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn windows(lines: u32, lines_per_key: u32) -> (Windows<u8>, Instant) {
        (Windows::new(Limits { lines, lines_per_key }), Instant::now())
    }

    #[test]
    fn lines_beyond_the_limit_are_counted() {
        let (mut windows, start) = windows(2, u32::MAX);
        assert_eq!([(); 2].map(|()| windows.permit(0, start)), [Permit::Write, Permit::Write]);
        let first = Permit::Suppress { summary_at: Some(start + WINDOW) };
        assert_eq!(windows.permit(0, start + SECOND), first);
        assert_eq!(windows.permit(1, start + WINDOW - SECOND), Permit::Suppress { summary_at: None });
        assert_eq!(windows.permit(1, start + WINDOW), Permit::Write, "a new minute");
        assert_eq!(windows.take_suppressed(), 2, "the last minute's are not lost by that");
        assert_eq!(windows.permit(1, start + WINDOW), Permit::Write);
        let first = Permit::Suppress { summary_at: Some(start + WINDOW + WINDOW) };
        assert_eq!(windows.permit(1, start + WINDOW + SECOND), first, "a summary of its own");
        assert_eq!(windows.take_suppressed(), 1);
    }

    #[test]
    fn source_limit_leaves_lines_to_other_sources() {
        let (mut windows, start) = windows(5, 2);
        for permitted in [true, true, false, false] {
            assert_eq!(windows.permit(1, start) == Permit::Write, permitted);
        }
        assert_eq!([2, 3, 4].map(|key| windows.permit(key, start)), [Permit::Write, Permit::Write, Permit::Write]);
        assert_ne!(windows.permit(5, start), Permit::Write, "all together have a limit");
        assert!(!windows.keys.contains_key(&5), "whose line is not written is not kept");
        assert_eq!(windows.permit(5, start + WINDOW), Permit::Write);
        assert_ne!(windows.permit(1, start + KEY_WINDOW - SECOND), Permit::Write);
        assert_eq!(windows.permit(1, start + KEY_WINDOW), Permit::Write);
    }

    /// Also in a minute that began before the key's ten are over.
    #[test]
    fn source_has_lines_again_after_ten_minutes() {
        let (mut windows, start) = windows(5, 1);
        assert_eq!(windows.permit(1, start), Permit::Write);
        assert_eq!(windows.permit(2, start + KEY_WINDOW - SECOND), Permit::Write);
        assert_ne!(windows.permit(1, start + KEY_WINDOW - SECOND), Permit::Write);
        assert_eq!(windows.permit(1, start + KEY_WINDOW), Permit::Write);
        assert_ne!(windows.permit(1, start + KEY_WINDOW), Permit::Write, "and its count started again");
        assert_ne!(windows.permit(1, start + KEY_WINDOW + SECOND), Permit::Write);
    }

    /// A flood that lasts a day, from ever new sources.
    #[test]
    fn lines_and_memory_are_bounded_in_a_long_flood() {
        let (mut windows, start) = (Windows::new(Limits { lines: 10, lines_per_key: 3 }), Instant::now());
        let (mut written, mut summaries, mut suppressed, minutes) = (0_u64, 0_u64, 0, 24 * 60);
        let mut due = None;
        for event in 0..minutes * 600_u64 {
            let now = start + Duration::from_millis(event * 100);
            if due.is_some_and(|due| due <= now) {
                due = None;
                summaries += 1;
                suppressed += windows.take_suppressed();
            }
            match windows.permit(event / 2, now) {
                Permit::Write => written += 1,
                Permit::Suppress { summary_at } => due = due.or(summary_at),
            }
            assert!(windows.keys.len() <= 110, "{}", windows.keys.len());
        }
        suppressed += windows.take_suppressed();
        assert_eq!(written, minutes * 10);
        assert!(summaries <= minutes, "{summaries}");
        assert_eq!(written + suppressed, minutes * 600, "nothing is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn summary_is_written_when_the_minute_ends() {
        let limit = LogRateLimit::new(Level::WARN, "test");
        let permitted = (0..100).filter(|_| limit.permit()).count();
        assert_eq!(permitted, 10);
        assert_eq!(limit.0.windows().suppressed, 90);
        tokio::time::sleep(WINDOW - SECOND).await;
        assert_eq!(limit.0.windows().suppressed, 90);
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(limit.0.windows().suppressed, 0, "it was written, with nothing following");
        assert!(limit.permit());
    }

    #[test]
    fn summary_is_written_when_the_runtime_ends() {
        let limit = LogRateLimit::new(Level::INFO, "test");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { assert_eq!((0..100).filter(|_| limit.permit()).count(), 10) });
        assert_eq!(limit.0.windows().suppressed, 90);
        drop(runtime);
        assert_eq!(limit.0.windows().suppressed, 0);
    }
}
