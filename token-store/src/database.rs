//! The narrow waist between the store and an engine: statements in, rows out, one transaction at a time.
//!
//! The SQL texts live above it, in the store, and keep to what SQLite and PostgreSQL have in common (`$1` parameters,
//! `ON CONFLICT … DO UPDATE`, no engine's own functions), so that an engine is an implementation of [`Database`] and
//! nothing else. What they cannot have in common is said in [`dialect`].

pub(crate) mod dialect;
mod hint;
pub(crate) mod lock;
pub mod postgres;
mod schema;
pub mod sqlite;
pub mod sqlite_file;
pub(crate) mod time;

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

pub use self::{
    hint::Hints,
    schema::{Migration, Schema},
};

/// An engine that keeps our tables.
#[async_trait]
pub trait Database: Send + Sync + 'static {
    /// Runs the statements in one transaction and gives one outcome for each. When it returns, what was written survives
    /// a power cut; when it fails, nothing was written.
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError>;

    /// Runs statements that only read, for background work and for people, who read much: an engine does it where no login
    /// waits behind it.
    async fn read_in_background(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        self.transaction(statements).await
    }

    /// Hints, from now on, that another process may have written, if the engine gives any.
    fn hints(&self) -> Hints {
        Hints::none()
    }

    /// Whether its clock is that of another machine, which several nodes share.
    fn has_a_clock_of_its_own(&self) -> bool {
        false
    }

    /// Tells the engine the check value of the key that opens this store. One that can lose its store for a while and find
    /// it again compares it then.
    fn belongs_to(&self, _key_check: &[u8]) {}
}

/// One SQL text with its values.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The text, with `$1`, `$2`, … for the values, and `DATABASE_NOW` for the time by the database's clock.
    pub sql: &'static str,
    /// The values, in the order of their numbers.
    pub values: Vec<Value>,
}

/// What one statement did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many rows it changed, if it changes any.
    pub changed: usize,
    /// The rows it found, if it looks for any.
    pub rows: Vec<Row>,
}

/// A value in a column. It is not printed: it may be a sealed secret or a password hash.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number, or a time in milliseconds since 1970.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes; most often something sealed.
    Bytes(Vec<u8>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Integer(_) => "Integer",
            Self::Text(_) => "Text",
            Self::Bytes(_) => "Bytes",
        })
    }
}

/// One row: its columns in the order of the SQL text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

