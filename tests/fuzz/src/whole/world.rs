//! What a session needs besides its two connections: a store in memory with one account and its token, and a context.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use oxpost::testing::{
    AdvertisedExtensions, BackOffs, BlockLimits, ConnectionSlots, Device, Dial, Journal, Limits, LogLimits,
    LoginOffers, LoginThrottle, Lookups, MailServer, MailService, Runtime, SendLimiter, SendingLimits, ServerContext,
    ServerTls, Servers, Settings, SlotLimits, SlotSettings, ThrottleLimits, UsageRecorder,
};
use oxpost_protocol::Secret;
use oxpost_token_store::database::sqlite::Sqlite;
use oxpost_token_store::database::{Database, DatabaseError, Outcome, Statement};
use oxpost_token_store::{
    Account, Accounts, AdmissionLimits, Application, Applications, Clock, Credential, Grant, HttpClient, HttpPolicy,
    Mailbox, PasswordHash, RefreshLimits, SenderMode, SenderPolicy, SharedClock, Store, TokenSet, Tokens, Vault,
};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::Url;

/// Who may log in, as in the transcripts.
pub const MAILBOX: &str = "alice@contoso.com";
pub const LOGIN: &str = "alice";
pub const PASSWORD: &str = "secret";

/// The token that is stored, and the one that another node stores while this one logs in.
pub const TOKENS: [&str; 2] = ["eyJhbGciOiJSUzI1NiJ9.Zmlyc3Q", "eyJhbGciOiJSUzI1NiJ9.c2Vjb25k"];

const HOST_NAME: &str = "mail.example";
const APPLICATION: &str = "default";

/// The bounds of the session; those of time are as in a configuration, but for the longest.
pub const LIMITS: Limits = Limits {
    login_timeout: Duration::from_secs(60),
    upstream_timeout: Duration::from_secs(60),
    idle_timeout: Duration::from_secs(300),
    smtp_command_timeout: Duration::from_secs(300),
    drain_timeout: Duration::from_secs(30),
    send_slot_timeout: Duration::from_secs(60),
};

/// Room for every session of a script.
const SLOTS: SlotSettings = SlotSettings {
    limits: SlotLimits {
        max_connections: 8,
        max_unauthenticated: 8,
        max_unauthenticated_per_source: 8,
        max_sessions_per_account: 8,
        max_sessions_per_delegate: 8,
        max_sessions_per_source: 8,
    },
    exempt_networks: Vec::new(),
};

/// What all sessions share: it costs too much to be made for each.
pub struct World {
    store: Store,
    http: HttpClient,
    tls: TlsConnector,
}

impl World {
    pub async fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        match WORLD.get() {
            Some(world) => world,
            None => {
                let world = Self::make().await;
                WORLD.get_or_init(|| world)
            }
        }
    }

    async fn make() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let engine = AtOnce(Sqlite::open_in_memory(oxpost_token_store::store::STORE_SCHEMA).await.unwrap());
        let store = Store::with(Arc::new(engine), Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
        let (mailbox, now) = (mailbox(), VirtualClock.now());
        let account =
            Account { login: LOGIN.to_owned(), ..Account::new(mailbox.clone(), APPLICATION, Grant::SignIn, now) };
        store.add_account(&account).await.unwrap();
        let hash = PasswordHash::of(&Secret::from(PASSWORD)).unwrap();
        store.set_password(&mailbox, "fuzz", &hash, now).await.unwrap();
        let http = oxpost_token_store::http::client(tls.clone(), HttpPolicy::HttpsOnly).unwrap();
        Self { store, http, tls: TlsConnector::from(Arc::new(tls)) }
    }

    /// A context that has seen nothing yet, but for the account and its token.
    pub async fn context(&self, smtp_tls: ServerTls, dial: Dial) -> ServerContext {
        self.have_token(TOKENS[0]);
        let clock: SharedClock = Arc::new(VirtualClock);
        let (store, http) = (self.store.clone(), self.http.clone());
        let applications = Applications::from_iter([application()]);
        let tokens = Tokens::new(store.clone(), applications, http, clock.clone(), RefreshLimits::default());
        let servers = servers(smtp_tls);
        let runtime = Runtime {
            slots: ConnectionSlots::new(SLOTS),
            login_throttle: LoginThrottle::new(throttle_limits(), store.clone(), clock.clone(), HOST_NAME.into()),
            accounts: Accounts::with_remote_verification(
                store.clone(),
                clock.clone(),
                AdmissionLimits::default(),
                tokens.clone(),
            ),
            store,
            tokens,
            clock,
            lookups: Lookups::default(),
            advertised_extensions: AdvertisedExtensions::new([(APPLICATION, &servers.smtp)].into_iter()),
            login_offers: LoginOffers::new([&servers].into_iter()),
            nodes: None,
            send_limiter: SendLimiter::new(LIMITS.send_slot_timeout),
            back_offs: BackOffs::default(),
            usage: UsageRecorder::default(),
            journal: Journal::off(),
            log_limits: LogLimits::default(),
        };
        let settings = Settings {
            servers: HashMap::from([(APPLICATION.to_owned(), servers)]),
            tls: self.tls.clone(),
            host_name: HOST_NAME.into(),
            limits: LIMITS,
            dial,
        };
        ServerContext { runtime: Arc::new(runtime), settings: Arc::new(settings) }
    }

    /// The store has this access token from now on. There is no refresh token, so the authority is never asked.
    pub fn have_token(&self, token: &str) {
        let tokens = TokenSet {
            access_token: Secret::from(token),
            lifetime: Duration::from_secs(30 * 24 * 3600),
            refresh_token: None,
            identity: None,
        };
        immediate(self.store.save_signed_in(&mailbox(), &tokens, Some(MAILBOX), VirtualClock.now())).unwrap();
    }
}

