//! Files that are read again when they change. Those that cannot be used change nothing, and are reported once.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How often files are checked for changes.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Files that belong together, such as a certificate and its key, as they were when they were last read.
#[derive(Debug)]
pub(crate) struct WatchedFiles {
    paths: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    stamps: Vec<Option<Stamp>>,
    /// Whether they could not be used then.
    failed: bool,
}

/// What changes when a file is written.
type Stamp = (SystemTime, u64);

/// What came of reading changed files.
#[derive(Debug)]
pub(crate) enum Reread<T, E> {
    /// They can be used.
    Usable(T),
    /// They cannot be used, which is news since they were last read.
    Unusable(E),
}

impl WatchedFiles {
    /// Files that are read next: what is written while they are read is read again.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        let seen = Mutex::new(Seen { stamps: stamps(&paths), failed: false });
        Self { paths, seen }
    }

    /// Files that were read some time ago: the next check reads them once more.
    pub(crate) fn read_before(paths: Vec<PathBuf>) -> Self {
        Self { seen: Mutex::new(Seen { stamps: Vec::new(), failed: false }), paths }
    }

    /// Reads the files if they have changed, or could not be used. The files of a pair are rarely written at the same moment: one that
    /// does not match yet is tried again at the next check. None: nothing has changed, or it is known already that they cannot be used.
    pub(crate) fn read_if_changed<T, E>(&self, read: impl FnOnce() -> Result<T, E>) -> Option<Reread<T, E>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A pipe gives what it holds once.
        if self.paths.iter().any(|path| std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())) {
            return None;
        }
        let stamps = stamps(&self.paths);
        let is_news = stamps != seen.stamps;
        if !is_news && !seen.failed {
            return None;
        }
        let outcome = read();
        *seen = Seen { stamps, failed: outcome.is_err() };
        match outcome {
            Ok(usable) => Some(Reread::Usable(usable)),
            Err(error) => is_news.then_some(Reread::Unusable(error)),
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    paths.iter().map(stamp).collect()
}
