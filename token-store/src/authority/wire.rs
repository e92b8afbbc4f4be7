//! The answers of the token endpoint as types: what `oauth2` reads, with the members that Entra adds.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::{
    DeviceCodeErrorResponse, ErrorResponse, ExtraTokenFields, StandardRevocableToken, StandardTokenResponse,
    basic::{BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use serde::{Deserialize, Serialize};

use crate::{entra_codes::Refusal, error::printable};

pub(super) type Tokens = StandardTokenResponse<Identity, BasicTokenType>;

pub(super) type Client<Auth, Device, Introspection, Revocation, Token> = oauth2::Client<
    EntraError,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    Auth,
    Device,
    Introspection,
    Revocation,
    Token,
>;

/// The part of the answer that says who signed in. Its `Debug` shows nothing: an id token is a credential too.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Identity {
    #[serde(default)]
    id_token: Option<serde_json::Value>,
}

impl ExtraTokenFields for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity([redacted])")
    }
}

impl Identity {
    /// The name in the id token. It came straight from the token endpoint over TLS, which may stand in for checking its
    /// signature (OpenID Connect Core 1.0, 3.1.3.7, 6), and it is only shown and compared, never trusted with anything.
    pub(super) fn signed_in_as(&self) -> Option<String> {
        let payload = self.id_token.as_ref()?.as_str()?.split('.').nth(1)?;
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let claim =
            |name| claims.get(name).and_then(serde_json::Value::as_str).map(printable).filter(|name| !name.is_empty());
        claim("preferred_username").or_else(|| claim("upn")).or_else(|| claim("email")).map(|name| name.to_lowercase())
    }
}

/// An error of the token endpoint (RFC 6749, 5.2) with Entra's additions, as `http::answer` has left it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct EntraError {
    error: String,
    error_description: Option<String>,
    suberror: Option<String>,
    trace_id: Option<String>,
    #[serde(default)]
    error_codes: Vec<u32>,
}

impl fmt::Display for EntraError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.error))
    }
}

impl ErrorResponse for EntraError {}

/// The errors that `oauth2` knows, in the one form we classify.
pub(super) trait WireError {
    fn refusal(&self) -> Refusal<'_>;
}

impl WireError for EntraError {
    fn refusal(&self) -> Refusal<'_> {
        Refusal {
            error: &self.error,
            suberror: self.suberror.as_deref(),
            codes: &self.error_codes,
            description: self.error_description.as_deref().unwrap_or_default(),
            trace_id: self.trace_id.as_deref(),
        }
    }
}

/// While polling for a device code `oauth2` has a type of its own, without the numbers; the description starts with one.
impl WireError for DeviceCodeErrorResponse {
    fn refusal(&self) -> Refusal<'_> {
        Refusal {
            error: self.error().as_ref(),
            description: self.error_description().map_or("", String::as_str),
            ..Refusal::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(claims: &str) -> Identity {
        let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        Identity { id_token: Some(token.into()) }
    }

    #[test]
    fn who_signed_in_is_read_from_the_id_token() {
        let name = |claims| identity(claims).signed_in_as();
        assert_eq!(name(r#"{"preferred_username":"Ann@Contoso.com","upn":"x"}"#), Some("ann@contoso.com".into()));
        assert_eq!(name(r#"{"upn":"ann@contoso.com"}"#), Some("ann@contoso.com".into()));
        assert_eq!(name(r#"{"preferred_username":7}"#), None);
        assert_eq!(name("no json"), None);
        assert_eq!(Identity { id_token: Some("one-part".into()) }.signed_in_as(), None);
        assert_eq!(Identity::default().signed_in_as(), None);
        assert_eq!(format!("{:?}", identity("{}")), "Identity([redacted])");
    }
}
