//! Entra asks for less, or does not answer: what one account has learned of it counts for all.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, InProcess, PASSWORD};
use oxpost_tests::office365::Protocol;
use oxpost_tests::office365::behaviour::TokenFault;

use crate::client::Client;
use crate::story::proxy;

const OTHERS: usize = 20;

fn other(number: usize) -> String {
    format!("m{number}@contoso.com")
}

async fn with_others() -> InProcess {
    let in_process = proxy("").await;
    for number in 0..OTHERS {
        let address = other(number);
        in_process.tenant.add_mailbox(address.as_str());
        in_process.add_account(&address).await.unwrap();
        in_process.sign_in(&address, &address).await.unwrap();
    }
    in_process
}

async fn login(in_process: &InProcess, address: &str) -> String {
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {address} {PASSWORD}")).await;
    client.until("a ").await
}

#[tokio::test]
async fn throttled_entra_hears_one_request_of_twenty_one_accounts() {
    let in_process = with_others().await;
    in_process.tenant.clock().advance(Duration::from_secs(2 * 3600));
    in_process.tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::TooManyRequests(Some(600))));
    let before = in_process.tenant.token_requests().len();
    assert!(login(&in_process, ALICE).await.starts_with("a NO [UNAVAILABLE]"));
    for number in 0..OTHERS {
        let answer = login(&in_process, &other(number)).await;
        assert!(answer.starts_with("a NO [UNAVAILABLE]") && answer.contains("It is asked again at "), "{answer}");
    }
    let asked = in_process.tenant.token_requests().len() - before;
    assert_eq!(asked, 1);

    // It would answer again, but it is not asked before that time.
    in_process.tenant.behave(|tenant| tenant.entra.fault = None);
    in_process.tenant.clock().advance(Duration::from_secs(590));
    assert!(login(&in_process, ALICE).await.starts_with("a NO [UNAVAILABLE]"));
    in_process.tenant.clock().advance(Duration::from_secs(80));
    assert!(login(&in_process, &other(0)).await.starts_with("a OK"));
    let requests = in_process.tenant.token_requests().len() - before;
    println!("{} accounts, 429 with 600 s: {asked} request, then {}", OTHERS + 1, requests - asked);
    assert_eq!(requests, 2);
    in_process.stop().await;
}

/// A client whose account has a valid token notices nothing.
#[tokio::test]
async fn failing_entra_is_left_alone_and_living_tokens_are_used() {
    let in_process = with_others().await;
    for number in 0..OTHERS {
        assert!(login(&in_process, &other(number)).await.starts_with("a OK"), "{number}");
    }
    in_process.tenant.clock().advance(Duration::from_secs(72 * 60));
    in_process.tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::Status(503, Some(600))));
    let before = in_process.tenant.token_requests().len();
    for number in 0..OTHERS {
        let answer = login(&in_process, &other(number)).await;
        assert!(answer.starts_with("a OK"), "{number}: {answer}");
    }
    let asked = in_process.tenant.token_requests().len() - before;
    println!("{OTHERS} logins while Entra fails: {asked} requests");
    assert_eq!(asked, 1, "it is left alone");
    in_process.stop().await;
}
