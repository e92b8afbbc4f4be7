//! Which accounts are due for a refresh, and the state of all of them. An index finds what is due: `token.idle` and
//! `token.next_refresh`.

use std::time::SystemTime;

use super::{
    Store, StoreError, TokenState,
    accounts::{COLUMNS, read_account, select_accounts},
    tokens::read_state,
};
use crate::{
    account::Account,
    database::{Row, Statement},
};

/// What the refresher needs to know of an account to decide whether it is due.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) account: Account,
    pub(crate) version: i64,
    pub(crate) has_refresh_token: bool,
    pub(crate) issued_at: Option<SystemTime>,
    pub(crate) next_refresh: Option<SystemTime>,
    pub(crate) error_at: Option<SystemTime>,
}

/// What is due.
#[derive(Clone, Debug, Default)]
pub(crate) struct Due {
    pub(crate) due: Vec<Planned>,
    /// Mailboxes for which there is nothing to do although they are due.
    pub(crate) idle: Vec<String>,
    /// When there will be more.
    pub(crate) next: Option<SystemTime>,
}

/// The accounts whose tokens are in use: by themselves, unless they are disabled, or by an account that has them as its
/// delegate.
macro_rules! wanted {
    () => {
        "a.through IS NULL AND (a.origin <> 'withdrawn' OR EXISTS \
         (SELECT 1 FROM account o WHERE o.through = a.mailbox AND o.origin <> 'withdrawn'))"
    };
}

/// What `token.idle` should be: 2 where no account uses the tokens of the account `a`, 1 where there is nothing to refresh with.
macro_rules! idle {
    () => {
        concat!(
            "CASE WHEN NOT (",
            wanted!(),
            ") THEN 2 WHEN t.refresh_token IS NULL AND a.grant_kind <> 'client-credentials' THEN 1 ELSE 0 END"
        )
    };
}

/// The accounts with the columns of [`TokenState`].
macro_rules! select_states {
    ($($rest:expr),+ $(,)?) => {
        select_accounts!(
            ", t.signed_in_as, CASE WHEN t.refresh_token IS NULL THEN 0 ELSE 1 END, t.issued_at, t.expires_at, t.next_refresh, \
             t.error_kind, t.error_text, t.error_at, t.error_what, t.error_remedy, t.error_code, t.error_since",
            "JOIN token t ON t.mailbox = a.mailbox WHERE ",
            $($rest),+
        )
    };
}

/// The columns of [`Planned`].
macro_rules! select_plan {
    ($($rest:expr),+ $(,)?) => {
        select_accounts!(
            concat!(
                ", CASE WHEN t.refresh_token IS NULL THEN 0 ELSE 1 END, t.issued_at, t.next_refresh, t.error_at, t.version, ",
                idle!()
            ),
            "JOIN token t ON t.mailbox = a.mailbox WHERE ",
            $($rest),+
        )
    };
}

impl Store {
    /// Every account that has tokens of its own that are in use, with their state.
    pub async fn token_states(&self) -> Result<Vec<(Account, TokenState)>, StoreError> {
        let select = select_states!(wanted!(), " ORDER BY a.mailbox");
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(read_states).collect())
    }

    /// The same of those accounts alone that an administrator may have to be notified of: the last refresh has failed, or there was
    /// none since `unused_since`.
    pub async fn token_states_needing_attention(
        &self,
        unused_since: SystemTime,
    ) -> Result<Vec<(Account, TokenState)>, StoreError> {
        let select = select_states!(
            "t.mailbox IN (SELECT mailbox FROM token WHERE error_kind IS NOT NULL AND idle < 2 UNION ALL \
             SELECT mailbox FROM token WHERE refresh_token IS NOT NULL AND idle < 2 AND issued_at <= $1) AND ",
            wanted!(),
            " ORDER BY a.mailbox"
        );
        Ok(self
            .rows(Statement::new(select, [unused_since.into()]))
            .await?
            .into_iter()
            .filter_map(read_states)
            .collect())
    }

    /// The accounts whose tokens are due now, the longest due first, and when the next ones will be. It costs what is due, however many
    /// accounts there are.
    pub(crate) async fn due(&self, now: SystemTime) -> Result<Due, StoreError> {
        let due = select_plan!("t.idle = 0 AND COALESCE(t.next_refresh, 0) <= $1 ORDER BY COALESCE(t.next_refresh, 0)");
        let next = "SELECT MIN(COALESCE(next_refresh, 0)) FROM token WHERE idle = 0 AND COALESCE(next_refresh, 0) > $1";
        let statements = [due, next].map(|sql| Statement::new(sql, [now.into()]));
        let mut outcomes = self.run(statements.into()).await?.into_iter();
        let planned = outcomes.next().map(|outcome| outcome.rows).unwrap_or_default();
        let next = outcomes.next().and_then(super::first).and_then(|mut row| row.time(0));
        let (mut due, mut idle) = (Vec::new(), Vec::new());
        for mut row in planned {
            match row.integer(IDLE) {
                Some(0) => due.extend(read_planned(row)),
                _ => idle.extend(row.text(0)),
            }
        }
        Ok(Due { due, idle, next })
    }

    /// Notes of accounts that were due whether there is anything to do for them, so that they are not read again at each look.
    pub(crate) async fn note_idle(&self, mailboxes: &[String]) -> Result<(), StoreError> {
        let update = concat!(
            "UPDATE token SET idle = (SELECT ",
            idle!(),
            " FROM account a JOIN token t ON t.mailbox = a.mailbox WHERE a.mailbox = $1) WHERE mailbox = $1"
        );
        let statements = mailboxes.iter().map(|mailbox| Statement::new(update, [mailbox.as_str().into()]));
        self.run(statements.collect()).await.map(drop)
    }

    /// The accounts whose note of that is wrong. All tokens are read.
    pub(crate) async fn wrongly_idle(&self) -> Result<Vec<String>, StoreError> {
        let select =
            concat!("SELECT t.mailbox FROM account a JOIN token t ON t.mailbox = a.mailbox WHERE t.idle <> ", idle!());
        let rows = self.rows(Statement::new(select, [])).await?;
        Ok(rows.into_iter().filter_map(|mut row| row.text(0)).collect())
    }

    /// Every account that has tokens of its own that are in use, with its plan. All accounts are read.
    pub(crate) async fn plan(&self) -> Result<Vec<Planned>, StoreError> {
        let select = select_plan!(wanted!(), " ORDER BY COALESCE(t.next_refresh, 0)");
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(read_planned).collect())
    }
}

/// The column of a plan that says whether there is anything to do.
const IDLE: usize = COLUMNS + 5;

fn read_planned(mut row: Row) -> Option<Planned> {
    let has_refresh_token = row.integer(COLUMNS) == Some(1);
    let (issued_at, next_refresh, error_at) = (row.time(COLUMNS + 1), row.time(COLUMNS + 2), row.time(COLUMNS + 3));
    let version = row.integer(COLUMNS + 4)?;
    Some(Planned { account: read_account(row)?, version, has_refresh_token, issued_at, next_refresh, error_at })
}

fn read_states(mut row: Row) -> Option<(Account, TokenState)> {
    let state = read_state(&mut row, COLUMNS);
    Some((read_account(row)?, state))
}
