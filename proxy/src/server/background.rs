//! The background tasks, and in which order they end. `docs/design.md` has a table of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::certificate_watch::CertificateWatch;
use super::supervise::supervise;
use crate::admin::clock_report;
use crate::admin::notify::notifier::Settings;
use crate::admin::notify::start::Own;
use crate::admin::notify::{Channels, Notifier};
use crate::config::Config;
use crate::context::ServerContext;

/// How long a stop waits for each task that still writes to the store: a store that hangs does not hold up the stop.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Creates the notifier; called again should it panic.
pub(super) type MakeNotifier = Box<dyn Fn() -> Notifier + Send + Sync>;

/// Makes what makes the notifier.
pub(super) fn make_notifier(config: &Config, context: &ServerContext, channels: Channels) -> MakeNotifier {
    let (store, clock) = (context.runtime.store.clone(), Arc::clone(&context.runtime.clock));
    let (applications, channels) = (config.applications.clone(), Arc::new(channels));
    let (settings, place) = (Settings::of(&config.notify, &config.host_name), config.own_files.clone());
    Box::new(move || {
        let own = Own::beside(&place);
        let (channels, clock) = (Arc::clone(&channels), Arc::clone(&clock));
        Notifier::new(&store, applications.clone(), channels, clock, settings.clone(), own)
    })
}

/// The tasks that a stop waits for.
pub(super) struct Background {
    refresher: JoinHandle<()>,
    notifier: JoinHandle<()>,
    extensions: JoinHandle<()>,
    node: JoinHandle<()>,
    usage: JoinHandle<()>,
    journal: JoinHandle<()>,
    last_session: CancellationToken,
}

impl Background {
    pub(super) fn start(
        context: &ServerContext,
        certificates: CertificateWatch,
        make_notifier: MakeNotifier,
        refreshes: bool,
        stop: &CancellationToken,
    ) -> Self {
        let last_session = CancellationToken::new();
        let certificates = Arc::new(certificates);
        tokio::spawn(supervise("certificates", stop.clone(), move |stop| {
            let certificates = Arc::clone(&certificates);
            async move { certificates.run(stop).await }
        }));
        spawn("blocks", stop, context, |context, stop| async move {
            context.runtime.login_throttle.watch_blocks(stop).await;
        });
        spawn("clock report", stop, context, clock_report::keep);
        Self {
            refresher: spawn("refresher", stop, context, move |context, stop| async move {
                if refreshes {
                    context.runtime.tokens.clone().keep_fresh(stop).await;
                }
            }),
            notifier: tokio::spawn(supervise("notifier", stop.clone(), move |stop| make_notifier().run(stop))),
            extensions: spawn("SMTP extensions", stop, context, |context, stop| async move {
                let runtime = &context.runtime;
                runtime.advertised_extensions.sync_with_store(&runtime.store, &runtime.clock, &stop).await;
            }),
            node: spawn("node", &last_session, context, |context, stop| async move {
                if let Some(nodes) = &context.runtime.nodes {
                    nodes.keep(stop).await;
                }
            }),
            usage: spawn("usage writer", &last_session, context, |context, stop| async move {
                let runtime = &context.runtime;
                runtime.usage.write_down(runtime.store.clone(), Arc::clone(&runtime.clock), stop).await;
            }),
            journal: spawn("journal", &last_session, context, |context, stop| async move {
                context.runtime.journal.write_down(Arc::clone(&context.runtime.clock), stop).await;
            }),
            last_session,
        }
    }

    /// Waits for the tasks in the order in which what they write becomes complete.
    pub(super) async fn finish(self, context: &ServerContext, sessions: &TaskTracker) {
        let _ = timeout(WRITE_TIMEOUT, sessions.wait()).await;
        if self.refresher.await.is_err() {
            error!("the token refresher panicked while stopping");
        }
        let _ = self.notifier.await;
        self.last_session.cancel();
        let _ = timeout(WRITE_TIMEOUT, context.runtime.accounts.wait_for_background_writes()).await;
        for task in [self.usage, self.journal, self.extensions, self.node] {
            let _ = timeout(WRITE_TIMEOUT, task).await;
        }
    }
}

/// Starts a supervised task.
fn spawn<F>(
    name: &'static str,
    stop: &CancellationToken,
    context: &ServerContext,
    make: impl Fn(ServerContext, CancellationToken) -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let context = context.clone();
    tokio::spawn(supervise(name, stop.clone(), move |stop| make(context.clone(), stop)))
}
