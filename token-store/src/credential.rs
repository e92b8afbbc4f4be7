//! How an application proves to the authority that it is itself: with a secret, or with a certificate.
//!
//! The proof goes into a request at the last moment, on its way out (see `http`), so that every grant has it without
//! knowing, and a person's sign-in that takes longer than a signed statement lives is no special case.

mod certificate;

use std::time::SystemTime;

use oxpost_protocol::Secret;

pub use self::certificate::{Algorithm, BadCertificate, SigningCertificate};
use crate::{application::Application, error::TokenError};

/// The assertion is a JWT (RFC 7523, 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How an application proves itself. Its `Debug` shows no key.
#[derive(Clone, Debug, Default)]
pub enum Credential {
    /// With its client secret; a public client has none and proves nothing.
    #[default]
    Secret,
    /// With a statement signed by the key of a registered certificate.
    Certificate(SigningCertificate),
}

impl Credential {
    /// What it is, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Certificate(_) => "certificate",
        }
    }

    /// When it ends, where that is known here. (The end of a client secret is known at Microsoft only.)
    pub fn expires(&self) -> Option<SystemTime> {
        match self {
            Self::Secret => None,
            Self::Certificate(certificate) => Some(certificate.expires()),
        }
    }
}

/// Adds the application's signed statement, if it makes one, to a form that is about to be sent.
pub(crate) fn prove(application: &Application, form: &mut Vec<u8>, now: SystemTime) -> Result<(), TokenError> {
    let assertion = match &application.credential {
        Credential::Secret => return Ok(()),
        Credential::Certificate(certificate) => certificate.assertion(application, now)?,
    };
    append(form, &assertion);
    Ok(())
}

fn append(form: &mut Vec<u8>, assertion: &Secret) {
    let members = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("client_assertion_type", ASSERTION_TYPE)
        .append_pair("client_assertion", assertion.reveal_str().unwrap_or_default())
        .finish();
    if !form.is_empty() {
        form.push(b'&');
    }
    form.extend_from_slice(members.as_bytes());
}
