//! The care of a store: a new key, a copy, and a copy put in its place.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Store, StoreError, access, is_check, schema::STORE_SCHEMA};
use crate::{
    database::{
        Database, Statement, Value,
        postgres::{Postgres, PostgresSettings},
        sqlite::Sqlite,
        sqlite_file,
    },
    vault::{KeySource, NewKey, Vault, VaultError},
};

/// A column of sealed values: how they are found, and how one is replaced if it is still what was found.
struct Sealed {
    /// What its values are bound to, before the name of the row.
    place: &'static str,
    select: &'static str,
    update: &'static str,
}

/// Every column that holds sealed values. A test compares this list with the tables.
const SEALED: [Sealed; 8] = [
    Sealed {
        place: "token/access_token",
        select: "SELECT mailbox, access_token FROM token WHERE access_token IS NOT NULL",
        update: "UPDATE token SET access_token = $3 WHERE mailbox = $1 AND access_token = $2",
    },
    Sealed {
        place: "token/refresh_token",
        select: "SELECT mailbox, refresh_token FROM token WHERE refresh_token IS NOT NULL",
        update: "UPDATE token SET refresh_token = $3 WHERE mailbox = $1 AND refresh_token = $2",
    },
    Sealed {
        place: "local_password/hash",
        select: "SELECT mailbox || '/' || name, hash FROM local_password",
        update: "UPDATE local_password SET hash = $3 WHERE mailbox || '/' || name = $1 AND hash = $2",
    },
    Sealed {
        place: "account/access_seal",
        select: "SELECT mailbox, access_seal FROM account WHERE access_seal IS NOT NULL",
        update: "UPDATE account SET access_seal = $3 WHERE mailbox = $1 AND access_seal = $2",
    },
    Sealed {
        place: "judged_password/hash",
        select: "SELECT mailbox || '/' || judged, hash FROM judged_password",
        update: "UPDATE judged_password SET hash = $3 WHERE mailbox || '/' || judged = $1 AND hash = $2",
    },
    Sealed {
        place: "familiar_source/source",
        select: "SELECT mailbox || '/' || place, source FROM familiar_source",
        update: "UPDATE familiar_source SET source = $3 WHERE mailbox || '/' || place = $1 AND source = $2",
    },
    Sealed {
        place: "client_secret/sealed",
        select: "SELECT application, sealed FROM client_secret",
        update: "UPDATE client_secret SET sealed = $3 WHERE application = $1 AND sealed = $2",
    },
    Sealed {
        place: "meta/value",
        select: "SELECT name, value FROM meta WHERE name IN ('key-check', 'access', 'access-list')",
        update: "UPDATE meta SET value = $3 WHERE name = $1 AND value = $2",
    },
];

/// The columns above, as `table/column`.
#[cfg(test)]
pub(crate) fn sealed_columns() -> Vec<&'static str> {
    SEALED.iter().map(|column| column.place).collect()
}

/// How a change of the key went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// An earlier change that was interrupted was finished, instead of beginning another one.
    pub resumed: bool,
    /// How many values were sealed anew.
    pub sealed: usize,
    /// How many values do not open with any key. They are left as they are.
    pub unreadable: usize,
    /// The old key is gone from its place. If not, whoever put it there must take it out.
    pub old_key_removed: bool,
}

/// Gives a store in SQLite a new key, or finishes an interrupted change of it.
///
/// The new key is put in front of the old one in the key file, everything is sealed anew in one transaction, and the old
/// key is taken out: a process killed at any moment leaves a key file that opens all of the store. Nobody else may have
/// the store open meanwhile, because a service would go on sealing with the old key.
///
/// A key that is not in a file is not ours to write: then the new one must stand in front of the old one already.
pub async fn rotate_key(path: &Path, source: &KeySource) -> Result<Rotated, RotateError> {
    let (vault, resumed) = read(source)?;
    rotate(Arc::new(Sqlite::open_alone(path.to_owned(), STORE_SCHEMA).await?), vault, resumed, source).await
}

/// Does the same for a store in PostgreSQL. No other node may be connected to it meanwhile, and each needs the new key
/// before it is started again.
pub async fn rotate_key_on_postgres(
    settings: PostgresSettings,
    tls: rustls::ClientConfig,
    source: &KeySource,
) -> Result<Rotated, RotateError> {
    let (vault, resumed) = read(source)?;
    rotate(Arc::new(Postgres::open_alone(settings, tls, STORE_SCHEMA).await?), vault, resumed, source).await
}

