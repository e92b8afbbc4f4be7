//! A certificate authority for one site, and what it issues.
//!
//! Keys are ECDSA P-256: Windows before 10 and Server 2016 knows no RSA suite that is still considered safe, but it knows
//! ECDHE_ECDSA with AES-GCM. The authority is for servers only, and may issue no other authority.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::net::certificate::info::{CertificateInfo, day, first};

/// How long an authority lives: every machine must trust the next one, too.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * DAY);

/// How long a certificate lives. Apple's systems accept no longer ones, whichever authority issued them
/// (<https://support.apple.com/103769>: 825 days).
const CERTIFICATE_LIFE: Duration = Duration::from_secs(820 * DAY);

/// Clocks of clients may be behind.
const BACKDATED: Duration = Duration::from_secs(DAY);

const DAY: u64 = 24 * 3600;

/// A certificate and its private key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// The key is nobody's business.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Why a certificate cannot be issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CannotIssue {
    /// It is no name.
    #[error("`{0}` is neither a DNS name nor an address; write it like mail-gateway.contoso.com or 192.168.1.10")]
    BadName(String),
    /// The files do not belong together, or hold something else.
    #[error("its certificate and key do not match, or are damaged ({0})")]
    BadAuthority(String),
    /// The cryptographic library does not do it.
    #[error("the cryptographic library failed ({0}); try again")]
    Library(rcgen::Error),
}

/// An authority.
#[derive(Debug)]
pub(crate) struct Authority {
    pair: Pair,
    info: CertificateInfo,
}

