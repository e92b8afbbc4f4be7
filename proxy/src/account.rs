//! From a local login to an account, and to the name the account has upstream.

use std::net::IpAddr;

use oxpost_protocol::Login;
use oxpost_token_store::{Account, Admitted, Denied, Mailbox};
use tracing::warn;

use crate::config::Protocol;
use crate::gateway::Gateway;
use crate::guard::Source;
use crate::remedy::Failure;

/// Checks the local password, when its turn comes. A wrong one never touches a token and never reaches
/// Microsoft, unless the account has the grant password, where Microsoft is the judge.
///
/// # Errors
/// Who this is was not proved, or cannot be checked now.
pub async fn admit(gateway: &Gateway, peer: IpAddr, login: &Login) -> Result<Admitted, Failure> {
    let attempt = gateway
        .accounts
        .attempt(&login.user, &login.password)
        .await
        .map_err(|denied| refused(gateway, peer, Failure::denied(&denied), "[not looked up]"))?;
    let (standing, user) = (attempt.standing(), attempt.name_for_log());
    let check = gateway.guard.check(peer, &login.user, standing).await;
    let check = check.map_err(|held| refused(gateway, peer, Failure::held(held), &user))?;
    match attempt.verify(peer).await {
        Ok(admitted) => Ok(admitted),
        Err(denied) => {
            if matches!(denied, Denied::BadCredentials | Denied::WrongAtMicrosoft) {
                check.was_wrong().await;
            }
            Err(refused(gateway, peer, Failure::denied(&denied), &user))
        }
    }
}

/// The account of clients that need no password.
///
/// # Errors
/// There is no such account, or it cannot be looked up.
pub async fn vouch(gateway: &Gateway, mailbox: &Mailbox) -> Result<Admitted, Failure> {
    match gateway.accounts.vouch(mailbox).await {
        Ok(Some(admitted)) => Ok(admitted),
        Ok(None) => Err(Failure::no_account(mailbox)),
        Err(error) => Err(Failure::denied(&Denied::Store(error))),
    }
}

/// The failure of a login that was not proved; it has a line if the rate of those allows it.
pub fn refused(gateway: &Gateway, peer: IpAddr, failure: Failure, user: &str) -> Failure {
    let is_logged = gateway.log_limits.refused_login.permit_for(Source::of(peer));
    if is_logged {
        warn!(user, reason = failure.log, "login refused");
    }
    failure.logged(is_logged)
}

/// The SASL user: the mailbox, but by SMTP whoever the token belongs to (Exchange takes a person's token for `user=shared` by
/// IMAP and POP3, not by SMTP).
pub fn sasl_user(account: &Account, protocol: Protocol) -> &Mailbox {
    if protocol == Protocol::Smtp { account.sender() } else { &account.mailbox }
}
