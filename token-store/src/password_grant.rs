//! The password grant (RFC 6749, 4.3; Microsoft calls it ROPC): the password of a mail client is Microsoft's own, and
//! Microsoft judges it (<https://learn.microsoft.com/entra/identity-platform/v2-oauth-ropc>).

use oxpost_protocol::Secret;

use crate::{
    account::{Account, Grant, Mailbox},
    application::Application,
    authority::Authority,
    clock::SharedClock,
    error::TokenError,
    http::HttpClient,
    store::{Store, StoreError},
    tokens::client_secret,
};

/// Microsoft's number for a wrong user name or password.
const WRONG_PASSWORD: u32 = 50_126;

/// Whether an error says that the password is wrong, and nothing else.
pub(crate) fn is_wrong_password(error: &TokenError) -> bool {
    error.problem().is_some_and(|problem| problem.code == Some(WRONG_PASSWORD))
}

/// Asks for tokens with a password, and stores them. It is the password of the mailbox's own user or, for a shared mailbox,
/// of the person declared for it, who also sends from it. Nothing is stored if it is wrong, and what was there stays.
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
    if store.account(&account.mailbox).await?.is_none() {
        return Err(StoreError::NoSuchAccount(account.mailbox.clone()).into());
    }
    application.can_judge_passwords().map_err(TokenError::Misconfigured)?;
    let client_secret = client_secret(store, application).await?;
    let user = whose_password(store, account).await?;
    let authority = Authority {
        http,
        clock,
        application,
        client_secret: client_secret.as_ref(),
        mailbox: account.mailbox.as_str(),
        grant: Grant::Password,
    };
    let issued_at = clock.now();
    let granted = authority.password(&user, password).await?;
    Ok(store.save_signed_in(&account.mailbox, &granted.tokens, Some(&user), issued_at).await?)
}

/// Whoever signed in last, if they are still declared for the mailbox; or the first who is; or its own user.
async fn whose_password(store: &Store, account: &Account) -> Result<String, StoreError> {
    let declared = store.delegates(&account.mailbox).await?;
    let is_last =
        |person: &&Mailbox| account.smtp_user.as_deref().is_some_and(|last| last.eq_ignore_ascii_case(person.as_str()));
    let person = declared.iter().find(is_last).or(declared.first()).unwrap_or(&account.mailbox);
    Ok(person.to_string())
}
