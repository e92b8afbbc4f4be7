//! SQLite: three connections, one that writes and two that only read, each on a thread of its own, because its calls block.
//! With the write-ahead log a reader does not wait for a writer: a login does not wait until another process has
//! finished its transaction. Nor does it wait for what is read in the background or for people: that is the third connection's.
//!
//! Write-ahead log and `synchronous = FULL`: a transaction that returned is on the disk, and a process killed at any
//! moment leaves a store that opens. Other processes (`oxpost account …`, a backup) may use the file at the same time.

use std::{
    convert::Infallible,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{
    Connection, ErrorCode, InterruptHandle, OpenFlags, Transaction, TransactionBehavior, config::DbConfig,
    types::ValueRef,
};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use super::{Database, DatabaseError, Outcome, Row, Schema, Statement, Value, dialect, lock::StoreLock, only_read};
use crate::platform;

/// How long to wait for another process to finish its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements that a connection keeps prepared: all texts that the store has. SQLite's own number is 16, and whatever is beyond it would
/// be parsed again each time.
const STATEMENTS_KEPT: usize = 256;

/// Most transactions queued for a thread; further ones wait until there is space in the queue.
const QUEUE: usize = 256;

/// A SQLite file, or a store in memory.
#[derive(Clone, Debug)]
pub struct Sqlite {
    writer: mpsc::Sender<Job>,
    /// For transactions that only read. A store in memory has one connection for all.
    reader: mpsc::Sender<Job>,
    background: Arc<BackgroundReader>,
}

/// The connection for [`Database::read_in_background`].
struct BackgroundReader {
    jobs: mpsc::Sender<Job>,
    interrupt: Option<InterruptHandle>,
}

impl fmt::Debug for BackgroundReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackgroundReader")
    }
}

impl Drop for BackgroundReader {
    /// The end of the process does not wait for a long query whose result is no longer needed.
    fn drop(&mut self) {
        if let Some(interrupt) = &self.interrupt {
            interrupt.interrupt();
        }
    }
}

/// A transaction, and who waits for it. A waiter that has gone away does not undo it.
#[derive(Debug)]
struct Job {
    statements: Vec<Statement>,
    answer: oneshot::Sender<Result<Vec<Outcome>, DatabaseError>>,
}

impl Sqlite {
    /// Opens the file, or creates it, readable by its owner alone. One of an older version is migrated.
    pub async fn open(path: PathBuf, schema: Schema) -> Result<Self, DatabaseError> {
        Self::open_under(path, schema, StoreLock::first, true).await
    }

    /// Opens the file while no other process has it open, and keeps others out.
    pub async fn open_alone(path: PathBuf, schema: Schema) -> Result<Self, DatabaseError> {
        Self::open_under(path, schema, StoreLock::alone, false).await
    }

    async fn open_under(
        path: PathBuf,
        schema: Schema,
        lock: fn(&Path) -> Result<StoreLock, DatabaseError>,
        share: bool,
    ) -> Result<Self, DatabaseError> {
        let (open_reader, readers) = std::sync::mpsc::channel();
        let file = path.clone();
        let name = schema.name;
        let (writer, lock) = start(name, Closing::Last(readers), move || {
            let mut lock = lock(&file)?;
            let connection = connect(&file, schema)?;
            if let Some(statement) = schema.when_alone.filter(|_| lock.is_alone()) {
                // On a full disk this waits for the next start, as what it takes out ends by itself.
                if let Err(error) = connection.execute_batch(statement) {
                    tracing::warn!(store = %file.display(), "the leases of an earlier process could not be removed: {error}");
                }
            }
            if share {
                lock.share(&file)?;
            }
            Ok((connection, Arc::new(lock)))
        })
        .await?;
        let (file, held) = (path.clone(), Arc::clone(&lock));
        let closing = Closing::First(open_reader.clone());
        let (reader, _) =
            start(&format!("{name}-reader"), closing, move || Ok((connect_to_read(&file)?, held))).await?;
        let (opened, handle) = oneshot::channel();
        let connect = move || {
            let connection = connect_to_read(&path)?;
            let _ = opened.send(connection.get_interrupt_handle());
            Ok((connection, lock))
        };
        let (jobs, _) = start(&format!("{name}-background"), Closing::First(open_reader), connect).await?;
        let background = BackgroundReader { jobs, interrupt: handle.await.ok() };
        Ok(Self { writer, reader, background: Arc::new(background) })
    }

    /// A store that lives as long as the program.
    pub async fn open_in_memory(schema: Schema) -> Result<Self, DatabaseError> {
        let (writer, _) = start(schema.name, Closing::Last(std::sync::mpsc::channel().1), move || {
            let mut connection = Connection::open_in_memory().map_err(failed)?;
            prepare(&mut connection, Path::new(":memory:"), schema)?;
            Ok((connection, Arc::new(StoreLock::none())))
        })
        .await?;
        let background = BackgroundReader { jobs: writer.clone(), interrupt: None };
        Ok(Self { reader: writer.clone(), writer, background: Arc::new(background) })
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        run_on(if only_read(&statements) { &self.reader } else { &self.writer }, statements).await
    }

