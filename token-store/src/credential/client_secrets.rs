//! Two client secrets at once: the current one, and the next one, which takes its place when the authority refuses the current one.
//! So a secret that ends is replaced without a moment in which neither works.
//!
//! The current one goes with every request until it is refused; then the same request is made once more with the next one. What was
//! refused is remembered for a while, for all accounts of the application: they do not each try it again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use oauth2::HttpResponse;
use oxpost_protocol::Secret;
use serde::Deserialize;

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

    /// The one that goes with a request: the current one, unless it is known to be refused and there is a next one.
    fn first(&self, refused: Option<&Secret>) -> Option<&Secret> {
        match (&self.current, &self.next) {
            (Some(current), Some(next)) if refused == Some(current) => Some(next),
            (current, next) => current.as_ref().or(next.as_ref()),
        }
    }

    /// The one that is tried after one was refused.
    fn other_than(&self, sent: &Secret, refused: Option<&Secret>) -> Option<&Secret> {
        let both = [self.current.as_ref(), self.next.as_ref()];
        both.into_iter().flatten().find(|secret| *secret != sent && refused != Some(*secret))
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

/// The current client secrets that were refused not long ago, by application.
#[derive(Debug, Default)]
pub(crate) struct RefusedSecrets(Mutex<HashMap<String, Remembered>>);

#[derive(Clone, Debug)]
struct Remembered {
    secret: Secret,
    why: RefusedProof,
    /// By the clock that nobody sets.
    since: Duration,
}

impl RefusedSecrets {
    fn known(&self, application: &str, now: Duration) -> Option<Remembered> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(application).cloned();
        known.filter(|known| now.saturating_sub(known.since) < REFUSED_FOR)
    }

    /// Which secret goes with a request. With it, why the current one does not, if it was refused.
    pub(crate) fn first(
        &self,
        application: &str,
        secrets: &ClientSecrets,
        now: Duration,
    ) -> (Option<Secret>, Option<RefusedProof>) {
        let known = self.known(application, now);
        let first = secrets.first(known.as_ref().map(|known| &known.secret)).cloned();
        let instead = first.as_ref().is_some_and(|first| secrets.is_next(first));
        (first, known.filter(|_| instead && secrets.current.is_some()).map(|known| known.why))
    }

    /// Notes that `sent` was refused, and says which secret of those that there are now is to be tried instead.
    pub(crate) fn instead_of(
        &self,
        application: &str,
        secrets: &ClientSecrets,
        (sent, why): (&Secret, RefusedProof),
        now: Duration,
    ) -> Option<Secret> {
        let known = self.known(application, now);
        if !secrets.is_next(sent) {
            let remembered = Remembered { secret: sent.clone(), why, since: now };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(application.to_owned(), remembered);
        }
        secrets.other_than(sent, known.as_ref().map(|known| &known.secret)).cloned()
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

    #[test]
    fn next_secret_is_tried_after_the_current_one_and_then_first() {
        let refused = RefusedSecrets::default();
        let both = secrets(Some("a"), Some("b"));
        let (a, b) = (Secret::from("a"), Secret::from("b"));
        assert_eq!(refused.first("x", &both, NOW), (Some(a.clone()), None));
        assert_eq!(refused.instead_of("x", &both, (&a, WRONG), NOW), Some(b.clone()));
        assert_eq!(refused.first("x", &both, NOW), (Some(b.clone()), Some(WRONG)));
        assert_eq!(refused.first("y", &both, NOW), (Some(a.clone()), None), "another application");
        // Both are refused: the current one is not tried once more for each account.
        assert_eq!(refused.instead_of("x", &both, (&b, WRONG), NOW), None);
        assert_eq!(refused.first("x", &both, NOW), (Some(b), Some(WRONG)));
        assert_eq!(refused.first("x", &both, NOW + REFUSED_FOR), (Some(a), None));
    }

    #[test]
    fn only_secret_is_tried_whatever_became_of_it() {
        let refused = RefusedSecrets::default();
        let (a, b) = (Secret::from("a"), Secret::from("b"));
        for one in [secrets(Some("a"), None), secrets(None, Some("a")), secrets(Some("a"), Some("a"))] {
            assert_eq!(refused.first("x", &one, NOW), (Some(a.clone()), None));
            assert_eq!(refused.instead_of("x", &one, (&a, WRONG), NOW), None);
            assert_eq!(refused.first("x", &one, NOW).0, Some(a.clone()));
        }
        // It was replaced while the request was on its way.
        assert_eq!(refused.instead_of("x", &secrets(Some("b"), None), (&a, WRONG), NOW), Some(b.clone()));
        assert_eq!(refused.first("x", &secrets(Some("a"), Some("b")), NOW).0, Some(b));
        assert_eq!(refused.first("x", &secrets(None, None), NOW), (None, None));
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
