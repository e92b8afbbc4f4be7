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

fn home() -> Source {
    Source::of("10.0.0.1".parse().unwrap())
}

fn elsewhere(number: u8) -> Source {
    Source::of(std::net::IpAddr::from([203, 0, 113, number]))
}

fn passing() -> TokenError {
    TokenError::Transient { retry_after: None, problem: Problem::new("busy", "wait") }
}

const _: () = assert!(2 * SHARE < 10 && 2 * SHARE_OF_THREE < 3, "what locks a user");

const ASK: Step = Step::Ask { right_meanwhile: false };
const WRONG: Step = Step::Deny(Denied::WrongAtMicrosoft);
const TOO_MANY: Step = Step::Deny(Denied::TooManyPasswords);

impl Docket {
    fn standing(&self) -> Standing {
        Standing { going_on: true, got: None, judged: self.judged(), share: SHARE }
    }

    fn asks(&mut self, number: u8, from: Source, now: SystemTime) -> Step {
        self.look(&name(number), from, &self.standing(), now)
    }

    /// A guess, which Microsoft refuses if it hears it.
    fn guess(&mut self, number: u8, from: Source, now: SystemTime) -> bool {
        let heard = self.asks(number, from, now) == ASK;
        if heard {
            self.note(name(number), from, &Verdict::Wrong, now);
        }
        heard
    }
}

fn opened_by_one() -> Docket {
    let mut docket = Docket::default();
    assert_eq!(docket.asks(1, home(), at(0)), ASK);
    docket.note(name(1), home(), &Verdict::Right, at(0));
    docket
}

#[test]
fn the_last_right_password_is_right_for_its_time_while_its_tokens_go_on() {
    let mut docket = opened_by_one();
    assert_eq!(docket.asks(1, elsewhere(1), at(59)), Step::Admit);
    assert_eq!(docket.asks(2, home(), at(59)), ASK, "another one is Microsoft's to judge");
    let standing = docket.standing();
    let ended = Standing { going_on: false, ..standing };
    assert_eq!(docket.look(&name(1), home(), &ended, at(1)), ASK, "its tokens were revoked");
    let removed = Standing { judged: None, ..standing };
    assert_eq!(docket.look(&name(1), home(), &removed, at(1)), ASK, "the account was removed and added again");
    assert_eq!(docket.asks(1, home(), at(60)), Step::Ask { right_meanwhile: true });
    docket.note(name(2), home(), &Verdict::Right, at(60));
    assert_eq!(docket.asks(2, home(), at(61)), Step::Admit);
    assert_eq!(docket.asks(1, home(), at(61)), ASK, "one account has one password");
}

#[test]
fn a_password_that_was_changed_at_microsoft_is_right_no_longer() {
    let mut docket = opened_by_one();
    docket.note(name(1), home(), &Verdict::Wrong, at(30));
    assert_eq!(docket.asks(1, home(), at(31)), WRONG);
    assert_eq!(docket.asks(2, home(), at(31)), ASK);
}

#[test]
fn a_wrong_password_that_is_repeated_is_asked_about_ever_more_rarely() {
    let mut docket = Docket::default();
    let mut heard = Vec::new();
    for minute in 0..300 {
        if docket.guess(7, home(), at(minute)) {
            heard.push(minute);
        }
    }
    assert_eq!(heard, [0, 10, 30, 70, 130, 190, 250]);
}

#[test]
fn strangers_have_a_share_and_cannot_use_up_that_of_familiar_places() {
    let mut docket = opened_by_one();
    let heard = (0..200_u8).filter(|&number| docket.guess(10 + number, elsewhere(number), at(1))).count();
    assert_eq!(heard, SHARE);
    assert_eq!(docket.asks(240, elsewhere(240), at(1)), TOO_MANY);
    assert_eq!(docket.asks(1, elsewhere(240), at(1)), Step::Admit, "the right password opens from anywhere");
    // The user has changed the password, and mistypes it.
    let heard = (0..200_u8).filter(|&number| docket.guess(50 + number, home(), at(2))).count();
    assert_eq!(heard, SHARE);
    assert_eq!(docket.asks(250, home(), at(61)), TOO_MANY);
    assert_eq!(docket.asks(250, home(), at(62)), ASK);
}

#[test]
fn the_right_password_is_asked_about_whatever_strangers_have_done() {
    let mut docket = opened_by_one();
    for number in 0..50 {
        docket.guess(100 + number, elsewhere(number), at(60));
    }
    assert_eq!(docket.asks(1, elsewhere(99), at(61)), Step::Ask { right_meanwhile: true });
}

#[test]
fn when_microsoft_does_not_answer_the_last_right_password_opens_and_no_other() {
    let mut docket = opened_by_one();
    assert_eq!(docket.asks(1, home(), at(60)), Step::Ask { right_meanwhile: true });
    docket.note(name(1), home(), &Verdict::Neither(passing()), at(60));
    assert_eq!(docket.asks(1, home(), at(60)), Step::Admit, "Microsoft is left alone meanwhile");
    let Step::Deny(Denied::NotJudged(TokenError::Transient { retry_after, .. })) = docket.asks(2, home(), at(60))
    else {
        panic!("nobody has judged this one");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
    assert_eq!(docket.asks(1, home(), at(61)), Step::Ask { right_meanwhile: true });
    assert_eq!(docket.asks(1, home(), at(24 * 60)), ASK, "not for ever");
}

#[test]
fn pauses_grow_and_end_with_an_answer_or_with_tokens_from_elsewhere() {
    let registration = TokenError::Misconfigured(Problem::new("wrong", "mend it"));
    let mut docket = Docket::default();
    for _ in 0..20 {
        docket.note(name(1), home(), &Verdict::Neither(registration.clone()), at(0));
    }
    let blocked = Step::Deny(Denied::NotJudged(registration));
    assert_eq!(docket.asks(1, home(), at(4)), blocked, "no more than that is known");
    assert_eq!(docket.asks(2, home(), at(5)), ASK, "five minutes at most");
    let standing = docket.standing();
    let mut got = |minutes| docket.look(&name(1), home(), &Standing { got: Some(at(minutes)), ..standing }, at(1));
    assert_eq!(got(0), blocked);
    assert_eq!(got(1), ASK);
    let named = TokenError::Transient { retry_after: Some(20 * MINUTE), problem: Problem::new("busy", "wait") };
    docket.note(name(1), home(), &Verdict::Neither(named), at(1));
    assert!(matches!(docket.asks(1, home(), at(20)), Step::Deny(Denied::NotJudged(_))), "Retry-After is obeyed");
    docket.note(name(2), home(), &Verdict::Wrong, at(21));
    assert_eq!(docket.asks(1, home(), at(21)), ASK);
}

#[test]
fn a_clock_that_is_set_back_locks_nobody_out_and_lets_nobody_in() {
    let mut docket = opened_by_one();
    let later = at(30 * 24 * 60);
    docket.note(name(1), home(), &Verdict::Right, later);
    for number in 0..20 {
        docket.guess(10 + number, elsewhere(1), later);
    }
    docket.note(name(1), home(), &Verdict::Neither(passing()), later);
    assert_ne!(docket.asks(1, home(), at(0)), Step::Admit, "its age is unknown");
    assert_eq!(docket.asks(99, elsewhere(1), at(1)), TOO_MANY, "they still count, from now on");
    assert_eq!(docket.asks(99, elsewhere(1), at(60)), ASK);
}
