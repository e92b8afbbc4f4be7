//! Errors when Microsoft verifies the password that the mail program sends: what other grants fix with a sign-in in
//! a browser needs something else here.

use super::{
    ErrorKind::{Misconfigured, SignInRequired, Transient},
    Row,
};

pub(super) const ROWS: &[Row] = &[
    Row {
        code: 50_126,
        kind: SignInRequired,
        what: "Microsoft refused the user name or the password for {mailbox}.",
        remedy: "Enter the password of Microsoft 365 in the mail program; `oxpost sign-in {mailbox}` tries one by itself. A federated \
                 user has none there: use the grant sign-in.",
    },
    Row {
        code: 50_034,
        kind: SignInRequired,
        what: "The tenant knows no user of the name that is sent for {mailbox}.",
        remedy: "Compare it with Microsoft 365 admin center > Users > Active users. If the user name there is another one, say so: \
                 `oxpost account delegate {mailbox} USER-NAME --create`.",
    },
    Row {
        code: 50_053,
        kind: Transient,
        what: "Microsoft has locked the user of {mailbox} for a while, after too many wrong passwords, or blocks the address of this site.",
        remedy: "Wait: a minute at first, then longer. Microsoft Entra admin center > Users > Sign-in logs says where they come \
                 from; a new password, set there, unlocks the account immediately.",
    },
    Row {
        code: 50_055,
        kind: SignInRequired,
        what: "The password of {mailbox} has expired at Microsoft.",
        remedy: "Set a new one at https://myaccount.microsoft.com, and enter it in the mail program.",
    },
    Row {
        code: 50_056,
        kind: SignInRequired,
        what: "The user of {mailbox} has no password at Microsoft.",
        remedy: "Use the grant sign-in: `oxpost account remove {mailbox}`, then `oxpost account add {mailbox}`.",
    },
    Row {
        code: 50_052,
        kind: SignInRequired,
        what: "The password for {mailbox} is longer than Microsoft accepts.",
        remedy: "Enter the password of Microsoft 365 in the mail program; `oxpost sign-in {mailbox}` tries one by itself.",
    },
    Row {
        code: 50_144,
        kind: SignInRequired,
        what: "The password of {mailbox} in Active Directory has expired.",
        remedy: "Set a new one in Active Directory, or at https://myaccount.microsoft.com, and enter it in the mail program.",
    },
    Row {
        code: 50_158,
        kind: SignInRequired,
        what: "Microsoft requires a second factor for {mailbox}, and the grant password has none.",
        remedy: "Use the grant sign-in: `oxpost account remove {mailbox}`, then `oxpost account add {mailbox}`.",
    },
    Row {
        code: 50_076,
        kind: SignInRequired,
        what: "Microsoft requires a second factor for {mailbox}, and the grant password has none.",
        remedy: "Use the grant sign-in: `oxpost account remove {mailbox}`, then `oxpost account add {mailbox}`.",
    },
    Row {
        code: 50_079,
        kind: SignInRequired,
        what: "Microsoft requires {mailbox} to enrol a second factor, and the grant password has none.",
        remedy: "Use the grant sign-in: `oxpost account remove {mailbox}`, then `oxpost account add {mailbox}`.",
    },
    Row {
        code: 50_072,
        kind: SignInRequired,
        what: "Microsoft requires {mailbox} to enrol a second factor, and the grant password has none.",
        remedy: "Use the grant sign-in: `oxpost account remove {mailbox}`, then `oxpost account add {mailbox}`.",
    },
    Row {
        code: 50_074,
        kind: SignInRequired,
        what: "Microsoft requires a strong second factor for {mailbox}, and the grant password has none.",
        remedy: "Use the grant sign-in: `oxpost account remove {mailbox}`, then `oxpost account add {mailbox}`.",
    },
    Row {
        code: 65_001,
        kind: SignInRequired,
        what: "The application `{application}` has no consent to use the mailbox {mailbox}.",
        remedy: "Microsoft Entra admin center > App registrations > API permissions > Grant admin consent; then log in again.",
    },
    Row {
        code: 7_000_218,
        kind: Misconfigured,
        what: "Microsoft expects a client secret from the application `{application}`.",
        remedy: "Microsoft Entra admin center > App registrations > Authentication > Advanced settings: Allow public client flows = Yes. Or \
                 `oxpost application secret {application}`.",
    },
    // The refresh token: it ends with the password that it came from.
    Row {
        code: 50_173,
        kind: SignInRequired,
        what: "The tokens of {mailbox} were revoked: its password was changed, or an administrator ended all sessions.",
        remedy: "Enter the new password in the mail program; `oxpost sign-in {mailbox}` tries one by itself.",
    },
    Row {
        code: 700_082,
        kind: SignInRequired,
        what: "The tokens of {mailbox} were not used for 90 days and have ended.",
        remedy: "The next login of the mail program gets new ones; `oxpost sign-in {mailbox}` does too.",
    },
    Row {
        code: 70_008,
        kind: SignInRequired,
        what: "The tokens of {mailbox} have expired or were revoked.",
        remedy: "The next login of the mail program gets new ones; `oxpost sign-in {mailbox}` does too.",
    },
    Row {
        code: 70_043,
        kind: SignInRequired,
        what: "A sign-in frequency policy has ended the tokens of {mailbox}, and will do so again.",
        remedy: "The next login of the mail program gets new ones; `oxpost sign-in {mailbox}` does too.",
    },
];
