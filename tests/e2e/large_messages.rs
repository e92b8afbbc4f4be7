//! 50 MB, up by SMTP and down by IMAP and POP3, the same by hash.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, PASSWORD};
use oxpost_tests::office365::Protocol;

use crate::client::Client;
use crate::story::proxy;

const SIZE: usize = 50 * 1024 * 1024;

/// Lines of every length up to the limit, some that begin with dots, all 8-bit values that a line may contain.
fn message() -> Vec<u8> {
    let mut message = b"From: alice@contoso.com\r\nTo: alice@contoso.com\r\nSubject: large\r\n\r\n".to_vec();
    let mut state: u64 = 1;
    while message.len() < SIZE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (state >> 33) as usize % 990;
        if state & 7 == 0 {
            message.push(b'.');
        }
        message.extend((0..length).map(|at| match (state >> (at % 48)) as u8 {
            0 | b'\r' | b'\n' => b'x',
            byte => byte,
        }));
        message.extend_from_slice(b"\r\n");
    }
    message
}

fn hash(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Dots at the beginning of a line are doubled (RFC 5321, 4.5.2; RFC 1939, 3).
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 100);
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn unstuffed(wire: &[u8]) -> Vec<u8> {
    let body = wire.strip_suffix(b".\r\n").unwrap();
    body.split_inclusive(|&byte| byte == b'\n')
        .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
        .copied()
        .collect()
}

#[tokio::test]
async fn fifty_megabytes_are_identical_in_both_directions() {
    let in_process = proxy("").await;
    let message = message();

    let mut smtp = Client::connect(in_process.address(Protocol::Smtp)).await;
    smtp.until("220 ").await;
    smtp.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{PASSWORD}")))).await;
    smtp.until("235 ").await;
    smtp.say(&format!("MAIL FROM:<{ALICE}>")).await;
    smtp.until("250 ").await;
    smtp.say(&format!("RCPT TO:<{ALICE}>")).await;
    smtp.until("250 ").await;
    smtp.say("DATA").await;
    smtp.until("354 ").await;
    smtp.send(&stuffed(&message)).await;
    smtp.until("250 2.0.0 OK").await;
    let delivered = in_process.tenant.messages(ALICE, "INBOX").pop().unwrap();
    assert_eq!(hash(&delivered), hash(&message), "SMTP");

    let mut imap = Client::connect(in_process.address(Protocol::Imap)).await;
    imap.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    imap.until("a OK").await;
    imap.say("b SELECT INBOX").await;
    imap.until("b OK").await;
    imap.say("c FETCH 2 BODY.PEEK[]").await;
    let begin = imap.until("* 2 FETCH").await;
    let size: usize = begin.rsplit_once('{').unwrap().1.trim_end_matches('}').parse().unwrap();
    assert_eq!(hash(&imap.exactly(size).await), hash(&message), "IMAP");
    imap.until("c OK").await;

    let mut pop3 = Client::connect(in_process.address(Protocol::Pop3)).await;
    pop3.until("+OK").await;
    pop3.say(&format!("USER {ALICE}")).await;
    pop3.until("+OK").await;
    pop3.say(&format!("PASS {PASSWORD}")).await;
    pop3.until("+OK").await;
    pop3.say("RETR 2").await;
    pop3.until("+OK").await;
    let wire = pop3.exactly(stuffed(&message).len()).await;
    assert_eq!(hash(&unstuffed(&wire)), hash(&message), "POP3");
    println!("{} bytes up by SMTP, down by IMAP and POP3, SHA-256 {} each time", message.len(), hash(&message));
    in_process.stop().await;
}
