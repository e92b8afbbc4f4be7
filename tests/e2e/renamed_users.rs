//! A user is renamed in Microsoft Entra: mail goes on under the new name, and mail programs keep their old login.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, PASSWORD};
use oxpost_tests::office365::{Application, LoginOutcome, Mailbox, Protocol, Tenant};
use oxpost_token_store::{Account, Grant, Mailbox as Address, PasswordHash};

use crate::client::Client;

const NEW: &str = "alice.smith@contoso.com";
const INFO: &str = "info@contoso.com";

/// Alice, and a shared mailbox that is opened with her token.
async fn proxy() -> InProcess {
    let info = Mailbox::shared(INFO).full_access(ALICE).send_as(ALICE);
    let tenant = Tenant::builder().mailbox(ALICE).mailbox(info).application(Application::public(CLIENT_ID));
    let in_process = InProcess::start(tenant.start().await.unwrap(), "").await.unwrap();
    in_process.add_account(ALICE).await.unwrap();
    in_process.sign_in(ALICE, ALICE).await.unwrap();
    let (store, now) = (&in_process.context.runtime.store, in_process.tenant.clock().now());
    let address = |text| Address::parse(text).unwrap();
    let delegate = Some(address(ALICE));
    let info = Account { delegate, ..Account::new(address(INFO), "default", Grant::SignIn, now) };
    store.add_account(&info).await.unwrap();
    store.set_password(&info.mailbox, "scanner", &PasswordHash::of(&PASSWORD.into()).unwrap(), now).await.unwrap();
    in_process
}

async fn imap(in_process: &InProcess, login: &str) -> String {
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {login} {PASSWORD}")).await;
    client.until("a ").await
}

