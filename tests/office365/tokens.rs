//! Access tokens: what Entra issues and what Exchange checks. Both know the key; no other party may look inside.

use std::collections::HashMap;

use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Error;

/// The application id of "Office 365 Exchange Online".
pub(super) const EXCHANGE_APP_ID: &str = "00000002-0000-0ff1-ce00-000000000000";
/// The audiences that Exchange's mail protocols accept.
const MAIL_AUDIENCES: [&str; 3] = ["https://outlook.office.com", "https://outlook.office365.com", EXCHANGE_APP_ID];

/// The `kid` of the tenant's one key.
const KEY_ID: &str = "simulated";
/// RFC 7518 section 3.2: at least as many bytes as the hash has.
const KEY_LENGTH: usize = 32;

/// What a token says, in the v1 shape that tokens for Exchange have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) aud: String,
    pub(super) iss: String,
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    pub(super) appid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idtyp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oid: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scp: Option<String>,
    pub(super) sub: String,
    pub(super) tid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upn: Option<String>,
    pub(super) uti: String,
    pub(super) ver: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) wids: String,
}

impl Claims {
    /// Who the token speaks for: a user's address, or the client id of an application.
    pub(super) fn holder(&self) -> &str {
        self.upn.as_deref().unwrap_or(&self.appid)
    }

    pub(super) fn app_only(&self) -> bool {
        self.upn.is_none()
    }

    /// The token carries the delegated scope, or, without a user, the app role.
    fn permits(&self, scope: &str, role: &str) -> bool {
        match (&self.upn, &self.scp) {
            (Some(_), Some(scopes)) => scopes.split(' ').any(|held| held == scope),
            (Some(_), None) => false,
            (None, _) => self.roles.iter().any(|held| held == role),
        }
    }
}

/// Why Exchange refuses a token. The client does not hear it; the records of the tenant have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not a token of this tenant.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
    /// It was issued for another service.
    Audience,
    /// It lacks the permission for the protocol.
    Permission,
}

/// A permission to use a protocol: the delegated scope and the app role.
pub(super) type Permission = (&'static str, &'static str);

/// What a mail server of another make needs to check the tenant's access tokens by itself: they are JWTs, signed with
/// HMAC-SHA256 (RFC 7518 section 3.2), unless the behaviour asks for opaque ones.
#[derive(Clone)]
pub struct TokenKey {
    /// The `kid` of their header.
    pub id: &'static str,
    /// The key.
    pub secret: Vec<u8>,
    /// Their `iss`.
    pub issuer: String,
    /// The `aud` of those for mail.
    pub audience: &'static str,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TokenKey").field("id", &self.id).field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// The keys and the memory of the token issuer.
#[derive(Debug)]
pub(super) struct Tokens {
    key: hmac::Key,
    key_bytes: Vec<u8>,
    opaque: HashMap<String, Claims>,
    revoked: HashMap<String, bool>,
    holders: HashMap<String, Vec<String>>,
}

impl Tokens {
    pub(super) fn new() -> Result<Self, Error> {
        let mut key_bytes = vec![0; KEY_LENGTH];
        rand::fill(&mut key_bytes).map_err(|_| Error::Random)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key_bytes);
        Ok(Self { key, key_bytes, opaque: HashMap::new(), revoked: HashMap::new(), holders: HashMap::new() })
    }

    pub(super) fn key(&self, issuer: String) -> TokenKey {
        TokenKey { id: KEY_ID, secret: self.key_bytes.clone(), issuer, audience: MAIL_AUDIENCES[0] }
    }

    /// Issues a token; the claims need a fresh `uti`.
    pub(super) fn issue(&mut self, claims: &Claims, opaque: bool) -> Result<String, Error> {
        self.revoked.insert(claims.uti.clone(), false);
        self.holders.entry(claims.holder().to_lowercase()).or_default().push(claims.uti.clone());
        if opaque {
            let token = format!("EwB{}{}", random_text(96)?, claims.wids);
            self.opaque.insert(token.clone(), claims.clone());
            return Ok(token);
        }
        let header = format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{KEY_ID}"}}"#);
        let payload = serde_json::to_vec(claims).map_err(|_| Error::Random)?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }

    /// Makes all access tokens of a user or an application useless from now on.
    pub(super) fn revoke(&mut self, holder: &str) {
        for uti in self.holders.get(&holder.to_lowercase()).into_iter().flatten() {
            self.revoked.insert(uti.clone(), true);
        }
    }

    /// Exchange's judgement of a token.
    pub(super) fn check(&self, token: &str, now: u64, (scope, role): Permission) -> Result<Claims, Refusal> {
        let claims = self.read(token).ok_or(Refusal::Unknown)?;
        if self.revoked.get(&claims.uti).copied().unwrap_or(true) {
            return Err(Refusal::Revoked);
        }
        if now >= claims.exp {
            return Err(Refusal::Expired);
        }
        if !MAIL_AUDIENCES.contains(&claims.aud.trim_end_matches('/')) {
            return Err(Refusal::Audience);
        }
        if claims.permits(scope, role) { Ok(claims) } else { Err(Refusal::Permission) }
    }

