//! Tokens of an application itself (client credentials). They do not depend on the mailbox, so one of them serves all accounts
//! of its application: the first account that needs one asks, the others copy it, from memory or from its row.
//!
//! Each account keeps a row of its own, so that its state, its plan and its alerts are like those of any other. Losing such a
//! token costs nothing, as another one can be requested at any time: no lease is taken, and a token that the store does not
//! accept is served anyway.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    AccessToken, Outcome, Shared, Why,
    account_state::{left, minimum_distance, pause_after, refused_again, with_retry_after},
    refresh::{Start, changed_elsewhere},
    settled,
};
use crate::{
    account::Account,
    application::Application,
    credential::Proofs,
    error::{ErrorKind, TokenError},
    schedule::{self, Usable, usable},
    store::{IssuedToken, StoreError, Stored},
};

/// What is known of one application's own tokens.
#[derive(Default)]
pub(super) struct AppOnly {
    /// Held by the caller that asks; the others wait.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What these tokens were obtained with: with other client secrets or certificates they do not count.
    proofs: Proofs,
    token: Option<IssuedToken>,
    /// When the authority gave it to this process, by the monotonic clock.
    received: Option<Duration>,
    /// When one was last asked for because a mail server had refused the one before.
    forced: Option<SystemTime>,
    failed: Option<Failed>,
}

/// A refusal of the application, whatever the mailbox.
struct Failed {
    error: TokenError,
    /// The mailbox that its words name.
    mailbox: String,
    failures: u32,
    since: SystemTime,
    pause: Duration,
}

impl Shared {
    /// A token of the application for this account: another account's, or a new one.
    pub(super) async fn replace_app_only(&self, account: &Account, why: &Why, start: &mut Start) -> Outcome {
        let mailbox = &account.mailbox;
        let application =
            self.applications.get(&account.application).ok_or_else(|| self.unknown_application(account))?;
        let stored = self.store.tokens(mailbox).await?;
        start.version = stored.version;
        let proofs = Proofs::of(application, &self.store, self.clock.now()).await?;
        let app_only = self.app_only.entry(application.name.clone()).or_default().clone();
        app_only.use_proofs(proofs);
        if let Some(token) = self.of_another(&app_only, account, &stored, why).await? {
            return self.keep_copy(account, &stored, token).await;
        }
        // An account that cannot be served at all does not wait for its turn.
        if let Some(refusal) = self.refusal(account).await {
            return Err(refusal.into());
        }
        let _turn = app_only.turn.lock().await;
        // The caller before may have obtained the token that this one wants.
        let stored = self.store.tokens(mailbox).await?;
        start.version = stored.version;
        if let Some(token) = settled(&stored, why, self.clock.now()) {
            return Ok(token);
        }
        if let Some(token) = self.of_another(&app_only, account, &stored, why).await? {
            return self.keep_copy(account, &stored, token).await;
        }
        let now = self.clock.now();
        if !self.is_diagnosis
            && let Some(error) = app_only.blocked(why, mailbox.as_str(), now, self.limits.forced_every)
        {
            return Err(error);
        }
        // Clocks may say what they want: a token that has just come is not replaced by another one.
        if !self.is_diagnosis
            && !matches!(why, Why::Refused(_))
            && let Some(token) = app_only.just_came(self.clock.elapsed())
        {
            return self.keep_copy(account, &stored, token).await;
        }
        let token = self.ask_app_only(&app_only, account, application, why).await?;
        self.keep_copy(account, &stored, token).await
    }

