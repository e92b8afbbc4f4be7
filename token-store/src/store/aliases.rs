//! Shared mailboxes by the name before their `@`, as Exchange's users have typed them.

use super::{Store, StoreError};
use crate::{account::Mailbox, database::Statement};

/// How many mailboxes of one name are looked at: one for each domain of a company.
const SAME_ALIAS_LIMIT: i64 = 64;

impl Store {
    /// The mailboxes with this local part that have a delegate, each with its delegate.
    pub(crate) async fn shared_by_alias(&self, name: &str) -> Result<Vec<(Mailbox, Mailbox)>, StoreError> {
        let name = name.trim().to_lowercase();
        if name.is_empty() || name.contains('@') {
            return Ok(Vec::new());
        }
        let select = "SELECT mailbox, through FROM account WHERE through IS NOT NULL AND origin <> 'withdrawn' \
                      AND mailbox >= $1 AND mailbox < $2 ORDER BY mailbox LIMIT $3";
        // A is the letter after @, and both engines compare bytes.
        let (from, to) = (format!("{name}@"), format!("{name}A"));
        let rows = self
            .rows(Statement::new(select, [from.as_str().into(), to.as_str().into(), SAME_ALIAS_LIMIT.into()]))
            .await?;
        let read = |text: Option<String>| Mailbox::parse(&text?).ok();
        Ok(rows.into_iter().filter_map(|mut row| Some((read(row.text(0))?, read(row.text(1))?))).collect())
    }
}
