//! What is known of the passwords of one account that Microsoft judges. Pure: everything from what was answered and the time.
//!
//! How many wrong ones Microsoft hears is counted in the store, for all nodes: see `store/remote_attempts.rs`.

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
pub(super) type Name = [u8; 32];

#[derive(Default)]
pub(super) struct Docket {
    right: Option<(Name, SystemTime)>,
    wrong: Vec<Wrong>,
    pause: Option<Pause>,
}

struct Wrong {
    name: Name,
    asked: SystemTime,
    times: u32,
}

/// How the account stands at the moment of a login.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// The tokens that the last right password has brought can still be used or refreshed.
    pub(super) going_on: bool,
    /// When they were got. What was wrong before that is mended.
    pub(super) got: Option<SystemTime>,
    /// When the last right password was judged, as the store has it.
    pub(super) judged: Option<SystemTime>,
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
pub(super) enum Step {
    /// It is right.
    Admit,
    /// Microsoft is to be asked. If it does not answer, the password counts as right in the second case.
    Ask {
        right_meanwhile: bool,
    },
    Deny(Denied),
}

/// What Microsoft has answered.
#[derive(Debug)]
pub(super) enum Verdict {
    Right,
    Wrong,
    Neither(TokenError),
}

impl Docket {
    /// Whether this is the last password that was right, however long ago.
    pub(super) fn was_right(&self, name: &Name) -> bool {
        self.right.as_ref().is_some_and(|(right, _)| right == name)
    }

    /// The last right password, which was judged in another process: before a restart, or in another node.
    pub(super) fn remember(&mut self, name: Name, judged: SystemTime) {
        self.wrong.retain(|wrong| wrong.name != name);
        self.right = Some((name, judged));
    }

    /// When the last right password was judged.
    pub(super) fn judged(&self) -> Option<SystemTime> {
        self.right.map(|(_, judged)| judged)
    }

    /// What to do about a login. The last right password counts only as the store has it: an account that was removed and
    /// added again has none.
    pub(super) fn look(&mut self, name: &Name, standing: &Standing, now: SystemTime) -> Step {
        self.tidy(now);
        self.pause.take_if(|pause| standing.got.is_some_and(|got| pause.since < got));
        let right = self.right.filter(|(right, since)| right == name && standing.judged == Some(*since));
        let right_since = right.map(|(_, since)| age(since, now));
        let right_for = |limit| standing.going_on && right_since.is_some_and(|age| age < limit);
        if right_for(RIGHT_FOR) {
            return Step::Admit;
        }
        let right_meanwhile = right_for(RIGHT_WITHOUT_ANSWER);
        if self.wrong.iter().any(|wrong| wrong.name == *name && age(wrong.asked, now) < wrong.stays()) {
            return Step::Deny(Denied::WrongAtMicrosoft);
        }
        if let Some((error, left)) = self.pause.as_ref().and_then(|pause| pause.left(now)) {
            let passing = error.kind() == ErrorKind::Transient;
            return if passing && right_meanwhile { Step::Admit } else { Step::Deny(denied(error, left)) };
        }
        Step::Ask { right_meanwhile }
    }

    /// Notes what was answered about a password that [`Docket::look`] had sent to be asked about.
    pub(super) fn note(&mut self, name: Name, verdict: &Verdict, now: SystemTime) {
        match verdict {
            Verdict::Right => {
                self.right = Some((name, now));
                self.wrong.retain(|wrong| wrong.name != name);
                self.pause = None;
            }
            Verdict::Wrong => {
                // It may have been right once, and was changed at Microsoft.
                self.right.take_if(|(right, _)| *right == name);
                let times = self.wrong.iter().find(|wrong| wrong.name == name).map_or(0, |wrong| wrong.times);
                self.wrong.retain(|wrong| wrong.name != name);
                self.wrong.push(Wrong { name, asked: now, times: times.saturating_add(1) });
                self.pause = None;
            }
            Verdict::Neither(error) => {
                let failures = self.pause.as_ref().map_or(0, |pause| pause.failures).saturating_add(1);
                self.pause =
                    Some(Pause { error: error.clone(), since: now, length: length(error, failures), failures });
            }
        }
    }

    /// Forgets what is over. A time in the future was noted before the clock was set back, and counts from now on.
    fn tidy(&mut self, now: SystemTime) {
        for wrong in &mut self.wrong {
            wrong.asked = wrong.asked.min(now);
        }
        if let Some(pause) = &mut self.pause {
            pause.since = pause.since.min(now);
        }
        self.right.take_if(|(_, since)| *since > after(now, WRONG_AT_MOST));
        // A little longer than it counts, so that one that is repeated does not begin anew.
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
    Denied::NotJudged(match error.clone() {
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
