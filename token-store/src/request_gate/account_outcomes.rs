//! Whose requests brought no answer: pure, from a clock that only goes forward.
//!
//! One account that the authority always leaves without an answer says nothing of the others: while they are answered, its
//! failures count once, and only those of another account open the circuit.

use std::time::Duration;

use tokio::time::Instant;

/// How long an answer to another account says that the authority works: an account is refreshed about once in that time.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3600);

/// The accounts that one authority was asked about.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// The last one that was answered, and the last other one.
    answered: [Option<(String, Instant)>; 2],
    /// Whose failure was the last that counted since then.
    failed: Option<String>,
}

impl Accounts {
    /// A request about this account was answered.
    pub(super) fn answered(&mut self, account: &str, now: Instant) {
        self.failed = None;
        let [last, before] = &mut self.answered;
        if last.as_ref().is_some_and(|(last, _)| last != account) {
            *before = last.take();
        }
        *last = Some((account.to_owned(), now));
    }

    /// A request was not answered. Returns whether that says anything about the authority.
    pub(super) fn failed(&mut self, account: &str, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < ANSWERED_WITHIN;
        let others_are_answered = self.answered.iter().flatten().any(|(other, at)| other != account && is_recent(*at));
        if others_are_answered && self.failed.as_deref() == Some(account) {
            return false;
        }
        self.failed = Some(account.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_account_count_once_while_others_are_answered() {
        let begin = Instant::now();
        let at = |minutes: u64| begin + Duration::from_secs(60 * minutes);
        let mut accounts = Accounts::default();
        assert!(accounts.failed("a", at(0)) && accounts.failed("a", at(0)), "no other account has asked");
        accounts.answered("a", at(1));
        assert!(accounts.failed("a", at(1)) && accounts.failed("a", at(1)), "nor since");
        accounts.answered("b", at(2));
        accounts.answered("a", at(3));
        accounts.answered("a", at(3));
        assert!(accounts.failed("a", at(3)));
        assert!(!accounts.failed("a", at(3)) && !accounts.failed("a", at(61)));
        assert!(accounts.failed("c", at(61)), "another one's");
        assert!(accounts.failed("a", at(61)));
        assert!(accounts.failed("a", at(62)), "the others were answered too long ago");
    }
}
