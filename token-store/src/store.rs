//! The store: accounts, the hashes of their local passwords, and their sealed tokens, in SQL that no engine owns.

mod access;
mod access_audit;
mod accounts;
pub mod alerts;
mod aliases;
mod blocks;
mod certificates;
mod circuits;
mod client_secrets;
mod clock_skews;
mod familiar_sources;
pub mod key_rotation;
mod lease;
mod ledger;
pub mod mail_use;
pub mod maintenance;
pub mod nodes;
mod passwords;
mod patterns;
mod reconcile;
mod refresh_plan;
mod remote_attempts;
pub mod schema;
mod sealed;
mod secret_expiry;
pub mod send_limits;
pub mod smtp_extensions;
mod tokens;
mod upstream_refusals;
mod verified_passwords;

use std::{
    fmt::Display,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use oxpost_protocol::Secret;

#[cfg(test)]
pub(crate) use self::sealed::sealed_columns;
use self::sealed::{META, SealedColumn, Sealer};
pub use self::{
    access::ChangedOutside,
    access_audit::AccessAudit,
    accounts::Removed,
    blocks::Block,
    circuits::OpenCircuit,
    reconcile::{Changes, Conflict, DeclareError, Declared, DeclaredPassword, PasswordText, TokenSource},
    schema::STORE_SCHEMA,
    upstream_refusals::UpstreamRefusal,
};
pub(crate) use self::{
    circuits::{CircuitKey, StoredCircuit},
    familiar_sources::{SOURCES_PER_ACCOUNT, Seen},
    lease::RENEW_EVERY,
    nodes::node_name,
    passwords::PasswordRow,
    refresh_plan::{Due, Planned},
    remote_attempts::RemoteAttempt,
    tokens::{Failure, IssuedToken, RefreshToken, Stored},
};
pub use crate::error::StoreError;
use crate::{
    account::Mailbox,
    clock::SharedClock,
    database::{
        Database, Hints, Outcome, Row, Statement, Value, only_read,
        postgres::{Postgres, PostgresSettings},
        sqlite::Sqlite,
        time::{DatabaseClock, DatabaseTime, SkewNews},
    },
    error::ErrorKind,
    identity::Identity,
    vault::Vault,
};

/// The tables, and the sealer of what is secret in them. Nothing is cached: every answer is read from the database, so that what
/// another process writes takes effect immediately. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Arc<dyn Database>,
    sealer: Sealer,
    ledgers: Arc<ledger::Ledgers>,
    /// What is only read is read where no login waits for it.
    in_background: bool,
    /// The database's clock, where it is on another machine.
    time: Option<Arc<DatabaseTime>>,
    /// Why tokens could not be written, until they can.
    unwritten: Arc<Mutex<Option<StoreError>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// Tokens as the authority gave them.
#[derive(Clone, Debug)]
pub struct TokenSet {
    /// Opens the mailbox.
    pub access_token: Secret,
    /// How long it lives from the moment it was asked for.
    pub lifetime: Duration,
    /// Gets the next access token; missing if the authority gave no new one, then the old one stays.
    pub refresh_token: Option<Secret>,
    /// Whose they are, as far as the authority says it.
    pub identity: Option<Identity>,
}

/// The state of an account's tokens, for administrators: nothing secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenState {
    /// Who signed in, as the authority says, by their present name. It may be another person than the mailbox's, for a shared
    /// mailbox.
    pub signed_in_as: Option<String>,
    /// The name that the user of the mailbox has now, if they were renamed since the account was added.
    pub renamed_to: Option<Mailbox>,
    /// Whether a refresh token is stored.
    pub has_refresh_token: bool,
    /// When the access token ends.
    pub access_token_expires: Option<SystemTime>,
    /// When tokens were last obtained.
    pub refreshed_at: Option<SystemTime>,
    /// When they are asked for next.
    pub next_refresh: Option<SystemTime>,
    /// The last failure since then.
    pub last_error: Option<LastError>,
}

/// The last failure of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// Its kind.
    pub kind: ErrorKind,
    /// What happened and what to do, with the detail for the log.
    pub text: String,
    /// What happened.
    pub what: String,
    /// What to do about it; empty where `what` says both.
    pub remedy: String,
    /// The number of Microsoft's error code, as in `AADSTS700082`.
    pub code: Option<u32>,
    /// When it last happened.
    pub at: SystemTime,
    /// Since when nothing else has happened.
    pub since: SystemTime,
}

