//! The device code grant (RFC 8628): the endpoint that begins it, the page where a person ends it, and the polling.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::client;
use super::errors::Failure;
use super::grants::{Decision, DeviceCode};
use super::metadata::Segment;
use super::page::{escape, html};
use super::scopes;
use super::token::{Form, check_segment};
use crate::office365::directory::Application;
use crate::office365::tokens::random_text;
use crate::office365::{SecretKind, Shared, lock};

/// Letters and digits that are not confused with others.
const ALPHABET: &[u8; 24] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
const USER_CODE_LENGTH: usize = 9;

/// `POST /{tenant}/oauth2/v2.0/devicecode`
pub(super) async fn begin(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match start(&shared, &tenant, &headers, &body) {
        Ok(response) => response,
        Err(failure) => failure.response(&shared),
    }
}

fn start(shared: &Shared, tenant: &str, headers: &HeaderMap, body: &[u8]) -> Result<Response, Failure> {
    let segment = Segment::read(shared, tenant)?;
    let form = Form::read(headers, body)?;
    let application = client::find(shared, form.required("client_id")?)?;
    check_segment(segment, &application)?;
    let scope = form.required("scope")?;
    scopes::delegated(scopes::read(scope)?, &application)?;
    let random = |bytes| random_text(bytes).map_err(|_| Failure::new(90_033));
    let user_code = random(USER_CODE_LENGTH * 2)?
        .bytes()
        .take(USER_CODE_LENGTH)
        .map(|byte| char::from(ALPHABET.get(usize::from(byte) % ALPHABET.len()).copied().unwrap_or(b'A')))
        .collect::<String>();
    let device_code = format!("{}A{}", user_code.chars().next().unwrap_or('A'), random(120)?);
    let (lifetime, interval) =
        shared.behaviour(|behaviour| (behaviour.entra.device_code_lifetime, behaviour.entra.device_code_interval));
    let now = shared.clock.now();
    let device = DeviceCode {
        user_code: user_code.clone(),
        client_id: application.client_id,
        scope: scope.to_owned(),
        expires: now.checked_add(lifetime).unwrap_or(now),
        polled: None,
        decision: Decision::Pending,
    };
    shared.secrets.add(SecretKind::DeviceCode, &device_code);
    shared.secrets.add(SecretKind::UserCode, &user_code);
    lock(&shared.grants).devices.insert(device_code.clone(), device);
    let page = format!("{}/devicelogin", shared.authority());
    let message = format!(
        "To sign in, use a web browser to open the page {page} and enter the code {user_code} to authenticate."
    );
    Ok(axum::Json(json!({
        "user_code": user_code,
        "device_code": device_code,
        "verification_uri": page,
        "expires_in": lifetime.as_secs(),
        "interval": interval.as_secs(),
        "message": message,
    }))
    .into_response())
}

/// One poll: the user and the scope, once a person has said yes.
pub(super) fn redeem(shared: &Shared, application: &Application, code: &str) -> Result<(String, String), Failure> {
    let now = shared.clock.now();
    let (slow_down, interval) =
        shared.behaviour(|behaviour| (behaviour.entra.slow_down, behaviour.entra.device_code_interval));
    let mut grants = lock(&shared.grants);
    let device = grants.devices.get_mut(code).filter(|device| device.client_id == application.client_id);
    let device = device.ok_or_else(|| Failure::new(70_018))?;
    if now >= device.expires {
        return Err(Failure::new(70_020));
    }
    let last = device.polled.replace(now);
    let too_soon = last.is_some_and(|last| now.duration_since(last).is_ok_and(|pause| pause < interval));
    match device.decision.clone() {
        Decision::Pending if slow_down && too_soon => Err(Failure::new(70_016).under("slow_down")),
        Decision::Pending => Err(Failure::new(70_016)),
        Decision::Declined => Err(Failure::new(65_004).under("authorization_declined")),
        Decision::Redeemed => Err(Failure::new(54_005)),
        Decision::Approved(user) => {
            device.decision = Decision::Redeemed;
            Ok((user, device.scope.clone()))
        }
    }
}

/// `GET /devicelogin`: a form for the code and the account.
pub(super) async fn page(State(shared): State<Arc<Shared>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let code = query.get("user_code").map(|code| escape(code)).unwrap_or_default();
    let accounts: String = shared
        .accounts()
        .iter()
        .map(|account| format!("<button name=\"account\" value=\"{0}\">Sign in as {0}</button><br>", escape(account)))
        .collect();
    let form = format!(
        "<form method=\"post\" action=\"/devicelogin\"><p><label>Code <input name=\"user_code\" value=\"{code}\" \
         autocomplete=\"off\" required autofocus></label></p>{accounts}\
         <button name=\"account\" value=\"\">Cancel</button></form>"
    );
    html(200, "Enter code to allow access", &form)
}

/// `POST /devicelogin`: the person's decision; no account means no.
pub(super) async fn decide(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(form) = Form::read(&headers, &body) else { return html(400, "Something went wrong", "") };
    let code = form.get("user_code").unwrap_or_default();
    let account = form.get("account");
    if let Some(account) = account
        && !shared.accounts().contains(&account.to_lowercase())
    {
        return html(400, "We couldn't find an account with that username", "");
    }
    if !shared.decide_device_code(code, account) {
        return html(400, "That code didn't work", "<p>Check the code and <a href=\"/devicelogin\">try again</a>.</p>");
    }
    match account {
        Some(_) => html(200, "You have signed in", "<p>You may now close this window.</p>"),
        None => html(200, "You cancelled the sign-in", "<p>You may now close this window.</p>"),
    }
}
