//! Asks Microsoft whether a password is right.
//!
//! A password opens a stored token only if Microsoft has accepted this very password; the [`VerificationState`] of its account
//! says for how long. Microsoft is asked about one password of an account at a time, and about a few in all. It hears so few
//! wrong passwords that guessing here cannot lock the user out there. The result is recorded even if the client
//! disconnects meanwhile. A password is kept in memory as an HMAC under a key that never leaves the process; of the last right
//! one the store keeps a sealed argon2id hash, so that after a restart it is still known.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use aws_lc_rs::{hmac, rand};
use dashmap::DashMap;
use oxpost_protocol::Secret;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::{
    budget::UnfamiliarBudget,
    state::{Decision, PasswordTag, TokenStatus, VerificationResult, VerificationState},
};
use crate::{
    account::{Account, Mailbox},
    admission::{Denied, LoginSource, hash_pool::HashPool},
    error::{Problem, TokenError},
    password_grant::NotAccepted,
    schedule,
    store::StoreError,
    tokens::Tokens,
};

/// Passwords from unfamiliar sources that Microsoft is asked about concurrently.
const UNFAMILIAR_CONCURRENT: usize = 8;

/// The same from familiar sources, so that no attack keeps their users waiting.
const FAMILIAR_CONCURRENT: usize = 4;

/// How many logins may wait for that. More are refused as [`Denied::Busy`].
const WAITING: usize = 256;

pub(in crate::admission) struct RemoteVerifier(Arc<Shared>);