/// The sealed text that tells whether a key is the right one.
const KEY_CHECK: &str = "the key of this store, in which access is sealed";

/// The same in a store of a version that did not seal yet what grants access.
const KEY_CHECK_BEFORE_ACCESS: &str = "the key of this store";

const NEW_LEDGER_HEAD: &str = "INSERT INTO meta (name, value) SELECT 'access', $2 FROM meta \
     WHERE name = 'key-check' AND value = $1 ON CONFLICT (name) DO NOTHING";

const NEW_LEDGER_LIST: &str = "INSERT INTO meta (name, value) SELECT 'access-list', $2 FROM meta \
     WHERE name = 'key-check' AND value = $1 ON CONFLICT (name) DO NOTHING";

/// Its row in `meta`.
const KEY_CHECK_ROW: &str = "key-check";

impl Store {
    /// Opens the store, or creates it, readable by its owner alone; one of an older version is migrated. The vault must be the one it was created with.
    pub async fn open(path: &Path, vault: Vault) -> Result<Self, StoreError> {
        Self::with(Arc::new(Sqlite::open(path.to_owned(), STORE_SCHEMA).await?), vault).await
    }

    /// Opens a store in PostgreSQL, which several nodes may share, or creates its tables. The vault must be the one it was
    /// created with. `tls` has the trusted roots.
    pub async fn open_postgres(
        settings: PostgresSettings,
        tls: rustls::ClientConfig,
        vault: Vault,
    ) -> Result<Self, StoreError> {
        Self::with(Arc::new(Postgres::open(settings, tls, STORE_SCHEMA).await?), vault).await
    }

    /// Whether a database holds a store already, so that only the key it was sealed with opens it.
    pub async fn is_sealed(database: &dyn Database) -> Result<bool, StoreError> {
        let check = Statement::new("SELECT value FROM meta WHERE name = 'key-check'", []);
        Ok(database.transaction(vec![check]).await?.pop().and_then(first).is_some())
    }

    /// A store that is gone when the program ends, for tests and demonstrations.
    pub async fn open_in_memory(vault: Vault) -> Result<Self, StoreError> {
        Self::with(Arc::new(Sqlite::open_in_memory(STORE_SCHEMA).await?), vault).await
    }

    /// A store in any engine.
    ///
    /// A vault with more than one key is that of a key rotation that has begun. Before anything else is written with the new key, what
    /// tells that a store has it is: a process that has the old key alone would take values it cannot open for damaged ones.
    pub async fn with(database: Arc<dyn Database>, vault: Vault) -> Result<Self, StoreError> {
        let keys = vault.keys();
        let (store, mut check) = Self::with_keys_as_they_are(database, vault).await?;
        if keys > 1 && !store.sealer.is_current(&check) {
            store.seal_meta_with_newest_key().await?;
            check = store.key_check().await?;
        }
        store.database.belongs_to(&check);
        Ok(store)
    }

    /// A store whose key is that of the vault, or one of them; and its check value.
    pub(super) async fn with_keys_as_they_are(
        database: Arc<dyn Database>,
        vault: Vault,
    ) -> Result<(Self, Vec<u8>), StoreError> {
        let time = database.has_a_clock_of_its_own().then(Arc::default);
        let (ledgers, unwritten) = (Arc::default(), Arc::default());
        let store = Self { database, sealer: Sealer::new(vault), ledgers, in_background: false, time, unwritten };
        let sealed = store.seal(&META, &[&KEY_CHECK_ROW], &Secret::from(KEY_CHECK))?;
        let (head, list) = Self::new_ledger(&store.sealer)?;
        store
            .run(vec![
                Statement::new(
                    "INSERT INTO meta (name, value) VALUES ('key-check', $1) ON CONFLICT (name) DO NOTHING",
                    [sealed.clone()],
                ),
                // If that was written, the store is new.
                Statement::new(NEW_LEDGER_HEAD, [sealed.clone(), head]),
                Statement::new(NEW_LEDGER_LIST, [sealed.clone(), list]),
            ])
            .await?;
        let mut check = store.key_check().await?;
        if opens_as(&store.sealer, &check, KEY_CHECK_BEFORE_ACCESS) {
            let update = "UPDATE meta SET value = $1 WHERE name = 'key-check'";
            let mut also = store.bind_verified_passwords_to_their_time().await?;
            also.push(Statement::new(update, [sealed]));
            // If not, another process has just done it.
            if store.seal_for_the_first_time(also).await? {
                tracing::warn!("access to the accounts is sealed from now on, as it is at present");
            }
            check = store.key_check().await?;
        }
        if !is_check(&store.sealer, &check) {
            return Err(StoreError::WrongKey);
        }
        store.look_at_the_time().await;
        Ok((store, check))
    }

