//! The password grant (RFC 6749, 4.3; Microsoft calls it ROPC): the password of a mail client is Microsoft's own, and
//! Microsoft verifies it (<https://learn.microsoft.com/entra/identity-platform/v2-oauth-ropc>).
//!
//! Microsoft knows a user by their present name alone, so the stored name of a renamed user is sent. It may have been given to
//! another user since: then the password is right at Microsoft, and wrong here.

use oxpost_protocol::Secret;

use crate::{
    account::{Account, Grant, Mailbox},
    application::Application,
    authority::Authority,
    clock::SharedClock,
    error::{Problem, TokenError},
    http::HttpClient,
    store::{Store, StoreError},
};

/// Microsoft's number for a wrong user name or password.
const WRONG_PASSWORD: u32 = 50_126;

/// Microsoft's number for a user name that the tenant does not know.
const UNKNOWN_USER: u32 = 50_034;

/// Why a password has brought no tokens.
pub(crate) struct NotAccepted {
    pub(crate) error: TokenError,
    /// It is not the password of the account's user, and that is all that is wrong.
    pub(crate) is_wrong: bool,
}

impl<E: Into<TokenError>> From<E> for NotAccepted {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { is_wrong: has_code(&error, WRONG_PASSWORD), error }
    }
}

fn has_code(error: &TokenError, code: u32) -> bool {
    error.problem().is_some_and(|problem| problem.code == Some(code))
}

/// Asks for tokens with a password, and stores them. It is the password of the mailbox's own user, or of the
/// delegate. If it is wrong, nothing is stored and stored tokens are kept.
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
    let verified = verify_remotely(http, store, application, account, password, clock).await;
    verified.map_err(|not_accepted| not_accepted.error.for_a_command())
}

/// The same, and says whether the password is wrong.
///
/// Microsoft hears of one wrong password at most: the account's address is sent after the stored name only where the stored name
/// was unknown or the password was right for its user, neither of which Microsoft counts against a user.
pub(crate) async fn verify_remotely(
    http: &HttpClient,
    store: &Store,
    application: &Application,
    account: &Account,
    password: &Secret,
    clock: &SharedClock,
) -> Result<(), NotAccepted> {
    let user = account.token_of();
    if store.account(user).await?.is_none() {
        return Err(StoreError::NoSuchAccount(user.clone()).into());
    }
    application.can_verify_passwords().map_err(TokenError::Misconfigured)?;
    let authority = Authority::new(http, clock, store, application, user.as_str(), Grant::Password);
    let mut without_success = None;
    let known = store.tokens(user).await?.identity;
    if let Some(known) = &known
        && let Some(name) = known.sign_in_name().filter(|name| name != user)
    {
        let issued_at = clock.now();
        let why_not = match authority.password(name.as_str(), password).await {
            Ok(granted) => match &granted.tokens.identity {
                Some(told) if known.is_mailbox_of(told) => {
                    return Ok(store.save_signed_in(user, &granted.tokens, Some(name.as_str()), issued_at).await?);
                }
                Some(_) => WhyNot::AnotherUser,
                None => WhyNot::NoUser,
            },
            Err(error) if has_code(&error, UNKNOWN_USER) => WhyNot::Unknown,
            Err(error) => return Err(error.into()),
        };
        if why_not != WhyNot::Unknown {
            tracing::warn!(
                account = %user,
                %name,
                "the password is right for the name that the user of this account had last, but the answer does not show the same \
                 user; nothing was stored, and the account's address is tried"
            );
        }
        without_success = Some((name, why_not));
    }
    let issued_at = clock.now();
    match authority.password(user.as_str(), password).await {
        Ok(granted) => Ok(store.save_signed_in(user, &granted.tokens, Some(user.as_str()), issued_at).await?),
        Err(error) if has_code(&error, UNKNOWN_USER) => Err(unknown(error, user, without_success)),
        Err(error) => Err(error.into()),
    }
}

/// Why the stored name was of no use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhyNot {
    Unknown,
    AnotherUser,
    NoUser,
}

/// The tenant does not know the account's address, nor is the stored name of use: shows which names were sent.
fn unknown(error: TokenError, user: &Mailbox, before: Option<(Mailbox, WhyNot)>) -> NotAccepted {
    let what = match &before {
        None => format!("The tenant knows no user {user}."),
        Some((name, WhyNot::Unknown)) => format!("The tenant knows no user {name}, and no user {user}."),
        Some((name, WhyNot::AnotherUser)) => format!(
            "The password is that of {name}, which is the name of another user now, and the tenant knows no user {user}."
        ),
        Some((name, WhyNot::NoUser)) => format!(
            "The password is that of {name}, but Microsoft does not say whether that is still the same user, and the tenant knows \
             no user {user}."
        ),
    };
    let is_wrong = before.is_some_and(|(_, why_not)| why_not != WhyNot::Unknown);
    let error = match error {
        TokenError::SignInRequired(problem) => TokenError::SignInRequired(Problem { what, ..problem }),
        other => other,
    };
    NotAccepted { error, is_wrong }
}
