//! How many token requests an authority gets from us.

use oxpost_token_store::RefreshLimits;

use super::{file::Limits, password_checks::Problems};

/// More concurrent requests than an authority that answers in a second can ever need for the highest rate.
const MOST_AT_ONCE: usize = 1_000;

/// A hundred thousand accounts need forty.
const MOST_PER_SECOND: u32 = 1_000;

/// The bounds as the program goes by them, and what is wrong with them.
pub(super) fn check(limits: &Limits) -> (RefreshLimits, Problems) {
    let (at_once, per_second) = (limits.concurrent_token_requests, limits.token_requests_per_second);
    let mut problems = Vec::new();
    if !(2..=MOST_AT_ONCE).contains(&at_once) {
        let sentence = format!("from 2 (one for logins, one for the background) to {MOST_AT_ONCE}.");
        problems.push(("limits", "concurrent-token-requests", sentence));
    }
    if !(1..=MOST_PER_SECOND).contains(&per_second) {
        problems.push(("limits", "token-requests-per-second", format!("from 1 to {MOST_PER_SECOND}.")));
    }
    let default = RefreshLimits::default();
    let refresh = RefreshLimits {
        per_authority: at_once,
        background_per_authority: at_once / 2,
        in_all: default.in_all.max(at_once),
        per_second,
        ..default
    };
    (refresh, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_requests_are_left_to_logins() {
        let (refresh, problems) = check(&Limits::default());
        assert_eq!((refresh, problems.len()), (RefreshLimits::default(), 0));
        let (refresh, _) = check(&Limits { concurrent_token_requests: 100, ..Limits::default() });
        assert_eq!((refresh.per_authority, refresh.background_per_authority, refresh.in_all), (100, 50, 100));
        for (at_once, per_second, wrong) in [(1, 1, 1), (2, 0, 1), (1_001, 1_001, 2), (2, 1, 0)] {
            let limits = Limits {
                concurrent_token_requests: at_once,
                token_requests_per_second: per_second,
                ..Limits::default()
            };
            assert_eq!(check(&limits).1.len(), wrong, "{at_once} {per_second}");
        }
    }
}
