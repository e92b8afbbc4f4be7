//! The lease: which node asks the authority about an account. The others wait, and read what it has written.
//!
//! It stands in the row of the tokens, is taken over the version that was read, and ends by the database's clock, so that
//! nodes whose clocks differ agree. Who holds it renews it while the authority takes its time; when a node dies, another
//! one takes over after [`LEASE`]. In SQLite it does the same between two processes on one file; there a process that opens
//! the file while no other has it open knows that every lease in it is a dead one's, and ends them ([`END_ALL`]).

use std::time::Duration;

use super::{Store, StoreError, Stored};
use crate::{
    account::Mailbox,
    database::{Statement, Value},
};

/// How long a lease lasts unless it is renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// How often it is renewed: twice may fail.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(4);

/// Ends the leases and the probes of processes that no longer are. For a database that this process has to itself.
pub(super) const END_ALL: &str = "UPDATE token SET lease_owner = NULL, lease_until = NULL WHERE lease_owner IS NOT NULL; \
     UPDATE authority_circuit SET probe_node = NULL, probed = NULL WHERE probe_node IS NOT NULL";

impl Store {
    /// Takes the lease of the row, or keeps it. `false` if the row is no longer as it was read (newer tokens, or another
    /// failure), or if another node holds the lease.
    pub(crate) async fn lease(&self, mailbox: &Mailbox, read: &Stored, node: &str) -> Result<bool, StoreError> {
        let update = "UPDATE token SET lease_owner = $3, lease_until = DATABASE_NOW + $4 WHERE mailbox = $1 AND version = $2 \
                      AND error_at IS NOT DISTINCT FROM $5 \
                      AND (lease_owner IS NULL OR lease_owner = $3 OR lease_until < DATABASE_NOW)";
        let values = [mailbox.as_str().into(), read.version.into(), node.into(), length(), read.failed_at.into()];
        self.change(Statement::new(update, values)).await
    }

    /// Prolongs the lease, if this node still has it.
    pub(crate) async fn renew_lease(&self, mailbox: &Mailbox, node: &str) -> Result<bool, StoreError> {
        let update = "UPDATE token SET lease_until = DATABASE_NOW + $3 WHERE mailbox = $1 AND lease_owner = $2";
        self.change(Statement::new(update, [mailbox.as_str().into(), node.into(), length()])).await
    }

    /// Gives the lease back, if this node still has it.
    pub(crate) async fn release_lease(&self, mailbox: &Mailbox, node: &str) -> Result<(), StoreError> {
        self.change(release(mailbox, node)).await.map(drop)
    }
}

pub(super) fn release(mailbox: &Mailbox, node: &str) -> Statement {
    let update = "UPDATE token SET lease_owner = NULL, lease_until = NULL WHERE mailbox = $1 AND lease_owner = $2";
    Statement::new(update, [mailbox.as_str().into(), node.into()])
}

fn length() -> Value {
    Value::Integer(i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX))
}
