//! Keeps the lists and the store in step: a task, so that no login waits for it.

use std::time::Duration;

use oxpost_token_store::{SharedClock, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::AdvertisedExtensions;

/// How often the store is read, so that an account that was added counts before its mail program is set up, and what other
/// nodes have learned. It is two short queries, whatever the number of clients; and the most often a server that changes
/// its mind is written down.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl AdvertisedExtensions {
    /// Reads the store and writes to it until `stop`.
    pub async fn keep_in_step(&self, store: &Store, clock: &SharedClock, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.look(store, clock).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
        self.write(store, clock).await;
    }

    /// Reads the store once, and writes what it does not have. What fails is done at the next look.
    pub async fn look(&self, store: &Store, clock: &SharedClock) {
        match read(store).await {
            Ok((lists, applications)) => self.read_from_store(lists, applications),
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

type Read = (Vec<oxpost_token_store::store::smtp_extensions::SmtpExtensions>, Vec<String>);

async fn read(store: &Store) -> Result<Read, StoreError> {
    Ok((store.smtp_extensions().await?, store.applications_in_use().await?))
}
