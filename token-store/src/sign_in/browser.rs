//! Signing in with a browser: authorization code with PKCE (RFC 6749, 4.1; RFC 7636). How the redirect comes back here
//! (a listener of ours, or a person who copies it) is the caller's affair.

use std::fmt;

use oauth2::{CsrfToken, PkceCodeChallenge};
use oxpost_protocol::Secret;
use url::Url;

use super::{
    SignInError, SignedIn,
    identity::Expected,
    kept,
    redirect::{Answer, Redirect, RedirectError},
};
use crate::{
    account::{Account, Grant},
    application::Application,
    authority::Authority,
    clock::SharedClock,
    credential::Proofs,
    error::TokenError,
    http::HttpClient,
    store::Store,
};

/// A sign-in that waits for a browser to come back. Its parts are good for one answer: [`BrowserSignIn::finish`] takes
/// it by value.
pub struct BrowserSignIn {
    /// The page of the authority where the person signs in.
    pub url: Url,
    redirect_uri: String,
    state: Secret,
    verifier: Secret,
    expected: Expected,
    mailbox: String,
    application: Application,
    store: Store,
    http: HttpClient,
    clock: SharedClock,
}

/// Makes the address of the page where the account's person signs in. Nothing is sent yet.
pub async fn begin_browser_sign_in(
    http: &HttpClient,
    store: &Store,
    application: &Application,
    account: &Account,
    clock: &SharedClock,
    redirect_uri: &str,
) -> Result<BrowserSignIn, TokenError> {
    // What cannot be read shows before a person has signed in.
    Proofs::of(application, store, clock.now()).await?;
    let expected = Expected::of(store, account, application).await?;
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let state = CsrfToken::new_random();
    let mut sign_in = BrowserSignIn {
        url: application.authorize_url.clone(),
        redirect_uri: redirect_uri.to_owned(),
        state: Secret::from(state.secret().as_str()),
        verifier: Secret::from(verifier.secret().as_str()),
        expected,
        mailbox: account.mailbox.to_string(),
        application: application.clone(),
        store: store.clone(),
        http: http.clone(),
        clock: clock.clone(),
    };
    let url = sign_in.authority().authorize_url(state, challenge, redirect_uri, sign_in.expected.hint())?;
    sign_in.url = url;
    Ok(sign_in)
}

impl BrowserSignIn {
    /// Reads the query (or fragment) that the browser came back with.
    ///
    /// # Errors
    /// It is not the answer to this sign-in. Another one may still come.
    pub fn read(&self, query: &str) -> Result<Redirect, RedirectError> {
        Redirect::read(query, &self.state)
    }

    /// Redeems the code, and says whose tokens these are.
    ///
    /// # Errors
    /// The user declined or was refused, the code could not be redeemed, or another user signed in.
    pub async fn finish(self, redirect: Redirect) -> Result<SignedIn, SignInError> {
        let granted = match redirect.0 {
            Answer::Code(code) => {
                let redeemed = self.authority().redeem(&code, &self.verifier, &self.redirect_uri).await;
                redeemed.map_err(TokenError::for_a_command)?
            }
            Answer::Refused { error, description } => {
                let refused = self.authority().refused_at_the_page(&error, &description);
                return Err(refused.map_or(SignInError::Declined, |error| error.for_a_command().into()));
            }
        };
        kept(granted, &self.expected, &self.application)
    }

    fn authority(&self) -> Authority<'_> {
        Authority::new(&self.http, &self.clock, &self.store, &self.application, &self.mailbox, Grant::SignIn)
    }
}

impl fmt::Debug for BrowserSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserSignIn").field("mailbox", &self.mailbox).finish_non_exhaustive()
    }
}
