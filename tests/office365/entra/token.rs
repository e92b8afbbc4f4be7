//! `POST /{tenant}/oauth2/v2.0/token`: every grant, every fault, and a record of what was asked.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::client;
use super::device_code;
use super::errors::Failure;
use super::issue::{Issued, Refresh, issue};
use super::listener::Cut;
use super::metadata::Segment;
use super::page;
use super::scopes::{self, Scopes};
use crate::office365::behaviour::TokenFault;
use crate::office365::clock::Civil;
use crate::office365::directory::Application;
use crate::office365::records::{Outcome, TokenRequest};
use crate::office365::{SecretKind, Shared, lock};

/// The fields of a request's body.
#[derive(Debug, Default)]
pub(super) struct Form(HashMap<String, String>);

impl Form {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Failure> {
        let mut fields = HashMap::new();
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/x-www-form-urlencoded") {
            for (name, value) in url::form_urlencoded::parse(body) {
                if fields.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                    return Err(Failure::new(9_000_411).value(&name));
                }
            }
        }
        Ok(Self(fields))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| Failure::new(900_144).value(name))
    }
}

pub(super) async fn v2(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = Form::read(&headers, &body);
    answer(&shared, &tenant, &cut, &headers, form, false).await
}

/// The older endpoint takes a `resource` for a scope, and writes numbers as strings.
pub(super) async fn v1(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = Form::read(&headers, &body).map(|mut form| {
        if let Some(resource) = form.0.remove("resource") {
            form.0.insert("scope".to_owned(), format!("{}/.default offline_access", resource.trim_end_matches('/')));
        }
        form
    });
    answer(&shared, &tenant, &cut, &headers, form, true).await
}

async fn answer(
    shared: &Shared,
    tenant: &str,
    cut: &Cut,
    headers: &HeaderMap,
    form: Result<Form, Failure>,
    v1: bool,
) -> Response {
    let record = Record::begin(shared, tenant, headers, form.as_ref().ok());
    if let Ok(form) = &form {
        keep_secrets(shared, headers, form);
    }
    let delay = shared.behaviour(|behaviour| behaviour.entra.delay);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let fault = shared
        .behaviour_mut(|behaviour| behaviour.entra.next_faults.pop_front().or_else(|| behaviour.entra.fault.clone()));
    let mut edit = None;
    if let Some(fault) = fault {
        record.end(shared, Outcome::Fault(fault.clone()));
        match fault {
            TokenFault::Hang => shared.hold().await,
            TokenFault::UselessToken | TokenFault::NoLifetime => edit = Some(fault),
            TokenFault::Repeat(code) => {
                let fields = form.iter().flat_map(|form| form.0.iter());
                let mut repeated: Vec<String> = fields.map(|(name, value)| format!("{name}={value}")).collect();
                repeated.sort();
                return Failure::new(code).adding(&repeated.join("&")).response(shared);
            }
            fault => return failing(shared, &fault, cut),
        }
    }
    match form.and_then(|form| grant(shared, tenant, headers, &form, v1)) {
        Ok(mut answer) => {
            if edit.is_none() {
                record.end(shared, Outcome::Issued);
            }
            match edit {
                Some(TokenFault::UselessToken) => answer.insert("access_token".to_owned(), json!("not-a-token")),
                Some(TokenFault::NoLifetime) => answer.remove("expires_in"),
                _ => None,
            };
            let no_store = [(header::CACHE_CONTROL, "no-store, no-cache"), (header::PRAGMA, "no-cache")];
            (no_store, axum::Json(Value::Object(answer))).into_response()
        }
        Err(failure) => {
            record.end(shared, Outcome::Refused { error: failure.error.clone(), code: failure.code });
            failure.response(shared)
        }
    }
}

/// What a request proves itself with, right or wrong.
fn keep_secrets(shared: &Shared, headers: &HeaderMap, form: &Form) {
    for (name, kind) in [
        ("refresh_token", SecretKind::RefreshToken),
        ("code", SecretKind::AuthorizationCode),
        ("code_verifier", SecretKind::CodeVerifier),
        ("device_code", SecretKind::DeviceCode),
        ("client_assertion", SecretKind::Assertion),
        ("password", SecretKind::Password),
    ] {
        shared.secrets.add(kind, form.get(name).unwrap_or_default());
    }
    shared.secrets.add(SecretKind::ClientSecret, &client::credentials(form, headers).1.unwrap_or_default());
}

/// The place of a request in the tenant's records; its outcome is filled in when it is known.
struct Record(usize);

