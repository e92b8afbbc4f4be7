//! The task that writes the journal, and cleans it between two writes.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use oxpost_token_store::SharedClock;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::cleaning::{CLEAN_AFTER_EVENTS, CLEAN_EVERY, ClockGuard, oldest_kept, surplus};
use super::database::{BATCH, JournalDatabase, JournalError, JournalPlace, move_aside};
use super::event::{Detail, JournalEvent, Kind};
use super::{Journal, WAITING};

/// After a failure the journal is tried again this much later, while events wait in memory.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A damaged journal is moved aside no more often than this: a disk that damages each new one must not be filled with them.
const MOVE_EVERY: Duration = Duration::from_secs(3600);

/// How often a failure that lasts is logged.
const LOG_FAILURE_EVERY: Duration = Duration::from_secs(600);

/// What waits to be written. It outlives the task, should that panic.
pub(super) struct Backlog {
    receiver: mpsc::Receiver<JournalEvent>,
    /// Taken out of the channel, and not written yet; at most [`BATCH`].
    batch: Vec<JournalEvent>,
}

impl Backlog {
    pub(super) fn new(receiver: mpsc::Receiver<JournalEvent>) -> Self {
        Self { receiver, batch: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn waiting(mut self) -> Vec<JournalEvent> {
        std::iter::from_fn(|| self.receiver.try_recv().ok()).collect()
    }
}

impl Journal {
    /// Writes events until `stop`; then writes those that wait, and ends.
    pub async fn write_down(&self, clock: SharedClock, stop: CancellationToken) {
        let Some(place) = &self.place else { return };
        let mut backlog = self.backlog.lock().await;
        let Backlog { receiver, batch } = &mut *backlog;
        let mut writer = Writer::new(self, place, &clock);
        let mut is_open = true;
        // Opened now, so that what is wrong with it is logged at the start.
        writer.open().await;
        while is_open {
            let has_room = batch.len() < BATCH;
            tokio::select! {
                () = stop.cancelled() => is_open = false,
                count = receiver.recv_many(batch, BATCH.saturating_sub(batch.len())), if has_room => is_open = count > 0,
                () = sleep_until(writer.retry_at), if !batch.is_empty() => {}
                () = sleep_until(writer.clean_at) => writer.clean().await,
            }
            writer.write(batch).await;
        }
        for _ in 0..=WAITING / BATCH {
            while batch.len() < BATCH
                && let Ok(event) = receiver.try_recv()
            {
                batch.push(event);
            }
            writer.retry_at = Instant::now();
            let is_done = batch.is_empty();
            if !writer.write(batch).await || is_done {
                break;
            }
        }
        let left = batch.len() + receiver.len();
        if left > 0 {
            error!(events = left, "the journal could not be written before the stop; mail is not affected");
        }
    }
}

struct Writer<'a> {
    journal: &'a Journal,
    place: &'a JournalPlace,
    clock: &'a SharedClock,
    database: Option<JournalDatabase>,
    retry_at: Instant,
    /// When a failure that lasts was last logged.
    failure_logged: Option<Instant>,
    /// When a damaged journal was last moved aside.
    moved_at: Option<Instant>,
    clean_at: Instant,
    written_since_cleaning: u64,
    guard: ClockGuard,
}

impl<'a> Writer<'a> {
    fn new(journal: &'a Journal, place: &'a JournalPlace, clock: &'a SharedClock) -> Self {
        let now = Instant::now();
        Self {
            journal,
            place,
            clock,
            database: None,
            retry_at: now,
            failure_logged: None,
            moved_at: None,
            clean_at: now + CLEAN_EVERY,
            written_since_cleaning: 0,
            guard: ClockGuard::new(clock.now(), now),
        }
    }

    /// The open database, opened now if it was not; a damaged file is moved aside first.
    async fn open(&mut self) -> Option<JournalDatabase> {
        if self.database.is_none() {
            match JournalDatabase::open(self.place).await {
                Ok(database) => self.database = Some(database),
                Err(error) => self.fail(&error).await,
            }
        }
        self.database.clone()
    }

