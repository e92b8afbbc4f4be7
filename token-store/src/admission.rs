//! The gate: a user name and a local password become an [`Admitted`] account, the only thing that opens a token.

mod docket;
mod judge;
mod memory;
mod strangers;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use oxpost_protocol::Secret;
use tokio::sync::Semaphore;

use self::{judge::Judge, memory::Memory};
use crate::{
    account::{Account, Grant, LOGIN_LIMIT},
    clock::SharedClock,
    error::TokenError,
    password::{PASSWORD_LIMIT, PasswordHash},
    store::{PasswordRow, Store, StoreError},
    tokens::Tokens,
};

/// How often `last_used` is written at most: a write costs a flush to the disk.
const USED_EVERY: Duration = Duration::from_secs(60);

/// The bounds of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Passwords that are hashed at once; each takes 19 MiB and a core.
    pub hashes_at_once: usize,
    /// Logins that may wait for that; others are told that we are busy.
    pub hashes_waiting: usize,
    /// Verified logins that are remembered.
    pub remembered: usize,
    /// How long each is remembered.
    pub remember_for: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { hashes_at_once: 4, hashes_waiting: 256, remembered: 4096, remember_for: Duration::from_secs(600) }
    }
}

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Gate>);

struct Gate {
    store: Store,
    clock: SharedClock,
    limits: AdmissionLimits,
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
    memory: Memory,
    judge: Option<Judge>,
    dummy: PasswordHash,
    hashes: AtomicUsize,
}

/// An account whose password was right. Only [`Accounts::admit`] makes one.
#[derive(Clone, Debug)]
pub struct Admitted {
    account: Arc<Account>,
}

impl Admitted {
    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    #[cfg(test)]
    pub(crate) fn for_tests(account: Account) -> Self {
        Self { account: Arc::new(account) }
    }
}

/// Why a login was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No such account, or a wrong password; which of them is nobody's business.
    #[error("the user name or the password is wrong; `oxpost account password MAILBOX` makes a new one")]
    BadCredentials,
    /// Too many passwords wait to be checked.
    #[error("too many logins are being checked at this moment; try again in a few seconds")]
    Busy,
    /// Microsoft judges the passwords of this account, and says that this one is wrong.
    #[error("Microsoft refuses the user name or the password")]
    WrongAtMicrosoft,
    /// Microsoft is not asked about any more passwords of this account for a while.
    #[error(
        "so many wrong passwords have come for this account that Microsoft is not asked about more of them for up to an hour: it \
         would lock the user out. `oxpost sign-in MAILBOX` tries one at once"
    )]
    TooManyPasswords,
    /// Microsoft judges the passwords of this account, and has said neither yes nor no.
    #[error(transparent)]
    NotJudged(TokenError),
    /// Our own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

impl Accounts {
    /// A gate to the accounts of this store.
    pub fn new(store: Store, clock: SharedClock, limits: AdmissionLimits) -> Self {
        Self::with_judge(store, clock, limits, None)
    }

    fn with_judge(store: Store, clock: SharedClock, limits: AdmissionLimits, judge: Option<Judge>) -> Self {
        Self(Arc::new(Gate {
            store,
            clock,
            limits,
            hashing: Arc::new(Semaphore::new(limits.hashes_at_once.max(1))),
            waiting: AtomicUsize::new(0),
            judge,
            memory: Memory::new(limits.remembered, limits.remember_for),
            dummy: PasswordHash::dummy(),
            hashes: AtomicUsize::new(0),
        }))
    }

    /// A gate that also lets Microsoft judge the passwords of accounts with [`Grant::Password`]; without this, nobody can
    /// log in to those.
    pub fn judged_by(store: Store, clock: SharedClock, limits: AdmissionLimits, tokens: Tokens) -> Self {
        Self::with_judge(store, clock, limits, Some(Judge::new(tokens)))
    }

    /// Checks a login that comes from this machine itself; see [`Accounts::admit_from`].
    pub async fn admit(&self, user: &str, password: &Secret) -> Result<Admitted, Denied> {
        self.admit_from(IpAddr::V4(Ipv4Addr::LOCALHOST), user, password).await
    }

