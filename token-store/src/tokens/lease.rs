//! Who asks: of all the nodes that share a store, the one that holds the account's lease.

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use oxpost_protocol::Secret;
use tokio::time::{Instant, sleep, timeout};

use super::{AccessToken, Shared, Why, account_state::AccountState, settled};
use crate::{
    account::Mailbox,
    error::{Problem, TokenError},
    schedule::{REQUEST_TIME, Usable, usable},
    store::{Failure, RENEW_EVERY, StoreError, Stored},
};

/// How often a node that waits for another one looks at the row, when no hint comes: hints are a kindness, not a promise.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long it waits in all: another node's whole request, and a dead one's lease.
pub(super) const WAIT_LIMIT: Duration = REQUEST_TIME.saturating_mul(2);

/// What a node that wants to ask is to do.
pub(super) enum Lease {
    /// Ask, from this row: this node has the lease.
    Acquired(Stored),
    /// Ask, from this row, without a lease: the store accepts no writes, and there is no usable token left.
    Unavailable(Stored),
    /// Nothing: this token is already fresh, whichever node obtained it.
    AlreadyFresh(AccessToken),
    /// Nothing: another node has just asked in vain.
    FailedElsewhere(Failure),
}

impl Shared {
    /// Takes the lease of the account's row, or waits until the node that has it has finished.
    pub(super) async fn acquire_lease(
        &self,
        mailbox: &Mailbox,
        why: &Why,
        account_state: &AccountState,
    ) -> Result<Lease, TokenError> {
        let mut hints = self.store.hints();
        let until = Instant::now() + WAIT_LIMIT;
        let (mut first, mut told): (Option<Stored>, bool) = (None, false);
        loop {
            // Before the row is read, so that no hint is missed that comes after it.
            hints.catch_up();
            let stored = self.store.tokens(mailbox).await?;
            // Tokens that could not be written go first, as they may be newer than what is there.
            if !account_state.has_unsaved()
                && let Some(token) = settled(&stored, why, self.clock.now())
            {
                if told {
                    tracing::debug!(%mailbox, "another node has announced a new token");
                }
                return Ok(Lease::AlreadyFresh(token));
            }
            if let (Some(first), Some(failure)) = (&first, &stored.failure)
                && first.failure.as_ref() != Some(failure)
                && first.version == stored.version
            {
                return Ok(Lease::FailedElsewhere(failure.clone()));
            }
            match self.store.lease(mailbox, &stored, &self.node).await {
                Ok(true) => return Ok(Lease::Acquired(stored)),
                Ok(false) => {}
                // While the stored token lives, a refresh token is not put at risk. After that, mail would stop.
                Err(error @ StoreError::Database(_)) if self.is_urgent(&stored, why, account_state) => {
                    tracing::debug!(%mailbox, "a refresh goes on without its lease: {error}");
                    return Ok(Lease::Unavailable(stored));
                }
                Err(error) => return Err(error.into()),
            }
            if first.is_none() {
                first = Some(stored);
                self.waits.fetch_add(1, Ordering::SeqCst);
                tracing::debug!(%mailbox, node = self.node, "another node asks for a new token; waiting for it");
            }
            if Instant::now() >= until {
                return Err(lease_held_elsewhere());
            }
            told = timeout(LOOK_EVERY, hints.about(mailbox.as_str())).await.is_ok();
        }
    }

    /// Whether no stored token can serve, or not for much longer.
    fn is_urgent(&self, stored: &Stored, why: &Why, account_state: &AccountState) -> bool {
        let now = self.clock.now();
        let refused = |secret: &Secret| matches!(why, Why::Refused(token) if token.secret() == secret);
        let good = |usable: Usable, secret: &Secret| usable == Usable::Yes && !refused(secret);
        let own = stored.access.as_ref();
        let own = own.is_some_and(|token| good(usable(token.issued_at, token.expires_at, now), &token.secret));
        let unsaved = account_state.unsaved_token(stored, now);
        !own && !unsaved.is_some_and(|(token, usable)| good(usable, token.secret()))
    }

    /// Renews the lease for as long as it is polled.
    pub(super) async fn keep_lease(&self, mailbox: &Mailbox) -> Infallible {
        loop {
            sleep(RENEW_EVERY).await;
            match self.store.renew_lease(mailbox, &self.node).await {
                Ok(true) => {}
                Ok(false) => tracing::debug!(%mailbox, "the lease of this refresh was taken over"),
                Err(error) => tracing::debug!(%mailbox, "the lease of a refresh could not be renewed: {error}"),
            }
        }
    }
}

pub(super) fn lease_held_elsewhere() -> TokenError {
    let what = "Another node has been requesting a new token for this account for a long time.";
    TokenError::Transient { retry_after: None, problem: Problem::retried(what, "") }
}
