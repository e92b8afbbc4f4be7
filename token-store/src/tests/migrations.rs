//! Upgrades: stores that the program of version 1 has written, opened by this one. No step loses a sign-in.

use std::path::Path;

use rusqlite::Connection;

use super::{
    fixture::{Place, VERSION_1, alone, rotate_key, version_1_key, version_1_vault},
    *,
};
use crate::{
    Accounts, AdmissionLimits, Denied, SenderMode, StoreError,
    database::{Database, DatabaseError, Migration, Schema, Statement, Value},
    store::{
        RefreshToken, STORE_SCHEMA,
        maintenance::{back_up, restore},
    },
};

/// What the program of version 1 knew.
fn version_1() -> Schema {
    STORE_SCHEMA.as_of(1)
}

/// Every account, token, password and secret of the stores in `stores/`.
async fn assert_nothing_lost(store: &Store) {
    let accounts = store.accounts().await.unwrap();
    let names: Vec<&str> = accounts.iter().map(|account| account.mailbox.as_str()).collect();
    assert_eq!(
        names,
        ["*@fabrikam.example", "ann@contoso.com", "ben@contoso.com", "dan@contoso.com", "info@contoso.com"]
    );
    for name in ["ann", "ben"] {
        let stored = store.tokens(&mailbox(&format!("{name}@contoso.com"))).await.unwrap();
        assert_eq!(stored.refresh, RefreshToken::Some(Secret::from(format!("refresh-of-{name}"))));
        assert_eq!(text(&stored.access.unwrap().secret), format!("access-of-{name}"));
    }
    let info = store.account(&mailbox("info@contoso.com")).await.unwrap().unwrap();
    assert_eq!(info.delegate, Some(mailbox("ann@contoso.com")));
    let ben = store.account_by_login("scanner").await.unwrap().unwrap();
    assert_eq!((ben.mailbox.as_str(), ben.senders.mode), ("ben@contoso.com", SenderMode::Account));

    let gate = Accounts::new(store.clone(), Arc::new(ManualClock::new(start())), AdmissionLimits::default());
    for (login, password) in [
        ("ann@contoso.com", "password-of-ann"),
        ("ann@contoso.com", "password-of-the-printer"),
        ("info@contoso.com", "password-of-info"),
    ] {
        gate.admit(login, &Secret::from(password)).await.unwrap();
    }
    let denied = gate.admit("ann@contoso.com", &Secret::from("password-of-info")).await.unwrap_err();
    assert_eq!(denied, Denied::BadCredentials);
    let judged = store.verified_password(&mailbox("dan@contoso.com")).await.unwrap().unwrap();
    assert!(judged.hash.verify(&Secret::from("password-of-dan")));

    assert_eq!(store.client_secret("office").await.unwrap(), Some(Secret::from("client~secret")));
    assert_eq!(store.secret_expiries().await.unwrap()[0].expires, Some(start() + 24 * HOUR));
    assert_eq!(store.upstream_refusals(&mailbox("ben@contoso.com")).await.unwrap().len(), 1);
    assert_eq!(store.blocks(start()).await.unwrap().len(), 1);
    assert_eq!(store.alerts().await.unwrap().len(), 1);
    assert_eq!(store.mail_use().await.unwrap().first().unwrap().used.sessions, 3);
    let before = store.note_uid_validity(&mailbox("ann@contoso.com"), "INBOX", 14, start()).await.unwrap();
    assert_eq!(before, None, "it is the UIDVALIDITY of version 1");
}

async fn count(database: &dyn Database, sql: &'static str) -> Result<i64, DatabaseError> {
    let mut outcomes = database.transaction(vec![Statement::new(sql, [])]).await?;
    Ok(outcomes.pop().unwrap().rows.pop().unwrap().integer(0).unwrap())
}

/// The tables that version 2 has added, seen by any program.
async fn has_version_2(database: &dyn Database) -> bool {
    count(database, "SELECT count(*) FROM smtp_extensions").await.is_ok()
}

