//! Two client secrets at once: the current one, and the next one, which takes its place when the authority refuses the current one.
//! So a secret that ends is replaced without a moment in which neither works.
//!
//! The current one goes with every request until it is refused; then the same request is made once more with the next one. What was
//! refused is remembered for a while, for all accounts of the application: they do not each try it again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use oauth2::HttpResponse;
use oxpost_protocol::Secret;
use serde::Deserialize;
use tokio::sync::Mutex as AsyncMutex;

use super::Credential;
use crate::{
    application::{Application, ClientSecrets},
    entra_codes::number_in,
    store::{Store, StoreError},
};

/// How long a secret that was refused is not tried again while there is another one. New secrets reach all of Microsoft's servers
/// within minutes.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Microsoft's numbers for a client secret that is wrong, and for one that has expired
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
const REFUSED: [u32; 2] = [7_000_215, 7_000_222];

impl ClientSecrets {
    /// Those of the configuration, or else of the store, as they are now.
    pub(crate) async fn of(application: &Application, store: &Store) -> Result<Self, StoreError> {
        match (&application.credential, &application.client_secret) {
            (Credential::Secret, Some(secret)) => Ok(Self { current: Some(secret.clone()), next: None }),
            (Credential::Secret, None) => store.client_secrets(&application.name).await,
            // Whoever proves itself otherwise sends no secret beside that, whatever is left of one in the store.
            (Credential::Certificate(_) | Credential::Federated(_) | Credential::ManagedIdentity(_), _) => {
                Ok(Self::default())
            }
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none() && self.next.is_none()
    }

    pub(crate) fn is_next(&self, secret: &Secret) -> bool {
        self.next.as_ref() == Some(secret) && self.current.as_ref() != Some(secret)
    }

    /// The one that is tried after one was refused.
    fn other_than(&self, sent: &Secret) -> Option<&Secret> {
        [self.current.as_ref(), self.next.as_ref()].into_iter().flatten().find(|secret| *secret != sent)
    }
}

/// A refusal of a client secret: Microsoft's number, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedProof(pub(crate) Option<u32>);

impl RefusedProof {
    /// Whether an answer refuses the client secret, and not something else.
    pub(crate) fn of(answer: &HttpResponse) -> Option<Self> {
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
        codes.find(|code| REFUSED.contains(code)).map(|code| Self(Some(code)))
    }
}

/// What this process knows of the client secrets of each application. Its `Debug` shows nothing of them.
#[derive(Default)]
pub(crate) struct RefusedSecrets(Mutex<HashMap<String, Known>>);

/// What is known of those of one application.
#[derive(Default)]
struct Known {
    /// Those of its secrets that were refused: at most the current and the next one.
    refused: Vec<Refused>,
    /// The one that last brought tokens.
    accepted: Option<Secret>,
    /// When it was last reported that the next one could not become the current one.
    reported: Option<Duration>,
    /// Held by the request that finds out whether the other secret is accepted.
    attempt: Arc<AsyncMutex<()>>,
}

struct Refused {
    secret: Secret,
    why: RefusedProof,
    /// What the authority answered.
    answer: HttpResponse,
    /// On the monotonic clock.
    since: Duration,
}

/// What follows the refusal of a secret.
#[derive(Debug)]
pub(crate) enum Second {
    /// Nothing: no other secret may be accepted.
    Nothing,
    /// The other secret was refused as well, for another request.
    Refused { secret: Secret, answer: HttpResponse },
    /// The same request with the other secret; `is_accepted` if that has brought tokens before.
    Try { secret: Secret, is_accepted: bool },
}

impl Known {
    /// The refusal of this secret, if it is recent.
    fn refusal(&self, secret: &Secret, now: Duration) -> Option<&Refused> {
        self.refused.iter().find(|one| one.secret == *secret && now.saturating_sub(one.since) < REFUSED_FOR)
    }
}

impl RefusedSecrets {
    fn with<T>(&self, application: &str, use_it: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(all.entry(application.to_owned()).or_default())
    }

    /// Which secret goes with a request. With it, why the current one does not, if it was refused. When a refusal is no longer
    /// recent, one request tries the current one again; the others use the next one until its outcome is known.
    pub(crate) fn first(
        &self,
        application: &str,
        secrets: &ClientSecrets,
        now: Duration,
    ) -> (Option<Secret>, Option<RefusedProof>) {
        let (current, next) = match (&secrets.current, &secrets.next) {
            (Some(current), Some(next)) if current != next => (current, next),
            (current, next) => return (current.as_ref().or(next.as_ref()).cloned(), None),
        };
        self.with(application, |known| {
            if let Some(refusal) = known.refusal(current, now) {
                return (Some(next.clone()), Some(refusal.why));
            }
            if let Some(refused) = known.refused.iter_mut().find(|one| one.secret == *current) {
                refused.since = now;
            }
            (Some(current.clone()), None)
        })
    }

