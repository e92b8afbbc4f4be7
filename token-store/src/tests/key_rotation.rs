//! A new key for a store, at any moment and on both engines.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{
    fixture::{self, Place},
    maintenance::{assert_whole, fill},
    *,
};
use crate::{
    KeySource, LocalPassword, StoreError,
    database::{Database, DatabaseError, Outcome, Statement},
    source::Source,
    store::{
        RefreshToken, STORE_SCHEMA,
        key_rotation::{BATCH, RotateError, Rotated, rotate},
    },
};

/// Set for the child only: the store and its key file.
const STORE: &str = "OXPOST_TEST_STORE_OF_A_CHILD";
const KEY: &str = "OXPOST_TEST_KEY_OF_A_CHILD";

const KILLS: u64 = 30;

/// A store, and the folder of its key file.
struct Keyed {
    place: Place,
    folder: tempfile::TempDir,
}

impl Keyed {
    fn new() -> Self {
        Self { place: Place::new(), folder: tempfile::tempdir().unwrap() }
    }

    fn source(&self) -> KeySource {
        KeySource::File(self.folder.path().join("oxpost.key"))
    }

    async fn open(&self) -> Result<Store, StoreError> {
        self.place.try_open(self.source().open()?.0).await
    }

    async fn filled(&self) -> Store {
        fill(self.open().await.unwrap()).await
    }

    async fn rotate(&self) -> Result<Rotated, RotateError> {
        fixture::rotate_key(&self.place.path(), &self.source()).await
    }

    async fn alone(&self) {
        fixture::alone(&self.place.path()).await;
    }
}

/// More values in one column than a batch has.
async fn fill_more(store: Store) -> Store {
    for number in 0..ACCOUNTS {
        let mailbox = mailbox(&format!("m{number}@contoso.com"));
        store.add_account(&Account::new(mailbox.clone(), "office", Grant::SignIn, start())).await.unwrap();
        for source in sources() {
            store.note_familiar_source(&mailbox, source, start(), HOUR).await.unwrap();
        }
    }
    store
}

const ACCOUNTS: usize = 20;

fn sources() -> HashSet<Source> {
    (1..=16).map(|last| Source::of(std::net::IpAddr::from([192, 0, 2, last]))).collect()
}

async fn assert_more_is_whole(store: &Store) {
    assert_whole(store).await;
    for number in 0..ACCOUNTS {
        let seen = store.familiar_sources(&mailbox(&format!("m{number}@contoso.com"))).await.unwrap();
        assert_eq!(seen.into_iter().map(|seen| seen.source).collect::<HashSet<_>>(), sources(), "account {number}");
    }
    assert_eq!(store.audit_access().await.unwrap().changed, []);
}

/// A database that takes a number of writes and then none, as a full disk or a process that is killed.
pub(super) struct StopsAfter(pub(super) Arc<dyn Database>, pub(super) AtomicUsize);

#[async_trait]
impl Database for StopsAfter {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        let writes = statements.iter().any(|statement| !statement.sql.starts_with("SELECT"));
        if writes && self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return Err(DatabaseError::Failed("database or disk is full".into()));
        }
        self.0.transaction(statements).await
    }
}

#[tokio::test]
async fn rotation_stopped_at_any_write_is_finished_by_the_next() {
    let keyed = Keyed::new();
    drop(fill_more(keyed.filled().await).await);
    let mut stopped = 0;
    for writes in 0.. {
        keyed.alone().await;
        let before = keyed.source().read().unwrap();
        let database = Arc::new(StopsAfter(keyed.place.open_as(STORE_SCHEMA).await.unwrap(), AtomicUsize::new(writes)));
        let rotated = rotate(database, before.clone(), &keyed.source()).await;
        keyed.alone().await;
        let Err(error) = rotated else { break };
        let keys = keyed.source().read().unwrap().keys();
        // Two writes are those of every time the store is opened.
        assert_eq!(keys, if writes == 0 { 1 } else { 2 }, "{writes} writes: {error}");
        if writes > 0 {
            stopped += 1;
            let text = error.to_string();
            assert!(text.contains("disk is full") && text.contains("Run this command again"), "{text}");
        }
        // (A service may be started in between, and writes.)
        let store = keyed.open().await.unwrap();
        assert_more_is_whole(&store).await;
        drop(store);
        keyed.alone().await;
        if writes > 0 {
            // Otherwise it would take values that it cannot open for damaged ones, and write others.
            assert_eq!(keyed.place.try_open(before).await.unwrap_err(), StoreError::WrongKey, "{writes} writes");
            keyed.alone().await;
        }
        let rotated = keyed.rotate().await.unwrap();
        assert_eq!((rotated.resumed, rotated.unreadable, rotated.old_key_removed), (writes > 0, 0, true));
    }
    assert_eq!(stopped, 8, "at the second opening, in each of six columns, and between the two batches of one");
    assert_more_is_whole(&keyed.open().await.unwrap()).await;
}

