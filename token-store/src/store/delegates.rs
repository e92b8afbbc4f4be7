//! The people who may sign in for a mailbox beside the mailbox itself, such as a member of a shared one.

use super::{Store, StoreError};
use crate::{account::Mailbox, database::Statement};

/// How many people may be declared for one mailbox.
const DELEGATES_LIMIT: usize = 20;

impl Store {
    /// Declares that somebody may sign in for a mailbox. Declaring them twice changes nothing.
    ///
    /// # Errors
    /// There is no such account, or it has as many delegates as it may.
    pub async fn add_delegate(&self, mailbox: &Mailbox, delegate: &Mailbox) -> Result<(), StoreError> {
        if self.account(mailbox).await?.is_none() {
            return Err(StoreError::NoSuchAccount(mailbox.clone()));
        }
        let there = self.delegates(mailbox).await?;
        if there.len() >= DELEGATES_LIMIT && !there.contains(delegate) {
            return Err(StoreError::TooManyDelegates(mailbox.clone(), DELEGATES_LIMIT));
        }
        let insert = Statement::new(
            "INSERT INTO delegate (mailbox, address) VALUES ($1, $2) ON CONFLICT (mailbox, address) DO NOTHING",
            [mailbox.as_str().into(), delegate.as_str().into()],
        );
        self.change(insert).await.map(drop)
    }

    /// Takes it back. `false` if they were not declared. Tokens that are there stay: they are the mailbox's business.
    pub async fn remove_delegate(&self, mailbox: &Mailbox, delegate: &Mailbox) -> Result<bool, StoreError> {
        let delete = Statement::new(
            "DELETE FROM delegate WHERE mailbox = $1 AND address = $2",
            [mailbox.as_str().into(), delegate.as_str().into()],
        );
        self.change(delete).await
    }

    /// Those who are declared, by address.
    pub async fn delegates(&self, mailbox: &Mailbox) -> Result<Vec<Mailbox>, StoreError> {
        let select = Statement::new(
            "SELECT address FROM delegate WHERE mailbox = $1 ORDER BY address",
            [mailbox.as_str().into()],
        );
        let rows = self.rows(select).await?;
        Ok(rows.into_iter().filter_map(|mut row| Mailbox::parse(&row.text(0)?).ok()).collect())
    }
}
