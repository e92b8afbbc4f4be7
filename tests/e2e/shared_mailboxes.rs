//! Many shared mailboxes through one delegate: one sign-in, one refresh token, one refresh; IMAP and POP3 as the shared
//! mailbox, SMTP as the delegate who sends in its name.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, Oxpost, PASSWORD, Running, Settings};
use oxpost_tests::office365::{Application, LoginOutcome, Mailbox, Outcome, Protocol, Tenant};
use oxpost_token_store::{Account, Grant, Mailbox as Address, PasswordHash};

use crate::client::Client;
use crate::logins::{imap, pop3};

const BOB: &str = "bob@contoso.com";
const INFO: &str = "info@contoso.com";
const SALES: &str = "sales@contoso.com";

/// A shared mailbox has no sign-in and no licence of its own: Alice has Full Access and Send As.
async fn tenant() -> Tenant {
    let shared = |address| Mailbox::shared(address).full_access(ALICE).send_as(ALICE);
    let tenant = Tenant::builder().mailbox(ALICE).mailbox(BOB).mailbox(shared(INFO)).mailbox(shared(SALES));
    tenant.application(Application::public(CLIENT_ID)).start().await.unwrap()
}

fn issued(tenant: &Tenant, grant_type: &str) -> usize {
    let requests = tenant.token_requests();
    requests.iter().filter(|it| it.grant_type == grant_type && it.outcome == Outcome::Issued).count()
}

/// Sends one message from the account's own address.
async fn send(running: &Running, user: &str, password: &str, from: &str) -> String {
    let mut client = Client::connect(running.smtp).await;
    client.say("EHLO scanner").await;
    client.until("250 ").await;
    client.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")))).await;
    let answer = client.until("").await;
    if !answer.starts_with("235") {
        return answer;
    }
    client.say(&format!("MAIL FROM:<{from}>")).await;
    let answer = client.until("").await;
    if !answer.starts_with("250") {
        return answer;
    }
    client.say("RCPT TO:<customer@fabrikam.example>").await;
    client.until("250 ").await;
    client.say("DATA").await;
    client.until("354 ").await;
    client.say(&format!("From: {from}\r\nSubject: offer\r\n\r\nhello\r\n.")).await;
    client.line().await.unwrap()
}

/// The users of all logins that were accepted, by protocol.
fn accepted(tenant: &Tenant) -> Vec<(Protocol, String)> {
    let logins = tenant.logins().into_iter().filter(|login| login.outcome == LoginOutcome::Accepted);
    logins.map(|login| (login.protocol, login.user)).collect()
}