    async fn read_in_background(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        run_on(&self.background.jobs, statements).await
    }
}

async fn run_on(thread: &mpsc::Sender<Job>, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
    let (answer, answered) = oneshot::channel();
    thread.send(Job { statements, answer }).await.map_err(|_| DatabaseError::Closed)?;
    answered.await.map_err(|_| DatabaseError::Closed)?
}

/// How many connections of this process are open, or being closed.
static OPEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// One of them.
struct Opened;

impl Opened {
    fn count() -> Self {
        let mut open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_add(1);
        Self
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_sub(1);
        OPEN.1.notify_all();
    }
}

/// Waits until every store that was dropped is closed: then its log is written into its file, unless another process has it open too,
/// and the file alone is the whole store. `false` if that takes longer. It blocks.
pub fn wait_until_closed(patience: Duration) -> bool {
    let open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = OPEN.1.wait_timeout_while(open, patience, |open| *open > 0);
    !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
}

/// When a connection is closed. The last one writes the log into the file, and SQLite only takes it for the last one if no other is
/// being closed at the same moment.
enum Closing {
    /// Before the one that waits for this to be dropped.
    First(#[expect(dead_code, reason = "it is held, not used")] std::sync::mpsc::Sender<Infallible>),
    /// After all those.
    Last(std::sync::mpsc::Receiver<Infallible>),
}

/// Starts a thread for a connection. The lock is released when the last thread that holds it has ended.
async fn start(
    name: &str,
    closing: Closing,
    connect: impl FnOnce() -> Result<(Connection, Arc<StoreLock>), DatabaseError> + Send + 'static,
) -> Result<(mpsc::Sender<Job>, Arc<StoreLock>), DatabaseError> {
    let (jobs, queue) = mpsc::channel(QUEUE);
    let (opened, open) = oneshot::channel();
    let counted = Opened::count();
    thread::Builder::new()
        .name(name.into())
        .spawn(move || match connect() {
            Ok((connection, lock)) => {
                let _ = opened.send(Ok(lock.clone()));
                let connection = serve(connection, queue);
                if let Closing::Last(others) = &closing {
                    // An error: there are none any more.
                    let _ = others.recv();
                }
                drop(connection);
                drop(closing);
                // Only now that SQLite has closed its files may others have the store to themselves.
                drop(lock);
                drop(counted);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        })
        .map_err(|error| DatabaseError::Failed(error.to_string()))?;
    let lock = open.await.map_err(|_| DatabaseError::Closed)??;
    Ok((jobs, lock))
}

/// The thread: ends when the last handle is dropped.
fn serve(mut connection: Connection, mut queue: mpsc::Receiver<Job>) -> Connection {
    while let Some(job) = queue.blocking_recv() {
        if job.answer.is_closed() && only_read(&job.statements) {
            continue;
        }
        let _ = job.answer.send(run(&mut connection, &job.statements));
    }
    connection
}

fn run(connection: &mut Connection, statements: &[Statement]) -> Result<Vec<Outcome>, DatabaseError> {
    // A transaction that starts by reading and then writes could find that another process wrote in between; one that
    // only reads need not keep writers out.
    let reads = only_read(statements);
    let behavior = if reads { TransactionBehavior::Deferred } else { TransactionBehavior::Immediate };
    let transaction = connection.transaction_with_behavior(behavior).map_err(failed)?;
    let outcomes = statements
        .iter()
        .map(|statement| execute(&transaction, statement))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(outcomes)
}

fn execute(transaction: &Transaction<'_>, statement: &Statement) -> rusqlite::Result<Outcome> {
    let mut prepared = transaction.prepare_cached(&dialect::for_sqlite(statement.sql))?;
    let values = rusqlite::params_from_iter(statement.values.iter().map(|value| match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Integer(number) => rusqlite::types::Value::Integer(*number),
        Value::Text(text) => rusqlite::types::Value::Text(text.clone()),
        Value::Bytes(bytes) => rusqlite::types::Value::Blob(bytes.clone()),
    }));
    let columns = prepared.column_count();
    if columns == 0 {
        return Ok(Outcome { changed: prepared.execute(values)?, rows: Vec::new() });
    }
    let mut found = prepared.query(values)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..columns).map(|column| row.get_ref(column).map(read)).collect::<rusqlite::Result<_>>()?;
        rows.push(Row(values));
    }
    Ok(Outcome { changed: 0, rows })
}

fn read(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        // Our tables are STRICT and have no column of real numbers.
        ValueRef::Null | ValueRef::Real(_) => Value::Null,
    }
}