    async fn ask_app_only(
        &self,
        app_only: &AppOnly,
        account: &Account,
        application: &Application,
        why: &Why,
    ) -> Result<IssuedToken, TokenError> {
        let http = if matches!(why, Why::Due(_)) { &self.background_http } else { &self.http };
        let authority = self.authority(http, account, application);
        // As the rows keep it, so that a copy is not older than what it was copied from.
        let issued_at = schedule::to_the_millisecond(self.clock.now());
        tracing::debug!(application = application.name, "asking for a new access token of the application");
        match authority.client_credentials().await {
            Ok(tokens) => {
                let expires_at = schedule::after(issued_at, tokens.lifetime);
                let token = IssuedToken { secret: tokens.access_token, issued_at, expires_at, sign_in_name: None };
                let mut known = app_only.lock();
                (known.token, known.failed) = (Some(token.clone()), None);
                known.received = Some(self.clock.elapsed());
                if matches!(why, Why::Refused(_)) {
                    known.forced = Some(issued_at);
                }
                Ok(token)
            }
            Err(error) => {
                app_only.failed(account.mailbox.as_str(), &error, self.clock.now());
                Err(error)
            }
        }
    }

    /// A token that another account of the application has obtained, on this node or another, if it is usable here.
    async fn of_another(
        &self,
        app_only: &AppOnly,
        account: &Account,
        stored: &Stored,
        why: &Why,
    ) -> Result<Option<IssuedToken>, TokenError> {
        // A person wants to know what the authority says now.
        if self.is_diagnosis {
            return Ok(None);
        }
        let now = self.clock.now();
        let known = app_only.lock().token.clone();
        if let Some(token) = known.filter(|token| is_wanted(token, stored, why, now)) {
            return Ok(Some(token));
        }
        let token = self.store.app_only_token(&account.application, &account.mailbox, now).await?;
        let Some(token) = token.filter(|token| is_wanted(token, stored, why, now)) else { return Ok(None) };
        app_only.lock().token = Some(token.clone());
        Ok(Some(token))
    }

