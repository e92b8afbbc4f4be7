//! Stories of the whole crate against a small token endpoint on a loopback socket.

mod admission;
mod alerts;
mod app_only;
mod browser;
mod certificates;
mod circuit_persistence;
mod circuits;
mod client_secrets;
mod credential;
mod delegates;
mod durability;
mod endpoint;
mod failures;
mod fixture;
mod full_disk;
mod growth;
mod interrupted_writes;
mod key_rotation;
mod lease;
mod mail_use;
mod maintenance;
mod migrations;
mod nodes;
#[cfg(unix)]
mod on_postgres;
mod outages;
mod password_grant;
mod patterns;
#[cfg(unix)]
mod postgres_engine;
mod reconcile;
mod refresh_load;
mod refresher;
mod remote_budget;
mod renamed;
mod renamed_password;
mod request_gate;
mod sealed_access;
mod sign_in;
mod single_flight;
mod smtp_extensions;
mod store;
mod upstream_refusals;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use oxpost_protocol::Secret;

use self::{
    endpoint::Endpoint,
    fixture::{fresh_engine, fresh_store},
};
use crate::{
    Account, Admitted, Application, Applications, Grant, HttpClient, HttpPolicy, Mailbox, ManualClock, RefreshLimits,
    SharedClock, Store, TokenSet, Tokens, Vault, http,
};

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn vault() -> Vault {
    Vault::from_key(&[7; 32]).unwrap()
}

fn mailbox(address: &str) -> Mailbox {
    Mailbox::parse(address).unwrap()
}

fn account(address: &str, grant: Grant) -> Account {
    Account::new(mailbox(address), "office", grant, start())
}

fn token_set(access: &str, refresh: Option<&str>) -> TokenSet {
    TokenSet {
        access_token: Secret::from(access),
        lifetime: HOUR,
        refresh_token: refresh.map(Secret::from),
        identity: None,
    }
}

fn http_client() -> HttpClient {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    http::client(tls, HttpPolicy::LoopbackHttp).unwrap()
}

fn application(endpoint: &Endpoint) -> Application {
    Application {
        name: "office".into(),
        tenant: Some("contoso.com".into()),
        authorize_url: endpoint.url("authorize"),
        authorize_parameters: Vec::new(),
        redirect_uri: None,
        openid: true,
        token_url: endpoint.url("token"),
        device_code_url: Some(endpoint.url("devicecode")),
        client_id: "11111111-2222-3333-4444-555555555555".into(),
        credential: crate::Credential::Secret,
        client_secret: None,
        client_secret_expires: None,
        next_client_secret: None,
        delegated_scopes: vec!["https://outlook.office.com/IMAP.AccessAsUser.All".into(), "offline_access".into()],
        app_scopes: vec!["https://outlook.office365.com/.default".into()],
    }
}

/// A store with one account, an authority, and a clock that only a test moves.
struct Bench {
    store: Store,
    clock: ManualClock,
    endpoint: Endpoint,
    tokens: Tokens,
    admitted: Admitted,
}

impl Bench {
    /// `ann@contoso.com` has signed in an hour's token ago, whose access token is `at-0` and whose refresh token `rt-0`.
    async fn signed_in() -> Self {
        Self::signed_in_to(fresh_store().await).await
    }

    async fn signed_in_to(store: Store) -> Self {
        let bench = Self::new(store, Grant::SignIn).await;
        bench.store.save_signed_in(bench.mailbox(), &token_set("at-0", Some("rt-0")), None, start()).await.unwrap();
        bench
    }

    /// An app-only account that has no token yet.
    async fn cold() -> Self {
        Self::new(fresh_store().await, Grant::ClientCredentials).await
    }

    async fn new(store: Store, grant: Grant) -> Self {
        let endpoint = Endpoint::start().await;
        let clock = ManualClock::new(start());
        let account = account("ann@contoso.com", grant);
        store.add_account(&account).await.unwrap();
        store.set_client_secret("office", &Secret::from("client~secret")).await.unwrap();
        let tokens = node(&store, application(&endpoint), &clock);
        Self { store, clock, endpoint, tokens, admitted: Admitted::authenticated(account) }
    }

    /// The tokens of another node, which remembers nothing.
    fn another_node(&self) -> Tokens {
        node(&self.store, application(&self.endpoint), &self.clock)
    }

    fn mailbox(&self) -> &Mailbox {
        &self.admitted.account().mailbox
    }

    fn clock_now(&self) -> SystemTime {
        crate::Clock::now(&self.clock)
    }

    fn shared_clock(&self) -> SharedClock {
        Arc::new(self.clock.clone())
    }

    async fn access_token(&self) -> Result<String, crate::TokenError> {
        self.tokens.access_token(&self.admitted).await.map(|token| text(token.secret()))
    }

    async fn stored_refresh_token(&self) -> Option<String> {
        match self.store.tokens(self.mailbox()).await.unwrap().refresh {
            crate::store::RefreshToken::Some(token) => Some(text(&token)),
            _ => None,
        }
    }
}

fn node(store: &Store, application: Application, clock: &ManualClock) -> Tokens {
    let applications = Applications::from_iter([application]);
    // Looking often costs nothing here, and no test depends on how often.
    let limits = RefreshLimits { look_every: Duration::from_millis(5), ..RefreshLimits::default() };
    Tokens::new(store.clone(), applications, http_client(), Arc::new(clock.clone()), limits)
}

/// Waits until something has happened that happens in its own time. The clock of the runtime does not go on meanwhile where it
/// is paused, and does not end this: that on the wall does, when nothing will come any more.
async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !happened().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
    }
}

/// The paused clock of the runtime stands still from here on, also while nothing happens but on a socket: a task that is
/// always ready keeps it from running ahead.
fn stand_still() {
    tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
}

fn text(secret: &Secret) -> String {
    secret.reveal_str().unwrap().to_owned()
}
