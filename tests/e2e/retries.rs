//! A mail server that is down, slow, refuses or breaks off: what is tried again, what is not, and what the client hears.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, Oxpost, PASSWORD, Settings};
use oxpost_tests::office365::behaviour::{Act, Behaviour, Fault, Stage};
use oxpost_tests::office365::{Direction, Protocol, Transcript};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bad_servers::{PROTOCOLS, is_ok, login};
use crate::client::Client;
use crate::story::{forget_offers, proxy, tenant};

fn faults(tenant: &mut Behaviour, protocol: Protocol) -> &mut Vec<Fault> {
    match protocol {
        Protocol::Imap => &mut tenant.imap.faults,
        Protocol::Pop3 => &mut tenant.pop3.faults,
        Protocol::Smtp => &mut tenant.smtp.faults,
    }
}

/// The protocol's own words for "not now, but later".
fn is_temporary(answer: &str) -> bool {
    ["a NO [UNAVAILABLE] ", "-ERR [SYS/TEMP] ", "454 4.7.0 "].iter().any(|no| answer.starts_with(no))
}

fn connections(in_process: &InProcess, protocol: Protocol) -> Vec<Transcript> {
    in_process.tenant.transcripts().into_iter().filter(|one| one.protocol == protocol).collect()
}

/// The stages of a login at the server, as far as the protocol has them.
fn stages(protocol: Protocol) -> &'static [Stage] {
    match protocol {
        Protocol::Imap => &[Stage::Connect, Stage::Greeting, Stage::Capability, Stage::Credentials],
        Protocol::Pop3 => &[Stage::Connect, Stage::Greeting, Stage::Credentials],
        Protocol::Smtp => &[Stage::Connect, Stage::Greeting, Stage::Capability, Stage::StartTls, Stage::Credentials],
    }
}

/// A front end that is taken out of service during a login.
#[tokio::test]
async fn a_login_that_is_cut_is_made_once_more_at_whichever_stage() {
    let in_process = proxy("").await;
    for protocol in PROTOCOLS {
        for &stage in stages(protocol) {
            for act in [Act::Close, Act::Reset, Act::HalfLine] {
                // Half a line in the place of TLS is no cut, but no TLS.
                if (stage, &act) == (Stage::Connect, &Act::HalfLine) {
                    continue;
                }
                forget_offers(&in_process);
                in_process.tenant.forget();
                in_process.tenant.behave(|tenant| *faults(tenant, protocol) = vec![Fault::once(stage, act.clone())]);
                let answer = login(&in_process, protocol).await;
                assert!(is_ok(&answer), "{protocol:?} {stage:?} {act:?}: {answer}");
                assert_eq!(connections(&in_process, protocol).len(), 2, "{protocol:?} {stage:?} {act:?}");
                assert_eq!(in_process.tenant.accepted_logins(protocol), 1);
                // Twice is no accident: it is not tried for ever.
                in_process.tenant.forget();
                in_process.tenant.behave(|tenant| *faults(tenant, protocol) = vec![Fault::always(stage, act.clone())]);
                let answer = login(&in_process, protocol).await;
                assert!(is_temporary(&answer), "{protocol:?} {stage:?} {act:?}, always: {answer}");
                assert_eq!(connections(&in_process, protocol).len(), 2, "{protocol:?} {stage:?} {act:?}, always");
                in_process.tenant.behave(|tenant| faults(tenant, protocol).clear());
            }
        }
    }
    in_process.stop().await;
}

