//! Who has the store open: everybody shares it, but for the few commands that need it alone.
//!
//! SQLite's own locks last for a transaction. This one lasts as long as a process has the store open, so that a key is
//! not changed, and a store not replaced, under a service that runs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::Path,
};

use super::{DatabaseError, sqlite::beside};
use crate::platform;

/// Behind the name of the store. The file is empty, and stays.
const SUFFIX: &str = ".lock";

/// Held as long as this lives; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StoreLock(#[expect(dead_code, reason = "it is held, not read")] Option<File>);

impl StoreLock {
    /// For everything that reads and writes rows.
    pub(super) fn shared(store: &Path) -> Result<Self, DatabaseError> {
        Self::take(store, File::try_lock_shared)
    }

    /// For what must be alone with the store.
    pub(crate) fn alone(store: &Path) -> Result<Self, DatabaseError> {
        Self::take(store, File::try_lock)
    }

    /// For a store that no other process can open.
    pub(super) fn none() -> Self {
        Self(None)
    }

    fn take(store: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Self, DatabaseError> {
        let cannot = |error: io::Error| DatabaseError::Open { path: store.to_owned(), why: error.to_string() };
        let file = open(store).map_err(cannot)?;
        match lock(&file) {
            Ok(()) => Ok(Self(Some(file))),
            Err(TryLockError::WouldBlock) => Err(DatabaseError::InUse { path: store.to_owned() }),
            // Some network file systems know no locks; then nobody can be known to use the store.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Self(None)),
            Err(TryLockError::Error(error)) => Err(cannot(error)),
        }
    }
}

fn open(store: &Path) -> io::Result<File> {
    let path = beside(store, SUFFIX);
    match platform::create_private(&path) {
        Ok(file) => {
            if fs::exists(store)? {
                platform::give_to_owner_of(store, &path)?;
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).open(&path)
        }
        Err(error) => Err(error),
    }
}
