//! PostgreSQL, for several nodes on one store: one connection, on which statements of many callers travel one behind the
//! other, and which is made again when it is lost; and a second one, made when it is first needed, for what is read in the
//! background or for people.
//!
//! A single statement is its own transaction and waits for no other. Several in one transaction have the connection
//! to themselves meanwhile, and are serializable: they see what they would see in SQLite, where only one writes at a time.
//! Nothing waits longer than [`CONNECT_TIME`] and [`STATEMENT_TIME`] together, but for the one who migrates the tables.

mod hold;
mod migrate;
mod session;
mod settings;
mod value;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rustls::ClientConfig;
use tokio::{
    sync::{Mutex, broadcast},
    time::{Instant, timeout},
};

pub use self::settings::{BadSettings, PostgresSettings};
use self::{
    hold::Hold,
    migrate::MIGRATION_TIME,
    session::{Entry, Session, Tables},
};
use super::{
    Database, DatabaseError, Outcome, Schema, Statement,
    hint::{Hint, Hints, KEPT},
    only_read,
};

/// How long a connection may take to be made, to any of the hosts, with its greeting and our tables looked up.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long a transaction may take. Most of ours read or write a few rows.
const STATEMENT_TIME: Duration = Duration::from_secs(10);

/// The additional time for each statement of a transaction: one may have many, such as one for each declared account.
const EACH_STATEMENT_TIME: Duration = Duration::from_millis(50);

/// After a failure, how long everybody gets that answer before a connection is tried again: a thousand logins must not
/// become a thousand attempts.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// A PostgreSQL database.
pub struct Postgres {
    settings: PostgresSettings,
    tls: ClientConfig,
    schema: Schema,
    hold: Hold,
    /// The check value of the key that opened the store. A node that has lost its connection must not go on sealing with a
    /// key that was replaced meanwhile.
    key_check: std::sync::Mutex<Option<Vec<u8>>>,
    line: Mutex<Line>,
    /// The one for [`Database::read_in_background`]. Both deliver hints: either may be lost while it is idle.
    background: Mutex<Line>,
    hints: broadcast::Sender<Hint>,
}

/// The connection, or why there is none.
#[derive(Default)]
struct Line {
    session: Option<Arc<Session>>,
    failed: Option<(Instant, DatabaseError)>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres({})", self.settings.server())
    }
}

impl Postgres {
    /// Connects, and makes our tables if there are none, or migrates older ones. `tls` says which certificates to trust;
    /// the server's certificate is always verified with it.
    pub async fn open(settings: PostgresSettings, tls: ClientConfig, schema: Schema) -> Result<Self, DatabaseError> {
        Self::start(settings, tls, schema, Hold::Shared, Tables::Make).await
    }

    /// Connects to a store that is there already, and makes none ([`DatabaseError::NoStore`]).
    pub async fn open_existing(
        settings: PostgresSettings,
        tls: ClientConfig,
        schema: Schema,
    ) -> Result<Self, DatabaseError> {
        Self::start(settings, tls, schema, Hold::Shared, Tables::Expect).await
    }

    /// Connects to a store that is there already while no other process is connected, and keeps others out.
    pub async fn open_alone(
        settings: PostgresSettings,
        tls: ClientConfig,
        schema: Schema,
    ) -> Result<Self, DatabaseError> {
        Self::start(settings, tls, schema, Hold::Alone, Tables::Expect).await
    }

    async fn start(
        settings: PostgresSettings,
        mut tls: ClientConfig,
        schema: Schema,
        hold: Hold,
        tables: Tables,
    ) -> Result<Self, DatabaseError> {
        // PostgreSQL 17 requires it for direct TLS; older servers ignore it.
        tls.alpn_protocols = vec![b"postgresql".to_vec()];
        let (key_check, line, background) = (std::sync::Mutex::default(), Mutex::default(), Mutex::default());
        let hints = broadcast::channel(KEPT).0;
        let database = Self { settings, tls, schema, hold, key_check, line, background, hints };
        let session = database.connect(tables).await?;
        database.line.lock().await.session = Some(Arc::new(session));
        Ok(database)
    }

