//! What people were told of and must act on, so that each trouble is told once, by one process, and told again when it has
//! come back.
//!
//! Whoever tells claims first: a claim changes the row only if it still is what was read, so of several processes or nodes
//! one tells. A claim runs out: what was claimed and never reported as told is due again then.

use std::time::SystemTime;

use super::{Store, StoreError};
use crate::database::{Row, Statement, Value};

/// One trouble that a person must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose it is: a mailbox, or `application NAME`.
    pub subject: String,
    /// What it is about. A subject has one notice of a topic, whose event and cause may change while it lasts.
    pub topic: String,
    /// Names this trouble from the first word of it to the last.
    pub id: String,
    /// What happened, in a word.
    pub event: String,
    /// What it comes from. Another cause is told anew.
    pub cause: String,
    /// What happened, in a sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Since when.
    pub since: SystemTime,
    /// When somebody was last told of it.
    pub told: Option<SystemTime>,
    /// When to tell it; never, if it is not to be told again.
    pub due: Option<SystemTime>,
    /// Since when it is no more. It is kept until that was told too.
    pub solved: Option<SystemTime>,
}

impl Store {
    /// Every notice.
    pub async fn notices(&self) -> Result<Vec<Notice>, StoreError> {
        let select = "SELECT subject, topic, id, event, cause, what, remedy, since, told, due, solved FROM notice \
                      ORDER BY subject, topic";
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(read).collect())
    }

    /// Adds a notice. `false` if its subject has one of that topic already.
    pub async fn add_notice(&self, notice: &Notice) -> Result<bool, StoreError> {
        self.change(adding(notice)).await
    }

    /// Writes a notice over the one that was read. `false` if that has changed, or is gone.
    pub async fn change_notice(&self, old: &Notice, new: &Notice) -> Result<bool, StoreError> {
        self.change(changing(old, new)).await
    }

    /// Forgets a notice. `false` if it is gone, or another one has taken its place.
    pub async fn remove_notice(&self, notice: &Notice) -> Result<bool, StoreError> {
        self.change(removing(notice)).await
    }

    /// Adds notices, or writes each over the one that was read, in one transaction. Says of each whether it was written.
    pub async fn change_notices(&self, changes: &[(Option<&Notice>, &Notice)]) -> Result<Vec<bool>, StoreError> {
        let statement = |(old, new): &(Option<&Notice>, &Notice)| match old {
            Some(old) => changing(old, new),
            None => adding(new),
        };
        let outcomes = self.run(changes.iter().map(statement).collect()).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.changed > 0).collect())
    }

    /// Forgets notices, in one transaction. One that is gone, or that another one has taken the place of, is left out.
    pub async fn remove_notices(&self, notices: &[Notice]) -> Result<(), StoreError> {
        self.run(notices.iter().map(removing).collect()).await.map(drop)
    }
}

fn adding(notice: &Notice) -> Statement {
    let insert = "INSERT INTO notice (subject, topic, id, event, cause, what, remedy, since, told, due, solved) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (subject, topic) DO NOTHING";
    Statement::new(insert, values(notice))
}

fn changing(old: &Notice, new: &Notice) -> Statement {
    let update = "UPDATE notice SET id = $3, event = $4, cause = $5, what = $6, remedy = $7, since = $8, told = $9, due = $10, \
                  solved = $11 WHERE subject = $1 AND topic = $2 AND id = $12 AND event = $13 AND cause = $14 \
                  AND COALESCE(due, 0) = $15 AND COALESCE(solved, 0) = $16";
    let was = [&old.id, &old.event, &old.cause].map(|text| text.as_str().into());
    let was_at = [old.due, old.solved].map(|time| time.unwrap_or(SystemTime::UNIX_EPOCH).into());
    Statement::new(update, values(new).chain(was).chain(was_at))
}

fn removing(notice: &Notice) -> Statement {
    let delete = "DELETE FROM notice WHERE subject = $1 AND topic = $2 AND id = $3";
    Statement::new(delete, [&notice.subject, &notice.topic, &notice.id].map(|text| text.as_str().into()))
}

/// The columns of a notice, in their order.
fn values(notice: &Notice) -> impl Iterator<Item = Value> {
    let Notice { subject, topic, id, event, cause, what, remedy, since, told, due, solved } = notice;
    let text = [subject, topic, id, event, cause, what, remedy].map(|text| text.as_str().into());
    let times: [Value; 4] = [Some(*since), *told, *due, *solved].map(Into::into);
    text.into_iter().chain(times)
}

fn read(mut row: Row) -> Option<Notice> {
    Some(Notice {
        subject: row.text(0)?,
        topic: row.text(1)?,
        id: row.text(2)?,
        event: row.text(3)?,
        cause: row.text(4)?,
        what: row.text(5)?,
        remedy: row.text(6)?,
        since: row.time(7)?,
        told: row.time(8),
        due: row.time(9),
        solved: row.time(10),
    })
}
