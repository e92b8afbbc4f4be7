//! The circuit breaker of one authority for one application: whether it may be asked now, and if not, when. Pure: everything
//! from what is stored and the time now.
//!
//! It is closed while the authority answers, whatever the answer says about one account. A Retry-After, a 429, or [`THRESHOLD`]
//! requests in a row without an answer open it. While it is open nothing is asked until its pause is over, and then one probe at
//! a time; the first answered probe closes it.
//!
//! A pause is stored as its start and its length: setting the clock can end it or restart it, but not prolong it further.

#[cfg(test)]
mod model;

use std::time::{Duration, SystemTime};

use crate::{
    error::ErrorKind,
    schedule::{self, REQUEST_TIME, RETRY_AFTER_LIMIT},
};

/// So many requests in a row without an answer open it. One may be a connection that broke.
pub(crate) const THRESHOLD: u32 = 3;

/// The shortest pause after a 429 that names none: what Microsoft's own libraries (MSAL) wait.
const THROTTLED_PAUSE: Duration = Duration::from_secs(60);

/// A longer stored pause is cut to this.
pub(crate) const LONGEST_PAUSE: Duration = RETRY_AFTER_LIMIT.saturating_add(RETRY_AFTER_LIMIT);

/// How long a probe keeps others from asking: a request, and what is written after it. A process that died with it is
/// waited for no longer.
pub(crate) const PROBE_TIME: Duration = REQUEST_TIME.saturating_add(Duration::from_secs(15));

/// How an authority answers one application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Circuit {
    /// Requests in a row without an answer, while it is closed.
    pub(crate) failures: u32,
    /// How often in a row its pause was begun: when it opened, and by each probe without an answer. 0: it is closed.
    pub(crate) pauses: u32,
    /// The last pause.
    pub(crate) pause: Option<Span>,
    /// Why it is open, for the administrator.
    pub(crate) reason: String,
    /// Who is asking, while it is open.
    pub(crate) probe: Option<Probe>,
    /// When it was last closed again.
    pub(crate) recovered: Option<SystemTime>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) since: SystemTime,
    pub(crate) length: Duration,
}

/// The one request that is made while the circuit is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) node: String,
    pub(crate) since: SystemTime,
}

/// What a request is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Go.
    Ask,
    /// Go, if it becomes the probe.
    Probe,
    /// Not before so long has passed.
    Wait(Duration),
    /// A probe is in flight, for this long at most.
    Probed(Duration),
}

/// A request that brought no answer, or an answer that asks for a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestFailure {
    /// The status was 429.
    pub(crate) throttled: bool,
    /// For how long we are asked to wait.
    pub(crate) retry_after: Option<Duration>,
    /// What happened, for the administrator.
    pub(crate) reason: String,
}

/// A request as it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) since: SystemTime,
    pub(crate) is_probe: bool,
}

impl Span {
    /// What is left of it. A clock that was set back before its start ends it.
    pub(crate) fn left(self, now: SystemTime) -> Option<Duration> {
        let passed = now.duration_since(self.since).ok()?;
        self.length.min(LONGEST_PAUSE).checked_sub(passed).filter(|left| !left.is_zero())
    }
}

impl Circuit {
    /// Whether a request may be made now.
    pub(crate) fn permission(&self, now: SystemTime) -> Permission {
        if self.pauses == 0 {
            return Permission::Ask;
        }
        if let Some(left) = self.pause.and_then(|pause| pause.left(now)) {
            return Permission::Wait(left);
        }
        match self.probe_left(now) {
            Some(left) => Permission::Probed(left),
            None => Permission::Probe,
        }
    }

    /// What is left of the time of the probe in flight.
    fn probe_left(&self, now: SystemTime) -> Option<Duration> {
        Span { since: self.probe.as_ref()?.since, length: PROBE_TIME }.left(now)
    }

    /// This node's request is the probe.
    pub(crate) fn begin_probe(&mut self, node: &str, now: SystemTime) {
        self.probe = Some(Probe { node: node.to_owned(), since: now });
    }

