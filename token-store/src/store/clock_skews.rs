//! Which clocks disagree, as each service has measured it, so that a command on any machine can say so.

use std::time::Duration;

use super::{Store, StoreError};
use crate::{
    clock::ClockSkew,
    database::{Row, Statement},
};

impl Store {
    /// Replaces the clock skews that this machine has stored.
    pub async fn note_clock_skews(&self, host: &str, skews: &[ClockSkew]) -> Result<(), StoreError> {
        let delete = Statement::new("DELETE FROM clock_skew WHERE host = $1", [host.into()]);
        let insert = "INSERT INTO clock_skew (host, peer, ahead_by, noted) VALUES ($1, $2, $3, DATABASE_NOW)";
        let inserts = skews.iter().map(|skew| {
            let by = i64::try_from(skew.by.as_millis()).unwrap_or(i64::MAX);
            let ahead_by = if skew.ahead { by } else { -by };
            Statement::new(insert, [host.into(), skew.peer.as_str().into(), ahead_by.into()])
        });
        self.run(std::iter::once(delete).chain(inserts).collect()).await.map(drop)
    }

    /// The machines whose clock is wrong, as their services have reported within the last hour.
    pub async fn clock_skews(&self) -> Result<Vec<(String, ClockSkew)>, StoreError> {
        let select = "SELECT host, peer, ahead_by FROM clock_skew \
                      WHERE noted BETWEEN DATABASE_NOW - 3600000 AND DATABASE_NOW + 3600000 ORDER BY host, peer";
        let read = |mut row: Row| {
            let (host, peer, ahead_by) = (row.text(0)?, row.text(1)?, row.integer(2)?);
            let by = Duration::from_millis(ahead_by.unsigned_abs());
            Some((host, ClockSkew { peer, by, ahead: ahead_by > 0 }))
        };
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(read).collect())
    }

    /// How far the clock of this machine is from the database's, if it is too far. Nothing where that is the same clock.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        let (by, ahead) = self.time.as_ref()?.skew()?;
        Some(ClockSkew { peer: ClockSkew::DATABASE.to_owned(), by, ahead })
    }
}
