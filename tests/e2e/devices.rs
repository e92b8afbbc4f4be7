//! Scanners without AUTH: which are accepted by their network, as which sender, to which recipients and how often.

#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::Tenant;

use crate::client::Client;
use crate::story::tenant;

/// All of 127.0.0.0/8 is this machine.
const SCANNER: Ipv4Addr = Ipv4Addr::new(127, 1, 2, 3);
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(127, 1, 3, 3);

/// The program, with a device on its SMTP listener, and the text that proxy.toml had without it.
async fn with_device(tenant: &Tenant, lines: &str) -> Oxpost {
    let oxpost = Oxpost::new(&Settings::of(tenant, CLIENT_ID)).unwrap();
    let path = oxpost.folder().join("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let smtp = "protocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n";
    let device = format!("{smtp}[[listener.device]]\nfrom = \"127.1.2.0/24\"\naccount = \"{ALICE}\"\n{lines}\n");
    assert!(text.contains(smtp), "{text}");
    std::fs::write(&path, text.replace(smtp, &device)).unwrap();
    oxpost
}

async fn signed_in(oxpost: &Oxpost, tenant: &Tenant) -> String {
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, tenant, ALICE).await.unwrap();
    password
}

/// Says each line behind the answer to the one before, and gives the last answer.
async fn say(running: &Running, from: Ipv4Addr, lines: &[&str]) -> String {
    let mut client = Client::connect_from(from, running.smtp).await;
    let mut answer = client.line().await.unwrap();
    for line in lines {
        client.say(line).await;
        answer = client.line().await.unwrap();
    }
    answer
}

const MESSAGE: &str = "From: alice@contoso.com\r\nSubject: scan\r\n\r\npage 1\r\n.";

#[tokio::test]
async fn scanner_without_auth_sends_and_unknown_source_does_not() {
    let tenant = tenant().await;
    let oxpost = with_device(&tenant, "recipients = [\"contoso.com\", \"audit@fabrikam.example\"]").await;
    let checked = oxpost.call(&["check"]).await.unwrap().said().unwrap();
    assert!(checked.contains("without a login: 127.1.2.0/24 sends as alice@contoso.com"), "{checked}");
    signed_in(&oxpost, &tenant).await;
    let running = oxpost.run().await.unwrap();

    let mail = format!("MAIL FROM:<{ALICE}>");
    let audit = "RCPT TO:<audit@fabrikam.example>";
    let answer = say(&running, SCANNER, &["HELO scanner", &mail, audit, "DATA", MESSAGE]).await;
    assert!(answer.starts_with("250 2.0.0 OK"), "{answer}");
    let sent = tenant.outgoing().pop().unwrap();
    assert_eq!((sent.from.as_str(), sent.to.as_slice()), (ALICE, &["audit@fabrikam.example".to_owned()][..]));

    // A permit is bound to the network, to the sender in the envelope and in the message, and to the recipient.
    for from in [UNKNOWN, Ipv4Addr::LOCALHOST] {
        let answer = say(&running, from, &["HELO unknown", &mail]).await;
        assert!(answer.starts_with("530 5.7.0 Authentication required"), "{answer}");
    }
    for (lines, refused) in [
        (&["MAIL FROM:<ceo@contoso.com>"][..], "550 5.7.60 This device sends as alice@contoso.com"),
        (&[&mail, "RCPT TO:<victim@elsewhere.example>"], "550 5.7.1 Without a login, mail goes to contoso.com"),
        (&[&mail, "RCPT TO:<x@contoso.com.elsewhere.example>"], "550 5.7.1 "),
        (&[&mail, "RCPT TO:<@contoso.com:victim@elsewhere.example>"], "550 5.7.1 "),
        (&[&mail, audit, "DATA", "From: ceo@contoso.com\r\n\r\n."], "550 5.7.60 "),
    ] {
        let answer = say(&running, SCANNER, lines).await;
        assert!(answer.starts_with(refused), "{lines:?}: {answer}");
    }
    assert_eq!(tenant.outgoing().len(), 1);
    // IMAP has no such forwarder.
    let mut imap = Client::connect_from(SCANNER, running.imap).await;
    imap.until("* OK").await;
    imap.say("a SELECT INBOX").await;
    assert!(!imap.line().await.unwrap().starts_with("a OK"));
    let log = running.stop().await.unwrap();
    assert!(log.contains("\"client\":\"127.1.2.3\"") && !log.contains("page 1"), "{log}");
    let journal = oxpost.call(&["mail"]).await.unwrap().said().unwrap();
    for words in [
        "device permit 127.1.2.0/24",
        "refused at MAIL by the rules of the device permit",
        "refused at RCPT by the rules of the device permit",
        "refused by the rules of the device permit",
    ] {
        assert!(journal.contains(words), "{words}: {journal}");
    }
}

