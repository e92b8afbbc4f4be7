//! The password grant (RFC 6749, 4.3; Microsoft calls it ROPC): the password of a mail client is Microsoft's own, and
//! Microsoft judges it (<https://learn.microsoft.com/entra/identity-platform/v2-oauth-ropc>).

use oxpost_protocol::Secret;

use crate::{
    account::{Account, Grant},
    application::Application,
    authority::Authority,
    clock::SharedClock,
    error::TokenError,
    http::HttpClient,
    store::{Store, StoreError},
};

/// Microsoft's number for a wrong user name or password.
const WRONG_PASSWORD: u32 = 50_126;

/// Whether an error says that the password is wrong, and nothing else.
pub(crate) fn is_wrong_password(error: &TokenError) -> bool {
    error.problem().is_some_and(|problem| problem.code == Some(WRONG_PASSWORD))
}

/// Asks for tokens with a password, and stores them. It is the password of the mailbox's own user, or of the
/// person it goes through. Nothing is stored if it is wrong, and what was there stays.
///
/// # Errors
/// The password is wrong, or the authority gives no tokens for another reason.
pub async fn connect_with_password(
    http: &HttpClient,
    store: &Store,
    application: &Application,
    account: &Account,
    password: &Secret,
    clock: &SharedClock,
) -> Result<(), TokenError> {
    let user = account.token_of();
    if store.account(user).await?.is_none() {
        return Err(StoreError::NoSuchAccount(user.clone()).into());
    }
    application.can_judge_passwords().map_err(TokenError::Misconfigured)?;
    let authority = Authority { http, clock, application, store, mailbox: user.as_str(), grant: Grant::Password };
    let issued_at = clock.now();
    // Microsoft knows a user by their present name alone.
    let known = store.tokens(user).await?.identity.and_then(|known| known.sign_in_name());
    let name = known.as_ref().unwrap_or(user).as_str();
    let granted = authority.password(name, password).await?;
    Ok(store.save_signed_in(user, &granted.tokens, Some(name), issued_at).await?)
}