#[tokio::test]
async fn one_sign_in_of_the_delegate_serves_all_her_shared_mailboxes() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let info = oxpost.add_account(INFO, &["--delegate", ALICE]).await.unwrap();
    let listed = oxpost.call(&["account", "list"]).await.unwrap().said().unwrap();
    let alice = listed.lines().find(|line| line.starts_with(ALICE)).expect("she was added too");
    assert!(alice.trim_end().ends_with('-'), "and has no password: {alice}");

    // Asked for the shared mailbox, the sign-in is hers.
    let signing_in = oxpost.begin_sign_in(INFO, &["--no-open"]).await.unwrap();
    assert_eq!(signing_in.asks("login_hint"), ALICE);
    drop(signing_in);
    let said = oxpost.sign_in(INFO, &tenant, ALICE).await.unwrap();
    assert!(said.contains("sign in as alice@contoso.com") && said.contains("info@contoso.com is signed in"), "{said}");

    // The second one needs no further sign-in.
    let added = oxpost.call(&["account", "add", SALES, "--delegate", ALICE]).await.unwrap().said().unwrap();
    assert!(added.contains("alice@contoso.com has already signed in"), "{added}");
    let sales =
        added.lines().find_map(|line| line.trim().strip_prefix("password ")?.split_whitespace().next()).unwrap();

    let running = oxpost.run().await.unwrap();
    for (mailbox, password) in [(INFO, info.as_str()), (SALES, sales)] {
        assert!(imap(running.imap, mailbox, password).await.starts_with("a OK"));
        assert!(pop3(running.pop3, mailbox, password).await.starts_with("+OK"));
        assert!(send(&running, mailbox, password, mailbox).await.starts_with("250 2.0.0"));
    }
    // Exchange would take both: the session is Alice's.
    for another in [ALICE, SALES] {
        assert!(send(&running, INFO, &info, another).await.starts_with("550 5.7.60 This login sends as info@"));
    }
    let expected: Vec<(Protocol, String)> = [INFO, SALES]
        .iter()
        .flat_map(|mailbox| [(Protocol::Imap, *mailbox), (Protocol::Pop3, *mailbox), (Protocol::Smtp, ALICE)])
        .map(|(protocol, user)| (protocol, user.to_owned()))
        .collect();
    let accepted: Vec<_> = accepted(&tenant).into_iter().take(expected.len()).collect();
    assert_eq!(accepted, expected);
    let senders: Vec<String> = tenant.outgoing().into_iter().map(|message| message.from).collect();
    assert_eq!(senders, [INFO, SALES]);
    let log = running.stop().await.unwrap();
    assert!(!log.contains(&info), "{log}");
    let issued: Vec<_> = tenant.token_requests().into_iter().filter(|it| it.outcome == Outcome::Issued).collect();
    assert_eq!(issued.len(), 1, "one sign-in and nothing else: {issued:?}");

    let said = oxpost.call(&["account", "remove", ALICE]).await.unwrap();
    assert!(said.status == Some(1) && said.text().contains("info@contoso.com, sales@contoso.com"), "{said}");
    let said = oxpost.call(&["account", "remove", INFO]).await.unwrap().said().unwrap();
    assert!(
        said.contains("password `default`") && said.contains("delegate alice@contoso.com keeps its sign-in"),
        "{said}"
    );
    let said = oxpost.call(&["account", "remove", SALES]).await.unwrap().said().unwrap();
    assert!(said.contains("oxpost account remove alice@contoso.com"), "nothing needs it any more: {said}");
    let said = oxpost.call(&["account", "remove", ALICE]).await.unwrap().said().unwrap();
    assert!(said.contains("with its sign-in"), "{said}");
}

/// Many sessions of several shared mailboxes find the token over at the same moment.
#[tokio::test]
async fn one_refresh_serves_all_shared_mailboxes() {
    let in_process = InProcess::start(tenant().await, "").await.unwrap();
    in_process.add_account(ALICE).await.unwrap();
    let now = in_process.tenant.clock().now();
    let address = |text: &str| Address::parse(text).unwrap();
    let hash = PasswordHash::of(&oxpost_protocol::Secret::from(PASSWORD)).unwrap();
    for shared in [INFO, SALES] {
        let account =
            Account { delegate: Some(address(ALICE)), ..Account::new(address(shared), "", Grant::SignIn, now) };
        in_process.context.runtime.store.add_account(&account).await.unwrap();
        in_process.context.runtime.store.set_password(&account.mailbox, "default", &hash, now).await.unwrap();
    }
    in_process.sign_in(ALICE, ALICE).await.unwrap();
    for round in 1..=3 {
        let at = in_process.address(Protocol::Imap);
        let logins: Vec<_> = [ALICE, INFO, SALES, INFO, SALES, ALICE]
            .map(|user| tokio::spawn(async move { imap(at, user, PASSWORD).await }))
            .into_iter()
            .collect();
        for login in logins {
            assert!(login.await.unwrap().starts_with("a OK"));
        }
        assert_eq!(issued(&in_process.tenant, "refresh_token"), round);
        in_process.tenant.clock().advance(Duration::from_secs(2 * 3600));
    }
    in_process.stop().await;
}

