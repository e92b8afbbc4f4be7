//! What the log has of what clients do: little of a flood, one line of a poll, and every session id that a client was shown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::Tenant;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::story::tenant;

/// Wrong logins of the flood.
const WRONG_LOGINS: usize = 1_000;

/// Clients that send them.
const CLIENTS: usize = 64;

/// A connection ends after five refused logins.
const LOGINS_OF_A_CONNECTION: usize = 4;

/// Oxpost at the level that it has by default, with Alice's account, and her password.
async fn at_info(more: &str) -> (Tenant, Oxpost, Running, String) {
    let tenant = tenant().await;
    let settings = Settings { level: "info".into(), more: more.into(), ..Settings::of(&tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    (tenant, oxpost, running, password)
}

/// The lines of a log that connections have caused: those of sessions, and those that count others.
fn lines(log: &str) -> Vec<Value> {
    let all = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
    all.filter(|line| line.get("span").is_some() || line.get("event").is_some() || line.get("client").is_some())
        .collect()
}

fn count(lines: &[Value], message: &str) -> usize {
    lines.iter().filter(|line| line["message"] == message).count()
}

/// What a mail program does every minute of the day.
#[tokio::test]
async fn an_imap_poll_is_one_line() {
    let (_tenant, _oxpost, running, password) = at_info("").await;
    for _ in 0..3 {
        let mut client = Client::connect(running.imap).await;
        client.say(&format!("a LOGIN {ALICE} {password}\r\nb SELECT INBOX\r\nc LOGOUT")).await;
        assert!(client.rest().await.contains("c OK"));
    }
    let lines = lines(&running.stop().await.unwrap());
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for line in &lines {
        assert_eq!((&line["message"], &line["level"]), (&"session ended".into(), &"INFO".into()), "{line}");
        for (field, value) in [("account", ALICE), ("client", "127.0.0.1"), ("protocol", "IMAP")] {
            assert_eq!(line[field], value, "{line}");
        }
        assert!(line["result"].as_str().unwrap().starts_with("closed by the"), "{line}");
        assert!(
            line["bytes_from_client"].as_u64() > Some(10) && line["bytes_from_server"].as_u64() > Some(10),
            "{line}"
        );
        assert!(line["seconds"].is_u64(), "{line}");
    }
}

/// Sends wrong passwords until `left` is used up; what was answered to each, the tag left out.
async fn guess(address: SocketAddr, left: Arc<AtomicUsize>) -> Vec<String> {
    let mut answers = Vec::new();
    loop {
        let mut client = Client::connect(address).await;
        client.line().await.unwrap();
        for _ in 0..LOGINS_OF_A_CONNECTION {
            let number = left.fetch_sub(1, Ordering::Relaxed);
            if number == 0 || number > WRONG_LOGINS {
                left.store(0, Ordering::Relaxed);
                return answers;
            }
            client.say(&format!("a LOGIN user{number}@contoso.com guess{number}")).await;
            answers.push(client.line().await.unwrap());
        }
    }
}

/// The log of a flood is bounded, no event of it is lost, and a session is found by the id that its client was shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_wrong_logins_is_a_few_lines() {
    let (_tenant, _oxpost, running, password) = at_info("").await;
    let (left, mut clients) = (Arc::new(AtomicUsize::new(WRONG_LOGINS)), JoinSet::new());
    for _ in 0..CLIENTS {
        clients.spawn(guess(running.imap, Arc::clone(&left)));
    }
    let mut answers = Vec::new();
    while let Some(some) = clients.join_next().await {
        answers.extend(some.unwrap());
    }
    assert_eq!(answers.len(), WRONG_LOGINS);
    // A client with the right password, and a server that refuses, has a line in any flood.
    let mut owner = Client::connect(running.imap).await;
    owner.line().await.unwrap();
    owner.say(&format!("a LOGIN {ALICE} {password}\r\nb LOGOUT")).await;
    assert!(owner.rest().await.contains("b OK"));
    drop(owner);
    let log = running.stop().await.unwrap();
    let lines = lines(&log);
    let refused = lines.iter().filter(|line| line["message"] == "login refused" && line["level"] == "WARN");
    let refused: Vec<&str> = refused.map(|line| line["span"]["id"].as_str().unwrap()).collect();
    let shown: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer.split_once("[session ")?.1.split_once(']'))
        .map(|(id, _)| id)
        .collect();
    assert!(!shown.is_empty(), "{answers:#?}");
    for id in &shown {
        assert!(refused.contains(id), "{id} in\n{log}");
    }
    let written = refused.len();
    assert_eq!(written, shown.len(), "an id for each line, and a line for each id");
    assert!(written <= 10, "one source has ten lines in ten minutes: {written}");
    let summaries: Vec<&Value> = lines.iter().filter(|line| line["event"] == "login refused").collect();
    let counted: u64 = summaries.iter().map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(counted + written as u64, WRONG_LOGINS as u64, "every one is a line or counted\n{summaries:#?}");
    assert!(summaries.iter().all(|line| line["message"] == "similar events in the last minute"), "{summaries:#?}");
    assert_eq!(count(&lines, "session ended"), 1, "{log}");
}

