//! Tokens over time: refreshed before anybody needs them, and the refresh token is never lost.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, Inside, PASSWORD};
use oxpost_tests::office365::Protocol;
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_token_store::{ErrorKind, Mailbox, TokenState};

use crate::client::Client;
use crate::story::proxy;

/// Logs in once by IMAP and gives back the tagged answer.
pub(crate) async fn login(inside: &Inside) -> String {
    let mut client = Client::connect(inside.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    client.until("a ").await
}

pub(crate) async fn state(inside: &Inside) -> TokenState {
    inside.context.runtime.store.token_state(&Mailbox::parse(ALICE).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_day_of_logins_costs_a_request_for_every_token_that_ran_out() {
    let inside = proxy("").await;
    for _ in 0..24 {
        inside.tenant.clock().advance(Duration::from_secs(3600));
        assert!(login(&inside).await.starts_with("a OK"));
        assert!(login(&inside).await.starts_with("a OK"));
    }
    let requests = inside.tenant.token_requests().len();
    assert!((12..=24).contains(&requests), "{requests} requests for 48 logins in 24 hours with tokens of 75 minutes");
    inside.stop().await;
}

/// Entra rotates refresh tokens, and here the used one dies: a proxy that forgot to store the new one would stand outside.
#[tokio::test]
async fn a_rotated_refresh_token_is_the_one_used_next() {
    let inside = proxy("").await;
    inside.tenant.behave(|tenant| tenant.entra.refresh_tokens_used_once = true);
    for _ in 0..5 {
        assert!(login(&inside).await.starts_with("a OK"));
        inside.tenant.clock().advance(Duration::from_secs(2 * 3600));
    }
    assert!(login(&inside).await.starts_with("a OK"));
    inside.stop().await;
}

/// Entra reports some of its own troubles as `invalid_grant`. Whoever threw the refresh token away then would need a person
/// for nothing.
#[tokio::test]
async fn transient_invalid_grant_loses_nothing_permanently() {
    let inside = proxy("").await;
    assert!(login(&inside).await.starts_with("a OK"));
    inside.tenant.clock().advance(Duration::from_secs(2 * 3600));
    inside.tenant.behave(|tenant| {
        tenant.entra.fault = Some(TokenFault::Disguised { error: "invalid_grant".into(), code: 90033, suberror: None });
    });
    let answer = login(&inside).await;
    assert!(answer.starts_with("a NO "), "{answer}");
    assert!(state(&inside).await.has_refresh_token);
    inside.tenant.behave(|tenant| tenant.entra.fault = None);
    inside.tenant.clock().advance(Duration::from_secs(3600));
    assert!(login(&inside).await.starts_with("a OK"));
    assert_eq!(state(&inside).await.last_error, None);
    inside.stop().await;
}

#[tokio::test]
async fn revoked_sign_in_keeps_its_refresh_token_until_replaced() {
    let inside = proxy("").await;
    inside.tenant.revoke(ALICE);
    let answer = login(&inside).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN]") && answer.contains("oxpost sign-in"), "{answer}");
    let after = state(&inside).await;
    assert!(after.has_refresh_token);
    assert_eq!(after.last_error.unwrap().kind, ErrorKind::SignInRequired);
    inside.sign_in(ALICE, ALICE).await.unwrap();
    assert!(login(&inside).await.starts_with("a OK"));
    inside.stop().await;
}

/// Access tokens live on when the refresh token is revoked, and other accounts have nothing to do with it.
#[tokio::test]
async fn revocation_affects_only_the_next_token_of_that_account() {
    const BOB: &str = "bob@contoso.com";
    let inside = proxy("").await;
    inside.tenant.add_mailbox(BOB);
    inside.add_account(BOB).await.unwrap();
    inside.sign_in(BOB, BOB).await.unwrap();
    let bob = async || {
        let mut client = Client::connect(inside.address(Protocol::Imap)).await;
        client.say(&format!("a LOGIN {BOB} {PASSWORD}")).await;
        client.until("a ").await
    };
    assert!(login(&inside).await.starts_with("a OK") && bob().await.starts_with("a OK"));
    inside.tenant.revoke(ALICE);
    inside.tenant.clock().advance(Duration::from_secs(72 * 60));
    assert!(login(&inside).await.starts_with("a OK"), "the token still lives");
    assert_eq!(state(&inside).await.last_error.unwrap().kind, ErrorKind::SignInRequired, "and `oxpost status` warns");
    inside.tenant.clock().advance(Duration::from_secs(10 * 60));
    let answer = login(&inside).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN]") && answer.contains("oxpost sign-in"), "{answer}");
    assert!(bob().await.starts_with("a OK"));
    inside.stop().await;
}

#[tokio::test]
async fn long_sleep_and_clock_set_back_need_no_administrator() {
    let inside = proxy("").await;
    inside.tenant.behave(|tenant| tenant.entra.refresh_tokens_used_once = true);
    assert!(login(&inside).await.starts_with("a OK"));
    inside.tenant.clock().advance(Duration::from_secs(7 * 24 * 3600));
    inside.tenant.behave(|tenant| tenant.entra.next_faults = vec![TokenFault::Close].into());
    let answer = login(&inside).await;
    assert!(answer.starts_with("a NO [UNAVAILABLE]"), "the network is not up yet: {answer}");
    inside.tenant.clock().advance(Duration::from_secs(5));
    assert!(login(&inside).await.starts_with("a OK"));
    inside.tenant.clock().set_back(Duration::from_secs(24 * 3600));
    // A token that has just come is not replaced, whatever the clock says.
    assert!(login(&inside).await.starts_with("a OK"));
    assert_eq!(inside.tenant.token_requests().len(), 3);
    inside.tenant.clock().advance(Duration::from_secs(60));
    for _ in 0..5 {
        assert!(login(&inside).await.starts_with("a OK"));
    }
    let requests = inside.tenant.token_requests().len();
    assert_eq!(requests, 4, "one for each of the two tokens, one that failed, and one because its age was unknown");
    inside.stop().await;
}
