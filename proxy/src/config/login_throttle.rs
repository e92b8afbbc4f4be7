//! `[login-throttle]`: what an administrator may move of the bounds on guessed passwords.

use std::time::Duration;

use serde::Deserialize;

use super::file::Period;
use super::password_checks::{Problems, network};
use crate::limits::login_throttle::{BlockLimits, ThrottleLimits};

/// `[login-throttle]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct LoginThrottle {
    /// See [`BlockLimits::after`].
    pub block_after: u32,
    /// See [`BlockLimits::repeat_interval`].
    pub repeat_interval: Period,
    /// See [`BlockLimits::duration`].
    pub block_for: Period,
    /// See [`BlockLimits::decay_interval`].
    pub decay_interval: Period,
    /// See [`ThrottleLimits::failure_delay`].
    pub failure_delay: Period,
    /// See [`ThrottleLimits::exempt_networks`].
    pub exempt_networks: Vec<String>,
}

impl Default for LoginThrottle {
    fn default() -> Self {
        Self {
            // Of a site's devices with old passwords only those count that try less than once in `repeat-interval`.
            block_after: 100,
            repeat_interval: Period(Duration::from_secs(15 * 60)),
            block_for: Period(Duration::from_secs(15 * 60)),
            // A source that sends one guess every five minutes has sent 288 in a day.
            decay_interval: Period(Duration::from_secs(5 * 60)),
            // As Dovecot's auth_failure_delay.
            failure_delay: Period(Duration::from_secs(2)),
            exempt_networks: Vec::new(),
        }
    }
}

/// The longest block, and the longest memory of a wrong login.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Mail programs wait for the answer to a login for half a minute at least.
const LONGEST_DELAY: Duration = Duration::from_secs(20);

/// More wrong logins than this are not counted for one source.
const MOST: u32 = 10_000;

/// The limits as the program goes by them, and what is wrong with them.
pub(super) fn check(throttle: &LoginThrottle) -> (ThrottleLimits, Problems) {
    let mut problems = Vec::new();
    let mut wrong = |key, what: String| problems.push(("login-throttle", key, what));
    for (key, period) in [
        ("block-for", throttle.block_for),
        ("repeat-interval", throttle.repeat_interval),
        ("decay-interval", throttle.decay_interval),
    ] {
        if period.0.is_zero() {
            wrong(key, "must be longer than zero; to disable blocks, set block-after = 0.".to_owned());
        }
        if period.0 > LONGEST {
            wrong(key, "at most 7 days.".to_owned());
        }
    }
    if throttle.failure_delay.0 > LONGEST_DELAY {
        wrong("failure-delay", "at most 20 seconds: mail programs do not wait much longer for a reply.".to_owned());
    }
    if throttle.block_after > MOST {
        wrong("block-after", format!("at most {MOST}; 0 disables blocks."));
    }
    let mut exempt_networks = Vec::new();
    for text in &throttle.exempt_networks {
        match network(text) {
            Some(network) => exempt_networks.push(network),
            None => wrong(
                "exempt-networks",
                format!("`{text}` is not an address or network; write it like \"192.168.1.5\" or \"192.168.1.0/24\"."),
            ),
        }
    }
    let block = BlockLimits {
        after: throttle.block_after,
        repeat_interval: throttle.repeat_interval.0,
        duration: throttle.block_for.0,
        decay_interval: throttle.decay_interval.0,
    };
    (ThrottleLimits { block, failure_delay: throttle.failure_delay.0, exempt_networks }, problems)
}
