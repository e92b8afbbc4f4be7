//! One login, as far as the throttle knows it: whose password is tried, from where, and how it ended.

use oxpost_token_store::Source;

use super::recent_attempts::PairTag;

/// An account, or a user name without one, under a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Subject(pub(super) u64);

/// Whose password is guessed at, and whether a login to it from this source has succeeded before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// The account.
    pub(super) subject: Subject,
    /// Whether the source is familiar to it.
    pub(super) familiar: bool,
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Every account whose passwords it is compared with: one, or two with `owner\shared`.
    pub(super) targets: Vec<Target>,
    /// Where it comes from.
    pub(super) source: Source,
    /// Whether many clients share this source.
    pub(super) shared: bool,
    /// Whether any login from there has succeeded before.
    pub(super) familiar_source: bool,
    /// The account and the password.
    pub(super) pair: PairTag,
}

/// How an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The password was right.
    Right,
    /// It was wrong.
    Wrong,
    /// Nothing was compared with it.
    NotMade,
    /// It may have been compared; the result is not known.
    Unknown,
}
