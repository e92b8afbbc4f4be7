//! How an application proves itself, from the keys of an `[[application]]` and the files they name.

use std::path::Path;

use oxpost_token_store::{Algorithm, ApplicationCertificate, Credential, FederatedToken, Machine, ManagedIdentity};
use url::Url;

use super::application_certificate::{CertificateFiles, CertificatePlace, Slot};
use super::file;

use crate::platform;

/// Longest certificate, key or PFX file read, in bytes. A chain with its key has a tenth of it.
pub(super) const FILE_LIMIT: u64 = 64 * 1024;

/// A key of the section, and what is wrong with it.
pub(crate) type Wrong = (&'static str, String);

/// How an application proves itself, and the files that are read again when they change.
#[derive(Debug, Default)]
pub(super) struct Proven {
    pub(super) credential: Credential,
    pub(super) files: Vec<CertificateFiles>,
}

impl From<Credential> for Proven {
    fn from(credential: Credential) -> Self {
        Self { credential, files: Vec::new() }
    }
}

/// What the section says; the client secret's own key is read elsewhere.
pub(super) fn credential(folder: &Path, application: &file::Application) -> Result<Proven, Wrong> {
    let signed = application.certificate.is_some() || application.pfx_file.is_some();
    let named = [
        ("client-secret-file", application.client_secret_file.is_some()),
        ("client-secret-environment", application.client_secret_environment.is_some()),
        ("certificate", application.certificate.is_some()),
        ("pfx-file", application.pfx_file.is_some()),
        ("federated-token-file", application.federated_token_file.is_some()),
        ("managed-identity", application.managed_identity.is_some()),
    ];
    let mut ways = named.iter().filter(|(_, is_named)| *is_named).map(|(key, _)| *key);
    if let (Some(one), Some(other)) = (ways.next(), ways.next()) {
        return Err((
            other,
            format!(
                "an application proves itself in one way, and here are two, `{one}` and `{other}`; remove one of them."
            ),
        ));
    }
    let machine = application.managed_identity;
    let arc = machine == Some(file::Machine::AzureArc);
    for (key, is_named, belongs_to, is_there) in [
        ("private-key", application.private_key.is_some(), "certificate", application.certificate.is_some()),
        ("pfx-passphrase-file", application.pfx_passphrase_file.is_some(), "pfx-file", application.pfx_file.is_some()),
        ("assertion", application.assertion.is_some(), "certificate` or `pfx-file", signed),
        ("next-certificate", application.next_certificate.is_some(), "certificate` or `pfx-file", signed),
        ("next-pfx-file", application.next_pfx_file.is_some(), "certificate` or `pfx-file", signed),
        (
            "next-private-key",
            application.next_private_key.is_some(),
            "next-certificate",
            application.next_certificate.is_some(),
        ),
        (
            "next-pfx-passphrase-file",
            application.next_pfx_passphrase_file.is_some(),
            "next-pfx-file",
            application.next_pfx_file.is_some(),
        ),
        (
            "managed-identity-endpoint",
            application.managed_identity_endpoint.is_some(),
            "managed-identity",
            machine.is_some(),
        ),
        ("managed-identity-keys", application.managed_identity_keys.is_some(), "managed-identity = \"azure-arc\"", arc),
    ] {
        if is_named && !is_there {
            return Err((key, format!("`{key}` is of no use without `{belongs_to}`; add that, or remove this.")));
        }
    }
    if application.next_certificate.is_some() && application.next_pfx_file.is_some() {
        return Err((
            "next-pfx-file",
            "`next-certificate` and `next-pfx-file` both name a next certificate; remove one of them.".to_owned(),
        ));
    }
    let algorithm = match application.assertion.unwrap_or_default() {
        file::Assertion::Ps256 => Algorithm::Ps256,
        file::Assertion::Rs256 => Algorithm::Rs256,
    };
    let files = |place: Option<CertificatePlace>, slot| place.map(|place| CertificateFiles { place, slot, algorithm });
    if let Some(current) = files(CertificatePlace::current(folder, application), Slot::Current) {
        let next = files(CertificatePlace::next(folder, application), Slot::Next);
        let signing = current.read()?;
        let signing_next = next.as_ref().map(CertificateFiles::read).transpose()?;
        let certificate = ApplicationCertificate::new(signing, signing_next);
        return Ok(Proven {
            credential: Credential::Certificate(certificate),
            files: std::iter::once(current).chain(next).collect(),
        });
    }
    if let Some(file) = &application.federated_token_file {
        return Ok(Credential::Federated(FederatedToken { file: folder.join(&file.0) }).into());
    }
    if let Some(machine) = machine {
        return managed_identity(folder, application, machine).map(|one| Credential::ManagedIdentity(one).into());
    }
    Ok(Credential::Secret.into())
}

fn managed_identity(
    folder: &Path,
    application: &file::Application,
    machine: file::Machine,
) -> Result<ManagedIdentity, Wrong> {
    let machine = match machine {
        file::Machine::AzureVm => Machine::AzureVm,
        file::Machine::AzureArc => Machine::AzureArc,
    };
    let key = "managed-identity-endpoint";
    let endpoint = application.managed_identity_endpoint.as_deref().unwrap_or(machine.endpoint());
    let endpoint = Url::parse(endpoint).map_err(|error| (key, format!("`{endpoint}` is not an address: {error}.")))?;
    let client_id = Some(application.client_id.clone()).filter(|id| !id.is_empty());
    let keys = application.managed_identity_keys.as_ref();
    let keys = keys.map_or_else(platform::azure_arc_keys, |keys| folder.join(&keys.0));
    ManagedIdentity::new(machine, endpoint, client_id, keys).map_err(|error| (key, format!("{error}.")))
}

#[cfg(test)]
pub(super) mod tests;
