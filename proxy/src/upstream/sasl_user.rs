//! The user name of the upstream login.

use oxpost_token_store::{AccessToken, Account, Grant, Mailbox};

use crate::config::Protocol;

/// The SASL user: the mailbox, but by SMTP the user of the token (Exchange accepts a delegate's token for `user=shared` by
/// IMAP and POP3, not by SMTP).
///
/// A user who was renamed since is named as their token says. A mailbox that another one's token opens keeps its address.
pub(crate) fn sasl_user<'a>(account: &'a Account, token: &'a AccessToken, protocol: Protocol) -> &'a Mailbox {
    let opened = if protocol == Protocol::Smtp { account.sender() } else { &account.mailbox };
    let is_the_users = account.grant != Grant::ClientCredentials && opened == account.token_of();
    token.sign_in_name().filter(|_| is_the_users).unwrap_or(opened)
}
