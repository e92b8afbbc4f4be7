//! What one node has done counts for the other immediately.

use std::time::Instant;

use oxpost_tests::harness::{Running, eventually};
use oxpost_tests::office365::behaviour::TokenFault;

use super::{ALICE, Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_at_one_node_is_used_by_the_other_immediately() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    let answer = cluster.login(&two).await;
    assert!(answer.contains("oxpost sign-in"), "{answer}");
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    for node in [&two, &one] {
        let answer = cluster.login(node).await;
        assert!(answer.starts_with("OK"), "{answer}");
    }
    assert_eq!(cluster.refreshes(), 0, "the token of the sign-in serves both");
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

/// A login that the other node remembers, too.
#[tokio::test(flavor = "multi_thread")]
async fn changed_password_counts_immediately_on_the_other_node() {
    let mut cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    for _ in 0..2 {
        let answer = cluster.login(&two).await;
        assert!(answer.starts_with("OK"), "{answer}");
    }
    let shown = cluster.one.call(&["account", "password", "add", ALICE, "--replace"]).await.unwrap().said().unwrap();
    let new = shown.lines().find_map(|line| line.strip_prefix("  ")).unwrap().to_owned();
    for node in [&two, &one] {
        let answer = cluster.login(node).await;
        assert!(answer.starts_with("NO [AUTHENTICATIONFAILED]"), "{answer}");
    }
    cluster.password = new;
    for node in [&two, &one] {
        let answer = cluster.login(node).await;
        assert!(answer.starts_with("OK"), "{answer}");
    }
    cluster.one.call(&["account", "password", "remove", ALICE]).await.unwrap().said().unwrap();
    for node in [&two, &one] {
        let answer = cluster.login(node).await;
        assert!(answer.starts_with("NO [AUTHENTICATIONFAILED]"), "{answer}");
    }
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

/// The database tells it; and tells it again on a new connection when the old one was lost.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_node_hears_of_the_new_token() {
    const ROUNDS: usize = 5;
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    for connections in ["the first connections", "new connections"] {
        let before = told(&two);
        for _ in 0..ROUNDS {
            cluster.expire();
            cluster.tenant.behave(|it| it.entra.next_faults.push_back(TokenFault::Hang));
            let first = tokio::spawn(cluster.login(&one));
            cluster.tenant.wait_until_held(1).await;
            let waiting = waits(&two);
            let second = tokio::spawn(cluster.login(&two));
            eventually("the other node waits", async || (waits(&two) > waiting).then_some(())).await;
            let released = Instant::now();
            cluster.tenant.release();
            let answer = second.await.unwrap();
            println!(
                "on {connections}: the other node lets its client in {} ms after the answer",
                released.elapsed().as_millis()
            );
            assert!(answer.starts_with("OK"), "{answer}");
            assert!(first.await.unwrap().starts_with("OK"));
        }
        // A look by itself may come first now and then, but not always.
        let heard = told(&two) - before;
        println!("on {connections}: told {heard} times of {ROUNDS}");
        assert!(heard > 0);
        cluster
            .server
            .sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'oxpost'")
            .unwrap();
    }
    assert_eq!(cluster.refreshes(), 2 * ROUNDS);
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

fn told(node: &Running) -> usize {
    node.log().matches("another node has announced a new token").count()
}

fn waits(node: &Running) -> usize {
    node.log().matches("another node asks for a new token").count()
}
