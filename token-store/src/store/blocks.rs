//! Blocked sources: no login from there is accepted for a while. A block lives in the memory of the node that made it; the store
//! shows it to other nodes, which obey it, and to people, who may lift it from another process.

use std::time::SystemTime;

use super::{Store, StoreError};
use crate::database::Statement;

/// A block, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The address, or the network of IPv6: `192.0.2.7`, `2001:db8::/64`.
    pub source: String,
    /// The node that made it.
    pub node: String,
    /// Since when.
    pub since: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

impl Store {
    /// Stores a block, and forgets those that are over.
    pub async fn note_block(&self, block: &Block) -> Result<(), StoreError> {
        self.run(vec![
            Statement::new("DELETE FROM ban WHERE ends < $1", [block.since.into()]),
            Statement::new(
                "INSERT INTO ban (source, node, since, ends) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (source, node) DO UPDATE SET since = excluded.since, ends = excluded.ends",
                [block.source.as_str().into(), block.node.as_str().into(), block.since.into(), block.until.into()],
            ),
        ])
        .await
        .map(drop)
    }

    /// The blocks that are not over, by source.
    pub async fn blocks(&self, now: SystemTime) -> Result<Vec<Block>, StoreError> {
        let select = "SELECT source, node, since, ends FROM ban WHERE ends > $1 ORDER BY source, node";
        let rows = self.rows(Statement::new(select, [now.into()])).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                Some(Block { source: row.text(0)?, node: row.text(1)?, since: row.time(2)?, until: row.time(3)? })
            })
            .collect())
    }

    /// Lifts the blocks of a source, on every node. `false` if there was none.
    pub async fn lift_block(&self, source: &str) -> Result<bool, StoreError> {
        self.change(Statement::new("DELETE FROM ban WHERE source = $1", [source.into()])).await
    }

    /// Forgets the blocks of a node that starts.
    pub async fn forget_blocks(&self, node: &str) -> Result<(), StoreError> {
        self.change(Statement::new("DELETE FROM ban WHERE node = $1", [node.into()])).await.map(drop)
    }
}
