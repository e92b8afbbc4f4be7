//! Which node asks for the next token: one of them, always, and another one when it dies.

use std::time::{Duration, Instant};

use oxpost_tests::office365::behaviour::TokenFault;

use super::{ALICE, Cluster, PEOPLE, login};
use oxpost_tests::harness::eventually;

/// A node that has died is replaced after the 15 seconds of its lease; the machine may be busy.
const TAKE_OVER: Duration = Duration::from_secs(55);

/// Both nodes are asked for every account at the moment when its token is over; their own refreshers notice it too.
#[tokio::test(flavor = "multi_thread")]
async fn every_expiry_causes_exactly_one_request() {
    const EXPIRIES: usize = 40;
    let cluster = Cluster::start().await;
    let people = cluster.people().await;
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    let (mut logins, mut expiries) = (0, 0);
    for round in 0..EXPIRIES {
        cluster.sql("UPDATE token SET issued_at = 1, expires_at = 2, next_refresh = 3 WHERE refresh_token IS NOT NULL");
        expiries += people.len();
        let mut running = tokio::task::JoinSet::new();
        for (name, password) in &people {
            for node in [&one, &two] {
                running.spawn(login(node.imap, name, password));
                logins += 1;
            }
        }
        for answer in running.join_all().await {
            assert!(answer.starts_with("OK"), "{answer}");
        }
        assert_eq!(cluster.refreshes(), expiries, "after the expiries of round {round}");
    }
    let logs = [one.stop().await.unwrap(), two.stop().await.unwrap()];
    let [by_one, by_two] = logs.map(|log| log.matches("asking for a new access token").count());
    println!(
        "{expiries} expiries, {logins} logins through two nodes: {} refreshes ({by_one} by one node, {by_two} by the other), {} refused",
        cluster.refreshes(),
        cluster.refused()
    );
    assert_eq!((by_one + by_two, cluster.refused()), (expiries, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_due_are_asked_for_by_one_of_the_nodes() {
    const LIFETIME: Duration = Duration::from_secs(4);
    const REFRESHES: usize = 48;
    let cluster = Cluster::start().await;
    cluster.people().await;
    // From the next refresh on; the tokens there are made old.
    cluster.tenant.behave(|it| it.entra.token_lifetime = LIFETIME);
    cluster.sql("UPDATE token SET next_refresh = 1, issued_at = 1, expires_at = 2 WHERE refresh_token IS NOT NULL");
    let before: i64 = cluster.sql("SELECT sum(version) FROM token").parse().unwrap();
    let began = Instant::now();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    eventually("the tokens run out", async || (cluster.refreshes() >= REFRESHES).then_some(())).await;
    let logs = [one.stop().await.unwrap(), two.stop().await.unwrap()];
    let lasted = began.elapsed();

    let requests = cluster.refreshes();
    let refused = cluster.refused();
    let written: i64 = cluster.sql("SELECT sum(version) FROM token").parse::<i64>().unwrap() - before;
    let [by_one, by_two] = logs.map(|log| log.matches("asking for a new access token").count());
    // No token is due before 65 % of its life.
    let most = 6.0 * (lasted.as_secs_f64() / LIFETIME.mul_f64(0.65).as_secs_f64() + 1.0);
    println!(
        "6 accounts, tokens of {} s, {:.1} s: {requests} requests ({by_one} by one node, {by_two} by the other), {written} \
         written, {refused} refused; more than {most:.0} would be too many",
        LIFETIME.as_secs(),
        lasted.as_secs_f64()
    );
    assert_eq!(refused, 0, "a refresh token was used twice");
    assert_eq!(i64::try_from(requests).unwrap(), written, "every request brought the next version of a row");
    assert_eq!(requests, by_one + by_two);
    assert!((requests as f64) <= most);
}

/// Twice: the node that was killed is started again, and then the other one is killed.
#[tokio::test(flavor = "multi_thread")]
async fn refresh_of_a_killed_node_is_completed_by_the_other() {
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (mut one, mut two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    for kills in 1..=2 {
        let before = cluster.refreshes();
        cluster.expire();
        cluster.tenant.behave(|it| it.entra.next_faults.push_back(TokenFault::Hang));
        // The first node asks, and the tenant keeps it waiting; the other one waits for the first.
        let through_one = cluster.login(&one);
        tokio::pin!(through_one);
        tokio::select! {
            () = cluster.tenant.wait_until_held(1) => {}
            answer = &mut through_one => panic!("a login succeeded without a token: {answer}"),
        }
        let through_two = cluster.login(&two);
        tokio::pin!(through_two);
        tokio::select! {
            waits = two.wait_for_log("another node asks for a new token") => drop(waits.unwrap()),
            answer = &mut through_two => panic!("a login succeeded without a token: {answer}"),
        }
        assert_eq!(cluster.refreshes(), before + 1);
        let died = Instant::now();
        one.kill().await.unwrap();
        let answer = through_two.await;
        let took = died.elapsed();
        println!("killed in the middle of a refresh: taken over after {:.1} s", took.as_secs_f64());
        assert!(answer.starts_with("OK"), "{answer}");
        assert!(took < TAKE_OVER && cluster.refreshes() == before + 2, "{took:?}");
        let again = if kills == 1 { &cluster.one } else { &cluster.two };
        (one, two) = (two, again.run().await.unwrap());
        for node in [&one, &two] {
            let answer = cluster.login(node).await;
            assert!(answer.starts_with("OK"), "{answer}");
        }
        assert_eq!(cluster.refreshes(), before + 2);
    }
    cluster.tenant.release();
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

/// Killed at any moment while it refreshes all the time. At Microsoft, as here, a refresh token that was used goes on to
/// work, so that what a node took with it into its grave costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_at_any_moment_lose_nobodys_sign_in() {
    const KILLS: usize = 4;
    let cluster = Cluster::with("", |_| {}).await;
    let people = cluster.people().await;
    cluster.tenant.behave(|it| it.entra.token_lifetime = Duration::from_secs(4));
    cluster.sql("UPDATE token SET next_refresh = 1, issued_at = 1, expires_at = 2 WHERE refresh_token IS NOT NULL");
    let (mut one, mut two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    for kill in 0..KILLS {
        // The moment is another one each time, in a storm of refreshes.
        let before = cluster.refreshes();
        let enough = before + PEOPLE + kill * 3;
        eventually("tokens are refreshed", async || (cluster.refreshes() >= enough).then_some(())).await;
        one.kill().await.unwrap();
        let again = if kill % 2 == 0 { &cluster.one } else { &cluster.two };
        (one, two) = (two, again.run().await.unwrap());
    }
    // Every login waits for the leases of the killed nodes.
    cluster.tenant.behave(|it| it.entra.token_lifetime = Duration::from_secs(3600));
    for (name, password) in &people {
        for node in [&one, &two] {
            let answer = login(node.imap, name, password).await;
            assert!(answer.starts_with("OK"), "{answer}");
        }
    }
    let (requests, refused) = (cluster.refreshes(), cluster.refused());
    println!("{KILLS} kills in a storm of {requests} refreshes: {refused} refused, everybody gets in");
    assert_eq!(refused, 0);
    assert_eq!(cluster.sql("SELECT count(*) FROM token WHERE error_kind IS NOT NULL"), "0");
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}
