//! Blocked sources: no login from there is accepted for a while. A block lives in the memory of the node that made it; the store
//! shows it to other nodes, which obey it, and to administrators, who may lift it from another process.
//!
//! Deleting the row lifts the block. So a wrong clock must never remove the row of a block that goes on: the node that made it
//! removes it once it is over.

use std::time::{Duration, SystemTime};

use super::{Store, StoreError};
use crate::database::{Row, Statement};

/// How long a block must be over until another node forgets it: the node that made it does so itself, unless it is gone.
const OF_NODES_THAT_ARE_GONE: Duration = Duration::from_secs(86_400);

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
    /// Stores a block, and forgets those of nodes that are gone.
    pub async fn note_block(&self, block: &Block) -> Result<(), StoreError> {
        let gone = block.since.checked_sub(OF_NODES_THAT_ARE_GONE).unwrap_or(SystemTime::UNIX_EPOCH);
        self.run(vec![
            Statement::new("DELETE FROM ban WHERE ends < $1 AND node <> $2", [gone.into(), block.node.as_str().into()]),
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
        Ok(self.rows(Statement::new(select, [now.into()])).await?.into_iter().filter_map(read).collect())
    }

    /// All blocks, also those that are over by a clock, which may have been set.
    pub async fn all_blocks(&self) -> Result<Vec<Block>, StoreError> {
        let select = "SELECT source, node, since, ends FROM ban";
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(read).collect())
    }

    /// Forgets blocks that are over, unless their source was blocked again.
    pub async fn forget_ended_blocks(&self, ended: &[Block]) -> Result<(), StoreError> {
        if ended.is_empty() {
            return Ok(());
        }
        let delete = "DELETE FROM ban WHERE source = $1 AND node = $2 AND ends = $3";
        let statement = |block: &Block| {
            Statement::new(delete, [block.source.as_str().into(), block.node.as_str().into(), block.until.into()])
        };
        self.run(ended.iter().map(statement).collect()).await.map(drop)
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

fn read(mut row: Row) -> Option<Block> {
    Some(Block { source: row.text(0)?, node: row.text(1)?, since: row.time(2)?, until: row.time(3)? })
}
