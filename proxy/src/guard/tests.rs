//! The guard as a whole.

use std::sync::Arc;

use oxpost_token_store::{Clock as _, ManualClock, Vault};

use super::*;

struct Bench {
    guard: Arc<Guard>,
    store: Store,
    clock: Arc<ManualClock>,
}

async fn bench(never_ban: &[&str]) -> Bench {
    let clock = Arc::new(ManualClock::new(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)));
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let limits = GuardLimits {
        guesses: GuessLimits {
            ban_after: 5,
            ban_network_after: 20,
            ban_for: Duration::from_secs(900),
            forgive: Duration::from_secs(300),
        },
        never_ban: never_ban.iter().map(|network| network.parse().unwrap()).collect(),
    };
    let guard = Arc::new(Guard::new(limits, store.clone(), clock.clone(), "gateway".into()));
    Bench { guard, store, clock }
}

fn peer(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Bench {
    /// A wrong password for a name that nobody has tried yet.
    async fn guess(&self, from: &str) -> Result<(), Held> {
        let name = format!("name-{:?}", Instant::now());
        self.guard.check(peer(from), &name, Standing::New).await?.was_wrong().await;
        Ok(())
    }

    async fn ban(&self, from: &str) {
        while self.guess(from).await.is_ok() {}
    }

    fn turns_away(&self, from: &str) -> bool {
        self.guard.turns_away(peer(from), false)
    }
}

/// However little work a wrong login was, and however many passwords were compared.
#[tokio::test(start_paused = true)]
async fn every_wrong_login_is_answered_at_the_same_time() {
    let bench = bench(&[]).await;
    for (standing, work) in
        [(Standing::New, 22), (Standing::New, 8 * 22), (Standing::New, 0), (Standing::WrongAgain, 0)]
    {
        let began = Instant::now();
        let check = bench.guard.check(peer("127.0.0.1"), "alice", standing).await.unwrap();
        sleep(Duration::from_millis(work)).await;
        check.was_wrong().await;
        assert_eq!(began.elapsed(), ANSWER_AFTER, "{standing:?} {work}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_turns_strangers_away_and_lets_in_who_is_known() {
    let bench = bench(&[]).await;
    bench.ban("192.0.2.7").await;
    assert!(matches!(bench.guess("192.0.2.7").await, Err(Held::Banned(_))));
    let again = bench.guard.check(peer("192.0.2.7"), "alice", Standing::WrongAgain).await;
    assert!(matches!(again, Err(Held::Banned(_))), "a ban has one answer to everything");
    // Somebody has logged in from this address before: it may come in, and who it is counts.
    assert!(!bench.guard.turns_away(peer("192.0.2.7"), true));
    bench.guard.check(peer("192.0.2.7"), "alice", Standing::Known).await.unwrap();

    bench.ban("192.0.2.8").await;
    assert!(bench.turns_away("192.0.2.8") && !bench.turns_away("192.0.2.9"));
    sleep(Duration::from_secs(901)).await;
    assert!(!bench.turns_away("192.0.2.8"));
    bench.guess("192.0.2.8").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bans_are_shown_and_can_be_lifted_from_outside() {
    let bench = bench(&[]).await;
    bench.ban("2001:db8::7").await;
    let bans = bench.store.bans(bench.clock.now()).await.unwrap();
    assert_eq!(bans.len(), 1);
    assert_eq!((bans[0].source.as_str(), bans[0].node.as_str()), ("2001:db8::7", "gateway"));
    assert_eq!(bans[0].until, bench.clock.now() + Duration::from_secs(900));
    bench.guard.look_once().await;
    assert!(bench.turns_away("2001:db8::7"), "it stands");
    assert!(bench.store.lift_ban("2001:db8::7").await.unwrap());
    bench.guard.look_once().await;
    assert!(!bench.turns_away("2001:db8::7"));
    bench.guess("2001:db8::7").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn this_machine_and_a_load_balancer_are_never_banned() {
    let bench = bench(&["10.0.0.0/24"]).await;
    for from in ["127.0.0.1", "::1", "10.0.0.5", "::ffff:10.0.0.5"] {
        for _ in 0..50 {
            bench.guess(from).await.unwrap();
        }
        assert!(!bench.turns_away(from));
    }
    assert!(bench.store.bans(bench.clock.now()).await.unwrap().is_empty());
}

/// A device that was not told of a new password asks again and again, for months.
#[tokio::test(start_paused = true)]
async fn the_same_wrong_login_again_is_no_guess() {
    let bench = bench(&[]).await;
    for _ in 0..1000 {
        bench.guard.check(peer("192.0.2.7"), "alice", Standing::WrongAgain).await.unwrap().was_wrong().await;
    }
    bench.guess("192.0.2.7").await.unwrap();
}

/// `owner\shared` is the account of `shared`: changing the owner does not begin the count anew.
#[tokio::test(start_paused = true)]
async fn a_name_is_the_same_in_every_spelling() {
    let bench = bench(&["10.0.0.0/8"]).await;
    let began = Instant::now();
    for (number, name) in ["alice", "ALICE ", "x\\alice", "y/Alice"].iter().cycle().take(12).enumerate() {
        let name = name.replace(['x', 'y'], &format!("owner{number}"));
        bench.guard.check(peer("10.0.0.1"), &name, Standing::New).await.unwrap().was_wrong().await;
    }
    let free = ANSWER_AFTER * 12;
    assert_eq!(began.elapsed(), free + Duration::from_millis(500 + 1000), "the last two had to wait");
}
