//! What is noticed in sessions that are relayed as bytes, and that they are relayed as bytes.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, Oxpost, Running, Settings, eventually};
use oxpost_tests::office365::Protocol;
use oxpost_token_store::Store;
use oxpost_token_store::store::mail_use::Used;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::bad_servers::{is_ok, log_in, login, say_login};
use crate::client::Client;
use crate::scripted_server::Scripted;
use crate::story::{proxy, tenant};

/// Every byte there is, and what would mean something elsewhere.
fn garbage() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    bytes.extend(
        b"\r\n* BYE [UIDVALIDITY 3] x\r\na BAD Request is throttled.\r\n* STATUS x (UIDVALIDITY 7)\r\n{4294967295}\r\n",
    );
    bytes
}

/// Plays what client (`C`) and server (`S`) say in turn: the other one gets every byte of it, and nothing else. Gives back what
/// was counted.
async fn exactly(protocol: Protocol, said: &[(char, &[u8])]) -> Used {
    let scripted = Scripted::start().await;
    let store: Store = scripted.in_process.context.runtime.store.clone();
    let (mut client, mut server) = scripted.session(protocol).await;
    for (side, bytes) in said {
        let heard = if *side == 'C' {
            tokio::join!(client.send(bytes), server.exactly(bytes.len())).1
        } else {
            tokio::join!(server.send(bytes), client.exactly(bytes.len())).1
        };
        assert!(heard == *bytes, "{side} {}", bytes.get(..200).unwrap_or(bytes).escape_ascii());
    }
    server.close().await;
    assert_eq!(client.rest().await, "");
    drop(client);
    // Everything is written down when it has stopped; its session needs no time to end, as both sides are gone.
    let written = async || (!store.mail_use().await.unwrap().is_empty()).then_some(());
    eventually("what was noticed is written down", written).await;
    scripted.in_process.stop().await;
    assert_eq!(
        store.recreated_folders(std::time::SystemTime::UNIX_EPOCH).await.unwrap(),
        [],
        "nothing of it was a folder"
    );
    let used = store.mail_use().await.unwrap();
    assert_eq!(used.len(), 1);
    used.into_iter().next().unwrap().used
}

/// A client of a session in which it logs in again, and what its server says to what reaches it.
#[tokio::test]
async fn login_again_compression_and_tls_are_answered_here() {
    let scripted = Scripted::start().await;
    let (mut client, mut server) = scripted.session(Protocol::Imap).await;
    client
        .say("b NOOP\r\nc LOGIN alice hunter2\r\nd AUTHENTICATE LOGIN\r\nYWxpY2U=\r\naHVudGVyMg==\r\ne CAPABILITY")
        .await;
    assert_eq!(server.line().await.unwrap(), "b NOOP");
    assert_eq!(server.line().await.unwrap(), "e CAPABILITY", "no byte of a login goes on");
    server.say("b OK x").await;
    for line in ["b OK x", "c BAD Already logged in", "d BAD Already logged in"] {
        assert_eq!(client.line().await.unwrap(), line);
    }
    server.say("* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR IDLE UNAUTHENTICATE COMPRESS=DEFLATE\r\ne OK x").await;
    assert_eq!(client.line().await.unwrap(), "* CAPABILITY IMAP4rev1 IDLE");
    assert_eq!(client.line().await.unwrap(), "e OK x");
    client.say("f LOGIN {5}").await;
    assert_eq!(client.line().await.unwrap(), "+ Ready");
    client.say("alice {7}").await;
    assert_eq!(client.line().await.unwrap(), "+ Ready");
    client.say("hunter2\r\ng COMPRESS DEFLATE\r\nh STARTTLS\r\ni UNAUTHENTICATE\r\nj NOOP").await;
    for answer in ["f BAD ", "g NO [CANNOT] ", "h BAD ", "i NO [CANNOT] "] {
        let line = client.line().await.unwrap();
        assert!(line.starts_with(answer), "{line}");
    }
    assert_eq!(server.line().await.unwrap(), "j NOOP");

    let (mut client, mut server) = scripted.session(Protocol::Pop3).await;
    client.say("STAT\r\nUSER alice\r\nPASS hunter2\r\nCAPA").await;
    assert_eq!(server.line().await.unwrap(), "STAT");
    assert_eq!(server.line().await.unwrap(), "CAPA", "no byte of a login goes on");
    server.say("+OK 1 10\r\n+OK\r\nTOP\r\nSASL XOAUTH2\r\nUSER\r\nSTLS\r\nUIDL\r\n.").await;
    for line in ["+OK 1 10", "-ERR Already logged in", "-ERR Already logged in", "+OK", "TOP", "UIDL", "."] {
        assert_eq!(client.line().await.unwrap(), line);
    }
    scripted.in_process.stop().await;
}

