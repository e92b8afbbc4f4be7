//! What Exchange refuses although the token is valid: `oxpost status` shows it until it is fixed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::behaviour::{Act, Fault, Stage};
use oxpost_tests::office365::{Behaviour, Protocol, Tenant};
use serde_json::Value;

use crate::client::Client;
use crate::story::tenant;

async fn started() -> (Tenant, Oxpost, String, Running) {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    (tenant, oxpost, password, running)
}

/// A login by SMTP; gives back the reply.
async fn login(running: &Running, password: &str) -> String {
    let mut client = Client::connect(running.address(Protocol::Smtp)).await;
    client.until("220 ").await;
    client.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}")))).await;
    client.line().await.unwrap()
}

/// The output of `oxpost status` once the account is in this state. It is written after the login, so it may take a moment.
async fn status(oxpost: &Oxpost, state: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..200 {
        let accounts = oxpost.call(&["status", "--json"]).await.unwrap().accounts().unwrap();
        last = accounts[0].clone();
        if last["state"] == state {
            return last;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("not {state}: {last}");
}

#[tokio::test]
async fn disabled_protocol_shows_in_status_until_login_succeeds() {
    let (tenant, oxpost, password, running) = started().await;
    tenant.behave(|it| it.smtp.disabled_for_tenant = true);
    assert!(login(&running, &password).await.starts_with("454 4.7.0"));
    let account = status(&oxpost, "login refused").await;
    let refused = &account["refused"][0];
    assert_eq!(refused["protocol"], "SMTP", "{account}");
    assert!(refused["text"].as_str().unwrap().contains("Set-TransportConfig"), "{account}");
    assert!(refused["server_reply"].as_str().unwrap().starts_with("535 5.7.139"), "{account}");
    let text = oxpost.call(&["status"]).await.unwrap().text();
    assert!(text.contains("login refused") && text.contains("alice@contoso.com by SMTP ("), "{text}");
    tenant.behave(|it| it.smtp.disabled_for_tenant = false);
    assert!(login(&running, &password).await.starts_with("235"));
    let account = status(&oxpost, "ok").await;
    assert_eq!(account["refused"].as_array().map(Vec::len), Some(0), "{account}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn doctor_clears_fixed_findings_and_ignores_transient_ones() {
    let (tenant, oxpost, password, running) = started().await;
    tenant.behave(|it| it.smtp.disabled_for_tenant = true);
    login(&running, &password).await;
    status(&oxpost, "login refused").await;
    tenant.behave(|it| it.smtp.disabled_for_tenant = false);
    oxpost.call(&["doctor", ALICE]).await.unwrap().output().unwrap();
    status(&oxpost, "ok").await;
    for act in [Act::Close, Act::Say("421 4.3.2 Service not active".into())] {
        tenant.behave(|it| it.smtp.faults = vec![Fault::always(Stage::Greeting, act)]);
        assert!(login(&running, &password).await.starts_with("454 4.7.0"));
        status(&oxpost, "ok").await;
    }
    tenant.behave(|it| *it = Behaviour::default());
    running.stop().await.unwrap();
}
