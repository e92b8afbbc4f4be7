//! Who an account may send as: what Exchange would reject after the whole message is rejected immediately, or gets an accepted
//! sender.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::{Application, Mailbox, Tenant};

use crate::client::Client;

const INFO: &str = "info@contoso.com";
const LIFT: &str = "lift@hall.local";

/// Alice may send as the shared mailbox, and as no other.
async fn tenant() -> Tenant {
    let info = Mailbox::shared(INFO).full_access(ALICE).send_as(ALICE);
    let tenant = Tenant::builder().mailbox(ALICE).mailbox(info).mailbox("ceo@contoso.com");
    tenant.application(Application::public(CLIENT_ID)).start().await.unwrap()
}

struct Story {
    tenant: Tenant,
    oxpost: Oxpost,
    password: String,
}

impl Story {
    async fn new() -> Self {
        let tenant = tenant().await;
        let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
        let password = oxpost.add_account(ALICE, &[]).await.unwrap();
        oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
        Self { tenant, oxpost, password }
    }

    async fn said(&self, arguments: &[&str]) -> String {
        self.oxpost.call(arguments).await.unwrap().said().unwrap()
    }

    /// The answer to the last of what a client sends, and what was read up to there.
    async fn send(&self, running: &Running, sender: &str, header: &str) -> String {
        let mut client = Client::connect(running.smtp).await;
        client.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{}", self.password)))).await;
        client.until("235 ").await;
        client.say(&format!("MAIL FROM:<{sender}>")).await;
        let answer = client.line().await.unwrap();
        if !answer.starts_with("250") {
            return answer;
        }
        client.say("RCPT TO:<customer@fabrikam.example>\r\nDATA").await;
        client.until("354 ").await;
        client.say(&format!("{header}\r\n\r\n.. hello\r\n.")).await;
        client.line().await.unwrap()
    }

    /// The last message that went out: whose envelope, and its text.
    fn last(&self) -> (String, String) {
        let message = self.tenant.outgoing().pop().unwrap();
        (message.from, String::from_utf8(message.bytes).unwrap())
    }
}

#[tokio::test]
async fn senders_follow_the_sender_policy_of_the_account() {
    let story = Story::new().await;
    let running = story.oxpost.run().await.unwrap();

    // By default Exchange decides, and the log says what to do.
    assert!(story.said(&["account", "sender", ALICE]).await.contains("The mail server decides"));
    assert!(story.send(&running, LIFT, "From: Lift <lift@hall.local>").await.contains("SendAsDenied"));
    running.wait_for_log("oxpost account sender alice@contoso.com account").await.unwrap();

    // Its own address in the place of everybody else's.
    let said = story.said(&["account", "sender", ALICE, "account", "--allow", INFO]).await;
    assert!(
        said.contains("alice@contoso.com, info@contoso.com") && said.contains("replaced with alice@contoso.com"),
        "{said}"
    );
    let answer = story.send(&running, LIFT, "Subject: stuck\r\nFrom: \"Lift\" <lift@hall.local>").await;
    assert!(answer.starts_with("250 2.0.0"), "{answer}");
    let (envelope, text) = story.last();
    assert_eq!(envelope, ALICE);
    let expected =
        "Subject: stuck\r\nFrom: \"Lift\" <alice@contoso.com>\r\nReply-To: <lift@hall.local>\r\n\r\n. hello\r\n";
    assert_eq!(text, expected);
    running.wait_for_log("\"replaced\":\"lift@hall.local\"").await.unwrap();
    // Who is allowed stays.
    let answer = story.send(&running, INFO, "From: info@contoso.com").await;
    assert!(answer.starts_with("250 2.0.0"), "{answer}");
    assert_eq!(story.last(), (INFO.into(), "From: info@contoso.com\r\n\r\n. hello\r\n".into()));

    // By rules, and no other sender.
    story.said(&["account", "sender", ALICE, "map", "--rule", "*@hall.local=info@contoso.com"]).await;
    let answer = story.send(&running, LIFT, "From: lift@hall.local\r\nReply-To: porter@contoso.com").await;
    assert!(answer.starts_with("250 2.0.0"), "{answer}");
    let (envelope, text) = story.last();
    assert_eq!(envelope, INFO);
    assert_eq!(text, "From: <info@contoso.com>\r\nReply-To: porter@contoso.com\r\n\r\n. hello\r\n");
    let sent = story.tenant.outgoing().len();
    let answer = story.send(&running, "ceo@contoso.com", "").await;
    assert!(
        answer.starts_with("550 5.7.60 ") && answer.contains("oxpost account sender alice@contoso.com"),
        "{answer}"
    );

    // Refused, in the envelope and in the message.
    story.said(&["account", "sender", ALICE, "as-is", "--allow", INFO]).await;
    assert!(story.send(&running, LIFT, "").await.starts_with("550 5.7.60 This login sends as alice@"));
    for header in
        ["From: ceo@contoso.com", ".From: ceo@contoso.com", "From: alice@contoso.com\r\nSender: ceo@contoso.com"]
    {
        let answer = story.send(&running, ALICE, header).await;
        assert!(answer.starts_with("550 5.7.60 This login sends as alice@") && answer.contains("ceo@"), "{answer}");
    }
    assert_eq!(story.tenant.outgoing().len(), sent, "none of them was delivered");

    // And as it was.
    story.said(&["account", "sender", ALICE, "as-is"]).await;
    assert!(story.send(&running, LIFT, "").await.contains("SendAsDenied"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let story = Story::new().await;
    for (arguments, words) in [
        (&["sometimes"][..], "as-is, account or map"),
        (&["map"], "at least one rewrite rule"),
        (&["map", "--rule", "lift@hall.local"], "is not a rule"),
        (&["map", "--rule", "hall.local=info@contoso.com"], "`hall.local`"),
        (&["map", "--rule", "*@hall.local=*@contoso.com"], "`*@contoso.com`"),
        (&["as-is", "--allow", "contoso.com"], "`contoso.com`"),
        (&["account", "--rule", "a@hall.local=info@contoso.com"], "map"),
    ] {
        let arguments: Vec<&str> = ["account", "sender", ALICE].iter().chain(arguments).copied().collect();
        let ran = story.oxpost.call(&arguments).await.unwrap();
        assert!(ran.status != Some(0) && ran.text().contains(words), "{arguments:?}: {ran}");
    }
    assert!(story.said(&["account", "sender", ALICE]).await.contains("The mail server decides"));
}

#[tokio::test]
async fn a_declared_account_says_it_in_the_file() {
    let story = Story::new().await;
    let path = story.oxpost.folder().join("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let section = format!("[[account]]\nmailbox = \"{ALICE}\"\nsender = \"account\"\nsenders = [\"{INFO}\"]\n");
    std::fs::write(&path, format!("{text}\n{section}")).unwrap();
    story.said(&["account", "declare", ALICE]).await;
    let ran = story.oxpost.call(&["account", "sender", ALICE, "as-is"]).await.unwrap();
    assert!(ran.refusal().unwrap().contains("is declared in"), "it would not last");
    assert!(story.said(&["account", "sender", ALICE]).await.contains("replaced with alice@contoso.com"));
    let running = story.oxpost.run().await.unwrap();
    let answer = story.send(&running, LIFT, "From: lift@hall.local").await;
    assert!(answer.starts_with("250 2.0.0"), "{answer}");
    assert_eq!(story.last().0, ALICE);
    running.stop().await.unwrap();
}
