//! The password that Microsoft has last accepted, so that it is known after a restart: as an argon2id hash, like a local
//! password, and sealed, because it is a Microsoft 365 password too.

use std::time::SystemTime;

use oxpost_protocol::Secret;

use super::{Store, StoreError, sealed::VERIFIED_HASH};
use crate::{
    account::Mailbox,
    database::{Row, Statement, milliseconds},
    password::PasswordHash,
};

/// A password that Microsoft has accepted.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedPassword {
    pub(crate) hash: PasswordHash,
    /// When Microsoft accepted it.
    pub(crate) verified: SystemTime,
    /// When it last opened a session, to the minute.
    pub(crate) last_used: Option<SystemTime>,
}

impl Store {
    /// The last right password. One that does not open counts as none: Microsoft is asked again.
    pub(crate) async fn verified_password(&self, mailbox: &Mailbox) -> Result<Option<VerifiedPassword>, StoreError> {
        let select = "SELECT hash, judged, last_used FROM judged_password WHERE mailbox = $1";
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into()])).await?;
        Ok(rows.into_iter().find_map(|mut row| {
            let verified = row.time(1)?;
            let hash = self.sealer.open(&VERIFIED_HASH, &[mailbox, &milliseconds(verified)], &row.bytes(0)?).ok()?;
            let hash = PasswordHash::from_stored(hash.reveal_str()?.to_owned());
            Some(VerifiedPassword { hash, verified, last_used: row.time(2) })
        }))
    }

    /// When an account with remote verification last opened a session, to the minute.
    pub async fn last_remote_login(&self, mailbox: &Mailbox) -> Result<Option<SystemTime>, StoreError> {
        Ok(self.verified_password(mailbox).await?.and_then(|password| password.last_used))
    }

    pub(crate) async fn save_verified_password(
        &self,
        mailbox: &Mailbox,
        hash: &PasswordHash,
        verified: SystemTime,
    ) -> Result<(), StoreError> {
        let sealed = self.seal(&VERIFIED_HASH, &[mailbox, &milliseconds(verified)], &Secret::from(hash.as_stored()))?;
        let upsert = "INSERT INTO judged_password (mailbox, hash, judged) \
                      SELECT mailbox, $2, CAST($3 AS BIGINT) FROM account WHERE mailbox = $1 \
                      ON CONFLICT (mailbox) DO UPDATE SET hash = excluded.hash, judged = excluded.judged";
        self.change(Statement::new(upsert, [mailbox.as_str().into(), sealed, verified.into()])).await.map(drop)
    }

    pub(crate) async fn note_remote_login(&self, mailbox: &Mailbox, now: SystemTime) -> Result<(), StoreError> {
        let update = "UPDATE judged_password SET last_used = $2 WHERE mailbox = $1";
        self.change(Statement::new(update, [mailbox.as_str().into(), now.into()])).await.map(drop)
    }

    /// Microsoft no longer accepts it. A newer one stays.
    pub(crate) async fn forget_verified_password(
        &self,
        mailbox: &Mailbox,
        verified: SystemTime,
    ) -> Result<(), StoreError> {
        let delete = "DELETE FROM judged_password WHERE mailbox = $1 AND judged = $2";
        self.change(Statement::new(delete, [mailbox.as_str().into(), verified.into()])).await.map(drop)
    }
}

impl Store {
    /// Seals those of a store of a version that did not bind them to their time.
    pub(super) async fn bind_verified_passwords_to_their_time(&self) -> Result<Vec<Statement>, StoreError> {
        let rows = self.rows(Statement::new("SELECT mailbox, hash, judged FROM judged_password", [])).await?;
        let bound = |mut row: Row| {
            let (mailbox, hash, verified) = (Mailbox::parse(&row.text(0)?).ok()?, row.bytes(1)?, row.time(2)?);
            let hash = self.sealer.open(&VERIFIED_HASH, &[&mailbox], &hash).ok()?;
            let sealed = self.seal(&VERIFIED_HASH, &[&mailbox, &milliseconds(verified)], &hash).ok()?;
            let update = "UPDATE judged_password SET hash = $3 WHERE mailbox = $1 AND judged = $2";
            Some(Statement::new(update, [mailbox.as_str().into(), verified.into(), sealed]))
        };
        Ok(rows.into_iter().filter_map(bound).collect())
    }
}
