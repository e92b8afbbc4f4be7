//! Two real nodes on one real PostgreSQL.

mod back_off;
mod balancer;
mod database_outage;
mod journal;
mod limits;
mod maintenance;
mod propagation;
mod refresh;
mod status;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use oxpost_tests::harness::postgres::Postgres;
use oxpost_tests::harness::{Oxpost, Running, Settings};
use oxpost_tests::office365::behaviour::Behaviour;
use oxpost_tests::office365::{Application, Outcome, Tenant, TokenRequest};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const ALICE: &str = "alice@contoso.com";
/// How many more there are, for tests that need many.
const PEOPLE: usize = 6;

const CLIENT_ID: &str = "0c6b2f4e-0000-4000-8000-000000000002";

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
    /// Here, a refresh token that is used twice ends the sign-in: nodes that do not agree on who asks lose it.
    async fn start() -> Self {
        Self::with("", |it| it.entra.refresh_tokens_used_once = true).await
    }

    async fn with(listeners: &str, behave: impl FnOnce(&mut Behaviour)) -> Self {
        Self::sending(None, listeners, behave).await
    }

    /// Nodes that know of these sending limits.
    async fn sending(sending: Option<&str>, listeners: &str, behave: impl FnOnce(&mut Behaviour)) -> Self {
        let mut tenant = Tenant::builder().mailbox(ALICE).application(Application::public(CLIENT_ID)).behave(|it| {
            it.entra.device_code_interval = Duration::from_secs(1);
            behave(it);
        });
        for number in 0..PEOPLE {
            tenant = tenant.mailbox(person(number).as_str());
        }
        let tenant = tenant.start().await.unwrap();
        let server = Postgres::start("fsync = on", &[]).unwrap();
        let database = server.database().unwrap();
        let more = format!("[store]\npostgres = {:?}\n{listeners}", server.socket_url(&database));
        let sending = sending.map(str::to_owned);
        let settings = Settings { more, sending, ..Settings::of(&tenant, CLIENT_ID) };
        let (one, two) = (Oxpost::new(&settings).unwrap(), Oxpost::new(&settings).unwrap());
        let password = one.add_account(ALICE, &[]).await.unwrap();

        // A node without the key hears so, and gets no second one.
        let forgotten = two.call(&["status"]).await.unwrap();
        assert!(forgotten.status != Some(0) && forgotten.text().contains("Copy it from another node"), "{forgotten}");
        assert!(!two.folder().join("oxpost.key").exists());
        copy_key(one.folder(), two.folder());
        Self { one, two, password, tenant, server, database }
    }

    /// Alice logs in through a node.
    fn login(&self, node: &Running) -> impl Future<Output = String> + Send + use<> {
        login(node.imap, ALICE, &self.password)
    }

    /// Everybody else gets an account and signs in. Gives back their names and local passwords.
    async fn people(&self) -> Vec<(String, String)> {
        let mut people = Vec::new();
        for name in (0..PEOPLE).map(person) {
            let password = self.one.add_account(&name, &[]).await.unwrap();
            self.one.sign_in(&name, &self.tenant, &name).await.unwrap();
            people.push((name, password));
        }
        people
    }

    fn refreshes(&self) -> usize {
        self.tenant.token_requests().iter().filter(|request| request.grant_type == "refresh_token").count()
    }

    /// How many requests with a refresh token were refused.
    fn refused(&self) -> usize {
        let refused =
            |it: &&TokenRequest| it.grant_type == "refresh_token" && matches!(it.outcome, Outcome::Refused { .. });
        self.tenant.token_requests().iter().filter(refused).count()
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, &format!("SET search_path = oxpost; {sql}")).unwrap().trim().to_owned()
    }

    /// Makes every stored access token one that is over.
    fn expire(&self) {
        self.sql("UPDATE token SET issued_at = 1, expires_at = 2 WHERE refresh_token IS NOT NULL");
    }
}

fn person(number: usize) -> String {
    format!("person{number}@contoso.com")
}

fn copy_key(from: &Path, to: &Path) {
    std::fs::copy(from.join("oxpost.key"), to.join("oxpost.key")).unwrap();
}

fn login(address: SocketAddr, user: &str, password: &str) -> impl Future<Output = String> + Send + use<> {
    let command = format!("LOGIN {user} {password}");
    async move { Imap::connect(address).await.command(&command).await }
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
