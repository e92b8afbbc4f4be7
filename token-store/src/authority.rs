//! The authority (Entra ID's token endpoint): the grants, by way of the `oauth2` crate.

mod wire;

use std::{borrow::Cow, time::Duration};

use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, CsrfToken, DeviceAuthorizationUrl, EndpointNotSet, EndpointSet,
    ErrorResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, ResourceOwnerPassword,
    ResourceOwnerUsername, Scope, StandardDeviceAuthorizationResponse, TokenResponse, TokenUrl,
};
use oxpost_protocol::Secret;
use url::Url;

use self::wire::{Client, Tokens, WireError};
use crate::{
    access_token::{LIFETIME_UNKNOWN, LIFETIMES, is_fit_for_a_line},
    account::Grant,
    application::Application,
    clock::SharedClock,
    credential::{Credential, Proofs},
    entra_codes::{Names, Refusal, classify, number_in, without},
    error::{Problem, TokenError},
    http::{Exchange, HttpClient, HttpFailure, Sent},
    store::{Store, TokenSet},
};

/// The longest pause between two polls for a device code, whatever went wrong.
const POLL_PAUSE_LIMIT: Duration = Duration::from_secs(30);

/// One application at its authority, asking for one mailbox.
pub(crate) struct Authority<'a> {
    http: &'a HttpClient,
    clock: &'a SharedClock,
    /// Has the client secrets.
    store: &'a Store,
    application: &'a Application,
    mailbox: &'a str,
    grant: Grant,
}

/// What a person's sign-in brought.
pub(crate) struct Granted {
    pub(crate) tokens: TokenSet,
    pub(crate) signed_in_as: Option<String>,
    /// What was asked for and is not among what was granted; empty if the authority does not say what that is (RFC 6749, 5.1: it
    /// must, where it is less).
    pub(crate) missing_scopes: Vec<String>,
}

/// Why a refresh token brought nothing.
struct NotRefreshed {
    error: TokenError,
    /// What was asked for is refused, rather than who asked.
    refuses_scope: bool,
}

/// Why a device code brought nothing.
pub(crate) enum DeviceFailure {
    Declined,
    Expired,
    Token(TokenError),
}

type ReadyClient = Client<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

impl<'a> Authority<'a> {
    /// Requests of an application for a mailbox. The store has the application's client secrets.
    pub(crate) fn new(
        http: &'a HttpClient,
        clock: &'a SharedClock,
        store: &'a Store,
        application: &'a Application,
        mailbox: &'a str,
        grant: Grant,
    ) -> Self {
        Self { http, clock, store, application, mailbox, grant }
    }

    /// The application asks in its own name (RFC 6749, 4.4).
    pub(crate) async fn client_credentials(&self) -> Result<TokenSet, TokenError> {
        if let Credential::ManagedIdentity(identity) = &self.application.credential {
            return identity.token(self.http, self.application, self.clock.now()).await;
        }
        self.application.can_be_app_only().map_err(TokenError::Misconfigured)?;
        if matches!(self.application.credential, Credential::Secret)
            && Proofs::of(self.application, self.store, self.clock.now()).await?.is_empty()
        {
            let what =
                format!("The application `{}` has no client secret, and its accounts need one.", self.application.name);
            let remedy = format!(
                "Make one at Microsoft Entra admin center > App registrations > Certificates & secrets, and store its Value with \
                 `oxpost application secret {}`.",
                self.application.name
            );
            return Err(TokenError::Misconfigured(Problem::new(what, remedy)));
        }
        let client = self.client()?;
        let request = client.exchange_client_credentials().add_scopes(scopes(&self.application.app_scopes));
        let exchange = self.exchange();
        let answer =
            request.request_async(&exchange).await.map_err(|error| self.explain(error, &[], &exchange.sent()))?;
        self.granted(&answer, &[]).map(|granted| granted.tokens)
    }

