//! Nothing secret in any log, at the most talkative level.
//!
//! The real program is run with `level = "trace"` through logins that succeed and that fail, and everything it has written
//! anywhere outside its sealed store is searched for everything that is secret.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::behaviour::{Act, Fault, Stage, TokenFault};
use oxpost_tests::office365::{Behaviour, Protocol};

use crate::client::Client;
use crate::story::tenant;

const BODY: &str = "the-secret-recipe-of-the-house";
const WRONG: &str = "hunter2-is-no-password";

/// What every access token, refresh token and code of the tenant begins with, or holds.
fn secrets(password: &str) -> Vec<String> {
    let mut secrets = vec![password.to_owned(), BODY.to_owned(), WRONG.to_owned()];
    for secret in [password, WRONG] {
        secrets.push(STANDARD.encode(secret));
        secrets.push(STANDARD.encode(format!("\0{ALICE}\0{secret}")));
    }
    // The header of every JWT, and the beginning of every XOAUTH2 message for Alice.
    secrets.push(URL_SAFE_NO_PAD.encode("{\"alg\":").chars().take(8).collect());
    secrets.push(STANDARD.encode(format!("user={ALICE}")).chars().take(24).collect());
    secrets.push("Bearer ".to_owned());
    secrets.push("refresh_token=".to_owned());
    secrets.push("device_code=".to_owned());
    secrets
}

async fn session(running: &Running, protocol: Protocol, password: &str) {
    let mut client = Client::connect(running.address(protocol)).await;
    client.line().await.unwrap();
    match protocol {
        Protocol::Imap => {
            client.say(&format!("a LOGIN {ALICE} \"{password}\"")).await;
            if client.until("a ").await.starts_with("a OK") {
                client.say(&format!("b APPEND INBOX {{{}+}}\r\n{BODY}", BODY.len())).await;
                client.until("b ").await;
            }
        }
        Protocol::Pop3 => {
            client.say(&format!("USER {ALICE}\r\nPASS {password}")).await;
            client.line().await.unwrap();
            if client.line().await.unwrap().starts_with("+OK") {
                client.say("RETR 1").await;
                client.until(".").await;
            }
        }
        Protocol::Smtp => {
            client.say(&format!("AUTH LOGIN {}", STANDARD.encode(ALICE))).await;
            client.line().await.unwrap();
            client.say(&STANDARD.encode(password)).await;
            if client.line().await.unwrap().starts_with("235") {
                client.say(&format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<{ALICE}>\r\nDATA")).await;
                client.until("354").await;
                client.say(&format!("Subject: x\r\n\r\n{BODY}\r\n.")).await;
                client.until("250 2.0.0").await;
            }
        }
    }
}

#[tokio::test]
async fn no_log_has_a_password_a_token_or_a_message() {
    let tenant = tenant().await;
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    settings.level = "trace".into();
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    let shown = oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    for protocol in [Protocol::Imap, Protocol::Pop3, Protocol::Smtp] {
        session(&running, protocol, &password).await;
        session(&running, protocol, WRONG).await;
        // A password typed into the wrong field.
        let mut confused = Client::connect(running.address(protocol)).await;
        confused.send(format!("a LOGIN {password} x\r\nUSER {password}\r\nPASS y\r\n{password}\r\n").as_bytes()).await;
        drop(confused);
    }
    // Servers that repeat what they were told, and an authority that answers with what it was asked.
    for stage in [Stage::Credentials, Stage::Command] {
        tenant.behave(|tenant| {
            tenant.imap.faults = vec![Fault::once(stage, Act::Say("{tag} BAD what is this".into()))];
        });
        session(&running, Protocol::Imap, &password).await;
    }
    tenant.revoke(ALICE);
    tenant.revoke_access_tokens(ALICE);
    session(&running, Protocol::Imap, &password).await;
    tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::Garbage));
    session(&running, Protocol::Smtp, &password).await;
    let status = oxpost.call(&["status"]).await.unwrap().text();
    let json = oxpost.call(&["status", "--json"]).await.unwrap().text();
    let log = running.stop().await.unwrap();
    assert!(
        log.contains("logged in") && log.contains("TRACE") || log.contains("DEBUG"),
        "the log says nothing:\n{log}"
    );
    for secret in secrets(&password) {
        for (name, text) in [("log", &log), ("status", &status), ("status --json", &json), ("sign-in", &shown)] {
            if let Some(line) = text.lines().find(|line| line.contains(&secret)) {
                panic!("a secret ({} characters) stands in the {name}:\n{line}", secret.len());
            }
        }
    }
    let secrets = secrets(&password);
    println!("searched {} lines of log at trace level for {} secrets: none found", log.lines().count(), secrets.len());
    // The store is sealed: nothing of a token may be readable in it either.
    for file in std::fs::read_dir(oxpost.folder()).unwrap() {
        let file = file.unwrap().path();
        let bytes = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        for secret in &secrets {
            assert!(!bytes.contains(secret), "{} holds a secret of {} characters", file.display(), secret.len());
        }
    }
}

/// Whatever the servers say, and at the most talkative level.
#[tokio::test]
async fn the_doctor_prints_no_secret() {
    let tenant = tenant().await;
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    settings.level = "trace".into();
    let mut oxpost = Oxpost::new(&settings).unwrap();
    oxpost.set_variable("RUST_LOG", "trace");
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    let report = oxpost.folder().join("report.md");
    let examine = async |oxpost: &Oxpost| {
        let checklist = oxpost.call(&["doctor", "--report", "report.md"]).await.unwrap().text();
        let json = oxpost.call(&["doctor", "--json"]).await.unwrap().text();
        [checklist, json, std::fs::read_to_string(&report).unwrap()]
    };
    let mut printed = Vec::new();
    // With a code that waits for a person, and with tokens.
    printed.extend(examine(&oxpost).await);
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    printed.extend(examine(&oxpost).await);
    let repeated = "{tag} BAD -ERR what is {credentials}?";
    for stage in [Stage::Credentials, Stage::Command, Stage::Mail] {
        tenant.behave(|it| {
            let says = |line: &str| vec![Fault::always(stage, Act::Say(line.to_owned()))];
            it.imap.faults = says(repeated);
            it.pop3.faults = says("-ERR what is {credentials}?");
            it.smtp.faults = says("550 5.0.0 what is {credentials}?");
        });
        let heard = examine(&oxpost).await;
        assert!(heard.iter().all(|text| text.contains("what is [redacted]")), "the servers were not heard: {heard:?}");
        printed.extend(heard);
        tenant.behave(|it| *it = Behaviour::default());
    }
    for fault in [TokenFault::Garbage, TokenFault::UselessToken, TokenFault::Aadsts(70_008)] {
        tenant.behave(|it| it.entra.fault = Some(fault));
        printed.extend(examine(&oxpost).await);
    }
    for secret in secrets(&password) {
        for text in &printed {
            if let Some(line) = text.lines().find(|line| line.contains(&secret)) {
                panic!("a secret ({} characters) is printed:\n{line}", secret.len());
            }
        }
    }
}
