//! Clients that mean no good, or do not know better: garbage, endless lines, silence, too many.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, PASSWORD, Settings};
use oxpost_tests::office365::Protocol;

use crate::client::Client;
use crate::story::{proxy, tenant};

const PROTOCOLS: [Protocol; 3] = [Protocol::Imap, Protocol::Pop3, Protocol::Smtp];

#[tokio::test]
async fn hostile_input_before_the_login_reaches_no_server() {
    let in_process = proxy("").await;
    let endless = vec![b'x'; 1 << 20];
    let attacks: Vec<&[u8]> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        &endless,
        b"a LOGIN {99999999999999999999}\r\n",
        b"a LOGIN {-1}\r\n",
        b"a LOGIN {4294967295+}\r\nxxxx",
        b"a LOGIN ((((((((((((((((((\r\n",
        b"AUTH PLAIN ====\r\nAUTH PLAIN\r\n*\r\n",
        b"USER \x00\x01\r\nPASS \x00\r\n",
        b"AUTH XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHgBAQ==\r\n",
        b"\r\n\r\n\r\n\r\n\n\n\n\n\0\0\0\0",
    ];
    for protocol in PROTOCOLS {
        for attack in &attacks {
            let mut stranger = tokio::net::TcpStream::connect(in_process.address(protocol)).await.unwrap();
            // The proxy may close in the middle of it.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stranger, attack).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut stranger).await;
            let mut heard = Vec::new();
            let end = tokio::io::AsyncReadExt::read_to_end(&mut stranger, &mut heard);
            let _ = tokio::time::timeout(Duration::from_secs(60), end)
                .await
                .expect("an unauthenticated client is kept waiting");
            assert!(heard.len() < 16 * 1024, "{} bytes for an unauthenticated client", heard.len());
        }
    }
    assert!(in_process.tenant.transcripts().is_empty(), "an unauthenticated client cost Exchange a connection");
    assert!(in_process.tenant.token_requests().is_empty(), "an unauthenticated client cost the authority a request");
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    assert!(client.until("a ").await.starts_with("a OK"));
    in_process.stop().await;
}

#[tokio::test]
async fn client_that_never_logs_in_is_closed() {
    let in_process = proxy("[limits]\nlogin-timeout = \"300ms\"\n").await;
    for protocol in PROTOCOLS {
        let mut silent = Client::connect(in_process.address(protocol)).await;
        let said = silent.rest().await;
        assert!(said.lines().count() == 2, "a greeting and a goodbye: {said}");
    }
    in_process.stop().await;
}

