//! Can this account be used now, and if not, when? One answer for logins and for background senders, without a request: from the
//! stored token, its last failure, and the circuit of its authority.

use std::time::SystemTime;

use tokio::sync::watch;

use super::{Tokens, Why, settled, unexpired};
use crate::{
    account::Account,
    error::{ErrorKind, Problem, TokenError},
    schedule,
    store::StoreError,
};

/// Whether an account can be used, as far as its token is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It has a token, or may ask for one.
    Now,
    /// There is no use in trying before that time. It may be ready sooner: see [`Tokens::recoveries`].
    NotBefore {
        /// When to try.
        at: SystemTime,
        /// Why not now.
        problem: Problem,
    },
    /// Not until an administrator or a user acts.
    NeedsAdministrator(Problem),
}

impl Tokens {
    /// Whether the account can be used now, and if not, when.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn readiness(&self, account: &Account) -> Result<Readiness, StoreError> {
        let shared = &self.0;
        let account = &account.token_account();
        let stored = shared.store.tokens(&account.mailbox).await?;
        let (why, now) = (Why::Serve, shared.clock.now());
        if settled(&stored, &why, now).or_else(|| unexpired(&stored, &why, now)).is_some() {
            return Ok(Readiness::Now);
        }
        let account_state = shared.account_state(&account.mailbox);
        if let Some(error) = account_state.blocked(&shared.caller(account, stored.version, &why)) {
            return Ok(of_error(&error, now));
        }
        // A failure that another node, or this one before its restart, has stored.
        if let Some(failure) = stored.failure.filter(|failure| failure.try_again > now && failure.at <= now) {
            let problem =
                Problem { what: failure.what, remedy: failure.remedy, code: failure.code, detail: String::new() };
            return Ok(match failure.kind {
                ErrorKind::SignInRequired | ErrorKind::Misconfigured => Readiness::NeedsAdministrator(problem),
                ErrorKind::Transient | ErrorKind::Store => Readiness::NotBefore { at: failure.try_again, problem },
            });
        }
        Ok(match shared.refusal(account).await {
            Some(refusal) => of_error(&refusal.into(), now),
            None => Readiness::Now,
        })
    }

    /// Changes whenever an authority answers again after an outage: an account that was [`Readiness::NotBefore`] may be ready
    /// now.
    pub fn recoveries(&self) -> watch::Receiver<u64> {
        self.0.gate.closed()
    }
}

fn of_error(error: &TokenError, now: SystemTime) -> Readiness {
    match error {
        TokenError::Transient { retry_after, problem } => {
            Readiness::NotBefore { at: schedule::after(now, retry_after.unwrap_or_default()), problem: problem.clone() }
        }
        TokenError::Paused { retry_after, problem } => {
            Readiness::NotBefore { at: schedule::after(now, *retry_after), problem: problem.clone() }
        }
        TokenError::SignInRequired(problem) | TokenError::Misconfigured(problem) => {
            Readiness::NeedsAdministrator(problem.clone())
        }
        TokenError::Store(error) => Readiness::NotBefore { at: now, problem: Problem::new(error.to_string(), "") },
    }
}
