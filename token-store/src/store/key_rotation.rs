//! Key rotation: a store gets a new key, and everything in it is resealed with that key.
//!
//! 1. The new key is written in front of the old one in the key file. From now on the file opens both.
//! 2. Every sealed column is resealed in batches of [`BATCH`] values, each in its own transaction. `meta` is the first, so that a
//!    process with the old key alone no longer opens the store.
//! 3. When a pass has found no value that another key has sealed, the old key is removed from the file.
//!
//! Between any two of these steps, and between any two batches, the process may end, or the disk be full: the key file opens all
//! of the store, and running it again continues. See docs/decisions/0012-key-rotation-in-batches.md.

use std::{fmt::Display, path::Path, sync::Arc};

use super::{
    Store, StoreError,
    schema::STORE_SCHEMA,
    sealed::{META, SEALED_COLUMNS, SealedColumn},
};
use crate::{
    database::{
        Database, Statement, Value,
        postgres::{Postgres, PostgresSettings},
        sqlite::Sqlite,
    },
    vault::{KeySource, NewKey, Vault, VaultError},
};

/// How many values are read, and written in one transaction. A value has some kilobytes at most, but for the ledger of what
/// grants access (40 bytes an account).
pub(crate) const BATCH: usize = 256;

/// How a change of the key went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// An earlier change that was interrupted was finished, instead of beginning another one.
    pub resumed: bool,
    /// How many values were sealed with the new key.
    pub sealed: usize,
    /// How many values do not open with any key. They are left as they are.
    pub unreadable: usize,
    /// Oxpost removed the old key. If not, the administrator who placed it must remove it.
    pub old_key_removed: bool,
}

/// Why the key was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// The key comes from systemd or from the environment, and oxpost cannot write it.
    #[error(
        "{0} holds one key and is not written by oxpost. Put a new one in front of it, with a space between them \
         (`oxpost store new-key` prints one), then run this command again"
    )]
    NotOurs(KeySource),
    /// The key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change has begun, and is not finished.
    #[error(
        "{why}. The change of the key has begun and is not finished. Nothing is lost: {key} holds the new key and the old one, and \
         they open the store. Run this command again to finish the change. Until then every node needs both keys"
    )]
    Unfinished {
        /// What holds both keys.
        key: KeySource,
        /// What went wrong.
        why: StoreError,
    },
    /// Something else writes to the store, and has not the new key.
    #[error(
        "another process goes on writing to the store with the old key, so {0} keeps both keys. Stop the service wherever it runs \
         on this store, then run this command again"
    )]
    StillWritten(KeySource),
}

impl From<crate::database::DatabaseError> for RotateError {
    fn from(error: crate::database::DatabaseError) -> Self {
        Self::Store(error.into())
    }
}

/// Rotates the key of a store in SQLite, or finishes an interrupted rotation. No other process may have the store open
/// meanwhile, because a service would continue to seal with the old key.
///
/// Oxpost writes key files only. For a key from elsewhere the administrator must put the new one in front of the old one first.
pub async fn rotate_key(path: &Path, source: &KeySource) -> Result<Rotated, RotateError> {
    let vault = source.read()?;
    rotate(Arc::new(Sqlite::open_alone(path.to_owned(), STORE_SCHEMA).await?), vault, source).await
}

/// Does the same for a store in PostgreSQL. No other node may be connected to it meanwhile, and each needs the new key
/// before it is started again.
pub async fn rotate_key_on_postgres(
    settings: PostgresSettings,
    tls: rustls::ClientConfig,
    source: &KeySource,
) -> Result<Rotated, RotateError> {
    let vault = source.read()?;
    rotate(Arc::new(Postgres::open_alone(settings, tls, STORE_SCHEMA).await?), vault, source).await
}