/// Configured by the old way of naming them.
#[tokio::test]
async fn the_old_names_of_shared_mailboxes_are_understood() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let info = oxpost.add_account(INFO, &["--delegate", ALICE]).await.unwrap();
    let bob = oxpost.add_account(BOB, &[]).await.unwrap();
    let made = oxpost.call(&["account", "password", "add", ALICE]).await.unwrap().said().unwrap();
    let alice = made.lines().map(str::trim).find(|line| line.matches('-').count() == 5).unwrap().to_owned();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    for (user, password) in [
        ("alice@contoso.com\\info@contoso.com", &alice),
        ("alice@contoso.com/info@contoso.com", &alice),
        ("CONTOSO/alice@contoso.com/info@contoso.com", &info),
        ("alice\\info", &alice),
    ] {
        assert!(imap(running.imap, user, password).await.starts_with("a OK"), "{user}");
        assert!(pop3(running.pop3, user, password).await.starts_with("+OK"), "{user}");
        assert!(send(&running, user, password, INFO).await.starts_with("250 2.0.0"), "{user}");
    }
    let users = accepted(&tenant);
    assert!(users.iter().all(|(protocol, user)| user == if *protocol == Protocol::Smtp { ALICE } else { INFO }));
    assert_eq!(users.len(), 12);
    tenant.forget();
    for (user, password) in [
        ("bob@contoso.com\\info@contoso.com", &bob),
        (INFO, &alice),
        ("alice@contoso.com\\bob@contoso.com", &alice),
        ("alice\\bob", &alice),
        ("bob\\info", &bob),
        ("info", &info),
    ] {
        assert!(imap(running.imap, user, password).await.starts_with("a NO [AUTHENTICATIONFAILED]"), "{user}");
    }
    assert_eq!(imap(running.imap, "alice@contoso.com\\hunter2", "x").await.split(' ').nth(1), Some("NO"));
    assert!(tenant.logins().is_empty(), "a wrong local password never reaches Exchange");
    let log = running.stop().await.unwrap();
    assert!(log.contains("[no such account]") && !log.contains("hunter2"), "{log}");
    assert!(log.contains("\"user\":\"info@contoso.com\""), "{log}");
}

