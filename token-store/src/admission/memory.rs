//! Logins that were checked a short while ago: mail clients reconnect all the time, and an argon2 each time would be most of
//! the work of this program. A right one needs no hash for minutes, and is known for a day; a wrong one that comes again, as
//! from a device that was not told of a new password, needs none either.
//!
//! A login is remembered under an HMAC with a key that never leaves the process, and it counts only while the hashes that
//! it was checked against are still in the store: a password that was revoked, changed or added counts at once.

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

/// How long a right login is known: whoever reads mail daily is.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

type Name = [u8; 32];

pub(super) struct Memory {
    /// Without a key nothing is remembered.
    key: Option<hmac::Key>,
    keep: Duration,
    right: Mutex<Remembered<Right>>,
    /// With the hashes there were, under one name.
    wrong: Mutex<Remembered<Name>>,
}

struct Right {
    hash: PasswordHash,
    /// Until when it needs no hash.
    until: Instant,
}

/// What is remembered of a login that comes again.
#[derive(Debug)]
pub(super) enum Recalled {
    /// It was right a moment ago, against this row.
    Right(PasswordRow),
    /// It was right within the last day.
    Known,
    /// It was wrong a moment ago, and nothing has changed since.
    Wrong,
    /// Nothing.
    Nothing,
}

impl Memory {
    pub(super) fn new(limit: usize, keep: Duration) -> Self {
        let mut bytes = [0; 32];
        let key = rand::fill(&mut bytes).is_ok().then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        Self { key, keep, right: Mutex::new(Remembered::new(limit)), wrong: Mutex::new(Remembered::new(limit)) }
    }

    /// What is known of this login. As much work for a name without an account, so that nobody can tell the difference.
    pub(super) fn recall(
        &self,
        user: &str,
        mailbox: Option<&Mailbox>,
        password: &Secret,
        rows: &[PasswordRow],
    ) -> Recalled {
        let now = Instant::now();
        if let Some(name) = self.right_name(mailbox.map_or(user, Mailbox::as_str), password) {
            let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            let remembered = mailbox.and_then(|_| right.get(&name, now));
            if let Some(remembered) = remembered
                && let Some(row) = rows.iter().find(|row| row.hash == remembered.hash)
            {
                return if remembered.until > now { Recalled::Right(row.clone()) } else { Recalled::Known };
            }
        }
        if let (Some(name), Some(hashes)) = (self.wrong_name(user, password), self.hashes_name(rows)) {
            let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            if wrong.get(&name, now) == Some(&hashes) {
                return Recalled::Wrong;
            }
        }
        Recalled::Nothing
    }

    /// Remembers a verified login from now on. If it was recalled its time does not start anew, so that an argon2 is due
    /// now and then.
    pub(super) fn remember_right(&self, mailbox: &Mailbox, password: &Secret, row: &PasswordRow) {
        let Some(name) = self.right_name(mailbox.as_str(), password) else { return };
        let now = Instant::now();
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.get(&name, now).is_none_or(|known| known.hash != row.hash || known.until <= now) {
            let new = Right { hash: row.hash.clone(), until: now + self.keep };
            right.insert(name, new, now, KNOWN_FOR.max(self.keep));
        }
    }

    /// Remembers that this login was wrong. Its time does not start anew either.
    pub(super) fn remember_wrong(&self, user: &str, password: &Secret, rows: &[PasswordRow]) {
        let (Some(name), Some(hashes)) = (self.wrong_name(user, password), self.hashes_name(rows)) else { return };
        let now = Instant::now();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.get(&name, now) != Some(&hashes) {
            wrong.insert(name, hashes, now, self.keep);
        }
    }

    fn right_name(&self, mailbox: &str, password: &Secret) -> Option<Name> {
        // Neither a mailbox nor a login name holds a NUL, so no other parts give the same bytes.
        self.name(&[b"right", mailbox.as_bytes(), as_hashed(password).reveal()])
    }

    fn wrong_name(&self, user: &str, password: &Secret) -> Option<Name> {
        self.name(&[b"wrong", user.trim().to_lowercase().as_bytes(), as_hashed(password).reveal()])
    }

    fn hashes_name(&self, rows: &[PasswordRow]) -> Option<Name> {
        let mut hashes: Vec<&[u8]> = rows.iter().map(|row| row.hash.as_stored().as_bytes()).collect();
        // Their order changes with every use.
        hashes.sort_unstable();
        self.name(&hashes)
    }

    fn name(&self, parts: &[&[u8]]) -> Option<Name> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for part in parts {
            context.update(part);
            context.update(&[0]);
        }
        context.sign().as_ref().try_into().ok()
    }
}

