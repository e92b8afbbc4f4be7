//! What the driver does around the policy: user names that are refused without a look, sources that clients share, and when
//! an answer is given.

use std::sync::Arc;

use oxpost_protocol::Secret;
use oxpost_token_store::{Account, AdmissionLimits, Grant, Mailbox, PasswordHash, SystemClock, Vault};

use super::super::policy::{FAMILIAR, UNFAMILIAR};
use super::*;

struct World {
    store: Store,
    accounts: Accounts,
    throttle: Arc<LoginThrottle>,
}

fn peer(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// With the exempt network 198.51.100.0/24.
async fn world(block: BlockLimits) -> World {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let clock: SharedClock = Arc::new(SystemClock);
    let limits =
        ThrottleLimits { block, failure_delay: second(2), exempt_networks: vec!["198.51.100.0/24".parse().unwrap()] };
    World {
        accounts: Accounts::new(store.clone(), clock.clone(), AdmissionLimits::default()),
        throttle: Arc::new(LoginThrottle::new(limits, store.clone(), clock, "gateway".into())),
        store,
    }
}

impl World {
    /// A login that is wrong, if it is compared. How long it waited for its admission.
    async fn wrong(&self, from: &str, user: &str, password: u64) -> Result<Duration, Throttled> {
        let password = Secret::from(password.to_string());
        let attempt = self.accounts.attempt(user, &password, Source::of(peer(from))).await.unwrap();
        let mut timing = Timing::begin();
        let admission = self
            .throttle
            .wait_until_admitted(&self.accounts, peer(from), user, &attempt, &mut timing)
            .await
            .unwrap()?;
        let Admission::Granted(mut permit) = admission else { panic!("repeated") };
        permit.note(Comparison::Wrong);
        Ok(timing.waited)
    }

    async fn look_up(&self, from: &str, user: &str) -> Result<(), Throttled> {
        self.throttle.check_before_lookup(peer(from), user, Timing::begin()).await
    }

    fn refuse(&self, from: &str, user: &str, wait: Duration) {
        let throttle = &self.throttle;
        throttle.refuse_name(Source::of(peer(from)), throttle.whole_name(user), Throttled::TooMany(wait));
    }
}

#[tokio::test(start_paused = true)]
async fn user_name_beyond_its_budget_is_refused_without_a_look() {
    let world = world(LIMITS).await;
    for password in 0..UNFAMILIAR as u64 {
        world.look_up("192.0.2.7", "scanner").await.unwrap();
        world.wrong("192.0.2.7", "scanner", password).await.unwrap();
    }
    let began = Instant::now();
    assert_eq!(world.wrong("192.0.2.7", "scanner", 99).await, Err(Throttled::TooMany(second(600))));
    assert_eq!(began.elapsed(), REFUSED_AFTER);
    // As long as no attempt that waits could get a admission.
    assert_eq!(world.look_up("192.0.2.7", " Scanner").await, Err(Throttled::TooMany(second(575))));
    assert_eq!(began.elapsed(), 2 * REFUSED_AFTER);
    for (from, user) in [("192.0.2.7", "printer"), ("192.0.2.8", "scanner"), ("192.0.2.7", "owner\\scanner")] {
        assert_eq!(world.look_up(from, user).await, Ok(()), "{from} {user}");
    }
    // The password belongs to the mailbox, whichever user is named before it.
    for user in ["owner\\scanner", "owner/SCANNER "] {
        assert!(matches!(world.wrong("192.0.2.7", user, 99).await, Err(Throttled::TooMany(_))), "{user}");
    }
    assert!(world.wrong("192.0.2.7", "scanner\\owner", 99).await.is_ok());
    tokio::time::sleep_until(began + second(579)).await;
    assert_eq!(world.look_up("192.0.2.7", "scanner").await, Err(Throttled::TooMany(second(1))));
    assert_eq!(world.look_up("192.0.2.7", "scanner").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn source_that_fills_the_queue_is_refused_without_a_look() {
    let world = world(LIMITS).await;
    for number in 0..8 {
        std::mem::forget(world.throttle.policy().begin(attempt(1, number, false, 1), Instant::now()));
    }
    for account in 100..132 {
        assert_eq!(world.look_up("192.0.2.1", "scanner").await, Ok(()));
        world.throttle.policy().begin(attempt(1, account, false, 1), Instant::now());
    }
    assert_eq!(world.look_up("192.0.2.1", "scanner").await, Err(Throttled::TooMany(QUEUE_TIMEOUT)));
    assert_eq!(world.look_up("192.0.2.2", "scanner").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_refused_for_certain_needs_no_look() {
    let world = world(LIMITS).await;
    world.refuse("192.0.2.7", "soon", QUEUE_TIMEOUT);
    world.refuse("192.0.2.7", "later", QUEUE_TIMEOUT + second(30));
    for from in ["127.0.0.1", "::1", "198.51.100.7", "::ffff:198.51.100.7"] {
        world.refuse(from, "later", QUEUE_TIMEOUT + second(30));
        assert_eq!(world.look_up(from, "later").await, Ok(()), "{from} is shared");
    }
    assert_eq!(world.look_up("192.0.2.7", "soon").await, Ok(()));
    assert_eq!(world.look_up("192.0.2.7", "later").await, Err(Throttled::TooMany(second(30))));
}

#[tokio::test(start_paused = true)]
async fn refused_user_names_are_bounded_and_expire() {
    let world = world(LIMITS).await;
    for number in 0..MAX_REFUSED_NAMES {
        world.refuse("192.0.2.7", &number.to_string(), QUEUE_TIMEOUT + second(100));
    }
    world.refuse("192.0.2.7", "one too many", QUEUE_TIMEOUT + second(100));
    let kept = || locked(&world.throttle.refused_names).len();
    assert_eq!(kept(), MAX_REFUSED_NAMES);
    assert_eq!(world.look_up("192.0.2.7", "one too many").await, Ok(()));
    assert!(world.look_up("192.0.2.7", "0").await.is_err());
    tokio::time::advance(second(100)).await;
    world.refuse("192.0.2.7", "new", QUEUE_TIMEOUT + second(100));
    assert_eq!(kept(), 1);
    assert!(world.look_up("192.0.2.7", "new").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn clients_that_share_an_address_have_a_budget_of_their_own() {
    for (from, is_shared) in [
        ("192.0.2.7", false),
        ("198.51.101.7", false),
        ("2001:db8::7", false),
        ("127.0.0.1", true),
        ("::1", true),
        ("198.51.100.7", true),
        ("::ffff:198.51.100.7", true),
    ] {
        let world = world(LIMITS).await;
        for password in 0..UNFAMILIAR as u64 {
            assert_eq!(world.wrong(from, "scanner", password).await, Ok(Duration::ZERO), "{from}");
        }
        assert_eq!(world.wrong(from, "scanner", 99).await.is_ok(), is_shared, "{from}");
    }
}

#[tokio::test(start_paused = true)]
async fn source_that_has_logged_in_has_the_budget_of_a_familiar_one() {
    let world = world(LIMITS).await;
    let mailbox = Mailbox::parse("ann@contoso.com").unwrap();
    let account = Account::new(mailbox.clone(), "default", Grant::ClientCredentials, std::time::SystemTime::UNIX_EPOCH);
    world.store.add_account(&account).await.unwrap();
    let hash = PasswordHash::of(&Secret::from("right")).unwrap();
    world.store.set_password(&mailbox, "scanner", &hash, std::time::SystemTime::UNIX_EPOCH).await.unwrap();
    world.accounts.admit_from(peer("192.0.2.7"), "ann@contoso.com", &Secret::from("right")).await.unwrap();
    for password in 0..FAMILIAR as u64 {
        assert_eq!(world.wrong("192.0.2.7", "ann@contoso.com", password).await, Ok(Duration::ZERO), "{password}");
    }
    for user in ["ann@contoso.com", "owner\\Ann@Contoso.com"] {
        assert!(matches!(world.wrong("192.0.2.7", user, 99).await, Err(Throttled::TooMany(_))), "{user}");
    }
    for password in 0..UNFAMILIAR as u64 {
        world.wrong("192.0.2.8", "ann@contoso.com", password).await.unwrap();
    }
    assert!(world.wrong("192.0.2.8", "ann@contoso.com", 99).await.is_err(), "familiar is only the other source");
}

#[tokio::test(start_paused = true)]
async fn wait_for_a_turn_is_known_and_postpones_the_answer() {
    let world = world(LIMITS).await;
    for number in 0..20 {
        assert_eq!(world.wrong(&format!("203.0.113.{number}"), "scanner", number).await, Ok(Duration::ZERO));
    }
    assert_eq!(world.wrong("192.0.2.7", "scanner", 99).await, Ok(second(15)), "the pace of the account");

    assert_eq!(world.throttle.failure_delay(), second(2));
    let timing = Timing { arrived: Instant::now(), waited: second(7) };
    tokio::time::sleep(second(8)).await;
    timing.answer_after(second(2)).await;
    assert_eq!(timing.arrived.elapsed(), second(9));
}

/// Both what people see and what is in force. That a block ends by itself: see `blocks/tests.rs`.
#[tokio::test(start_paused = true)]
async fn guessing_source_is_blocked_until_the_block_is_lifted() {
    let month = second(30 * 24 * 3600);
    let world =
        world(BlockLimits { after: 2, repeat_interval: second(60), duration: month, decay_interval: second(3600) })
            .await;
    for password in 0..2 {
        world.wrong("192.0.2.7", "scanner", password).await.unwrap();
    }
    tokio::time::sleep(second(60)).await;
    assert_eq!(world.throttle.blocked(peer("192.0.2.7")), None);
    world.wrong("192.0.2.7", "scanner", 2).await.unwrap();
    assert_eq!(world.throttle.blocked(peer("192.0.2.7")), Some(month));
    assert_eq!(world.throttle.blocked(peer("192.0.2.8")), None);
    assert_eq!(world.wrong("192.0.2.7", "printer", 0).await, Err(Throttled::Blocked(month)));
    assert!(world.look_up("192.0.2.7", "printer").await.is_err());
    world.refuse("192.0.2.8", "scanner", month);
    let shown = world.store.blocks(std::time::SystemTime::now()).await.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].source.as_str(), shown[0].node.as_str()), ("192.0.2.7", "gateway"));

    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let (throttle, stop) = (Arc::clone(&world.throttle), stop.clone());
        async move { throttle.watch_blocks(stop).await }
    });
    assert!(world.store.lift_block("192.0.2.7").await.unwrap());
    let began = Instant::now();
    // In small steps: the clock goes on while the store is read.
    while world.throttle.blocked(peer("192.0.2.7")).is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(began.elapsed() < month / 2, "it was lifted, and is not over");
    assert_eq!(world.look_up("192.0.2.7", "printer").await, Ok(()), "its user names are forgotten with it");
    assert!(world.look_up("192.0.2.8", "scanner").await.is_err(), "those of another source are not");
    assert!(!watching.is_finished());
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn block_of_another_node_applies_here_unless_exempt() {
    let world = world(LIMITS).await;
    let since = std::time::SystemTime::now();
    for source in ["192.0.2.7", "198.51.100.1"] {
        let block = oxpost_token_store::Block {
            source: source.into(),
            node: "another".into(),
            since,
            until: since + second(30 * 24 * 3600),
        };
        world.store.note_block(&block).await.unwrap();
    }
    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let (throttle, stop) = (Arc::clone(&world.throttle), stop.clone());
        async move { throttle.watch_blocks(stop).await }
    });
    while world.throttle.blocked(peer("192.0.2.7")).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(world.wrong("192.0.2.7", "scanner", 0).await, Err(Throttled::Blocked(_))));
    assert_eq!(world.throttle.blocked(peer("198.51.100.1")), None);
    assert_eq!(world.throttle.blocked(peer("192.0.2.8")), None);
    stop.cancel();
    watching.await.unwrap();
}
