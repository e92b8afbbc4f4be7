//! One request for one account, from the stored row to the stored row.
//!
//! The order matters: the new tokens are written before any caller gets one, so that a process that is killed at any moment has
//! never handed out an access token whose refresh token is lost. Only a store that accepts no writes is not waited for.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::watch;

use super::{
    AccessToken, Outcome, Shared, Why,
    account_state::{AccountState, Unsaved, pause_after},
    lease::Lease,
    settled,
};
use crate::{
    account::{Account, Grant, Mailbox},
    application::Application,
    authority::Authority,
    error::{Problem, TokenError, printable},
    http::HttpClient,
    identity::{KnownIdentity, News},
    schedule::{self, Usable, usable},
    store::{Failure, RefreshToken, StoreError, Stored, TokenSet},
};

/// How often a write is tried: over a row that changed without its tokens changing, or one that the store did not take.
pub(super) const WRITES: usize = 3;

/// Runs to completion even if no caller waits any longer, and answers them all.
pub(super) async fn run(
    shared: Arc<Shared>,
    account: Account,
    why: Why,
    account_state: Arc<AccountState>,
    answer: watch::Sender<Option<Outcome>>,
) {
    let mut start = Start { version: 0, noted: false, at: shared.clock.now() };
    let outcome = match shared.as_stored(&account.mailbox).await {
        Ok(account) => match account.grant {
            Grant::ClientCredentials => shared.replace_app_only(&account, &why, &mut start).await,
            Grant::SignIn | Grant::Password => shared.replace(&account, &why, &account_state, &mut start).await,
        },
        Err(error) => Err(error),
    };
    match &outcome {
        Ok(token) => {
            tracing::debug!(mailbox = %account.mailbox, expires_at = ?token.expires_at(), "access token refreshed");
            account_state.succeeded(&why, shared.clock.now());
        }
        Err(error) => shared.note(&account, &account_state, &start, error).await,
    }
    answer.send_replace(Some(outcome));
}

/// The state at the start of a refresh.
pub(super) struct Start {
    at: SystemTime,
    /// The version of the row.
    pub(super) version: i64,
    /// Another node has failed, and has noted it.
    noted: bool,
}

impl Shared {
    /// The account as the store has it under its seal. The plan is read from unsealed columns, which must not decide where a
    /// refresh token is sent.
    async fn as_stored(&self, mailbox: &Mailbox) -> Result<Account, TokenError> {
        let account = self.store.account(mailbox).await?;
        let account = account.ok_or_else(|| StoreError::NoSuchAccount(mailbox.clone()))?;
        // It has a delegate by now, whose tokens are refreshed separately.
        if account.token_of() != mailbox {
            return Err(changed_elsewhere());
        }
        Ok(account)
    }

    /// Gets new tokens and writes them, or waits for the node that does.
    async fn replace(&self, account: &Account, why: &Why, account_state: &AccountState, start: &mut Start) -> Outcome {
        let mailbox = &account.mailbox;
        let mut leased = true;
        let mut stored = match self.acquire_lease(mailbox, why, account_state).await? {
            Lease::Acquired(stored) => stored,
            Lease::Unavailable(stored) => {
                leased = false;
                stored
            }
            // Another node has obtained it meanwhile.
            Lease::AlreadyFresh(token) => return Ok(token),
            Lease::FailedElsewhere(failure) => {
                (start.version, start.noted) = (self.store.tokens(mailbox).await?.version, true);
                return Err(self.failure_elsewhere(failure));
            }
        };
        start.version = stored.version;
        if leased && let Some(unsaved) = account_state.take_unsaved() {
            let saved = self.save(mailbox, unsaved, account_state).await?;
            stored = self.store.tokens(mailbox).await?;
            start.version = stored.version;
            if settled(&stored, why, self.clock.now()).is_some() {
                return Ok(saved);
            }
            if !self.store.lease(mailbox, &stored, &self.node).await? {
                return Err(changed_elsewhere());
            }
        }
        let issued_at = self.clock.now();
        tracing::debug!(%mailbox, node = self.node, "asking for a new access token");
        let newest = account_state.unsaved_refresh_token(&stored);
        let with = newest.clone().map_or_else(|| stored.refresh.clone(), RefreshToken::Some);
        let mut tokens = tokio::select! {
            tokens = self.ask(account, &stored, &with, why) => tokens?,
            never = self.keep_lease(mailbox) => match never {},
        };
        account_state.tokens_received(self.clock.elapsed(), issued_at, tokens.lifetime);
        // What was not written yet must not be forgotten with what comes after it.
        tokens.refresh_token = tokens.refresh_token.or(newest);
        let got_by = (account.application.clone(), account.grant);
        let (told, known, signed_in_as) = (&tokens.identity, &stored.identity, &stored.signed_in_as);
        let (identity, news) =
            KnownIdentity::of_refresh(told.as_ref(), known.as_ref(), mailbox, signed_in_as.as_deref());
        if let Some(news) = news {
            say(mailbox, &news);
        }
        self.save(mailbox, Unsaved { tokens, issued_at, base: stored, identity, got_by }, account_state).await
    }

