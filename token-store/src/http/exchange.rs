//! One question to the authority, with the application's proof, and once more with the next client secret or certificate if the authority
//! refuses the current one.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use std::time::Duration;

use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use oxpost_protocol::Secret;
use tokio::time::timeout;

use super::{
    DETAIL_TIME, HttpClient, HttpFailure, REQUEST_TIME, answer, date, read_body, retry_after, root_cause, transport,
};
use crate::{
    application::Application,
    clock::SharedClock,
    credential::{Credential, Proof, Proofs, RefusedProof, Second, prove},
    request_gate::{RequestOutcome, RequestPermit},
    store::{Store, StoreError},
};

/// How long a request waits for another one that tries the other proof. An authority that answers at all does so much sooner; a
/// refresh must not take longer than other nodes wait for it.
const ATTEMPT_WAIT: Duration = Duration::from_secs(10);

/// One exchange with the authority, as `oauth2` wants to see it.
pub(crate) struct Exchange<'a> {
    pub(crate) http: &'a HttpClient,
    pub(crate) clock: &'a SharedClock,
    /// Has the client secrets, and knows which certificate was accepted.
    pub(crate) store: &'a Store,
    /// The credential that proves the client's identity.
    pub(crate) application: &'a Application,
    /// The account that it is about. None: the application itself.
    pub(crate) account: Option<&'a str>,
    /// What has gone with its requests.
    sent: Mutex<Sent>,
}

/// The client secrets and certificates that went with a question, and what became of them.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    /// So that none of them is repeated in a text.
    pub(crate) secrets: Vec<Secret>,
    /// Why the current one was refused, if the answer is a refusal of the next one.
    pub(crate) current_refused: Option<RefusedProof>,
}

