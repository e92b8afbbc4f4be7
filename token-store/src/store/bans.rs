//! Addresses from which no login is taken for a while. A ban lives in the memory of the node that made it; what stands here
//! is for people, who see it in another process and may lift it there.

use std::time::SystemTime;

use super::{Store, StoreError};
use crate::database::Statement;

/// A ban, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
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
    /// Writes a ban down, or anew, and forgets those that are over.
    pub async fn note_ban(&self, ban: &Ban) -> Result<(), StoreError> {
        self.run(vec![
            Statement::new("DELETE FROM ban WHERE ends < $1", [ban.since.into()]),
            Statement::new(
                "INSERT INTO ban (source, node, since, ends) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (source, node) DO UPDATE SET since = excluded.since, ends = excluded.ends",
                [ban.source.as_str().into(), ban.node.as_str().into(), ban.since.into(), ban.until.into()],
            ),
        ])
        .await
        .map(drop)
    }

    /// The bans that are not over, by source.
    pub async fn bans(&self, now: SystemTime) -> Result<Vec<Ban>, StoreError> {
        let select = "SELECT source, node, since, ends FROM ban WHERE ends > $1 ORDER BY source, node";
        let rows = self.rows(Statement::new(select, [now.into()])).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                Some(Ban { source: row.text(0)?, node: row.text(1)?, since: row.time(2)?, until: row.time(3)? })
            })
            .collect())
    }

    /// Whether a ban that a node has made still stands, or was lifted.
    pub async fn ban_stands(&self, source: &str, node: &str) -> Result<bool, StoreError> {
        let select = "SELECT source FROM ban WHERE source = $1 AND node = $2";
        Ok(!self.rows(Statement::new(select, [source.into(), node.into()])).await?.is_empty())
    }

    /// Lifts the bans of a source, of whichever node. `false` if there was none.
    pub async fn lift_ban(&self, source: &str) -> Result<bool, StoreError> {
        self.change(Statement::new("DELETE FROM ban WHERE source = $1", [source.into()])).await
    }

    /// Forgets the bans of a node that begins anew.
    pub async fn forget_bans(&self, node: &str) -> Result<(), StoreError> {
        self.change(Statement::new("DELETE FROM ban WHERE node = $1", [node.into()])).await.map(drop)
    }
}