    /// Writes the batch, if a retry is due. `false` if it failed.
    async fn write(&mut self, batch: &mut Vec<JournalEvent>) -> bool {
        if Instant::now() < self.retry_at {
            return true;
        }
        let lost = self.journal.lost.swap(0, Ordering::Relaxed);
        if batch.is_empty() && lost == 0 {
            return true;
        }
        let Some(database) = self.open().await else {
            self.journal.lost.fetch_add(lost, Ordering::Relaxed);
            return false;
        };
        let gap = (lost > 0).then(|| self.gap(lost));
        batch.extend(gap);
        let written = database.add(batch).await;
        drop(database);
        let error = match written {
            Ok(()) => {
                self.succeed(batch);
                return true;
            }
            Err(error) => error,
        };
        if lost > 0 {
            batch.pop();
            self.journal.lost.fetch_add(lost, Ordering::Relaxed);
        }
        if error.is_of_the_rows() {
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            self.journal.lost.fetch_add(count, Ordering::Relaxed);
            self.forget(batch);
        }
        self.fail(&error).await;
        false
    }

    fn succeed(&mut self, batch: &mut Vec<JournalEvent>) {
        if self.failure_logged.take().is_some() {
            info!(journal = %self.place, "the journal is written again");
        }
        self.written_since_cleaning =
            self.written_since_cleaning.saturating_add(u64::try_from(batch.len()).unwrap_or(u64::MAX));
        if self.written_since_cleaning >= CLEAN_AFTER_EVENTS {
            self.clean_at = Instant::now();
        }
        self.forget(batch);
    }

    /// The events of the batch no longer wait.
    fn forget(&self, batch: &mut Vec<JournalEvent>) {
        let bytes = batch.iter().filter(|event| event.kind != Kind::NotRecorded).map(JournalEvent::bytes).sum();
        self.journal.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        batch.clear();
    }

    /// The journal says that it lost events.
    fn gap(&self, lost: u64) -> JournalEvent {
        let now = self.clock.now();
        JournalEvent {
            id: self.journal.new_id(now),
            step: 0,
            at: now,
            kind: Kind::NotRecorded,
            account: String::new(),
            node: self.journal.node.clone(),
            detail: Detail { lost, ..Detail::default() },
        }
    }

    async fn fail(&mut self, error: &JournalError) {
        let now = Instant::now();
        self.retry_at = now + RETRY_AFTER;
        let mut hindrance = None;
        if let (true, JournalPlace::File { path, .. }) = (error.is_damage(), self.place)
            && self.moved_at.is_none_or(|at| now.saturating_duration_since(at) >= MOVE_EVERY)
        {
            self.database = None;
            match move_aside(path, &self.journal.new_id(self.clock.now())).await {
                Ok(kept) => {
                    self.moved_at = Some(now);
                    error!(
                        journal = %path.display(), kept = %kept.display(),
                        "the journal was damaged and was moved aside; a new one begins now, and `oxpost mail` shows only what follows. Mail is \
                         not affected ({error})"
                    );
                    self.retry_at = now;
                    return;
                }
                Err(why) => hindrance = Some(why),
            }
        }
        if self.failure_logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_FAILURE_EVERY) {
            self.failure_logged = Some(now);
            if let Some(why) = hindrance {
                error!("the damaged journal {} cannot be moved aside: {why}", self.place);
            }
            error!("{error}. Mail is not affected; it is tried again every {} s", RETRY_AFTER.as_secs());
        }
    }

    /// One batch of what is too old or too much. If there is more, the next batch follows after the next write.
    async fn clean(&mut self) {
        self.clean_at = Instant::now() + CLEAN_EVERY;
        self.written_since_cleaning = 0;
        let is_settled = self.guard.is_settled(self.clock.now(), Instant::now());
        let Some(database) = self.database.clone() else { return };
        match clean_once(&database, &self.journal.settings, is_settled.then(|| self.clock.now())).await {
            Ok(true) => self.clean_at = Instant::now(),
            Ok(false) => {}
            Err(error) => {
                drop(database);
                self.fail(&error).await;
            }
        }
    }
}

/// Removes one batch; `true` if there may be more. Without a time nothing is too old.
pub(super) async fn clean_once(
    database: &JournalDatabase,
    settings: &crate::config::JournalSettings,
    now: Option<SystemTime>,
) -> Result<bool, JournalError> {
    if let Some(oldest) = now.and_then(|now| oldest_kept(settings, now))
        && database.remove_before(oldest).await? >= BATCH
    {
        return Ok(true);
    }
    let count = surplus(settings, database.measure().await?);
    Ok(count > 0 && database.remove_oldest(count).await? >= BATCH)
}
