//! The state of an account in two words.

use std::time::SystemTime;

use oxpost_token_store::{Account, ErrorKind, Grant, Origin, TokenState};

use crate::admin::credential_expiry::End;

pub(super) const NOT_SIGNED_IN: &str = "not signed in";

/// No longer declared in proxy.toml.
const DISABLED: &str = "disabled";

/// The service is not running, so nothing is served.
const NOT_SERVED: &str = "not served";

/// How a state is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// Nothing to do.
    Good,
    /// It works, and something has to be done soon or is tried again.
    Warning,
    /// It does not work, or an administrator must act.
    Bad,
    /// It is out of use on purpose.
    Unused,
}

/// The severity of a state, also of `login refused`.
pub(super) fn severity(state: &str) -> Severity {
    match state {
        "ok" => Severity::Good,
        "idle" | "ok, retrying" | "renew soon" => Severity::Warning,
        DISABLED => Severity::Unused,
        _ => Severity::Bad,
    }
}

/// The state of an account with that of its tokens, where the service is not running: its tokens help no mail program then.
pub(super) fn without_service(of_the_tokens: &'static str) -> &'static str {
    match severity(of_the_tokens) {
        Severity::Good | Severity::Warning => NOT_SERVED,
        Severity::Bad | Severity::Unused => of_the_tokens,
    }
}

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
        // An administrator entered the day; it may be wrong, so this is no error.
        None if end.is_some_and(End::has_passed) => "renew now",
        None if end.is_some_and(End::is_near) => "renew soon",
        None if alive => "ok",
        // No error, but no refresh either: the service does not run, or has not refreshed it yet.
        None => "idle",
    }
}
