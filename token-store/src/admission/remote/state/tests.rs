//! What the docket decides.

use super::*;
use crate::error::Problem;

const MINUTE: Duration = Duration::from_secs(60);

fn at(minutes: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + minutes * MINUTE
}

fn name(number: u8) -> Name {
    [number; 32]
}

fn passing() -> TokenError {
    TokenError::Transient { retry_after: None, problem: Problem::new("busy", "wait") }
}

const ASK: Step = Step::Ask { right_meanwhile: false };
const WRONG: Step = Step::Deny(Denied::WrongAtMicrosoft);

impl Docket {
    fn standing(&self) -> Standing {
        Standing { going_on: true, got: None, judged: self.judged() }
    }

    fn asks(&mut self, number: u8, now: SystemTime) -> Step {
        self.look(&name(number), &self.standing(), now)
    }

    /// A guess, which Microsoft refuses if it hears it.
    fn guess(&mut self, number: u8, now: SystemTime) -> bool {
        let heard = self.asks(number, now) == ASK;
        if heard {
            self.note(name(number), &Verdict::Wrong, now);
        }
        heard
    }
}

fn opened_by_one() -> Docket {
    let mut docket = Docket::default();
    assert_eq!(docket.asks(1, at(0)), ASK);
    docket.note(name(1), &Verdict::Right, at(0));
    docket
}

#[test]
fn the_last_right_password_is_right_for_its_time_while_its_tokens_go_on() {
    let mut docket = opened_by_one();
    assert_eq!(docket.asks(1, at(59)), Step::Admit);
    assert_eq!(docket.asks(2, at(59)), ASK, "another one is Microsoft's to judge");
    let standing = docket.standing();
    let ended = Standing { going_on: false, ..standing };
    assert_eq!(docket.look(&name(1), &ended, at(1)), ASK, "its tokens were revoked");
    let removed = Standing { judged: None, ..standing };
    assert_eq!(docket.look(&name(1), &removed, at(1)), ASK, "the account was removed and added again");
    assert_eq!(docket.asks(1, at(60)), Step::Ask { right_meanwhile: true });
    docket.note(name(2), &Verdict::Right, at(60));
    assert_eq!(docket.asks(2, at(61)), Step::Admit);
    assert_eq!(docket.asks(1, at(61)), ASK, "one account has one password");
}

#[test]
fn a_password_that_was_changed_at_microsoft_is_right_no_longer() {
    let mut docket = opened_by_one();
    docket.note(name(1), &Verdict::Wrong, at(30));
    assert_eq!(docket.asks(1, at(31)), WRONG);
    assert_eq!(docket.asks(2, at(31)), ASK);
}

#[test]
fn a_wrong_password_that_is_repeated_is_asked_about_ever_more_rarely() {
    let mut docket = Docket::default();
    let mut heard = Vec::new();
    for minute in 0..300 {
        if docket.guess(7, at(minute)) {
            heard.push(minute);
        }
    }
    assert_eq!(heard, [0, 10, 30, 70, 130, 190, 250]);
}

#[test]
fn when_microsoft_does_not_answer_the_last_right_password_opens_and_no_other() {
    let mut docket = opened_by_one();
    assert_eq!(docket.asks(1, at(60)), Step::Ask { right_meanwhile: true });
    docket.note(name(1), &Verdict::Neither(passing()), at(60));
    assert_eq!(docket.asks(1, at(60)), Step::Admit, "Microsoft is left alone meanwhile");
    let Step::Deny(Denied::NotJudged(TokenError::Transient { retry_after, .. })) = docket.asks(2, at(60)) else {
        panic!("nobody has judged this one");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
    assert_eq!(docket.asks(1, at(61)), Step::Ask { right_meanwhile: true });
    assert_eq!(docket.asks(1, at(24 * 60)), ASK, "not for ever");
}

#[test]
fn pauses_grow_and_end_with_an_answer_or_with_tokens_from_elsewhere() {
    let registration = TokenError::Misconfigured(Problem::new("wrong", "mend it"));
    let mut docket = Docket::default();
    for _ in 0..20 {
        docket.note(name(1), &Verdict::Neither(registration.clone()), at(0));
    }
    let blocked = Step::Deny(Denied::NotJudged(registration));
    assert_eq!(docket.asks(1, at(4)), blocked, "no more than that is known");
    assert_eq!(docket.asks(2, at(5)), ASK, "five minutes at most");
    let standing = docket.standing();
    let mut got = |minutes| docket.look(&name(1), &Standing { got: Some(at(minutes)), ..standing }, at(1));
    assert_eq!(got(0), blocked);
    assert_eq!(got(1), ASK);
    let named = TokenError::Transient { retry_after: Some(20 * MINUTE), problem: Problem::new("busy", "wait") };
    docket.note(name(1), &Verdict::Neither(named), at(1));
    assert!(matches!(docket.asks(1, at(20)), Step::Deny(Denied::NotJudged(_))), "Retry-After is obeyed");
    docket.note(name(2), &Verdict::Wrong, at(21));
    assert_eq!(docket.asks(1, at(21)), ASK);
}

#[test]
fn a_clock_that_is_set_back_lets_nobody_in() {
    let mut docket = opened_by_one();
    let later = at(30 * 24 * 60);
    docket.note(name(1), &Verdict::Right, later);
    docket.note(name(1), &Verdict::Neither(passing()), later);
    assert_ne!(docket.asks(1, at(0)), Step::Admit, "its age is unknown");
}
