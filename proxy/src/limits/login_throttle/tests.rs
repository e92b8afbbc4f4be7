//! What the policy decides, case by case; `model.rs` plays whole worlds.

use super::attempt::{Attempt, Subject, Target};
use super::policy::{Policy, QUEUE_TIMEOUT};
use super::recent_attempts::PairTag;
use super::source_failures::BlockLimits;
use super::*;

mod driver;

const LIMITS: BlockLimits = BlockLimits {
    after: 100,
    repeat_interval: Duration::from_secs(900),
    duration: Duration::from_secs(900),
    decay_interval: Duration::from_secs(300),
};

fn second(number: u64) -> Duration {
    Duration::from_secs(number)
}

struct Bench {
    policy: Policy,
    now: Instant,
}

fn bench() -> Bench {
    Bench { policy: Policy::new(LIMITS), now: Instant::now() }
}

fn attempt(source: u8, account: u64, familiar: bool, password: u8) -> Attempt {
    Attempt {
        targets: vec![Target { subject: Subject(account), familiar }],
        source: Source::of([192, 0, 2, source].into()),
        shared: false,
        familiar_source: familiar,
        pair: tag(account, password),
    }
}

fn tag(account: u64, password: u8) -> PairTag {
    let mut tag = [password; 16];
    tag[..8].copy_from_slice(&account.to_be_bytes());
    tag
}

impl Bench {
    fn charge(&mut self, attempt: Attempt) -> Charge {
        match self.policy.begin(attempt, self.now) {
            Decision::Compare(charge) => charge,
            other => panic!("{other:?}"),
        }
    }

    fn wrong(&mut self, attempt: Attempt) {
        let charge = self.charge(attempt);
        assert_eq!(self.policy.end(charge, Comparison::Wrong, self.now), None);
    }

