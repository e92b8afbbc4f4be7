//! Two client secrets or certificates at once: the current one, and the next one, which takes its place when the authority refuses the
//! current one. So one that expires is replaced without a moment in which neither works.
//!
//! The current one goes with every request until it is refused; then the same request is made once more with the next one. What was
//! refused is remembered for a while, for all accounts of the application: they do not each try it again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use oauth2::HttpResponse;
use oxpost_protocol::Secret;
use serde::Deserialize;
use tokio::sync::Mutex as AsyncMutex;

use super::{ApplicationCertificate, Credential, SigningCertificate};
use crate::{
    application::{Application, ClientSecrets},
    entra_codes::number_in,
    store::{Store, StoreError},
};

/// How long a proof that was refused is not tried again while there is another one. New secrets and certificates reach all of
/// Microsoft's servers within minutes.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Microsoft's numbers for a client secret that is wrong, and for one that has expired
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
const REFUSED_SECRET: [u32; 2] = [7_000_215, 7_000_222];

/// Microsoft's numbers for a certificate that is not registered (or whose signature does not verify), that has been revoked, and that is
/// outside its period of validity; 7005004 is a key that was revoked
/// (<https://learn.microsoft.com/entra/workload-id/troubleshoot-revoked-credentials>). Not 700024: that is the clock, whatever the
/// certificate.
const REFUSED_CERTIFICATE: [u32; 4] = [700_027, 7_000_214, 1_000_502, 7_005_004];

/// What proves that a request is the application's. Its `Debug` shows no secret and no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is sent.
    Secret(Secret),
    /// It signs the client assertion that is sent.
    Certificate(SigningCertificate),
}

impl Proof {
    /// What it is, for a text.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Secret(_) => "client secret",
            Self::Certificate(_) => "certificate",
        }
    }
}

/// What an application can prove itself with. One that is not accepted yet is the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proofs {
    pub(crate) current: Option<Proof>,
    pub(crate) next: Option<Proof>,
}

impl From<ClientSecrets> for Proofs {
    fn from(secrets: ClientSecrets) -> Self {
        Self { current: secrets.current.map(Proof::Secret), next: secrets.next.map(Proof::Secret) }
    }
}

impl Proofs {
    /// Those of the configuration, or else of the store, as they are now.
    ///
    /// # Errors
    /// The client secrets cannot be read.
    pub(crate) async fn of(application: &Application, store: &Store, now: SystemTime) -> Result<Self, StoreError> {
        match (&application.credential, &application.client_secret) {
            (Credential::Secret, Some(secret)) => Ok(Self { current: Some(Proof::Secret(secret.clone())), next: None }),
            (Credential::Secret, None) => store.client_secrets(&application.name).await.map(Self::from),
            // Whoever proves itself otherwise sends no secret beside that, whatever is left of one in the store.
            (Credential::Certificate(certificate), _) => {
                Ok(Self::of_certificate(&application.name, certificate, store, now).await)
            }
            (Credential::Federated(_) | Credential::ManagedIdentity(_), _) => Ok(Self::default()),
        }
    }

    /// The accepted one comes first. One outside its period of validity signs nothing, so it is left out if the other one is inside.
    async fn of_certificate(
        application: &str,
        certificate: &ApplicationCertificate,
        store: &Store,
        now: SystemTime,
    ) -> Self {
        if certificate.next().is_none() {
            return Self { current: Some(Proof::Certificate(certificate.current())), next: None };
        }
        match store.accepted_certificate(application).await {
            Ok(accepted) => certificate.note_accepted(accepted),
            // What is known in memory is enough: a certificate works without the store.
            Err(error) => tracing::debug!(application, "which certificate was accepted last cannot be read: {error}"),
        }
        let (first, second) = certificate.in_order();
        let second = second.filter(|second| second.is_valid_at(now) || !first.is_valid_at(now));
        let is_left_out = !first.is_valid_at(now) && second.as_ref().is_some_and(|second| second.is_valid_at(now));
        Self { current: (!is_left_out).then_some(Proof::Certificate(first)), next: second.map(Proof::Certificate) }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none() && self.next.is_none()
    }

