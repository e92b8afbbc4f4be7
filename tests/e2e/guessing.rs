//! Passwords that are guessed, against the real program: from addresses that are not this machine's loopback, which is
//! never banned.

use std::net::{IpAddr, SocketAddr};

use oxpost_tests::harness::{ALICE, CLIENT_ID, Network, Oxpost, Settings, in_own_network};
use serde_json::Value;

use crate::client::Client;
use crate::story::tenant;

async fn login_from(network: Network, from: IpAddr, at: SocketAddr, user: &str, password: &str) -> String {
    let mut client = Client::over(network.connect(from, at).await.unwrap());
    match client.line().await {
        Some(greeting) => assert!(greeting.starts_with("* OK"), "{greeting}"),
        None => return "turned away".into(),
    }
    client.say(&format!("a LOGIN {user} {password}")).await;
    client.until("a ").await
}

#[test]
fn an_address_that_guesses_is_banned_shown_and_unbanned_and_its_known_clients_stay() {
    in_own_network(banned_shown_and_unbanned);
}

async fn banned_shown_and_unbanned(network: Network) {
    let (gateway, own) = (Network::GATEWAY_V4, network.client_v4(1));
    let login = async |at, user: &str, password: &str| login_from(network, own, at, user, password).await;
    let tenant = tenant().await;
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    settings.more = format!(
        "[wrong-passwords]\nban-after = 3\n[[listener]]\nprotocol = \"imap\"\naddress = \"{gateway}:0\"\n\
         allow-plaintext = true\nnetworks = [\"0.0.0.0/0\"]\n"
    );
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    let other = oxpost.call(&["account", "password", "add", ALICE, "--name", "other"]).await.unwrap().text();
    let other = other.lines().map(str::trim).find(|line| line.matches('-').count() == 5).unwrap().to_owned();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    let listening = running.wait_for_log(&format!("\"address\":\"{gateway}:")).await.unwrap();
    let listening: Value = serde_json::from_str(&listening).unwrap();
    let there: SocketAddr = listening["address"].as_str().unwrap().parse().unwrap();

    assert!(login(there, ALICE, &password).await.starts_with("a OK"));
    for guess in 0..5 {
        // The same again and again is a device that was not told of a new password.
        assert!(login(there, ALICE, "the-old-one").await.starts_with("a NO [AUTHENTICATIONFAILED]"), "{guess}");
    }
    for guess in 0..2 {
        let answers = [login(there, ALICE, &format!("guess{guess}")).await];
        assert!(answers[0].starts_with("a NO [AUTHENTICATIONFAILED]"), "{answers:?}");
    }
    running.wait_for_log("banned: too many wrong passwords").await.unwrap();
    for (user, password) in [(ALICE, "guess9"), (ALICE, other.as_str()), ("nobody", "guess9")] {
        let answer = login(there, user, password).await;
        assert!(answer.starts_with("a NO [UNAVAILABLE] Too many wrong passwords"), "{answer}");
    }
    assert!(login(there, ALICE, &password).await.starts_with("a OK"), "who logged in today is let in");
    let neighbor = login_from(network, network.neighbor(own, 11), there, ALICE, &other).await;
    assert!(neighbor.starts_with("a OK"), "another address is not concerned");

    let status = oxpost.call(&["status"]).await.unwrap().text();
    assert!(status.contains(&own.to_string()) && status.contains("in 14m"), "{status}");
    let listed = oxpost.call(&["ban", "list", "--json"]).await.unwrap().text();
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap()[0]["source"], own.to_string());
    oxpost.call(&["ban", "lift", &own.to_string()]).await.unwrap().output().unwrap();
    let again = oxpost.call(&["ban", "lift", &own.to_string()]).await.unwrap();
    assert!(again.status == Some(1) && again.text().contains("oxpost ban list"), "{again}");
    running.wait_for_log("the ban was lifted").await.unwrap();
    assert!(login(there, ALICE, "guess10").await.starts_with("a NO [AUTHENTICATIONFAILED]"));
    assert_eq!(oxpost.call(&["ban", "list"]).await.unwrap().text().trim(), "No address is banned.");
    running.stop().await.unwrap();
}
