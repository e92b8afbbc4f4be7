//! What grants access, sealed: whoever can write to the database, and has no key, can neither change an account's delegate,
//! application or login name, nor put back a local password that was revoked.
//!
//! Each account has a sealed [`Access`]: its columns that matter, and the fingerprints of its local passwords. A login compares
//! what it reads with that. Each change gets the next epoch, which no older state of the account has; the [`Ledger`], one sealed
//! row for all accounts, tells whether their epochs are those that were written together, so that a part of an older backup that
//! somebody puts back is found too. A whole older backup is a store like any other. See docs/decisions/0010-sealed-access.md.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_lc_rs::{digest, hmac, rand};
use dashmap::DashMap;
use oxpost_protocol::Secret;
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedMutexGuard, time::Instant};

use super::{Store, StoreError, declared::Declared};
use crate::{
    account::{Account, Mailbox, Origin},
    database::{DatabaseError, Outcome, Row, Statement, Value},
    password::PasswordHash,
    vault::{Vault, VaultError},
};

/// How often a change is tried while other processes change accounts too.
pub(super) const TRIES: usize = 16;

/// How long a row that was read before a change may be looked at after it: statements end far sooner.
const STALE: Duration = Duration::from_secs(60);

const LEDGER_PLACE: &str = "meta/value/access";

const LEDGER: &str = "SELECT value FROM meta WHERE name = 'access'";

const PASSWORDS: &str = "SELECT mailbox, name, hash FROM local_password";

/// What grants access to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Access {
    epoch: u64,
    pub(super) through: Option<String>,
    /// Of the account's own; none where it goes through another one.
    pub(super) application: Option<String>,
    pub(super) grant: Option<String>,
    pub(super) login: String,
    pub(super) origin: String,
    pub(super) senders: Option<String>,
    /// The fingerprints of the local passwords, by name.
    pub(super) passwords: BTreeMap<String, String>,
}

/// Which epochs belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ledger {
    epoch: u64,
    /// Of the accounts' tags under `key`, by exclusive or.
    sum: [u8; 32],
    key: [u8; 32],
}

/// An account that is not as Oxpost has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedOutside {
    /// Which, or none: accounts were removed, or a part of an older backup was put back, and it cannot be told of which.
    pub mailbox: Option<String>,
    /// What is not as it was written.
    pub how: String,
}

impl std::fmt::Display for ChangedOutside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.mailbox {
            Some(mailbox) => write!(f, "{mailbox}: {}", self.how),
            None => f.write_str(&self.how),
        }
    }
}

/// The epochs that this process has seen, and since when.
pub(super) type Seen = Arc<DashMap<Mailbox, (u64, Instant)>>;

impl Access {
    /// What an account is, apart from its passwords.
    pub(super) fn of(account: &Account, passwords: BTreeMap<String, String>) -> Self {
        let own = account.through.is_none();
        Self {
            epoch: 0,
            through: account.through.as_ref().map(|through| through.as_str().to_owned()),
            application: own.then(|| account.application.clone()),
            grant: own.then(|| account.grant.as_str().to_owned()),
            login: account.login.clone(),
            origin: account.origin.as_str().to_owned(),
            senders: account.senders.stored(),
            passwords,
        }
    }

    /// What a declared account is, apart from its passwords.
    pub(super) fn of_declared(declared: &Declared, passwords: BTreeMap<String, String>) -> Self {
        let (through, application, grant) = declared.way.columns();
        Self {
            epoch: 0,
            through: through.map(str::to_owned),
            application: application.map(str::to_owned),
            grant: grant.map(str::to_owned),
            login: declared.login.clone(),
            origin: Origin::Declared.as_str().to_owned(),
            senders: declared.senders.stored(),
            passwords,
        }
    }

    /// Whether this password is one of them.
    pub(super) fn has(&self, name: &str, hash: &PasswordHash) -> bool {
        self.passwords.get(name).is_some_and(|known| *known == fingerprint(hash))
    }