    /// A refresh token gets the next access token (RFC 6749, 6). The scope is always sent: without it Entra answers
    /// AADSTS900144.
    /// With `asks_who` the answer tells the user too. Where that is not granted after all, it is asked once more without.
    pub(crate) async fn refresh(&self, refresh_token: &Secret, asks_who: bool) -> Result<TokenSet, TokenError> {
        let identity = if asks_who { self.identity_scopes() } else { Vec::new() };
        if identity.is_empty() {
            return self.refresh_for(refresh_token, identity).await.map_err(|refused| refused.error);
        }
        match self.refresh_for(refresh_token, identity).await {
            Err(NotRefreshed { refuses_scope: true, error }) => {
                tracing::debug!(account = self.mailbox, "asking without openid and profile, after: {error}");
                self.refresh_for(refresh_token, Vec::new()).await
            }
            other => other,
        }
        .map_err(|refused| refused.error)
    }

    /// With these scopes besides those of the application.
    async fn refresh_for(&self, refresh_token: &Secret, identity: Vec<Scope>) -> Result<TokenSet, NotRefreshed> {
        let text = refresh_token.reveal_str().unwrap_or_default().to_owned();
        let client = self.client().map_err(|error| NotRefreshed { error, refuses_scope: false })?;
        let refresh_token_text = oauth2::RefreshToken::new(text);
        let wanted = &self.application.delegated_scopes;
        let request = client.exchange_refresh_token(&refresh_token_text).add_scopes(scopes(wanted).chain(identity));
        let secrets = [refresh_token];
        let exchange = self.exchange();
        let answer = request.request_async(&exchange).await.map_err(|error| {
            let refuses_scope = matches!(&error, RequestTokenError::ServerResponse(refused) if refused.refuses_scope());
            NotRefreshed { error: self.explain(error, &secrets, &exchange.sent()), refuses_scope }
        })?;
        let granted = self.granted(&answer, &secrets);
        granted.map(|granted| granted.tokens).map_err(|error| NotRefreshed { error, refuses_scope: false })
    }

    /// The page where a person signs in (RFC 6749, 4.1.1; RFC 7636, 4.3). With `prompt=select_account` single sign-on cannot
    /// silently choose the user who is logged in at the computer; `login_hint` proposes the right one
    /// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>).
    pub(crate) fn authorize_url(
        &self,
        state: CsrfToken,
        challenge: PkceCodeChallenge,
        redirect_uri: &str,
        hint: &str,
    ) -> Result<Url, TokenError> {
        let client = self.client()?.set_auth_uri(AuthUrl::from_url(self.application.authorize_url.clone()));
        let redirect_uri = self.redirect_uri(redirect_uri)?;
        let mut request = client
            .authorize_url(|| state)
            .set_pkce_challenge(challenge)
            .set_redirect_uri(Cow::Owned(redirect_uri))
            .add_scopes(self.sign_in_scopes());
        let configured = &self.application.authorize_parameters;
        for (name, value) in [("login_hint", hint), ("prompt", "select_account")] {
            if !configured.iter().any(|(configured, _)| configured == name) {
                request = request.add_extra_param(name, value.to_owned());
            }
        }
        for (name, value) in configured {
            request = request.add_extra_param(name, value);
        }
        Ok(request.url().0)
    }

    /// Redeems the code that the browser brought back (RFC 6749, 4.1.3; RFC 7636, 4.5).
    pub(crate) async fn redeem(
        &self,
        code: &Secret,
        verifier: &Secret,
        redirect_uri: &str,
    ) -> Result<Granted, TokenError> {
        let text = |secret: &Secret| secret.reveal_str().unwrap_or_default().to_owned();
        let client = self.client()?;
        let asked: Vec<String> = self.sign_in_scopes().map(|scope| scope.to_string()).collect();
        let request = client
            .exchange_code(AuthorizationCode::new(text(code)))
            .set_pkce_verifier(PkceCodeVerifier::new(text(verifier)))
            .set_redirect_uri(Cow::Owned(self.redirect_uri(redirect_uri)?))
            .add_extra_param("scope", asked.join(" "));
        let secrets = [code, verifier];
        let exchange = self.exchange();
        let answer =
            request.request_async(&exchange).await.map_err(|error| self.explain(error, &secrets, &exchange.sent()))?;
        self.granted(&answer, &[])
    }

