//! HTTP to the authority: the part that the `oauth2` crate leaves to us, and what it would lose on the way.
//!
//! `oauth2` sees neither a status nor a header, so a busy front end (429, 5xx with `Retry-After`, a page of HTML) is
//! caught here, before it. Bounds: [`CONNECT_TIME`], [`REQUEST_TIME`], [`BODY_LIMIT`]. Only https, and no redirects: the
//! request carries secrets, and they go to the configured address or nowhere.

mod answer;
mod exchange;
pub(crate) mod machine_local;
mod retry_after;
mod skew;

use std::{
    error::Error,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(crate) use self::exchange::{Exchange, Sent};
use self::skew::Skew;
pub use crate::schedule::REQUEST_TIME;
use reqwest::dns::Resolve;
use url::{Host, Url};

use crate::{
    certificate_problem::CertificateProblem,
    circuit::RequestFailure,
    clock::ClockSkew,
    credential::KnownProofs,
    error::{ErrorKind, Problem, TokenError, printable},
    request_gate::{Class, Refusal, RequestGate, RequestOutcome},
    store::StoreError,
};

/// How long a connection may take to be made, TLS included.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long a busy front end may take to say more than that it is busy.
const DETAIL_TIME: Duration = Duration::from_secs(2);

/// The longest answer that is read; real ones have some kilobytes.
pub const BODY_LIMIT: usize = 256 * 1024;

/// Which addresses may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpPolicy {
    /// Only https.
    HttpsOnly,
    /// Plain http to this machine's loopback addresses too, for tests and the demonstration.
    LoopbackHttp,
}

/// A client with our bounds. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    machine_local: reqwest::Client,
    policy: HttpPolicy,
    /// What every request to an authority goes through, and as what.
    gate: Option<(Arc<RequestGate>, Class)>,
    /// What the authorities' clocks say about ours.
    skew: Arc<Skew>,
    /// Which client secrets the authorities have refused.
    known_proofs: Arc<KnownProofs>,
}

/// The client could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the HTTP client could not be made: {0}; check the system's proxy settings and the TLS configuration")]
pub struct HttpClientError(String);

/// Makes the client. `tls` carries the trusted roots and the one crypto provider. The system's proxy settings are
/// followed, but not under [`HttpPolicy::LoopbackHttp`].
pub fn client(tls: rustls::ClientConfig, policy: HttpPolicy) -> Result<HttpClient, HttpClientError> {
    build(tls, policy, None)
}

/// The same, with the resolver that the rest of the process uses.
pub fn client_with_resolver(
    tls: rustls::ClientConfig,
    policy: HttpPolicy,
    resolver: Arc<dyn Resolve>,
) -> Result<HttpClient, HttpClientError> {
    build(tls, policy, Some(resolver))
}

fn build(
    tls: rustls::ClientConfig,
    policy: HttpPolicy,
    resolver: Option<Arc<dyn Resolve>>,
) -> Result<HttpClient, HttpClientError> {
    let machine_local = machine_local::client(tls.clone()).map_err(|error| HttpClientError(root_cause(&error)))?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(policy == HttpPolicy::HttpsOnly)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIME)
        .timeout(REQUEST_TIME)
        .user_agent(concat!("oxpost/", env!("CARGO_PKG_VERSION")));
    if policy == HttpPolicy::LoopbackHttp {
        builder = builder.no_proxy();
    }
    if let Some(resolver) = resolver {
        builder = builder.dns_resolver(resolver);
    }
    let client = builder.build().map_err(|error| HttpClientError(root_cause(&error)))?;
    Ok(HttpClient { client, machine_local, policy, gate: None, skew: Arc::default(), known_proofs: Arc::default() })
}

/// Why there is no answer that `oauth2` could read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpFailure {
    #[error("is busy or failing (HTTP status {status})")]
    Busy { status: u16, retry_after: Option<Duration>, detail: String },
    #[error("could not be reached: {0}")]
    Unreachable(String),
    #[error("has a certificate that is not accepted: {text}")]
    Untrusted { problem: CertificateProblem, text: String },
    #[error("did not answer in time")]
    TimedOut,
    #[error("gave an answer of more than {BODY_LIMIT} bytes, which is no token")]
    TooLong,
    #[error("answered with something else than a token or an error (HTTP status {status}, {what})")]
    NotAnAnswer { status: u16, what: &'static str },
    #[error("has an address that is not https, and secrets are not sent there")]
    NotHttps,
    /// It was not asked, because the application cannot prove itself.
    #[error("was not asked: {problem}")]
    Unproved { kind: ErrorKind, problem: Problem },
    /// It was not asked, because the store could not say how the application proves itself.
    #[error("was not asked: {0}")]
    Store(StoreError),
    /// It was not asked, because its circuit is open.
    #[error("was not asked: {}", .0.problem)]
    Refused(Refusal),
}

