//! Sources from which a login has succeeded: a connection from there is likely to log in as well. Those of before a restart, and
//! of other nodes, are in the store.

use std::collections::HashMap;

use oxpost_token_store::{Accounts, Source};

/// Most sources that are remembered; the one that was not seen for longest is forgotten.
const MAX_FAMILIAR: usize = 4096;

/// The sources, each with the time of its last login as a number that grows.
#[derive(Debug, Default)]
pub(super) struct FamiliarSources {
    stored: Option<Accounts>,
    seen: HashMap<Source, u64>,
    next: u64,
}

impl FamiliarSources {
    /// With those that the store has.
    pub(super) fn stored(accounts: Accounts) -> Self {
        Self { stored: Some(accounts), ..Self::default() }
    }

    /// Whether a correct password was sent from there.
    pub(super) fn is_familiar(&self, source: Source) -> bool {
        self.seen.contains_key(&source)
            || self.stored.as_ref().is_some_and(|accounts| accounts.is_familiar_to_any(source))
    }

    /// A correct password was sent from there.
    pub(super) fn note(&mut self, source: Source) {
        if self.seen.len() >= MAX_FAMILIAR && !self.seen.contains_key(&source) {
            let oldest = self.seen.iter().min_by_key(|(_, at)| **at).map(|(source, _)| *source);
            oldest.and_then(|oldest| self.seen.remove(&oldest));
        }
        self.seen.insert(source, self.next);
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: usize) -> Source {
        let [.., high, low] = number.to_be_bytes();
        Source::of(std::net::IpAddr::from([10, 0, high, low]))
    }

    #[test]
    fn source_not_seen_for_longest_is_forgotten() {
        let mut familiar = FamiliarSources::default();
        (0..MAX_FAMILIAR).for_each(|number| familiar.note(source(number)));
        familiar.note(source(0));
        assert!(familiar.is_familiar(source(1)));
        familiar.note(source(MAX_FAMILIAR));
        let known: Vec<bool> = [0, 1, 2, MAX_FAMILIAR].map(|number| familiar.is_familiar(source(number))).into();
        assert_eq!(known, [true, false, true, true]);
        assert_eq!(familiar.seen.len(), MAX_FAMILIAR);
    }
}
