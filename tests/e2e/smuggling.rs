//! Messages that would like to be two, and commands that would like to be others: what reached Exchange for each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, InProcess, PASSWORD};
use oxpost_tests::office365::{Mailbox, Protocol};

use crate::client::Client;
use crate::story::proxy;

const VICTIM: &str = "victim@contoso.com";

/// What a smuggler puts behind what it hopes to be an end.
const SMUGGLED: &str = "MAIL FROM:<alice@contoso.com>\r\nRCPT TO:<victim@contoso.com>\r\nDATA\r\nevil\r\n.\r\n";

/// What is hoped to be taken for an end, and whether it is one.
const ENDS: [(&str, Is); 22] = [
    ("\r\n.\r\n", Is::TheEnd),
    ("\n.\n", Is::Text),
    ("\n.\r\n", Is::Text),
    ("\r\n.\n", Is::Text),
    ("\n\n.\n\n", Is::Text),
    ("\r\n..\r\n", Is::Text),
    ("\n..\n", Is::Text),
    ("\r\n. \r\n", Is::Text),
    ("\r\n.\t\r\n", Is::Text),
    ("\r\n .\r\n", Is::Text),
    ("\u{85}.\u{85}", Is::Text),
    ("\u{2028}.\u{2028}", Is::Text),
    ("\r.\r", Is::Refused),
    ("\r.\r\n", Is::Refused),
    ("\r\n.\r", Is::Refused),
    ("\n.\r", Is::Refused),
    ("\r.\n", Is::Refused),
    ("\r\r\n.\r\r\n", Is::Refused),
    ("\r\n.\r\r\n", Is::Refused),
    ("\r\n\0.\r\n", Is::Refused),
    ("\r\n.\0\r\n", Is::Refused),
    ("\r\n.\r\0\n", Is::Refused),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    TheEnd,
    Text,
    Refused,
}

async fn with_victim() -> InProcess {
    let in_process = proxy("").await;
    in_process.tenant.add_mailbox(Mailbox::user(VICTIM));
    in_process
}

async fn logged_in(in_process: &InProcess) -> Client {
    let mut smtp = Client::connect(in_process.address(Protocol::Smtp)).await;
    smtp.until("220 ").await;
    smtp.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{PASSWORD}")))).await;
    smtp.until("235 ").await;
    smtp
}

fn reached(in_process: &InProcess, before: usize) -> (Vec<String>, usize) {
    let sent = in_process.tenant.messages(ALICE, "Sent Items");
    let sent = sent.iter().skip(before).map(|message| String::from_utf8_lossy(message).into_owned()).collect();
    (sent, in_process.tenant.messages(VICTIM, "INBOX").len())
}

