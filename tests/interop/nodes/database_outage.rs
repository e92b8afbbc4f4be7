//! The database goes away and comes back; and it is reached by TLS.

use std::time::Instant;

use oxpost_tests::harness::postgres::{self, Postgres};
use oxpost_tests::harness::{Oxpost, Settings, write_private};
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_tests::office365::{Application, Tenant};

use super::{ALICE, CLIENT_ID, Cluster, Imap};
use crate::certificate;
use oxpost_tests::harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_database_delays_logins_and_loses_nothing() {
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    let mut session = Imap::connect(one.imap).await;
    let answer = session.command(&format!("LOGIN {ALICE} {}", cluster.password)).await;
    assert!(answer.starts_with("OK"), "{answer}");
    for how in ["fast", "immediate"] {
        cluster.server.down(how).unwrap();
        let answer = session.command("NOOP").await;
        assert!(answer.starts_with("OK"), "a session that runs goes on: {answer}");
        for node in [&one, &two] {
            let began = Instant::now();
            let answer = cluster.login(node).await;
            println!("database away ({how}): {answer:?} after {} ms", began.elapsed().as_millis());
            assert!(answer.starts_with("NO [UNAVAILABLE]"), "{answer}");
        }
        cluster.server.up().unwrap();
        let began = Instant::now();
        for node in [&one, &two] {
            eventually("logins work again", async || cluster.login(node).await.starts_with("OK").then_some(())).await;
        }
        println!("database back: logins through both nodes after {} ms", began.elapsed().as_millis());
    }
    assert_eq!(cluster.refreshes(), 0);
    drop(session);
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

/// The worst moment: the authority has rotated the refresh token, the old one is dead, and there is no place to write to.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_received_without_database_are_written_later() {
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    cluster.expire();
    cluster.tenant.behave(|it| it.entra.next_faults.push_back(TokenFault::Hang));
    let one = cluster.one.run().await.unwrap();
    let login = cluster.login(&one);
    tokio::pin!(login);
    tokio::select! {
        () = cluster.tenant.wait_until_held(1) => {}
        _ = &mut login => panic!("a login succeeded without a token"),
    }
    cluster.server.down("immediate").unwrap();
    cluster.tenant.release();
    let answer = login.await;
    assert!(answer.starts_with("OK"), "they are used from memory: {answer}");
    cluster.server.up().unwrap();
    let written = "SELECT count(*) FROM token WHERE expires_at > 2";
    let goes_on = async || {
        let answer = cluster.login(&one).await;
        // Until the database is reached again.
        assert!(answer.starts_with("OK") || answer.starts_with("NO [UNAVAILABLE]"), "{answer}");
        (cluster.sql(written) == "1").then_some(())
    };
    eventually("they are written", goes_on).await;
    assert_eq!(cluster.refreshes(), 1, "written, not asked for again");
    // And the other node has them too.
    let two = cluster.two.run().await.unwrap();
    let answer = cluster.login(&two).await;
    assert!(answer.starts_with("OK"), "{answer}");
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn database_connection_uses_tls_and_verifies_certificate() {
    let tenant = Tenant::builder().mailbox(ALICE).application(Application::public(CLIENT_ID)).start().await.unwrap();
    let certificate = certificate::issue();
    let files = [("server.crt", certificate.certificate.as_str()), ("server.key", certificate.key.as_str())];
    let server = Postgres::start("ssl = on", &files).unwrap();
    let url = server.tcp_url(&server.database().unwrap()).replace("127.0.0.1", "localhost");
    let more = |mode: &str| {
        format!("[store]\npostgres = \"{url}?sslmode={mode}\"\npostgres-password-file = \"postgres-password.txt\"\n")
    };
    let install = |mode: &str, trusted: String| {
        let settings = Settings { more: more(mode), trusted, ..Settings::of(&tenant, CLIENT_ID) };
        let oxpost = Oxpost::new(&settings).unwrap();
        write_private(&oxpost.folder().join("postgres-password.txt"), &format!("{}\n", postgres::PASSWORD)).unwrap();
        oxpost
    };
    let both = format!("{}{}", tenant.ca_pem(), certificate.authority);
    let good = install("verify-full", both);
    good.add_account(ALICE, &[]).await.unwrap();
    let running = good.run().await.unwrap();
    let ssl = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'oxpost'";
    assert_eq!(server.sql("postgres", ssl).unwrap().trim(), "t");
    running.stop().await.unwrap();

    // A certificate of an untrusted authority, whatever sslmode says.
    for mode in ["verify-full", "require"] {
        let refused = install(mode, tenant.ca_pem().to_owned()).call(&["status"]).await.unwrap();
        assert!(refused.status != Some(0) && refused.text().contains("certificate"), "{refused}");
        assert!(!refused.text().contains(postgres::PASSWORD), "{refused}");
    }
}
