//! A certificate and its key, and the statement that the key signs
//! (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).
//!
//! The statement is a JWT (RFC 7519) of two lines of JSON that never vary in shape, signed by the crypto library that is in
//! the program already: a JWT library would bring a second one, and readers for what we never read.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    digest, rand,
    rsa::KeyPair,
    signature::{self, KeyPair as _},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oxpost_protocol::Secret;
use serde_json::json;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    application::Application,
    error::{Problem, TokenError},
};

/// How long a statement counts. Microsoft asks for five to ten minutes.
const STATEMENT_LIFE: Duration = Duration::from_secs(600);

/// How a statement is signed, and how it names the certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-256, the certificate named by its SHA-256 thumbprint (`x5t#S256`): what Microsoft recommends.
    #[default]
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, the certificate named by its SHA-1 thumbprint (`x5t`): for authorities that know
    /// nothing newer.
    Rs256,
}

/// An RSA key whose certificate is registered with an application. Cheap to clone; its `Debug` shows no key.
#[derive(Clone)]
pub struct SigningCertificate(Arc<Parts>);

struct Parts {
    key: KeyPair,
    algorithm: Algorithm,
    /// In the header's form.
    named_by: String,
    /// As the Entra admin center shows it.
    thumbprint: String,
    begins: SystemTime,
    expires: SystemTime,
    last_day: String,
}

impl PartialEq for SigningCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.thumbprint == other.0.thumbprint
    }
}

impl Eq for SigningCertificate {}

/// The certificates of an application: the current one, and the next one, which takes its place when the authority refuses the current
/// one. Both can be replaced while they are in use. Clones are the same certificates; `Debug` shows no key.
#[derive(Clone, Debug)]
pub struct ApplicationCertificate(Arc<RwLock<Held>>);

#[derive(Debug)]
struct Held {
    current: SigningCertificate,
    next: Option<SigningCertificate>,
    /// The thumbprint of the certificate that brought tokens when the other one had been refused.
    accepted: Option<String>,
}

impl Held {
    fn accepted_next(&self) -> Option<&SigningCertificate> {
        let is_accepted = |one: &SigningCertificate| self.accepted.as_deref() == Some(one.thumbprint());
        self.next.as_ref().filter(|next| is_accepted(next) && !is_accepted(&self.current))
    }
}

impl ApplicationCertificate {
    /// These two.
    pub fn new(current: SigningCertificate, next: Option<SigningCertificate>) -> Self {
        Self(Arc::new(RwLock::new(Held { current, next, accepted: None })))
    }

    /// The one that is configured as the current one.
    pub fn current(&self) -> SigningCertificate {
        self.with(|held| held.current.clone())
    }

    /// The one that is configured as the next one.
    pub fn next(&self) -> Option<SigningCertificate> {
        self.with(|held| held.next.clone())
    }

    /// The one that goes with requests: the current one, or the next one once the authority has accepted that in its place.
    pub fn in_use(&self) -> SigningCertificate {
        self.in_order().0
    }

    /// Whether the next one is in use.
    pub fn is_next_in_use(&self) -> bool {
        self.with(|held| held.accepted_next().is_some())
    }

    /// Replaces the current one; the next request is signed with it.
    pub fn replace_current(&self, certificate: SigningCertificate) {
        self.change(|held| held.current = certificate);
    }

    /// Replaces the next one.
    pub fn replace_next(&self, certificate: SigningCertificate) {
        self.change(|held| held.next = Some(certificate));
    }

    /// Notes which one was accepted, by its thumbprint.
    pub(crate) fn note_accepted(&self, thumbprint: Option<String>) {
        if self.with(|held| held.accepted != thumbprint) {
            self.change(|held| held.accepted = thumbprint);
        }
    }

    /// The one in use, and the other one.
    pub(super) fn in_order(&self) -> (SigningCertificate, Option<SigningCertificate>) {
        self.with(|held| match held.accepted_next() {
            Some(next) => (next.clone(), Some(held.current.clone())),
            None => (held.current.clone(), held.next.clone()),
        })
    }

