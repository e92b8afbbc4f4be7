//! The sealed ledger of the store: the epoch of every account, so that what is read is what was written last; and the changes of what
//! grants access, which are made one after the other. See [`access`](super::access).

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use aws_lc_rs::digest;
use oxpost_protocol::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use super::{
    Store, StoreError,
    access::Access,
    sealed::{ACCESS_SEAL, META, Sealer},
};
use crate::{
    account::Mailbox,
    database::{DatabaseError, Outcome, Row, Statement, Value},
    vault::VaultError,
};

/// How often a change, or a read, is tried while other processes change accounts too.
pub(super) const TRIES: usize = 16;

pub(super) const HEAD: &str = "SELECT value FROM meta WHERE name = 'access'";
const HEAD_ROW: &str = "access";
pub(super) const LIST: &str = "SELECT value FROM meta WHERE name = 'access-list'";
const LIST_ROW: &str = "access-list";

/// The small part of the ledger, which every read compares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    epoch: u64,
    /// Of the list, SHA-256.
    list: [u8; 32],
}

/// The epoch of every account.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The head, as it is stored; empty if there is none.
    pub(super) sealed: Vec<u8>,
    pub(super) epoch: u64,
    pub(super) accounts: BTreeMap<String, u64>,
}

/// What this process knows of the ledger.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    latest: std::sync::Mutex<Option<Arc<Ledger>>>,
    /// This process makes one change at a time; only other processes can conflict.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Ledgers {
    fn latest(&self) -> Option<Arc<Ledger>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ledger was read, or written.
    fn note(&self, ledger: &Arc<Ledger>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.as_ref().is_none_or(|latest| latest.epoch <= ledger.epoch) {
            *latest = Some(Arc::clone(ledger));
        }
    }
}

impl Ledger {
    /// Whether this is the state of the account that was written last.
    pub(super) fn has(&self, mailbox: &str, access: &Access) -> Result<(), String> {
        match self.accounts.get(mailbox) {
            Some(epoch) if *epoch == access.epoch => Ok(()),
            Some(_) => Err("an older state of it was put back".into()),
            None => Err("it was put there".into()),
        }
    }

    /// Whether the ledger has an account of this mailbox, even if its row is missing.
    pub(super) fn knows(&self, mailbox: &Mailbox) -> bool {
        self.accounts.contains_key(mailbox.as_str())
    }
}

/// The exclusive turn for a change, within this process.
pub(super) struct Turn<'a> {
    store: &'a Store,
    held: OwnedMutexGuard<()>,
}

impl<'a> Turn<'a> {
    /// A change of a ledger that was read in this turn.
    pub(super) fn change(self, ledger: &Ledger) -> Change<'a> {
        let ledger = Ledger {
            sealed: ledger.sealed.clone(),
            epoch: ledger.epoch.saturating_add(1),
            accounts: ledger.accounts.clone(),
        };
        Change { store: self.store, ledger, statements: Vec::new(), _turn: self.held }
    }
}

/// A change of what grants access, which is committed only if no other change was made since it was begun.
pub(super) struct Change<'a> {
    store: &'a Store,
    ledger: Ledger,
    statements: Vec<Statement>,
    _turn: OwnedMutexGuard<()>,
}

