//! Errors in what an application asks for, and where it asks: scopes, addresses, parameters, tenant and cloud.

use super::{Row, misconfigured, sign_in};

const SCOPES: &str =
    "In proxy.toml ask for scopes of https://outlook.office.com only, or leave them out to use the preset's.";

const TENANT: &str = "Set the tenant of the application `{application}` in proxy.toml: its id or one of its domains.";

const CLOUD: &str = "Choose the provider of that cloud in proxy.toml (us-gov-high, us-gov-dod or china).";

const REQUEST: &str = "Compare client id, tenant, scopes, redirect-uri and authorize-parameters of `{application}` in proxy.toml with Microsoft \
                       Entra admin center > App registrations, and check that no proxy changes requests.";

const REDIRECT: &str = "Microsoft Entra admin center > App registrations > Authentication > Mobile and desktop applications: add http://localhost.";

const AGAIN: &str = "Run `oxpost sign-in {mailbox}` again, and finish it in the same browser window.";

const NATIVE: &str = "Microsoft Entra admin center > App registrations > Authentication: remove http://localhost there and add it under Mobile \
                      and desktop applications; then `oxpost sign-in {mailbox}`.";

const EXCHANGE: &str = "Check at Microsoft 365 admin center > Billing > Licenses that the tenant has Exchange Online, and at Microsoft Entra admin \
                        center > Enterprise applications that Office 365 Exchange Online is enabled.";