impl HttpFailure {
    /// What it says of the authority, and not of the account that was asked about.
    fn went(&self, host: &str) -> RequestOutcome {
        let trouble = |throttled, retry_after| {
            RequestOutcome::Failed(RequestFailure { throttled, retry_after, reason: self.sentence(host) })
        };
        match self {
            Self::Busy { status, retry_after, .. } => trouble(*status == 429, *retry_after),
            Self::Unreachable(_) | Self::Untrusted { .. } | Self::TimedOut | Self::TooLong => trouble(false, None),
            // A refusal in another form than OAuth's may be about this one request; a page of another server is not.
            Self::NotAnAnswer { status: 400..=499, .. } => RequestOutcome::Answered,
            Self::NotAnAnswer { .. } => trouble(false, None),
            Self::NotHttps | Self::Unproved { .. } | Self::Store(_) | Self::Refused(_) => RequestOutcome::NotAsked,
        }
    }

    fn sentence(&self, host: &str) -> String {
        format!("The sign-in service at {host} {self}.")
    }

    fn unproved(error: TokenError) -> Self {
        let kind = error.kind();
        let problem = match error {
            TokenError::Transient { problem, .. }
            | TokenError::Paused { problem, .. }
            | TokenError::SignInRequired(problem)
            | TokenError::Misconfigured(problem) => problem,
            TokenError::Store(error) => Problem::new(error.to_string(), ""),
        };
        Self::Unproved { kind, problem }
    }

    pub(crate) fn into_error(self, host: &str) -> TokenError {
        let what = self.sentence(host);
        match self {
            Self::Refused(refusal) => refusal.into(),
            Self::Store(error) => error.into(),
            Self::Unproved { kind, problem } => TokenError::new(kind, problem),
            Self::NotHttps => {
                let remedy = "Write the token address with https:// in proxy.toml.";
                TokenError::Misconfigured(Problem::new(what, remedy))
            }
            Self::Busy { retry_after, detail, .. } => {
                let remedy = "If it lasts, see https://status.cloud.microsoft.";
                TokenError::Transient { retry_after, problem: Problem::retried(what, remedy).with_detail(&detail) }
            }
            Self::Untrusted { problem, text } => {
                let problem = Problem::retried(problem.explain(host), "").with_detail(&text);
                TokenError::Transient { retry_after: None, problem }
            }
            Self::Unreachable(_) | Self::TimedOut | Self::TooLong | Self::NotAnAnswer { .. } => {
                let remedy = "If it lasts, check the network, the firewall, the system's proxy settings and the address in proxy.toml.";
                TokenError::Transient { retry_after: None, problem: Problem::retried(what, remedy) }
            }
        }
    }
}

/// What a question without a secret in it brought.
pub(crate) struct Got {
    pub(crate) status: u16,
    /// The time on the other side (RFC 9110, 6.6.1).
    pub(crate) date: Option<SystemTime>,
    pub(crate) body: Vec<u8>,
}

impl HttpClient {
    /// What the authorities' clocks have said last about ours.
    pub(crate) fn clock_skews(&self, elapsed: Duration) -> Vec<ClockSkew> {
        self.skew.wrong(elapsed)
    }

    /// Changes whenever an authority's clock begins or ceases to disagree.
    pub(crate) fn clock_news(&self) -> tokio::sync::watch::Receiver<u64> {
        self.skew.news()
    }

    /// The same client, whose requests to authorities go through the gate.
    pub(crate) fn with_gate(self, gate: &Arc<RequestGate>, class: Class) -> Self {
        Self { gate: Some((gate.clone(), class)), ..self }
    }

    /// Fetches a page, whatever its status.
    pub(crate) async fn get(&self, url: &Url) -> Result<Got, HttpFailure> {
        if !self.may_ask(url) {
            return Err(HttpFailure::NotHttps);
        }
        let mut response = self.client.get(url.clone()).send().await.map_err(transport)?;
        let (status, date) = (response.status().as_u16(), date(response.headers()));
        Ok(Got { status, date, body: read_body(&mut response).await? })
    }

    fn may_ask(&self, url: &Url) -> bool {
        let loopback = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
            Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
            Some(Host::Domain(_)) | None => false,
        };
        url.scheme() == "https" || (self.policy == HttpPolicy::LoopbackHttp && url.scheme() == "http" && loopback)
    }
}

/// The time on the other side (RFC 9110, 6.6.1).
fn date(headers: &http::HeaderMap) -> Option<SystemTime> {
    headers.get(http::header::DATE)?.to_str().ok().and_then(retry_after::date)
}

/// Reads up to the bound; whatever comes after it is left unread, and the connection is dropped with the response.
async fn read_body(response: &mut reqwest::Response) -> Result<Vec<u8>, HttpFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(HttpFailure::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport(error: reqwest::Error) -> HttpFailure {
    if error.is_timeout() {
        return HttpFailure::TimedOut;
    }
    let error = error.without_url();
    match CertificateProblem::of(&error) {
        Some(problem) => HttpFailure::Untrusted { problem, text: root_cause(&error) },
        None => HttpFailure::Unreachable(root_cause(&error)),
    }
}

/// The innermost text, "connection refused" or "invalid peer certificate". The outer ones hold addresses and no cause.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    printable(&innermost.to_string())
}