    /// A probe was given up before anything was asked.
    pub(crate) fn give_up_probe(&mut self, node: &str) {
        if self.probe.as_ref().is_some_and(|probe| probe.node == node) {
            self.probe = None;
        }
    }

    /// The authority has answered, whatever it says of the account. `true` if anything has changed.
    pub(crate) fn answered(&mut self, asked: Asked, now: SystemTime) -> bool {
        if self.pauses == 0 {
            return std::mem::take(&mut self.failures) > 0;
        }
        // A request of before it was opened says nothing of the time since.
        if !asked.is_probe && !self.began_in_its_pause(asked) {
            return false;
        }
        *self = Self { recovered: Some(now), ..Self::default() };
        true
    }

    /// Whether this circuit, which is not written yet, takes precedence over what another node has written meanwhile: its pause
    /// lasts longer, and began after that node last saw the circuit close.
    pub(crate) fn outlasts(&self, written: &Self, now: SystemTime) -> bool {
        let left = |circuit: &Self| circuit.pause.filter(|_| circuit.pauses > 0).and_then(|pause| pause.left(now));
        let answered_since = self.pause.zip(written.recovered).is_some_and(|(pause, closed)| pause.since <= closed);
        left(self) > left(written) && !answered_since
    }

    /// The request brought no answer. `jitter` is between 0 and 1.
    pub(crate) fn failed(&mut self, asked: Asked, trouble: &RequestFailure, now: SystemTime, jitter: f64) {
        let retry_after =
            trouble.retry_after.map(|asked| schedule::pause(ErrorKind::Transient, 1, Some(asked), jitter));
        if self.pauses == 0 {
            let is_told = retry_after.is_some() || trouble.throttled;
            // A request from before the circuit closed says nothing about the time since, unless the answer asks for a pause.
            if !is_told && self.recovered.is_some_and(|closed| asked.since < closed && closed <= now) {
                return;
            }
            self.failures = self.failures.saturating_add(1);
            if is_told || self.failures >= THRESHOLD {
                self.open(trouble, retry_after, now, jitter);
            }
        } else if asked.is_probe {
            self.open(trouble, retry_after, now, jitter);
        } else if let Some(length) = retry_after
            && self.pause.and_then(|pause| pause.left(now)).is_none_or(|left| left < length)
        {
            // One of those that were on their way when it opened, or a person's: they count once, but a longer wait that is asked
            // for counts.
            self.pause = Some(Span { since: now, length });
        }
    }

    fn open(&mut self, trouble: &RequestFailure, retry_after: Option<Duration>, now: SystemTime, jitter: f64) {
        self.failures = self.failures.max(1);
        self.pauses = self.pauses.saturating_add(1);
        let own = schedule::pause(ErrorKind::Transient, THRESHOLD.saturating_add(self.pauses - 1), None, jitter);
        let own = if trouble.throttled && retry_after.is_none() { own.max(THROTTLED_PAUSE) } else { own };
        let length = retry_after.unwrap_or(own);
        // No pause ends before the one that runs.
        if self.pause.and_then(|pause| pause.left(now)).is_none_or(|left| left < length) {
            self.pause = Some(Span { since: now, length });
        }
        self.reason.clone_from(&trouble.reason);
        self.probe = None;
    }

