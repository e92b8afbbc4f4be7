//! "Did the mail go out, and what did Microsoft say?": what `oxpost mail` answers, for each thing that can happen to a message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings, eventually};
use oxpost_tests::office365::Tenant;
use oxpost_tests::office365::behaviour::{Act, Fault, Stage};
use serde_json::Value;

use crate::client::Client;
use crate::story::tenant;

/// The program with a signed-in account, and its local password.
async fn installed(tenant: &Tenant, more: &str) -> (Oxpost, String) {
    let settings = Settings { level: "info".into(), more: more.into(), ..Settings::of(tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, tenant, ALICE).await.unwrap();
    (oxpost, password)
}

async fn connect(running: &Running) -> Client {
    let mut smtp = Client::connect(running.smtp).await;
    smtp.until("220 ").await;
    smtp
}

/// Logs in, and gives the answer.
async fn auth(smtp: &mut Client, password: &str) -> String {
    smtp.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}")))).await;
    smtp.line().await.unwrap()
}

/// Sends a message on a session that has logged in, and gives the last answer.
async fn send(smtp: &mut Client, from: &str, recipients: &[&str]) -> String {
    smtp.say(&format!("MAIL FROM:<{from}>")).await;
    let answer = smtp.line().await.unwrap();
    if !answer.starts_with("250 ") {
        return answer;
    }
    for recipient in recipients {
        smtp.say(&format!("RCPT TO:<{recipient}>")).await;
        smtp.line().await.unwrap();
    }
    smtp.say("DATA").await;
    smtp.until("354 ").await;
    smtp.say("Subject: a secret\r\nMessage-ID: <1@contoso.com>\r\n\r\nhidden words\r\n.").await;
    smtp.line().await.unwrap()
}

/// The events of the journal, once there are so many.
async fn events(oxpost: &Oxpost, count: usize) -> Vec<Value> {
    eventually(&format!("{count} events"), async || {
        let ran = oxpost.call(&["mail", "--json"]).await.unwrap();
        let events: Vec<Value> = ran.said().ok()?.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (events.len() >= count).then_some(events)
    })
    .await
}

fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["text"].as_str().unwrap()).collect()
}

const BOB: &str = "bob@fabrikam.example";

