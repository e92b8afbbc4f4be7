//! The table itself, in the order in which somebody who sets things up meets the errors.

use super::{
    ErrorKind::{Misconfigured, SignInRequired, Transient},
    Row,
};

/// All known errors.
pub const ROWS: &[Row] = &[
    // The application proves itself.
    Row {
        code: 7_000_218,
        kind: Misconfigured,
        what: "Microsoft takes the application `{application}` for one that must send a secret.",
        remedy: "For device codes: Microsoft Entra admin center > App registrations > Authentication > Allow public client flows = Yes. \
                 Otherwise set its client secret in proxy.toml.",
    },
    Row {
        code: 700_025,
        kind: Misconfigured,
        what: "The application `{application}` is a public client and must not send a secret.",
        remedy: "Remove its client secret from proxy.toml, or use an application that is not a public client.",
    },
    Row {
        code: 7_000_215,
        kind: Misconfigured,
        what: "The client secret of the application `{application}` is wrong.",
        remedy: "Microsoft Entra admin center > App registrations > Certificates & secrets: take the secret's Value (not its Secret ID); \
                 it is shown only once, so make a new secret if in doubt, and store it.",
    },
    Row {
        code: 7_000_222,
        kind: Misconfigured,
        what: "The client secret of the application `{application}` has expired.",
        remedy: "Microsoft Entra admin center > App registrations > Certificates & secrets: make a new secret and store its Value; \
                 note the day it expires.",
    },
    Row {
        code: 70_002,
        kind: Misconfigured,
        what: "Microsoft could not verify the application `{application}`.",
        remedy: "Compare its client id and secret in proxy.toml with Microsoft Entra admin center > App registrations.",
    },
    Row {
        code: 700_027,
        kind: Misconfigured,
        what: "The certificate of the application `{application}` is not registered, or its signature does not verify.",
        remedy: "Upload the certificate at Microsoft Entra admin center > App registrations > Certificates & secrets, and check this \
                 machine's clock.",
    },
    Row {
        code: 700_024,
        kind: Misconfigured,
        what: "The signed statement of the application `{application}` is outside the time it is valid for.",
        remedy: "Set this machine's clock (on Windows `w32tm /resync`, on Linux `timedatectl`); then it is tried again by itself.",
    },
    Row {
        code: 700_016,
        kind: Misconfigured,
        what: "The tenant knows no application with the client id of `{application}`.",
        remedy: "Compare client id and tenant in proxy.toml with Microsoft Entra admin center > App registrations > Overview; an \
                 application of another tenant needs admin consent in this one first.",
    },
    Row {
        code: 700_038,
        kind: Misconfigured,
        what: "The client id of the application `{application}` is not one.",
        remedy: "Copy the Application (client) ID from Microsoft Entra admin center > App registrations > Overview into proxy.toml.",
    },
    Row {
        code: 7_000_112,
        kind: Misconfigured,
        what: "The application `{application}` is disabled in the tenant.",
        remedy: "Microsoft Entra admin center > Enterprise applications > Properties > Enabled for users to sign in = Yes; if Microsoft \
                 has disabled it, the same page says so.",
    },
    // Consent.
    Row {
        code: 65_001,
        kind: SignInRequired,
        what: "Nobody has allowed the application `{application}` to use the mailbox {mailbox}.",
        remedy: "Microsoft Entra admin center > App registrations > API permissions > Grant admin consent; then `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 65_004,
        kind: SignInRequired,
        what: "The person who signed in for {mailbox} did not allow the application `{application}` to use it.",
        remedy: "Run `oxpost sign-in {mailbox}` again and accept, or grant admin consent at Microsoft Entra admin center > App \
                 registrations > API permissions.",
    },
    Row {
        code: 90_094,
        kind: SignInRequired,
        what: "Only an administrator may allow the application `{application}` to use mail.",
        remedy: "Microsoft Entra admin center > App registrations > API permissions > Grant admin consent; then `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 90_095,
        kind: SignInRequired,
        what: "A request to allow the application `{application}` waits for an administrator.",
        remedy: "Approve it at Microsoft Entra admin center > Enterprise applications > Admin consent requests; then \
                 `oxpost sign-in {mailbox}`.",
    },
    // What is asked for.
    Row {
        code: 650_057,
        kind: Misconfigured,
        what: "The application `{application}` asks for a resource that is not among its permissions.",
        remedy: "Microsoft Entra admin center > App registrations > API permissions: add Office 365 Exchange Online (IMAP, POP, SMTP), \
                 and compare the scopes in proxy.toml.",
    },
    Row {
        code: 650_056,
        kind: Misconfigured,
        what: "The application `{application}` has no permission, or no consent, for what it asks for.",
        remedy: "Microsoft Entra admin center > App registrations > API permissions: check the permissions and grant admin consent.",
    },
    Row {
        code: 500_011,
        kind: Misconfigured,
        what: "The tenant does not know the service that the scopes of `{application}` name.",
        remedy: "Check the host in the scopes in proxy.toml (a misspelling, or another cloud's), and that the tenant has Exchange Online: \
                 Microsoft 365 admin center > Billing > Licenses.",
    },
    Row {
        code: 50_011,
        kind: Misconfigured,
        what: "The address that the sign-in returns to is not registered for the application `{application}`.",
        remedy: "Microsoft Entra admin center > App registrations > Authentication > Mobile and desktop applications: add \
                 http://localhost.",
    },
    Row {
        code: 70_011,
        kind: Misconfigured,
        what: "A scope that the application `{application}` asks for is malformed, or scopes of several services are mixed.",
        remedy: "In proxy.toml ask for scopes of https://outlook.office.com only, or leave them out to use the preset's.",
    },
    Row {
        code: 900_144,
        kind: Misconfigured,
        what: "The request of the application `{application}` lacks a parameter.",
        remedy: "Check that client id, tenant and scopes are set in proxy.toml.",
    },
    // The person and the account.
    Row {
        code: 50_020,
        kind: SignInRequired,
        what: "The person who signed in for {mailbox} does not belong to this tenant.",
        remedy: "Run `oxpost sign-in {mailbox}` with an account of the tenant, or correct the tenant in proxy.toml.",
    },
    Row {
        code: 90_072,
        kind: SignInRequired,
        what: "The account that signed in for {mailbox} is not known in this tenant, not even as a guest.",
        remedy: "Run `oxpost sign-in {mailbox}` with an account of the tenant, or correct the tenant in proxy.toml.",
    },
    Row {
        code: 16_000,
        kind: SignInRequired,
        what: "Several accounts are signed in, or the one that is signed in does not belong to this tenant.",
        remedy: "Run `oxpost sign-in {mailbox}` in a private browser window and choose the account of the tenant.",
    },
    Row {
        code: 50_034,
        kind: SignInRequired,
        what: "The tenant knows no user of this name.",
        remedy: "Check the address {mailbox} at Microsoft 365 admin center > Users > Active users, and the tenant in proxy.toml.",
    },
    Row {
        code: 50_057,
        kind: SignInRequired,
        what: "The user who signed in for {mailbox} is disabled.",
        remedy: "Microsoft Entra admin center > Users > Account status = Enabled; or run `oxpost sign-in {mailbox}` as another user.",
    },
    Row {
        code: 50_126,
        kind: SignInRequired,
        what: "Microsoft refused the user name or the password.",
        remedy: "Run `oxpost sign-in {mailbox}` with the right password.",
    },
    Row {
        code: 50_053,
        kind: Transient,
        what: "The user is locked for a while after too many wrong passwords, or the address of this site is blocked.",
        remedy: "It is tried again by itself; to unblock at once see Microsoft Entra admin center > Protection > Risky users and Sign-in \
                 logs.",
    },
    Row {
        code: 50_055,
        kind: SignInRequired,
        what: "The password of the user who signed in for {mailbox} has expired.",
        remedy: "Set a new one at https://myaccount.microsoft.com, then run `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 50_076,
        kind: SignInRequired,
        what: "Microsoft asks for a second factor for {mailbox}.",
        remedy: "Run `oxpost sign-in {mailbox}`; if it comes back, exclude the application at Microsoft Entra admin center > Conditional \
                 Access, or use the grant client-credentials.",
    },
    Row {
        code: 50_079,
        kind: SignInRequired,
        what: "The user who signed in for {mailbox} must enrol a second factor.",
        remedy: "Enrol at https://aka.ms/mfasetup, then run `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 50_072,
        kind: SignInRequired,
        what: "The user who signed in for {mailbox} must enrol a second factor.",
        remedy: "Enrol at https://aka.ms/mfasetup, then run `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 50_074,
        kind: SignInRequired,
        what: "Microsoft asks for a strong second factor for {mailbox}, and none was given.",
        remedy: "Run `oxpost sign-in {mailbox}` and give it; or use the grant client-credentials.",
    },
    Row {
        code: 50_078,
        kind: SignInRequired,
        what: "The second factor given for {mailbox} has expired under the tenant's policy.",
        remedy: "Run `oxpost sign-in {mailbox}`; to stop it, see Microsoft Entra admin center > Conditional Access > Session > Sign-in \
                 frequency.",
    },
    Row {
        code: 50_058,
        kind: SignInRequired,
        what: "There is no session at Microsoft that could be used silently for {mailbox}.",
        remedy: "Run `oxpost sign-in {mailbox}`.",
    },
    // The refresh token.
    Row {
        code: 50_173,
        kind: SignInRequired,
        what: "The sign-in of {mailbox} was revoked: the password was changed, or an administrator ended all sessions.",
        remedy: "Run `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 700_082,
        kind: SignInRequired,
        what: "The sign-in of {mailbox} was not used for 90 days and has ended.",
        remedy: "Run `oxpost sign-in {mailbox}`, and keep the service running: it refreshes idle accounts too.",
    },
    Row {
        code: 70_008,
        kind: SignInRequired,
        what: "The sign-in of {mailbox} has expired or was revoked.",
        remedy: "Run `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 70_043,
        kind: SignInRequired,
        what: "A sign-in frequency policy has ended the sign-in of {mailbox}, and will do so again.",
        remedy: "Run `oxpost sign-in {mailbox}`; to stop it, exclude the user or the application at Microsoft Entra admin center > \
                 Conditional Access > Session > Sign-in frequency, or use the grant client-credentials.",
    },
    Row {
        code: 700_084,
        kind: SignInRequired,
        what: "The sign-in of {mailbox} lasted only 24 hours, because `{application}` is registered as a single-page application.",
        remedy: "Microsoft Entra admin center > App registrations > Authentication: register it under Mobile and desktop applications; \
                 then `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 70_000,
        kind: SignInRequired,
        what: "Microsoft does not accept the stored sign-in of {mailbox}; it may be another application's or another tenant's.",
        remedy: "Check client id and tenant in proxy.toml, then run `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 9_002_313,
        kind: SignInRequired,
        what: "Microsoft calls the request malformed; most often the stored sign-in of {mailbox} is damaged.",
        remedy: "Run `oxpost sign-in {mailbox}`; if it comes back, check the application in proxy.toml.",
    },
    Row {
        code: 54_005,
        kind: SignInRequired,
        what: "The code of this sign-in was used already.",
        remedy: "Run `oxpost sign-in {mailbox}` again.",
    },
    // Policies.
    Row {
        code: 53_003,
        kind: SignInRequired,
        what: "A Conditional Access policy blocks {mailbox} for the application `{application}`.",
        remedy: "Microsoft Entra admin center > Monitoring > Sign-in logs names the policy; exclude the user or the application there. \
                 Device codes are often blocked by a policy of Microsoft's own: use the grant client-credentials, or exclude them. \
                 Then `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 53_000,
        kind: SignInRequired,
        what: "A Conditional Access policy lets {mailbox} be used from a compliant device only.",
        remedy: "Exclude the user or the application at Microsoft Entra admin center > Conditional Access; then `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 530_003,
        kind: SignInRequired,
        what: "A Conditional Access policy lets {mailbox} be used from a managed device only.",
        remedy: "Exclude the user or the application at Microsoft Entra admin center > Conditional Access; then `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 530_032,
        kind: SignInRequired,
        what: "A security policy of the tenant blocks the sign-in of {mailbox}.",
        remedy: "Microsoft Entra admin center > Monitoring > Sign-in logs names the policy; then `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 530_033,
        kind: SignInRequired,
        what: "A security policy of the tenant blocks this way of signing in for {mailbox}.",
        remedy: "Microsoft Entra admin center > Monitoring > Sign-in logs names the policy; or use the grant client-credentials.",
    },
    Row {
        code: 530_035,
        kind: SignInRequired,
        what: "The security defaults of the tenant block the sign-in of {mailbox}.",
        remedy: "Microsoft Entra admin center > Overview > Properties > Manage security defaults; or use the grant client-credentials.",
    },
    // The tenant and the cloud.
    Row {
        code: 50_059,
        kind: Misconfigured,
        what: "The request names no tenant.",
        remedy: "Set the tenant of the application `{application}` in proxy.toml: its id or one of its domains.",
    },
    Row {
        code: 50_194,
        kind: Misconfigured,
        what: "The application `{application}` belongs to one tenant and cannot be used through `common`.",
        remedy: "Set the tenant of the application `{application}` in proxy.toml: its id or one of its domains.",
    },
    Row {
        code: 90_002,
        kind: Misconfigured,
        what: "There is no such tenant, or it is in another cloud.",
        remedy: "Compare the tenant in proxy.toml with Microsoft Entra admin center > Overview > Tenant ID.",
    },
    Row {
        code: 900_023,
        kind: Misconfigured,
        what: "The tenant of the application `{application}` is not written as one.",
        remedy: "Set the tenant in proxy.toml to an id or a domain, as Microsoft Entra admin center > Overview shows it.",
    },
    Row {
        code: 9_001_023,
        kind: Misconfigured,
        what: "This grant does not work through `common` or `consumers`.",
        remedy: "Set the tenant of the application `{application}` in proxy.toml: its id or one of its domains.",
    },
    Row {
        code: 9_002_332,
        kind: Misconfigured,
        what: "The application `{application}` is for accounts of organizations only, and was asked for a personal one.",
        remedy: "Set its tenant in proxy.toml, or change Microsoft Entra admin center > App registrations > Authentication > Supported \
                 account types.",
    },
    Row {
        code: 9_002_331,
        kind: Misconfigured,
        what: "The application `{application}` is for personal accounts only.",
        remedy: "Set the tenant `consumers` in proxy.toml, or change Microsoft Entra admin center > App registrations > Authentication > \
                 Supported account types.",
    },
    Row {
        code: 90_038,
        kind: Misconfigured,
        what: "The tenant belongs to another cloud.",
        remedy: "Choose the provider of that cloud in proxy.toml (us-gov-high, us-gov-dod or china).",
    },
    Row {
        code: 900_382,
        kind: Misconfigured,
        what: "The client belongs to another cloud than the tenant.",
        remedy: "Choose the provider of that cloud in proxy.toml (us-gov-high, us-gov-dod or china).",
    },
    // The device code.
    Row {
        code: 70_016,
        kind: Transient,
        what: "The code for {mailbox} has not been entered yet.",
        remedy: "Enter it at https://microsoft.com/devicelogin; it is asked for again until it expires.",
    },
    Row {
        code: 70_019,
        kind: SignInRequired,
        what: "The code for the sign-in of {mailbox} has expired.",
        remedy: "Run `oxpost sign-in {mailbox}` again and enter the new code within 15 minutes.",
    },
    Row {
        code: 70_020,
        kind: SignInRequired,
        what: "The code for the sign-in of {mailbox} has expired.",
        remedy: "Run `oxpost sign-in {mailbox}` again and enter the new code within 15 minutes.",
    },
    // What passes.
    Row {
        code: 50_196,
        kind: Transient,
        what: "Microsoft saw the same request too often in a short time.",
        remedy: "It is tried again more slowly. If it lasts, look for a second installation with the same accounts: `oxpost status`.",
    },
    passing(90_033, "Microsoft's sign-in service is not available for the moment."),
    passing(90_006, "Microsoft's sign-in service could not handle the request for the moment."),
    passing(90_024, "Microsoft's sign-in service is under too much load for the moment."),
    passing(90_012, "Microsoft's sign-in service took too long."),
    passing(90_055, "The tenant makes too many requests to Microsoft's sign-in service."),
    passing(50_033, "Microsoft's sign-in service has a passing fault."),
    passing(50_087, "Microsoft's sign-in service has a passing fault in its second-factor provider."),
    passing(50_088, "The limit of calls for second factors is reached for the moment."),
    passing(90_090, "Microsoft's sign-in service could not reach another service."),
    passing(80_002, "The tenant's pass-through authentication agent took too long."),
    passing(80_005, "The tenant's pass-through authentication agent gave an answer that was not understood."),
    passing(80_014, "The tenant's pass-through authentication agent answered too late."),
    passing(70_012, "A server of Microsoft's sign-in service failed."),
];

const fn passing(code: u32, what: &'static str) -> Row {
    Row {
        code,
        kind: Transient,
        what,
        remedy: "Nothing needs to be done: it is tried again. If it lasts, see https://status.cloud.microsoft.",
    }
}
