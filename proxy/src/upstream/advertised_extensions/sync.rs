//! Keeps the lists and the store in step: a task, so that no login waits for it.

use std::time::Duration;

use oxpost_token_store::{SharedClock, Store};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::AdvertisedExtensions;

/// How often the store is read for what other nodes have learned. It is a short query, whatever the number of accounts; and the most
/// often a server that changes its mind is written down.
const SYNC_INTERVAL: Duration = Duration::from_secs(10);

/// After so many syncs, which are five minutes, all accounts are read, to find which applications they use. One that comes into use
/// meanwhile counts from its first login on.
const SYNCS_BETWEEN_FULL_ONES: u32 = 30;

impl AdvertisedExtensions {
    /// Reads the store and writes to it until `stop`.
    pub async fn sync_with_store(&self, store: &Store, clock: &SharedClock, stop: &CancellationToken) {
        let store = &store.in_background();
        let mut syncs = 0;
        while !stop.is_cancelled() {
            match syncs {
                0 => self.sync_once(store, clock).await,
                _ => self.sync_lists(store, clock).await,
            }
            syncs = (syncs + 1) % SYNCS_BETWEEN_FULL_ONES;
            tokio::select! {
                () = tokio::time::sleep(SYNC_INTERVAL) => {}
                () = stop.cancelled() => {}
            }
        }
        self.write(store, clock).await;
    }

    /// Reads the store once, and writes what it does not have. What fails is done at the next look.
    pub async fn sync_once(&self, store: &Store, clock: &SharedClock) {
        match store.applications_in_use().await {
            Ok(applications) => self.applications_are_used(applications),
            Err(error) => return debug!(%error, "cannot read which applications are used"),
        }
        self.sync_lists(store, clock).await;
    }

    async fn sync_lists(&self, store: &Store, clock: &SharedClock) {
        match store.smtp_extensions().await {
            Ok(lists) => self.read_from_store(lists),
            Err(error) => return debug!(%error, "cannot read what SMTP servers offered"),
        }
        self.write(store, clock).await;
    }

    async fn write(&self, store: &Store, clock: &SharedClock) {
        for list in self.unwritten() {
            match store.save_smtp_extensions(&list, clock.now()).await {
                Ok(()) => {
                    let extensions = list.extensions.join(", ");
                    info!(server = list.host, port = list.port, extensions, "learned what this SMTP server offers");
                    self.written(list);
                }
                Err(error) => debug!(%error, server = list.host, "cannot store what this SMTP server offers"),
            }
        }
    }
}
