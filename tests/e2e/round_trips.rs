//! How often a login waits for Exchange and back, counted by the simulated tenant: what a login costs is that, times the 20 to
//! 80 ms that Exchange is away. The table in docs/performance.md has these numbers. And what was known of a server and is not
//! so any longer, which must cost a wait and never a login.

use oxpost_tests::harness::{CLIENT_ID, InProcess, Settings};
use oxpost_tests::office365::behaviour::{Act, Behaviour, Fault, Stage, TokenFault};
use oxpost_tests::office365::{Direction, Protocol, Transcript};

use crate::bad_servers::{PROTOCOLS, is_ok, log_in, login};
use crate::client::Client;
use crate::story::proxy;

const PASSWORD: &str = oxpost_tests::harness::PASSWORD;

/// Logs in, and gives back the connections that Exchange has seen of it.
async fn connections(in_process: &InProcess, protocol: Protocol) -> (String, Vec<Transcript>) {
    in_process.tenant.forget();
    let mut client = Client::connect(in_process.address(protocol)).await;
    client.line().await.unwrap();
    let answer = log_in(&mut client, protocol, PASSWORD).await;
    let seen = in_process.tenant.transcripts();
    (answer, seen.into_iter().filter(|one| one.protocol == protocol).collect())
}

/// The waits of each connection of one login that must succeed.
async fn round_trips(in_process: &InProcess, protocol: Protocol) -> Vec<usize> {
    let (answer, connections) = connections(in_process, protocol).await;
    assert!(is_ok(&answer), "{protocol:?}: {answer}");
    connections.iter().map(|one| one.round_trips).collect()
}

fn asks_for_capabilities_first(connections: &[Transcript]) -> bool {
    let first = connections.last().and_then(|last| last.entries.iter().find(|(who, _)| *who == Direction::Client));
    first.is_some_and(|(_, line)| line.ends_with(" CAPABILITY"))
}

#[tokio::test]
async fn login_takes_two_round_trips_and_smtp_auth_takes_one() {
    let in_process = proxy("").await;
    // The first login at a server asks what it offers.
    assert_eq!(round_trips(&in_process, Protocol::Imap).await, [3]);
    for _ in 0..2 {
        assert_eq!(round_trips(&in_process, Protocol::Imap).await, [2]);
        assert_eq!(round_trips(&in_process, Protocol::Pop3).await, [2]);
        // EHLO, STARTTLS and EHLO again; then AUTH.
        assert_eq!(round_trips(&in_process, Protocol::Smtp).await, [3 + 1]);
    }
    in_process.stop().await;
}

#[tokio::test]
async fn smtp_server_without_initial_response_gets_two_steps() {
    let in_process = proxy_without_initial_response().await;
    for _ in 0..2 {
        assert_eq!(round_trips(&in_process, Protocol::Smtp).await, [3 + 2]);
    }
    in_process.stop().await;
}

async fn proxy_without_initial_response() -> InProcess {
    let tenant = crate::story::tenant().await;
    let settings = Settings { smtp_initial_response: false, ..Settings::of(&tenant, CLIENT_ID) };
    crate::story::proxy_with(tenant, &settings).await
}

/// Exchange's list of one connection does not bind the next.
#[tokio::test]
async fn login_succeeds_after_imap_server_withdraws_an_extension() {
    let in_process = proxy("").await;
    assert!(is_ok(&login(&in_process, Protocol::Imap).await));
    no_token_is_available(&in_process);
    in_process.tenant.behave(|it| it.imap.offer_initial_response = false);
    // AUTHENTICATE is refused, CAPABILITY is asked, and AUTHENTICATE comes in two steps, all on one connection.
    assert_eq!(round_trips(&in_process, Protocol::Imap).await, [5]);
    assert_eq!(round_trips(&in_process, Protocol::Imap).await, [3], "and that is known from now on");
    in_process.tenant.behave(|it| it.imap.offer_initial_response = true);
    assert_eq!(round_trips(&in_process, Protocol::Imap).await, [3], "it works as it did");
    in_process.stop().await;
}