/// None of this is caused by the client's password, or by anything an administrator could fix.
#[tokio::test]
async fn temporary_server_refusal_is_temporary_at_every_stage() {
    let in_process = proxy("").await;
    let words: [(Protocol, Stage, &[&str]); 10] = [
        (Protocol::Imap, Stage::Greeting, &["* BYE Server is shutting down", "* BYE [UNAVAILABLE] later"]),
        (Protocol::Imap, Stage::Capability, &["{tag} NO [UNAVAILABLE] later", "* BYE later"]),
        (
            Protocol::Imap,
            Stage::Credentials,
            &[
                "{tag} NO [UNAVAILABLE] later",
                "{tag} NO [INUSE] later",
                "{tag} NO Request is throttled. Suggested Backoff Time: 1 milliseconds",
                "{tag} BAD Request is throttled. Suggested Backoff Time: 1 milliseconds",
                "* BYE Connection is closed. 13",
            ],
        ),
        (Protocol::Pop3, Stage::Greeting, &["-ERR later", "-ERR [SYS/TEMP] later"]),
        (
            Protocol::Pop3,
            Stage::Credentials,
            &["-ERR [SYS/TEMP] later", "-ERR [IN-USE] later", "-ERR [LOGIN-DELAY] later", "-ERR Request is throttled."],
        ),
        (Protocol::Smtp, Stage::Greeting, &["421 4.3.2 Service not active", "554 5.3.2 later", "451 4.7.0 later"]),
        (Protocol::Smtp, Stage::Capability, &["421 4.4.2 later", "451 4.7.0 Temporary server error. PRX4"]),
        (Protocol::Smtp, Stage::StartTls, &["454 4.7.0 TLS not available for now", "421 4.4.2 later"]),
        (
            Protocol::Smtp,
            Stage::Credentials,
            &["454 4.7.0 Temporary authentication failure", "421 4.4.2 later", "451 4.7.0 later", "432 4.7.12 later"],
        ),
        (Protocol::Smtp, Stage::Connect, &["421 4.3.2 Service not active"]),
    ];
    for (protocol, stage, lines) in words {
        for line in lines {
            for act in [Act::Say((*line).into()), Act::SayAndClose((*line).into())] {
                in_process.tenant.behave(|tenant| *faults(tenant, protocol) = vec![Fault::always(stage, act.clone())]);
                let answer = login(&in_process, protocol).await;
                assert!(is_temporary(&answer), "{protocol:?} {stage:?} {act:?}: {answer}");
            }
        }
        in_process.tenant.behave(|tenant| faults(tenant, protocol).clear());
    }
    in_process.stop().await;
}

/// Each stage is named, so that an administrator knows where to look.
#[tokio::test]
async fn slow_server_times_out_and_the_stage_is_named() {
    // Far more than what is not slow needs.
    let in_process = proxy("[limits]\nupstream-timeout = \"3s\"\n").await;
    assert!(is_ok(&login(&in_process, Protocol::Imap).await), "what follows needs no token");
    let waits = async |protocol, stages: Vec<(Stage, &str)>| {
        for (stage, waited_for) in stages {
            in_process.tenant.behave(|tenant| *faults(tenant, protocol) = vec![Fault::always(stage, Act::Silence)]);
            forget_offers(&in_process);
            let answer = login(&in_process, protocol).await;
            let words = format!("Oxpost was waiting for {waited_for}. Try again");
            assert!(is_temporary(&answer) && answer.contains(&words), "{protocol:?} {stage:?}: {answer}");
        }
    };
    let (greeting, verdict) = ((Stage::Greeting, "its greeting"), (Stage::Credentials, "its answer to the token"));
    let (capabilities, opens) = ((Stage::Capability, "its capabilities"), (Stage::Command, "the mailbox to open"));
    let (ehlo, tls) = ((Stage::Capability, "its answer to EHLO"), (Stage::StartTls, "its go-ahead for TLS"));
    tokio::join!(
        waits(Protocol::Imap, vec![(Stage::Connect, "TLS"), greeting, capabilities, verdict, opens]),
        waits(Protocol::Pop3, vec![(Stage::Connect, "TLS"), greeting, verdict]),
        waits(Protocol::Smtp, vec![(Stage::Connect, "its greeting"), ehlo, tls, verdict]),
    );
    in_process.tenant.release();
    in_process.stop().await;
}

#[tokio::test]
async fn unreachable_server_is_a_temporary_failure_with_reason() {
    let tenant = tenant().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (host, words) in [("localhost", "cannot be reached"), ("no-such-host.invalid", "cannot be found. Check DNS")] {
        let mut settings = Settings::of(&tenant, CLIENT_ID);
        for server in [&mut settings.imap, &mut settings.pop3, &mut settings.smtp] {
            *server = (host.to_owned(), nobody);
        }
        let oxpost = Oxpost::new(&settings).unwrap();
        let password = oxpost.add_account(ALICE, &[]).await.unwrap();
        oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
        let running = oxpost.run().await.unwrap();
        for protocol in PROTOCOLS {
            let mut client = Client::connect(running.address(protocol)).await;
            client.line().await.unwrap();
            let answer = crate::bad_servers::log_in(&mut client, protocol, &password).await;
            assert!(is_temporary(&answer) && answer.contains(words), "{host} {protocol:?}: {answer}");
        }
        let logged = running.wait_for_log("upstream login failed").await.unwrap();
        assert!(logged.contains("[waited for: a token from the sign-in service "), "{logged}");
        assert!(logged.contains("its address from DNS "), "{logged}");
        running.stop().await.unwrap();
    }
}

