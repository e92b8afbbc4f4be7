//! From a local login to an account, and to the name the account has upstream.

use std::net::IpAddr;

use oxpost_token_store::{Account, Admitted, Denied};

use crate::config::Protocol;
use crate::gateway::Gateway;
use oxpost_protocol::Login;

/// Checks the local password. A wrong one never touches a token and never reaches Microsoft, unless the account has the
/// grant password, where Microsoft is the judge.
///
/// # Errors
/// Who this is was not proved, or could not be checked now.
pub async fn admit(gateway: &Gateway, login: &Login, from: IpAddr) -> Result<Admitted, Denied> {
    gateway.accounts.admit_from(from, &login.user, &login.password).await
}

/// The SASL user: the mailbox, but a shared mailbox sends as whoever signed in for it (Exchange takes the delegate's token
/// for `user=shared` by IMAP and POP3, not by SMTP).
pub fn sasl_user(account: &Account, protocol: Protocol) -> &str {
    match (protocol, &account.smtp_user) {
        (Protocol::Smtp, Some(user)) => user,
        _ => account.mailbox.as_ref(),
    }
}

/// How to name a user in a log whose login was refused. Only a name that exists is written down: people type passwords
/// into the wrong field.
pub async fn name_for_log(gateway: &Gateway, login: &Login) -> String {
    match gateway.store.account_by_login(&login.user).await {
        Ok(Some(account)) => account.mailbox.to_string(),
        _ => "[no such account]".to_owned(),
    }
}