    /// Writes the token into the account's row. If that fails it is served all the same, unless it is no longer the account's.
    async fn keep_copy(&self, account: &Account, stored: &Stored, token: IssuedToken) -> Outcome {
        let mailbox = &account.mailbox;
        // (A machine's own service gives one token several times.)
        if stored.access.as_ref().is_some_and(|own| own.secret == token.secret && own.issued_at == token.issued_at) {
            return Ok(AccessToken::from(&token));
        }
        match self.store.save_app_only(&account.application, mailbox, stored.version, &token).await {
            Ok(true) => self.store.wrote(),
            Ok(false) => {
                // Another process has written, or the account is gone, or is another application's now.
                self.store.tokens(mailbox).await?;
                if !self.is_obtained_by(mailbox, &(account.application.clone(), account.grant)).await? {
                    return Err(changed_elsewhere());
                }
            }
            Err(error @ StoreError::Database(_)) => {
                tracing::warn!(%mailbox, "a new token could not be written, and is used from memory: {error}");
                self.store.did_not_write(&error);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(AccessToken::from(&token))
    }
}

/// Whether a token of the application answers the wish without a request.
fn is_wanted(token: &IssuedToken, stored: &Stored, why: &Why, now: SystemTime) -> bool {
    let good = usable(token.issued_at, token.expires_at, now) == Usable::Yes;
    let newer = stored.access.as_ref().is_none_or(|own| token.issued_at > own.issued_at);
    good && match why {
        Why::Serve => true,
        // A token that is due for replacement replaces nothing.
        Why::Due(_) => {
            let lifetime = token.expires_at.duration_since(token.issued_at).unwrap_or_default();
            newer && schedule::next_refresh(token.issued_at, lifetime, 0.0) > now
        }
        Why::Refused(refused) => newer && token.secret != *refused.secret(),
    }
}

impl AppOnly {
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client secret or certificate that was replaced ends what was known.
    fn use_proofs(&self, proofs: Proofs) {
        let mut known = self.lock();
        if known.proofs != proofs {
            *known = Known { proofs, ..Known::default() };
        }
    }

    fn just_came(&self, elapsed: Duration) -> Option<IssuedToken> {
        let known = self.lock();
        let (received, token) = (known.received?, known.token.clone()?);
        let lifetime = token.expires_at.duration_since(token.issued_at).unwrap_or_default();
        (elapsed.saturating_sub(received) < minimum_distance(lifetime)).then_some(token)
    }

    /// Why the application is not asked for another token now.
    fn blocked(&self, why: &Why, mailbox: &str, now: SystemTime, forced_every: Duration) -> Option<TokenError> {
        let known = self.lock();
        if let Some(failed) = &known.failed
            && let Some(left) = left(failed.since, failed.pause, now)
        {
            return Some(with_retry_after(failed.error.clone().about(&failed.mailbox, mailbox), left));
        }
        // A mailbox that refuses every token must not become a flood of requests, nor must fifty of them.
        let forced = known.forced.filter(|_| matches!(why, Why::Refused(_)))?;
        left(forced, forced_every, now).map(|_| TokenError::Misconfigured(refused_again()))
    }

    /// Failures of the authority are its circuit's; those of the application are all its accounts'.
    fn failed(&self, mailbox: &str, error: &TokenError, now: SystemTime) {
        if !matches!(error.kind(), ErrorKind::SignInRequired | ErrorKind::Misconfigured) {
            return;
        }
        let mut known = self.lock();
        let failures = known.failed.as_ref().map_or(0, |failed| failed.failures).saturating_add(1);
        let pause = pause_after(error, failures);
        let mailbox = mailbox.to_owned();
        known.failed = Some(Failed { error: error.clone(), mailbox, failures, since: now, pause });
    }
}

#[cfg(test)]
mod tests {
    use oxpost_protocol::Secret;

    use super::*;
    use crate::{credential::Proof, store::RefreshToken};

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    /// A token of an hour.
    fn token(secret: &str, issued: u64) -> IssuedToken {
        IssuedToken {
            secret: Secret::from(secret),
            issued_at: at(issued),
            expires_at: at(issued) + HOUR,
            sign_in_name: None,
        }
    }

    fn row(access: Option<IssuedToken>) -> Stored {
        Stored {
            version: 1,
            access,
            refresh: RefreshToken::None,
            identity: None,
            has_unreadable_identity: false,
            signed_in_as: None,
            failed_at: None,
            failure: None,
        }
    }

    #[test]
    fn token_is_copied_only_where_it_is_wanted() {
        let (refused, due) = (Why::Refused(AccessToken::from(&token("own", 0))), Why::Due(1));
        let (own, cold) = (row(Some(token("own", 0))), row(None));
        // The earliest moment at which the other token is to be replaced itself.
        let replaced = schedule::next_refresh(at(1), HOUR, 0.0);
        for (candidate, stored, why, now, expected) in [
            (token("other", 1), &cold, &Why::Serve, at(1), true),
            (token("other", 1), &cold, &Why::Serve, at(3601), false),
            (token("other", 1), &own, &due, replaced - Duration::from_millis(1), true),
            (token("other", 1), &own, &due, replaced, false),
            (token("other", 1), &cold, &due, replaced, false),
            (token("other", 0), &own, &due, at(1), false),
            (token("other", 0), &own, &refused, at(1), false),
            (token("own", 1), &own, &refused, at(1), false),
            (token("other", 1), &own, &refused, at(1), true),
        ] {
            let wanted = is_wanted(&candidate, stored, why, now);
            assert_eq!(wanted, expected, "{candidate:?} for {stored:?}, {why:?} at {now:?}");
        }
    }

    #[test]
    fn app_only_token_is_fresh_for_a_minute_by_the_monotonic_clock() {
        let app_only = AppOnly::default();
        let has_just_come = |seconds| app_only.just_came(Duration::from_secs(seconds)).is_some();
        assert!(!has_just_come(100));
        app_only.lock().token = Some(token("at", 0));
        assert!(!has_just_come(100), "another process requested it");
        app_only.lock().received = Some(Duration::from_secs(100));
        assert!(has_just_come(100) && has_just_come(159) && !has_just_come(160));
        app_only.use_proofs(Proofs { current: Some(Proof::Secret(Secret::from("a new client secret"))), next: None });
        assert!(!has_just_come(100));
    }
}
