//! Which login may have its password compared, and when. Pure: state, time and an attempt in, a decision out.
//!
//! Every attempt is counted before anything is compared with it; a right one is given back afterwards. What bounds it:
//!
//! - the *recent* of an account from one source: so many in [`super::WINDOW`], and two at the same time;
//! - the pace of the account, for all unfamiliar sources together. The one with the fewest wrong ones is admitted first;
//! - the pace of an unfamiliar source over all accounts, and a block where nothing but guesses comes from it.
//!
//! A source from which a login to this account succeeded before is *familiar*: its recent has a small budget of its own that no
//! one else can use up. A wrong login that is repeated is recognized in its recent, is answered as before, and costs nothing.

mod bounded_tables;
mod queue;

use std::collections::HashMap;
use std::time::Duration;

use oxpost_token_store::Source;
use tokio::time::Instant;

use super::attempt::{Attempt, Comparison, Subject, Target};
use super::rate::{Pace, Rate};
use super::recent_attempts::{RecentAttempts, UNFAMILIAR_WRONG_LIMIT, WRONG_LIMIT};
use super::source_failures::{BlockLimits, SourceFailures};

/// Passwords that are compared in [`super::WINDOW`] for one account from one unfamiliar source.
pub(super) const UNFAMILIAR: usize = 10;

/// The same from a familiar one.
pub(super) const FAMILIAR: usize = 20;

/// The same from a source that many clients share: this machine, and the exempt networks. Those beyond [`UNFAMILIAR`] wait
/// among the unfamiliar sources, and so cost real time.
pub(super) const SHARED: usize = 70;

/// Passwords of an account that are compared for all unfamiliar sources together: 60 in any [`super::WINDOW`].
const ACCOUNT: Rate = Rate { burst: 20, interval: Duration::from_secs(15) };

/// Different logins from one source, whatever the account, before any login from there has succeeded.
const SOURCE: Rate = Rate { burst: 60, interval: Duration::from_secs(5) };

/// The same where one has: a site with many devices, some of them with an old password.
const FAMILIAR_SOURCE: Rate = Rate { burst: 120, interval: Duration::from_secs(1) };

/// Passwords of one account that are compared for one source at the same time.
const IN_PROGRESS_PER_SOURCE: usize = 2;

/// Passwords that are compared for one source at the same time, for accounts to which it is not familiar.
const SOURCE_IN_PROGRESS: usize = 8;

/// How long an attempt waits to be admitted. Mail programs wait for an answer for a minute, scanners for half of one.
pub(super) const QUEUE_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a waiting attempt asks again if no better time is known.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An attempt that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What becomes of an attempt.
#[derive(Debug)]
pub(super) enum Decision {
    /// It was wrong before and is repeated.
    Repeated,
    /// Its password may be compared now. It was counted.
    Compare(Charge),
    /// Ask again at this time, or when another attempt has ended.
    Wait(Ticket, Instant),
    /// It is beyond a bound; it may come again after this time.
    Refuse(Duration),
}

/// An attempt that was counted and is being compared.
#[derive(Debug)]
pub(super) struct Charge {
    attempt: Attempt,
    /// The accounts whose pace was used.
    paced: Vec<Subject>,
    source_paced: bool,
    /// Whether it is one of those in progress for its source.
    source_counted: bool,
}

impl Charge {
    /// Where the attempt comes from.
    pub(super) fn source(&self) -> Source {
        self.attempt.source
    }
}

#[derive(Debug, Default)]
struct Account {
    pace: Pace,
    waiting: Vec<Ticket>,
}

#[derive(Debug, Default)]
struct SourceState {
    /// Until a login from there has succeeded, and after: a pace keeps to one rate.
    pace: Pace,
    familiar_pace: Pace,
    in_progress: usize,
    waiting: usize,
    failures: SourceFailures,
    blocked_until: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    until: Instant,
    /// Not, if it only waits for the same login, which costs nothing more.
    queued: bool,
}

