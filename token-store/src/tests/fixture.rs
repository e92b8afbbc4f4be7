//! A fresh store for each test: SQLite's, or, when the suite is run once more by `on_postgres`, PostgreSQL's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{maintenance, vault};
#[cfg(unix)]
use crate::database::postgres::Postgres;
use crate::{
    KeySource, Store, StoreError, Vault,
    database::{Database, DatabaseError, Schema, sqlite::Sqlite},
    store::{
        STORE_SCHEMA,
        key_rotation::{RotateError, Rotated},
    },
};

/// A store of version 1 in SQLite, made by the program of that version.
pub(super) const VERSION_1: &[u8] = include_bytes!("stores/version-1.sqlite");

/// Puts the key of the stores of version 1 into a folder.
pub(super) fn version_1_key(folder: &Path) -> KeySource {
    let path = folder.join("version-1.key");
    let mut file = crate::platform::create_private(&path).unwrap();
    std::io::Write::write_all(&mut file, include_bytes!("stores/version-1-key.txt")).unwrap();
    KeySource::File(path)
}

/// What opens the stores of version 1.
pub(super) fn version_1_vault() -> Vault {
    version_1_key(tempfile::tempdir().unwrap().path()).read().unwrap()
}

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

    /// A store as the program of version 1 has left it, with its key in [`version_1_vault`].
    pub(super) fn of_version_1() -> Self {
        let place = Self::new();
        match &place {
            Self::File(_) => {
                let mut file = crate::platform::create_private(&place.path()).unwrap();
                std::io::Write::write_all(&mut file, VERSION_1).unwrap();
            }
            #[cfg(unix)]
            Self::Postgres(url) => {
                super::on_postgres::sql_as_owner(url, include_str!("stores/version-1.postgres.sql"));
            }
        }
        place
    }

    /// The same database once more, where a database can hold several.
    pub(super) fn same(other: &Self) -> Self {
        match other {
            Self::File(_) => Self::new(),
            #[cfg(unix)]
            Self::Postgres(url) => Self::Postgres(url.clone()),
        }
    }

    /// Opens the database with other tables than those of this program.
    pub(super) async fn open_as(&self, schema: Schema) -> Result<Arc<dyn Database>, DatabaseError> {
        match self {
            Self::File(_) => Ok(Arc::new(Sqlite::open(self.path(), schema).await?)),
            #[cfg(unix)]
            Self::Postgres(url) => {
                use super::on_postgres::{settings, tls};
                Ok(Arc::new(crate::Postgres::open(settings(url), tls(), schema).await?))
            }
        }
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
        return crate::store::key_rotation::rotate_key_on_postgres(settings(url), tls(), source).await;
    }
    crate::store::key_rotation::rotate_key(path, source).await
}

/// Until no process has it open: a store that was dropped, or whose process was killed, is closed a moment later.
pub(super) async fn alone(path: &Path) {
    #[cfg(unix)]
    if let Some(url) = url(path) {
        return super::on_postgres::alone(url).await;
    }
    maintenance::alone(path).await;
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

/// An engine without a store in it.
pub(super) async fn fresh_engine() -> Arc<dyn Database> {
    #[cfg(unix)]
    if let Some(url) = super::on_postgres::fresh_database() {
        use super::on_postgres::{settings, tls};
        return Arc::new(Postgres::open(settings(&url), tls(), STORE_SCHEMA).await.unwrap());
    }
    Arc::new(Sqlite::open_in_memory(STORE_SCHEMA).await.unwrap())
}

/// A store that is opened once.
pub(super) async fn fresh_store() -> Store {
    match Place::new() {
        Place::File(_) => Store::open_in_memory(vault()).await.unwrap(),
        #[cfg(unix)]
        place @ Place::Postgres(_) => place.open().await,
    }
}
