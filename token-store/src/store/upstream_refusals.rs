//! Logins that mail servers refuse although the token is good, such as a mailbox for which a protocol is switched off. `oxpost
//! status` shows them.

use std::time::{Duration, SystemTime};

use super::{Store, StoreError};
use crate::{account::Mailbox, database::Statement};

/// A client that tries again every second costs one write in this time.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// A login that a mail server refused, and that an administrator must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRefusal {
    /// By which protocol.
    pub protocol: String,
    /// What happened and what to do.
    pub text: String,
    /// The server's own words.
    pub said: String,
    /// When it was last so.
    pub at: SystemTime,
}

impl Store {
    /// Notes a refusal in place of an earlier one of the same protocol.
    pub async fn note_upstream_refusal(&self, mailbox: &Mailbox, refused: &UpstreamRefusal) -> Result<(), StoreError> {
        let upsert = "INSERT INTO refusal (mailbox, protocol, what, said, noted) \
                      SELECT mailbox, $2, $3, $4, CAST($5 AS BIGINT) FROM account WHERE mailbox = $1 \
                      ON CONFLICT (mailbox, protocol) DO UPDATE \
                      SET what = excluded.what, said = excluded.said, noted = excluded.noted \
                      WHERE refusal.what <> excluded.what OR refusal.noted < CAST($6 AS BIGINT)";
        let written_before = refused.at.checked_sub(WRITTEN_EVERY).unwrap_or(SystemTime::UNIX_EPOCH);
        let (protocol, text, said) = (refused.protocol.as_str(), refused.text.as_str(), refused.said.as_str());
        let values = [
            mailbox.as_str().into(),
            protocol.into(),
            text.into(),
            said.into(),
            refused.at.into(),
            written_before.into(),
        ];
        self.change(Statement::new(upsert, values)).await.map(drop)
    }

    /// The protocol works. Nothing is written if nothing was noted, as after every login but the first good one.
    pub async fn forget_upstream_refusal(&self, mailbox: &Mailbox, protocol: &str) -> Result<(), StoreError> {
        let noted = "SELECT protocol FROM refusal WHERE mailbox = $1 AND protocol = $2";
        if self.rows(Statement::new(noted, [mailbox.as_str().into(), protocol.into()])).await?.is_empty() {
            return Ok(());
        }
        let delete = "DELETE FROM refusal WHERE mailbox = $1 AND protocol = $2";
        self.change(Statement::new(delete, [mailbox.as_str().into(), protocol.into()])).await.map(drop)
    }

    /// What is refused to an account now, by protocol.
    pub async fn upstream_refusals(&self, mailbox: &Mailbox) -> Result<Vec<UpstreamRefusal>, StoreError> {
        let select = "SELECT protocol, what, said, noted FROM refusal WHERE mailbox = $1 ORDER BY protocol";
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into()])).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                Some(UpstreamRefusal {
                    protocol: row.text(0)?,
                    text: row.text(1)?,
                    said: row.text(2)?,
                    at: row.time(3)?,
                })
            })
            .collect())
    }
}
