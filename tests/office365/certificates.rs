//! The tenant's own certificate authority, and the certificates its services show.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Error;
use super::behaviour::{Behaviour, Certificate};
use super::lock;

/// The names a client may use for the simulated services.
const NAMES: [&str; 6] = [
    "localhost",
    "127.0.0.1",
    "outlook.office365.com",
    "smtp.office365.com",
    "login.microsoftonline.com",
    "login.microsoft.com",
];

/// The authority's certificate and a TLS configuration that serves whichever leaf the behaviour asks for.
pub(super) struct Certificates {
    pub(super) ca_pem: String,
    pub(super) server: Arc<ServerConfig>,
}

pub(super) fn issue(behaviour: Arc<Mutex<Behaviour>>) -> Result<Certificates, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ours = Authority::new("Contoso simulated tenant CA")?;
    let stranger = Authority::new("Some other CA")?;
    let resolver = Leaves {
        right: ours.leaf(&NAMES, &provider)?,
        wrong_name: ours.leaf(&["mail.fabrikam.example"], &provider)?,
        other_authority: stranger.leaf(&NAMES, &provider)?,
        behaviour,
    };
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    Ok(Certificates { ca_pem: ours.pem, server: Arc::new(server) })
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    fn leaf(&self, names: &[&str], provider: &rustls::crypto::CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone())?;
        params.distinguished_name.push(DnType::CommonName, names.first().map_or("localhost", String::as_str));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        Ok(Arc::new(CertifiedKey::from_der(chain, private, provider)?))
    }
}

struct Leaves {
    right: Arc<CertifiedKey>,
    wrong_name: Arc<CertifiedKey>,
    other_authority: Arc<CertifiedKey>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Leaves")
    }
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = match lock(&self.behaviour).certificate {
            Certificate::Right => &self.right,
            Certificate::WrongName => &self.wrong_name,
            Certificate::OtherAuthority => &self.other_authority,
        };
        Some(Arc::clone(chosen))
    }
}
