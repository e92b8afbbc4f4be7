//! The proof that goes with a request.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{endpoint::Reply, *};
use crate::{
    Algorithm, Application, ApplicationCertificate, BadCertificate, Credential, ErrorKind, SigningCertificate,
    TokenError, connect_client_credentials,
};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A certificate that is good from the start of every test on, for a year.
pub(super) fn certificate() -> (Vec<u8>, Secret) {
    certificate_until(start() + YEAR)
}

/// The same, until then.
pub(super) fn certificate_until(expires: SystemTime) -> (Vec<u8>, Secret) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut parameters = rcgen::CertificateParams::new(["app".to_owned()]).unwrap();
    (parameters.not_before, parameters.not_after) = (start().into(), expires.into());
    (parameters.self_signed(&key).unwrap().der().to_vec(), Secret::new(key.serialized_der()))
}

fn with(bench: &Bench, credential: Credential) -> Application {
    Application { credential, ..application(&bench.endpoint) }
}

async fn connect(bench: &Bench, application: &Application) -> Result<(), TokenError> {
    let (account, clock) = (bench.admitted.account(), bench.shared_clock());
    connect_client_credentials(&http_client(), &bench.store, application, account, &clock).await
}

fn read(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn certificate_signs_a_fresh_assertion_and_sends_no_secret() {
    let bench = Bench::cold().await;
    let (der, key) = certificate();
    for (algorithm, name, thumbprint) in [(Algorithm::Ps256, "PS256", "x5t#S256"), (Algorithm::Rs256, "RS256", "x5t")] {
        let signing = SigningCertificate::new(&der, &key, algorithm).unwrap();
        let application = with(&bench, Credential::Certificate(ApplicationCertificate::new(signing, None)));
        let mut statements = Vec::new();
        for _ in 0..2 {
            bench.endpoint.then(Reply::tokens("at-1", None));
            connect(&bench, &application).await.unwrap();
            let request = bench.endpoint.requests() - 1;
            assert_eq!(bench.endpoint.sent(request, "client_secret"), None, "the store has one");
            assert_eq!(
                bench.endpoint.sent(request, "client_assertion_type").unwrap(),
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            statements.push(bench.endpoint.sent(request, "client_assertion").unwrap());
        }
        assert_ne!(statements[0], statements[1]);
        let parts: Vec<&str> = statements[0].split('.').collect();
        let (header, claims) = (read(parts[0]), read(parts[1]));
        assert_eq!((&header["alg"], header.as_object().unwrap().len()), (&name.into(), 3));
        assert!(header[thumbprint].is_string(), "{header}");
        assert_eq!(claims["aud"], application.token_url.as_str());
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["nbf"].as_u64().unwrap(), 600);
    }
}

#[tokio::test]
async fn certificate_outside_its_period_sends_no_request() {
    let bench = Bench::cold().await;
    let (der, key) = certificate();
    let signing = SigningCertificate::new(&der, &key, Algorithm::Ps256).unwrap();
    let application = with(&bench, Credential::Certificate(ApplicationCertificate::new(signing, None)));
    bench.clock.advance(YEAR);
    let error = connect(&bench, &application).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("expired on"), "{error}");
    bench.clock.set(start() - Duration::from_secs(1));
    let error = connect(&bench, &application).await.unwrap_err();
    assert!(error.to_string().contains("not valid yet") && error.to_string().contains("clock"), "{error}");
    assert_eq!(bench.endpoint.requests(), 0);
}

#[test]
fn only_a_pair_of_rsa_is_taken() {
    let (der, key) = certificate();
    let (other, _) = certificate();
    let of = |der: &[u8], key: &Secret| SigningCertificate::new(der, key, Algorithm::Ps256).map(drop);
    assert_eq!(of(&der, &key), Ok(()));
    assert_eq!(of(&other, &key), Err(BadCertificate::NotAPair));
    assert_eq!(of(b"no certificate", &key), Err(BadCertificate::NotACertificate));
    let ec = rcgen::KeyPair::generate().unwrap();
    assert_eq!(of(&der, &Secret::new(ec.serialized_der())), Err(BadCertificate::NotRsa));
    let signing = SigningCertificate::new(&der, &key, Algorithm::Ps256).unwrap();
    assert_eq!(signing.expires(), start() + YEAR);
    assert!(!format!("{signing:?}").contains("key"), "{signing:?}");
}