/// A byte now and then is no reason to be kept.
#[tokio::test]
async fn client_that_writes_slowly_is_closed() {
    let in_process = proxy("[limits]\nlogin-timeout = \"300ms\"\n").await;
    for protocol in PROTOCOLS {
        let (mut reader, mut writer) =
            tokio::net::TcpStream::connect(in_process.address(protocol)).await.unwrap().into_split();
        let writing = tokio::spawn(async move {
            while tokio::io::AsyncWriteExt::write_all(&mut writer, b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut heard = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut heard);
        let _ = tokio::time::timeout(Duration::from_secs(60), end).await.expect("a slow writer is kept");
        writing.await.unwrap();
    }
    in_process.stop().await;
}

#[tokio::test]
async fn connection_over_the_limit_evicts_only_unauthenticated_ones() {
    let in_process = proxy("[limits]\nmax-connections = 2\nmax-sessions-per-account = 2\n").await;
    let mut first = Client::connect(in_process.address(Protocol::Imap)).await;
    first.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    assert!(first.until("a ").await.starts_with("a OK"));
    let mut stranger = Client::connect(in_process.address(Protocol::Pop3)).await;
    stranger.line().await.unwrap();
    let mut second = Client::connect(in_process.address(Protocol::Imap)).await;
    second.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    assert!(second.until("a ").await.starts_with("a OK"));
    assert!(stranger.rest().await.starts_with("-ERR "), "it had to go");
    let third = Client::connect(in_process.address(Protocol::Imap)).await.rest().await;
    assert!(third.starts_with("* BYE "), "those who have logged in stay: {third}");
    first.say("b NOOP").await;
    first.until("b OK").await;
    in_process.stop().await;
}

/// A flood of connections that say nothing, or begin something and never end it, and a client in the midst of it.
#[tokio::test]
async fn a_flood_of_half_open_connections_keeps_no_client_out() {
    let in_process = proxy("[limits]\nmax-unauthenticated = 50\n").await;
    let mut flood = Vec::new();
    for round in 0..10 {
        for number in 0..50 {
            let mut stranger = Client::connect(in_process.address(PROTOCOLS[number % 3])).await;
            if number % 2 == 0 {
                stranger.send(b"a LOGIN {5}").await;
            }
            flood.push(stranger);
        }
        let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
        client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
        assert!(client.until("a ").await.starts_with("a OK"), "round {round}");
    }
    for stranger in flood.iter_mut().take(400) {
        stranger.rest().await;
    }
    in_process.stop().await;
}

/// Every check of a password costs a core for 22 ms and 19 MiB: a flood of wrong logins must not keep others from theirs.
#[tokio::test]
async fn a_flood_of_wrong_passwords_keeps_no_known_client_out() {
    let in_process = proxy("[limits]\nconcurrent-password-checks = 1\npassword-checks-waiting = 1\n").await;
    let mut known = Client::connect(in_process.address(Protocol::Imap)).await;
    known.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    assert!(known.until("a ").await.starts_with("a OK"));
    let address = in_process.address(Protocol::Pop3);
    let flood: Vec<_> = (0..60)
        .map(|number| {
            tokio::spawn(async move {
                let mut guesser = Client::connect(address).await;
                guesser.say(&format!("USER mallory{number}\r\nPASS guess{number}")).await;
                guesser.until("-ERR [").await
            })
        })
        .collect();
    for _ in 0..5 {
        let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
        client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
        assert!(client.until("a ").await.starts_with("a OK"));
    }
    for guesser in flood {
        let answer = guesser.await.unwrap();
        assert!(answer.starts_with("-ERR [AUTH]") || answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
    }
    in_process.stop().await;
}

/// One connection may guess a few times, no more.
#[tokio::test]
async fn guessing_ends_the_connection() {
    let in_process = proxy("").await;
    let mut guesser = Client::connect(in_process.address(Protocol::Imap)).await;
    for guess in 0..5 {
        guesser.say(&format!("a{guess} LOGIN {ALICE} guess{guess}")).await;
        assert!(guesser.until(&format!("a{guess} ")).await.contains("AUTHENTICATIONFAILED"));
    }
    assert!(guesser.rest().await.starts_with("* BYE"));
    assert!(in_process.tenant.transcripts().is_empty() && in_process.tenant.token_requests().is_empty());
    in_process.stop().await;
}

/// What is no mail client and connects to a mail port is named in the log; a client after a PROXY header works.
#[tokio::test]
async fn what_comes_ahead_of_the_first_command_is_named_in_the_log() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    for (said, named) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "a TLS hello came"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n", "an HTTP request came"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "a PROXY header came"),
    ] {
        let mut stray = Client::connect(running.smtp).await;
        stray.send(said).await;
        let heard = stray.rest().await;
        assert!(!heard.contains("250"), "{heard}");
        running.wait_for_log(named).await.unwrap();
    }
    let mut client = Client::connect(running.imap).await;
    client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 143\r\n").await;
    client.say(&format!("a LOGIN {ALICE} {password}")).await;
    assert!(client.line().await.unwrap().starts_with("* OK"));
    assert!(client.line().await.unwrap().starts_with("a OK"), "the header was answered");
    drop(client);
    let log = running.stop().await.unwrap();
    assert_eq!(log.matches("a PROXY header came").count(), 2, "{log}");
}