impl Authority {
    /// Makes a new one, for a site of this name.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub(crate) fn make(site: &str, now: SystemTime) -> Result<Self, CannotIssue> {
        let key = KeyPair::generate().map_err(CannotIssue::Library)?;
        let mut wanted = CertificateParams::default();
        wanted.distinguished_name = named(&format!("Oxpost at {site}, made {}", day(now)));
        wanted.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // It is trusted for servers, and for no code or mail that is signed with a stolen key.
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        wanted.not_before = (now - BACKDATED).into();
        wanted.not_after = (now + AUTHORITY_LIFE).into();
        let certificate = wanted.self_signed(&key).map_err(CannotIssue::Library)?.pem();
        Self::of(Pair { certificate, key: key.serialize_pem() })
    }

    /// One that was made before.
    ///
    /// # Errors
    /// These are not the two halves of one.
    pub(crate) fn of(pair: Pair) -> Result<Self, CannotIssue> {
        let bad = |why: &dyn fmt::Display| CannotIssue::BadAuthority(why.to_string());
        let info = CertificateInfo::of_pem(pair.certificate.as_bytes()).ok_or_else(|| bad(&"no certificate"))?;
        let key = KeyPair::from_pem(&pair.key).map_err(|error| bad(&error))?;
        let certificate = first(pair.certificate.as_bytes()).ok_or_else(|| bad(&"no certificate"))?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| bad(&error))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(bad(&"another key"));
        }
        if !parsed.is_ca() {
            return Err(bad(&"it is not a certificate authority"));
        }
        Ok(Self { pair, info })
    }

    /// Its files.
    pub(crate) fn pair(&self) -> &Pair {
        &self.pair
    }

    /// What its own certificate says.
    pub(crate) fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// Its certificate's SHA-256 fingerprint, as systems show it.
    pub(crate) fn fingerprint(&self) -> String {
        let certificate = first(self.pair.certificate.as_bytes()).unwrap_or_else(|| Vec::new().into());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    /// Issues a certificate for a server of these names and addresses.
    ///
    /// # Errors
    /// One of them is no name.
    pub(crate) fn issue(&self, names: &[String], now: SystemTime) -> Result<Pair, CannotIssue> {
        for name in names {
            ServerName::try_from(name.as_str()).map_err(|_| CannotIssue::BadName(name.clone()))?;
        }
        let authority_key = KeyPair::from_pem(&self.pair.key).map_err(CannotIssue::Library)?;
        let issuer = Issuer::from_ca_cert_pem(&self.pair.certificate, authority_key).map_err(CannotIssue::Library)?;
        let key = KeyPair::generate().map_err(CannotIssue::Library)?;
        let mut wanted = CertificateParams::new(names).map_err(CannotIssue::Library)?;
        wanted.distinguished_name = named(names.first().map_or("oxpost", String::as_str));
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        wanted.use_authority_key_identifier_extension = true;
        wanted.not_before = (now - BACKDATED).into();
        wanted.not_after = (now + CERTIFICATE_LIFE).min(self.info.expires).into();
        let certificate = wanted.signed_by(&key, &issuer).map_err(CannotIssue::Library)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Whether it has issued this certificate, PEM.
    pub(crate) fn has_issued(&self, pem: &[u8]) -> bool {
        let (Some(own), Some(other)) = (first(self.pair.certificate.as_bytes()), first(pem)) else { return false };
        let (Ok((_, own)), Ok((_, other))) = (X509Certificate::from_der(&own), X509Certificate::from_der(&other))
        else {
            return false;
        };
        other.verify_signature(Some(own.public_key())).is_ok()
    }
}

fn named(name: &str) -> DistinguishedName {
    // RFC 5280, appendix A: at most 64 characters.
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::pki_types::UnixTime;

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn certificate_is_trusted_where_its_authority_is() {
        let authority = Authority::make("gateway.contoso.com", now()).unwrap();
        let wanted = names(&["gateway.contoso.com", "localhost", "192.168.1.10", "::1"]);
        let pair = authority.issue(&wanted, now()).unwrap();
        let info = CertificateInfo::of_pem(pair.certificate.as_bytes()).unwrap();
        assert_eq!(info.names, wanted);
        assert!(info.covers(&names(&["LOCALHOST", "::1"])) && !info.covers(&names(&["localhost", "other"])));
        assert!(info.issuer.contains("Oxpost at gateway.contoso.com, made 2027-01-15"), "{}", info.issuer);
        assert_eq!(info.expires, now() + CERTIFICATE_LIFE);
        assert!(
            !info.expires_soon(now()) && info.expires_soon(now() + CERTIFICATE_LIFE - Duration::from_secs(29 * DAY))
        );

        let mut roots = RootCertStore::empty();
        roots.add(first(authority.pair().certificate.as_bytes()).unwrap()).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crate::net::tls::provider()).build().unwrap();
        let certificate = first(pair.certificate.as_bytes()).unwrap();
        let trusted = |name: &str, at: SystemTime| {
            let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
            use rustls::client::danger::ServerCertVerifier as _;
            verifier.verify_server_cert(&certificate, &[], &ServerName::try_from(name).unwrap(), &[], at).is_ok()
        };
        for name in &wanted {
            assert!(trusted(name, now()), "{name}");
        }
        assert!(!trusted("other.contoso.com", now()));
        assert!(!trusted("localhost", now() + CERTIFICATE_LIFE + Duration::from_secs(1)));
    }

    #[test]
    fn it_knows_its_own() {
        let (one, other) = (Authority::make("a", now()).unwrap(), Authority::make("a", now()).unwrap());
        let pair = one.issue(&names(&["localhost"]), now()).unwrap();
        let again = Authority::of(one.pair().clone()).unwrap();
        assert!(again.has_issued(pair.certificate.as_bytes()));
        assert!(!other.has_issued(pair.certificate.as_bytes()), "of the same name, with another key");
        assert!(!one.has_issued(b"no certificate"));
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.fingerprint().len(), 32 * 3 - 1);
        let mixed = Pair { certificate: one.pair().certificate.clone(), key: other.pair().key.clone() };
        assert!(matches!(Authority::of(mixed), Err(CannotIssue::BadAuthority(_))));
        assert!(matches!(Authority::of(pair), Err(CannotIssue::BadAuthority(_))), "no authority");
    }

    #[test]
    fn a_certificate_does_not_outlive_its_authority() {
        let authority = Authority::make("a", now()).unwrap();
        let late = now() + AUTHORITY_LIFE - Duration::from_secs(100 * DAY);
        let pair = authority.issue(&names(&["localhost"]), late).unwrap();
        assert_eq!(CertificateInfo::of_pem(pair.certificate.as_bytes()).unwrap().expires, authority.info().expires);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let authority = Authority::make("a", now()).unwrap();
        for name in ["", "two words", "https://x", "*.contoso.com", "192.168.1.0/24"] {
            let refused = authority.issue(&names(&["localhost", name]), now());
            assert!(matches!(refused, Err(CannotIssue::BadName(bad)) if bad == name), "{name}");
        }
    }
}
