//! The nodes that share the store, as far as they are alive: each has a row that is its lease.

use std::time::Duration;

use super::{
    Store, StoreError,
    lease::{Lease, lease},
};
use crate::database::Statement;

/// How long a node counts as alive after it was last heard of. When a node dies, what it had of what nodes share is free after this.
pub const NODE_LEASE: Duration = Duration::from_secs(15);

/// A node is its own row's owner for good.
const NODES: Lease = lease!("node", "id", "lease_until", 15_000, "id = $2", "id = $2");

impl Store {
    /// Whether several nodes may share this store: it is a database server's. A SQLite file is one process's.
    pub fn is_shared_by_nodes(&self) -> bool {
        self.database.has_a_clock_of_its_own()
    }

    /// A name for this process that no other has, nor had.
    pub fn new_node_id() -> String {
        crate::tokens::node_name()
    }

    /// This process is a node from now on.
    pub async fn add_node(&self, id: &str, name: &str) -> Result<(), StoreError> {
        let insert = "INSERT INTO node (id, name, lease_until) VALUES ($1, $2, DATABASE_NOW)";
        let renew = NODES.renew(id, [id.into()]);
        self.run(vec![Statement::new(insert, [id.into(), name.into()]), renew]).await.map(drop)
    }

    /// This node is alive. `false` if it was taken for dead, and is no node any more.
    pub async fn renew_node(&self, id: &str) -> Result<bool, StoreError> {
        self.change(NODES.renew(id, [id.into()])).await
    }

    /// This node ends, and says so.
    pub async fn remove_node(&self, id: &str) -> Result<(), StoreError> {
        self.change(Statement::new("DELETE FROM node WHERE id = $1", [id.into()])).await.map(drop)
    }

    /// Removes nodes that have not been heard of for [`NODE_LEASE`]. Gives back the names of all that are left, and theirs.
    pub async fn remove_dead_nodes(&self) -> Result<bool, StoreError> {
        self.change(Statement::new("DELETE FROM node WHERE lease_until < DATABASE_NOW", [])).await
    }

    /// The ids of all nodes, in order.
    pub async fn nodes(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.rows(Statement::new("SELECT id FROM node ORDER BY id", [])).await?;
        Ok(rows.into_iter().filter_map(|mut row| row.text(0)).collect())
    }
}
