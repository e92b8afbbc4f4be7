//! Signing in: a person with a browser or a device code, or an application in its own name, once, before the account can be
//! used.

mod browser;
mod identity;
mod redirect;

use std::{fmt, time::Duration};

use oauth2::StandardDeviceAuthorizationResponse;

use self::identity::Expected;
pub use self::{
    browser::{BrowserSignIn, begin_browser_sign_in},
    redirect::{REDIRECT_LIMIT, Redirect, RedirectError},
};
use crate::{
    account::{Account, Grant, Mailbox},
    application::Application,
    authority::{Authority, DeviceFailure, Granted},
    clock::SharedClock,
    error::{Problem, TokenError, printable},
    http::HttpClient,
    store::{Store, StoreError, TokenSet},
};

/// A sign-in that waits for a person. Show them [`DeviceSignIn::message`], or the address and the code; then wait.
pub struct DeviceSignIn {
    /// What the person enters.
    pub user_code: String,
    /// Where they enter it.
    pub verification_uri: String,
    /// Both in a sentence.
    pub message: String,
    /// How long the code can be used.
    pub expires_in: Duration,
    expected: Expected,
    mailbox: String,
    application: Application,
    store: Store,
    code: StandardDeviceAuthorizationResponse,
    http: HttpClient,
    clock: SharedClock,
}

/// What a sign-in brought. [`Store::save_signed_in`] keeps it.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The tokens.
    pub tokens: TokenSet,
    /// Who signed in: the mailbox, or its delegate; a sign-in by another user is refused. Missing only if the authority cannot
    /// say it.
    pub signed_in_as: Option<String>,
    /// Scopes that were asked for and not granted.
    pub missing_scopes: Vec<String>,
}

/// Why a sign-in failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignInError {
    /// The user declined.
    #[error("the sign-in was declined in the browser; nothing was changed. Run the command again and accept.")]
    Declined,
    /// The code was not entered in time.
    #[error("the code has expired before it was entered; run the command again to get a new one")]
    Expired,
    /// Another user signed in.
    #[error("{}", wrong_person(mailbox, account, expected, signed_in_as))]
    WrongPerson {
        /// The account.
        mailbox: Mailbox,
        /// The account whose user should have signed in: this one, or its delegate.
        account: Mailbox,
        /// The name of that user: another one than the account's address if they were renamed.
        expected: String,
        /// Who signed in.
        signed_in_as: String,
    },
    /// The authority does not say who signed in.
    #[error(
        "the sign-in service does not say who has signed in, so nothing was stored for {mailbox}. If it cannot say so (it does not \
         speak OpenID Connect), write openid = false into its [[provider]] section in proxy.toml"
    )]
    NobodyNamed {
        /// The account.
        mailbox: String,
    },
    /// Anything else.
    #[error(transparent)]
    Token(#[from] TokenError),
}

fn wrong_person(mailbox: &Mailbox, account: &Mailbox, expected: &str, signed_in_as: &str) -> String {
    let mut asked = if mailbox == account {
        format!("this account is {mailbox}")
    } else {
        format!("{mailbox} is opened through {account}")
    };
    if expected != account.as_str() {
        asked.push_str(&format!(", whose user name is {expected} now"));
    }
    // A user name is an address, which is shown whole however long it is.
    let signed_in_as = Mailbox::parse(signed_in_as).map_or_else(|_| printable(signed_in_as), |name| name.to_string());
    format!(
        "the sign-in was made as {signed_in_as}, but {asked}, so nothing was stored. Run the command again and choose \
         {expected} on the page (a private browser window keeps other people's sign-ins away). If {signed_in_as} is meant to \
         open {mailbox}, because they have Full Access to it, or because it is the same person's sign-in name, set it as the \
         delegate first: `oxpost account delegate {mailbox} {signed_in_as} --create`"
    )
}

/// Asks for a code for the account's person (RFC 8628).
pub async fn begin_device_sign_in(
    http: &HttpClient,
    store: &Store,
    application: &Application,
    account: &Account,
    clock: &SharedClock,
) -> Result<DeviceSignIn, TokenError> {
    let expected = Expected::of(store, account, application).await?;
    let mailbox = account.mailbox.to_string();
    let authority = Authority::new(http, clock, store, application, &mailbox, Grant::SignIn);
    let code = authority.device_code().await.map_err(TokenError::for_a_command)?;
    let user_code = printable(code.user_code().secret());
    let verification_uri = printable(code.verification_uri().as_str());
    Ok(DeviceSignIn {
        message: format!(
            "To sign in for {mailbox}, open {verification_uri} in a browser and enter the code {user_code}"
        ),
        user_code,
        verification_uri,
        expires_in: code.expires_in(),
        expected,
        mailbox,
        application: application.clone(),
        store: store.clone(),
        code,
        http: http.clone(),
        clock: clock.clone(),
    })
}

impl DeviceSignIn {
    /// Waits until the person has signed in, has declined, or the code has expired.
    pub async fn wait(self) -> Result<SignedIn, SignInError> {
        let authority =
            Authority::new(&self.http, &self.clock, &self.store, &self.application, &self.mailbox, Grant::SignIn);
        let granted = authority.device_token(&self.code).await.map_err(|failure| match failure {
            DeviceFailure::Declined => SignInError::Declined,
            DeviceFailure::Expired => SignInError::Expired,
            DeviceFailure::Token(error) => SignInError::Token(error.for_a_command()),
        })?;
        kept(granted, &self.expected, &self.application)
    }
}

/// What is fit to be stored: tokens that last, of the right person.
fn kept(granted: Granted, expected: &Expected, application: &Application) -> Result<SignedIn, SignInError> {
    if granted.tokens.refresh_token.is_none() {
        let what = "The sign-in brought no refresh token, so it would end within the hour.";
        let remedy =
            format!("Add `offline_access` to the scopes of the application `{}` in proxy.toml.", application.name);
        return Err(TokenError::Misconfigured(Problem::new(what, remedy)).into());
    }
    expected.check(granted.signed_in_as.as_deref(), granted.tokens.identity.as_ref())?;
    let Granted { tokens, signed_in_as, missing_scopes } = granted;
    Ok(SignedIn { tokens, signed_in_as, missing_scopes })
}

impl fmt::Debug for DeviceSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSignIn").field("mailbox", &self.mailbox).finish_non_exhaustive()
    }
}

/// Signs an app-only account in: asks for one token and stores it, so that a wrong secret is found immediately.
pub async fn connect_client_credentials(
    http: &HttpClient,
    store: &Store,
    application: &Application,
    account: &Account,
    clock: &SharedClock,
) -> Result<(), TokenError> {
    if store.account(account.token_of()).await?.is_none() {
        return Err(StoreError::NoSuchAccount(account.token_of().clone()).into());
    }
    let authority = Authority::new(http, clock, store, application, account.mailbox.as_str(), Grant::ClientCredentials);
    let issued_at = clock.now();
    let tokens = authority.client_credentials().await.map_err(TokenError::for_a_command)?;
    Ok(store.save_signed_in(account.token_of(), &tokens, None, issued_at).await?)
}
