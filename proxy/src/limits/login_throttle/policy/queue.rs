//! Attempts that wait to be admitted: how many, and which is first.

use oxpost_token_store::Source;
use tokio::time::Instant;

use super::{Attempt, Policy, QUEUE_TIMEOUT, RecentAttempts, Subject, Ticket, Waiting};

/// Attempts that wait for one account.
const ACCOUNT_WAITING: usize = 64;

/// Those of them from one unfamiliar source.
const WAITING_PER_SOURCE: usize = 2;

/// The same from a familiar or shared one.
const TRUSTED_WAITING_PER_SOURCE: usize = 16;

/// Attempts from one unfamiliar source that wait, for whatever account.
const SOURCE_WAITING: usize = 32;

impl Policy {
    /// Whether an attempt from this source can be refused before it is known which account it is for.
    pub(in crate::limits::login_throttle) fn is_beyond(&self, source: Source) -> bool {
        self.sources.get(&source).is_some_and(|source| source.waiting >= SOURCE_WAITING)
    }

    /// An entry in the queue, unless there are too many. The one whose source had most compared is removed for one that had fewer.
    pub(super) fn enqueue(&mut self, attempt: Attempt, now: Instant) -> Option<Ticket> {
        let trusted = attempt.shared || attempt.targets.iter().all(|target| target.familiar);
        if !trusted && self.is_beyond(attempt.source) {
            return None;
        }
        for target in &attempt.targets {
            let waiting = self.accounts.entry(target.subject).or_default().waiting.clone();
            let mut same_source = 0;
            let mut last = (self.had(target.subject, attempt.source), None);
            for ticket in &waiting {
                let Some(source) = self.waiting.get(ticket).map(|waiting| waiting.attempt.source) else { continue };
                same_source += usize::from(source == attempt.source);
                let had = self.had(target.subject, source);
                if had > last.0 {
                    last = (had, Some(*ticket));
                }
            }
            if same_source >= if trusted { TRUSTED_WAITING_PER_SOURCE } else { WAITING_PER_SOURCE } {
                return None;
            }
            if waiting.len() >= ACCOUNT_WAITING && !target.familiar {
                self.leave(last.1?);
            }
        }
        let (source, subjects) =
            (attempt.source, attempt.targets.iter().map(|target| target.subject).collect::<Vec<_>>());
        let ticket = self.ticket(attempt, now);
        for subject in subjects {
            self.accounts.entry(subject).or_default().waiting.push(ticket);
        }
        if let Some(source) = self.entry_of(source) {
            source.waiting += 1;
        }
        if let Some(waiting) = self.waiting.get_mut(&ticket) {
            waiting.queued = true;
        }
        Some(ticket)
    }

    pub(super) fn ticket(&mut self, attempt: Attempt, now: Instant) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, Waiting { attempt, until: now + QUEUE_TIMEOUT, queued: false });
        ticket
    }

    /// An attempt waits no longer. `false` if it did not wait.
    pub(in crate::limits::login_throttle) fn leave(&mut self, ticket: Ticket) -> bool {
        let Some(waiting) = self.waiting.remove(&ticket) else { return false };
        for target in &waiting.attempt.targets {
            if let Some(account) = self.accounts.get_mut(&target.subject) {
                account.waiting.retain(|other| *other != ticket);
            }
        }
        if waiting.queued
            && let Some(source) = self.sources.get_mut(&waiting.attempt.source)
        {
            source.waiting = source.waiting.saturating_sub(1);
        }
        true
    }

    /// Whether another attempt that waits for this account goes first: one whose source had fewer compared, or one that came
    /// earlier.
    pub(super) fn is_behind(
        &mut self,
        subject: Subject,
        attempt: &Attempt,
        ticket: Option<Ticket>,
        now: Instant,
    ) -> bool {
        let own = (self.had(subject, attempt.source), ticket.map_or(u64::MAX, |ticket| ticket.0));
        let others = self.accounts.get(&subject).map(|account| account.waiting.clone()).unwrap_or_default();
        others.into_iter().filter(|other| Some(*other) != ticket).any(|other| {
            let Some(waiting) = self.waiting.get(&other) else { return false };
            let theirs = waiting.attempt.clone();
            let unfamiliar = theirs.targets.iter().any(|target| !target.familiar);
            (self.had(subject, theirs.source), other.0) < own
                && self.paced(&theirs, now).contains(&subject)
                && self.obstacle_of_recent_attempts(&theirs, now).is_none()
                && self.obstacle_of_source(&theirs, unfamiliar, now).is_none()
        })
    }

    /// How many wrong passwords of an account were compared for a source.
    pub(super) fn had(&self, subject: Subject, source: Source) -> u32 {
        self.recent.get(&(subject, source)).map_or(0, RecentAttempts::guesses)
    }
}
