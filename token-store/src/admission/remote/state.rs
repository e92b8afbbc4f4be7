//! What is known of the passwords of one account that Microsoft verifies. Pure: everything from the answers and the time.
//!
//! The store counts for all nodes how many wrong passwords Microsoft hears: see `store/remote_attempts.rs`.

use std::time::{Duration, SystemTime};

use crate::{
    admission::Denied,
    error::{ErrorKind, TokenError},
    schedule::{self, after},
};

/// How long a right password is right without asking again: about as long as an access token lives, so that a password that
/// was changed at Microsoft opens nothing for longer than Microsoft's own tokens do.
pub(super) const RIGHT_FOR: Duration = Duration::from_secs(3600);

/// How long it still opens when Microsoft does not answer.
const RIGHT_WITHOUT_ANSWER: Duration = Duration::from_secs(24 * 3600);

/// How long a wrong password is wrong without asking again, at first. It doubles up to [`WRONG_AT_MOST`]: a device repeats the
/// password that it was given, for ever.
const WRONG_FOR: Duration = Duration::from_secs(600);

/// The longest time that a wrong password is wrong without asking again.
const WRONG_AT_MOST: Duration = Duration::from_secs(3600);

/// How long Microsoft is left alone after an answer that was neither yes nor no, at most, unless it names a time.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// A password under a key that never leaves the process.
pub(super) type PasswordTag = [u8; 32];

#[derive(Default)]
pub(super) struct VerificationState {
    right: Option<(PasswordTag, SystemTime)>,
    wrong: Vec<Wrong>,
    pause: Option<Pause>,
}

struct Wrong {
    tag: PasswordTag,
    asked: SystemTime,
    times: u32,
}

/// The state of the account's tokens at the moment of a login.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenStatus {
    /// The tokens that the last right password has brought can still be used or refreshed.
    pub(super) usable: bool,
    /// When they were obtained. Failures before that no longer matter.
    pub(super) obtained_at: Option<SystemTime>,
    /// When the last right password was verified, as the store has it.
    pub(super) verified_at: Option<SystemTime>,
}

/// After an answer that was neither yes nor no.
struct Pause {
    error: TokenError,
    since: SystemTime,
    length: Duration,
    failures: u32,
}

/// What to do about a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is right.
    Admit,
    /// Ask Microsoft. If it does not answer, `admit_if_unreachable` says whether the password counts as right.
    AskMicrosoft {
        admit_if_unreachable: bool,
    },
    Deny(Denied),
}

/// What Microsoft has answered.
#[derive(Debug)]
pub(super) enum VerificationResult {
    Right,
    Wrong,
    Inconclusive(TokenError),
}

impl VerificationState {
    /// Whether this is the last password that was right, however long ago.
    pub(super) fn was_right(&self, tag: &PasswordTag) -> bool {
        self.right.as_ref().is_some_and(|(right, _)| right == tag)
    }

    /// The last right password, verified by another process: before a restart, or by another node.
    pub(super) fn remember(&mut self, tag: PasswordTag, verified_at: SystemTime) {
        self.wrong.retain(|wrong| wrong.tag != tag);
        self.right = Some((tag, verified_at));
    }

    /// When the last right password was verified.
    pub(super) fn verified_at(&self) -> Option<SystemTime> {
        self.right.map(|(_, verified_at)| verified_at)
    }

    /// What to do about a login. The last right password counts only as the store has it: an account that was removed and
    /// added again has none.
    pub(super) fn decide(&mut self, tag: &PasswordTag, status: &TokenStatus, now: SystemTime) -> Decision {
        self.expire(now);
        self.pause.take_if(|pause| status.obtained_at.is_some_and(|obtained_at| pause.since < obtained_at));
        let right = self.right.filter(|(right, since)| right == tag && status.verified_at == Some(*since));
        let right_since = right.map(|(_, since)| age(since, now));
        let right_for = |limit| status.usable && right_since.is_some_and(|age| age < limit);
        if right_for(RIGHT_FOR) {
            return Decision::Admit;
        }
        let admit_if_unreachable = right_for(RIGHT_WITHOUT_ANSWER);
        if self.wrong.iter().any(|wrong| wrong.tag == *tag && age(wrong.asked, now) < wrong.stays()) {
            return Decision::Deny(Denied::RejectedByMicrosoft);
        }
        if let Some((error, left)) = self.pause.as_ref().and_then(|pause| pause.left(now)) {
            let passing = error.kind() == ErrorKind::Transient;
            return if passing && admit_if_unreachable { Decision::Admit } else { Decision::Deny(denied(error, left)) };
        }
        Decision::AskMicrosoft { admit_if_unreachable }
    }

    /// Notes what was answered about a password that [`VerificationState::decide`] had sent to be asked about.
    pub(super) fn note(&mut self, tag: PasswordTag, result: &VerificationResult, now: SystemTime) {
        match result {
            VerificationResult::Right => {
                self.right = Some((tag, now));
                self.wrong.retain(|wrong| wrong.tag != tag);
                self.pause = None;
            }
            VerificationResult::Wrong => {
                // It may have been right once, and was changed at Microsoft.
                self.right.take_if(|(right, _)| *right == tag);
                let times = self.wrong.iter().find(|wrong| wrong.tag == tag).map_or(0, |wrong| wrong.times);
                self.wrong.retain(|wrong| wrong.tag != tag);
                self.wrong.push(Wrong { tag, asked: now, times: times.saturating_add(1) });
                self.pause = None;
            }
            VerificationResult::Inconclusive(error) => {
                let failures = self.pause.as_ref().map_or(0, |pause| pause.failures).saturating_add(1);
                self.pause =
                    Some(Pause { error: error.clone(), since: now, length: length(error, failures), failures });
            }
        }
    }

    /// Forgets what is over. A time in the future was noted before the clock was set back, and counts from now on.
    fn expire(&mut self, now: SystemTime) {
        for wrong in &mut self.wrong {
            wrong.asked = wrong.asked.min(now);
        }
        if let Some(pause) = &mut self.pause {
            pause.since = pause.since.min(now);
        }
        self.right.take_if(|(_, since)| *since > after(now, WRONG_AT_MOST));
        // A little longer than it counts, so that a repeated one does not start again at the shortest time.
        self.wrong.retain(|wrong| age(wrong.asked, now) < 2 * WRONG_AT_MOST);
    }
}

impl Wrong {
    fn stays(&self) -> Duration {
        let doubled = 1_u32.checked_shl(self.times.saturating_sub(1)).unwrap_or(u32::MAX);
        WRONG_FOR.saturating_mul(doubled).min(WRONG_AT_MOST)
    }
}

impl Pause {
    fn left(&self, now: SystemTime) -> Option<(&TokenError, Duration)> {
        let left = self.length.checked_sub(age(self.since, now)).filter(|left| !left.is_zero())?;
        Some((&self.error, left))
    }
}

fn length(error: &TokenError, failures: u32) -> Duration {
    let retry_after = if let TokenError::Transient { retry_after, .. } = error { *retry_after } else { None };
    let pause = schedule::pause(error.kind(), failures, retry_after, schedule::jitter());
    if retry_after.is_some() { pause } else { pause.min(LONGEST_PAUSE) }
}

fn denied(error: &TokenError, left: Duration) -> Denied {
    Denied::NotVerified(match error.clone() {
        TokenError::Transient { problem, .. } => {
            TokenError::Transient { retry_after: Some(left.max(Duration::from_secs(1))), problem }
        }
        other => other,
    })
}

fn age(since: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(since).unwrap_or_default()
}

#[cfg(test)]
mod tests;
