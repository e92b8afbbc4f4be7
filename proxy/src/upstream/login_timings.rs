//! What an upstream login waited for, and for how long: the reason if it times out.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Steps that are kept. Two attempts have about fifteen.
const MAX_STEPS: usize = 40;

/// The shortest wait for a back-off or a send slot that is shown; most often there is none.
const MIN_SHOWN: Duration = Duration::from_millis(1);

/// What a login waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The end of a back-off, or a send slot.
    BackOff,
    /// The sign-in service, or another login that asks it.
    Token,
    /// The mail server: name lookup, connection, TLS, replies.
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
    /// From now on the login waits for this from the mail server. The same text again continues the step.
    pub fn waits_for(&self, what: &'static str) {
        self.waits(Stage::Server, what);
    }

    /// From now on the login waits for this.
    pub fn waits(&self, stage: Stage, what: &'static str) {
        let mut steps = self.steps();
        if steps.now.is_some_and(|(now, _)| now == what) {
            return;
        }
        steps.end();
        steps.stage = Some(stage);
        steps.now = Some((what, Instant::now()));
    }

    /// The login has ended.
    pub fn ends(&self) {
        self.steps().end();
    }

    /// What the login waits for now.
    pub fn now(&self) -> &'static str {
        self.steps().now.map_or("nothing", |(what, _)| what)
    }

    /// The stage of the present step, or of the last one.
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
    async fn timings_show_each_wait_and_its_length() {
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
        assert_eq!(timings.to_string().split(", ").count(), MAX_STEPS + 1, "the present step is always shown");
    }
}
