//! The gate.

use oxpost_protocol::sasl::{PASSWORD_LIMIT, USER_LIMIT};

use super::*;
use crate::{Accounts, AdmissionLimits, Clock, Denied, LocalPassword, PasswordHash, Source};

struct RequestGate {
    bench: Bench,
    accounts: Accounts,
    password: Secret,
}

impl RequestGate {
    async fn last_used(&self) -> Option<SystemTime> {
        self.accounts.wait_for_background_writes().await;
        self.bench.store.passwords(self.bench.mailbox()).await.unwrap()[0].last_used
    }
}

async fn gate(limits: AdmissionLimits) -> RequestGate {
    let bench = Bench::signed_in().await;
    let password = LocalPassword::generate().unwrap();
    let hash = password.hash().await.unwrap();
    bench.store.set_password(bench.mailbox(), "scanner", &hash, start()).await.unwrap();
    let accounts = Accounts::new(bench.store.clone(), bench.shared_clock(), limits);
    RequestGate { bench, accounts, password: password.secret().clone() }
}

#[tokio::test]
async fn right_password_opens_and_its_next_login_needs_no_hash() {
    let gate = gate(AdmissionLimits::default()).await;
    for user in [
        "ann@contoso.com",
        "ANN@Contoso.COM",
        " ann@contoso.com",
        "owner@contoso.com\\ann@contoso.com",
        "owner/ann@contoso.com",
    ] {
        let admitted = gate.accounts.admit(user, &gate.password).await.unwrap();
        assert_eq!(admitted.account().mailbox, *gate.bench.mailbox());
        assert_eq!(admitted.credential(), Some("scanner"), "of the login cache too");
    }
    assert_eq!(gate.accounts.hashes(), 1, "remembered after the first time");
    assert_eq!(gate.last_used().await, Some(start()));
    gate.bench.clock.advance(Duration::from_secs(59));
    gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap();
    assert_eq!(gate.last_used().await, Some(start()), "once a minute");
    gate.bench.clock.advance(Duration::from_secs(1));
    gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap();
    assert_eq!(gate.last_used().await, Some(gate.bench.clock.now()));
}

/// `oxpost account …`, a backup, or anything else may be in the middle of a transaction.
#[tokio::test]
async fn a_login_does_not_wait_for_another_process_that_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let bench = Bench::signed_in_to(Store::open(&path, vault()).await.unwrap()).await;
    let hash = PasswordHash::of(&Secret::from("right")).unwrap();
    bench.store.set_password(bench.mailbox(), "scanner", &hash, start()).await.unwrap();
    let accounts = Accounts::new(bench.store.clone(), bench.shared_clock(), AdmissionLimits::default());
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM ban").unwrap();
    for _ in 0..3 {
        let admitted = accounts.admit("ann@contoso.com", &Secret::from("right")).await.unwrap();
        assert_eq!(text(bench.tokens.access_token(&admitted).await.unwrap().secret()), "at-0");
    }
    let last_used = bench.store.passwords(bench.mailbox()).await.unwrap()[0].last_used;
    assert_eq!(last_used, None, "its use waits to be noted, and no login waits for that");
    other.execute_batch("ROLLBACK").unwrap();
    accounts.wait_for_background_writes().await;
    assert_eq!(bench.store.passwords(bench.mailbox()).await.unwrap()[0].last_used, Some(start()));
}

#[tokio::test]
async fn any_wrong_login_costs_a_hash_and_has_one_answer() {
    let gate = gate(AdmissionLimits::default()).await;
    let without_password = account("ben@contoso.com", Grant::ClientCredentials);
    gate.bench.store.add_account(&without_password).await.unwrap();
    let wrong = Secret::from("wrong");
    let attempts = [
        ("ann@contoso.com", &wrong),
        ("nobody@contoso.com", &gate.password),
        ("ben@contoso.com", &wrong),
        ("", &wrong),
    ];
    for (hashes, (user, password)) in (1..).zip(attempts) {
        assert_eq!(gate.accounts.admit(user, password).await.unwrap_err(), Denied::BadCredentials, "{user}");
        assert_eq!(gate.accounts.hashes(), hashes, "{user}");
    }
    // Out of bounds for everybody alike, which costs nothing.
    let (user, longest) = ("u".repeat(USER_LIMIT), Secret::from("x".repeat(PASSWORD_LIMIT)));
    let hashes = gate.accounts.hashes();
    for (user, password) in [
        ("ann@contoso.com", &Secret::from("x".repeat(PASSWORD_LIMIT + 1))),
        ("ann@contoso.com", &Secret::from("")),
        (&format!("{user}u"), &wrong),
        (&format!("{user}u"), &longest),
    ] {
        assert_eq!(gate.accounts.admit(user, password).await.unwrap_err(), Denied::BadCredentials, "{user}");
    }
    assert_eq!(gate.accounts.hashes(), hashes);
    assert_eq!(gate.accounts.admit(&user, &longest).await.unwrap_err(), Denied::BadCredentials);
    assert_eq!(gate.accounts.hashes(), hashes + 1, "the longest there may be");
    assert_eq!(gate.bench.endpoint.requests(), 0, "a wrong password never reaches Microsoft");
    assert_eq!(gate.bench.stored_refresh_token().await.unwrap(), "rt-0");
}

