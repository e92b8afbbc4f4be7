//! Who has the store open: all nodes share it, but for a change of the key, which needs it alone.
//!
//! An advisory lock that the server keeps for as long as the connection lives, as `lock.rs` is for a file. A process that lost
//! the connection has lost it too, and takes it again with the next one.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

/// The server lets go of a lock a moment after the process that had it has ended.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which other sessions hold it. A session on the server's Unix socket has no address.
const HOLDERS: &str = "SELECT DISTINCT coalesce(host(a.client_addr), 'the machine of the database') \
                       FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
                       WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
                       AND (l.classid::bigint << 32 | l.objid::bigint) = $1 AND a.datname = current_database() \
                       AND l.pid <> pg_backend_pid() ORDER BY 1";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// For everything that reads and writes rows.
    Shared,
    /// For what must be alone with the store. Its connection is never re-established: another process may have used the store meanwhile.
    Alone,
}

impl Hold {
    /// Takes the lock for the life of the connection; or says who is in the way.
    pub(super) async fn take(self, client: &Client, lock: i64) -> Result<Result<(), String>, tokio_postgres::Error> {
        let try_it = match self {
            Self::Shared => "SELECT pg_try_advisory_lock_shared($1)",
            Self::Alone => "SELECT pg_try_advisory_lock($1)",
        };
        let until = Instant::now() + PATIENCE;
        loop {
            if client.query_one(try_it, &[&lock]).await?.try_get(0)? {
                return Ok(Ok(()));
            }
            if Instant::now() >= until {
                let holders = client.query(HOLDERS, &[&lock]).await?;
                let names: Vec<String> = holders.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
                return Ok(Err(names.join(", ")));
            }
            sleep(PATIENCE / 30).await;
        }
    }
}
