//! Tokens over time: refreshed before they are needed, and the refresh token is never lost.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, InProcess, PASSWORD};
use oxpost_tests::office365::Protocol;
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_token_store::{ErrorKind, Mailbox, TokenState};

use crate::client::Client;
use crate::story::proxy;

/// Logs in once by IMAP and gives back the tagged answer.
pub(crate) async fn login(in_process: &InProcess) -> String {
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    client.until("a ").await
}

pub(crate) async fn state(in_process: &InProcess) -> TokenState {
    in_process.context.runtime.store.token_state(&Mailbox::parse(ALICE).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_day_of_logins_costs_a_request_for_every_token_that_ran_out() {
    let in_process = proxy("").await;
    for _ in 0..24 {
        in_process.tenant.clock().advance(Duration::from_secs(3600));
        assert!(login(&in_process).await.starts_with("a OK"));
        assert!(login(&in_process).await.starts_with("a OK"));
    }
    let requests = in_process.tenant.token_requests().len();
    assert!((12..=24).contains(&requests), "{requests} requests for 48 logins in 24 hours with tokens of 75 minutes");
    in_process.stop().await;
}

/// Entra rotates refresh tokens, and here the used one dies: a proxy that forgot to store the new one would stand outside.
#[tokio::test]
async fn a_rotated_refresh_token_is_the_one_used_next() {
    let in_process = proxy("").await;
    in_process.tenant.behave(|tenant| tenant.entra.refresh_tokens_used_once = true);
    for _ in 0..5 {
        assert!(login(&in_process).await.starts_with("a OK"));
        in_process.tenant.clock().advance(Duration::from_secs(2 * 3600));
    }
    assert!(login(&in_process).await.starts_with("a OK"));
    in_process.stop().await;
}

/// Entra reports some of its own problems as `invalid_grant`. Discarding the refresh token then would require a needless
/// sign-in.
#[tokio::test]
async fn transient_invalid_grant_loses_nothing_permanently() {
    let in_process = proxy("").await;
    assert!(login(&in_process).await.starts_with("a OK"));
    in_process.tenant.clock().advance(Duration::from_secs(2 * 3600));
    in_process.tenant.behave(|tenant| {
        tenant.entra.fault = Some(TokenFault::Disguised { error: "invalid_grant".into(), code: 90033, suberror: None });
    });
    let answer = login(&in_process).await;
    assert!(answer.starts_with("a NO "), "{answer}");
    assert!(state(&in_process).await.has_refresh_token);
    in_process.tenant.behave(|tenant| tenant.entra.fault = None);
    in_process.tenant.clock().advance(Duration::from_secs(3600));
    assert!(login(&in_process).await.starts_with("a OK"));
    assert_eq!(state(&in_process).await.last_error, None);
    in_process.stop().await;
}

#[tokio::test]
async fn revoked_sign_in_keeps_its_refresh_token_until_replaced() {
    let in_process = proxy("").await;
    in_process.tenant.revoke(ALICE);
    let answer = login(&in_process).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN]") && answer.contains("oxpost sign-in"), "{answer}");
    let after = state(&in_process).await;
    assert!(after.has_refresh_token);
    assert_eq!(after.last_error.unwrap().kind, ErrorKind::SignInRequired);
    in_process.sign_in(ALICE, ALICE).await.unwrap();
    assert!(login(&in_process).await.starts_with("a OK"));
    in_process.stop().await;
}

/// Access tokens live on when the refresh token is revoked, and other accounts have nothing to do with it.
#[tokio::test]
async fn revocation_affects_only_the_next_token_of_that_account() {
    const BOB: &str = "bob@contoso.com";
    let in_process = proxy("").await;
    in_process.tenant.add_mailbox(BOB);
    in_process.add_account(BOB).await.unwrap();
    in_process.sign_in(BOB, BOB).await.unwrap();
    let bob = async || {
        let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
        client.say(&format!("a LOGIN {BOB} {PASSWORD}")).await;
        client.until("a ").await
    };
    assert!(login(&in_process).await.starts_with("a OK") && bob().await.starts_with("a OK"));
    in_process.tenant.revoke(ALICE);
    in_process.tenant.clock().advance(Duration::from_secs(72 * 60));
    assert!(login(&in_process).await.starts_with("a OK"), "the token still lives");
    assert_eq!(
        state(&in_process).await.last_error.unwrap().kind,
        ErrorKind::SignInRequired,
        "and `oxpost status` warns"
    );
    in_process.tenant.clock().advance(Duration::from_secs(10 * 60));
    let answer = login(&in_process).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN]") && answer.contains("oxpost sign-in"), "{answer}");
    assert!(bob().await.starts_with("a OK"));
    in_process.stop().await;
}

#[tokio::test]
async fn long_sleep_and_clock_set_back_need_no_administrator() {
    let in_process = proxy("").await;
    in_process.tenant.behave(|tenant| tenant.entra.refresh_tokens_used_once = true);
    assert!(login(&in_process).await.starts_with("a OK"));
    in_process.tenant.clock().advance(Duration::from_secs(7 * 24 * 3600));
    in_process.tenant.behave(|tenant| tenant.entra.next_faults = vec![TokenFault::Close].into());
    let answer = login(&in_process).await;
    assert!(answer.starts_with("a NO [UNAVAILABLE]"), "the network is not up yet: {answer}");
    in_process.tenant.clock().advance(Duration::from_secs(5));
    assert!(login(&in_process).await.starts_with("a OK"));
    in_process.tenant.clock().set_back(Duration::from_secs(24 * 3600));
    // A token that has just come is not replaced, whatever the clock says.
    assert!(login(&in_process).await.starts_with("a OK"));
    assert_eq!(in_process.tenant.token_requests().len(), 3);
    in_process.tenant.clock().advance(Duration::from_secs(60));
    for _ in 0..5 {
        assert!(login(&in_process).await.starts_with("a OK"));
    }
    let requests = in_process.tenant.token_requests().len();
    assert_eq!(requests, 4, "one for each of the two tokens, one that failed, and one because its age was unknown");
    in_process.stop().await;
}
