//! The nodes that share the store, as far as they are alive: each has a row that is its lease.

use std::time::Duration;

use aws_lc_rs::rand;

use super::{
    Store, StoreError,
    lease::{Lease, lease},
};
use crate::database::{Row, Statement, Value};

/// How long a node counts as alive after its last renewal. When a node dies, its share of what nodes divide is free after this.
pub const NODE_LEASE: Duration = Duration::from_secs(15);

/// A node, and when its lease ends if it is not renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLease {
    /// Its id.
    pub id: String,
    /// Milliseconds since 1970, by the database's clock. To be compared with what it was before, and with no clock.
    pub until: i64,
}

/// A name that no other process has.
pub(crate) fn node_name() -> String {
    let mut bytes = [0; 8];
    // Without random numbers nothing could be sealed either; the process id is better than one name for all.
    match rand::fill(&mut bytes) {
        Ok(()) => format!("{:016x}", u64::from_be_bytes(bytes)),
        Err(_) => format!("process {}", std::process::id()),
    }
}

/// A node is its own row's owner for good.
const NODES: Lease = lease!("node", "id", "lease_until", 15_000, "id = $2", "id = $2");

impl Store {
    /// Whether several nodes may share this store: it is on a database server. A SQLite file belongs to one process.
    pub fn is_shared_by_nodes(&self) -> bool {
        self.database.has_a_clock_of_its_own()
    }

    /// A name for this process that no other process has or had.
    pub fn new_node_id() -> String {
        node_name()
    }

    /// This process is a node from now on.
    pub async fn add_node(&self, id: &str, name: &str) -> Result<(), StoreError> {
        let insert = "INSERT INTO node (id, name, lease_until) VALUES ($1, $2, DATABASE_NOW)";
        let renew = NODES.renew(id, [id.into()]);
        self.run(vec![Statement::new(insert, [id.into(), name.into()]), renew]).await.map(drop)
    }

    /// Renews this node's lease. `false` if it was removed as dead, and is no longer a node.
    pub async fn renew_node(&self, id: &str) -> Result<bool, StoreError> {
        self.change(NODES.renew(id, [id.into()])).await
    }

    /// This node ends: removes its row.
    pub async fn remove_node(&self, id: &str) -> Result<(), StoreError> {
        self.change(Statement::new("DELETE FROM node WHERE id = $1", [id.into()])).await.map(drop)
    }

    /// Removes a node whose lease has expired and was not renewed since it was read. `false` if it was renewed, or is gone.
    pub async fn remove_dead_node(&self, node: &NodeLease) -> Result<bool, StoreError> {
        let delete = "DELETE FROM node WHERE id = $1 AND lease_until = $2";
        self.change(Statement::new(delete, [node.id.as_str().into(), Value::Integer(node.until)])).await
    }

    /// All nodes, in the order of their ids.
    pub async fn nodes(&self) -> Result<Vec<NodeLease>, StoreError> {
        let rows = self.rows(Statement::new("SELECT id, lease_until FROM node ORDER BY id", [])).await?;
        let node = |row: &mut Row| Some(NodeLease { id: row.text(0)?, until: row.integer(1)? });
        Ok(rows.into_iter().filter_map(|mut row| node(&mut row)).collect())
    }
}
