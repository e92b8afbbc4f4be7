//! What the sign-in service says about itself, and how it reads the tenant in a path.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

use super::errors::Failure;
use crate::office365::Shared;

/// The segment of the path that names the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// By its id or its domain.
    Tenant,
    Common,
    Organizations,
    Consumers,
}

impl Segment {
    pub(super) fn read(shared: &Shared, text: &str) -> Result<Self, Failure> {
        match text.to_lowercase().as_str() {
            "common" => Ok(Self::Common),
            "organizations" => Ok(Self::Organizations),
            // The GUID is that of the tenant of all personal accounts.
            "consumers" | "9188040d-6c67-4c5b-b112-36a304b66dad" => Ok(Self::Consumers),
            name if name == shared.id || name == shared.domain => Ok(Self::Tenant),
            name if name.contains('.') || name.len() == shared.id.len() => Err(Failure::new(90_002).value(text)),
            _ => Err(Failure::new(900_023).value(text)),
        }
    }
}

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`
pub(super) async fn openid_configuration(State(shared): State<Arc<Shared>>, Path(tenant): Path<String>) -> Response {
    let segment = match Segment::read(&shared, &tenant) {
        Ok(segment) => segment,
        Err(failure) => return failure.under("invalid_tenant").response(&shared),
    };
    let issuer = if segment == Segment::Tenant { shared.id.as_str() } else { "{tenantid}" };
    let name = if segment == Segment::Tenant { shared.id.as_str() } else { tenant.as_str() };
    let base = format!("{}/{name}", shared.authority());
    axum::Json(json!({
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{}/{issuer}/v2.0", shared.authority()),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
    }))
    .into_response()
}

/// `GET /common/discovery/instance`: which hosts are names of the same cloud.
pub(super) async fn instance_discovery(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(endpoint) = query.get("authorization_endpoint") else {
        return Failure::new(900_144).value("authorization_endpoint").response(&shared);
    };
    let tenant_discovery = endpoint.replace("oauth2/v2.0/authorize", "v2.0/.well-known/openid-configuration");
    let host = shared.authority().trim_start_matches("https://").to_owned();
    axum::Json(json!({
        "tenant_discovery_endpoint": tenant_discovery,
        "api-version": "1.1",
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
    }))
    .into_response()
}
