//! The program as an administrator types it: how it answers mistakes, and that it loses nothing.

use std::path::Path;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings};
use oxpost_tests::office365::Application;

#[cfg(unix)]
use crate::client::Client;
use crate::logins::imap;
use crate::story::tenant;

/// A command that must fail; gives back what it says.
async fn refused(oxpost: &Oxpost, arguments: &[&str]) -> String {
    let said = oxpost.call(arguments).await.unwrap().refusal().unwrap();
    assert!(said.starts_with("oxpost: ") && !said.contains("panicked"), "{said}");
    said
}

fn change(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[tokio::test]
async fn a_wrong_configuration_names_file_line_and_remedy() {
    let oxpost = Oxpost::new(&Settings::of(&tenant().await, CLIENT_ID)).unwrap();
    let file = oxpost.folder().join("proxy.toml");
    oxpost.call(&["check"]).await.unwrap().output().unwrap();
    change(&file, "[trust]", "[turst]");
    let said = refused(&oxpost, &["run"]).await;
    assert!(said.contains("proxy.toml, line ") && said.contains("`trust`"), "{said}");
    change(&file, "[turst]", "[trust]");
    change(&file, "ca.pem", "no-such.pem");
    let said = refused(&oxpost, &["check"]).await;
    assert!(said.contains("no-such.pem"), "{said}");
    let said = refused(&oxpost, &["--config", "nowhere.toml", "check"]).await;
    assert!(said.contains("nowhere.toml") && said.contains("--config"), "{said}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let running = oxpost.run().await.unwrap();
    let settings = Settings { ports: [running.imap.port(), 0, 0], ..Settings::of(&tenant, CLIENT_ID) };
    let second = Oxpost::new(&settings).unwrap();
    let said = second.call(&["run"]).await.unwrap();
    assert_eq!(said.status, Some(1));
    assert!(said.text().contains(&format!("cannot listen on {}", running.imap)), "{said}");
    assert!(said.text().contains("another port"), "{said}");
    running.stop().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn readable_key_file_is_rejected_with_the_command_to_fix_it() {
    use std::os::unix::fs::PermissionsExt;
    let oxpost = Oxpost::new(&Settings::of(&tenant().await, CLIENT_ID)).unwrap();
    oxpost.add_account(ALICE, &[]).await.unwrap();
    let key = oxpost.folder().join("oxpost.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&oxpost, &["status"]).await;
    assert!(said.contains("oxpost.key") && said.contains("chmod"), "{said}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    oxpost.call(&["status"]).await.unwrap().report().unwrap();
}

#[tokio::test]
async fn wrong_key_and_corrupt_store_are_distinguished() {
    let oxpost = Oxpost::new(&Settings::of(&tenant().await, CLIENT_ID)).unwrap();
    oxpost.add_account(ALICE, &[]).await.unwrap();
    let (key, store) = (oxpost.folder().join("oxpost.key"), oxpost.folder().join("oxpost.db"));
    let right = std::fs::read(&key).unwrap();

    std::fs::remove_file(&key).unwrap();
    let said = refused(&oxpost, &["status"]).await;
    assert!(said.contains("oxpost.key") && said.contains("missing") && said.contains("backup"), "{said}");
    assert!(!key.exists(), "a fresh key hides that the right one is somewhere else");
    std::fs::write(&key, b"short").unwrap();
    restrict(&key);
    let said = refused(&oxpost, &["status"]).await;
    assert!(said.contains("oxpost.key"), "{said}");
    std::fs::write(&key, &right).unwrap();
    let listed = oxpost.call(&["account", "list"]).await.unwrap().output().unwrap();
    assert!(String::from_utf8_lossy(&listed).contains(ALICE));

    for leftover in ["oxpost.db-wal", "oxpost.db-shm"] {
        let _ = std::fs::remove_file(oxpost.folder().join(leftover));
    }
    std::fs::write(&store, vec![b'x'; 8192]).unwrap();
    let said = refused(&oxpost, &["status"]).await;
    assert!(said.contains("oxpost.db"), "{said}");
    assert_eq!(std::fs::read(&store).unwrap(), vec![b'x'; 8192], "a garbled store is left as it is, for a rescue");
}

#[cfg(unix)]
fn restrict(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn restrict(_: &Path) {}

#[tokio::test]
async fn accounts_and_passwords_change_while_the_service_runs() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let running = oxpost.run().await.unwrap();
    let first = oxpost.add_account(ALICE, &["--login", "Scanner1"]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    assert!(imap(running.imap, "scanner1", &first).await.starts_with("a OK"));
    assert!(imap(running.imap, ALICE, &first).await.starts_with("a OK"), "the address works too");

    let said = oxpost.call(&["account", "password", "add", ALICE, "--replace"]).await.unwrap().output().unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    let second = said.lines().map(str::trim).find(|line| line.matches('-').count() >= 4).unwrap().to_owned();
    assert!(imap(running.imap, ALICE, &first).await.contains("AUTHENTICATIONFAILED"), "the old password still works");
    assert!(imap(running.imap, ALICE, &second).await.starts_with("a OK"));

    let said = refused(&oxpost, &["account", "add", ALICE]).await;
    assert!(said.contains(ALICE), "{said}");
    let said = refused(&oxpost, &["sign-in", "bob@contoso.com"]).await;
    assert!(said.contains("oxpost account add bob@contoso.com"), "{said}");
    let said = oxpost.call(&["account", "remove", ALICE]).await.unwrap().output().unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("password `default`") && said.contains("with its sign-in"), "{said}");
    assert!(imap(running.imap, ALICE, &second).await.contains("AUTHENTICATIONFAILED"), "a removed account still works");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn app_only_account_needs_no_sign_in() {
    let secret = "Aa1~app-only-client-secret-value-0123456";
    let tenant = crate::client_assertions::tenant(Application::confidential(CLIENT_ID, secret)).await;
    let settings = Settings { client_secret: Some(format!("{secret}\n")), ..Settings::of(&tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &["--grant", "client-credentials"]).await.unwrap();
    oxpost.call(&["sign-in", ALICE]).await.unwrap().output().unwrap();
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();

    // The Secret ID in place of its Value: `check` warns before Microsoft rejects it.
    std::fs::write(oxpost.folder().join("client-secret.txt"), "11111111-2222-3333-4444-555555555555").unwrap();
    let checked = oxpost.call(&["check"]).await.unwrap().text();
    assert!(checked.contains("looks like a Secret ID") && checked.contains("column Value"), "{checked}");
    let rejected = refused(&oxpost, &["sign-in", ALICE]).await;
    assert!(rejected.contains("not its Secret ID"), "{rejected}");
}

/// A stop tells every client, greets no new one, and ends; `stop.rs` has what each kind of client hears.
#[cfg(unix)]
#[tokio::test]
async fn stop_tells_every_client_and_ends() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    let mut working = Client::connect(running.imap).await;
    working.say(&format!("a LOGIN {ALICE} {password}")).await;
    working.until("a OK").await;
    let mut waiting = Client::connect(running.imap).await;
    waiting.line().await.unwrap();
    let address = running.imap;
    let id = running.id().unwrap().to_string();
    let kill = tokio::process::Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
    assert!(kill.success());
    for client in [&mut waiting, &mut working] {
        assert!(client.until("* BYE").await.contains("Oxpost is stopping"));
        assert_eq!(client.line().await, None);
    }
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "a new client is greeted");
    drop((waiting, working));
    running.wait_for_log("\"stopped\"").await.unwrap();
}