    async fn key_check(&self) -> Result<Vec<u8>, StoreError> {
        let rows = self.rows(Statement::new("SELECT value FROM meta WHERE name = 'key-check'", [])).await?;
        Ok(rows.into_iter().next().and_then(|mut row| row.bytes(0)).unwrap_or_default())
    }

    /// The same store for background work and for administrators: their lists are read on a connection of their own, so that no
    /// login waits for them.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self { in_background: true, ..self.clone() }
    }

    /// The clock for whatever nodes compare with each other: the database's, or this machine's where that is the same.
    pub fn clock(&self, node: SharedClock) -> SharedClock {
        match &self.time {
            Some(time) => Arc::new(DatabaseClock { time: time.clone(), node }),
            None => node,
        }
    }

    /// Sees what time it is at the database. If it cannot be seen, the time goes on from the last look.
    pub(crate) async fn look_at_the_time(&self) {
        let Some(time) = &self.time else { return };
        let begun = Instant::now();
        let rows = self.rows(Statement::new("SELECT DATABASE_NOW", [])).await;
        let Some(found) = rows.ok().and_then(|rows| rows.into_iter().next()).and_then(|mut row| row.time(0)) else {
            return;
        };
        match time.looked(found, begun, Instant::now(), SystemTime::now()) {
            Some(SkewNews::Wrong { by, ahead }) => tracing::warn!(
                seconds = by.as_secs(),
                "the clock of this machine is {} that of the database; tokens go by the database's, but certificates and logs do \
                 not: set the clock of this machine (NTP), or that of the database if it is the wrong one",
                if ahead { "ahead of" } else { "behind" }
            ),
            Some(SkewNews::Right) => tracing::info!("the clock of this machine agrees with the database's again"),
            None => {}
        }
    }

    /// Why tokens could not be written when they came. They are served from memory until they can.
    pub fn unwritten(&self) -> Option<StoreError> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn did_not_write(&self, error: &StoreError) {
        *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }

    pub(crate) fn wrote(&self) {
        let before = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).take();
        if before.is_some() {
            tracing::info!("the store accepts new tokens again");
        }
    }

    /// Hints that another node may have written tokens; see [`Database::hints`].
    pub(crate) fn hints(&self) -> Hints {
        self.database.hints()
    }

    async fn run(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, StoreError> {
        match self.in_background && only_read(&statements) {
            true => Ok(self.database.read_in_background(statements).await?),
            false => Ok(self.database.transaction(statements).await?),
        }
    }

    async fn rows(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        Ok(self.run(vec![statement]).await?.pop().map(|outcome| outcome.rows).unwrap_or_default())
    }

    /// Runs one statement. Returns whether it changed a row.
    async fn change(&self, statement: Statement) -> Result<bool, StoreError> {
        Ok(changed(self.run(vec![statement]).await?.first()))
    }

    /// Seals a value for the row that `key` names.
    fn seal(&self, column: &SealedColumn, key: &[&dyn Display], secret: &Secret) -> Result<Value, StoreError> {
        Ok(Value::Bytes(self.sealer.seal(column, key, secret)?))
    }
}

/// Whether the check value of a store opens with this key.
fn is_check(sealer: &Sealer, sealed: &[u8]) -> bool {
    [KEY_CHECK, KEY_CHECK_BEFORE_ACCESS].into_iter().any(|text| opens_as(sealer, sealed, text))
}

fn opens_as(sealer: &Sealer, sealed: &[u8], text: &str) -> bool {
    sealer.open(&META, &[&KEY_CHECK_ROW], sealed).is_ok_and(|opened| opened.reveal() == text.as_bytes())
}

fn changed(outcome: Option<&Outcome>) -> bool {
    outcome.is_some_and(|outcome| outcome.changed > 0)
}

fn first(outcome: Outcome) -> Option<Row> {
    outcome.rows.into_iter().next()
}
