//! One account for all mailboxes of a domain, with one token of the application.

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::{Application, Login, LoginOutcome, Mailbox, Outcome, Protocol, Tenant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client::Client;
use crate::doctor::Checklist;
use crate::logins::{imap, pop3};

const BOB: &str = "bob@contoso.com";
/// She has a mailbox that the application may not open.
const CAROL: &str = "carol@contoso.com";
const ALL: &str = "*@contoso.com";
const SECRET: &str = "Aa1~app-only-client-secret-value-0123456";

async fn tenant() -> Tenant {
    Tenant::builder()
        .mailbox(Mailbox::user(ALICE).full_access(CLIENT_ID))
        .mailbox(Mailbox::user(BOB).full_access(CLIENT_ID))
        .mailbox(CAROL)
        .application(Application::confidential(CLIENT_ID, SECRET))
        .start()
        .await
        .unwrap()
}

fn oxpost(tenant: &Tenant, more: &str) -> Oxpost {
    let settings = Settings::of(tenant, CLIENT_ID);
    Oxpost::new(&Settings { client_secret: Some(SECRET.to_owned()), more: more.to_owned(), ..settings }).unwrap()
}

async fn smtp(running: &Running, user: &str, password: &str) -> String {
    let mut client = Client::connect(running.smtp).await;
    client.say("EHLO scanner").await;
    client.until("250 ").await;
    client.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")))).await;
    client.line().await.unwrap()
}

fn issued(tenant: &Tenant) -> usize {
    tenant.token_requests().iter().filter(|request| request.outcome == Outcome::Issued).count()
}

#[tokio::test]
async fn application_token_opens_every_mailbox_of_the_domain() {
    let tenant = tenant().await;
    let oxpost = oxpost(&tenant, "");
    let added = oxpost.call(&["account", "add", ALL, "--grant", "client-credentials"]).await.unwrap().said().unwrap();
    assert!(added.contains("Warning: this password opens every mailbox of contoso.com"), "{added}");
    let all = added.lines().find_map(|line| line.trim().strip_prefix("password ")?.split_whitespace().next()).unwrap();
    oxpost.call(&["sign-in", ALL]).await.unwrap().said().unwrap();
    // Bob has a password of his own.
    let bobs = oxpost.add_account(BOB, &["--delegate", ALL]).await.unwrap();

    let running = oxpost.run().await.unwrap();
    for (user, password) in
        [(ALICE, all), ("Alice@Contoso.COM", all), ("CONTOSO\\alice@contoso.com", all), (BOB, &bobs)]
    {
        assert!(imap(running.imap, user, password).await.starts_with("a OK"), "{user}");
        assert!(pop3(running.pop3, user, password).await.starts_with("+OK"), "{user}");
        assert!(smtp(&running, user, password).await.starts_with("235"), "{user}");
    }
    let accepted = |login: &Login| login.outcome == LoginOutcome::Accepted;
    let users: Vec<String> = tenant.logins().into_iter().filter(accepted).map(|login| login.user).collect();
    assert_eq!((users.len(), users.iter().filter(|user| *user == ALICE).count()), (12, 9), "{users:?}");
    assert_eq!(issued(&tenant), 1, "one token for all of them");

    tenant.forget();
    for (user, password) in [
        (BOB, all),
        ("*@contoso.com\\bob@contoso.com", all),
        ("alice@contoso.com\\bob@contoso.com", all),
        (ALICE, bobs.as_str()),
        (ALL, all),
        ("alice@fabrikam.example", all),
        ("alice@sub.contoso.com", all),
        ("alice", all),
    ] {
        assert!(imap(running.imap, user, password).await.contains("AUTHENTICATIONFAILED"), "{user}");
    }
    assert!(tenant.logins().is_empty(), "a wrong login never reaches Exchange");
    // Exchange says the same of a mailbox that it moves, so it is permanent only if it lasts.
    let answer = imap(running.imap, CAROL, all).await;
    assert!(answer.contains("[UNAVAILABLE]") && answer.contains("oxpost doctor carol@contoso.com"), "{answer}");
    assert_eq!(tenant.logins().first().map(|login| login.protocol), Some(Protocol::Imap));

    let words = oxpost.call(&["account", "delegate", BOB, BOB]).await.unwrap().said().unwrap();
    assert!(words.contains("a sign-in of its own") && !words.contains("Next"), "{words}");
    let words = oxpost.call(&["account", "delegate", BOB, ALL]).await.unwrap().said().unwrap();
    assert!(words.contains("The application must be allowed to open bob@contoso.com"), "{words}");

    // A password that is revoked opens nothing any more, and Bob's still does.
    oxpost.call(&["account", "password", "remove", ALL]).await.unwrap().said().unwrap();
    assert!(imap(running.imap, ALICE, all).await.contains("AUTHENTICATIONFAILED"));
    assert!(imap(running.imap, BOB, &bobs).await.starts_with("a OK"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_pattern_that_cannot_be_is_refused_with_the_reason() {
    let tenant = tenant().await;
    let oxpost = oxpost(&tenant, "");
    for (arguments, words) in [
        (vec!["add", ALL], "opens that user's mailboxes"),
        (vec!["add", ALL, "--grant", "password"], "(grant password)"),
        (vec!["add", ALL, "--delegate", ALICE], "cannot have a delegate"),
        (vec!["add", ALL, "--grant", "client-credentials", "--login", "all"], "log in with the address of the mailbox"),
        (vec!["add", "*@*", "--grant", "client-credentials"], "not a pattern of a domain"),
    ] {
        let words_said = oxpost.call(&[&["account"], arguments.as_slice()].concat()).await.unwrap().refusal().unwrap();
        assert!(words_said.contains(words), "{arguments:?}: {words_said}");
    }
    oxpost
        .call(&["account", "add", ALL, "--grant", "client-credentials", "--no-password"])
        .await
        .unwrap()
        .said()
        .unwrap();
    let words = oxpost.call(&["account", "delegate", ALL, ALICE]).await.unwrap().refusal().unwrap();
    assert!(words.contains("cannot have a delegate"), "{words}");
    let words = oxpost.call(&["sign-in", ALICE]).await.unwrap().refusal().unwrap();
    assert!(words.contains("--delegate '*@contoso.com'") && words.contains("oxpost doctor"), "{words}");
    oxpost.add_account(BOB, &["--delegate", ALL]).await.unwrap();
    let words = oxpost.call(&["account", "remove", ALL]).await.unwrap().refusal().unwrap();
    assert!(words.contains(BOB), "{words}");
}

#[tokio::test]
async fn the_doctor_examines_a_mailbox_through_the_declared_pattern() {
    let tenant = tenant().await;
    let pattern = format!("[[account]]\nmailbox = \"{ALL}\"\ngrant = \"client-credentials\"\n");
    let oxpost = oxpost(&tenant, &pattern);
    oxpost.call(&["account", "apply"]).await.unwrap().said().unwrap();
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    list.fails(&[]);
    assert!(list.lines().contains("opens") && list.lines().contains("account alice@contoso.com"), "{}", list.lines());
    let list = Checklist::of(&oxpost, &[CAROL]).await;
    assert!(list.lines().contains("Full Access") && list.lines().contains(CAROL), "{}", list.lines());
    // Without a mailbox there is nothing to log in to.
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[]);
    assert!(list.lines().contains("a mailbox: oxpost doctor NAME@contoso.com"), "{}", list.lines());
    let status = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    let row = status.lines().find(|line| line.starts_with(ALL)).unwrap();
    assert!(row.contains(" not served "), "{status}");
}