#[tokio::test]
async fn each_result_of_a_message_is_in_the_journal() {
    let tenant = tenant().await;
    let (oxpost, password) = installed(&tenant, "").await;
    let before = oxpost.call(&["mail"]).await.unwrap().refusal().unwrap();
    assert!(before.contains("no journal yet") && before.contains("oxpost run"), "{before}");

    let running = oxpost.run().await.unwrap();
    let mut smtp = connect(&running).await;
    assert!(auth(&mut smtp, &password).await.starts_with("235 "));
    assert!(send(&mut smtp, ALICE, &["nobody@contoso.com", BOB]).await.starts_with("250 2.0.0 OK"));
    assert!(send(&mut smtp, "ceo@contoso.com", &[BOB]).await.contains("SendAsDenied"));
    let busy = "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded";
    tenant.behave(|it| it.smtp.faults = vec![Fault::once(Stage::Message, Act::Say(busy.into()))]);
    assert_eq!(send(&mut smtp, ALICE, &[BOB]).await, busy);
    // A sender policy is checked here, at MAIL.
    smtp.say("QUIT").await;
    smtp.rest().await;
    oxpost.call(&["account", "sender", ALICE, "as-is", "--allow", "info@contoso.com"]).await.unwrap().said().unwrap();
    let mut smtp = connect(&running).await;
    assert!(auth(&mut smtp, &password).await.starts_with("235 "));
    assert!(send(&mut smtp, "ceo@contoso.com", &[BOB]).await.starts_with("550 5.7.60 "));
    // The connection ends with the final dot on its way: no one knows.
    tenant.behave(|it| it.smtp.faults = vec![Fault::once(Stage::Message, Act::Close)]);
    assert!(send(&mut smtp, ALICE, &[BOB]).await.starts_with("451 4.4.2 "));
    drop(smtp);
    // Nothing can be sent: a wrong password, and a mailbox that may not.
    let wrong = auth(&mut connect(&running).await, "wrong").await;
    assert!(wrong.starts_with("535 "), "{wrong}");
    tenant.behave(|it| it.smtp.disabled_for_tenant = true);
    let refused = auth(&mut connect(&running).await, &password).await;
    assert!(refused.starts_with("454 "), "{refused}");

    let all = events(&oxpost, 8).await;
    assert_eq!(
        texts(&all),
        [
            "refused at RCPT by the mail server",
            "accepted by the mail server",
            "refused by the mail server",
            "deferred by the mail server",
            "refused at MAIL by the sender policy of the account",
            "in doubt: disconnected before the mail server answered",
            "login refused",
            "login refused",
        ]
    );
    let kinds: Vec<&str> = all.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "refused",
            "accepted-by-server",
            "refused",
            "deferred",
            "refused",
            "in-doubt",
            "login-refused",
            "login-refused"
        ]
    );
    // One id for the events of a message, and another one for each message.
    assert_eq!(all[0]["id"], all[1]["id"]);
    let ids: std::collections::BTreeSet<&str> = all.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 7);
    assert_eq!(all[1]["recipients"][0]["address"], BOB);
    assert_eq!((&all[1]["sender"], &all[1]["account"]), (&ALICE.into(), &ALICE.into()));
    assert_eq!((&all[1]["taken_by"], &all[1]["client"]), (&"live".into(), &"127.0.0.1".into()));
    assert!(all[1]["credential"].is_string() && all[1]["session"].is_string(), "{}", all[1]);
    assert!(all[1]["reply"].as_str().unwrap().starts_with("250 2.0.0 OK <1@contoso.com>"), "{}", all[1]);
    assert!(all[2]["remedy"].is_string(), "{}", all[2]);
    assert_eq!(all[3]["reply"], busy);
    assert!(all[6]["reason"].as_str().unwrap().contains("Invalid user name or password"), "{}", all[6]);
    assert!(all[7]["reply"].as_str().unwrap().starts_with("535 5.7.139 "), "{}", all[7]);
    assert!(all[7]["reason"].as_str().unwrap().contains("Set-CASMailbox -Identity alice@contoso.com"), "{}", all[7]);

    // The same words and ids are in the log, and nothing of a message is anywhere.
    let log = running.stop().await.unwrap();
    for event in &all[..6] {
        let (id, text) = (event["id"].as_str().unwrap(), event["text"].as_str().unwrap());
        assert!(
            log.lines().any(|line| line.contains(id) && line.contains(&format!("message {text}"))),
            "{id} {text}: {log}"
        );
    }
    // The service does not run any more, and the answer is the same.
    let said = oxpost.call(&["mail", "--account", ALICE]).await.unwrap().said().unwrap();
    for words in [
        "accepted by the mail server; 1 recipient refused",
        "nobody@contoso.com: refused at RCPT by the mail server",
        "550 5.1.10 ",
        "250 2.0.0 OK <1@contoso.com>",
        "SendAsDenied",
        "deferred by the mail server",
        "refused at MAIL by the sender policy of the account",
        "in doubt: disconnected before the mail server answered",
        "login refused; no message could be sent",
        "7 messages",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    let everything = [&said, &log, &serde_json::to_string(&all).unwrap()].map(String::as_str).concat();
    assert!(!everything.contains("secret") && !everything.contains("hidden"), "{everything}");

    // What was asked for is what is shown.
    let id = all[1]["id"].as_str().unwrap();
    let one = oxpost.call(&["mail", "--id", id]).await.unwrap().said().unwrap();
    assert!(one.contains(id) && !one.contains("in doubt"), "{one}");
    let unknown = oxpost.call(&["mail", "--id", "00000-00000"]).await.unwrap().refusal().unwrap();
    assert!(unknown.contains("no message with the id"), "{unknown}");
    let of_others = oxpost.call(&["mail", "--account", "other@contoso.com"]).await.unwrap().said().unwrap();
    assert!(of_others.contains("No client sent a message in this time"), "{of_others}");
    let refused = oxpost.call(&["mail", "--refused", "--from", "today"]).await.unwrap();
    assert!(refused.said().unwrap().contains("in doubt"));
    let before = oxpost.call(&["mail", "--from", "3h", "--to", "2h"]).await.unwrap().said().unwrap();
    assert!(before.contains("No client sent a message"), "{before}");
    let no_time = oxpost.call(&["mail", "--from", "teatime"]).await.unwrap().refusal().unwrap();
    assert!(no_time.contains("14:03, yesterday"), "{no_time}");
    let reversed = oxpost.call(&["mail", "--from", "1h", "--to", "2h"]).await.unwrap().refusal().unwrap();
    assert!(reversed.contains("--to is before --from"), "{reversed}");
}

