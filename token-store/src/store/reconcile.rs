//! Reconciles the store with the accounts that the configuration declares.
//!
//! [`plan`] alone decides what to change, and one transaction makes the changes. Tokens are kept, with one exception: an access
//! token that another application or grant has obtained is forgotten. An account that is no longer declared is disabled: it
//! keeps its tokens and passwords, and no login is possible.

mod plan;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::SystemTime,
};

use oxpost_protocol::Secret;

use self::plan::{Hashed, Step};
use super::{
    Store, StoreError,
    access::{Access, Known, Passwords},
    accounts::{forget_access_token, make_token_row, tokens_are_used},
    ledger::TRIES,
};
use crate::{
    account::{Account, Grant, Mailbox, Origin},
    database::{DatabaseError, Statement, Value},
    password::{HashingFailed, PasswordHash},
    sender_policy::SenderPolicy,
};

/// An account as the configuration declares it.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its mailbox.
    pub mailbox: Mailbox,
    /// Where its tokens come from.
    pub token_source: TokenSource,
    /// The name mail clients log in with, in lower case.
    pub login: String,
    /// Who it may send as.
    pub senders: SenderPolicy,
    /// Its local passwords. Others may be added by command.
    pub passwords: Vec<DeclaredPassword>,
}

/// Where the tokens of a declared account come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// It gets them itself.
    Own {
        /// The name of the application.
        application: String,
        /// How.
        grant: Grant,
    },
    /// They are those of another account, declared or in the store.
    Delegate(Mailbox),
}

/// A local password in the configuration.
#[derive(Clone, Debug)]
pub struct DeclaredPassword {
    /// Its name.
    pub name: String,
    /// The password, as far as it is known.
    pub text: PasswordText,
}

/// A local password, as the configuration has it.
#[derive(Clone, Debug)]
pub enum PasswordText {
    /// Its hash.
    Hash(PasswordHash),
    /// The password itself, out of a file of its own.
    Plain(Secret),
}

/// What does not go together with the rest of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Which of the declared accounts, counted from 0.
    pub index: usize,
    /// What is wrong, and what to do.
    pub why: String,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// The declared accounts do not go together with those in the store.
    #[error("{}", .0.iter().map(|conflict| conflict.why.as_str()).collect::<Vec<_>>().join("\n"))]
    Conflicts(Vec<Conflict>),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingFailed),
}

/// What was changed, by mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Accounts that were added, or are back again.
    pub added: Vec<Mailbox>,
    /// Accounts that were changed.
    pub changed: Vec<Mailbox>,
    /// Accounts that are no longer declared.
    pub disabled: Vec<Mailbox>,
}

impl Changes {
    /// Whether everything was as declared already.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Store {
    /// What [`Store::reconcile`] would change.
    ///
    /// # Errors
    /// It cannot be done.
    pub async fn compare(&self, declared: &[Declared]) -> Result<Changes, DeclareError> {
        let wanted = self.hashed(declared).await?;
        Ok(plan::changes(&self.steps(declared, &wanted, &[], &self.all_sealed_access().await?).await?))
    }

    /// Makes the accounts in the store those that are declared, and those that were added by command. `hand_over` names those
    /// of the latter that are the configuration's from now on.
    ///
    /// # Errors
    /// It cannot be done; nothing was changed.
    pub async fn reconcile(
        &self,
        declared: &[Declared],
        hand_over: &[Mailbox],
        now: SystemTime,
    ) -> Result<Changes, DeclareError> {
        let wanted = self.hashed(declared).await?;
        for _ in 1..TRIES {
            if let Some(changes) = self.try_to_reconcile(declared, &wanted, hand_over, now).await? {
                return Ok(changes);
            }
            // Another node, or a command, was there first: what is left to do is less now, or a conflict that can be named.
        }
        let last = self.try_to_reconcile(declared, &wanted, hand_over, now).await?;
        last.ok_or(DeclareError::Store(StoreError::Database(DatabaseError::Conflict)))
    }

    async fn try_to_reconcile(
        &self,
        declared: &[Declared],
        wanted: &[Hashed],
        hand_over: &[Mailbox],
        now: SystemTime,
    ) -> Result<Option<Changes>, DeclareError> {
        let mut change = self.begin_change().await?;
        let written = self.all_sealed_access().await?;
        let steps = self.steps(declared, wanted, hand_over, &written).await?;
        for step in &steps {
            change.also(statements_for(self, step, now)?);
        }
        let access = access_after(&steps, declared, wanted, &written);
        if !steps.is_empty() || !access.is_empty() {
            for (mailbox, access) in access {
                change.put(&mailbox, access)?;
            }
            if change.commit().await?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(plan::changes(&steps)))
    }