    /// Writes what the store did not take when it came, without asking for anything.
    pub(super) async fn write_unsaved(
        &self,
        mailbox: &Mailbox,
        account_state: &AccountState,
    ) -> Result<(), TokenError> {
        let stored = self.store.tokens(mailbox).await?;
        if !self.store.lease(mailbox, &stored, &self.node).await? {
            return Err(changed_elsewhere());
        }
        match account_state.take_unsaved() {
            Some(unsaved) => {
                self.save(mailbox, unsaved, account_state).await?;
                if account_state.has_unsaved() { Err(changed_elsewhere()) } else { Ok(()) }
            }
            None => Ok(self.store.release_lease(mailbox, &self.node).await?),
        }
    }

    async fn ask(
        &self,
        account: &Account,
        stored: &Stored,
        refresh: &RefreshToken,
        why: &Why,
    ) -> Result<TokenSet, TokenError> {
        let application =
            self.applications.get(&account.application).ok_or_else(|| self.unknown_application(account))?;
        let http = if matches!(why, Why::Due(_)) { &self.background_http } else { &self.http };
        let authority = self.authority(http, account, application);
        match (account.grant, refresh) {
            (Grant::ClientCredentials, _) => authority.client_credentials().await,
            (Grant::SignIn, RefreshToken::Some(token)) => authority.refresh(token, may_ask_who(stored)).await,
            (Grant::Password, RefreshToken::Some(token)) => authority.refresh(token, false).await,
            (Grant::SignIn, RefreshToken::None) => Err(TokenError::SignInRequired(Problem::new(
                format!("No user has signed in for {} yet.", account.mailbox),
                format!("Run `oxpost sign-in {}`.", account.mailbox),
            ))),
            (Grant::Password, RefreshToken::None) => Err(TokenError::SignInRequired(Problem::new(
                format!("Microsoft has not yet accepted a password for {}.", account.mailbox),
                format!("Log in with the mail program, or run `oxpost sign-in {}`.", account.mailbox),
            ))),
            (Grant::SignIn | Grant::Password, RefreshToken::Unreadable) => {
                Err(TokenError::SignInRequired(Problem::new(
                    format!(
                        "The stored sign-in of {} does not open: its row is damaged or was moved.",
                        account.mailbox
                    ),
                    format!("Run `oxpost sign-in {}`.", account.mailbox),
                )))
            }
        }
    }

