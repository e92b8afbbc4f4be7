//! The answers of the token endpoint as types: what `oauth2` reads, with the members that Entra adds.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::{
    DeviceCodeErrorResponse, ErrorResponse, ExtraTokenFields, StandardRevocableToken, StandardTokenResponse,
    basic::{BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use serde::{Deserialize, Serialize};

use crate::{account::Mailbox, entra_codes::Refusal, error::printable, identity::Identity as UserIdentity};

/// The longest claim that is read: that of a mail address. Entra's ids have 36 characters and its names 113 at most.
const CLAIM_LIMIT: usize = 64 + 1 + 255;

/// Entra's numbers for a scope without consent, or that it does not know.
const SCOPE_REFUSED: &[u32] = &[65_001, 65_004, 70_011, 90_094];

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
    /// The name in the id token. It came straight from the token endpoint over TLS, which may replace checking its
    /// signature (OpenID Connect Core 1.0, 3.1.3.7, 6), and it is only shown and compared, never trusted with anything.
    pub(super) fn signed_in_as(&self) -> Option<String> {
        let claims = Claims::of(self.id_token.as_ref()?.as_str()?)?;
        claims.first_of(&["preferred_username", "upn", "email"]).map(|name| name.to_lowercase())
    }

    /// The user named by the id token; or by the access token, where there is none. Exchange's access tokens contain it too, and no more
    /// depends on it than which of a user's names is theirs now.
    pub(super) fn user(&self, access_token: &str) -> Option<UserIdentity> {
        let id_token = self.id_token.as_ref().and_then(serde_json::Value::as_str);
        let of = |token: &str, names: &[&str], from_id_token| {
            let claims = Claims::of(token)?;
            Some(UserIdentity {
                tenant: claims.first_of(&["tid"])?,
                object_id: claims.first_of(&["oid"])?,
                name: Mailbox::parse(&claims.first_of(names)?).ok()?.as_str().to_owned(),
                from_id_token,
            })
        };
        id_token
            .and_then(|token| of(token, &["preferred_username", "upn"], true))
            .or_else(|| of(access_token, &["upn"], false))
    }
}

/// What a JWT says (RFC 7519).
struct Claims(serde_json::Value);

impl Claims {
    fn of(token: &str) -> Option<Self> {
        let payload = token.split('.').nth(1)?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok().map(Self)
    }

    /// The first of these claims that is text, unchanged: claims are compared. One that is too long or has control characters
    /// counts as none.
    fn first_of(&self, names: &[&str]) -> Option<String> {
        let is_fit = |text: &&str| !text.is_empty() && text.len() <= CLAIM_LIMIT && !text.chars().any(char::is_control);
        let claim = |name: &&str| self.0.get(*name)?.as_str().filter(is_fit);
        names.iter().find_map(claim).map(str::to_owned)
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

impl EntraError {
    /// Whether what was asked for is refused, rather than who asked.
    pub(super) fn refuses_scope(&self) -> bool {
        const CONSENT: &str = "consent_required";
        matches!(self.error.as_str(), "invalid_scope" | CONSENT)
            || self.suberror.as_deref() == Some(CONSENT)
            || self.error_codes.iter().any(|code| SCOPE_REFUSED.contains(code))
    }
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

    #[test]
    fn user_is_read_from_the_id_token_or_else_from_the_access_token() {
        let access = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        let ann = access(r#"{"tid":"t","oid":"1","upn":"Ann@contoso.com"}"#);
        let anna = identity(r#"{"tid":"t","oid":"1","preferred_username":"Anna@contoso.com"}"#);
        let user = |name: &str, from_id_token| {
            Some(UserIdentity { tenant: "t".into(), object_id: "1".into(), name: name.into(), from_id_token })
        };
        assert_eq!(anna.user(&ann), user("anna@contoso.com", true));
        assert_eq!(Identity::default().user(&ann), user("ann@contoso.com", false));
        for other in
            [r#"{"tid":"t","oid":"1"}"#, r#"{"oid":"1","upn":"a@b"}"#, r#"{"tid":"t","oid":"1","upn":"no address"}"#]
        {
            assert_eq!(identity(other).user(&access(other)), None, "{other}");
        }
        assert_eq!(Identity::default().user("EwBAAl3BAAUF"), None, "an opaque token");
    }

    #[test]
    fn long_ids_and_names_are_compared_whole_or_not_at_all() {
        let name = format!("{}@{}.com", "a".repeat(64), "b".repeat(44));
        assert_eq!(name.len(), 113);
        let id = |end: &str| format!("{}{end}", "0".repeat(100));
        let claims = |oid: &str, name: &str| format!(r#"{{"tid":"t","oid":"{oid}","preferred_username":"{name}"}}"#);
        let user = |oid: &str, name: &str| identity(&claims(oid, name)).user("");
        assert_eq!(user(&id("1"), &name).unwrap().name, name);
        assert_ne!(user(&id("1"), &name), user(&id("2"), &name));
        assert_eq!(identity(&claims("1", &name)).signed_in_as(), Some(name.clone()));
        let endless = "0".repeat(10_000);
        for (oid, name) in [(endless.as_str(), name.as_str()), ("1", &endless), ("", &name), ("1\\n2", &name)] {
            assert_eq!(user(oid, name), None);
        }
        assert_eq!(identity(&claims("1", &endless)).signed_in_as(), None);
    }
}