/// The most rows of a reply, and the most statements of a transaction.
struct Measured(Arc<dyn Database>, AtomicUsize, AtomicUsize);

#[async_trait]
impl Database for Measured {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        self.2.fetch_max(statements.len(), Ordering::SeqCst);
        let outcomes = self.0.transaction(statements).await?;
        self.1.fetch_max(outcomes.iter().map(|outcome| outcome.rows.len()).sum(), Ordering::SeqCst);
        Ok(outcomes)
    }
}

#[tokio::test]
async fn rotation_has_one_batch_in_memory() {
    let keyed = Keyed::new();
    drop(fill_more(keyed.filled().await).await);
    keyed.alone().await;
    let engine = keyed.place.open_as(STORE_SCHEMA).await.unwrap();
    let database = Arc::new(Measured(engine, AtomicUsize::new(0), AtomicUsize::new(0)));
    let rotated = rotate(database.clone(), keyed.source().read().unwrap(), &keyed.source()).await.unwrap();
    assert_eq!(rotated.sealed, 10 + ACCOUNTS + ACCOUNTS * sources().len());
    let most = [&database.1, &database.2].map(|most| most.load(Ordering::SeqCst));
    assert_eq!(most, [BATCH, BATCH], "rows that were read, and written in one transaction");
}

/// A process without the new key that writes once, where the file system knows no locks.
struct Meddling(Arc<dyn Database>, Mutex<Option<Statement>>);

#[async_trait]
impl Database for Meddling {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        let mut statements = statements;
        if statements.iter().any(|statement| statement.sql.starts_with("UPDATE client_secret")) {
            statements.extend(self.1.lock().unwrap().take());
        }
        self.0.transaction(statements).await
    }
}

#[tokio::test]
async fn old_key_is_kept_after_a_single_write_with_it() {
    let keyed = Keyed::new();
    drop(keyed.filled().await);
    keyed.alone().await;
    let engine = keyed.place.open_as(STORE_SCHEMA).await.unwrap();
    let select = Statement::new("SELECT sealed FROM client_secret", []);
    let sealed = engine.transaction(vec![select]).await.unwrap().remove(0).rows.remove(0).bytes(0).unwrap();
    let write = Statement::new("UPDATE client_secret SET sealed = $1", [sealed.into()]);
    let database = Arc::new(Meddling(engine, Mutex::new(Some(write))));
    let error = rotate(database, keyed.source().read().unwrap(), &keyed.source()).await.unwrap_err();
    assert!(matches!(error, RotateError::StillWritten(_)), "{error}");
    assert_eq!(keyed.source().read().unwrap().keys(), 2);
    keyed.alone().await;
    let rotated = keyed.rotate().await.unwrap();
    assert_eq!((rotated.sealed, rotated.old_key_removed), (0, true), "nothing was written since");
    keyed.alone().await;
    assert_whole(&keyed.open().await.unwrap()).await;
}

#[tokio::test]
async fn a_new_key_opens_everything_and_the_old_one_nothing() {
    let keyed = Keyed::new();
    let store = keyed.filled().await;
    let old = keyed.source().read().unwrap();
    let error = keyed.rotate().await.unwrap_err();
    assert!(error.to_string().contains("in use by") && error.to_string().contains("stop the service"), "{error}");
    assert_eq!(keyed.source().read().unwrap().keys(), 1, "the key file is as it was");
    drop(store);
    keyed.alone().await;

    let rotated = keyed.rotate().await.unwrap();
    assert_eq!((rotated.resumed, rotated.sealed, rotated.unreadable, rotated.old_key_removed), (false, 10, 0, true));
    assert_eq!(keyed.source().read().unwrap().keys(), 1);
    keyed.alone().await;
    assert_eq!(keyed.place.try_open(old).await.unwrap_err(), StoreError::WrongKey);
    assert_whole(&keyed.open().await.unwrap()).await;
}

