//! Smart lockout: too many different wrong passwords lock a user out, everywhere.
//! <https://learn.microsoft.com/entra/identity/authentication/howto-password-smart-lockout>

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

/// Of so many last wrong passwords each counts once.
const REMEMBERED: usize = 3;

/// What has been tried for each user.
#[derive(Debug, Default)]
pub(in crate::office365) struct Lockouts(HashMap<String, Tried>);

#[derive(Debug, Default)]
struct Tried {
    wrong: usize,
    last: VecDeque<String>,
    lockouts: u32,
    locked_until: Option<SystemTime>,
}

impl Lockouts {
    /// Whether a user is locked out now.
    pub(in crate::office365) fn is_locked(&self, user: &str, now: SystemTime) -> bool {
        self.0.get(user).and_then(|tried| tried.locked_until).is_some_and(|until| now < until)
    }

    /// How many wrong passwords count against a user.
    pub(in crate::office365) fn wrong(&self, user: &str) -> usize {
        self.0.get(user).map_or(0, |tried| tried.wrong)
    }

    /// A right password: everything is forgotten.
    pub(super) fn right(&mut self, user: &str) {
        self.0.remove(user);
    }

    /// A wrong password. From the threshold on each further one locks again.
    pub(super) fn add_wrong(
        &mut self,
        user: &str,
        password: &str,
        threshold: usize,
        duration: Duration,
        now: SystemTime,
    ) {
        let tried = self.0.entry(user.to_owned()).or_default();
        if tried.last.iter().any(|last| last == password) {
            return;
        }
        tried.last.push_back(password.to_owned());
        if tried.last.len() > REMEMBERED {
            tried.last.pop_front();
        }
        tried.wrong += 1;
        if tried.wrong >= threshold {
            let longer = duration * 2_u32.saturating_pow(tried.lockouts.min(10));
            (tried.lockouts, tried.locked_until) = (tried.lockouts + 1, now.checked_add(longer));
        }
    }
}
