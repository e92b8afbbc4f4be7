//! A mail server that lies, stalls or breaks at any step: the client gets a temporary answer, and the proxy goes on.

use std::time::Duration;

use oxpost_protocol::Secret;
use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, PASSWORD, Settings};
use oxpost_tests::office365::Protocol;
use oxpost_tests::office365::behaviour::{Act, Certificate, Fault, Stage};

use crate::client::Client;
use crate::story::{proxy, tenant};

/// Logs in by a protocol; gives back the answer.
pub(crate) async fn login(in_process: &InProcess, protocol: Protocol) -> String {
    let mut client = Client::connect(in_process.address(protocol)).await;
    client.line().await.unwrap();
    log_in(&mut client, protocol, PASSWORD).await
}

/// Logs in a client that was greeted.
pub(crate) async fn log_in(client: &mut Client, protocol: Protocol, password: &str) -> String {
    say_login(client, protocol, password).await;
    match protocol {
        Protocol::Imap => client.until("a ").await,
        Protocol::Pop3 | Protocol::Smtp => client.line().await.unwrap(),
    }
}

/// The last line that a client says to log in, and those before it with their answers.
pub(crate) async fn say_login(client: &mut Client, protocol: Protocol, password: &str) {
    match protocol {
        Protocol::Imap => client.say(&format!("a LOGIN {ALICE} {password}")).await,
        Protocol::Pop3 => {
            client.say(&format!("USER {ALICE}")).await;
            client.line().await.unwrap();
            client.say(&format!("PASS {password}")).await;
        }
        Protocol::Smtp => {
            let plain =
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("\0{ALICE}\0{password}"));
            client.say(&format!("AUTH PLAIN {plain}")).await;
        }
    }
}

pub(crate) fn is_ok(answer: &str) -> bool {
    ["a OK", "+OK", "235 "].iter().any(|ok| answer.starts_with(ok))
}

fn is_temporary(answer: &str) -> bool {
    ["a NO [UNAVAILABLE]", "a NO [CONTACTADMIN]", "-ERR [SYS/TEMP]", "-ERR [SYS/PERM]", "454 4.7.0"]
        .iter()
        .any(|no| answer.starts_with(no))
}

pub(crate) const PROTOCOLS: [Protocol; 3] = [Protocol::Imap, Protocol::Pop3, Protocol::Smtp];

#[tokio::test]
async fn a_server_that_breaks_at_any_stage_is_no_wrong_password() {
    let in_process = proxy("[limits]\nupstream-timeout = \"2s\"\n").await;
    // One good login, so that what follows needs no token.
    assert!(is_ok(&login(&in_process, Protocol::Imap).await));
    for protocol in PROTOCOLS {
        for stage in [Stage::Connect, Stage::Greeting, Stage::Capability, Stage::StartTls, Stage::Credentials] {
            let foreign = match (protocol, stage) {
                (Protocol::Smtp, _) => false,
                (_, Stage::StartTls) => true,
                (Protocol::Pop3, Stage::Capability) => true,
                _ => false,
            };
            if foreign {
                continue;
            }
            let long = "x".repeat(100_000);
            for act in [
                Act::Close,
                Act::Reset,
                Act::HalfLine,
                Act::Garbage,
                Act::Say("{tag} nonsense \u{1}\u{7f}".into()),
                Act::Say(long),
                Act::SayAndClose("* BYE [UNAVAILABLE] later".into()),
                Act::Silence,
            ] {
                in_process.tenant.behave(|tenant| {
                    let faults = vec![Fault::always(stage, act.clone())];
                    match protocol {
                        Protocol::Imap => tenant.imap.faults = faults,
                        Protocol::Pop3 => tenant.pop3.faults = faults,
                        Protocol::Smtp => tenant.smtp.faults = faults,
                    }
                });
                let answer = login(&in_process, protocol).await;
                assert!(is_temporary(&answer), "{protocol:?} {stage:?} {act:?}: {answer}");
                in_process.tenant.release();
                in_process.tenant.behave(|tenant| {
                    tenant.imap.faults.clear();
                    tenant.pop3.faults.clear();
                    tenant.smtp.faults.clear();
                });
            }
        }
        let answer = login(&in_process, protocol).await;
        assert!(is_ok(&answer), "{protocol:?} afterwards: {answer}");
    }
    in_process.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_name_or_authority_gets_no_token() {
    for certificate in [Certificate::WrongName, Certificate::OtherAuthority] {
        // A token that lives, so that it is the mail servers that refuse and not the authority; and the mail servers under
        // another name than the authority, as a resumed TLS session proves the same server whatever it shows.
        let tenant = tenant().await;
        let mut settings = Settings::of(&tenant, CLIENT_ID);
        for server in [&mut settings.imap, &mut settings.pop3, &mut settings.smtp] {
            server.0 = "127.0.0.1".into();
        }
        let in_process = InProcess::start_with(tenant, &settings).await.unwrap();
        in_process.add_account(ALICE).await.unwrap();
        in_process.sign_in(ALICE, ALICE).await.unwrap();
        let admitted = in_process.context.runtime.accounts.admit(ALICE, &Secret::from(PASSWORD)).await.unwrap();
        in_process.context.runtime.tokens.access_token(&admitted).await.unwrap();
        in_process.tenant.behave(|tenant| tenant.certificate = certificate);
        for protocol in PROTOCOLS {
            let answer = login(&in_process, protocol).await;
            assert!(is_temporary(&answer) && answer.contains("certificate"), "{certificate:?} {protocol:?}: {answer}");
        }
        assert!(in_process.tenant.logins().is_empty(), "the token was sent all the same");
        in_process.stop().await;
    }
}

/// A session that runs is cut in its middle: the client gets what was said, and then an end.
#[tokio::test]
async fn a_session_that_breaks_off_ends_for_its_client_too() {
    let in_process = proxy("").await;
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    client.until("a OK").await;
    in_process
        .tenant
        .behave(|tenant| tenant.imap.faults = vec![Fault::once(Stage::Command, Act::SayAndClose("* BYE gone".into()))]);
    client.say("b NOOP").await;
    assert_eq!(client.line().await.as_deref(), Some("* BYE gone"));
    assert_eq!(client.line().await, None);
    in_process.stop().await;
}

/// Exchange ends a session whose access token has run out; the client simply comes back.
#[tokio::test]
async fn a_session_outlived_by_its_token_is_an_ordinary_end() {
    let in_process = proxy("").await;
    let mut client = Client::connect(in_process.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {PASSWORD}")).await;
    client.until("a OK").await;
    in_process.tenant.clock().advance(Duration::from_secs(2 * 3600));
    client.say("b NOOP").await;
    let rest = client.rest().await;
    assert!(rest.contains("AccessTokenExpired"), "{rest}");
    assert!(is_ok(&login(&in_process, Protocol::Imap).await));
    in_process.stop().await;
}