    /// The authority verifies a password (RFC 6749, 4.3).
    pub(crate) async fn password(&self, user: &str, password: &Secret) -> Result<Granted, TokenError> {
        // Old mail clients write Latin-1, Microsoft wants UTF-8.
        let text = password
            .reveal_str()
            .map_or_else(|| password.reveal().iter().map(|&b| char::from(b)).collect(), str::to_owned);
        let text = Secret::from(text);
        let client = self.client()?;
        let owner = ResourceOwnerUsername::new(user.to_owned());
        let sent = ResourceOwnerPassword::new(text.reveal_str().unwrap_or_default().to_owned());
        let request = client.exchange_password(&owner, &sent).add_scopes(scopes(&self.application.delegated_scopes));
        let secrets = [&text];
        let exchange = self.exchange();
        let answer =
            request.request_async(&exchange).await.map_err(|error| self.explain(error, &secrets, &exchange.sent()))?;
        self.granted(&answer, &[])
    }

    fn redirect_uri(&self, text: &str) -> Result<RedirectUrl, TokenError> {
        RedirectUrl::new(text.to_owned()).map_err(|_| {
            let what = format!("The redirect-uri of the application `{}` is not an address.", self.application.name);
            let remedy = "Leave redirect-uri out of proxy.toml, and register http://localhost.";
            TokenError::Misconfigured(Problem::new(what, remedy))
        })
    }

    /// Why the authorization page sent the browser back without a code (RFC 6749, 4.1.2.1). None: the person declined.
    pub(crate) fn refused_at_the_page(&self, error: &str, description: &str) -> Option<TokenError> {
        let refusal = Refusal { error, description, ..Refusal::default() };
        // Entra has a code for everything that it refuses itself; without one the person declined.
        if error == "access_denied" && !description.contains("AADSTS") {
            return None;
        }
        Some(classify(&refusal, &self.names()))
    }

    /// What is asked for in a person's name, and who they are.
    fn sign_in_scopes(&self) -> impl Iterator<Item = Scope> {
        scopes(&self.application.delegated_scopes).chain(self.identity_scopes())
    }

    /// What makes an answer say whose tokens it brings, as far as it is not wanted anyway (OpenID Connect Core 1.0, 5.4).
    fn identity_scopes(&self) -> Vec<Scope> {
        let wanted = &self.application.delegated_scopes;
        let identity: &[&str] = if self.application.openid { &["openid", "profile"] } else { &[] };
        let identity = identity.iter().filter(|scope| !wanted.iter().any(|wanted| wanted == *scope));
        identity.map(|scope| Scope::new((*scope).to_owned())).collect()
    }

    /// Asks for a code that a person enters in a browser (RFC 8628, 3.1).
    pub(crate) async fn device_code(&self) -> Result<StandardDeviceAuthorizationResponse, TokenError> {
        let Some(url) = self.application.device_code_url.clone() else {
            let what =
                format!("The provider of the application `{}` has no sign-in by device code.", self.application.name);
            let remedy = format!("Sign in with a browser: `oxpost sign-in {}`.", self.mailbox);
            return Err(TokenError::Misconfigured(Problem::new(what, remedy)));
        };
        let client = self.client()?.set_device_authorization_url(DeviceAuthorizationUrl::from_url(url));
        let request = client.exchange_device_code().add_scopes(self.sign_in_scopes());
        let exchange = self.exchange();
        request.request_async(&exchange).await.map_err(|error| self.explain(error, &[], &exchange.sent()))
    }

