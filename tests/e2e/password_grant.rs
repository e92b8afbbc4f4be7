//! Accounts whose passwords Microsoft verifies.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, Oxpost, Running, Settings};
#[cfg(target_os = "linux")]
use oxpost_tests::harness::{Network, in_own_network};
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_tests::office365::{Application, Protocol, Tenant};
use oxpost_token_store::{Account, ErrorKind, Grant, Mailbox};

use crate::client::Client;
use crate::story::tenant;
use crate::token_life::state;

/// What every person of the simulated tenant has.
const PASSWORD: &str = "Passw0rd!";

const MINUTE: Duration = Duration::from_secs(60);

/// The proxy in front of a tenant, with Alice's account, which has had no login yet.
async fn in_process(tenant: Tenant) -> InProcess {
    let in_process = InProcess::start(tenant, "").await.unwrap();
    let now = in_process.tenant.clock().now();
    let account = Account::new(Mailbox::parse(ALICE).unwrap(), "default", Grant::Password, now);
    in_process.context.runtime.store.add_account(&account).await.unwrap();
    in_process
}

async fn login(in_process: &InProcess, password: &str) -> String {
    said_to(Client::connect(in_process.address(Protocol::Imap)).await, password).await
}

async fn said_to(mut client: Client, password: &str) -> String {
    client.say(&format!("a LOGIN {ALICE} \"{password}\"")).await;
    client.until("a ").await
}

/// Logs in with the right password from where no login has succeeded yet. If Microsoft verifies it later than every wrong login
/// is answered, as on a slow disk, the login is refused, and one of the next finds the answer: docs/grants.md.
async fn opens(login: impl AsyncFn() -> String) {
    let opening = async {
        loop {
            let answer = login().await;
            if answer.starts_with("a OK") {
                break;
            }
            assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED]"), "{answer}");
        }
    };
    tokio::time::timeout(MINUTE, opening).await.expect("the right password opens within a minute");
}

/// How many passwords Microsoft was asked about.
fn asked(tenant: &Tenant) -> usize {
    tenant.token_requests().iter().filter(|request| request.grant_type == "password").count()
}

#[tokio::test]
async fn microsoft_password_opens_every_protocol_and_is_sent_once() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let said = oxpost.call(&["account", "add", ALICE, "--grant", "password"]).await.unwrap().output().unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("the Microsoft 365 password of alice@contoso.com") && said.contains("without a second factor"),
        "{said}"
    );
    let said = oxpost.call(&["account", "password", "add", ALICE]).await.unwrap();
    assert!(said.status == Some(1) && said.text().contains("Oxpost has none for it"), "{said}");
    let status = oxpost.call(&["status"]).await.unwrap().text();
    assert!(status.contains("not signed in") && status.contains("log in with the mail program"), "{status}");

    let running = oxpost.run().await.unwrap();
    opens(async || said_to(Client::connect(running.address(Protocol::Imap)).await, PASSWORD).await).await;
    let mut pop3 = Client::connect(running.address(Protocol::Pop3)).await;
    pop3.line().await.unwrap();
    for line in [format!("USER {ALICE}"), format!("PASS {PASSWORD}")] {
        pop3.say(&line).await;
        assert!(pop3.line().await.unwrap().starts_with("+OK"));
    }
    let mut smtp = Client::connect(running.address(Protocol::Smtp)).await;
    smtp.until("220 ").await;
    smtp.say("EHLO test").await;
    smtp.until("250 ").await;
    smtp.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{PASSWORD}")))).await;
    assert!(smtp.line().await.unwrap().starts_with("235"));
    assert_eq!(tenant.token_requests().len(), 1);
    drop((pop3, smtp));
    let log = running.stop().await.unwrap();
    assert!(!log.contains(PASSWORD), "{log}");
    for transcript in tenant.transcripts() {
        assert!(!transcript.to_string().contains(PASSWORD), "{transcript}");
    }
    let status = oxpost.call(&["status", "--json"]).await.unwrap().accounts().unwrap();
    assert_eq!((&status[0]["grant"], &status[0]["state"]), (&"password".into(), &"not served".into()));
    assert_eq!(status[0]["signed_in_as"], ALICE);
    assert!(status[0]["last_login"].is_string(), "{status}");
}

