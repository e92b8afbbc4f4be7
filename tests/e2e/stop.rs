//! A stop under load: what each kind of client receives, and that no message is lost or doubled. And the other signals.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings, run};
use oxpost_tests::office365::behaviour::{Act, Fault, Stage};
use oxpost_tests::office365::{Protocol, Tenant};

use crate::client::Client;
use crate::story::tenant;

/// The sentence of every goodbye.
const STOPPING: &str = "Oxpost is stopping; try again in a minute";

/// Clients of each kind.
const CLIENTS: usize = 5;

/// Messages that are on their way when the stop comes; Exchange takes three at the same time from one mailbox.
const MESSAGES: usize = 3;

/// The text of a message that is being fetched.
const LARGE: usize = 4 * 1024 * 1024;

/// A healthy stop is over in a few seconds: the goodbyes are spread over at most five. The drain timeout is a minute.
const LONGEST_STOP: Duration = Duration::from_secs(40);

async fn signal(running: &Running, name: &str) {
    let mut kill = tokio::process::Command::new("/bin/sh");
    kill.args(["-c", &format!("kill -{name} {}", running.id().unwrap())]);
    run(kill, b"").await.unwrap().output().unwrap();
}

struct Gateway {
    tenant: Tenant,
    running: Running,
    password: String,
    // Its folder goes when this is dropped.
    _oxpost: Oxpost,
}

impl Gateway {
    async fn start(more: &str) -> Self {
        let tenant = tenant().await;
        let mut settings = Settings::of(&tenant, CLIENT_ID);
        settings.more = more.to_owned();
        let oxpost = Oxpost::new(&settings).unwrap();
        let password = oxpost.add_account(ALICE, &[]).await.unwrap();
        oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
        let running = oxpost.run().await.unwrap();
        Self { tenant, running, password, _oxpost: oxpost }
    }

    async fn connect(&self, protocol: Protocol) -> Client {
        let mut client = Client::connect(self.running.address(protocol)).await;
        assert!(client.line().await.is_some(), "no greeting");
        client
    }

    async fn begin_login(&self, protocol: Protocol) -> Client {
        let mut client = self.connect(protocol).await;
        let plain = STANDARD.encode(format!("\0{ALICE}\0{}", self.password));
        match protocol {
            Protocol::Imap => client.say(&format!("a LOGIN {ALICE} {}", self.password)).await,
            Protocol::Pop3 => {
                client.say(&format!("USER {ALICE}")).await;
                client.until("+OK").await;
                client.say(&format!("PASS {}", self.password)).await;
            }
            Protocol::Smtp => client.say(&format!("AUTH PLAIN {plain}")).await,
        }
        client
    }

    async fn log_in(&self, protocol: Protocol) -> Client {
        let mut client = self.begin_login(protocol).await;
        let accepted = match protocol {
            Protocol::Imap => "a OK",
            Protocol::Pop3 => "+OK",
            Protocol::Smtp => "235 ",
        };
        client.until(accepted).await;
        client
    }
}