#[tokio::test]
async fn changed_or_revoked_password_fails_immediately() {
    let gate = gate(AdmissionLimits::default()).await;
    let (store, mailbox) = (&gate.bench.store, gate.bench.mailbox());
    gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap();
    let other = PasswordHash::of(&Secret::from("other")).unwrap();
    store.set_password(mailbox, "scanner", &other, start()).await.unwrap();
    assert_eq!(gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap_err(), Denied::BadCredentials);
    gate.accounts.admit("ann@contoso.com", &Secret::from("other")).await.unwrap();
    assert!(store.revoke_password(mailbox, "scanner").await.unwrap());
    assert_eq!(
        gate.accounts.admit("ann@contoso.com", &Secret::from("other")).await.unwrap_err(),
        Denied::BadCredentials
    );
}

/// A hash that was changed, or a time that is over, costs one hash and is remembered then.
#[tokio::test(start_paused = true)]
async fn login_is_cached_again_after_its_hash_or_time_changed() {
    // Waiting for PostgreSQL must not let a paused clock run ahead.
    stand_still();
    let day = Duration::from_secs(24 * 3600);
    let gate = gate(AdmissionLimits { remember_for: day, ..AdmissionLimits::default() }).await;
    let costs = async || {
        let before = gate.accounts.hashes();
        gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap();
        gate.accounts.hashes() - before
    };
    assert_eq!((costs().await, costs().await), (1, 0));
    let salted_again = PasswordHash::of(&gate.password).unwrap();
    gate.bench.store.set_password(gate.bench.mailbox(), "scanner", &salted_again, start()).await.unwrap();
    assert_eq!((costs().await, costs().await), (1, 0));
    tokio::time::advance(day).await;
    assert_eq!((costs().await, costs().await), (1, 0));
}

/// Who waits for what is noted waits for the source too, where the use of the password was noted a moment ago.
#[tokio::test]
async fn familiar_source_is_stored_when_everything_is_noted() {
    let gate = gate(AdmissionLimits::default()).await;
    for number in [7, 8] {
        gate.accounts.admit_from([192, 0, 2, number].into(), "ann@contoso.com", &gate.password).await.unwrap();
        gate.accounts.wait_for_background_writes().await;
        let stored = gate.bench.store.familiar_sources(gate.bench.mailbox()).await.unwrap();
        assert!(stored.iter().any(|seen| seen.source == Source::of([192, 0, 2, number].into())), "{number}");
    }
}

#[tokio::test]
async fn login_is_refused_when_too_many_wait() {
    let gate = gate(AdmissionLimits { hashes_waiting: 0, ..AdmissionLimits::default() }).await;
    assert_eq!(gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap_err(), Denied::Busy);
    assert_eq!(gate.accounts.hashes(), 0);
}

/// The login throttle decides between the halves of an attempt, by what these say.
#[tokio::test]
async fn attempt_names_its_targets_and_has_a_pair_tag() {
    let gate = gate(AdmissionLimits::default()).await;
    let (store, mailbox) = (&gate.bench.store, gate.bench.mailbox());
    let source = Source::of([192, 0, 2, 7].into());
    let of = async |user: &str, password: &str| {
        let attempt = gate.accounts.attempt(user, &Secret::from(password), source).await.unwrap();
        let guessed: Vec<_> = attempt.targets().await.into_iter().map(|guessed| guessed.mailbox).collect();
        (guessed, attempt.pair_tag().unwrap())
    };
    let (guessed, pair) = of("Ann@contoso.com", "guess").await;
    assert_eq!(guessed, std::slice::from_ref(mailbox));
    assert_eq!(of("owner\\ann@contoso.com", "guess").await, (guessed, pair), "another spelling is no other guess");
    assert_ne!(of("ann@contoso.com", "guess 2").await.1, pair);
    assert_eq!(of("nobody@contoso.com", "guess").await.0, []);
    assert_eq!(gate.accounts.hashes(), 0, "nothing was compared");
    let repeated = gate.accounts.attempt("ann@contoso.com", &gate.password, source).await.unwrap();
    assert_eq!(repeated.verify_repeated().await.unwrap_err(), Denied::BadCredentials);
    assert_eq!(gate.accounts.hashes(), 0, "a login that was wrong before needs no hash");
    let hash = PasswordHash::of(&Secret::from("guess")).unwrap();
    store.set_password(mailbox, "new", &hash, start()).await.unwrap();
    assert_ne!(of("ann@contoso.com", "guess").await.1, pair, "a password was added: it may be right now");
}

