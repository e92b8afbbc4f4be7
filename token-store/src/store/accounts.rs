//! Accounts in the store, and their delegates.

use super::{
    Store, StoreError,
    access::{Access, Passwords},
    ledger::{Ledger, TRIES},
    tokens,
};
use crate::{
    account::{Account, Mailbox, Origin},
    database::{DatabaseError, Row, Statement},
    pattern,
    sender_policy::SenderPolicy,
};

/// Selects accounts as [`read_account`] reads them, followed by further columns. Application and grant are those of the account
/// `h` that the tokens belong to.
macro_rules! select_accounts {
    ($columns:expr, $($rest:expr),+ $(,)?) => {
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

/// Selects what [`Store::read_sealed_account`] reads, followed by further columns. Whatever opens an account reads it so.
macro_rules! select_sealed_accounts {
    ($columns:literal, $($rest:expr),+ $(,)?) => {
        select_accounts!(
            concat!(", a.access_seal, h.access_seal, (SELECT value FROM meta WHERE name = 'access')", $columns),
            $($rest),+
        )
    };
}
pub(super) use select_sealed_accounts;

/// How many columns of [`select_sealed_accounts`] are the account's.
pub(super) const SEALED_COLUMNS: usize = COLUMNS + 3;

/// Which of them is the head of the ledger.
pub(super) const HEAD_COLUMN: usize = COLUMNS + 2;

/// What went with an account that was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The names of its local passwords.
    pub passwords: Vec<String>,
    /// Whether a user or an application had signed in for it.
    pub signed_in: bool,
    /// Its delegate, which keeps its own sign-in.
    pub delegate: Option<Mailbox>,
}

impl Store {
    /// Adds an account. Its login name must not be another account's login name or mailbox. With a delegate it has that
    /// account's application and grant.
    pub async fn add_account(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = account.mailbox.as_str();
        let login = account.login.trim().to_lowercase();
        pattern::check(&account.mailbox, account.delegate.as_ref(), account.grant, &login)?;
        let own = account.delegate.is_none();
        for _ in 0..TRIES {
            let mut change = self.begin_change().await?;
            self.can_be_added(&account.mailbox, account.delegate.as_ref(), &login).await?;
            change.also([
                Statement::new(
                    "INSERT INTO account (mailbox, through, application, grant_kind, login, origin, created, senders) \
                     VALUES ($1, $2, $3, $4, $5, $7, $6, $8)",
                    [
                        mailbox.into(),
                        account.delegate.as_ref().map(Mailbox::as_str).into(),
                        own.then_some(account.application.as_str()).into(),
                        own.then_some(account.grant.as_str()).into(),
                        login.as_str().into(),
                        account.created.into(),
                        account.origin.as_str().into(),
                        account.senders.stored().as_deref().into(),
                    ],
                ),
                make_token_row(&account.mailbox)?,
            ]);
            change.also(account.delegate.as_ref().map(tokens_are_used));
            let account = Account { login: login.clone(), ..account.clone() };
            change.put(mailbox, Access::of(&account, Passwords::new()))?;
            if change.commit().await?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Database(DatabaseError::Conflict))
    }

    /// Whether the names of a new account are free, and it may have this delegate.
    async fn can_be_added(&self, mailbox: &Mailbox, delegate: Option<&Mailbox>, login: &str) -> Result<(), StoreError> {
        let select = "SELECT mailbox FROM account WHERE login IN ($1, $2) OR mailbox IN ($1, $2)";
        let taken = self.rows(Statement::new(select, [mailbox.as_str().into(), login.into()])).await?;
        let taken: Vec<String> = taken.into_iter().filter_map(|mut row| row.text(0)).collect();
        if taken.iter().any(|other| other == mailbox.as_str()) {
            return Err(StoreError::AccountExists(mailbox.clone()));
        }
        if let Some(delegate) = delegate {
            self.check_delegate(mailbox, delegate).await?;
        }
        if taken.is_empty() { Ok(()) } else { Err(StoreError::LoginTaken(login.to_owned())) }
    }

    /// Gives an account this delegate, or none (`delegate` is the mailbox itself) with the application and grant it has had so
    /// far. Its own sign-in is kept until [`Store::delegate_login_succeeded`]; the delegate keeps its own.
    pub async fn set_delegate(&self, mailbox: &Mailbox, delegate: &Mailbox) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let mut change = self.begin_change().await?;
            let (account, access) = self.known(mailbox).await?;
            let goes = if delegate == mailbox {
                let own = [mailbox.as_str().into(), account.application.as_str().into(), account.grant.as_str().into()];
                let update = "UPDATE account SET through = NULL, application = $2, grant_kind = $3 WHERE mailbox = $1";
                change.also([Statement::new(update, own), make_token_row(mailbox)?]);
                // What is left of its own sign-in may be another application's.
                change.also(forget_access_token(mailbox));
                Account { delegate: None, ..account }
            } else {
                pattern::check(mailbox, Some(delegate), account.grant, &account.login)?;
                self.check_delegate(mailbox, delegate).await?;
                let needed = self.dependents(mailbox).await?;
                if !needed.is_empty() {
                    return Err(StoreError::HasDependents(mailbox.clone(), needed));
                }
                let update =
                    "UPDATE account SET through = $2, application = NULL, grant_kind = NULL WHERE mailbox = $1";
                change.also([
                    Statement::new(update, [mailbox.as_str().into(), delegate.as_str().into()]),
                    Statement::new("DELETE FROM judged_password WHERE mailbox = $1", [mailbox.as_str().into()]),
                    tokens_are_used(delegate),
                ]);
                Account { delegate: Some(delegate.clone()), ..account }
            };
            change.put(mailbox.as_str(), Access::of(&goes, access.passwords.clone()))?;
            if change.commit().await?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Database(DatabaseError::Conflict))
    }

    /// A mail server has accepted a login with the token of the account's delegate: the sign-in that the account itself had before is
    /// needed no longer. What `proxy.toml` declares keeps its sign-in, as it does when it is declared otherwise.
    pub(crate) async fn delegate_login_succeeded(
        &self,
        mailbox: &Mailbox,
        delegate: &Mailbox,
    ) -> Result<(), StoreError> {
        let one = |sql| Statement::new(sql, [mailbox.as_str().into(), delegate.as_str().into()]);
        let kept = "SELECT t.mailbox FROM token t JOIN account a ON a.mailbox = t.mailbox \
                    WHERE t.mailbox = $1 AND a.through = $2 AND a.origin = 'command'";
        if self.rows(one(kept)).await?.is_empty() {
            return Ok(());
        }
        let delete = "DELETE FROM token WHERE mailbox = $1 \
                      AND EXISTS (SELECT 1 FROM account WHERE mailbox = $1 AND through = $2 AND origin = 'command')";
        self.change(one(delete)).await.map(drop)
    }

    /// Says who an account may send as from now on. `false`: there is no such account.
    pub async fn set_senders(&self, mailbox: &Mailbox, senders: &SenderPolicy) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let mut change = self.begin_change().await?;
            let Some((account, access)) = self.sealed_account(mailbox).await? else { return Ok(false) };
            let account = Account { senders: senders.clone(), ..account };
            let update = "UPDATE account SET senders = $2 WHERE mailbox = $1";
            let values = [mailbox.as_str().into(), senders.stored().as_deref().into()];
            change.also([Statement::new(update, values)]);
            change.put(mailbox.as_str(), Access::of(&account, access.passwords.clone()))?;
            if change.commit().await?.is_some() {
                return Ok(true);
            }
        }
        Err(StoreError::Database(DatabaseError::Conflict))
    }

    /// Whether `mailbox` may have this delegate.
    async fn check_delegate(&self, mailbox: &Mailbox, delegate: &Mailbox) -> Result<(), StoreError> {
        match self.account(delegate).await? {
            None => Err(StoreError::NoSuchAccount(delegate.clone())),
            Some(Account { delegate: Some(third), .. }) => {
                Err(StoreError::DelegateHasDelegate { mailbox: mailbox.clone(), delegate: delegate.clone(), third })
            }
            Some(_) => Ok(()),
        }
    }

    /// The mailboxes that have this account as their delegate.
    pub async fn dependents(&self, mailbox: &Mailbox) -> Result<Vec<Mailbox>, StoreError> {
        let select = "SELECT mailbox FROM account WHERE through = $1 ORDER BY mailbox";
        let rows = self.rows(Statement::new(select, [mailbox.as_str().into()])).await?;
        Ok(rows.into_iter().filter_map(|mut row| Mailbox::parse(&row.text(0)?).ok()).collect())
    }

    /// All accounts, by mailbox.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let all = select_accounts!("", "ORDER BY a.mailbox");
        Ok(self.rows(Statement::new(all, [])).await?.into_iter().filter_map(read_account).collect())
    }

    /// How many accounts there are.
    pub(crate) async fn count_accounts(&self) -> Result<usize, StoreError> {
        let rows = self.rows(Statement::new("SELECT count(*) FROM account", [])).await?;
        let count = rows.into_iter().next().and_then(|mut row| row.integer(0)).unwrap_or_default();
        Ok(usize::try_from(count).unwrap_or_default())
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
        Ok(self.sealed_account(mailbox).await?.map(|(account, _)| account))
    }

    /// The same, with what was written of it.
    async fn sealed_account(&self, mailbox: &Mailbox) -> Result<Option<(Account, Access)>, StoreError> {
        let one = Statement::new(select_sealed_accounts!("", "WHERE a.mailbox = $1"), [mailbox.as_str().into()]);
        let (ledger, rows) = self.rows_to_open(one, HEAD_COLUMN).await?;
        let read = |row| self.read_sealed_account(&ledger, row);
        Ok(rows.into_iter().next().map(read).transpose()?.flatten())
    }

    /// An account that must be there.
    pub(super) async fn known(&self, mailbox: &Mailbox) -> Result<(Account, Access), StoreError> {
        self.sealed_account(mailbox).await?.ok_or_else(|| StoreError::NoSuchAccount(mailbox.clone()))
    }

    /// Reads a row of [`select_sealed_accounts`]. `None` if it is damaged.
    ///
    /// # Errors
    /// It is not as Oxpost has written it.
    pub(super) fn read_sealed_account(
        &self,
        ledger: &Ledger,
        mut row: Row,
    ) -> Result<Option<(Account, Access)>, StoreError> {
        let seals = (row.bytes(COLUMNS), row.bytes(COLUMNS + 1));
        let Some(account) = read_account(row) else { return Ok(None) };
        let access = self.verify_access(ledger, &account, seals.0.as_deref(), seals.1.as_deref())?;
        Ok(Some((account, access)))
    }

    /// The account that has this login name or this mailbox, in any case of letters.
    pub async fn account_by_login(&self, login: &str) -> Result<Option<Account>, StoreError> {
        Ok(self.account_and_passwords(login).await?.map(|(account, _)| account))
    }

    /// Removes an account with its local passwords and its tokens. Returns what was removed; none if there was no such account.
    ///
    /// # Errors
    /// It is the delegate of others.
    pub async fn remove_account(&self, mailbox: &Mailbox) -> Result<Option<Removed>, StoreError> {
        let one = |sql| Statement::new(sql, [mailbox.as_str().into()]);
        for _ in 0..TRIES {
            let mut change = self.begin_change().await?;
            if self.rows(one("SELECT 1 FROM account WHERE mailbox = $1")).await?.is_empty() {
                return Ok(None);
            }
            let needed = self.dependents(mailbox).await?;
            if !needed.is_empty() {
                return Err(StoreError::HasDependents(mailbox.clone(), needed));
            }
            change.remove(mailbox.as_str());
            // What belongs to an account is deleted with it, by the tables' own rule.
            change.also([
                one("SELECT name FROM local_password WHERE mailbox = $1 ORDER BY created, name"),
                one("SELECT 1 FROM token WHERE mailbox = $1 AND access_token IS NOT NULL"),
                one("SELECT through FROM account WHERE mailbox = $1"),
                one("DELETE FROM account WHERE mailbox = $1"),
            ]);
            let Some(outcomes) = change.commit().await? else { continue };
            let mut found = outcomes.into_iter().map(|outcome| outcome.rows);
            let mut rows = || found.next().unwrap_or_default().into_iter();
            let passwords = rows().filter_map(|mut row| row.text(0)).collect();
            let signed_in = rows().next().is_some();
            let delegate = rows().find_map(|mut row| Mailbox::parse(&row.text(0)?).ok());
            return Ok(Some(Removed { passwords, signed_in, delegate }));
        }
        Err(StoreError::Database(DatabaseError::Conflict))
    }
}