#[tokio::test]
async fn a_device_that_logs_in_is_a_client_like_any_other() {
    let tenant = tenant().await;
    let oxpost = with_device(&tenant, "").await;
    let password = signed_in(&oxpost, &tenant).await;
    let running = oxpost.run().await.unwrap();
    let auth = |password: &str| format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}")));
    let mail = format!("MAIL FROM:<{ALICE}>");
    let answer = say(&running, SCANNER, &[&auth("wrong"), &mail]).await;
    assert!(answer.starts_with("530 5.7.0 "), "where it is makes up for no wrong password: {answer}");
    let answer = say(&running, SCANNER, &[&auth(&password), &mail, "RCPT TO:<bob@fabrikam.example>"]).await;
    assert!(answer.starts_with("250 "), "a login is held by nothing of the device's: {answer}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_sender_of_its_own_is_replaced_where_the_device_says_so() {
    let tenant = tenant().await;
    let oxpost = with_device(&tenant, "sender = \"account\"\nrecipients = [\"*\"]").await;
    signed_in(&oxpost, &tenant).await;
    let running = oxpost.run().await.unwrap();
    let lines =
        ["MAIL FROM:<root@scanner>", "RCPT TO:<bob@fabrikam.example>", "DATA", "From: Scanner <root@scanner>\r\n\r\n."];
    assert!(say(&running, SCANNER, &lines).await.starts_with("250 2.0.0 OK"));
    let sent = tenant.outgoing().pop().unwrap();
    assert_eq!(sent.from, ALICE);
    assert_eq!(sent.bytes, b"From: Scanner <alice@contoso.com>\r\nReply-To: <root@scanner>\r\n\r\n");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn device_without_account_or_sign_in_is_deferred_with_reason() {
    let tenant = tenant().await;
    let oxpost = with_device(&tenant, "").await;
    let checked = oxpost.call(&["check"]).await.unwrap().said().unwrap();
    assert!(checked.contains("alice@contoso.com, which has no account yet"), "{checked}");
    let running = oxpost.run().await.unwrap();
    let mail = format!("MAIL FROM:<{ALICE}>");
    let answer = say(&running, SCANNER, &["HELO scanner", &mail]).await;
    assert!(answer.starts_with("451 4.7.0 This device sends as alice@contoso.com, but no such account"), "{answer}");
    // A program that sends everything in one write and reads only the reply to the recipient keeps its mail too.
    let mut client = Client::connect_from(SCANNER, running.smtp).await;
    client.until("220 ").await;
    client.say(&format!("{mail}\r\nRCPT TO:<bob@contoso.com>\r\nDATA")).await;
    for _ in 0..3 {
        let answer = client.line().await.unwrap();
        assert!(answer.starts_with("451 4.7.0 This device sends as "), "{answer}");
    }
    oxpost.add_account(ALICE, &[]).await.unwrap();
    let checked = oxpost.call(&["check"]).await.unwrap().said().unwrap();
    assert!(!checked.contains("no account alice"), "{checked}");
    let answer = say(&running, SCANNER, &["HELO scanner", &mail]).await;
    assert!(answer.starts_with("451 4.7.0 ") && answer.contains("oxpost sign-in alice@contoso.com"), "{answer}");
    running.stop().await.unwrap();
}

/// A device that sends more waits as long as any client, and is then asked to try later.
#[tokio::test]
async fn a_device_sends_so_many_messages_a_minute() {
    let tenant = tenant().await;
    let oxpost = with_device(&tenant, "messages-per-minute = 2\n[limits]\nsend-slot-timeout = \"0s\"\n").await;
    signed_in(&oxpost, &tenant).await;
    let running = oxpost.run().await.unwrap();
    let mail = format!("MAIL FROM:<{ALICE}>");
    assert!(say(&running, SCANNER, &[&mail]).await.starts_with("250 "));
    let answer = say(&running, SCANNER, &[&mail]).await;
    assert!(answer.starts_with("451 4.3.2 More than 2 messages a minute"), "{answer}");
    running.stop().await.unwrap();
}

/// However many there are of them, everybody else gets in.
#[tokio::test]
async fn device_has_a_limit_of_concurrent_sessions() {
    let tenant = tenant().await;
    let oxpost = with_device(&tenant, "messages-per-minute = 1000").await;
    let password = signed_in(&oxpost, &tenant).await;
    let running = oxpost.run().await.unwrap();
    let mut sessions = Vec::new();
    while sessions.len() <= 10 {
        let mut client = Client::connect_from(SCANNER, running.smtp).await;
        client.until("220 ").await;
        client.say("MAIL FROM:<>").await;
        let answer = client.line().await.unwrap();
        if !answer.starts_with("250 ") {
            assert!(answer.starts_with("451 4.7.0 Too many devices are sending as alice@contoso.com"), "{answer}");
            break;
        }
        sessions.push(client);
    }
    assert_eq!(sessions.len(), 10);
    assert!(crate::logins::imap(running.imap, ALICE, &password).await.starts_with("a OK"));
    sessions.pop().unwrap().say("QUIT").await;
    drop(sessions);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_mistake_in_a_device_names_its_line_and_nothing_starts() {
    let tenant = tenant().await;
    let oxpost = with_device(&tenant, "recipient = [\"contoso.com\"]").await;
    let refusal = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    assert!(refusal.contains("recipient") && refusal.contains("`recipients`"), "{refusal}");
    let oxpost = with_device(&tenant, "messages-per-minute = 0").await;
    let text = std::fs::read_to_string(oxpost.folder().join("proxy.toml")).unwrap();
    let line = text.lines().position(|line| line.starts_with("messages-per-minute")).unwrap() + 1;
    let refusal = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    assert!(refusal.contains(&format!("line {line}")) && refusal.contains("messages a minute"), "{refusal}");
}
