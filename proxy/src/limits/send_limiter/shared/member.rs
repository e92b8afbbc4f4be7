//! What a node knows of a mailbox's sending limits between two looks at the store: the permits in its hand, and what it has to report.
//! Pure: times are given, by a monotonic clock.

use std::time::Duration;

use tokio::time::Instant;

use super::super::minute_window::MinuteWindow;
use super::queue::Counted;
use super::state::{CLASSES, Granted, Happened, Report};
use crate::limits::nodes::Mode;

/// A node that uses its permits one after the other is granted more and more of them together, up to this part of the limit, so that
/// not every message of a burst has to ask.
const BATCH_OF_LIMIT: u32 = 6;

/// Permits that are wanted again within this time belong to one burst.
const BURST: Duration = Duration::from_secs(5);

/// What this node knows.
#[derive(Debug)]
pub(super) struct Member {
    limit: u32,
    permits: Vec<(Instant, u32)>,
    happened: Happened,
    /// What was reported and may have been counted, or not: it is reported again under the same number.
    reported: Option<Happened>,
    number: u64,
    batch: u32,
    granted_at: Option<Instant>,
    own: MinuteWindow,
    ask_again: Option<Instant>,
}

impl Member {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            permits: Vec::new(),
            happened: Happened::default(),
            reported: None,
            number: 0,
            batch: 1,
            granted_at: None,
            own: MinuteWindow::of(0),
            ask_again: None,
        }
    }

    /// A message begins, if it may. `share` is what this node may do when nodes cannot agree.
    pub(super) fn take_permit(&mut self, mode: Mode, share: u32, now: Instant) -> bool {
        let has_permit = self.permits.iter().any(|(until, _)| *until > now);
        let begins = match mode {
            Mode::Shared | Mode::InHand => has_permit,
            Mode::Share => self.own.may_begin(share, now),
            Mode::Settling => has_permit && self.own.may_begin(share, now),
        };
        if begins {
            if let Some((_, count)) = self.permits.iter_mut().find(|(until, _)| *until > now) {
                *count -= 1;
            }
            self.permits.retain(|(_, count)| *count > 0);
            self.own.begin(now);
            self.happened.used = self.happened.used.saturating_add(1);
        }
        begins
    }

    /// A message with so many recipients was sent.
    pub(super) fn sent(&mut self, recipients: u64) {
        self.happened.recipients = self.happened.recipients.saturating_add(recipients);
    }

    /// The server has said that it is too much.
    pub(super) fn refused(&mut self) {
        self.happened.refused = true;
    }

    /// Whether something is to be reported.
    pub(super) fn has_news(&self) -> bool {
        self.reported.is_some() || self.happened != Happened::default() || !self.permits.is_empty()
    }

    /// When it is worth asking again for a permit, if that is known.
    pub(super) fn ask_again(&self) -> Option<Instant> {
        self.ask_again
    }

    /// What is reported now, while so many messages wait. Without a session nothing uses what is in hand.
    /// `known` is the number of the last report of this node that was counted.
    pub(super) fn report(
        &mut self,
        known: u64,
        counted: Counted,
        messages: u32,
        has_sessions: bool,
        now: Instant,
    ) -> Report {
        let is_over = |until: Instant| until <= now || !has_sessions;
        let over = self.permits.iter().filter(|(until, _)| is_over(*until)).map(|(_, count)| *count);
        self.happened.returned = over.fold(self.happened.returned, u32::saturating_add);
        self.permits.retain(|(until, _)| !is_over(*until));
        for class in CLASSES {
            self.happened.ended.add(class, counted.ended.of(class));
        }
        if self.reported.is_none() && self.happened != Happened::default() {
            self.number = self.number.max(known).saturating_add(1);
            self.reported = Some(std::mem::take(&mut self.happened));
        }
        let in_hand: u32 = self.permits.iter().map(|(_, count)| *count).sum();
        Report {
            number: self.number,
            happened: self.reported.unwrap_or_default(),
            in_use: counted.in_use,
            waiting: counted.waiting,
            permits: if messages == 0 { in_hand } else { messages.max(self.batch) },
        }
    }

    /// The report was counted, and this is what the node has now, as of the moment when it asked.
    pub(super) fn granted(&mut self, granted: &Granted, asked: Instant) {
        self.reported = None;
        let had: u32 = self.permits.iter().map(|(_, count)| *count).sum();
        let from = |millis: i64| asked + Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        self.permits = granted.permits.iter().map(|(millis, count)| (from(*millis), *count)).collect();
        // What was used since the report is still among them.
        let mut used = self.happened.used;
        for (_, count) in &mut self.permits {
            let gone = used.min(*count);
            *count -= gone;
            used -= gone;
        }
        self.permits.retain(|(_, count)| *count > 0);
        if self.permits.iter().map(|(_, count)| *count).sum::<u32>() > had {
            let is_burst = self.granted_at.is_some_and(|at| asked.saturating_duration_since(at) < BURST);
            let most = (self.limit / BATCH_OF_LIMIT).max(1);
            self.batch = if is_burst { self.batch.saturating_mul(2).min(most) } else { 1 };
            self.granted_at = Some(asked);
        }
        self.ask_again = granted.ask_again.map(from);
    }
}
