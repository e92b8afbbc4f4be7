//! The login cache: logins that succeeded a short while ago. Mail programs reconnect all the time, and an argon2 hash for each
//! login would be most of the work of this program. Only logins that the login throttle has counted are looked up here.
//!
//! A login is kept under an HMAC with a key that never leaves the process. It counts only while the hash that it was compared
//! with is in the store: revoking or changing a password takes effect immediately.
//!
//! The cache grows with the number of accounts: a site with more programs than a fixed number would pay an argon2 hash for every
//! login.

use std::{
    collections::{HashMap, VecDeque},
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

type Tag = [u8; 32];

/// Logins that are kept for each account: a mailbox has one password for each program or device, and rarely more than that.
const KEPT_PER_ACCOUNT: usize = 4;

/// The capacity with few accounts: one account `*@contoso.com` opens any number of mailboxes. About a mebibyte.
const KEPT_AT_LEAST: usize = 4_096;

/// Logins that are kept at most, which is about 64 MiB. Beyond that an argon2 for the login that was not seen for longest costs
/// less than the memory.
const KEPT_AT_MOST: usize = 262_144;

/// How often the accounts are counted again while the cache is full.
const COUNT_EVERY: Duration = Duration::from_secs(600);

pub(super) struct LoginCache {
    /// Without a key nothing is kept.
    key: Option<hmac::Key>,
    keep: Duration,
    right: Mutex<Entries>,
}

struct Entries {
    limit: usize,
    /// When the accounts were last counted.
    counted: Option<Instant>,
    /// The hash, and until when it needs no argon2.
    entries: HashMap<Tag, (PasswordHash, Instant)>,
    /// The same in the order in which they end. One that was replaced is here twice, and its first end does not count.
    ends: VecDeque<(Tag, Instant)>,
}

impl LoginCache {
    pub(super) fn new(keep: Duration) -> Self {
        let mut bytes = [0; 32];
        let key = rand::fill(&mut bytes).is_ok().then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        let right = Entries { limit: KEPT_AT_LEAST, counted: None, entries: HashMap::new(), ends: VecDeque::new() };
        Self { key, keep, right: Mutex::new(right) }
    }

    /// Whether the cache is full, so that its caller should count the accounts to size it. Only one caller gets `true`.
    pub(super) fn wants_count(&self) -> bool {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_recent = right.counted.is_some_and(|at| now.saturating_duration_since(at) < COUNT_EVERY);
        let wants = right.entries.len() >= right.limit && right.limit < KEPT_AT_MOST && !is_recent;
        if wants {
            right.counted = Some(now);
        }
        wants
    }

    /// There are so many accounts.
    pub(super) fn make_room_for(&self, accounts: usize) {
        let limit = accounts.saturating_mul(KEPT_PER_ACCOUNT).clamp(KEPT_AT_LEAST, KEPT_AT_MOST);
        self.right.lock().unwrap_or_else(PoisonError::into_inner).limit = limit;
    }

    /// The row that this login was compared with, if it was right a short while ago and the row is still there.
    pub(super) fn recall(&self, mailbox: &Mailbox, password: &Secret, rows: &[PasswordRow]) -> Option<PasswordRow> {
        let tag = self.right_tag(mailbox, password)?;
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let (hash, until) = right.entries.get(&tag)?;
        rows.iter().find(|row| *until > Instant::now() && row.hash == *hash).cloned()
    }

    /// Keeps a verified login from now on. If it is kept already its time does not start again, so that an argon2 is due now
    /// and then.
    pub(super) fn remember(&self, mailbox: &Mailbox, password: &Secret, row: &PasswordRow) {
        let Some(tag) = self.right_tag(mailbox, password) else { return };
        let now = Instant::now();
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.entries.get(&tag).is_none_or(|(hash, until)| *hash != row.hash || *until <= now) {
            right.insert(tag, row.hash.clone(), now, self.keep);
        }
    }

    /// A tag for a login and everything that it is compared with. Microsoft compares passwords byte by byte, so remote ones are
    /// not normalised.
    pub(super) fn pair_tag(
        &self,
        account: &str,
        password: &Secret,
        rows: &[PasswordRow],
        remote: bool,
    ) -> Option<[u8; 16]> {
        let mut hashes: Vec<&[u8]> = rows.iter().map(|row| row.hash.as_stored().as_bytes()).collect();
        // Their order changes with every use.
        hashes.sort_unstable();
        let account = account.trim().to_lowercase();
        let password = if remote { password.clone() } else { as_hashed(password) };
        let kind: &[u8] = if remote { b"remote pair" } else { b"pair" };
        // Neither a user name nor a hash holds a NUL, so no other parts give the same bytes.
        let mut parts: Vec<&[u8]> = vec![kind, account.as_bytes()];
        parts.extend(hashes);
        parts.push(password.reveal());
        self.tag(&parts)?.first_chunk().copied()
    }

    fn right_tag(&self, mailbox: &Mailbox, password: &Secret) -> Option<Tag> {
        self.tag(&[b"right", mailbox.as_str().as_bytes(), as_hashed(password).reveal()])
    }

    fn tag(&self, parts: &[&[u8]]) -> Option<Tag> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for part in parts {
            context.update(part);
            context.update(&[0]);
        }
        context.sign().as_ref().try_into().ok()
    }
}

