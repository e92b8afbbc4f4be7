//! What logins and background tasks ask of the database, and that none of it grows with the accounts that it is not about.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use rusqlite::Connection;

use super::{endpoint::Reply, *};
use crate::{
    Accounts, AdmissionLimits, Declared, PasswordHash, SenderPolicy, TokenSource,
    database::{Database, DatabaseError, Outcome, Statement, dialect, sqlite::Sqlite},
    store::{STORE_SCHEMA, UpstreamRefusal, alerts::Alert, mail_use::Used},
};

/// A database that writes down what it is asked.
struct Recording {
    inner: Sqlite,
    statements: Mutex<BTreeSet<&'static str>>,
    rows: AtomicUsize,
}

impl Recording {
    async fn new() -> Arc<Self> {
        let inner = Sqlite::open_in_memory(STORE_SCHEMA).await.unwrap();
        Arc::new(Self { inner, statements: Mutex::default(), rows: AtomicUsize::new(0) })
    }

    fn take(&self) -> (BTreeSet<&'static str>, usize) {
        (std::mem::take(&mut *self.statements.lock().unwrap()), self.rows.swap(0, Ordering::Relaxed))
    }
}

#[async_trait]
impl Database for Recording {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        self.statements.lock().unwrap().extend(statements.iter().map(|statement| statement.sql));
        let outcomes = self.inner.transaction(statements).await?;
        self.rows.fetch_add(outcomes.iter().map(|outcome| outcome.rows.len()).sum(), Ordering::Relaxed);
        Ok(outcomes)
    }
}

fn address(number: usize) -> Mailbox {
    mailbox(&format!("m{number}@contoso.com"))
}

fn declared(number: usize) -> Declared {
    Declared {
        mailbox: address(number),
        token_source: TokenSource::Own { application: "office".into(), grant: Grant::SignIn },
        login: address(number).to_string(),
        senders: SenderPolicy::default(),
        passwords: Vec::new(),
    }
}

/// Small tables that hold a row for each server, block, secret or trouble; and an index of nothing but accounts in trouble.
const SMALL: [&str; 10] = [
    "authority_circuit",
    "smtp_extensions",
    "ban",
    "meta",
    "notice",
    "secret_end",
    "next_client_secret",
    "accepted_certificate",
    "CONSTANT",
    "token USING INDEX token_failed",
];

/// How SQLite runs each of the statements.
fn plans(statements: &BTreeSet<&'static str>) -> BTreeMap<&'static str, Vec<String>> {
    let connection = Connection::open_in_memory().unwrap();
    for migration in STORE_SCHEMA.migrations {
        connection.execute_batch(migration.sql).unwrap();
    }
    let plan = |sql: &&'static str| {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", dialect::for_sqlite(sql))).unwrap();
        let lines = plan.raw_query().mapped(|row| row.get::<_, String>(3)).collect::<Result<Vec<_>, _>>().unwrap();
        (*sql, lines)
    };
    statements.iter().map(plan).collect()
}

