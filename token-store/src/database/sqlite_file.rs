//! A store in SQLite as a file: a copy of it, and a copy put in its place.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::{
    DatabaseError, Schema,
    lock::StoreLock,
    sqlite::{beside, connect, failed, leave_log},
};
use crate::platform;

/// Suffixes of the files that SQLite may keep next to a store.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Copies a store as it is at this moment, also one that is in use. The copy is readable by its owner alone.
pub(crate) fn back_up(store: &Path, schema: Schema, copy: &Path) -> Result<(), DatabaseError> {
    let connection = connect(store, schema)?;
    make(copy)?;
    let copied = copy_into(&connection, copy);
    if copied.is_err() {
        let _ = fs::remove_file(copy);
    }
    copied
}

/// Replaces a store that no process uses by a copy. The old store is kept next to it under `name`; returns
/// its path.
///
/// `opens` looks at the check value of the copy's key, and is asked before anything is changed. The new store is there in
/// one step: a process killed at any moment leaves the old one or the new one.
pub(crate) fn restore<E: From<DatabaseError>>(
    store: &Path,
    schema: Schema,
    copy: &Path,
    name: &str,
    opens: impl FnOnce(&[u8]) -> Result<(), E>,
) -> Result<Option<PathBuf>, E> {
    let _alone = StoreLock::alone(store)?;
    let new = beside(store, ".restoring");
    // Left by a process that was killed in here.
    remove_with_companions(&new)?;
    let replaced = check_copy(copy, schema, &new).map_err(E::from).and_then(|check| {
        opens(&check)?;
        Ok(put_in_place(store, schema, &new, &beside(store, &format!(".{name}")))?)
    });
    if replaced.is_err() {
        let _ = remove_with_companions(&new);
    }
    replaced
}

/// Copies the file, opens the copy and migrates it, so that the one that was given stays as it is. Gives back the check value of its key.
fn check_copy(copy: &Path, schema: Schema, new: &Path) -> Result<Vec<u8>, DatabaseError> {
    let garbled = |why: &str| DatabaseError::Garbled { path: copy.to_owned(), why: why.to_owned() };
    copy_file(copy, new)?;
    let connection = connect(new, schema).map_err(|error| match error {
        DatabaseError::Garbled { why, .. } => garbled(&why),
        DatabaseError::Newer { found, known, .. } => DatabaseError::Newer { path: copy.to_owned(), found, known },
        DatabaseError::Migration { from, to, why, .. } => {
            DatabaseError::Migration { path: copy.to_owned(), from, to, why }
        }
        other => other,
    })?;
    let sound: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if sound != "ok" {
        return Err(garbled(&sound));
    }
    let check = connection.query_row("SELECT value FROM meta WHERE name = 'key-check'", [], |row| row.get(0));
    let check = check.optional().map_err(failed)?.ok_or_else(|| garbled("it was never used as a store"))?;
    at_rest(connection).map_err(failed)?;
    Ok(check)
}

/// Creates an empty database file, if there is none, readable by its owner alone: the owner of the file `like`, so that a command run by
/// root leaves nothing that the service's own user cannot open.
///
/// # Errors
/// The file cannot be created.
pub fn create_like(like: &Path, database: &Path) -> Result<(), DatabaseError> {
    match platform::create_private(database) {
        Ok(_) if like.exists() => platform::give_to_owner_of(like, database).map_err(cannot(database)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(cannot(database)(error)),
    }
}

/// Renames a database that cannot be used, with its log, to its name with this suffix, so that a new one can be begun in its place. No
/// process may have it open.
///
/// # Errors
/// A file cannot be renamed, or one of the new name exists.
pub fn move_aside(database: &Path, suffix: &str) -> Result<PathBuf, DatabaseError> {
    let _alone = StoreLock::alone(database)?;
    let kept = beside(database, suffix);
    if kept.exists() {
        return Err(DatabaseError::Exists { path: kept });
    }
    // The log first: a log without its file is not taken for that of the new one.
    for companion in COMPANIONS {
        let (from, to) = (beside(database, companion), beside(&kept, companion));
        if from.exists() {
            fs::rename(&from, &to).map_err(cannot(&from))?;
        }
    }
    fs::rename(database, &kept).map_err(cannot(database))?;
    platform::sync_directory(directory_of(database)).map_err(cannot(database))?;
    Ok(kept)
}

/// Rows of text and bytes from a store that no process uses.
pub(crate) fn read_at_rest(store: &Path, select: &'static str) -> Result<Vec<(String, Vec<u8>)>, DatabaseError> {
    let connection = Connection::open_with_flags(store, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let mut statement = connection.prepare(select).map_err(failed)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
    rows.collect::<rusqlite::Result<_>>().map_err(failed)
}

fn put_in_place(store: &Path, schema: Schema, new: &Path, kept: &Path) -> Result<Option<PathBuf>, DatabaseError> {
    let there = store.exists();
    if there {
        platform::give_to_owner_of(store, new).map_err(cannot(new))?;
        keep_old(store, schema, kept)?;
    }
    fs::rename(new, store).map_err(cannot(store))?;
    platform::sync_directory(directory_of(store)).map_err(cannot(store))?;
    Ok(there.then(|| kept.to_owned()))
}

/// Copies the old store to its new name, whole, and leaves it where it is without a log: a log left behind would be
/// taken for the new store's.
fn keep_old(store: &Path, schema: Schema, kept: &Path) -> Result<(), DatabaseError> {
    if let Ok(connection) = connect(store, schema) {
        match at_rest(connection) {
            Ok(()) => return copy_file(store, kept),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    // It is damaged, which may be why it is replaced. All of it is kept as it is, for a rescue.
    copy_file(store, kept)?;
    for suffix in COMPANIONS {
        let (from, to) = (beside(store, suffix), beside(kept, suffix));
        if from.exists() {
            fs::rename(&from, &to).map_err(cannot(&from))?;
        }
    }
    Ok(())
}

/// Writes everything into the one file, and takes the log away. If that fails, both stay as they are.
fn at_rest(connection: Connection) -> rusqlite::Result<()> {
    leave_log(&connection, true)?;
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// `VACUUM INTO` takes a file that is empty: made by us, it is private from the first moment.
fn copy_into(connection: &Connection, copy: &Path) -> Result<(), DatabaseError> {
    let name = copy
        .to_str()
        .ok_or_else(|| cannot(copy)(io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8")))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(failed)?;
    fs::OpenOptions::new().write(true).open(copy).and_then(|file| file.sync_all()).map_err(cannot(copy))?;
    platform::sync_directory(directory_of(copy)).map_err(cannot(copy))
}

fn make(file: &Path) -> Result<fs::File, DatabaseError> {
    platform::create_private(file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => DatabaseError::Exists { path: file.to_owned() },
        _ => cannot(file)(error),
    })
}

fn copy_file(from: &Path, to: &Path) -> Result<(), DatabaseError> {
    let mut source = fs::File::open(from).map_err(cannot(from))?;
    let mut target = make(to)?;
    io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).map_err(cannot(to))?;
    platform::sync_directory(directory_of(to)).map_err(cannot(to))
}

fn remove_with_companions(file: &Path) -> Result<(), DatabaseError> {
    let all = std::iter::once(file.to_owned()).chain(COMPANIONS.map(|suffix| beside(file, suffix)));
    for path in all {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(&path)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn cannot(path: &Path) -> impl Fn(io::Error) -> DatabaseError {
    move |error| DatabaseError::Open { path: path.to_owned(), why: error.to_string() }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
