//! `oxpost cert`, as it is typed: what it makes is trusted, renewed, and read by the running service; what others made is
//! left alone.

use std::path::Path;
use std::sync::Arc;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Client;
use crate::story::tenant;

async fn installed() -> Oxpost {
    let tenant = tenant().await;
    Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap()
}

async fn cert(oxpost: &Oxpost, more: &[&str]) -> String {
    let ran = oxpost.call(&[&["cert"], more].concat()).await.unwrap();
    assert_eq!(ran.status, Some(0), "{ran}");
    ran.text()
}

fn read(oxpost: &Oxpost, name: &str) -> String {
    std::fs::read_to_string(oxpost.folder().join("certs").join(name)).unwrap()
}

async fn refused(oxpost: &Oxpost, words: &str) {
    let before = ["oxpost.crt", "oxpost.key"].map(|name| std::fs::read(oxpost.folder().join("certs").join(name)).ok());
    let ran = oxpost.call(&["cert"]).await.unwrap();
    assert!(ran.status == Some(1) && ran.text().contains(words), "{ran}");
    let after = ["oxpost.crt", "oxpost.key"].map(|name| std::fs::read(oxpost.folder().join("certs").join(name)).ok());
    assert!(before == after, "a file was changed all the same");
}

#[tokio::test]
async fn a_certificate_is_made_once_and_again_when_it_lacks_a_name() {
    let oxpost = installed().await;
    let said = cert(&oxpost, &[]).await;
    for words in
        ["Created", "localhost", "127.0.0.1", "certutil -addstore -f Root", "update-ca-certificates", "security add"]
    {
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
    private(&oxpost.folder().join("certs/oxpost.key"));
    private(&oxpost.folder().join("certs/oxpost-ca.key"));
    let (authority, first) = (read(&oxpost, "oxpost-ca.crt"), read(&oxpost, "oxpost.crt"));
    assert!(cert(&oxpost, &[]).await.contains("Nothing to do"));
    assert_eq!(read(&oxpost, "oxpost.crt"), first);
    let said = cert(&oxpost, &["--name", "mail.contoso.com", "--name", "10.9.8.7"]).await;
    assert!(said.contains("Renewed") && said.contains("mail.contoso.com, 10.9.8.7"), "{said}");
    assert_ne!(read(&oxpost, "oxpost.crt"), first);
    assert!(cert(&oxpost, &[]).await.contains("Nothing to do"), "names that were asked for stay");
    assert_eq!(read(&oxpost, "oxpost-ca.crt"), authority, "no mail program has to trust another one");
    let ran = oxpost.call(&["cert", "--name", "two words"]).await.unwrap();
    assert!(ran.status == Some(1) && ran.text().contains("neither a DNS name nor an address"), "{ran}");
    // A key that no longer fits is replaced with its certificate; a file that is no such key is not ours.
    std::fs::copy(oxpost.folder().join("certs/oxpost-ca.key"), oxpost.folder().join("certs/oxpost.key")).unwrap();
    assert!(cert(&oxpost, &[]).await.contains("Renewed"));
    std::fs::write(oxpost.folder().join("certs/oxpost.key"), "the key of a store").unwrap();
    refused(&oxpost, "not the key of a certificate").await;
}

#[tokio::test]
async fn what_others_made_is_left_alone() {
    let oxpost = installed().await;
    let certs = oxpost.folder().join("certs");
    std::fs::create_dir(&certs).unwrap();
    let foreign = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(certs.join("oxpost.key"), foreign.signing_key.serialize_pem()).unwrap();
    refused(&oxpost, "not changed").await;
    std::fs::write(certs.join("oxpost.crt"), foreign.cert.pem()).unwrap();
    refused(&oxpost, "was not created by this command").await;
    std::fs::write(certs.join("oxpost.crt"), "not a certificate").unwrap();
    refused(&oxpost, "it cannot be read").await;
    for name in ["oxpost.crt", "oxpost.key"] {
        std::fs::remove_file(certs.join(name)).unwrap();
    }
    cert(&oxpost, &[]).await;
    let key = std::fs::read(certs.join("oxpost-ca.key")).unwrap();
    std::fs::remove_file(certs.join("oxpost-ca.key")).unwrap();
    refused(&oxpost, "oxpost-ca.key, is missing").await;
    std::fs::write(certs.join("oxpost-ca.key"), foreign.signing_key.serialize_pem()).unwrap();
    refused(&oxpost, "do not match").await;
    std::fs::write(certs.join("oxpost-ca.key"), key).unwrap();
    cert(&oxpost, &[]).await;
}

/// A run that was interrupted while it changed authorities is completed by the next one.
#[tokio::test]
async fn what_the_authority_before_has_issued_is_ours_too() {
    let oxpost = installed().await;
    cert(&oxpost, &[]).await;
    let certs = oxpost.folder().join("certs");
    for ending in ["crt", "key"] {
        std::fs::rename(certs.join(format!("oxpost-ca.{ending}")), certs.join(format!("oxpost-ca-before.{ending}")))
            .unwrap();
    }
    let said = cert(&oxpost, &[]).await;
    assert!(said.contains("the certificate authority, valid until") && said.contains("Renewed"), "{said}");
    assert!(cert(&oxpost, &[]).await.contains("Nothing to do"));
}

#[tokio::test]
async fn a_renewed_certificate_is_read_and_no_session_ends() {
    let tenant = tenant().await;
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    settings.more = "[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n\
                     certificate = \"certs/oxpost.crt\"\nprivate-key = \"certs/oxpost.key\"\n"
        .into();
    let oxpost = Oxpost::new(&settings).unwrap();
    let failed = oxpost.call(&["check"]).await.unwrap();
    assert!(failed.status == Some(1) && failed.text().contains("oxpost.crt"), "{failed}");
    cert(&oxpost, &[]).await;
    let checked = oxpost.call(&["check"]).await.unwrap().text();
    assert!(checked.contains("certificate for ") && checked.contains("localhost"), "{checked}");
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    let line = running.wait_for_log(r#""protocol":"IMAP","tls":"Implicit""#).await.unwrap();
    let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_owned();

    let secure = async |name: &'static str| -> Client<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(&address).await.unwrap();
        let tls = trusting(&read(&oxpost, "oxpost-ca.crt")).connect(ServerName::try_from(name).unwrap(), tcp).await;
        Client::over(tls.unwrap())
    };
    let mut before = secure("127.0.0.1").await;
    before.say(&format!("a LOGIN {ALICE} \"{password}\"")).await;
    assert!(before.until("a ").await.starts_with("a OK"));
    cert(&oxpost, &["--name", "mail.contoso.com"]).await;
    running.wait_for_log("certificate reloaded").await.unwrap();
    let mut after = secure("mail.contoso.com").await;
    after.say("a CAPABILITY").await;
    after.until("a OK").await;
    before.say("b NOOP").await;
    before.until("b OK").await;
    drop((before, after));
    running.stop().await.unwrap();
}

fn trusting(authority: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[cfg(unix)]
fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{}", file.display());
}

/// Its access list is that of its folder.
#[cfg(not(unix))]
fn private(_: &Path) {}