pub(super) fn connect(path: &Path, schema: Schema) -> Result<Connection, DatabaseError> {
    let open = |why: String| DatabaseError::Open { path: path.to_owned(), why };
    // SQLite gives its log the mode of the file, so making the file private makes all of it private.
    match platform::create_private(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")].iter().try_for_each(|file| private(file))?;
        }
        Err(error) => return Err(open(error.to_string())),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| open(error.to_string()))?;
    // A file that proves to be damaged stays as it is, its log included, which SQLite would remove otherwise.
    leave_log(&connection, true).map_err(failed)?;
    prepare(&mut connection, path, schema)?;
    leave_log(&connection, false).map_err(failed)?;
    Ok(connection)
}

/// Whether the log stays as it is when this connection is closed as the last one. Otherwise it is written into the file and
/// removed.
pub(super) fn leave_log(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave).map(drop)
}

/// A second connection to a file that [`connect`] has prepared.
fn connect_to_read(path: &Path) -> Result<Connection, DatabaseError> {
    // It must be able to write to the log's index, as every reader does; tables it refuses to change.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    Ok(connection)
}

/// The log holds what was written last, so it is as secret as the file itself.
fn private(path: &Path) -> Result<(), DatabaseError> {
    match fs::metadata(path) {
        Ok(metadata) if platform::is_private(path, &metadata, None) => Ok(()),
        Ok(_) => Err(DatabaseError::TooOpen { path: path.to_owned(), advice: platform::make_private_advice(path) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DatabaseError::Open { path: path.to_owned(), why: error.to_string() }),
    }
}

/// A file that SQLite or Oxpost keeps next to the store: the store's name with a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Checks that the file is ours and of a version we know, makes the tables in a new one, and migrates an older one.
fn prepare(connection: &mut Connection, path: &Path, schema: Schema) -> Result<(), DatabaseError> {
    let described = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            DatabaseError::Garbled { path: path.to_owned(), why: error.to_string() }
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            DatabaseError::Open { path: path.to_owned(), why: error.to_string() }
        }
        _ => failed(error),
    };
    connection.busy_timeout(BUSY_TIMEOUT).map_err(described)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "synchronous", "FULL").map_err(described)?;
    migrate(connection, path, schema, described)?;
    // Only now, so that a file of another program is left as it was.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(described)?;
    // Deleted or resealed values are overwritten, not left in free pages under a key that may be known.
    connection.pragma_update(None, "secure_delete", true).map_err(described)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(described)
}

/// Runs the migrations that the file has not seen, in one transaction with its new version. Dropped before its end, the
/// transaction leaves the file as it was; of several processes one migrates, and the others find it done.
fn migrate(
    connection: &mut Connection,
    path: &Path,
    schema: Schema,
    described: impl Fn(rusqlite::Error) -> DatabaseError,
) -> Result<(), DatabaseError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&described)?;
    let number = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(&described);
    let application = number("PRAGMA application_id")?;
    let from = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if application != i64::from(schema.application_id) && (application, from, tables) != (0, 0, 0) {
        return Err(DatabaseError::Garbled { path: path.to_owned(), why: "another program's database".into() });
    }
    let pending = schema.pending(from, path)?;
    if pending.is_empty() {
        return transaction.commit().map_err(described);
    }
    let to = schema.version();
    let run = || {
        pending.iter().try_for_each(|migration| transaction.execute_batch(migration.sql))?;
        transaction.pragma_update(None, "application_id", schema.application_id)?;
        transaction.pragma_update(None, "user_version", to)
    };
    let stopped = |error: rusqlite::Error| match described(error) {
        DatabaseError::Failed(why) if from > 0 => DatabaseError::Migration { path: path.to_owned(), from, to, why },
        DatabaseError::Conflict => {
            let why = "its rows do not fit into the new tables".into();
            DatabaseError::Migration { path: path.to_owned(), from, to, why }
        }
        other => other,
    };
    run().map_err(&stopped)?;
    transaction.commit().map_err(&stopped)?;
    if from > 0 {
        info!(store = %path.display(), from, to, "migrated the {} to the version of this program", schema.name);
    }
    Ok(())
}

