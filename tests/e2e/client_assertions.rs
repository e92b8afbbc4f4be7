//! How an application proves its identity to Microsoft, and what its administrator sees when the proof is rejected.

use std::time::{Duration, SystemTime};

use oxpost_tests::harness::{self, ALICE, CLIENT_ID, Oxpost, Ran, Running, Settings};
use oxpost_tests::office365::{Application, Mailbox, Outcome, Protocol, Tenant, TokenRequest};
use rcgen::{CertificateParams, KeyPair};

use crate::client::Client;

const SECRET: &str = "Aa1~never-sent-when-there-is-a-certificate";

/// A certificate, and its key: PEM in one file.
pub(crate) struct Pair {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
}

pub(crate) fn pair(valid_for: Duration) -> Pair {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut parameters = CertificateParams::new(["oxpost".to_owned()]).unwrap();
    parameters.not_before = (SystemTime::now() - 365 * DAY).into();
    parameters.not_after = (SystemTime::now() - DAY + valid_for).into();
    let certificate = parameters.self_signed(&key).unwrap();
    Pair { der: certificate.der().to_vec(), pem: format!("{}{}", certificate.pem(), key.serialize_pem()) }
}

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A tenant with one confidential application, which may open Alice's mailbox.
pub(crate) async fn tenant(application: Application) -> Tenant {
    Tenant::builder()
        .mailbox(Mailbox::user(ALICE).full_access(CLIENT_ID))
        .application(application)
        .start()
        .await
        .unwrap()
}

pub(crate) fn confidential() -> Application {
    Application::confidential(CLIENT_ID, SECRET)
}

/// The program with one more application, `proven`, that has these keys.
pub(crate) fn oxpost(tenant: &Tenant, keys: &str, files: &[(&str, &str)]) -> Oxpost {
    with_ids(tenant, tenant.id(), CLIENT_ID, keys, files)
}

pub(crate) fn with_ids(tenant: &Tenant, id: &str, client_id: &str, keys: &str, files: &[(&str, &str)]) -> Oxpost {
    let section = format!(
        "[[application]]\nname = \"proven\"\nprovider = \"test\"\ntenant = \"{id}\"\nclient-id = \"{client_id}\"\n{keys}\n"
    );
    let oxpost = Oxpost::new(&Settings { more: section, ..Settings::of(tenant, CLIENT_ID) }).unwrap();
    for (name, text) in files {
        write_private(&oxpost, name, text);
    }
    oxpost
}

pub(crate) fn write_private(oxpost: &Oxpost, name: &str, text: &str) {
    harness::write_private(&oxpost.folder().join(name), text).unwrap();
}

pub(crate) async fn app_only(oxpost: &Oxpost) -> String {
    oxpost.add_account(ALICE, &["--application", "proven", "--grant", "client-credentials"]).await.unwrap()
}

/// `oxpost sign-in` of an app-only account, which asks for a first token.
async fn sign_in(oxpost: &Oxpost) -> Ran {
    app_only(oxpost).await;
    oxpost.call(&["sign-in", ALICE]).await.unwrap()
}