    fn wait(&mut self, attempt: Attempt) -> (Ticket, Duration) {
        match self.policy.begin(attempt, self.now) {
            Decision::Wait(ticket, until) => (ticket, until - self.now),
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, attempt: Attempt) -> Duration {
        match self.policy.begin(attempt, self.now) {
            Decision::Refuse(wait) => wait,
            other => panic!("{other:?}"),
        }
    }
}

/// Property 1: a right password beyond the budget has the same answer as a wrong one.
#[test]
fn attempt_beyond_the_budget_is_refused_whatever_its_password() {
    for (familiar, budget) in [(false, 10), (true, 20)] {
        let mut bench = bench();
        let charge = bench.charge(attempt(1, 1, familiar, 0));
        bench.policy.end(charge, Comparison::Right, bench.now);
        for password in 1..=budget {
            bench.wrong(attempt(1, 1, familiar, password));
        }
        assert_eq!(bench.refused(attempt(1, 1, familiar, 99)), second(600));
        assert_eq!(bench.refused(attempt(1, 1, familiar, 0)), second(600), "the right one");
        assert!(matches!(bench.policy.begin(attempt(1, 1, familiar, 3), bench.now), Decision::Repeated));
        bench.wrong(attempt(1, 2, familiar, 1));
        bench.now += second(600);
        bench.wrong(attempt(1, 1, familiar, 99));
    }
}

#[test]
fn only_right_and_uncompared_attempts_are_given_back() {
    let mut bench = bench();
    for _ in 0..200 {
        for compared in [Comparison::Right, Comparison::NotMade] {
            let charge = bench.charge(attempt(1, 1, false, 0));
            bench.policy.end(charge, compared, bench.now);
        }
    }
    for password in 1..=10 {
        let charge = bench.charge(attempt(1, 1, false, password));
        bench.policy.end(charge, Comparison::Unknown, bench.now);
    }
    assert_eq!(bench.refused(attempt(1, 1, false, 0)), second(600));
}

#[test]
fn source_compares_two_passwords_of_an_account_concurrently() {
    let mut bench = bench();
    let (first, _second) = (bench.charge(attempt(1, 1, false, 1)), bench.charge(attempt(1, 1, false, 2)));
    let (third, again) = bench.wait(attempt(1, 1, false, 3));
    assert_eq!(again, second(1), "no better time is known");
    // Another account is not concerned: one that hangs keeps no other account of the same source waiting.
    bench.wrong(attempt(1, 2, false, 1));
    assert!(matches!(bench.policy.ask_again(third, bench.now), Decision::Wait(..)));
    bench.policy.end(first, Comparison::Wrong, bench.now);
    assert!(matches!(bench.policy.ask_again(third, bench.now), Decision::Compare(_)));
}

/// A program that opens many connections at the same time, after a restart.
#[test]
fn identical_logins_are_compared_once_then_all_admitted() {
    let mut bench = bench();
    let first = bench.charge(attempt(1, 1, true, 0));
    let tickets: Vec<Ticket> = (0..100).map(|_| bench.wait(attempt(1, 1, true, 0)).0).collect();
    bench.policy.end(first, Comparison::Right, bench.now);
    let charges: Vec<Charge> = tickets
        .into_iter()
        .map(|ticket| match bench.policy.ask_again(ticket, bench.now) {
            Decision::Compare(charge) => charge,
            other => panic!("{other:?}"),
        })
        .collect();
    for charge in charges {
        bench.policy.end(charge, Comparison::Right, bench.now);
    }
    // Nothing of it is left.
    for password in 1..=20 {
        bench.wrong(attempt(1, 1, true, password));
    }
    bench.refused(attempt(1, 1, true, 0));
}

#[test]
fn queued_attempt_times_out_and_a_leaving_one_frees_its_entry() {
    let mut bench = bench();
    let _busy = [bench.charge(attempt(1, 1, false, 1)), bench.charge(attempt(1, 1, false, 2))];
    let (first, _) = bench.wait(attempt(1, 1, false, 3));
    let (second_waiting, _) = bench.wait(attempt(1, 1, false, 4));
    assert_eq!(bench.refused(attempt(1, 1, false, 5)), QUEUE_TIMEOUT, "two of one source wait, no more");
    bench.policy.leave(second_waiting);
    let (third, _) = bench.wait(attempt(1, 1, false, 5));
    bench.now += QUEUE_TIMEOUT;
    for ticket in [first, third, second_waiting] {
        assert!(matches!(bench.policy.ask_again(ticket, bench.now), Decision::Refuse(QUEUE_TIMEOUT)));
    }
}

/// Answers that were not heard: a client that disconnects, or Microsoft that is silent. A device that tries again each minute must not
/// use up what others have.
#[test]
fn repeated_login_without_an_answer_is_the_same_guess() {
    let mut bench = bench();
    for _ in 0..30 {
        for device in 1..=3 {
            let charge = bench.charge(attempt(1, 1, false, device));
            bench.policy.end(charge, Comparison::Unknown, bench.now);
        }
        bench.now += second(60);
    }
    for password in 11..=17 {
        bench.wrong(attempt(1, 1, false, password));
    }
    assert!(bench.refused(attempt(1, 1, false, 99)) > second(400), "three and seven are ten");
}

/// The day of a migration: many devices have an old password, and then one has the right one.
#[test]
fn source_that_becomes_familiar_is_not_slower_than_before() {
    let mut bench = bench();
    for account in 0..55 {
        bench.wrong(attempt(1, account, false, 1));
    }
    let right = bench.charge(attempt(1, 100, false, 0));
    bench.policy.end(right, Comparison::Right, bench.now);
    for account in 200..260 {
        let familiar_source = Attempt { familiar_source: true, ..attempt(1, account, false, 1) };
        bench.wrong(familiar_source);
    }
}

/// Property 4: the source that had fewest goes first, regardless of the order of arrival.
#[test]
fn sources_take_turns_at_an_account() {
    let mut bench = bench();
    for number in 0..20 {
        bench.wrong(attempt(number % 4, 1, false, number));
    }
    let (greedy, wait) = bench.wait(attempt(0, 1, false, 100));
    assert_eq!(wait, second(15));
    let (modest, _) = bench.wait(attempt(9, 1, false, 101));
    bench.now += second(15);
    assert!(matches!(bench.policy.ask_again(greedy, bench.now), Decision::Wait(..)), "it had five already");
    assert!(matches!(bench.policy.begin(attempt(8, 1, false, 102), bench.now), Decision::Wait(..)), "it came later");
    assert!(matches!(bench.policy.ask_again(modest, bench.now), Decision::Compare(_)));
    // A familiar source uses none of these turns.
    bench.wrong(attempt(7, 1, true, 1));
}

/// Guesses at ever other accounts, and a site with many devices.
#[test]
fn source_rate_over_all_accounts_excludes_familiar_logins() {
    for (familiar_source, burst, interval) in [(false, 60, 5), (true, 120, 1)] {
        let mut bench = bench();
        let of = |account| Attempt { familiar_source, ..attempt(1, account, false, 1) };
        let unheard = bench.charge(of(1));
        bench.policy.end(unheard, Comparison::Unknown, bench.now);
        if familiar_source {
            for account in 1000..1200 {
                bench.wrong(attempt(1, account, true, 1));
            }
        }
        for account in 2..=burst {
            bench.wrong(of(account));
        }
        let (waits, wait) = bench.wait(of(500));
        assert_eq!(wait, second(interval), "{familiar_source}");
        bench.wrong(of(1));
        bench.wrong(Attempt { source: Source::of([192, 0, 2, 2].into()), ..of(500) });
        bench.now += second(interval);
        assert!(matches!(bench.policy.ask_again(waits, bench.now), Decision::Compare(_)));
        assert_eq!(bench.wait(of(501)).1, second(interval), "one in each interval");
    }
}

/// An attempt that could not proceed anyway delays no other.
#[test]
fn attempt_of_a_source_that_is_busy_elsewhere_does_not_go_first() {
    let mut bench = bench();
    for number in 0..20 {
        bench.wrong(attempt(number, 1, false, number));
    }
    let busy: Vec<Charge> = (100..108).map(|account| bench.charge(attempt(50, account, false, 1))).collect();
    let (came_first, _) = bench.wait(attempt(50, 1, false, 1));
    let (came_later, _) = bench.wait(attempt(60, 1, false, 1));
    bench.now += second(15);
    assert!(matches!(bench.policy.ask_again(came_first, bench.now), Decision::Wait(..)), "eight are in progress");
    assert!(matches!(bench.policy.ask_again(came_later, bench.now), Decision::Compare(_)));
    for charge in busy {
        bench.policy.end(charge, Comparison::Wrong, bench.now);
    }
    bench.now += second(4);
    assert!(matches!(bench.policy.ask_again(came_first, bench.now), Decision::Wait(..)), "it waits for the pace");
}

#[test]
fn full_queue_makes_room_for_a_source_that_had_fewer() {
    let mut bench = bench();
    for number in 0..20 {
        bench.wrong(attempt(number, 1, false, number));
    }
    let mut queue = Vec::new();
    for source in 0..32 {
        for password in 100..102 {
            queue.push(bench.wait(attempt(source, 1, false, password)).0);
        }
    }
    let (newcomer, _) = bench.wait(attempt(200, 1, false, 100));
    let refused = |bench: &mut Bench, ticket| matches!(bench.policy.ask_again(ticket, bench.now), Decision::Refuse(_));
    let displaced = queue.iter().filter(|ticket| refused(&mut bench, **ticket)).count();
    assert_eq!(displaced, 1);
    assert!(!refused(&mut bench, newcomer));
}

#[test]
fn single_source_cannot_fill_the_queue() {
    let mut bench = bench();
    let source = Source::of([192, 0, 2, 1].into());
    for number in 0..8 {
        std::mem::forget(bench.charge(attempt(1, number, false, 1)));
    }
    for account in 100..132 {
        assert!(!bench.policy.is_beyond(source));
        bench.wait(attempt(1, account, false, 1));
    }
    assert!(bench.policy.is_beyond(source));
    assert_eq!(bench.refused(attempt(1, 200, false, 1)), QUEUE_TIMEOUT);
    // Where its users are known they do not wait behind it.
    let _charge = bench.charge(attempt(1, 300, true, 1));
}

/// `owner\shared`: the owner's password opens it too, so that a guess counts for both.
#[test]
fn guess_counts_for_every_account_it_is_compared_with() {
    let mut bench = bench();
    for shared in 0..10 {
        let mut attempt = attempt(1, 100 + shared, false, 1);
        attempt.targets.push(Target { subject: Subject(7), familiar: false });
        bench.wrong(attempt);
    }
    assert_eq!(bench.refused(attempt(1, 7, false, 9)), second(600));
    bench.wrong(attempt(1, 100, false, 9));
}

#[test]
fn crowd_of_sources_neither_grows_the_tables_nor_ends_a_block() {
    let mut bench = bench();
    for number in 0..110 {
        bench.wrong(attempt(1, 1000 + number, false, 1));
        bench.now += second(5);
    }
    bench.now += second(900);
    let charge = bench.charge(attempt(1, 5000, false, 1));
    let until = bench.policy.end(charge, Comparison::Wrong, bench.now).expect("blocked");
    assert_eq!(until, bench.now + LIMITS.duration);
    assert_eq!(bench.refused(attempt(1, 1, false, 1)), LIMITS.duration);
    // One that has used up its pace, and one that is busy.
    for account in 2000..2060 {
        bench.wrong(attempt(2, account, false, 1));
    }
    let busy: Vec<Charge> = (3000..3008).map(|account| bench.charge(attempt(3, account, false, 1))).collect();
    let crowd = |number: u32, account| Attempt {
        source: Source::of(std::net::IpAddr::from(number.to_be_bytes())),
        ..attempt(0, account, false, 1)
    };
    let mut last = 0;
    for number in 0..70_000 {
        match bench.policy.begin(crowd(0x0a00_0000 + number, u64::from(number)), bench.now) {
            Decision::Compare(charge) => {
                last = number;
                bench.policy.end(charge, Comparison::Wrong, bench.now);
            }
            Decision::Wait(ticket, _) => assert!(bench.policy.leave(ticket)),
            other => panic!("{other:?}"),
        }
        bench.now += Duration::from_millis(1);
    }
    let (queues, accounts, sources) = bench.policy.sizes();
    assert!(queues <= 65_536 && accounts <= 65_536 + 1 && sources <= 65_536, "{queues} {accounts} {sources}");
    let source = Source::of([192, 0, 2, 1].into());
    assert_eq!(bench.policy.blocked_until(source, bench.now), Some(until));
    bench.policy.unblock(source);
    assert_eq!(bench.policy.blocked_until(source, bench.now), None);
    let again = bench.policy.begin(crowd(0x0a00_0000 + last, u64::from(last)), bench.now);
    assert!(matches!(again, Decision::Repeated), "the queues used last are kept");
    // One in five seconds, of the seventy that have passed.
    for account in 2100..2114 {
        bench.wrong(attempt(2, account, false, 1));
    }
    assert_eq!(bench.wait(attempt(2, 2200, false, 1)).1, second(5), "its pace is not forgotten");
    bench.wait(attempt(3, 3100, false, 1));
    drop(busy);
    // Sources without an entry share a pace; those from which a login has succeeded have one of their own.
    assert!(bench.wait(crowd(0x0b00_0000, 80_000)).1 <= second(5));
    bench.wrong(Attempt { familiar_source: true, ..crowd(0x0b00_0001, 80_001) });
}

async fn throttle() -> LoginThrottle {
    let vault = oxpost_token_store::Vault::from_key(&[7; 32]).unwrap();
    let store = Store::open_in_memory(vault).await.unwrap();
    let limits = ThrottleLimits { block: LIMITS, failure_delay: Duration::from_secs(2), exempt_networks: Vec::new() };
    let clock: SharedClock = std::sync::Arc::new(oxpost_token_store::SystemClock);
    LoginThrottle::new(limits, store, clock, "gateway".into())
}

/// The driver: a client that waits stays in the queue, however often the policy is asked meanwhile.
#[tokio::test(start_paused = true)]
async fn attempt_that_waits_gets_its_turn_when_it_comes() {
    let throttle = throttle().await;
    let compare = async |attempt: Attempt, compared| match throttle.wait_for_admission(attempt).await.unwrap() {
        Admission::Granted(mut permit) => permit.note(compared),
        Admission::Repeated => panic!("repeated"),
    };
    for number in 0..20 {
        compare(attempt(number, 1, false, number), Comparison::Wrong).await;
    }
    let began = Instant::now();
    compare(attempt(100, 1, false, 100), Comparison::Wrong).await;
    assert_eq!(began.elapsed(), second(15), "the pace of the account");

    // One that is being compared for seven seconds, and the same login meanwhile.
    let Ok(Admission::Granted(mut slow)) = throttle.wait_for_admission(attempt(1, 2, false, 1)).await else { panic!() };
    let same = throttle.wait_for_admission(attempt(1, 2, false, 1));
    let slow = async {
        tokio::time::sleep(second(7)).await;
        slow.note(Comparison::Wrong);
        drop(slow);
    };
    let began = Instant::now();
    let (same, ()) = tokio::join!(same, slow);
    assert!(matches!(same, Ok(Admission::Repeated)));
    assert_eq!(began.elapsed(), second(7), "it is woken");
    assert_eq!(throttle.policy().waiting(), 0, "nothing is left in the queue");
}

/// A client that disconnects while it waits, or while its password is compared.
#[tokio::test(start_paused = true)]
async fn disconnected_attempt_stays_counted_and_leaves_the_queue() {
    let throttle = throttle().await;
    for password in 0..10 {
        drop(throttle.wait_for_admission(attempt(1, 1, false, password)).await.unwrap());
    }
    assert_eq!(
        throttle.wait_for_admission(attempt(1, 1, false, 99)).await.unwrap_err(),
        Throttled::TooMany(second(600))
    );
    let _busy = [1, 2].map(|password| throttle.policy().begin(attempt(2, 2, false, password), Instant::now()));
    let waiting = throttle.wait_for_admission(attempt(2, 2, false, 3));
    assert!(tokio::time::timeout(second(1), waiting).await.is_err());
    assert_eq!(throttle.policy().waiting(), 0);
}
