//! Whether the service runs, and which one: a lock that it holds as long as it lives, and a small file that describes it.
//!
//! The operating system releases the lock when the process ends, however it ends, so `oxpost status` and `oxpost doctor` never
//! mistake a killed service for a running one. Both files are next to this node's other files, also where the store is a
//! PostgreSQL database: they describe the service of this machine.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::timestamp::rfc3339;
use crate::config::{Config, Listener, StorePlace};
use crate::context::ServerContext;

/// After the name of this node's own files: an empty file that the service holds a shared lock on.
const LOCK_SUFFIX: &str = ".running";

/// After the name of this node's own files: the description, as JSON.
const RECORD_SUFFIX: &str = ".service";

/// The next description, before it replaces the old one.
const NEW_RECORD_SUFFIX: &str = ".service.new";

/// How often the number of sessions is written, if it has changed.
const UPDATE_EVERY: Duration = Duration::from_secs(10);

/// A command that looks holds the lock for microseconds; the service tries again that often before it gives up.
const LOCK_ATTEMPTS: u32 = 50;
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// What a service says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceRecord {
    /// The version of the program.
    pub(crate) version: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// When it started to serve (RFC 3339, UTC).
    pub(crate) since: String,
    /// The configuration file that it has read.
    pub(crate) configuration: PathBuf,
    /// The store, without credentials.
    pub(crate) store: String,
    /// Its listeners.
    pub(crate) listeners: Vec<RecordedListener>,
    /// Logged-in sessions, at most [`UPDATE_EVERY`] ago.
    pub(crate) sessions: usize,
}

/// A listener of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedListener {
    pub(crate) protocol: String,
    /// With the real port, also where the configuration says 0.
    pub(crate) address: SocketAddr,
    /// [`crate::config::ListenerTls::name`].
    pub(crate) tls: String,
}

impl RecordedListener {
    pub(crate) fn of(listener: &Listener, address: SocketAddr) -> Self {
        Self { protocol: listener.protocol.to_string(), address, tls: listener.tls.name().to_owned() }
    }
}

impl fmt::Display for RecordedListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}, {}", self.protocol, self.address, self.tls)
    }
}

impl ServiceRecord {
    /// Describes the service that this process becomes.
    pub(crate) fn of(config: &Config, now: SystemTime) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: rfc3339(Some(now)).unwrap_or_default(),
            configuration: absolute(&config.file),
            store: match &config.store {
                StorePlace::File(path) => absolute(path).display().to_string(),
                StorePlace::Postgres(_) => config.store.to_string(),
            },
            listeners: Vec::new(),
            sessions: 0,
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether a service of this node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServiceState {
    /// It runs. Its description is missing if it could not be written or read.
    Running(Option<ServiceRecord>),
    /// No process holds the lock.
    Stopped,
    /// The lock cannot be examined, for this reason.
    Unknown(String),
}

impl ServiceState {
    /// What is true at this moment of the service whose own files have this name.
    pub(crate) fn read(own_files: &Path) -> Self {
        let lock = with_suffix(own_files, LOCK_SUFFIX);
        let file = match File::open(&lock) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::Stopped,
            Err(error) => return Self::Unknown(format!("cannot open {}: {error}", lock.display())),
        };
        match file.try_lock() {
            Ok(()) => Self::Stopped,
            Err(TryLockError::WouldBlock) => Self::Running(read_record(own_files)),
            Err(TryLockError::Error(error)) => {
                Self::Unknown(format!("cannot examine the lock {}: {error}", lock.display()))
            }
        }
    }
}

fn read_record(own_files: &Path) -> Option<ServiceRecord> {
    serde_json::from_slice(&fs::read(with_suffix(own_files, RECORD_SUFFIX)).ok()?).ok()
}

/// The lock and the record of a service, from its start until it is dropped.
#[derive(Debug)]
pub(crate) struct RunningService {
    own_files: PathBuf,
    record: ServiceRecord,
    /// `None` where the lock cannot be held: status and doctor then say that they do not know.
    _lock: Option<File>,
}

