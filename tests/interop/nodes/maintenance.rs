//! The care of a store that several nodes share.

use std::path::Path;

use oxpost_tests::harness::{Oxpost, Settings};

use super::{ALICE, CLIENT_ID, Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_without_nodes_reaches_the_other_nodes() {
    let mut cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let key = cluster.one.folder().join("oxpost.key");
    let before = std::fs::read_to_string(&key).unwrap();
    let two = cluster.two.run().await.unwrap();
    let words = cluster.one.call(&["store", "rotate-key"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("on every node") && words.contains("the machine of the database"), "{words}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), before);
    two.stop().await.unwrap();

    let words = cluster.one.call(&["store", "rotate-key"]).await.unwrap().said().unwrap();
    assert!(words.contains("Copy the new key to every other node"), "{words}");
    let after = std::fs::read_to_string(&key).unwrap();
    assert_ne!(after, before);
    let words = cluster.two.call(&["status"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("copy it from the first"), "{words}");
    // This node gets its key from the environment.
    cluster.two.set_variable("OXPOST__STORE__KEY", "environment:MAIL_KEY");
    cluster.two.set_variable("MAIL_KEY", after.trim());
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    for node in [&one, &two] {
        let answer = cluster.login(node).await;
        assert!(answer.starts_with("OK"), "{answer}");
    }
    assert_eq!(cluster.refreshes(), 0, "the existing tokens were sealed again");
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn printed_commands_back_up_and_restore_the_store() {
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let one = cluster.one.run().await.unwrap();
    let words = cluster.one.call(&["store", "backup", "a copy.dump"]).await.unwrap().refusal().unwrap();
    let dump = words.lines().find(|line| line.trim().starts_with("pg_dump ")).unwrap_or_else(|| panic!("{words}"));
    shell(cluster.one.folder(), dump).await;
    cluster.one.call(&["account", "remove", ALICE]).await.unwrap().said().unwrap();
    let answer = cluster.login(&one).await;
    assert!(answer.starts_with("NO [AUTHENTICATIONFAILED]"), "{answer}");
    one.stop().await.unwrap();

    let words = cluster.one.call(&["store", "restore", "a copy.dump"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("on every node"), "{words}");
    let restore =
        words.lines().find(|line| line.trim().starts_with("pg_restore ")).unwrap_or_else(|| panic!("{words}"));
    shell(cluster.one.folder(), restore).await;
    let two = cluster.two.run().await.unwrap();
    let answer = cluster.login(&two).await;
    assert!(answer.starts_with("OK"), "{answer}");
    two.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn check_creates_no_store_and_requires_the_existing_key() {
    let cluster = Cluster::start().await;
    let empty = cluster.server.database().unwrap();
    let mut fresh = Oxpost::new(&Settings { more: String::new(), ..Settings::of(&cluster.tenant, CLIENT_ID) }).unwrap();
    fresh.set_variable("OXPOST__STORE__POSTGRES", &cluster.server.socket_url(&empty));
    let words = fresh.call(&["check"]).await.unwrap().said().unwrap();
    assert!(words.contains("is valid"), "{words}");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'oxpost'";
    assert_eq!(cluster.server.sql(&empty, schemas).unwrap().trim(), "0");
    assert!(!fresh.folder().join("oxpost.key").exists());
    fresh.set_variable("OXPOST__STORE__POSTGRES", &cluster.server.socket_url(&cluster.database));
    let words = fresh.call(&["check"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("Copy it from another node"), "{words}");
}

async fn shell(folder: &Path, line: &str) {
    let ran = tokio::process::Command::new("/bin/sh").args(["-c", line]).current_dir(folder).output().await.unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
}