impl Entries {
    /// Those that have ended are forgotten; if there is still no room, so are those that end next.
    fn insert(&mut self, tag: Tag, hash: PasswordHash, now: Instant, keep: Duration) {
        while let Some((first, end)) = self.ends.front().copied()
            && (end <= now || self.entries.len() >= self.limit)
        {
            self.ends.pop_front();
            if self.entries.get(&first).is_some_and(|(_, until)| *until == end) {
                self.entries.remove(&first);
            }
        }
        let until = now + keep;
        self.entries.insert(tag, (hash, until));
        self.ends.push_back((tag, until));
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
    async fn right_login_is_kept_for_its_time_and_its_hash() {
        let cache = LoginCache::new(Duration::from_secs(600));
        let (ann, ben) = (mailbox("ann@x"), mailbox("ben@x"));
        let password = Secret::from("secret");
        cache.remember(&ann, &password, &row("h1"));
        let of = |mailbox: &Mailbox, password: &Secret, rows: &[PasswordRow]| {
            cache.recall(mailbox, password, rows).map(|row| row.hash.as_stored().to_owned())
        };
        assert_eq!(of(&ann, &password, &[row("h0"), row("h1")]).as_deref(), Some("h1"));
        assert_eq!(of(&ann, &Secret::from("other"), &[row("h1")]), None);
        assert_eq!(of(&ben, &password, &[row("h1")]), None);
        assert_eq!(of(&ann, &password, &[row("h2")]), None, "the password was changed");
        assert_eq!(of(&ann, &password, &[]), None, "the password was revoked");

        tokio::time::advance(Duration::from_secs(599)).await;
        cache.remember(&ann, &password, &row("h1"));
        assert!(of(&ann, &password, &[row("h1")]).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(of(&ann, &password, &[row("h1")]), None, "using it does not prolong it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_ends_next_makes_room() {
        let cache = LoginCache::new(Duration::from_secs(600));
        let password = Secret::from("secret");
        let at = |number: usize| mailbox(&format!("m{number}@x"));
        let is_kept = |number: usize| cache.recall(&at(number), &password, &[row("h")]).is_some();
        let fill = async |numbers: std::ops::Range<usize>| {
            for number in numbers {
                cache.remember(&at(number), &password, &row("h"));
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        };
        fill(0..KEPT_AT_LEAST - 1).await;
        assert!(!cache.wants_count(), "there is room");
        fill(KEPT_AT_LEAST - 1..KEPT_AT_LEAST + 1).await;
        assert_eq!([0, 1, KEPT_AT_LEAST].map(is_kept), [false, true, true]);
        assert!(cache.wants_count() && !cache.wants_count(), "one counts for all");
        // Ten thousand accounts, all of which log in again and again.
        cache.make_room_for(10_000);
        fill(0..10_000).await;
        assert_eq!([0, 1, KEPT_AT_LEAST, 9_999].map(is_kept), [true; 4]);
        // Fewer of them from now on: what is too much goes with the next login.
        cache.make_room_for(10);
        fill(0..1).await;
        cache.remember(&at(0), &password, &row("changed"));
        let right = cache.right.lock().unwrap();
        assert_eq!((right.limit, right.entries.len()), (KEPT_AT_LEAST, KEPT_AT_LEAST));
        assert!(right.ends.len() <= KEPT_AT_LEAST + 1, "{}", right.ends.len());
    }

    #[test]
    fn room_is_a_share_of_the_accounts_between_two_bounds() {
        let cache = LoginCache::new(Duration::from_secs(600));
        for (accounts, limit) in [(0, 4_096), (1_024, 4_096), (10_000, 40_000), (usize::MAX, 262_144)] {
            cache.make_room_for(accounts);
            assert_eq!(cache.right.lock().unwrap().limit, limit, "{accounts} accounts");
        }
        assert!(!cache.wants_count(), "there is room");
    }

    #[test]
    fn tag_changes_with_everything_a_login_is_compared_with() {
        let cache = LoginCache::new(Duration::from_secs(600));
        let tag = |account: &str, password: &str, rows: &[PasswordRow]| {
            cache.pair_tag(account, &Secret::from(password), rows, false).unwrap()
        };
        let same = tag("ann@x", "secret", &[row("h1"), row("h2")]);
        assert_eq!(tag(" Ann@X ", "secret", &[row("h2"), row("h1")]), same);
        for other in [
            tag("ben@x", "secret", &[row("h1"), row("h2")]),
            tag("ann@x", "secret2", &[row("h1"), row("h2")]),
            tag("ann@x", "secret", &[row("h1")]),
            tag("ann@x", "secret", &[row("h1"), row("h2"), row("h3")]),
            LoginCache::new(Duration::ZERO)
                .pair_tag("ann@x", &Secret::from("secret"), &[row("h1"), row("h2")], false)
                .unwrap(),
        ] {
            assert_ne!(other, same);
        }
    }
}
