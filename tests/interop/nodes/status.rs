//! `oxpost status` and `oxpost doctor` list the nodes, and say when their send limits differ.

use std::time::Duration;

use oxpost_tests::harness::Oxpost;
use serde_json::Value;

use super::Cluster;

async fn nodes(oxpost: &Oxpost) -> Vec<Value> {
    let json = oxpost.call(&["status", "--nodes", "--json"]).await.unwrap().output().unwrap();
    serde_json::from_slice::<Vec<Value>>(&json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_and_different_send_limits_are_found() {
    let cluster = Cluster::sending(Some("{ max-connections = 3 }"), "", |_| {}).await;
    assert!(nodes(&cluster.one).await.is_empty());
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    let listed = until(&cluster.one, 2).await;
    for node in &listed {
        let (since, contact) = (node["since"].as_str().unwrap(), node["last_contact"].as_str().unwrap());
        assert!(since <= contact, "{node}");
        assert!(node["send_limits"].as_str().unwrap().contains(": 3 connections,"), "{node}");
        assert_eq!(node["send_limits_agree"], true);
        let text = cluster.two.call(&["status"]).await.unwrap().text();
        assert!(text.contains(node["id"].as_str().unwrap()) && text.contains("LAST CONTACT"), "{text}");
    }
    let doctor = cluster.one.call(&["doctor"]).await.unwrap().text();
    assert!(doctor.contains("they have the same send limits"), "{doctor}");
    two.stop().await.unwrap();
    until(&cluster.one, 1).await;

    let path = cluster.two.folder().join("proxy.toml");
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, written.replace("max-connections = 3", "max-connections = 2")).unwrap();
    let two = cluster.two.run().await.unwrap();
    let listed = until(&cluster.one, 2).await;
    assert!(listed.iter().all(|node| node["send_limits_agree"] == false), "{listed:?}");
    for arguments in [&["status"][..], &["status", "--nodes"], &["doctor"]] {
        let text = cluster.one.call(arguments).await.unwrap().text();
        assert!(text.contains("The nodes have different send limits"), "{text}");
        assert!(text.contains(": 2 connections") && text.contains(": 3 connections"), "{text}");
    }
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

/// What is listed once there are so many.
async fn until(oxpost: &Oxpost, count: usize) -> Vec<Value> {
    tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let listed = nodes(oxpost).await;
            if listed.len() == count {
                return listed;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap()
}