    /// Waits until the person has entered the code (RFC 8628, 3.4 and 3.5). While the authority cannot be reached, it is
    /// asked again until the code expires.
    pub(crate) async fn device_token(
        &self,
        code: &StandardDeviceAuthorizationResponse,
    ) -> Result<Granted, DeviceFailure> {
        let client = self.client().map_err(DeviceFailure::Token)?;
        let clock = self.clock.clone();
        let request = client
            .exchange_device_access_token(code)
            .set_time_fn(move || clock.now().into())
            .set_max_backoff_interval(POLL_PAUSE_LIMIT);
        // An authority that names a pause of nothing must not be asked without a pause.
        let pause = |asked: Duration| tokio::time::sleep(asked.clamp(Duration::from_secs(1), 10 * POLL_PAUSE_LIMIT));
        let exchange = self.exchange();
        let answer = request.request_async(&exchange, pause, None).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(refused) => {
                let description = refused.error_description().map_or("", String::as_str);
                self.device_failure(refused.error().as_ref(), description, &exchange.sent())
            }
            other => DeviceFailure::Token(self.explain(other, &[], &exchange.sent())),
        })?;
        self.granted(&answer, &[]).map_err(DeviceFailure::Token)
    }

    fn device_failure(&self, error: &str, description: &str, sent: &Sent) -> DeviceFailure {
        match error {
            // Entra says `authorization_declined`, RFC 8628 (3.5) `access_denied`.
            // With a number Entra refuses, and not the user.
            "authorization_declined" | "access_denied" if user_declined(description) => DeviceFailure::Declined,
            "expired_token" => DeviceFailure::Expired,
            _ => {
                let refusal = Refusal { error, description, ..Refusal::default() };
                DeviceFailure::Token(self.refused(&refusal, &[], sent))
            }
        }
    }

    fn client(&self) -> Result<ReadyClient, TokenError> {
        let client = Client::new(ClientId::new(self.application.client_id.clone()))
            // Entra reads the proof from the form, to which the exchange adds it.
            .set_auth_type(AuthType::RequestBody)
            .set_token_uri(TokenUrl::from_url(self.application.token_url.clone()));
        Ok(client)
    }

    fn exchange(&self) -> Exchange<'_> {
        let account = (self.grant != Grant::ClientCredentials).then_some(self.mailbox);
        Exchange::new(self.http, self.clock, self.store, self.application, account)
    }

    fn names(&self) -> Names<'_> {
        Names::of(self.application, self.mailbox, self.grant)
    }

    /// Takes the tokens out of an answer, if they are fit for a mail protocol's line.
    fn granted(&self, answer: &Tokens, sent: &[&Secret]) -> Result<Granted, TokenError> {
        let access_token = answer.access_token().secret();
        if !is_fit_for_a_line(access_token.as_bytes()) {
            return Err(self.not_understood("the access token is empty, too long or not printable"));
        }
        let lifetime = answer.expires_in().unwrap_or(LIFETIME_UNKNOWN).clamp(LIFETIMES.0, LIFETIMES.1);
        let refresh_token = answer
            .refresh_token()
            .map(|token| Secret::from(token.secret().as_str()))
            .filter(|token| !token.is_empty() && !sent.contains(&token));
        let told = answer.extra_fields();
        let identity = told.user(access_token);
        let tokens = TokenSet { access_token: Secret::from(access_token.as_str()), lifetime, refresh_token, identity };
        let granted: Option<Vec<&str>> =
            answer.scopes().map(|scopes| scopes.iter().flat_map(|scope| scope.split_whitespace()).collect());
        let missing_scopes =
            granted.map(|granted| missing(&self.application.delegated_scopes, &granted)).unwrap_or_default();
        Ok(Granted { tokens, signed_in_as: told.signed_in_as(), missing_scopes })
    }

    /// The error for people. What `oauth2` keeps of a body it could not read is dropped here, unseen: it may hold tokens.
    fn explain<E: ErrorResponse + WireError>(
        &self,
        error: RequestTokenError<HttpFailure, E>,
        secrets: &[&Secret],
        sent: &Sent,
    ) -> TokenError {
        let host = self.application.token_url.host_str().unwrap_or("the configured address");
        match error {
            RequestTokenError::ServerResponse(refused) => self.refused(&refused.refusal(), secrets, sent),
            RequestTokenError::Request(failure) => failure.into_error(host),
            RequestTokenError::Parse(..) => self.not_understood("a member is missing or has another type"),
            RequestTokenError::Other(_) => self.not_understood("it is no answer of a token endpoint"),
        }
    }

    /// What a refusal means. If it is of the next client secret or certificate, the current one was refused before it.
    fn refused(&self, refusal: &Refusal<'_>, secrets: &[&Secret], sent: &Sent) -> TokenError {
        let mut error = classify(refusal, &self.names());
        if let (Some(current), TokenError::Misconfigured(problem)) = (sent.current_refused, &mut error) {
            let code = |code: Option<u32>| code.map(|code| format!(" (AADSTS{code})")).unwrap_or_default();
            problem.what = format!(
                "Both {}s of the application `{}` are refused: the current one{} and the next one{}.",
                if matches!(self.application.credential, Credential::Certificate(_)) {
                    "certificate"
                } else {
                    "client secret"
                },
                self.application.name,
                code(current.0),
                code(problem.code),
            );
        }
        let all: Vec<&Secret> = secrets.iter().copied().chain(&sent.secrets).collect();
        without(error, &all)
    }

    fn not_understood(&self, detail: &str) -> TokenError {
        let what = "The sign-in service sent an answer that Oxpost cannot read.";
        let remedy = "If it lasts, check the addresses of the application in proxy.toml.";
        TokenError::Transient { retry_after: None, problem: Problem::retried(what, remedy).with_detail(detail) }
    }
}