/// Which of the statements read all rows of a table that grows with the accounts.
fn full_scans(statements: &BTreeSet<&'static str>) -> BTreeMap<&'static str, Vec<String>> {
    let is_full = |line: &String| {
        let Some(scanned) = line.strip_prefix("SCAN ") else { return false };
        !SMALL.iter().any(|small| scanned.starts_with(small))
    };
    let scans = plans(statements).into_iter().map(|(sql, lines)| (sql, lines.into_iter().filter(is_full).collect()));
    scans.filter(|(_, lines): &(_, Vec<String>)| !lines.is_empty()).collect()
}

/// A login in each way there is, its session, a refresh, and what the background tasks do.
async fn play(bench: &Bench) {
    let Bench { store, .. } = bench;
    let now = start();
    let gate = Accounts::with_remote_verification(
        store.clone(),
        bench.shared_clock(),
        AdmissionLimits::default(),
        bench.tokens.clone(),
    );
    let (ann, info, password) = (bench.mailbox().clone(), mailbox("info@contoso.com"), Secret::from("right"));
    let hash = PasswordHash::of(&password).unwrap();
    store.set_password(&ann, "scanner", &hash, now).await.unwrap();
    store.add_account(&Account { delegate: Some(ann.clone()), ..account(info.as_str(), Grant::SignIn) }).await.unwrap();
    store.add_account(&account("pat@contoso.com", Grant::Password)).await.unwrap();
    let from: IpAddr = "192.0.2.1".parse().unwrap();
    for user in ["ann@contoso.com", "ann\\info", "ann@contoso.com\\info@contoso.com"] {
        gate.admit_from(from, user, &password).await.unwrap();
    }
    bench.endpoint.then(Reply::tokens("at-p", Some("rt-p")));
    gate.admit_from(from, "pat@contoso.com", &password).await.unwrap();
    for (user, guess) in [("nobody@contoso.com", "right"), ("ann@contoso.com", "wrong")] {
        gate.admit_from(from, user, &Secret::from(guess)).await.unwrap_err();
    }
    gate.admit_without_password(&ann).await.unwrap().unwrap();
    let refused = UpstreamRefusal { protocol: "imap".into(), text: "t".into(), said: "s".into(), at: now };
    gate.note_upstream_result(ann.clone(), "imap".into(), Some(refused));
    gate.note_upstream_result(ann.clone(), "imap".into(), None);
    gate.note_login_accepted(&store.account(&info).await.unwrap().unwrap());
    gate.wait_for_background_writes().await;
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(2 * HOUR);
    bench.access_token().await.unwrap();
    bench.endpoint.then(Reply::error("invalid_grant", 50_173));
    bench.clock.advance(2 * HOUR);
    bench.access_token().await.unwrap_err();

    // Two accounts of an application: the second one finds the token of the first.
    for (address, sent) in [("app1@contoso.com", true), ("app2@contoso.com", false)] {
        let app_only = account(address, Grant::ClientCredentials);
        store.add_account(&app_only).await.unwrap();
        if sent {
            bench.endpoint.then(Reply::tokens("at-app", None));
        }
        // As on another node, which remembers nothing.
        let node = bench.another_node();
        let token = node.access_token(&Admitted::authenticated(app_only)).await.unwrap();
        assert_eq!(text(token.secret()), "at-app");
    }

    let background = store.in_background();
    let due = background.due(crate::Clock::now(&bench.clock)).await.unwrap();
    background.note_idle(&due.idle).await.unwrap();
    background.token_states_needing_attention(now).await.unwrap();
    background.secret_expiries().await.unwrap();
    background.smtp_extensions().await.unwrap();
    store.back_off(&ann, "IMAP").await.unwrap();
    let alert = Alert {
        subject: ann.to_string(),
        topic: "tokens".into(),
        id: "1".into(),
        event: "sign-in-needed".into(),
        cause: "c".into(),
        what: "w".into(),
        remedy: "r".into(),
        since: now,
        notified: None,
        due: None,
        resolved: None,
    };
    store.add_alert(&alert).await.unwrap();
    store.change_alert(&alert, &Alert { notified: Some(now), ..alert.clone() }).await.unwrap();
    store.alerts().await.unwrap();
    store.remove_alert(&alert).await.unwrap();
    store.note_uid_validity(&ann, "INBOX", 1, now).await.unwrap();
    store.forget_uid_validity(&ann, "INBOX").await.unwrap();
    store.add_mail_use([(&ann, "imap", &Used::default())]).await.unwrap();
}

#[tokio::test]
async fn no_login_and_no_tick_reads_all_accounts() {
    let database = Recording::new().await;
    let store = Store::with(database.clone(), vault()).await.unwrap();
    let bench = Bench::signed_in_to(store).await;
    database.take();
    play(&bench).await;
    let (statements, _) = database.take();
    assert!(statements.len() > 40, "{} statements", statements.len());
    assert_eq!(full_scans(&statements), BTreeMap::new());
    // That every account has no delegate, or is enabled, selects nothing.
    let due = plans(&statements).into_iter().filter(|(_, plan)| plan.iter().any(|line| line.contains("token_due")));
    assert_eq!(due.count(), 2, "what is due, and when the next is");
    let app_only = plans(&statements).into_iter().filter(|(sql, _)| sql.contains("WHERE app_only ="));
    let app_only: Vec<_> = app_only.map(|(_, plan)| plan).collect();
    assert_eq!(
        app_only,
        [["SEARCH token USING INDEX token_app_only (app_only=?)"]],
        "the newest is the first, and unsorted"
    );
    // The test can fail: what is read now and then reads them all.
    bench.store.plan().await.unwrap();
    assert_eq!(full_scans(&database.take().0).len(), 1);
}

/// Rows that two ticks read with so many accounts that are not due, so many disabled ones, and so many without a sign-in.
async fn rows_of_two_ticks(count: usize) -> [usize; 2] {
    let database = Recording::new().await;
    let store = Store::with(database.clone(), vault()).await.unwrap();
    let all: Vec<Declared> = (0..3 * count).map(declared).collect();
    store.reconcile(&all, &[], start()).await.unwrap();
    for number in 0..2 * count {
        store.save_signed_in(&address(number), &token_set("at", Some("rt")), None, start()).await.unwrap();
    }
    let enabled: Vec<Declared> = (0..count).chain(2 * count..3 * count).map(declared).collect();
    store.reconcile(&enabled, &[], start()).await.unwrap();
    // The disabled ones are due.
    let now = start() + HOUR / 2;
    let tick = async || {
        database.take();
        let due = store.due(now + HOUR).await.unwrap();
        store.note_idle(&due.idle).await.unwrap();
        store.token_states_needing_attention(start() - HOUR).await.unwrap();
        (due.due.len(), database.take().1)
    };
    let (due, _) = tick().await;
    assert_eq!(due, count, "those that are used and have signed in");
    for number in 0..count {
        store.save_signed_in(&address(number), &token_set("at", Some("rt")), None, now + HOUR).await.unwrap();
    }
    [tick().await, tick().await].map(|(due, rows)| {
        assert_eq!(due, 0);
        rows
    })
}

#[tokio::test]
async fn tick_reads_as_much_with_a_thousand_accounts_as_with_ten() {
    let (few, many) = (rows_of_two_ticks(10).await, rows_of_two_ticks(1_000).await);
    assert_eq!(few, many);
    assert!(many.iter().all(|&rows| rows <= 1), "{many:?}: when the next one is due");
}

/// An account for which there was nothing to do has something to do again, whatever it is that has changed.
#[tokio::test]
async fn idle_account_is_due_again_after_each_change_of_it() {
    let store = fresh_store().await;
    let now = start() + 24 * HOUR;
    let due = async || -> Vec<String> {
        let due = store.due(now).await.unwrap();
        store.note_idle(&due.idle).await.unwrap();
        due.due.into_iter().map(|planned| planned.account.mailbox.to_string()).collect()
    };
    let (a, b) = (declared(1), declared(2));
    let (first, second) = ("m1@contoso.com", "m2@contoso.com");
    store.reconcile(&[a.clone(), b.clone()], &[], start()).await.unwrap();
    assert_eq!(due().await, Vec::<String>::new(), "there is no sign-in");
    assert!(store.due(now).await.unwrap().idle.is_empty(), "and that is known");
    store.save_signed_in(&a.mailbox, &token_set("at", Some("rt")), None, start()).await.unwrap();
    assert_eq!(due().await, [first]);
    assert!(store.adopt_refresh_token(&b.mailbox, &Secret::from("rt")).await.unwrap());
    assert_eq!(due().await, [second, first], "an import");
    store.reconcile(&[], &[], start()).await.unwrap();
    assert_eq!(due().await, Vec::<String>::new(), "disabled");
    store.reconcile(std::slice::from_ref(&b), &[], start()).await.unwrap();
    assert_eq!(due().await, [second], "enabled again");
    let delegate = Account { delegate: Some(a.mailbox.clone()), ..account("info@contoso.com", Grant::SignIn) };
    store.add_account(&delegate).await.unwrap();
    assert_eq!(due().await, [second, first], "used by another account");
    store.set_delegate(&delegate.mailbox, &b.mailbox).await.unwrap();
    assert_eq!(due().await, [second]);
    store.set_delegate(&delegate.mailbox, &a.mailbox).await.unwrap();
    assert_eq!(due().await, [second, first]);
    store.remove_account(&delegate.mailbox).await.unwrap();
    assert_eq!(due().await, [second]);
    let hall = Declared { token_source: TokenSource::Delegate(a.mailbox.clone()), ..declared(3) };
    store.reconcile(&[b.clone(), hall], &[], start()).await.unwrap_err();
    store.reconcile(&[a.clone(), b], &[], start()).await.unwrap();
    assert_eq!(due().await, [second, first]);
}

/// Another program has changed the row and knows nothing of the note: an older one, or a person.
#[tokio::test]
async fn wrong_note_of_an_idle_account_is_found_by_the_full_look() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.store.note_idle(&["ann@contoso.com".to_owned()]).await.unwrap();
    assert!(bench.store.wrongly_idle().await.unwrap().is_empty());
    let place = super::fixture::Place::new();
    let store = place.open().await;
    store.add_account(&account("ann@contoso.com", Grant::SignIn)).await.unwrap();
    store.save_signed_in(bench.mailbox(), &token_set("at", Some("rt")), None, start()).await.unwrap();
    place.meddle("UPDATE token SET idle = 2", "UPDATE token SET idle = 2");
    assert_eq!(store.wrongly_idle().await.unwrap(), ["ann@contoso.com"]);
    store.note_idle(&store.wrongly_idle().await.unwrap()).await.unwrap();
    assert_eq!(store.due(start() + HOUR).await.unwrap().due.len(), 1);
}
