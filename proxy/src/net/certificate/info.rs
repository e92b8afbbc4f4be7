//! What a certificate says: its names, its issuer and its expiry.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// How long before its expiry there is a warning of a certificate, and `oxpost cert` renews it.
pub(crate) const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 3600);

/// The names, issuer and expiry of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateInfo {
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// Its issuer, as the certificate writes it.
    pub issuer: String,
    /// When it expires.
    pub expires: SystemTime,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text. `None` if there is none that can be read.
    pub(crate) fn of_pem(pem: &[u8]) -> Option<Self> {
        Self::of(&first(pem)?)
    }

    /// Reads a certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
        Some(Self {
            names: names.into_iter().flatten().filter_map(name).collect(),
            issuer: parsed.issuer().to_string(),
            expires: time(parsed.validity().not_after.timestamp()),
        })
    }

    /// Whether it expires within [`EXPIRY_WARNING`], or has expired.
    pub(crate) fn expires_soon(&self, now: SystemTime) -> bool {
        self.expires <= now + EXPIRY_WARNING
    }

    /// The day on which it expires, in UTC.
    pub(crate) fn expiry_date(&self) -> String {
        day(self.expires)
    }

    /// Whether it is valid for all of these names.
    pub(crate) fn covers(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.names.iter().any(|has| has.eq_ignore_ascii_case(name)))
    }
}

/// The first certificate of a PEM text.
pub(crate) fn first(pem: &[u8]) -> Option<CertificateDer<'static>> {
    rustls_pemfile::certs(&mut &*pem).next()?.ok()
}

/// The day of a time, in UTC.
pub(crate) fn day(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}

/// Seconds since 1970. What is outside the years that can be printed ends there.
fn time(seconds: i64) -> SystemTime {
    const END_OF_9999: u64 = 253_402_300_799;
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default().min(END_OF_9999))
}