    pub(crate) fn is_next(&self, proof: &Proof) -> bool {
        self.next.as_ref() == Some(proof) && self.current.as_ref() != Some(proof)
    }

    /// The one that is tried after one was refused.
    fn other_than(&self, sent: &Proof) -> Option<&Proof> {
        [self.current.as_ref(), self.next.as_ref()].into_iter().flatten().find(|proof| *proof != sent)
    }
}

/// A refusal of a client secret or a certificate: Microsoft's number, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedProof(pub(crate) Option<u32>);

impl RefusedProof {
    /// Whether an answer refuses what was sent as the proof, and not something else.
    pub(crate) fn of(answer: &HttpResponse, sent: &Proof) -> Option<Self> {
        #[derive(Deserialize)]
        struct Refusal {
            error: Option<String>,
            error_description: Option<String>,
            #[serde(default)]
            error_codes: Vec<u32>,
        }
        if answer.status().is_success() {
            return None;
        }
        let refusal: Refusal = serde_json::from_slice(answer.body()).ok()?;
        let said = refusal.error_description.as_deref().and_then(number_in);
        let mut codes = refusal.error_codes.iter().copied().chain(said).peekable();
        // Authorities without numbers (RFC 6749, 5.2).
        if codes.peek().is_none() {
            return (refusal.error.as_deref() == Some("invalid_client")).then_some(Self(None));
        }
        let refused: &[u32] = match sent {
            Proof::Secret(_) => &REFUSED_SECRET,
            Proof::Certificate(_) => &REFUSED_CERTIFICATE,
        };
        codes.find(|code| refused.contains(code)).map(|code| Self(Some(code)))
    }
}

/// What this process knows of the client secrets and certificates of each application. Its `Debug` shows nothing of them.
#[derive(Default)]
pub(crate) struct KnownProofs(Mutex<HashMap<String, Known>>);

/// What is known of those of one application.
#[derive(Default)]
struct Known {
    /// Those of its proofs that were refused: at most the current and the next one.
    refused: Vec<Refused>,
    /// The one that last brought tokens.
    accepted: Option<Proof>,
    /// When it was last reported that the next one could not become the current one.
    reported: Option<Duration>,
    /// Held by the request that finds out whether the other proof is accepted.
    attempt: Arc<AsyncMutex<()>>,
}

struct Refused {
    proof: Proof,
    why: RefusedProof,
    /// What the authority answered.
    answer: HttpResponse,
    /// On the monotonic clock.
    since: Duration,
}

/// What follows the refusal of a proof.
#[derive(Debug)]
pub(crate) enum Second {
    /// Nothing: no other proof may be accepted.
    Nothing,
    /// The other proof was refused as well, for another request.
    Refused { proof: Proof, answer: HttpResponse },
    /// The same request with the other proof; `is_accepted` if that has brought tokens before.
    Try { proof: Proof, is_accepted: bool },
}

impl Known {
    /// The refusal of this proof, if it is recent.
    fn refusal(&self, proof: &Proof, now: Duration) -> Option<&Refused> {
        self.refused.iter().find(|one| one.proof == *proof && now.saturating_sub(one.since) < REFUSED_FOR)
    }
}

impl KnownProofs {
    fn with<T>(&self, application: &str, use_it: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(all.entry(application.to_owned()).or_default())
    }

    /// Which proof goes with a request. With it, why the current one does not, if it was refused. When a refusal is no longer
    /// recent, one request tries the current one again; the others use the next one until its outcome is known.
    pub(crate) fn first(
        &self,
        application: &str,
        proofs: &Proofs,
        now: Duration,
    ) -> (Option<Proof>, Option<RefusedProof>) {
        let (current, next) = match (&proofs.current, &proofs.next) {
            (Some(current), Some(next)) if current != next => (current, next),
            (current, next) => return (current.as_ref().or(next.as_ref()).cloned(), None),
        };
        self.with(application, |known| {
            if let Some(refusal) = known.refusal(current, now) {
                return (Some(next.clone()), Some(refusal.why));
            }
            if let Some(refused) = known.refused.iter_mut().find(|one| one.proof == *current) {
                refused.since = now;
            }
            (Some(current.clone()), None)
        })
    }