#[tokio::test]
async fn a_password_can_be_tried_before_a_mail_program_is_set_up() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    oxpost.call(&["account", "add", ALICE, "--grant", "password"]).await.unwrap().output().unwrap();
    let said = oxpost.call_with(&["sign-in", ALICE], "hunter2-hunter2\n").await.unwrap();
    assert!(said.status == Some(1) && said.text().contains("AADSTS50126"), "{said}");
    assert!(!said.text().contains("hunter2"), "{said}");
    let said = oxpost.call(&["sign-in", ALICE]).await.unwrap();
    assert!(said.status == Some(1) && said.text().contains("standard input is empty"), "{said}");
    let said = oxpost.call_with(&["sign-in", ALICE], &format!("{PASSWORD}\r\n")).await.unwrap().output().unwrap();
    assert!(String::from_utf8_lossy(&said).contains("is signed in"));
    let status = oxpost.call(&["status"]).await.unwrap().text();
    assert!(status.contains(" not served "), "{status}");
    let said = oxpost.call(&["account", "list"]).await.unwrap().text();
    assert!(said.contains("Microsoft's"), "{said}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_the_account_is_added() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings { tenant: "common".into(), ..Settings::of(&tenant, CLIENT_ID) }).unwrap();
    let said = oxpost.call(&["account", "add", ALICE, "--grant", "password"]).await.unwrap();
    assert!(said.status == Some(1) && said.text().contains("organizations"), "{said}");
    let said = oxpost.call(&["account", "add", ALICE, "--grant", "magic"]).await.unwrap();
    assert!(said.status == Some(2) && said.text().contains("a grant is sign-in"), "{said}");
}

/// The reply to each of Microsoft's refusals, and its remedy: where a login has succeeded before. Elsewhere the log has them, and
/// the client hears what it hears of an account that does not exist.
#[tokio::test]
async fn every_refusal_of_a_password_gives_the_right_reply() {
    for (code, reply, words) in [
        (50_126, "[AUTHENTICATIONFAILED]", "--grant password"),
        (50_076, "[CONTACTADMIN]", "second factor"),
        (50_079, "[CONTACTADMIN]", "enrol a second factor"),
        (65_001, "[CONTACTADMIN]", "Grant admin consent"),
        (50_034, "[CONTACTADMIN]", "knows no user"),
        (50_053, "[UNAVAILABLE]", "has locked the user"),
        (7_000_218, "[CONTACTADMIN]", "Allow public client flows = Yes"),
        (50_055, "[CONTACTADMIN]", "expired"),
        (90_033, "[UNAVAILABLE]", "status.cloud.microsoft"),
    ] {
        let in_process = in_process(tenant().await).await;
        let fault = |fault| in_process.tenant.behave(|tenant| tenant.entra.fault = fault);
        fault(Some(TokenFault::Aadsts(code)));
        let answer = login(&in_process, PASSWORD).await;
        assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED] "), "{code}: {answer}");
        fault(None);
        in_process.tenant.clock().advance(20 * MINUTE);
        // It is asked again by itself.
        opens(async || login(&in_process, PASSWORD).await).await;
        assert_eq!(state(&in_process).await.last_error, None);
        fault(Some(TokenFault::Aadsts(code)));
        let answer = login(&in_process, "Another1!").await;
        assert!(answer.starts_with(&format!("a NO {reply} ")) && answer.contains(words), "{code}: {answer}");
        fault(None);
        in_process.tenant.clock().advance(20 * MINUTE);
        assert!(login(&in_process, PASSWORD).await.starts_with("a OK"), "{code}");
        in_process.stop().await;
    }
}

/// The same as the tenant itself says them, without a fault of a test.
#[tokio::test]
async fn mfa_missing_consent_and_web_application_are_distinguished() {
    let in_process = in_process(tenant().await).await;
    opens(async || login(&in_process, PASSWORD).await).await;
    in_process.tenant.change_password(ALICE, "Changed1!");
    let login = async |in_process: &InProcess, _| login(in_process, "Changed1!").await;
    in_process.tenant.behave(|tenant| tenant.entra.second_factor_required = true);
    let answer = login(&in_process, PASSWORD).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN]") && answer.contains("second factor"), "{answer}");
    in_process.tenant.behave(|tenant| tenant.entra.second_factor_required = false);
    in_process.tenant.withdraw_consent(CLIENT_ID);
    in_process.tenant.clock().advance(10 * MINUTE);
    let answer = login(&in_process, PASSWORD).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN]") && answer.contains("Grant admin consent"), "{answer}");
    in_process.tenant.add_application(Application::confidential(CLIENT_ID, "of which we know nothing"));
    in_process.tenant.clock().advance(10 * MINUTE);
    let answer = login(&in_process, PASSWORD).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN]") && answer.contains("Allow public client flows"), "{answer}");
    let error = state(&in_process).await.last_error.unwrap();
    assert!(error.kind == ErrorKind::Misconfigured && error.text.contains("AADSTS7000218"), "{error:?}");
    in_process.stop().await;
}