/// TLS of the server that ends without `close_notify` may have been cut by an attacker on the network; the client sees that, unless the
/// server had said goodbye.
#[tokio::test]
async fn server_whose_tls_is_cut_cuts_its_client() {
    for (said, end, is_cut) in [("* 3 EXISTS", "ServerTruncated", true), ("* BYE Session ended", "ByServer", false)] {
        let scripted = Scripted::start().await;
        let (mut client, mut server) = scripted.session(Protocol::Imap).await;
        server.say(said).await;
        assert_eq!(client.line().await.unwrap(), said);
        drop(server);
        let rest = client.into_inner().read(&mut [0]).await;
        let expected = if is_cut { Err(std::io::ErrorKind::ConnectionReset) } else { Ok(0) };
        assert_eq!(rest.map_err(|error| error.kind()), expected, "{end}");
        let store: Store = scripted.in_process.context.runtime.store.clone();
        while store.mail_use().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        scripted.in_process.stop().await;
        let last_end = store.mail_use().await.unwrap().swap_remove(0).used.last_end.map(|(text, _)| text);
        assert_eq!(last_end.as_deref(), Some(if is_cut { "(the connection was cut)" } else { "Session ended" }));
    }
}

#[tokio::test]
async fn idle_passes_in_both_directions_and_bare() {
    let used = exactly(
        Protocol::Imap,
        &[
            ('C', b"b SELECT INBOX\r\n"),
            ('S', b"* 1 EXISTS\r\n* OK [UIDVALIDITY 14] x\r\nb OK x\r\n"),
            ('C', b"c IDLE\r\n"),
            ('S', b"+ idling\r\n"),
            ('S', b"* 2 EXISTS\r\n"),
            ('S', b"* OK Still here\r\n"),
            ('C', b"DONE\r\n"),
            ('S', b"c OK x\r\n"),
            ('C', b"d IDLE\n"),
            ('S', b"+\n"),
            ('C', b"DoNe\n"),
            ('S', b"d OK x\n"),
        ],
    )
    .await;
    assert_eq!(used, Used { sessions: 1, ..Used::default() });
}

#[tokio::test]
async fn literals_of_every_kind_pass_and_are_counted_off() {
    let garbage = garbage();
    let size = garbage.len();
    let with = |before: String, after: &str| [before.as_bytes(), &garbage, after.as_bytes()].concat();
    let fetched = with(format!("* 1 FETCH (UID 7 BINARY[] ~{{{size}}}\r\n"), ")\r\nb OK x\r\n");
    let appended = with(format!("c APPEND INBOX (\\Seen) {{{size}+}}\r\n"), "\r\n");
    let binary = with(format!("d APPEND INBOX ~{{{size}+}}\r\n"), "\r\n");
    let used = exactly(
        Protocol::Imap,
        &[
            ('C', b"b FETCH 1 BINARY.PEEK[]\r\n"),
            ('S', &fetched),
            ('C', &appended),
            ('S', b"c OK [APPENDUID 14 8] x\r\n"),
            ('C', &binary),
            ('S', b"d OK x\r\n"),
            ('C', b"e APPEND INBOX {3}\r\n"),
            ('S', b"+ go\r\n"),
            ('C', b"\0\r\n\r\n"),
            ('S', b"e NO full\r\n"),
        ],
    )
    .await;
    assert_eq!(used, Used { sessions: 1, fetched: 1, stored: 2, ..Used::default() });
}

#[tokio::test]
async fn garbage_passes() {
    let garbage = garbage();
    // What follows a literal that a client announces waits until the server asks for it.
    let client = garbage.strip_suffix(b"{4294967295}\r\n").unwrap();
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        let used =
            exactly(protocol, &[('C', client), ('S', &garbage), ('S', b"\xff"), ('C', b"\n"), ('C', client)]).await;
        assert_eq!((used.fetched, used.stored, used.throttled), (0, 0, None));
    }
    let message = [b"+OK\r\n", garbage.as_slice(), b".\r\n+OK\r\n"].concat();
    let used = exactly(Protocol::Pop3, &[('C', b"RETR 1\r\nNOOP\r\n"), ('S', &message)]).await;
    assert_eq!(used, Used { sessions: 1, fetched: 1, ..Used::default() });
}

async fn imap(running: &Running, password: &str) -> Client {
    let mut client = Client::connect(running.address(Protocol::Imap)).await;
    client.line().await.unwrap();
    assert!(is_ok(&log_in(&mut client, Protocol::Imap, password).await));
    client
}

