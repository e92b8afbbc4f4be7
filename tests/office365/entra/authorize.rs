//! `GET /{tenant}/oauth2/v2.0/authorize`: the page where a person chooses an account. A link of that page is the same
//! request with `account=` added, which is also how a test signs in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use url::Url;

use super::client;
use super::errors::Failure;
use super::grants::AuthorizationCode;
use super::metadata::Segment;
use super::page::{escape, html};
use super::scopes;
use super::token::check_segment;
use crate::office365::directory::Application;
use crate::office365::tokens::random_text;
use crate::office365::{SecretKind, Shared, lock};

/// How long an authorization code may be redeemed.
const CODE_LIFETIME: Duration = Duration::from_mins(10);

pub(super) async fn authorize(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let request = match Request::read(&shared, &tenant, &query) {
        Ok(request) => request,
        // Without a redirect URI that is known to be right, the error is shown to the person and goes nowhere else.
        Err(failure) => {
            let text = escape(&failure.describe(&shared));
            return html(400, "Sorry, but we're having trouble signing you in.", &format!("<p>{text}</p>"));
        }
    };
    if let Err(failure) = request.check() {
        return request.refuse(&shared, &failure);
    }
    match request.fields.get("account").map(|account| account.to_lowercase()) {
        None if request.is("prompt", "none") => request.refuse(&shared, &Failure::new(50_058)),
        None => choose(&shared, &query, &request),
        Some(account) if account.is_empty() => request.refuse(&shared, &Failure::new(65_004)),
        Some(account) => match sign_in(&shared, &request, &account) {
            Ok(code) => request.redirect(&[("code", &code), ("session_state", &shared.id)]),
            Err(failure) => {
                let text = escape(&failure.describe(&shared));
                html(400, "You can't sign in here with this account", &format!("<p>{text}</p>"))
            }
        },
    }
}

struct Request {
    application: Application,
    redirect_uri: String,
    target: Url,
    fields: HashMap<String, String>,
}

impl Request {
    fn read(shared: &Shared, tenant: &str, query: &str) -> Result<Self, Failure> {
        let segment = Segment::read(shared, tenant)?;
        let fields: HashMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let field = |name: &str| fields.get(name).cloned().ok_or_else(|| Failure::new(900_144).value(name));
        let application = client::find(shared, &field("client_id")?)?;
        check_segment(segment, &application)?;
        let redirect_uri = field("redirect_uri")?;
        let mismatch = || Failure::new(50_011).app(&application.client_id).value(&redirect_uri);
        if !application.allows_redirect(&redirect_uri) {
            return Err(mismatch());
        }
        let target = Url::parse(&redirect_uri).map_err(|_| mismatch())?;
        Ok(Self { target, redirect_uri: redirect_uri.clone(), fields, application })
    }

    /// Other errors of the request are sent to the application.
    fn check(&self) -> Result<(), Failure> {
        if !self.is("response_type", "code") {
            return Err(Failure::new(900_144).value("response_type"));
        }
        let scope = self.fields.get("scope").ok_or_else(|| Failure::new(900_144).value("scope"))?;
        if self.fields.contains_key("code_challenge") && !self.is("code_challenge_method", "S256") {
            return Err(Failure::new(9_002_313));
        }
        scopes::delegated(scopes::read(scope)?, &self.application).map(drop)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.fields.get(name).is_some_and(|held| held == value)
    }

    fn refuse(&self, shared: &Shared, failure: &Failure) -> Response {
        self.redirect(&[("error", &failure.error), ("error_description", &failure.describe(shared))])
    }

    /// Sends the browser back with these fields and the state; a URI without a path gets a `/`.
    fn redirect(&self, fields: &[(&str, &str)]) -> Response {
        let state = self.fields.get("state").map(|state| ("state", state.as_str()));
        let fields = fields.iter().copied().chain(state);
        if self.is("response_mode", "form_post") {
            let inputs: String = fields
                .map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value)))
                .collect();
            let action = escape(self.target.as_str());
            let form = format!(
                "<form method=\"post\" action=\"{action}\">{inputs}<button>Continue</button></form>\
                 <script>document.forms[0].submit()</script>"
            );
            return html(200, "Working...", &form);
        }
        let mut target = self.target.clone();
        if self.is("response_mode", "fragment") {
            let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            target.set_fragment(Some(&encoded));
        } else {
            target.query_pairs_mut().extend_pairs(fields);
        }
        (StatusCode::FOUND, [(header::LOCATION, String::from(target))]).into_response()
    }
}

fn choose(shared: &Shared, query: &str, request: &Request) -> Response {
    let hint = request.fields.get("login_hint").map(|hint| hint.to_lowercase());
    let mut accounts = shared.accounts();
    accounts.sort_by_key(|account| Some(account) != hint.as_ref());
    let link = |account: &str, text: &str| {
        let account: String = url::form_urlencoded::byte_serialize(account.as_bytes()).collect();
        format!("<p><a href=\"?{}&amp;account={account}\">{}</a></p>", escape(query), escape(text))
    };
    let links: String = accounts.iter().map(|account| link(account, account)).collect();
    let scope = request.fields.get("scope").map(|scope| escape(scope)).unwrap_or_default();
    let application = escape(&request.application.client_id);
    let text = format!(
        "<p>Application <code>{application}</code> asks for <code>{scope}</code>.</p>{links}{}",
        link("", "Cancel")
    );
    html(200, "Pick an account", &text)
}

fn sign_in(shared: &Shared, request: &Request, account: &str) -> Result<String, Failure> {
    let (user_consent, second_factor) =
        shared.behaviour(|behaviour| (behaviour.entra.user_consent, behaviour.entra.second_factor_required));
    let client_id = &request.application.client_id;
    let mut directory = lock(&shared.directory);
    let mailbox = directory.mailbox(account).ok_or_else(|| Failure::new(50_034).user(account))?;
    if !mailbox.enabled || mailbox.shared {
        return Err(Failure::new(50_057));
    }
    if second_factor {
        return Err(Failure::new(50_076).value(client_id));
    }
    if !request.application.consented(account) {
        if !user_consent {
            return Err(Failure::new(90_094));
        }
        if let Some(application) = directory.applications.get_mut(client_id) {
            application.consents.insert(account.to_owned());
        }
    }
    drop(directory);
    let now = shared.clock.now();
    let code = format!("1.A{}", random_text(160).map_err(|_| Failure::new(90_033))?);
    let granted = AuthorizationCode {
        client_id: client_id.clone(),
        user: account.to_owned(),
        redirect_uri: request.redirect_uri.clone(),
        challenge: request.fields.get("code_challenge").cloned(),
        scope: request.fields.get("scope").cloned().unwrap_or_default(),
        nonce: request.fields.get("nonce").cloned(),
        expires: now.checked_add(CODE_LIFETIME).unwrap_or(now),
        redeemed: false,
    };
    shared.secrets.add(SecretKind::AuthorizationCode, &code);
    lock(&shared.grants).codes.insert(code.clone(), granted);
    Ok(code)
}