impl Record {
    fn begin(shared: &Shared, tenant: &str, headers: &HeaderMap, form: Option<&Form>) -> Self {
        let field = |name: &str| form.and_then(|form| form.get(name)).unwrap_or_default().to_owned();
        let client_id = form.and_then(|form| client::credentials(form, headers).0).unwrap_or_default();
        let mut requests = lock(&shared.token_requests);
        requests.push(TokenRequest {
            grant_type: field("grant_type"),
            client_id,
            scope: field("scope"),
            tenant: tenant.to_owned(),
            outcome: Outcome::Pending,
            at: shared.clock.now(),
        });
        Self(requests.len() - 1)
    }

    fn end(&self, shared: &Shared, outcome: Outcome) {
        if let Some(request) = lock(&shared.token_requests).get_mut(self.0) {
            request.outcome = outcome;
        }
    }
}

fn failing(shared: &Shared, fault: &TokenFault, cut: &Cut) -> Response {
    let busy = "<p>Our services aren't available right now</p><p>We're working to restore all services as soon as possible.</p>";
    match fault {
        TokenFault::TooManyRequests(retry_after) => with_retry_after(429, *retry_after),
        TokenFault::Status(status, retry_after) => with_retry_after(*status, *retry_after),
        TokenFault::Html(status) => page::html(*status, "Service unavailable", busy),
        TokenFault::Empty => StatusCode::OK.into_response(),
        TokenFault::Huge(size) => {
            let mut text = br#"{"token_type":"Bearer","padding":""#.to_vec();
            text.resize((*size).max(text.len()), b'x');
            ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], Body::from(text)).into_response()
        }
        TokenFault::Garbage => {
            ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], "{\"token_type\":\"Bear\u{0}\u{1},,")
                .into_response()
        }
        TokenFault::Aadsts(code) => Failure::new(*code).response(shared),
        TokenFault::Disguised { error, code, suberror } => {
            Failure::new(*code).disguised(error, suberror.clone()).response(shared)
        }
        TokenFault::Close
        | TokenFault::Hang
        | TokenFault::Repeat(_)
        | TokenFault::UselessToken
        | TokenFault::NoLifetime => {
            cut.0.cancel();
            StatusCode::OK.into_response()
        }
    }
}

fn with_retry_after(status: u16, seconds: Option<u32>) -> Response {
    let mut response = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE).into_response();
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn grant(
    shared: &Shared,
    tenant: &str,
    headers: &HeaderMap,
    form: &Form,
    v1: bool,
) -> Result<Map<String, Value>, Failure> {
    let segment = Segment::read(shared, tenant)?;
    let grant_type = form.required("grant_type")?;
    let without_user = grant_type == "client_credentials";
    if without_user && segment != Segment::Tenant
        || grant_type == "password" && matches!(segment, Segment::Common | Segment::Consumers)
    {
        return Err(Failure::new(9_001_023));
    }
    let application = client::authenticate(shared, form, headers)?;
    check_segment(segment, &application)?;
    let issued = match grant_type {
        "authorization_code" => by_code(shared, &application, form),
        "refresh_token" => by_refresh_token(shared, &application, form),
        "client_credentials" => by_application(&application, form),
        "password" => by_password(shared, &application, form),
        "urn:ietf:params:oauth:grant-type:device_code" => by_device_code(shared, &application, form),
        other => Err(Failure::new(70_003).value(other)),
    }?;
    issue(shared, &application, &issued, form, v1).map_err(|_| Failure::new(90_033))
}

pub(super) fn check_segment(segment: Segment, application: &Application) -> Result<(), Failure> {
    match segment {
        Segment::Tenant => Ok(()),
        Segment::Consumers => Err(Failure::new(9_002_332).app(&application.client_id)),
        Segment::Common | Segment::Organizations if application.multi_tenant => Ok(()),
        Segment::Common | Segment::Organizations => Err(Failure::new(50_194).app(&application.client_id)),
    }
}

fn by_code(shared: &Shared, application: &Application, form: &Form) -> Result<Issued, Failure> {
    let (text, redirect_uri) = (form.required("code")?, form.required("redirect_uri")?);
    let mut grants = lock(&shared.grants);
    let code = grants.codes.get_mut(text).ok_or_else(|| Failure::new(9_002_313).under("invalid_grant"))?;
    if code.client_id != application.client_id {
        return Err(Failure::new(70_000));
    }
    if code.redeemed {
        return Err(Failure::new(54_005));
    }
    if shared.clock.now() >= code.expires {
        return Err(Failure::new(70_008));
    }
    if code.redirect_uri != redirect_uri {
        return Err(Failure::new(500_112).value(redirect_uri));
    }
    if let Some(challenge) = &code.challenge {
        let verifier = form.get("code_verifier").ok_or_else(|| Failure::new(501_481))?;
        // RFC 7636 section 4.6
        let hashed = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        if &hashed != challenge {
            return Err(Failure::new(501_481));
        }
    }
    code.redeemed = true;
    let code = code.clone();
    drop(grants);
    let scopes = user_scopes(shared, application, form.get("scope").unwrap_or(&code.scope), &code.user)?;
    Ok(Issued { nonce: code.nonce, ..Issued::for_user(&code.user, scopes) })
}

