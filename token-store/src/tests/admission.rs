//! The gate.

use super::*;
use crate::{Accounts, AdmissionLimits, Clock, Denied, LocalPassword, PasswordHash, Standing};

struct Gate {
    bench: Bench,
    accounts: Accounts,
    password: Secret,
}

impl Gate {
    async fn last_used(&self) -> Option<SystemTime> {
        self.accounts.uses_noted().await;
        self.bench.store.passwords(self.bench.mailbox()).await.unwrap()[0].last_used
    }
}

async fn gate(limits: AdmissionLimits) -> Gate {
    let bench = Bench::signed_in().await;
    let password = LocalPassword::generate().unwrap();
    let hash = password.hash().await.unwrap();
    bench.store.set_password(bench.mailbox(), "scanner", &hash, start()).await.unwrap();
    let accounts = Accounts::new(bench.store.clone(), bench.shared_clock(), limits);
    Gate { bench, accounts, password: password.secret().clone() }
}

#[tokio::test]
async fn the_right_password_opens_in_any_spelling_of_the_name_and_the_next_time_without_a_hash() {
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
    assert_eq!(last_used, None, "its use waits to be noted, and nobody waits for that");
    other.execute_batch("ROLLBACK").unwrap();
    accounts.uses_noted().await;
    assert_eq!(bench.store.passwords(bench.mailbox()).await.unwrap()[0].last_used, Some(start()));
}

#[tokio::test]
async fn whatever_is_wrong_costs_a_hash_and_says_the_same() {
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
    // Out of bounds for everybody alike.
    let long = Secret::from("x".repeat(1025));
    assert_eq!(gate.accounts.admit("ann@contoso.com", &long).await.unwrap_err(), Denied::BadCredentials);
    assert_eq!(gate.accounts.admit("ann@contoso.com", &Secret::from("")).await.unwrap_err(), Denied::BadCredentials);
    assert_eq!(gate.bench.endpoint.requests(), 0, "a wrong password never reaches Microsoft");
    assert_eq!(gate.bench.stored_refresh_token().await.unwrap(), "rt-0");
}

#[tokio::test]
async fn a_changed_or_revoked_password_dies_at_once() {
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

#[tokio::test]
async fn when_too_many_wait_the_next_is_told_so() {
    let gate = gate(AdmissionLimits { hashes_waiting: 0, ..AdmissionLimits::default() }).await;
    assert_eq!(gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap_err(), Denied::Busy);
    assert_eq!(gate.accounts.hashes(), 0);
}

#[tokio::test]
async fn the_same_wrong_login_again_costs_no_hash_until_something_changes() {
    let gate = gate(AdmissionLimits::default()).await;
    let (store, mailbox) = (&gate.bench.store, gate.bench.mailbox());
    for user in ["ann@contoso.com", "nobody@contoso.com"] {
        let wrong = Secret::from("the old one");
        let before = gate.accounts.hashes();
        assert_eq!(gate.accounts.attempt(user, &wrong).await.unwrap().standing(), Standing::New);
        for _ in 0..3 {
            assert_eq!(gate.accounts.admit(user, &wrong).await.unwrap_err(), Denied::BadCredentials);
        }
        assert_eq!(gate.accounts.hashes(), before + 1, "{user}");
        assert_eq!(gate.accounts.attempt(user, &wrong).await.unwrap().standing(), Standing::WrongAgain);
    }
    // An administrator gives the account that very password.
    store
        .set_password(mailbox, "old", &PasswordHash::of(&Secret::from("the old one")).unwrap(), start())
        .await
        .unwrap();
    gate.accounts.admit("ann@contoso.com", &Secret::from("the old one")).await.unwrap();
}

/// Strangers have all places and the whole queue; whoever logged in today still can.
#[tokio::test]
async fn a_crowd_of_strangers_does_not_keep_a_known_login_out() {
    let limits =
        AdmissionLimits { concurrent_hashes: 2, hashes_waiting: 1, remember_for: Duration::ZERO, ..Default::default() };
    let gate = gate(limits).await;
    gate.accounts.admit("ann@contoso.com", &gate.password).await.unwrap();
    let crowd = gate.accounts.crowd(1).await;
    let mut strangers = tokio::task::JoinSet::new();
    for name in ["mallory", "eve"] {
        let accounts = gate.accounts.clone();
        strangers.spawn(async move { accounts.admit(name, &Secret::from("guess")).await.unwrap_err() });
    }
    assert_eq!(strangers.join_next().await.unwrap().unwrap(), Denied::Busy, "one waits, the queue is full");
    let attempt = gate.accounts.attempt("ann@contoso.com", &gate.password).await.unwrap();
    assert_eq!(attempt.standing(), Standing::Known);
    attempt.verify([127, 0, 0, 1].into()).await.unwrap();
    assert_eq!(gate.accounts.hashes(), 2);
    drop(crowd);
    assert_eq!(strangers.join_next().await.unwrap().unwrap(), Denied::BadCredentials);
}
