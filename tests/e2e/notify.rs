//! Administrators are notified when they must act: once, with the remedy, and again when it is over.

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings, Webhook, eventually};
use oxpost_tests::office365::{Protocol, Tenant};

use crate::client::Client;
use crate::story::tenant;

const KEY: &str = "Bearer whoever-has-this-may-post";

/// The program, which tells a webhook and, where there is a `tee`, a command that appends to a file.
fn oxpost(tenant: &Tenant, told: &Webhook) -> Oxpost {
    let command = if cfg!(unix) { "command = [\"tee\", \"-a\", \"told.json\"]" } else { "" };
    let more = format!("[notify]\nwebhook = {:?}\nwebhook-header-file = \"header.txt\"\n{command}\n", told.url);
    let oxpost = Oxpost::new(&Settings { more, ..Settings::of(tenant, CLIENT_ID) }).unwrap();
    let header = oxpost.folder().join("header.txt");
    std::fs::write(&header, format!("Authorization: {KEY}\n")).unwrap();
    mode(&header, 0o600);
    oxpost
}

#[cfg(unix)]
fn mode(file: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn mode(_: &std::path::Path, _: u32) {}

#[tokio::test]
async fn revoked_sign_in_raises_and_resolves_one_alert() {
    let (tenant, mut told) = (tenant().await, Webhook::start().await.unwrap());
    let oxpost = oxpost(&tenant, &told);
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    tenant.revoke(ALICE);
    tenant.revoke_access_tokens(ALICE);
    let running = oxpost.run().await.unwrap();
    let login = async || {
        let mut client = Client::connect(running.address(Protocol::Imap)).await;
        client.say(&format!("a LOGIN {ALICE} {password}")).await;
        client.until("a ").await
    };
    assert!(login().await.starts_with("a NO [CONTACTADMIN]"));
    let (key, problem) = told.next().await.unwrap();
    assert_eq!(key.as_deref(), Some(KEY));
    for (name, value) in [("kind", "raised"), ("event", "sign-in-needed"), ("account", ALICE)] {
        assert_eq!(problem[name], value, "{problem}");
    }
    assert!(problem["remedy"].as_str().unwrap().contains(&format!("oxpost sign-in {ALICE}")), "{problem}");
    assert!(!problem.to_string().contains(&password));
    let logged = running.wait_for_log("alert: ").await.unwrap();
    assert!(logged.contains(problem["id"].as_str().unwrap()), "{logged}");
    // Further logins, which are refused too, are no news.
    for _ in 0..3 {
        assert!(login().await.starts_with("a NO [CONTACTADMIN]"));
    }
    // It is recorded once every channel has delivered, the command too.
    eventually("the delivery is recorded", async || {
        let status = oxpost.call(&["status"]).await.unwrap().report().unwrap();
        assert!(status.contains("sign in again"), "{status}");
        status.contains("(Notified ").then_some(())
    })
    .await;
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let (_, solved) = told.next().await.unwrap();
    assert_eq!((&solved["kind"], &solved["id"]), (&"resolved".into(), &problem["id"]), "{solved}");
    running.wait_for_log("alert resolved: ").await.unwrap();
    assert!(login().await.starts_with("a OK"));
    if cfg!(unix) {
        let both = format!("{}{}", sorted_like_ours(&problem), sorted_like_ours(&solved));
        let mut commanded = String::new();
        for _ in 0..6000 {
            commanded = std::fs::read_to_string(oxpost.folder().join("told.json")).unwrap();
            if commanded.len() >= both.len() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(commanded, both);
    }
    let log = running.stop().await.unwrap();
    assert!(!log.contains(KEY) && told.is_quiet());
}

/// The order of the fields in which they were written.
fn sorted_like_ours(message: &serde_json::Value) -> String {
    let names = [
        "id",
        "ids",
        "kind",
        "event",
        "account",
        "application",
        "what",
        "remedy",
        "since",
        "at",
        "host",
        "text",
        "count",
    ];
    let fields: Vec<String> = names.iter().map(|name| format!("{name:?}:{}", message[name])).collect();
    format!("{{{}}}", fields.join(","))
}

#[tokio::test]
async fn notify_test_names_the_channels() {
    let (tenant, mut told) = (tenant().await, Webhook::start().await.unwrap());
    let oxpost = oxpost(&tenant, &told);
    let said = String::from_utf8(oxpost.call(&["notify", "test"]).await.unwrap().output().unwrap()).unwrap();
    assert!(said.contains("webhook: delivered."), "{said}");
    assert_eq!(said.contains("command: delivered."), cfg!(unix), "{said}");
    let (key, message) = told.next().await.unwrap();
    assert_eq!((key.as_deref(), &message["kind"], &message["account"]), (Some(KEY), &"test".into(), &().into()));
    let file = oxpost.folder().join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("/told\"", "/elsewhere\"");
    std::fs::write(&file, &text).unwrap();
    let failed = oxpost.call(&["notify", "test"]).await.unwrap();
    assert!(failed.status == Some(1) && failed.text().contains("HTTP status 404"), "{failed}");
    std::fs::write(
        &file,
        text.replace("[notify]", "[notify]\n#").replace("webhook", "#webhook").replace("command", "#"),
    )
    .unwrap();
    let unconfigured = oxpost.call(&["notify", "test"]).await.unwrap();
    assert!(
        unconfigured.status == Some(1) && unconfigured.text().contains("neither `webhook` nor `command`"),
        "{unconfigured}"
    );
}

/// A service manager restarts it every few seconds; the alert is delivered once, and resolved when it runs.
#[cfg(unix)]
#[tokio::test]
async fn readable_key_prevents_the_start_and_is_reported_once() {
    let (tenant, mut told) = (tenant().await, Webhook::start().await.unwrap());
    let oxpost = oxpost(&tenant, &told);
    oxpost.add_account(ALICE, &[]).await.unwrap();
    mode(&oxpost.folder().join("oxpost.key"), 0o644);
    for _ in 0..3 {
        let failed = oxpost.call(&["run"]).await.unwrap();
        assert!(failed.status == Some(1) && failed.text().contains("chmod 600"), "{failed}");
    }
    let (_, problem) = told.next().await.unwrap();
    assert_eq!((&problem["kind"], &problem["event"]), (&"raised".into(), &"store".into()), "{problem}");
    assert!(problem["what"].as_str().unwrap().contains("chmod 600") && told.is_quiet(), "{problem}");
    mode(&oxpost.folder().join("oxpost.key"), 0o600);
    let running = oxpost.run().await.unwrap();
    let (_, solved) = told.next().await.unwrap();
    assert_eq!((&solved["kind"], &solved["id"]), (&"resolved".into(), &problem["id"]), "{solved}");
    running.stop().await.unwrap();
}