/// The permissions of these scopes that were not granted. A service has several host names, and Entra answers with any of them, so
/// that the names of the permissions are compared.
fn missing(wanted: &[String], granted: &[&str]) -> Vec<String> {
    const NO_PERMISSIONS: [&str; 5] = ["offline_access", "openid", "profile", "email", ".default"];
    let permission =
        |scope: &str| scope.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let granted: Vec<String> = granted.iter().map(|scope| permission(scope)).collect();
    let is_missing = |scope: &&String| {
        let permission = permission(scope);
        !NO_PERMISSIONS.contains(&permission.as_str()) && !granted.contains(&permission)
    };
    wanted.iter().filter(is_missing).cloned().collect()
}

/// Whether a refusal is the user's: Entra has a number for everything that it refuses itself, and one for a user's refusal.
fn user_declined(description: &str) -> bool {
    number_in(description).is_none_or(|number| number == USER_DECLINED)
}

/// Entra's number for a user who declined.
const USER_DECLINED: u32 = 65_004;

fn scopes(scopes: &[String]) -> impl Iterator<Item = Scope> + '_ {
    scopes.iter().map(|scope| Scope::new(scope.clone()))
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn permission_that_was_not_granted_is_missing() {
        let wanted = [
            "https://outlook.office.com/IMAP.AccessAsUser.All",
            "https://outlook.office.com/SMTP.Send",
            "offline_access",
        ];
        let wanted = wanted.map(str::to_owned);
        let granted = ["https://outlook.office365.com/imap.accessasuser.all", "openid"];
        assert_eq!(missing(&wanted, &granted), ["https://outlook.office.com/SMTP.Send"]);
        assert!(missing(&["https://mail.google.com/".into()], &["https://mail.google.com/"]).is_empty());
        assert!(missing(&["https://outlook.office.com/.default".into()], &[]).is_empty());
    }
}
