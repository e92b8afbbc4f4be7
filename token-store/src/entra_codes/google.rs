//! The meanings of the errors of Google's authority
//! (<https://developers.google.com/identity/protocols/oauth2/native-app#errors>, RFC 6749, 5.2).

use super::{
    ErrorKind::{Misconfigured, SignInRequired},
    NameRow,
};

const CLIENTS: &str = "Compare client-id and the client secret of `{application}` in proxy.toml with https://console.cloud.google.com > Google Auth \
                       Platform > Clients.";

const ADMINISTRATOR: &str = "https://admin.google.com > Security > Access and data control > API controls: trust the client id of `{application}`; \
                             then run `oxpost sign-in {mailbox}`.";

/// All names of Google, in the order in which they are looked for.
pub fn google_names() -> impl Iterator<Item = &'static NameRow> {
    ROWS.iter().chain([&UNKNOWN])
}

pub(super) const UNKNOWN: NameRow = NameRow {
    what: "Google refused the request with an error that is not known here.",
    remedy: "If it lasts, see https://www.google.com/appsstatus.",
    ..NameRow::ANY
};

pub(super) const ROWS: &[NameRow] = &[
    NameRow {
        errors: &[
            "temporarily_unavailable",
            "server_error",
            "internal_failure",
            "backend_error",
            "slow_down",
            "rate_limit_exceeded",
            "authorization_pending",
        ],
        what: "Google's sign-in service is not available for the moment.",
        remedy: "If it lasts, see https://www.google.com/appsstatus.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["deleted_client"],
        kind: Misconfigured,
        what: "The OAuth client of the application `{application}` was deleted at Google.",
        remedy: "Restore it within 30 days at https://console.cloud.google.com > Google Auth Platform > Clients, or create another one and put \
                 its client-id into proxy.toml.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["disabled_client"],
        kind: Misconfigured,
        what: "The OAuth client of the application `{application}` is disabled at Google.",
        remedy: "Enable it at https://console.cloud.google.com > Google Auth Platform > Clients; if Google disabled it, the same page says why.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_client"],
        kind: Misconfigured,
        what: "Google does not accept the client id or the client secret of the application `{application}`.",
        remedy: CLIENTS,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["unauthorized_client", "unsupported_grant_type"],
        kind: Misconfigured,
        what: "The OAuth client of the application `{application}` may not be used in this way.",
        remedy: "Create a client of the type Desktop app at https://console.cloud.google.com > Google Auth Platform > Clients, and put its \
                 client-id into proxy.toml.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["admin_policy_enforced"],
        kind: SignInRequired,
        what: "The administrator of Google Workspace does not allow the application `{application}` to use mail.",
        remedy: ADMINISTRATOR,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["org_internal"],
        kind: Misconfigured,
        what: "The application `{application}` is for users of its own organization only, and {mailbox} is not one of them.",
        remedy: "https://console.cloud.google.com > Google Auth Platform > Audience: choose External; or run `oxpost sign-in {mailbox}` with an \
                 account of the organization.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["restricted_client", "invalid_scope"],
        kind: Misconfigured,
        what: "The application `{application}` asks Google for a scope that it may not use.",
        remedy: "Add https://mail.google.com/ at https://console.cloud.google.com > Google Auth Platform > Data access, and leave \
                 delegated-scopes out of proxy.toml.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["redirect_uri_mismatch"],
        kind: Misconfigured,
        what: "The address that the sign-in returns to is not registered for the application `{application}`.",
        remedy: "Create a client of the type Desktop app at https://console.cloud.google.com > Google Auth Platform > Clients, and leave \
                 redirect-uri out of proxy.toml.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["disallowed_useragent", "access_not_configured"],
        kind: SignInRequired,
        what: "Google does not accept the browser of this sign-in.",
        remedy: "Run `oxpost sign-in {mailbox} --no-open` and open the address in another browser.",
        ..NameRow::ANY
    },
    // Workspace asks for the password again from time to time.
    NameRow {
        errors: &["invalid_grant"],
        suberrors: &["invalid_rapt", "rapt_required"],
        kind: SignInRequired,
        what: "Google Workspace's session control has ended the sign-in of {mailbox}, and will do so again.",
        remedy: "Run `oxpost sign-in {mailbox}`; to stop it, exempt trusted apps at https://admin.google.com > Security > Access and data control > \
                 Google Cloud session control.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_grant"],
        says: "invalid_rapt",
        kind: SignInRequired,
        what: "Google Workspace's session control has ended the sign-in of {mailbox}, and will do so again.",
        remedy: "Run `oxpost sign-in {mailbox}`; to stop it, exempt trusted apps at https://admin.google.com > Security > Access and data control > \
                 Google Cloud session control.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_grant"],
        kind: SignInRequired,
        what: "The sign-in of {mailbox} at Google has expired or was revoked.",
        remedy: "Run `oxpost sign-in {mailbox}`. If it ends every 7 days, set the application to In production at \
                 https://console.cloud.google.com > Google Auth Platform > Audience.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["account_disabled", "account_deleted", "account_not_found", "invalid_account"],
        kind: SignInRequired,
        what: "The Google account that signed in for {mailbox} is disabled or does not exist.",
        remedy: "Check it at https://admin.google.com > Directory > Users, then run `oxpost sign-in {mailbox}`.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["expired_token", "bad_verification_code"],
        kind: SignInRequired,
        what: "The code for the sign-in of {mailbox} has expired.",
        remedy: "Run `oxpost sign-in {mailbox}` again.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["access_denied"],
        kind: SignInRequired,
        what: "The sign-in of {mailbox} was declined, or the application `{application}` is in testing and the user is not a test user.",
        remedy: "Run `oxpost sign-in {mailbox}` again and accept; test users are at https://console.cloud.google.com > Google Auth Platform > \
                 Audience.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["interaction_required", "login_required", "consent_required", "account_selection_required"],
        kind: SignInRequired,
        what: "Google asks for a new sign-in of {mailbox}.",
        remedy: "Run `oxpost sign-in {mailbox}` and sign in again.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_request"],
        kind: Misconfigured,
        what: "Google does not accept the request that the application `{application}` makes.",
        remedy: CLIENTS,
        ..NameRow::ANY
    },
];
