//! Two real nodes on one real PostgreSQL: they share accounts, sign-ins and tokens, and the work of refreshing them; and
//! either of them, or the database, may go away.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use oxpost_tests::harness::postgres::{self, Postgres};
use oxpost_tests::harness::{Oxpost, Running, Settings};
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_tests::office365::{Application, Outcome, Tenant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::certificate;
use crate::world::eventually;

const ALICE: &str = "alice@contoso.com";
const CLIENT_ID: &str = "0c6b2f4e-0000-4000-8000-000000000002";

/// A node that dies is replaced after this at the latest, and the test's patience beyond it.
const TAKE_OVER: Duration = Duration::from_secs(55);

/// A tenant, a database, and two installations that share it.
struct Cluster {
    one: Oxpost,
    two: Oxpost,
    password: String,
    tenant: Tenant,
    server: Postgres,
    database: String,
}

impl Cluster {
    async fn start() -> Self {
        let people: Vec<String> = (0..6).map(person).collect();
        let mut tenant = Tenant::builder().mailbox(ALICE).application(Application::public(CLIENT_ID)).behave(|it| {
            it.entra.device_code_interval = Duration::from_secs(1);
            // Two nodes that used one refresh token twice would stand outside.
            it.entra.refresh_tokens_used_once = true;
        });
        for person in &people {
            tenant = tenant.mailbox(person.as_str());
        }
        let tenant = tenant.start().await.unwrap();
        let server = Postgres::start("fsync = on", &[]).unwrap();
        let database = server.database().unwrap();
        let more = format!("[store]\npostgres = {:?}\n", server.socket_url(&database));
        let settings = Settings { more, ..Settings::of(&tenant, CLIENT_ID) };
        let (one, two) = (Oxpost::new(&settings).unwrap(), Oxpost::new(&settings).unwrap());
        let password = one.add_account(ALICE, &[]).await.unwrap();

        // Whoever forgets the key is told so, and gets no second one.
        let forgotten = two.call(&["status"]).await.unwrap();
        assert!(forgotten.status != Some(0) && forgotten.text().contains("Copy it from another node"), "{forgotten}");
        assert!(!two.folder().join("oxpost.key").exists());
        copy_key(one.folder(), two.folder());
        Self { one, two, password, tenant, server, database }
    }

    fn login(&self, node: &Running) -> impl Future<Output = String> + Send + use<> {
        let (address, command) = (node.imap, format!("LOGIN {ALICE} {}", self.password));
        async move { Imap::connect(address).await.command(&command).await }
    }

    fn refreshes(&self) -> usize {
        self.tenant.token_requests().iter().filter(|request| request.grant_type == "refresh_token").count()
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, &format!("SET search_path = oxpost; {sql}")).unwrap().trim().to_owned()
    }

    /// Makes the stored access token one that is over.
    fn expire(&self) {
        self.sql("UPDATE token SET issued_at = 1, expires_at = 2");
    }
}

fn person(number: usize) -> String {
    format!("person{number}@contoso.com")
}

fn copy_key(from: &Path, to: &Path) {
    std::fs::copy(from.join("oxpost.key"), to.join("oxpost.key")).unwrap();
}

struct Imap {
    stream: BufReader<TcpStream>,
}

