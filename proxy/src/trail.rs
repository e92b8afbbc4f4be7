//! What an upstream login has waited for, and for how long: the reason when it does not end in time.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most steps that are kept. Two attempts have about fifteen; a server that never ends has one that lasts.
const MOST_STEPS: usize = 40;

/// The steps of one upstream login.
#[derive(Debug, Default)]
pub struct Trail(Mutex<Steps>);

#[derive(Debug, Default)]
struct Steps {
    over: Vec<(&'static str, Duration)>,
    now: Option<(&'static str, Instant)>,
}

impl Trail {
    /// From now on this is waited for. Said again, it goes on.
    pub fn waits_for(&self, what: &'static str) {
        let mut steps = self.steps();
        if steps.now.is_some_and(|(now, _)| now == what) {
            return;
        }
        steps.end();
        steps.now = Some((what, Instant::now()));
    }

    /// Nothing is waited for any more.
    pub fn ends(&self) {
        self.steps().end();
    }

    /// What is waited for.
    pub fn now(&self) -> &'static str {
        self.steps().now.map_or("nothing", |(what, _)| what)
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Steps {
    fn end(&mut self) {
        if let Some((what, since)) = self.now.take()
            && self.over.len() < MOST_STEPS
        {
            self.over.push((what, since.elapsed()));
        }
    }
}

/// `a token 0.312 s, the address of the server 0.004 s, …`
impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps();
        let last = steps.now.map(|(what, since)| (what, since.elapsed()));
        for (index, (what, time)) in steps.over.iter().copied().chain(last).enumerate() {
            let between = if index > 0 { ", " } else { "" };
            write!(f, "{between}{what} {:.3} s", time.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trail_tells_what_was_waited_for_and_for_how_long() {
        let trail = Trail::default();
        assert_eq!((trail.now(), trail.to_string().as_str()), ("nothing", ""));
        trail.waits_for("a token");
        tokio::time::advance(Duration::from_millis(1500)).await;
        trail.waits_for("its greeting");
        tokio::time::advance(Duration::from_millis(1)).await;
        trail.waits_for("its greeting");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(trail.now(), "its greeting");
        assert_eq!(trail.to_string(), "a token 1.500 s, its greeting 0.002 s");
        trail.ends();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(trail.to_string(), "a token 1.500 s, its greeting 0.002 s");
        for _ in 0..MOST_STEPS {
            trail.waits_for("one");
            trail.waits_for("another");
        }
        assert_eq!(trail.to_string().split(", ").count(), MOST_STEPS + 1, "the present one is always told");
    }
}