/// Each column of the registry has a value, so that one that is walked under another context than it is sealed for is noticed.
#[tokio::test]
async fn values_of_every_sealed_column_open_with_the_new_key() {
    let keyed = Keyed::new();
    let store = keyed.filled().await;
    let ann = mailbox("ann@contoso.com");
    let identity = crate::Identity {
        tenant: "t".into(),
        object_id: "1".into(),
        name: "anna@contoso.com".into(),
        from_id_token: true,
    };
    let tokens = TokenSet { identity: Some(identity), ..token_set("at-ann@contoso.com", Some("rt-ann@contoso.com")) };
    store.save_signed_in(&ann, &tokens, None, start()).await.unwrap();
    let hash = LocalPassword::generate().unwrap().hash().await.unwrap();
    store.set_password(&ann, "scanner", &hash, start()).await.unwrap();
    store.save_verified_password(&ann, &hash, start()).await.unwrap();
    store.note_familiar_source(&ann, Source::of(std::net::Ipv4Addr::LOCALHOST.into()), start(), HOUR).await.unwrap();
    store.set_next_client_secret("office", &Secret::from("next~secret"), None).await.unwrap();
    drop(store);
    keyed.alone().await;
    let engine = keyed.place.open_as(STORE_SCHEMA).await.unwrap();
    let mut values = 0;
    for column in crate::store::sealed_columns() {
        let (table, name) = column.split_once('/').unwrap();
        let sql: &'static str = format!("SELECT {name} FROM {table} WHERE {name} IS NOT NULL").leak();
        let rows = engine.transaction(vec![Statement::new(sql, [])]).await.unwrap().remove(0).rows.len();
        assert!(rows > 0, "{column} is empty here");
        values += rows;
    }
    drop(engine);
    keyed.alone().await;
    let rotated = keyed.rotate().await.unwrap();
    assert_eq!((rotated.sealed, rotated.unreadable, rotated.old_key_removed), (values, 0, true));
    keyed.alone().await;
    let store = keyed.open().await.unwrap();
    assert_whole(&store).await;
    assert_eq!(store.tokens(&ann).await.unwrap().identity.unwrap().user.name, "anna@contoso.com");
    assert!(store.verified_password(&ann).await.unwrap().is_some());
    assert_eq!(store.familiar_sources(&ann).await.unwrap().len(), 1);
}

#[tokio::test]
async fn unreadable_value_is_counted_and_stops_no_rotation() {
    let keyed = Keyed::new();
    drop(keyed.filled().await);
    keyed.alone().await;
    keyed.place.meddle(
        "UPDATE token SET refresh_token = x'0102' WHERE mailbox = 'ben@contoso.com'",
        "UPDATE token SET refresh_token = decode('0102', 'hex') WHERE mailbox = 'ben@contoso.com'",
    );
    let rotated = keyed.rotate().await.unwrap();
    assert_eq!((rotated.sealed, rotated.unreadable), (9, 1));
    keyed.alone().await;
    let store = keyed.open().await.unwrap();
    let ann = store.tokens(&mailbox("ann@contoso.com")).await.unwrap();
    assert_eq!(ann.refresh, RefreshToken::Some(Secret::from("rt-ann@contoso.com")));
    assert_eq!(store.tokens(&mailbox("ben@contoso.com")).await.unwrap().refresh, RefreshToken::Unreadable);
}

#[tokio::test(flavor = "multi_thread")]
async fn store_opens_after_process_killed_during_rotation() {
    let keyed = Keyed::new();
    drop(fill_more(keyed.filled().await).await);
    let (mut rotations, mut interrupted) = (0, 0);
    for round in 0..KILLS {
        keyed.alone().await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::key_rotation::the_child_that_changes_keys", "--ignored", "--nocapture"])
            .env(STORE, keyed.place.path())
            .env(KEY, keyed.folder.path().join("oxpost.key"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "rotated"), "the child changes keys");
        // Any moment will do; this only makes them different ones.
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        rotations += 1 + lines.filter(|line| line == "rotated").count();
        child.wait().unwrap();

        let keys = keyed.source().read().unwrap().keys();
        assert!((1..=2).contains(&keys), "round {round}: {keys} keys");
        interrupted += usize::from(keys == 2);
        keyed.alone().await;
        let store = keyed.open().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_more_is_whole(&store).await;
        drop(store);
    }
    keyed.alone().await;
    let last = keyed.rotate().await.unwrap();
    assert_eq!(last.unreadable, 0);
    assert_eq!(keyed.source().read().unwrap().keys(), 1);
    println!("{KILLS} kills in {rotations} changes of the key, {interrupted} between its two writes, nothing lost");
}

/// Not a test of its own: the process that the test above kills.
#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn the_child_that_changes_keys() {
    let (Some(store), Some(key)) = (std::env::var_os(STORE), std::env::var_os(KEY)) else { return };
    let (store, source) = (Path::new(&store), KeySource::File(PathBuf::from(key)));
    loop {
        fixture::alone(store).await;
        fixture::rotate_key(store, &source).await.unwrap();
        println!("\nrotated");
        std::io::stdout().flush().unwrap();
    }
}