/// What one client received, and how long after the signal it was over.
type Received = (&'static str, String, Duration);

/// Waits for the end of the stream in a task of its own: clients do not wait for one another.
fn listen(kind: &'static str, mut client: Client, since: Instant) -> tokio::task::JoinHandle<Received> {
    tokio::spawn(async move {
        let heard = client.rest().await;
        (kind, heard, since.elapsed())
    })
}

/// The goodbye that is the last thing a client of this kind hears.
fn goodbye(kind: &str) -> String {
    let words = match kind.split(' ').next() {
        Some("IMAP") => "* BYE ",
        Some("POP3") => "-ERR [SYS/TEMP] ",
        _ => "421 4.3.2 ",
    };
    format!("{words}{STOPPING}\r\n")
}

#[tokio::test]
async fn stop_under_load_notifies_clients_and_finishes_messages() {
    let gateway = Gateway::start("").await;
    gateway.tenant.deliver(ALICE, format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(LARGE / 18)));
    let (mut idle, mut fetching, mut sending) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        idle.push(("IMAP without a login", gateway.connect(Protocol::Imap).await));
        idle.push(("POP3 without a login", gateway.connect(Protocol::Pop3).await));
        idle.push(("SMTP without a login", gateway.connect(Protocol::Smtp).await));
        idle.push(("IMAP between commands", gateway.log_in(Protocol::Imap).await));
        idle.push(("POP3 between commands", gateway.log_in(Protocol::Pop3).await));
        let mut client = gateway.log_in(Protocol::Imap).await;
        client.say("b SELECT INBOX").await;
        client.until("b OK").await;
        client.say("c IDLE").await;
        client.until("+ ").await;
        idle.push(("IMAP in IDLE", client));
    }
    for _ in 0..2 {
        let mut client = gateway.log_in(Protocol::Imap).await;
        client.say("b SELECT INBOX").await;
        client.until("b OK").await;
        // Nothing of it is read before the stop: most of it is still to come by then.
        client.say("c FETCH 2 BODY[]").await;
        fetching.push(client);
    }
    for number in 0..MESSAGES {
        let mut client = gateway.log_in(Protocol::Smtp).await;
        client.say(&format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<bob@fabrikam.example>\r\nDATA")).await;
        client.until("354 ").await;
        client.say(&format!("Subject: {number}\r\n\r\nthe first half")).await;
        sending.push(client);
    }
    idle.push(("SMTP between messages", gateway.log_in(Protocol::Smtp).await));
    // One that has sent something, and waits for nothing.
    let mut sent = gateway.log_in(Protocol::Smtp).await;
    sent.say("NOOP").await;
    sent.until("250").await;
    idle.push(("SMTP between messages", sent));
    // These neither read what they are sent nor close.
    let lazy = [
        gateway.connect(Protocol::Imap).await,
        gateway.log_in(Protocol::Imap).await,
        gateway.log_in(Protocol::Pop3).await,
        gateway.log_in(Protocol::Smtp).await,
    ];
    gateway.tenant.behave(|it| {
        for faults in [&mut it.imap.faults, &mut it.pop3.faults, &mut it.smtp.faults] {
            faults.push(Fault::always(Stage::Credentials, Act::Hold));
        }
    });
    for (kind, protocol) in
        [("IMAP in a login", Protocol::Imap), ("POP3 in a login", Protocol::Pop3), ("SMTP in a login", Protocol::Smtp)]
    {
        idle.push((kind, gateway.begin_login(protocol).await));
    }
    gateway.tenant.wait_until_held(3).await;

    let since = Instant::now();
    signal(&gateway.running, "TERM").await;
    let mut receiving: Vec<_> = idle.into_iter().map(|(kind, client)| listen(kind, client, since)).collect();
    gateway.running.wait_for_log("stopping; sessions may finish").await.unwrap();
    receiving.extend(fetching.into_iter().map(|client| listen("IMAP in a FETCH of 4 MB", client, since)));
    for mut client in sending {
        // Those who send are asked within five seconds, and go on as if they were not.
        tokio::time::sleep(Duration::from_secs(2)).await;
        client.say("the second half\r\n.").await;
        receiving.push(listen("SMTP in DATA", client, since));
    }
    let mut received = Vec::new();
    for client in receiving {
        received.push(client.await.unwrap());
    }
    let log = gateway.running.ended().await.unwrap();
    let stopped = since.elapsed();
    drop(lazy);

    received.sort_by_key(|(kind, ..)| *kind);
    let mut table = format!("{:<26} {:>7}  {}\n", "client", "after", "what it received last");
    for (kind, heard, after) in &received {
        let last = heard.lines().last().unwrap_or_default();
        let _ = writeln!(table, "{kind:<26} {:>5} ms  {last}", after.as_millis());
        assert!(heard.ends_with(&goodbye(kind)), "{kind}: {:?}", heard.get(heard.len().saturating_sub(300)..));
        match *kind {
            "IMAP in a FETCH of 4 MB" => {
                let (size, rest) = heard.split_once("{").and_then(|(_, rest)| rest.split_once("}\r\n")).unwrap();
                let size: usize = size.parse().unwrap();
                assert!(size > LARGE / 18 * 18 && rest.len() > size && rest.contains("\r\nc OK"), "the FETCH is whole");
            }
            "SMTP in DATA" => assert!(heard.starts_with("250 2.0.0 OK"), "{heard}"),
            _ => assert_eq!(heard.lines().count(), 1, "{kind}: {heard}"),
        }
    }
    println!("{table}the process ended after {} ms", stopped.as_millis());
    assert!(stopped < LONGEST_STOP, "{stopped:?}");
    assert!(!log.contains("drain timeout expired"), "{log}");
    let mut subjects: Vec<String> = gateway
        .tenant
        .outgoing()
        .iter()
        .map(|message| String::from_utf8_lossy(&message.bytes).lines().next().unwrap_or_default().to_owned())
        .collect();
    subjects.sort();
    assert_eq!(subjects, (0..MESSAGES).map(|number| format!("Subject: {number}")).collect::<Vec<_>>());
}

/// A session that never finishes does not keep the process for ever, and a second signal ends it immediately.
#[tokio::test]
async fn drain_timeout_and_a_second_signal_end_what_does_not_finish() {
    for second in [false, true] {
        let gateway = Gateway::start(if second { "" } else { "[limits]\ndrain-timeout = \"1s\"\n" }).await;
        let mut client = gateway.log_in(Protocol::Smtp).await;
        client.say(&format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<bob@fabrikam.example>\r\nDATA")).await;
        client.until("354 ").await;
        client.say("Subject: never ends").await;
        signal(&gateway.running, "TERM").await;
        gateway.running.wait_for_log("stopping; sessions may finish").await.unwrap();
        if second {
            signal(&gateway.running, "TERM").await;
        }
        let log = gateway.running.ended().await.unwrap();
        assert!(log.contains(if second { "stopping immediately" } else { "drain timeout expired" }), "{log}");
        client.rest().await;
        assert!(gateway.tenant.outgoing().is_empty(), "what was not finished is not delivered");
    }
}

/// SIGHUP would end a process that does not listen for it; SIGPIPE is a connection that broke, not a reason to end.
#[tokio::test]
async fn sighup_and_sigpipe_end_nothing() {
    let gateway = Gateway::start("").await;
    let mut session = gateway.log_in(Protocol::Imap).await;
    for name in ["HUP", "PIPE", "HUP"] {
        signal(&gateway.running, name).await;
    }
    gateway.running.wait_for_log("restart Oxpost to apply changes to proxy.toml").await.unwrap();
    session.say("b NOOP").await;
    session.until("b OK").await;
    let mut another = gateway.log_in(Protocol::Pop3).await;
    another.say("QUIT").await;
    another.until("+OK").await;
    signal(&gateway.running, "INT").await;
    let log = gateway.running.ended().await.unwrap();
    assert!(log.contains("\"message\":\"stopped\""), "{log}");
}