    /// Requests of an application for an account.
    pub(super) fn authority<'a>(
        &'a self,
        http: &'a HttpClient,
        account: &'a Account,
        application: &'a Application,
    ) -> Authority<'a> {
        Authority::new(http, &self.clock, &self.store, application, account.mailbox.as_str(), account.grant)
    }

    /// Writes new tokens over the row they came from. If another process has written other tokens meanwhile, a person has
    /// signed in there, and theirs stay.
    async fn save(&self, mailbox: &Mailbox, mut new: Unsaved, account_state: &AccountState) -> Outcome {
        for _ in 0..WRITES {
            let there = match self
                .store
                .save_refreshed(
                    mailbox,
                    new.base.version,
                    &self.node,
                    &new.tokens,
                    new.identity.as_ref(),
                    new.issued_at,
                )
                .await
            {
                Ok(true) => {
                    self.store.wrote();
                    return Ok(AccessToken::from(&new.unexpired()));
                }
                Ok(false) => self.store.tokens(mailbox).await,
                Err(error) => Err(error),
            };
            let same = match there {
                Ok(stored) if stored.refresh != new.base.refresh => {
                    self.give_lease_back(mailbox).await;
                    return self.use_stored(&stored);
                }
                Ok(same) => same,
                Err(StoreError::NoSuchAccount(_)) => return Err(StoreError::NoSuchAccount(mailbox.clone()).into()),
                Err(error) => return self.serve_unsaved(mailbox, account_state, new, error),
            };
            match self.is_obtained_by(mailbox, &new.got_by).await {
                Ok(true) => {}
                // The account has another application or grant by now, which cannot use these tokens.
                Ok(false) => {
                    self.give_lease_back(mailbox).await;
                    return Err(changed_elsewhere());
                }
                Err(error) => return self.serve_unsaved(mailbox, account_state, new, error),
            }
            // Its version was raised for another reason, or the lease was taken over while this process slept. A node that is
            // asking now writes first.
            match self.store.lease(mailbox, &same, &self.node).await {
                Ok(true) => new.base = same,
                Ok(false) => break,
                Err(error) => return self.serve_unsaved(mailbox, account_state, new, error),
            }
        }
        account_state.keep_unsaved(new);
        Err(changed_elsewhere())
    }

    /// The store did not accept them: they are kept until it does, and used meanwhile. Microsoft accepts the older refresh token
    /// too, so a process that ends now loses nothing there; with another provider it may lose the sign-in, whether the tokens
    /// are used or not.
    fn serve_unsaved(
        &self,
        mailbox: &Mailbox,
        account_state: &AccountState,
        new: Unsaved,
        error: StoreError,
    ) -> Outcome {
        let token = AccessToken::from(&new.unexpired());
        if account_state.keep_unsaved(new) {
            tracing::error!(
                %mailbox,
                "new tokens could not be written, and are used from memory until they are: {error}. Make room or bring the \
                 database back before this process ends"
            );
        }
        match error {
            StoreError::Database(_) => {
                self.store.did_not_write(&error);
                Ok(token)
            }
            other => Err(other.into()),
        }
    }

    /// The refresh is done whether this succeeds or not: the lease also expires by itself.
    async fn give_lease_back(&self, mailbox: &Mailbox) {
        if let Err(error) = self.store.release_lease(mailbox, &self.node).await {
            tracing::debug!(%mailbox, "the lease of a refresh could not be given back: {error}");
        }
    }

    /// Whether the account still has this application and grant.
    pub(super) async fn is_obtained_by(
        &self,
        mailbox: &Mailbox,
        (application, grant): &(String, Grant),
    ) -> Result<bool, StoreError> {
        let account = self.store.account(mailbox).await?;
        Ok(account.is_some_and(|now| now.application == *application && now.grant == *grant))
    }

    fn use_stored(&self, stored: &Stored) -> Outcome {
        let now = self.clock.now();
        let unexpired =
            stored.access.as_ref().filter(|token| usable(token.issued_at, token.expires_at, now) != Usable::No);
        unexpired.map(AccessToken::from).ok_or_else(changed_elsewhere)
    }

    /// Records a failure: in the account state for the next callers, in the store for administrators and the refresher, and in
    /// the log. A paused authority is no failure of the account's.
    async fn note(&self, account: &Account, account_state: &AccountState, start: &Start, error: &TokenError) {
        if let TokenError::Paused { .. } = error {
            self.give_lease_back(&account.mailbox).await;
            tracing::debug!(mailbox = %account.mailbox, "no new access token: {error}");
            return account_state.not_asked();
        }
        let now = self.clock.now();
        let pause = pause_after(error, account_state.failures(start.version).saturating_add(1));
        let detail = error.problem().map(|problem| problem.detail.clone()).unwrap_or_default();
        tracing::warn!(mailbox = %account.mailbox, kind = %error.kind(), detail, next_try = ?pause, "no new access token: {error}");
        if !start.noted && !matches!(error, TokenError::Store(StoreError::NoSuchAccount(_))) {
            let failure = failure(error, &detail, now, schedule::after(now, pause));
            let noting = self.store.record_failure(&account.mailbox, start.version, Some(&self.node), &failure);
            if let Err(store) = noting.await {
                tracing::warn!(mailbox = %account.mailbox, "the failure could not be noted in the store: {store}");
            }
        }
        // A failure to answer is over when the authority answers any request, unless it asked for a pause.
        let until_answered = matches!(error, TokenError::Transient { retry_after: None, .. })
            && self
                .applications
                .get(&account.application)
                .is_some_and(|it| self.gate.failed_since(it, account.user_in_requests(), start.at));
        account_state.failed(start.version, error, (pause, until_answered), now);
    }

    /// Another node's failure, for those who have waited for it here.
    fn failure_elsewhere(&self, failure: Failure) -> TokenError {
        let retry_after = failure.try_again.duration_since(self.clock.now()).ok();
        let problem = Problem::new(failure.text, "(Another node of this installation received this answer.)");
        match TokenError::new(failure.kind, problem) {
            TokenError::Transient { problem, .. } => TokenError::Transient { retry_after, problem },
            other => other,
        }
    }

    pub(super) fn unknown_application(&self, account: &Account) -> TokenError {
        let known = self.applications.names().join("`, `");
        TokenError::Misconfigured(Problem::new(
            format!(
                "The account {} uses the application `{}`, which is not configured.",
                account.mailbox, account.application
            ),
            format!(
                "Add it to proxy.toml as an [[application]] (there are: `{known}`), or add the account again with one of these."
            ),
        ))
    }
}

