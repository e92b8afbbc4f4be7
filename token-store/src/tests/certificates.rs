//! The certificate of an application is replaced while it is in use, and the next one takes the place of the current one.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    credential::{certificate, certificate_until},
    endpoint::Reply,
    *,
};
use crate::{Algorithm, ApplicationCertificate, Credential, ErrorKind, SecretExpiry, SigningCertificate};

const NOT_REGISTERED: u32 = 700_027;
const REVOKED: u32 = 7_000_214;
const OUTSIDE_VALIDITY: u32 = 1_000_502;
const CLOCK: u32 = 700_024;

/// A certificate, and what an assertion calls it.
struct Named {
    signing: SigningCertificate,
    name: String,
}

impl Named {
    fn new((der, key): (Vec<u8>, Secret)) -> Self {
        let signing = SigningCertificate::new(&der, &key, Algorithm::Ps256).unwrap();
        Self { signing, name: URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &der)) }
    }
}

/// An account whose application has these certificates, and a node that serves it.
struct Story {
    bench: Bench,
    certificate: ApplicationCertificate,
    tokens: Tokens,
}

impl Story {
    async fn new(grant: Grant, current: &Named, next: Option<&Named>) -> Self {
        let bench = match grant {
            Grant::SignIn => Bench::signed_in().await,
            _ => Bench::new(fresh_store().await, grant).await,
        };
        bench.endpoint.always(Reply::tokens("at-1", (grant == Grant::SignIn).then_some("rt-1")));
        let certificate = ApplicationCertificate::new(current.signing.clone(), next.map(|next| next.signing.clone()));
        let tokens = Self::node(&bench, &certificate);
        Self { bench, certificate, tokens }
    }

    fn node(bench: &Bench, certificate: &ApplicationCertificate) -> Tokens {
        let credential = Credential::Certificate(certificate.clone());
        node(&bench.store, Application { credential, ..application(&bench.endpoint) }, &bench.clock)
    }

    async fn refresh(&self) -> Result<(), crate::TokenError> {
        self.tokens.ask_now(self.bench.admitted.account()).await.map(drop)
    }

    /// What the requests were signed with.
    fn sent(&self) -> Vec<String> {
        (0..self.bench.endpoint.requests()).map(|request| self.bench.endpoint.proof(request).unwrap()).collect()
    }
}

#[tokio::test]
async fn replaced_certificate_signs_the_next_request() {
    let (old, new) = (Named::new(certificate()), Named::new(certificate()));
    for grant in [Grant::SignIn, Grant::ClientCredentials] {
        let story = Story::new(grant, &old, None).await;
        story.refresh().await.unwrap();
        story.certificate.replace_current(new.signing.clone());
        story.refresh().await.unwrap();
        assert_eq!(story.sent(), [old.name.as_str(), &new.name]);
    }
}

#[tokio::test]
async fn next_certificate_is_tried_in_the_same_refresh() {
    let (old, new) = (Named::new(certificate()), Named::new(certificate()));
    for code in [NOT_REGISTERED, REVOKED, OUTSIDE_VALIDITY] {
        for grant in [Grant::SignIn, Grant::ClientCredentials] {
            let story = Story::new(grant, &old, Some(&new)).await;
            story.bench.endpoint.refuse_secret(&old.name, code);
            story.refresh().await.unwrap();
            assert!(story.certificate.is_next_in_use());
            // Longer than a refusal is remembered.
            story.bench.clock.advance(HOUR);
            story.refresh().await.unwrap();
            assert_eq!(story.sent(), [old.name.as_str(), &new.name, &new.name], "{code}");
        }
    }
}

