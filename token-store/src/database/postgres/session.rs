//! One connection to PostgreSQL, from its first word to its last.

use std::{
    collections::HashMap,
    error::Error as _,
    future::poll_fn,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use rustls::ClientConfig;
use tokio::{
    sync::{RwLock, broadcast},
    task::JoinHandle,
};
use tokio_postgres::{
    AsyncMessage, Client, GenericClient, IsolationLevel, NoTls,
    error::SqlState,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PostgresSettings, hold::Hold, migrate, value};
use crate::database::{DatabaseError, Outcome, Schema, Statement, dialect, hint::Hint};

/// How often a transaction is retried after a conflict with another one (SQLSTATE 40001, 40P01).
const TRIES: usize = 8;

/// Statements of one transaction that are on their way together. Their values and replies are in memory meanwhile.
const PIPELINED: usize = 64;

/// Our own schema, so that a database may be shared; and bounds on the server's side, for when we can no longer ask it to
/// stop. A session that dies in a transaction, or a node that loses its power, must not keep its locks.
fn manners(schema: Schema) -> String {
    let listen = schema.postgres_channel.map(|channel| format!("; LISTEN {channel}")).unwrap_or_default();
    format!(
        "SET search_path = {}; SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
         SET idle_in_transaction_session_timeout = '10s'; SET tcp_keepalives_idle = 15; \
         SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3{listen}",
        schema.postgres_schema
    )
}

/// What to do about tables that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    /// Make them: this is the start.
    Make,
    /// Complain: they were there before, or are what is asked for.
    Expect,
}

/// How a session begins.
pub(super) struct Entry {
    pub(super) schema: Schema,
    pub(super) hold: Hold,
    pub(super) tables: Tables,
    /// The check value of the key that we have, once that is known.
    pub(super) key_check: Option<Vec<u8>>,
}

pub(super) struct Session {
    /// Read by those who send one statement, written by those who need the connection to themselves.
    client: RwLock<Client>,
    prepared: Mutex<HashMap<(&'static str, Vec<Type>), tokio_postgres::Statement>>,
    /// Moves the bytes; over when the connection is.
    driver: JoinHandle<()>,
    given_up: AtomicBool,
    server: String,
    schema: Schema,
    needs_migration: bool,
}

impl Session {
    pub(super) async fn open(
        settings: &PostgresSettings,
        tls: &ClientConfig,
        entry: Entry,
        hints: broadcast::Sender<Hint>,
    ) -> Result<Self, DatabaseError> {
        let server = settings.server().to_owned();
        let (client, driver) = if settings.uses_tls() {
            let connected = settings.config().connect(MakeRustlsConnect::new(tls.clone())).await;
            let (client, connection) = connected.map_err(|error| failed(&server, &error))?;
            (client, tokio::spawn(drive(connection, hints)))
        } else {
            let (client, connection) =
                settings.config().connect(NoTls).await.map_err(|error| failed(&server, &error))?;
            (client, tokio::spawn(drive(connection, hints)))
        };
        let mut session = Self {
            client: RwLock::new(client),
            prepared: Mutex::default(),
            driver,
            given_up: AtomicBool::new(false),
            server,
            schema: entry.schema,
            needs_migration: false,
        };
        session.prepare(entry).await?;
        Ok(session)
    }

    pub(super) fn lives(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed) && !self.driver.is_finished()
    }

    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.driver.abort();
    }

    /// Everything that a session needs before its first statement, but for a migration.
    async fn prepare(&mut self, entry: Entry) -> Result<(), DatabaseError> {
        let server = self.server.clone();
        let failed = |error: tokio_postgres::Error| failed(&server, &error);
        let client = self.client.get_mut();
        client.batch_execute(&manners(entry.schema)).await.map_err(failed)?;
        entry
            .hold
            .take(client, entry.schema.open_lock())
            .await
            .map_err(failed)?
            .map_err(|by| DatabaseError::InUseByNodes { server: server.clone(), by })?;
        let found = migrate::version(client, entry.schema).await.map_err(failed)?;
        if found.is_none() && entry.tables == Tables::Expect {
            return Err(DatabaseError::NoStore { server });
        }
        let pending = entry.schema.pending(found.unwrap_or(0), Path::new(&server))?;
        self.needs_migration = !pending.is_empty();
        if let (Some(known), Some(_)) = (entry.key_check, found) {
            let check = "SELECT value FROM meta WHERE name = 'key-check'";
            let check = client.query_opt(check, &[]).await.map_err(failed)?;
            let check: Option<Vec<u8>> = check.map(|row| row.try_get(0)).transpose().map_err(failed)?;
            if check != Some(known) {
                return Err(DatabaseError::KeyChanged { server });
            }
        }
        Ok(())
    }

    /// Whether [`Session::migrate`] has something to do.
    pub(super) fn needs_migration(&self) -> bool {
        self.needs_migration
    }

    /// Makes the tables, or migrates older ones.
    pub(super) async fn migrate(&mut self) -> Result<(), DatabaseError> {
        migrate::migrate(self.client.get_mut(), self.schema, &self.server).await?;
        self.needs_migration = false;
        Ok(())
    }

    pub(super) async fn run(&self, statements: &[Statement]) -> Result<Vec<Outcome>, DatabaseError> {
        let ran = match statements {
            [one] => self.execute(&*self.client.read().await, one).await.map(|outcome| vec![outcome]),
            several => self.together(several).await,
        };
        ran.map_err(|error| failed(&self.server, &error))
    }

    async fn together(&self, statements: &[Statement]) -> Result<Vec<Outcome>, tokio_postgres::Error> {
        let mut client = self.client.write().await;
        let mut tries = 1;
        loop {
            match self.once(&mut client, statements).await {
                Err(error) if tries < TRIES && in_the_way(&error) => tries += 1,
                ran => return ran,
            }
        }
    }

    async fn once(&self, client: &mut Client, statements: &[Statement]) -> Result<Vec<Outcome>, tokio_postgres::Error> {
        // Dropped before its end, by an error or a caller who went away, it is rolled back.
        let transaction = client.build_transaction().isolation_level(IsolationLevel::Serializable).start().await?;
        // Statements travel one after the other without a wait for each reply: ten thousand accounts would wait ten thousand times.
        // Their texts are prepared before, because a text that is being prepared would be overtaken.
        for statement in statements {
            self.prepared(&transaction, statement).await?;
        }
        let mut outcomes = Vec::with_capacity(statements.len());
        for batch in statements.chunks(PIPELINED) {
            outcomes.extend(in_order(batch.iter().map(|statement| self.execute(&transaction, statement))).await?);
        }
        transaction.commit().await?;
        Ok(outcomes)
    }

    async fn prepared(
        &self,
        client: &(impl GenericClient + Sync),
        statement: &Statement,
    ) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
        let types: Vec<Type> = statement.values.iter().map(value::type_of).collect();
        let key = (statement.sql, types);
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(prepared) = known {
            return Ok(prepared);
        }
        let prepared = client.prepare_typed(&dialect::for_postgres(statement.sql), &key.1).await?;
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(key, prepared.clone());
        Ok(prepared)
    }

    async fn execute(
        &self,
        client: &(impl GenericClient + Sync),
        statement: &Statement,
    ) -> Result<Outcome, tokio_postgres::Error> {
        let prepared = self.prepared(client, statement).await?;
        let values: Vec<&(dyn ToSql + Sync)> = statement.values.iter().map(|value| value as _).collect();
        if prepared.columns().is_empty() {
            let changed = client.execute(&prepared, &values).await?;
            return Ok(Outcome { changed: usize::try_from(changed).unwrap_or(usize::MAX), rows: Vec::new() });
        }
        let found = client.query(&prepared, &values).await?;
        let rows = found.iter().map(value::read_row).collect::<Result<_, _>>()?;
        Ok(Outcome { changed: 0, rows })
    }
}

