//! Why an authority is not asked now, for users and administrators.

use std::time::{Duration, SystemTime};

use crate::{
    circuit::Circuit,
    error::{Problem, TokenError},
    schedule,
};

/// When to try again while a probe is in flight.
const PROBE_RETRY: Duration = Duration::from_secs(5);

/// The authority is not asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How long it is not.
    pub(crate) wait: Duration,
    pub(crate) problem: Problem,
}

impl From<Refusal> for TokenError {
    fn from(refusal: Refusal) -> Self {
        Self::Paused { retry_after: refusal.wait, problem: refusal.problem }
    }
}

pub(super) fn paused(host: &str, circuit: &Circuit, now: SystemTime, wait: Duration) -> Refusal {
    let at = clock_time(schedule::after(now, wait));
    let what = match circuit.reason.as_str() {
        "" => format!("The sign-in service at {host} does not answer."),
        reason => reason.to_owned(),
    };
    let problem = Problem::new(what, format!("It is asked again at {at} UTC; try again then."));
    // At least a whole second, so that no client tries again immediately.
    Refusal { wait: wait.max(Duration::from_secs(1)), problem }
}

pub(super) fn probed(host: &str, circuit: &Circuit) -> Refusal {
    let what = match circuit.reason.as_str() {
        "" => format!("The sign-in service at {host} did not answer."),
        reason => reason.to_owned(),
    };
    Refusal { wait: PROBE_RETRY, problem: Problem::new(what, "It is being asked again now; try again in a moment.") }
}

pub(super) fn busy(host: &str, waited: Duration) -> Refusal {
    let seconds = waited.as_secs();
    let what = format!("All request slots for the sign-in service at {host} have been in use for {seconds} seconds.");
    Refusal { wait: PROBE_RETRY, problem: Problem::new(what, "Nothing needs to be done: try again in a moment.") }
}

pub(super) fn paced(host: &str, wait: Duration) -> Refusal {
    let what =
        format!("Requests to the sign-in service at {host} are being spread out, because many accounts need one.");
    let wait = wait.max(Duration::from_secs(1));
    let problem = Problem::new(what, format!("Nothing needs to be done: try again in {} seconds.", wait.as_secs()));
    Refusal { wait, problem }
}

pub(super) fn ending() -> Refusal {
    let problem = Problem::new("Oxpost is shutting down.", "Try again when it is back.");
    Refusal { wait: PROBE_RETRY, problem }
}

/// The time of day, rounded up to a whole second: `15:40:07`.
fn clock_time(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
    format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_rounded_up() {
        let at = |millis| clock_time(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(0), "00:00:00");
        assert_eq!(at(1_800_000_000_000 + 56_407_001), "23:40:08");
        assert_eq!(at(86_399_001), "00:00:00");
    }
}
