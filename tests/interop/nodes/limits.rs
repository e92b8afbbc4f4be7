//! Two nodes send from one mailbox whose limits Exchange enforces: everything is delivered, once, and nothing is refused for them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{Oxpost, Settings, eventually};
use oxpost_tests::office365::{Application, Tenant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{ALICE, CLIENT_ID, Cluster};

/// What Exchange takes of a mailbox.
const LIMITS: &str = "{ max-connections = 3, messages-per-minute = 30, recipients-per-day = 10000 }";

/// The programs at each node, and what each of them sends.
const PROGRAMS: usize = 4;
const MESSAGES: usize = 5;

/// How long a message takes to be written: so messages meet at the mail server.
const WRITING: Duration = Duration::from_millis(100);

/// Between the death of a node and its slots at the others: its lease, the next look for dead nodes, and the next look of who waits;
/// the machine may be busy.
const TAKE_OVER: Duration = Duration::from_secs(40);

/// One line each way and back.
struct Smtp(BufReader<TcpStream>);

/// What became of a message.
#[derive(Debug)]
enum Sent {
    Accepted,
    /// It was refused for now, or the connection was lost before its end.
    Not(String),
    /// The connection was lost behind its end: only the mailbox tells.
    Unknown,
}

impl Smtp {
    async fn log_in(address: SocketAddr, password: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let mut smtp = Self(BufReader::new(stream));
        smtp.reply("220 ").await?;
        smtp.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}"))), "235 ").await?;
        Ok(smtp)
    }

    async fn reply(&mut self, expected: &str) -> Result<(), String> {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(120), self.0.read_line(&mut line)).await;
        match read.map_err(|_| "no reply".to_owned())? {
            Ok(length) if length > 0 && line.starts_with(expected) => Ok(()),
            Ok(0) | Err(_) => Err("the connection was lost".into()),
            Ok(_) => Err(line),
        }
    }

    async fn say(&mut self, line: &str, expected: &str) -> Result<(), String> {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.map_err(|error| error.to_string())?;
        self.reply(expected).await
    }

    async fn send(&mut self, subject: &str) -> Sent {
        let begun = async {
            self.say(&format!("MAIL FROM:<{ALICE}>"), "250 ").await?;
            self.say(&format!("RCPT TO:<{ALICE}>"), "250 ").await?;
            self.say("DATA", "354 ").await
        };
        if let Err(why) = begun.await {
            return Sent::Not(why);
        }
        tokio::time::sleep(WRITING).await;
        let text = format!("Subject: {subject}\r\n\r\n{subject}\r\n.");
        match self.say(&text, "250 ").await {
            Ok(()) => Sent::Accepted,
            Err(why) if why.starts_with('4') => Sent::Not(why),
            Err(why) if why.starts_with('5') => panic!("{subject}: {why}"),
            Err(_) => Sent::Unknown,
        }
    }
}

fn subjects(tenant: &Tenant) -> Vec<String> {
    let first = |message: Vec<u8>| String::from_utf8_lossy(&message).lines().next().unwrap_or_default().to_owned();
    let messages = tenant.messages(ALICE, "Sent Items").into_iter().map(first);
    messages.map(|line| line.trim_start_matches("Subject: ").to_owned()).collect()
}

/// Programs that send to a node, and to another one when theirs is gone.
struct Senders {
    tenant: Arc<Tenant>,
    nodes: [SocketAddr; 2],
    password: [String; 2],
    gone: Arc<AtomicBool>,
    put_off: Arc<Mutex<Vec<String>>>,
}

impl Senders {
    /// Every second program keeps its session for all it has to send.
    async fn run(&self) {
        let mut programs = JoinSet::new();
        for number in 0..2 * PROGRAMS {
            let (tenant, nodes, password) = (Arc::clone(&self.tenant), self.nodes, self.password.clone());
            let (gone, put_off) = (Arc::clone(&self.gone), Arc::clone(&self.put_off));
            programs.spawn(async move {
                let mut session = None;
                for message in 0..MESSAGES {
                    let subject = format!("{number}.{message}");
                    loop {
                        let home = if gone.load(Ordering::SeqCst) { 1 } else { number % 2 };
                        let logged_in = match session.take() {
                            Some(smtp) => Ok(smtp),
                            None => Smtp::log_in(nodes[home], &password[home]).await,
                        };
                        let (mut smtp, sent) = match logged_in {
                            Ok(mut smtp) => {
                                let sent = smtp.send(&subject).await;
                                (Some(smtp), sent)
                            }
                            Err(why) => (None, Sent::Not(why)),
                        };
                        match sent {
                            Sent::Accepted => {
                                if number / 2 % 2 == 1 {
                                    session = smtp.take();
                                } else if let Some(mut smtp) = smtp.take() {
                                    let _ = smtp.say("QUIT", "221 ").await;
                                }
                                break;
                            }
                            Sent::Not(why) => {
                                put_off.lock().unwrap().push(why);
                                tokio::time::sleep(Duration::from_millis(500)).await;
                            }
                            Sent::Unknown => {
                                // As a person would: what arrived is not sent again.
                                tokio::time::sleep(Duration::from_secs(1)).await;
                                if subjects(&tenant).contains(&subject) {
                                    break;
                                }
                            }
                        }
                    }
                }
            });
        }
        while let Some(program) = programs.join_next().await {
            program.unwrap();
        }
    }
}