pub(super) const ROWS: &[Row] = &[
    // Scopes and resources.
    misconfigured(28_002, "A scope that the application `{application}` asks for is not valid.", SCOPES),
    misconfigured(28_003, "The application `{application}` asks for a token without naming a scope.", SCOPES),
    misconfigured(
        50_001,
        "The service that the scopes of `{application}` name is disabled or does not exist.",
        EXCHANGE,
    ),
    misconfigured(
        500_014,
        "Exchange Online is disabled in this tenant: its subscription has ended, or an administrator has switched it off.",
        EXCHANGE,
    ),
    misconfigured(650_052, "The tenant has no subscription for the service that `{application}` asks for.", EXCHANGE),
    misconfigured(
        650_053,
        "The application `{application}` asks for a permission that the service does not have.",
        "Compare the scopes in proxy.toml, letter by letter, with IMAP.AccessAsUser.All, POP.AccessAsUser.All and SMTP.Send; or leave \
         them out to use the preset's.",
    ),
    misconfigured(
        650_054,
        "The service that the application `{application}` asks for is not in this tenant.",
        EXCHANGE,
    ),
    misconfigured(
        65_005,
        "The application `{application}` asks for something that its registration does not list.",
        "Microsoft Entra admin center > App registrations > API permissions: add Office 365 Exchange Online (IMAP, POP, SMTP) and grant \
         admin consent.",
    ),
    misconfigured(
        65_006,
        "The registration of `{application}` lists a permission that the service does not have in this tenant.",
        "Microsoft Entra admin center > App registrations > API permissions: remove permissions that are marked as unknown, and grant \
         admin consent again.",
    ),
    misconfigured(
        65_002,
        "The client id of `{application}` belongs to one of Microsoft's own applications, which may not ask for mail here.",
        "Register an application of your own at Microsoft Entra admin center > App registrations, and put its client id into proxy.toml.",
    ),
    misconfigured(700_022, "The scopes of `{application}` belong to more than one service.", SCOPES),
    misconfigured(
        700_023,
        "The scope or the audience that the application `{application}` sends is not accepted.",
        "Compare the scopes in proxy.toml with the preset's, and its tenant with Microsoft Entra admin center > Overview > Tenant ID.",
    ),
    misconfigured(
        90_008,
        "The application `{application}` lacks the permission to sign users in.",
        "Microsoft Entra admin center > App registrations > API permissions: add Microsoft Graph > User.Read and grant admin consent.",
    ),
    misconfigured(90_009, "The application `{application}` asks for a token for itself.", SCOPES),
    misconfigured(90_010, "The grant is not supported for the tenant or the scopes of `{application}`.", REQUEST),
    misconfigured(
        901_002,
        "The request has a `resource`, which this version of the service does not know.",
        "Remove `resource` from authorize-parameters in proxy.toml, and write scopes instead.",
    ),
    // The redirect.
    misconfigured(
        70_004,
        "The address that the sign-in returns to is not registered for the application `{application}`.",
        REDIRECT,
    ),
    misconfigured(900_971, "The application `{application}` has no registered address to return to.", REDIRECT),
    misconfigured(
        90_102,
        "The address that the sign-in returns to is not an absolute one.",
        "Correct redirect-uri in proxy.toml, or leave it out and register http://localhost.",
    ),
    misconfigured(9_002_325, "The application `{application}` is registered as a single-page application.", NATIVE),
    misconfigured(
        9_002_326,
        "The application `{application}` is not registered as the kind of program that redeems the code.",
        NATIVE,
    ),
    misconfigured(9_002_327, "The application `{application}` is registered as a single-page application.", NATIVE),
    misconfigured(70_005, "The application `{application}` may not use the response type of this sign-in.", REQUEST),
    misconfigured(70_007, "The sign-in page does not know the response mode that was asked for.", REQUEST),
    misconfigured(
        700_054,
        "The sign-in asks for an id token, which is not enabled for `{application}`.",
        "Remove `response_type` and `nonce` from authorize-parameters in proxy.toml.",
    ),
    misconfigured(
        70_003,
        "The sign-in service does not know the grant that the application `{application}` uses.",
        REQUEST,
    ),
    // The code of a sign-in.
    sign_in(50_147, "The code challenge of this sign-in did not arrive whole.", AGAIN),
    sign_in(501_481, "The code of this sign-in was requested by another sign-in.", AGAIN),
    sign_in(501_491, "The code challenge of this sign-in did not arrive whole.", AGAIN),
    sign_in(50_089, "The sign-in page was open for too long.", AGAIN),
    sign_in(900_561, "The sign-in page was reached in a wrong way, as by the browser's back button.", AGAIN),
    sign_in(90_056, "The code of this sign-in was not redeemed as it must be.", AGAIN),
    sign_in(
        700_005,
        "The sign-in was made in another tenant than the one in proxy.toml.",
        "Compare the tenant in proxy.toml with Microsoft Entra admin center > Overview > Tenant ID, then run `oxpost sign-in {mailbox}`.",
    ),
    sign_in(
        7_000_012,
        "The stored sign-in of {mailbox} was made in another tenant than the one in proxy.toml.",
        "Personal accounts need tenant = \"consumers\" in proxy.toml; otherwise correct the tenant. Then run `oxpost sign-in {mailbox}`.",
    ),
    // Parameters.
    misconfigured(90_004, "The request is not properly formatted.", REQUEST),
    misconfigured(90_005, "The request names a user in two ways that contradict each other.", REQUEST),
    misconfigured(90_013, "A value in the request is not valid.", REQUEST),
    misconfigured(90_014, "A value that the request needs is missing.", REQUEST),
    misconfigured(90_015, "The address of the sign-in page is too long.", REQUEST),
    misconfigured(90_023, "The sign-in service calls the request invalid.", REQUEST),
    misconfigured(90_100, "A parameter of the request is empty or not valid.", REQUEST),
    misconfigured(
        90_101,
        "The user name in the request is not a mail address.",
        "Correct login_hint in authorize-parameters of proxy.toml, or remove it.",
    ),
    misconfigured(
        90_112,
        "The client id of the application `{application}` is not a GUID.",
        "Copy the Application (client) ID from Microsoft Entra admin center > App registrations > Overview into proxy.toml.",
    ),
    misconfigured(90_117, "A value in the request is not valid.", REQUEST),
    misconfigured(90_121, "The request arrived empty.", REQUEST),
    misconfigured(165_900, "The sign-in service calls the request invalid.", REQUEST),
    // The tenant and the cloud.
    misconfigured(50_029, "The domain in the request contains characters that no domain has.", TENANT),
    misconfigured(
        50_049,
        "The authority in proxy.toml belongs to no cloud of Microsoft.",
        "Correct `authority` of the provider in proxy.toml, or use a preset.",
    ),
    misconfigured(
        50_050,
        "The authority does not understand the request for its metadata.",
        "Correct `authority` and the tenant in proxy.toml, or use a preset.",
    ),
    misconfigured(50_128, "The request names no tenant, or a domain that belongs to none.", TENANT),
    misconfigured(90_019, "The request names no tenant.", TENANT),
    misconfigured(
        90_027,
        "Personal accounts cannot be used through this address of the authority.",
        "Remove authorize-url and token-url from proxy.toml, or use the preset outlook.com.",
    ),
    misconfigured(90_124, "The service cannot be asked for through `common` or `consumers`.", TENANT),
    misconfigured(90_130, "The application `{application}` cannot be used through `common` or `consumers`.", TENANT),
    misconfigured(
        9_002_346,
        "The application `{application}` is for personal accounts only.",
        "Set the tenant `consumers` in proxy.toml, or change Microsoft Entra admin center > App registrations > Authentication > \
         Supported account types.",
    ),
    misconfigured(90_043, "The sign-in was redirected to another cloud, where it cannot continue.", CLOUD),
    misconfigured(90_051, "The request names a cloud that does not exist.", CLOUD),
    misconfigured(900_432, "The client belongs to another cloud than the tenant.", CLOUD),
    misconfigured(1_000_104, "The cloud of the service is not allowed for the tenant of this user.", CLOUD),
];
