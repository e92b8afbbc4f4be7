//! Verified logins, remembered for minutes: mail clients reconnect all the time, and an argon2 each time would be most of
//! the work of this program.
//!
//! A login is remembered under an HMAC with a key that never leaves the process, and it counts only while the very hash
//! that it was verified against is still in the store: a password that was revoked or changed is forgotten at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{hmac, rand};
use oxpost_protocol::Secret;
use tokio::time::Instant;

use crate::{
    account::Mailbox,
    password::{PasswordHash, as_hashed},
    store::PasswordRow,
};

pub(super) struct Memory {
    /// Without a key nothing is remembered.
    key: Option<hmac::Key>,
    limit: usize,
    keep: Duration,
    logins: Mutex<HashMap<[u8; 32], Remembered>>,
}

struct Remembered {
    hash: PasswordHash,
    until: Instant,
}

impl Memory {
    pub(super) fn new(limit: usize, keep: Duration) -> Self {
        let mut bytes = [0; 32];
        let key = rand::fill(&mut bytes).is_ok().then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        Self { key, limit, keep, logins: Mutex::default() }
    }

    /// The row that this login was verified against, if it is remembered and the row is still there.
    pub(super) fn recall(&self, mailbox: &Mailbox, password: &Secret, rows: &[PasswordRow]) -> Option<PasswordRow> {
        let name = self.name(mailbox, password)?;
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = logins.get(&name).filter(|remembered| remembered.until > Instant::now())?;
        rows.iter().find(|row| row.hash == remembered.hash).cloned()
    }

    /// Remembers a verified login from now on.
    pub(super) fn remember(&self, mailbox: &Mailbox, password: &Secret, row: &PasswordRow) {
        let Some(name) = self.name(mailbox, password) else { return };
        let now = Instant::now();
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if logins.get(&name).is_some_and(|known| known.hash == row.hash && known.until > now) {
            // It was recalled: its time does not start anew, so that an argon2 is due now and then.
            return;
        }
        if logins.len() >= self.limit {
            logins.retain(|_, remembered| remembered.until > now);
        }
        if logins.len() >= self.limit {
            let oldest = logins.iter().min_by_key(|(_, remembered)| remembered.until).map(|(name, _)| *name);
            oldest.and_then(|oldest| logins.remove(&oldest));
        }
        if self.limit > 0 {
            logins.insert(name, Remembered { hash: row.hash.clone(), until: now + self.keep });
        }
    }

    fn name(&self, mailbox: &Mailbox, password: &Secret) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        // A mailbox holds no NUL, so no other pair gives the same bytes.
        context.update(mailbox.as_str().as_bytes());
        context.update(&[0]);
        context.update(as_hashed(password).reveal());
        context.sign().as_ref().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hash: &str) -> PasswordRow {
        PasswordRow { name: "scanner".into(), hash: PasswordHash::from_stored(hash.into()), last_used: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_is_remembered_for_its_time_and_its_hash() {
        let memory = Memory::new(2, Duration::from_secs(600));
        let mailbox = |name| Mailbox::parse(name).unwrap();
        let (ann, ben) = (mailbox("ann@x"), mailbox("ben@x"));
        let password = Secret::from("secret");
        memory.remember(&ann, &password, &row("h1"));
        assert!(memory.recall(&ann, &password, &[row("h0"), row("h1")]).is_some());
        assert!(memory.recall(&ann, &Secret::from("other"), &[row("h1")]).is_none());
        assert!(memory.recall(&ben, &password, &[row("h1")]).is_none());
        assert!(memory.recall(&ann, &password, &[row("h2")]).is_none(), "the password was changed");
        assert!(memory.recall(&ann, &password, &[]).is_none(), "the password was revoked");

        tokio::time::advance(Duration::from_secs(599)).await;
        memory.remember(&ann, &password, &row("h1"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(memory.recall(&ann, &password, &[row("h1")]).is_none(), "using it does not prolong it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room() {
        let memory = Memory::new(2, Duration::from_secs(600));
        let password = Secret::from("secret");
        let mailboxes: Vec<_> = ["a@x", "b@x", "c@x"].map(|name| Mailbox::parse(name).unwrap()).into();
        for mailbox in &mailboxes {
            memory.remember(mailbox, &password, &row("h"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let known: Vec<_> =
            mailboxes.iter().map(|mailbox| memory.recall(mailbox, &password, &[row("h")]).is_some()).collect();
        assert_eq!(known, [false, true, true]);
    }
}
