//! Nodes write one journal, each under its name, and every one of them can be asked.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{ALICE, Cluster};

/// Sends one message, line by line.
async fn send(address: SocketAddr, password: &str) {
    let mut smtp = BufReader::new(TcpStream::connect(address).await.unwrap());
    let auth = format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}")));
    let (mail, rcpt) = (format!("MAIL FROM:<{ALICE}>"), format!("RCPT TO:<{ALICE}>"));
    for (line, code) in [
        ("", "220 "),
        (auth.as_str(), "235 "),
        (&mail, "250 "),
        (&rcpt, "250 "),
        ("DATA", "354 "),
        ("Subject: x\r\n\r\nx\r\n.", "250 "),
        ("QUIT", "221 "),
    ] {
        if !line.is_empty() {
            smtp.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        }
        let mut answer = String::new();
        while !answer.starts_with(code) {
            assert!(!answer.starts_with(['4', '5']), "{line}: {answer}");
            answer.clear();
            let read = tokio::time::timeout(Duration::from_secs(60), smtp.read_line(&mut answer)).await;
            assert!(read.unwrap().unwrap() > 0, "the session has ended at {line:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_write_one_journal_under_their_names() {
    let mut cluster = Cluster::with("", |_| {}).await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    cluster.one.set_variable("OXPOST__HOST_NAME", "one.example");
    cluster.two.set_variable("OXPOST__HOST_NAME", "two.example");
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    let (first, second) = tokio::join!(send(one.smtp, &cluster.password), send(two.smtp, &cluster.password));
    assert_eq!((first, second), ((), ()));
    // A stop writes what is queued.
    one.stop().await.unwrap();
    two.stop().await.unwrap();
    for node in [&cluster.one, &cluster.two] {
        let said = node.call(&["mail", "--json", "--account", ALICE]).await.unwrap().said().unwrap();
        let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut nodes: Vec<&str> = events.iter().map(|event| event["node"].as_str().unwrap()).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, ["one.example", "two.example"], "{said}");
        assert!(events.iter().all(|event| event["event"] == "accepted-by-server"), "{said}");
        assert_ne!(events[0]["id"], events[1]["id"]);
    }
    // Its tables are not those of the store.
    let tables = cluster.sql("SELECT string_agg(schemaname, ' ') FROM pg_tables WHERE tablename = 'event'");
    assert!(tables.ends_with("oxpost_journal"), "{tables}");
}
