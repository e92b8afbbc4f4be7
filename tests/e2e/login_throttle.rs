//! Guessed passwords, against the real program: clients of many source addresses in a network of their own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use oxpost_tests::harness::{ALICE, CLIENT_ID, Network, Oxpost, Running, Settings, in_own_network};
use oxpost_tests::office365::Tenant;
use oxpost_tests::office365::behaviour::TokenFault;
use serde_json::Value;

use crate::client::Client;
use crate::story::tenant;

const BOB: &str = "bob@contoso.com";

/// The answer to a login, in one line; nothing if the connection is closed before its greeting.
async fn login_from(network: Network, from: IpAddr, at: SocketAddr, user: &str, password: &str) -> String {
    let mut client = Client::over(network.connect(from, at).await.unwrap());
    match client.line().await {
        Some(greeting) => assert!(greeting.starts_with("* OK"), "{greeting}"),
        None => return "closed".into(),
    }
    client.say(&format!("a LOGIN \"{user}\" \"{password}\"")).await;
    client.until("a ").await
}

/// The program with Alice's account, signed in, and a listener that the network reaches.
struct Gateway {
    tenant: Tenant,
    oxpost: Oxpost,
    password: String,
}

impl Gateway {
    async fn new(more: &str) -> Self {
        let tenant = tenant().await;
        let mut settings = Settings::of(&tenant, CLIENT_ID);
        settings.more = format!(
            "[login-throttle]\n{more}\n[[listener]]\nprotocol = \"imap\"\naddress = \"{}:0\"\nallow-plaintext = true\n\
             networks = [\"0.0.0.0/0\"]\n",
            Network::GATEWAY_V4
        );
        let oxpost = Oxpost::new(&settings).unwrap();
        let password = oxpost.add_account(ALICE, &[]).await.unwrap();
        oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
        Self { tenant, oxpost, password }
    }

    async fn run(&self) -> (Running, SocketAddr) {
        let running = self.oxpost.run().await.unwrap();
        let gateway = Network::GATEWAY_V4;
        let listening = running.wait_for_log(&format!("\"address\":\"{gateway}:")).await.unwrap();
        let listening: Value = serde_json::from_str(&listening).unwrap();
        (running, listening["address"].as_str().unwrap().parse().unwrap())
    }
}

const WRONG: &str = "a NO [AUTHENTICATIONFAILED] ";
const THROTTLED: &str = "a NO [UNAVAILABLE] Too many wrong passwords were tried";

#[test]
fn guess_beyond_the_budget_learns_nothing_even_if_it_is_right() {
    in_own_network(async |network| {
        let gateway = Gateway::new("failure-delay = \"50ms\"").await;
        let (running, at) = gateway.run().await;
        let (owner, cold, other) = (network.client_v4(1), network.client_v4(2), network.client_v4(3));
        let right = gateway.password.as_str();
        assert!(login_from(network, owner, at, ALICE, right).await.starts_with("a OK"));
        for guess in 0..10 {
            let answer = login_from(network, cold, at, ALICE, &format!("guess {guess}")).await;
            assert!(answer.starts_with(WRONG), "{guess}: {answer}");
        }
        let without_session = |answer: String| answer.split(" [session").next().unwrap_or_default().to_owned();
        let wrong = without_session(login_from(network, cold, at, ALICE, "guess 11").await);
        let right_too = without_session(login_from(network, cold, at, ALICE, right).await);
        assert!(wrong.starts_with(THROTTLED), "{wrong}");
        assert_eq!(wrong, right_too, "nothing tells that the password was right");
        assert!(login_from(network, cold, at, ALICE, "guess 3").await.starts_with(THROTTLED), "a repeated one as well");
        assert!(login_from(network, owner, at, ALICE, right).await.starts_with("a OK"));
        assert!(login_from(network, other, at, ALICE, right).await.starts_with("a OK"));
        running.stop().await.unwrap();
    });
}

