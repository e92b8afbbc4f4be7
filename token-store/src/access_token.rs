//! The rules for an access token of any authority: its lifetime, and its form in one line of a mail protocol.

use std::time::Duration;

/// The lifetime of a token whose answer names none: the shortest that Entra gives.
pub(crate) const LIFETIME_UNKNOWN: Duration = Duration::from_secs(600);

/// Lifetimes are taken within these bounds; Entra gives ten minutes to 28 hours.
pub(crate) const LIFETIMES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(7 * 24 * 3600));

/// A token goes into one line of a mail protocol; Entra's have two to five thousand characters.
const TOKEN_LIMIT: usize = 64 * 1024;

/// Whether one line of a mail protocol can contain a token.
pub(crate) fn is_fit_for_a_line(token: &[u8]) -> bool {
    !token.is_empty() && token.len() <= TOKEN_LIMIT && token.iter().all(u8::is_ascii_graphic)
}
