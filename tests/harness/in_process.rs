//! The proxy inside the test's own process, in front of a simulated tenant, on the tenant's clock: what the stories play
//! against.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oxpost::testing::{self, ServerContext};
use oxpost::{Config, Server};
use oxpost_protocol::Secret;
use oxpost_token_store::{Account, Grant, Mailbox, PasswordHash, TokenSet};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Problem, Settings};
use crate::office365::{Clock, Protocol, Tenant};

/// The mailbox of every story, unless it says otherwise.
pub const ALICE: &str = "alice@contoso.com";

/// The local password of every account.
pub const PASSWORD: &str = "correct-horse-battery";

/// The client id of the application of all stories.
pub const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";

impl oxpost_token_store::Clock for Clock {
    fn now(&self) -> SystemTime {
        Self::now(self)
    }

    fn elapsed(&self) -> Duration {
        Self::elapsed(self)
    }
}

/// A running proxy, and the tenant behind it.
pub struct InProcess {
    /// The tenant.
    pub tenant: Tenant,
    /// What the proxy's sessions share.
    pub context: ServerContext,
    addresses: Vec<(testing::Protocol, SocketAddr)>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

impl InProcess {
    /// Starts the proxy in front of a tenant; `more` is added to its configuration.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(tenant: Tenant, more: &str) -> Result<Self, Problem> {
        let settings = Settings { more: more.to_owned(), ..Settings::of(&tenant, CLIENT_ID) };
        Self::start_with(tenant, &settings).await
    }

    /// Starts the proxy in front of a tenant, configured like this.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_with(tenant: Tenant, settings: &Settings) -> Result<Self, Problem> {
        let folder = tempfile::tempdir()?;
        settings.write(folder.path())?;
        let problem = |error: &dyn std::fmt::Display| Problem::new(error.to_string());
        let mut config = Config::load(&folder.path().join("proxy.toml")).map_err(|error| problem(&error))?;
        // The name of the machine must not appear in a story.
        config.host_name = "gateway.example".into();
        // A slow machine must not make it look at the tokens of a story that counts requests.
        let server = Server::bind(config, Arc::new(tenant.clock())).await.map_err(|error| problem(&error))?;
        let server = server.without_refresher();
        let (context, addresses) = (server.context().clone(), server.addresses());
        let stop = CancellationToken::new();
        // A test that has ended does not wait for sessions.
        let serving = tokio::spawn(server.run(stop.clone(), stop.clone()));
        Ok(Self { tenant, context, addresses, stop, serving, _folder: folder })
    }

    /// Adds an account with the password of all stories.
    ///
    /// # Errors
    /// The store refuses it.
    pub async fn add_account(&self, mailbox: &str) -> Result<(), Problem> {
        let problem = |error: &dyn std::fmt::Display| Problem::new(error.to_string());
        let mailbox: Mailbox = Mailbox::parse(mailbox).map_err(|error| problem(&error))?;
        let now = self.tenant.clock().now();
        let account = Account::new(mailbox.clone(), "default", Grant::SignIn, now);
        let hash = PasswordHash::of(&Secret::from(PASSWORD)).map_err(|error| problem(&error))?;
        self.context.runtime.store.add_account(&account).await.map_err(|error| problem(&error))?;
        self.context.runtime.store.set_password(&mailbox, "default", &hash, now).await.map_err(|error| problem(&error))
    }

    /// A person signs in for an account: it has a refresh token then, and no access token that lives.
    ///
    /// # Errors
    /// The store refuses it.
    pub async fn sign_in(&self, mailbox: &str, person: &str) -> Result<(), Problem> {
        let problem = |error: &dyn std::fmt::Display| Problem::new(error.to_string());
        let refresh_token = self.tenant.grant_refresh_token(CLIENT_ID, person).map_err(|error| problem(&error))?;
        let tokens = TokenSet {
            access_token: Secret::from("long-gone"),
            lifetime: std::time::Duration::ZERO,
            refresh_token: Some(Secret::from(refresh_token)),
            identity: None,
        };
        let mailbox = Mailbox::parse(mailbox).map_err(|error| problem(&error))?;
        let now = self.tenant.clock().now();
        self.context
            .runtime
            .store
            .save_signed_in(&mailbox, &tokens, Some(person), now)
            .await
            .map_err(|error| problem(&error))
    }

    /// Where the proxy listens for a protocol.
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        let wanted = match protocol {
            Protocol::Imap => testing::Protocol::Imap,
            Protocol::Pop3 => testing::Protocol::Pop3,
            Protocol::Smtp => testing::Protocol::Smtp,
        };
        let found = self.addresses.iter().find(|(protocol, _)| *protocol == wanted);
        found.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)), |(_, address)| *address)
    }

    /// Stops the proxy and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}
