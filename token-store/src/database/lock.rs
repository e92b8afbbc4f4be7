//! Who has the store open: everybody shares it, but for the few commands that need it alone.
//!
//! SQLite's own locks last for a transaction. This one lasts as long as a process has the store open, so that a key is
//! not changed, and a store not replaced, under a service that runs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{DatabaseError, sqlite::beside};
use crate::platform;

/// Behind the name of the store. The file is empty, and stays.
const SUFFIX: &str = ".lock";

/// How long an opening waits for another process that has the store to itself for a moment, because it is opening it too.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it tries meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Held as long as this lives; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StoreLock {
    file: Option<File>,
    alone: bool,
}

impl StoreLock {
    /// For everything that reads and writes rows. If no other process has the store open, it is held alone at first, until
    /// [`StoreLock::share`].
    pub(super) fn first(store: &Path) -> Result<Self, DatabaseError> {
        match Self::take(store, File::try_lock, true) {
            Err(DatabaseError::InUse { .. }) => in_time(|| Self::take(store, File::try_lock_shared, false)),
            other => other,
        }
    }

    /// For what must be alone with the store.
    pub(crate) fn alone(store: &Path) -> Result<Self, DatabaseError> {
        Self::take(store, File::try_lock, true)
    }

    /// For a store that no other process can open.
    pub(super) fn none() -> Self {
        Self { file: None, alone: false }
    }

    /// Whether no other process has the store open, and none can open it.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Lets others open the store.
    pub(super) fn share(&mut self, store: &Path) -> Result<(), DatabaseError> {
        let Some(file) = self.file.as_ref().filter(|_| self.alone) else { return Ok(()) };
        self.alone = false;
        // Windows does not turn one kind of lock into the other.
        file.unlock().map_err(|error| cannot(store, &error))?;
        in_time(|| lock(store, file, File::try_lock_shared).map(drop))
    }

    fn take(store: &Path, kind: fn(&File) -> Result<(), TryLockError>, alone: bool) -> Result<Self, DatabaseError> {
        let file = open(store).map_err(|error| cannot(store, &error))?;
        // Without locks it is unknown whether another process uses the store.
        let locked = lock(store, &file, kind)?;
        Ok(Self { file: locked.then_some(file), alone: locked && alone })
    }
}

/// `false` on a file system that knows no locks, as some network file systems.
fn lock(store: &Path, file: &File, kind: fn(&File) -> Result<(), TryLockError>) -> Result<bool, DatabaseError> {
    match kind(file) {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Err(DatabaseError::InUse { path: store.to_owned() }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(TryLockError::Error(error)) => Err(cannot(store, &error)),
    }
}

/// Tries until the store is no longer in use by another process, for as long as we have patience.
fn in_time<T>(mut take: impl FnMut() -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match take() {
            Err(DatabaseError::InUse { .. }) if Instant::now() < until => thread::sleep(TRY_EVERY),
            other => return other,
        }
    }
}

fn cannot(store: &Path, error: &io::Error) -> DatabaseError {
    DatabaseError::Open { path: store.to_owned(), why: error.to_string() }
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
