//! What password checks leave resident, as the system sees it, with the default allocator. The only test of its process.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, sync::Arc, time::Duration};

use oxpost_protocol::Secret;
use oxpost_token_store::{Accounts, AdmissionLimits, Denied, Store, SystemClock, Vault};

/// Of each check.
const HASH: usize = 19 * 1024;

/// What a process may take besides.
const BESIDES: usize = 16 * 1024;

/// In KiB, by its name in /proc/self/status: VmRSS, or VmHWM, the most there ever was.
fn resident(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

async fn wrong_logins(accounts: &Accounts, round: usize) {
    let mut logins = tokio::task::JoinSet::new();
    for number in 0..30 {
        let accounts = accounts.clone();
        logins.spawn(async move {
            let password = Secret::from(format!("guess {round} {number}"));
            accounts.admit("ann@contoso.com", &password).await.unwrap_err()
        });
    }
    while let Some(denied) = logins.join_next().await {
        assert_eq!(denied.unwrap(), Denied::BadCredentials);
    }
}

/// 300 wrong logins, 30 concurrently: before the permits owned their memory, they left 800 MiB. The allocator learns from what
/// is freed, so a second half comes after the first one's memory was given back.
#[tokio::test(start_paused = true)]
async fn wrong_logins_leave_nothing_resident() {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let limits = AdmissionLimits::default();
    let accounts = Accounts::new(store, Arc::new(SystemClock), limits);
    let before = resident("VmRSS:");
    for round in 0..5 {
        wrong_logins(&accounts, round).await;
    }
    // The clock is paused, and moves on when nothing else is to be done.
    tokio::time::sleep(Duration::from_secs(121)).await;
    for round in 5..10 {
        wrong_logins(&accounts, round).await;
    }
    let (most, permits) = (resident("VmHWM:"), limits.concurrent_hashes);
    assert!(most >= before + HASH, "hashes were computed: {before} KiB before, {most} KiB at most");
    assert!(most <= before + permits * HASH + BESIDES, "{before} KiB before, {most} KiB at most");
    tokio::time::sleep(Duration::from_secs(121)).await;
    let after = resident("VmRSS:");
    assert!(after <= before + BESIDES, "{before} KiB before, {after} KiB two minutes after");
    println!("{before} KiB before, {most} KiB at most, {after} KiB two minutes after");
}