impl Sent {
    fn add(&mut self, proof: &Proof) {
        // A certificate's key is not sent.
        if let Proof::Secret(secret) = proof {
            self.secrets.push(secret.clone());
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Exchange<'_> {
    type Error = HttpFailure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpFailure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.ask(request))
    }
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        http: &'a HttpClient,
        clock: &'a SharedClock,
        store: &'a Store,
        application: &'a Application,
        account: Option<&'a str>,
    ) -> Self {
        Self { http, clock, store, application, account, sent: Mutex::default() }
    }

    /// What has gone with its requests.
    pub(crate) fn sent(&self) -> Sent {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
        let name = &self.application.name;
        let (refused, now) = (&self.http.known_proofs, self.clock.elapsed());
        let is_token_request = request.uri() == self.application.token_url.as_str();
        let pass = self.enter().await?;
        // Only now: those before it may have learned that the current one is refused, or have replaced it.
        let proofs = match Proofs::of(self.application, self.store, self.clock.now()).await {
            Ok(proofs) => proofs,
            Err(error) => return self.leave(pass, Err(HttpFailure::Store(error))).await,
        };
        let (first, instead_of) = refused.first(name, &proofs, now);
        let answered = self.attempt(pass, request.clone(), first.as_ref()).await;
        let Some(first) = first else { return answered };
        let Some(why) = refusal(&answered, &first) else {
            if is_token_request {
                self.accepted(&proofs, &first, instead_of, &answered).await;
            }
            return answered;
        };
        self.refused(&proofs, &first, &answered);
        // Whether the other one is accepted is found out by one request at a time; those that wait use its outcome.
        let attempt = timeout(ATTEMPT_WAIT, refused.attempt(name).lock_owned()).await.ok();
        // Another process, or an administrator, may have replaced it meanwhile.
        let proofs = Proofs::of(self.application, self.store, self.clock.now()).await.unwrap_or(proofs);
        let (other, is_accepted) = match refused.second(name, &proofs, &first, self.clock.elapsed()) {
            Second::Try { proof, is_accepted } => (proof, is_accepted),
            Second::Nothing => {
                self.note(|sent| sent.current_refused = instead_of);
                return answered;
            }
            Second::Refused { proof, answer } => {
                self.note(|sent| {
                    sent.current_refused = proofs.is_next(&proof).then_some(why);
                    sent.add(&proof);
                });
                return Ok(answer);
            }
        };
        // Once it is known, no request needs to wait.
        let attempt = attempt.filter(|_| !is_accepted);
        let pass = self.enter().await?;
        let answered = self.attempt(pass, request, Some(&other)).await;
        match refusal(&answered, &other) {
            Some(_) => {
                self.refused(&proofs, &other, &answered);
                self.note(|sent| sent.current_refused = proofs.is_next(&other).then_some(why));
            }
            None if is_token_request => self.accepted(&proofs, &other, Some(why), &answered).await,
            None => {}
        }
        drop(attempt);
        answered
    }

    /// The authority has refused this proof.
    fn refused(&self, proofs: &Proofs, proof: &Proof, answered: &Result<HttpResponse, HttpFailure>) {
        if let (Some(why), Ok(answer)) = (refusal(answered, proof), answered) {
            let now = self.clock.elapsed();
            self.http.known_proofs.note_refused(&self.application.name, proofs, (proof, why, answer), now);
        }
    }

    fn note(&self, note: impl FnOnce(&mut Sent)) {
        note(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The authority has given tokens for this proof. If it is the next one, it is the current one from now on.
    async fn accepted(
        &self,
        proofs: &Proofs,
        proof: &Proof,
        instead_of: Option<RefusedProof>,
        answered: &Result<HttpResponse, HttpFailure>,
    ) {
        if !answered.as_ref().is_ok_and(brings_an_access_token) {
            return;
        }
        let application = self.application.name.as_str();
        self.http.known_proofs.note_accepted(application, proof);
        if !proofs.is_next(proof) {
            return;
        }
        let noun = proof.noun();
        match self.promote(proof).await {
            Ok(true) => {
                let Some(refused) = instead_of else {
                    tracing::info!(
                        application,
                        "the next {noun} is accepted, and the current one cannot be used: it is the {noun} from now on"
                    );
                    return;
                };
                let code = refused.0.map(|code| format!("AADSTS{code}"));
                let refused = code.as_deref().unwrap_or("-");
                let old = match proof {
                    Proof::Secret(_) => ", and the old one was removed from the store",
                    Proof::Certificate(_) => "; name its files as the current ones in proxy.toml when it suits you",
                };
                tracing::info!(
                    application,
                    refused,
                    "the current {noun} is refused, and the next one is accepted: it is the {noun} from now on{old}"
                );
            }
            // Another process was there first.
            Ok(false) => {}
            // On a full disk this fails at every refresh.
            Err(error) if self.http.known_proofs.may_report(application, self.clock.elapsed()) => tracing::warn!(
                application,
                "the next {noun} is used in place of the current one, which is refused, but the store could not be changed accordingly; \
                 this is tried again: {error}"
            ),
            Err(error) => tracing::debug!(application, "the next {noun} is still not the current one: {error}"),
        }
    }

    /// The next one is the current one from now on. `false` if another process has done it, or it is no longer the next one.
    async fn promote(&self, proof: &Proof) -> Result<bool, StoreError> {
        let application = self.application.name.as_str();
        match (proof, &self.application.credential) {
            (Proof::Secret(secret), _) => self.store.promote_client_secret(application, secret).await,
            (Proof::Certificate(accepted), Credential::Certificate(certificate)) => {
                certificate.note_accepted(Some(accepted.thumbprint().to_owned()));
                self.store.set_accepted_certificate(application, accepted.thumbprint()).await
            }
            (Proof::Certificate(_), _) => Ok(false),
        }
    }

    async fn enter(&self) -> Result<Option<RequestPermit>, HttpFailure> {
        match &self.http.gate {
            Some((gate, class)) => {
                let entered = gate.enter(self.application, self.account, *class).await;
                entered.map(Some).map_err(HttpFailure::Refused)
            }
            None => Ok(None),
        }
    }

    async fn leave(
        &self,
        pass: Option<RequestPermit>,
        answered: Result<HttpResponse, HttpFailure>,
    ) -> Result<HttpResponse, HttpFailure> {
        if let Some(pass) = pass {
            let host = self.application.token_url.host_str().unwrap_or("the configured address");
            pass.complete(answered.as_ref().map_or_else(|failure| failure.went(host), |_| RequestOutcome::Answered))
                .await;
        }
        answered
    }

    /// One request.
    async fn attempt(
        &self,
        pass: Option<RequestPermit>,
        request: HttpRequest,
        proof: Option<&Proof>,
    ) -> Result<HttpResponse, HttpFailure> {
        if let Some(proof) = proof {
            self.note(|sent| sent.add(proof));
        }
        // The client's own time limit may be another one, and does not know about us.
        let answered = match timeout(REQUEST_TIME, self.send(request, proof)).await {
            Ok(answered) => answered,
            Err(_) => Err(HttpFailure::TimedOut),
        };
        self.leave(pass, answered).await
    }

    async fn send(&self, mut request: HttpRequest, proof: Option<&Proof>) -> Result<HttpResponse, HttpFailure> {
        let proved = prove(self.application, proof, request.body_mut(), self.clock.now()).await;
        proved.map_err(HttpFailure::unproved)?;
        let request =
            reqwest::Request::try_from(request).map_err(|error| HttpFailure::Unreachable(root_cause(&error)))?;
        if !self.http.may_ask(request.url()) {
            return Err(HttpFailure::NotHttps);
        }
        let mut response = self.http.client.execute(request).await.map_err(transport)?;
        let status = response.status();
        let retry_after = retry_after::read(response.headers(), self.clock.now());
        if let Some(date) = date(response.headers()) {
            self.http.skew.note(
                response.url().host_str().unwrap_or_default(),
                date,
                self.clock.now(),
                self.clock.elapsed(),
            );
        }
        if status.as_u16() == 429 || status.is_server_error() {
            // The status says it all; the body may add words for the log, if it comes.
            let body = timeout(DETAIL_TIME, read_body(&mut response)).await;
            let detail = body.ok().and_then(Result::ok).as_deref().and_then(answer::describe_error).unwrap_or_default();
            return Err(HttpFailure::Busy { status: status.as_u16(), retry_after, detail });
        }
        answer::normalise(status, &read_body(&mut response).await?)
    }
}

fn refusal(answered: &Result<HttpResponse, HttpFailure>, sent: &Proof) -> Option<RefusedProof> {
    answered.as_ref().ok().and_then(|answer| RefusedProof::of(answer, sent))
}

/// A gateway on the way may answer anything with 200, which says nothing of the proof.
fn brings_an_access_token(answer: &HttpResponse) -> bool {
    let token = |body: serde_json::Value| body.get("access_token")?.as_str().map(|token| !token.is_empty());
    answer.status().is_success() && serde_json::from_slice(answer.body()).ok().and_then(token).unwrap_or(false)
}
