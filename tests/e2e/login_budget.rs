//! Logins at the mail server that fail: in time, whatever they wait for, and with a class that programs can tell apart.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::Protocol;
use oxpost_tests::office365::behaviour::{Act, Fault, Stage, TokenFault};

use crate::bad_servers::{is_ok, log_in};
use crate::client::Client;
use crate::story::tenant;

/// Far more than any login here may take, and less than `send-slot-timeout`: a login that waits for that fails the story.
const PATIENCE: Duration = Duration::from_secs(120);

async fn login(running: &Running, password: &str) -> (Client, String) {
    let mut client = Client::connect(running.address(Protocol::Smtp)).await;
    client.until("220 ").await;
    let answer = tokio::time::timeout(PATIENCE, log_in(&mut client, Protocol::Smtp, password)).await;
    (client, answer.expect("the budget ends the login"))
}

fn words(class: &str) -> String {
    format!("\"class\":\"{class}\"")
}

/// The login fails, is a temporary refusal for the client, and has this class in the log.
async fn fails(running: &Running, password: &str, class: &str) {
    let (_, answer) = login(running, password).await;
    assert!(answer.starts_with("454 4.7.0 "), "{class}: {answer}");
    let words = words(class);
    running.wait_for_log(&words).await.unwrap_or_else(|problem| panic!("{words}: {problem}"));
}

#[tokio::test]
async fn failed_login_ends_within_its_budget_and_has_a_class() {
    let tenant = tenant().await;
    let settings = Settings {
        sending: Some("{ max-connections = 1 }".into()),
        more: "[limits]\nupstream-timeout = \"3s\"\nsend-slot-timeout = \"4m\"\n".into(),
        ..Settings::of(&tenant, CLIENT_ID)
    };
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    let running = oxpost.run().await.unwrap();
    fails(&running, &password, "token-needs-administrator").await;
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();

    tenant.behave(|it| it.smtp.disabled_for_tenant = true);
    fails(&running, &password, "refused").await;
    tenant.behave(|it| it.smtp.disabled_for_tenant = false);

    let throttled = Act::Say("432 4.3.2 Concurrent connections limit exceeded".into());
    tenant.behave(|it| it.smtp.faults = vec![Fault::always(Stage::Credentials, throttled)]);
    fails(&running, &password, "throttled").await;
    tenant.behave(|it| it.smtp.faults = vec![Fault::always(Stage::Connect, Act::Silence)]);
    fails(&running, &password, "unreachable").await;
    tenant.behave(|it| it.smtp.faults.clear());
    tenant.release();

    let (first, answer) = login(&running, &password).await;
    assert!(is_ok(&answer), "{answer}");
    fails(&running, &password, "our-own-limit").await;
    drop(first);

    tenant.revoke_access_tokens(ALICE);
    tenant.behave(|it| it.entra.fault = Some(TokenFault::Status(503, None)));
    // The slot of the first session is free a moment after its client has gone.
    while !running.log().contains(&words("token-transient")) {
        assert!(!is_ok(&login(&running, &password).await.1));
    }
    running.stop().await.unwrap();
}
