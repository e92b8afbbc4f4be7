//! The journal: what happened to each message, for `oxpost mail`.
//!
//! ```text
//! session ─▶ Journal::record ─▶ bounded buffer ─▶ writer task ─▶ a database of its own ─▶ Reader ─▶ oxpost mail
//! ```
//!
//! It is append-only events ([`event::JournalEvent`]), joined by the id of the message. A session never waits for it, and no mail
//! depends on it: what cannot be written is counted, and the journal itself says later how many events it lost.

mod cleaning;
mod database;
pub(crate) mod event;
mod id;
mod reader;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use tokio::sync::{Mutex, mpsc};
use tracing::{Level, warn};

pub(crate) use self::database::JournalPlace;
use self::event::JournalEvent;
use self::id::IdSource;
pub(crate) use self::reader::{Filter, Found, Reader};
use self::writer::Backlog;
use crate::config::JournalSettings;
use crate::log::rate_limit::LogRateLimit;

/// Most events that wait to be written: half a minute of the fastest mailbox pools that were measured. Those beyond are lost.
const WAITING: usize = 4096;

/// Most bytes of those events: one with a hundred recipients has 30 KiB.
const WAITING_BYTES: usize = 16 << 20;

/// Takes events, and writes them in one task.
pub struct Journal {
    ids: IdSource,
    node: String,
    place: Option<JournalPlace>,
    settings: JournalSettings,
    sender: mpsc::Sender<JournalEvent>,
    waiting_bytes: AtomicUsize,
    lost: AtomicU64,
    lost_line: LogRateLimit,
    backlog: Mutex<Backlog>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Journal {
    /// The journal of this process in a place, written under this name of the machine. Without a place, or if it is switched off, nothing
    /// is recorded.
    pub(crate) fn new(place: Option<JournalPlace>, settings: JournalSettings, node: &str) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            ids: IdSource::default(),
            node: node.to_owned(),
            place: place.filter(|_| settings.is_on()),
            settings,
            sender,
            waiting_bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            lost_line: LogRateLimit::new(Level::WARN, "an event was not recorded in the journal"),
            backlog: Mutex::new(Backlog::new(receiver)),
        }
    }

    /// A journal that records nothing.
    pub fn off() -> Self {
        Self::new(None, JournalSettings::default(), "")
    }

    /// One whose buffer is read by a test.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        let place = JournalPlace::File { path: "journal.db".into(), store: "oxpost.db".into() };
        Self::new(Some(place), JournalSettings::default(), "mx1")
    }

    /// What waits to be written.
    #[cfg(test)]
    pub(crate) fn waiting(self) -> Vec<JournalEvent> {
        self.backlog.into_inner().waiting()
    }

    /// An id for a message that begins now. It is made also where nothing is recorded, for the log.
    pub(crate) fn new_id(&self, now: SystemTime) -> String {
        self.ids.next(now)
    }

    /// Buffers an event. It never waits: beyond the bounds of the buffer the event is lost, and counted.
    pub(crate) fn record(&self, mut event: JournalEvent) {
        if self.place.is_none() {
            return;
        }
        event.node.clone_from(&self.node);
        let bytes = event.bytes();
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before.saturating_add(bytes) <= WAITING_BYTES;
        if !has_room || self.sender.try_send(event).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            if self.lost_line.permit() {
                warn!(
                    "an event was not recorded in the journal, because too many wait to be written; mail is not affected"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
