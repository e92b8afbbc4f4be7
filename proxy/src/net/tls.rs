//! TLS on both sides: one crypto provider, certificates always verified, TLS 1.2 the floor.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxpost_token_store::text_file::{TextError, TextFile};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Servers whose TLS sessions are remembered: there are a handful of hosts.
const REMEMBERED_SERVERS: usize = 32;

/// Longest PEM file read, in bytes. The certificate authorities of a whole system have a tenth of it.
const PEM_LIMIT: u64 = 4 * 1024 * 1024;

/// What can be wrong with a certificate, a key, or the trust in them.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// A file cannot be read, or holds something else than a certificate or key.
    File(TextError),
    /// The certificate cannot be used with this key, or at all.
    Unusable(PathBuf, rustls::Error),
    /// The system has no certificate authorities and no `ca-file` is configured.
    NoRoots(rustls::Error),
    /// A certificate authority in `ca-file` cannot be used.
    BadAuthority(PathBuf, String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => write!(f, "{error}."),
            Self::Unusable(path, error) => {
                write!(
                    f,
                    "the certificate in {} cannot be used: {error}. Check that `private-key` belongs to it.",
                    path.display()
                )
            }
            Self::NoRoots(error) => write!(
                f,
                "this system has no certificate authorities to trust ({error}). Install them (Debian, Ubuntu: apt install \
                 ca-certificates) or name a file under [trust] ca-file."
            ),
            Self::BadAuthority(path, error) => {
                write!(f, "a certificate authority in {} cannot be used: {error}.", path.display())
            }
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    /// The file that cannot be used, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(error) => error.path(),
            Self::Unusable(path, _) | Self::BadAuthority(path, _) => Some(path),
            Self::NoRoots(_) => None,
        }
    }
}

/// The one crypto provider of the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// How mail servers and the authority are reached: TLS 1.2 or newer, verified against the system's certificate authorities
/// and those of a file.
///
/// # Errors
/// There are no trusted authorities, or the file cannot be used.
pub(crate) fn client_config(ca_file: Option<&Path>, system_roots: bool) -> Result<ClientConfig, TlsError> {
    client_config_with(verifier(ca_file, system_roots)?)
}

/// The verifier of the certificates of mail servers.
///
/// # Errors
/// There are no trusted authorities, or the file cannot be used.
pub(crate) fn verifier(ca_file: Option<&Path>, system_roots: bool) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    Ok(match (ca_file, system_roots) {
        // No file: `Config` has made sure that the system's are wanted then.
        (None, _) => system_verifier(Vec::new()).map_err(TlsError::NoRoots)?,
        (Some(path), true) => {
            let own = certificates(path)?;
            check_authorities(path, &own)?;
            match system_verifier(own) {
                Ok(verifier) => verifier,
                // A bare container has no authorities of its own; the file is enough then.
                Err(error) => {
                    tracing::warn!(%error, "the system has no certificate authorities; only those of ca-file are trusted");
                    file_verifier(path)?
                }
            }
        }
        (Some(path), false) => file_verifier(path)?,
    })
}

/// TLS 1.2 or newer, with certificates checked by this verifier.
///
/// # Errors
/// The crypto provider knows no such version.
pub(crate) fn client_config_with(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::NoRoots)?
        .dangerous() // the name of the method; the verifier is the platform's or webpki's, and always on
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(REMEMBERED_SERVERS);
    Ok(config)
}

/// How a TLS listener answers.
///
/// # Errors
/// Certificate or key cannot be read or do not belong together.
pub(crate) fn server_config(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let key = certified_key(certificate, key)?;
    server_config_with(Arc::new(SingleCertAndKey::from(key)))
        .map_err(|error| TlsError::Unusable(certificate.to_owned(), error))
}

/// How a TLS listener answers with a certificate that may change.
///
/// # Errors
/// The cryptographic provider does not fit.
pub(crate) fn server_config_with(certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    Ok(builder.with_no_client_auth().with_cert_resolver(certificate))
}

/// A certificate chain and its key, which belong together.
///
/// # Errors
/// They cannot be read, or do not.
pub(crate) fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = (certificates(certificate)?, private_key(key)?);
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| TlsError::Unusable(certificate.to_owned(), error))
}

fn system_verifier(extra: Vec<CertificateDer<'static>>) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider())?;
    Ok(Arc::new(verifier))
}

fn file_verifier(path: &Path) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let roots = check_authorities(path, &certificates(path)?)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| TlsError::BadAuthority(path.to_owned(), error.to_string()))?;
    Ok(verifier)
}

fn check_authorities(path: &Path, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|error| TlsError::BadAuthority(path.to_owned(), error.to_string()))?;
    }
    Ok(roots)
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    TextFile::open(path).and_then(|file| file.pem(PEM_LIMIT)?.certificates()).map_err(TlsError::File)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    TextFile::open(path).and_then(|file| file.pem(PEM_LIMIT)?.private_key()).map_err(TlsError::File)
}
