//! The care of a store: copies that can be used. A new key is in `key_rotation.rs`.

use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::{
    KeySource, StoreError,
    database::{
        Database, DatabaseError, Statement, Value,
        lock::StoreLock,
        sqlite::Sqlite,
        sqlite_file::{create_like, move_aside},
    },
    store::{
        RefreshToken, STORE_SCHEMA,
        maintenance::{back_up, restore},
    },
};

fn source(folder: &Path) -> KeySource {
    KeySource::File(folder.join("oxpost.key"))
}

async fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(&folder.join("store.db"), source(folder).open()?.0).await
}

async fn filled(folder: &Path) -> Store {
    fill(open(folder).await.unwrap()).await
}

/// Two accounts that have signed in, and the secret of an application.
pub(super) async fn fill(store: Store) -> Store {
    for name in ["ann@contoso.com", "ben@contoso.com"] {
        store.add_account(&account(name, Grant::SignIn)).await.unwrap();
        let tokens = token_set(&format!("at-{name}"), Some(&format!("rt-{name}")));
        store.save_signed_in(&mailbox(name), &tokens, None, start()).await.unwrap();
    }
    store.set_client_secret("office", &Secret::from("client~secret")).await.unwrap();
    store
}

pub(super) async fn assert_whole(store: &Store) {
    for name in ["ann@contoso.com", "ben@contoso.com"] {
        let stored = store.tokens(&mailbox(name)).await.unwrap();
        assert_eq!(stored.refresh, RefreshToken::Some(Secret::from(format!("rt-{name}"))));
        assert_eq!(text(&stored.access.unwrap().secret), format!("at-{name}"));
    }
    assert_eq!(store.client_secret("office").await.unwrap(), Some(Secret::from("client~secret")));
}

/// Every column that can hold something sealed is one that a change of the key seals again.
#[tokio::test]
async fn no_sealed_column_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(filled(folder.path()).await);
    let connection = Connection::open(&path).unwrap();
    let columns = "SELECT t.name || '/' || c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
                   WHERE t.type = 'table' AND c.type = 'BLOB' ORDER BY 1";
    let mut statement = connection.prepare(columns).unwrap();
    let blobs: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let mut known = crate::store::sealed_columns();
    known.sort_unstable();
    assert_eq!(blobs, known);
}

#[tokio::test]
async fn backup_of_a_used_store_is_private_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    let store = filled(folder.path()).await;
    let vault = source(folder.path()).read().unwrap();
    back_up(&path, &vault, &copy).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let before = std::fs::read(&copy).unwrap();
    let error = back_up(&path, &vault, &copy).await.unwrap_err();
    assert_eq!(error, StoreError::Database(DatabaseError::Exists { path: copy.clone() }));
    assert_eq!(std::fs::read(&copy).unwrap(), before);

    store.remove_account(&mailbox("ann@contoso.com")).await.unwrap();
    let error = restore(&path, &vault, &copy, "before-restore").await.unwrap_err();
    assert!(matches!(error, StoreError::Database(DatabaseError::InUse { .. })), "{error}");
    drop(store);
    alone(&path).await;
    let kept = restore(&path, &vault, &copy, "before-restore").await.unwrap().unwrap();
    assert_whole(&open(folder.path()).await.unwrap()).await;
    assert_eq!(std::fs::read(&copy).unwrap(), before, "the copy stays as it is");
    let old = Store::open(&kept, vault.clone()).await.unwrap();
    assert_eq!(old.accounts().await.unwrap().len(), 1, "the old store is kept");

    let elsewhere = folder.path().join("new.db");
    assert_eq!(restore(&elsewhere, &vault, &copy, "x").await.unwrap(), None);
    assert_whole(&Store::open(&elsewhere, vault).await.unwrap()).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_not_put_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    drop(filled(folder.path()).await);
    alone(&path).await;
    let vault = source(folder.path()).read().unwrap();
    back_up(&path, &vault, &copy).await.unwrap();
    at_rest(&path).await;
    let count = std::fs::read_dir(folder.path()).unwrap().count();

    let other = Vault::from_key(&[8; 32]).unwrap();
    assert_eq!(restore(&path, &other, &copy, "x").await.unwrap_err(), StoreError::WrongKey);
    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    for (what, bytes) in [("cut short", bytes), ("no store at all", b"hello".to_vec())] {
        std::fs::write(&copy, bytes).unwrap();
        let error = restore(&path, &vault, &copy, "x").await.unwrap_err();
        assert!(error.to_string().contains("copy.db"), "{what}: {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), count, "nothing is left lying about");
    assert_whole(&open(folder.path()).await.unwrap()).await;
}

#[cfg(windows)]
#[tokio::test]
async fn dpapi_key_is_rotated_and_its_store_backed_up_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    drop(filled(folder.path()).await);
    alone(&path).await;
    let plain = source(folder.path());
    let sealed = KeySource::Dpapi(folder.path().join("sealed.key"));
    plain.copy_to(&sealed).unwrap();

    let rotated = crate::store::key_rotation::rotate_key(&path, &sealed).await.unwrap();
    assert_eq!((rotated.sealed, rotated.unreadable, rotated.old_key_removed), (6, 0, true));
    alone(&path).await;
    assert_eq!(Store::open(&path, plain.read().unwrap()).await.unwrap_err(), StoreError::WrongKey);
    back_up(&path, &sealed.read().unwrap(), &copy).await.unwrap();
    alone(&path).await;
    std::fs::write(&path, "damaged").unwrap();
    restore(&path, &sealed.read().unwrap(), &copy, "damaged").await.unwrap();
    assert_whole(&Store::open(&path, sealed.read().unwrap()).await.unwrap()).await;

    // Kept in a safe, it opens the store where Windows does not.
    let safe = KeySource::File(folder.path().join("safe.key"));
    sealed.copy_to(&safe).unwrap();
    alone(&path).await;
    assert_whole(&Store::open(&path, safe.read().unwrap()).await.unwrap()).await;
}