/// Whether the sign-in has granted that its answers name the user. One that another program has kept may have not, and asking for it
/// would fail.
fn may_ask_who(stored: &Stored) -> bool {
    match &stored.identity {
        Some(known) => known.user.from_id_token,
        None => stored.signed_in_as.is_some() && !stored.has_unreadable_identity,
    }
}

fn say(mailbox: &Mailbox, news: &News) {
    match news {
        News::Renamed { from, to } => tracing::info!(
            account = %mailbox,
            from,
            to,
            "the user was renamed in Microsoft Entra; mail servers get the new name, and mail programs keep using the old one"
        ),
        News::AnotherUser { told } => tracing::warn!(
            account = %mailbox,
            told,
            "the refreshed token names another user than the one who signed in, so the name of the account was not changed. Run \
             `oxpost sign-in {mailbox}`"
        ),
        News::NeverKnown { told } => tracing::warn!(
            account = %mailbox,
            told,
            "the user who signed in has another name than the account. If {mailbox} was renamed before this version of Oxpost, run \
             `oxpost account delegate {mailbox} {told} --create` and sign in as {told}"
        ),
    }
}

pub(super) fn failure(error: &TokenError, detail: &str, at: SystemTime, try_again: SystemTime) -> Failure {
    let text = if detail.is_empty() { error.to_string() } else { format!("{error} [{}]", printable(detail)) };
    let (what, remedy, code) = match error.problem() {
        Some(problem) => (problem.what.clone(), problem.remedy.clone(), problem.code),
        None => (error.to_string(), String::new(), None),
    };
    Failure { kind: error.kind(), text, what, remedy, code, at, try_again }
}

pub(super) fn changed_elsewhere() -> TokenError {
    let what = "Another process changed the stored sign-in at the same moment.";
    TokenError::Transient { retry_after: None, problem: Problem::retried(what, "") }
}
