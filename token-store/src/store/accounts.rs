//! Accounts in the store, and which of them go through another one.

use super::{Store, StoreError, changed, tokens};
use crate::{
    account::{Account, Mailbox, Origin},
    database::{DatabaseError, Row, Statement},
    pattern,
    sender_policy::SenderPolicy,
};

/// Selects accounts as [`read_account`] reads them, with further columns behind those. Application and grant are those of
/// the account `h` that the tokens belong to.
macro_rules! select_accounts {
    ($columns:literal, $($rest:expr),+ $(,)?) => {
        concat!(
            "SELECT a.mailbox, a.through, h.application, h.grant_kind, a.login, a.origin, a.created, a.senders",
            $columns,
            " FROM account a LEFT JOIN account h ON h.mailbox = COALESCE(a.through, a.mailbox) ",
            $($rest),+
        )
    };
}
pub(super) use select_accounts;

/// How many columns of [`select_accounts`] are the account's.
pub(super) const COLUMNS: usize = 8;

/// What went with an account that was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The names of its local passwords.
    pub passwords: Vec<String>,
    /// Whether somebody, or an application, had signed in for it.
    pub signed_in: bool,
    /// The account it went through, which keeps its own sign-in.
    pub through: Option<Mailbox>,
}

impl Store {
    /// Adds an account. Its login name must be nobody else's login name or mailbox. One that goes through another account
    /// takes application and grant from there.
    pub async fn add_account(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = account.mailbox.as_str();
        let login = account.login.trim().to_lowercase();
        pattern::check(&account.mailbox, account.through.as_ref(), account.grant, &login)?;
        let own = account.through.is_none();
        let insert = Statement::new(
            "INSERT INTO account (mailbox, through, application, grant_kind, login, origin, created, senders) \
             SELECT $1, CAST($2 AS TEXT), $3, $4, $5, $7, CAST($6 AS BIGINT), CAST($8 AS TEXT) \
             WHERE NOT EXISTS (SELECT 1 FROM account WHERE login IN ($1, $5) OR mailbox IN ($1, $5)) \
             AND (CAST($2 AS TEXT) IS NULL OR EXISTS (SELECT 1 FROM account WHERE mailbox = $2 AND through IS NULL))",
            [
                mailbox.into(),
                account.through.as_ref().map(Mailbox::as_str).into(),
                own.then_some(account.application.as_str()).into(),
                own.then_some(account.grant.as_str()).into(),
                login.as_str().into(),
                account.created.into(),
                account.origin.as_str().into(),
                account.senders.stored().as_deref().into(),
            ],
        );
        if changed(self.run(vec![insert, make_token_row(&account.mailbox)?]).await?.first()) {
            return Ok(());
        }
        if self.account(&account.mailbox).await?.is_some() {
            return Err(StoreError::AccountExists(account.mailbox.clone()));
        }
        if let Some(through) = &account.through {
            self.can_be_gone_through(&account.mailbox, through).await?;
        }
        Err(StoreError::LoginTaken(login))
    }

    /// Makes an account go through another one from now on, or through none (`itself`) with the application and grant it
    /// has had so far. What its own tokens were is gone then, or what was another's stays there.
    pub async fn set_through(&self, mailbox: &Mailbox, through: &Mailbox) -> Result<(), StoreError> {
        let account = self.account(mailbox).await?.ok_or_else(|| StoreError::NoSuchAccount(mailbox.clone()))?;
        let values = || [mailbox.as_str().into(), through.as_str().into()];
        let statements = if through == mailbox {
            let own = [mailbox.as_str().into(), account.application.as_str().into(), account.grant.as_str().into()];
            let update = "UPDATE account SET through = NULL, application = $2, grant_kind = $3 WHERE mailbox = $1";
            vec![Statement::new(update, own), make_token_row(mailbox)?]
        } else {
            pattern::check(mailbox, Some(through), account.grant, &account.login)?;
            self.can_be_gone_through(mailbox, through).await?;
            let needed = self.through(mailbox).await?;
            if !needed.is_empty() {
                return Err(StoreError::StillNeeded(mailbox.clone(), needed));
            }
            vec![
                Statement::new(
                    "UPDATE account SET through = $2, application = NULL, grant_kind = NULL WHERE mailbox = $1 \
                     AND EXISTS (SELECT 1 FROM account WHERE mailbox = $2 AND through IS NULL) \
                     AND NOT EXISTS (SELECT 1 FROM account WHERE through = $1)",
                    values(),
                ),
                Statement::new(
                    "DELETE FROM token WHERE mailbox = $1 \
                     AND EXISTS (SELECT 1 FROM account WHERE mailbox = $1 AND through = $2)",
                    values(),
                ),
                Statement::new(
                    "DELETE FROM judged_password WHERE mailbox = $1 \
                     AND EXISTS (SELECT 1 FROM account WHERE mailbox = $1 AND through = $2)",
                    values(),
                ),
            ]
        };
        if changed(self.run(statements).await?.first()) {
            Ok(())
        } else {
            Err(StoreError::Database(DatabaseError::Conflict))
        }
    }

    /// Says who an account may send as from now on. `false`: there is no such account.
    pub async fn set_senders(&self, mailbox: &Mailbox, senders: &SenderPolicy) -> Result<bool, StoreError> {
        let update = "UPDATE account SET senders = $2 WHERE mailbox = $1";
        let values = [mailbox.as_str().into(), senders.stored().as_deref().into()];
        Ok(changed(self.run(vec![Statement::new(update, values)]).await?.first()))
    }

