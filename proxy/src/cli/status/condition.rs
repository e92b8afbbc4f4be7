//! The state of an account in two words.

use std::time::SystemTime;

use oxpost_token_store::{Account, ErrorKind, Grant, Origin, TokenState};

use crate::admin::credential_expiry::End;

pub(super) const NOT_SIGNED_IN: &str = "not signed in";

/// Declared in proxy.toml once, and not any more.
const DISABLED: &str = "disabled";

/// `end` is that of the certificate or the client secret of its application, as far as it is known.
pub(super) fn condition(account: &Account, state: &TokenState, end: Option<&End<'_>>, now: SystemTime) -> &'static str {
    if account.origin == Origin::Disabled {
        return DISABLED;
    }
    let alive = state.access_token_expires.is_some_and(|expires| expires > now);
    match &state.last_error {
        Some(error) if error.kind == ErrorKind::SignInRequired => "sign in again",
        Some(error) if error.kind == ErrorKind::Misconfigured => "misconfigured",
        Some(_) if alive => "ok, retrying",
        Some(_) => "retrying",
        None if account.grant == Grant::SignIn && !state.has_refresh_token => NOT_SIGNED_IN,
        None if account.grant == Grant::Password && state.signed_in_as.is_none() => NOT_SIGNED_IN,
        // The day comes from a person, who may have written a wrong one: whether it works is not said by it.
        None if end.is_some_and(End::has_passed) => "renew now",
        None if end.is_some_and(End::is_near) => "renew soon",
        None if alive => "ok",
        // Nothing is wrong, but nobody refreshes: the proxy does not run, or has not come round to it yet.
        None => "idle",
    }
}