/// The key as it is now, and whether a change of it has begun.
fn read(source: &KeySource) -> Result<(Vault, bool), VaultError> {
    let vault = source.read()?;
    let resumed = vault.keys() > 1;
    Ok((vault, resumed))
}

/// The database is ours alone, and was opened before the key is written.
async fn rotate(
    database: Arc<dyn Database>,
    vault: Vault,
    resumed: bool,
    source: &KeySource,
) -> Result<Rotated, RotateError> {
    // Only a key that opens this very store may be changed.
    let mut store = Store::with(database.clone(), vault).await?;
    if !resumed {
        if source.put_in_front(&NewKey::generate()?)?.is_none() {
            return Err(RotateError::NotOurs(source.clone()));
        }
        store = Store::with(database, source.read()?).await?;
    }
    let (sealed, unreadable) = store.seal_anew().await?;
    let old_key_removed = source.keep_first()?.is_some();
    Ok(Rotated { resumed, sealed, unreadable, old_key_removed })
}

/// Why the key was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// The key is given to us, and by somebody else.
    #[error(
        "{0} holds one key and is not written by oxpost. Put a new one in front of it, with a blank between them \
         (`oxpost store new-key` prints one), then run this command again"
    )]
    NotOurs(KeySource),
    /// The key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<crate::database::DatabaseError> for RotateError {
    fn from(error: crate::database::DatabaseError) -> Self {
        Self::Store(error.into())
    }
}

/// Copies a store in SQLite to a new file, also while a service uses it. The copy is of use only with its key.
pub async fn back_up(path: &Path, vault: &Vault, copy: &Path) -> Result<(), StoreError> {
    // A copy that no key of ours opens would be found out on the worst of days.
    let store = Store::open(path, vault.clone()).await?;
    let (path, copy) = (path.to_owned(), copy.to_owned());
    let copied = in_background(move || sqlite_file::back_up(&path, STORE_SCHEMA, &copy)).await?;
    drop(store);
    Ok(copied?)
}

/// Puts a copy in the place of a store in SQLite that nobody uses. Gives back where the old one is now, if there was one.
pub async fn restore(path: &Path, vault: &Vault, copy: &Path, name: &str) -> Result<Option<PathBuf>, StoreError> {
    let (path, copy, name, vault) = (path.to_owned(), copy.to_owned(), name.to_owned(), vault.clone());
    let opens = move |check: &[u8]| if is_check(&vault, check) { Ok(()) } else { Err(StoreError::WrongKey) };
    in_background(move || sqlite_file::restore(&path, STORE_SCHEMA, &copy, &name, opens)).await?
}

/// Which accounts and passwords a restored copy has brought back, one line each, compared with what was there before (`kept`).
/// `None`: a version of Oxpost that did not seal them has written one of the two.
///
/// # Errors
/// One of the two cannot be read.
pub async fn brought_back(path: &Path, kept: &Path, vault: &Vault) -> Result<Option<Vec<String>>, StoreError> {
    let (path, kept, vault) = (path.to_owned(), kept.to_owned(), vault.clone());
    let read = move || {
        let [now, before] = [&path, &kept].map(|file| sqlite_file::read_at_rest(file, access::SEALS));
        Ok(access::brought_back(&vault, now?, before?))
    };
    in_background(read).await?
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| crate::database::DatabaseError::Closed.into())
}

impl Store {
    /// Seals everything with the key that seals now, in one transaction. Gives back how many values that were, and how
    /// many do not open.
    async fn seal_anew(&self) -> Result<(usize, usize), StoreError> {
        let found = self.run(SEALED.iter().map(|column| Statement::new(column.select, [])).collect()).await?;
        let (mut updates, mut unreadable) = (Vec::new(), 0);
        for (column, outcome) in SEALED.iter().zip(found) {
            for mut row in outcome.rows {
                let (Some(name), Some(old)) = (row.text(0), row.bytes(1)) else { continue };
                if self.vault.is_current(&old) {
                    continue;
                }
                let place = format!("{}/{name}", column.place);
                let Ok(secret) = self.vault.open(&place, &old) else {
                    unreadable += 1;
                    continue;
                };
                let new = self.seal(&place, &secret)?;
                updates.push(Statement::new(column.update, [Value::Text(name), Value::Bytes(old), new]));
            }
        }
        let sealed = updates.len();
        self.run(updates).await?;
        Ok((sealed, unreadable))
    }
}
