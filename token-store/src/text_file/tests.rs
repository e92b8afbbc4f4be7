//! Every shape of a text, and every kind of PEM file.

use std::{fs, path::PathBuf};

use super::{
    shapes::{self, Reading},
    *,
};

const VALUE: &str = "Aa1~the-value.of_a-secret";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Asserts that a shape is read as it must be, and that no error shows the text.
fn assert_reading(shape: &shapes::Shape, wanted: Reading, read: Result<&str, String>, meant: &str) {
    match (wanted, read) {
        (Reading::Meant, read) => assert_eq!(read.as_deref(), Ok(meant), "{}", shape.name),
        (Reading::Named(words), Err(error)) => {
            assert!(error.contains(words), "{}: {error}", shape.name);
            assert!(!error.contains("Aa1~") && !error.contains("secret"), "{}: {error}", shape.name);
        }
        (Reading::Named(_), Ok(_)) => panic!("{} was accepted", shape.name),
        (Reading::Any, _) => {}
    }
}

#[test]
fn every_shape_of_a_line_is_read_or_named() {
    let folder = Folder::new();
    for shape in shapes::of(VALUE) {
        let path = folder.write("value.txt", &shape.bytes);
        let in_file = TextFile::open(&path).unwrap().text(1000).and_then(|text| text.value("the Value"));
        let piped = from_pipe(&shape.bytes[..], 1000).and_then(|text| text.value("the Value"));
        for (read, origin) in [(in_file, path.display().to_string()), (piped, "standard input".to_owned())] {
            let read = read.map_err(|error| {
                assert!(error.to_string().contains(&origin), "{error}");
                error.to_string()
            });
            let read = read.as_ref().map(|value| value.reveal_str().unwrap()).map_err(Clone::clone);
            assert_reading(&shape, shape.one_line, read, VALUE);
        }
    }
}

#[test]
fn every_shape_of_several_lines_is_read_or_named() {
    let folder = Folder::new();
    let meant = "[log]\nlevel = \"info\"\n";
    for shape in shapes::of(meant) {
        let read = TextFile::open(&folder.write("proxy.toml", &shape.bytes)).unwrap().text(1000);
        let read = read.map(|text| format!("{}\n", text.reveal().trim())).map_err(|error| error.to_string());
        assert_reading(&shape, shape.several_lines, read.as_deref().map_err(Clone::clone), meant);
    }
}

#[test]
fn faults_name_the_line_and_what_to_do() {
    let folder = Folder::new();
    let error = |bytes: &[u8]| TextFile::open(&folder.write("a.txt", bytes)).unwrap().text(100).err().unwrap();
    assert_eq!(error(b"one\r\ntwo\r\nthr\xe9e\r\n").line(), Some(3));
    assert_eq!(error(b"one\n\x00\x01\x02").line(), Some(2));
    assert!(error(&[b'x'; 101]).to_string().contains("more than 100 bytes"));
    assert!(error(b"\xe9").to_string().contains("Save as"));
    let missing = TextFile::open(&folder.0.path().join("none")).unwrap_err();
    assert!(missing.is_missing() && missing.to_string().contains("none cannot be read"), "{missing}");
    let piped = from_pipe(&b"\xff\xfea\0"[..], 100).err().unwrap().to_string();
    assert!(piped.contains("$OutputEncoding") && piped.contains("prompt"), "{piped}");
}

/// The command of the message is run as it is.
#[cfg(unix)]
#[test]
fn pasted_command_converts_the_file() {
    let folder = Folder::new();
    let mut converted = 0;
    for shape in shapes::of("line\n") {
        let path = folder.write("it's a file.txt", &shape.bytes);
        let Err(error) = TextFile::open(&path).unwrap().text(100) else { continue };
        let error = error.to_string();
        let Some((_, command)) = error.split_once("run `") else { continue };
        let command = command.strip_suffix('`').unwrap();
        let status = std::process::Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(status.success(), "{command}");
        let text = TextFile::open(&path).unwrap().text(100).unwrap();
        assert!(text.reveal().starts_with("line\n"), "{}", shape.name);
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1, "nothing is left next to it");
        converted += 1;
    }
    assert_eq!(converted, 5);
}

#[test]
fn latin1_is_read_where_a_format_allows_it() {
    let folder = Folder::new();
    let read = |bytes: &[u8]| {
        let read = TextFile::open(&folder.write("davmail.properties", bytes)).unwrap().text_or_latin1(100);
        read.map(|text| text.reveal().to_owned()).map_err(|error| error.to_string())
    };
    assert_eq!(read(b"\xef\xbb\xbfa=1\r\nb=2").as_deref(), Ok("a=1\nb=2"));
    assert_eq!(read(b"a=\xe9\r\nb=2").as_deref(), Ok("a=é\nb=2"));
    assert!(read(b"\xff\xfea\0").unwrap_err().contains("UTF-16"));
}

