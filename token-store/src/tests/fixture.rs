//! A fresh store for each test: SQLite's, or, when the suite is run once more by `on_postgres`, PostgreSQL's.

use std::path::{Path, PathBuf};

use super::{care, vault};
use crate::{
    KeySource, Store, StoreError, Vault,
    store::care::{RotateError, Rotated},
};

/// Where a test keeps a store that it opens more than once.
pub(super) enum Place {
    /// A file, and the folder that holds it.
    File(tempfile::TempDir),
    /// The URL of a database.
    #[cfg(unix)]
    Postgres(String),
}

impl Place {
    pub(super) fn new() -> Self {
        #[cfg(unix)]
        if let Some(url) = super::on_postgres::fresh_database() {
            return Self::Postgres(url);
        }
        Self::File(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(folder) => folder.path().join("store.db"),
            #[cfg(unix)]
            Self::Postgres(url) => url.into(),
        }
    }

    pub(super) async fn open(&self) -> Store {
        self.try_open(vault()).await.unwrap()
    }

    pub(super) async fn try_open(&self, vault: Vault) -> Result<Store, StoreError> {
        open(&self.path(), vault).await
    }

    /// Changes the tables behind the store's back.
    pub(super) fn meddle(&self, sqlite: &str, postgres: &str) {
        match self {
            Self::File(_) => rusqlite::Connection::open(self.path()).unwrap().execute_batch(sqlite).unwrap(),
            #[cfg(unix)]
            Self::Postgres(url) => super::on_postgres::sql(url, &format!("SET search_path = oxpost; {postgres}")),
        }
        let _ = postgres;
    }
}

/// Gives the store at a [`Place::path`] a new key.
pub(super) async fn rotate_key(path: &Path, source: &KeySource) -> Result<Rotated, RotateError> {
    #[cfg(unix)]
    if let Some(url) = url(path) {
        use super::on_postgres::{settings, tls};
        return crate::store::care::rotate_key_on_postgres(settings(url), tls(), source).await;
    }
    crate::store::care::rotate_key(path, source).await
}

/// Until nobody has it open: a store that was dropped, or whose process was killed, is closed a moment later.
pub(super) async fn alone(path: &Path) {
    #[cfg(unix)]
    if let Some(url) = url(path) {
        return super::on_postgres::alone(url).await;
    }
    care::alone(path).await;
}

#[cfg(unix)]
fn url(path: &Path) -> Option<&str> {
    path.to_str().filter(|path| path.starts_with("postgresql://"))
}

/// Opens a store at a [`Place::path`].
pub(super) async fn open(path: &Path, vault: Vault) -> Result<Store, StoreError> {
    #[cfg(unix)]
    if let Some(url) = url(path) {
        return Store::open_postgres(super::on_postgres::settings(url), super::on_postgres::tls(), vault).await;
    }
    Store::open(path, vault).await
}

/// A store that is opened once.
pub(super) async fn fresh_store() -> Store {
    match Place::new() {
        Place::File(_) => Store::open_in_memory(vault()).await.unwrap(),
        #[cfg(unix)]
        place @ Place::Postgres(_) => place.open().await,
    }
}
