//! Alerts: what an administrator must act on. Each is notified once, by one process, and again if it recurs.
//!
//! A process claims an alert before it notifies: a claim changes the row only if it still is as it was read, so that one of
//! several processes or nodes notifies. A claim expires: an alert that was claimed but not reported as notified is due again.

use std::time::SystemTime;

use super::{Store, StoreError};
use crate::database::{Row, Statement, Value};

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Whose it is: a mailbox, or `application NAME`.
    pub subject: String,
    /// What it is about. A subject has one notice of a topic, whose event and cause may change while it lasts.
    pub topic: String,
    /// Identifies this alert from when it is raised until it is resolved.
    pub id: String,
    /// What happened, in a word.
    pub event: String,
    /// Its cause. With another cause it is notified again.
    pub cause: String,
    /// What happened, in a sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Since when.
    pub since: SystemTime,
    /// When it was last notified.
    pub notified: Option<SystemTime>,
    /// When to notify next; never if none.
    pub due: Option<SystemTime>,
    /// Since when it is resolved. It is kept until that was notified too.
    pub resolved: Option<SystemTime>,
}

impl Store {
    /// Every notice.
    pub async fn alerts(&self) -> Result<Vec<Alert>, StoreError> {
        let select = "SELECT subject, topic, id, event, cause, what, remedy, since, told, due, solved FROM notice \
                      ORDER BY subject, topic";
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(read).collect())
    }

    /// Adds a notice. `false` if its subject has one of that topic already.
    pub async fn add_alert(&self, alert: &Alert) -> Result<bool, StoreError> {
        self.change(adding(alert)).await
    }

    /// Writes a notice over the one that was read. `false` if that has changed, or is gone.
    pub async fn change_alert(&self, old: &Alert, new: &Alert) -> Result<bool, StoreError> {
        self.change(changing(old, new)).await
    }

    /// Forgets a notice. `false` if it is gone, or another one has taken its place.
    pub async fn remove_alert(&self, alert: &Alert) -> Result<bool, StoreError> {
        self.change(removing(alert)).await
    }

    /// Adds notices, or writes each over the one that was read, in one transaction. Says of each whether it was written.
    pub async fn change_alerts(&self, changes: &[(Option<&Alert>, &Alert)]) -> Result<Vec<bool>, StoreError> {
        let statement = |(old, new): &(Option<&Alert>, &Alert)| match old {
            Some(old) => changing(old, new),
            None => adding(new),
        };
        let outcomes = self.run(changes.iter().map(statement).collect()).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.changed > 0).collect())
    }

    /// Forgets notices, in one transaction. One that is gone, or that another one has taken the place of, is left out.
    pub async fn remove_alerts(&self, alerts: &[Alert]) -> Result<(), StoreError> {
        self.run(alerts.iter().map(removing).collect()).await.map(drop)
    }
}

fn adding(alert: &Alert) -> Statement {
    let insert = "INSERT INTO notice (subject, topic, id, event, cause, what, remedy, since, told, due, solved) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (subject, topic) DO NOTHING";
    Statement::new(insert, values(alert))
}

fn changing(old: &Alert, new: &Alert) -> Statement {
    let update = "UPDATE notice SET id = $3, event = $4, cause = $5, what = $6, remedy = $7, since = $8, told = $9, due = $10, \
                  solved = $11 WHERE subject = $1 AND topic = $2 AND id = $12 AND event = $13 AND cause = $14 \
                  AND COALESCE(due, 0) = $15 AND COALESCE(solved, 0) = $16";
    let was = [&old.id, &old.event, &old.cause].map(|text| text.as_str().into());
    let was_at = [old.due, old.resolved].map(|time| time.unwrap_or(SystemTime::UNIX_EPOCH).into());
    Statement::new(update, values(new).chain(was).chain(was_at))
}

fn removing(alert: &Alert) -> Statement {
    let delete = "DELETE FROM notice WHERE subject = $1 AND topic = $2 AND id = $3";
    Statement::new(delete, [&alert.subject, &alert.topic, &alert.id].map(|text| text.as_str().into()))
}

/// The columns of a notice, in their order.
fn values(alert: &Alert) -> impl Iterator<Item = Value> {
    let Alert { subject, topic, id, event, cause, what, remedy, since, notified, due, resolved } = alert;
    let text = [subject, topic, id, event, cause, what, remedy].map(|text| text.as_str().into());
    let times: [Value; 4] = [Some(*since), *notified, *due, *resolved].map(Into::into);
    text.into_iter().chain(times)
}

fn read(mut row: Row) -> Option<Alert> {
    Some(Alert {
        subject: row.text(0)?,
        topic: row.text(1)?,
        id: row.text(2)?,
        event: row.text(3)?,
        cause: row.text(4)?,
        what: row.text(5)?,
        remedy: row.text(6)?,
        since: row.time(7)?,
        notified: row.time(8),
        due: row.time(9),
        resolved: row.time(10),
    })
}
