//! How an application proves itself, from the keys of an `[[application]]` and the files they name.

use std::path::Path;

use oxpost_protocol::Secret;
use oxpost_token_store::text_file::TextFile;
use oxpost_token_store::{
    Algorithm, BadCertificate, Credential, FederatedToken, Machine, ManagedIdentity, SigningCertificate,
};
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as PfxError;
use url::Url;

use super::file;
use super::secret::{from_file, private};
use crate::platform;

/// Longest certificate, key or PFX file read, in bytes. A chain with its key has a tenth of it.
const FILE_LIMIT: u64 = 64 * 1024;

/// A key of the section, and what is wrong with it.
pub(super) type Wrong = (&'static str, String);

/// What the section says; the client secret's own key is read elsewhere.
pub(super) fn credential(folder: &Path, application: &file::Application) -> Result<Credential, Wrong> {
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
    let algorithm = match application.assertion.unwrap_or_default() {
        file::Assertion::Ps256 => Algorithm::Ps256,
        file::Assertion::Rs256 => Algorithm::Rs256,
    };
    if let Some(certificate) = &application.certificate {
        // One file may hold both, as `az ad sp create-for-rbac --create-cert` writes it.
        let key = application.private_key.as_ref().unwrap_or(certificate);
        return from_pem(&folder.join(&certificate.0), &folder.join(&key.0), algorithm).map(Credential::Certificate);
    }
    if let Some(pfx) = &application.pfx_file {
        let passphrase = application.pfx_passphrase_file.as_ref().map(|file| folder.join(&file.0));
        return from_pfx(&folder.join(&pfx.0), passphrase.as_deref(), algorithm).map(Credential::Certificate);
    }
    if let Some(file) = &application.federated_token_file {
        return Ok(Credential::Federated(FederatedToken { file: folder.join(&file.0) }));
    }
    if let Some(machine) = machine {
        return managed_identity(folder, application, machine).map(Credential::ManagedIdentity);
    }
    Ok(Credential::Secret)
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

fn from_pem(certificate: &Path, key: &Path, algorithm: Algorithm) -> Result<SigningCertificate, Wrong> {
    let key_is = if certificate == key { "certificate" } else { "private-key" };
    let chain = TextFile::open(certificate).and_then(|file| file.pem(FILE_LIMIT)?.certificates());
    let chain = chain.map_err(|error| ("certificate", format!("{error}.")))?;
    let leaf =
        chain.first().ok_or_else(|| ("certificate", format!("{} holds no certificate.", certificate.display())))?;
    let file = private(key).map_err(|sentence| (key_is, sentence))?;
    let private_key = file.pem(FILE_LIMIT).and_then(|pem| pem.private_key());
    let private_key = private_key.map_err(|error| (key_is, format!("{error}.")))?;
    SigningCertificate::new(leaf, &Secret::new(private_key.secret_der()), algorithm)
        .map_err(|error| unusable(error, certificate, key, key_is))
}

fn unusable(error: BadCertificate, certificate: &Path, key: &Path, key_is: &'static str) -> Wrong {
    match error {
        BadCertificate::NotACertificate => ("certificate", format!("{}: {error}.", certificate.display())),
        BadCertificate::NotRsa => (key_is, format!("{}: {error}.", key.display())),
        BadCertificate::NotAPair => {
            let sentence = format!(
                "{error}: {} and {} are of two pairs. Name those that were made together.",
                key.display(),
                certificate.display()
            );
            (key_is, sentence)
        }
    }
}

/// A PFX file (PKCS#12, RFC 7292), as Windows exports it. It may hold a chain and other certificates: what
/// counts is a key whose certificate is there.
fn from_pfx(pfx: &Path, passphrase: Option<&Path>, algorithm: Algorithm) -> Result<SigningCertificate, Wrong> {
    let file = private(pfx).map_err(|sentence| ("pfx-file", sentence))?;
    let bytes = file.bytes(FILE_LIMIT).map_err(|error| ("pfx-file", format!("{}.", error.about("the PFX file"))))?;
    let secret = match passphrase {
        Some(file) => from_file(file, "the passphrase").map_err(|sentence| ("pfx-passphrase-file", sentence))?,
        None => Secret::default(),
    };
    let line = secret.reveal_str().unwrap_or_default();
    let archive = Pkcs12Archive::from_pkcs12(bytes.reveal(), line).map_err(|error| {
        let file = pfx.display();
        match error {
            PfxError::MacError(_) if passphrase.is_some() => {
                ("pfx-passphrase-file", format!("this is not the passphrase of {file}."))
            }
            PfxError::MacError(_) => (
                "pfx-file",
                format!("{file} has a passphrase; write it into a file and name that: pfx-passphrase-file = \"…\"."),
            ),
            error => ("pfx-file", no_pfx(pfx, &bytes, &error)),
        }
    })?;
    let mut why = BadCertificate::NotAPair;
    for key in &archive.keys {
        let private_key = Secret::new(key.key.as_der());
        for certificate in &archive.certs {
            match SigningCertificate::new(certificate.cert.as_der(), &private_key, algorithm) {
                Ok(found) => return Ok(found),
                Err(BadCertificate::NotRsa) => why = BadCertificate::NotRsa,
                Err(_) => {}
            }
        }
    }
    let file = pfx.display();
    Err((
        "pfx-file",
        match (archive.keys.is_empty(), archive.certs.is_empty(), why) {
            (true, _, _) => {
                format!("{file} holds no private key; export it again, with the private key.")
            }
            (false, true, _) => format!("{file} holds no certificate; export it again, with the certificate."),
            (_, _, why) => format!("{file} cannot be used: {why}."),
        },
    ))
}

/// Why a file is no PFX file: often it is the same in another form.
fn no_pfx(pfx: &Path, bytes: &Secret, error: &PfxError) -> String {
    let file = pfx.display();
    let text = bytes.reveal_str().map(str::trim).unwrap_or_default();
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\r' | '\n');
    if text.contains("-----BEGIN") {
        format!(
            "{file} is PEM, not PFX (PKCS#12); name it with `certificate`, and its key with `private-key` if that is another file."
        )
    } else if !text.is_empty() && text.chars().all(is_base64) {
        format!(
            "{file} is base64 text, as Azure Key Vault returns a PFX file; decode it: on Linux `base64 -d`, on Windows `certutil -decode`."
        )
    } else {
        format!("{file} cannot be read as a PFX (PKCS#12) file: {error}.")
    }
}

#[cfg(test)]
pub(super) mod tests;