/// The server may have accepted the message before the connection broke. Sending it again would deliver it twice; the client decides,
/// and hears what the server said, or that the outcome is unknown.
#[tokio::test]
async fn nothing_is_sent_again_behind_the_final_dot() {
    for act in [Act::Close, Act::Reset, Act::HalfLine, Act::SayAndClose("421 4.4.2 timed out".into())] {
        let in_process = proxy("").await;
        let mut client = Client::connect(in_process.address(Protocol::Smtp)).await;
        client.line().await.unwrap();
        assert!(is_ok(&crate::bad_servers::log_in(&mut client, Protocol::Smtp, PASSWORD).await));
        in_process.tenant.behave(|tenant| tenant.smtp.faults = vec![Fault::once(Stage::Message, act.clone())]);
        for line in [&format!("MAIL FROM:<{ALICE}>"), "RCPT TO:<bob@fabrikam.example>", "DATA"] {
            client.say(line).await;
            assert!(client.line().await.unwrap().starts_with(['2', '3']));
        }
        client.say("Subject: once\r\n\r\nOnce only.\r\n.").await;
        let answer = client.line().await.unwrap();
        assert!(answer.starts_with('4'), "{act:?}: {answer}");
        if !answer.starts_with("421") {
            client.say("QUIT").await;
        }
        let rest = client.rest().await;
        assert!(!rest.contains("250 "), "{act:?}: {rest}");
        let connections = connections(&in_process, Protocol::Smtp);
        assert_eq!(connections.len(), 1, "{act:?}");
        let said = |words: &str| {
            let by_us = |(direction, line): &&(Direction, String)| *direction == Direction::Client && line == words;
            connections.iter().flat_map(|one| &one.entries).filter(by_us).count()
        };
        assert_eq!((said("DATA"), said(".")), (1, 1), "{act:?}");
        in_process.stop().await;
    }
}

/// The server takes the connection and says nothing; it sees the end as soon as the client goes.
#[tokio::test]
async fn client_that_disconnects_ends_the_attempt() {
    let tenant = tenant().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = ("127.0.0.1".to_owned(), silent.local_addr().unwrap().port());
    let settings = Settings {
        imap: there.clone(),
        pop3: there.clone(),
        smtp: there,
        more: "[limits]\nupstream-timeout = \"1h\"\n".into(),
        ..Settings::of(&tenant, CLIENT_ID)
    };
    let in_process = InProcess::start_with(tenant, &settings).await.unwrap();
    in_process.add_account(ALICE).await.unwrap();
    in_process.sign_in(ALICE, ALICE).await.unwrap();
    for protocol in PROTOCOLS {
        let mut client = Client::connect(in_process.address(protocol)).await;
        client.line().await.unwrap();
        crate::bad_servers::say_login(&mut client, protocol, PASSWORD).await;
        let (mut upstream, _) = silent.accept().await.unwrap();
        drop(client);
        let mut said = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), upstream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "{protocol:?}: the attempt continues without a client");
    }
    in_process.stop().await;
}

/// `printf … | nc`: the client has said everything, closes its side, and waits for the answers.
#[tokio::test]
async fn client_that_pipelines_everything_gets_all_answers() {
    let in_process = proxy("").await;
    in_process.tenant.behave(|tenant| tenant.imap.faults = vec![Fault::once(Stage::Credentials, Act::Hold)]);
    let mut tcp = TcpStream::connect(in_process.address(Protocol::Imap)).await.unwrap();
    tcp.write_all(format!("a LOGIN {ALICE} {PASSWORD}\r\nb NOOP\r\nc LOGOUT\r\n").as_bytes()).await.unwrap();
    tcp.shutdown().await.unwrap();
    in_process.tenant.wait_until_held(1).await;
    in_process.tenant.release();
    let mut said = String::new();
    tcp.read_to_string(&mut said).await.unwrap();
    for tag in ["a", "b", "c"] {
        assert!(said.lines().any(|line| line.starts_with(&format!("{tag} OK"))), "{said}");
    }
    in_process.stop().await;
}
