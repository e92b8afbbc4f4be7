//! Tokens for machines: the instance metadata service of an Azure VM, and its cousin on servers joined by Azure Arc, which
//! first wants to see that the caller can read a file. Both speak plain HTTP on the machine itself.
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::errors::Failure;
use super::issue;
use crate::office365::tokens::random_text;
use crate::office365::{SecretKind, Shared, lock};

/// The API versions by which a caller says which of the two it means.
const ARC_VERSIONS: [&str; 2] = ["2019-11-01", "2020-06-01"];

/// Serves both until the tenant stops.
pub(in crate::office365) fn serve(tcp: TcpListener, shared: &Arc<Shared>) {
    let stop = shared.stop.clone();
    let routes = Router::new().route("/metadata/identity/oauth2/token", get(answer)).with_state(Arc::clone(shared));
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = axum::serve(tcp, routes) => {}
        }
    });
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let refused = |text: &str| {
        (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": "invalid_request", "error_description": text })))
            .into_response()
    };
    if headers.get("Metadata").is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"true")) {
        return refused("Required metadata header not specified");
    }
    let Some(resource) = query.get("resource") else { return refused("Required parameter resource not specified") };
    let arc = query.get("api-version").is_some_and(|version| ARC_VERSIONS.contains(&version.as_str()));
    if arc && let Some(challenge) = challenge(&shared, &headers) {
        return challenge;
    }
    // Arc knows only the identity of the system, so a client id chooses nothing there.
    let wanted = query.get("client_id").filter(|_| !arc).map(|id| id.to_lowercase());
    let application = {
        let directory = lock(&shared.directory);
        let mut managed = directory.applications.values().filter(|application| application.managed);
        managed.find(|application| wanted.as_ref().is_none_or(|id| *id == application.client_id)).cloned()
    };
    let Some(application) = application else { return refused("Identity not found") };
    let issued = issue::for_machine(&shared, &application, resource.trim_end_matches('/'));
    match issued.map_err(|_| Failure::new(90_033)) {
        Ok(mut token) => {
            token.insert("client_id".to_owned(), json!(application.client_id));
            axum::Json(Value::Object(token)).into_response()
        }
        Err(failure) => failure.response(&shared),
    }
}

/// Arc's question: what is in this file? Nothing, if the caller has brought the answer. The key is valid once.
fn challenge(shared: &Shared, headers: &HeaderMap) -> Option<Response> {
    let mut arc = lock(&shared.arc);
    let brought = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = arc.key.take();
    if let (Some(brought), Some(key)) = (brought.and_then(|value| value.strip_prefix("Basic ")), key)
        && brought == key
    {
        return None;
    }
    let (Ok(key), Ok(name), Some(directory)) = (random_text(48), random_text(12), &arc.directory) else {
        return Some(StatusCode::NOT_FOUND.into_response());
    };
    shared.secrets.add(SecretKind::MachineKey, &key);
    let path = directory.join(format!("{name}.key"));
    if std::fs::write(&path, &key).is_err() {
        return Some(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    }
    arc.key = Some(key);
    let realm = format!("Basic realm={}", path.display());
    Some((StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, realm)]).into_response())
}

/// Where Arc puts its files, and the key it waits for.
#[derive(Debug, Default)]
pub(in crate::office365) struct ArcAgent {
    pub(in crate::office365) directory: Option<PathBuf>,
    key: Option<String>,
}