#[tokio::test]
async fn accepted_certificate_is_used_by_other_nodes() {
    let (old, new) = (Named::new(certificate()), Named::new(certificate()));
    let story = Story::new(Grant::SignIn, &old, Some(&new)).await;
    story.bench.endpoint.refuse_secret(&old.name, NOT_REGISTERED);
    story.refresh().await.unwrap();

    let theirs = ApplicationCertificate::new(old.signing.clone(), Some(new.signing.clone()));
    Story::node(&story.bench, &theirs).ask_now(story.bench.admitted.account()).await.unwrap();
    assert_eq!(story.sent(), [old.name.as_str(), &new.name, &new.name]);
    let accepted_certificate = Some(new.signing.thumbprint().to_owned());
    let known = SecretExpiry { application: "office".into(), accepted_certificate, ..Default::default() };
    assert_eq!(story.bench.store.secret_expiries().await.unwrap(), [known]);

    // It becomes the current one in the configuration, and a new next one counts for nothing yet.
    let newest = Named::new(certificate());
    theirs.replace_current(new.signing.clone());
    theirs.replace_next(newest.signing.clone());
    assert!(!theirs.is_next_in_use() && theirs.in_use() == new.signing);
}

#[tokio::test]
async fn old_certificate_is_used_again_if_only_it_is_accepted() {
    let (old, new) = (Named::new(certificate()), Named::new(certificate()));
    let story = Story::new(Grant::SignIn, &old, Some(&new)).await;
    story.bench.endpoint.refuse_secret(&old.name, NOT_REGISTERED);
    story.refresh().await.unwrap();
    story.bench.endpoint.accept_secret(&old.name);
    story.bench.endpoint.refuse_secret(&new.name, REVOKED);
    story.bench.clock.advance(HOUR);
    story.refresh().await.unwrap();
    assert_eq!(story.sent()[2..], [new.name.as_str(), &old.name]);
    assert!(!story.certificate.is_next_in_use());
}

#[tokio::test]
async fn two_refused_certificates_are_both_named() {
    let (old, new) = (Named::new(certificate()), Named::new(certificate()));
    let story = Story::new(Grant::SignIn, &old, Some(&new)).await;
    story.bench.endpoint.refuse_secret(&old.name, REVOKED);
    story.bench.endpoint.refuse_secret(&new.name, NOT_REGISTERED);
    let error = story.refresh().await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(text.contains("Both certificates") && text.contains("the current one (AADSTS7000214)"), "{text}");
    assert!(text.contains("the next one (AADSTS700027)") && !story.certificate.is_next_in_use(), "{text}");
}

/// Another certificate does not correct the clock.
#[tokio::test]
async fn refused_time_does_not_try_the_next_certificate() {
    let (old, new) = (Named::new(certificate()), Named::new(certificate()));
    let story = Story::new(Grant::SignIn, &old, Some(&new)).await;
    story.bench.endpoint.refuse_secret(&old.name, CLOCK);
    story.refresh().await.unwrap_err();
    assert_eq!(story.sent(), [old.name]);
}

#[tokio::test]
async fn expired_certificate_gives_way_to_a_valid_next_one() {
    let (old, new) = (Named::new(certificate_until(start() + HOUR)), Named::new(certificate()));
    let story = Story::new(Grant::SignIn, &old, Some(&new)).await;
    story.bench.clock.advance(HOUR);
    story.refresh().await.unwrap();
    assert_eq!(story.sent(), [new.name]);
    assert!(story.certificate.is_next_in_use());
}

#[tokio::test]
async fn replaced_certificate_makes_only_failed_accounts_due() {
    let (old, new) = (Named::new(certificate()), Named::new(certificate()));
    let story = Story::new(Grant::SignIn, &old, None).await;
    let store = &story.bench.store;
    let next_refresh = async || store.plan().await.unwrap().pop().unwrap().next_refresh;
    story.refresh().await.unwrap();
    let before = next_refresh().await;
    store.retry_failed_accounts("office").await.unwrap();
    assert!(before.is_some() && next_refresh().await == before);

    story.bench.endpoint.refuse_secret(&old.name, NOT_REGISTERED);
    story.refresh().await.unwrap_err();
    assert!(next_refresh().await.is_some());
    story.certificate.replace_current(new.signing.clone());
    store.retry_failed_accounts("office").await.unwrap();
    assert_eq!(next_refresh().await, None);
    story.refresh().await.unwrap();
}