/// Forgets an access token that may be another application's, with the failures since it was obtained.
pub(super) fn forget_access_token(mailbox: &Mailbox) -> [Statement; 2] {
    let one = |sql| Statement::new(sql, [mailbox.as_str().into()]);
    [
        one(
            "UPDATE token SET version = version + 1, idle = 0, app_only = NULL, access_token = NULL, issued_at = NULL, expires_at = NULL, \
             next_refresh = NULL, error_kind = NULL, error_text = NULL, error_what = NULL, error_remedy = NULL, \
             error_code = NULL, error_since = NULL, error_at = NULL WHERE mailbox = $1",
        ),
        one("DELETE FROM judged_password WHERE mailbox = $1"),
    ]
}

/// Says that an account with another user of its tokens may have something to refresh again.
pub(super) fn tokens_are_used(delegate: &Mailbox) -> Statement {
    Statement::new("UPDATE token SET idle = 0 WHERE mailbox = $1 AND idle <> 0", [delegate.as_str().into()])
}

/// The row for the tokens of an account without a delegate. An existing one may have something to refresh again.
pub(super) fn make_token_row(mailbox: &Mailbox) -> Result<Statement, StoreError> {
    Ok(Statement::new(
        "INSERT INTO token (mailbox, version) SELECT $1, CAST($2 AS BIGINT) \
         WHERE EXISTS (SELECT 1 FROM account WHERE mailbox = $1 AND through IS NULL) \
         ON CONFLICT (mailbox) DO UPDATE SET idle = 0",
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

pub(super) fn account_of(mailbox: &str, row: &mut Row) -> Option<Account> {
    let delegate = row.text(1).map(|address| Mailbox::parse(&address)).transpose().ok()?;
    Some(Account {
        mailbox: Mailbox::parse(mailbox).ok()?,
        delegate,
        application: row.text(2)?,
        grant: row.text(3)?.parse().ok()?,
        login: row.text(4)?,
        origin: Origin::parse(&row.text(5)?)?,
        created: row.time(6)?,
        senders: SenderPolicy::read(row.text(7).as_deref())?,
    })
}
