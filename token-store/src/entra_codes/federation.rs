//! Errors of what verifies a user's password for Microsoft: the organization's own identity provider or Active Directory.

use super::{Row, misconfigured, sign_in, transient};

const PROVIDER: &str = "Have the administrator of the organization's identity provider (such as AD FS) look up the sign-in; until it works, no user \
                        of it can run `oxpost sign-in {mailbox}`.";

const AGENT: &str = "Microsoft Entra admin center > Entra Connect > Connect Sync > Pass-through authentication: check that the agents are active and \
                     reach Active Directory.";

pub(super) const ROWS: &[Row] = &[
    sign_in(20_001, "The organization's identity provider sent an answer that Microsoft does not accept.", PROVIDER),
    sign_in(20_012, "The organization's identity provider sent an answer that Microsoft does not accept.", PROVIDER),
    sign_in(20_033, "The metadata of the organization's identity provider names another tenant.", PROVIDER),
    sign_in(40_008, "The organization's identity provider failed.", PROVIDER),
    sign_in(40_009, "The organization's identity provider no longer accepts the sign-in of {mailbox}.", PROVIDER),
    transient(
        40_010,
        "The organization's identity provider has a temporary problem.",
        "If it lasts, ask its administrator.",
    ),
    sign_in(40_015, "The organization's identity provider did not accept the code of the sign-in.", PROVIDER),
    sign_in(50_008, "The organization's identity provider sent a SAML token that Microsoft does not accept.", PROVIDER),
    sign_in(5_000_819, "The SAML token of the organization's identity provider has no usable mail address.", PROVIDER),
    sign_in(
        50_017,
        "The user's certificate could not be verified.",
        "Microsoft Entra admin center > Protection > Certificate authorities: check the authority and its revocation list.",
    ),
    sign_in(50_107, "The domain of the user is not federated as its identity provider says.", PROVIDER),
    sign_in(50_169, "The domain of the user is not federated as its identity provider says.", PROVIDER),
    misconfigured(
        51_000,
        "The sign-in needs a feature that is switched off in the tenant.",
        "Microsoft Entra admin center > Monitoring > Sign-in logs says which.",
    ),
    sign_in(
        51_001,
        "The organization's identity provider names the user in a way that needs the tenant's domain.",
        PROVIDER,
    ),
    sign_in(90_081, "The organization's identity provider sent a message that Microsoft does not accept.", PROVIDER),
    sign_in(
        90_082,
        "The organization's identity provider uses an authentication that Microsoft does not support.",
        PROVIDER,
    ),
    sign_in(90_086, "The token of the organization's identity provider has expired.", PROVIDER),
    sign_in(90_123, "The organization's identity provider refused the sign-in.", PROVIDER),
    transient(80_001, "The tenant's pass-through authentication agent does not reach Active Directory.", AGENT),
    transient(80_007, "The tenant's pass-through authentication agent could not verify the password.", AGENT),
    transient(80_010, "The tenant's pass-through authentication agent could not decrypt the password.", AGENT),
    sign_in(
        80_012,
        "The user may not log on at this hour, says Active Directory.",
        "Change the logon hours in Active Directory, or run `oxpost sign-in {mailbox}` within them.",
    ),
    transient(80_013, "The clocks of the pass-through authentication agent and of Active Directory differ.", AGENT),
    passing(50_000, "Microsoft's sign-in service could not issue a token."),
    passing(90_036, "Microsoft's directory service failed."),
    passing(90_085, "The tenant is not fully set up yet."),
    passing(90_091, "Microsoft's sign-in service could not reach another service."),
    passing(90_092, "Another service refused Microsoft's sign-in service."),
    passing(230_109, "Microsoft's backup sign-in service was reached, and does not serve this request."),
    passing(501_621, "The tenant's claims transformation took too long."),
];

const fn passing(code: u32, what: &'static str) -> Row {
    transient(code, what, "If it lasts, see https://status.cloud.microsoft.")
}
