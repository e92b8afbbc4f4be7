//! What nodes share about the sending limits of a mailbox: a row that is read, decided from, and written over the version it was
//! read with. What the decisions are is not known here.

use std::time::SystemTime;

use super::tokens::first_version;
use super::{Store, StoreError};
use crate::database::{Hints, Statement};

/// The row of a mailbox at a server, and what is read with it in one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendLimit {
    /// For [`Store::save_send_limit`]; 0 if there is no row.
    pub version: i64,
    /// The state, if there is one.
    pub state: Option<String>,
    /// The time by the database's clock.
    pub now: SystemTime,
    /// The ids of the nodes there are, in order.
    pub nodes: Vec<String>,
}

/// What is written.
#[derive(Clone, Debug)]
pub struct NewSendLimit<'a> {
    /// The state.
    pub state: &'a str,
    /// How much nodes wait for. While they do, all of them hear of changes.
    pub waiting: u32,
    /// When it says nothing any more.
    pub ends: SystemTime,
}

impl Store {
    /// The row of a mailbox. `None` if there are no nodes, this one included.
    pub async fn send_limit(&self, server: &str, mailbox: &str) -> Result<Option<SendLimit>, StoreError> {
        let select = "SELECT n.id, DATABASE_NOW, s.version, s.state FROM node n \
                      LEFT JOIN send_limit s ON s.server = $1 AND s.mailbox = $2 ORDER BY n.id";
        let mut limit: Option<SendLimit> = None;
        for mut row in self.rows(Statement::new(select, [server.into(), mailbox.into()])).await? {
            let (Some(id), Some(now)) = (row.text(0), row.time(1)) else { continue };
            let read = || SendLimit {
                version: row.integer(2).unwrap_or_default(),
                state: row.text(3),
                now,
                nodes: Vec::new(),
            };
            limit.get_or_insert_with(read).nodes.push(id);
        }
        Ok(limit)
    }

    /// Writes it over what was read. `false` if another node was faster, or if this one is no longer a node.
    pub async fn save_send_limit(
        &self,
        (server, mailbox): (&str, &str),
        read: &SendLimit,
        node: &str,
        new: NewSendLimit<'_>,
    ) -> Result<bool, StoreError> {
        let sql = if read.version == 0 {
            "INSERT INTO send_limit (server, mailbox, version, state, waiting, ends) \
             SELECT $1, $2, CAST($3 AS BIGINT), $4, CAST($5 AS BIGINT), CAST($6 AS BIGINT) FROM node WHERE id = $7 AND $8 = 0 \
             ON CONFLICT (server, mailbox) DO NOTHING"
        } else {
            "UPDATE send_limit SET version = $3, state = $4, waiting = $5, ends = $6 \
             WHERE server = $1 AND mailbox = $2 AND version = $8 AND EXISTS (SELECT id FROM node WHERE id = $7)"
        };
        // A row that was forgotten and created again never has a version of the earlier row. 0 is that of a row that is missing.
        let version = if read.version == 0 { first_version()?.max(1) } else { read.version.saturating_add(1) };
        let values = [
            server.into(),
            mailbox.into(),
            version.into(),
            new.state.into(),
            i64::from(new.waiting).into(),
            new.ends.into(),
            node.into(),
            read.version.into(),
        ];
        self.change(Statement::new(sql, values)).await
    }

    /// Forgets what says nothing any more.
    pub async fn forget_send_limits(&self) -> Result<(), StoreError> {
        self.change(Statement::new("DELETE FROM send_limit WHERE ends < DATABASE_NOW", [])).await.map(drop)
    }

    /// Hints that another node has written what was waited for; see [`Hints::about_limit`].
    pub fn send_limit_hints(&self) -> Hints {
        self.hints()
    }
}
