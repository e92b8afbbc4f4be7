//! Maintenance of a store in SQLite: backup and restore. Key rotation is in [`key_rotation`](super::key_rotation).

use std::path::{Path, PathBuf};

use super::{Store, StoreError, access, is_check, schema::STORE_SCHEMA, sealed::Sealer};
use crate::{database::sqlite_file, vault::Vault};

/// Copies a store in SQLite to a new file, also while a service uses it. The copy is of use only with its key.
pub async fn back_up(path: &Path, vault: &Vault, copy: &Path) -> Result<(), StoreError> {
    // A backup that does not open with the key must fail now, not when it is needed.
    let store = Store::open(path, vault.clone()).await?;
    let (path, copy) = (path.to_owned(), copy.to_owned());
    let copied = in_background(move || sqlite_file::back_up(&path, STORE_SCHEMA, &copy)).await?;
    drop(store);
    Ok(copied?)
}

/// Puts a backup in the place of a store in SQLite that no process uses. Returns where the old store is now, if there was one.
pub async fn restore(path: &Path, vault: &Vault, copy: &Path, name: &str) -> Result<Option<PathBuf>, StoreError> {
    let (path, copy, name, sealer) = (path.to_owned(), copy.to_owned(), name.to_owned(), Sealer::new(vault.clone()));
    let opens = move |check: &[u8]| if is_check(&sealer, check) { Ok(()) } else { Err(StoreError::WrongKey) };
    in_background(move || sqlite_file::restore(&path, STORE_SCHEMA, &copy, &name, opens)).await?
}

/// Which accounts and passwords a restored copy has brought back, one line each, compared with what was there before (`kept`).
/// `None`: a version of Oxpost that did not seal them has written one of the two.
///
/// # Errors
/// One of the two cannot be read.
pub async fn restored_access(path: &Path, kept: &Path, vault: &Vault) -> Result<Option<Vec<String>>, StoreError> {
    let (path, kept, sealer) = (path.to_owned(), kept.to_owned(), Sealer::new(vault.clone()));
    let read = move || {
        let [now, before] = [&path, &kept].map(|file| sqlite_file::read_at_rest(file, access::SEALS));
        Ok(access::restored_access(&sealer, now?, before?))
    };
    in_background(read).await?
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| crate::database::DatabaseError::Closed.into())
}
