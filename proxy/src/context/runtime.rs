//! What lives as long as the process.

use std::sync::Arc;

use oxpost_token_store::http::client_with_resolver;
use oxpost_token_store::{Accounts, HttpPolicy, SharedClock, Store, Tokens};

use super::start_error::StartError;
use crate::config::Config;
use crate::journal::{Journal, JournalPlace};
use crate::limits::back_off::BackOffs;
use crate::limits::connection_slots::ConnectionSlots;
use crate::limits::login_throttle::LoginThrottle;
use crate::limits::nodes::{self, Nodes};
use crate::limits::send_limiter::SendLimiter;
use crate::log::limits::LogLimits;
use crate::monitor::usage_writer::UsageRecorder;
use crate::upstream::advertised_extensions::AdvertisedExtensions;
use crate::upstream::login_offers::LoginOffers;
use crate::upstream::lookups::Lookups;

/// The store, and what is counted, cached and measured while Oxpost runs.
pub struct Runtime {
    /// Accounts, tokens and what else is stored.
    pub store: Store,
    /// How many connections there may be.
    pub slots: ConnectionSlots,
    /// Bounds password guesses.
    pub login_throttle: LoginThrottle,
    /// Verifies passwords: local ones, and those that Microsoft verifies.
    pub accounts: Accounts,
    /// The access tokens of the accounts.
    pub tokens: Tokens,
    /// The database's clock where nodes share one, this machine's otherwise.
    pub clock: SharedClock,
    /// Name lookups of mail servers and authorities.
    pub lookups: Lookups,
    /// What SMTP clients are offered before they log in.
    pub advertised_extensions: AdvertisedExtensions,
    /// What mail servers offer at a login.
    pub login_offers: LoginOffers,
    /// This process among the nodes that share the store, if it is a shared one.
    pub nodes: Option<Arc<Nodes>>,
    /// Keeps mailboxes within the limits of mail servers.
    pub send_limiter: SendLimiter,
    /// For how long mail servers have asked not to be used.
    pub back_offs: BackOffs,
    /// Takes what is observed in sessions.
    pub usage: UsageRecorder,
    /// Takes what happens to messages.
    pub journal: Journal,
    /// Limits for log lines that unauthenticated clients can cause.
    pub log_limits: LogLimits,
}

impl Runtime {
    pub(super) fn new(
        store: Store,
        config: &Config,
        tls: &rustls::ClientConfig,
        clock: SharedClock,
    ) -> Result<Self, StartError> {
        // Nodes compare what they have stored by one clock.
        let clock = store.clock(clock);
        let lookups = Lookups::default();
        let http = client_with_resolver(tls.clone(), HttpPolicy::HttpsOnly, Arc::new(lookups.clone()))
            .map_err(|error| StartError::Http(error.to_string()))?;
        let tokens = Tokens::new(store.clone(), config.applications.clone(), http, Arc::clone(&clock), config.refresh);
        let accounts =
            Accounts::with_remote_verification(store.clone(), Arc::clone(&clock), config.admission, tokens.clone());
        let journal = JournalPlace::of(config, || Ok::<_, StartError>(tls.clone()))?;
        let send_limits = nodes::send_limits::summary(config.servers.values());
        let nodes = Nodes::of(&store, &config.host_name, send_limits).map(Arc::new);
        Ok(Self {
            slots: ConnectionSlots::with_accounts(config.slots.clone(), accounts.clone()),
            login_throttle: LoginThrottle::new(
                config.login_throttle.clone(),
                store.clone(),
                Arc::clone(&clock),
                config.host_name.clone(),
            ),
            accounts,
            store,
            tokens,
            clock,
            lookups,
            advertised_extensions: AdvertisedExtensions::new(
                config.servers.iter().map(|(application, servers)| (application.as_str(), &servers.smtp)),
            ),
            login_offers: LoginOffers::new(config.servers.values()),
            send_limiter: SendLimiter::new(config.limits.send_slot_timeout).shared_by(nodes.clone()),
            nodes,
            back_offs: BackOffs::default(),
            usage: UsageRecorder::default(),
            journal: Journal::new(Some(journal), config.journal.clone(), &config.host_name),
            log_limits: LogLimits::default(),
        })
    }
}