/// The state of the login throttle.
#[derive(Debug)]
pub(super) struct Policy {
    limits: BlockLimits,
    recent: HashMap<(Subject, Source), RecentAttempts>,
    accounts: HashMap<Subject, Account>,
    sources: HashMap<Source, SourceState>,
    /// Of all sources that found no entry of their own: its paces alone are used.
    overflow: SourceState,
    swept: Option<Instant>,
    waiting: HashMap<Ticket, Waiting>,
    next_ticket: u64,
}

/// Why an attempt cannot be compared at this moment.
enum Obstacle {
    Until(Instant),
    /// Another attempt must end first.
    AnotherEnds,
    /// The same login is being compared.
    SameInProgress,
    Beyond(Duration),
}

impl Policy {
    pub(super) fn new(limits: BlockLimits) -> Self {
        Self {
            limits,
            recent: HashMap::new(),
            accounts: HashMap::new(),
            sources: HashMap::new(),
            overflow: SourceState::default(),
            swept: None,
            waiting: HashMap::new(),
            next_ticket: 0,
        }
    }

    /// Until when a source is blocked.
    pub(super) fn blocked_until(&self, source: Source, now: Instant) -> Option<Instant> {
        self.sources.get(&source)?.blocked_until.filter(|&until| until > now)
    }

    /// A source is blocked until then, as another node has decided.
    pub(super) fn block(&mut self, source: Source, until: Instant, now: Instant) {
        self.make_room(now);
        if let Some(state) = self.entry_of(source) {
            state.blocked_until = state.blocked_until.max(Some(until));
        }
    }

    /// Ends the block of a source, and forgets what led to it.
    pub(super) fn unblock(&mut self, source: Source) {
        if let Some(state) = self.sources.get_mut(&source) {
            (state.blocked_until, state.failures) = (None, SourceFailures::default());
        }
    }

    /// A new attempt.
    pub(super) fn begin(&mut self, attempt: Attempt, now: Instant) -> Decision {
        self.make_room(now);
        if self.is_repeated(&attempt, now) {
            return Decision::Repeated;
        }
        match self.obstacle(&attempt, None, now) {
            None => Decision::Compare(self.charge(attempt, now)),
            Some(Obstacle::Beyond(after)) => Decision::Refuse(after),
            Some(Obstacle::SameInProgress) => {
                let ticket = self.ticket(attempt, now);
                Decision::Wait(ticket, now + RECHECK_INTERVAL)
            }
            Some(obstacle) => match self.enqueue(attempt, now) {
                Some(ticket) => Decision::Wait(ticket, obstacle.recheck_at(now)),
                None => Decision::Refuse(QUEUE_TIMEOUT),
            },
        }
    }

    /// An attempt that waits asks again.
    pub(super) fn ask_again(&mut self, ticket: Ticket, now: Instant) -> Decision {
        let Some(waiting) = self.waiting.get(&ticket) else { return Decision::Refuse(QUEUE_TIMEOUT) };
        let (attempt, until) = (waiting.attempt.clone(), waiting.until);
        if self.is_repeated(&attempt, now) {
            self.leave(ticket);
            return Decision::Repeated;
        }
        match self.obstacle(&attempt, Some(ticket), now) {
            None => {
                self.leave(ticket);
                Decision::Compare(self.charge(attempt, now))
            }
            Some(Obstacle::Beyond(after)) => {
                self.leave(ticket);
                Decision::Refuse(after)
            }
            Some(_) if now >= until => {
                self.leave(ticket);
                Decision::Refuse(QUEUE_TIMEOUT)
            }
            Some(obstacle) => Decision::Wait(ticket, obstacle.recheck_at(now).min(until)),
        }
    }