fn row(what: &str, tenant: &Tenant, senders: &Senders, took: Duration) {
    println!(
        "| {what} | {} | {} | {} | {} | {} | {} | {} s |",
        2 * PROGRAMS * MESSAGES,
        subjects(tenant).len(),
        tenant.refused_for_limits(ALICE),
        tenant.most_smtp_sessions(ALICE),
        tenant.most_in_a_minute(ALICE),
        senders.put_off.lock().unwrap().len(),
        took.as_secs()
    );
    for why in senders.put_off.lock().unwrap().iter().collect::<BTreeSet<_>>() {
        println!("  {}", why.trim_end());
    }
}

fn assert_each_once(tenant: &Tenant) {
    let all: BTreeSet<String> =
        (0..2 * PROGRAMS).flat_map(|number| (0..MESSAGES).map(move |message| format!("{number}.{message}"))).collect();
    let sent = subjects(tenant);
    assert_eq!(sent.len(), all.len(), "{sent:?}");
    assert_eq!(sent.into_iter().collect::<BTreeSet<_>>(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_keep_the_limits_of_one_mailbox_and_one_is_killed() {
    for kills in [false, true] {
        let cluster = Cluster::sending(Some(LIMITS), "", |it| it.smtp.messages_per_minute = Some(30)).await;
        cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
        let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
        let Cluster { tenant, password, server: _server, one: _installed, two: _other, .. } = cluster;
        let senders = Senders {
            tenant: Arc::new(tenant),
            nodes: [one.smtp, two.smtp],
            password: [password.clone(), password.clone()],
            gone: Arc::default(),
            put_off: Arc::default(),
        };
        let tenant = Arc::clone(&senders.tenant);
        let began = Instant::now();
        let killing = async {
            if !kills {
                return Some(one);
            }
            // One of its sessions is idle and has a slot when it dies.
            let idle = Smtp::log_in(one.smtp, &password).await.unwrap();
            eventually("a part is delivered", async || (subjects(&tenant).len() >= 10).then_some(())).await;
            senders.gone.store(true, Ordering::SeqCst);
            one.kill().await.unwrap();
            drop(idle);
            None
        };
        let (one, ()) = tokio::join!(killing, senders.run());
        row(if kills { "two, one of them killed" } else { "two" }, &tenant, &senders, began.elapsed());
        assert_each_once(&tenant);
        assert_eq!(tenant.refused_for_limits(ALICE), 0);
        assert!(tenant.most_smtp_sessions(ALICE) <= 3 && tenant.most_in_a_minute(ALICE) <= 30);
        if kills {
            assert!(!senders.put_off.lock().unwrap().is_empty(), "the sessions of the dead node were lost");
        }
        for node in [one, Some(two)].into_iter().flatten() {
            node.stop().await.unwrap();
        }
    }
}

/// All slots are in use at a node when it dies.
#[tokio::test(flavor = "multi_thread")]
async fn slots_of_a_killed_node_return_within_the_bound() {
    let cluster = Cluster::sending(Some(LIMITS), "", |_| {}).await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut smtp = Smtp::log_in(one.smtp, &cluster.password).await.unwrap();
        // In the middle of a message no slot is given up.
        smtp.say(&format!("MAIL FROM:<{ALICE}>"), "250 ").await.unwrap();
        smtp.say(&format!("RCPT TO:<{ALICE}>"), "250 ").await.unwrap();
        smtp.say("DATA", "354 ").await.unwrap();
        held.push(smtp);
    }
    let waiting = Smtp::log_in(two.smtp, &cluster.password);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut waiting).await.is_err(), "there are three");
    let died = Instant::now();
    one.kill().await.unwrap();
    let smtp = waiting.await.unwrap();
    println!("the send slots of a killed node are free after {:.1} s", died.elapsed().as_secs_f64());
    assert!(died.elapsed() < TAKE_OVER);
    assert!(cluster.tenant.most_smtp_sessions(ALICE) <= 3);
    drop((smtp, held));
    two.stop().await.unwrap();
}

