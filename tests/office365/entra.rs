//! The sign-in service, Entra ID: HTTPS under one authority, with its pages for people and its endpoints for software.

mod authorize;
mod client;
mod codes;
mod device_code;
mod errors;
mod grants;
mod issue;
mod listener;
mod lockout;
pub(super) mod managed_identity;
mod metadata;
mod page;
mod scopes;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::DATE;
use axum::middleware::map_response_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;

pub(super) use grants::Grants;
pub(super) use lockout::Lockouts;

use super::Shared;
use super::clock::Civil;
use listener::{Cut, TlsListener};

/// Serves the authority until the tenant stops.
pub(super) fn serve(tcp: TcpListener, shared: &Arc<Shared>) {
    let stop = shared.stop.clone();
    let service = routes(shared).into_make_service_with_connect_info::<Cut>();
    let listener = TlsListener::new(tcp, Arc::clone(shared));
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = axum::serve(listener, service) => {}
        }
    });
}

fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/common/discovery/instance", get(metadata::instance_discovery))
        .route("/devicelogin", get(device_code::page).post(device_code::decide))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(metadata::openid_configuration))
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize::authorize))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device_code::begin))
        .route("/{tenant}/oauth2/v2.0/token", post(token::v2))
        .route("/{tenant}/oauth2/token", post(token::v1))
        .route("/{tenant}/oauth2/v2.0/logout", get(logout))
        .layer(map_response_with_state(Arc::clone(shared), dated))
        .with_state(Arc::clone(shared))
}

/// The date of an answer is that of the tenant's clock (RFC 9110, 6.6.1).
async fn dated(State(shared): State<Arc<Shared>>, mut response: Response) -> Response {
    let date = Civil::of(shared.clock.now()).http();
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(DATE, date);
    }
    response
}

async fn logout(State(shared): State<Arc<Shared>>) -> Response {
    page::html(200, "Signed out", &format!("<p>You signed out of {}.</p>", page::escape(&shared.domain)))
}
