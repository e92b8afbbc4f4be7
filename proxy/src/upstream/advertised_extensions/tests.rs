use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oxpost_token_store::{Account, Grant, Mailbox, ManualClock, SharedClock, Store, Vault};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{PRESETS, ServerTls, preset_hosts};

fn server(host: &str) -> Server {
    Server { host: host.into(), port: 587, tls: ServerTls::StartTls }
}

fn of(servers: &[(&str, &str)]) -> AdvertisedExtensions {
    let servers: Vec<_> = servers.iter().map(|(application, host)| (*application, server(host))).collect();
    AdvertisedExtensions::new(servers.iter().map(|(application, server)| (*application, server)))
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn every_preset_has_a_documented_list() {
    for preset in PRESETS {
        let [.., smtp] = preset_hosts(preset).unwrap();
        let expected = if preset == "gmail" { GMAIL } else { EXCHANGE };
        assert_eq!(*of(&[("a", &smtp.to_uppercase())]).now(), *expected, "{preset}");
    }
    for other in ["mail.example.com", "notoffice365.com", "smtp.gmail.com.example"] {
        assert!(of(&[("a", other)]).now().is_empty(), "{other}");
    }
    assert!(of(&[]).now().is_empty());
}

#[test]
fn only_what_every_server_offers_is_advertised() {
    let advertised = of(&[("office", "smtp.office365.com"), ("other", "mail.example")]);
    assert!(advertised.now().is_empty(), "nothing is known of the other yet");
    advertised.learn("other", &lines(&["size 1000", "8BITMIME", "XCLIENT", "AUTH XOAUTH2"]));
    assert_eq!(*advertised.now(), ["SIZE 1000", "8BITMIME"]);
    let both = of(&[("office", "smtp.office365.com"), ("gmail", "smtp.gmail.com")]);
    assert_eq!(*both.now(), *GMAIL, "the smaller list, and the smaller size");
    both.learn("no such application", &lines(&["DSN"]));
    assert_eq!(*both.now(), *GMAIL);
}

#[test]
fn size_0_means_no_limit() {
    for size in ["SIZE 0", "SIZE", "SIZE 00", "SIZE -1", "SIZE 99999999999999999999999"] {
        let advertised = of(&[("office", "smtp.office365.com"), ("other", "mail.example")]);
        advertised.learn("other", &lines(&[size, "DSN"]));
        assert_eq!(*advertised.now(), ["SIZE 157286400", "DSN"], "{size}");
        assert_eq!(usable(&lines(&[size])), ["SIZE"], "{size}");
    }
    assert_eq!(usable(&lines(&["SIZE 1"])), ["SIZE 1"]);
}

#[test]
fn applications_without_accounts_do_not_count() {
    let advertised = of(&[("office", "smtp.office365.com"), ("other", "mail.example")]);
    advertised.applications_are_used(lines(&["office", "gone from proxy.toml"]));
    assert_eq!(*advertised.now(), *EXCHANGE);
    advertised.applications_are_used(lines(&["office", "other"]));
    assert!(advertised.now().is_empty());
    advertised.applications_are_used(Vec::new());
    assert!(advertised.now().is_empty(), "the first account may be of any application");
    // A login proves that there is an account, also when the store was not read since.
    advertised.applications_are_used(lines(&["office"]));
    advertised.learn("other", &lines(&["DSN"]));
    assert_eq!(*advertised.now(), ["DSN"]);
}

#[test]
fn newest_list_wins_between_this_node_and_others() {
    let advertised = of(&[("a", "mail.example")]);
    let other_node = |line: &str| SmtpExtensions { host: "mail.example".into(), port: 587, extensions: lines(&[line]) };
    advertised.applications_are_used(lines(&["a"]));
    let look = |line: &str| advertised.read_from_store(vec![other_node(line)]);
    look("DSN");
    assert_eq!(*advertised.now(), ["DSN"]);
    assert_eq!(advertised.unwritten(), []);
    look("8BITMIME");
    assert_eq!(*advertised.now(), ["8BITMIME"]);
    advertised.learn("a", &lines(&["8BITMIME"]));
    assert_eq!(advertised.unwritten(), [], "it is what the store has");

    advertised.learn("a", &lines(&["SMTPUTF8"]));
    assert_eq!(advertised.unwritten(), [other_node("SMTPUTF8")]);
    look("8BITMIME");
    assert_eq!(*advertised.now(), ["SMTPUTF8"], "learned here, and not written yet");
    advertised.written(other_node("SMTPUTF8"));
    assert_eq!(advertised.unwritten(), []);
    look("DSN");
    assert_eq!(*advertised.now(), ["DSN"]);
    // Another port is another server; and what a store holds is not sent to clients as it is.
    let elsewhere = SmtpExtensions { port: 25, ..other_node("SMTPUTF8") };
    advertised.read_from_store(vec![elsewhere, other_node("DSN\r\n221 bye")]);
    assert_eq!(*advertised.now(), ["DSN"]);
}

fn clock() -> SharedClock {
    Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)))
}

async fn add(store: &Store, address: &str, application: &str) {
    let account = Account::new(Mailbox::parse(address).unwrap(), application, Grant::SignIn, clock().now());
    store.add_account(&account).await.unwrap();
}

#[tokio::test]
async fn learned_list_is_known_after_a_restart_and_on_other_nodes() {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    add(&store, "ann@contoso.com", "a").await;
    let node = of(&[("a", "mail.example")]);
    node.sync_once(&store, &clock()).await;
    assert!(node.now().is_empty());
    node.learn("a", &lines(&["SIZE 5", "DSN"]));
    let other = of(&[("a", "mail.example"), ("unused", "mail.example.org")]);
    other.sync_once(&store, &clock()).await;
    assert!(other.now().is_empty(), "a login does not wait for the store");
    // An orderly stop writes what is not written yet.
    let stop = CancellationToken::new();
    stop.cancel();
    node.sync_with_store(&store, &clock(), &stop).await;
    other.sync_once(&store, &clock()).await;
    assert_eq!(*other.now(), ["SIZE 5", "DSN"]);
}

#[tokio::test(start_paused = true)]
async fn account_added_while_running_counts_without_a_restart() {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    add(&store, "ann@contoso.com", "office").await;
    let advertised = Arc::new(of(&[("office", "smtp.office365.com"), ("gmail", "smtp.gmail.com")]));
    let (stop, task) = (CancellationToken::new(), Arc::clone(&advertised));
    let (running, its_store) = (stop.clone(), store.clone());
    let task = tokio::spawn(async move { task.sync_with_store(&its_store, &clock(), &running).await });
    until(|| *advertised.now() == *EXCHANGE).await;
    add(&store, "ben@gmail.com", "gmail").await;
    until(|| *advertised.now() == *GMAIL).await;
    advertised.learn("gmail", &lines(&["DSN"]));
    until(|| advertised.unwritten().is_empty()).await;
    assert_eq!(store.smtp_extensions().await.unwrap().len(), 1);
    stop.cancel();
    task.await.unwrap();
}

async fn until(holds: impl Fn() -> bool) {
    // The clock on the wall ends it: a machine that is busy is no reason.
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does in time");
        // The paused clock does not run ahead of the thread of the store.
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
