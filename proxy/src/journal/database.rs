//! The database of the journal: its tables, and what is written to them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oxpost_token_store::database::sqlite::Sqlite;
use oxpost_token_store::database::{Database, DatabaseError, Migration, Schema, Statement, Value, sqlite_file};
use oxpost_token_store::{Postgres, PostgresSettings};

use super::event::JournalEvent;
use crate::config::{Config, StorePlace};

/// The tables of the journal. The n-th migration makes version n; one that was released is never changed.
const SCHEMA: Schema = Schema {
    name: "journal",
    // "OxJo".
    application_id: 0x4f78_4a6f,
    postgres_schema: "oxpost_journal",
    postgres_channel: None,
    when_alone: None,
    migrations: &[Migration {
        sql: include_str!("migrations/0001_initial.sql"),
        postgres: include_str!("migrations/0001_initial.postgres.sql"),
    }],
};

/// What the journal's file is called: the name of the store's, with this ending instead of its own.
const ENDING: &str = "journal.db";

/// Events that one transaction writes or removes. On PostgreSQL each is one statement of a pipeline.
pub(super) const BATCH: usize = 256;

/// A written event is not written again: where a write had no answer, it is repeated.
const INSERT: &str = "INSERT INTO event (id, step, at, kind, account, node, bytes, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                      ON CONFLICT (id, step) DO NOTHING";

const MEASURE: &str = "SELECT count(*), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM event";

const REMOVE_BEFORE: &str =
    "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE at < $1 ORDER BY at, seq LIMIT $2)";

const REMOVE_OLDEST: &str = "DELETE FROM event WHERE seq IN (SELECT seq FROM event ORDER BY seq LIMIT $1)";

/// Where the journal is.
#[derive(Clone)]
pub(crate) enum JournalPlace {
    /// In a SQLite file, next to the store.
    File {
        /// The journal.
        path: PathBuf,
        /// The store, whose owner gets the file.
        store: PathBuf,
    },
    /// In the PostgreSQL database of the store, in a schema of its own.
    Postgres {
        /// The database.
        settings: Box<PostgresSettings>,
        /// Whose certificates are trusted.
        tls: Box<rustls::ClientConfig>,
    },
}

impl fmt::Debug for JournalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalPlace({self})")
    }
}

impl fmt::Display for JournalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => path.display().fmt(f),
            Self::Postgres { settings, .. } => {
                write!(f, "schema {} of {}", SCHEMA.postgres_schema, settings.server())
            }
        }
    }
}

impl JournalPlace {
    /// The place that belongs to the store of this configuration. `tls` is asked for where a server is connected to.
    ///
    /// # Errors
    /// Those of `tls`.
    pub(crate) fn of<E>(config: &Config, tls: impl FnOnce() -> Result<rustls::ClientConfig, E>) -> Result<Self, E> {
        match &config.store {
            StorePlace::File(store) => Ok(Self::File { path: store.with_extension(ENDING), store: store.clone() }),
            StorePlace::Postgres(settings) => Ok(Self::Postgres { settings: settings.clone(), tls: Box::new(tls()?) }),
        }
    }
}

/// Why the journal cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalError {
    place: String,
    why: DatabaseError,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, why } = self;
        write!(f, "the journal {place} ")?;
        match why {
            DatabaseError::Open { path, why } => {
                write!(
                    f,
                    "cannot be opened ({}: {why}); check the free space and who may read and write that file",
                    path.display()
                )
            }
            DatabaseError::TooOpen { advice, .. } => {
                write!(
                    f,
                    "can be read by others than its owner, and it holds addresses of senders and recipients; {advice}"
                )
            }
            DatabaseError::InUse { .. } | DatabaseError::InUseByNodes { .. } => {
                f.write_str("is in use by another oxpost process; wait for it to end")
            }
            DatabaseError::Garbled { why, .. } | DatabaseError::Damaged(why) => {
                write!(f, "is damaged, or is no journal ({why}); a running service moves it aside and begins a new one")
            }
            DatabaseError::Newer { found, known, .. } => write!(
                f,
                "has version {found} and this program knows versions up to {known}; run the newer program that wrote it, or move it away"
            ),
            DatabaseError::Migration { from, to, why, .. } => {
                write!(f, "could not be migrated from version {from} to version {to}: {why}")
            }
            DatabaseError::Refused { why, .. } => write!(
                f,
                "is not accessible: {why}. As an administrator of the database run: CREATE SCHEMA {} AUTHORIZATION and the user of \
                 [store] postgres",
                SCHEMA.postgres_schema
            ),
            DatabaseError::Unavailable { why, .. } => write!(f, "cannot be reached: {why}"),
            DatabaseError::Server { why, .. } | DatabaseError::Failed(why) => {
                write!(f, "failed: {why}; check the free space and the rights of its directory")
            }
            DatabaseError::KeyChanged { .. }
            | DatabaseError::NoStore { .. }
            | DatabaseError::Exists { .. }
            | DatabaseError::Conflict
            | DatabaseError::Closed => write!(f, "failed: {why}"),
        }
    }
}

impl std::error::Error for JournalError {}

impl JournalError {
    /// Whether the file is no journal, or a damaged one.
    pub(super) fn is_damage(&self) -> bool {
        self.why.is_damage()
    }

    /// Whether what was written can never be written.
    pub(super) fn is_of_the_rows(&self) -> bool {
        self.why == DatabaseError::Conflict
    }
}

/// The open database.
#[derive(Clone)]
pub(super) struct JournalDatabase {
    database: Arc<dyn Database>,
    place: String,
}

/// How much is in the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Measure {
    /// Events.
    pub(super) events: u64,
    /// Their bytes, roughly.
    pub(super) bytes: u64,
}

