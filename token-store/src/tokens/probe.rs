//! Probes: requests apart from refreshes that find out whether an account is granted something. A probe uses the stored refresh
//! token, which the answer may replace, so it takes the account's lease like a refresh.

use oxpost_protocol::Secret;
use tokio::time::{Instant, sleep};

use super::{
    Shared, Tokens,
    lease::{LOOK_EVERY, WAIT_LIMIT, lease_held_elsewhere},
    refresh::WRITES,
};
use crate::{
    account::{Account, Mailbox},
    application::Application,
    error::TokenError,
    store::{RefreshToken, StoreError, Stored},
};

impl Tokens {
    /// Asks with `application`, which may request other scopes than the account's own. The access token is dropped; a new
    /// refresh token is stored. Nothing is asked for an account without a sign-in.
    pub(crate) async fn probe_scopes(&self, account: &Account, application: &Application) -> Result<(), TokenError> {
        let shared = &self.0;
        let mailbox = &account.mailbox;
        let stored = shared.take_lease(mailbox).await?;
        let asked = tokio::select! {
            asked = shared.ask_for_scopes(account, application, &stored) => asked,
            never = shared.keep_lease(mailbox) => match never {},
        };
        let released = shared.store.release_lease(mailbox, &shared.node).await;
        asked.and(released.map_err(TokenError::from))
    }
}

impl Shared {
    async fn take_lease(&self, mailbox: &Mailbox) -> Result<Stored, TokenError> {
        let until = Instant::now() + WAIT_LIMIT;
        loop {
            let stored = self.store.tokens(mailbox).await?;
            if self.store.lease(mailbox, &stored, &self.node).await? {
                return Ok(stored);
            }
            if Instant::now() >= until {
                return Err(lease_held_elsewhere());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn ask_for_scopes(
        &self,
        account: &Account,
        application: &Application,
        stored: &Stored,
    ) -> Result<(), TokenError> {
        let RefreshToken::Some(refresh_token) = &stored.refresh else { return Ok(()) };
        let authority = self.authority(&self.http, account, application);
        let tokens = authority.refresh(refresh_token, false).await?;
        match &tokens.refresh_token {
            Some(rotated) => self.keep_rotated(&account.mailbox, stored, rotated).await,
            None => Ok(()),
        }
    }

    /// Writes a refresh token over the one it was requested with. If a user has signed in meanwhile, the row has another one and
    /// keeps it. A version that was raised for another reason, or a lease that was taken over, is no reason to drop it.
    async fn keep_rotated(&self, mailbox: &Mailbox, asked_with: &Stored, rotated: &Secret) -> Result<(), TokenError> {
        let mut version = asked_with.version;
        let mut last = lease_held_elsewhere();
        for _ in 0..WRITES {
            match self.store.save_rotated(mailbox, version, &self.node, rotated).await {
                Ok(true) => return Ok(()),
                Ok(false) => match self.store.tokens(mailbox).await {
                    Ok(now) if now.refresh != asked_with.refresh => return Ok(()),
                    Ok(now) => match self.store.lease(mailbox, &now, &self.node).await {
                        Ok(true) => {
                            version = now.version;
                            continue;
                        }
                        Ok(false) => {}
                        Err(error) => last = error.into(),
                    },
                    Err(StoreError::NoSuchAccount(_)) => return Ok(()),
                    Err(error) => last = error.into(),
                },
                Err(error) => last = error.into(),
            }
            sleep(LOOK_EVERY).await;
        }
        tracing::error!(%mailbox, "a new refresh token could not be written: {last}");
        Err(last)
    }
}
