//! A certificate authority for one server on this machine, and the server's certificate.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// All of it as PEM.
pub struct Certificate {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

/// Makes a certificate for localhost and 127.0.0.1, of a new authority.
pub fn issue() -> Certificate {
    make().expect("a certificate can be made")
}

fn make() -> Result<Certificate, rcgen::Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Oxpost interop tests");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    Ok(Certificate { authority: authority_pem, certificate: certificate.pem(), key: key.serialize_pem() })
}
