//! The sending limits of a mailbox where nodes share them: on PostgreSQL. What is decided is pure: by all nodes in [`state`], by this one
//! in [`queue`] and [`member`], and by the state of the database in [`crate::limits::nodes`]. `model.rs` simulates nodes, deaths and outages
//! against them.
//!
//! Here is the task of one mailbox on this node. While a session waits or has a slot, or there is something to report, it reads the row,
//! decides, and writes it. It is woken by what happens here, and by the store when another node has written while a session waits.

pub(super) mod member;
pub(super) mod queue;
mod recipients_per_day;
pub(super) mod state;
mod window;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use oxpost_token_store::store::send_limits::{NewSendLimit, SendLimit};
use oxpost_token_store::{Mailbox, StoreError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::fair_queue::Class;
use super::fair_slots::FairSlots;
use crate::config::SendingLimits;
use crate::limits::nodes::{Mode, Nodes};
use member::Member;
use queue::Counted;
use state::{Limits, State};

/// How often a node that waits looks at the row, when no hint comes.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How often a node that only holds slots does.
const POLL_INTERVAL_WHILE_HELD: Duration = Duration::from_secs(15);

/// How soon a node reports what no session waits for.
const REPORT_WITHIN: Duration = Duration::from_secs(1);

/// How often a node tries again that could not read or write.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often a node decides again immediately because another one was faster.
const TRIES: u32 = 16;

/// The limits of a mailbox at a server, shared with other nodes.
#[derive(Debug)]
pub(super) struct SharedLimiter {
    nodes: Arc<Nodes>,
    server: String,
    mailbox: Mailbox,
    limits: Limits,
    slots: Option<Arc<FairSlots>>,
    /// One message waits for a permit, the others for this one slot.
    next: Arc<FairSlots>,
    messages: AtomicU32,
    /// Who is about to wait for a slot, or waits: the task does not end before they are in the queue.
    arriving: AtomicU32,
    /// The last look has read the row, whether or not it could write it.
    was_read: AtomicBool,
    /// A write was not answered, and there was no other since.
    write_is_unknown: AtomicBool,
    member: Mutex<Member>,
    /// Something has happened here that the row should say.
    news: Arc<Notify>,
    /// Recipients are to be reported; several messages together.
    recipients: Notify,
    /// The row has been read.
    looked: Notify,
    runs: Mutex<bool>,
}

/// What keeps the task going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Report,
    Hold,
    Wait,
}

/// One more is counted until this is dropped.
pub(super) struct Counts<'a>(&'a AtomicU32);

impl<'a> Counts<'a> {
    fn one_more(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A task that panics can be started again.
struct Restartable<'a>(&'a SharedLimiter);

impl Drop for Restartable<'_> {
    fn drop(&mut self) {
        // A task that ended on its own has said so, and another one may run by now.
        if std::thread::panicking() {
            *self.0.runs.lock().unwrap_or_else(PoisonError::into_inner) = false;
        }
    }
}

impl SharedLimiter {
    pub(super) fn new(nodes: Arc<Nodes>, server: &str, mailbox: Mailbox, limits: SendingLimits) -> Self {
        let number = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        let limits = Limits {
            slots: number(limits.max_connections),
            permits: number(limits.messages_per_minute),
            recipients: limits.recipients_per_day,
        };
        let news = Arc::new(Notify::new());
        Self {
            nodes,
            server: server.to_owned(),
            mailbox,
            limits,
            slots: (limits.slots > 0).then(|| Arc::new(FairSlots::shared(Arc::clone(&news)))),
            next: Arc::new(FairSlots::new(1)),
            messages: AtomicU32::new(0),
            arriving: AtomicU32::new(0),
            was_read: AtomicBool::new(false),
            write_is_unknown: AtomicBool::new(false),
            member: Mutex::new(Member::new(limits.permits)),
            news,
            recipients: Notify::new(),
            looked: Notify::new(),
            runs: Mutex::new(false),
        }
    }

    /// The send slots; none without a limit.
    pub(super) fn slots(&self) -> Option<Arc<FairSlots>> {
        self.slots.clone()
    }

