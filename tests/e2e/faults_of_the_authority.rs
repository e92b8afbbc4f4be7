//! Every way the token endpoint can fail, on an account that has a living access token and on one that has not.

use std::time::Duration;

use oxpost_tests::office365::behaviour::TokenFault;

use crate::story::proxy;
use crate::token_life::{login, state};

fn faults() -> Vec<(&'static str, TokenFault)> {
    vec![
        ("429 with Retry-After", TokenFault::TooManyRequests(Some(30))),
        ("429 without", TokenFault::TooManyRequests(None)),
        ("500", TokenFault::Status(500, None)),
        ("503 with Retry-After", TokenFault::Status(503, Some(60))),
        ("401 without a body", TokenFault::Status(401, None)),
        ("400 without a body", TokenFault::Status(400, None)),
        ("HTML with 200", TokenFault::Html(200)),
        ("HTML with 503", TokenFault::Html(503)),
        ("nothing", TokenFault::Empty),
        ("50 MB", TokenFault::Huge(50_000_000)),
        ("garbage", TokenFault::Garbage),
        ("connection closed", TokenFault::Close),
        ("server_error", TokenFault::Aadsts(90_033)),
    ]
}

/// A token that lives is used whatever the authority says; without one the client is told to come back; and when the
/// authority is well again, so is the account, without a person.
#[tokio::test]
async fn no_fault_of_the_authority_costs_more_than_its_time() {
    for (name, fault) in faults() {
        let inside = proxy("").await;
        assert!(login(&inside).await.starts_with("a OK"), "{name}");
        // Tokens live 75 minutes: after 72 a new one is due, and the old one still good.
        inside.tenant.clock().advance(Duration::from_secs(72 * 60));
        inside.tenant.behave(|tenant| tenant.entra.fault = Some(fault.clone()));
        let answer = login(&inside).await;
        assert!(answer.starts_with("a OK"), "{name}, token alive: {answer}");
        inside.tenant.clock().advance(Duration::from_secs(3600));
        let answer = login(&inside).await;
        assert!(answer.starts_with("a NO [UNAVAILABLE]"), "{name}, token dead: {answer}");
        assert!(state(&inside).await.has_refresh_token, "{name}");
        inside.tenant.behave(|tenant| tenant.entra.fault = None);
        inside.tenant.clock().advance(Duration::from_secs(3600));
        let answer = login(&inside).await;
        assert!(answer.starts_with("a OK"), "{name}, well again: {answer}");
        inside.stop().await;
    }
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
        let inside = proxy("").await;
        inside.tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::Aadsts(code)));
        let answer = login(&inside).await;
        assert!(answer.starts_with("a NO [CONTACTADMIN] "), "{code}: {answer}");
        assert!(answer.to_lowercase().contains(&words.to_lowercase()), "{code}: {answer}");
        assert!(state(&inside).await.has_refresh_token, "{code}");
        inside.stop().await;
    }
}
