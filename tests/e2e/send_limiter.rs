//! Exchange's limits are kept and not reached: ten concurrent programs send from one mailbox.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost::testing::{self, FailureClass, Readiness, changed, readiness};
use oxpost_protocol::Secret;
use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, Oxpost, PASSWORD, Settings, eventually};
use oxpost_tests::office365::Protocol;
use oxpost_tests::office365::behaviour::{Act, Fault, Stage, TokenFault};
use oxpost_token_store::{Admitted, Mailbox};
use tokio::time::Instant;

use crate::client::Client;
use crate::story::tenant;

/// The programs, and what each of them sends, every message on a connection of its own.
const PROGRAMS: usize = 10;
const MESSAGES: usize = 4;

/// What Exchange takes.
const LIMITS: &str = "{ max-connections = 3, messages-per-minute = 30 }";

/// The proxy in front of a tenant that enforces the limits, and knows of these.
async fn world(sending: Option<&str>, more: &str) -> InProcess {
    let tenant = tenant().await;
    tenant.behave(|tenant| tenant.smtp.messages_per_minute = Some(30));
    let sending = sending.map(String::from);
    let settings = Settings { sending, more: more.into(), ..Settings::of(&tenant, CLIENT_ID) };
    let in_process = InProcess::start_with(tenant, &settings).await.unwrap();
    in_process.add_account(ALICE).await.unwrap();
    in_process.sign_in(ALICE, ALICE).await.unwrap();
    in_process
}

async fn log_in(address: SocketAddr) -> Result<Client, String> {
    log_in_with(address, PASSWORD).await
}

async fn log_in_with(address: SocketAddr, password: &str) -> Result<Client, String> {
    let mut smtp = Client::connect(address).await;
    smtp.until("220 ").await;
    smtp.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}")))).await;
    match smtp.line().await.unwrap_or_default() {
        yes if yes.starts_with("235 ") => Ok(smtp),
        no => Err(no),
    }
}