#[tokio::test]
async fn store_of_version_1_opens_with_every_sign_in() {
    let place = Place::of_version_1();
    for _ in 0..2 {
        assert_nothing_lost(&place.try_open(version_1_vault()).await.unwrap()).await;
        alone(&place.path()).await;
    }
    assert!(has_version_2(place.open_as(STORE_SCHEMA).await.unwrap().as_ref()).await);
    let error = place.open_as(version_1()).await.err().unwrap();
    let known = STORE_SCHEMA.version();
    assert!(matches!(error, DatabaseError::Newer { found, known: 1, .. } if found == known), "{error}");
}

#[tokio::test]
async fn old_program_keeps_working_after_a_new_one_migrated() {
    let place = Place::of_version_1();
    let old = place.open_as(version_1()).await.unwrap();
    assert_eq!(count(old.as_ref(), "SELECT count(*) FROM account").await, Ok(5));
    let new = place.try_open(version_1_vault()).await.unwrap();
    let old = Store::with(old, version_1_vault()).await.unwrap();
    assert_nothing_lost(&old).await;
    // Each sees what the other writes.
    old.save_signed_in(&mailbox("ann@contoso.com"), &token_set("at", Some("rt-old")), None, start()).await.unwrap();
    new.save_signed_in(&mailbox("ben@contoso.com"), &token_set("at", Some("rt-new")), None, start()).await.unwrap();
    let refresh = async |store: &Store, name| store.tokens(&mailbox(name)).await.unwrap().refresh;
    assert_eq!(refresh(&new, "ann@contoso.com").await, RefreshToken::Some(Secret::from("rt-old")));
    assert_eq!(refresh(&old, "ben@contoso.com").await, RefreshToken::Some(Secret::from("rt-new")));
}

#[tokio::test]
async fn nodes_started_together_migrate_once() {
    let place = Place::of_version_1();
    let opening: tokio::task::JoinSet<_> = (0..8)
        .map(|_| {
            let path = place.path();
            async move { fixture::open(&path, version_1_vault()).await }
        })
        .collect();
    for store in opening.join_all().await {
        assert_eq!(store.unwrap().accounts().await.unwrap().len(), 5);
    }
    assert_nothing_lost(&place.try_open(version_1_vault()).await.unwrap()).await;
}

/// Adds a table, changes rows, and then fails.
const FAILS: &[Migration] = &[
    STORE_SCHEMA.migrations[0],
    Migration { sql: "CREATE TABLE half (x INTEGER) STRICT; DELETE FROM token;", postgres: "" },
    Migration { sql: "INSERT INTO no_such_table VALUES (1);", postgres: "" },
];

/// Finds two accounts of one name.
const CONFLICTS: &[Migration] = &[
    STORE_SCHEMA.migrations[0],
    Migration { sql: "DELETE FROM token; INSERT INTO meta SELECT name, value FROM meta;", postgres: "" },
];

#[tokio::test]
async fn failed_migration_leaves_the_version_before() {
    for (migrations, to, why) in [(FAILS, 3, "no_such_table"), (CONFLICTS, 2, "do not fit")] {
        let place = Place::of_version_1();
        let error = place.open_as(Schema { migrations, ..STORE_SCHEMA }).await.err().unwrap();
        let versions = matches!(error, DatabaseError::Migration { from: 1, to: version, .. } if version == to);
        let text = error.to_string();
        assert!(versions && text.contains(why) && text.contains("It is unchanged"), "{error:?}");
        alone_as(&place, version_1()).await;
        let old = place.open_as(version_1()).await.unwrap();
        assert!(count(old.as_ref(), "SELECT count(*) FROM half").await.is_err());
        assert_eq!(count(old.as_ref(), "SELECT count(*) FROM token WHERE refresh_token IS NOT NULL").await, Ok(2));
        drop(old);
        alone_as(&place, version_1()).await;
        assert_nothing_lost(&place.try_open(version_1_vault()).await.unwrap()).await;
    }
}

/// A failed attempt lets go of the store a moment later.
async fn alone_as(place: &Place, schema: Schema) {
    until("the store can be opened", async || place.open_as(schema).await.is_ok()).await;
}

#[tokio::test]
async fn key_of_a_version_1_store_is_rotated() {
    let (place, folder) = (Place::of_version_1(), tempfile::tempdir().unwrap());
    let source = version_1_key(folder.path());
    let rotated = rotate_key(&place.path(), &source).await.unwrap();
    assert_eq!((rotated.sealed, rotated.unreadable), (17, 0));
    alone(&place.path()).await;
    let old = place.try_open(version_1_vault()).await.err().unwrap();
    assert_eq!(old, StoreError::WrongKey);
    alone(&place.path()).await;
    assert_nothing_lost(&place.try_open(source.read().unwrap()).await.unwrap()).await;
}