/// Listeners besides those of the harness: one with TLS, one for a network that no test is in.
fn more_listeners(folder: &std::path::Path) -> (String, [SocketAddr; 2]) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (tls, foreign) = (free(), free());
    let folder = folder.display();
    let text = format!(
        "[[listener]]\nprotocol = \"imap\"\naddress = \"{tls}\"\ntls = \"implicit\"\n\
         certificate = '{folder}/tls.crt'\nprivate-key = '{folder}/tls.key'\n\
         [[listener]]\nprotocol = \"smtp\"\naddress = \"{foreign}\"\nnetworks = [\"192.0.2.0/24\"]\n"
    );
    (text, [tls, foreign])
}

/// What a load balancer does every two seconds, to each listener.
#[tokio::test]
async fn probes_leave_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let (more, [tls, _]) = more_listeners(folder.path());
    let (_tenant, _oxpost, running, _password) = at_info(&more).await;
    for address in [running.imap, running.pop3, running.smtp, tls] {
        for _ in 0..10 {
            drop(Client::connect(address).await);
        }
        for _ in 0..10 {
            let mut probe = Client::connect(address).await;
            if address != tls {
                probe.line().await.unwrap();
            }
        }
    }
    // A stop waits for what the probes have begun.
    let log = running.stop().await.unwrap();
    assert!(log.contains("\"stopped\""), "{log}");
    let lines = lines(&log);
    assert!(lines.is_empty(), "{lines:#?}");
}

/// Every kind of line that a client can cause before its login.
#[tokio::test]
async fn each_kind_of_flood_is_bounded_and_counted() {
    const FLOOD: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let (more, [tls, foreign]) = more_listeners(folder.path());
    let (_tenant, _oxpost, running, _password) = at_info(&more).await;
    let floods: [(SocketAddr, &[u8], &str, &str); 4] = [
        (running.smtp, b"EHLO x\r\nQUIT\r\n", "connection ended without a login", "INFO"),
        (tls, b"no TLS at all\r\n", "connection ended without a login", "INFO"),
        (running.smtp, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "connection began with no mail protocol", "INFO"),
        (foreign, b"EHLO x\r\n", "connection from outside the networks of the listener", "WARN"),
    ];
    for (address, said, ..) in floods {
        for _ in 0..FLOOD {
            let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
            // It may be closed already.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client, said).await;
            let mut heard = Vec::new();
            let end = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut heard);
            let _ = tokio::time::timeout(Duration::from_secs(60), end).await.expect("a client is kept waiting");
        }
    }
    let log = running.stop().await.unwrap();
    let lines = lines(&log);
    for (event, level) in floods.map(|(_, _, event, level)| (event, level)) {
        let caused = FLOOD * floods.iter().filter(|(_, _, other, _)| *other == event).count();
        let written = count(&lines, event);
        assert!((1..=10).contains(&written), "{written} of {event} in\n{log}");
        let about_it = |line: &&Value| line["message"] == event || line["event"] == event;
        assert!(lines.iter().filter(about_it).all(|line| line["level"] == level), "{event} in\n{log}");
        let summaries = lines.iter().filter(|line| line["event"] == event);
        let counted: u64 = summaries.map(|line| line["count"].as_u64().unwrap()).sum();
        assert_eq!(counted + written as u64, caused as u64, "{event} in\n{log}");
    }
}
