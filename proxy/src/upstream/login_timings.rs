//! What an upstream login has waited for, and for how long: the reason when it does not end in time.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most steps that are kept. Two attempts have about fifteen; a server that never ends has one that lasts.
const MAX_STEPS: usize = 40;

/// A wait for our own permission, or the server's, is told when it was one; most often there is none.
const MIN_SHOWN: Duration = Duration::from_millis(1);

/// Who is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The end of a back-off that the mail server has asked for, or a send slot, which keeps within its limits.
    BackOff,
    /// The sign-in service, or whoever asks it.
    Token,
    /// The mail server, and the way to it.
    Server,
}

/// The steps of one upstream login.
#[derive(Debug, Default)]
pub struct LoginTimings(Mutex<Steps>);

#[derive(Debug, Default)]
struct Steps {
    over: Vec<(&'static str, Duration)>,
    now: Option<(&'static str, Instant)>,
    stage: Option<Stage>,
}

impl LoginTimings {
    /// From now on this is waited for, of the mail server. Said again, it goes on.
    pub fn waits_for(&self, what: &'static str) {
        self.waits(Stage::Server, what);
    }

    /// From now on this is waited for.
    pub fn waits(&self, stage: Stage, what: &'static str) {
        let mut steps = self.steps();
        if steps.now.is_some_and(|(now, _)| now == what) {
            return;
        }
        steps.end();
        steps.stage = Some(stage);
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

    /// Who is waited for, or was last.
    pub fn stage(&self) -> Stage {
        self.steps().stage.unwrap_or(Stage::Server)
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Steps {
    fn end(&mut self) {
        if let Some((what, since)) = self.now.take()
            && self.over.len() < MAX_STEPS
            && (self.stage != Some(Stage::BackOff) || since.elapsed() >= MIN_SHOWN)
        {
            self.over.push((what, since.elapsed()));
        }
    }
}

/// `a token 0.312 s, the address of the server 0.004 s, …`
impl fmt::Display for LoginTimings {
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
        let timings = LoginTimings::default();
        assert_eq!((timings.now(), timings.to_string().as_str()), ("nothing", ""));
        timings.waits_for("a token");
        tokio::time::advance(Duration::from_millis(1500)).await;
        timings.waits_for("its greeting");
        tokio::time::advance(Duration::from_millis(1)).await;
        timings.waits_for("its greeting");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(timings.now(), "its greeting");
        assert_eq!(timings.to_string(), "a token 1.500 s, its greeting 0.002 s");
        assert_eq!(timings.stage(), Stage::Server);
        timings.ends();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(timings.to_string(), "a token 1.500 s, its greeting 0.002 s");
        timings.waits(Stage::BackOff, "nothing at all");
        timings.waits(Stage::BackOff, "a send slot");
        tokio::time::advance(MIN_SHOWN).await;
        timings.waits(Stage::Token, "another token");
        assert!(timings.to_string().ends_with("its greeting 0.002 s, a send slot 0.001 s, another token 0.000 s"));
        assert_eq!((timings.stage(), timings.now()), (Stage::Token, "another token"));
        for _ in 0..MAX_STEPS {
            timings.waits_for("one");
            timings.waits_for("another");
        }
        assert_eq!(timings.to_string().split(", ").count(), MAX_STEPS + 1, "the present one is always told");
    }
}
