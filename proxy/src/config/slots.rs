//! How many connections and sessions there may be: the keys `max-…` of `[limits]`.

use ipnet::IpNet;

use super::file::Limits;
use crate::limits::connection_slots::{SlotLimits, SlotSettings};

/// Most sessions of one account, unless the file says otherwise: ten devices with ten IMAP connections each. The commonly cited
/// limit of Exchange Online itself is 20 per mailbox and protocol.
const SESSIONS_PER_ACCOUNT: usize = 100;

/// An account has at most this part of all connections, however few there are, unless the file says otherwise: one fourth.
const ACCOUNT_SHARE: usize = 4;

/// The part of all connections that one delegate or one source leaves to others, unless the file says otherwise: one fourth. A
/// gateway often has one large site or one pattern for everything, so that the rest is theirs.
const RESERVED_SHARE: usize = 4;

/// The limits as the program goes by them, and what is wrong with them: key and sentence.
pub(super) fn check(limits: &Limits, exempt_networks: Vec<IpNet>) -> (SlotSettings, Vec<(&'static str, String)>) {
    let all = limits.max_connections;
    let per_account =
        limits.max_sessions_per_account.unwrap_or_else(|| SESSIONS_PER_ACCOUNT.min(all / ACCOUNT_SHARE).max(1));
    // An account with more than that has it on purpose: the sessions of one account all have one delegate, and often one source.
    let most = (all - all / RESERVED_SHARE).max(per_account);
    let slots = SlotLimits {
        max_connections: all,
        max_unauthenticated: limits.max_unauthenticated,
        max_unauthenticated_per_source: limits.max_unauthenticated_per_source,
        max_sessions_per_account: per_account,
        max_sessions_per_delegate: limits.max_sessions_per_delegate.unwrap_or(most),
        max_sessions_per_source: limits.max_sessions_per_source.unwrap_or(most),
    };
    let mut problems = Vec::new();
    if all == 0 {
        problems
            .push(("max-connections", "with 0 connections no client can connect; the default is 10000.".to_owned()));
    }
    for (key, count) in [
        ("max-unauthenticated", slots.max_unauthenticated),
        ("max-unauthenticated-per-source", slots.max_unauthenticated_per_source),
    ] {
        if count == 0 {
            problems.push((key, "with 0 no client can log in.".to_owned()));
        }
    }
    for (key, written) in [
        ("max-sessions-per-account", limits.max_sessions_per_account),
        ("max-sessions-per-delegate", limits.max_sessions_per_delegate),
        ("max-sessions-per-source", limits.max_sessions_per_source),
    ] {
        match written {
            Some(0) => problems.push((key, "with 0 no client can log in.".to_owned())),
            Some(count) if count > all && all > 0 => problems.push((
                key,
                format!("{count} is more than max-connections ({all}) and has no effect; write at most {all}."),
            )),
            _ => {}
        }
    }
    (SlotSettings { limits: slots, exempt_networks }, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: usize) -> [usize; 3] {
        let limits = Limits { max_connections: all, ..Limits::default() };
        let (SlotSettings { limits, .. }, problems) = check(&limits, Vec::new());
        assert_eq!(problems, []);
        [limits.max_sessions_per_account, limits.max_sessions_per_delegate, limits.max_sessions_per_source]
    }

    #[test]
    fn defaults_leave_connections_to_others() {
        assert_eq!(of(10_000), [100, 7_500, 7_500]);
        assert_eq!(of(40), [10, 30, 30]);
        assert_eq!(of(3), [1, 3, 3], "too few to be shared");
        let written = Limits { max_connections: 8, max_sessions_per_account: Some(8), ..Limits::default() };
        let limits = check(&written, Vec::new()).0.limits;
        assert_eq!(
            (limits.max_sessions_per_delegate, limits.max_sessions_per_source),
            (8, 8),
            "as many as one account may have"
        );
    }

    #[test]
    fn limits_that_admit_no_client_or_limit_nothing_are_refused() {
        let of = |limits: Limits| check(&limits, Vec::new()).1;
        let none = Limits {
            max_connections: 0,
            max_unauthenticated: 0,
            max_unauthenticated_per_source: 0,
            max_sessions_per_account: Some(0),
            max_sessions_per_delegate: Some(0),
            max_sessions_per_source: Some(0),
            ..Limits::default()
        };
        let keys: Vec<&str> = of(none).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 6, "{keys:?}");
        let without_connections = Limits { max_connections: 0, max_sessions_per_account: Some(5), ..Limits::default() };
        assert_eq!(of(without_connections).len(), 1, "one problem, told once");
        let written = Limits {
            max_connections: 10,
            max_sessions_per_account: Some(10),
            max_sessions_per_delegate: Some(11),
            max_sessions_per_source: Some(1),
            ..Limits::default()
        };
        let problems = of(written);
        assert!(
            matches!(problems.as_slice(), [("max-sessions-per-delegate", why)] if why.contains("at most 10")),
            "{problems:?}"
        );
    }
}