    fn read(&self, token: &str) -> Option<Claims> {
        if let Some(claims) = self.opaque.get(token) {
            return Some(claims.clone());
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let (_, payload) = signed.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

/// The `iss` of the access tokens of a tenant.
pub(super) fn issuer(tenant: &str) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

/// Random text of letters, digits, `-` and `_`.
pub(super) fn random_text(bytes: usize) -> Result<String, Error> {
    let mut buffer = vec![0; bytes];
    rand::fill(&mut buffer).map_err(|_| Error::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(buffer))
}

/// A random GUID (version 4) in its usual form.
pub(super) fn guid() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).map_err(|_| Error::Random)?;
    let value = u128::from_be_bytes(bytes) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let [a, b, c, d, e] =
        [value >> 96, value >> 80 & 0xffff, value >> 64 & 0xffff, value >> 48 & 0xffff, value & 0xffff_ffff_ffff];
    Ok(format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}"))
}

/// A GUID that is always the same for the same text.
pub(super) fn object_id(user: &str) -> String {
    let hash = digest::digest(&digest::SHA256, user.as_bytes());
    let number = hash.as_ref().iter().take(16).fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        number >> 96,
        (number >> 80) & 0xffff,
        (number >> 64) & 0xffff,
        (number >> 48) & 0xffff,
        number & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAP: Permission = ("IMAP.AccessAsUser.All", "IMAP.AccessAsApp");
    const POP: Permission = ("POP.AccessAsUser.All", "POP.AccessAsApp");

    fn claims() -> Claims {
        Claims {
            aud: "https://outlook.office.com".to_owned(),
            iss: "https://sts.windows.net/t/".to_owned(),
            iat: 1_000,
            nbf: 1_000,
            exp: 2_000,
            appid: "app".to_owned(),
            idtyp: None,
            oid: None,
            roles: Vec::new(),
            scp: Some("IMAP.AccessAsUser.All SMTP.Send".to_owned()),
            sub: "s".to_owned(),
            tid: "t".to_owned(),
            upn: Some("alice@contoso.com".to_owned()),
            uti: guid().unwrap(),
            ver: "1.0".to_owned(),
            wids: String::new(),
        }
    }

    #[test]
    fn token_is_verified_by_key_time_audience_and_permission() {
        let mut tokens = Tokens::new().unwrap();
        for opaque in [false, true] {
            let good = tokens.issue(&claims(), opaque).unwrap();
            assert_eq!(tokens.check(&good, 1_999, IMAP).unwrap().holder(), "alice@contoso.com");
            assert_eq!(tokens.check(&good, 2_000, IMAP), Err(Refusal::Expired));
            assert_eq!(tokens.check(&good, 1_500, POP), Err(Refusal::Permission));
            assert_eq!(
                tokens.check(&good.replace(good.get(20..24).unwrap(), "AAAA"), 1_500, IMAP),
                Err(Refusal::Unknown)
            );
            let graph = Claims { aud: "https://graph.microsoft.com".to_owned(), ..claims() };
            let graph = tokens.issue(&graph, opaque).unwrap();
            assert_eq!(tokens.check(&graph, 1_500, IMAP), Err(Refusal::Audience));
        }
    }

    #[test]
    fn a_token_of_another_tenant_or_a_revoked_one_is_refused() {
        let mut tokens = Tokens::new().unwrap();
        let foreign = Tokens::new().unwrap().issue(&claims(), false).unwrap();
        assert_eq!(tokens.check(&foreign, 1_500, IMAP), Err(Refusal::Unknown));
        let own = tokens.issue(&claims(), false).unwrap();
        tokens.revoke("Alice@contoso.com");
        assert_eq!(tokens.check(&own, 1_500, IMAP), Err(Refusal::Revoked));
    }

    #[test]
    fn app_only_token_is_verified_by_its_roles() {
        let mut tokens = Tokens::new().unwrap();
        let app = Claims { upn: None, scp: None, roles: vec!["POP.AccessAsApp".to_owned()], ..claims() };
        let token = tokens.issue(&app, false).unwrap();
        assert!(tokens.check(&token, 1_500, POP).unwrap().app_only());
        assert_eq!(tokens.check(&token, 1_500, IMAP), Err(Refusal::Permission));
    }

    #[test]
    fn a_guid_has_the_form_of_version_four() {
        let guid = guid().unwrap();
        assert_eq!(guid.len(), 36);
        assert_eq!(guid.chars().nth(14), Some('4'));
        assert!("89ab".contains(guid.chars().nth(19).unwrap()));
    }
}