    /// Waits for a message's permit, after those of its class that came before.
    pub(super) async fn permit(self: &Arc<Self>, class: Class) {
        if self.limits.permits == 0 {
            return;
        }
        let _waits = Counts::one_more(&self.messages);
        let _next = self.next.acquire(class).await;
        loop {
            let looked = self.looked.notified();
            tokio::pin!(looked);
            looked.as_mut().enable();
            let (mode, share) = (self.nodes.mode(), self.nodes.share_of(self.limits.permits));
            if self.member().take_permit(mode, share, Instant::now()) {
                return;
            }
            self.wake();
            let _ = timeout(POLL_INTERVAL, looked).await;
        }
    }

    /// A message with so many recipients was sent.
    pub(super) fn sent(self: &Arc<Self>, recipients: usize) {
        if self.limits.recipients > 0 {
            self.member().sent(u64::try_from(recipients).unwrap_or(u64::MAX));
            self.start();
            self.recipients.notify_one();
        }
    }

    /// A session is about to wait for a slot, and does so until this is dropped: from before the task looks whether any session waits.
    pub(super) fn arrives(self: &Arc<Self>) -> Counts<'_> {
        let arrives = Counts::one_more(&self.arriving);
        self.wake();
        arrives
    }

    /// How many are about to wait for a slot, or wait.
    #[cfg(test)]
    pub(super) fn arriving(&self) -> u32 {
        self.arriving.load(Ordering::SeqCst)
    }

    /// Whether this node can agree with the others at this moment.
    pub(super) fn can_agree(&self) -> bool {
        self.nodes.mode() == Mode::Shared
    }

    /// How long until a message may begin, as far as this node knows.
    pub(super) fn not_before(&self) -> Option<Duration> {
        let ask_again = self.member().ask_again();
        ask_again.map(|at| at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// The server has said that it is too much: no node begins anything for a moment.
    pub(super) fn refused(self: &Arc<Self>) {
        self.member().refused();
        self.wake();
    }

    /// Whether its task runs, and knows what the row does not say yet.
    pub(super) fn runs(&self) -> bool {
        *self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has happened: the row is looked at now.
    fn wake(self: &Arc<Self>) {
        self.start();
        self.news.notify_one();
    }

    /// Starts the task, if it does not run.
    fn start(self: &Arc<Self>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if !*runs && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            *runs = true;
            runtime.spawn(Arc::clone(self).run());
        }
    }

    async fn run(self: Arc<Self>) {
        let _restartable = Restartable(&self);
        let mut hints = self.nodes.store().send_limit_hints();
        while !self.nodes.has_ended() {
            // Before the row is read, so that no hint is missed that comes after it.
            hints.catch_up();
            let outcome = self.look().await;
            if let Some(slots) = &self.slots {
                slots.set_alone(outcome.is_err(), self.own_slots());
            }
            self.looked.notify_waiters();
            if let Err(error) = outcome {
                debug!(mailbox = %self.mailbox, "the sending limits that nodes share cannot be read or written: {error}");
                sleep(RETRY_INTERVAL).await;
                continue;
            }
            let pause = match self.need() {
                Need::Nothing if self.ends() => return,
                Need::Nothing => continue,
                Need::Report => REPORT_WITHIN,
                Need::Hold => POLL_INTERVAL_WHILE_HELD,
                Need::Wait => {
                    let due = self.member().ask_again().map(|at| at.saturating_duration_since(Instant::now()));
                    due.map_or(POLL_INTERVAL, |due| due.max(Duration::from_millis(1)).min(POLL_INTERVAL))
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.news.notified() => {}
                () = self.recipients_are_due() => {}
                () = hints.about_limit(&self.server, self.mailbox.as_str()) => {}
            }
        }
    }

    /// The share of the slots that this node has when the row can be read, and so logins succeed, but has not been written for long.
    fn own_slots(&self) -> Option<u32> {
        let is_due = self.was_read.load(Ordering::SeqCst) && self.nodes.mode() == Mode::Share;
        is_due.then(|| self.nodes.share_of(self.limits.slots))
    }

    /// Until recipients are to be reported. A burst of messages is one report.
    async fn recipients_are_due(&self) {
        self.recipients.notified().await;
        sleep(REPORT_WITHIN).await;
    }

    /// Reads the row, decides, and writes it if that changes anything.
    async fn look(&self) -> Result<(), StoreError> {
        let store = self.nodes.store();
        let mut tries = 0;
        loop {
            self.was_read.store(false, Ordering::SeqCst);
            let node = self.nodes.id().await?;
            let asked = Instant::now();
            let read = store.send_limit(&self.server, self.mailbox.as_str()).await?;
            self.was_read.store(true, Ordering::SeqCst);
            let Some(read) = read.filter(|read| read.nodes.contains(&node)) else {
                if self.nodes.has_ended() {
                    return Ok(());
                }
                self.nodes.forget(&node);
                continue;
            };
            let now = milliseconds(read.now);
            let mut state = self.parse(&read);
            state.tick(&read.nodes, now);
            if let Some(slots) = self.slots.as_ref().filter(|_| !self.write_is_unknown.load(Ordering::SeqCst)) {
                slots.kept(state.slots_of(&node));
            }
            let before = state.clone();
            let report = self.report(state.number_of(&node), asked);
            let warning = state.report(&node, &report, self.limits, now);
            if state != before && !self.save(&read, &node, &state, now).await? {
                tries += 1;
                if tries >= TRIES {
                    return Ok(());
                }
                // The faster node is done by then.
                sleep(Duration::from_millis(u64::from(tries))).await;
                continue;
            }
            let granted = state.granted(&node, self.limits, now);
            self.member().granted(&granted, asked);
            if let Some(slots) = &self.slots {
                slots.granted(granted.slots, granted.others_wait);
            }
            if let Some(recipients) = warning {
                super::mailbox_limiter::warn_of_recipients(&self.mailbox, recipients, self.limits.recipients);
            }
            return Ok(());
        }
    }

    async fn save(&self, read: &SendLimit, node: &str, state: &State, now: i64) -> Result<bool, StoreError> {
        // It has nothing that JSON has not.
        let text = serde_json::to_string(state).unwrap_or_default();
        let ends = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(state.ends(now)).unwrap_or(0));
        let new = NewSendLimit { state: &text, waiting: state.waiting(), ends };
        let saved = self.nodes.store().save_send_limit((&self.server, self.mailbox.as_str()), read, node, new).await;
        let is_unknown = saved.as_ref().is_err_and(StoreError::outcome_is_unknown);
        // A row that was read later does not say what becomes of a write without an answer. Only another write that was made does.
        self.write_is_unknown.fetch_or(is_unknown, Ordering::SeqCst);
        if saved.is_ok() {
            self.write_is_unknown.store(false, Ordering::SeqCst);
        }
        saved
    }

    fn parse(&self, read: &SendLimit) -> State {
        let Some(text) = &read.state else { return State::default() };
        serde_json::from_str(text).unwrap_or_else(|error| {
            warn!(mailbox = %self.mailbox, "the stored state of the sending limits that nodes share cannot be read; counting starts again from zero: {error}");
            State::default()
        })
    }

    /// What ended is part of the report, which is made again under the same number until it is known to have been counted.
    fn report(&self, known: u64, now: Instant) -> state::Report {
        let (counted, has_sessions) = match &self.slots {
            Some(slots) => (slots.count(), slots.is_in_use() || slots.waiting() > 0),
            None => (Counted::default(), true),
        };
        let messages = self.messages.load(Ordering::SeqCst);
        let report = self.member().report(known, counted, messages, has_sessions, now);
        report.within(self.nodes.most_slots(self.limits.slots))
    }

    fn need(&self) -> Need {
        let (waiting, in_use, has_ended) = match &self.slots {
            Some(slots) => (slots.waiting() > 0, slots.is_in_use(), slots.has_ended()),
            None => (false, false, false),
        };
        let waits = |count: &AtomicU32| count.load(Ordering::SeqCst) > 0;
        if waiting || waits(&self.messages) || waits(&self.arriving) {
            Need::Wait
        } else if in_use {
            Need::Hold
        } else if has_ended || self.member().has_news() {
            Need::Report
        } else {
            Need::Nothing
        }
    }

    /// Whether the task ends: nothing has come meanwhile.
    fn ends(&self) -> bool {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        *runs = self.need() != Need::Nothing;
        !*runs
    }

    fn member(&self) -> MutexGuard<'_, Member> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
