//! What sessions have shown of the mailboxes: folders that were recreated, throttling, and how much was transferred. Nothing of
//! a message.

use std::time::SystemTime;

use oxpost_protocol::tap::BACK_OFF_LIMIT;

use super::{Store, StoreError, changed};
use crate::{
    account::Mailbox,
    database::{Row, Statement},
};

/// Most folders that are remembered of one mailbox.
const FOLDERS_LIMIT: i64 = 2000;

/// What was transferred since it was last stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Sessions that have ended.
    pub sessions: u64,
    /// Whole messages that clients received.
    pub fetched: u64,
    /// Whole messages that clients put into a folder.
    pub stored: u64,
    /// The mail server's last text when it closed a session by itself, and when.
    pub last_end: Option<(String, SystemTime)>,
    /// When the mail server last throttled the mailbox, and until when.
    pub throttled: Option<(SystemTime, SystemTime)>,
}

/// What has gone through for a mailbox by one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailUse {
    /// Its account, which may be that of a whole domain.
    pub account: String,
    /// The mailbox.
    pub mailbox: String,
    /// The protocol.
    pub protocol: String,
    /// The whole record.
    pub used: Used,
}

/// A folder whose UIDs became void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recreated {
    /// Its account, which may be that of a whole domain.
    pub account: String,
    /// The mailbox.
    pub mailbox: String,
    /// The folder, as IMAP writes it.
    pub folder: String,
    /// When it was noticed.
    pub at: SystemTime,
}

impl Store {
    /// Stores the UIDVALIDITY of a folder. Returns the one before, if it was different and no other node has stored the new one.
    pub async fn note_uid_validity(
        &self,
        mailbox: &Mailbox,
        folder: &str,
        value: u32,
        now: SystemTime,
    ) -> Result<Option<u32>, StoreError> {
        let before = "SELECT uid_validity FROM folder WHERE mailbox = $1 AND folder = $2";
        // An account that was removed meanwhile has no folders either.
        let add = "INSERT INTO folder (mailbox, folder, account, uid_validity) \
                   SELECT $1, $2, a.mailbox, CAST($3 AS BIGINT) FROM account a \
                   WHERE a.mailbox = COALESCE((SELECT mailbox FROM account WHERE mailbox = $1), $5) \
                   AND (SELECT COUNT(*) FROM folder WHERE mailbox = $1) < CAST($4 AS BIGINT) \
                   ON CONFLICT (mailbox, folder) DO NOTHING";
        let update = "UPDATE folder SET uid_validity = $3, recreated = $4 \
                      WHERE mailbox = $1 AND folder = $2 AND uid_validity <> $3";
        let pattern = mailbox.pattern();
        let value = i64::from(value);
        let outcomes = self
            .run(vec![
                Statement::new(before, [mailbox.as_str().into(), folder.into()]),
                Statement::new(
                    add,
                    [
                        mailbox.as_str().into(),
                        folder.into(),
                        value.into(),
                        FOLDERS_LIMIT.into(),
                        pattern.as_ref().map(Mailbox::as_str).into(),
                    ],
                ),
                Statement::new(update, [mailbox.as_str().into(), folder.into(), value.into(), now.into()]),
            ])
            .await?;
        let is_other = changed(outcomes.last());
        let before = outcomes.into_iter().next().and_then(super::first).and_then(|mut row| row.integer(0));
        Ok(before.filter(|_| is_other).and_then(|before| u32::try_from(before).ok()))
    }

    /// Forgets the UIDVALIDITY of a folder and of those within it: a client has changed them itself.
    pub async fn forget_uid_validity(&self, mailbox: &Mailbox, folder: &str) -> Result<(), StoreError> {
        let delete = "DELETE FROM folder WHERE mailbox = $1 AND (folder = $2 OR substr(folder, 1, length(CAST($3 AS TEXT))) = CAST($3 AS TEXT))";
        let within = format!("{folder}/");
        self.run(vec![Statement::new(delete, [mailbox.as_str().into(), folder.into(), within.as_str().into()])])
            .await?;
        Ok(())
    }

    /// The folders that were recreated since then, the latest first.
    pub async fn recreated_folders(&self, since: SystemTime) -> Result<Vec<Recreated>, StoreError> {
        let select = "SELECT account, mailbox, folder, recreated FROM folder WHERE recreated >= $1 ORDER BY recreated DESC, folder";
        let read = |mut row: Row| {
            Some(Recreated { account: row.text(0)?, mailbox: row.text(1)?, folder: row.text(2)?, at: row.time(3)? })
        };
        Ok(self.rows(Statement::new(select, [since.into()])).await?.into_iter().filter_map(read).collect())
    }

