//! The meanings of the error names of OAuth and of Entra (RFC 6749, 5.2; RFC 8628, 3.5;
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>). They decide where the number is not known.

use super::{
    ErrorKind::{self, Misconfigured, SignInRequired, Transient},
    Names, Refusal, Vendor, google, other,
};
use crate::account::Grant;

/// One name, or several that mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRow {
    /// Values of `error`; empty: any.
    pub errors: &'static [&'static str],
    /// Values of `suberror`; empty: any, or none.
    pub suberrors: &'static [&'static str],
    /// A part of the description; empty: any, or none.
    pub says: &'static str,
    /// Whether it is so for applications that act in their own name only.
    pub app_only: bool,
    /// What it means for us.
    pub kind: ErrorKind,
    /// What happened. May hold `{mailbox}` and `{application}`.
    pub what: &'static str,
    /// What to do, and where. May hold `{mailbox}` and `{application}`.
    pub remedy: &'static str,
}

impl NameRow {
    /// The row from which the others are made: it fits everything.
    pub(super) const ANY: Self =
        Self { errors: &[], suberrors: &[], says: "", app_only: false, kind: Transient, what: "", remedy: "" };

    fn is(&self, refusal: &Refusal<'_>, grant: Grant) -> bool {
        let suberror = refusal.suberror.unwrap_or_default();
        (self.errors.is_empty() || self.errors.contains(&refusal.error))
            && (self.suberrors.is_empty() || self.suberrors.contains(&suberror))
            && (refusal.description.contains(self.says) || is_numbered(self.says, refusal))
            && (!self.app_only || grant == Grant::ClientCredentials)
    }
}

/// Entra's number may come without a description.
fn is_numbered(says: &str, refusal: &Refusal<'_>) -> bool {
    says == NUMBER && !refusal.codes.is_empty()
}

/// The meaning of a refusal by its names: the first row that fits, and the last one fits always.
pub(super) fn by_name(refusal: &Refusal<'_>, of: &Names<'_>) -> &'static NameRow {
    let (rows, unknown) = match of.vendor {
        Vendor::Microsoft => (ROWS, &UNKNOWN),
        Vendor::Google => (google::ROWS, &google::UNKNOWN),
        Vendor::Other => (other::ROWS, &other::UNKNOWN),
    };
    rows.iter().find(|row| row.is(refusal, of.grant)).unwrap_or(unknown)
}

/// All names of Microsoft, in the order in which they are looked for.
pub fn names() -> impl Iterator<Item = &'static NameRow> {
    ROWS.iter().chain([&UNKNOWN])
}

/// What every refusal of Entra has in its description, whatever the number.
const NUMBER: &str = "AADSTS";

const SIGN_IN: &str = "Run `oxpost sign-in {mailbox}` and sign in again.";

const REGISTRATION: &str = "Compare client id, tenant and scopes of `{application}` in proxy.toml with Microsoft Entra admin center > App registrations.";

const POLICY: &str = "Microsoft Entra admin center > Monitoring > Sign-in logs names the policy; exclude the user or the application \
                      there.";

const CONSENT: &str = "Grant admin consent: Microsoft Entra admin center > App registrations > API permissions; then run `oxpost \
                       sign-in {mailbox}`.";

/// Nothing is known: keep everything, and try again.
const UNKNOWN: NameRow = NameRow {
    what: "Microsoft refused the request with an error that is not known here.",
    remedy: "If it lasts, look the number up at https://login.microsoftonline.com/error.",
    ..NameRow::ANY
};

const ROWS: &[NameRow] = &[
    NameRow {
        errors: &["temporarily_unavailable", "server_error", "slow_down", "authorization_pending"],
        kind: Transient,
        what: "Microsoft's sign-in service is not available for the moment.",
        remedy: "If it lasts, see https://status.cloud.microsoft.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["consent_required"],
        kind: SignInRequired,
        what: "The application `{application}` has not been allowed to use the mailbox {mailbox}.",
        remedy: CONSENT,
        ..NameRow::ANY
    },
    NameRow {
        suberrors: &["consent_required"],
        kind: SignInRequired,
        what: "The application `{application}` has not been allowed to use the mailbox {mailbox}.",
        remedy: CONSENT,
        ..NameRow::ANY
    },
    NameRow {
        suberrors: &["client_mismatch"],
        kind: Misconfigured,
        what: "The stored sign-in of {mailbox} was made for another application than `{application}`.",
        remedy: "Check the client id in proxy.toml, then run `oxpost sign-in {mailbox}`.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_client", "unauthorized_client"],
        kind: Misconfigured,
        what: "Microsoft does not accept the application `{application}`: its client id, its secret or its kind is wrong.",
        remedy: REGISTRATION,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_scope", "invalid_resource", "invalid_request", "unsupported_grant_type", "invalid_tenant"],
        kind: Misconfigured,
        what: "Microsoft does not accept the request that the application `{application}` makes.",
        remedy: REGISTRATION,
        ..NameRow::ANY
    },
    // No person signs in for an application that acts in its own name.
    NameRow {
        errors: &["invalid_grant", "interaction_required", "login_required", "access_denied"],
        app_only: true,
        kind: Misconfigured,
        what: "Microsoft refuses a token to the application `{application}`.",
        remedy: REGISTRATION,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_grant", "interaction_required"],
        suberrors: &["user_password_expired"],
        kind: SignInRequired,
        what: "The password of the user who signed in for {mailbox} has expired.",
        remedy: "Set a new one at https://myaccount.microsoft.com, then run `oxpost sign-in {mailbox}`.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_grant", "interaction_required"],
        suberrors: &["message_only", "protection_policy_required", "device_authentication_failed"],
        kind: SignInRequired,
        what: "A policy of the tenant blocks {mailbox} for the application `{application}`, or asks for a managed device.",
        remedy: POLICY,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["invalid_grant", "interaction_required"],
        suberrors: &["basic_action", "additional_action"],
        kind: SignInRequired,
        what: "Microsoft requires another step from the user who signed in for {mailbox}, such as a second factor.",
        remedy: SIGN_IN,
        ..NameRow::ANY
    },
    NameRow {
        errors: &["expired_token", "bad_verification_code"],
        kind: SignInRequired,
        what: "The code for the sign-in of {mailbox} has expired.",
        remedy: "Run `oxpost sign-in {mailbox}` again and enter the new code within 15 minutes.",
        ..NameRow::ANY
    },
    // The authority refuses, and not the user.
    NameRow {
        errors: &["access_denied", "authorization_declined"],
        says: NUMBER,
        kind: SignInRequired,
        what: "Microsoft refused the sign-in of {mailbox}.",
        remedy: "Microsoft Entra admin center > Monitoring > Sign-in logs says why; then run `oxpost sign-in {mailbox}`.",
        ..NameRow::ANY
    },
    NameRow {
        errors: &["access_denied", "authorization_declined"],
        kind: SignInRequired,
        what: "The sign-in of {mailbox} was declined.",
        remedy: "Run `oxpost sign-in {mailbox}` again and accept.",
        ..NameRow::ANY
    },
    // Also with the suberrors bad_token and token_expired.
    NameRow {
        errors: &["invalid_grant", "interaction_required", "login_required"],
        kind: SignInRequired,
        what: "Microsoft asks for a new sign-in of {mailbox}.",
        remedy: SIGN_IN,
        ..NameRow::ANY
    },
];