    /// Notes that a proof was refused.
    pub(crate) fn note_refused(
        &self,
        application: &str,
        proofs: &Proofs,
        (sent, why, answer): (&Proof, RefusedProof, &HttpResponse),
        now: Duration,
    ) {
        let is_there = |proof: &Proof| proofs.current.as_ref() == Some(proof) || proofs.next.as_ref() == Some(proof);
        self.with(application, |known| {
            known.refused.retain(|one| one.proof != *sent && is_there(&one.proof));
            known.accepted = known.accepted.take().filter(|accepted| accepted != sent);
            if is_there(sent) {
                let refused = Refused { proof: sent.clone(), why, answer: answer.clone(), since: now };
                known.refused.push(refused);
            }
        });
    }

    /// Notes that a proof has brought tokens.
    pub(crate) fn note_accepted(&self, application: &str, sent: &Proof) {
        self.with(application, |known| {
            known.refused.retain(|one| one.proof != *sent);
            if known.accepted.as_ref() != Some(sent) {
                known.accepted = Some(sent.clone());
            }
        });
    }

    /// What is held while it is found out whether the other proof is accepted.
    pub(crate) fn attempt(&self, application: &str) -> Arc<AsyncMutex<()>> {
        self.with(application, |known| Arc::clone(&known.attempt))
    }

    /// What follows the refusal of `sent`, with the proofs that there are now.
    pub(crate) fn second(&self, application: &str, proofs: &Proofs, sent: &Proof, now: Duration) -> Second {
        let Some(other) = proofs.other_than(sent) else { return Second::Nothing };
        self.with(application, |known| match known.refusal(other, now) {
            // The answer at hand is that of the newest proof.
            Some(_) if proofs.is_next(sent) => Second::Nothing,
            Some(refused) => Second::Refused { proof: other.clone(), answer: refused.answer.clone() },
            None => Second::Try { proof: other.clone(), is_accepted: known.accepted.as_ref() == Some(other) },
        })
    }

    /// Whether it is to be reported that the next proof could not become the current one: once in a while.
    pub(crate) fn may_report(&self, application: &str, now: Duration) -> bool {
        self.with(application, |known| {
            let is_due = known.reported.is_none_or(|reported| now.saturating_sub(reported) >= REFUSED_FOR);
            if is_due {
                known.reported = Some(now);
            }
            is_due
        })
    }
}