#[tokio::test]
async fn source_is_familiar_to_all_processes_for_30_days() {
    let gate = gate(AdmissionLimits::default()).await;
    let (here, elsewhere) = (Source::of([192, 0, 2, 7].into()), Source::of([192, 0, 2, 8].into()));
    let other_node = || Accounts::new(gate.bench.store.clone(), gate.bench.shared_clock(), AdmissionLimits::default());
    let familiar = async |accounts: &Accounts, source| {
        let attempt = accounts.attempt("ann@contoso.com", &Secret::from("any"), source).await.unwrap();
        attempt.targets().await[0].familiar
    };
    let before = other_node();
    assert!(!familiar(&before, here).await);
    gate.accounts.admit_from([192, 0, 2, 7].into(), "ann@contoso.com", &Secret::from("wrong")).await.unwrap_err();
    assert!(!familiar(&gate.accounts, here).await, "a wrong password makes nothing familiar");
    gate.accounts.admit_from([192, 0, 2, 7].into(), "ann@contoso.com", &gate.password).await.unwrap();
    gate.accounts.wait_for_background_writes().await;
    assert!(familiar(&gate.accounts, here).await && !familiar(&gate.accounts, elsewhere).await);
    let restarted = other_node();
    assert!(!restarted.is_familiar_to_any(here));
    restarted.load_familiar_sources().await.unwrap();
    assert!(restarted.is_familiar_to_any(here) && !restarted.is_familiar_to_any(elsewhere));
    assert!(familiar(&other_node(), here).await, "read when it is needed");
    gate.bench.clock.advance(Duration::from_secs(30 * 24 * 3600 - 1));
    assert!(familiar(&restarted, here).await);
    gate.bench.clock.advance(Duration::from_secs(1));
    assert!(!familiar(&restarted, here).await && !restarted.is_familiar_to_any(here));
}

#[tokio::test]
async fn sixteen_sources_of_an_account_are_kept() {
    let gate = gate(AdmissionLimits::default()).await;
    let (store, mailbox) = (&gate.bench.store, gate.bench.mailbox());
    let source = |number: u8| Source::of([192, 0, 2, number].into());
    let month = Duration::from_secs(30 * 24 * 3600);
    for number in (0..20).chain([4]) {
        gate.bench.clock.advance(Duration::from_secs(1));
        store.note_familiar_source(mailbox, source(number), gate.bench.clock.now(), month).await.unwrap();
    }
    let mut kept: Vec<_> = store.familiar_sources(mailbox).await.unwrap().into_iter().map(|seen| seen.source).collect();
    kept.sort_unstable_by_key(ToString::to_string);
    let mut expected: Vec<_> = (4..20).map(source).collect();
    expected.sort_unstable_by_key(ToString::to_string);
    assert_eq!(kept, expected);
    gate.bench.clock.advance(month + Duration::from_secs(1));
    store.note_familiar_source(mailbox, source(99), gate.bench.clock.now(), month).await.unwrap();
    assert_eq!(store.all_familiar_sources().await.unwrap().len(), 1, "what is too old goes");
    store.remove_account(mailbox).await.unwrap();
    assert_eq!(store.all_familiar_sources().await.unwrap().len(), 0);
    store.note_familiar_source(mailbox, source(1), gate.bench.clock.now(), month).await.unwrap();
    assert_eq!(store.all_familiar_sources().await.unwrap().len(), 0, "no account, no source");
}

/// Unfamiliar logins have all permits and the whole queue.
#[tokio::test]
async fn flood_does_not_block_a_login_from_a_familiar_source() {
    let limits = AdmissionLimits { concurrent_hashes: 2, hashes_waiting: 1, remember_for: Duration::ZERO };
    let gate = gate(limits).await;
    gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap();
    let crowd = gate.accounts.occupy(1).await;
    let mut strangers = tokio::task::JoinSet::new();
    for name in ["mallory", "eve"] {
        let accounts = gate.accounts.clone();
        strangers.spawn(async move { accounts.admit(name, &Secret::from("guess")).await.unwrap_err() });
    }
    assert_eq!(strangers.join_next().await.unwrap().unwrap(), Denied::Busy, "one waits, the queue is full");
    gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap();
    assert_eq!(gate.accounts.hashes(), 2);
    drop(crowd);
    assert_eq!(strangers.join_next().await.unwrap().unwrap(), Denied::BadCredentials);
}