    /// An attempt was compared. Gives the time until which its source is blocked, if that is new.
    pub(super) fn end(&mut self, charge: Charge, compared: Comparison, now: Instant) -> Option<Instant> {
        let Charge { attempt, paced, source_paced, source_counted } = charge;
        let counts = matches!(compared, Comparison::Wrong | Comparison::Unknown);
        for target in &attempt.targets {
            let recent =
                self.recent.entry((target.subject, attempt.source)).or_insert_with(|| RecentAttempts::new(now));
            recent.end(&attempt.pair, compared);
        }
        if source_counted && let Some(source) = self.sources.get_mut(&attempt.source) {
            source.in_progress = source.in_progress.saturating_sub(1);
        }
        if !counts {
            if source_paced {
                self.pace_of(&attempt).give_back(source_rate(&attempt));
            }
            for subject in paced {
                self.accounts.entry(subject).or_default().pace.give_back(ACCOUNT);
            }
        }
        let recent = attempt.targets.first().and_then(|first| self.recent.get_mut(&(first.subject, attempt.source)));
        match (compared, recent) {
            (Comparison::Wrong, Some(recent)) => {
                let known = attempt.shared || attempt.familiar_source;
                recent.note_wrong(attempt.pair, if known { WRONG_LIMIT } else { UNFAMILIAR_WRONG_LIMIT }, now);
            }
            (Comparison::Right, Some(recent)) => recent.note_right(attempt.pair),
            _ => {}
        }
        if compared != Comparison::Wrong {
            return None;
        }
        if attempt.shared || attempt.familiar_source {
            return None;
        }
        let limits = self.limits;
        // Sources that share a pace are not blocked for each other.
        let source = self.sources.get_mut(&attempt.source)?;
        let blocks = source.failures.note(attempt.pair, &limits, now);
        let until = blocks.then(|| now + limits.duration)?;
        source.blocked_until = Some(until);
        Some(until)
    }

    fn is_repeated(&mut self, attempt: &Attempt, now: Instant) -> bool {
        let Some(first) = attempt.targets.first() else { return false };
        let recent = self.recent.get_mut(&(first.subject, attempt.source));
        let repeated = recent.is_some_and(|recent| recent.is_repeated(&attempt.pair, now));
        if repeated && let Some(source) = self.sources.get_mut(&attempt.source) {
            source.failures.repeated(&attempt.pair);
        }
        repeated
    }

    fn obstacle(&mut self, attempt: &Attempt, ticket: Option<Ticket>, now: Instant) -> Option<Obstacle> {
        let unfamiliar = attempt.targets.iter().any(|target| !target.familiar);
        if unfamiliar && let Some(until) = self.blocked_until(attempt.source, now) {
            return Some(Obstacle::Beyond(until - now));
        }
        if let Some(obstacle) = self.obstacle_of_recent_attempts(attempt, now) {
            return Some(obstacle);
        }
        if let Some(obstacle) = self.obstacle_of_source(attempt, unfamiliar, now) {
            return Some(obstacle);
        }
        for subject in self.paced(attempt, now) {
            let next = self.accounts.get(&subject).map_or(now, |account| account.pace.next(ACCOUNT, now));
            if next > now {
                return Some(Obstacle::Until(next));
            }
            if self.is_behind(subject, attempt, ticket, now) {
                return Some(Obstacle::Until(now + RECHECK_INTERVAL));
            }
        }
        None
    }

    fn obstacle_of_recent_attempts(&mut self, attempt: &Attempt, now: Instant) -> Option<Obstacle> {
        for target in &attempt.targets {
            let Some(recent) = self.recent.get_mut(&(target.subject, attempt.source)) else { continue };
            if recent.is_in_progress(&attempt.pair) {
                // It is paid for. What was right lately takes no time; of the others one hash is enough.
                if recent.was_right(&attempt.pair) {
                    continue;
                }
                return Some(Obstacle::SameInProgress);
            }
            let next = if recent.is_counted(&attempt.pair, now) {
                now
            } else {
                recent.next(attempt_limit(attempt, target), now)
            };
            if next > now + QUEUE_TIMEOUT {
                return Some(Obstacle::Beyond(next - now));
            }
            if next > now {
                return Some(Obstacle::Until(next));
            }
            if recent.in_progress() >= IN_PROGRESS_PER_SOURCE && !recent.was_right(&attempt.pair) {
                return Some(Obstacle::AnotherEnds);
            }
        }
        None
    }