/// Software whose user name cannot be a mail address; the address works too, in any case of letters.
#[tokio::test]
async fn a_login_name_unlike_the_mailbox_opens_it_by_every_protocol() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &["--login", "PLANT2\\Scanner 7"]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    for user in ["PLANT2\\Scanner 7", "plant2\\scanner 7", "Alice@CONTOSO.com"] {
        assert!(imap(running.imap, user, &password).await.starts_with("a OK"), "{user}");
        assert!(pop3(running.pop3, user, &password).await.starts_with("+OK"), "{user}");
        assert!(send(&running, user, &password, ALICE).await.starts_with("250 2.0.0"), "{user}");
    }
    assert!(accepted(&tenant).iter().all(|(_, user)| user == ALICE));
    assert!(imap(running.imap, "scanner 7", &password).await.contains("AUTHENTICATIONFAILED"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn account_changes_to_a_delegate_and_back() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(INFO, &["--login", "scanner7"]).await.unwrap();
    let said = oxpost.sign_in(INFO, &tenant, ALICE).await.unwrap_err().to_string();
    assert!(said.contains("`oxpost account delegate info@contoso.com alice@contoso.com --create`"), "{said}");
    let said = oxpost.call(&["account", "delegate", INFO, ALICE, "--create"]).await.unwrap().said().unwrap();
    assert!(said.contains("Added alice@contoso.com") && said.contains("oxpost sign-in alice@contoso.com"), "{said}");
    oxpost.sign_in(INFO, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, "Scanner7", &password).await.starts_with("a OK"));
    assert!(imap(running.imap, "CONTOSO\\scanner7", &password).await.starts_with("a OK"));

    // Bob takes over, but has no Full Access yet.
    oxpost.call(&["account", "delegate", INFO, BOB, "--create"]).await.unwrap().output().unwrap();
    let answer = imap(running.imap, "scanner7", &password).await;
    assert!(answer.contains("[CONTACTADMIN]") && answer.contains("oxpost sign-in bob@contoso.com"), "{answer}");
    let wrong = oxpost.sign_in(INFO, &tenant, ALICE).await.unwrap_err().to_string();
    assert!(wrong.contains("info@contoso.com is opened through bob@contoso.com"), "{wrong}");
    oxpost.sign_in(INFO, &tenant, BOB).await.unwrap();
    // Exchange says the same of a mailbox that it moves, so it is permanent only if it lasts.
    let answer = imap(running.imap, "scanner7", &password).await;
    assert!(answer.contains("[UNAVAILABLE]") && answer.contains("oxpost doctor info@contoso.com"), "{answer}");
    tenant.change_mailbox(INFO, |mailbox| mailbox.full_access(BOB));
    assert!(imap(running.imap, "scanner7", &password).await.starts_with("a OK"));

    let said = oxpost.call(&["account", "delegate", INFO, INFO]).await.unwrap().said().unwrap();
    assert!(said.contains("a sign-in of its own") && said.contains("oxpost sign-in info@contoso.com"), "{said}");
    let answer = imap(running.imap, "scanner7", &password).await;
    assert!(answer.contains("oxpost sign-in info@contoso.com"), "{answer}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    oxpost.add_account(INFO, &["--delegate", ALICE, "--login", "front-desk"]).await.unwrap();
    for (arguments, words) in [
        (vec!["add", SALES, "--delegate", INFO], "its delegate is alice@contoso.com"),
        (vec!["add", SALES, "--login", "Front-Desk"], "belongs to another account"),
        (vec!["add", SALES, "--login", "FRONT-desk", "--delegate", BOB], "belongs to another account"),
        (vec!["add", SALES, "--delegate", ALICE, "--application", "other"], "signs in with the application default"),
        (vec!["add", SALES, "--delegate", ALICE, "--grant", "password"], "and the grant sign-in"),
        (vec!["add", SALES, "--delegate", BOB, "--grant", "client-credentials"], "Omit --delegate"),
        (vec!["add", ALICE, "--delegate", BOB], "already an account for alice@contoso.com"),
        (vec!["delegate", ALICE, BOB], "info@contoso.com"),
        (vec!["delegate", SALES, BOB], "there is no account sales@contoso.com"),
        (vec!["delegate", INFO, BOB], "oxpost account delegate info@contoso.com bob@contoso.com --create"),
    ] {
        let said = oxpost.call(&[&["account"], arguments.as_slice()].concat()).await.unwrap();
        assert!(said.status == Some(1) && said.text().contains(words), "{arguments:?}: {said}");
    }
    let listed = oxpost.call(&["account", "list"]).await.unwrap().said().unwrap();
    assert!(!listed.contains(SALES) && !listed.contains(BOB), "no account was added for nothing: {listed}");
}

#[tokio::test]
async fn passwords_are_several_named_listed_and_removed_one_by_one() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let first = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let password =
        async |arguments: &[&str]| oxpost.call(&[&["account", "password"], arguments].concat()).await.unwrap();
    let said = password(&["add", ALICE]).await;
    assert!(said.status == Some(1) && said.text().contains("--name") && said.text().contains("--replace"), "{said}");
    let made =
        |said: String| said.lines().map(str::trim).find(|line| line.matches('-').count() == 5).unwrap().to_owned();
    let second = made(password(&["add", ALICE, "--name", "scanner in the hall"]).await.said().unwrap());

    let running = oxpost.run().await.unwrap();
    for password in [&first, &second] {
        assert!(imap(running.imap, ALICE, password).await.starts_with("a OK"));
    }
    let third = made(password(&["add", ALICE, "--replace"]).await.said().unwrap());
    assert!(imap(running.imap, ALICE, &first).await.contains("AUTHENTICATIONFAILED"));
    assert!(imap(running.imap, ALICE, &second).await.starts_with("a OK"));

    let listed = password(&["list", ALICE]).await.said().unwrap();
    let rows: Vec<&str> = listed.lines().collect();
    assert!(rows[0].starts_with("NAME") && rows[0].contains("LAST USED"), "{listed}");
    let line = |name: &str| rows.iter().find(|row| row.starts_with(name)).copied().unwrap_or_default();
    assert!(line("scanner in the hall").trim_end().ends_with("ago") && line("default").trim_end().ends_with("never"));

    let said = password(&["remove", ALICE, "fax"]).await;
    assert!(said.status == Some(1) && said.text().contains("no password named `fax`"), "{said}");
    password(&["remove", ALICE, "scanner in the hall"]).await.output().unwrap();
    assert!(imap(running.imap, ALICE, &second).await.contains("AUTHENTICATIONFAILED"));
    assert!(imap(running.imap, ALICE, &third).await.starts_with("a OK"));
    let said = password(&["remove", ALICE]).await.said().unwrap();
    assert!(said.contains("It was the last one"), "{said}");
    let said = password(&["list", BOB]).await;
    assert!(said.status == Some(1) && said.text().contains("there is no account bob@contoso.com"), "{said}");
    running.stop().await.unwrap();
}
