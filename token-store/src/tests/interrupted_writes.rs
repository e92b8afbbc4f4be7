//! A write that ends at any byte: after a kill the store opens with the tokens of the refresh before or of this one, never
//! with none and never with one of each.
//!
//! What a killed process leaves is a beginning of what it was writing: of SQLite's log while it commits (behind what is
//! there, or over it when all of that is in the database), of the database while the log is moved into it.

use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::store::RefreshToken;

/// Cuts are made at these distances, which hit every part of every page, and at the last bytes.
const DISTANCE: usize = 173;

struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn of(path: &Path) -> Self {
        Self { database: std::fs::read(path).unwrap(), log: std::fs::read(log_of(path)).unwrap_or_default() }
    }

    fn put(&self, path: &Path) {
        for (path, bytes) in [(path.to_owned(), &self.database), (log_of(path), &self.log)] {
            std::fs::write(&path, bytes).unwrap();
            #[cfg(unix)]
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    }
}

fn log_of(path: &Path) -> std::path::PathBuf {
    path.with_extension("db-wal")
}

/// `after` as far as it was written, and `before` where it was not.
fn cut(before: &[u8], after: &[u8], at: usize) -> Vec<u8> {
    [after.get(..at).unwrap(), before.get(at..).unwrap_or_default()].concat()
}

fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(DISTANCE).chain(length.saturating_sub(5)..=length)
}

/// The access token of a refresh. As long as Entra's are, so that a row takes several pages.
fn access_token(refresh: u64) -> String {
    format!("at-{refresh}-{}", "x".repeat(2500))
}

/// The number of the refresh whose tokens are there.
async fn stored(files: &Files) -> u64 {
    // A folder for each: a store that is closed goes on writing for a moment.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    files.put(&path);
    let store = Store::open(&path, vault()).await.unwrap();
    let stored = store.tokens(&mailbox("ann@contoso.com")).await.unwrap();
    let RefreshToken::Some(token) = stored.refresh else { panic!("the refresh token is gone") };
    let number = text(&token).parse().unwrap();
    assert_eq!(text(&stored.access.unwrap().secret), access_token(number), "both tokens are of one refresh");
    number
}

/// What goes before a refresh.
async fn lease(store: &Store) {
    let ann = mailbox("ann@contoso.com");
    assert!(store.lease(&ann, &store.tokens(&ann).await.unwrap(), "this one").await.unwrap());
}

/// Writes the tokens of a refresh over those of the one before. Gives back the files before and after.
async fn refresh(store: &Store, path: &Path, number: u64) -> (Files, Files) {
    let (before, ann) = (Files::of(path), mailbox("ann@contoso.com"));
    let version = store.tokens(&ann).await.unwrap().version;
    let tokens = token_set(&access_token(number), Some(&number.to_string()));
    assert!(store.save_refreshed(&ann, version, "this one", &tokens, None, start()).await.unwrap());
    let after = Files::of(path);
    assert_eq!(before.database, after.database, "a commit writes to the log alone");
    (before, after)
}

/// Cuts the log of a refresh from this byte on: the tokens before it are there, and from some byte on its own. Gives back
/// the number of cuts.
async fn cut_the_log(before: &Files, after: &Files, from: usize, number: u64) -> usize {
    let (mut count, mut written) = (0, false);
    for at in cuts(after.log.len()).filter(|at| *at >= from) {
        let left = Files { database: before.database.clone(), log: cut(&before.log, &after.log, at) };
        let found = stored(&left).await;
        assert!(found == number || found == number - 1 && !written, "cut at {at}: {found}");
        written |= found == number;
        count += 1;
    }
    assert!(written, "the whole log holds it");
    count
}

#[tokio::test]
async fn write_cut_short_at_any_byte_leaves_old_or_new_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = Store::open(&path, vault()).await.unwrap();
    store.add_account(&account("ann@contoso.com", Grant::SignIn)).await.unwrap();
    let signed_in = token_set(&access_token(0), Some("0"));
    store.save_signed_in(&mailbox("ann@contoso.com"), &signed_in, None, start()).await.unwrap();
    let mut count = 0;
    for number in 1..=2 {
        lease(&store).await;
        let (before, after) = refresh(&store, &path, number).await;
        assert!(after.log.len() > before.log.len() && after.log.starts_with(&before.log), "it appends to the log");
        count += cut_the_log(&before, &after, before.log.len(), number).await;
    }

    // The log is moved into the database.
    lease(&store).await;
    let before = Files::of(&path);
    let whole = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?));
    assert!(whole.unwrap(), "all of it");
    let after = Files::of(&path);
    assert_ne!(before.database, after.database);
    for at in cuts(after.database.len()) {
        let left = Files { database: cut(&before.database, &after.database, at), log: before.log.clone() };
        assert_eq!(stored(&left).await, 2, "cut at {at}");
        count += 1;
    }

    // And begins again, over what it held.
    let (before, after) = refresh(&store, &path, 3).await;
    assert!(after.log.len() == before.log.len() && after.log.get(..32) != before.log.get(..32));
    count += cut_the_log(&before, &after, 0, 3).await;
    println!("{count} cuts of a write, no token lost");
}
