//! `[journal]`: what happened to messages is recorded for so long.

use std::time::Duration;

use serde::Deserialize;

use super::file::Period;
use super::password_checks::Problems;

/// How long events are kept, unless the file says otherwise: people ask about last week's mail, and rarely about last quarter's.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// Most events that are kept, unless the file says otherwise: 33,000 messages on each of 30 days.
const MAX_EVENTS: u64 = 1_000_000;

/// Most bytes that are kept, unless the file says otherwise: a million events of about a thousand bytes.
const MAX_BYTES: u64 = 1 << 30;

/// The longest time, ten years: the journal is no archive.
const LONGEST: Duration = Duration::from_secs(3660 * 24 * 3600);

/// The bounds that can be set: fewer keep nothing, more would be beyond what one file is good for.
const EVENTS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000;
const BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 40;

/// `[journal]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Section {
    /// Whether anything is recorded.
    pub enabled: bool,
    /// See [`JournalSettings::keep`].
    pub keep: Period,
    /// See [`JournalSettings::max_events`].
    pub max_events: u64,
    /// See [`JournalSettings::max_bytes`].
    pub max_bytes: u64,
}

impl Default for Section {
    fn default() -> Self {
        Self { enabled: true, keep: Period(KEEP), max_events: MAX_EVENTS, max_bytes: MAX_BYTES }
    }
}

/// What the journal keeps. Beyond a bound the oldest events are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// For how long; zero if nothing is recorded.
    pub keep: Duration,
    /// Most events.
    pub max_events: u64,
    /// Most bytes of all events, roughly, without indices and free space.
    pub max_bytes: u64,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { keep: KEEP, max_events: MAX_EVENTS, max_bytes: MAX_BYTES }
    }
}

impl JournalSettings {
    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        !self.keep.is_zero()
    }
}

/// The settings as the program goes by them, and what is wrong with them.
pub(super) fn check(section: &Section) -> (JournalSettings, Problems) {
    let Section { enabled, keep, max_events, max_bytes } = *section;
    let mut problems = Vec::new();
    if keep.0 > LONGEST {
        problems.push(("journal", "keep", "at most ten years (3660days).".to_owned()));
    }
    if !EVENTS.contains(&max_events) {
        let (least, most) = (EVENTS.start(), EVENTS.end());
        problems.push(("journal", "max-events", format!("from {least} to {most}; enabled = false records nothing.")));
    }
    if !BYTES.contains(&max_bytes) {
        let (least, most) = (BYTES.start(), BYTES.end());
        problems.push(("journal", "max-bytes", format!("from {least} to {most}; enabled = false records nothing.")));
    }
    let keep = if enabled { keep.0 } else { Duration::ZERO };
    (JournalSettings { keep, max_events, max_bytes }, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_is_on_unless_it_is_switched_off() {
        let on = |section| check(&section).0.is_on();
        assert!(on(Section::default()));
        assert!(!on(Section { enabled: false, ..Section::default() }));
        assert!(!on(Section { keep: Period(Duration::ZERO), ..Section::default() }));
        assert_eq!(check(&Section::default()), (JournalSettings::default(), Vec::new()));
    }

    #[test]
    fn bounds_that_keep_nothing_or_too_much_are_refused() {
        for (max_events, max_bytes, keep, wrong) in [
            (999, 1 << 20, 1, 1),
            (1_000, (1 << 20) - 1, 1, 1),
            (1_000_000_001, (1 << 40) + 1, LONGEST.as_secs() + 1, 3),
        ] {
            let section = Section { enabled: true, keep: Period(Duration::from_secs(keep)), max_events, max_bytes };
            assert_eq!(check(&section).1.len(), wrong, "{section:?}");
        }
    }
}
