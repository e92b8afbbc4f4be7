//! An access token looked into, for a diagnosis only. Access tokens are opaque to a client
//! (<https://learn.microsoft.com/entra/identity-platform/access-tokens>): nothing else may depend on what is found here,
//! and a token that cannot be read is not a worse one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{AccessToken, error::printable};

/// Properties of a token that can be shown without showing the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its characters.
    pub length: usize,
    /// What it says, if it is a JWT (RFC 7519).
    pub claims: Option<Claims>,
}

/// The claims of a JWT. Its signature is not checked: only Exchange can verify it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The name of each claim, and the length of its value.
    pub names: Vec<(String, usize)>,
    /// The audience (`aud`).
    pub audience: String,
    /// What a person's token permits (`scp`).
    pub scopes: Vec<String>,
    /// What an application's own token permits (`roles`).
    pub roles: Vec<String>,
    /// Who signed in; none in an application's own token.
    pub person: Option<String>,
}

impl Shape {
    /// Looks into a token.
    pub fn of(token: &AccessToken) -> Self {
        let text = token.secret().reveal_str().unwrap_or_default();
        Self { length: token.secret().reveal().len(), claims: claims(text) }
    }
}

fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let payload: Map<String, Value> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let text = |name: &str| payload.get(name).and_then(Value::as_str).map(printable).filter(|text| !text.is_empty());
    let roles = payload.get("roles").and_then(Value::as_array).into_iter().flatten();
    Some(Claims {
        names: payload.iter().map(|(name, value)| (printable(name), value.to_string().len())).collect(),
        audience: text("aud").unwrap_or_default(),
        scopes: text("scp")
            .unwrap_or_default()
            .split(' ')
            .map(str::to_owned)
            .filter(|scope| !scope.is_empty())
            .collect(),
        roles: roles.filter_map(Value::as_str).map(printable).collect(),
        person: text("upn").or_else(|| text("preferred_username")).or_else(|| text("unique_name")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_is_looked_into_and_anything_else_is_left_alone() {
        let payload =
            r#"{"aud":"https://outlook.office.com","scp":"IMAP.AccessAsUser.All SMTP.Send","upn":"a@b.c","n":7}"#;
        let claims = claims(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))).unwrap();
        assert_eq!(claims.audience, "https://outlook.office.com");
        assert_eq!(claims.scopes, ["IMAP.AccessAsUser.All", "SMTP.Send"]);
        assert_eq!(claims.person.as_deref(), Some("a@b.c"));
        assert!(claims.names.contains(&("n".to_owned(), 1)), "{:?}", claims.names);
        for opaque in ["", "EwBAAl3BAAUF", "a.b.c", "..", "e30.bnVsbA.x"] {
            assert_eq!(super::claims(opaque), None, "{opaque}");
        }
    }
}
