//! From a local login to an account.

use std::net::IpAddr;
use std::time::Duration;

use oxpost_protocol::Login;
use oxpost_token_store::{Admitted, Attempt, Denied, Mailbox, Problem, Source, TokenError};
use tokio::time::timeout;
use tracing::warn;

use crate::context::ServerContext;
use crate::failure::Failure;
use crate::limits::login_throttle::{Admission, Comparison, Timing};

/// Checks the local password, when the login throttle lets it: every attempt is counted before anything is compared with it. A
/// wrong one never touches a token and never reaches Microsoft, unless the account has the grant password, where Microsoft
/// verifies it.
///
/// Unknown and disabled accounts, those with local passwords and those that Microsoft verifies answer alike: the same text,
/// after the same time.
///
/// # Errors
/// The password is wrong, or cannot be checked now.
pub(crate) async fn admit(context: &ServerContext, peer: IpAddr, login: &Login) -> Result<Admitted, Failure> {
    let throttle = &context.runtime.login_throttle;
    let mut timing = Timing::begin();
    let not_looked_up = "[not looked up]";
    let throttled = throttle.check_before_lookup(peer, &login.user, timing).await;
    throttled.map_err(|why| refused(context, peer, Failure::throttled_login(why), not_looked_up))?;
    let attempt = context.runtime.accounts.attempt(&login.user, &login.password, Source::of(peer)).await;
    let attempt = attempt.map_err(|denied| refused(context, peer, Failure::denied(&denied), not_looked_up))?;
    let user = attempt.name_for_log();
    let admission =
        throttle.wait_until_admitted(&context.runtime.accounts, peer, &login.user, &attempt, &mut timing).await;
    let admission = admission.map_err(|denied| refused(context, peer, Failure::denied(&denied), &user))?;
    let mut admission = admission.map_err(|why| refused(context, peer, Failure::throttled_login(why), &user))?;
    let disclosure = Disclosure::of(&attempt).await;
    let limit = (attempt.is_remote() && disclosure == Disclosure::WrongPassword).then(|| throttle.failure_delay());
    let verified = match &mut admission {
        Admission::Repeated => within(limit, Box::pin(attempt.verify_repeated())).await,
        Admission::Granted(permit) => {
            let verified = within(limit, Box::pin(attempt.verify())).await;
            permit.note(compared(&verified));
            verified
        }
    };
    let denied = match verified {
        Ok(admitted) => return Ok(admitted),
        Err(denied) => denied,
    };
    let reason = Failure::denied(&denied);
    let failure = if matches!(admission, Admission::Repeated) {
        let is_logged = context.runtime.log_limits.repeated_login.permit_for(Source::of(peer));
        if is_logged {
            warn!(user, reason = reason.log, "login refused again; a device may have an old password");
        }
        reason.of_user(&user).logged(is_logged)
    } else {
        refused(context, peer, reason, &user)
    };
    timing.answer_after(throttle.failure_delay()).await;
    drop(admission);
    Err(disclosure.of_failure(&denied, failure))
}

/// How much a client hears about why its password was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disclosure {
    /// The reason: a login to this account has succeeded from this source before.
    Reason,
    /// The same text as for an account that does not exist.
    WrongPassword,
}

impl Disclosure {
    async fn of(attempt: &Attempt) -> Self {
        let guessed = attempt.targets().await;
        let familiar = !guessed.is_empty() && guessed.iter().all(|guessed| guessed.familiar);
        if familiar { Self::Reason } else { Self::WrongPassword }
    }

    /// The failure for the client, so that an account that Microsoft verifies cannot be distinguished from others. The log has the reason.
    fn of_failure(self, denied: &Denied, failure: Failure) -> Failure {
        match denied {
            Denied::BadCredentials
            | Denied::RejectedByMicrosoft
            | Denied::TooManyPasswords
            | Denied::NotVerified(_)
                if self == Self::WrongPassword =>
            {
                Failure { refusal: Failure::denied(&Denied::BadCredentials).refusal, ..failure }
            }
            _ => failure,
        }
    }
}

/// The result of an attempt, for the throttle.
fn compared(verified: &Result<Admitted, Denied>) -> Comparison {
    match verified {
        Ok(_) => Comparison::Right,
        Err(Denied::BadCredentials | Denied::RejectedByMicrosoft) => Comparison::Wrong,
        Err(Denied::Busy | Denied::Store(_)) => Comparison::NotMade,
        Err(Denied::TooManyPasswords | Denied::NotVerified(_)) => Comparison::Unknown,
    }
}

/// A verification by Microsoft for an unfamiliar source is waited for only as long as every wrong login waits: a longer time would
/// reveal that Microsoft verifies this account. It continues in the background, and a right password is accepted at the next login.
async fn within(
    limit: Option<Duration>,
    verify: impl Future<Output = Result<Admitted, Denied>>,
) -> Result<Admitted, Denied> {
    let Some(limit) = limit else { return verify.await };
    timeout(limit, verify).await.unwrap_or_else(|_| {
        let what = "Microsoft did not verify the password in time.";
        let problem = Problem::new(what, "The verification continues; log in again to get its result.");
        Err(Denied::NotVerified(TokenError::Transient { retry_after: None, problem }))
    })
}

/// The account of clients that need no password.
///
/// # Errors
/// There is no such account, or it cannot be looked up.
pub(crate) async fn admit_device(context: &ServerContext, mailbox: &Mailbox) -> Result<Admitted, Failure> {
    match context.runtime.accounts.admit_without_password(mailbox).await {
        Ok(Some(admitted)) => Ok(admitted),
        Ok(None) => Err(Failure::no_account(mailbox)),
        Err(error) => Err(Failure::denied(&Denied::Store(error))),
    }
}

/// The failure of a refused login; it is logged if the rate limit of such lines allows it.
pub(crate) fn refused(context: &ServerContext, peer: IpAddr, failure: Failure, user: &str) -> Failure {
    let is_logged = context.runtime.log_limits.refused_login.permit_for(Source::of(peer));
    if is_logged {
        warn!(user, reason = failure.log, "login refused");
    }
    failure.of_user(user).logged(is_logged)
}
