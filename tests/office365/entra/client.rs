//! Who the client of the token endpoint is, and how it proves that: nothing, a secret, a Basic header, or a signed
//! assertion (RFC 7523; <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).

use aws_lc_rs::{digest, signature};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use serde_json::Value;

use super::errors::Failure;
use super::token::Form;
use crate::office365::Shared;
use crate::office365::directory::Application;
use crate::office365::lock;

/// The audience that an external issuer's token must have.
const FEDERATION_AUDIENCE: &str = "api://AzureADTokenExchange";

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The client id and secret of a request, from its body or its Basic header.
pub(super) fn credentials(form: &Form, headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let decoded = basic.and_then(|value| value.strip_prefix("Basic ")).and_then(|text| STANDARD.decode(text).ok());
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let (id, secret) = pair.as_deref().and_then(|pair| pair.split_once(':')).unzip();
    // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    let plain = |text: &str| {
        url::form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
    };
    let id = form.get("client_id").map(str::to_owned).or_else(|| id.map(plain));
    let secret = form.get("client_secret").map(str::to_owned).or_else(|| secret.map(plain));
    (id, secret)
}

/// The application that asks, once it has proved what it must prove.
pub(super) fn authenticate(shared: &Shared, form: &Form, headers: &HeaderMap) -> Result<Application, Failure> {
    let (id, secret) = credentials(form, headers);
    let id = id.ok_or_else(|| Failure::new(900_144).value("client_id"))?;
    let application = find(shared, &id)?;
    let assertion = form.get("client_assertion");
    if application.public {
        let proof = secret.is_some() || assertion.is_some();
        return if proof { Err(Failure::new(700_025)) } else { Ok(application) };
    }
    match (secret, assertion) {
        (Some(secret), _) => check_secret(&application, &secret)?,
        (None, Some(assertion)) => {
            if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
                return Err(Failure::new(900_144).value("client_assertion_type"));
            }
            check_assertion(&application, assertion, shared.clock.unix())?;
        }
        (None, None) => return Err(Failure::new(7_000_218)),
    }
    Ok(application)
}

/// The application with this id, if it is in the tenant and enabled.
pub(super) fn find(shared: &Shared, id: &str) -> Result<Application, Failure> {
    if id == "00000000-0000-0000-0000-000000000000" {
        return Err(Failure::new(700_038).app(id));
    }
    let application = lock(&shared.directory).application(id).cloned();
    let application = application.ok_or_else(|| Failure::new(700_016).app(id))?;
    if application.enabled { Ok(application) } else { Err(Failure::new(7_000_112).app(id)) }
}

fn check_secret(application: &Application, secret: &str) -> Result<(), Failure> {
    match application.secrets.iter().find(|(known, _)| known == secret) {
        Some((_, true)) => Ok(()),
        Some((_, false)) => Err(Failure::new(7_000_222).app(&application.client_id)),
        None => Err(Failure::new(7_000_215).app(&application.client_id)),
    }
}

fn check_assertion(application: &Application, assertion: &str, now: u64) -> Result<(), Failure> {
    let broken = || Failure::new(700_027);
    let (signed, signature) = assertion.rsplit_once('.').ok_or_else(broken)?;
    let (header, payload) = signed.split_once('.').ok_or_else(broken)?;
    let json = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    };
    let (header, claims) = json(header).zip(json(payload)).ok_or_else(broken)?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if claim("aud") == FEDERATION_AUDIENCE {
        return check_federated(application, claim("iss"), claim("sub"), &claims, now);
    }
    let is_client = |name: &str| claim(name).eq_ignore_ascii_case(&application.client_id);
    if !is_client("iss") || !is_client("sub") || claim("jti").is_empty() || !claim("aud").contains("/token") {
        return Err(broken());
    }
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    let (Some(begins), Some(ends)) = (time("nbf").or_else(|| time("iat")), time("exp")) else {
        return Err(Failure::new(700_024));
    };
    // Entra tolerates five minutes of difference between two clocks.
    if now + 300 < begins || now >= ends + 300 {
        return Err(Failure::new(700_024));
    }
    if application.certificates.is_empty() {
        return Ok(());
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| broken())?;
    let certificate = application.certificates.iter().find(|certificate| thumbprint_matches(&header, certificate));
    verify(certificate.ok_or_else(broken)?, &header, signed.as_bytes(), &signature).ok_or_else(broken)
}

/// The word of another issuer. (Its signature is not checked: there is no such issuer to ask for its keys.)
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation>
fn check_federated(
    application: &Application,
    issuer: &str,
    subject: &str,
    claims: &Value,
    now: u64,
) -> Result<(), Failure> {
    if claims.get("exp").and_then(Value::as_u64).is_none_or(|ends| now >= ends + 300) {
        return Err(Failure::new(700_024));
    }
    if !application.federated.iter().any(|(known, _)| known == issuer) {
        return Err(Failure::new(700_211).value(issuer));
    }
    if !application.federated.iter().any(|known| (known.0.as_str(), known.1.as_str()) == (issuer, subject)) {
        return Err(Failure::new(700_213).value(subject));
    }
    Ok(())
}

/// `x5t#S256` or the older `x5t`; clients write either in base64 or in base64url.
fn thumbprint_matches(header: &Value, certificate: &[u8]) -> bool {
    let named = |name: &str, algorithm| {
        let text = header.get(name).and_then(Value::as_str)?.trim_end_matches('=');
        let bytes = URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()?;
        Some(bytes == digest::digest(algorithm, certificate).as_ref())
    };
    let modern = named("x5t#S256", &digest::SHA256);
    modern.or_else(|| named("x5t", &digest::SHA1_FOR_LEGACY_USE_ONLY)).unwrap_or(false)
}

fn verify(certificate: &[u8], header: &Value, signed: &[u8], signature: &[u8]) -> Option<()> {
    let algorithm = match header.get("alg").and_then(Value::as_str)? {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        _ => return None,
    };
    let certificate = CertificateDer::from(certificate);
    let parsed = ParsedCertificate::try_from(&certificate).ok()?;
    let key = signature::UnparsedPublicKey::new(algorithm, parsed.subject_public_key_info().to_vec());
    key.verify(signed, signature).ok()
}