impl RunningService {
    /// Locks and writes the record. A service that cannot do it serves all the same, and the log says so.
    pub(crate) async fn announce(own_files: &Path, record: ServiceRecord) -> Self {
        let lock = match lock(own_files).await {
            Ok(lock) => Some(lock),
            Err(error) => {
                let file = with_suffix(own_files, LOCK_SUFFIX);
                warn!(file = %file.display(), %error, "cannot lock the file that shows that the service runs; `oxpost status` cannot tell");
                None
            }
        };
        let service = Self { own_files: own_files.to_owned(), record, _lock: lock };
        service.write(service.record.sessions);
        service
    }

    /// Keeps the number of sessions in the record up to date until `stop`.
    pub(crate) async fn keep(self: Arc<Self>, context: ServerContext, stop: CancellationToken) {
        let mut written = self.record.sessions;
        while !stop.is_cancelled() {
            let sessions = context.runtime.slots.sessions();
            if sessions != written {
                self.write(sessions);
                written = sessions;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(UPDATE_EVERY) => {}
            }
        }
    }

    fn write(&self, sessions: usize) {
        // A full disk leaves an old number of sessions, and no mail waits for it.
        if let Err(error) = self.replace_record(&ServiceRecord { sessions, ..self.record.clone() }) {
            debug!(own_files = %self.own_files.display(), %error, "cannot describe the running service");
        }
    }

    /// Replaces the file as a whole, so that a command never reads half of it. It need not survive a power failure, as the service does not.
    fn replace_record(&self, record: &ServiceRecord) -> io::Result<()> {
        let (new, file) =
            (with_suffix(&self.own_files, NEW_RECORD_SUFFIX), with_suffix(&self.own_files, RECORD_SUFFIX));
        fs::write(&new, serde_json::to_vec(record)?)?;
        fs::rename(new, file)
    }
}

impl Drop for RunningService {
    fn drop(&mut self) {
        let _ = fs::remove_file(with_suffix(&self.own_files, RECORD_SUFFIX));
    }
}

async fn lock(own_files: &Path) -> io::Result<File> {
    let path = with_suffix(own_files, LOCK_SUFFIX);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    for _ in 1..LOCK_ATTEMPTS {
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE_BETWEEN_ATTEMPTS).await,
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(file),
        }
    }
    file.try_lock_shared()?;
    Ok(file)
}

fn with_suffix(own_files: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(own_files);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ServiceRecord {
        ServiceRecord {
            version: "1.2.3".into(),
            pid: 42,
            since: "2026-12-01T14:00:00Z".into(),
            configuration: "/etc/oxpost/proxy.toml".into(),
            store: "/var/lib/oxpost/oxpost.db".into(),
            listeners: vec![RecordedListener {
                protocol: "IMAP".into(),
                address: "127.0.0.1:1143".parse().unwrap(),
                tls: "plain text".into(),
            }],
            sessions: 3,
        }
    }

    #[tokio::test]
    async fn service_is_running_from_its_start_until_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let own_files = folder.path().join("oxpost.db");
        assert_eq!(ServiceState::read(&own_files), ServiceState::Stopped);
        let service = RunningService::announce(&own_files, record()).await;
        assert_eq!(ServiceState::read(&own_files), ServiceState::Running(Some(record())));
        drop(service);
        assert_eq!(ServiceState::read(&own_files), ServiceState::Stopped);
    }

    #[tokio::test]
    async fn record_of_a_killed_service_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let own_files = folder.path().join("oxpost.db");
        fs::write(with_suffix(&own_files, LOCK_SUFFIX), "").unwrap();
        fs::write(with_suffix(&own_files, RECORD_SUFFIX), serde_json::to_vec(&record()).unwrap()).unwrap();
        assert_eq!(ServiceState::read(&own_files), ServiceState::Stopped);
    }

    #[tokio::test]
    async fn damaged_record_still_means_running() {
        let folder = tempfile::tempdir().unwrap();
        let own_files = folder.path().join("oxpost.db");
        let service = RunningService::announce(&own_files, record()).await;
        fs::write(with_suffix(&own_files, RECORD_SUFFIX), "{\"version\":").unwrap();
        assert_eq!(ServiceState::read(&own_files), ServiceState::Running(None));
        drop(service);
    }

    #[tokio::test]
    async fn folder_that_cannot_be_written_does_not_stop_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let own_files = folder.path().join("no-such-folder/oxpost.db");
        let service = RunningService::announce(&own_files, record()).await;
        assert!(service._lock.is_none());
        assert_eq!(ServiceState::read(&own_files), ServiceState::Stopped);
    }
}