/// Runs futures together and gives their results in order, or the error of the first that fails: those of the others say only that
/// the transaction has ended. Each is begun before the next one.
async fn in_order<T, E, F: Future<Output = Result<T, E>>>(futures: impl Iterator<Item = F>) -> Result<Vec<T>, E> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, done) in running.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                *done = Some(result);
            }
        }
        // Up to the first that is not done, or has failed.
        for (_, done) in &mut running {
            match done.take() {
                Some(Ok(value)) => *done = Some(Ok(value)),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

impl Drop for Session {
    fn drop(&mut self) {
        // The client says goodbye when it is dropped; a connection that hangs would never hear it.
        if self.client.get_mut().is_closed() {
            self.driver.abort();
        }
    }
}

async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, hints: broadcast::Sender<Hint>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(said))) => {
                let _ = hints.send(Hint::said(said.payload()));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::warn!("the connection to the database was lost: {}", described(&error));
                break;
            }
            None => break,
        }
    }
    // Every listener reads the tables now, which re-establishes the connection.
    let _ = hints.send(Hint::Anything);
}

fn in_the_way(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}

pub(super) fn failed(server: &str, error: &tokio_postgres::Error) -> DatabaseError {
    let (server, why) = (server.to_owned(), described(error));
    let Some(code) = error.code() else {
        return DatabaseError::Unavailable { server, why, outcome_is_unknown: true };
    };
    if *code == SqlState::DUPLICATE_TABLE {
        let why = "its schema holds tables of another program".into();
        return DatabaseError::Garbled { path: PathBuf::from(server), why };
    }
    if *code == SqlState::UNDEFINED_DATABASE || *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return DatabaseError::Refused { server, why };
    }
    match code.code().get(..2).unwrap_or_default() {
        // Integrity constraint violation.
        "23" => DatabaseError::Conflict,
        // Invalid authorization.
        "28" => DatabaseError::Refused { server, why },
        // Connection exception; invalid transaction state (a stand-by is read-only); too many connections and the like;
        // a lock that was not given in time; shutting down, starting up, cancelled because it took too long.
        // A server that is shut down may have written before, and a commit that waits for a stand-by may still be made.
        "08" | "57" => DatabaseError::Unavailable { server, why, outcome_is_unknown: true },
        "25" | "53" | "55" => DatabaseError::Unavailable { server, why, outcome_is_unknown: false },
        _ => DatabaseError::Server { server, why },
    }
}

/// What the server or the system says. The server's details and hints are left out: they quote values.
fn described(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", server.message(), server.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second is over already when the first is looked at again: its error says only that the transaction has ended.
    #[tokio::test]
    async fn the_error_of_the_first_that_fails_is_given() {
        let (fail, failed) = tokio::sync::oneshot::channel::<()>();
        let first = async {
            let _ = failed.await;
            Err::<u8, _>("first")
        };
        let second = async {
            let _ = fail.send(());
            Err("second")
        };
        type Either = std::pin::Pin<Box<dyn Future<Output = Result<u8, &'static str>>>>;
        let both: [Either; 2] = [Box::pin(first), Box::pin(second)];
        assert_eq!(in_order(both.into_iter()).await, Err("first"));
        assert_eq!(in_order([1, 2, 3].map(|n| async move { Ok::<_, ()>(n) }).into_iter()).await, Ok(vec![1, 2, 3]));
    }
}
