//! Every way the token endpoint can fail, on an account that has a living access token and on one that has not.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Forwarder, InProcess, Settings};
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_token_store::ErrorKind;

use crate::story::{proxy, tenant};
use crate::token_life::{login, state};

/// Each with the client's answer when there is no valid token.
fn faults() -> Vec<(&'static str, TokenFault, &'static str)> {
    let dressed = |code| TokenFault::Disguised { error: "invalid_grant".into(), code, suberror: None };
    vec![
        ("429 with Retry-After", TokenFault::TooManyRequests(Some(30)), "UNAVAILABLE"),
        ("429 without", TokenFault::TooManyRequests(None), "UNAVAILABLE"),
        ("500", TokenFault::Status(500, None), "UNAVAILABLE"),
        ("503 with Retry-After", TokenFault::Status(503, Some(60)), "UNAVAILABLE"),
        ("401 without a body", TokenFault::Status(401, None), "UNAVAILABLE"),
        ("400 without a body", TokenFault::Status(400, None), "UNAVAILABLE"),
        ("HTML with 200", TokenFault::Html(200), "UNAVAILABLE"),
        ("HTML with 503", TokenFault::Html(503), "UNAVAILABLE"),
        ("nothing", TokenFault::Empty, "UNAVAILABLE"),
        ("50 MB", TokenFault::Huge(50_000_000), "UNAVAILABLE"),
        ("garbage", TokenFault::Garbage, "UNAVAILABLE"),
        ("connection closed", TokenFault::Close, "UNAVAILABLE"),
        ("server_error", TokenFault::Aadsts(90_033), "UNAVAILABLE"),
        ("a passing fault dressed as invalid_grant", dressed(90_033), "UNAVAILABLE"),
        ("the same under a number that asks for a person", dressed(70_000), "CONTACTADMIN"),
        ("the same under an unknown number", dressed(999_999), "CONTACTADMIN"),
    ]
}

/// A valid token is used whatever the authority answers; without one the client is asked to try later; and when the
/// authority has recovered, so has the account, without a sign-in.
#[tokio::test]
async fn no_fault_of_the_authority_costs_more_than_its_time() {
    for (name, fault, code) in faults() {
        let in_process = proxy("").await;
        assert!(login(&in_process).await.starts_with("a OK"), "{name}");
        // Tokens live 75 minutes: after 72 a new one is due, and the old one still good.
        in_process.tenant.clock().advance(Duration::from_secs(72 * 60));
        in_process.tenant.behave(|tenant| tenant.entra.fault = Some(fault.clone()));
        let answer = login(&in_process).await;
        assert!(answer.starts_with("a OK"), "{name}, token alive: {answer}");
        in_process.tenant.clock().advance(Duration::from_secs(3600));
        let answer = login(&in_process).await;
        assert!(answer.starts_with(&format!("a NO [{code}]")), "{name}, token dead: {answer}");
        assert!(state(&in_process).await.has_refresh_token, "{name}");
        in_process.tenant.behave(|tenant| tenant.entra.fault = None);
        in_process.tenant.clock().advance(Duration::from_secs(3600));
        let answer = login(&in_process).await;
        assert!(answer.starts_with("a OK"), "{name}, well again: {answer}");
        assert_eq!(state(&in_process).await.last_error, None, "{name}");
        in_process.stop().await;
    }
}

/// The firewall, the router, the line: no answer at all.
#[tokio::test]
async fn a_connection_that_is_refused_costs_no_more_than_its_time() {
    let tenant = tenant().await;
    let authority = url::Url::parse(&tenant.authority()).unwrap();
    let mut forwarder = Forwarder::open(([127, 0, 0, 1], authority.port().unwrap()).into()).await.unwrap();
    let authority = format!("https://localhost:{}", forwarder.address().port());
    let settings = Settings { authority, ..Settings::of(&tenant, CLIENT_ID) };
    let in_process = InProcess::start_with(tenant, &settings).await.unwrap();
    in_process.add_account(ALICE).await.unwrap();
    in_process.sign_in(ALICE, ALICE).await.unwrap();
    assert!(login(&in_process).await.starts_with("a OK"));
    assert!(forwarder.count() > 0, "it goes through the door");

    forwarder.shut().await.unwrap();
    in_process.tenant.clock().advance(Duration::from_secs(72 * 60));
    let answer = login(&in_process).await;
    assert!(answer.starts_with("a OK"), "token alive: {answer}");
    let noted = state(&in_process).await.last_error.unwrap();
    assert!(noted.kind == ErrorKind::Transient && noted.text.contains("could not be reached"), "{}", noted.text);
    in_process.tenant.clock().advance(Duration::from_secs(3600));
    let answer = login(&in_process).await;
    assert!(answer.starts_with("a NO [UNAVAILABLE]"), "token dead: {answer}");

    forwarder.open_again().await.unwrap();
    in_process.tenant.clock().advance(Duration::from_secs(3600));
    assert!(login(&in_process).await.starts_with("a OK"));
    assert_eq!(state(&in_process).await.last_error, None);
    in_process.stop().await;
}

/// An authority that accepts the request and does not answer: a login with a valid token succeeds after a few seconds.
#[tokio::test]
async fn silent_authority_does_not_block_logins_with_valid_tokens() {
    let in_process = proxy("").await;
    assert!(login(&in_process).await.starts_with("a OK"));
    in_process.tenant.clock().advance(Duration::from_secs(72 * 60));
    in_process.tenant.behave(|tenant| tenant.entra.next_faults = vec![TokenFault::Hang].into());
    let before = in_process.tenant.token_requests().len();
    let answer = login(&in_process).await;
    assert!(answer.starts_with("a OK"), "{answer}");
    in_process.tenant.wait_until_held(1).await;
    // The request went on without the client, and what it brings is kept.
    in_process.tenant.release();
    in_process.tenant.clock().advance(Duration::from_secs(10 * 60));
    assert!(login(&in_process).await.starts_with("a OK"));
    assert_eq!((in_process.tenant.token_requests().len(), state(&in_process).await.last_error), (before + 1, None));
    in_process.stop().await;
}

/// What is wrong with the registration is said, with the portal page, and is not called a wrong password.
#[tokio::test]
async fn a_wrong_registration_names_its_remedy() {
    for (code, words) in [
        (7_000_218, "Allow public client flows"),
        (700_016, "client id"),
        (7_000_222, "secret"),
        (65_001, "consent"),
        (53_003, "Conditional Access"),
        (50_173, "oxpost sign-in"),
    ] {
        let in_process = proxy("").await;
        in_process.tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::Aadsts(code)));
        let answer = login(&in_process).await;
        assert!(answer.starts_with("a NO [CONTACTADMIN] "), "{code}: {answer}");
        assert!(answer.to_lowercase().contains(&words.to_lowercase()), "{code}: {answer}");
        assert!(state(&in_process).await.has_refresh_token, "{code}");
        in_process.stop().await;
    }
}
