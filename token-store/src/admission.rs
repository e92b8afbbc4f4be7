//! The gate: a user name and a local password become an [`Admitted`] account, the only thing that opens a token.

mod background_writes;
mod familiar_sources;
mod hash_pool;
mod login_cache;
mod remote;
mod spare_memory;
mod user_name;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use oxpost_protocol::{
    Secret,
    sasl::{PASSWORD_LIMIT, USER_LIMIT},
};

use self::{
    background_writes::{BackgroundWrites, Used},
    familiar_sources::FamiliarSources,
    hash_pool::{HashPool, Priority},
    login_cache::LoginCache,
    remote::RemoteVerifier,
};
use crate::{
    account::{Account, Admitted, Grant, Mailbox, Origin},
    clock::SharedClock,
    error::TokenError,
    password::PasswordHash,
    source::Source,
    store::{PasswordRow, Store, StoreError, UpstreamRefusal},
    tokens::Tokens,
};

/// The bounds of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// How many passwords are hashed concurrently, logins from familiar sources included; each hash takes 19 MiB and a core.
    pub concurrent_hashes: usize,
    /// How many logins may wait for that. More are refused as [`Denied::Busy`].
    pub hashes_waiting: usize,
    /// How long the login cache keeps a login that was right.
    pub remember_for: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { concurrent_hashes: 4, hashes_waiting: 256, remember_for: Duration::from_secs(600) }
    }
}

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Shared>);

struct Shared {
    store: Store,
    pool: Arc<HashPool>,
    cache: LoginCache,
    familiar: FamiliarSources,
    background_writes: BackgroundWrites,
    remote_verifier: Option<RemoteVerifier>,
    dummy: PasswordHash,
}

/// Why a login was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No such account, or a wrong password; the client cannot tell which.
    #[error("the user name or the password is wrong; `oxpost account password add MAILBOX` makes a new one")]
    BadCredentials,
    /// Too many passwords wait to be checked.
    #[error("too many logins are being checked at this moment; try again in a few seconds")]
    Busy,
    /// Microsoft verifies the passwords of this account and refused this one.
    #[error("Microsoft refuses the user name or the password")]
    RejectedByMicrosoft,
    /// Microsoft is not asked about further passwords of this account for a while.
    #[error(
        "too many wrong passwords for this account: Microsoft is not asked about further ones for up to an hour, because it \
         would lock the user out. `oxpost sign-in MAILBOX` tries one immediately"
    )]
    TooManyPasswords,
    /// Microsoft verifies the passwords of this account and gave no verdict on this one.
    #[error(transparent)]
    NotVerified(TokenError),
    /// Our own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A login that was looked up, and whose password was not compared with anything yet.
pub struct Attempt {
    accounts: Accounts,
    user: String,
    password: Secret,
    source: Source,
    account: Option<Account>,
    passwords: Vec<PasswordRow>,
}

/// An account whose password is guessed at, if a login is a guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptTarget {
    /// The account that the password belongs to.
    pub mailbox: Mailbox,
    /// Whether a login with one of its passwords has succeeded from this source within the last 30 days.
    pub familiar: bool,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("source", &self.source).finish_non_exhaustive()
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

impl Accounts {
    /// Admission to the accounts of this store, without remote verification.
    pub fn new(store: Store, clock: SharedClock, limits: AdmissionLimits) -> Self {
        Self::build(store, clock, limits, None)
    }

    fn build(store: Store, clock: SharedClock, limits: AdmissionLimits, tokens: Option<Tokens>) -> Self {
        let pool = Arc::new(HashPool::new(limits.concurrent_hashes, limits.hashes_waiting));
        Self(Arc::new(Shared {
            familiar: FamiliarSources::new(store.clone(), clock.clone()),
            background_writes: BackgroundWrites::new(store.clone(), clock),
            store,
            remote_verifier: tokens.map(|tokens| RemoteVerifier::new(tokens, Arc::clone(&pool))),
            pool,
            cache: LoginCache::new(limits.remember_for),
            dummy: PasswordHash::dummy(),
        }))
    }

    /// Admission that also has Microsoft verify the passwords of accounts with [`Grant::Password`]; without it, no login
    /// to those accounts is possible.
    pub fn with_remote_verification(store: Store, clock: SharedClock, limits: AdmissionLimits, tokens: Tokens) -> Self {
        Self::build(store, clock, limits, Some(tokens))
    }

    /// Verifies a login from this machine; see [`Accounts::admit_from`].
    pub async fn admit(&self, user: &str, password: &Secret) -> Result<Admitted, Denied> {
        self.admit_from(IpAddr::V4(Ipv4Addr::LOCALHOST), user, password).await
    }

    /// Verifies a login. It costs one argon2 hash for each password of the account, or one if there is no such account, unless
    /// the login cache has the login. Where Microsoft verifies passwords it may cost a request; the address decides which budget
    /// of wrong passwords that counts against.
    pub async fn admit_from(&self, from: IpAddr, user: &str, password: &Secret) -> Result<Admitted, Denied> {
        self.attempt(user, password, Source::of(from)).await?.verify().await
    }

