//! `oxpost run`

use std::sync::Arc;

use oxpost_token_store::SystemClock;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Failed;
use crate::config::Config;
use crate::platform::{self, Signals};
use crate::proxy::Proxy;

pub(super) async fn run(config: Config) -> Result<(), Failed> {
    crate::log::start(&config.log);
    if let Err(error) = platform::forbid_core_dumps() {
        warn!(%error, "core dumps could not be switched off; a crash could write tokens to disk");
    }
    if config.listeners.is_empty() {
        return Err(Failed::new("proxy.toml has no [[listener]], so there is nothing to serve. Add one."));
    }
    let mut signals = Signals::new()?;
    let proxy = Proxy::bind(config, Arc::new(SystemClock)).await?;
    say_what_is_missing(&proxy).await?;
    let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
    let serving = tokio::spawn(proxy.run(stop.clone(), at_once.clone()));
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map_err(|_| Failed::new("the proxy ended by a bug; the log has its place")),
        () = signals.next() => info!("stopping; once more stops at once"),
    }
    stop.cancel();
    tokio::select! {
        _ = &mut serving => {}
        () = signals.next() => {
            at_once.cancel();
            let _ = serving.await;
        }
    }
    Ok(())
}

/// A first start has no accounts yet: say what comes next instead of refusing every login without a word.
async fn say_what_is_missing(proxy: &Proxy) -> Result<(), Failed> {
    let accounts = proxy.gateway().store.accounts().await?;
    if proxy.gateway().servers.is_empty() {
        warn!("proxy.toml has no [[application]] yet; add the tenant and client id of your app registration");
    } else if accounts.is_empty() {
        warn!("there is no account yet; add one with: oxpost account add ADDRESS");
    }
    for account in accounts {
        if !proxy.gateway().servers.contains_key(&account.application) {
            warn!(
                mailbox = %account.mailbox,
                application = account.application,
                "proxy.toml has no [[application]] of this name; the account cannot log in"
            );
        }
    }
    Ok(())
}