    /// Whether it is the same but for the epoch.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        *other == Self { epoch: other.epoch, ..self.clone() }
    }

    /// The account is declared no more, and its login name is free.
    pub(super) fn withdrawn(self, mailbox: &Mailbox) -> Self {
        Self { origin: Origin::Withdrawn.as_str().to_owned(), login: mailbox.as_str().to_owned(), ..self }
    }

    /// Whether an account that goes through this one has the application and grant from here.
    fn lends(&self, account: &Account) -> bool {
        self.through.is_none()
            && self.application.as_deref() == Some(account.application.as_str())
            && self.grant.as_deref() == Some(account.grant.as_str())
    }

    /// What in the account's own row is not as it was written.
    fn differs(&self, row: &Columns) -> Option<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        for (what, written, found) in [
            ("delegate", &self.through, &row.through),
            ("application", &self.application, &row.application),
            ("grant", &self.grant, &row.grant),
        ] {
            if written != found {
                return Some(format!("its {what} was {} and is {}", text(written), text(found)));
            }
        }
        if self.login != row.login {
            return Some(format!("its login name was {} and is {}", self.login, row.login));
        }
        if self.origin != row.origin {
            return Some(format!("it was {} and is {}", self.origin, row.origin));
        }
        (self.senders != row.senders).then(|| "who it may send as is not what it was".into())
    }
}

/// The columns of an account's row, as they are stored.
struct Columns {
    through: Option<String>,
    application: Option<String>,
    grant: Option<String>,
    login: String,
    origin: String,
    senders: Option<String>,
}

/// Reads what [`Access`] is compared with, and the seal.
const COLUMNS: &str = "SELECT mailbox, access_seal, through, application, grant_kind, login, origin, senders FROM account ORDER BY mailbox";

impl Columns {
    /// From the third column on.
    fn read(row: &mut Row) -> Option<Self> {
        Some(Self {
            through: row.text(2),
            application: row.text(3),
            grant: row.text(4),
            login: row.text(5)?,
            origin: row.text(6)?,
            senders: row.text(7),
        })
    }
}

/// The seals of all accounts.
pub(super) const SEALS: &str = "SELECT mailbox, COALESCE(access_seal, x'') FROM account ORDER BY mailbox";

/// What is in the accounts `now` that was not there `before`, one line each; `None` if that is not known of them.
pub(super) fn brought_back(
    vault: &Vault,
    now: Vec<(String, Vec<u8>)>,
    before: Vec<(String, Vec<u8>)>,
) -> Option<Vec<String>> {
    let open = |rows: Vec<(String, Vec<u8>)>| -> Option<BTreeMap<String, Access>> {
        rows.into_iter().map(|(mailbox, sealed)| Some((mailbox.clone(), opened(vault, &mailbox, &sealed)?))).collect()
    };
    let (now, before) = (open(now)?, open(before)?);
    let mut lines = Vec::new();
    for (mailbox, access) in &now {
        let Some(old) = before.get(mailbox) else {
            lines.push(format!("the account {mailbox}, which was removed since"));
            continue;
        };
        for (name, fingerprint) in &access.passwords {
            if old.passwords.get(name) != Some(fingerprint) {
                lines.push(format!("the local password `{name}` of {mailbox}, which was revoked or replaced since"));
            }
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        for (what, here, there) in [
            ("delegate", &access.through, &old.through),
            ("application", &access.application, &old.application),
            ("grant", &access.grant, &old.grant),
            ("login name", &Some(access.login.clone()), &Some(old.login.clone())),
            ("sender policy", &access.senders, &old.senders),
        ] {
            if here != there {
                lines.push(format!("the {what} of {mailbox}: {} again, and not {}", text(here), text(there)));
            }
        }
        if access.origin != old.origin {
            lines.push(format!("{mailbox} as it was: {}, and not {}", access.origin, old.origin));
        }
    }
    Some(lines)
}

fn opened(vault: &Vault, mailbox: &str, sealed: &[u8]) -> Option<Access> {
    serde_json::from_slice(vault.open(&place(mailbox), sealed).ok()?.reveal()).ok()
}

/// Tells a password from others of its account; the hash has a salt of its own.
pub(super) fn fingerprint(hash: &PasswordHash) -> String {
    let hashed = digest::digest(&digest::SHA256, hash.as_stored().as_bytes());
    hashed.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn place(mailbox: &str) -> String {
    format!("account/access_seal/{mailbox}")
}

impl Ledger {
    fn new() -> Result<Self, StoreError> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| VaultError::Library)?;
        Ok(Self { epoch: 0, sum: [0; 32], key })
    }

    /// Adds an account at an epoch, or takes it out again.
    fn toggle(&mut self, mailbox: &str, epoch: u64) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let mut tag = hmac::Context::with_key(&key);
        tag.update(&epoch.to_be_bytes());
        tag.update(mailbox.as_bytes());
        for (sum, byte) in self.sum.iter_mut().zip(tag.sign().as_ref()) {
            *sum ^= byte;
        }
    }
}

