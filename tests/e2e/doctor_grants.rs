//! `oxpost doctor` with every way in which an application can prove itself, and with every grant.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings};
use oxpost_tests::office365::{Application, Tenant};

use crate::client_assertions::{
    DAY, Pair, YEAR, app_only, confidential, oxpost, pair, tenant, with_ids, write_private,
};
use crate::doctor::Checklist;
use crate::managed_identity::{self, ISSUER, SUBJECT, statement};
use crate::story;

const LOGINS: [&str; 5] = ["IMAP login", "mailbox", "POP3 login", "SMTP login", "sender"];

/// Everything that needs a token.
fn behind_the_token() -> Vec<&'static str> {
    [&["audience", "identity", "token length"], &LOGINS[..]].concat()
}

/// Everything that needs the application to prove itself.
fn behind_the_credential() -> Vec<&'static str> {
    let registration =
        ["client id", "kind of client", "IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp", "token"];
    [&registration[..], &behind_the_token()].concat()
}

async fn with_certificate(registered: &Pair, ours: &Pair) -> (Tenant, Oxpost) {
    let tenant = tenant(confidential().certificate(&registered.der)).await;
    let oxpost = oxpost(&tenant, "certificate = \"app.pem\"", &[("app.pem", &ours.pem)]);
    app_only(&oxpost).await;
    (tenant, oxpost)
}

#[tokio::test]
async fn a_certificate_is_examined_with_its_end() {
    let (good, other) = (pair(YEAR), pair(YEAR));
    let (_tenant, oxpost) = with_certificate(&good, &good).await;
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    list.fails(&[]);
    assert!(list.lines().contains("its certificate is accepted") && list.lines().contains("in 363 days"));

    let (_tenant, oxpost) = with_certificate(&good, &other).await;
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    list.fails(&[("kind of client", "Upload the certificate")]);
    assert!(list.lines().contains("AADSTS700027"), "{}", list.lines());

    let near = pair(20 * DAY);
    let (_tenant, oxpost) = with_certificate(&near, &near).await;
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    list.fails(&[]);
    assert_eq!(list.with("warning"), ["credential"]);
    assert!(list.lines().contains("Make a new one, upload it"), "{}", list.lines());

    let over = pair(Duration::ZERO);
    let (tenant, oxpost) = with_certificate(&over, &over).await;
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    list.fails(&[("credential", "has expired on")]);
    list.not_checked(&behind_the_credential());
    assert_eq!(tenant.token_requests().len(), 0);
}

/// The statement is signed by our clock, an hour behind that of the tenant.
#[tokio::test]
async fn wrong_clock_is_shown_with_what_it_breaks() {
    let pair = pair(YEAR);
    let (tenant, oxpost) = with_certificate(&pair, &pair).await;
    tenant.clock().advance(Duration::from_secs(3600));
    Checklist::of(&oxpost, &[ALICE])
        .await
        .fails(&[("clock", "1h behind"), ("kind of client", "Set this machine's clock")]);
}

#[tokio::test]
async fn a_federated_token_is_examined() {
    let tenant = tenant(Application::confidential(CLIENT_ID, "unused").federated(ISSUER, SUBJECT)).await;
    let oxpost = oxpost(&tenant, "federated-token-file = \"token\"", &[]);
    app_only(&oxpost).await;
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    list.fails(&[("credential", "Check federated-token-file in proxy.toml")]);
    list.not_checked(&behind_the_credential());
    write_private(&oxpost, "token", &statement(&tenant, "another:subject"));
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[("kind of client", "compare the subject")]);
    write_private(&oxpost, "token", &statement(&tenant, SUBJECT));
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    list.fails(&[]);
    assert!(list.lines().contains("its federated token is accepted"), "{}", list.lines());
}

#[tokio::test]
async fn the_identity_of_a_virtual_machine_is_examined() {
    for (application, fails) in [
        (Application::managed_identity(CLIENT_ID), None),
        (confidential(), Some(("kind of client", "Security > Identity"))),
    ] {
        let tenant = tenant(application).await;
        let section = format!(
            "[[application]]\nname = \"proven\"\nprovider = \"test\"\nmanaged-identity = \"azure-vm\"\n\
             managed-identity-endpoint = {:?}\n",
            managed_identity::endpoint(&tenant)
        );
        let oxpost = Oxpost::new(&Settings { more: section, ..Settings::of(&tenant, CLIENT_ID) }).unwrap();
        app_only(&oxpost).await;
        let list = Checklist::of(&oxpost, &[ALICE]).await;
        list.fails(fails.as_slice());
        assert!(list.lines().contains("application proven at this machine"), "{}", list.lines());
        assert!(!list.lines().contains("\"authority\""), "the authority is not asked: {}", list.lines());
    }
}