#[tokio::test]
async fn login_succeeds_when_smtp_initial_response_is_rejected() {
    let in_process = proxy("").await;
    assert!(is_ok(&login(&in_process, Protocol::Smtp).await));
    no_token_is_available(&in_process);
    in_process.tenant.behave(|it| it.smtp.long_commands_refused = true);
    assert_eq!(round_trips(&in_process, Protocol::Smtp).await, [3 + 1, 3 + 2]);
    assert_eq!(round_trips(&in_process, Protocol::Smtp).await, [3 + 2], "and that is known from now on");
    in_process.stop().await;
}

/// No server is asked for another token because of what was known of it: the authority may be away.
fn no_token_is_available(in_process: &InProcess) {
    in_process.tenant.behave(|it| it.entra.fault = Some(TokenFault::Status(503, None)));
}

/// Whatever a server does to a login that rests on what was known: the next attempt asks, with the same token.
#[tokio::test]
async fn login_failing_on_a_remembered_offer_is_retried_without_it() {
    for protocol in [Protocol::Imap, Protocol::Smtp] {
        let acts: &[Act] = match protocol {
            Protocol::Imap => &[
                Act::SayAndClose("{tag} NO AUTHENTICATE failed.".into()),
                Act::SayAndClose("{tag} BAD Command Argument Error. 11".into()),
                Act::SayAndClose("* BYE Protocol error. Connection is closed. 10".into()),
                Act::Close,
                Act::Reset,
            ],
            _ => &[
                Act::SayAndClose("500 5.5.2 Line too long".into()),
                Act::SayAndClose("421 4.5.1 Line too long".into()),
                Act::SayAndClose("555 5.5.2 Syntax error, goodbye".into()),
                Act::Garbage,
                Act::Close,
                Act::Reset,
            ],
        };
        for act in acts {
            // Of a proxy that knows the server and was not misled before.
            let in_process = proxy("").await;
            assert!(is_ok(&login(&in_process, protocol).await));
            no_token_is_available(&in_process);
            let fault = Fault::once(Stage::Credentials, act.clone());
            in_process.tenant.behave(|it| faults(it, protocol).push(fault));
            let (answer, connections) = connections(&in_process, protocol).await;
            assert!(is_ok(&answer), "{protocol:?} {act:?}: {answer}");
            assert_eq!(connections.len(), 2, "{protocol:?} {act:?}");
            if protocol == Protocol::Imap {
                assert!(asks_for_capabilities_first(&connections), "{act:?}: {}", connections[1]);
            } else {
                let two_steps = connections[1].entries.iter().any(|(_, line)| line == "AUTH XOAUTH2");
                assert!(two_steps, "{act:?}: {}", connections[1]);
            }
            in_process.stop().await;
        }
    }
}

fn faults(behaviour: &mut Behaviour, protocol: Protocol) -> &mut Vec<Fault> {
    match protocol {
        Protocol::Imap => &mut behaviour.imap.faults,
        Protocol::Pop3 => &mut behaviour.pop3.faults,
        Protocol::Smtp => &mut behaviour.smtp.faults,
    }
}

/// A verdict on the token, or on the moment, is final: Microsoft counts failures and throttles repeated attempts.
#[tokio::test]
async fn refusal_unrelated_to_the_offer_is_not_retried_more_often() {
    for protocol in PROTOCOLS {
        let in_process = proxy("").await;
        assert!(is_ok(&login(&in_process, protocol).await));
        in_process.tenant.behave(|it| it.refuse_good_tokens = 1);
        let (answer, connections) = connections(&in_process, protocol).await;
        assert!(is_ok(&answer), "{protocol:?}: {answer}");
        assert_eq!(connections.len(), 2, "{protocol:?}: one with another token");
        let temporary = match protocol {
            Protocol::Imap => "{tag} NO Request is throttled. Suggested Backoff Time: 1 milliseconds",
            Protocol::Pop3 => "-ERR [SYS/TEMP] later",
            Protocol::Smtp => "454 4.7.0 Temporary authentication failure",
        };
        let fault = Fault::once(Stage::Credentials, Act::Say(temporary.into()));
        in_process.tenant.behave(|it| faults(it, protocol).push(fault));
        let (answer, connections) = self::connections(&in_process, protocol).await;
        assert!(!is_ok(&answer), "{protocol:?}: {answer}");
        assert_eq!(connections.len(), 1, "{protocol:?}");
        in_process.stop().await;
    }
}
