//! `oxpost run`

use std::sync::Arc;
use std::time::SystemTime;

use oxpost_token_store::{Origin, SystemClock};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Failed;
use crate::admin::account_problems::account_problems;
use crate::admin::credential_expiry;
use crate::admin::notify;
use crate::config::Config;
use crate::platform::{self, Signal, Signals};
use crate::server::Server;

pub(super) async fn run(config: Config) -> Result<(), Failed> {
    crate::log::start(&config.log);
    raise_descriptor_limit(config.slots.limits.max_connections);
    for end in credential_expiry::ends(&config.applications, SystemTime::now())
        .iter()
        .filter(|end| end.is_near() && !end.has_passed())
    {
        warn!("{end}");
    }
    for warning in credential_expiry::secret_id_warnings(&config.applications) {
        warn!("{warning}");
    }
    let mut signals = Signals::new()?;
    let server = match Server::bind(config.clone(), Arc::new(SystemClock)).await {
        Ok(server) => server,
        Err(error) => {
            notify::start::failed(&config, &error, SystemTime::now()).await;
            return Err(error.into());
        }
    };
    report_start(&config, &server).await?;
    let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
    let serving = tokio::spawn(server.run(stop.clone(), at_once.clone()));
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => return Err(Failed::new(PANICKED)),
        () = stop_requested(&mut signals) => info!("stopping; a second signal stops immediately"),
    }
    stop.cancel();
    tokio::select! {
        _ = &mut serving => {}
        () = stop_requested(&mut signals) => {
            at_once.cancel();
            let _ = serving.await;
        }
    }
    Ok(())
}

/// Waits for a signal to stop. SIGHUP reloads nothing yet, and must not end sessions.
async fn stop_requested(signals: &mut Signals) {
    while signals.next().await == Signal::Reload {
        warn!("SIGHUP received; restart Oxpost to apply changes to proxy.toml");
    }
}

/// A service manager restarts the service then.
const PANICKED: &str = "the service panicked; the log shows where. Please report it";

/// File descriptors of one session: the client's and the server's connection.
const DESCRIPTORS_OF_A_SESSION: u64 = 2;

/// Those of everything else: the store, the authority, listeners, the runtime.
const OTHER_DESCRIPTORS: u64 = 128;

/// Asks the system for as many file descriptors as the configured connections need: the usual 1024 last for
/// 500 sessions; beyond that, logins and refreshes would fail.
fn raise_descriptor_limit(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    let wanted = wanted.saturating_mul(DESCRIPTORS_OF_A_SESSION).saturating_add(OTHER_DESCRIPTORS);
    match platform::raise_descriptor_limit(wanted) {
        Ok(granted) if granted < wanted => warn!(
            granted,
            wanted,
            "the limit of file descriptors is too low for [limits] max-connections; lower max-connections, or raise LimitNOFILE"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot raise the limit of file descriptors"),
    }
}

/// Logs what starts, and warns of what makes logins fail: a first start has no accounts yet.
async fn report_start(config: &Config, server: &Server) -> Result<(), Failed> {
    let accounts = server.context().runtime.store.accounts().await?;
    let used = accounts.iter().filter(|account| account.origin != Origin::Disabled).count();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        configuration = %config.file.display(),
        store = %config.store,
        accounts = used,
        listeners = config.listeners.len(),
        "Oxpost starts"
    );
    if server.context().settings.servers.is_empty() {
        warn!("proxy.toml has no [[application]] yet; add the tenant and client id of your app registration");
    } else if accounts.is_empty() {
        warn!("there are no accounts yet; add one: oxpost account add ADDRESS");
    }
    let store = &server.context().runtime.store;
    let applications = config.applications.with_secret_expiries(&store.secret_expiries().await?);
    for problem in account_problems(config, &applications, Some(store), SystemTime::now()).await? {
        warn!("{problem}");
    }
    Ok(())
}