/// SQLite's texts name tables and columns, never values.
#[expect(clippy::needless_pass_by_value, reason = "so that `map_err` takes it")]
pub(super) fn failed(error: rusqlite::Error) -> DatabaseError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => DatabaseError::Conflict,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => DatabaseError::Damaged(error.to_string()),
        _ => DatabaseError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::STORE_SCHEMA;

    #[test]
    fn a_transaction_that_returned_is_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        for round in ["new", "again"] {
            let connection = connect(&path, STORE_SCHEMA).unwrap();
            let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
            let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(
                (mode.as_str(), number("PRAGMA synchronous"), number("PRAGMA foreign_keys")),
                ("wal", 2, 1),
                "{round}"
            );
        }
    }

    #[tokio::test]
    async fn background_read_does_not_wait_for_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let database = Sqlite::open(path.clone(), STORE_SCHEMA).await.unwrap();
        let read = || vec![Statement::new("SELECT count(*) FROM meta", [])];
        let write = || vec![Statement::new("INSERT INTO meta (name, value) VALUES ('a', $1)", [vec![1].into()])];
        // Another process, in the middle of a transaction that it does not end.
        let other = connect(&path, STORE_SCHEMA).unwrap();
        other.execute_batch("BEGIN IMMEDIATE; DELETE FROM meta").unwrap();
        let mut writing = Box::pin(database.transaction(write()));
        for _ in 0..3 {
            let found = tokio::select! {
                biased;
                written = &mut writing => panic!("{written:?} while another process writes"),
                found = database.transaction(read()) => found.unwrap(),
            };
            assert_eq!(found[0].rows, [Row(vec![Value::Integer(0)])]);
        }
        other.execute_batch("ROLLBACK").unwrap();
        writing.await.unwrap();
        let found = database.transaction(read()).await.unwrap();
        assert_eq!(found[0].rows, [Row(vec![Value::Integer(1)])], "what was just written is read");
    }

    /// A count that has no end is read in the background, as a long list for people would be.
    #[tokio::test]
    async fn login_is_answered_while_a_background_read_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let database = Sqlite::open(dir.path().join("store.db"), STORE_SCHEMA).await.unwrap();
        let endless =
            "SELECT count(*) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c)";
        let other = database.clone();
        let held = tokio::spawn(async move { other.read_in_background(vec![Statement::new(endless, [])]).await });
        for _ in 0..100 {
            database.transaction(vec![Statement::new("SELECT count(*) FROM account", [])]).await.unwrap();
        }
        let write = Statement::new("INSERT INTO meta (name, value) VALUES ('a', $1)", [vec![1].into()]);
        database.transaction(vec![write]).await.unwrap();
        assert!(!held.is_finished());
        while !held.is_finished() {
            database.background.interrupt.as_ref().unwrap().interrupt();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(matches!(held.await.unwrap(), Err(DatabaseError::Failed(_))), "and its end does not wait for it");
    }

    /// Its three connections close in an order that writes the log into the file, whichever thread is faster.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn closed_store_is_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, log) = (dir.path().join("store.db"), dir.path().join("store.db-wal"));
        for round in 0..50_u8 {
            let database = Sqlite::open(path.clone(), STORE_SCHEMA).await.unwrap();
            let write = "INSERT INTO meta (name, value) VALUES ('a', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            database.transaction(vec![Statement::new(write, [vec![round].into()])]).await.unwrap();
            database.read_in_background(vec![Statement::new("SELECT count(*) FROM meta", [])]).await.unwrap();
            assert!(log.exists());
            drop(database);
            // Others of this process may be open, in other tests. SQLite removes the log's index first, then the log.
            let begun = std::time::Instant::now();
            while log.exists() && begun.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(1));
            }
            assert!(!log.exists(), "round {round}");
        }
    }

    #[tokio::test]
    async fn a_transaction_that_fails_leaves_nothing() {
        let database = Sqlite::open_in_memory(STORE_SCHEMA).await.unwrap();
        let insert = || Statement::new("INSERT INTO meta (name, value) VALUES ('a', $1)", [Value::Bytes(vec![1])]);
        assert_eq!(database.transaction(vec![insert(), insert()]).await, Err(DatabaseError::Conflict));
        let count = database.transaction(vec![Statement::new("SELECT count(*) FROM meta", [])]).await.unwrap();
        assert_eq!(count[0].rows, [Row(vec![Value::Integer(0)])]);
    }

    /// A file of version 1 that must not grow has no room for new tables.
    #[test]
    fn migration_on_a_full_disk_leaves_the_version_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let mut file = platform::create_private(&path).unwrap();
        io::Write::write_all(&mut file, include_bytes!("../tests/stores/version-1.sqlite")).unwrap();
        let full = |connection: &Connection| {
            let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
        };
        let count = |connection: &Connection| -> i64 {
            connection.query_row("SELECT count(*) FROM token", [], |row| row.get(0)).unwrap()
        };
        let mut connection = Connection::open(&path).unwrap();
        let tokens = count(&connection);
        full(&connection);
        let error = prepare(&mut connection, &path, STORE_SCHEMA).unwrap_err();
        let full = matches!(&error, DatabaseError::Migration { from: 1, .. });
        assert!(full && error.to_string().contains("full"), "{error:?}");
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!((version, count(&connection)), (1, tokens));
        drop(connection);
        assert_eq!(count(&connect(&path, STORE_SCHEMA).unwrap()), tokens, "there is room again");
    }
}
