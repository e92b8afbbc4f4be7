//! What a server's certificate says, also when it is not trusted: most often it names the firewall that inspects TLS.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The longest name that is shown; certificates have no bound.
const NAME_LIMIT: usize = 120;

/// The most host names that are shown of a certificate; Microsoft's have dozens.
const NAMES_SHOWN: usize = 4;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Certificate {
    /// Who signed it.
    pub issuer: String,
    /// The names it is for, the first few.
    pub names: Vec<String>,
    /// When it begins and ends, in seconds since 1970.
    pub valid: (i64, i64),
}

/// Why a certificate is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// No trusted authority signed it.
    UnknownIssuer,
    /// It is for other names.
    OtherName,
    /// Its time is over, or has not begun.
    OutOfDate,
    /// Anything else, in the library's words.
    Other(String),
}

impl Distrust {
    pub(super) fn of(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::OutOfDate,
            other => Self::Other(other.to_string()),
        }
    }

    /// What is wrong with the certificate of a host, and what to do.
    pub(super) fn remedy(&self, host: &str, certificate: &Certificate) -> String {
        let Certificate { issuer, names, .. } = certificate;
        match self {
            Self::UnknownIssuer => format!(
                "The certificate of {host} was issued by `{issuer}`, which this machine does not trust. If that is your TLS-inspecting firewall: \
                 exclude {host} from inspection, as Microsoft recommends, or name its certificate authority under [trust] \
                 ca-file in proxy.toml. If it is not, an attacker may intercept the connection to {host}."
            ),
            Self::OtherName => format!(
                "The server at {host} has a certificate for {}, issued by `{issuer}`. Check the host in proxy.toml, DNS, and \
                 whether a firewall or a captive portal answers instead.",
                if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
            ),
            Self::OutOfDate => format!(
                "The certificate of {host}, issued by `{issuer}`, is valid from {} to {}, and this machine's clock says {}. Set the \
                 clock if it is wrong (Windows: w32tm /resync, Linux: timedatectl); otherwise contact the issuer.",
                date(certificate.valid.0),
                date(certificate.valid.1),
                humantime::format_rfc3339_seconds(SystemTime::now())
            ),
            Self::Other(words) => format!(
                "The certificate of {host}, issued by `{issuer}`, cannot be used: {words}. Check whether a firewall inspects TLS."
            ),
        }
    }
}

impl Certificate {
    /// Reads one; nothing in it is trusted, and it is only shown.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(shown(name)),
            _ => None,
        });
        let validity = certificate.validity();
        Some(Self {
            issuer: shown(&certificate.issuer().to_string()),
            names: names.take(NAMES_SHOWN).collect(),
            valid: (validity.not_before.timestamp(), validity.not_after.timestamp()),
        })
    }

    /// The last day it is valid on.
    pub(super) fn until(&self) -> String {
        date(self.valid.1)
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NAME_LIMIT).collect()
}

fn date(seconds: i64) -> String {
    let since = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let time = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Leaves every decision to another verifier, and remembers the certificate it was about.
pub(super) struct Witness {
    verifier: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Option<Certificate>>,
}

impl Witness {
    pub(super) fn new(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self { verifier, seen: Mutex::new(None) }
    }

    pub(super) fn seen(&self) -> Option<Certificate> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Certificate::read(end_entity);
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[rustls::DistinguishedName]> {
        self.verifier.root_hint_subjects()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_the_issuer_and_the_place_to_change() {
        let certificate = Certificate {
            issuer: "CN=Corp Firewall".into(),
            names: vec!["fw.corp".into()],
            valid: (1_700_000_000, 1_800_000_000),
        };
        let of = |distrust: Distrust| distrust.remedy("outlook.office365.com", &certificate);
        let text = of(Distrust::of(&CertificateError::UnknownIssuer));
        assert!(text.contains("CN=Corp Firewall") && text.contains("[trust] ca-file"), "{text}");
        let text = of(Distrust::of(&CertificateError::NotValidForName));
        assert!(text.contains("fw.corp") && text.contains("captive portal"), "{text}");
        let text = of(Distrust::of(&CertificateError::Expired));
        assert!(text.contains("2023-11-14 to 2027-01-15") && text.contains("clock"), "{text}");
        assert_eq!(Certificate::read(b"nonsense"), None);
    }
}
