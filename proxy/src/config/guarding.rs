//! The bounds against strangers: their guesses, and what checking a password may cost.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use oxpost_token_store::AdmissionLimits;
use serde::Deserialize;

use super::file::{Limits, Period};
use crate::guard::{GuardLimits, GuessLimits};

/// `[wrong-passwords]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct WrongPasswords {
    /// See [`GuessLimits::ban_after`].
    pub ban_after: u32,
    /// See [`GuessLimits::ban_network_after`].
    pub ban_network_after: u32,
    /// See [`GuessLimits::ban_for`].
    pub ban_for: Period,
    /// See [`GuessLimits::forgive`].
    pub forgive: Period,
    /// See [`GuardLimits::never_ban`].
    pub never_ban: Vec<String>,
}

impl Default for WrongPasswords {
    fn default() -> Self {
        Self {
            ban_after: 10,
            // Several people of one network may mistype on the same day.
            ban_network_after: 50,
            ban_for: Period(Duration::from_secs(15 * 60)),
            // Who tries one every five minutes has tried 288 in a day.
            forgive: Period(Duration::from_secs(5 * 60)),
            never_ban: Vec::new(),
        }
    }
}

/// The longest ban, and the longest memory of a guess.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// More than any machine has cores, and 19 MiB each.
const MOST_CHECKS: usize = 256;

/// What is wrong: section, key, sentence.
pub(super) type Problems = Vec<(&'static str, &'static str, String)>;

/// The bounds as the program goes by them, and what is wrong with them.
pub(super) fn check(limits: &Limits, wrong: &WrongPasswords) -> (GuardLimits, AdmissionLimits, Problems) {
    let mut problems = Vec::new();
    for (key, count) in [
        ("concurrent-password-checks", limits.concurrent_password_checks),
        ("password-checks-waiting", limits.password_checks_waiting),
    ] {
        if count == 0 {
            problems.push(("limits", key, "with 0 of them nobody can log in.".to_owned()));
        }
    }
    if limits.concurrent_password_checks > MOST_CHECKS {
        problems.push((
            "limits",
            "concurrent-password-checks",
            format!(
                "each takes a core and 19 MiB; at most {MOST_CHECKS}, and best no more than the machine has cores."
            ),
        ));
    }
    for (key, period) in [("ban-for", wrong.ban_for), ("forgive", wrong.forgive)] {
        if period.0.is_zero() {
            problems.push((
                "wrong-passwords",
                key,
                "a time of zero lets everybody guess without end; to switch bans off, set ban-after = 0.".to_owned(),
            ));
        }
        if period.0 > LONGEST {
            problems.push(("wrong-passwords", key, "at most 7 days.".to_owned()));
        }
    }
    let mut never_ban = Vec::new();
    for text in &wrong.never_ban {
        match network(text) {
            Some(network) => never_ban.push(network),
            None => problems.push((
                "wrong-passwords",
                "never-ban",
                format!("`{text}` is not an address or network; write it like \"192.168.1.5\" or \"192.168.1.0/24\"."),
            )),
        }
    }
    let guard = GuardLimits {
        guesses: GuessLimits {
            ban_after: wrong.ban_after,
            ban_network_after: wrong.ban_network_after,
            ban_for: wrong.ban_for.0,
            forgive: wrong.forgive.0,
        },
        never_ban,
    };
    let admission = AdmissionLimits {
        concurrent_hashes: limits.concurrent_password_checks,
        hashes_waiting: limits.password_checks_waiting,
        ..AdmissionLimits::default()
    };
    (guard, admission, problems)
}

/// A network, or a lone address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