/// Sends one message, everything pipelined that may be.
async fn send(address: SocketAddr, subject: &str) -> Result<(), String> {
    let mut smtp = log_in(address).await?;
    smtp.send(format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<{ALICE}>\r\nDATA\r\n").as_bytes()).await;
    for expected in ["250 ", "250 ", "354 "] {
        let answer = smtp.line().await.unwrap_or_default();
        if !answer.starts_with(expected) {
            return Err(answer);
        }
    }
    smtp.send(format!("Subject: {subject}\r\n\r\n{subject}\r\n.\r\n").as_bytes()).await;
    let answer = smtp.line().await.unwrap_or_default();
    if !answer.starts_with("250 ") {
        return Err(answer);
    }
    smtp.say("QUIT").await;
    smtp.rest().await;
    Ok(())
}

/// Lets the clock stand still but for [`let_time_pass`]. tokio would turn it by itself whenever everybody waits, for bytes of
/// another socket as well, but not as long as something runs on a thread of its own.
struct Stopped(#[allow(dead_code)] std::sync::mpsc::Sender<()>);

fn stop_the_clock() -> Stopped {
    let (end, ended) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || ended.recv());
    tokio::time::pause();
    Stopped(end)
}

/// Turns the clock whenever nothing can happen without that: all who are not done wait for their turn.
async fn let_time_pass(in_process: &InProcess, left: &AtomicUsize) {
    let begun = std::time::Instant::now();
    loop {
        let left = left.load(Ordering::SeqCst);
        assert!(begun.elapsed() < Duration::from_secs(120), "{left} are not done");
        if left == 0 {
            return;
        }
        if in_process.context.runtime.send_limiter.waiting() == left {
            tokio::time::advance(Duration::from_millis(250)).await;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
    }
}

/// All programs concurrently. The replies that they did not want, and how long it took.
async fn all_together(in_process: &InProcess) -> (Vec<String>, Duration) {
    let address = in_process.address(Protocol::Smtp);
    let began = Instant::now();
    let left = Arc::new(AtomicUsize::new(PROGRAMS));
    let programs: Vec<_> = (0..PROGRAMS)
        .map(|program| {
            let left = Arc::clone(&left);
            tokio::spawn(async move {
                let mut refused = Vec::new();
                for message in 0..MESSAGES {
                    refused.extend(send(address, &format!("{program}.{message}")).await.err());
                }
                left.fetch_sub(1, Ordering::SeqCst);
                refused
            })
        })
        .collect();
    let_time_pass(in_process, &left).await;
    let mut refused = Vec::new();
    for program in programs {
        refused.extend(program.await.unwrap());
    }
    (refused, began.elapsed())
}

#[tokio::test]
async fn ten_concurrent_programs_keep_the_limits_of_the_mailbox() {
    // Without pacing the tenant does refuse.
    let (in_process, clock) = (world(None, "").await, stop_the_clock());
    let (unpaced, _) = all_together(&in_process).await;
    assert!(unpaced.len() >= PROGRAMS * MESSAGES - 30, "{unpaced:?}");
    assert!(unpaced.iter().all(|answer| answer.starts_with("432 4.3.2 ")), "{unpaced:?}");
    tokio::time::resume();
    drop(clock);
    in_process.stop().await;

    let (in_process, _clock) = (world(Some(LIMITS), "").await, stop_the_clock());
    let (refused, took) = all_together(&in_process).await;
    assert_eq!(refused, Vec::<String>::new());
    let mut sent: Vec<String> = in_process.tenant.messages(ALICE, "Sent Items").iter().map(|m| subject(m)).collect();
    sent.sort();
    let all = (0..PROGRAMS).flat_map(|program| (0..MESSAGES).map(move |message| format!("{program}.{message}")));
    assert_eq!(sent, all.collect::<Vec<_>>(), "each once");
    assert!((1..=3).contains(&in_process.tenant.most_concurrent(ALICE)));
    assert!(took >= Duration::from_secs(60), "40 do not go within a minute: {took:?}");
    assert_eq!(in_process.context.runtime.send_limiter.waiting(), 0);
    println!(
        "{PROGRAMS} concurrent programs, {} messages, a mailbox that accepts 3 sessions and 30 messages a minute: {} delivered, {} refused, in {} s \
         by the clock of the test ({} refused without pacing)",
        PROGRAMS * MESSAGES,
        sent.len(),
        refused.len(),
        took.as_secs(),
        unpaced.len()
    );
    in_process.stop().await;
}

/// Before the server refuses everything for the rest of the day, the log warns: once.
#[tokio::test]
async fn the_recipients_of_a_day_are_warned_about_once() {
    let tenant = tenant().await;
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    settings.sending = Some("{ recipients-per-day = 5 }".into());
    let oxpost = Oxpost::new(&settings).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    // What is never sent does not count.
    for ends in [&["a\rb\r\n."][..], &["."; 3]] {
        let mut smtp = log_in_with(running.smtp, &password).await.unwrap();
        for end in ends {
            smtp.say(&format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<a@fabrikam.example>\r\nRCPT TO:<b@fabrikam.example>"))
                .await;
            smtp.say("DATA").await;
            smtp.until("354 ").await;
            smtp.say(end).await;
            smtp.line().await.unwrap();
        }
        smtp.say("QUIT").await;
        smtp.rest().await;
    }
    let log = running.stop().await.unwrap();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("nearly as many recipients")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("\"recipients\":4") && warnings[0].contains("\"limit\":5"), "{}", warnings[0]);
}

fn subject(message: &[u8]) -> String {
    String::from_utf8_lossy(message).lines().next().unwrap().trim_start_matches("Subject: ").to_owned()
}

/// A client whose account cannot have a token hears so, and does not wait for a send slot that cannot be used.
#[tokio::test]
async fn login_without_a_token_does_not_wait_for_a_slot() {
    let in_process = world(Some("{ max-connections = 1 }"), "").await;
    let address = in_process.address(Protocol::Smtp);
    let mut first = log_in(address).await.unwrap();
    // In the middle of a message it makes no room.
    first.say(&format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<{ALICE}>\r\nDATA")).await;
    first.until("354 ").await;
    let account = in_process.context.runtime.store.account(&Mailbox::parse(ALICE).unwrap()).await.unwrap().unwrap();
    let context = in_process.context.clone();
    let ready = async |protocol| readiness(&context, &account, protocol).await;
    assert!(matches!(ready(testing::Protocol::Smtp).await, Readiness::Now));
    // The token has ended, and the sign-in service asks for ten minutes.
    in_process.tenant.clock().advance(Duration::from_secs(7200));
    in_process.tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::TooManyRequests(Some(600))));
    in_process.context.runtime.tokens.access_token(&admitted(&in_process).await).await.unwrap_err();
    for protocol in [testing::Protocol::Smtp, testing::Protocol::Imap] {
        let answer = ready(protocol).await;
        let Readiness::NotBefore { at, failure } = answer else { panic!("{answer:?}") };
        let left = at.duration_since(in_process.context.runtime.clock.now()).unwrap();
        assert!((Duration::from_secs(590)..=Duration::from_secs(660)).contains(&left), "{left:?}");
        assert_eq!(failure.class, Some(FailureClass::TokenTransient));
    }
    let refused = log_in(address).await.map(|_| ()).unwrap_err();
    assert!(refused.starts_with("454 4.7.0 ") && refused.contains("The sign-in service"), "{refused}");
    // Who waits is woken when the time has come.
    let answer = ready(testing::Protocol::Smtp).await;
    let waits = changed(&context, &answer);
    tokio::pin!(waits);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waits).await.is_err());
    in_process.tenant.clock().advance(Duration::from_secs(700));
    waits.await;
    in_process.tenant.behave(|tenant| tenant.entra.fault = None);
    assert!(matches!(ready(testing::Protocol::Smtp).await, Readiness::Now));
    in_process.stop().await;
}

