//! The AADSTS codes that the simulated Entra can give: under which `error`, with which status, in which words.
//! <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>

/// One row of the table. `{app}`, `{tenant}`, `{user}`, `{value}` in the text are filled in.
pub(super) struct Code {
    pub(super) number: u32,
    pub(super) error: &'static str,
    pub(super) status: u16,
    pub(super) suberror: Option<&'static str>,
    pub(super) text: &'static str,
}

/// The row for a code; one that is not in the table is an `invalid_request` without a reason.
pub(super) fn code(number: u32) -> Code {
    let row = ROWS.iter().find(|row| row.0 == number);
    let (_, error, suberror, text) = row.copied().unwrap_or((number, "invalid_request", "", "Error."));
    let status = match error {
        "invalid_client" => 401,
        "temporarily_unavailable" | "server_error" => 503,
        _ => 400,
    };
    Code { number, error, status, suberror: Some(suberror).filter(|text| !text.is_empty()), text }
}

const ROWS: &[(u32, &str, &str, &str)] = &[
    (
        50011,
        "invalid_request",
        "",
        "The redirect URI '{value}' specified in the request does not match the redirect URIs configured for the application '{app}'. Make sure the redirect URI sent in the request matches one added to your application in the Azure portal.",
    ),
    (
        50020,
        "invalid_grant",
        "",
        "User account '{user}' from identity provider 'live.com' does not exist in tenant '{tenant}' and cannot access the application '{app}' in that tenant.",
    ),
    (
        50034,
        "invalid_grant",
        "",
        "The user account {user} does not exist in the {tenant} directory. To sign into this application, the account must be added to the directory.",
    ),
    (
        50053,
        "invalid_grant",
        "",
        "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.",
    ),
    (50055, "invalid_grant", "user_password_expired", "The password is expired."),
    (50057, "invalid_grant", "", "The user account is disabled."),
    (50058, "login_required", "", "A silent sign-in request was sent but no user is signed in."),
    (
        50059,
        "invalid_request",
        "",
        "No tenant-identifying information found in either the request or implied by any provided credentials.",
    ),
    (
        50076,
        "invalid_grant",
        "basic_action",
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '{value}'.",
    ),
    (
        50079,
        "invalid_grant",
        "basic_action",
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '{value}'.",
    ),
    (50126, "invalid_grant", "", "Error validating credentials due to invalid username or password."),
    (
        50173,
        "invalid_grant",
        "",
        "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '{value}' and the TokensValidFrom date (before which tokens are not valid) for this user is later.",
    ),
    (
        50194,
        "invalid_request",
        "",
        "Application '{app}'({app}) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant.",
    ),
    (
        50196,
        "invalid_grant",
        "",
        "The server terminated an operation because it encountered a client request loop. Please contact your app vendor.",
    ),
    (
        500011,
        "invalid_resource",
        "",
        "The resource principal named {value} was not found in the tenant named {tenant}. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
    ),
    (
        500112,
        "invalid_grant",
        "",
        "The reply address '{value}' does not match the reply address provided when requesting Authorization code.",
    ),
    (
        501481,
        "invalid_grant",
        "",
        "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
    ),
    (
        53000,
        "invalid_grant",
        "",
        "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, and the device is not compliant.",
    ),
    (
        53003,
        "invalid_grant",
        "",
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
    ),
    (530003, "invalid_grant", "", "Your device is required to be managed to access this resource."),
    (530032, "invalid_grant", "", "Blocked by security policy."),
    (
        54005,
        "invalid_grant",
        "",
        "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
    ),
    (
        65001,
        "invalid_grant",
        "consent_required",
        "The user or administrator has not consented to use the application with ID '{app}' named '{app}'. Send an interactive authorization request for this user and resource.",
    ),
    (65004, "access_denied", "", "User declined to consent to access the app."),
    (
        650056,
        "invalid_request",
        "",
        "Misconfigured application. This could be due to one of the following: the client has not listed any permissions for '{value}' in the requested permissions in the client's application registration. Client app ID: {app}.",
    ),
    (
        650057,
        "invalid_resource",
        "",
        "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration. Client app ID: {app}({app}). Resource value from request: {value}. Resource app ID: 00000002-0000-0ff1-ce00-000000000000. List of valid resources from app registration: 00000003-0000-0000-c000-000000000000.",
    ),
    (70000, "invalid_grant", "", "Provided grant is invalid or malformed."),
    (70002, "invalid_client", "", "Error validating credentials."),
    (70003, "unsupported_grant_type", "", "The app requested an unsupported grant type '{value}'."),
    (
        70008,
        "invalid_grant",
        "",
        "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.",
    ),
    (
        70011,
        "invalid_scope",
        "",
        "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope {value} is not valid.",
    ),
    (70016, "authorization_pending", "", "OAuth 2.0 device flow error. Authorization is pending. Continue polling."),
    (
        70018,
        "bad_verification_code",
        "",
        "Invalid verification code due to User typing in wrong user code for device code flow.",
    ),
    (70019, "expired_token", "", "Verification code expired. User must retry the sign-in."),
    (
        70020,
        "expired_token",
        "",
        "The provided value for the input parameter 'device_code' is not valid. This device code has expired.",
    ),
    (
        70043,
        "invalid_grant",
        "token_expired",
        "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. The token was issued on {value} and the maximum allowed lifetime for this request is 86400.",
    ),
    (
        700016,
        "unauthorized_client",
        "",
        "Application with identifier '{app}' was not found in the directory '{tenant}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
    ),
    (
        700211,
        "invalid_client",
        "",
        "No matching federated identity record found for presented assertion issuer '{value}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.",
    ),
    (
        700213,
        "invalid_client",
        "",
        "No matching federated identity record found for presented assertion subject '{value}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.",
    ),
    (700024, "invalid_client", "", "Client assertion is not within its valid time range."),
    (
        700025,
        "invalid_client",
        "",
        "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
    ),
    (700027, "invalid_client", "", "Client assertion failed signature validation. [Reason - The key was not found.]"),
    (700038, "invalid_request", "", "{app} is not a valid application identifier."),
    (
        700082,
        "invalid_grant",
        "",
        "The refresh token has expired due to inactivity. The token was issued on {value} and was inactive for 90.00:00:00.",
    ),
    (
        700084,
        "invalid_grant",
        "",
        "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which can't be extended. It is now expired and a new sign in request must be sent by the SPA to the sign in page.",
    ),
    (7000112, "unauthorized_client", "", "Application '{app}'({app}) is disabled."),
    (
        7000215,
        "invalid_client",
        "",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{app}'.",
    ),
    (
        7000218,
        "invalid_client",
        "",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    (
        7000222,
        "invalid_client",
        "",
        "The provided client secret keys for app '{app}' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.",
    ),
    (
        90002,
        "invalid_request",
        "",
        "Tenant '{value}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
    ),
    (90006, "server_error", "", "The service is temporarily unavailable."),
    (90012, "temporarily_unavailable", "", "Request timed out."),
    (90024, "temporarily_unavailable", "", "The service is temporarily busy."),
    (90033, "temporarily_unavailable", "", "A transient error has occurred. Please try again."),
    (90038, "invalid_request", "", "Confidential Client is not supported in Cross Cloud request."),
    (90055, "temporarily_unavailable", "", "Too many requests."),
    (90094, "access_denied", "", "The grant requires administrator permission."),
    (
        900023,
        "invalid_request",
        "",
        "Specified tenant identifier '{value}' is neither a valid DNS name, nor a valid external domain.",
    ),
    (900144, "invalid_request", "", "The request body must contain the following parameter: '{value}'."),
    (9000411, "invalid_request", "", "The request is not properly formatted. The parameter '{value}' is duplicated."),
    (
        9001023,
        "invalid_request",
        "",
        "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint.",
    ),
    (9002313, "invalid_request", "", "Invalid request. Request is malformed or invalid."),
    (
        9002332,
        "invalid_request",
        "",
        "Application '{app}'({app}) is configured for use by Azure Active Directory users only. Please do not use the /consumers endpoint to serve this request.",
    ),
    (50033, "temporarily_unavailable", "", "A transient error has occurred. Please try again."),
    (90090, "temporarily_unavailable", "", "Graph could not be reached. Please try again."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_stands_twice_in_the_table() {
        for row in ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.0 == row.0).count(), 1, "{}", row.0);
        }
    }

    #[test]
    fn a_code_outside_the_table_is_still_an_error() {
        let unknown = code(1);
        assert_eq!((unknown.number, unknown.error, unknown.status), (1, "invalid_request", 400));
        assert_eq!(code(7_000_218).status, 401);
    }
}
