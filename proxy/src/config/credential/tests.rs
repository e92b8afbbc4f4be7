//! Certificates and keys in every wrapping, and the error for each wrong one.

use std::fs;

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use tempfile::TempDir;

use super::*;

/// A folder with a certificate and its key in every wrapping, and the key of another certificate. What the shipped
/// configuration names is there by that name too.
pub(in crate::config) struct Files(pub(in crate::config) TempDir);

impl Files {
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    pub(in crate::config) fn in_folder(folder: TempDir) -> Self {
        let files = Self(folder);
        let (certificate, key) = pair(&rcgen::PKCS_RSA_SHA256);
        let (_, other) = pair(&rcgen::PKCS_RSA_SHA256);
        for name in ["app.crt", "oxpost-app.crt"] {
            files.write(name, certificate.pem());
        }
        for name in ["app.key", "oxpost-app.key"] {
            files.write(name, key.serialize_pem());
        }
        files.write("both.pem", format!("{}{}", key.serialize_pem(), certificate.pem()));
        files.write("other.key", other.serialize_pem());
        for name in ["passphrase", "oxpost-app.passphrase", "erp.password"] {
            files.write(name, "open sesame\r\n");
        }
        files.write("wrong", "guess");
        files.write("webhook-header.txt", "Authorization: Bearer of-the-example");
        for (name, algorithm, mac) in [
            ("oxpost-app.pfx", EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256),
            ("app.pfx", EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256),
            ("old.pfx", EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1),
        ] {
            let mut store = KeyStore::new();
            let chain = PrivateKeyChain::new(
                "1",
                PrivateKey::from_der(key.serialized_der()).unwrap(),
                [Certificate::from_der(certificate.der()).unwrap()],
            );
            store.add_entry("app", KeyStoreEntry::PrivateKeyChain(chain));
            let pfx = store.writer("open sesame").encryption_algorithm(algorithm).mac_algorithm(mac).write().unwrap();
            files.write(name, pfx);
        }
        files
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// Reads an application with these further keys.
    fn read(&self, keys: &str) -> Result<Credential, Wrong> {
        self.proven(keys).map(|proven| proven.credential)
    }

    fn proven(&self, keys: &str) -> Result<Proven, Wrong> {
        let text = format!("name = \"a\"\ntenant = \"t\"\nclient-id = \"c\"\n{keys}");
        credential(self.0.path(), &toml::from_str(&text).unwrap())
    }

    fn thumbprint(&self, keys: &str) -> String {
        match self.read(keys) {
            Ok(Credential::Certificate(certificate)) => certificate.in_use().thumbprint().to_owned(),
            other => panic!("{keys}: {other:?}"),
        }
    }
}

fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    (rcgen::CertificateParams::new(["app".to_owned()]).unwrap().self_signed(&key).unwrap(), key)
}

#[test]
fn one_certificate_in_every_wrapping_is_the_same() {
    let files = Files::new();
    let expected = files.thumbprint("certificate = \"app.crt\"\nprivate-key = \"app.key\"");
    assert_eq!(expected.len(), 40);
    for keys in [
        "certificate = \"both.pem\"",
        "certificate = \"app.crt\"\nprivate-key = \"app.key\"\nassertion = \"rs256\"",
        "pfx-file = \"app.pfx\"\npfx-passphrase-file = \"passphrase\"",
        "pfx-file = \"old.pfx\"\npfx-passphrase-file = \"passphrase\"\nassertion = \"ps256\"",
    ] {
        assert_eq!(files.thumbprint(keys), expected, "{keys}");
    }
    assert!(matches!(files.read(""), Ok(Credential::Secret)));
}

#[test]
fn next_certificate_is_read_in_every_wrapping() {
    let files = Files::new();
    let next = "next-pfx-file = \"app.pfx\"\nnext-pfx-passphrase-file = \"passphrase\"";
    for (keys, paths) in [
        (
            "certificate = \"both.pem\"\nnext-certificate = \"app.crt\"\nnext-private-key = \"app.key\"".to_owned(),
            [1, 2],
        ),
        (format!("certificate = \"app.crt\"\nprivate-key = \"app.key\"\n{next}"), [2, 2]),
    ] {
        let proven = files.proven(&keys).unwrap();
        let Credential::Certificate(certificate) = proven.credential else { panic!("{keys}") };
        assert!(certificate.next().is_some() && !certificate.is_next_in_use(), "{keys}");
        let slots: Vec<Slot> = proven.files.iter().map(CertificateFiles::slot).collect();
        assert_eq!(slots, [Slot::Current, Slot::Next], "{keys}");
        let counts: Vec<usize> = proven.files.iter().map(|files| files.paths().len()).collect();
        assert_eq!(counts, paths, "{keys}");
        assert!(proven.files.iter().all(|files| files.read().is_ok()), "{keys}");
    }
}