/// The slot of an idle session goes to a client that waits at the other node.
#[tokio::test(flavor = "multi_thread")]
async fn idle_session_makes_room_for_a_program_at_another_node() {
    let cluster = Cluster::sending(Some("{ max-connections = 1 }"), "", |_| {}).await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    let mut idle = Smtp::log_in(one.smtp, &cluster.password).await.unwrap();
    assert!(matches!(idle.send("first").await, Sent::Accepted));
    let mut other = Smtp::log_in(two.smtp, &cluster.password).await.unwrap();
    assert!(matches!(other.send("second").await, Sent::Accepted));
    idle.reply("421 4.3.2").await.unwrap();
    assert_eq!(cluster.tenant.most_smtp_sessions(ALICE), 1);
    // A stop would wait for their clients.
    drop((idle, other));
    for node in [one, two] {
        node.stop().await.unwrap();
    }
}

/// Sessions that run go on while the database is away: with the share of their node, once what was granted before is over.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_keep_to_their_shares_while_the_database_is_away() {
    const EACH: usize = 12;
    let patient = "[limits]\nsend-slot-timeout = \"4m\"\n";
    let cluster = Cluster::sending(Some(LIMITS), patient, |it| it.smtp.messages_per_minute = Some(30)).await;
    cluster.one.sign_in(ALICE, &cluster.tenant, ALICE).await.unwrap();
    let (one, two) = (cluster.one.run().await.unwrap(), cluster.two.run().await.unwrap());
    // Each knows of the other for long enough to have a share.
    tokio::time::sleep(Duration::from_secs(21)).await;
    let mut sessions = Vec::new();
    for node in [&one, &two] {
        let mut smtp = Smtp::log_in(node.smtp, &cluster.password).await.unwrap();
        assert!(matches!(smtp.send("before").await, Sent::Accepted));
        sessions.push(smtp);
    }
    cluster.server.down("immediate").unwrap();
    let mut programs = JoinSet::new();
    for (number, mut smtp) in sessions.into_iter().enumerate() {
        programs.spawn(async move {
            for message in 0..EACH {
                let sent = smtp.send(&format!("away {number}.{message}")).await;
                assert!(matches!(sent, Sent::Accepted), "{sent:?}");
            }
            smtp
        });
    }
    let began = Instant::now();
    let sessions = programs.join_all().await;
    let (sent, took) = (cluster.tenant.messages(ALICE, "Sent Items").len(), began.elapsed());
    println!("database away: {} messages of two nodes in {} s", sent - 2, took.as_secs());
    assert_eq!((sent, cluster.tenant.refused_for_limits(ALICE)), (2 + 2 * EACH, 0));
    cluster.server.up().unwrap();
    drop(sessions);
    let smtp = eventually("logins work again", async || Smtp::log_in(two.smtp, &cluster.password).await.ok()).await;
    drop(smtp);
    for node in [one, two] {
        let log = node.stop().await.unwrap();
        assert!(log.contains("the database cannot be reached: this node keeps"), "{log}");
    }
}

/// The same programs at two processes that share nothing: the tenant does refuse.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_share_nothing_exceed_the_limits() {
    let tenant = Tenant::builder().mailbox(ALICE).application(Application::public(CLIENT_ID)).behave(|it| {
        it.entra.device_code_interval = Duration::from_secs(1);
        it.smtp.messages_per_minute = Some(30);
    });
    let tenant = tenant.start().await.unwrap();
    let settings = Settings { sending: Some(LIMITS.into()), ..Settings::of(&tenant, CLIENT_ID) };
    let installed = [Oxpost::new(&settings).unwrap(), Oxpost::new(&settings).unwrap()];
    let (mut password, mut nodes) = (Vec::new(), Vec::new());
    for oxpost in &installed {
        password.push(oxpost.add_account(ALICE, &[]).await.unwrap());
        oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
        nodes.push(oxpost.run().await.unwrap());
    }
    let senders = Senders {
        tenant: Arc::new(tenant),
        nodes: [nodes[0].smtp, nodes[1].smtp],
        password: password.try_into().unwrap(),
        gone: Arc::default(),
        put_off: Arc::default(),
    };
    let began = Instant::now();
    senders.run().await;
    row("two that share nothing", &senders.tenant, &senders, began.elapsed());
    assert_each_once(&senders.tenant);
    assert!(senders.tenant.refused_for_limits(ALICE) > 0);
    for node in nodes {
        node.stop().await.unwrap();
    }
}