async fn admitted(in_process: &InProcess) -> Admitted {
    in_process.context.runtime.accounts.admit(ALICE, &Secret::from(PASSWORD)).await.unwrap()
}

/// The server counts what Oxpost does not see, another program that sends around it. At the login and at MAIL it is asked
/// again, behind the final dot never.
#[tokio::test]
async fn temporary_refusal_is_retried_where_that_is_safe() {
    let throttled = || Act::Say("432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/x".into());
    let in_process = world(Some(LIMITS), "").await;
    for stage in [Stage::Credentials, Stage::Mail] {
        in_process.tenant.behave(|tenant| tenant.smtp.faults = vec![Fault::once(stage, throttled())]);
        send(in_process.address(Protocol::Smtp), "again").await.unwrap_or_else(|answer| panic!("{stage:?}: {answer}"));
    }
    in_process.tenant.behave(|tenant| tenant.smtp.faults = vec![Fault::once(Stage::Message, throttled())]);
    let refused = send(in_process.address(Protocol::Smtp), "not again").await.unwrap_err();
    assert!(refused.starts_with("432 4.3.2 Concurrent"), "{refused}");
    assert_eq!(in_process.tenant.messages(ALICE, "Sent Items").len(), 2);
    in_process.stop().await;
}

/// With no patience at all, everything that would wait is a temporary refusal with its reason.
#[tokio::test]
async fn client_that_waited_too_long_hears_why_and_may_retry() {
    let in_process =
        world(Some("{ max-connections = 2, messages-per-minute = 1 }"), "[limits]\nsend-slot-timeout = \"0s\"\n").await;
    let address = in_process.address(Protocol::Smtp);
    let mut first = log_in(address).await.unwrap();
    let second = log_in(address).await.unwrap();
    let refused = log_in(address).await.map(|_| ()).unwrap_err();
    assert!(
        refused.starts_with(&format!("454 4.7.0 {ALICE} already has 2 sessions for sending, as many as")),
        "{refused}"
    );
    // A place that is given up is there for the next one.
    drop(second);
    let third = eventually("the place is there", async || log_in(address).await.ok()).await;
    drop(third);
    for (answer, end) in
        [("250 ", "RSET"), ("451 4.3.2 alice@contoso.com sends more than the 1 messages a minute", "RSET")]
    {
        first.say(&format!("MAIL FROM:<{ALICE}>")).await;
        let heard = first.line().await.unwrap();
        assert!(heard.starts_with(answer), "{heard}");
        first.say(end).await;
        first.until("250 ").await;
    }
    // Exchange throttles messages and not logins: a login that is refused with a temporary code is tried again later.
    let throttled = Act::Say("432 4.3.2 Concurrent connections limit exceeded".into());
    in_process.tenant.behave(|tenant| tenant.smtp.faults = vec![Fault::always(Stage::Credentials, throttled)]);
    let refused = loop {
        match log_in(address).await.map(|_| ()).unwrap_err() {
            full if full.contains("already has 2") => {}
            refused => break refused,
        }
    };
    assert!(refused.starts_with("454 4.7.0 localhost refuses logins at the moment. Try again"), "{refused}");
    in_process.stop().await;
}