    fn with<T>(&self, read: impl FnOnce(&Held) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A certificate and a key that cannot be used, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It cannot be parsed.
    #[error("it is not an X.509 certificate")]
    NotACertificate,
    /// Entra takes RSA only.
    #[error("the private key is not an RSA key of 2048 bits or more, and Microsoft accepts no other")]
    NotRsa,
    /// The two halves are of two pairs.
    #[error("the private key does not belong to the certificate")]
    NotAPair,
}

impl SigningCertificate {
    /// Takes a certificate and its private key (PKCS#8 or PKCS#1), both DER, and makes sure that they belong together.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(certificate: &[u8], private_key: &Secret, algorithm: Algorithm) -> Result<Self, BadCertificate> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| BadCertificate::NotACertificate)?;
        let key = private_key.reveal();
        let key = KeyPair::from_pkcs8(key).or_else(|_| KeyPair::from_der(key)).map_err(|_| BadCertificate::NotRsa)?;
        if key.public_key().as_ref() != parsed.public_key().subject_public_key.data.as_ref() {
            return Err(BadCertificate::NotAPair);
        }
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate);
        let named_by = match algorithm {
            Algorithm::Ps256 => URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, certificate)),
            Algorithm::Rs256 => URL_SAFE_NO_PAD.encode(sha1),
        };
        let validity = parsed.validity();
        Ok(Self(Arc::new(Parts {
            key,
            algorithm,
            named_by,
            thumbprint: sha1.as_ref().iter().map(|byte| format!("{byte:02X}")).collect(),
            begins: time(validity.not_before.timestamp()),
            expires: time(validity.not_after.timestamp()),
            last_day: validity.not_after.to_datetime().date().to_string(),
        })))
    }

    /// When it ends.
    pub fn expires(&self) -> SystemTime {
        self.0.expires
    }

    /// Its thumbprint as the Entra admin center shows it: SHA-1, in hexadecimal.
    pub fn thumbprint(&self) -> &str {
        &self.0.thumbprint
    }

    /// Whether it is inside its period of validity.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.0.begins <= now && now < self.0.expires
    }

    /// When it begins.
    pub fn begins(&self) -> SystemTime {
        self.0.begins
    }

    /// The statement that this is the application, for its token endpoint, good for some minutes from now.
    pub(super) fn assertion(&self, application: &Application, now: SystemTime) -> Result<Secret, TokenError> {
        let parts = &self.0;
        if !self.is_valid_at(now) {
            return Err(TokenError::Misconfigured(self.not_valid_now(&application.name, now)));
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = match parts.algorithm {
            Algorithm::Ps256 => json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": parts.named_by }),
            Algorithm::Rs256 => json!({ "alg": "RS256", "typ": "JWT", "x5t": parts.named_by }),
        };
        let claims = json!({
            "aud": application.token_url.as_str(),
            "iss": application.client_id,
            "sub": application.client_id,
            "jti": unique().ok_or_else(|| cannot_sign(&application.name))?,
            "iat": now,
            "nbf": now,
            "exp": now + STATEMENT_LIFE.as_secs(),
        });
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.sign(signed.as_bytes()).ok_or_else(|| cannot_sign(&application.name))?;
        Ok(Secret::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let parts = &self.0;
        let encoding = match parts.algorithm {
            Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
            Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; parts.key.public_modulus_len()];
        parts.key.sign(encoding, &rand::SystemRandom::new(), message, &mut signature).ok()?;
        Some(signature)
    }

    fn not_valid_now(&self, application: &str, now: SystemTime) -> Problem {
        if now < self.0.begins {
            let what = format!("The certificate of the application `{application}` is not valid yet.");
            return Problem::new(
                what,
                "Set this machine's clock (on Windows `w32tm /resync`, on Linux `timedatectl`).",
            );
        }
        let what = format!("The certificate of the application `{application}` has expired on {}.", self.0.last_day);
        let remedy = "Make a new one, upload it at Microsoft Entra admin center > App registrations > Certificates & secrets, and write \
                      it over the files that proxy.toml names: Oxpost reads them without a restart.";
        Problem::new(what, remedy)
    }
}

impl fmt::Debug for SigningCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningCertificate")
            .field("thumbprint", &self.0.thumbprint)
            .field("expires", &self.0.expires)
            .finish_non_exhaustive()
    }
}

/// A random number, so that no two statements are the same.
fn unique() -> Option<String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

fn cannot_sign(application: &str) -> TokenError {
    let what = format!("The client assertion of the application `{application}` could not be signed.");
    let remedy = "If it lasts, check the private key that proxy.toml names.";
    TokenError::Transient { retry_after: None, problem: Problem::retried(what, remedy) }
}

fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moved.unwrap_or(UNIX_EPOCH)
}