impl JournalDatabase {
    /// Opens the journal, or makes it.
    pub(super) async fn open(place: &JournalPlace) -> Result<Self, JournalError> {
        let opened: Result<Arc<dyn Database>, DatabaseError> = match place {
            JournalPlace::File { path, store } => match sqlite_file::create_like(store, path) {
                Ok(()) => Sqlite::open(path.clone(), SCHEMA).await.map(|database| Arc::new(database) as _),
                Err(error) => Err(error),
            },
            JournalPlace::Postgres { settings, tls } => {
                let opened = Postgres::open(settings.as_ref().clone(), tls.as_ref().clone(), SCHEMA).await;
                opened.map(|database| Arc::new(database) as _)
            }
        };
        Self::opened(opened, place)
    }

    /// Opens the journal if there is one.
    pub(super) async fn open_existing(place: &JournalPlace) -> Result<Option<Self>, JournalError> {
        let opened: Result<Arc<dyn Database>, DatabaseError> = match place {
            JournalPlace::File { path, .. } if !is_written(path) => return Ok(None),
            JournalPlace::File { path, .. } => {
                Sqlite::open(path.clone(), SCHEMA).await.map(|database| Arc::new(database) as _)
            }
            JournalPlace::Postgres { settings, tls } => {
                match Postgres::open_existing(settings.as_ref().clone(), tls.as_ref().clone(), SCHEMA).await {
                    Err(DatabaseError::NoStore { .. }) => return Ok(None),
                    opened => opened.map(|database| Arc::new(database) as _),
                }
            }
        };
        Self::opened(opened, place).map(Some)
    }

    fn opened(opened: Result<Arc<dyn Database>, DatabaseError>, place: &JournalPlace) -> Result<Self, JournalError> {
        let place = place.to_string();
        match opened {
            Ok(database) => Ok(Self { database, place }),
            Err(why) => Err(JournalError { place, why }),
        }
    }

    fn failed(&self, why: DatabaseError) -> JournalError {
        JournalError { place: self.place.clone(), why }
    }

    /// Adds events, in order; those that are there already are left as they are.
    pub(super) async fn add(&self, events: &[JournalEvent]) -> Result<(), JournalError> {
        let added = self.database.transaction(events.iter().map(insert).collect()).await;
        added.map(drop).map_err(|why| self.failed(why))
    }

    /// Counts, where no writing waits for it.
    pub(super) async fn measure(&self) -> Result<Measure, JournalError> {
        let numbers = self.numbers(Statement::new(MEASURE, [])).await?;
        let number = |column: usize| numbers.get(column).copied().unwrap_or_default();
        Ok(Measure { events: number(0), bytes: number(1) })
    }

    /// Removes at most [`BATCH`] events from before this time. Returns how many.
    pub(super) async fn remove_before(&self, time: SystemTime) -> Result<usize, JournalError> {
        self.remove(Statement::new(REMOVE_BEFORE, [time.into(), limit(BATCH)])).await
    }

    /// Removes the oldest events. Returns how many.
    pub(super) async fn remove_oldest(&self, count: usize) -> Result<usize, JournalError> {
        self.remove(Statement::new(REMOVE_OLDEST, [limit(count)])).await
    }

    async fn remove(&self, statement: Statement) -> Result<usize, JournalError> {
        let outcomes = self.database.transaction(vec![statement]).await.map_err(|why| self.failed(why))?;
        Ok(outcomes.first().map_or(0, |outcome| outcome.changed))
    }

    async fn numbers(&self, statement: Statement) -> Result<Vec<u64>, JournalError> {
        let mut rows = self.rows(statement).await?;
        let Some(row) = rows.first_mut() else { return Ok(Vec::new()) };
        let number = |column| u64::try_from(row.integer(column).unwrap_or_default()).unwrap_or_default();
        Ok((0..2).map(number).collect())
    }

    /// The rows that a query finds.
    pub(super) async fn rows(
        &self,
        statement: Statement,
    ) -> Result<Vec<oxpost_token_store::database::Row>, JournalError> {
        let found = self.database.read_in_background(vec![statement]).await.map_err(|why| self.failed(why))?;
        Ok(found.into_iter().next().unwrap_or_default().rows)
    }
}

fn insert(event: &JournalEvent) -> Statement {
    let JournalEvent { id, step, at, kind, account, node, detail } = event;
    let bytes = i64::try_from(event.bytes()).unwrap_or(i64::MAX);
    // Nothing in it can fail to be written as JSON.
    let detail = serde_json::to_string(detail).unwrap_or_default();
    let texts = |text: &str| Value::from(text);
    Statement::new(
        INSERT,
        [
            texts(id),
            i64::from(*step).into(),
            (*at).into(),
            texts(kind.as_str()),
            texts(account),
            texts(node),
            bytes.into(),
            Value::Text(detail),
        ],
    )
}

fn limit(count: usize) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Whether there is a file with something in it.
fn is_written(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// How often, and after which pause, a damaged file is tried to be moved: its connections are closed by their threads.
const MOVES: u32 = 20;
const PAUSE_BETWEEN_MOVES: Duration = Duration::from_millis(50);

/// Moves a damaged journal aside. Its new name has this id.
pub(super) async fn move_aside(path: &Path, id: &str) -> Result<PathBuf, DatabaseError> {
    let suffix = format!(".damaged-{id}");
    for _ in 1..MOVES {
        match sqlite_file::move_aside(path, &suffix) {
            Err(DatabaseError::InUse { .. }) => tokio::time::sleep(PAUSE_BETWEEN_MOVES).await,
            moved => return moved,
        }
    }
    sqlite_file::move_aside(path, &suffix)
}