    /// Whether `mailbox` may go through the other account.
    async fn can_be_gone_through(&self, mailbox: &Mailbox, through: &Mailbox) -> Result<(), StoreError> {
        match self.account(through).await? {
            None => Err(StoreError::NoSuchAccount(through.clone())),
            Some(Account { through: Some(third), .. }) => {
                Err(StoreError::NotItsOwn { mailbox: mailbox.clone(), through: through.clone(), third })
            }
            Some(_) => Ok(()),
        }
    }

    /// The mailboxes that go through this account.
    pub async fn through(&self, mailbox: &Mailbox) -> Result<Vec<Mailbox>, StoreError> {
        let select = "SELECT mailbox FROM account WHERE through = $1 ORDER BY mailbox";
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into()])).await?;
        Ok(rows.into_iter().filter_map(|mut row| Mailbox::parse(&row.text(0)?).ok()).collect())
    }

    /// All accounts, by mailbox.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let all = select_accounts!("", "ORDER BY a.mailbox");
        Ok(self.rows(Statement::new(all, [])).await?.into_iter().filter_map(read_account).collect())
    }

    /// The mailboxes of accounts whose rows cannot be read, so that [`Store::accounts`] leaves them out.
    pub async fn unreadable_accounts(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.rows(Statement::new(select_accounts!("", "ORDER BY a.mailbox"), [])).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                let mailbox = row.text(0)?;
                account_of(&mailbox, &mut row).is_none().then_some(mailbox)
            })
            .collect())
    }

    /// The account of a mailbox.
    pub async fn account(&self, mailbox: &Mailbox) -> Result<Option<Account>, StoreError> {
        let one = Statement::new(select_accounts!("", "WHERE a.mailbox = $1"), [mailbox.as_str().into()]);
        Ok(self.rows(one).await?.into_iter().find_map(read_account))
    }

    /// The account that has this login name or this mailbox, in any case of letters.
    pub async fn account_by_login(&self, login: &str) -> Result<Option<Account>, StoreError> {
        Ok(self.account_and_passwords(login).await?.map(|(account, _)| account))
    }

    /// Removes an account with its local passwords and its tokens, and says what that was. None if there was none.
    ///
    /// # Errors
    /// Others go through it.
    pub async fn remove_account(&self, mailbox: &Mailbox) -> Result<Option<Removed>, StoreError> {
        let one = |sql| Statement::new(sql, [mailbox.as_str().into()]);
        // What belongs to an account is deleted with it, by the tables' own rule.
        let outcomes = self
            .run(vec![
                one("SELECT name FROM local_password WHERE mailbox = $1 ORDER BY created, name"),
                one("SELECT 1 FROM token WHERE mailbox = $1 AND access_token IS NOT NULL"),
                one("SELECT through FROM account WHERE mailbox = $1"),
                one("SELECT mailbox FROM account WHERE through = $1 ORDER BY mailbox"),
                one("DELETE FROM account WHERE mailbox = $1 AND NOT EXISTS (SELECT 1 FROM account WHERE through = $1)"),
            ])
            .await?;
        let removed = changed(outcomes.last());
        let mut found = outcomes.into_iter().map(|outcome| outcome.rows);
        let mut texts = || -> Vec<String> {
            found.next().unwrap_or_default().into_iter().filter_map(|mut row| row.text(0)).collect()
        };
        let passwords = texts();
        let signed_in = found.next().is_some_and(|rows| !rows.is_empty());
        let mut texts = || -> Vec<Mailbox> {
            let rows = found.next().unwrap_or_default().into_iter();
            rows.filter_map(|mut row| Mailbox::parse(&row.text(0)?).ok()).collect()
        };
        let through = texts().pop();
        let needed = texts();
        if !needed.is_empty() {
            return Err(StoreError::StillNeeded(mailbox.clone(), needed));
        }
        Ok(removed.then_some(Removed { passwords, signed_in, through }))
    }
}

/// The row for the tokens of an account that goes through no other.
pub(super) fn make_token_row(mailbox: &Mailbox) -> Result<Statement, StoreError> {
    Ok(Statement::new(
        "INSERT INTO token (mailbox, version) SELECT $1, CAST($2 AS BIGINT) \
         WHERE EXISTS (SELECT 1 FROM account WHERE mailbox = $1 AND through IS NULL) ON CONFLICT (mailbox) DO NOTHING",
        [mailbox.as_str().into(), tokens::first_version()?.into()],
    ))
}

/// A row that cannot be read costs its own account only.
pub(super) fn read_account(mut row: Row) -> Option<Account> {
    let mailbox = row.text(0)?;
    let account = account_of(&mailbox, &mut row);
    if account.is_none() {
        tracing::error!(mailbox, "the stored account cannot be read; remove it and add it again");
    }
    account
}

fn account_of(mailbox: &str, row: &mut Row) -> Option<Account> {
    let through = row.text(1).map(|address| Mailbox::parse(&address)).transpose().ok()?;
    Some(Account {
        mailbox: Mailbox::parse(mailbox).ok()?,
        through,
        application: row.text(2)?,
        grant: row.text(3)?.parse().ok()?,
        login: row.text(4)?,
        origin: Origin::parse(&row.text(5)?)?,
        created: row.time(6)?,
        senders: SenderPolicy::read(row.text(7).as_deref())?,
    })
}
