//! Leases: which node may work on a row, and until when. A lease expires by the database's clock, so that nodes whose clocks
//! differ agree. Its owner renews it; when the owner dies, another node takes it over after its length.
//!
//! [`Lease`] has the statements for any table with a column for the owner and one for the expiry.
//!
//! The lease of a row of tokens says which node asks the authority about an account; the others wait, and read what it has
//! written. It is taken over the version that was read. In SQLite it does the same between two processes on one file; there a
//! process that opens the file while no other has it open knows that every lease in it belongs to a dead process, and ends them
//! ([`END_ALL`]).

use std::time::Duration;

use super::{Store, StoreError, Stored};
use crate::{
    account::Mailbox,
    database::{Statement, Value},
};

/// How often the lease on tokens is renewed: twice may fail.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(4);

/// Ends the leases and the probes of dead processes. For a database that no other process uses.
pub(super) const END_ALL: &str = "UPDATE token SET lease_owner = NULL, lease_until = NULL WHERE lease_owner IS NOT NULL; \
     UPDATE authority_circuit SET probe_node = NULL, probed = NULL WHERE probe_node IS NOT NULL";

/// The leases on the rows of a table: made by [`lease!`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) take: &'static str,
    pub(super) renew: &'static str,
    pub(super) release: &'static str,
}

/// The statements of a [`Lease`]: its table, the columns for the owner and the expiry, its length in milliseconds, which row,
/// and what must be true of the row when a lease is taken. In the last two the caller's values are numbered from `$2` on: `$1`
/// is the owner.
macro_rules! lease {
    ($table:literal, $owner:literal, $until:literal, $millis:literal, $row:literal, $taken_if:literal) => {
        $crate::store::lease::Lease {
            take: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $owner,
                " = $1, ",
                $until,
                " = DATABASE_NOW + ",
                $millis,
                " WHERE ",
                $row,
                " AND ",
                $taken_if,
                " AND (",
                $owner,
                " IS NULL OR ",
                $owner,
                " = $1 OR ",
                $until,
                " < DATABASE_NOW)"
            ),
            renew: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $until,
                " = DATABASE_NOW + ",
                $millis,
                " WHERE ",
                $row,
                " AND ",
                $owner,
                " = $1"
            ),
            release: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $owner,
                " = NULL, ",
                $until,
                " = NULL WHERE ",
                $row,
                " AND ",
                $owner,
                " = $1"
            ),
        }
    };
}
pub(super) use lease;

impl Lease {
    /// Takes the lease, or keeps it. Nothing changes if another node holds it, or if the row is not as it must be.
    pub(super) fn take(&self, owner: &str, row: impl IntoIterator<Item = Value>) -> Statement {
        of(self.take, owner, row)
    }

    /// Extends the lease, if this owner still has it.
    pub(super) fn renew(&self, owner: &str, row: impl IntoIterator<Item = Value>) -> Statement {
        of(self.renew, owner, row)
    }

    /// Ends the lease, if this owner still has it.
    pub(super) fn release(&self, owner: &str, row: impl IntoIterator<Item = Value>) -> Statement {
        of(self.release, owner, row)
    }
}

fn of(sql: &'static str, owner: &str, row: impl IntoIterator<Item = Value>) -> Statement {
    Statement::new(sql, std::iter::once(owner.into()).chain(row))
}

/// For 15 seconds, over the version and the last failure that were read.
const TOKENS: Lease = lease!(
    "token",
    "lease_owner",
    "lease_until",
    15_000,
    "mailbox = $2",
    "version = $3 AND error_at IS NOT DISTINCT FROM $4"
);

impl Store {
    /// Takes or keeps the lease of the row. `false` if the row is no longer as it was read (newer tokens, or another failure),
    /// or if another node holds the lease.
    pub(crate) async fn lease(&self, mailbox: &Mailbox, read: &Stored, node: &str) -> Result<bool, StoreError> {
        let row = [mailbox.as_str().into(), read.version.into(), read.failed_at.into()];
        self.change(TOKENS.take(node, row)).await
    }

    /// Renews the lease, if this node still has it.
    pub(crate) async fn renew_lease(&self, mailbox: &Mailbox, node: &str) -> Result<bool, StoreError> {
        self.change(TOKENS.renew(node, [mailbox.as_str().into()])).await
    }

    /// Releases the lease, if this node still has it.
    pub(crate) async fn release_lease(&self, mailbox: &Mailbox, node: &str) -> Result<(), StoreError> {
        self.change(release(mailbox, node)).await.map(drop)
    }
}

pub(super) fn release(mailbox: &Mailbox, node: &str) -> Statement {
    TOKENS.release(node, [mailbox.as_str().into()])
}
