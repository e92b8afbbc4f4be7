//! What remote verification needs of an account's tokens.

use std::time::{Duration, SystemTime};

use oxpost_protocol::Secret;

use super::{Tokens, Why, account_state::pause_after, refresh::failure};
use crate::{
    account::{Account, Mailbox},
    error::{ErrorKind, TokenError},
    password::{HashingFailed, PasswordHash},
    password_grant::{NotAccepted, verify_remotely},
    schedule,
    store::{RefreshToken, RemoteAttempt, StoreError},
};

/// The time within which wrong passwords are counted that Microsoft was asked about.
const WRONG_WINDOW: Duration = Duration::from_secs(3600);

/// How many Microsoft hears within that time for one account from unfamiliar sources, and how many from familiar ones: ten
/// lock the user out there
/// (<https://learn.microsoft.com/entra/identity/authentication/howto-password-smart-lockout>).
const WRONG_LIMIT: usize = 4;

/// The same in the clouds of the US Government, where three lock.
const WRONG_LIMIT_US_GOVERNMENT: usize = 1;

/// The state of an account's tokens.
pub(crate) struct TokenStatus {
    /// They can still be used, or refreshed.
    pub(crate) usable: bool,
    /// When they were obtained.
    pub(crate) obtained_at: Option<SystemTime>,
    /// When the password that brought them was verified.
    pub(crate) verified: Option<SystemTime>,
}

impl Tokens {
    /// The state of the tokens that the last right password has brought. With `try_it` they are tried: a refresh token that was
    /// revoked because the password was changed shows then.
    pub(crate) async fn status_for_verification(
        &self,
        account: &Account,
        try_it: bool,
    ) -> Result<TokenStatus, StoreError> {
        let state = self.0.store.token_state(&account.mailbox).await?;
        let verified = self.0.store.verified_password(&account.mailbox).await?.map(|password| password.verified);
        let obtained_at = state.refreshed_at;
        if state.last_error.is_some_and(|error| error.kind == ErrorKind::SignInRequired) {
            return Ok(TokenStatus { usable: false, obtained_at, verified });
        }
        // The session needs the token anyway, and gets this one.
        let usable = try_it && !matches!(self.obtain(account, Why::Serve).await, Err(TokenError::SignInRequired(_)));
        Ok(TokenStatus { usable, obtained_at, verified })
    }

    /// Why the account's authority is paused now.
    pub(crate) async fn paused(&self, account: &Account) -> Option<TokenError> {
        self.0.refusal(account).await.map(TokenError::from)
    }

    /// Asks Microsoft whether this is the password of the account; if so, the tokens of this login replace the stored ones. A
    /// wrong password leaves no trace in the store: attackers send those.
    pub(crate) async fn verify_password(&self, account: &Account, password: &Secret) -> Result<(), NotAccepted> {
        let shared = &self.0;
        let application =
            shared.applications.get(&account.application).ok_or_else(|| shared.unknown_application(account))?;
        let there = shared.store.tokens(&account.mailbox).await?;
        let verified =
            verify_remotely(&shared.http, &shared.store, application, account, password, &shared.clock).await;
        match &verified {
            Ok(()) => tracing::debug!(mailbox = %account.mailbox, "Microsoft has accepted the password"),
            Err(NotAccepted { is_wrong: true, .. }) => {
                tracing::debug!(mailbox = %account.mailbox, "Microsoft has refused the password");
            }
            Err(NotAccepted { error: TokenError::Paused { .. }, .. }) => {}
            Err(NotAccepted { error, .. }) => {
                // While there are tokens, a failure that passes is no news of theirs.
                let passes = error.kind() == ErrorKind::Transient;
                let nothing = there.access.is_none() && there.refresh == RefreshToken::None;
                self.note_verification_failure(account, there.version, error, nothing || !passes).await;
            }
        }
        verified
    }

    /// Stores the hash of a password that Microsoft has just accepted. If that fails, Microsoft is asked again after a restart.
    pub(crate) async fn keep_verified_password(
        &self,
        mailbox: &Mailbox,
        hash: Result<PasswordHash, HashingFailed>,
        verified: SystemTime,
    ) {
        let hash = match hash {
            Ok(hash) => hash,
            Err(error) => return tracing::warn!(%mailbox, "{error}"),
        };
        if let Err(error) = self.0.store.save_verified_password(mailbox, &hash, verified).await {
            tracing::warn!(%mailbox, "the password that Microsoft accepted could not be stored: {error}");
        }
    }

    /// Forgets the password that was verified at that moment.
    pub(crate) async fn forget_verified_password(&self, mailbox: &Mailbox, verified: SystemTime) {
        if let Err(error) = self.0.store.forget_verified_password(mailbox, verified).await {
            tracing::warn!(%mailbox, "the password that Microsoft no longer accepts could not be removed: {error}");
        }
    }

    /// Counts a password before Microsoft is asked about it; `false` if it must not be asked.
    pub(crate) async fn count_remote_attempt(
        &self,
        account: &Account,
        familiar: bool,
        password: &Secret,
    ) -> Result<bool, StoreError> {
        let limit = if self.locks_after_three(account) { WRONG_LIMIT_US_GOVERNMENT } else { WRONG_LIMIT };
        let attempt = RemoteAttempt { mailbox: &account.mailbox, familiar, password };
        self.0.store.count_remote_attempt(attempt, limit, WRONG_WINDOW, self.0.clock.now()).await
    }

    /// A password that was counted was not wrong.
    pub(crate) async fn uncount_remote_attempt(&self, account: &Account, familiar: bool, password: &Secret) {
        let attempt = RemoteAttempt { mailbox: &account.mailbox, familiar, password };
        if let Err(error) = self.0.store.uncount_remote_attempt(attempt).await {
            tracing::warn!(account = %account.mailbox, "a right password stays counted as a wrong one for an hour: {error}");
        }
    }

    /// Whether the cloud of an account locks its users after three wrong passwords, as those of the US Government do.
    fn locks_after_three(&self, account: &Account) -> bool {
        let application = self.0.applications.get(&account.application);
        application.and_then(|application| application.token_url.host_str()).is_some_and(|host| host.ends_with(".us"))
    }

    /// Runs a future to completion even if its caller is dropped. None if it panicked.
    pub(crate) async fn run_to_completion<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.0.refreshes.spawn(work).await.ok()
    }

    async fn note_verification_failure(&self, account: &Account, version: i64, error: &TokenError, store_it: bool) {
        let now = self.0.clock.now();
        let detail = error.problem().map(|problem| problem.detail.clone()).unwrap_or_default();
        tracing::warn!(mailbox = %account.mailbox, kind = %error.kind(), detail, "the password could not be verified: {error}");
        if !store_it {
            return;
        }
        let failure = failure(error, &detail, now, schedule::after(now, pause_after(error, 1)));
        if let Err(store) = self.0.store.record_failure(&account.mailbox, version, None, &failure).await {
            tracing::warn!(mailbox = %account.mailbox, "the failure could not be noted in the store: {store}");
        }
    }
}
