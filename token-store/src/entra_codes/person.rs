//! Errors of the user who signs in: which account it is, its password and its session.

use super::{Row, sign_in};

const SIGN_IN: &str = "Run `oxpost sign-in {mailbox}`.";

const IN_TENANT: &str =
    "Run `oxpost sign-in {mailbox}` with an account of the tenant, or correct the tenant in proxy.toml.";

const PRIVATE_WINDOW: &str =
    "Run `oxpost sign-in {mailbox} --no-open` and open the address in a private browser window.";

const NEW_PASSWORD: &str =
    "Set a new password at https://myaccount.microsoft.com, then run `oxpost sign-in {mailbox}`.";

pub(super) const ROWS: &[Row] = &[
    sign_in(16_001, "The account that was chosen on the sign-in page cannot be used.", PRIVATE_WINDOW),
    sign_in(16_002, "The session that the sign-in page has does not fit.", PRIVATE_WINDOW),
    sign_in(160_021, "The session that the sign-in page was asked for does not exist.", PRIVATE_WINDOW),
    sign_in(16_003, "The user who signed in for {mailbox} was not added to this tenant.", IN_TENANT),
    sign_in(
        50_014,
        "The user who signed in for {mailbox} is a guest who has not accepted the invitation.",
        "Microsoft Entra admin center > Users > the guest > Resend invitation; then `oxpost sign-in {mailbox}`.",
    ),
    sign_in(
        50_015,
        "The account that signed in for {mailbox} needs consent of a parent or guardian.",
        "Finish the set-up of the account at https://myaccount.microsoft.com, then run `oxpost sign-in {mailbox}`.",
    ),
    sign_in(
        54_000,
        "The account that signed in for {mailbox} is a child's, and may not use this application.",
        "Run `oxpost sign-in {mailbox}` with an adult's account, or correct the age group at Microsoft Entra admin center > Users.",
    ),
    sign_in(
        500_208,
        "The account that signed in is of another kind than the tenant accepts (personal, or of an organization).",
        IN_TENANT,
    ),
    sign_in(51_004, "The account that signed in for {mailbox} is not known in this tenant.", IN_TENANT),
    sign_in(50_197, "The sign-in page found more than one account, or none.", PRIVATE_WINDOW),
    sign_in(50_143, "The session of the sign-in page belongs to another tenant.", PRIVATE_WINDOW),
    sign_in(50_136, "The sign-in page has a personal account's session.", PRIVATE_WINDOW),
    sign_in(90_084, "Guest accounts cannot sign in here.", IN_TENANT),
    sign_in(90_093, "The user who signed in for {mailbox} may not be looked up in this tenant.", IN_TENANT),
    sign_in(50_056, "The user who signed in for {mailbox} has no password at Microsoft.", NEW_PASSWORD),
    sign_in(
        50_064,
        "Microsoft refused the user name or the password.",
        "Run `oxpost sign-in {mailbox}` with the right password.",
    ),
    sign_in(50_052, "The password is longer than Microsoft accepts.", NEW_PASSWORD),
    sign_in(
        50_144,
        "The user's password in Active Directory has expired.",
        "Set a new one in Active Directory, or at https://myaccount.microsoft.com, then run `oxpost sign-in {mailbox}`.",
    ),
    sign_in(
        50_125,
        "The user must first set up how to reset the password.",
        "Finish it at https://aka.ms/ssprsetup, then run `oxpost sign-in {mailbox}`.",
    ),
    sign_in(50_135, "The user must change the password, because the account appears to be at risk.", NEW_PASSWORD),
    sign_in(50_137, "The user must change the password, because a policy of the tenant requires it.", NEW_PASSWORD),
    sign_in(50_132, "The session of {mailbox} has ended with a change of the password, or its expiry.", SIGN_IN),
    sign_in(50_133, "The session of {mailbox} has ended with a change of the password, or its expiry.", SIGN_IN),
    sign_in(50_085, "The stored sign-in of {mailbox} needs the user's own identity provider again.", SIGN_IN),
    sign_in(50_139, "The session of {mailbox} lacks a token of the user's personal account.", SIGN_IN),
    sign_in(
        50_140,
        "The sign-in page was left at \"Stay signed in?\".",
        "Run `oxpost sign-in {mailbox}` again and answer the question on the page.",
    ),
    sign_in(
        50_199,
        "The sign-in page was left before it was confirmed which application is used.",
        "Run `oxpost sign-in {mailbox}` again and confirm the application on the page.",
    ),
    sign_in(50_168, "The browser did not bring the user's session to the sign-in page.", PRIVATE_WINDOW),
    sign_in(50_192, "The sign-in page received no password and no certificate from the browser.", PRIVATE_WINDOW),
    sign_in(700_081, "The sign-in of {mailbox} has reached its longest lifetime.", SIGN_IN),
    sign_in(700_083, "The sign-in of {mailbox} was not used for too long and has ended.", SIGN_IN),
    sign_in(
        9_002_341,
        "The user who signed in for {mailbox} has not allowed single sign-on for the application `{application}`.",
        "Run `oxpost sign-in {mailbox}` again and accept.",
    ),
    // The device code.
    sign_in(
        70_018,
        "The code that was entered for {mailbox} is wrong.",
        "Run `oxpost sign-in {mailbox} --device-code` and enter the new code.",
    ),
    sign_in(
        90_119,
        "No code was entered for {mailbox}.",
        "Run `oxpost sign-in {mailbox} --device-code` and enter the new code.",
    ),
    sign_in(
        90_120,
        "The code for {mailbox} was already used or declined.",
        "Run `oxpost sign-in {mailbox} --device-code` again.",
    ),
    sign_in(
        50_134,
        "The code was entered in another region than it was requested in.",
        "Sign in with a browser instead: `oxpost sign-in {mailbox} --paste`.",
    ),
    // Windows sign-on, which the page tries by itself.
    seamless(81_004),
    seamless(81_005),
    seamless(81_006),
    seamless(81_009),
    seamless(81_010),
    seamless(81_011),
    sign_in(81_007, "The tenant does not use Windows sign-on (Seamless SSO).", PRIVATE_WINDOW),
    sign_in(
        81_012,
        "Another user is signed in to this computer than the one who should sign in for {mailbox}.",
        PRIVATE_WINDOW,
    ),
    sign_in(50_180, "The tenant's identity provider asks for Windows sign-on.", PRIVATE_WINDOW),
    sign_in(51_006, "The tenant's identity provider asks for Windows sign-on.", PRIVATE_WINDOW),
];

const fn seamless(code: u32) -> Row {
    sign_in(code, "The Windows sign-on of this computer (Seamless SSO) failed.", PRIVATE_WINDOW)
}
