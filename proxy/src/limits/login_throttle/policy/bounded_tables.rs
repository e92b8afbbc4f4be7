//! What the policy keeps, and what it forgets when that is too much.

use std::collections::HashSet;
use std::time::Duration;

use oxpost_token_store::Source;
use tokio::time::Instant;

use super::{Attempt, Pace, Policy, SourceState};

/// Attempt queues that are kept; most take some 250 bytes.
const MAX_RECENT: usize = 65_536;

/// Sources that are kept. Those beyond that share one entry.
const SOURCES: usize = 65_536;

/// How often it is looked for sources that can be forgotten, where there are too many.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl Policy {
    pub(super) fn pace_of(&mut self, attempt: &Attempt) -> &mut Pace {
        let source = if self.is_full() && !self.sources.contains_key(&attempt.source) {
            &mut self.overflow
        } else {
            self.sources.entry(attempt.source).or_default()
        };
        if attempt.familiar_source { &mut source.familiar_pace } else { &mut source.pace }
    }

    /// The entry of a source; none if there are too many.
    pub(super) fn entry_of(&mut self, source: Source) -> Option<&mut SourceState> {
        if self.is_full() && !self.sources.contains_key(&source) {
            return None;
        }
        Some(self.sources.entry(source).or_default())
    }

    pub(super) fn is_full(&self) -> bool {
        self.sources.len() >= SOURCES
    }

    /// Forgets what bounds nothing any more, so that no crowd makes these tables grow, nor has a bound forgotten by filling them.
    pub(super) fn make_room(&mut self, now: Instant) {
        if self.recent.len() >= MAX_RECENT {
            self.recent.retain(|_, recent| !recent.is_empty(now));
            if self.recent.len() >= MAX_RECENT * 3 / 4 {
                self.forget_recent_attempts(now);
            }
        }
        if self.accounts.len() >= MAX_RECENT {
            self.accounts.retain(|_, account| !account.waiting.is_empty() || !account.pace.is_rested(now));
        }
        if self.is_full() && self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.swept = Some(now);
            let limits = self.limits;
            self.sources.retain(|_, source| {
                let rested = source.failures.decay(&limits, now)
                    && source.pace.is_rested(now)
                    && source.familiar_pace.is_rested(now);
                !rested || source.waiting + source.in_progress > 0 || source.blocked_until.is_some_and(|end| end > now)
            });
        }
    }

    /// Of the recent that only recognize repeated logins the older half is forgotten; those that bound guesses stay, unless
    /// there are too many of them as well.
    fn forget_recent_attempts(&mut self, now: Instant) {
        let mut idle: Vec<_> = self
            .recent
            .iter_mut()
            .filter_map(|(key, recent)| recent.is_idle(now).then_some((recent.last_used(), *key)))
            .collect();
        if idle.is_empty() {
            idle = self
                .recent
                .iter()
                .filter(|(_, recent)| recent.in_progress() == 0)
                .map(|(key, recent)| (recent.last_used(), *key))
                .collect();
        }
        idle.sort_unstable_by_key(|(last_used, _)| *last_used);
        let gone: HashSet<_> = idle.iter().take(idle.len().div_ceil(2)).map(|(_, key)| *key).collect();
        self.recent.retain(|key, _| !gone.contains(key));
    }
}