/// Sends a message as a program does that knows nothing of the new name.
async fn send(in_process: &InProcess, login: &str) -> String {
    let mut client = Client::connect(in_process.address(Protocol::Smtp)).await;
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
fn logins(in_process: &InProcess) -> Vec<(Protocol, String, LoginOutcome)> {
    let logins = in_process.tenant.logins();
    in_process.tenant.forget();
    logins.into_iter().map(|login| (login.protocol, login.user, login.outcome)).collect()
}

#[tokio::test]
async fn renamed_user_keeps_mail_and_login() {
    use LoginOutcome::{Accepted, Denied};
    use Protocol::{Imap, Smtp};
    let in_process = proxy().await;
    for login in [ALICE, INFO] {
        assert!(
            imap(&in_process, login).await.starts_with("a OK") && send(&in_process, login).await.starts_with("250 ")
        );
    }
    let users: Vec<_> = logins(&in_process).into_iter().map(|(protocol, user, _)| (protocol, user)).collect();
    let before = [(Imap, ALICE), (Smtp, ALICE), (Imap, INFO), (Smtp, ALICE)];
    assert_eq!(users, before.map(|(protocol, user)| (protocol, user.to_owned())));

    // Her token is an hour old; Exchange knows her by the new name alone. The next message finds out.
    assert!(in_process.tenant.rename(ALICE, NEW));
    let sent = send(&in_process, INFO).await;
    assert!(sent.starts_with("250 "), "{sent}");
    assert_eq!(logins(&in_process), [(Smtp, ALICE.to_owned(), Denied), (Smtp, NEW.to_owned(), Accepted)]);

    // From then on it costs nothing, for her and for the mailboxes that her token opens.
    for login in [ALICE, INFO] {
        assert!(
            imap(&in_process, login).await.starts_with("a OK") && send(&in_process, login).await.starts_with("250 ")
        );
    }
    let after = [(Imap, NEW), (Smtp, NEW), (Imap, INFO), (Smtp, NEW)];
    assert_eq!(logins(&in_process), after.map(|(protocol, user)| (protocol, user.to_owned(), Accepted)));

    // A day later, with other tokens; and the account is still the one it was.
    in_process.tenant.clock().advance(Duration::from_secs(24 * 3600));
    assert!(imap(&in_process, ALICE).await.starts_with("a OK") && send(&in_process, ALICE).await.starts_with("250 "));
    assert_eq!(logins(&in_process), [(Imap, NEW.to_owned(), Accepted), (Smtp, NEW.to_owned(), Accepted)]);
    let address = Address::parse(ALICE).unwrap();
    let state = in_process.context.runtime.store.token_state(&address).await.unwrap();
    assert_eq!((state.signed_in_as.as_deref(), state.renamed_to), (Some(NEW), Some(Address::parse(NEW).unwrap())));
    assert_eq!(in_process.context.runtime.store.accounts().await.unwrap().len(), 2);
    in_process.stop().await;
}

/// The mailbox of a user who was renamed while nothing was refused: the next refresh tells.
#[tokio::test]
async fn next_refresh_brings_the_new_name_without_a_refused_login() {
    let in_process = proxy().await;
    assert!(imap(&in_process, ALICE).await.starts_with("a OK"));
    assert!(in_process.tenant.rename(ALICE, NEW));
    in_process.tenant.clock().advance(Duration::from_secs(2 * 3600));
    logins(&in_process);
    assert!(send(&in_process, ALICE).await.starts_with("250 "));
    assert_eq!(logins(&in_process), [(Protocol::Smtp, NEW.to_owned(), LoginOutcome::Accepted)]);
    // And back again.
    assert!(in_process.tenant.rename(NEW, ALICE));
    in_process.tenant.clock().advance(Duration::from_secs(2 * 3600));
    assert!(send(&in_process, ALICE).await.starts_with("250 "));
    assert_eq!(logins(&in_process), [(Protocol::Smtp, ALICE.to_owned(), LoginOutcome::Accepted)]);
    in_process.stop().await;
}

/// Microsoft verifies the passwords of this account. Its user is renamed, the new name is given to another user, and then the
/// rename is reverted.
#[tokio::test]
async fn password_of_another_user_with_the_new_name_is_rejected() {
    const OWN: &str = "Passw0rd!";
    const OTHER: &str = "Another1!";
    let hour = Duration::from_secs(3600);
    let tenant = Tenant::builder().mailbox(ALICE).application(Application::public(CLIENT_ID));
    let in_process = InProcess::start(tenant.start().await.unwrap(), "").await.unwrap();
    let (store, address) = (&in_process.context.runtime.store, Address::parse(ALICE).unwrap());
    let account = Account::new(address.clone(), "default", Grant::Password, in_process.tenant.clock().now());
    store.add_account(&account).await.unwrap();
    let login = async |password: &str| {
        let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
        client.say(&format!("a LOGIN {ALICE} {password}")).await;
        client.until("a ").await
    };
    let opens = async |password: &str| {
        let opening = async { while !login(password).await.starts_with("a OK") {} };
        tokio::time::timeout(Duration::from_secs(60), opening).await.expect("the right password opens within a minute");
    };
    opens(OWN).await;
    assert!(in_process.tenant.rename(ALICE, NEW));
    in_process.tenant.clock().advance(2 * hour);
    opens(OWN).await;
    assert_eq!(store.token_state(&address).await.unwrap().renamed_to, Some(Address::parse(NEW).unwrap()));

    // She gets her old name back, and Bob gets the new one.
    assert!(in_process.tenant.rename(NEW, ALICE));
    in_process.tenant.add_mailbox(NEW);
    in_process.tenant.change_password(NEW, OTHER);
    in_process.tenant.consent(CLIENT_ID, NEW);
    let before = store.token_state(&address).await.unwrap();
    logins(&in_process);
    let answer = login(OTHER).await;
    assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED]"), "{answer}");
    assert_eq!(logins(&in_process), []);
    assert_eq!(store.token_state(&address).await.unwrap(), before);

    // Her refresh token has ended, and her password is asked about under the name that she has again once no other user has
    // the stored one.
    in_process.tenant.revoke(ALICE);
    in_process.tenant.clock().advance(2 * hour);
    let asked = || in_process.tenant.token_requests().iter().filter(|request| request.grant_type == "password").count();
    let count = asked();
    let answer = login(OWN).await;
    assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED]"), "{answer}");
    assert_eq!(asked(), count + 1, "it is wrong for Bob, and Microsoft does not say more");
    assert!(in_process.tenant.rename(NEW, "bob@contoso.com"));
    in_process.tenant.clock().advance(2 * hour);
    opens(OWN).await;
    let state = store.token_state(&address).await.unwrap();
    assert_eq!((state.signed_in_as.as_deref(), state.renamed_to), (Some(ALICE), None));
    in_process.stop().await;
}