impl Change<'_> {
    /// What else is done in the same transaction.
    pub(super) fn also(&mut self, statements: impl IntoIterator<Item = Statement>) {
        self.statements.extend(statements);
    }

    /// The account is like this from now on.
    pub(super) fn put(&mut self, mailbox: &str, new: Access) -> Result<(), StoreError> {
        let new = Access { epoch: self.ledger.epoch, ..new };
        self.ledger.accounts.insert(mailbox.to_owned(), new.epoch);
        let sealed = self.store.seal(&ACCESS_SEAL, &[&mailbox], &json(&new)?)?;
        let update = "UPDATE account SET access_seal = $2 WHERE mailbox = $1";
        self.statements.push(Statement::new(update, [mailbox.into(), sealed]));
        Ok(())
    }

    /// The account is removed.
    pub(super) fn remove(&mut self, mailbox: &str) {
        self.ledger.accounts.remove(mailbox);
    }

    /// Commits, and returns the outcomes of the statements. `None`: another process was faster, and nothing was written.
    pub(super) async fn commit(self) -> Result<Option<Vec<Outcome>>, StoreError> {
        let found = self.ledger.sealed.clone();
        let (head, list) = sealed_ledger(&self.store.sealer, self.ledger.epoch, &self.ledger.accounts)?;
        let mut statements = vec![
            // On PostgreSQL this waits for another change, and finds another value then.
            Statement::new(
                "UPDATE meta SET value = $2 WHERE name = 'access' AND value = $1",
                [found.clone().into(), head.clone().into()],
            ),
            // An existing row violates the primary key, and nothing of this is written.
            Statement::new(
                "INSERT INTO meta (name, value) SELECT 'access', $1 \
                 WHERE NOT EXISTS (SELECT 1 FROM meta WHERE name = 'access' AND value = $1)",
                [head.clone().into()],
            ),
            Statement::new(
                "INSERT INTO meta (name, value) VALUES ('access-list', $1) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [list.into()],
            ),
        ];
        let own = statements.len();
        statements.extend(self.statements);
        match self.store.run(statements).await {
            Ok(mut outcomes) => {
                outcomes.drain(..own.min(outcomes.len()));
                self.store.ledgers.note(&Arc::new(Ledger { sealed: head, ..self.ledger }));
                Ok(Some(outcomes))
            }
            Err(StoreError::Database(DatabaseError::Conflict)) if self.store.sealed_head().await? != found => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Head and list, as they are stored.
fn sealed_ledger(
    sealer: &Sealer,
    epoch: u64,
    accounts: &BTreeMap<String, u64>,
) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
    let list = json(accounts)?;
    let head = json(&Head { epoch, list: sha256(&list) })?;
    Ok((sealer.seal(&META, &[&HEAD_ROW], &head)?, sealer.seal(&META, &[&LIST_ROW], &list)?))
}

pub(super) fn json(value: &impl Serialize) -> Result<Secret, StoreError> {
    serde_json::to_vec(value).map(Secret::new).map_err(|_| VaultError::Library.into())
}

impl Store {
    /// The ledger of a store that has no account yet: head and list.
    pub(super) fn new_ledger(sealer: &Sealer) -> Result<(Value, Value), StoreError> {
        let (head, list) = sealed_ledger(sealer, 0, &BTreeMap::new())?;
        Ok((head.into(), list.into()))
    }

    /// Waits for the other changes of this process. Read what the change is based on after that, because the change before may
    /// have changed it.
    pub(super) async fn take_turn(&self) -> Turn<'_> {
        Turn { store: self, held: Arc::clone(&self.ledgers.changing).lock_owned().await }
    }

    /// Begins a change: what is read from now on is what it is made upon.
    pub(super) async fn begin_change(&self) -> Result<Change<'_>, StoreError> {
        let turn = self.take_turn().await;
        Ok(turn.change(&*self.read_ledger().await?))
    }

    /// Empty if there is none.
    async fn sealed_head(&self) -> Result<Vec<u8>, StoreError> {
        let rows = self.rows(Statement::new(HEAD, [])).await?;
        Ok(rows.into_iter().next().and_then(|mut row| row.bytes(0)).unwrap_or_default())
    }

    async fn read_ledger(&self) -> Result<Arc<Ledger>, StoreError> {
        let known = self.ledgers.latest().map_or(0, |ledger| ledger.epoch);
        let outcomes = self.run([HEAD, LIST].map(|sql| Statement::new(sql, [])).into()).await?;
        let mut values = outcomes.into_iter().map(only_bytes);
        let (sealed, list) = (values.next().unwrap_or_default(), values.next().unwrap_or_default());
        let ledger = Arc::new(self.open_ledger(sealed, &list).ok_or(StoreError::NoLedger)?);
        if ledger.epoch < known {
            return Err(StoreError::OlderLedger);
        }
        self.ledgers.note(&ledger);
        Ok(ledger)
    }

    pub(super) fn open_ledger(&self, sealed: Vec<u8>, list: &[u8]) -> Option<Ledger> {
        let head: Head = serde_json::from_slice(self.sealer.open(&META, &[&HEAD_ROW], &sealed).ok()?.reveal()).ok()?;
        let list = self.sealer.open(&META, &[&LIST_ROW], list).ok().filter(|list| sha256(list) == head.list)?;
        let accounts = serde_json::from_slice(list.reveal()).ok()?;
        Some(Ledger { sealed, epoch: head.epoch, accounts })
    }

    /// Rows by which something is opened, and the ledger of the very state that they are of. `head` is the column with its head: one
    /// statement, so that logins do not wait for each other on PostgreSQL. Without a row there is nothing to open.
    pub(super) async fn rows_to_open(
        &self,
        statement: Statement,
        head: usize,
    ) -> Result<(Arc<Ledger>, Vec<Row>), StoreError> {
        for _ in 0..TRIES {
            let mut rows = self.rows(statement.clone()).await?;
            let Some(first) = rows.first_mut() else { return Ok((Arc::default(), rows)) };
            let sealed = first.bytes(head).unwrap_or_default();
            let ledger = match self.ledgers.latest().filter(|known| known.sealed == sealed) {
                Some(known) => known,
                None => self.read_ledger().await?,
            };
            // If not, another process has changed an account between the two reads.
            if ledger.sealed == sealed {
                return Ok((ledger, rows));
            }
        }
        Err(StoreError::Database(DatabaseError::Conflict))
    }
}

fn sha256(secret: &Secret) -> [u8; 32] {
    digest::digest(&digest::SHA256, secret.reveal()).as_ref().try_into().unwrap_or_default()
}

/// The first column of the only row.
pub(super) fn only_bytes(outcome: Outcome) -> Vec<u8> {
    outcome.rows.into_iter().next().and_then(|mut row| row.bytes(0)).unwrap_or_default()
}
