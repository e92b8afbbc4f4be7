//! Certificates whose files have changed are read again: those of the listeners, and those of the applications.

use std::time::SystemTime;

use oxpost_token_store::{ApplicationCertificate, Applications, Credential, SharedClock, Store};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::{CertificateFiles, Slot};
use crate::net::certificate::Certificates;
use crate::net::watched_files::{CHECK_INTERVAL, Reread, WatchedFiles};

/// All certificates that are read again.
pub(super) struct CertificateWatch {
    listeners: Certificates,
    applications: Vec<WatchedCertificate>,
    store: Store,
    clock: SharedClock,
}

/// One certificate of an application, and its files.
struct WatchedCertificate {
    application: String,
    certificate: ApplicationCertificate,
    files: CertificateFiles,
    watched: WatchedFiles,
}

impl CertificateWatch {
    pub(super) fn new(
        listeners: Certificates,
        applications: &Applications,
        files: &[(String, CertificateFiles)],
        store: Store,
        clock: SharedClock,
    ) -> Self {
        let watched = |(name, files): &(String, CertificateFiles)| WatchedCertificate::new(applications, name, files);
        Self { listeners, applications: files.iter().filter_map(watched).collect(), store, clock }
    }

    /// Reads changed files, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(CHECK_INTERVAL)).await.is_some() {
            self.listeners.reload_if_changed();
            for watched in &self.applications {
                if watched.reload_if_changed(self.clock.now()) {
                    watched.retry(&self.store).await;
                }
            }
        }
    }
}

impl WatchedCertificate {
    fn new(applications: &Applications, name: &str, files: &CertificateFiles) -> Option<Self> {
        let Credential::Certificate(certificate) = &applications.get(name)?.credential else { return None };
        Some(Self {
            application: name.to_owned(),
            certificate: certificate.clone(),
            // The configuration was read before the store was opened, and they may have changed since.
            watched: WatchedFiles::read_before(files.paths()),
            files: files.clone(),
        })
    }

    /// Whether another certificate takes its place.
    fn reload_if_changed(&self, now: SystemTime) -> bool {
        let slot = self.files.slot();
        let (before, which) = match slot {
            Slot::Current => (Some(self.certificate.current()), "certificate"),
            Slot::Next => (self.certificate.next(), "next certificate"),
        };
        let read = || {
            let (key, new) = match self.files.read() {
                Ok(new) => ("", Ok(new)),
                Err((key, sentence)) => (key, Err(sentence)),
            };
            let new = new.map_err(|sentence| format!("`{key}`: {sentence}"))?;
            let is_worse = !new.is_valid_at(now) && before.as_ref().is_some_and(|before| before.is_valid_at(now));
            match is_worse {
                true => Err(format!("the one with the thumbprint {} is not valid now.", new.thumbprint())),
                false => Ok(new),
            }
        };
        let application = self.application.as_str();
        match self.watched.read_if_changed(read) {
            Some(Reread::Usable(new)) if before.as_ref() != Some(&new) => {
                info!(application, thumbprint = new.thumbprint(), "the {which} of the application was replaced");
                match slot {
                    Slot::Current => self.certificate.replace_current(new),
                    Slot::Next => self.certificate.replace_next(new),
                }
                true
            }
            Some(Reread::Unusable(error)) => {
                warn!(
                    application,
                    "cannot use the new files of the {which} of the application; the previous one remains in use. {error} `oxpost check` says \
                     when they can be used"
                );
                false
            }
            Some(Reread::Usable(_)) | None => false,
        }
    }

    /// Accounts that failed because of the certificate do not wait longer.
    async fn retry(&self, store: &Store) {
        if let Err(error) = store.retry_failed_accounts(&self.application).await {
            debug!(application = self.application, "accounts that failed are retried later: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