#[test]
fn what_cannot_be_used_is_named_with_its_key_and_a_remedy() {
    let files = Files::new();
    let (certificate, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    files.write("ec.pem", format!("{}{}", key.serialize_pem(), certificate.pem()));
    files.write("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n");
    files.write("noise", "no such thing");
    files.write("huge", vec![b'x'; FILE_LIMIT as usize + 1]);
    files.write("latin1", [0xe9]);
    for (keys, key, words) in [
        ("certificate = \"app.crt\"\nprivate-key = \"other.key\"", "private-key", "of two pairs"),
        ("certificate = \"app.crt\"", "certificate", "no private key"),
        ("certificate = \"app.key\"", "certificate", "no certificate"),
        ("certificate = \"none.crt\"", "certificate", "none.crt cannot be read"),
        ("certificate = \"huge\"", "certificate", "too large"),
        ("certificate = \"app.crt\"\nprivate-key = \"encrypted.key\"", "private-key", "openssl pkey"),
        ("certificate = \"ec.pem\"", "certificate", "RSA"),
        ("private-key = \"app.key\"", "private-key", "without `certificate`"),
        ("assertion = \"rs256\"", "assertion", "`certificate` or `pfx-file`"),
        ("pfx-passphrase-file = \"passphrase\"", "pfx-passphrase-file", "`pfx-file`"),
        ("pfx-file = \"app.pfx\"", "pfx-file", "pfx-passphrase-file"),
        ("pfx-file = \"app.pfx\"\npfx-passphrase-file = \"wrong\"", "pfx-passphrase-file", "not the passphrase"),
        ("pfx-file = \"app.pfx\"\npfx-passphrase-file = \"latin1\"", "pfx-passphrase-file", "UTF-8"),
        ("pfx-file = \"noise\"", "pfx-file", "PFX"),
        ("certificate = \"both.pem\"\nclient-secret-file = \"x\"", "certificate", "in one way"),
        ("federated-token-file = \"t\"\nmanaged-identity = \"azure-vm\"", "managed-identity", "in one way"),
        ("managed-identity-endpoint = \"http://localhost\"", "managed-identity-endpoint", "`managed-identity`"),
        ("managed-identity = \"azure-vm\"\nmanaged-identity-keys = \"x\"", "managed-identity-keys", "azure-arc"),
        (
            "managed-identity = \"azure-arc\"\nmanaged-identity-endpoint = \"http://10.0.0.1/\"",
            "managed-identity-endpoint",
            "on the machine itself",
        ),
        ("certificate = \"both.pem\"\npfx-file = \"app.pfx\"", "pfx-file", "in one way"),
        ("next-certificate = \"both.pem\"", "next-certificate", "without `certificate` or `pfx-file`"),
        ("certificate = \"both.pem\"\nnext-private-key = \"app.key\"", "next-private-key", "`next-certificate`"),
        ("certificate = \"both.pem\"\nnext-certificate = \"none\"", "next-certificate", "none cannot be read"),
        (
            "certificate = \"both.pem\"\nnext-certificate = \"app.crt\"\nnext-private-key = \"other.key\"",
            "next-private-key",
            "of two pairs",
        ),
        ("certificate = \"both.pem\"\nnext-pfx-file = \"app.pfx\"", "next-pfx-file", "next-pfx-passphrase-file ="),
        (
            "certificate = \"both.pem\"\nnext-pfx-file = \"a\"\nnext-certificate = \"b\"",
            "next-pfx-file",
            "remove one of them",
        ),
    ] {
        let (named, sentence) = files.read(keys).unwrap_err();
        assert!(named == key && sentence.contains(words), "{keys}\n→ {named}: {sentence}");
        assert!(!sentence.contains("open sesame"), "{sentence}");
    }
}

#[cfg(unix)]
#[test]
fn key_that_others_can_read_is_refused_with_the_command() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new();
    let set = |name: &str, mode| {
        fs::set_permissions(files.0.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let pem = "certificate = \"app.crt\"\nprivate-key = \"app.key\"";
    let pfx = "pfx-file = \"app.pfx\"\npfx-passphrase-file = \"passphrase\"";
    for (keys, name) in [(pem, "app.key"), (pfx, "app.pfx"), (pfx, "passphrase")] {
        set(name, 0o644);
        let (_, sentence) = files.read(keys).unwrap_err();
        assert!(sentence.contains("chmod o-rwx,g-w") && sentence.contains(name), "{sentence}");
        set(name, 0o640);
        assert!(files.read(keys).is_ok(), "a group of services may share {name}");
    }
    set("app.crt", 0o644);
    assert!(files.read(pem).is_ok(), "a certificate is no secret");
}