/// Forty sources guess as fast as they can; the owner logs in, also right after a restart, and on a second node (another
/// process on the same store) that has never seen the owner.
#[test]
fn familiar_source_logs_in_during_attack_and_after_restart() {
    in_own_network(async |network| {
        let gateway = Gateway::new("").await;
        let owner = network.client_v4(200);
        let right = gateway.password.as_str();
        let (running, at) = gateway.run().await;
        assert!(login_from(network, owner, at, ALICE, right).await.starts_with("a OK"));
        running.stop().await.unwrap();
        for (start, what) in ["a restart", "another restart", "a start next to another node"].into_iter().enumerate() {
            let other_node = if start == 2 { Some(gateway.run().await.0) } else { None };
            let (running, at) = gateway.run().await;
            let attack: Vec<_> = (0..40_u8)
                .map(|source| {
                    tokio::spawn(async move {
                        for guess in 0_u64.. {
                            let from = network.client_v4(source);
                            let Ok(tcp) = network.connect(from, at).await else { return };
                            let mut client = Client::over(tcp);
                            if client.line().await.is_some() {
                                client.say(&format!("a LOGIN {ALICE} guess-{start}-{source}-{guess}")).await;
                                client.line().await;
                            }
                        }
                    })
                })
                .collect();
            running.wait_for_log("login refused").await.unwrap();
            let mut slowest = Duration::ZERO;
            for login in 0..10 {
                let began = Instant::now();
                let answer = login_from(network, owner, at, ALICE, right).await;
                assert!(answer.starts_with("a OK"), "start {start}, login {login}: {answer}");
                slowest = slowest.max(began.elapsed());
            }
            println!("the owner's slowest of ten logins during the attack, after {what}: {slowest:?}");
            attack.iter().for_each(tokio::task::JoinHandle::abort);
            let log = running.stop().await.unwrap();
            let compared = log.matches("Invalid user name or password").count();
            println!("guesses compared meanwhile: {compared}");
            assert!((1..=60).contains(&compared), "{compared}");
            if let Some(node) = other_node {
                node.stop().await.unwrap();
            }
        }
    });
}

/// Devices that were not told of a new password, behind one address.
#[test]
fn stale_devices_at_one_address_lock_no_owner_out() {
    in_own_network(async |network| {
        let gateway = Gateway::new("failure-delay = \"50ms\"\nblock-after = 2").await;
        let (running, at) = gateway.run().await;
        let site = network.client_v4(1);
        for round in 0..4 {
            for device in 0..9 {
                let answer = login_from(network, site, at, ALICE, &format!("old {device}")).await;
                assert!(answer.starts_with(WRONG), "round {round}, device {device}: {answer}");
            }
            let neighbor = network.neighbor(site, 11);
            assert!(login_from(network, neighbor, at, ALICE, &gateway.password).await.starts_with("a OK"));
        }
        let answer = login_from(network, site, at, ALICE, &gateway.password).await;
        assert!(answer.starts_with("a OK"), "{answer}");
        assert_eq!(gateway.oxpost.call(&["block", "list"]).await.unwrap().text().trim(), "No address is blocked.");
        let log = running.stop().await.unwrap();
        assert_eq!(log.matches("\"message\":\"login refused\"").count(), 9, "one line for each: {log}");
        assert_eq!(log.matches("\"message\":\"login refused again").count(), 1, "and one for all repeated ones: {log}");
        assert!(gateway.tenant.token_requests().len() <= 2, "Microsoft hears of none of them");
    });
}