/// No other process uses the database. `vault` has the keys as they were before the rotation.
pub(crate) async fn rotate(
    database: Arc<dyn Database>,
    vault: Vault,
    source: &KeySource,
) -> Result<Rotated, RotateError> {
    let resumed = vault.keys() > 1;
    // Only a key that opens this very store may be changed.
    let (mut store, mut check) = Store::with_keys_as_they_are(database.clone(), vault).await?;
    let unfinished = |why| RotateError::Unfinished { key: source.clone(), why };
    if !resumed {
        if source.put_in_front(&NewKey::generate()?)?.is_none() {
            return Err(RotateError::NotOurs(source.clone()));
        }
        (store, check) = Store::with_keys_as_they_are(database.clone(), source.read()?).await.map_err(unfinished)?;
    }
    database.belongs_to(&check);
    let sealed = store.seal_with_newest_key().await.map_err(unfinished)?.sealed;
    // The file system may not support locks: whatever this finds was written by a process that has the old key alone, and may
    // write again.
    let again = store.seal_with_newest_key().await.map_err(unfinished)?;
    if again.sealed > 0 {
        return Err(RotateError::StillWritten(source.clone()));
    }
    let old_key_removed = source.keep_first()?.is_some();
    Ok(Rotated { resumed, sealed, unreadable: again.unreadable, old_key_removed })
}

/// The result of a pass over the sealed columns.
#[derive(Default)]
struct Walk {
    sealed: usize,
    unreadable: usize,
}

impl Store {
    /// Reseals every value that is not sealed with the newest key.
    async fn seal_with_newest_key(&self) -> Result<Walk, StoreError> {
        let mut walk = Walk::default();
        for column in SEALED_COLUMNS {
            self.walk_column(column, &mut walk).await?;
        }
        Ok(walk)
    }

    /// Seals with the key that seals now what tells that a store has it, and what all processes read first: the check value, and the
    /// ledger of what grants access.
    pub(super) async fn seal_meta_with_newest_key(&self) -> Result<(), StoreError> {
        self.walk_column(&META, &mut Walk::default()).await
    }

    async fn walk_column(&self, column: &SealedColumn, walk: &mut Walk) -> Result<(), StoreError> {
        let mut after = column.before_all();
        while let Some(last) = self.seal_batch(column, &after, walk).await? {
            // A key that does not read back as it was written would loop forever, and what follows it would be missed.
            if last == after {
                return Err(StoreError::Unreadable {
                    what: format!("row after {} in the table {}", shown(&after), column.name()),
                    remedy: "restore a backup".into(),
                });
            }
            after = last;
        }
        Ok(())
    }

    /// Reseals the batch after this key. Returns the key of its last row, unless that was the last one of the column.
    async fn seal_batch(
        &self,
        column: &SealedColumn,
        after: &[Value],
        walk: &mut Walk,
    ) -> Result<Option<Vec<Value>>, StoreError> {
        let limit = Value::Integer(i64::try_from(BATCH).unwrap_or(i64::MAX));
        let values = after.iter().cloned().chain([limit]);
        let rows = self.rows(Statement { sql: column.select_next, values: values.collect() }).await?;
        let is_last = rows.len() < BATCH;
        let (mut updates, mut last) = (Vec::new(), after.to_vec());
        for row in rows {
            let Some((key, old)) = column.read(row) else { continue };
            last.clone_from(&key);
            if self.sealer.is_current(&old) {
                continue;
            }
            let texts: Vec<String> = key.iter().map(text).collect();
            let names: Vec<&dyn Display> = texts.iter().map(|text| text as &dyn Display).collect();
            let Ok(secret) = self.sealer.open(column, &names, &old) else {
                walk.unreadable = walk.unreadable.saturating_add(1);
                continue;
            };
            let new = self.seal(column, &names, &secret)?;
            let values = key.into_iter().chain([Value::Bytes(old), new]);
            updates.push(Statement { sql: column.replace, values: values.collect() });
        }
        walk.sealed = walk.sealed.saturating_add(updates.len());
        if !updates.is_empty() {
            self.run(updates).await?;
        }
        Ok((!is_last).then_some(last))
    }
}

/// A column of a key, as it is written into the sealing context.
fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Null | Value::Bytes(_) => String::new(),
    }
}

fn shown(key: &[Value]) -> String {
    let texts: Vec<String> = key.iter().map(text).collect();
    format!("`{}`", texts.join("/"))
}