#[test]
fn lines_of_a_pipe_are_read_one_by_one() {
    let mut pipe = &b"\xef\xbb\xbffirst \r\nsecond\nlast"[..];
    let mut next = || next_line(&mut pipe, 100).map(|line| line.map(|line| line.reveal_str().unwrap().to_owned()));
    assert_eq!(next().unwrap().as_deref(), Some("first "));
    assert_eq!(next().unwrap().as_deref(), Some("second"));
    assert_eq!(next().unwrap().as_deref(), Some("last"));
    assert_eq!(next().unwrap(), None);
    assert!(next_line(&mut &[b'x'; 101][..], 100).is_err());
    assert!(next_line(&mut &b"\xff\xfea\0\n\0"[..], 100).unwrap_err().to_string().contains("UTF-16"));
}

#[test]
fn variable_is_read_like_a_file() {
    // Cargo sets it for every test.
    assert_eq!(variable("CARGO_PKG_NAME", "the name").unwrap().unwrap().reveal(), b"oxpost-token-store");
    for unset in ["", "A=B", "A\0B", "OXPOST_TEST_NOBODY_SETS_THIS"] {
        assert_eq!(variable(unset, "the name"), Ok(None), "{unset}");
    }
    let origin = Origin::Variable("OXPOST_SECRET".into());
    let error = Text::of(origin, b"\"Aa1~\"").unwrap().value("the Value").unwrap_err().to_string();
    assert!(error.starts_with("the environment variable `OXPOST_SECRET` has quotes around the Value"), "{error}");
}

/// A certificate and its key, PEM.
fn pair() -> (String, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key)
}

fn pem(bytes: &[u8]) -> Result<Pem, String> {
    Pem::of(Origin::File("a.pem".into()), bytes).map_err(|error| error.to_string())
}

#[test]
fn pem_is_read_in_every_shape_or_named() {
    let (certificate, key) = pair();
    let key = key.serialize_pem();
    for shape in shapes::of(&certificate) {
        let read = pem(&shape.bytes).and_then(|pem| pem.certificates().map_err(|error| error.to_string()));
        let read = read.map(|found| found.len().to_string());
        assert_reading(&shape, shape.several_lines, read.as_deref().map_err(Clone::clone), "1");
    }
    for shape in shapes::of(&key) {
        let read = pem(&shape.bytes).and_then(|pem| pem.private_key().map_err(|error| error.to_string()));
        let body = key.lines().nth(1).unwrap();
        assert!(read.as_ref().err().is_none_or(|error| !error.contains(body)), "{}", shape.name);
        let read = read.map(|_| "1".to_owned());
        assert_reading(&shape, shape.several_lines, read.as_deref().map_err(Clone::clone), "1");
    }
    let indented: String = certificate.lines().map(|line| format!("    {line}\n")).collect();
    assert_eq!(pem(indented.as_bytes()).unwrap().certificates().unwrap().len(), 1);
    let both = pem(format!("{key}{certificate}{certificate}").as_bytes()).unwrap();
    assert_eq!((both.certificates().unwrap().len(), both.private_key().is_ok()), (2, true));
}

#[test]
fn other_content_than_pem_is_named_with_the_remedy() {
    let (certificate, key) = pair();
    let section = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
    let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(certificate.as_bytes());
    let der: rustls::pki_types::CertificateDer<'_> = der.unwrap();
    let pfx = [0x30, 0x82, 0x01, 0x00, 0x02, 0x01, 0x03, 0x30];
    for (bytes, of_certificate, of_key) in [
        (certificate.clone().into_bytes(), "", "holds no private key, but a certificate"),
        (key.serialize_pem().into_bytes(), "holds no certificate, but a private key", ""),
        (section("ENCRYPTED PRIVATE KEY").into_bytes(), "but a private key", "openssl pkey -in a.pem -out a.plain.key"),
        (traditional.into(), "but a private key", "encrypted with a passphrase"),
        (section("CERTIFICATE REQUEST").into_bytes(), "signing request", "signing request"),
        (section("NEW CERTIFICATE REQUEST").into_bytes(), "signing request", "signing request"),
        (section("PUBLIC KEY").into_bytes(), "but a public key", "but a public key"),
        (section("OPENSSH PRIVATE KEY").into_bytes(), "key of OpenSSH", "key of OpenSSH"),
        (section("PKCS7").into_bytes(), "openssl pkcs7 -in a.pem -print_certs", "PKCS#7"),
        (section("X509 CRL").into_bytes(), "holds no certificate", "holds no private key"),
        (der.to_vec(), "openssl x509 -inform der", "DER"),
        (key.serialize_der(), "DER", "openssl pkey -inform der"),
        (pfx.to_vec(), "openssl pkcs12", "openssl pkcs12"),
        (certificate.replace('\n', "\\n").into_bytes(), "as in JSON", "as in JSON"),
        (b"hello".to_vec(), "-----BEGIN", "-----BEGIN"),
        (b"\r\n".to_vec(), "is empty; write the certificate", "is empty; write the private key"),
        (b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec(), "damaged", "but a certificate"),
    ] {
        let pem = pem(&bytes).unwrap();
        for (error, words) in [(pem.certificates().err(), of_certificate), (pem.private_key().err(), of_key)] {
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(words) && error.is_empty() == words.is_empty(), "{words}: {error}");
            assert!(!error.contains("MAA="), "{error}");
        }
    }
}
