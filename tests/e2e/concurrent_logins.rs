//! Many concurrent clients of an account that has no access token yet.

use oxpost_tests::harness::{ALICE, PASSWORD};
use oxpost_tests::office365::Protocol;

use crate::client::Client;
use crate::story::proxy;

/// A server room comes back after a power cut: 64 programs log in at the same moment. They share one token request.
#[tokio::test]
async fn sixty_four_logins_on_a_cold_account_make_one_token_request() {
    let in_process = proxy("").await;
    let logins: Vec<_> = (0..64)
        .map(|number| {
            let address = in_process.address(if number % 2 == 0 { Protocol::Imap } else { Protocol::Pop3 });
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                client.line().await.unwrap();
                if number % 2 == 0 {
                    client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
                    client.until("a ").await
                } else {
                    client.say(&format!("USER {ALICE}")).await;
                    client.line().await.unwrap();
                    client.say(&format!("PASS {PASSWORD}")).await;
                    client.line().await.unwrap()
                }
            })
        })
        .collect();
    for login in logins {
        let answer = login.await.unwrap();
        assert!(answer.starts_with("a OK ") || answer.starts_with("+OK "), "{answer}");
    }
    assert_eq!(in_process.tenant.token_requests().len(), 1);
    println!(
        "64 parallel logins on a cold account: 64 succeeded, {} token request",
        in_process.tenant.token_requests().len()
    );
    in_process.stop().await;
}

/// A client that pipelines does not lose a command, and none of it reaches Exchange before the login does.
#[tokio::test]
async fn what_is_pipelined_behind_the_login_arrives_behind_it() {
    let in_process = proxy("").await;
    let mut imap = Client::connect(in_process.address(Protocol::Imap)).await;
    imap.send(
        format!("a CAPABILITY\r\nb LOGIN {ALICE} {PASSWORD}\r\nc STATUS INBOX (MESSAGES)\r\nd LOGOUT\r\n").as_bytes(),
    )
    .await;
    assert!(imap.until("b ").await.starts_with("b OK "));
    assert_eq!(imap.line().await.as_deref(), Some("* STATUS INBOX (MESSAGES 1)"));
    imap.until("d OK").await;
    let mut pop3 = Client::connect(in_process.address(Protocol::Pop3)).await;
    pop3.send(format!("CAPA\r\nUSER {ALICE}\r\nPASS {PASSWORD}\r\nSTAT\r\nQUIT\r\n").as_bytes()).await;
    let heard = pop3.rest().await;
    assert!(heard.contains("+OK Logged in") && heard.contains("\r\n+OK 1 "), "{heard}");
    for transcript in in_process.tenant.transcripts() {
        assert!(!transcript.to_string().contains(PASSWORD), "{transcript}");
    }
    in_process.stop().await;
}