impl Imap {
    async fn connect(address: SocketAddr) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) }
    }

    /// Sends a command and gives back its tagged answer.
    async fn command(&mut self, command: &str) -> String {
        self.stream.write_all(format!("a {command}\r\n").as_bytes()).await.unwrap();
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(Duration::from_secs(120), self.stream.read_line(&mut line)).await;
            assert!(read.unwrap().unwrap() > 0, "the session has ended");
            if let Some(answer) = line.strip_prefix("a ") {
                return answer.trim_end().to_owned();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_through_one_node_is_used_by_the_other_at_once() {
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

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_make_one_request_for_each_token_that_runs_out() {
    const LIFETIME: Duration = Duration::from_secs(4);
    const REFRESHES: usize = 48;
    let cluster = Cluster::start().await;
    for number in 0..6 {
        cluster.one.add_account(&person(number), &[]).await.unwrap();
        cluster.one.sign_in(&person(number), &cluster.tenant, &person(number)).await.unwrap();
    }
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
    let refused = cluster.tenant.token_requests().iter().filter(|it| it.outcome != Outcome::Issued).count();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_in_the_middle_of_a_refresh_is_replaced_by_the_other() {
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    cluster.expire();
    cluster.tenant.behave(|it| it.entra.next_faults.push_back(TokenFault::Hang));
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    // A login through each: one node asks, and the tenant keeps it waiting; the other one waits for that node.
    let through_one = cluster.login(&one);
    let through_two = cluster.login(&two);
    tokio::pin!(through_one, through_two);
    let asks = |node: &Running| node.log().contains("asking for a new access token");
    let waits = |node: &Running| node.log().contains("another node asks for a new token");
    let settled = eventually("one node asks and the other one waits", async || {
        [(&one, &two), (&two, &one)].iter().any(|(first, second)| asks(first) && waits(second)).then_some(())
    });
    tokio::select! {
        () = settled => {}
        _ = &mut through_one => panic!("a login got through without a token"),
        _ = &mut through_two => panic!("a login got through without a token"),
    }
    cluster.tenant.wait_until_held(1).await;
    assert_eq!(cluster.refreshes(), 1);
    let first_died = asks(&one);
    let (dying, living) = if first_died { (one, two) } else { (two, one) };
    let died = Instant::now();
    dying.kill().await.unwrap();
    let answer = if first_died { through_two.await } else { through_one.await };
    let took = died.elapsed();
    println!("taken over {:.1} s after kill -9", took.as_secs_f64());
    assert!(answer.starts_with("OK"), "{answer}");
    assert!(took < TAKE_OVER);
    assert_eq!(cluster.refreshes(), 2);
    cluster.tenant.release();
    let again = cluster.login(&living).await;
    assert!(again.starts_with("OK"), "{again}");
    living.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_costs_logins_for_as_long_and_nothing_else() {
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
async fn tokens_got_while_the_database_is_away_are_written_when_it_is_back() {
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    cluster.expire();
    cluster.tenant.behave(|it| it.entra.next_faults.push_back(TokenFault::Hang));
    let one = cluster.one.run().await.unwrap();
    let login = cluster.login(&one);
    tokio::pin!(login);
    tokio::select! {
        () = cluster.tenant.wait_until_held(1) => {}
        _ = &mut login => panic!("a login got through without a token"),
    }
    cluster.server.down("immediate").unwrap();
    cluster.tenant.release();
    let answer = login.await;
    assert!(answer.starts_with("NO [UNAVAILABLE]"), "{answer}");
    cluster.server.up().unwrap();
    eventually("the login works again", async || cluster.login(&one).await.starts_with("OK").then_some(())).await;
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
async fn a_new_key_is_made_while_no_node_is_connected_and_carried_to_the_others() {
    let mut cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let key = cluster.one.folder().join("oxpost.key");
    let before = std::fs::read_to_string(&key).unwrap();
    let two = cluster.two.run().await.unwrap();
    let words = refused(&cluster.one, &["store", "rotate-key"]).await;
    assert!(words.contains("on every node") && words.contains("the machine of the database"), "{words}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), before);
    two.stop().await.unwrap();

    let words = said(&cluster.one, &["store", "rotate-key"]).await;
    assert!(words.contains("Give the new key to every other node"), "{words}");
    let after = std::fs::read_to_string(&key).unwrap();
    assert_ne!(after, before);
    let words = refused(&cluster.two, &["status"]).await;
    assert!(words.contains("copy it from the first"), "{words}");
    // This node gets its key from the environment.
    cluster.two.set_variable("OXPOST__STORE__KEY", "environment:MAIL_KEY");
    cluster.two.set_variable("MAIL_KEY", after.trim());
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    for node in [&one, &two] {
        let answer = cluster.login(node).await;
        assert!(answer.starts_with("OK"), "{answer}");
    }
    assert_eq!(cluster.refreshes(), 0, "the tokens that were there were sealed anew");
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_taken_and_put_back_by_the_commands_that_oxpost_prints() {
    let cluster = Cluster::start().await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let one = cluster.one.run().await.unwrap();
    let words = refused(&cluster.one, &["store", "backup", "a copy.dump"]).await;
    let dump = words.lines().find(|line| line.trim().starts_with("pg_dump ")).unwrap_or_else(|| panic!("{words}"));
    shell(cluster.one.folder(), dump).await;
    said(&cluster.one, &["account", "remove", ALICE]).await;
    let answer = cluster.login(&one).await;
    assert!(answer.starts_with("NO [AUTHENTICATIONFAILED]"), "{answer}");
    one.stop().await.unwrap();

    let words = refused(&cluster.one, &["store", "restore", "a copy.dump"]).await;
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
async fn a_check_makes_no_store_and_asks_for_the_key_of_one_that_is_there() {
    let cluster = Cluster::start().await;
    let empty = cluster.server.database().unwrap();
    let mut fresh = Oxpost::new(&Settings { more: String::new(), ..Settings::of(&cluster.tenant, CLIENT_ID) }).unwrap();
    fresh.set_variable("OXPOST__STORE__POSTGRES", &cluster.server.socket_url(&empty));
    let words = said(&fresh, &["check"]).await;
    assert!(words.contains("can be used"), "{words}");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'oxpost'";
    assert_eq!(cluster.server.sql(&empty, schemas).unwrap().trim(), "0");
    assert!(!fresh.folder().join("oxpost.key").exists());
    fresh.set_variable("OXPOST__STORE__POSTGRES", &cluster.server.socket_url(&cluster.database));
    let words = refused(&fresh, &["check"]).await;
    assert!(words.contains("Copy it from another node"), "{words}");
}

async fn said(oxpost: &Oxpost, arguments: &[&str]) -> String {
    String::from_utf8(oxpost.call(arguments).await.unwrap().output().unwrap()).unwrap()
}

async fn refused(oxpost: &Oxpost, arguments: &[&str]) -> String {
    let ran = oxpost.call(arguments).await.unwrap();
    assert_eq!(ran.status, Some(1), "{ran}");
    ran.text()
}

async fn shell(folder: &Path, line: &str) {
    let ran = tokio::process::Command::new("/bin/sh").args(["-c", line]).current_dir(folder).output().await.unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_reached_by_tls_and_its_certificate_is_verified() {
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
        std::fs::write(oxpost.folder().join("postgres-password.txt"), format!("{}\n", postgres::PASSWORD)).unwrap();
        oxpost
    };
    let both = format!("{}{}", tenant.ca_pem(), certificate.authority);
    let good = install("verify-full", both);
    good.add_account(ALICE, &[]).await.unwrap();
    let running = good.run().await.unwrap();
    let ssl = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'oxpost'";
    assert_eq!(server.sql("postgres", ssl).unwrap().trim(), "t");
    running.stop().await.unwrap();

    // A certificate of somebody we do not trust, whatever sslmode says.
    for mode in ["verify-full", "require"] {
        let refused = install(mode, tenant.ca_pem().to_owned()).call(&["status"]).await.unwrap();
        assert!(refused.status != Some(0) && refused.text().contains("certificate"), "{refused}");
        assert!(!refused.text().contains(postgres::PASSWORD), "{refused}");
    }
}
