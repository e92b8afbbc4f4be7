//! Errors with another remedy if the application acts in its own name (the grant client-credentials): no user can sign in.

use super::{Row, misconfigured};

const CONSENT: &str = "Microsoft Entra admin center > App registrations > API permissions: add the application permissions (IMAP.AccessAsApp, \
                       POP.AccessAsApp, SMTP.SendAsApp) and grant admin consent.";

const WORKLOAD: &str = "Microsoft Entra admin center > Monitoring > Sign-in logs > Service principal sign-ins names the policy; exclude the \
                        application, or this site's address, at Protection > Conditional Access.";

pub(super) const ROWS: &[Row] = &[
    misconfigured(65_001, "The application `{application}` has no consent to use mailboxes.", CONSENT),
    misconfigured(90_094, "The application `{application}` has no consent to use mailboxes.", CONSENT),
    misconfigured(
        50_105,
        "The application `{application}` is not assigned to a role of the service that it asks for.",
        CONSENT,
    ),
    misconfigured(
        53_003,
        "A Conditional Access policy for workload identities blocks the application `{application}`.",
        WORKLOAD,
    ),
    misconfigured(530_032, "A security policy of the tenant blocks the application `{application}`.", WORKLOAD),
    misconfigured(530_033, "A security policy of the tenant blocks the application `{application}`.", WORKLOAD),
    misconfigured(
        70_000,
        "Microsoft does not accept the proof of the application `{application}`.",
        "Compare client id, tenant and credential in proxy.toml with Microsoft Entra admin center > App registrations.",
    ),
    misconfigured(
        9_002_313,
        "Microsoft calls the request of the application `{application}` malformed.",
        "Check client id, tenant and app-scopes in proxy.toml.",
    ),
];
