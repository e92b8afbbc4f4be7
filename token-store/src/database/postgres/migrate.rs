//! The tables on PostgreSQL: their version, and how they are made and migrated.

use std::{path::Path, time::Duration};

use tokio_postgres::{Client, Error, GenericClient};
use tracing::info;

use super::session::failed;
use crate::database::{DatabaseError, Migration, Schema, dialect};

/// How long a migration may take, with the wait for another node that runs it. Ours add tables, which takes milliseconds; one
/// that rewrites the rows of ten thousand accounts takes seconds.
pub(super) const MIGRATION_TIME: Duration = Duration::from_secs(60);

/// The server's own bound for the wait, a little shorter, so that the reason is known. Locks on tables keep the bound of
/// every other transaction: a migration that waits for one blocks all logins.
const WAIT_FOR_OTHER_NODES: &str = "SET LOCAL statement_timeout = '55s'; SET LOCAL lock_timeout = '55s'";
const WAIT_FOR_TABLES: &str = "SET LOCAL lock_timeout = '5s'";

/// The version of the tables; none if there are none.
///
/// This reads the catalog as a table: `to_regclass` may answer from a cache that another node's commit has not reached.
pub(super) async fn version(client: &impl GenericClient, schema: Schema) -> Result<Option<i64>, Error> {
    let name = schema.postgres_schema;
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename = 'store_version'";
    if client.query_opt(tables, &[&name]).await?.is_none() {
        return Ok(None);
    }
    let version: Option<i64> =
        client.query_one(&format!("SELECT max(version) FROM {name}.store_version"), &[]).await?.try_get(0)?;
    Ok(Some(version.unwrap_or(0)))
}

/// Runs the migrations that the tables have not seen, in one transaction with their new version. Of nodes that start at the
/// same time one migrates, and the others wait and find it done.
pub(super) async fn migrate(client: &mut Client, schema: Schema, server: &str) -> Result<(), DatabaseError> {
    let failed = |error: Error| failed(server, &error);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(WAIT_FOR_OTHER_NODES).await.map_err(failed)?;
    let lock = schema.migration_lock();
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&lock]).await.map_err(failed)?;
    transaction.batch_execute(WAIT_FOR_TABLES).await.map_err(failed)?;
    // Another node may have done it meanwhile.
    let from = version(&transaction, schema).await.map_err(failed)?.unwrap_or(0);
    let pending = schema.pending(from, Path::new(server))?;
    let to = schema.version();
    let stopped = |error: Error| match failed(error) {
        DatabaseError::Server { why, .. } if from > 0 => {
            DatabaseError::Migration { path: server.into(), from, to, why }
        }
        DatabaseError::Conflict => {
            let why = "its rows do not fit into the new tables".into();
            DatabaseError::Migration { path: server.into(), from, to, why }
        }
        other => other,
    };
    run(&transaction, schema, from, pending).await.map_err(stopped)?;
    transaction.commit().await.map_err(stopped)?;
    if from > 0 && !pending.is_empty() {
        info!(store = server, from, to, "migrated the {} to the version of this program", schema.name);
    }
    Ok(())
}

async fn run(client: &impl GenericClient, schema: Schema, from: i64, pending: &[Migration]) -> Result<(), Error> {
    if from == 0 {
        let name = schema.postgres_schema;
        if client.query_opt("SELECT nspname FROM pg_namespace WHERE nspname = $1", &[&name]).await?.is_none() {
            client.batch_execute(&format!("CREATE SCHEMA {name}")).await?;
        }
    }
    for migration in pending {
        client.batch_execute(&dialect::tables_for_postgres(migration.sql)).await?;
        client.batch_execute(migration.postgres).await?;
    }
    if from == 0 {
        client.batch_execute("CREATE TABLE store_version (version BIGINT NOT NULL)").await?;
        client.execute("INSERT INTO store_version VALUES ($1)", &[&schema.version()]).await?;
    } else if !pending.is_empty() {
        client.execute("UPDATE store_version SET version = $1", &[&schema.version()]).await?;
    }
    Ok(())
}