    fn obstacle_of_source(&self, attempt: &Attempt, unfamiliar: bool, now: Instant) -> Option<Obstacle> {
        if attempt.shared || !unfamiliar {
            return None;
        }
        let source = self.sources.get(&attempt.source);
        let without_entry = if self.is_full() { self.overflow.pace_for(attempt) } else { Pace::default() };
        let pace = source.map_or(without_entry, |source| source.pace_for(attempt));
        let next = pace.next(source_rate(attempt), now);
        if next > now && !self.is_paid(attempt, now) {
            return Some(Obstacle::Until(next));
        }
        let in_progress = source.map_or(0, |source| source.in_progress);
        (in_progress >= SOURCE_IN_PROGRESS).then_some(Obstacle::AnotherEnds)
    }

    /// The accounts whose pace this attempt uses.
    fn paced(&mut self, attempt: &Attempt, now: Instant) -> Vec<Subject> {
        let mut paced = Vec::new();
        if self.is_paid(attempt, now) {
            return paced;
        }
        for target in &attempt.targets {
            let mut beyond = || {
                let recent = self.recent.get_mut(&(target.subject, attempt.source));
                recent.is_some_and(|recent| recent.compared(now) >= UNFAMILIAR)
            };
            if !target.familiar || (attempt.shared && beyond()) {
                paced.push(target.subject);
            }
        }
        paced
    }

    fn charge(&mut self, attempt: Attempt, now: Instant) -> Charge {
        let unfamiliar = attempt.targets.iter().any(|target| !target.familiar);
        let paid = self.is_paid(&attempt, now);
        let paced = self.paced(&attempt, now);
        for subject in &paced {
            self.accounts.entry(*subject).or_default().pace.take(ACCOUNT, now);
        }
        for target in &attempt.targets {
            let recent =
                self.recent.entry((target.subject, attempt.source)).or_insert_with(|| RecentAttempts::new(now));
            recent.begin(attempt.pair, now);
        }
        let source_paced = unfamiliar && !attempt.shared && !paid;
        if source_paced {
            self.pace_of(&attempt).take(source_rate(&attempt), now);
        }
        let mut source_counted = unfamiliar && !attempt.shared;
        if source_counted {
            let source = self.entry_of(attempt.source);
            source_counted = source.is_some();
            if let Some(source) = source {
                source.in_progress += 1;
            }
        }
        Charge { attempt, paced, source_paced, source_counted }
    }

    /// Whether this very login counts already: it is being compared, or its answer was not received.
    fn is_paid(&self, attempt: &Attempt, now: Instant) -> bool {
        let recent = attempt.targets.first().and_then(|first| self.recent.get(&(first.subject, attempt.source)));
        recent.is_some_and(|recent| recent.is_counted(&attempt.pair, now))
    }
}

impl SourceState {
    fn pace_for(&self, attempt: &Attempt) -> Pace {
        if attempt.familiar_source { self.familiar_pace } else { self.pace }
    }
}

impl Obstacle {
    fn recheck_at(&self, now: Instant) -> Instant {
        match self {
            Self::Until(at) => *at,
            Self::AnotherEnds | Self::SameInProgress | Self::Beyond(_) => now + RECHECK_INTERVAL,
        }
    }
}

fn attempt_limit(attempt: &Attempt, target: &Target) -> usize {
    match (attempt.shared, target.familiar) {
        (true, _) => SHARED,
        (false, true) => FAMILIAR,
        (false, false) => UNFAMILIAR,
    }
}

fn source_rate(attempt: &Attempt) -> Rate {
    if attempt.familiar_source { FAMILIAR_SOURCE } else { SOURCE }
}

#[cfg(test)]
impl Policy {
    /// How many attempts wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many recent, accounts and sources it keeps.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.recent.len(), self.accounts.len(), self.sources.len())
    }
}
