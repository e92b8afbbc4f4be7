//! The running proxy: its listeners, its refresher, and how it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use oxpost_token_store::SharedClock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::certificate::Certificates;
use crate::config::{Config, Protocol};
use crate::declared;
use crate::device;
use crate::drain::drain;
use crate::gateway::{Gateway, StartError};
use crate::listener::Bound;
use crate::notify::start::Own;
use crate::notify::watch::Settings;
use crate::notify::{Channels, Watch};

/// How long a supervised task rests before it is started again after a panic.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A proxy that has bound its addresses and opened its store, and does not serve yet.
pub struct Proxy {
    gateway: Arc<Gateway>,
    listeners: Vec<Bound>,
    certificates: Certificates,
    watch: Box<dyn Fn() -> Watch + Send + Sync>,
    refreshes: bool,
}

/// How long the end waits for what is still to be noted about logins, and about sessions.
const LAST_NOTES: Duration = Duration::from_secs(2);

impl Proxy {
    /// Opens the store and binds every listener.
    ///
    /// # Errors
    /// Something cannot be used; the message says what to do.
    pub async fn bind(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let gateway = Arc::new(Gateway::open(&config, clock).await?);
        let clock = Arc::clone(&gateway.clock);
        let now = clock.now();
        declared::reconcile(&config, &gateway.store, &[], now).await?;
        for mailbox in device::without_account(&config, Some(&gateway.store)).await.map_err(StartError::Store)? {
            warn!(%mailbox, "a device should send as this account, and there is none: oxpost account add {mailbox}");
        }
        gateway.advertised_extensions.look(&gateway.store, &clock).await;
        // They ended with the process that made them.
        gateway.store.forget_blocks(&gateway.host_name).await.map_err(StartError::Store)?;
        gateway.accounts.load_familiar_sources().await.map_err(StartError::Store)?;
        let watch = watch(&config, &gateway, clock)?;
        let (mut listeners, mut certificates) = (Vec::new(), Certificates::default());
        for listener in config.listeners {
            listeners.push(Bound::bind(listener, &mut certificates).await?);
        }
        Ok(Self { gateway, listeners, certificates, watch, refreshes: true })
    }

    /// Nothing is refreshed in the background: whoever counts requests counts those of logins.
    #[must_use]
    pub fn without_refresher(mut self) -> Self {
        self.refreshes = false;
        self
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<(Protocol, SocketAddr)> {
        self.listeners.iter().map(|bound| (bound.listener().protocol, bound.address())).collect()
    }

    /// What its sessions share.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Serves until `stop`, then lets the sessions that run finish within the drain timeout; `at_once` cuts that short.
    pub async fn run(self, stop: CancellationToken, at_once: CancellationToken) {
        let (sessions, hard_stop) = (TaskTracker::new(), CancellationToken::new());
        let mut accepting = JoinSet::new();
        for bound in self.listeners {
            info!(address = %bound.address(), protocol = %bound.listener().protocol, tls = ?bound.listener().tls, "listening");
            let (gateway, sessions) = (Arc::clone(&self.gateway), sessions.clone());
            accepting.spawn(bound.accept(gateway, sessions, stop.clone(), hard_stop.clone()));
        }
        let refreshing = if self.refreshes { stop.clone() } else { over() };
        let refresher = tokio::spawn(keep_refreshing(Arc::clone(&self.gateway), refreshing));
        tokio::spawn(self.certificates.look_after(stop.clone()));
        let (gateway, until) = (Arc::clone(&self.gateway), stop.clone());
        let learning = tokio::spawn(keep_learning(Arc::clone(&self.gateway), stop.clone()));
        tokio::spawn(async move { gateway.throttle.watch_blocks(until).await });
        tokio::spawn(crate::clock_report::keep(
            Arc::clone(&self.gateway),
            self.gateway.host_name.clone(),
            stop.clone(),
        ));
        let watching = tokio::spawn(keep_watching(self.watch, stop.clone()));
        let last_session = CancellationToken::new();
        let belonging = tokio::spawn(keep_belonging(Arc::clone(&self.gateway), last_session.clone()));
        let observing = tokio::spawn(keep_observing(Arc::clone(&self.gateway), last_session.clone()));
        tokio::select! {
            () = stop.cancelled() => {}
            // Half a proxy is worse than none: a service manager can only start again what has ended.
            Some(Err(_)) = accepting.join_next() => {
                error!("a listener has failed by a bug; stopping");
                stop.cancel();
            }
        }
        while accepting.join_next().await.is_some() {}
        sessions.close();
        drain(&self.gateway.slots, &sessions, self.gateway.limits.drain_timeout, &at_once).await;
        // Whatever is still there ends wherever it is, and with it the connections that it holds.
        hard_stop.cancel();
        let _ = tokio::time::timeout(LAST_NOTES, sessions.wait()).await;
        if refresher.await.is_err() {
            error!("the refresher did not end in order");
        }
        let _ = watching.await;
        // A store that hangs does not hold up the end.
        last_session.cancel();
        let _ = tokio::time::timeout(LAST_NOTES, self.gateway.accounts.wait_for_background_writes()).await;
        let _ = tokio::time::timeout(LAST_NOTES, observing).await;
        let _ = tokio::time::timeout(LAST_NOTES, learning).await;
        let _ = tokio::time::timeout(LAST_NOTES, belonging).await;
        info!("stopped");
    }
}

fn over() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}

