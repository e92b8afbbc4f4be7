//! Sign-ins that a policy of a tenant, a second factor or a device prevents.

use super::{Row, misconfigured, sign_in, transient};

const CONDITIONAL_ACCESS: &str = "Exclude the user or the application at Microsoft Entra admin center > Protection > Conditional Access, or use the \
                                  grant client-credentials; then `oxpost sign-in {mailbox}`.";

const LOGS: &str = "Microsoft Entra admin center > Monitoring > Sign-in logs names the policy; exclude the user or the application there. Then \
                    `oxpost sign-in {mailbox}`.";

const RISK: &str = "Microsoft Entra admin center > Protection > Risky users: clear the risk after checking the user; then `oxpost sign-in \
                    {mailbox}`.";

const ENROL: &str = "Enrol at https://aka.ms/mfasetup, then run `oxpost sign-in {mailbox}`.";

const CROSS_TENANT: &str = "Microsoft Entra admin center > External Identities > Cross-tenant access settings; or run `oxpost sign-in {mailbox}` \
                            with an account of the mailbox's own tenant.";

const TENANT_RESTRICTIONS: &str = "A proxy of this network allows some tenants only (Restrict-Access-To-Tenants): have it allow this one, or exempt \
                                   this machine. The tenant is the one in proxy.toml.";

pub(super) const ROWS: &[Row] = &[
    // Who may use the application.
    sign_in(
        50_105,
        "The user who signed in for {mailbox} is not assigned to the application `{application}`.",
        "Microsoft Entra admin center > Enterprise applications > Users and groups: assign the user; or Properties > Assignment \
         required = No. Then `oxpost sign-in {mailbox}`.",
    ),
    // The second factor.
    sign_in(
        500_121,
        "The second factor for {mailbox} was refused, or was not given in time.",
        "Run `oxpost sign-in {mailbox}` again and confirm it; if it lasts, see Microsoft Entra admin center > Monitoring > Sign-in logs.",
    ),
    sign_in(
        50_158,
        "A second factor of another provider is required for {mailbox} and was not given.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(50_161, "The provider of the second factor for {mailbox} did not confirm enough.", CONDITIONAL_ACCESS),
    transient(
        50_166,
        "The provider of the second factor did not answer Microsoft.",
        "If it lasts, see its state, and Microsoft Entra admin center > Monitoring > Sign-in logs.",
    ),
    misconfigured(
        50_170,
        "The tenant's policy names a provider of second factors that is not set up.",
        "Microsoft Entra admin center > Protection > Conditional Access > Custom controls: correct or remove it.",
    ),
    sign_in(
        50_177,
        "The policy of the tenant asks a guest for a second factor that guests do not have.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(
        50_178,
        "The policy of the tenant limits the sessions of guests in a way that guests do not support.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(
        53_004,
        "The user who signed in for {mailbox} may not enrol a second factor, because the sign-in is risky.",
        RISK,
    ),
    sign_in(53_010, "A second factor may be enrolled from certain places or devices only.", ENROL),
    transient(50_086, "The service of the second factor failed.", "If it lasts, see https://status.cloud.microsoft."),
    // Conditional Access.
    sign_in(
        53_001,
        "A Conditional Access policy lets {mailbox} be used from a domain-joined device only.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(
        53_002,
        "A Conditional Access policy lets {mailbox} be used by approved applications only.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(
        53_009,
        "A Conditional Access policy asks for an application with Intune's protection policies.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(
        530_021,
        "A Conditional Access policy lets {mailbox} be used by approved applications only.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(53_011, "The user who signed in for {mailbox} is blocked as risky in their own tenant.", RISK),
    sign_in(530_034, "A delegated administrator is blocked because of suspicious activity in their own tenant.", RISK),
    sign_in(
        530_036,
        "A Conditional Access policy blocks device codes.",
        "Sign in with a browser instead: `oxpost sign-in {mailbox} --paste`; or exclude the user at Microsoft Entra admin center > \
         Protection > Conditional Access > Authentication flows.",
    ),
    sign_in(
        530_084,
        "A Conditional Access policy asks for tokens that are bound to a device (token protection), which mail protocols do not have.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(
        50_005,
        "A Conditional Access policy does not allow the kind of device that the sign-in was made from.",
        CONDITIONAL_ACCESS,
    ),
    sign_in(50_097, "A Conditional Access policy asks for a registered device.", CONDITIONAL_ACCESS),
    sign_in(50_127, "A Conditional Access policy asks for a broker application on the device.", CONDITIONAL_ACCESS),
    sign_in(50_129, "A Conditional Access policy asks for a registered device.", CONDITIONAL_ACCESS),
    sign_in(
        50_131,
        "A Conditional Access policy blocked the sign-in of {mailbox}: the device, the place, or suspicious activity.",
        LOGS,
    ),
    sign_in(50_155, "The device could not prove itself, as a policy of the tenant requires.", CONDITIONAL_ACCESS),
    sign_in(50_187, "The device could not prove itself, as a policy of the tenant requires.", CONDITIONAL_ACCESS),
    sign_in(
        135_011,
        "The device that the sign-in was made from is disabled.",
        "Microsoft Entra admin center > Devices > All devices: enable it, or run `oxpost sign-in {mailbox}` on another one.",
    ),
    sign_in(
        130_007,
        "The device that the sign-in was made from is disabled.",
        "Microsoft Entra admin center > Devices > All devices: enable it, or run `oxpost sign-in {mailbox}` on another one.",
    ),
    sign_in(
        130_008,
        "The tenant does not know the device that the sign-in was made from.",
        "Run `oxpost sign-in {mailbox}` on another device, and sign in with a password and a second factor.",
    ),
    sign_in(
        70_044,
        "A sign-in frequency policy has ended the session of {mailbox}, and will do so again.",
        "Run `oxpost sign-in {mailbox}`; to stop it, exclude the user or the application at Microsoft Entra admin center > Protection > \
         Conditional Access > Session > Sign-in frequency.",
    ),
    sign_in(700_020, "Microsoft requires another step from the user who signed in for {mailbox}.", LOGS),
    // Other tenants.
    sign_in(500_212, "The user's own tenant does not allow them to use this one.", CROSS_TENANT),
    sign_in(500_213, "This tenant does not allow users of that other one.", CROSS_TENANT),
    misconfigured(50_002, "A proxy on the way to Microsoft restricts sign-ins to other tenants.", TENANT_RESTRICTIONS),
    misconfigured(500_021, "A proxy on the way to Microsoft restricts sign-ins to other tenants.", TENANT_RESTRICTIONS),
    misconfigured(500_022, "A proxy on the way to Microsoft restricts sign-ins to other tenants.", TENANT_RESTRICTIONS),
];
