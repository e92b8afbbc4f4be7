//! Where successful logins to an account came from: sealed, because it shows where users are.

use std::time::{Duration, SystemTime};

use oxpost_protocol::Secret;

use super::{Store, StoreError, sealed::FAMILIAR_SOURCE};
use crate::{account::Mailbox, database::Statement, source::Source};

/// Sources that are kept for one account; the one seen longest ago makes room.
pub(crate) const SOURCES_PER_ACCOUNT: usize = 16;

/// A source, and when a login from there last succeeded, to the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) source: Source,
    pub(crate) at: SystemTime,
}

impl Store {
    /// The familiar sources of an account. One that does not open is left out.
    pub(crate) async fn familiar_sources(&self, mailbox: &Mailbox) -> Result<Vec<Seen>, StoreError> {
        let select = "SELECT place, source, seen FROM familiar_source WHERE mailbox = $1";
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into()])).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                let (place, sealed, at) = (row.integer(0)?, row.bytes(1)?, row.time(2)?);
                Some(Seen { source: self.opened(mailbox, place, &sealed)?, at })
            })
            .collect())
    }

    /// Every familiar source of whatever account, so that they are known before the first login.
    pub(crate) async fn all_familiar_sources(&self) -> Result<Vec<(Mailbox, Seen)>, StoreError> {
        let rows = self.rows(Statement::new("SELECT mailbox, place, source, seen FROM familiar_source", [])).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                let mailbox = Mailbox::parse(&row.text(0)?).ok()?;
                let (place, sealed, at) = (row.integer(1)?, row.bytes(2)?, row.time(3)?);
                let source = self.opened(&mailbox, place, &sealed)?;
                Some((mailbox, Seen { source, at }))
            })
            .collect())
    }

    /// Stores that a login to this account has succeeded from there, and forgets sources last seen before `oldest`.
    pub(crate) async fn note_familiar_source(
        &self,
        mailbox: &Mailbox,
        source: Source,
        now: SystemTime,
        keep: Duration,
    ) -> Result<(), StoreError> {
        let select = "SELECT place, source, seen FROM familiar_source WHERE mailbox = $1";
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into()])).await?;
        let mut there = Vec::new();
        for mut row in rows {
            let (Some(place), Some(sealed), Some(at)) = (row.integer(0), row.bytes(1), row.time(2)) else { continue };
            there.push((place, self.opened(mailbox, place, &sealed), at));
        }
        let place = place_for(&there, source);
        let sealed = self.seal(&FAMILIAR_SOURCE, &[mailbox, &place], &Secret::from(source.as_stored()))?;
        let oldest = now.checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH);
        let upsert = "INSERT INTO familiar_source (mailbox, place, source, seen) \
                      SELECT mailbox, CAST($2 AS BIGINT), $3, CAST($4 AS BIGINT) FROM account WHERE mailbox = $1 \
                      ON CONFLICT (mailbox, place) DO UPDATE SET source = excluded.source, seen = excluded.seen";
        let delete = "DELETE FROM familiar_source WHERE mailbox = $1 AND seen < $2";
        self.run(vec![
            Statement::new(delete, [mailbox.as_str().into(), oldest.into()]),
            Statement::new(upsert, [mailbox.as_str().into(), place.into(), sealed, now.into()]),
        ])
        .await
        .map(drop)
    }

    fn opened(&self, mailbox: &Mailbox, place: i64, sealed: &[u8]) -> Option<Source> {
        let text = self.sealer.open(&FAMILIAR_SOURCE, &[mailbox, &place], sealed).ok()?;
        Source::from_stored(text.reveal_str()?)
    }
}

/// The place of a source: its own, a free one, or that of the one seen longest ago.
fn place_for(there: &[(i64, Option<Source>, SystemTime)], source: Source) -> i64 {
    if let Some((place, ..)) = there.iter().find(|(_, other, _)| *other == Some(source)) {
        return *place;
    }
    let free = (0..SOURCES_PER_ACCOUNT).filter_map(|place| i64::try_from(place).ok());
    let free = free.into_iter().find(|place| there.iter().all(|(taken, ..)| taken != place));
    free.or_else(|| there.iter().min_by_key(|(.., at)| *at).map(|(place, ..)| *place)).unwrap_or(0)
}
