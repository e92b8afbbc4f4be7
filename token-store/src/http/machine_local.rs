//! HTTP without TLS, to services of this very machine: the only ones that plain http is spoken with. The address is one of
//! a handful, no proxy and no redirect is followed, and `localhost` means the loopback address whatever a resolver says.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, header};
use oxpost_protocol::Secret;
use tokio::time::timeout;
use url::{Host, Url};

use super::{HttpClient, HttpFailure, read_body, retry_after, transport};

/// How long an answer may take: the service itself may have to ask Microsoft, but is never far away.
const REQUEST_TIME: Duration = Duration::from_secs(15);

/// How long a connection may take: elsewhere than on an Azure VM this address does not answer.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// The instance metadata service of the clouds: link-local, so never routed.
const METADATA_SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// What the service said.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `WWW-Authenticate`.
    pub(crate) challenge: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// Whether an address is one of this machine's own, by plain http.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    let own = match url.host() {
        Some(Host::Ipv4(ip)) => ip == METADATA_SERVICE || IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "http" && own
}

/// The client for it.
pub(super) fn client(tls: rustls::ClientConfig) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .resolve("localhost", (Ipv4Addr::LOCALHOST, 0).into())
        .connect_timeout(CONNECT_TIME)
        .user_agent(concat!("oxpost/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Asks for a token, with the key that the service wants to see.
pub(crate) async fn get(
    http: &HttpClient,
    url: &Url,
    key: Option<&Secret>,
    now: SystemTime,
) -> Result<Answer, HttpFailure> {
    if !is_this_machine(url) {
        return Err(HttpFailure::NotHttps);
    }
    // The header keeps a server that was tricked into fetching an address of somebody's choice from getting a token.
    let mut request = http.machine_local.get(url.clone()).header("Metadata", "true");
    if let Some(key) = key {
        let shown = format!("Basic {}", key.reveal_str().unwrap_or_default());
        let mut value = HeaderValue::from_str(&shown).map_err(|_| HttpFailure::Unreachable("no header".to_owned()))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let exchange = async {
        let mut response = request.send().await.map_err(transport)?;
        let challenge = response.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let retry_after = retry_after::read(response.headers(), now);
        let status = response.status().as_u16();
        Ok(Answer { status, challenge, retry_after, body: read_body(&mut response).await? })
    };
    timeout(REQUEST_TIME, exchange).await.unwrap_or(Err(HttpFailure::TimedOut))
}