/// A login by IMAP through a running service.
async fn login(running: &Running, password: &str) -> String {
    let mut client = Client::connect(running.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {password}")).await;
    client.until("a ").await
}

fn issued(requests: &[TokenRequest], grant_type: &str) -> usize {
    let issued = |request: &&TokenRequest| request.grant_type == grant_type && request.outcome == Outcome::Issued;
    requests.iter().filter(issued).count()
}

#[tokio::test]
async fn a_certificate_proves_an_app_only_application() {
    let pair = pair(YEAR);
    let tenant = tenant(confidential().certificate(&pair.der)).await;
    for keys in ["certificate = \"app.pem\"", "certificate = \"app.pem\"\nassertion = \"rs256\""] {
        let oxpost = oxpost(&tenant, keys, &[("app.pem", &pair.pem)]);
        let password = app_only(&oxpost).await;
        let running = oxpost.run().await.unwrap();
        assert!(login(&running, &password).await.starts_with("a OK"), "{keys}");
        let log = running.stop().await.unwrap();
        assert!(!log.contains("PRIVATE KEY") && !log.contains("client_assertion"), "{log}");
    }
    assert_eq!(issued(&tenant.token_requests(), "client_credentials"), 2);
}

/// A confidential application whose people sign in sends its statement with the code's polls and with every refresh.
#[tokio::test]
async fn a_certificate_proves_an_application_that_people_sign_in_to() {
    let pair = pair(YEAR);
    let tenant = tenant(confidential().certificate(&pair.der)).await;
    let oxpost = oxpost(&tenant, "certificate = \"app.pem\"", &[("app.pem", &pair.pem)]);
    let password = oxpost.add_account(ALICE, &["--application", "proven"]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    tenant.revoke_access_tokens(ALICE);
    let running = oxpost.run().await.unwrap();
    assert!(login(&running, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
    assert_eq!(issued(&tenant.token_requests(), "refresh_token"), 1, "{:?}", tenant.token_requests());
}

#[tokio::test]
async fn a_certificate_that_is_not_registered_is_named() {
    let (registered, other) = (pair(YEAR), pair(YEAR));
    let tenant = tenant(confidential().certificate(&registered.der)).await;
    let oxpost = oxpost(&tenant, "certificate = \"app.pem\"", &[("app.pem", &other.pem)]);
    oxpost.call(&["check"]).await.unwrap().output().unwrap();
    let said = sign_in(&oxpost).await.text();
    assert!(said.contains("AADSTS700027") && said.contains("Upload the certificate"), "{said}");
}

#[tokio::test]
async fn expired_certificate_is_reported_before_a_request() {
    let pair = pair(Duration::ZERO);
    let tenant = tenant(confidential().certificate(&pair.der)).await;
    let oxpost = oxpost(&tenant, "certificate = \"app.pem\"", &[("app.pem", &pair.pem)]);
    let checked = oxpost.call(&["check"]).await.unwrap();
    assert!(checked.status == Some(1) && checked.text().contains("has expired on"), "{checked}");
    let said = sign_in(&oxpost).await.text();
    assert!(said.contains("`proven` has expired on") && said.contains("Certificates & secrets"), "{said}");
    assert_eq!(tenant.token_requests().len(), 0);
}

#[tokio::test]
async fn the_last_month_of_a_certificate_shows_everywhere() {
    let pair = pair(20 * DAY);
    let tenant = tenant(confidential().certificate(&pair.der)).await;
    let oxpost = oxpost(&tenant, "certificate = \"app.pem\"", &[("app.pem", &pair.pem)]);
    app_only(&oxpost).await;
    let said = |ran: Ran| ran.report().unwrap();
    for command in ["check", "status"] {
        let said = said(oxpost.call(&[command]).await.unwrap());
        assert!(said.contains("in 18 days. Make a new one, upload it"), "{command}: {said}");
    }
    let status = oxpost.call(&["status", "--json"]).await.unwrap().accounts().unwrap();
    let credential = &status[0]["credential"];
    assert_eq!((&credential["kind"], &credential["days_left"]), (&"certificate".into(), &18.into()), "{status}");
    let running = oxpost.run().await.unwrap();
    assert!(running.stop().await.unwrap().contains("in 18 days"));
}

/// The service runs by its machine's clock, the tenant an hour ahead of it.
#[tokio::test]
async fn a_clock_that_is_wrong_is_named() {
    let pair = pair(YEAR);
    let tenant = tenant(confidential().certificate(&pair.der)).await;
    tenant.clock().advance(Duration::from_secs(3600));
    let oxpost = oxpost(&tenant, "certificate = \"app.pem\"", &[("app.pem", &pair.pem)]);
    let said = sign_in(&oxpost).await.text();
    assert!(said.contains("AADSTS700024") && said.contains("clock"), "{said}");
}

#[tokio::test]
async fn wrong_secret_tenant_and_client_id_are_distinguished() {
    let tenant = tenant(confidential()).await;
    let mistyped = CLIENT_ID.replace("5555", "5556");
    let wrong = "Aa1~never-registered-0123456789";
    for (id, client_id, secret, words) in [
        (tenant.id(), CLIENT_ID, wrong, ["AADSTS7000215", "not its Secret ID"]),
        ("fabrikam.example", CLIENT_ID, SECRET, ["AADSTS90002", "Tenant ID"]),
        (tenant.id(), mistyped.as_str(), SECRET, ["AADSTS700016", "client id"]),
    ] {
        let keys = "client-secret-file = \"secret\"";
        let oxpost = with_ids(&tenant, id, client_id, keys, &[("secret", secret)]);
        let said = sign_in(&oxpost).await.text();
        assert!(words.iter().all(|words| said.contains(words)) && !said.contains(secret), "{said}");
    }
}