#[tokio::test]
async fn recreated_folder_and_expired_token_are_reported() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    let words = format!("INBOX of {ALICE} was moved or recreated");
    for round in 0..4 {
        let mut client = imap(&running, &password).await;
        client.say("b SELECT INBOX\r\nc FETCH 1 BODY[]\r\nd LOGOUT").await;
        assert!(client.rest().await.contains("d OK"));
        if round == 1 {
            assert!(!running.log().contains(&words));
            tenant.change_uid_validity(ALICE, "INBOX");
        }
    }
    let logged = running.wait_for_log(&words).await.unwrap();
    let logged: Value = serde_json::from_str(&logged).unwrap();
    assert_eq!((&logged["level"], &logged["mailbox"]), (&"WARN".into(), &ALICE.into()), "{logged}");
    let status = oxpost.call(&["status"]).await.unwrap().text();
    assert!(status.contains(&words) && status.contains("reset it there"), "{status}");

    let mut client = imap(&running, &password).await;
    tenant.clock().advance(Duration::from_secs(2 * 3600));
    client.say("b NOOP").await;
    assert!(client.rest().await.contains("AccessTokenExpired"));
    drop(client);
    let log = running.stop().await.unwrap();
    assert!(log.contains("because its access token expired"), "{log}");
    assert_eq!(log.matches(&words).count(), 1, "it is said once");

    let status = oxpost.call(&["status", "--json"]).await.unwrap().accounts().unwrap();
    assert_eq!(status[0]["recreated_folders"][0]["folder"], "INBOX", "{status}");
    let used = &status[0]["mail"][0];
    assert_eq!(
        (&used["protocol"], &used["sessions"], &used["fetched"]),
        (&"IMAP".into(), &5.into(), &4.into()),
        "{status}"
    );
    assert!(used["last_end"].is_null() && used["throttled"].is_null(), "a token that ran out is no accident: {status}");
}

fn connections(in_process: &InProcess) -> usize {
    in_process.tenant.transcripts().len()
}

#[tokio::test]
async fn throttled_mailbox_is_not_contacted_during_back_off() {
    let in_process = proxy("").await;
    in_process.tenant.behave(|tenant| tenant.imap.throttle_logins = Some(300_000));
    let answer = login(&in_process, Protocol::Imap).await;
    assert!(answer.starts_with("a NO [UNAVAILABLE] Microsoft is throttling this mailbox."), "{answer}");
    assert_eq!(connections(&in_process), 1);
    in_process.tenant.behave(|tenant| tenant.imap.throttle_logins = None);
    let answer = login(&in_process, Protocol::Imap).await;
    assert!(
        answer.starts_with("a NO [UNAVAILABLE] Microsoft is throttling this mailbox. Try again in 5 minutes"),
        "{answer}"
    );
    assert_eq!(connections(&in_process), 1, "Exchange is not asked meanwhile");
    assert!(is_ok(&login(&in_process, Protocol::Pop3).await), "the other protocols are counted apart");
    in_process.tenant.clock().advance(Duration::from_secs(300));
    assert!(is_ok(&login(&in_process, Protocol::Imap).await));

    // Behind the login as well.
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.line().await.unwrap();
    assert!(is_ok(&log_in(&mut client, Protocol::Imap, oxpost_tests::harness::PASSWORD).await));
    in_process.tenant.behave(|tenant| tenant.imap.throttle = Some(300_000));
    client.say("b NOOP").await;
    assert!(client.rest().await.contains("Request is throttled"));
    assert!(login(&in_process, Protocol::Imap).await.contains("is throttling this mailbox"));
    in_process.stop().await;
}

#[tokio::test]
async fn a_login_waits_for_the_end_of_a_short_back_off() {
    let in_process = proxy("").await;
    in_process.tenant.behave(|tenant| tenant.imap.throttle_logins = Some(20_000));
    assert!(login(&in_process, Protocol::Imap).await.contains("is throttling this mailbox"));
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.line().await.unwrap();
    say_login(&mut client, Protocol::Imap, oxpost_tests::harness::PASSWORD).await;
    // One that does not wait finds Exchange still refusing.
    tokio::time::sleep(Duration::from_millis(500)).await;
    in_process.tenant.behave(|tenant| tenant.imap.throttle_logins = None);
    in_process.tenant.clock().advance(Duration::from_secs(20));
    let answer = client.until("a ").await;
    assert!(is_ok(&answer), "{answer}");
    in_process.stop().await;
}
