//! Which account opens a mailbox: its own, or the pattern of its domain.

use super::{
    Store, StoreError,
    accounts::{select_accounts, select_sealed_accounts},
    passwords::PasswordRow,
};
use crate::{
    account::{Account, Mailbox},
    database::{Statement, Value},
    pattern,
};

impl Store {
    /// The account that opens the mailbox of a login name or an address, with its passwords. One of its own wins, also if it
    /// is disabled. Both are looked for at once, so that the time of the answer tells nothing.
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
        let rows = self.rows(Statement::new(select, values)).await?;
        let Some((account, passwords)) = self.first_account(rows, &login)? else { return Ok(None) };
        Ok(match mailbox {
            _ if !account.mailbox.is_pattern() => Some((account, passwords)),
            // Nobody is everybody.
            Some(mailbox) if !mailbox.is_pattern() => Some((pattern::opened(&account, mailbox), passwords)),
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
        let row = self.rows(Statement::new(select, values)).await?.into_iter().next();
        let found = row.map(|row| self.read_sealed_account(row)).transpose()?.flatten();
        Ok(found.map(|(account, _)| match account.mailbox == *mailbox {
            true => account,
            false => pattern::opened(&account, mailbox.clone()),
        }))
    }
}