    /// The living connection, or a new one.
    async fn session(&self, background: bool) -> Result<Arc<Session>, DatabaseError> {
        let mut line = if background { &self.background } else { &self.line }.lock().await;
        if let Some(session) = line.session.as_ref().filter(|session| session.lives()) {
            return Ok(Arc::clone(session));
        }
        if self.hold == Hold::Alone {
            let why = "the connection was lost, and with it the right to be alone".into();
            let server = self.settings.server().to_owned();
            return Err(DatabaseError::Unavailable { server, why, outcome_is_unknown: false });
        }
        if let Some((at, error)) = &line.failed
            && at.elapsed() < RETRY_EVERY
        {
            return Err(error.clone());
        }
        line.session = None;
        match self.connect(Tables::Expect).await {
            Ok(session) => {
                line.failed = None;
                if !background {
                    tracing::info!(server = self.settings.server(), "connected to the database again");
                }
                // Hints that were given meanwhile went by.
                let _ = self.hints.send(Hint::Anything);
                Ok(Arc::clone(line.session.insert(Arc::new(session))))
            }
            Err(error) => {
                line.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn connect(&self, tables: Tables) -> Result<Session, DatabaseError> {
        let key_check = self.key_check.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let entry = Entry { schema: self.schema, hold: self.hold, tables, key_check };
        let opening = Box::pin(Session::open(&self.settings, &self.tls, entry, self.hints.clone()));
        let late = |what: &str, bound: Duration| {
            let why = format!("{what} within {} s", bound.as_secs());
            let server = self.settings.server().to_owned();
            DatabaseError::Unavailable { server, why, outcome_is_unknown: false }
        };
        let opened = timeout(CONNECT_TIME, opening).await.unwrap_or_else(|_| Err(late("no connection", CONNECT_TIME)));
        let mut session = opened?;
        if session.needs_migration() {
            let migrating = Box::pin(session.migrate());
            let bound = MIGRATION_TIME;
            timeout(bound, migrating)
                .await
                .unwrap_or_else(|_| Err(late("its tables were not made or migrated", bound)))?;
        }
        Ok(session)
    }

    async fn attempt(&self, statements: &[Statement], background: bool) -> Result<Vec<Outcome>, DatabaseError> {
        let session = self.session(background).await?;
        let running = Box::pin(session.run(statements));
        let bound = EACH_STATEMENT_TIME.saturating_mul(u32::try_from(statements.len()).unwrap_or(u32::MAX));
        let bound = STATEMENT_TIME.saturating_add(bound);
        timeout(bound, running).await.unwrap_or_else(|_| {
            // Everything queued after it on this connection would wait as long.
            session.give_up();
            let why = format!("no answer within {} s", bound.as_secs());
            let server = self.settings.server().to_owned();
            Err(DatabaseError::Unavailable { server, why, outcome_is_unknown: true })
        })
    }
}

#[async_trait]
impl Database for Postgres {
    fn has_a_clock_of_its_own(&self) -> bool {
        true
    }

    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        let outcome = self.attempt(&statements, false).await;
        // A query on a broken connection can be repeated on a new one. Whether a write without a reply was
        // done is for its owner to find out, by the version of the row.
        match outcome {
            Err(DatabaseError::Unavailable { .. }) if only_read(&statements) => self.attempt(&statements, false).await,
            outcome => outcome,
        }
    }

    async fn read_in_background(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        // A process with exclusive access has one connection, and no login waits for it.
        if self.hold == Hold::Alone {
            return self.transaction(statements).await;
        }
        match self.attempt(&statements, true).await {
            Err(DatabaseError::Unavailable { .. }) => self.attempt(&statements, true).await,
            outcome => outcome,
        }
    }

    fn hints(&self) -> Hints {
        Hints::of(&self.hints)
    }

    fn belongs_to(&self, key_check: &[u8]) {
        *self.key_check.lock().unwrap_or_else(PoisonError::into_inner) = Some(key_check.to_vec());
    }
}