/// A map in which everything has its end, and the one that ends next makes room.
struct Remembered<T> {
    limit: usize,
    entries: HashMap<Name, (T, Instant)>,
}

impl<T> Remembered<T> {
    fn new(limit: usize) -> Self {
        Self { limit, entries: HashMap::new() }
    }

    fn get(&self, name: &Name, now: Instant) -> Option<&T> {
        self.entries.get(name).filter(|(_, end)| *end > now).map(|(entry, _)| entry)
    }

    fn insert(&mut self, name: Name, entry: T, now: Instant, keep: Duration) {
        if self.entries.len() >= self.limit {
            self.entries.retain(|_, (_, end)| *end > now);
        }
        if self.entries.len() >= self.limit {
            let oldest = self.entries.iter().min_by_key(|(_, (_, end))| *end).map(|(name, _)| *name);
            oldest.and_then(|oldest| self.entries.remove(&oldest));
        }
        if self.limit > 0 {
            self.entries.insert(name, (entry, now + keep));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hash: &str) -> PasswordRow {
        let mailbox = Mailbox::parse("ann@x").unwrap();
        PasswordRow { mailbox, name: "scanner".into(), hash: PasswordHash::from_stored(hash.into()), last_used: None }
    }

    fn mailbox(name: &str) -> Mailbox {
        Mailbox::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_login_is_remembered_for_its_time_and_its_hash_and_known_for_a_day() {
        let memory = Memory::new(2, Duration::from_secs(600));
        let (ann, ben) = (mailbox("ann@x"), mailbox("ben@x"));
        let password = Secret::from("secret");
        memory.remember_right(&ann, &password, &row("h1"));
        let of = |mailbox: &Mailbox, password: &Secret, rows: &[PasswordRow]| {
            memory.recall(mailbox.as_str(), Some(mailbox), password, rows)
        };
        assert!(matches!(of(&ann, &password, &[row("h0"), row("h1")]), Recalled::Right(_)));
        assert!(matches!(of(&ann, &Secret::from("other"), &[row("h1")]), Recalled::Nothing));
        assert!(matches!(of(&ben, &password, &[row("h1")]), Recalled::Nothing));
        assert!(matches!(of(&ann, &password, &[row("h2")]), Recalled::Nothing), "the password was changed");
        assert!(matches!(of(&ann, &password, &[]), Recalled::Nothing), "the password was revoked");

        tokio::time::advance(Duration::from_secs(599)).await;
        memory.remember_right(&ann, &password, &row("h1"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(matches!(of(&ann, &password, &[row("h1")]), Recalled::Known), "using it does not prolong it");
        assert!(matches!(of(&ann, &password, &[]), Recalled::Nothing), "nobody is known by a revoked password");
        tokio::time::advance(KNOWN_FOR).await;
        assert!(matches!(of(&ann, &password, &[row("h1")]), Recalled::Nothing));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_login_is_remembered_until_anything_changes() {
        let memory = Memory::new(2, Duration::from_secs(600));
        let wrong = Secret::from("wrong");
        let ann = mailbox("ann@x");
        memory.remember_wrong(" Ann@X", &wrong, &[row("h1"), row("h2")]);
        let of = |password: &Secret, rows: &[PasswordRow]| memory.recall("ann@x", Some(&ann), password, rows);
        assert!(matches!(of(&wrong, &[row("h2"), row("h1")]), Recalled::Wrong));
        assert!(matches!(of(&Secret::from("wrong2"), &[row("h1"), row("h2")]), Recalled::Nothing));
        assert!(matches!(of(&wrong, &[row("h1"), row("h2"), row("h3")]), Recalled::Nothing), "a password was added");
        memory.remember_wrong("nobody@x", &wrong, &[]);
        assert!(matches!(memory.recall("nobody@x", None, &wrong, &[]), Recalled::Wrong));
        let nobody = mailbox("nobody@x");
        assert!(matches!(memory.recall("nobody@x", Some(&nobody), &wrong, &[row("h")]), Recalled::Nothing));
        tokio::time::advance(Duration::from_secs(599)).await;
        memory.remember_wrong("nobody@x", &wrong, &[]);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(
            matches!(memory.recall("nobody@x", None, &wrong, &[]), Recalled::Nothing),
            "it does not prolong itself"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room() {
        let memory = Memory::new(2, Duration::from_secs(600));
        let password = Secret::from("secret");
        let mailboxes = ["a@x", "b@x", "c@x"].map(mailbox);
        for mailbox in &mailboxes {
            memory.remember_right(mailbox, &password, &row("h"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let known = mailboxes.each_ref().map(|mailbox| {
            matches!(memory.recall(mailbox.as_str(), Some(mailbox), &password, &[row("h")]), Recalled::Right(_))
        });
        assert_eq!(known, [false, true, true]);
    }
}
