//! What a start needs: `run` goes on with it, and `check` says what is missing. Both begin here, so that what one of them requires the other
//! requires too, and all that is wrong is said together.

use std::io;

use oxpost_token_store::{SharedClock, Store};
use tokio_rustls::TlsAcceptor;

use super::background::{self, MakeNotifier};
use super::listener::BoundListener;
use crate::admin::notify::Channels;
use crate::admin::reconcile;
use crate::admin::service_record::ServiceState;
use crate::config::{Config, Listener, ListenerTls, NO_LISTENER};
use crate::config::{ConfigError, StorePlace};
use crate::context::{ServerContext, StartError, may_create_store, open_existing_store, open_store, trust};
use crate::net::certificate::Certificates;
use crate::net::socket;

/// Why a start is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To serve. The store is created if there is none, and its accounts become those of the configuration.
    Run,
    /// To say whether it would succeed now, for the same user in the same environment. Nothing is created or changed, and what the running
    /// service of this node uses is not in its way.
    Check,
}

/// Everything that a start needs.
pub(crate) struct Startup {
    /// What sessions share. `None`: a check, before the first start.
    pub(crate) context: Option<ServerContext>,
    pub(super) listeners: Vec<BoundListener>,
    pub(super) certificates: Certificates,
    pub(super) make_notifier: Option<MakeNotifier>,
}

impl Startup {
    /// Obtains everything.
    ///
    /// # Errors
    /// All that is wrong. Each message says what to do, and has the line of the configuration where it has one.
    pub(crate) async fn begin(config: &Config, clock: SharedClock, purpose: Purpose) -> Result<Self, StartError> {
        let mut problems = Problems(Vec::new());
        if config.listeners.is_empty() {
            problems.add(StartError::Config(ConfigError::of_file(&config.file, vec![(None, NO_LISTENER.to_owned())])));
        }
        let tls = problems.keep(trust(config));
        let channels =
            tls.as_ref().and_then(|tls| problems.keep(Channels::new(&config.notify, tls).map_err(StartError::Http)));
        // The way to a database is the same as that to mail servers.
        let store = match (&config.store, &tls) {
            (StorePlace::Postgres(_), None) => None,
            _ => problems.keep(store(config, purpose).await).flatten(),
        };
        let mut context = None;
        if let (Some(store), Some(tls)) = (store, tls) {
            context = problems.keep(ServerContext::with(store, config, tls, clock));
        }
        if let Some(context) = &context {
            problems.keep(prepare(config, context, purpose).await);
        }
        let running = match purpose {
            Purpose::Run => None,
            Purpose::Check => Some(ServiceState::read(&config.own_files)),
        };
        let (mut listeners, mut certificates) = (Vec::new(), Certificates::default());
        for listener in &config.listeners {
            let acceptor = problems.keep(acceptor(config, listener, &mut certificates));
            match socket::listen(listener.address) {
                Ok(socket) => {
                    if let Some(acceptor) = acceptor {
                        listeners.extend(
                            problems.keep(
                                BoundListener::of(listener.clone(), acceptor, socket)
                                    .map_err(|error| StartError::address(config, listener, &error)),
                            ),
                        );
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && serves(running.as_ref(), listener) => {}
                Err(error) => problems.add(StartError::address(config, listener, &error)),
            }
        }
        problems.none()?;
        let make_notifier = context
            .as_ref()
            .zip(channels)
            .map(|(context, channels)| background::make_notifier(config, context, channels));
        Ok(Self { context, listeners, certificates, make_notifier })
    }
}

/// What is wrong so far.
struct Problems(Vec<StartError>);

impl Problems {
    fn add(&mut self, problem: StartError) {
        self.0.push(problem);
    }

    fn keep<T>(&mut self, result: Result<T, StartError>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    fn none(mut self) -> Result<(), StartError> {
        match (self.0.pop(), self.0.is_empty()) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                self.0.push(last);
                Err(StartError::Several(self.0))
            }
        }
    }
}

/// The store; `None` if a check finds that the first start would create it.
async fn store(config: &Config, purpose: Purpose) -> Result<Option<Store>, StartError> {
    match purpose {
        Purpose::Run => open_store(config).await.map(Some),
        Purpose::Check => {
            let store = open_existing_store(config).await?;
            if store.is_none() {
                may_create_store(config)?;
            }
            Ok(store)
        }
    }
}

/// Makes the store ready, or says whether it can be made so.
async fn prepare(config: &Config, context: &ServerContext, purpose: Purpose) -> Result<(), StartError> {
    let (store, clock) = (&context.runtime.store, &context.runtime.clock);
    if purpose == Purpose::Check {
        reconcile::check(config, store).await?;
    } else {
        reconcile::reconcile(config, store, &[], clock.now()).await?;
        context.runtime.advertised_extensions.sync_once(store, clock).await;
        // Blocks end with the process that made them.
        store.forget_blocks(&context.settings.host_name).await.map_err(StartError::Store)?;
    }
    context.runtime.accounts.load_familiar_sources().await.map_err(StartError::Store)
}

/// How a listener speaks TLS, if it does.
fn acceptor(
    config: &Config,
    listener: &Listener,
    certificates: &mut Certificates,
) -> Result<Option<TlsAcceptor>, StartError> {
    let Some((certificate, key)) = listener.certificate.as_ref().filter(|_| listener.tls != ListenerTls::None) else {
        return Ok(None);
    };
    let made = certificates.watch(certificate, key).and_then(|watched| watched.server_config());
    made.map(|made| Some(TlsAcceptor::from(std::sync::Arc::new(made))))
        .map_err(|error| StartError::certificate(config, listener, &error))
}

/// Whether the service of this node has this address, and would free it for its successor.
fn serves(running: Option<&ServiceState>, listener: &Listener) -> bool {
    let Some(ServiceState::Running(Some(record))) = running else { return false };
    record.listeners.iter().any(|recorded| recorded.address == listener.address)
}