#[tokio::test]
async fn a_damaged_store_is_kept_for_a_rescue() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    let store = filled(folder.path()).await;
    let vault = source(folder.path()).read().unwrap();
    back_up(&path, &vault, &copy).await.unwrap();
    drop(store);
    at_rest(&path).await;
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let mut log = crate::platform::create_private(&folder.path().join("store.db-wal")).unwrap();
    std::io::Write::write_all(&mut log, b"its log").unwrap();
    drop(log);
    let kept = restore(&path, &vault, &copy, "damaged").await.unwrap().unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), vec![b'x'; 8192]);
    assert_eq!(std::fs::read(folder.path().join("store.db.damaged-wal")).unwrap(), b"its log");
    assert_whole(&open(folder.path()).await.unwrap()).await;
}

/// A database that is not worth a rescue, such as a journal, is begun again next to what is left of it.
#[tokio::test]
async fn damaged_database_is_moved_aside_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    filled(folder.path()).await;
    at_rest(&path).await;
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[4096..].fill(b'x');
    std::fs::write(&path, damaged).unwrap();
    drop(crate::platform::create_private(&folder.path().join("store.db-wal")).unwrap());

    let database = Sqlite::open(path.clone(), STORE_SCHEMA).await;
    let error = match &database {
        Ok(database) => database.transaction(vec![Statement::new("SELECT count(*) FROM token", [])]).await.err(),
        Err(error) => Some(error.clone()),
    };
    assert!(error.as_ref().is_some_and(DatabaseError::is_damage), "{error:?}");
    if let Ok(database) = database {
        let in_use = move_aside(&path, ".damaged");
        assert!(matches!(in_use, Err(DatabaseError::InUse { .. })), "{in_use:?}");
        drop(database);
        alone(&path).await;
    }
    let kept = move_aside(&path, ".damaged").unwrap();
    assert!(kept.exists() && !path.exists() && !path.with_file_name("store.db-wal").exists());
    let new = Sqlite::open(path.clone(), STORE_SCHEMA).await.unwrap();
    let counted = new.transaction(vec![Statement::new("SELECT count(*) FROM token", [])]).await.unwrap();
    assert_eq!(counted[0].rows[0].0, [Value::Integer(0)]);
    drop(new);
    alone(&path).await;
    assert!(
        matches!(move_aside(&path, ".damaged"), Err(DatabaseError::Exists { .. })),
        "what was kept is not overwritten"
    );
}

#[test]
fn database_that_is_there_is_not_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, journal) = (folder.path().join("store.db"), folder.path().join("journal.db"));
    create_like(&store, &journal).unwrap();
    assert_eq!(std::fs::read(&journal).unwrap(), b"");
    std::fs::write(&journal, b"rows").unwrap();
    create_like(&store, &journal).unwrap();
    assert_eq!(std::fs::read(&journal).unwrap(), b"rows");
    assert!(create_like(&store, &folder.path().join("missing/journal.db")).is_err());
}

/// Until a store that was dropped is closed and has no other files. Two connections that are closed together may each
/// take the other for the one that removes the log, and leave it.
async fn at_rest(path: &Path) {
    alone(path).await;
    let connection = Connection::open(path).unwrap();
    let mode = connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0));
    assert_eq!(mode.unwrap(), "delete");
    connection.close().unwrap();
    for name in ["store.db-wal", "store.db-shm"] {
        assert!(!path.with_file_name(name).exists(), "{name} is left");
    }
}

/// A store that was dropped is closed a moment later, by its thread.
pub(super) async fn alone(path: &Path) {
    until("no process has the store open", async || match StoreLock::alone(path) {
        Err(DatabaseError::InUse { .. }) => false,
        other => {
            drop(other.unwrap());
            true
        }
    })
    .await;
}