/// The only end is CRLF.CRLF. Anything else is a line of its message, or costs the message its
/// delivery.
#[tokio::test]
async fn a_message_is_never_two() {
    let in_process = with_victim().await;
    let (mut sent_before, mut victims_before) = (0, 0);
    println!("table:\ntable: {:<24} {:<10} what reached Exchange", "tried as an end", "answer");
    for (end, is) in ENDS {
        let mut smtp = logged_in(&in_process).await;
        smtp.send(format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<bob@fabrikam.example>\r\nDATA\r\n").as_bytes()).await;
        smtp.until("354 ").await;
        smtp.send(format!("From: {ALICE}\r\n\r\nhello{end}{SMUGGLED}").as_bytes()).await;
        let answer = smtp.line().await.unwrap();
        smtp.say("QUIT").await;
        smtp.until("221 ").await;
        let (sent, victims) = reached(&in_process, sent_before);
        let shown = end.escape_debug();
        println!(
            "table: {:<24} {:<10} {} message(s), {} to the victim",
            shown.to_string(),
            &answer[..9],
            sent.len(),
            victims - victims_before
        );
        match is {
            Is::TheEnd => {
                // The other way round: behind a true end commands are commands, so this test can see what it looks for.
                assert_eq!((sent.len(), victims), (2, victims_before + 1), "{shown}");
                assert!(answer.starts_with("250 "), "{answer}");
            }
            Is::Text => {
                assert_eq!((sent.len(), victims), (1, victims_before), "{shown}");
                assert!(
                    answer.starts_with("250 ") && sent[0].ends_with("DATA\r\nevil\r\n"),
                    "{shown}: {answer}, {sent:?}"
                );
                assert!(!sent[0].replace("\r\n", "").contains(['\r', '\n']), "{shown}: {sent:?}");
            }
            Is::Refused => {
                assert_eq!((sent.len(), victims), (0, victims_before), "{shown}");
                assert!(answer.starts_with("550 5.6.0 "), "{answer}");
            }
        }
        sent_before += sent.len();
        victims_before = victims;
    }
    in_process.stop().await;
}

/// What is in a chunk is counted and nothing else.
#[tokio::test]
async fn a_chunk_is_never_a_command() {
    let in_process = with_victim().await;
    println!(
        "table:\ntable: {:<28} {:<20} what reached Exchange of the commands in it",
        "a chunk, with commands in it", "answers"
    );
    for (said, answers) in [
        (format!("BDAT {} LAST\r\n{SMUGGLED}", SMUGGLED.len()), "250 250 250 221"),
        // A size that is not one in every reading: what follows could be anything, so nothing follows.
        (format!("BDAT 0x{:x} LAST\r\n{SMUGGLED}", SMUGGLED.len()), "250 250 501"),
        (format!("BDAT 1e2 LAST\r\n{SMUGGLED}"), "250 250 501"),
        (format!("BDAT -1 LAST\r\n{SMUGGLED}"), "250 250 501"),
        (format!("BDAT 18446744073709551616 LAST\r\n{SMUGGLED}"), "250 250 501"),
        // A refused chunk is read all the same.
        (format!("RSET\r\nBDAT {} LAST\r\n{SMUGGLED}", SMUGGLED.len()), "250 250 250 503 221"),
    ] {
        let mut smtp = logged_in(&in_process).await;
        smtp.send(format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<bob@fabrikam.example>\r\n{said}QUIT\r\n").as_bytes()).await;
        let heard: Vec<String> = smtp.rest().await.lines().map(|line| line[..3].to_owned()).collect();
        let reached = in_process.tenant.messages(VICTIM, "INBOX").len();
        let command = said.split("\r\n").find(|line| line.starts_with("BDAT")).unwrap();
        println!("table: {command:<28} {:<20} {reached} message(s) to the victim", heard.join(" "));
        assert_eq!(heard.join(" "), answers, "{said}");
        assert_eq!(reached, 0, "{said}");
    }
    in_process.stop().await;
}

/// A line is one command to everybody.
#[tokio::test]
async fn a_command_is_never_two() {
    let in_process = with_victim().await;
    println!("table:\ntable: {:<28} {:<20} what reached Exchange", "a command that would be two", "answers");
    for said in [
        "MAIL FROM:<alice@contoso.com>\rRCPT TO:<victim@contoso.com>\rDATA\revil\r.\r\r\n".to_owned(),
        "NOOP \0\nNOOP\x0bMAIL FROM:<alice@contoso.com>\r\n".to_owned(),
        format!("DATA\r\n{SMUGGLED}"),
        format!("EHLO x\r\nBURL imap://x LAST\r\nSEND FROM:<{ALICE}>\r\nRCPT TO:<{VICTIM}>\r\n"),
    ] {
        let mut smtp = logged_in(&in_process).await;
        smtp.send(said.as_bytes()).await;
        smtp.say("QUIT").await;
        let heard = smtp.rest().await;
        assert!(!heard.contains("354 ") && !heard.contains("250 2.0.0 OK <"), "{said:?}: {heard}");
        let (sent, victims) = reached(&in_process, 0);
        let (shown, codes) = (said.escape_debug().to_string(), heard.lines().filter_map(|line| line.get(..3)));
        println!(
            "table: {:<28} {:<20} {} message(s), {victims} to the victim",
            shown.chars().take(28).collect::<String>(),
            codes.collect::<Vec<_>>().join(" "),
            sent.len()
        );
        assert_eq!((sent, victims), (Vec::new(), 0), "{said:?}");
    }
    in_process.stop().await;
}