/// Each start of the program goes on with the same journal, and ids are never used again.
#[tokio::test]
async fn journal_goes_on_after_a_restart_and_is_followed() {
    let tenant = tenant().await;
    let (oxpost, password) = installed(&tenant, "").await;
    let mut follower = None;
    for round in 1..=2 {
        let running = oxpost.run().await.unwrap();
        let mut smtp = connect(&running).await;
        assert!(auth(&mut smtp, &password).await.starts_with("235 "));
        assert!(send(&mut smtp, ALICE, &[BOB]).await.starts_with("250 "));
        let all = events(&oxpost, round).await;
        assert_eq!(texts(&all), vec!["accepted by the mail server"; round]);
        match &mut follower {
            None => {
                let mut follow = oxpost.watch(&["mail", "--follow", "--json"]).unwrap();
                follow.until(all[0]["id"].as_str().unwrap()).await.unwrap();
                follower = Some(follow);
            }
            Some(follow) => {
                let new = follow.until(all[1]["id"].as_str().unwrap()).await.unwrap();
                assert_eq!(new.lines().count(), 1, "each event once: {new}");
            }
        }
        running.stop().await.unwrap();
    }
}

/// What is wrong with the journal keeps no message from being sent.
#[tokio::test]
async fn journal_that_cannot_be_written_stops_no_mail() {
    let tenant = tenant().await;
    let (oxpost, password) = installed(&tenant, "").await;
    // Nothing can be created under its name.
    std::fs::create_dir(oxpost.folder().join("oxpost.journal.db")).unwrap();
    let running = oxpost.run().await.unwrap();
    running.wait_for_log("Mail is not affected").await.unwrap();
    let mut smtp = connect(&running).await;
    assert!(auth(&mut smtp, &password).await.starts_with("235 "));
    assert!(send(&mut smtp, ALICE, &[BOB]).await.starts_with("250 "));
    assert_eq!(tenant.outgoing().len(), 1);
    std::fs::remove_dir(oxpost.folder().join("oxpost.journal.db")).unwrap();
    // It is tried again, and what waited is written.
    assert_eq!(texts(&events(&oxpost, 1).await), ["accepted by the mail server"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn journal_that_is_switched_off_leaves_no_file() {
    let tenant = tenant().await;
    let (oxpost, password) = installed(&tenant, "[journal]\nkeep = \"0\"\n").await;
    let running = oxpost.run().await.unwrap();
    let mut smtp = connect(&running).await;
    assert!(auth(&mut smtp, &password).await.starts_with("235 "));
    assert!(send(&mut smtp, ALICE, &[BOB]).await.starts_with("250 "));
    let log = running.stop().await.unwrap();
    assert!(log.contains("message accepted by the mail server"), "the log has it: {log}");
    assert!(!oxpost.folder().join("oxpost.journal.db").exists());
    let said = oxpost.call(&["mail"]).await.unwrap().refusal().unwrap();
    assert!(said.contains("switched off") && said.contains("[journal]"), "{said}");
}
