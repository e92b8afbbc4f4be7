//! The certificate of an application is replaced while Oxpost runs, and mail programs do not notice.

use std::fs::File;
use std::time::{Duration, SystemTime};

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, eventually};
use oxpost_tests::office365::{Application, Mailbox, Outcome, Protocol, Tenant};

use crate::client::Client;
use crate::client_assertions::{DAY, Pair, YEAR, app_only, confidential, oxpost, pair, write_private};

const BOTH: &str = "certificate = \"app.pem\"\nnext-certificate = \"next.pem\"";

/// Each of them logs in once: a second token that is refused within half a minute is not replaced.
const PEOPLE: [&str; 4] = [ALICE, "bob@contoso.com", "carol@contoso.com", "dan@contoso.com"];

async fn tenant(application: Application) -> Tenant {
    let mailboxes = PEOPLE.map(|person| Mailbox::user(person).full_access(CLIENT_ID));
    let tenant = mailboxes.into_iter().fold(Tenant::builder(), |tenant, mailbox| tenant.mailbox(mailbox));
    tenant.application(application).start().await.unwrap()
}

/// All of them sign in to the application; their local passwords.
async fn sign_in(oxpost: &Oxpost, tenant: &Tenant) -> Vec<String> {
    let mut passwords = Vec::new();
    for person in PEOPLE {
        passwords.push(oxpost.add_account(person, &["--application", "proven"]).await.unwrap());
        oxpost.sign_in(person, tenant, person).await.unwrap();
    }
    passwords
}

/// The person of this number logs in after the token has been revoked, so a new one is needed.
async fn login(tenant: &Tenant, running: &Running, passwords: &[String], number: usize) {
    let person = PEOPLE[number];
    tenant.revoke_access_tokens(person);
    let mut client = Client::connect(running.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {person} {}", passwords[number])).await;
    let reply = client.until("a ").await;
    assert!(reply.starts_with("a OK"), "{reply}");
}

/// Writes a file whose time differs from that of every write before.
fn rewrite(oxpost: &Oxpost, name: &str, text: &str, write: u64) {
    let path = oxpost.folder().join(name);
    write_private(oxpost, name, text);
    let time = SystemTime::now() + Duration::from_secs(write);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn registered(pairs: &[&Pair]) -> Application {
    pairs.iter().fold(confidential(), |application, pair| application.certificate(&pair.der))
}

#[tokio::test]
async fn replaced_certificate_is_used_without_a_restart() {
    let (old, new) = (pair(20 * DAY), pair(YEAR));
    let tenant = tenant(registered(&[&old])).await;
    let oxpost = oxpost(&tenant, "certificate = \"app.pem\"", &[("app.pem", &old.pem)]);
    let passwords = sign_in(&oxpost, &tenant).await;
    let running = oxpost.run().await.unwrap();
    login(&tenant, &running, &passwords, 0).await;

    // Half of a file changes nothing, and shows.
    tenant.add_application(registered(&[&old, &new]));
    rewrite(&oxpost, "app.pem", &new.pem[..new.pem.len() / 2], 10);
    running.wait_for_log("the previous one remains in use").await.unwrap();
    let checked = oxpost.call(&["check"]).await.unwrap();
    assert!(checked.status == Some(1) && checked.text().contains("app.pem"), "{checked}");
    login(&tenant, &running, &passwords, 1).await;

    rewrite(&oxpost, "app.pem", &new.pem, 20);
    running.wait_for_log("the certificate of the application was replaced").await.unwrap();
    login(&tenant, &running, &passwords, 2).await;
    tenant.add_application(registered(&[&new]));
    login(&tenant, &running, &passwords, 3).await;
    let refused = tenant.token_requests().iter().filter(|request| request.outcome != Outcome::Issued).count();
    assert_eq!(refused, 0);
    let checked = oxpost.call(&["check"]).await.unwrap().said().unwrap();
    assert!(checked.contains("in 363 days"), "{checked}");
    let log = running.stop().await.unwrap();
    let warnings = log.lines().filter(|line| line.contains("the previous one remains in use")).count();
    assert_eq!(warnings, 1, "{log}");
    assert!(!log.contains("PRIVATE KEY") && !log.contains(new.pem.lines().nth(30).unwrap()), "{log}");
}

#[tokio::test]
async fn next_certificate_takes_over_when_the_current_one_is_removed() {
    let (old, new) = (pair(20 * DAY), pair(YEAR));
    let tenant = tenant(registered(&[&old, &new])).await;
    let oxpost = oxpost(&tenant, BOTH, &[("app.pem", &old.pem), ("next.pem", &new.pem)]);
    let passwords = sign_in(&oxpost, &tenant).await;
    let running = oxpost.run().await.unwrap();
    login(&tenant, &running, &passwords, 0).await;
    let status = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    for words in
        ["renew soon", "in 18 days. A next certificate is configured but has not been tried", "has not been tried, and"]
    {
        assert!(status.contains(words), "{words}: {status}");
    }

    let requests = tenant.token_requests().len();
    tenant.add_application(registered(&[&new]));
    login(&tenant, &running, &passwords, 1).await;
    assert_eq!(tenant.token_requests().len(), requests + 2, "one that is refused, and one that is not");
    login(&tenant, &running, &passwords, 2).await;
    assert_eq!(tenant.token_requests().len(), requests + 3);
    // Another process knows it from the store.
    let status = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    assert!(
        status.contains("is in use, because Microsoft refused the current one") && status.contains("  ok  "),
        "{status}"
    );
    let accounts = oxpost.call(&["status", "--json"]).await.unwrap().accounts().unwrap();
    let credential = &accounts[0]["credential"];
    assert!(credential["next"].is_null() && credential["days_left"] == 363, "{credential}");
    let log = running.stop().await.unwrap();
    let line = log.lines().find(|line| line.contains("it is the certificate from now on")).unwrap();
    assert!(line.contains("AADSTS700027") && line.contains("\"application\":\"proven\""), "{line}");

    // Nor does a restart ask with the old one.
    let requests = tenant.token_requests().len();
    let running = oxpost.run().await.unwrap();
    login(&tenant, &running, &passwords, 3).await;
    assert_eq!(tenant.token_requests().len(), requests + 1);
    running.stop().await.unwrap();
}

/// Accounts that failed because of the certificate are tried again when it is replaced.
#[tokio::test]
async fn replaced_certificate_retries_failed_accounts() {
    let (old, new) = (pair(YEAR), pair(YEAR));
    let tenant = tenant(registered(&[&new])).await;
    let oxpost = oxpost(&tenant, "certificate = \"app.pem\"", &[("app.pem", &old.pem)]);
    let password = app_only(&oxpost).await;
    let running = oxpost.run().await.unwrap();
    let state = async || oxpost.call(&["status", "--json"]).await.unwrap().accounts().unwrap()[0]["state"].clone();
    eventually("the account is misconfigured", async || (state().await == "misconfigured").then_some(())).await;
    rewrite(&oxpost, "app.pem", &new.pem, 10);
    eventually("the account works", async || (state().await == "ok").then_some(())).await;
    let mut client = Client::connect(running.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {password}")).await;
    let reply = client.until("a ").await;
    assert!(reply.starts_with("a OK"), "{reply}");
    drop(client);
    running.stop().await.unwrap();
}
