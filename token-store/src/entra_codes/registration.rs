//! Errors in the registration of an application, in the order in which an administrator meets them.

use super::{
    ErrorKind::{Misconfigured, SignInRequired},
    Row,
};

pub(super) const ROWS: &[Row] = &[
    // The application proves itself.
    Row {
        code: 7_000_218,
        kind: Misconfigured,
        what: "Microsoft expects a client secret from the application `{application}`.",
        remedy: "Microsoft Entra admin center > App registrations > Authentication: http://localhost must be listed under \
                 Mobile and desktop applications; device codes need Allow public client flows = Yes. Or `oxpost application \
                 secret {application}`.",
    },
    Row {
        code: 700_025,
        kind: Misconfigured,
        what: "The application `{application}` is a public client and must not send a secret.",
        remedy: "Remove client-secret-file from proxy.toml, or use an application that is not a public client.",
    },
    Row {
        code: 7_000_215,
        kind: Misconfigured,
        what: "The client secret of the application `{application}` is wrong.",
        remedy: "Microsoft Entra admin center > App registrations > Certificates & secrets: copy the secret's Value (not its \
                 Secret ID); then `oxpost application secret {application}`.",
    },
    Row {
        code: 7_000_222,
        kind: Misconfigured,
        what: "The client secret of the application `{application}` has expired.",
        remedy: "Microsoft Entra admin center > App registrations > Certificates & secrets: make a new secret; then \
                 `oxpost application secret {application}` with its Value.",
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
        what: "The client assertion of the application `{application}` is outside its period of validity.",
        remedy: "Set this machine's clock (on Windows `w32tm /resync`, on Linux `timedatectl`).",
    },
    Row {
        code: 700_211,
        kind: Misconfigured,
        what: "The application `{application}` has no federated credential of the issuer of this token.",
        remedy: "Microsoft Entra admin center > App registrations > Certificates & secrets > Federated credentials: compare the issuer, \
                 letter by letter, with `iss` in the token.",
    },
    Row {
        code: 700_212,
        kind: Misconfigured,
        what: "The federated token of the application `{application}` was made for another audience.",
        remedy: "Have the platform make it for the audience that Microsoft Entra admin center > App registrations > Certificates & \
                 secrets > Federated credentials shows, most often api://AzureADTokenExchange.",
    },
    Row {
        code: 700_213,
        kind: Misconfigured,
        what: "The application `{application}` has no federated credential for the subject of this token.",
        remedy: "Microsoft Entra admin center > App registrations > Certificates & secrets > Federated credentials: compare the subject, \
                 letter by letter, with `sub` in the token.",
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
        what: "The application `{application}` has no consent to use the mailbox {mailbox}.",
        remedy: "Microsoft Entra admin center > App registrations > API permissions > Grant admin consent; then `oxpost sign-in {mailbox}`.",
    },
    Row {
        code: 65_004,
        kind: SignInRequired,
        what: "The user who signed in for {mailbox} did not consent to the application `{application}`.",
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
];
