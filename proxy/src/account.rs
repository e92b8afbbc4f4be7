//! From a local login to an account, and to the name the account has upstream.

use std::net::IpAddr;

use oxpost_protocol::Login;
use oxpost_token_store::{Account, Admitted, Denied, Mailbox};
use tracing::warn;

use crate::config::Protocol;
use crate::gateway::Gateway;
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
        .map_err(|denied| refused(&denied, Some("[not looked up]".to_owned())))?;
    let (standing, user) = (attempt.standing(), attempt.name_for_log());
    let check = gateway.guard.check(peer, &login.user, standing).await.map_err(|held| {
        let failure = Failure::held(held);
        if gateway.guard.should_say_held() {
            warn!(user, "local login not checked: {}", failure.log);
        }
        failure
    })?;
    match attempt.verify(peer).await {
        Ok(admitted) => Ok(admitted),
        Err(denied) => {
            let user = gateway.guard.should_say(standing).then_some(user);
            if matches!(denied, Denied::BadCredentials | Denied::WrongAtMicrosoft) {
                check.was_wrong().await;
            }
            Err(refused(&denied, user))
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
        Ok(None) => {
            let failure = Failure::no_account(mailbox);
            warn!(%mailbox, "a device was not let in: {}", failure.log);
            Err(failure)
        }
        Err(error) => Err(refused(&Denied::Store(error), Some(mailbox.to_string()))),
    }
}

/// The failure; it is said in the log if there is a name to say it of.
fn refused(denied: &Denied, user: Option<String>) -> Failure {
    let failure = Failure::denied(denied);
    if let Some(user) = user {
        warn!(user, "local login refused: {}", failure.log);
    }
    failure
}

/// The SASL user: the mailbox, but by SMTP whoever the token belongs to (Exchange takes a person's token for `user=shared` by
/// IMAP and POP3, not by SMTP).
pub fn sasl_user(account: &Account, protocol: Protocol) -> &Mailbox {
    if protocol == Protocol::Smtp { account.sender() } else { &account.mailbox }
}
