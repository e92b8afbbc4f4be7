//! The running process: its listeners, its background tasks, and how it stops. The modules below are the data path.

pub(crate) mod authenticate;
pub(crate) mod background;
mod certificate_watch;
pub(crate) mod client_login;
pub(crate) mod device;
pub(crate) mod disconnect;
pub(crate) mod drain;
pub(crate) mod ended_before_login;
pub(crate) mod listener;
pub(crate) mod listener_context;
pub(crate) mod relay;
pub(crate) mod sender_policy;
pub(crate) mod session;
pub(crate) mod session_result;
pub(crate) mod startup;
pub(crate) mod submission;
pub(crate) mod supervise;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use oxpost_token_store::SharedClock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use self::background::{Background, MakeNotifier};
use self::certificate_watch::CertificateWatch;
use self::drain::drain;
use self::listener::BoundListener;
use self::startup::{Purpose, Startup};
use self::supervise::supervise;
use crate::admin::service_record::{RecordedListener, RunningService, ServiceRecord};
use crate::config::{Config, Protocol};
use crate::context::{ServerContext, StartError};

/// A server that has bound its addresses and opened its store, and does not serve yet.
pub struct Server {
    context: ServerContext,
    listeners: Vec<BoundListener>,
    certificates: CertificateWatch,
    make_notifier: MakeNotifier,
    own_files: PathBuf,
    record: ServiceRecord,
    refreshes: bool,
}

impl Server {
    /// Opens the store and binds every listener.
    ///
    /// # Errors
    /// The store, a certificate or an address cannot be used; the message says what to do.
    pub async fn bind(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let Startup { context, listeners, certificates, make_notifier } =
            Startup::begin(&config, clock, Purpose::Run).await?;
        // A start to serve always has them.
        let (Some(context), Some(make_notifier)) = (context, make_notifier) else {
            return Err(StartError::Http("the service could not be prepared".to_owned()));
        };
        let (store, clock) = (&context.runtime.store, &context.runtime.clock);
        for mailbox in device::without_account(&config, Some(store)).await.map_err(StartError::Store)? {
            warn!(%mailbox, "a [[listener.device]] sends as an account that does not exist; add it: oxpost account add {mailbox}");
        }
        let (own_files, mut record) = (config.own_files.clone(), ServiceRecord::of(&config, clock.now()));
        record.listeners =
            listeners.iter().map(|bound| RecordedListener::of(bound.listener(), bound.address())).collect();
        let (store, clock) = (context.runtime.store.clone(), Arc::clone(&context.runtime.clock));
        let files = config.certificate_files.as_slice();
        let certificates = CertificateWatch::new(certificates, &config.applications, files, store, clock);
        Ok(Self { context, listeners, certificates, make_notifier, own_files, record, refreshes: true })
    }

    /// Refreshes no token in the background, so that a test counts the token requests of logins alone.
    #[doc(hidden)]
    #[must_use]
    pub fn without_refresher(mut self) -> Self {
        self.refreshes = false;
        self
    }

    /// The addresses on which it listens.
    pub fn addresses(&self) -> Vec<(Protocol, SocketAddr)> {
        self.listeners.iter().map(|bound| (bound.listener().protocol, bound.address())).collect()
    }

    /// What its sessions share.
    #[doc(hidden)]
    pub fn context(&self) -> &ServerContext {
        &self.context
    }

    /// Serves until `stop`, then lets the sessions that run finish within the drain timeout; `stop_now` cuts that short.
    pub async fn run(self, stop: CancellationToken, stop_now: CancellationToken) {
        let Self { context, listeners, certificates, make_notifier, own_files, record, refreshes } = self;
        let running = Arc::new(RunningService::announce(&own_files, record).await);
        let (sessions, hard_stop) = (TaskTracker::new(), CancellationToken::new());
        let mut accepting = JoinSet::new();
        for bound in listeners {
            info!(address = %bound.address(), protocol = %bound.listener().protocol, tls = ?bound.listener().tls, "listening");
            accepting.spawn(bound.accept(context.clone(), sessions.clone(), stop.clone(), hard_stop.clone()));
        }
        let sessions_counted = {
            let (running, context) = (Arc::clone(&running), context.clone());
            let make = move |stop| Arc::clone(&running).keep(context.clone(), stop);
            tokio::spawn(supervise("service record", hard_stop.clone(), make))
        };
        let background = Background::start(&context, certificates, make_notifier, refreshes, &stop);
        tokio::select! {
            () = stop.cancelled() => {}
            // Half a server is worse than none: a service manager can only restart what has ended.
            Some(Err(_)) = accepting.join_next() => {
                error!("a listener panicked; stopping");
                stop.cancel();
            }
        }
        while accepting.join_next().await.is_some() {}
        sessions.close();
        drain(&context.runtime.slots, &sessions, context.settings.limits.drain_timeout, &stop_now).await;
        // Drops the sessions that remain, and their connections.
        hard_stop.cancel();
        background.finish(&context, &sessions).await;
        let _ = sessions_counted.await;
        drop(running);
        info!("stopped");
    }
}
