//! What the verification state decides.

use super::*;
use crate::error::Problem;

const MINUTE: Duration = Duration::from_secs(60);

fn at(minutes: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + minutes * MINUTE
}

fn tag(number: u8) -> PasswordTag {
    [number; 32]
}

fn passing() -> TokenError {
    TokenError::Transient { retry_after: None, problem: Problem::new("busy", "wait") }
}

const ASK: Decision = Decision::AskMicrosoft { admit_if_unreachable: false };
const WRONG: Decision = Decision::Deny(Denied::RejectedByMicrosoft);

impl VerificationState {
    fn status(&self) -> TokenStatus {
        TokenStatus { usable: true, obtained_at: None, verified_at: self.verified_at() }
    }

    fn asks(&mut self, number: u8, now: SystemTime) -> Decision {
        self.decide(&tag(number), &self.status(), now)
    }

    /// A guess, which Microsoft refuses if it hears it.
    fn guess(&mut self, number: u8, now: SystemTime) -> bool {
        let heard = self.asks(number, now) == ASK;
        if heard {
            self.note(tag(number), &VerificationResult::Wrong, now);
        }
        heard
    }
}

fn opened_by_one() -> VerificationState {
    let mut state = VerificationState::default();
    assert_eq!(state.asks(1, at(0)), ASK);
    state.note(tag(1), &VerificationResult::Right, at(0));
    state
}

#[test]
fn right_password_counts_while_its_tokens_are_usable() {
    let mut state = opened_by_one();
    assert_eq!(state.asks(1, at(59)), Decision::Admit);
    assert_eq!(state.asks(2, at(59)), ASK, "another one is Microsoft's to verify");
    let status = state.status();
    let ended = TokenStatus { usable: false, ..status };
    assert_eq!(state.decide(&tag(1), &ended, at(1)), ASK, "its tokens were revoked");
    let removed = TokenStatus { verified_at: None, ..status };
    assert_eq!(state.decide(&tag(1), &removed, at(1)), ASK, "the account was removed and added again");
    assert_eq!(state.asks(1, at(60)), Decision::AskMicrosoft { admit_if_unreachable: true });
    state.note(tag(2), &VerificationResult::Right, at(60));
    assert_eq!(state.asks(2, at(61)), Decision::Admit);
    assert_eq!(state.asks(1, at(61)), ASK, "one account has one password");
}

#[test]
fn a_password_that_was_changed_at_microsoft_is_right_no_longer() {
    let mut state = opened_by_one();
    state.note(tag(1), &VerificationResult::Wrong, at(30));
    assert_eq!(state.asks(1, at(31)), WRONG);
    assert_eq!(state.asks(2, at(31)), ASK);
}

#[test]
fn repeated_wrong_password_is_asked_ever_more_rarely() {
    let mut state = VerificationState::default();
    let mut heard = Vec::new();
    for minute in 0..300 {
        if state.guess(7, at(minute)) {
            heard.push(minute);
        }
    }
    assert_eq!(heard, [0, 10, 30, 70, 130, 190, 250]);
}

#[test]
fn last_right_password_alone_opens_without_an_answer() {
    let mut state = opened_by_one();
    assert_eq!(state.asks(1, at(60)), Decision::AskMicrosoft { admit_if_unreachable: true });
    state.note(tag(1), &VerificationResult::Inconclusive(passing()), at(60));
    assert_eq!(state.asks(1, at(60)), Decision::Admit, "Microsoft is left alone meanwhile");
    let Decision::Deny(Denied::NotVerified(TokenError::Transient { retry_after, .. })) = state.asks(2, at(60)) else {
        panic!("this one has not been verified");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
    assert_eq!(state.asks(1, at(61)), Decision::AskMicrosoft { admit_if_unreachable: true });
    assert_eq!(state.asks(1, at(24 * 60)), ASK, "not for ever");
}

#[test]
fn pauses_grow_until_an_answer_or_new_tokens() {
    let registration = TokenError::Misconfigured(Problem::new("wrong", "correct it"));
    let mut state = VerificationState::default();
    for _ in 0..20 {
        state.note(tag(1), &VerificationResult::Inconclusive(registration.clone()), at(0));
    }
    let blocked = Decision::Deny(Denied::NotVerified(registration));
    assert_eq!(state.asks(1, at(4)), blocked, "no more than that is known");
    assert_eq!(state.asks(2, at(5)), ASK, "five minutes at most");
    let status = state.status();
    let mut obtained_at =
        |minutes| state.decide(&tag(1), &TokenStatus { obtained_at: Some(at(minutes)), ..status }, at(1));
    assert_eq!(obtained_at(0), blocked);
    assert_eq!(obtained_at(1), ASK);
    let named = TokenError::Transient { retry_after: Some(20 * MINUTE), problem: Problem::new("busy", "wait") };
    state.note(tag(1), &VerificationResult::Inconclusive(named), at(1));
    assert!(matches!(state.asks(1, at(20)), Decision::Deny(Denied::NotVerified(_))), "Retry-After is obeyed");
    state.note(tag(2), &VerificationResult::Wrong, at(21));
    assert_eq!(state.asks(1, at(21)), ASK);
}

#[test]
fn clock_that_is_set_back_admits_no_login() {
    let mut state = opened_by_one();
    let later = at(30 * 24 * 60);
    state.note(tag(1), &VerificationResult::Right, later);
    state.note(tag(1), &VerificationResult::Inconclusive(passing()), later);
    assert_ne!(state.asks(1, at(0)), Decision::Admit, "its age is unknown");
}
