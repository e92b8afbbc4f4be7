//! The files of an application's certificates. They are read at the start and again when they change.

use std::path::{Path, PathBuf};

use oxpost_protocol::Secret;
use oxpost_token_store::text_file::TextFile;
use oxpost_token_store::{Algorithm, BadCertificate, SigningCertificate};
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as PfxError;

use super::credential::{FILE_LIMIT, Wrong};
use super::file;
use super::secret::{from_file, private};

/// Which of the two certificates of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The current one.
    Current,
    /// The one that takes its place when it is refused.
    Next,
}

/// The keys of an `[[application]]` that name the files of one certificate.
struct Keys {
    certificate: &'static str,
    private_key: &'static str,
    pfx: &'static str,
    passphrase: &'static str,
}

const CURRENT: Keys =
    Keys { certificate: "certificate", private_key: "private-key", pfx: "pfx-file", passphrase: "pfx-passphrase-file" };

const NEXT: Keys = Keys {
    certificate: "next-certificate",
    private_key: "next-private-key",
    pfx: "next-pfx-file",
    passphrase: "next-pfx-passphrase-file",
};

/// Where a certificate and its key are.
#[derive(Debug, Clone)]
pub(super) enum CertificatePlace {
    /// In PEM files; one file may hold both, as `az ad sp create-for-rbac --create-cert` writes it.
    Pem { certificate: PathBuf, key: PathBuf },
    /// In a PFX file.
    Pfx { pfx: PathBuf, passphrase: Option<PathBuf> },
}

impl CertificatePlace {
    /// That of the current one.
    pub(super) fn current(folder: &Path, application: &file::Application) -> Option<Self> {
        let (pem, pfx) = (application.certificate.as_ref(), application.pfx_file.as_ref());
        Self::of(folder, (pem, application.private_key.as_ref()), (pfx, application.pfx_passphrase_file.as_ref()))
    }

    /// That of the next one.
    pub(super) fn next(folder: &Path, application: &file::Application) -> Option<Self> {
        let pem = (application.next_certificate.as_ref(), application.next_private_key.as_ref());
        let pfx = (application.next_pfx_file.as_ref(), application.next_pfx_passphrase_file.as_ref());
        Self::of(folder, pem, pfx)
    }

    fn of(
        folder: &Path,
        (certificate, key): (Option<&file::FilePath>, Option<&file::FilePath>),
        (pfx, passphrase): (Option<&file::FilePath>, Option<&file::FilePath>),
    ) -> Option<Self> {
        let path = |file: &file::FilePath| folder.join(&file.0);
        match (certificate, pfx) {
            (Some(certificate), _) => {
                Some(Self::Pem { certificate: path(certificate), key: path(key.unwrap_or(certificate)) })
            }
            (None, Some(pfx)) => Some(Self::Pfx { pfx: path(pfx), passphrase: passphrase.map(path) }),
            (None, None) => None,
        }
    }
}

/// The files of one certificate of an application.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    pub(super) place: CertificatePlace,
    pub(super) slot: Slot,
    pub(super) algorithm: Algorithm,
}

impl CertificateFiles {
    /// Which of the two it is.
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    /// All of them.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match &self.place {
            CertificatePlace::Pem { certificate, key } if certificate == key => vec![certificate.clone()],
            CertificatePlace::Pem { certificate, key } => vec![certificate.clone(), key.clone()],
            CertificatePlace::Pfx { pfx, passphrase } => {
                std::iter::once(pfx.clone()).chain(passphrase.clone()).collect()
            }
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// They cannot be used: the key of the section, and a sentence that names the file.
    pub(crate) fn read(&self) -> Result<SigningCertificate, Wrong> {
        let keys = match self.slot {
            Slot::Current => &CURRENT,
            Slot::Next => &NEXT,
        };
        match &self.place {
            CertificatePlace::Pem { certificate, key } => from_pem(keys, certificate, key, self.algorithm),
            CertificatePlace::Pfx { pfx, passphrase } => from_pfx(keys, pfx, passphrase.as_deref(), self.algorithm),
        }
    }
}

fn from_pem(keys: &Keys, certificate: &Path, key: &Path, algorithm: Algorithm) -> Result<SigningCertificate, Wrong> {
    let key_is = if certificate == key { keys.certificate } else { keys.private_key };
    let chain = TextFile::open(certificate).and_then(|file| file.pem(FILE_LIMIT)?.certificates());
    let chain = chain.map_err(|error| (keys.certificate, format!("{error}.")))?;
    let leaf =
        chain.first().ok_or_else(|| (keys.certificate, format!("{} holds no certificate.", certificate.display())))?;
    let file = private(key).map_err(|sentence| (key_is, sentence))?;
    let private_key = file.pem(FILE_LIMIT).and_then(|pem| pem.private_key());
    let private_key = private_key.map_err(|error| (key_is, format!("{error}.")))?;
    SigningCertificate::new(leaf, &Secret::new(private_key.secret_der()), algorithm)
        .map_err(|error| unusable(keys, error, certificate, key, key_is))
}

fn unusable(keys: &Keys, error: BadCertificate, certificate: &Path, key: &Path, key_is: &'static str) -> Wrong {
    match error {
        BadCertificate::NotACertificate => (keys.certificate, format!("{}: {error}.", certificate.display())),
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
fn from_pfx(
    keys: &Keys,
    pfx: &Path,
    passphrase: Option<&Path>,
    algorithm: Algorithm,
) -> Result<SigningCertificate, Wrong> {
    let file = private(pfx).map_err(|sentence| (keys.pfx, sentence))?;
    let bytes = file.bytes(FILE_LIMIT).map_err(|error| (keys.pfx, format!("{}.", error.about("the PFX file"))))?;
    let secret = match passphrase {
        Some(file) => from_file(file, "the passphrase").map_err(|sentence| (keys.passphrase, sentence))?,
        None => Secret::default(),
    };
    let line = secret.reveal_str().unwrap_or_default();
    let archive = Pkcs12Archive::from_pkcs12(bytes.reveal(), line).map_err(|error| {
        let file = pfx.display();
        match error {
            PfxError::MacError(_) if passphrase.is_some() => {
                (keys.passphrase, format!("this is not the passphrase of {file}."))
            }
            PfxError::MacError(_) => (
                keys.pfx,
                format!("{file} has a passphrase; write it into a file and name that: {} = \"…\".", keys.passphrase),
            ),
            error => (keys.pfx, no_pfx(keys, pfx, &bytes, &error)),
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
        keys.pfx,
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
fn no_pfx(keys: &Keys, pfx: &Path, bytes: &Secret, error: &PfxError) -> String {
    let file = pfx.display();
    let text = bytes.reveal_str().map(str::trim).unwrap_or_default();
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\r' | '\n');
    if text.contains("-----BEGIN") {
        format!(
            "{file} is PEM, not PFX (PKCS#12); name it with `{}`, and its key with `{}` if that is another file.",
            keys.certificate, keys.private_key
        )
    } else if !text.is_empty() && text.chars().all(is_base64) {
        format!(
            "{file} is base64 text, as Azure Key Vault returns a PFX file; decode it: on Linux `base64 -d`, on Windows `certutil -decode`."
        )
    } else {
        format!("{file} cannot be read as a PFX (PKCS#12) file: {error}.")
    }
}
