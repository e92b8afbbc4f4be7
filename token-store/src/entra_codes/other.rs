//! The meanings of OAuth's error names at an authority of which no more is known (RFC 6749, 4.1.2.1 and 5.2; RFC 8628, 3.5).

use super::{
    ErrorKind::{Misconfigured, SignInRequired},
    NameRow,
};

const CONFIGURATION: &str =
    "Compare client-id, the client secret and the scopes of `{application}` in proxy.toml with its registration.";

/// All names of other authorities, in the order in which they are looked for.
pub fn other_names() -> impl Iterator<Item = &'static NameRow> {
    ROWS.iter().chain([&UNKNOWN])
}

pub(super) const UNKNOWN: NameRow = NameRow {
    what: "The sign-in service refused the request with an error that is not known here.",
    remedy: "If it lasts, check the provider in proxy.toml.",
    ..NameRow::ANY
};

pub(super) const ROWS: &[NameRow] = &[
    NameRow {
        errors: &["temporarily_unavailable", "server_error", "slow_down", "authorization_pending"],
        what: "The sign-in service is not available for the moment.",
        remedy: "If it lasts, check the provider in proxy.toml.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_client", "unauthorized_client", "unsupported_grant_type"],
        kind: Misconfigured,
        what: "The sign-in service does not accept the application `{application}`.",
        remedy: CONFIGURATION,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_scope", "invalid_request", "unsupported_response_type"],
        kind: Misconfigured,
        what: "The sign-in service does not accept the request that the application `{application}` makes.",
        remedy: CONFIGURATION,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_grant", "access_denied"],
        app_only: true,
        kind: Misconfigured,
        what: "The sign-in service refuses a token to the application `{application}`.",
        remedy: CONFIGURATION,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["expired_token"],
        kind: SignInRequired,
        what: "The code for the sign-in of {mailbox} has expired.",
        remedy: "Run `oxpost sign-in {mailbox}` again.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["access_denied"],
        kind: SignInRequired,
        what: "The sign-in of {mailbox} was declined.",
        remedy: "Run `oxpost sign-in {mailbox}` again and accept.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_grant", "interaction_required", "login_required", "consent_required"],
        kind: SignInRequired,
        what: "The sign-in of {mailbox} has expired or was revoked.",
        remedy: "Run `oxpost sign-in {mailbox}` and sign in again.",
        ..NameRow::ANY
    },
];