    fn began_in_its_pause(&self, asked: Asked) -> bool {
        self.pause.is_some_and(|pause| pause.since <= asked.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn asked(seconds: u64) -> Asked {
        Asked { since: at(seconds), is_probe: false }
    }

    fn probe(seconds: u64) -> Asked {
        Asked { since: at(seconds), is_probe: true }
    }

    fn silence() -> RequestFailure {
        RequestFailure { throttled: false, retry_after: None, reason: "It did not answer in time.".into() }
    }

    fn throttled(retry_after: Option<u64>) -> RequestFailure {
        RequestFailure { throttled: true, retry_after: retry_after.map(Duration::from_secs), reason: "429".into() }
    }

    #[test]
    fn three_requests_without_an_answer_open_it() {
        let mut circuit = Circuit::default();
        for second in 0..2 {
            circuit.failed(asked(second), &silence(), at(second), 1.0);
            assert_eq!(circuit.permission(at(second)), Permission::Ask);
        }
        // An answer in between begins the count again.
        assert!(circuit.answered(asked(2), at(2)));
        assert!(!circuit.answered(asked(2), at(2)), "nothing to write");
        for second in 3..6 {
            circuit.failed(asked(second), &silence(), at(second), 1.0);
        }
        assert_eq!(circuit.permission(at(5)), Permission::Wait(4 * SECOND));
        assert_eq!(circuit.permission(at(8)), Permission::Wait(SECOND));
        assert_eq!(circuit.permission(at(9)), Permission::Probe);
    }

    #[test]
    fn one_probe_at_a_time_and_its_answer_closes_it() {
        let mut circuit = Circuit::default();
        circuit.failed(asked(0), &throttled(Some(600)), at(0), 0.0);
        assert_eq!(circuit.permission(at(599)), Permission::Wait(SECOND));
        assert_eq!(circuit.permission(at(600)), Permission::Probe);
        circuit.begin_probe("a", at(600));
        assert_eq!(circuit.permission(at(601)), Permission::Probed(PROBE_TIME - SECOND));
        circuit.give_up_probe("b");
        assert!(matches!(circuit.permission(at(601)), Permission::Probed(_)), "another node's probe");
        // A node that died with the probe is not waited for.
        assert_eq!(circuit.permission(at(600) + PROBE_TIME), Permission::Probe);
        circuit.give_up_probe("a");
        assert_eq!(circuit.permission(at(601)), Permission::Probe);
        circuit.begin_probe("a", at(602));
        assert!(circuit.answered(probe(602), at(603)));
        assert_eq!(circuit, Circuit { recovered: Some(at(603)), ..Circuit::default() });
        assert_eq!(circuit.permission(at(603)), Permission::Ask);
    }

    #[test]
    fn pauses_grow_with_each_probe_that_fails() {
        let mut circuit = Circuit::default();
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..THRESHOLD {
            circuit.failed(asked(now), &silence(), at(now), 1.0);
        }
        for _ in 0..9 {
            let Permission::Wait(left) = circuit.permission(at(now)) else { panic!("{circuit:?}") };
            pauses.push(left.as_secs());
            now += left.as_secs();
            circuit.begin_probe("a", at(now));
            circuit.failed(probe(now), &silence(), at(now), 1.0);
        }
        assert_eq!(pauses, [4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn requests_on_their_way_when_it_opens_count_once() {
        let mut circuit = Circuit::default();
        for _ in 0..8 {
            circuit.failed(asked(0), &silence(), at(30), 1.0);
        }
        assert_eq!((circuit.pauses, circuit.permission(at(30))), (1, Permission::Wait(4 * SECOND)));
        // One has received a longer pause, and a shorter one does not end that.
        circuit.failed(asked(1), &throttled(Some(120)), at(31), 0.0);
        circuit.failed(asked(1), &throttled(Some(10)), at(32), 0.0);
        assert_eq!(circuit.permission(at(32)), Permission::Wait(119 * SECOND));
        // One was answered, before or after: that is old news.
        assert!(!circuit.answered(asked(1), at(33)));
        assert_eq!(circuit.permission(at(33)), Permission::Wait(118 * SECOND));
    }

    #[test]
    fn failures_of_requests_from_before_it_was_closed_do_not_count() {
        let mut circuit = Circuit::default();
        circuit.failed(asked(0), &throttled(Some(10)), at(0), 0.0);
        circuit.begin_probe("a", at(10));
        circuit.answered(probe(10), at(11));
        for _ in 0..5 {
            circuit.failed(asked(9), &silence(), at(20), 1.0);
        }
        assert_eq!((circuit.failures, circuit.permission(at(20))), (0, Permission::Ask));
        // What is asked for counts whenever it was asked.
        let mut told = circuit.clone();
        told.failed(asked(9), &throttled(Some(60)), at(20), 0.0);
        assert_eq!(told.permission(at(20)), Permission::Wait(MINUTE));
        // A clock that was ahead when it was closed hides nothing.
        for second in 0..3 {
            circuit.failed(asked(second), &silence(), at(second), 1.0);
        }
        assert_eq!(circuit.permission(at(2)), Permission::Wait(4 * SECOND));
    }

    #[test]
    fn no_pause_ends_before_one_that_runs() {
        let mut circuit = Circuit::default();
        circuit.failed(asked(0), &throttled(Some(600)), at(0), 0.0);
        circuit.failed(probe(5), &silence(), at(6), 1.0);
        assert_eq!(circuit.permission(at(6)), Permission::Wait(594 * SECOND));
        circuit.failed(probe(5), &throttled(Some(10)), at(7), 0.0);
        assert_eq!(circuit.permission(at(7)), Permission::Wait(593 * SECOND));
        circuit.failed(probe(5), &throttled(Some(900)), at(8), 0.0);
        assert_eq!(circuit.permission(at(8)), Permission::Wait(900 * SECOND));
    }

    #[test]
    fn waits_that_are_asked_for_are_kept_within_bounds() {
        let pause = |trouble: &RequestFailure, jitter| {
            let mut circuit = Circuit::default();
            circuit.failed(asked(0), trouble, at(0), jitter);
            circuit.permission(at(0))
        };
        assert_eq!(pause(&throttled(Some(600)), 0.0), Permission::Wait(10 * MINUTE));
        assert_eq!(pause(&throttled(Some(600)), 1.0), Permission::Wait(11 * MINUTE), "not all nodes at one moment");
        assert_eq!(pause(&throttled(Some(0)), 0.0), Permission::Wait(SECOND));
        assert_eq!(pause(&throttled(Some(u64::MAX)), 0.0), Permission::Wait(60 * MINUTE));
        assert_eq!(pause(&throttled(None), 0.0), Permission::Wait(MINUTE));
        assert_eq!(
            pause(&RequestFailure { throttled: false, ..throttled(Some(30)) }, 0.0),
            Permission::Wait(30 * SECOND),
            "503"
        );
    }

    #[test]
    fn a_wrong_clock_does_not_extend_a_pause() {
        let mut circuit = Circuit::default();
        circuit.failed(asked(1_000_000), &throttled(Some(600)), at(1_000_000), 0.0);
        assert_eq!(circuit.permission(at(0)), Permission::Probe, "the clock was ahead, and was set right");
        circuit.begin_probe("a", at(0));
        circuit.failed(probe(0), &silence(), at(30), 1.0);
        assert_eq!(
            circuit.permission(at(30)),
            Permission::Wait(8 * SECOND),
            "from now on it is counted by the right one"
        );
        circuit.pause = Some(Span { since: at(30), length: Duration::MAX });
        assert_eq!(circuit.permission(at(30)), Permission::Wait(LONGEST_PAUSE), "whatever has stored that");
        circuit.pause = Some(Span { since: at(0), length: MINUTE });
        circuit.begin_probe("a", at(9_000));
        assert_eq!(circuit.permission(at(61)), Permission::Probe, "a probe from the future does not count");
    }

    /// Nor does any request wait for it (see [`Circuit::permission`]).
    #[test]
    fn pause_of_a_closed_circuit_hides_none_of_an_open_one() {
        let mut open = Circuit::default();
        open.failed(asked(0), &throttled(Some(60)), at(0), 0.0);
        let closed = Circuit { pause: Some(Span { since: at(0), length: 10 * MINUTE }), ..Circuit::default() };
        assert_eq!(closed.permission(at(1)), Permission::Ask);
        assert!(open.outlasts(&closed, at(1)) && !closed.outlasts(&open, at(1)));
    }
}