#[tokio::test]
async fn an_application_that_cannot_do_what_the_account_asks_is_named() {
    let secret = "Aa1~never-sent-when-there-is-a-certificate";
    let tenant = tenant(confidential()).await;
    let oxpost = with_ids(&tenant, tenant.id(), CLIENT_ID, "client-secret-file = \"secret\"", &[("secret", secret)]);
    app_only(&oxpost).await;
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[]);
    let file = oxpost.folder().join("proxy.toml");
    let right = std::fs::read_to_string(&file).unwrap();
    let (before, proven) = right.rsplit_once("[[application]]").unwrap();
    let change = |from: &str, to: &str| {
        assert!(proven.contains(from), "{proven}");
        std::fs::write(&file, format!("{before}[[application]]{}", proven.replace(from, to))).unwrap();
    };
    change(tenant.id(), "organizations");
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[("application", "which is no tenant. Set the tenant")]);
    change("client-secret-file = \"secret\"", "");
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[("kind of client", "`oxpost application secret proven`")]);
    oxpost.call(&["account", "remove", ALICE]).await.unwrap().output().unwrap();
    oxpost.add_account(ALICE, &["--application", "proven"]).await.unwrap();
    let identity = "managed-identity = \"azure-vm\"";
    change("client-secret-file = \"secret\"", identity);
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[("application", "users cannot sign in to that")]);
    oxpost.call(&["account", "remove", ALICE]).await.unwrap().output().unwrap();
    let said = oxpost.call(&["account", "add", ALICE, "--application", "proven"]).await.unwrap();
    assert!(said.status == Some(1) && said.text().contains("users cannot sign in to that"), "{said}");
}

#[tokio::test]
async fn account_with_the_password_grant_is_examined() {
    let tenant = story::tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    oxpost.call(&["account", "add", ALICE, "--grant", "password"]).await.unwrap().output().unwrap();
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[("token", "Log in with the mail program, or run `oxpost sign-in")]);
    oxpost.call_with(&["sign-in", ALICE], "Passw0rd!\n").await.unwrap().output().unwrap();
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[]);
    let file = oxpost.folder().join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(tenant.id(), "common")).unwrap();
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[("application", "or to organizations")]);
}

/// Google, for one: no tenants, no device codes, one permission for everything.
#[tokio::test]
async fn doctor_checks_another_provider_as_far_as_possible() {
    let tenant = story::tenant().await;
    let authority = tenant.authority();
    let more = format!(
        "[[provider]]\nname = \"other\"\nauthorize-url = \"{authority}/auth\"\ntoken-url = \"{authority}/token\"\n\
         imap = {{ host = \"localhost\", port = {} }}\npop3 = {{ host = \"localhost\", port = {} }}\n\
         smtp = {{ host = \"localhost\", port = {}, tls = \"start-tls\" }}\n\
         delegated-scopes = [\"https://mail.example/\"]\n\n\
         [[application]]\nname = \"other\"\nprovider = \"other\"\nclient-id = \"x\"\n",
        tenant.imap().port(),
        tenant.pop3().port(),
        tenant.smtp().port(),
    );
    let oxpost = Oxpost::new(&Settings { more, ..Settings::of(&tenant, CLIENT_ID) }).unwrap();
    oxpost.add_account(ALICE, &["--application", "other"]).await.unwrap();
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    list.fails(&[("token", "oxpost sign-in alice@contoso.com")]);
    list.not_checked(&[&["client id", "kind of client", "permission"], &behind_the_token()[..]].concat());
    assert!(!list.lines().contains("\"tenant\""), "{}", list.lines());
}

#[tokio::test]
async fn doctor_without_accounts_checks_the_rest_and_creates_no_store() {
    let tenant = story::tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("store and key", "oxpost account add ADDRESS")]);
    list.not_checked(&["credential"]);
    for name in ["authority", "clock", "tenant", "certificate"] {
        assert!(list.with("passed").contains(&name), "{}", list.lines());
    }
    assert!(!oxpost.folder().join("oxpost.db").exists() && !oxpost.folder().join("oxpost.key").exists());
    let file = oxpost.folder().join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let without: String = text.split_inclusive("\n\n").filter(|table| !table.contains("[[listener]]")).collect();
    std::fs::write(&file, without).unwrap();
    Checklist::of(&oxpost, &[]).await.fails(&[("configuration", "no [[listener]]")]);
}

/// Without an address the whole gateway is examined, and with one only what that account uses.
#[tokio::test]
async fn unused_application_is_checked_for_the_whole_gateway() {
    let tenant = story::tenant().await;
    let more =
        "[[application]]\nname = \"next\"\nprovider = \"test\"\ntenant = \"fabrikam.example\"\nclient-id = \"x\"\n";
    let oxpost = Oxpost::new(&Settings { more: more.into(), ..Settings::of(&tenant, CLIENT_ID) }).unwrap();
    oxpost.add_account(ALICE, &["--application", "default"]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[]);
    Checklist::of(&oxpost, &[]).await.fails(&[("tenant", "AADSTS90002")]);
}
