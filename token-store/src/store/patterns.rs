//! Which account opens a mailbox: its own, or the pattern of its domain.

use super::{
    Store, StoreError,
    accounts::{HEAD_COLUMN, select_accounts, select_sealed_accounts},
    ledger::Ledger,
    passwords::PasswordRow,
};
use crate::{
    account::{Account, Mailbox},
    database::{Statement, Value},
    pattern,
};

impl Store {
    /// The account that opens the mailbox of a login name or an address, with its passwords. Its own account takes precedence,
    /// even if it is disabled. Both are looked up in one query, so that the time of the answer reveals nothing.
    pub(crate) async fn account_that_opens(
        &self,
        login: &str,
    ) -> Result<Option<(Account, Vec<PasswordRow>)>, StoreError> {
        let login = login.trim().to_lowercase();
        let mailbox = Mailbox::parse(&login).ok();
        let pattern = mailbox.as_ref().and_then(Mailbox::pattern);
        let select = select_sealed_accounts!(
            ", p.name, p.hash, p.last_used",
            "LEFT JOIN local_password p ON p.mailbox = a.mailbox WHERE a.login = $1 OR a.mailbox = $1 OR a.mailbox = $2 \
             ORDER BY CASE WHEN a.mailbox = $2 THEN 1 ELSE 0 END, p.last_used DESC"
        );
        let values = [login.as_str().into(), pattern.as_ref().map(Mailbox::as_str).into()];
        let (ledger, rows) = self.rows_to_open(Statement::new(select, values), HEAD_COLUMN).await?;
        let Some((account, passwords)) = self.first_account(&ledger, rows, &login)? else { return Ok(None) };
        Ok(match mailbox {
            _ if !account.mailbox.is_pattern() => Some((account, passwords)),
            // A pattern itself is no mailbox.
            Some(mailbox) if !mailbox.is_pattern() => {
                has_none_of_its_own(&ledger, &mailbox)?;
                Some((pattern::opened(&account, mailbox), passwords))
            }
            _ => None,
        })
    }

    /// The account that opens a mailbox: its own, or the pattern of its domain. A pattern itself is an account here.
    pub async fn opened_by(&self, mailbox: &Mailbox) -> Result<Option<Account>, StoreError> {
        let select = select_sealed_accounts!(
            "",
            "WHERE a.mailbox = $1 OR a.mailbox = $2 ORDER BY CASE WHEN a.mailbox = $1 THEN 0 ELSE 1 END"
        );
        let values: [Value; 2] = [mailbox.as_str().into(), mailbox.pattern().as_ref().map(Mailbox::as_str).into()];
        let (ledger, rows) = self.rows_to_open(Statement::new(select, values), HEAD_COLUMN).await?;
        let read = |row| self.read_sealed_account(&ledger, row);
        let Some((account, _)) = rows.into_iter().next().map(read).transpose()?.flatten() else { return Ok(None) };
        if account.mailbox == *mailbox {
            return Ok(Some(account));
        }
        has_none_of_its_own(&ledger, mailbox)?;
        Ok(Some(pattern::opened(&account, mailbox.clone())))
    }
}

/// The account of a mailbox takes precedence over the pattern, even if its row was deleted from outside: the ledger still has
/// it.
fn has_none_of_its_own(ledger: &Ledger, mailbox: &Mailbox) -> Result<(), StoreError> {
    if ledger.knows(mailbox) {
        return Err(StoreError::ChangedOutside { mailbox: mailbox.clone(), how: "it was removed".into() });
    }
    Ok(())
}