    /// Adds what was transferred.
    pub async fn add_mail_use<'a>(
        &self,
        all: impl IntoIterator<Item = (&'a Mailbox, &'a str, &'a Used)>,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO mail_use (mailbox, protocol, sessions, fetched, stored, last_end, last_end_at, throttled_at, \
                      throttled_until, account) SELECT $1, $2, CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS BIGINT), \
                      CAST($6 AS TEXT), CAST($7 AS BIGINT), CAST($8 AS BIGINT), CAST($9 AS BIGINT), a.mailbox \
                      FROM account a WHERE a.mailbox = COALESCE((SELECT mailbox FROM account WHERE mailbox = $1), $10) \
                      ON CONFLICT (mailbox, protocol) DO UPDATE SET sessions = mail_use.sessions + excluded.sessions, \
                      fetched = mail_use.fetched + excluded.fetched, stored = mail_use.stored + excluded.stored, \
                      last_end = COALESCE(excluded.last_end, mail_use.last_end), \
                      last_end_at = COALESCE(excluded.last_end_at, mail_use.last_end_at), \
                      throttled_at = COALESCE(excluded.throttled_at, mail_use.throttled_at), \
                      throttled_until = CASE WHEN mail_use.throttled_until > excluded.throttled_until \
                      AND mail_use.throttled_until <= excluded.throttled_at + CAST($11 AS BIGINT) THEN mail_use.throttled_until \
                      ELSE COALESCE(excluded.throttled_until, mail_use.throttled_until) END";
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let statement = |(mailbox, protocol, used): (&Mailbox, &str, &Used)| {
            let (end, end_at) = used.last_end.clone().unzip();
            let (throttled_at, throttled_until) = used.throttled.unzip();
            let pattern = mailbox.pattern();
            Statement::new(
                insert,
                [
                    mailbox.as_str().into(),
                    protocol.into(),
                    number(used.sessions).into(),
                    number(used.fetched).into(),
                    number(used.stored).into(),
                    end.as_deref().into(),
                    end_at.into(),
                    throttled_at.into(),
                    throttled_until.into(),
                    pattern.as_ref().map(Mailbox::as_str).into(),
                    // A back-off that lasts longer than any can was noted by a wrong clock.
                    i64::try_from(BACK_OFF_LIMIT.as_millis()).unwrap_or(i64::MAX).into(),
                ],
            )
        };
        let statements: Vec<_> = all.into_iter().map(statement).collect();
        if statements.is_empty() {
            return Ok(());
        }
        self.run(statements).await.map(drop)
    }

    /// Until when the mail server asked to leave this mailbox alone, as any node has been told.
    pub async fn back_off(&self, mailbox: &Mailbox, protocol: &str) -> Result<Option<SystemTime>, StoreError> {
        let select = "SELECT throttled_until FROM mail_use WHERE mailbox = $1 AND protocol = $2";
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into(), protocol.into()])).await?;
        Ok(rows.into_iter().next().and_then(|mut row| row.time(0)))
    }

    /// All back-offs that end after this time: of which mailbox, with which protocol, until when.
    pub async fn back_offs(&self, now: SystemTime) -> Result<Vec<(Mailbox, String, SystemTime)>, StoreError> {
        let select = "SELECT mailbox, protocol, throttled_until FROM mail_use WHERE throttled_until > $1";
        let read = |mut row: Row| Some((Mailbox::parse(&row.text(0)?).ok()?, row.text(1)?, row.time(2)?));
        Ok(self.rows(Statement::new(select, [now.into()])).await?.into_iter().filter_map(read).collect())
    }

    /// What has gone through, by mailbox and protocol.
    pub async fn mail_use(&self) -> Result<Vec<MailUse>, StoreError> {
        let select = "SELECT mailbox, protocol, sessions, fetched, stored, last_end, last_end_at, throttled_at, throttled_until, \
                      account FROM mail_use ORDER BY mailbox, protocol";
        let read = |mut row: Row| {
            let mut number =
                |column| row.integer(column).and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
            let (sessions, fetched, stored) = (number(2), number(3), number(4));
            let used = Used {
                sessions,
                fetched,
                stored,
                last_end: row.text(5).zip(row.time(6)),
                throttled: row.time(7).zip(row.time(8)),
            };
            Some(MailUse { account: row.text(9)?, mailbox: row.text(0)?, protocol: row.text(1)?, used })
        };
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(read).collect())
    }
}
