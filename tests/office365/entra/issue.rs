//! The answer of the token endpoint: an access token for what a grant was found to be worth, and what goes with it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::scopes::Scopes;
use super::token::Form;
use crate::office365::clock::unix;
use crate::office365::directory::Application;
use crate::office365::tokens::{Claims, guid, issuer, object_id, random_text};
use crate::office365::{Error, SecretKind, Shared, lock};

/// What a grant was found to be worth.
pub(super) struct Issued {
    /// No user, for an application of its own.
    pub(super) user: Option<String>,
    pub(super) scopes: Scopes,
    pub(super) refresh_token: Refresh,
    pub(super) nonce: Option<String>,
}

/// Whether there is a new refresh token in the answer.
pub(super) enum Refresh {
    None,
    New,
}

impl Issued {
    pub(super) fn for_user(user: &str, scopes: Scopes) -> Self {
        let refresh_token = if scopes.offline { Refresh::New } else { Refresh::None };
        Self { user: Some(user.to_owned()), scopes, refresh_token, nonce: None }
    }
}

/// A token for a managed identity: everything but the proof is as for an application with a secret.
pub(super) fn for_machine(
    shared: &Shared,
    application: &Application,
    resource: &str,
) -> Result<Map<String, Value>, Error> {
    let scopes = Scopes {
        resource: resource.to_owned(),
        permissions: vec![".default".to_owned()],
        offline: false,
        openid: false,
    };
    let issued = Issued { user: None, scopes, refresh_token: Refresh::None, nonce: None };
    issue(shared, application, &issued, &Form::default(), true)
}

pub(super) fn issue(
    shared: &Shared,
    application: &Application,
    issued: &Issued,
    form: &Form,
    v1: bool,
) -> Result<Map<String, Value>, Error> {
    let entra = shared.behaviour(|behaviour| behaviour.entra.clone());
    let object = issued.user.as_ref().map(|user| {
        let directory = lock(&shared.directory);
        object_id(directory.mailbox(user).map_or(user.as_str(), |mailbox| mailbox.object.as_str()))
    });
    let object = object.unwrap_or_else(|| object_id(&application.client_id));
    let now = unix(shared.clock.now());
    let lifetime = entra.token_lifetime.as_secs();
    let claims = Claims {
        aud: issued.scopes.resource.clone(),
        iss: issuer(&shared.id),
        iat: now,
        nbf: now,
        exp: now + lifetime,
        appid: application.client_id.clone(),
        idtyp: issued.user.is_none().then(|| "app".to_owned()),
        roles: if issued.user.is_none() { application.roles.clone() } else { Vec::new() },
        scp: issued.user.as_ref().map(|_| issued.scopes.permissions.join(" ")),
        oid: Some(object.clone()),
        sub: object.clone(),
        tid: shared.id.clone(),
        upn: issued.user.clone(),
        uti: guid()?,
        ver: "1.0".to_owned(),
        wids: "0123456789abcdef".chars().cycle().take(entra.token_bloat).collect(),
    };
    let access_token = lock(&shared.tokens).issue(&claims, entra.opaque_tokens)?;
    shared.secrets.add(SecretKind::AccessToken, &access_token);
    let number = |value: u64| if v1 || entra.numbers_as_strings { json!(value.to_string()) } else { json!(value) };
    let mut answer = Map::new();
    answer.insert("token_type".to_owned(), json!("Bearer"));
    if issued.user.is_some() {
        answer.insert("scope".to_owned(), json!(issued.scopes.granted()));
    }
    answer.insert("expires_in".to_owned(), number(lifetime));
    answer.insert("ext_expires_in".to_owned(), number(lifetime));
    if v1 {
        answer.insert("expires_on".to_owned(), number(claims.exp));
        answer.insert("resource".to_owned(), json!(claims.aud));
    }
    answer.insert("access_token".to_owned(), json!(access_token));
    let Some(user) = &issued.user else { return Ok(answer) };
    if matches!(issued.refresh_token, Refresh::New) {
        let token = format!("1.A{}", random_text(300)?);
        shared.secrets.add(SecretKind::RefreshToken, &token);
        lock(&shared.grants).add_refresh_token(token.clone(), &application.client_id, user, shared.clock.now());
        answer.insert("refresh_token".to_owned(), json!(token));
    }
    if issued.scopes.openid {
        let token = id_token(shared, application, issued, user, &object, &claims);
        shared.secrets.add(SecretKind::IdToken, &token);
        answer.insert("id_token".to_owned(), json!(token));
    }
    if form.get("client_info") == Some("1") {
        let info = json!({ "uid": object, "utid": shared.id }).to_string();
        answer.insert("client_info".to_owned(), json!(URL_SAFE_NO_PAD.encode(info)));
    }
    Ok(answer)
}

/// An identity token whose signature is not worth anything: a client that had it from this endpoint need not check it.
fn id_token(
    shared: &Shared,
    application: &Application,
    issued: &Issued,
    user: &str,
    object_id: &str,
    access: &Claims,
) -> String {
    let mut claims = json!({
        "aud": application.client_id,
        "iss": format!("{}/{}/v2.0", shared.authority(), shared.id),
        "iat": access.iat, "nbf": access.nbf, "exp": access.exp,
        "name": user.split('@').next().unwrap_or(user),
        "preferred_username": user,
        "oid": object_id, "sub": object_id, "tid": shared.id, "uti": access.uti, "ver": "2.0",
    });
    if let (Some(nonce), Some(object)) = (&issued.nonce, claims.as_object_mut()) {
        object.insert("nonce".to_owned(), json!(nonce));
    }
    let header = r#"{"typ":"JWT","alg":"RS256","kid":"simulated"}"#;
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part(&claims.to_string()), part("simulated"))
}