    /// The passwords that are declared, by their hashes: those that are stored, where they are of the same password.
    async fn hashed(&self, declared: &[Declared]) -> Result<Vec<Hashed>, DeclareError> {
        let passwords = self.all_passwords(&BTreeMap::new()).await?;
        let by_name: HashMap<(&Mailbox, &str), &Hashed> =
            passwords.iter().map(|stored| ((&stored.mailbox, stored.name.as_str()), stored)).collect();
        let mut hashed = Vec::new();
        for account in declared {
            for password in &account.passwords {
                let stored = by_name.get(&(&account.mailbox, password.name.as_str()));
                let stored = stored.and_then(|stored| stored.hash.clone());
                let hash = Some(hash_of(&password.text, stored).await?);
                hashed.push(Hashed {
                    mailbox: account.mailbox.clone(),
                    name: password.name.clone(),
                    hash,
                    declared: true,
                });
            }
        }
        Ok(hashed)
    }

    /// The plan starts from the sealed state, whatever its row says now.
    async fn steps(
        &self,
        declared: &[Declared],
        wanted: &[Hashed],
        hand_over: &[Mailbox],
        written: &BTreeMap<String, Access>,
    ) -> Result<Vec<Step>, DeclareError> {
        let mut there = self.accounts().await?;
        let mut changed_outside = HashSet::new();
        for account in &mut there {
            let Some(access) = written.get(account.mailbox.as_str()) else { continue };
            if access.differs(&Access::of(account, Passwords::new())).is_some() {
                changed_outside.insert(account.mailbox.clone());
            }
            account.origin = Origin::parse(&access.origin).unwrap_or(account.origin);
        }
        let passwords = self.all_passwords(written).await?;
        let damaged: HashSet<String> = self.unreadable_accounts().await?.into_iter().collect();
        let damaged: Vec<Conflict> = declared
            .iter()
            .enumerate()
            .filter(|(_, account)| damaged.contains(account.mailbox.as_str()))
            .map(|(index, Declared { mailbox, .. })| Conflict {
                index,
                why: format!(
                    "the row of {mailbox} in the store is damaged. Remove it, then start again and sign in again: oxpost account remove \
                     {mailbox}"
                ),
            })
            .collect();
        if !damaged.is_empty() {
            return Err(DeclareError::Conflicts(damaged));
        }
        let mut steps = plan::plan(declared, wanted, &there, &passwords, hand_over).map_err(DeclareError::Conflicts)?;
        let planned: HashSet<Mailbox> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Change { account, .. } => Some(account.mailbox.clone()),
                _ => None,
            })
            .collect();
        let again =
            declared.iter().filter(|one| changed_outside.contains(&one.mailbox) && !planned.contains(&one.mailbox));
        steps.extend(again.map(|account| Step::Change { account: account.clone(), was: Origin::Declared }));
        Ok(steps)
    }

    /// The local passwords of all accounts.
    async fn all_passwords(&self, written: &BTreeMap<String, Access>) -> Result<Vec<Hashed>, StoreError> {
        let rows = self.rows(Statement::new("SELECT mailbox, name, hash, declared FROM local_password", [])).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                let (mailbox, name) = (Mailbox::parse(&row.text(0)?).ok()?, row.text(1)?);
                let hash = self.open_hash(&mailbox, &name, &row.bytes(2)?);
                let known = written.get(mailbox.as_str()).and_then(|access| access.passwords.get(&name));
                let declared = known.map_or(row.integer(3) != Some(0), |known| known.declared);
                Some(Hashed { mailbox, name, hash, declared })
            })
            .collect())
    }
}

/// What grants access after these steps, of the accounts for which it is not what was written.
fn access_after(
    steps: &[Step],
    declared: &[Declared],
    wanted: &[Hashed],
    written: &BTreeMap<String, Access>,
) -> BTreeMap<String, Access> {
    let mut passwords: HashMap<&Mailbox, Passwords> = HashMap::new();
    for account in declared {
        let old = written.get(account.mailbox.as_str()).map(|access| access.passwords.clone()).unwrap_or_default();
        let by_command = old.into_iter().filter(|(_, known)| !known.declared).collect();
        passwords.insert(&account.mailbox, by_command);
    }
    for Hashed { mailbox, name, hash, .. } in wanted {
        if let (Some(passwords), Some(hash)) = (passwords.get_mut(mailbox), hash) {
            passwords.insert(name.clone(), Known::new(hash, true));
        }
    }
    let mut after = BTreeMap::new();
    for account in declared {
        let access = Access::of_declared(account, passwords.remove(&account.mailbox).unwrap_or_default());
        if written.get(account.mailbox.as_str()).is_none_or(|old| !old.is_like(&access)) {
            after.insert(account.mailbox.as_str().to_owned(), access);
        }
    }
    for step in steps {
        let Step::Disable(mailbox) = step else { continue };
        if let Some(old) = written.get(mailbox.as_str()) {
            after.insert(mailbox.as_str().to_owned(), old.clone().disabled(mailbox));
        }
    }
    after
}

