//! Certificates and private keys in PEM (RFC 7468), and what else is found in such files.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{
    decode,
    error::{CERTIFICATE, Fault, Origin, PRIVATE_KEY, PemFault, TextError},
};

/// ASN.1's tags (X.690) at the beginning of certificates and keys in binary form.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// The version that begins a PFX file (RFC 7292, 4).
const PFX_VERSION: u8 = 3;

/// The first header of an encrypted key in the format before PKCS#8 (RFC 1421, 4.6.1.1).
const TRADITIONAL_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";

/// The content of a PEM file. It is wiped when it is dropped.
pub struct Pem {
    origin: Origin,
    content: Result<Zeroizing<String>, PemFault>,
}

impl Pem {
    pub(super) fn of(origin: Origin, bytes: &[u8]) -> Result<Self, TextError> {
        if let Some(fault) = binary(bytes) {
            return Ok(Self { origin, content: Err(fault) });
        }
        match decode::decode(bytes) {
            // Indented where it was copied from a YAML file.
            Ok(text) => {
                let mut lines = Zeroizing::new(String::with_capacity(text.len()));
                for line in text.lines() {
                    lines.push_str(line.trim());
                    lines.push('\n');
                }
                Ok(Self { origin, content: Ok(lines) })
            }
            Err(fault) => Err(TextError::new(origin, fault)),
        }
    }

    /// The certificates, in the order of the file; at least one.
    ///
    /// # Errors
    /// There is none, or one is damaged; the error names what is there instead.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TextError> {
        let text = self.text(CERTIFICATE)?;
        let found: Result<Vec<_>, _> = rustls_pemfile::certs(&mut text.as_bytes()).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Err(_) if labels(text).any(|label| label == "CERTIFICATE") => {
                Err(self.error(CERTIFICATE, PemFault::Damaged))
            }
            Ok(_) | Err(_) => Err(self.error(CERTIFICATE, other_than_certificate(text))),
        }
    }

    /// The first private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    ///
    /// # Errors
    /// There is none, or it is encrypted or damaged; the error names what is there instead.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, TextError> {
        let text = self.text(PRIVATE_KEY)?;
        if labels(text).any(|label| label == "ENCRYPTED PRIVATE KEY")
            || text.lines().any(|line| line == TRADITIONAL_ENCRYPTION)
        {
            return Err(self.error(PRIVATE_KEY, PemFault::EncryptedKey));
        }
        match rustls_pemfile::private_key(&mut text.as_bytes()) {
            Ok(Some(key)) => Ok(key),
            Ok(None) | Err(_) if labels(text).any(is_private_key) => Err(self.error(PRIVATE_KEY, PemFault::Damaged)),
            Ok(None) | Err(_) => Err(self.error(PRIVATE_KEY, other_than_key(text))),
        }
    }

    fn text(&self, what: &'static str) -> Result<&str, TextError> {
        self.content.as_ref().map(|text| text.as_str()).map_err(|fault| self.error(what, *fault))
    }

    fn error(&self, what: &'static str, fault: PemFault) -> TextError {
        // An empty file is no other kind of file.
        let is_empty = self.content.as_ref().is_ok_and(|text| text.trim().is_empty());
        let fault = if is_empty { Fault::Empty } else { Fault::Pem(fault) };
        TextError::new(self.origin.clone(), fault).about(match (is_empty, what) {
            (true, CERTIFICATE) => "the certificate (PEM)",
            (true, _) => "the private key (PEM)",
            (false, what) => what,
        })
    }
}

/// What a file in binary form is.
fn binary(bytes: &[u8]) -> Option<PemFault> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    // The long form of a length (X.690, 8.1.3.5), which text does not have there.
    if first != SEQUENCE || !(0x80..=0x84).contains(&length) {
        return None;
    }
    let inner = rest.get(usize::from(length & 0x7f)..)?;
    Some(if inner.starts_with(&[INTEGER, 1, PFX_VERSION]) { PemFault::Pfx } else { PemFault::Der })
}

fn other_than_certificate(text: &str) -> PemFault {
    match labels(text).next() {
        None => no_section(text),
        _ if labels(text).any(is_private_key) => PemFault::KeyForCertificate,
        _ => other(text),
    }
}

fn other_than_key(text: &str) -> PemFault {
    match labels(text).next() {
        None => no_section(text),
        _ if labels(text).any(|label| label == "CERTIFICATE") => PemFault::CertificateForKey,
        _ => other(text),
    }
}

fn other(text: &str) -> PemFault {
    let has = |wanted: &str| labels(text).any(|label| label.ends_with(wanted));
    if has("CERTIFICATE REQUEST") {
        PemFault::Request
    } else if has("OPENSSH PRIVATE KEY") {
        PemFault::OpenSsh
    } else if has("PUBLIC KEY") {
        PemFault::PublicKey
    } else if has("PKCS7") {
        PemFault::Pkcs7
    } else {
        PemFault::Other
    }
}

fn no_section(text: &str) -> PemFault {
    if text.contains("-----\\n") || text.contains("-----\\r\\n") { PemFault::EscapedLineEnds } else { PemFault::NoPem }
}

/// Whether a section is a private key for TLS, encrypted or not.
fn is_private_key(label: &str) -> bool {
    label.ends_with("PRIVATE KEY") && label != "OPENSSH PRIVATE KEY"
}

/// The labels of the sections.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
}
