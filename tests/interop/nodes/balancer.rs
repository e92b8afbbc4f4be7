//! A real HAProxy in front of two nodes, with the configuration of `docs/high-availability.md`.

use std::net::TcpListener;
use std::process::Stdio;

use oxpost_tests::harness::{Running, find};
use tokio::process::{Child, Command};

use super::{ALICE, Cluster};
use crate::certificate;
use oxpost_tests::harness::eventually;

const PAGE: &str = include_str!("../../../docs/high-availability.md");

const LISTENERS: &str = r#"
[[listener]]
protocol = "imap"
address = "127.0.0.1:0"
tls = "implicit"
certificate = "listener.crt"
private-key = "listener.key"

[[listener]]
protocol = "smtp"
address = "127.0.0.1:0"
tls = "start-tls"
certificate = "listener.crt"
private-key = "listener.key"
"#;

/// HAProxy. It is killed when this is dropped.
struct Balancer {
    _process: Child,
    imap: u16,
    submission: u16,
}

impl Balancer {
    /// Starts it with the page's configuration, whose addresses are replaced by those of the nodes.
    async fn start(cluster: &Cluster, nodes: [&Running; 2]) -> Self {
        let (_, rest) = PAGE.split_once("```text\ndefaults\n").expect("the page shows a haproxy.cfg");
        let (shown, _) = rest.split_once("```").unwrap();
        let (imap, submission) = (free_port(), free_port());
        let mut text = format!("defaults\n{}\n", shown.trim_end());
        for (placeholder, port) in [("bind :993", imap), ("bind :587", submission)] {
            assert!(text.contains(placeholder), "{text}");
            text = text.replace(placeholder, &format!("bind 127.0.0.1:{port}"));
        }
        for (number, node) in (1..).zip(nodes) {
            for (protocol, tls, port) in [("IMAP", "Implicit", 993), ("SMTP", "StartTls", 587)] {
                let placeholder = format!("10.0.0.{number}:{port}");
                assert!(text.contains(&placeholder), "{text}");
                text = text.replace(&placeholder, &with_tls(node, protocol, tls).await);
            }
        }
        let file = cluster.one.folder().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(find("haproxy").unwrap());
        command.args(["-db", "-f"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().unwrap();
        for port in [imap, submission] {
            let reached = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
            drop(eventually("HAProxy listens", reached).await);
        }
        Self { _process: process, imap, submission }
    }
}

async fn with_tls(node: &Running, protocol: &str, tls: &str) -> String {
    let line = node.wait_for_log(&format!(r#""protocol":"{protocol}","tls":"{tls}""#)).await.unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    line["address"].as_str().unwrap().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// curl, in a session of its own; gives back whether it succeeded, and what it says.
async fn curl(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let user = format!("{ALICE}:{}", cluster.password);
    let ran = Command::new(find("curl").unwrap())
        .args(["-q", "--silent", "--show-error", "--noproxy", "*", "--ssl-reqd", "--cacert", "listener-ca.pem"])
        .args(["--max-time", "60", "--user", &user])
        .args(arguments)
        .current_dir(cluster.one.folder())
        .output()
        .await
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(said(&ran.stdout)) } else { Err(said(&ran.stderr)) }
}

fn sessions(node: &Running) -> usize {
    node.log().matches("\"logged in").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_nodes_serve_behind_the_balancer_and_one_goes_on_alone() {
    let cluster = Cluster::with(LISTENERS, |_| {}).await;
    let certificate = certificate::issue();
    for folder in [cluster.one.folder(), cluster.two.folder()] {
        std::fs::write(folder.join("listener.crt"), &certificate.certificate).unwrap();
        std::fs::write(folder.join("listener.key"), &certificate.key).unwrap();
    }
    std::fs::write(cluster.one.folder().join("listener-ca.pem"), &certificate.authority).unwrap();
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    let balancer = Balancer::start(&cluster, [&one, &two]).await;
    let imap = format!("imaps://localhost:{}/", balancer.imap);
    let smtp = format!("smtp://localhost:{}", balancer.submission);
    std::fs::write(cluster.one.folder().join("message"), "Subject: through the balancer\r\n\r\nHello\r\n").unwrap();
    let send = [&smtp, "--mail-from", ALICE, "--mail-rcpt", ALICE, "--upload-file", "message"];
    for _ in 0..4 {
        let folders = curl(&cluster, &[&imap]).await.unwrap();
        assert!(folders.contains("INBOX"), "{folders}");
        curl(&cluster, &send).await.unwrap();
    }
    println!("8 sessions through HAProxy: {} at one node, {} at the other", sessions(&one), sessions(&two));
    assert!(sessions(&one) > 0 && sessions(&two) > 0);

    one.kill().await.unwrap();
    for _ in 0..4 {
        curl(&cluster, &[&imap]).await.unwrap();
        curl(&cluster, &send).await.unwrap();
    }
    two.stop().await.unwrap();
}