/// The refresher, started again should it ever panic: without it every token dies within 90 minutes.
async fn keep_refreshing(gateway: Arc<Gateway>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let refresher = tokio::spawn(gateway.tokens.clone().keep_fresh(stop.clone()));
        if refresher.await.is_err() {
            error!("the refresher has failed by a bug; it is started again");
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }
}

/// What SMTP servers offer is read from the store and written to it.
async fn keep_learning(gateway: Arc<Gateway>, stop: CancellationToken) {
    loop {
        let (gateway, stop) = (Arc::clone(&gateway), stop.clone());
        let learning = tokio::spawn(async move {
            gateway.advertised_extensions.keep_in_step(&gateway.store, &gateway.clock, &stop).await;
        });
        if learning.await.is_ok() {
            return;
        }
        error!("the task that keeps lists of SMTP extensions panicked; restarting it");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// This process is one of the nodes that share the database until the last session has ended.
async fn keep_belonging(gateway: Arc<Gateway>, stop: CancellationToken) {
    let Some(nodes) = &gateway.nodes else { return };
    while !stop.is_cancelled() {
        let (nodes, stop) = (Arc::clone(nodes), stop.clone());
        if tokio::spawn(async move { nodes.keep(stop).await }).await.is_err() {
            error!("the task that tells other nodes that this one is alive panicked; restarting it");
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }
}

/// What sessions notice is written down until the last one has ended.
async fn keep_observing(gateway: Arc<Gateway>, stop: CancellationToken) {
    loop {
        let (gateway, stop) = (Arc::clone(&gateway), stop.clone());
        let observing = tokio::spawn(async move {
            gateway.observer.write_down(gateway.store.clone(), Arc::clone(&gateway.clock), stop).await;
        });
        if observing.await.is_ok() {
            return;
        }
        error!("what writes down what sessions notice has failed by a bug; it is started again");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// What watches over the accounts, made anew should it ever panic.
fn watch(
    config: &Config,
    gateway: &Gateway,
    clock: SharedClock,
) -> Result<Box<dyn Fn() -> Watch + Send + Sync>, StartError> {
    let channels = Channels::new(&config.notify, gateway.tls.config()).map_err(StartError::Http)?;
    let (store, applications, channels) = (gateway.store.clone(), config.applications.clone(), Arc::new(channels));
    let (settings, place) = (Settings::of(&config.notify, &config.host_name), config.own_files.clone());
    Ok(Box::new(move || {
        let own = Own::beside(&place);
        let (channels, clock) = (Arc::clone(&channels), Arc::clone(&clock));
        Watch::new(&store, applications.clone(), channels, clock, settings.clone(), own)
    }))
}

async fn keep_watching(watch: Box<dyn Fn() -> Watch + Send + Sync>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if tokio::spawn(watch().run(stop.clone())).await.is_err() {
            error!("what tells people to act has failed by a bug; it is started again");
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }
}