    /// Reads from where logins have succeeded, so that those sources are known before the first login.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load_familiar_sources(&self) -> Result<(), StoreError> {
        self.0.familiar.load().await
    }

    /// Whether a login to any account has succeeded from there within the last 30 days, as far as this process knows.
    pub fn is_familiar_to_any(&self, source: Source) -> bool {
        self.0.familiar.is_familiar_to_any(source)
    }

    /// The account of a mailbox, for clients that an administrator lets in without a password. `None`: there is no such account,
    /// or it is disabled.
    pub async fn admit_without_password(&self, mailbox: &Mailbox) -> Result<Option<Admitted>, StoreError> {
        let found = self.0.store.opened_by(mailbox).await?.filter(|account| account.origin != Origin::Disabled);
        Ok(found.map(Admitted::authenticated))
    }

    /// Stores that a mail server refused a login for a reason that an administrator must fix, or (`None`) that it accepted one.
    pub fn note_upstream_result(&self, mailbox: Mailbox, protocol: String, refused: Option<UpstreamRefusal>) {
        self.0.background_writes.note_upstream_result(mailbox, protocol, refused);
    }

    /// Sizes the login cache for the present number of accounts, in the background.
    fn count_accounts(&self) {
        let accounts = self.clone();
        tokio::spawn(async move {
            match accounts.0.store.in_background().count_accounts().await {
                Ok(count) => accounts.0.cache.make_room_for(count),
                Err(error) => tracing::debug!("the accounts cannot be counted for the login cache: {error}"),
            }
        });
    }

    /// Stores that a mail server accepted a login to this account. If it used the token of a delegate, the sign-in that the
    /// account had before is no longer needed and is removed.
    pub fn note_login_accepted(&self, account: &Account) {
        if let Some(delegate) = &account.delegate {
            self.0.background_writes.note_delegate_login_succeeded(account.mailbox.clone(), delegate.clone());
        }
    }

    /// Waits until everything that logins store in the background is written.
    pub async fn wait_for_background_writes(&self) {
        self.0.background_writes.flush().await;
        self.0.familiar.flush().await;
    }

    /// The first half of [`Accounts::admit_from`]: nothing is compared with the password yet. Between the halves the login
    /// throttle decides.
    pub async fn attempt(&self, user: &str, password: &Secret, source: Source) -> Result<Attempt, Denied> {
        let found = if is_plausible(user, password) { user_name::find(&self.0.store, user).await? } else { None };
        let (account, passwords) = match found {
            Some((account, passwords)) => (Some(account), passwords),
            None => (None, Vec::new()),
        };
        let (user, password) = (user.to_owned(), password.clone());
        Ok(Attempt { accounts: self.clone(), user, password, source, account, passwords })
    }
}

impl Attempt {
    /// The accounts whose passwords this one is compared with: two for `owner\shared`, none where there is no such account.
    pub async fn targets(&self) -> Vec<AttemptTarget> {
        let mut targets: Vec<AttemptTarget> = Vec::new();
        for mailbox in self.password_owners() {
            if targets.iter().all(|other| other.mailbox != *mailbox) {
                let familiar = self.accounts.0.familiar.is_familiar(mailbox, self.source).await;
                targets.push(AttemptTarget { mailbox: mailbox.clone(), familiar });
            }
        }
        targets
    }

    /// Whether a login with the same password has succeeded from this source before; see [`AttemptTarget::familiar`].
    async fn is_familiar(&self) -> bool {
        let targets = self.targets().await;
        !targets.is_empty() && targets.iter().all(|targets| targets.familiar)
    }

    fn password_owners(&self) -> impl Iterator<Item = &Mailbox> {
        let remote = self.account.as_ref().filter(|_| self.is_remote()).map(Account::token_of);
        let local = self.passwords.iter().map(|row| &row.mailbox).filter(move |_| remote.is_none());
        let without = self.account.as_ref().filter(|_| remote.is_none() && self.passwords.is_empty());
        remote.into_iter().chain(local).chain(without.map(|account| &account.mailbox))
    }

    /// Whether Microsoft verifies this password.
    pub fn is_remote(&self) -> bool {
        self.accounts.0.remote_verifier_for(self.account.as_ref()).is_some()
    }

    /// A tag for this user name, this password and everything that the password is compared with, under a key that never leaves
    /// the process: adding or revoking a password changes it.
    ///
    /// # Errors
    /// The system gave no random numbers when this process started.
    pub fn pair_tag(&self) -> Result<[u8; 16], Denied> {
        let account = self.account.as_ref().map_or(self.user.as_str(), |account| account.mailbox.as_str());
        let remote = self.is_remote();
        self.accounts.0.cache.pair_tag(account, &self.password, &self.passwords, remote).ok_or(Denied::Busy)
    }

    /// The name for the log. Unknown names are not logged: users type passwords into the wrong field.
    pub fn name_for_log(&self) -> String {
        self.account.as_ref().map_or_else(|| "[no such account]".to_owned(), |account| account.mailbox.to_string())
    }

