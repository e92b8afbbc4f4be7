//! Passwords that Microsoft was asked about and that may have been wrong, counted for all nodes: so few of them that the user
//! is not locked out there.

use std::time::{Duration, SystemTime};

use oxpost_protocol::Secret;

use super::{Store, StoreError};
use crate::{account::Mailbox, database::Statement};

/// A password that Microsoft is about to be asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteAttempt<'a> {
    pub(crate) mailbox: &'a Mailbox,
    /// Whether it comes from a familiar source: those are counted apart.
    pub(crate) familiar: bool,
    pub(crate) password: &'a Secret,
}

impl Store {
    /// Counts an attempt before Microsoft is asked. `false` if so many others were counted within `window` that it must not be
    /// asked. The same password again counts once, on whichever node it comes.
    pub(crate) async fn count_remote_attempt(
        &self,
        attempt: RemoteAttempt<'_>,
        limit: usize,
        window: Duration,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let (mailbox, familiar, tag) = (attempt.mailbox.as_str(), i64::from(attempt.familiar), self.tag(attempt));
        let oldest = now.checked_sub(window).unwrap_or(SystemTime::UNIX_EPOCH);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let outcomes = self
            .run(vec![
                // On PostgreSQL this waits for another node that counts concurrently.
                Statement::new("UPDATE token SET version = version WHERE mailbox = $1", [mailbox.into()]),
                Statement::new(
                    "DELETE FROM remote_attempt WHERE mailbox = $1 AND asked <= $2",
                    [mailbox.into(), oldest.into()],
                ),
                // They were counted before the clock was set back, and count from now on.
                Statement::new(
                    "UPDATE remote_attempt SET asked = $2 WHERE mailbox = $1 AND asked > $2",
                    [mailbox.into(), now.into()],
                ),
                Statement::new(
                    "INSERT INTO remote_attempt (mailbox, familiar, tag, asked) \
                     SELECT mailbox, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT) FROM account \
                     WHERE mailbox = $1 AND (SELECT count(*) FROM remote_attempt \
                     WHERE mailbox = $1 AND familiar = $2 AND tag <> $3) < CAST($5 AS BIGINT) \
                     ON CONFLICT (mailbox, familiar, tag) DO UPDATE SET asked = excluded.asked",
                    [mailbox.into(), familiar.into(), tag.into(), now.into(), limit.into()],
                ),
            ])
            .await?;
        Ok(outcomes.last().is_some_and(|outcome| outcome.changed > 0))
    }

    /// The attempt was not wrong, or Microsoft was not asked.
    pub(crate) async fn uncount_remote_attempt(&self, attempt: RemoteAttempt<'_>) -> Result<(), StoreError> {
        let delete = "DELETE FROM remote_attempt WHERE mailbox = $1 AND familiar = $2 AND tag = $3";
        let (familiar, tag) = (i64::from(attempt.familiar), self.tag(attempt));
        self.change(Statement::new(delete, [attempt.mailbox.as_str().into(), familiar.into(), tag.into()]))
            .await
            .map(drop)
    }

    /// Sixteen bits under the key of the store: enough to see that a password comes again, and useless for finding it.
    fn tag(&self, attempt: RemoteAttempt<'_>) -> i64 {
        i64::from(self.sealer.short_tag(&format!("remote_attempt/tag/{}", attempt.mailbox), attempt.password))
    }
}