/// Why an engine did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The file cannot be opened or created.
    #[error("cannot open the store {}: {why}; check the path, the free space and who may write there", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Others may read the file.
    #[error("the store {} can be read by others than its owner; {advice}", path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// The command to run.
        advice: String,
    },
    /// Another process has the store open, and what was asked for needs it alone; or the other way round.
    #[error(
        "the store {} is in use by another oxpost process; stop the service (and any command that still waits), then try again",
        path.display()
    )]
    InUse {
        /// Which store.
        path: PathBuf,
    },
    /// Other processes have the database open, and what was asked for needs it alone; or the other way round.
    #[error(
        "the store {server} is in use by other oxpost processes (from: {by}); stop the service on every node, and any command that \
         still waits, then try again"
    )]
    InUseByNodes {
        /// Which server, without a password.
        server: String,
        /// Where they are.
        by: String,
    },
    /// A new key was given to the store since this process has opened it.
    #[error(
        "the key of the store {server} was changed by another node, and this process has the old one; copy the key from there, and \
         restart this service"
    )]
    KeyChanged {
        /// Which server, without a password.
        server: String,
    },
    /// There is a database, and our tables are not in it.
    #[error(
        "the database {server} holds no store of Oxpost; restore it from its backup, or check its name in [store] postgres. \
         `oxpost store create` makes an empty store"
    )]
    NoStore {
        /// Which server, without a password.
        server: String,
    },
    /// A file that must not exist is there.
    #[error("{} is there already and is not overwritten; name another file", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The file is no database, or not ours, or damaged.
    #[error(
        "{} is not a store of this program, or it is damaged ({why}); restore it from your backup, or move it away and run \
         `oxpost store create` to begin with an empty store",
        path.display()
    )]
    Garbled {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer program has written it.
    #[error(
        "the store {} has version {found} and this program knows versions up to {known}; run the newer program that wrote it, \
         or restore the backup from before the upgrade",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The tables could not be changed to those of this program.
    #[error(
        "the store {} could not be migrated from version {from} to version {to}: {why}. It is unchanged, and the program that \
         wrote it still opens it; check the free space and who may write there, then start again",
        path.display()
    )]
    Migration {
        /// Which file or server.
        path: PathBuf,
        /// Its version.
        from: i64,
        /// The version this program needs.
        to: i64,
        /// What the engine says.
        why: String,
    },
    /// A row would break a rule of the tables: a duplicate, or a row that belongs to nothing.
    #[error("a row like this one is there already, or the one it belongs to is not")]
    Conflict,
    /// An open database proves to be damaged.
    #[error("the store is damaged ({0}); restore it from your backup")]
    Damaged(String),
    /// Anything else, such as a full disk.
    #[error("the store failed: {0}; check the free space and the rights of its directory")]
    Failed(String),
    /// The database server cannot be reached now.
    #[error("the database {server} cannot be reached: {why}; it is tried again at the next need")]
    Unavailable {
        /// Which server, without a password.
        server: String,
        /// What the system or the server says.
        why: String,
        /// A write may have been made, or may be made yet: the connection ended, or no answer came in time.
        outcome_is_unknown: bool,
    },
    /// The database server does not let us in.
    #[error(
        "the database {server} refuses us: {why}; check user, database and sslmode in [store] postgres, the password in \
         postgres-password-file, and pg_hba.conf on the server"
    )]
    Refused {
        /// Which server, without a password.
        server: String,
        /// What the server says.
        why: String,
    },
    /// The database server did not do it.
    #[error("the database {server} failed: {why}; its log says more")]
    Server {
        /// Which server, without a password.
        server: String,
        /// What the server says.
        why: String,
    },
    /// The engine has ended.
    #[error("the store is closed; restart the program")]
    Closed,
}

impl DatabaseError {
    /// Whether the file is no database, or a damaged one: opening it again does not help.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Garbled { .. } | Self::Damaged(_))
    }
}

impl Statement {
    /// A statement with its values.
    pub fn new(sql: &'static str, values: impl IntoIterator<Item = Value>) -> Self {
        Self { sql, values: values.into_iter().collect() }
    }
}

/// Whether statements change nothing.
pub(crate) fn only_read(statements: &[Statement]) -> bool {
    statements.iter().all(|statement| statement.sql.trim_start().starts_with("SELECT"))
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A time as it is stored: milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    }
}

impl From<SystemTime> for Value {
    fn from(time: SystemTime) -> Self {
        Self::Integer(milliseconds(time))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Row {
    /// The column of this number, counted from 0, taken out of the row.
    fn take(&mut self, column: usize) -> Value {
        self.0.get_mut(column).map_or(Value::Null, |value| std::mem::replace(value, Value::Null))
    }

    /// A column that holds text.
    pub fn text(&mut self, column: usize) -> Option<String> {
        if let Value::Text(text) = self.take(column) { Some(text) } else { None }
    }

    /// A column that holds a number.
    pub fn integer(&mut self, column: usize) -> Option<i64> {
        if let Value::Integer(number) = self.take(column) { Some(number) } else { None }
    }

    /// A column that holds bytes.
    pub fn bytes(&mut self, column: usize) -> Option<Vec<u8>> {
        if let Value::Bytes(bytes) = self.take(column) { Some(bytes) } else { None }
    }

    /// A column that holds a time.
    pub fn time(&mut self, column: usize) -> Option<SystemTime> {
        let millis = self.integer(column)?;
        let distance = Duration::from_millis(millis.unsigned_abs());
        if millis < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }
}
