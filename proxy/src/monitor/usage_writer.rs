//! Writes what sessions observed to the store, in one task, so that no session waits for the store.

use std::collections::HashMap;
use std::time::Duration;

use oxpost_token_store::store::mail_use::Used;
use oxpost_token_store::{Mailbox, SharedClock, Store};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, warn};

use crate::config::Protocol;

/// Observations that may wait to be written. Those beyond are dropped; a session never waits.
const WAITING: usize = 1024;

/// How often counts are written: together, because each write costs a disk write.
const WRITE_EVERY: Duration = Duration::from_secs(10);

/// Folders whose UIDVALIDITY is cached, so that opening one does not read the store.
const REMEMBERED: usize = 10_000;

/// An observation.
#[derive(Debug)]
enum Noticed {
    UidValidity { mailbox: Mailbox, folder: String, value: u32, session: Span },
    FolderChanged { mailbox: Mailbox, folder: String },
    Used { mailbox: Mailbox, protocol: Protocol, used: Used },
}

/// Queues what sessions observe.
#[derive(Debug)]
pub struct UsageRecorder {
    sender: mpsc::Sender<Noticed>,
    receiver: Mutex<mpsc::Receiver<Noticed>>,
}

impl Default for UsageRecorder {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl UsageRecorder {
    /// A folder was opened that has this UIDVALIDITY.
    pub fn uid_validity(&self, mailbox: &Mailbox, folder: String, value: u32) {
        self.take(Noticed::UidValidity { mailbox: mailbox.clone(), folder, value, session: Span::current() });
    }

    /// A client of this mailbox has created, deleted or renamed this folder.
    pub fn folder_changed(&self, mailbox: &Mailbox, folder: String) {
        self.take(Noticed::FolderChanged { mailbox: mailbox.clone(), folder });
    }

    /// Adds to the usage of a mailbox.
    pub fn used(&self, mailbox: &Mailbox, protocol: Protocol, used: Used) {
        self.take(Noticed::Used { mailbox: mailbox.clone(), protocol, used });
    }

    fn take(&self, noticed: Noticed) {
        if self.sender.try_send(noticed).is_err() {
            debug!("the queue of observations is full; one was dropped");
        }
    }

    /// Writes observations until `stop`; then writes those that are queued, and ends.
    pub async fn write_down(&self, store: Store, clock: SharedClock, stop: CancellationToken) {
        let mut receiver = self.receiver.lock().await;
        let mut writer = UsageWriter { store, clock, known: HashMap::new(), counts: HashMap::new() };
        let mut write = tokio::time::interval(WRITE_EVERY);
        write.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(noticed) = receiver.recv() => writer.note(noticed).await,
                _ = write.tick() => writer.write_counts().await,
                () = stop.cancelled() => break,
            }
        }
        while let Ok(noticed) = receiver.try_recv() {
            writer.note(noticed).await;
        }
        writer.write_counts().await;
    }
}

struct UsageWriter {
    store: Store,
    clock: SharedClock,
    known: HashMap<(Mailbox, String), u32>,
    counts: HashMap<(Mailbox, Protocol), Used>,
}

impl UsageWriter {
    async fn note(&mut self, noticed: Noticed) {
        match noticed {
            Noticed::UidValidity { mailbox, folder, value, session } => {
                self.compare(mailbox, folder, value, &session).await;
            }
            Noticed::FolderChanged { mailbox, folder } => self.forget(&mailbox, &folder).await,
            Noticed::Used { mailbox, protocol, used } => {
                let is_throttled = used.throttled.is_some();
                add(self.counts.entry((mailbox, protocol)).or_default(), used);
                // An administrator looks at the status because of it, now.
                if is_throttled {
                    self.write_counts().await;
                }
            }
        }
    }

    async fn compare(&mut self, mailbox: Mailbox, folder: String, value: u32, session: &Span) {
        let key = (mailbox, folder);
        if self.known.get(&key) == Some(&value) {
            return;
        }
        let (mailbox, folder) = &key;
        match self.store.note_uid_validity(mailbox, folder, value, self.clock.now()).await {
            Ok(None) => {}
            Ok(Some(before)) => session.in_scope(|| {
                warn!(
                    %mailbox,
                    folder,
                    before,
                    now = value,
                    "{folder} of {mailbox} was moved or recreated; software that remembers the last UID will stop fetching: reset \
                     it there"
                );
            }),
            Err(error) => return debug!(%error, "cannot store the UIDVALIDITY of a folder"),
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, value);
    }

    /// The next UIDVALIDITY of this folder, and of those within it, is the first.
    async fn forget(&mut self, mailbox: &Mailbox, folder: &str) {
        let is_within =
            |name: &str| name.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.known.retain(|(of, name), _| of != mailbox || !is_within(name));
        if let Err(error) = self.store.forget_uid_validity(mailbox, folder).await {
            debug!(%error, "cannot remove the UIDVALIDITY of a folder");
        }
    }

    async fn write_counts(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        let named: Vec<_> =
            counts.iter().map(|((mailbox, protocol), used)| (mailbox, protocol.to_string(), used)).collect();
        let all = named.iter().map(|(mailbox, protocol, used)| (*mailbox, protocol.as_str(), *used));
        if let Err(error) = self.store.add_mail_use(all).await {
            debug!(%error, "cannot store usage counts");
        }
    }
}

fn add(to: &mut Used, more: Used) {
    to.sessions += more.sessions;
    to.fetched += more.fetched;
    to.stored += more.stored;
    to.last_end = more.last_end.or(to.last_end.take());
    to.throttled = more.throttled.or(to.throttled);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oxpost_token_store::{Account, Grant, ManualClock, Vault};

    use super::*;

    #[tokio::test]
    async fn observations_are_in_the_store_when_the_writer_ends() {
        let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mailbox = Mailbox::parse("alice@contoso.com").unwrap();
        store.add_account(&Account::new(mailbox.clone(), "default", Grant::SignIn, now)).await.unwrap();
        let (recorder, stop) = (UsageRecorder::default(), CancellationToken::new());
        for value in [14, 14, 15] {
            recorder.uid_validity(&mailbox, "INBOX".into(), value);
        }
        // What a client has done to its own folders is no surprise, nor is that of the folders within.
        for (folder, value) in [("Old", 1), ("Old/2026", 1), ("Older", 1)] {
            recorder.uid_validity(&mailbox, folder.into(), value);
        }
        recorder.folder_changed(&mailbox, "Old".into());
        for (folder, value) in [("Old", 2), ("Old/2026", 2), ("Older", 2)] {
            recorder.uid_validity(&mailbox, folder.into(), value);
        }
        for fetched in 1..=3 {
            recorder.used(&mailbox, Protocol::Imap, Used { sessions: 1, fetched, ..Used::default() });
        }
        stop.cancel();
        let clock: SharedClock = Arc::new(ManualClock::new(now));
        recorder.write_down(store.clone(), Arc::clone(&clock), stop.clone()).await;
        let recreated = store.recreated_folders(now).await.unwrap();
        assert_eq!(recreated.iter().map(|one| one.folder.as_str()).collect::<Vec<_>>(), ["INBOX", "Older"]);
        let used = &store.mail_use().await.unwrap()[0].used;
        assert_eq!((used.sessions, used.fetched), (3, 6));
        // A store that fails costs counts, but no session.
        for _ in 0..2 * WAITING {
            recorder.uid_validity(&mailbox, "INBOX".into(), 15);
        }
        recorder.write_down(store, clock, stop).await;
    }
}