impl fmt::Debug for KnownProofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownProofs").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);
    const WRONG: RefusedProof = RefusedProof(Some(7_000_215));

    fn secrets(current: Option<&str>, next: Option<&str>) -> Proofs {
        Proofs { current: current.map(secret), next: next.map(secret) }
    }

    fn secret(text: &str) -> Proof {
        Proof::Secret(Secret::from(text))
    }

    fn text(proof: &Proof) -> Vec<u8> {
        let Proof::Secret(secret) = proof else { panic!("not a secret") };
        secret.reveal().to_vec()
    }

    /// Notes that it was refused, and says which secret is tried after it.
    fn refuse(known: &KnownProofs, secrets: &Proofs, sent: &Proof, now: Duration) -> Option<Proof> {
        let answer = http::Response::builder().status(401).body(text(sent)).unwrap();
        known.note_refused("x", secrets, (sent, WRONG, &answer), now);
        match known.second("x", secrets, sent, now) {
            Second::Try { proof, .. } => Some(proof),
            Second::Nothing | Second::Refused { .. } => None,
        }
    }

    #[test]
    fn next_secret_is_tried_after_the_current_one_and_then_first() {
        let refused = KnownProofs::default();
        let both = secrets(Some("a"), Some("b"));
        let (a, b) = (secret("a"), secret("b"));
        assert_eq!(refused.first("x", &both, NOW), (Some(a.clone()), None));
        assert_eq!(refuse(&refused, &both, &a, NOW), Some(b.clone()));
        assert_eq!(refused.first("x", &both, NOW), (Some(b.clone()), Some(WRONG)));
        assert_eq!(refused.first("y", &both, NOW), (Some(a.clone()), None), "another application");
        // Both are refused: the current one is not tried once more for each account.
        assert_eq!(refuse(&refused, &both, &b, NOW), None);
        assert_eq!(refused.first("x", &both, NOW), (Some(b.clone()), Some(WRONG)));
        // Who had sent the current one as well uses the outcome.
        let Second::Refused { proof, answer } = refused.second("x", &both, &a, NOW) else { panic!("not refused") };
        assert_eq!((proof, answer.body().as_slice()), (b.clone(), &b"b"[..]));
        // One request tries the current one again.
        let later = NOW + REFUSED_FOR;
        assert_eq!(refused.first("x", &both, later), (Some(a.clone()), None));
        assert_eq!(refused.first("x", &both, later), (Some(b.clone()), Some(WRONG)));
        refused.note_accepted("x", &a);
        assert_eq!(refused.first("x", &both, later), (Some(a), None));
    }

    #[test]
    fn only_secret_is_tried_whatever_became_of_it() {
        let refused = KnownProofs::default();
        let (a, b) = (secret("a"), secret("b"));
        for one in [secrets(Some("a"), None), secrets(None, Some("a")), secrets(Some("a"), Some("a"))] {
            assert_eq!(refused.first("x", &one, NOW), (Some(a.clone()), None));
            assert_eq!(refuse(&refused, &one, &a, NOW), None);
            assert_eq!(refused.first("x", &one, NOW).0, Some(a.clone()));
        }
        assert_eq!(refused.first("x", &secrets(Some("a"), Some("b")), NOW).0, Some(b.clone()));
        // It was replaced while the request was on its way.
        assert_eq!(refuse(&refused, &secrets(Some("b"), None), &a, NOW), Some(b));
        assert_eq!(refused.first("x", &secrets(None, None), NOW), (None, None));
    }

    #[test]
    fn accepted_secret_is_known_until_it_is_refused() {
        let known = KnownProofs::default();
        let both = secrets(Some("a"), Some("b"));
        let (a, b) = (secret("a"), secret("b"));
        let is_accepted = || matches!(known.second("x", &both, &a, NOW), Second::Try { is_accepted: true, .. });
        refuse(&known, &both, &a, NOW);
        assert!(!is_accepted());
        known.note_accepted("x", &b);
        assert!(is_accepted());
        refuse(&known, &both, &b, NOW);
        assert!(!is_accepted());
    }

    #[test]
    fn failed_promotion_is_reported_once_in_a_while() {
        let known = KnownProofs::default();
        assert!(known.may_report("x", NOW) && !known.may_report("x", NOW) && known.may_report("y", NOW));
        assert!(!known.may_report("x", NOW + REFUSED_FOR - Duration::from_secs(1)));
        assert!(known.may_report("x", NOW + REFUSED_FOR) && !known.may_report("x", NOW + REFUSED_FOR));
    }

    #[test]
    fn refusal_of_the_secret_is_told_from_others() {
        let of = |status: u16, body: &str| {
            let answer = http::Response::builder().status(status).body(body.as_bytes().to_vec()).unwrap();
            RefusedProof::of(&answer, &secret("a"))
        };
        assert_eq!(of(401, r#"{"error":"invalid_client","error_codes":[7000215]}"#), Some(WRONG));
        assert_eq!(
            of(401, r#"{"error":"invalid_client","error_codes":[1,7000222]}"#),
            Some(RefusedProof(Some(7_000_222)))
        );
        assert_eq!(of(401, r#"{"error":"invalid_client","error_description":"AADSTS7000215: no"}"#), Some(WRONG));
        assert_eq!(of(401, r#"{"error":"invalid_client"}"#), Some(RefusedProof(None)));
        for other in [
            r#"{"error":"invalid_client","error_codes":[7000218]}"#,
            r#"{"error":"invalid_grant","error_codes":[700082]}"#,
            r#"{"error":"invalid_grant"}"#,
            "<html>",
        ] {
            assert_eq!(of(400, other), None, "{other}");
        }
        assert_eq!(of(200, r#"{"error":"invalid_client"}"#), None);
    }
}
