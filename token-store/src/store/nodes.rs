//! The nodes that share the store, as far as they are alive: each has a row that is its lease.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;

use super::{
    Store, StoreError, changed,
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
    /// It is cut off from the database, or was until a moment ago: the database may not know what it has done meanwhile.
    pub was_cut_off: bool,
}

/// What a process says of itself when it becomes a node.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// Its id, which no other has nor had.
    pub id: &'a str,
    /// Its name, for people.
    pub name: &'a str,
    /// The send limits of its configuration, for people and to be compared.
    pub send_limits: &'a str,
    /// It was a node before, and was cut off from the database.
    pub was_cut_off: bool,
}

/// A node, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Since when it is a node. `None`: a program of an earlier version, which does not tell.
    pub since: Option<SystemTime>,
    /// When it last renewed its lease.
    pub last_contact: SystemTime,
    /// The send limits of its configuration. `None`: as for `since`.
    pub send_limits: Option<String>,
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
    pub async fn add_node(&self, new: NewNode<'_>) -> Result<(), StoreError> {
        let insert = "INSERT INTO node (id, name, lease_until, since, regained, send_limits) VALUES ($1, $2, DATABASE_NOW, \
                      DATABASE_NOW, CASE WHEN CAST($3 AS BIGINT) = 1 THEN DATABASE_NOW END, $4)";
        let values = [new.id.into(), new.name.into(), i64::from(new.was_cut_off).into(), new.send_limits.into()];
        let renew = NODES.renew(new.id, [new.id.into()]);
        self.run(vec![Statement::new(insert, values), renew]).await.map(drop)
    }

    /// Renews this node's lease. `false` if it was removed as dead, and is no longer a node.
    pub async fn renew_node(&self, id: &str) -> Result<bool, StoreError> {
        // One whose lease ended as long ago as a lease lasts was cut off.
        let note = "UPDATE node SET regained = DATABASE_NOW WHERE id = $1 AND lease_until < DATABASE_NOW - 15000";
        let renew = NODES.renew(id, [id.into()]);
        Ok(changed(self.run(vec![Statement::new(note, [id.into()]), renew]).await?.last()))
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

    /// All nodes, in the order of their ids. A node was cut off a moment ago if that was within this time.
    pub async fn nodes(&self, a_moment: Duration) -> Result<Vec<NodeLease>, StoreError> {
        let select = "SELECT id, lease_until, CAST(CASE WHEN lease_until < DATABASE_NOW OR \
                      regained > DATABASE_NOW - $1 THEN 1 ELSE 0 END AS BIGINT) FROM node ORDER BY id";
        let rows = self.rows(Statement::new(select, [milliseconds(a_moment).into()])).await?;
        let node = |row: &mut Row| {
            Some(NodeLease { id: row.text(0)?, until: row.integer(1)?, was_cut_off: row.integer(2)? == 1 })
        };
        Ok(rows.into_iter().filter_map(|mut row| node(&mut row)).collect())
    }

    /// All nodes, for people, by name.
    pub async fn node_statuses(&self) -> Result<Vec<NodeStatus>, StoreError> {
        let select = "SELECT id, name, since, lease_until, send_limits FROM node ORDER BY name, since, id";
        let node = |mut row: Row| {
            let last_contact = row.time(3)?.checked_sub(NODE_LEASE)?;
            let (id, name) = (row.text(0)?, row.text(1)?);
            Some(NodeStatus { id, name, since: row.time(2), last_contact, send_limits: row.text(4) })
        };
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(node).collect())
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
