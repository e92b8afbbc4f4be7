//! One line in the log for every message, and nothing of the message in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings};
use serde_json::Value;

use crate::client::Client;
use crate::story::tenant;

/// The lines of the log that are about messages.
fn audit(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["result"].is_string()).collect()
}

#[tokio::test]
async fn a_line_for_every_message() {
    let tenant = tenant().await;
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    // Another module logs where it listens.
    settings.level = "warn,oxpost::messages=info,oxpost::server=info,oxpost::server::session=warn".into();
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();

    let mut smtp = Client::connect(running.smtp).await;
    smtp.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}")))).await;
    smtp.until("235 ").await;
    for (from, said) in [
        (ALICE, "Subject: a secret\r\nMessage-ID: <1@contoso.com>\r\n\r\nhello\r\n."),
        ("ceo@contoso.com", "Subject: a secret\r\n\r\nhello\r\n."),
        (ALICE, "Subject: a secret\r\n\r\nhello\rworld\r\n."),
    ] {
        smtp.say(&format!("MAIL FROM:<{from}>\r\nRCPT TO:<nobody@contoso.com>\r\nRCPT TO:<bob@fabrikam.example>"))
            .await;
        smtp.say("DATA").await;
        smtp.until("354 ").await;
        smtp.say(said).await;
        smtp.line().await.unwrap();
    }
    smtp.say("QUIT").await;
    smtp.until("221 ").await;
    drop(smtp);
    let log = running.stop().await.unwrap();

    let lines = audit(&log);
    let field = |at: usize, name: &str| lines[at][name].as_str().unwrap_or_default().to_owned();
    let (refused, messages): (Vec<usize>, Vec<usize>) =
        (0..lines.len()).partition(|at| lines[*at]["message"] == "message refused at RCPT by the mail server");
    assert_eq!((refused.len(), messages.len()), (3, 3), "{log}");
    for at in refused {
        assert_eq!((field(at, "command"), field(at, "recipients")), ("RCPT".into(), "nobody@contoso.com".into()));
        assert!(field(at, "reply").starts_with("550 5.1.10 "));
    }
    for (at, sender, result) in [
        (messages[0], ALICE, "accepted-by-server"),
        (messages[1], "ceo@contoso.com", "refused"),
        (messages[2], ALICE, "refused"),
    ] {
        assert_eq!((field(at, "sender"), field(at, "result")), (sender.into(), result.into()), "{log}");
        assert_eq!((field(at, "account"), field(at, "client")), (ALICE.into(), "127.0.0.1".into()));
        assert_eq!(field(at, "recipients"), "bob@fabrikam.example");
        assert!(!field(at, "timestamp").is_empty());
    }
    assert_eq!(field(messages[0], "server_id"), "1@contoso.com");
    assert_eq!(lines[messages[0]]["message"], "message accepted by the mail server");
    assert_eq!(lines[messages[0]]["size"], 57);
    assert!(field(messages[0], "reply").starts_with("250 2.0.0 OK <1@contoso.com>"));
    assert!(field(messages[1], "reply").contains("SendAsDenied"));
    assert_eq!(field(messages[2], "reason"), "the message has a CR without LF");
    assert!(!log.contains("secret") && !log.contains("hello"), "{log}");
}
