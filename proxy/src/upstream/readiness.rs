//! Whether an account can log in at its mail server now, and if not, when: a cheap answer for logins and for future background sending,
//! from what is known already: the token and its authority, the back-off of the mailbox, and its send limiter. No server is asked.
//!
//! A send slot has no time: wait for it ([`SendLimiter::acquire`](crate::limits::send_limiter::SendLimiter::acquire)).

use std::time::{Duration, SystemTime};

use oxpost_protocol::RefusalKind;
use oxpost_token_store::{Account, Readiness as Token, TokenError};
use tokio::time::sleep;

use crate::config::Protocol;
use crate::context::ServerContext;
use crate::failure::{Failure, FailureClass};
use crate::limits::back_off::LoginAllowed;

/// How often the clock is read while waiting for a time: it may have been set.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether an account can log in.
#[derive(Debug)]
pub enum Readiness {
    /// It can, as far as is known.
    Now,
    /// There is no use in trying before that time. It may be ready sooner: see [`changed`].
    NotBefore {
        /// When to try.
        at: SystemTime,
        /// Why not now.
        failure: Failure,
    },
    /// Not until an administrator has acted.
    NeedsAdministrator(Failure),
}

/// Whether an account can log in with a protocol now, and if not, when: the latest of all times that are known.
pub async fn readiness(context: &ServerContext, account: &Account, protocol: Protocol) -> Readiness {
    let now = context.runtime.clock.now();
    let mut latest: Option<(SystemTime, Failure)> = None;
    let mut not_before = |at: SystemTime, failure: Failure| {
        if at > now && latest.as_ref().is_none_or(|(known, _)| *known < at) {
            latest = Some((at, failure));
        }
    };
    match context.runtime.tokens.readiness(account).await {
        Ok(Token::Now) => {}
        Ok(Token::NotBefore { at, problem }) => {
            let retry_after = at.duration_since(now).unwrap_or_default();
            not_before(at, Failure::token(&TokenError::Paused { retry_after, problem }));
        }
        Ok(Token::NeedsAdministrator(problem)) => {
            return Readiness::NeedsAdministrator(Failure::token(&TokenError::Misconfigured(problem)));
        }
        // It is unknown when it can be read again.
        Err(error) => not_before(now + CLOCK_CHECK_INTERVAL, Failure::token(&TokenError::Store(error))),
    }
    let Some(servers) = context.settings.servers.get(&account.application) else { return answer(latest) };
    if protocol == Protocol::Smtp {
        if let Some(left) = context.runtime.send_limiter.not_before(&servers.smtp.host, account.sender()) {
            let failure = Failure::new(
                RefusalKind::Unavailable,
                format!("{} sends as many messages a minute as the mail server accepts.", account.sender()),
                "",
            );
            not_before(now + left, failure.in_class(FailureClass::OurOwnLimit));
        }
    } else {
        let mailbox = &account.mailbox;
        context.runtime.back_offs.read_stored(&context.runtime.store, mailbox, protocol, now).await;
        if let LoginAllowed::WaitFor(left) | LoginAllowed::RetryAfter(left) =
            context.runtime.back_offs.may_log_in(mailbox, protocol, now)
        {
            not_before(now + left, Failure::throttled(&servers.of(protocol).host, left));
        }
    }
    answer(latest)
}

fn answer(latest: Option<(SystemTime, Failure)>) -> Readiness {
    latest.map_or(Readiness::Now, |(at, failure)| Readiness::NotBefore { at, failure })
}

/// Until it is worth asking again: when the time has come, or when an authority that did not answer answers again.
pub async fn changed(context: &ServerContext, readiness: &Readiness) {
    let mut recoveries = context.runtime.tokens.recoveries();
    let recovered = async {
        if recoveries.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let come = async {
        match readiness {
            Readiness::Now => {}
            Readiness::NotBefore { at, .. } => {
                while context.runtime.clock.now() < *at {
                    let left = at.duration_since(context.runtime.clock.now()).unwrap_or_default();
                    sleep(left.min(CLOCK_CHECK_INTERVAL)).await;
                }
            }
            Readiness::NeedsAdministrator(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = recovered => {}
        () = come => {}
    }
}
