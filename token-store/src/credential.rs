//! How an application proves to the authority that it is itself: with a secret, with a certificate, with the word of a
//! platform that the authority trusts, or by being this very machine.
//!
//! The proof goes into a request at the last moment, on its way out (see `http`), so that every grant has it without
//! knowing, and a person's sign-in that takes longer than a signed statement lives is no special case.

mod certificate;
mod federated;
mod managed_identity;

use std::time::SystemTime;

use oxpost_protocol::Secret;

pub use self::{
    certificate::{Algorithm, BadCertificate, SigningCertificate},
    federated::FederatedToken,
    managed_identity::{Machine, ManagedIdentity, NotThisMachine},
};
use crate::{
    application::Application,
    error::{Problem, TokenError},
};

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
    /// With a statement that the platform we run on makes about us.
    Federated(FederatedToken),
    /// It is the identity of this machine, and a service on the machine gets its tokens.
    ManagedIdentity(ManagedIdentity),
}

impl Credential {
    /// What it is, in a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Certificate(_) => "certificate",
            Self::Federated(_) => "federated token",
            Self::ManagedIdentity(_) => "managed identity",
        }
    }

    /// When it ends, where that is known here. (The end of a client secret is known at Microsoft only.)
    pub fn expires(&self) -> Option<SystemTime> {
        match self {
            Self::Secret | Self::Federated(_) | Self::ManagedIdentity(_) => None,
            Self::Certificate(certificate) => Some(certificate.expires()),
        }
    }
}

/// Adds the application's signed statement, if it makes one, to a form that is about to be sent.
pub(crate) async fn prove(application: &Application, form: &mut Vec<u8>, now: SystemTime) -> Result<(), TokenError> {
    let assertion = match &application.credential {
        Credential::Secret => return Ok(()),
        Credential::Certificate(certificate) => certificate.assertion(application, now)?,
        Credential::Federated(token) => token.assertion(&application.name).await?,
        Credential::ManagedIdentity(_) => return Err(TokenError::Misconfigured(nobody_signs_in(&application.name))),
    };
    append(form, &assertion);
    Ok(())
}

pub(crate) fn nobody_signs_in(application: &str) -> Problem {
    let what =
        format!("The application `{application}` is this machine's own identity, and no person can sign in to that.");
    let remedy = "Remove the account, and add it again with `oxpost account add ADDRESS --grant client-credentials`.";
    Problem::new(what, remedy)
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
