//! How an application proves to the authority that it is itself: with a secret, with a certificate, with the word of a
//! platform that the authority trusts, or by being this very machine.
//!
//! The proof goes into a request at the last moment, on its way out (see `http`), so that every grant has it without
//! knowing, and a person's sign-in that takes longer than a signed statement lives is no special case.

mod certificate;
mod federated;
mod managed_identity;
mod proofs;

use std::time::SystemTime;

pub(crate) use self::proofs::{KnownProofs, Proof, Proofs, RefusedProof, Second};
pub use self::{
    certificate::{Algorithm, ApplicationCertificate, BadCertificate, SigningCertificate},
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
    /// With a statement signed by the key of a registered certificate; there may be a next one.
    Certificate(ApplicationCertificate),
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
            Self::Certificate(certificate) => Some(certificate.in_use().expires()),
        }
    }
}

/// Adds the proof, or the platform's statement, if there is one, to a form that is about to be sent.
pub(crate) async fn prove(
    application: &Application,
    proof: Option<&Proof>,
    form: &mut Vec<u8>,
    now: SystemTime,
) -> Result<(), TokenError> {
    let assertion = match (&application.credential, proof) {
        (Credential::Secret | Credential::Certificate(_), None) => return Ok(()),
        (Credential::Secret | Credential::Certificate(_), Some(Proof::Secret(secret))) => {
            let text = secret.reveal_str().filter(|secret| !secret.trim().is_empty());
            append(form, &[("client_secret", text.ok_or_else(|| not_text(&application.name))?)]);
            return Ok(());
        }
        (Credential::Secret | Credential::Certificate(_), Some(Proof::Certificate(certificate))) => {
            certificate.assertion(application, now)?
        }
        (Credential::Federated(token), _) => token.read(&application.name).await?,
        (Credential::ManagedIdentity(_), _) => {
            return Err(TokenError::Misconfigured(no_sign_in_possible(&application.name)));
        }
    };
    let assertion = assertion.reveal_str().unwrap_or_default();
    append(form, &[("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)]);
    Ok(())
}

fn not_text(application: &str) -> TokenError {
    let what = format!("The client secret of the application `{application}` is not text.");
    let remedy =
        "Store the secret's Value from Microsoft Entra admin center > App registrations > Certificates & secrets.";
    TokenError::Misconfigured(Problem::new(what, remedy))
}

pub(crate) fn no_sign_in_possible(application: &str) -> Problem {
    let what = format!(
        "The application `{application}` is the managed identity of this machine, and users cannot sign in to that."
    );
    let remedy = "Remove the account, and add it again with `oxpost account add ADDRESS --grant client-credentials`.";
    Problem::new(what, remedy)
}

fn append(form: &mut Vec<u8>, members: &[(&str, &str)]) {
    let members = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish();
    if !form.is_empty() {
        form.push(b'&');
    }
    form.extend_from_slice(members.as_bytes());
}
