//! What Exchange says to one node about a mailbox, all nodes obey, also after a restart.

use oxpost_tests::harness::eventually;

use super::{ALICE, Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn mailbox_throttled_at_one_node_is_left_alone_by_all() {
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    cluster.tenant.behave(|it| it.imap.throttle_logins = Some(300_000));
    let answer = cluster.login(&one).await;
    assert!(answer.starts_with("NO [UNAVAILABLE] Microsoft is throttling this mailbox."), "{answer}");
    eventually("the back-off is written", async || {
        (cluster.sql("SELECT count(*) FROM mail_use WHERE throttled_until IS NOT NULL") == "1").then_some(())
    })
    .await;
    let asked = cluster.tenant.transcripts().len();
    // From now on Exchange would accept, and is not asked.
    cluster.tenant.behave(|it| it.imap.throttle_logins = None);
    one.kill().await.unwrap();
    let one = cluster.one.run().await.unwrap();
    for node in [&one, &two] {
        let answer = cluster.login(node).await;
        assert!(answer.starts_with("NO [UNAVAILABLE] Microsoft is throttling this mailbox. Try again in"), "{answer}");
    }
    assert_eq!(cluster.tenant.transcripts().len(), asked, "no node has asked Exchange");
    // By the database's clock the back-off is over.
    cluster.sql("UPDATE mail_use SET throttled_until = 1 WHERE throttled_until IS NOT NULL");
    one.kill().await.unwrap();
    let one = cluster.one.run().await.unwrap();
    let answer = cluster.login(&one).await;
    assert!(answer.starts_with("OK"), "{answer}");
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}