/// The hash to be stored: the one that is, if it is that of the password.
async fn hash_of(text: &PasswordText, stored: Option<PasswordHash>) -> Result<PasswordHash, HashingFailed> {
    let password = match text {
        PasswordText::Hash(hash) => return Ok(hash.clone()),
        PasswordText::Plain(password) => password.clone(),
    };
    let hashing = move || match stored.filter(|stored| stored.verify(&password)) {
        Some(stored) => Ok(stored),
        None => PasswordHash::of(&password),
    };
    tokio::task::spawn_blocking(hashing).await.map_err(|_| HashingFailed)?
}

fn statements_for(store: &Store, step: &Step, now: SystemTime) -> Result<Vec<Statement>, StoreError> {
    Ok(match step {
        // The login name is free for others then.
        Step::Disable(mailbox) => vec![Statement::new(
            "UPDATE account SET origin = 'withdrawn', login = mailbox WHERE mailbox = $1",
            [mailbox.as_str().into()],
        )],
        // Two accounts may have exchanged their names.
        Step::FreeLogin(mailbox) => {
            vec![Statement::new("UPDATE account SET login = mailbox WHERE mailbox = $1", [mailbox.as_str().into()])]
        }
        Step::Add(account) => {
            let mut values: Vec<Value> = values_of(account).into();
            values.push(now.into());
            let insert = "INSERT INTO account (mailbox, through, application, grant_kind, login, origin, senders, created) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            vec![Statement::new(insert, values), tokens_of(account)?]
        }
        Step::Change { account, .. } => {
            let update = "UPDATE account SET through = $2, application = $3, grant_kind = $4, login = $5, origin = $6, \
                          senders = $7 WHERE mailbox = $1";
            vec![Statement::new(update, values_of(account)), tokens_of(account)?]
        }
        Step::ForgetAccessToken(mailbox) => forget_access_token(mailbox).into(),
        Step::SetPassword(password) => match &password.hash {
            None => Vec::new(),
            Some(hash) => vec![Statement::new(
                "INSERT INTO local_password (mailbox, name, hash, declared, created) VALUES ($1, $2, $3, 1, $4) \
             ON CONFLICT (mailbox, name) DO UPDATE SET hash = excluded.hash, declared = 1, created = excluded.created, last_used = NULL",
                [
                    password.mailbox.as_str().into(),
                    password.name.as_str().into(),
                    store.seal_hash(&password.mailbox, &password.name, hash)?,
                    now.into(),
                ],
            )],
        },
        Step::RemovePassword { mailbox, name } => vec![Statement::new(
            "DELETE FROM local_password WHERE mailbox = $1 AND name = $2",
            [mailbox.as_str().into(), name.as_str().into()],
        )],
    })
}

/// The row of the tokens that an account uses from now on.
fn tokens_of(account: &Declared) -> Result<Statement, StoreError> {
    match &account.token_source {
        TokenSource::Own { .. } => make_token_row(&account.mailbox),
        TokenSource::Delegate(delegate) => Ok(tokens_are_used(delegate)),
    }
}

fn values_of(declared: &Declared) -> [Value; 7] {
    let (delegate, application, grant) = declared.token_source.columns();
    [
        declared.mailbox.as_str().into(),
        delegate.into(),
        application.into(),
        grant.into(),
        declared.login.as_str().into(),
        Origin::Declared.as_str().into(),
        declared.senders.stored().as_deref().into(),
    ]
}

impl TokenSource {
    /// Through, application and grant, as an account's row has them.
    pub(super) fn columns(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        match self {
            Self::Own { application, grant } => (None, Some(application.as_str()), Some(grant.as_str())),
            Self::Delegate(delegate) => (Some(delegate.as_str()), None, None),
        }
    }
}

impl Declared {
    /// Whether the account in the store is like this one, apart from its passwords.
    fn is(&self, account: &Account) -> bool {
        let same_way = match &self.token_source {
            TokenSource::Own { application, grant } => {
                account.delegate.is_none() && account.application == *application && account.grant == *grant
            }
            TokenSource::Delegate(delegate) => account.delegate.as_ref() == Some(delegate),
        };
        let same = account.login == self.login && account.senders == self.senders;
        same_way && same && account.origin == Origin::Declared
    }
}
