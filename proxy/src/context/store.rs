//! Opens the store under its key, or makes both.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxpost_token_store::database::sqlite::Sqlite;
use oxpost_token_store::database::{Database, DatabaseError};
use oxpost_token_store::store::STORE_SCHEMA;
use oxpost_token_store::{Postgres, Store, VaultError};

use super::start_error::StartError;
use super::trust;
use crate::config::{Config, StorePlace};
use crate::journal::JournalPlace;
use crate::platform;

/// Opens the store under its key. Both are made at the first start; a store that is missing or empty although its key is there is an
/// error, because an empty one would tell every program that its password is wrong.
///
/// # Errors
/// The key or the store cannot be used; the message says what to do.
pub(crate) async fn open_store(config: &Config) -> Result<Store, StartError> {
    open_or_make(config, !config.key.exists()).await
}

/// The same for an administrator who wants a new store under the key that is there.
///
/// # Errors
/// The key or the store cannot be used; the message says what to do.
pub(crate) async fn create_store(config: &Config) -> Result<Store, StartError> {
    open_or_make(config, true).await
}

async fn open_or_make(config: &Config, may_be_new: bool) -> Result<Store, StartError> {
    if config.key.file().is_none() {
        // It is not ours to make: without it no store is begun either.
        config.key.read().map_err(StartError::Vault)?;
    }
    match &config.store {
        StorePlace::File(path) if may_be_new || is_written(path) => {
            if !is_written(path) {
                may_create_store(config)?;
            }
            let opened = Sqlite::open(path.clone(), STORE_SCHEMA).await;
            with_key(config, Arc::new(opened.map_err(StartError::database)?), may_be_new).await
        }
        StorePlace::File(_) => Err(StartError::store_missing(config)),
        StorePlace::Postgres(settings) => {
            let (settings, tls) = (settings.as_ref().clone(), trust(config)?);
            let opened = match may_be_new {
                true => Postgres::open(settings, tls, STORE_SCHEMA).await,
                false => Postgres::open_existing(settings, tls, STORE_SCHEMA).await,
            };
            match opened {
                Ok(database) => with_key(config, Arc::new(database), may_be_new).await,
                Err(DatabaseError::NoStore { .. }) => Err(StartError::store_missing(config)),
                Err(error) => Err(StartError::database(error)),
            }
        }
    }
}

/// Opens the store if there is one, and makes nothing. There is none before the first start, and then there is no key either.
///
/// # Errors
/// The key or the store cannot be used; the message says what to do.
pub(crate) async fn open_existing_store(config: &Config) -> Result<Option<Store>, StartError> {
    let is_there = match &config.store {
        StorePlace::File(path) => is_written(path),
        // It is made only if neither it nor its key is there.
        StorePlace::Postgres(settings) if !config.key.exists() => {
            match Postgres::open_existing(settings.as_ref().clone(), trust(config)?, STORE_SCHEMA).await {
                Ok(database) => return with_key(config, Arc::new(database), false).await.map(Some),
                Err(DatabaseError::NoStore { .. }) => false,
                Err(error) => return Err(StartError::database(error)),
            }
        }
        StorePlace::Postgres(_) => true,
    };
    match is_there || config.key.exists() {
        true => open_or_make(config, false).await.map(Some),
        false => Ok(None),
    }
}

/// Whether the first start could create the store and its key. Nothing is left behind. What a PostgreSQL server permits is not tried.
///
/// # Errors
/// It could not; the message is that of the start.
pub(crate) fn may_create_store(config: &Config) -> Result<(), StartError> {
    match config.key.file() {
        // It is not ours to make.
        None => config.key.read().map(drop).map_err(StartError::Vault)?,
        Some(key) => may_create(key)
            .map_err(|error| StartError::Vault(VaultError::KeyFile { path: key.to_owned(), why: error.to_string() }))?,
    }
    match &config.store {
        StorePlace::Postgres(_) => Ok(()),
        StorePlace::File(store) => may_create(store)
            .map_err(|error| StartError::database(DatabaseError::Open { path: store.clone(), why: error.to_string() })),
    }
}

/// Creates a file in the folder of another one, and removes it.
fn may_create(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = folder.join(format!(".oxpost-check-{}", std::process::id()));
    platform::creating(true).open(&probe)?;
    std::fs::remove_file(probe)
}

/// Whether there is a file with something in it.
fn is_written(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// How often, and after which pause, an unsealed store is looked at again: another process may be making it at this moment.
const LOOKS_AT_UNSEALED: u32 = 10;
const PAUSE_BETWEEN_LOOKS: Duration = Duration::from_millis(100);

async fn with_key(config: &Config, database: Arc<dyn Database>, may_be_new: bool) -> Result<Store, StartError> {
    let mut is_sealed = Store::is_sealed(database.as_ref()).await.map_err(StartError::Store)?;
    for _ in 0..LOOKS_AT_UNSEALED {
        if is_sealed || may_be_new {
            break;
        }
        tokio::time::sleep(PAUSE_BETWEEN_LOOKS).await;
        is_sealed = Store::is_sealed(database.as_ref()).await.map_err(StartError::Store)?;
    }
    match (is_sealed, may_be_new) {
        (true, _) => key_must_exist(config, &config.store)?,
        (false, true) => {}
        (false, false) => return Err(StartError::store_missing(config)),
    }
    let (vault, _) = config.key.open().map_err(StartError::Vault)?;
    Store::with(database, vault).await.map_err(StartError::Store)
}

/// Where the journal of this configuration is.
///
/// # Errors
/// The certificates to trust cannot be read.
pub(crate) fn journal_place(config: &Config) -> Result<JournalPlace, StartError> {
    JournalPlace::of(config, || trust(config))
}

/// A fresh key would only hide that the right one is somewhere else.
fn key_must_exist(config: &Config, store: &dyn fmt::Display) -> Result<(), StartError> {
    if config.key.exists() || config.key.file().is_none() {
        return Ok(());
    }
    Err(StartError::KeyMissing { key: config.key.clone(), store: store.to_string() })
}
