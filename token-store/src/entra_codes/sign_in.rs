//! What is wrong with a person's sign-in, and what passes by itself.

use super::{
    ErrorKind::{SignInRequired, Transient},
    Row,
};

pub(super) const ROWS: &[Row] = &[
    // The person and the account.
    Row {
        code: 50_020,
        kind: SignInRequired,
        what: "The user who signed in for {mailbox} does not belong to this tenant.",
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
        remedy: "To unblock immediately see Microsoft Entra admin center > Protection > Risky users, and Monitoring > Sign-in logs.",
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
    // The device code.
    Row {
        code: 70_016,
        kind: Transient,
        what: "The code for {mailbox} has not been entered yet.",
        remedy: "Enter it at https://microsoft.com/devicelogin; it is good for 15 minutes.",
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
        remedy: "If it lasts, look for a second installation with the same accounts: `oxpost status`.",
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
    passing(80_005, "The tenant's pass-through authentication agent sent an answer that Microsoft cannot read."),
    passing(80_014, "The tenant's pass-through authentication agent answered too late."),
    passing(70_012, "A server of Microsoft's sign-in service failed."),
];

const fn passing(code: u32, what: &'static str) -> Row {
    Row { code, kind: Transient, what, remedy: "If it lasts, see https://status.cloud.microsoft." }
}