/// What docs/grants.md says about it.
#[tokio::test]
async fn a_password_that_is_changed_at_microsoft() {
    let in_process = in_process(tenant().await).await;
    opens(async || login(&in_process, PASSWORD).await).await;
    in_process.tenant.change_password(ALICE, "Changed1!");
    // The tokens of the old password live on, at most for as long as Microsoft's access tokens do.
    assert!(login(&in_process, PASSWORD).await.starts_with("a OK"));
    in_process.tenant.clock().advance(61 * MINUTE);
    let answer = login(&in_process, PASSWORD).await;
    assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED]"), "{answer}");
    assert!(state(&in_process).await.has_refresh_token, "a refused password deletes nothing");
    let before = asked(&in_process.tenant);
    for _ in 0..10 {
        assert!(login(&in_process, PASSWORD).await.starts_with("a NO [AUTHENTICATIONFAILED]"));
    }
    assert_eq!(asked(&in_process.tenant), before, "a device repeats its old password; Microsoft does not hear it");
    assert!(login(&in_process, "Changed1!").await.starts_with("a OK"), "the new one counts immediately");
    assert_eq!(asked(&in_process.tenant), before + 1);
    in_process.stop().await;
}

/// Guesses for hours, from one machine after the other.
#[cfg(target_os = "linux")]
#[test]
fn guesses_do_not_lock_the_user_out_at_microsoft() {
    in_own_network(async |network| {
        let tenant = tenant().await;
        let mut settings = Settings::of(&tenant, CLIENT_ID);
        settings.more = format!(
            "[login-throttle]\nfailure-delay = \"1s\"\n[[listener]]\nprotocol = \"imap\"\naddress = \"{}:0\"\n\
             allow-plaintext = true\nnetworks = [\"0.0.0.0/0\"]\n",
            Network::GATEWAY_V4
        );
        let oxpost = Oxpost::new(&settings).unwrap();
        oxpost.call(&["account", "add", ALICE, "--grant", "password"]).await.unwrap().output().unwrap();
        let running = oxpost.run().await.unwrap();
        let listening = running.wait_for_log(&format!("\"address\":\"{}:", Network::GATEWAY_V4)).await.unwrap();
        let listening: serde_json::Value = serde_json::from_str(&listening).unwrap();
        let at = listening["address"].as_str().unwrap().parse().unwrap();
        let login = async |client, password: &str| {
            said_to(Client::over(network.connect(network.client_v4(client), at).await.unwrap()), password).await
        };
        opens(async || login(200, PASSWORD).await).await;
        for source in 0..10 {
            for guess in 0..2 {
                let answer = login(source, &format!("guess {source} {guess}")).await;
                assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED]"), "{answer}");
            }
            let answer = login(200, PASSWORD).await;
            assert!(answer.starts_with("a OK"), "after source {source}: {answer}");
        }
        assert!(!tenant.is_locked_out(ALICE));
        // Four; once in a thousand runs a guess has the tag of another, and is taken for its repetition.
        let heard = tenant.wrong_passwords(ALICE);
        assert!((4..=5).contains(&heard), "Microsoft has heard {heard} of 20 guesses; ten would lock the user out");
        // Then the user changes the password.
        tenant.change_password(ALICE, "Changed1!");
        assert!(login(200, "Changed1!").await.starts_with("a OK"));
        running.stop().await.unwrap();
    });
}

/// A restart in the middle of an outage of Microsoft's sign-in service.
#[tokio::test]
async fn correct_password_after_restart_needs_no_microsoft_answer() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    oxpost.call(&["account", "add", ALICE, "--grant", "password"]).await.unwrap().output().unwrap();
    let login = async |running: &Running, password| {
        said_to(Client::connect(running.address(Protocol::Imap)).await, password).await
    };
    let running = oxpost.run().await.unwrap();
    opens(async || login(&running, PASSWORD).await).await;
    running.stop().await.unwrap();
    tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::Status(503, None)));
    let running = oxpost.run().await.unwrap();
    assert!(login(&running, PASSWORD).await.starts_with("a OK"));
    let answer = login(&running, "another").await;
    assert!(answer.starts_with("a NO [UNAVAILABLE]"), "it has not been verified: {answer}");
    running.stop().await.unwrap();
}
