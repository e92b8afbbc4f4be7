//! A service that is killed in the middle of a refresh.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_tests::office365::{Protocol, Tenant};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::logins::imap;
use crate::story::tenant;

const SERVICES: u32 = 8;
const KILLS_OF_EACH: u32 = 3;

async fn signed_in(tenant: &Tenant) -> (Oxpost, String) {
    tenant.behave(|it| it.entra.device_code_interval = Duration::from_secs(1));
    let oxpost = Oxpost::new(&Settings::of(tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, tenant, ALICE).await.unwrap();
    (oxpost, password)
}

async fn begin_login(running: &Running, password: &str) -> Client {
    let mut client = Client::connect(running.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {password}")).await;
    client
}

/// No access token is used before its refresh token is on the disk: here a used refresh token is dead, so
/// that a service that had forgotten the new one could never go on.
#[tokio::test]
async fn account_with_a_new_token_is_served_again_after_a_kill() {
    let tenant = tenant().await;
    let (oxpost, password) = signed_in(&tenant).await;
    tenant.behave(|it| it.entra.refresh_tokens_used_once = true);
    for round in 0..4 {
        tenant.revoke_access_tokens(ALICE);
        let running = oxpost.run().await.unwrap();
        let answer = imap(running.imap, ALICE, &password).await;
        assert!(answer.starts_with("a OK"), "round {round}: {answer}");
        running.kill().await.unwrap();
    }
}

/// Killed while the authority thinks, and at any moment behind its answer. Entra's own refresh tokens may be used again,
/// so whichever one is on the disk is good.
#[tokio::test]
async fn service_killed_during_a_refresh_needs_no_new_sign_in() {
    // Concurrently, because the process after a kill may have to wait until the lease of the killed one has expired.
    let services: JoinSet<u32> = (0..SERVICES).map(killed_again_and_again).collect();
    let written: u32 = services.join_all().await.iter().sum();
    let kills = SERVICES * KILLS_OF_EACH;
    println!("{kills} kills in the middle of a refresh, {written} behind its write: no sign-in was lost");
}

/// Gives back how many of the kills came behind the write.
async fn killed_again_and_again(service: u32) -> u32 {
    let tenant = tenant().await;
    let (oxpost, password) = signed_in(&tenant).await;
    let mut written = 0;
    for round in 0..KILLS_OF_EACH {
        tenant.revoke_access_tokens(ALICE);
        tenant.behave(|it| it.entra.next_faults = vec![TokenFault::Hang].into());
        let running = oxpost.run().await.unwrap();
        let waiting = begin_login(&running, &password).await;
        tenant.wait_until_held(1).await;
        if round > 0 {
            tenant.release();
            // Where it is by then decides nothing: every place must do.
            tokio::time::sleep(Duration::from_micros(150 * u64::from(round * SERVICES + service))).await;
        }
        running.kill().await.unwrap();
        drop(waiting);
        tenant.release();
        let before = tenant.token_requests().len();
        let running = oxpost.run().await.unwrap();
        let answer = imap(running.imap, ALICE, &password).await;
        assert!(answer.starts_with("a OK"), "service {service}, round {round}: {answer}");
        written += u32::from(tenant.token_requests().len() == before);
        running.kill().await.unwrap();
    }
    written
}
