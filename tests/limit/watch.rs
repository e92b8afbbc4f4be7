//! What libtest prints, and which test has run for too long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The longest test takes a minute and a half on two busy cores.
const LIMIT: Duration = Duration::from_secs(300);

/// libtest says so after this time.
const NOTICED_AFTER: Duration = Duration::from_secs(60);

/// A binary that prints nothing for so long hangs: where tests run one at a time, nothing is said of a slow one.
const SILENCE: Duration = Duration::from_secs(600);

/// A binary whose tests run.
pub(crate) struct Watch {
    heard: Instant,
    /// Since when each test runs that libtest has called slow.
    slow: BTreeMap<String, Instant>,
    tests: usize,
    passed: usize,
    failed: usize,
    ignored: usize,
    over: bool,
}

impl Watch {
    pub(crate) fn begin(now: Instant) -> Self {
        Self { heard: now, slow: BTreeMap::new(), tests: 0, passed: 0, failed: 0, ignored: 0, over: false }
    }

    pub(crate) fn hear(&mut self, line: &str, now: Instant) {
        self.heard = now;
        let line = line.trim_end();
        if line.starts_with("test result: ") {
            self.over = true;
        }
        if let Some(count) = line.strip_prefix("running ").and_then(|rest| rest.split(' ').next()?.parse().ok()) {
            self.tests = count;
        }
        let Some(test) = line.strip_prefix("test ") else { return };
        if let Some((name, _)) = test.split_once(" has been running for over ") {
            self.slow.insert(name.to_owned(), now.checked_sub(NOTICED_AFTER).unwrap_or(now));
        } else if let Some((name, result)) = test.split_once(" ... ") {
            // `name - should panic` is how libtest names such a test here, and not above.
            self.slow.remove(name.trim_end_matches(" - should panic"));
            match result {
                "ok" => self.passed += 1,
                "FAILED" => self.failed += 1,
                result if result.starts_with("ignored") => self.ignored += 1,
                _ => {}
            }
        }
    }

    /// What has taken too long, if something has.
    pub(crate) fn overdue(&self, now: Instant) -> Option<String> {
        let late = |since: &Instant, limit| now.saturating_duration_since(*since) >= limit;
        let slow = self.slow.iter().filter(|(_, since)| late(since, LIMIT)).map(|(name, _)| name.as_str());
        let slow: Vec<&str> = slow.collect();
        if !slow.is_empty() {
            return Some(format!("{} did not end within {} s", slow.join(", "), LIMIT.as_secs()));
        }
        late(&self.heard, SILENCE).then(|| format!("nothing was printed for {} s", SILENCE.as_secs()))
    }

    /// What stands for libtest's last words when it was ended: everything that has not passed has failed.
    pub(crate) fn report(&self, why: &str) -> String {
        // A binary that hangs after its last test has printed its result, but has failed all the same.
        let (passed, ignored) = if self.over { (0, 0) } else { (self.passed, self.ignored) };
        let failed = if self.over { 1 } else { (self.tests.saturating_sub(passed + ignored)).max(1) };
        format!(
            "\nended: {why}\n\ntest result: FAILED. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; \
             0 filtered out; {} of them did not end\n\n",
            if self.over { 0 } else { failed.saturating_sub(self.failed) }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, begun: Instant) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    #[test]
    fn a_test_that_ends_late_but_within_its_limit_is_not_overdue() {
        let begun = Instant::now();
        let mut watch = Watch::begin(begun);
        watch.hear("running 3 tests\n", begun);
        watch.hear("test a::slow has been running for over 60 seconds\n", after(60, begun));
        watch.hear("test b::panics has been running for over 60 seconds\n", after(60, begun));
        assert_eq!(watch.overdue(after(299, begun)), None);
        watch.hear("test a::slow ... ok\n", after(299, begun));
        watch.hear("test b::panics - should panic ... ok\n", after(299, begun));
        assert_eq!(watch.overdue(after(500, begun)), None);
    }

    #[test]
    fn hanging_test_is_named_and_fails_with_the_unfinished() {
        let begun = Instant::now();
        let mut watch = Watch::begin(begun);
        watch.hear("running 6 tests\n", begun);
        for line in ["test a ... ok\n", "test b ... FAILED\n", "test c ... ignored, run by another\n", "noise\n"] {
            watch.hear(line, after(1, begun));
        }
        watch.hear("test d::hangs has been running for over 60 seconds\n", after(61, begun));
        let why = watch.overdue(after(301, begun)).unwrap();
        assert_eq!(why, "d::hangs did not end within 300 s");
        let report = watch.report(&why);
        assert!(report.contains("test result: FAILED. 1 passed; 4 failed; 1 ignored;"), "{report}");
        assert!(report.contains("3 of them did not end"), "{report}");
    }

    #[test]
    fn a_binary_that_says_nothing_is_ended_also_after_its_last_test() {
        let begun = Instant::now();
        let mut watch = Watch::begin(begun);
        assert_eq!(watch.overdue(after(599, begun)), None);
        assert!(watch.overdue(after(600, begun)).unwrap().contains("nothing was printed"));
        watch.hear("running 1 test\n", begun);
        watch.hear("test a ... ok\n", after(100, begun));
        watch.hear("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", after(100, begun));
        assert_eq!(watch.overdue(after(699, begun)), None);
        let why = watch.overdue(after(700, begun)).unwrap();
        assert!(watch.report(&why).contains("FAILED. 0 passed; 1 failed; 0 ignored;"));
    }
}