#[tokio::test]
async fn second_database_with_its_own_schema_is_independent() {
    const JOURNAL: Schema = Schema {
        name: "journal",
        application_id: 0x4f78_4a6f,
        postgres_schema: "oxpost_journal",
        postgres_channel: None,
        when_alone: None,
        migrations: &[Migration { sql: "CREATE TABLE event (id INTEGER NOT NULL) STRICT;", postgres: "" }],
    };
    // In PostgreSQL both are in one database; a file holds one of them.
    let store = Place::of_version_1();
    let other = Place::same(&store);
    let journal = other.open_as(JOURNAL).await.unwrap();
    let insert = Statement::new("INSERT INTO event VALUES ($1)", [Value::Integer(7)]);
    journal.transaction(vec![insert]).await.unwrap();
    assert_eq!(count(journal.as_ref(), "SELECT count(*) FROM event").await, Ok(1));
    assert!(count(journal.as_ref(), "SELECT count(*) FROM account").await.is_err());
    assert_nothing_lost(&store.try_open(version_1_vault()).await.unwrap()).await;
    drop(journal);
    assert_eq!(count(other.open_as(JOURNAL).await.unwrap().as_ref(), "SELECT count(*) FROM event").await, Ok(1));
    if matches!(other, Place::File(_)) {
        let error = other.open_as(STORE_SCHEMA).await.err().unwrap();
        assert!(matches!(error, DatabaseError::Garbled { .. }), "{error}");
    }
}

#[tokio::test]
async fn backup_of_version_1_is_restored_and_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    put(&copy, VERSION_1, &[]);
    let vault = version_1_vault();
    restore(&path, &vault, &copy, "before").await.unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), VERSION_1, "the copy stays as it is");
    assert_nothing_lost(&Store::open(&path, vault.clone()).await.unwrap()).await;
    // A copy made by this program of a store of version 1.
    let (old, again) = (folder.path().join("old.db"), folder.path().join("again.db"));
    put(&old, VERSION_1, &[]);
    back_up(&old, &vault, &again).await.unwrap();
    assert_nothing_lost(&Store::open(&again, vault).await.unwrap()).await;
}

/// What a process killed while it migrates leaves is a beginning of SQLite's log: it holds version 1, or at its end the new
/// version, and every sign-in.
#[tokio::test]
async fn migration_cut_short_at_any_byte_is_finished_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    put(&path, VERSION_1, &[]);
    // Someone who reads keeps SQLite from moving the log into the file.
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("PRAGMA journal_mode = WAL; BEGIN; SELECT count(*) FROM meta").unwrap();
    let database = std::fs::read(&path).unwrap();
    let new = crate::database::sqlite::Sqlite::open(path.clone(), STORE_SCHEMA).await.unwrap();
    let log = std::fs::read(path.with_extension("db-wal")).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), database, "all of the migration is in the log");
    assert!(log.len() > 4096, "{}", log.len());
    drop((reader, new));
    let (mut old, mut done) = (0, 0);
    for at in (0..log.len()).step_by(509).chain(log.len() - 3..=log.len()) {
        let left = tempfile::tempdir().unwrap();
        let path = left.path().join("store.db");
        put(&path, &database, &log[..at]);
        let found = Connection::open(&path).unwrap();
        let version: i64 = found.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        drop(found);
        if version == 1 {
            assert_eq!(done, 0, "cut at {at}");
            old += 1;
        } else {
            assert_eq!(version, STORE_SCHEMA.version(), "cut at {at}: no version between");
            done += 1;
        }
        put(&path, &database, &log[..at]);
        assert_nothing_lost(&Store::open(&path, version_1_vault()).await.unwrap()).await;
    }
    assert!(old > 10 && done > 0, "{old} {done}");
}

fn put(path: &Path, database: &[u8], log: &[u8]) {
    for (path, bytes) in [(path.to_owned(), database), (path.with_extension("db-wal"), log)] {
        let _ = std::fs::remove_file(&path);
        let mut file = crate::platform::create_private(&path).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    }
}
