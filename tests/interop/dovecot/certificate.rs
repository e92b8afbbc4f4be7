//! A certificate authority for one server, and the server's certificate.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// All of it as PEM.
pub struct Certificate {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

/// Makes a certificate for these names and addresses.
pub fn issue(names: &[&str]) -> Result<Certificate, rcgen::Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Dovecot of the interop tests");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    Ok(Certificate { authority: authority_pem, certificate: certificate.pem(), key: key.serialize_pem() })
}