    /// Checks a login. It costs an argon2 for each password of the account, and one where there is no such account, unless
    /// the same login was verified a short while ago and its password has not been changed since. Where Microsoft judges
    /// passwords it may cost a request, and the address matters: strangers' guesses must not cost the user's own tries.
    pub async fn admit_from(&self, from: IpAddr, user: &str, password: &Secret) -> Result<Admitted, Denied> {
        if user.len() > LOGIN_LIMIT || password.is_empty() || password.len() > PASSWORD_LIMIT {
            return Err(Denied::BadCredentials);
        }
        let gate = &self.0;
        let (account, passwords) = match gate.find(user).await? {
            Some((account, passwords)) => (Some(account), passwords),
            None => (None, Vec::new()),
        };
        if let Some(account) = account.as_ref().filter(|account| account.grant == Grant::Password)
            && let Some(judge) = &gate.judge
        {
            return gate.judged(judge, account, password, from).await;
        }
        let remembered =
            account.as_ref().and_then(|account| gate.memory.recall(&account.mailbox, password, &passwords));
        let verified = match remembered {
            Some(row) => Some(row),
            None => gate.verify(passwords, password).await?,
        };
        let (Some(account), Some(row)) = (account, verified) else { return Err(Denied::BadCredentials) };
        gate.memory.remember(&account.mailbox, password, &row);
        gate.note_use(&account, &row).await;
        Ok(Admitted { account: Arc::new(account) })
    }
}

impl Gate {
    async fn judged(
        &self,
        judge: &Judge,
        account: &Account,
        password: &Secret,
        from: IpAddr,
    ) -> Result<Admitted, Denied> {
        let mailbox = &account.mailbox;
        let stored = self.store.judged_password(mailbox).await?;
        if let Some(stored) = stored.as_ref().filter(|stored| judge.has_not_seen(mailbox, password, stored.judged)) {
            let row = PasswordRow { name: String::new(), hash: stored.hash.clone(), last_used: None };
            if self.verify(vec![row], password).await?.is_some() {
                judge.remember(mailbox, password, stored.judged);
            }
        }
        judge.admit(account, password, from).await?;
        let last_used = stored.and_then(|stored| stored.last_used);
        let now = self.clock.now();
        if !last_used.is_some_and(|used| recent(used, now))
            && let Err(error) = self.store.judged_login(mailbox, now).await
        {
            tracing::warn!(%mailbox, "the login could not be noted: {error}");
        }
        // Read again: whose password it was may be news.
        let account = self.store.account(mailbox).await?.ok_or(Denied::BadCredentials)?;
        Ok(Admitted { account: Arc::new(account) })
    }

    /// Finds the account of a user name. Exchange's old way of naming a shared mailbox, `owner\shared` or `owner/shared`,
    /// names the account of the shared one.
    async fn find(&self, user: &str) -> Result<Option<(Account, Vec<PasswordRow>)>, StoreError> {
        let found = self.store.account_and_passwords(user).await?;
        match user.rsplit_once(['\\', '/']) {
            Some((_, shared)) if found.is_none() => self.store.account_and_passwords(shared).await,
            _ => Ok(found),
        }
    }

    /// The row whose password this is. An account with several passwords costs a hash for each; one without any, or no
    /// account, costs one that cannot match.
    async fn verify(&self, mut passwords: Vec<PasswordRow>, password: &Secret) -> Result<Option<PasswordRow>, Denied> {
        let waiting = Waiting::enter(&self.waiting, self.limits.hashes_waiting).ok_or(Denied::Busy)?;
        let permit = self.hashing.clone().acquire_owned().await.map_err(|_| Denied::Busy)?;
        drop(waiting);
        let cannot_match = passwords.is_empty();
        if cannot_match {
            passwords.push(PasswordRow { name: String::new(), hash: self.dummy.clone(), last_used: None });
        }
        self.hashes.fetch_add(passwords.len(), Ordering::Relaxed);
        let password = password.clone();
        let checked = tokio::task::spawn_blocking(move || {
            // The permit goes with the work: a client that hangs up must not let more hashes run than allowed.
            let _permit = permit;
            passwords.into_iter().find(|row| row.hash.verify(&password))
        });
        let found = checked.await.map_err(|_| Denied::Busy)?;
        Ok(found.filter(|_| !cannot_match))
    }

    /// Notes the use, at most once a minute. A full disk must not keep anybody from their mail.
    async fn note_use(&self, account: &Account, row: &PasswordRow) {
        let now = self.clock.now();
        if row.last_used.is_some_and(|used| recent(used, now)) {
            return;
        }
        if let Err(error) = self.store.password_used(&account.mailbox, &row.name, now).await {
            tracing::warn!(mailbox = %account.mailbox, "the use of a local password could not be noted: {error}");
        }
    }
}

fn recent(used: SystemTime, now: SystemTime) -> bool {
    now.duration_since(used).is_ok_and(|passed| passed < USED_EVERY)
}

/// One place in the queue; it is given back when the caller goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        (before < limit).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Accounts {
    /// How many argon2 hashes were computed.
    pub(crate) fn hashes(&self) -> usize {
        self.0.hashes.load(Ordering::Relaxed)
    }
}
