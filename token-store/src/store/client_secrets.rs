//! Client secrets of applications: the current one, and the next one, which takes its place when the authority refuses the current one.

use std::time::SystemTime;

use oxpost_protocol::Secret;

use super::{
    Store, StoreError, changed,
    sealed::{CLIENT_SECRET, NEXT_CLIENT_SECRET, SealedColumn},
};
use crate::{
    application::ClientSecrets,
    database::{Row, Statement},
};

/// Makes all accounts of an application due.
macro_rules! try_again {
    () => {
        "UPDATE token SET version = version + 1, next_refresh = NULL, idle = 0 \
         WHERE mailbox IN (SELECT mailbox FROM account WHERE application = $1)"
    };
}

/// Makes the accounts of an application that failed due. Those that work are not due because of another credential.
pub(super) fn retry_failed_accounts(application: &str) -> Statement {
    Statement::new(concat!(try_again!(), " AND error_kind IS NOT NULL"), [application.into()])
}

impl Store {
    /// Seals the client secret of an application into the store. It is the only one from now on. Accounts that wait because the old
    /// one was wrong are tried again immediately: their version is raised.
    pub async fn set_client_secret(&self, application: &str, secret: &Secret) -> Result<(), StoreError> {
        let sealed = self.seal(&CLIENT_SECRET, &[&application], secret)?;
        let upsert = "INSERT INTO client_secret (application, sealed) VALUES ($1, $2) \
                      ON CONFLICT (application) DO UPDATE SET sealed = excluded.sealed";
        let delete = "DELETE FROM next_client_secret WHERE application = $1";
        self.run(vec![
            Statement::new(upsert, [application.into(), sealed]),
            Statement::new(delete, [application.into()]),
            Statement::new(try_again!(), [application.into()]),
        ])
        .await
        .map(drop)
    }

    /// Seals the next client secret of an application into the store, and says when it expires. It is used when the authority
    /// refuses the current one, also if it does so already.
    pub async fn set_next_client_secret(
        &self,
        application: &str,
        secret: &Secret,
        expires: Option<SystemTime>,
    ) -> Result<(), StoreError> {
        let sealed = self.seal(&NEXT_CLIENT_SECRET, &[&application], secret)?;
        let upsert = "INSERT INTO next_client_secret (application, sealed, expires) VALUES ($1, $2, $3) \
                      ON CONFLICT (application) DO UPDATE SET sealed = excluded.sealed, expires = excluded.expires";
        let upsert = Statement::new(upsert, [application.into(), sealed, expires.into()]);
        self.run(vec![upsert, retry_failed_accounts(application)]).await.map(drop)
    }

    /// The next client secret takes the place of the current one, and its expiry that of the current one's. `false` if it is no
    /// longer the next one: another process has done it, or an administrator has stored another one.
    pub(crate) async fn promote_client_secret(&self, application: &str, secret: &Secret) -> Result<bool, StoreError> {
        let select = "SELECT sealed FROM next_client_secret WHERE application = $1";
        let rows = self.rows(Statement::new(select, [application.into()])).await?;
        let Some(next) = rows.into_iter().find_map(|mut row| row.bytes(0)) else { return Ok(false) };
        if self.sealer.open(&NEXT_CLIENT_SECRET, &[&application], &next).ok().as_ref() != Some(secret) {
            return Ok(false);
        }
        let sealed = self.seal(&CLIENT_SECRET, &[&application], secret)?;
        // Each of them only if that row is still there.
        let there = |sql| Statement::new(sql, [application.into(), next.clone().into()]);
        let mut upsert = there(
            "INSERT INTO client_secret (application, sealed) SELECT application, $3 FROM next_client_secret \
             WHERE application = $1 AND sealed = $2 ON CONFLICT (application) DO UPDATE SET sealed = excluded.sealed",
        );
        upsert.values.push(sealed);
        let outcomes = self
            .run(vec![
                upsert,
                there(
                    "DELETE FROM secret_end WHERE application = $1 \
                     AND EXISTS (SELECT 1 FROM next_client_secret WHERE application = $1 AND sealed = $2)",
                ),
                there(
                    "INSERT INTO secret_end (application, expires) SELECT application, expires FROM next_client_secret \
                     WHERE application = $1 AND sealed = $2 AND expires IS NOT NULL",
                ),
                there("DELETE FROM next_client_secret WHERE application = $1 AND sealed = $2"),
            ])
            .await?;
        Ok(changed(outcomes.last()))
    }

    /// The sealed client secret of an application, if there is one.
    pub async fn client_secret(&self, application: &str) -> Result<Option<Secret>, StoreError> {
        self.client_secrets(application).await.map(|secrets| secrets.current)
    }

    /// Whether the application has a client secret in the store, current or next, whether it opens or not.
    pub async fn has_client_secret(&self, application: &str) -> Result<bool, StoreError> {
        let select = "SELECT 1 FROM client_secret WHERE application = $1 UNION ALL \
                      SELECT 1 FROM next_client_secret WHERE application = $1";
        Ok(!self.rows(Statement::new(select, [application.into()])).await?.is_empty())
    }

    /// Both.
    pub(crate) async fn client_secrets(&self, application: &str) -> Result<ClientSecrets, StoreError> {
        let select = "SELECT (SELECT sealed FROM client_secret WHERE application = $1), \
                      (SELECT sealed FROM next_client_secret WHERE application = $1)";
        let row = self.rows(Statement::new(select, [application.into()])).await?.into_iter().next();
        let Some(mut row) = row else { return Ok(ClientSecrets::default()) };
        let mut open = |column, sealed_column: &SealedColumn, which: &str, option: &str| {
            let row: &mut Row = &mut row;
            let Some(sealed) = row.bytes(column) else { return Ok(None) };
            let opened = self.sealer.open(sealed_column, &[&application], &sealed);
            opened.map(Some).map_err(|_| StoreError::Unreadable {
                what: format!("{which} of the application `{application}`"),
                remedy: format!("run `oxpost application secret {application}{option}`"),
            })
        };
        let current = open(0, &CLIENT_SECRET, "client secret", "");
        // A next one that does not open is no reason to do without a current one that works.
        match (current, open(1, &NEXT_CLIENT_SECRET, "next client secret", " --next")) {
            (Ok(current @ Some(_)), Err(error)) => {
                tracing::debug!(application, "{error}");
                Ok(ClientSecrets { current, next: None })
            }
            (Err(error), Ok(next @ Some(_))) => {
                tracing::warn!(application, "the next client secret is used: {error}");
                Ok(ClientSecrets { current: None, next })
            }
            (current, next) => Ok(ClientSecrets { current: current?, next: next? }),
        }
    }
}
