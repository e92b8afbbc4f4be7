//! Local passwords in the store.

use std::time::SystemTime;

use oxpost_protocol::Secret;

use super::{
    Store, StoreError,
    access::{Access, Known},
    accounts::{HEAD_COLUMN, SEALED_COLUMNS, select_accounts, select_sealed_accounts},
    changed,
    ledger::{Ledger, TRIES},
    sealed::PASSWORD_HASH,
};
use crate::{
    account::{Account, LocalPasswordInfo, Mailbox, PASSWORDS_LIMIT},
    database::{DatabaseError, Row, Statement, Value},
    password::PasswordHash,
};

/// One local password, as admission reads it.
#[derive(Clone, Debug)]
pub(crate) struct PasswordRow {
    /// Whose it is.
    pub(crate) mailbox: Mailbox,
    pub(crate) name: String,
    pub(crate) hash: PasswordHash,
    pub(crate) last_used: Option<SystemTime>,
}

impl Store {
    /// Stores a local password under a name; one of the same name is replaced.
    pub async fn set_password(
        &self,
        mailbox: &Mailbox,
        name: &str,
        hash: &PasswordHash,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let mut change = self.begin_change().await?;
            let (account, access) = self.known(mailbox).await?;
            let mut passwords = access.passwords.clone();
            passwords.insert(name.to_owned(), Known::new(hash, false));
            if passwords.len() > PASSWORDS_LIMIT {
                return Err(StoreError::TooManyPasswords(mailbox.clone()));
            }
            change.also([Statement::new(
                "INSERT INTO local_password (mailbox, name, hash, declared, created) VALUES ($1, $2, $3, 0, $4) \
                 ON CONFLICT (mailbox, name) DO UPDATE SET hash = excluded.hash, declared = 0, created = excluded.created, last_used = NULL",
                [mailbox.as_str().into(), name.into(), self.seal_hash(mailbox, name, hash)?, now.into()],
            )]);
            change.put(mailbox.as_str(), Access::of(&account, passwords))?;
            if change.commit().await?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Database(DatabaseError::Conflict))
    }

    /// Revokes a local password immediately, for cached logins too. `false` if there was none of this name.
    pub async fn revoke_password(&self, mailbox: &Mailbox, name: &str) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let mut change = self.begin_change().await?;
            // Also of an account that something else has changed: what was written of it stays, except for this password.
            let mut access = self.sealed_access(mailbox).await?;
            let was_known = access.as_mut().is_some_and(|access| access.passwords.remove(name).is_some());
            if let Some(access) = access.filter(|_| was_known) {
                change.put(mailbox.as_str(), access)?;
            }
            let delete = "DELETE FROM local_password WHERE mailbox = $1 AND name = $2";
            change.also([Statement::new(delete, [mailbox.as_str().into(), name.into()])]);
            if let Some(outcomes) = change.commit().await? {
                return Ok(was_known || changed(outcomes.last()));
            }
        }
        Err(StoreError::Database(DatabaseError::Conflict))
    }

    /// The local passwords of an account, oldest first.
    pub async fn passwords(&self, mailbox: &Mailbox) -> Result<Vec<LocalPasswordInfo>, StoreError> {
        let select =
            "SELECT name, created, last_used, declared FROM local_password WHERE mailbox = $1 ORDER BY created, name";
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into()])).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                let (name, created, last_used) = (row.text(0)?, row.time(1)?, row.time(2));
                Some(LocalPasswordInfo { name, declared: row.integer(3) != Some(0), created, last_used })
            })
            .collect())
    }

    /// The account of a login name or mailbox with its present passwords.
    pub(crate) async fn account_and_passwords(
        &self,
        login: &str,
    ) -> Result<Option<(Account, Vec<PasswordRow>)>, StoreError> {
        let login = login.trim().to_lowercase();
        let select = select_sealed_accounts!(
            ", p.name, p.hash, p.last_used",
            "LEFT JOIN local_password p ON p.mailbox = a.mailbox WHERE a.login = $1 OR a.mailbox = $1 ORDER BY p.last_used DESC"
        );
        let (ledger, rows) = self.rows_to_open(Statement::new(select, [login.as_str().into()]), HEAD_COLUMN).await?;
        self.first_account(&ledger, rows, &login)
    }

    /// The hash of a local password, sealed for its row.
    pub(super) fn seal_hash(&self, mailbox: &Mailbox, name: &str, hash: &PasswordHash) -> Result<Value, StoreError> {
        self.seal(&PASSWORD_HASH, &[mailbox, &name], &Secret::from(hash.as_stored()))
    }

    /// The hash of a local password. One that does not open costs that password and no other.
    pub(super) fn open_hash(&self, mailbox: &Mailbox, name: &str, sealed: &[u8]) -> Option<PasswordHash> {
        let opened = self.sealer.open(&PASSWORD_HASH, &[mailbox, &name], sealed);
        let hash =
            opened.as_ref().ok().and_then(Secret::reveal_str).map(|hash| PasswordHash::from_stored(hash.to_owned()));
        if hash.is_none() {
            tracing::warn!(%mailbox, name, "a local password does not open: its row was damaged or moved. Revoke it and add a \
                                            new one.");
        }
        hash
    }

    pub(crate) async fn password_used(&self, mailbox: &Mailbox, name: &str, now: SystemTime) -> Result<(), StoreError> {
        let update = "UPDATE local_password SET last_used = $3 WHERE mailbox = $1 AND name = $2";
        let values = [mailbox.as_str().into(), name.into(), now.into()];
        self.change(Statement::new(update, values)).await.map(drop)
    }
}

impl Store {
    /// The account of the first row, and the passwords: the columns are those of an account, followed by name, hash and last use
    /// of a password.
    pub(super) fn first_account(
        &self,
        ledger: &Ledger,
        rows: Vec<Row>,
        login: &str,
    ) -> Result<Option<(Account, Vec<PasswordRow>)>, StoreError> {
        let mut found: Option<(Account, Access, Vec<PasswordRow>)> = None;
        for mut row in rows {
            let password = (row.text(SEALED_COLUMNS), row.bytes(SEALED_COLUMNS + 1), row.time(SEALED_COLUMNS + 2));
            if let Some((account, ..)) = &found {
                if row.text(0).as_deref() != Some(account.mailbox.as_str()) {
                    break;
                }
            } else {
                // An account that cannot be read is not a wrong password: the client must get another answer.
                let (account, access) =
                    self.read_sealed_account(ledger, row)?.ok_or_else(|| StoreError::Unreadable {
                        what: format!("account of {login}"),
                        remedy: format!("remove it with `oxpost account remove {login}` and add it again"),
                    })?;
                found = Some((account, access, Vec::new()));
            }
            let (Some((account, access, passwords)), (Some(name), Some(sealed), last_used)) = (&mut found, password)
            else {
                continue;
            };
            let Some(hash) = self.open_hash(&account.mailbox, &name, &sealed) else { continue };
            if access.has(&name, &hash) {
                passwords.push(PasswordRow { mailbox: account.mailbox.clone(), name, hash, last_used });
            } else {
                tracing::error!(
                    account = %account.mailbox, name,
                    "a local password that was revoked, or that Oxpost has not made, is in the database; it opens nothing"
                );
            }
        }
        Ok(found.map(|(account, _, passwords)| (account, passwords)))
    }
}
