//! Connection slots: what one password, one account or many clients can take from others, and how each client is answered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, Oxpost, PASSWORD, Running, Settings};
use oxpost_tests::office365::Protocol;
use oxpost_tests::office365::behaviour::{Act, Fault, Stage};

use crate::client::Client;
use crate::story::{BOB, proxy, tenant, tenant_of_two};

async fn alice_and_bob(more: &str) -> InProcess {
    let in_process = InProcess::start(tenant_of_two().await, more).await.unwrap();
    for mailbox in [ALICE, BOB] {
        in_process.add_account(mailbox).await.unwrap();
        in_process.sign_in(mailbox, mailbox).await.unwrap();
    }
    in_process
}

async fn login(in_process: &InProcess, mailbox: &str) -> (Client, String) {
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {mailbox} {PASSWORD}")).await;
    let answer = loop {
        match client.line().await {
            Some(line) if line.starts_with("a ") || line.starts_with("* BYE") => break line,
            Some(_) => {}
            None => break "closed".to_owned(),
        }
    };
    (client, answer)
}

/// With one correct password, a client opens as many sessions as there are connections.
#[tokio::test]
async fn one_password_does_not_take_every_connection() {
    let in_process = alice_and_bob("[limits]\nmax-connections = 40\n").await;
    let mut taken = Vec::new();
    for number in 0..45 {
        let (client, answer) = login(&in_process, ALICE).await;
        let expected = if number < 10 { "a OK" } else { "a NO [LIMIT] alice@contoso.com already has 10 sessions" };
        assert!(answer.starts_with(expected) || (number >= 40 && answer.starts_with("* BYE")), "{number}: {answer}");
        taken.push(client);
    }
    let (_, answer) = login(&in_process, BOB).await;
    assert!(answer.starts_with("a OK"), "{answer}");
    in_process.stop().await;
}

/// The same while the mail server does not answer: those logins are not accepted, and may be evicted.
#[tokio::test]
async fn logins_that_hang_upstream_do_not_take_every_connection() {
    let in_process = alice_and_bob("[limits]\nmax-connections = 8\nmax-sessions-per-account = 8\n").await;
    in_process.tenant.behave(|it| it.imap.faults.push(Fault::always(Stage::Credentials, Act::Hold)));
    let mut hanging = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
        client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
        hanging.push(client);
    }
    in_process.tenant.wait_until_held(8).await;
    in_process.tenant.behave(|it| it.imap.faults.clear());
    let (_bob, answer) = login(&in_process, BOB).await;
    assert!(answer.starts_with("a OK"), "{answer}");
    let evicted = hanging[0].rest().await;
    assert!(evicted.ends_with("* BYE Too many connections; try again in a minute\r\n"), "{evicted}");
    in_process.tenant.release();
    for client in &mut hanging[1..] {
        assert!(client.until("a ").await.starts_with("a OK"), "the others were only waiting");
    }
    in_process.stop().await;
}

async fn greeting(running: &Running, protocol: Protocol) -> (Client, String) {
    let mut client = Client::connect(running.address(protocol)).await;
    let greeting = client.line().await.unwrap_or_default();
    (client, greeting)
}

/// In each protocol: at the session limit of an account, when a connection is evicted, and when there is no slot.
#[tokio::test]
async fn every_limit_is_reported_by_the_protocols_own_reply() {
    let tenant = tenant().await;
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    settings.more = "[limits]\nmax-connections = 2\nmax-sessions-per-account = 1\n".into();
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    let (mut session, _) = greeting(&running, Protocol::Imap).await;
    session.say(&format!("a LOGIN {ALICE} {password}")).await;
    assert!(session.until("a ").await.starts_with("a OK"));

    let plain = STANDARD.encode(format!("\0{ALICE}\0{password}"));
    let limit = "alice@contoso.com already has 1 sessions, as many as Oxpost allows";
    let mut last: Option<(Client, &str)> = None;
    for (protocol, login, refused, evicted) in [
        (Protocol::Imap, format!("a LOGIN {ALICE} {password}"), "a NO [LIMIT] ", "* BYE "),
        (Protocol::Pop3, format!("USER {ALICE}\r\nPASS {password}"), "-ERR [SYS/TEMP] ", "-ERR [SYS/TEMP] "),
        (Protocol::Smtp, format!("AUTH PLAIN {plain}"), "454 4.7.0 ", "421 4.3.2 "),
    ] {
        let (mut client, _) = greeting(&running, protocol).await;
        if let Some((mut last, words)) = last {
            assert_eq!(last.rest().await, format!("{words}Too many connections; try again in a minute\r\n"));
        }
        client.say(&login).await;
        let answer = client.until(refused).await;
        assert!(answer.starts_with(&format!("{refused}{limit}")), "{answer}");
        last = Some((client, evicted));
    }
    running.wait_for_log("max-sessions-per-account").await.unwrap();
    running.wait_for_log("evicted a connection that was not logged in").await.unwrap();

    session.say("b NOOP").await;
    session.until("b OK").await;
    drop((session, last));
    running.stop().await.unwrap();
}

/// Where every connection is a session, the greeting is a refusal.
#[tokio::test]
async fn connection_without_a_slot_is_refused_instead_of_greeted() {
    let in_process = proxy("[limits]\nmax-connections = 1\n").await;
    let (mut session, answer) = login(&in_process, ALICE).await;
    assert!(answer.starts_with("a OK"), "{answer}");
    for (protocol, words) in
        [(Protocol::Imap, "* BYE "), (Protocol::Pop3, "-ERR [SYS/TEMP] "), (Protocol::Smtp, "421 4.3.2 ")]
    {
        let heard = Client::connect(in_process.address(protocol)).await.rest().await;
        assert_eq!(heard, format!("{words}Too many connections; try again in a minute\r\n"));
    }
    session.say("b NOOP").await;
    session.until("b OK").await;
    in_process.stop().await;
}

/// A client that does not log in in time hears that, also in the middle of something.
#[tokio::test]
async fn login_timeout_is_reported_by_the_protocols_own_reply() {
    let in_process = proxy("[limits]\nlogin-timeout = \"300ms\"\n").await;
    for (protocol, begun, words) in [
        (Protocol::Imap, "a LOGIN {5}\r\n", "* BYE No login within the time allowed\r\n"),
        (Protocol::Pop3, "USER alice\r\nPAS", "-ERR [SYS/TEMP] No login within the time allowed\r\n"),
        (Protocol::Smtp, "AUTH LOGIN\r\n", "421 4.3.2 No login within the time allowed\r\n"),
    ] {
        let mut client = Client::connect(in_process.address(protocol)).await;
        client.send(begun.as_bytes()).await;
        let heard = client.rest().await;
        assert!(heard.ends_with(words), "{heard}");
    }
    in_process.stop().await;
}
