//! A certificate in use, reloaded when its files change: new connections use the new one, existing ones are not affected. Files
//! that cannot be used change nothing, and are logged once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{info, warn};

use super::info::CertificateInfo;
use crate::net::tls::{self, TlsError};
use crate::net::watched_files::{Reread, WatchedFiles};

/// The certificates of all listeners.
#[derive(Debug, Clone, Default)]
pub(crate) struct Certificates(Vec<Arc<WatchedCertificate>>);

/// A certificate and its key, as they are in their files.
#[derive(Debug)]
pub(crate) struct WatchedCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    files: WatchedFiles,
}

impl Certificates {
    /// The certificate of these files, for one more listener.
    ///
    /// # Errors
    /// They cannot be used.
    pub(crate) fn watch(&mut self, certificate: &Path, key: &Path) -> Result<Arc<WatchedCertificate>, TlsError> {
        let known = self.0.iter().find(|watched| watched.certificate == certificate && watched.key == key);
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let watched = Arc::new(WatchedCertificate::open(certificate, key)?);
        self.0.push(Arc::clone(&watched));
        Ok(watched)
    }

    /// Reloads certificates whose files have changed.
    pub(crate) fn reload_if_changed(&self) {
        for watched in &self.0 {
            watched.reload_if_changed();
        }
    }
}

impl WatchedCertificate {
    fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = WatchedFiles::new(vec![certificate.to_owned(), key.to_owned()]);
        let current = tls::certified_key(certificate, key)?;
        warn_if_expiring(certificate, &current);
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(current)),
            files,
        })
    }

    /// How a listener answers with it.
    ///
    /// # Errors
    /// The cryptographic provider does not fit, which it always does.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        tls::server_config_with(Arc::clone(self) as Arc<dyn ResolvesServerCert>)
            .map_err(|error| TlsError::Unusable(self.certificate.clone(), error))
    }

    /// Reloads the files if they have changed.
    pub(crate) fn reload_if_changed(&self) {
        match self.files.read_if_changed(|| tls::certified_key(&self.certificate, &self.key)) {
            None => {}
            Some(Reread::Usable(new)) => {
                let new = Arc::new(new);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
                info!(certificate = %self.certificate.display(), "certificate reloaded");
                warn_if_expiring(&self.certificate, &new);
            }
            Some(Reread::Unusable(error)) => {
                warn!("cannot use the new certificate; keeping the previous one: {error}");
            }
        }
    }
}

impl ResolvesServerCert for WatchedCertificate {
    /// One certificate for all names: old clients do not send the name they want.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn warn_if_expiring(path: &Path, key: &CertifiedKey) {
    let info = key.cert.first().and_then(CertificateInfo::of);
    if let Some(info) = info.filter(|info| info.expires_soon(SystemTime::now())) {
        warn!(certificate = %path.display(), expires = info.expiry_date(), "the certificate expires soon or has expired; `oxpost cert` renews certificates that it created");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::certificates::Authority;

    struct Files {
        folder: tempfile::TempDir,
        authority: Authority,
        writes: u64,
    }

    impl Files {
        fn new() -> Self {
            let authority = Authority::make("test", SystemTime::now()).unwrap();
            Self { folder: tempfile::tempdir().unwrap(), authority, writes: 0 }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Each write has its own time, however fast the test runs.
        fn write(&mut self, name: &str, text: &str) {
            self.writes += 1;
            let path = self.path(name);
            std::fs::write(&path, text).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + self.writes);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }

        fn issue(&self) -> crate::admin::certificates::Pair {
            self.authority.issue(&["localhost".into()], SystemTime::now()).unwrap()
        }
    }

    #[test]
    fn certificate_is_reloaded_when_both_files_match() {
        let mut files = Files::new();
        let (old, new) = (files.issue(), files.issue());
        files.write("crt", &old.certificate);
        files.write("key", &old.key);
        let mut certificates = Certificates::default();
        let watched = certificates.watch(&files.path("crt"), &files.path("key")).unwrap();
        let twice = certificates.watch(&files.path("crt"), &files.path("key")).unwrap();
        assert!(Arc::ptr_eq(&watched, &twice), "read once for all listeners");
        let current = || Arc::clone(&watched.current.read().unwrap());
        let before = current();
        watched.reload_if_changed();
        assert!(Arc::ptr_eq(&before, &current()), "nothing has changed");

        files.write("crt", &new.certificate);
        watched.reload_if_changed();
        assert!(Arc::ptr_eq(&before, &current()), "the key is not there yet");
        files.write("crt", "garbage");
        watched.reload_if_changed();
        std::fs::remove_file(files.path("crt")).unwrap();
        watched.reload_if_changed();
        assert!(Arc::ptr_eq(&before, &current()), "what cannot be used changes nothing");

        files.write("crt", &new.certificate);
        files.write("key", &new.key);
        watched.reload_if_changed();
        let after = current();
        assert_ne!(before.cert, after.cert);
        watched.reload_if_changed();
        assert!(Arc::ptr_eq(&after, &current()));
    }

    #[test]
    fn failed_reload_is_retried_without_a_change() {
        let mut files = Files::new();
        let (old, new) = (files.issue(), files.issue());
        files.write("crt", &old.certificate);
        files.write("key", &old.key);
        let watched = Certificates::default().watch(&files.path("crt"), &files.path("key")).unwrap();
        files.write("crt", &new.certificate);
        watched.reload_if_changed();
        // Written so that its stamp is the old one.
        std::fs::write(files.path("key"), &new.key).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_002);
        std::fs::File::options().write(true).open(files.path("key")).unwrap().set_modified(time).unwrap();
        watched.reload_if_changed();
        let current = watched.current.read().unwrap();
        assert_eq!(
            CertificateInfo::of(current.cert.first().unwrap()),
            CertificateInfo::of_pem(new.certificate.as_bytes())
        );
    }
}