    /// Notes that a secret was refused.
    pub(crate) fn note_refused(
        &self,
        application: &str,
        secrets: &ClientSecrets,
        (sent, why, answer): (&Secret, RefusedProof, &HttpResponse),
        now: Duration,
    ) {
        let is_there =
            |secret: &Secret| secrets.current.as_ref() == Some(secret) || secrets.next.as_ref() == Some(secret);
        self.with(application, |known| {
            known.refused.retain(|one| one.secret != *sent && is_there(&one.secret));
            known.accepted = known.accepted.take().filter(|accepted| accepted != sent);
            if is_there(sent) {
                let refused = Refused { secret: sent.clone(), why, answer: answer.clone(), since: now };
                known.refused.push(refused);
            }
        });
    }

    /// Notes that a secret has brought tokens.
    pub(crate) fn note_accepted(&self, application: &str, sent: &Secret) {
        self.with(application, |known| {
            known.refused.retain(|one| one.secret != *sent);
            if known.accepted.as_ref() != Some(sent) {
                known.accepted = Some(sent.clone());
            }
        });
    }

    /// What is held while it is found out whether the other secret is accepted.
    pub(crate) fn attempt(&self, application: &str) -> Arc<AsyncMutex<()>> {
        self.with(application, |known| Arc::clone(&known.attempt))
    }

    /// What follows the refusal of `sent`, with the secrets that there are now.
    pub(crate) fn second(&self, application: &str, secrets: &ClientSecrets, sent: &Secret, now: Duration) -> Second {
        let Some(other) = secrets.other_than(sent) else { return Second::Nothing };
        self.with(application, |known| match known.refusal(other, now) {
            // The answer at hand is that of the newest secret.
            Some(_) if secrets.is_next(sent) => Second::Nothing,
            Some(refused) => Second::Refused { secret: other.clone(), answer: refused.answer.clone() },
            None => Second::Try { secret: other.clone(), is_accepted: known.accepted.as_ref() == Some(other) },
        })
    }

    /// Whether it is to be reported that the next secret could not become the current one: once in a while.
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

impl fmt::Debug for RefusedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedSecrets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);
    const WRONG: RefusedProof = RefusedProof(Some(7_000_215));

    fn secrets(current: Option<&str>, next: Option<&str>) -> ClientSecrets {
        ClientSecrets { current: current.map(Secret::from), next: next.map(Secret::from) }
    }

    /// Notes that it was refused, and says which secret is tried after it.
    fn refuse(known: &RefusedSecrets, secrets: &ClientSecrets, sent: &Secret, now: Duration) -> Option<Secret> {
        let answer = http::Response::builder().status(401).body(sent.reveal().to_vec()).unwrap();
        known.note_refused("x", secrets, (sent, WRONG, &answer), now);
        match known.second("x", secrets, sent, now) {
            Second::Try { secret, .. } => Some(secret),
            Second::Nothing | Second::Refused { .. } => None,
        }
    }

    #[test]
    fn next_secret_is_tried_after_the_current_one_and_then_first() {
        let refused = RefusedSecrets::default();
        let both = secrets(Some("a"), Some("b"));
        let (a, b) = (Secret::from("a"), Secret::from("b"));
        assert_eq!(refused.first("x", &both, NOW), (Some(a.clone()), None));
        assert_eq!(refuse(&refused, &both, &a, NOW), Some(b.clone()));
        assert_eq!(refused.first("x", &both, NOW), (Some(b.clone()), Some(WRONG)));
        assert_eq!(refused.first("y", &both, NOW), (Some(a.clone()), None), "another application");
        // Both are refused: the current one is not tried once more for each account.
        assert_eq!(refuse(&refused, &both, &b, NOW), None);
        assert_eq!(refused.first("x", &both, NOW), (Some(b.clone()), Some(WRONG)));
        // Who had sent the current one as well uses the outcome.
        let Second::Refused { secret, answer } = refused.second("x", &both, &a, NOW) else { panic!("not refused") };
        assert_eq!((secret, answer.body().as_slice()), (b.clone(), &b"b"[..]));
        // One request tries the current one again.
        let later = NOW + REFUSED_FOR;
        assert_eq!(refused.first("x", &both, later), (Some(a.clone()), None));
        assert_eq!(refused.first("x", &both, later), (Some(b.clone()), Some(WRONG)));
        refused.note_accepted("x", &a);
        assert_eq!(refused.first("x", &both, later), (Some(a), None));
    }

    #[test]
    fn only_secret_is_tried_whatever_became_of_it() {
        let refused = RefusedSecrets::default();
        let (a, b) = (Secret::from("a"), Secret::from("b"));
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
        let known = RefusedSecrets::default();
        let both = secrets(Some("a"), Some("b"));
        let (a, b) = (Secret::from("a"), Secret::from("b"));
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
        let known = RefusedSecrets::default();
        assert!(known.may_report("x", NOW) && !known.may_report("x", NOW) && known.may_report("y", NOW));
        assert!(!known.may_report("x", NOW + REFUSED_FOR - Duration::from_secs(1)));
        assert!(known.may_report("x", NOW + REFUSED_FOR) && !known.may_report("x", NOW + REFUSED_FOR));
    }

    #[test]
    fn refusal_of_the_secret_is_told_from_others() {
        let of = |status: u16, body: &str| {
            let answer = http::Response::builder().status(status).body(body.as_bytes().to_vec()).unwrap();
            RefusedProof::of(&answer)
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