#[test]
fn source_that_only_guesses_is_blocked_shown_and_unblocked() {
    in_own_network(async |network| {
        let gateway = Gateway::new("failure-delay = \"50ms\"\nrepeat-interval = \"1ms\"\nblock-after = 3").await;
        let (running, at) = gateway.run().await;
        let cold = network.client_v4(1);
        for guess in 0..4 {
            let answer = login_from(network, cold, at, &format!("name{guess}"), "guess").await;
            assert!(answer.starts_with(WRONG), "{guess}: {answer}");
        }
        running.wait_for_log("source blocked: too many different wrong logins").await.unwrap();
        assert_eq!(login_from(network, cold, at, ALICE, &gateway.password).await, "closed");
        let neighbor = login_from(network, network.neighbor(cold, 11), at, ALICE, &gateway.password).await;
        assert!(neighbor.starts_with("a OK"), "another address is not concerned");

        let status = gateway.oxpost.call(&["status"]).await.unwrap().text();
        assert!(status.contains(&cold.to_string()) && status.contains("in 14m"), "{status}");
        let listed = gateway.oxpost.call(&["block", "list", "--json"]).await.unwrap().text();
        assert_eq!(serde_json::from_str::<Value>(&listed).unwrap()[0]["source"], cold.to_string());
        let lift = async || gateway.oxpost.call(&["block", "lift", &cold.to_string()]).await.unwrap();
        lift().await.output().unwrap();
        let again = lift().await;
        assert!(again.status == Some(1) && again.text().contains("oxpost block list"), "{again}");
        running.wait_for_log("block lifted").await.unwrap();
        assert!(login_from(network, cold, at, ALICE, &gateway.password).await.starts_with("a OK"));
        assert_eq!(gateway.oxpost.call(&["block", "list"]).await.unwrap().text().trim(), "No address is blocked.");
        running.stop().await.unwrap();
    });
}

/// Property 6: by words and by time.
#[test]
fn unknown_disabled_and_password_grant_accounts_answer_alike() {
    in_own_network(async |network| {
        let gateway = Gateway::new("failure-delay = \"1s\"").await;
        gateway.oxpost.call(&["account", "add", BOB, "--grant", "password"]).await.unwrap().output().unwrap();
        let (running, at) = gateway.run().await;
        let clients = (1..).zip([ALICE, BOB, "nobody@contoso.com", "no address at all"]).map(|(source, user)| {
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for guess in 0..12 {
                    let began = Instant::now();
                    let password = format!("guess {guess}");
                    let answer = login_from(network, network.client_v4(source), at, user, &password).await;
                    // Never earlier; later only where the machine is slow.
                    let answer = answer.split(" [session").next().unwrap_or_default().to_owned();
                    assert!(began.elapsed() >= Duration::from_secs(1), "{user}: {answer} after {:?}", began.elapsed());
                    answers.push((guess, answer));
                }
                answers
            })
        });
        let mut answers = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            answers.extend(client.await.unwrap());
        }
        for guess in 0..12 {
            let of: Vec<&String> = answers.iter().filter(|(other, _)| *other == guess).map(|(_, said)| said).collect();
            assert!(of.windows(2).all(|pair| pair[0] == pair[1]), "guess {guess}: {of:?}");
            let expected = if guess < 10 { WRONG } else { THROTTLED };
            assert!(of[0].starts_with(expected), "guess {guess}: {of:?}");
        }
        running.stop().await.unwrap();
    });
}

/// A wrong login is answered alike also where Microsoft does not say that it is wrong, and in the same time, also the second of two
/// at the same time.
#[test]
fn accounts_answer_alike_while_microsoft_is_silent() {
    in_own_network(async |network| {
        let gateway = Gateway::new("failure-delay = \"1s\"").await;
        gateway.oxpost.call(&["account", "add", BOB, "--grant", "password"]).await.unwrap().output().unwrap();
        let (running, at) = gateway.run().await;
        gateway.tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::Hang));
        for (source, user) in (1..).zip([ALICE, BOB, "nobody@contoso.com", BOB]) {
            let login = || login_from(network, network.client_v4(source), at, user, "guess");
            let (first, second) = tokio::join!(login(), login());
            for answer in [first, second] {
                assert!(answer.starts_with(WRONG), "{user}: {answer}");
            }
        }
        // No other client waits for it.
        assert!(login_from(network, network.client_v4(9), at, ALICE, &gateway.password).await.starts_with("a OK"));
        gateway.tenant.release();
        running.stop().await.unwrap();
    });
}
