//! Reads the journal, for `oxpost mail`.

use std::time::SystemTime;

use oxpost_token_store::database::{Row, Statement, Value};

use super::database::{JournalDatabase, JournalError, JournalPlace};
use super::event::{JournalEvent, Kind};

/// Events that are read at a time.
const PAGE: i64 = 500;

/// Nodes write to PostgreSQL concurrently, so an event can become visible after one with a higher number. When events are followed, so many
/// numbers are read again.
const OVERLAP: i64 = 1_000;

/// The events of a time, which are close to each other.
const RANGE: &str = "SELECT min(seq), max(seq) FROM event WHERE at >= $1 AND at < $2";

const OLDEST: &str = "SELECT min(at) FROM event";

const NEWEST: &str = "SELECT max(seq) FROM event";

/// What concerns all accounts, such as a gap, concerns each.
const IN_RANGE: &str = "SELECT seq, id, step, at, kind, account, node, detail FROM event \
                        WHERE seq > $1 AND seq <= $2 AND at >= $3 AND at < $4 AND ($5 = '' OR account = $5 OR account = '') \
                        ORDER BY seq LIMIT $6";

const OF_ID: &str = "SELECT seq, id, step, at, kind, account, node, detail FROM event WHERE id = $1 ORDER BY seq";

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// From this time.
    pub(crate) from: SystemTime,
    /// Until before this time.
    pub(crate) to: SystemTime,
    /// Of this account only; empty for all.
    pub(crate) account: String,
}

/// An event, and its place in the order of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its number.
    pub(crate) seq: i64,
    /// The event.
    pub(crate) event: JournalEvent,
}

/// An open journal.
pub(crate) struct Reader {
    database: JournalDatabase,
}

impl Reader {
    /// Opens the journal. `None`: there is none yet.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) async fn open(place: &JournalPlace) -> Result<Option<Self>, JournalError> {
        Ok(JournalDatabase::open_existing(place).await?.map(|database| Self { database }))
    }

    /// All events of one id, in order.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) async fn of_id(&self, id: &str) -> Result<Vec<Found>, JournalError> {
        Ok(found(self.database.rows(Statement::new(OF_ID, [id.into()])).await?))
    }

    /// The events of a time in the order of their writing, at most `most` of them, and whether there are more.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) async fn find(&self, filter: &Filter, most: usize) -> Result<(Vec<Found>, bool), JournalError> {
        let range = Statement::new(RANGE, [filter.from.into(), filter.to.into()]);
        let mut range = self.database.rows(range).await?;
        let Some(Some((first, last))) = range.first_mut().map(|row| row.integer(0).zip(row.integer(1))) else {
            return Ok((Vec::new(), false));
        };
        let (mut all, mut after) = (Vec::new(), first.saturating_sub(1));
        loop {
            let page = self.page(after, last, filter).await?;
            let Some(newest) = page.last().map(|found| found.seq) else { return Ok((all, false)) };
            after = newest;
            all.extend(page);
            if all.len() > most {
                all.truncate(most);
                return Ok((all, true));
            }
        }
    }

    /// The time of the oldest event.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) async fn oldest(&self) -> Result<Option<SystemTime>, JournalError> {
        let mut rows = self.database.rows(Statement::new(OLDEST, [])).await?;
        Ok(rows.first_mut().and_then(|row| row.time(0)))
    }

    /// The number of the newest event.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) async fn newest(&self) -> Result<i64, JournalError> {
        let mut rows = self.database.rows(Statement::new(NEWEST, [])).await?;
        Ok(rows.first_mut().and_then(|row| row.integer(0)).unwrap_or_default())
    }

    /// Events with a number around and after this one, at most a page. The caller leaves out those that it has seen.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) async fn following(&self, seq: i64, filter: &Filter) -> Result<Vec<Found>, JournalError> {
        let mut all = Vec::new();
        let mut after = seq.saturating_sub(OVERLAP);
        loop {
            let page = self.page(after, i64::MAX, filter).await?;
            let Some(newest) = page.last().map(|found| found.seq) else { return Ok(all) };
            after = newest;
            all.extend(page);
        }
    }

    async fn page(&self, after: i64, last: i64, filter: &Filter) -> Result<Vec<Found>, JournalError> {
        let Filter { from, to, account } = filter;
        let values: [Value; 6] =
            [after.into(), last.into(), (*from).into(), (*to).into(), account.as_str().into(), PAGE.into()];
        Ok(found(self.database.rows(Statement::new(IN_RANGE, values)).await?))
    }
}

fn found(rows: Vec<Row>) -> Vec<Found> {
    rows.into_iter().filter_map(read).collect()
}

/// A row that does not have what each has is damaged, and is left out.
fn read(mut row: Row) -> Option<Found> {
    let seq = row.integer(0)?;
    let event = JournalEvent {
        id: row.text(1)?,
        step: u32::try_from(row.integer(2)?).ok()?,
        at: row.time(3)?,
        kind: Kind::from_name(&row.text(4)?),
        account: row.text(5)?,
        node: row.text(6)?,
        detail: serde_json::from_str(&row.text(7)?).unwrap_or_default(),
    };
    Some(Found { seq, event })
}