/// A change of what grants access, which is made only if nobody else has made one since it was begun.
pub(super) struct Change<'a> {
    store: &'a Store,
    /// The ledger as it was read, sealed.
    found: Vec<u8>,
    ledger: Ledger,
    statements: Vec<Statement>,
    /// One change of this process at a time; only other processes can be in its way.
    _turn: OwnedMutexGuard<()>,
}

impl Change<'_> {
    /// What else is done in the same transaction.
    pub(super) fn also(&mut self, statements: impl IntoIterator<Item = Statement>) {
        self.statements.extend(statements);
    }

    /// The account is like this from now on. `old` is what was written of it before, if it was there.
    pub(super) fn put(&mut self, mailbox: &str, old: Option<&Access>, new: Access) -> Result<(), StoreError> {
        self.remove(mailbox, old);
        let new = Access { epoch: self.ledger.epoch, ..new };
        self.ledger.toggle(mailbox, new.epoch);
        let sealed = self.store.seal(&place(mailbox), &json(&new)?)?;
        let update = "UPDATE account SET access_seal = $2 WHERE mailbox = $1";
        self.statements.push(Statement::new(update, [mailbox.into(), sealed]));
        Ok(())
    }

    /// The account is removed.
    pub(super) fn remove(&mut self, mailbox: &str, old: Option<&Access>) {
        if let Some(old) = old {
            self.ledger.toggle(mailbox, old.epoch);
        }
    }

    /// Writes it, and gives back the outcomes of the statements. `None`: somebody else was there first, and nothing was written.
    pub(super) async fn commit(self) -> Result<Option<Vec<Outcome>>, StoreError> {
        let sealed = self.store.seal(LEDGER_PLACE, &json(&self.ledger)?)?;
        let mut statements = vec![
            // On PostgreSQL this waits for another change, and finds another value then.
            Statement::new(
                "UPDATE meta SET value = $2 WHERE name = 'access' AND value = $1",
                [self.found.clone().into(), sealed.clone()],
            ),
            // A row that is there already breaks the rule of the table, and nothing of this is written.
            Statement::new(
                "INSERT INTO meta (name, value) SELECT 'access', $1 \
                 WHERE NOT EXISTS (SELECT 1 FROM meta WHERE name = 'access' AND value = $1)",
                [sealed],
            ),
        ];
        let claims = statements.len();
        statements.extend(self.statements);
        match self.store.run(statements).await {
            Ok(mut outcomes) => {
                outcomes.drain(..claims.min(outcomes.len()));
                Ok(Some(outcomes))
            }
            Err(StoreError::Database(DatabaseError::Conflict)) if self.store.sealed_ledger().await? != self.found => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn json(value: &impl Serialize) -> Result<Secret, StoreError> {
    serde_json::to_vec(value).map(Secret::new).map_err(|_| VaultError::Library.into())
}

impl Store {
    /// Begins a change: what is read from now on is what it is made upon.
    pub(super) async fn begin_change(&self) -> Result<Change<'_>, StoreError> {
        let turn = Arc::clone(&self.changing).lock_owned().await;
        let found = self.sealed_ledger().await?;
        let ledger = self.open_ledger(&found).ok_or(StoreError::NoLedger)?;
        let ledger = Ledger { epoch: ledger.epoch.saturating_add(1), ..ledger };
        Ok(Change { store: self, found, ledger, statements: Vec::new(), _turn: turn })
    }

    /// Empty if there is none.
    async fn sealed_ledger(&self) -> Result<Vec<u8>, StoreError> {
        let rows = self.rows(Statement::new(LEDGER, [])).await?;
        Ok(rows.into_iter().next().and_then(|mut row| row.bytes(0)).unwrap_or_default())
    }

    fn open_ledger(&self, sealed: &[u8]) -> Option<Ledger> {
        serde_json::from_slice(self.vault.open(LEDGER_PLACE, sealed).ok()?.reveal()).ok()
    }

    /// The ledger of a store that has no account yet.
    pub(super) fn new_ledger(vault: &Vault) -> Result<Value, StoreError> {
        Ok(Value::Bytes(vault.seal(LEDGER_PLACE, &json(&Ledger::new()?)?)?))
    }

    fn open_access(&self, mailbox: &str, sealed: Option<&[u8]>) -> Option<Access> {
        opened(&self.vault, mailbox, sealed?)
    }

    /// What was written of an account, whatever its row says now.
    pub(super) async fn sealed_access(&self, mailbox: &Mailbox) -> Result<Option<Access>, StoreError> {
        let select = Statement::new("SELECT access_seal FROM account WHERE mailbox = $1", [mailbox.as_str().into()]);
        let sealed = self.rows(select).await?.into_iter().next().and_then(|mut row| row.bytes(0));
        Ok(self.open_access(mailbox.as_str(), sealed.as_deref()))
    }

    /// What was written of all accounts.
    pub(super) async fn all_sealed_access(&self) -> Result<BTreeMap<String, Access>, StoreError> {
        let rows = self.rows(Statement::new("SELECT mailbox, access_seal FROM account", [])).await?;
        let read = |mut row: Row| {
            let mailbox = row.text(0)?;
            let access = self.open_access(&mailbox, row.bytes(1).as_deref())?;
            Some((mailbox, access))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Compares an account, as it was read for a login, with what was written. `own` and `delegate` are the seals of its row and
    /// of the row that its application and grant are from.
    pub(super) fn verify_access(
        &self,
        account: &Account,
        own: Option<&[u8]>,
        delegate: Option<&[u8]>,
    ) -> Result<Access, StoreError> {
        let changed = |how: String| StoreError::ChangedOutside { mailbox: account.mailbox.clone(), how };
        let unsealed = || changed("its seal is missing, or does not open".into());
        let access = self.open_access(account.mailbox.as_str(), own).ok_or_else(unsealed)?;
        let own = account.through.is_none();
        let columns = Columns {
            through: account.through.as_ref().map(|through| through.as_str().to_owned()),
            application: own.then(|| account.application.clone()),
            grant: own.then(|| account.grant.as_str().to_owned()),
            login: account.login.clone(),
            origin: account.origin.as_str().to_owned(),
            senders: account.senders.stored(),
        };
        if let Some(how) = access.differs(&columns) {
            return Err(changed(how));
        }
        self.is_no_older(&account.mailbox, &access).map_err(changed)?;
        if let Some(through) = &account.through {
            let of_delegate = |how: String| changed(format!("of its delegate {through}: {how}"));
            let delegate = self.open_access(through.as_str(), delegate);
            let delegate = delegate.ok_or_else(|| of_delegate("its seal is missing, or does not open".into()))?;
            if !delegate.lends(account) {
                return Err(of_delegate("its application or grant is not what it was".into()));
            }
            self.is_no_older(through, &delegate).map_err(of_delegate)?;
        }
        Ok(access)
    }

    /// Whether this process has seen no later state of the account.
    fn is_no_older(&self, mailbox: &Mailbox, access: &Access) -> Result<(), String> {
        let mut seen = self.seen.entry(mailbox.clone()).or_insert_with(|| (access.epoch, Instant::now()));
        let (epoch, since) = *seen;
        if access.epoch > epoch {
            *seen = (access.epoch, Instant::now());
        }
        if access.epoch < epoch && since.elapsed() > STALE {
            return Err("an older state of it was put back. If a backup was restored, restart this service".into());
        }
        Ok(())
    }

    /// The accounts that are not as Oxpost has written them: none, unless somebody has written to the database by other means or
    /// put back a part of a backup.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn changed_outside(&self) -> Result<Vec<ChangedOutside>, StoreError> {
        let outcomes = self.run([LEDGER, COLUMNS, PASSWORDS].map(|sql| Statement::new(sql, [])).into()).await?;
        let mut outcomes = outcomes.into_iter().map(|outcome| outcome.rows);
        let mut rows = || outcomes.next().unwrap_or_default();
        let ledger = rows().pop().and_then(|mut row| row.bytes(0)).and_then(|sealed| self.open_ledger(&sealed));
        let (accounts, passwords) = (rows(), rows());
        let Some(ledger) = ledger else {
            let how = "the ledger of what grants access is missing, or does not open".into();
            return Ok(vec![ChangedOutside { mailbox: None, how }]);
        };
        let mut changed = Vec::new();
        let mut found = Ledger { sum: [0; 32], ..ledger.clone() };
        let mut sealed = BTreeMap::new();
        for mut row in accounts {
            let Some(mailbox) = row.text(0) else { continue };
            let access = self.open_access(&mailbox, row.bytes(1).as_deref());
            let how = match (&access, Columns::read(&mut row)) {
                (None, _) => Some("its seal is missing, or does not open".into()),
                (_, None) => Some("its row cannot be read".into()),
                (Some(access), Some(columns)) => access.differs(&columns),
            };
            changed.extend(how.map(|how| ChangedOutside { mailbox: Some(mailbox.clone()), how }));
            if let Some(access) = access {
                found.toggle(&mailbox, access.epoch);
                sealed.insert(mailbox, access);
            }
        }
        for (mailbox, name, hash) in passwords.into_iter().filter_map(|row| self.read_password(row)) {
            if sealed.get(mailbox.as_str()).is_some_and(|access| !access.has(&name, &hash)) {
                let how = format!("its local password `{name}` was put there, or put back");
                changed.push(ChangedOutside { mailbox: Some(mailbox.as_str().to_owned()), how });
            }
        }
        if changed.is_empty() && found.sum != ledger.sum {
            let how = "accounts were removed, or a part of an older backup was put back".into();
            changed.push(ChangedOutside { mailbox: None, how });
        }
        Ok(changed)
    }

    /// Takes all accounts as they stand for what was written, after a person has looked at them.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn confirm_access(&self) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let found = self.sealed_ledger().await?;
            if self.seal_all(found, Vec::new()).await? {
                return Ok(());
            }
        }
        Err(StoreError::Database(DatabaseError::Conflict))
    }

    /// Seals every account as it stands. `false`: somebody else was there first.
    pub(super) async fn seal_all(&self, found: Vec<u8>, also: Vec<Statement>) -> Result<bool, StoreError> {
        let outcomes = self.run([COLUMNS, PASSWORDS].map(|sql| Statement::new(sql, [])).into()).await?;
        let mut outcomes = outcomes.into_iter().map(|outcome| outcome.rows);
        let (accounts, passwords) = (outcomes.next().unwrap_or_default(), outcomes.next().unwrap_or_default());
        let mut by_mailbox: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (mailbox, name, hash) in passwords.into_iter().filter_map(|row| self.read_password(row)) {
            by_mailbox.entry(mailbox.as_str().to_owned()).or_default().insert(name, fingerprint(&hash));
        }
        let mut epoch = self.open_ledger(&found).map_or(0, |ledger| ledger.epoch);
        let mut rows = Vec::with_capacity(accounts.len());
        for mut row in accounts {
            let Some(mailbox) = row.text(0) else { continue };
            // Processes that run have seen these.
            let written = self.open_access(&mailbox, row.bytes(1).as_deref());
            epoch = epoch.max(written.map_or(0, |access| access.epoch));
            rows.extend(Columns::read(&mut row).map(|columns| (mailbox, columns)));
        }
        let ledger = Ledger { epoch: epoch.saturating_add(1), ..Ledger::new()? };
        let turn = Arc::clone(&self.changing).lock_owned().await;
        let mut change = Change { store: self, found, ledger, statements: also, _turn: turn };
        for (mailbox, columns) in rows {
            let Columns { through, application, grant, login, origin, senders } = columns;
            let passwords = by_mailbox.remove(&mailbox).unwrap_or_default();
            change.put(
                &mailbox,
                None,
                Access { epoch: 0, through, application, grant, login, origin, senders, passwords },
            )?;
        }
        Ok(change.commit().await?.is_some())
    }

    fn read_password(&self, mut row: Row) -> Option<(Mailbox, String, PasswordHash)> {
        let (mailbox, name) = (Mailbox::parse(&row.text(0)?).ok()?, row.text(1)?);
        let hash = self.open_hash(&mailbox, &name, &row.bytes(2)?)?;
        Some((mailbox, name, hash))
    }
}
