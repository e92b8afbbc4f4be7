//! What checking passwords may cost.

use std::net::IpAddr;

use ipnet::IpNet;
use oxpost_token_store::AdmissionLimits;

use super::file::Limits;

/// More than any machine has cores, and 19 MiB each.
const MOST_CHECKS: usize = 256;

/// What is wrong: section, key, sentence.
pub(super) type Problems = Vec<(&'static str, &'static str, String)>;

/// The bounds as the program goes by them, and what is wrong with them.
pub(super) fn check(limits: &Limits) -> (AdmissionLimits, Problems) {
    let mut problems = Vec::new();
    for (key, count) in [
        ("concurrent-password-checks", limits.concurrent_password_checks),
        ("password-checks-waiting", limits.password_checks_waiting),
    ] {
        if count == 0 {
            problems.push(("limits", key, "with 0 no client can log in.".to_owned()));
        }
    }
    if limits.concurrent_password_checks > MOST_CHECKS {
        problems.push((
            "limits",
            "concurrent-password-checks",
            format!("at most {MOST_CHECKS}; each check uses a core and 19 MiB, so write at most the number of cores."),
        ));
    }
    let admission = AdmissionLimits {
        concurrent_hashes: limits.concurrent_password_checks,
        hashes_waiting: limits.password_checks_waiting,
        ..AdmissionLimits::default()
    };
    (admission, problems)
}

/// A network, or a lone address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