    /// The second half for a login that was wrong before and is repeated: it is wrong again. Where Microsoft verifies passwords it
    /// is asked again now and then, as the password may have been changed there to what a device has.
    pub async fn verify_repeated(self) -> Result<Admitted, Denied> {
        let familiar = self.is_familiar().await;
        let shared = &self.accounts.0;
        match (&self.account, shared.remote_verifier_for(self.account.as_ref())) {
            (Some(account), Some(remote_verifier)) if is_plausible(&self.user, &self.password) => {
                shared
                    .verify_remotely(
                        remote_verifier,
                        account,
                        &self.password,
                        LoginSource { source: self.source, familiar },
                        true,
                    )
                    .await
            }
            _ => Err(Denied::BadCredentials),
        }
    }

    /// The second half of [`Accounts::admit_from`]: hashes the password, or asks about it, if that is still needed.
    pub async fn verify(self) -> Result<Admitted, Denied> {
        if !is_plausible(&self.user, &self.password) {
            return Err(Denied::BadCredentials);
        }
        let familiar = self.is_familiar().await;
        let Self { accounts, password, source, account, passwords, .. } = self;
        let shared = &accounts.0;
        if let (Some(account), Some(remote_verifier)) = (&account, shared.remote_verifier_for(account.as_ref())) {
            return shared
                .verify_remotely(remote_verifier, account, &password, LoginSource { source, familiar }, false)
                .await;
        }
        let remembered =
            account.as_ref().and_then(|account| shared.cache.recall(&account.mailbox, &password, &passwords));
        let verified = match remembered {
            Some(row) => Some(row),
            None => shared.verify(LoginSource { source, familiar }.priority(), &passwords, &password).await?,
        };
        let (Some(account), Some(row)) = (account, verified) else { return Err(Denied::BadCredentials) };
        shared.cache.remember(&account.mailbox, &password, &row);
        if shared.cache.wants_count() {
            accounts.count_accounts();
        }
        shared.familiar.note(&row.mailbox, source);
        let admitted = Admitted::authenticated(account).with_credential(&row.name);
        shared.background_writes.note(Used::Local(row.mailbox, row.name), row.last_used);
        Ok(admitted)
    }
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LoginSource {
    source: Source,
    /// Whether the source is familiar to the account whose password was sent.
    familiar: bool,
}

impl LoginSource {
    fn priority(self) -> Priority {
        if self.familiar { Priority::Familiar } else { Priority::Unfamiliar }
    }
}

/// Whether user name and password are within the limits of any account.
fn is_plausible(user: &str, password: &Secret) -> bool {
    user.len() <= USER_LIMIT && (1..=PASSWORD_LIMIT).contains(&password.len())
}

impl Shared {
    /// Who verifies the passwords of this account, if not the local hashes.
    fn remote_verifier_for(&self, account: Option<&Account>) -> Option<&RemoteVerifier> {
        self.remote_verifier.as_ref().filter(|_| account.is_some_and(|account| account.grant == Grant::Password))
    }

    /// Verifies the password of the account whose tokens are used; it opens every mailbox that has that account as its delegate.
    async fn verify_remotely(
        &self,
        remote_verifier: &RemoteVerifier,
        account: &Account,
        password: &Secret,
        from: LoginSource,
        repeated: bool,
    ) -> Result<Admitted, Denied> {
        let token_account = account.token_account();
        let mailbox = &token_account.mailbox;
        let stored = self.store.verified_password(mailbox).await?;
        if let Some(stored) = stored
            .as_ref()
            .filter(|stored| !repeated && remote_verifier.has_not_seen(mailbox, password, stored.verified))
            && self.pool.find(from.priority(), vec![stored.hash.clone()], password).await?.is_some()
        {
            remote_verifier.remember(mailbox, password, stored.verified);
        }
        remote_verifier.admit(&token_account, password, from).await?;
        self.familiar.note(mailbox, from.source);
        self.background_writes.note(Used::Remote(mailbox.clone()), stored.and_then(|stored| stored.last_used));
        // Read again: remote verification may have taken a while.
        let account = self.store.account(&account.mailbox).await?.filter(|now| now.token_of() == mailbox);
        Ok(Admitted::authenticated(account.ok_or(Denied::BadCredentials)?))
    }

    /// The row whose password this is. An account with several passwords costs one hash for each. No password, or no account,
    /// costs one hash that cannot match.
    async fn verify(
        &self,
        priority: Priority,
        passwords: &[PasswordRow],
        password: &Secret,
    ) -> Result<Option<PasswordRow>, Denied> {
        let hashes = match passwords {
            [] => vec![self.dummy.clone()],
            rows => rows.iter().map(|row| row.hash.clone()).collect(),
        };
        let found = self.pool.find(priority, hashes, password).await?;
        Ok(found.and_then(|index| passwords.get(index)).cloned())
    }
}

#[cfg(test)]
impl Accounts {
    /// How many argon2 hashes were computed.
    pub(crate) fn hashes(&self) -> usize {
        self.0.pool.hashes()
    }

    /// Holds this many of the permits for unfamiliar sources.
    pub(crate) async fn occupy(&self, permits: u32) -> [tokio::sync::OwnedSemaphorePermit; 2] {
        self.0.pool.occupy(permits).await
    }
}