fn by_refresh_token(shared: &Shared, application: &Application, form: &Form) -> Result<Issued, Failure> {
    let text = form.required("refresh_token")?;
    let scope = form.required("scope")?;
    let (lifetime, once) = shared
        .behaviour(|behaviour| (behaviour.entra.refresh_token_lifetime, behaviour.entra.refresh_tokens_used_once));
    let now = shared.clock.now();
    let mut grants = lock(&shared.grants);
    let Some(token) = grants.refresh_tokens.get_mut(text) else {
        let plausible = text.starts_with("1.") || text.starts_with("0.");
        return Err(if plausible { Failure::new(70_000) } else { Failure::new(9_002_313) });
    };
    let issued = Civil::of(token.issued).entra();
    if token.client_id != application.client_id || token.used_up {
        return Err(Failure::new(70_000));
    }
    if token.revoked {
        return Err(Failure::new(50_173).value(&issued));
    }
    if now.duration_since(token.issued).is_ok_and(|age| age >= lifetime) {
        return Err(Failure::new(700_082).value(&issued));
    }
    let user = token.user.clone();
    drop(grants);
    let scopes = user_scopes(shared, application, scope, &user)?;
    if let Some(token) = lock(&shared.grants).refresh_tokens.get_mut(text) {
        token.used_up = once;
    }
    let rotate = shared.behaviour(|behaviour| behaviour.entra.rotate_refresh_tokens);
    let refresh_token = if rotate || once { Refresh::New } else { Refresh::None };
    Ok(Issued { refresh_token, ..Issued::for_user(&user, scopes) })
}

fn by_application(application: &Application, form: &Form) -> Result<Issued, Failure> {
    if application.public {
        return Err(Failure::new(7_000_218));
    }
    let scopes = scopes::app_only(scopes::read(form.required("scope")?)?, application)?;
    Ok(Issued { user: None, scopes, refresh_token: Refresh::None, nonce: None })
}

fn by_password(shared: &Shared, application: &Application, form: &Form) -> Result<Issued, Failure> {
    let (user, password) = (form.required("username")?.to_lowercase(), form.required("password")?);
    let scope = form.required("scope")?;
    let account = lock(&shared.directory).mailbox(&user).cloned();
    let account = account.ok_or_else(|| Failure::new(50_034).user(&user))?;
    if !account.enabled || account.shared {
        return Err(Failure::new(50_057));
    }
    let (threshold, duration) =
        shared.behaviour(|behaviour| (behaviour.entra.lockout_threshold, behaviour.entra.lockout_duration));
    let now = shared.clock.now();
    let mut lockouts = lock(&shared.lockouts);
    if lockouts.is_locked(&user, now) {
        return Err(Failure::new(50_053));
    }
    if account.password != password {
        lockouts.add_wrong(&user, password, threshold, duration, now);
        return Err(Failure::new(50_126));
    }
    lockouts.right(&user);
    drop(lockouts);
    let scopes = user_scopes(shared, application, scope, &user)?;
    if shared.behaviour(|behaviour| behaviour.entra.second_factor_required) {
        return Err(Failure::new(50_076).value(&scopes.resource));
    }
    Ok(Issued::for_user(&user, scopes))
}

fn by_device_code(shared: &Shared, application: &Application, form: &Form) -> Result<Issued, Failure> {
    let (user, scope) = device_code::redeem(shared, application, form.required("device_code")?)?;
    Ok(Issued::for_user(&user, user_scopes(shared, application, &scope, &user)?))
}

/// The scopes that this application gets for this user, who must exist, be enabled, and have consented.
fn user_scopes(shared: &Shared, application: &Application, scope: &str, user: &str) -> Result<Scopes, Failure> {
    let directory = lock(&shared.directory);
    let account = directory.mailbox(user).ok_or_else(|| Failure::new(50_034).user(user))?;
    if !account.enabled {
        return Err(Failure::new(50_057));
    }
    let scopes = scopes::delegated(scopes::read(scope)?, application)?;
    if application.consented(user) { Ok(scopes) } else { Err(Failure::new(65_001).app(&application.client_id)) }
}