fn mailbox() -> Mailbox {
    Mailbox::parse(MAILBOX).unwrap()
}

/// Its authority is never asked: the account has no sign-in.
fn application() -> Application {
    let url = |path| Url::parse("https://login.example/").and_then(|authority| authority.join(path)).unwrap();
    Application {
        name: APPLICATION.into(),
        tenant: None,
        authorize_url: url("authorize"),
        authorize_parameters: Vec::new(),
        redirect_uri: None,
        token_url: url("token"),
        device_code_url: None,
        client_id: "fuzz".into(),
        credential: Credential::Secret,
        client_secret: None,
        next_client_secret: None,
        client_secret_expires: None,
        delegated_scopes: vec!["offline_access".into()],
        openid: false,
        app_scopes: Vec::new(),
    }
}

fn servers(smtp_tls: ServerTls) -> Servers {
    let server = |host: &str, port, tls| MailServer { host: host.into(), port, tls };
    Servers {
        imap: server("outlook.office365.com", 993, ServerTls::Implicit),
        pop3: server("outlook.office365.com", 995, ServerTls::Implicit),
        smtp: server("smtp.office365.com", 587, smtp_tls),
        smtp_initial_response: true,
        sending: SendingLimits { max_connections: 3, messages_per_minute: 6, recipients_per_day: 10 },
        service: MailService::Exchange,
    }
}

/// The client is a device of the account.
pub fn device(replaces_senders: bool) -> Device {
    let mode = if replaces_senders { SenderMode::Account } else { SenderMode::AsIs };
    Device {
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        account: mailbox(),
        senders: SenderPolicy { mode, ..SenderPolicy::default() },
        recipients: None,
        messages_per_minute: 4,
    }
}

fn throttle_limits() -> ThrottleLimits {
    let block = BlockLimits {
        after: 10,
        repeat_interval: Duration::from_secs(60),
        duration: Duration::from_secs(600),
        decay_interval: Duration::from_secs(600),
    };
    ThrottleLimits { block, failure_delay: Duration::from_secs(2), exempt_networks: Vec::new() }
}

/// The wall clock goes with tokio's, which stands still but where everybody waits.
struct VirtualClock;

impl Clock for VirtualClock {
    fn now(&self) -> SystemTime {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        let now = Instant::now();
        let began = *BEGAN.get_or_init(|| now);
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + now.saturating_duration_since(began)
    }

    fn elapsed(&self) -> Duration {
        self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// An engine that has answered before anything else happens: a paused clock does not wait for SQLite's own thread.
struct AtOnce(Sqlite);

#[async_trait]
impl Database for AtOnce {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        immediate(self.0.transaction(statements))
    }
}

/// Waits for what another thread does, and lets nothing else happen on this one.
fn immediate<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    // A task that has used its share of polls would be woken by the runtime, which waits for us.
    let mut work = pin!(tokio::task::coop::unconstrained(work));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}
