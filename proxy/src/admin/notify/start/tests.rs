use std::time::Duration;

use oxpost_token_store::VaultError;

use super::super::receiver::Receiver;
use super::super::webhook::tests::{channels, to};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn config(folder: &Path, url: &str) -> Config {
    let path = folder.join("proxy.toml");
    std::fs::write(&path, "host-name = \"gateway.example\"").unwrap();
    Config { notify: to(url), ..Config::load(&path).unwrap() }
}

fn too_open() -> StartError {
    StartError::Vault(VaultError::NotAKey { path: "oxpost.key".into() })
}

#[tokio::test]
async fn a_service_that_is_started_again_and_again_tells_once() {
    let (mut receiver, folder) = (Receiver::start().await, tempfile::tempdir().unwrap());
    let config = config(folder.path(), &receiver.url);
    let channels = channels(&config.notify);
    tell(&config, &channels, &too_open(), now()).await;
    let (_, body) = receiver.next().await;
    assert_eq!((&body["kind"], &body["event"], &body["account"]), (&"raised".into(), &"store".into(), &Value::Null));
    assert!(body["what"].as_str().unwrap().contains("oxpost.key"), "{body}");
    for second in 1..20 {
        tell(&config, &channels, &too_open(), now() + Duration::from_secs(5 * second)).await;
    }
    assert_eq!(receiver.waiting(), 0);
    tell(&config, &channels, &too_open(), now() + 24 * HOUR).await;
    assert_eq!(receiver.next().await.1["kind"], "reminder");
    // Another cause.
    let gone = StartError::KeyMissing { key: config.key.clone(), store: config.store.to_string() };
    tell(&config, &channels, &gone, now() + 25 * HOUR).await;
    assert_eq!(receiver.next().await.1["kind"], "raised");
}

/// The file is what keeps a restart loop from telling every few seconds.
#[tokio::test]
async fn without_a_record_nothing_is_delivered() {
    let mut receiver = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), &receiver.url);
    config.own_files = folder.path().join("no-such-folder/oxpost.db");
    tell(&config, &channels(&config.notify), &too_open(), now()).await;
    assert_eq!(receiver.waiting(), 0);
}

#[test]
fn a_file_that_is_no_notice_is_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("oxpost.db");
    for text in ["", "{", "[]", "{\"subject\":\"\"}", "null"] {
        std::fs::write(folder.path().join("oxpost.db.notice"), text).unwrap();
        assert!(Own::beside(&store).notices().is_empty(), "{text}");
    }
}
