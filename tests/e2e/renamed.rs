//! A user is renamed in Microsoft Entra: mail goes on under the new name, and mail programs keep their old login.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Inside, PASSWORD};
use oxpost_tests::office365::{Application, LoginOutcome, Mailbox, Protocol, Tenant};
use oxpost_token_store::{Account, Grant, Mailbox as Address, PasswordHash};

use crate::client::Client;

const NEW: &str = "alice.smith@contoso.com";
const INFO: &str = "info@contoso.com";

/// Alice, and a shared mailbox that is opened with her token.
async fn proxy() -> Inside {
    let info = Mailbox::shared(INFO).full_access(ALICE).send_as(ALICE);
    let tenant = Tenant::builder().mailbox(ALICE).mailbox(info).application(Application::public(CLIENT_ID));
    let inside = Inside::start(tenant.start().await.unwrap(), "").await.unwrap();
    inside.add_account(ALICE).await.unwrap();
    inside.sign_in(ALICE, ALICE).await.unwrap();
    let (store, now) = (&inside.gateway.store, inside.tenant.clock().now());
    let address = |text| Address::parse(text).unwrap();
    let through = Some(address(ALICE));
    let info = Account { through, ..Account::new(address(INFO), "default", Grant::SignIn, now) };
    store.add_account(&info).await.unwrap();
    store.set_password(&info.mailbox, "scanner", &PasswordHash::of(&PASSWORD.into()).unwrap(), now).await.unwrap();
    inside
}

async fn imap(inside: &Inside, login: &str) -> String {
    let mut client = Client::connect(inside.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {login} {PASSWORD}")).await;
    client.until("a ").await
}

/// Sends a message as a program does that knows nothing of the new name.
async fn send(inside: &Inside, login: &str) -> String {
    let mut client = Client::connect(inside.address(Protocol::Smtp)).await;
    client.say("EHLO scanner").await;
    client.until("250 ").await;
    client.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{login}\0{PASSWORD}")))).await;
    let answer = client.until("").await;
    if !answer.starts_with("235") {
        return answer;
    }
    for (line, reply) in [
        (format!("MAIL FROM:<{login}>"), "250 "),
        ("RCPT TO:<customer@fabrikam.example>".into(), "250 "),
        ("DATA".into(), "354 "),
    ] {
        client.say(&line).await;
        client.until(reply).await;
    }
    client.say(&format!("From: {login}\r\nSubject: offer\r\n\r\nhello\r\n.")).await;
    client.line().await.unwrap()
}

/// The users of the logins since the last call, with how they ended.
fn logins(inside: &Inside) -> Vec<(Protocol, String, LoginOutcome)> {
    let logins = inside.tenant.logins();
    inside.tenant.forget();
    logins.into_iter().map(|login| (login.protocol, login.user, login.outcome)).collect()
}

#[tokio::test]
async fn mail_goes_on_under_the_new_name_and_programs_keep_their_login() {
    use LoginOutcome::{Accepted, Denied};
    use Protocol::{Imap, Smtp};
    let inside = proxy().await;
    for login in [ALICE, INFO] {
        assert!(imap(&inside, login).await.starts_with("a OK") && send(&inside, login).await.starts_with("250 "));
    }
    let users: Vec<_> = logins(&inside).into_iter().map(|(protocol, user, _)| (protocol, user)).collect();
    let before = [(Imap, ALICE), (Smtp, ALICE), (Imap, INFO), (Smtp, ALICE)];
    assert_eq!(users, before.map(|(protocol, user)| (protocol, user.to_owned())));

    // Her token is an hour old; Exchange knows her by the new name alone. The next message finds out.
    assert!(inside.tenant.rename(ALICE, NEW));
    let sent = send(&inside, INFO).await;
    assert!(sent.starts_with("250 "), "{sent}");
    assert_eq!(logins(&inside), [(Smtp, ALICE.to_owned(), Denied), (Smtp, NEW.to_owned(), Accepted)]);

    // From then on it costs nothing, for her and for the mailboxes that her token opens.
    for login in [ALICE, INFO] {
        assert!(imap(&inside, login).await.starts_with("a OK") && send(&inside, login).await.starts_with("250 "));
    }
    let after = [(Imap, NEW), (Smtp, NEW), (Imap, INFO), (Smtp, NEW)];
    assert_eq!(logins(&inside), after.map(|(protocol, user)| (protocol, user.to_owned(), Accepted)));

    // A day later, with other tokens; and the account is still the one it was.
    inside.tenant.clock().advance(Duration::from_secs(24 * 3600));
    assert!(imap(&inside, ALICE).await.starts_with("a OK") && send(&inside, ALICE).await.starts_with("250 "));
    assert_eq!(logins(&inside), [(Imap, NEW.to_owned(), Accepted), (Smtp, NEW.to_owned(), Accepted)]);
    let address = Address::parse(ALICE).unwrap();
    let state = inside.gateway.store.token_state(&address).await.unwrap();
    assert_eq!((state.signed_in_as.as_deref(), state.renamed_to), (Some(NEW), Some(Address::parse(NEW).unwrap())));
    assert_eq!(inside.gateway.store.accounts().await.unwrap().len(), 2);
    inside.stop().await;
}

/// The mailbox of a user who was renamed while nothing was refused: the next refresh tells.
#[tokio::test]
async fn next_refresh_brings_the_new_name_without_a_refused_login() {
    let inside = proxy().await;
    assert!(imap(&inside, ALICE).await.starts_with("a OK"));
    assert!(inside.tenant.rename(ALICE, NEW));
    inside.tenant.clock().advance(Duration::from_secs(2 * 3600));
    logins(&inside);
    assert!(send(&inside, ALICE).await.starts_with("250 "));
    assert_eq!(logins(&inside), [(Protocol::Smtp, NEW.to_owned(), LoginOutcome::Accepted)]);
    // And back again.
    assert!(inside.tenant.rename(NEW, ALICE));
    inside.tenant.clock().advance(Duration::from_secs(2 * 3600));
    assert!(send(&inside, ALICE).await.starts_with("250 "));
    assert_eq!(logins(&inside), [(Protocol::Smtp, ALICE.to_owned(), LoginOutcome::Accepted)]);
    inside.stop().await;
}