struct Shared {
    tokens: Tokens,
    pool: Arc<HashPool>,
    /// None if the system gave no random numbers: then every login is refused.
    key: Option<hmac::Key>,
    /// Only accounts that exist have one.
    entries: DashMap<Mailbox, Arc<AccountEntry>>,
    budget: Mutex<UnfamiliarBudget>,
    unfamiliar: Semaphore,
    familiar: Semaphore,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct AccountEntry {
    /// Held while Microsoft is asked; the others wait and find the answer. Familiar sources have a lock of their own, so that a
    /// guess that Microsoft answers slowly does not delay the user.
    turn: Arc<tokio::sync::Mutex<()>>,
    familiar_turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<VerificationState>,
}

/// One login: the password under its name, and where it comes from.
#[derive(Clone, Copy)]
struct Login {
    tag: PasswordTag,
    from: LoginSource,
}

impl RemoteVerifier {
    pub(in crate::admission) fn new(tokens: Tokens, pool: Arc<HashPool>) -> Self {
        let mut bytes = [0; 32];
        let key = rand::fill(&mut bytes).is_ok().then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        Self(Arc::new(Shared {
            tokens,
            pool,
            key,
            entries: DashMap::new(),
            budget: Mutex::default(),
            unfamiliar: Semaphore::new(UNFAMILIAR_CONCURRENT),
            familiar: Semaphore::new(FAMILIAR_CONCURRENT),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Whether the password that was verified at this moment, according to the store, is not in memory, so that this one may be
    /// it.
    pub(in crate::admission) fn has_not_seen(
        &self,
        mailbox: &Mailbox,
        password: &Secret,
        verified_at: SystemTime,
    ) -> bool {
        let entry = self.0.entry(mailbox);
        let state = entry.state();
        state.verified_at() != Some(verified_at) && !self.0.tag(password).is_some_and(|tag| state.was_right(&tag))
    }

    /// This is the password that was verified then.
    pub(in crate::admission) fn remember(&self, mailbox: &Mailbox, password: &Secret, verified_at: SystemTime) {
        if let Some(tag) = self.0.tag(password) {
            self.0.entry(mailbox).state().remember(tag, verified_at);
        }
    }

    /// Whether this is the account's password: from memory, or else as Microsoft says.
    pub(in crate::admission) async fn admit(
        &self,
        account: &Account,
        password: &Secret,
        from: LoginSource,
    ) -> Result<(), Denied> {
        let shared = &self.0;
        let tag = shared.tag(password).ok_or(Denied::Busy)?;
        let login = Login { tag, from };
        let entry = shared.entry(&account.mailbox);
        match shared.decide(account, &entry, &login).await? {
            Decision::Admit => return Ok(()),
            Decision::Deny(denied) => return Err(denied),
            Decision::AskMicrosoft { .. } => {}
        }
        let turn = if from.familiar { &entry.familiar_turn } else { &entry.turn };
        let turn = Arc::clone(turn).lock_owned().await;
        // The holder of the turn before may have asked about the same password.
        match shared.decide(account, &entry, &login).await? {
            Decision::Admit => Ok(()),
            Decision::Deny(denied) => Err(denied),
            Decision::AskMicrosoft { admit_if_unreachable } => {
                let asking = shared.clone().ask(account.clone(), password.clone(), entry, login, turn);
                match shared.tokens.run_to_completion(asking).await {
                    Some(Ok(VerificationResult::Right)) => Ok(()),
                    Some(Ok(VerificationResult::Wrong)) => Err(Denied::RejectedByMicrosoft),
                    Some(Ok(VerificationResult::Inconclusive(
                        TokenError::Transient { .. } | TokenError::Paused { .. },
                    ))) if admit_if_unreachable => Ok(()),
                    Some(Ok(VerificationResult::Inconclusive(error))) => Err(Denied::NotVerified(error)),
                    Some(Err(denied)) => Err(denied),
                    None => Err(Denied::NotVerified(given_up())),
                }
            }
        }
    }
}

impl Shared {
    fn tag(&self, password: &Secret) -> Option<PasswordTag> {
        // Byte by byte, unlike a local password: Microsoft does not ignore case or spaces.
        hmac::sign(self.key.as_ref()?, password.reveal()).as_ref().try_into().ok()
    }

    /// The map's guard ends here: it must never be held over an await.
    fn entry(&self, mailbox: &Mailbox) -> Arc<AccountEntry> {
        self.entries.entry(mailbox.clone()).or_default().clone()
    }

    fn budget(&self) -> MutexGuard<'_, UnfamiliarBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn decide(&self, account: &Account, entry: &AccountEntry, login: &Login) -> Result<Decision, StoreError> {
        let was_right = entry.state().was_right(&login.tag);
        let tokens = self.tokens.status_for_verification(account, was_right).await?;
        let status =
            TokenStatus { usable: tokens.usable, obtained_at: tokens.obtained_at, verified_at: tokens.verified };
        Ok(entry.state().decide(&login.tag, &status, self.tokens.now()))
    }

    /// Asks Microsoft, and notes the answer while the turn lasts.
    async fn ask(
        self: Arc<Self>,
        account: Account,
        password: Secret,
        entry: Arc<AccountEntry>,
        login: Login,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<VerificationResult, Denied> {
        // While the authority is paused, no login waits and nothing is written.
        if let Some(paused) = self.tokens.paused(&account).await {
            return Ok(VerificationResult::Inconclusive(paused));
        }
        let _permit = self.permit(login.from.familiar).await?;
        let was_right = {
            let state = entry.state();
            state.verified_at().filter(|_| state.was_right(&login.tag))
        };
        let counted = was_right.is_none();
        let unfamiliar = counted && !login.from.familiar;
        if unfamiliar && !self.budget().take(login.from.source, self.tokens.now()) {
            return Err(Denied::TooManyPasswords);
        }
        if counted && !self.tokens.count_remote_attempt(&account, login.from.familiar, &password).await? {
            if unfamiliar {
                self.budget().give_back(login.from.source);
            }
            return Err(Denied::TooManyPasswords);
        }
        let result = match self.tokens.verify_password(&account, &password).await {
            Ok(()) => VerificationResult::Right,
            Err(NotAccepted { is_wrong: true, .. }) => VerificationResult::Wrong,
            Err(NotAccepted { error, .. }) => VerificationResult::Inconclusive(error),
        };
        if !matches!(result, VerificationResult::Wrong) {
            if unfamiliar {
                self.budget().give_back(login.from.source);
            }
            if counted {
                self.tokens.uncount_remote_attempt(&account, login.from.familiar, &password).await;
            }
        }
        // To the millisecond, as it is stored.
        let now = schedule::to_the_millisecond(self.tokens.now());
        match (&result, was_right) {
            (VerificationResult::Right, _) => {
                let hash = self.pool.hash(password).await;
                self.tokens.keep_verified_password(&account.mailbox, hash, now).await;
            }
            (VerificationResult::Wrong, Some(verified_at)) => {
                self.tokens.forget_verified_password(&account.mailbox, verified_at).await
            }
            _ => {}
        }
        // A paused authority says nothing about this account.
        if !matches!(result, VerificationResult::Inconclusive(TokenError::Paused { .. })) {
            entry.state().note(login.tag, &result, now);
        }
        Ok(result)
    }

    async fn permit(&self, familiar: bool) -> Result<tokio::sync::SemaphorePermit<'_>, Denied> {
        if familiar {
            return self.familiar.acquire().await.map_err(|_| Denied::Busy);
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let permit = if waiting < WAITING {
            self.unfamiliar.acquire().await.map_err(|_| Denied::Busy)
        } else {
            Err(Denied::Busy)
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        permit
    }
}

impl AccountEntry {
    fn state(&self) -> MutexGuard<'_, VerificationState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn given_up() -> TokenError {
    let what = "The remote verification of a password was dropped inside Oxpost.";
    let problem = Problem::new(what, "Try again; if it lasts, see the log and report it.");
    TokenError::Transient { retry_after: None, problem }
}
