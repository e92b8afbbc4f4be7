//! What `oxpost status` says of the mailboxes behind their logins: folders that were recreated, throttling, and what went
//! through.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use oxpost_token_store::store::mail_use::{MailUse, Recreated};
use oxpost_token_store::{Store, StoreError};
use serde_json::{Value, json};

use super::times::distance;

/// How long a folder that was recreated is shown: Oxpost cannot know when the software was reset.
const SHOWN: Duration = Duration::from_secs(14 * 24 * 3600);

/// So many folders of a mailbox are named: when a mailbox is moved, all of its folders are.
const NAMED: usize = 3;

/// What the store has of it.
pub(super) struct Noticed {
    recreated: Vec<Recreated>,
    uses: Vec<MailUse>,
}

impl Noticed {
    pub(super) async fn read(store: &Store, now: SystemTime) -> Result<Self, StoreError> {
        let since = now.checked_sub(SHOWN).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Self { recreated: store.recreated_folders(since).await?, uses: store.mail_use().await? })
    }

    /// What people should know now, each in a sentence.
    pub(super) fn sentences(&self, now: SystemTime) -> Vec<String> {
        let mut of: BTreeMap<&str, Vec<&Recreated>> = BTreeMap::new();
        for folder in &self.recreated {
            of.entry(&folder.mailbox).or_default().push(folder);
        }
        let moved = of.iter().map(|(mailbox, folders)| was_recreated(mailbox, folders, now));
        let throttled = self.throttled(now).map(|one| {
            let over = distance(one.used.throttled.map(|(_, until)| until), now);
            format!(
                "{}: Microsoft throttles {} of this mailbox; it ends {over}. Until then new logins wait or are refused with the \
                 time to try again. Let fewer programs read the mailbox concurrently.",
                one.mailbox, one.protocol
            )
        });
        moved.chain(throttled).collect()
    }

    /// What is throttled now.
    pub(super) fn throttled(&self, now: SystemTime) -> impl Iterator<Item = &MailUse> {
        self.uses.iter().filter(move |one| one.used.throttled.is_some_and(|(_, until)| until > now))
    }

    /// For `--json`: the recreated folders of an account; one for a domain has many mailboxes.
    pub(super) fn recreated_as_json(
        &self,
        account: &str,
        time: impl Fn(Option<SystemTime>) -> Option<String>,
    ) -> Value {
        let of = self.recreated.iter().filter(|one| one.account == account);
        of.map(|one| json!({ "mailbox": one.mailbox, "folder": one.folder, "at": time(Some(one.at)) })).collect()
    }

    /// For `--json`: what went through for an account.
    pub(super) fn uses_as_json(&self, account: &str, time: impl Fn(Option<SystemTime>) -> Option<String>) -> Value {
        let of = self.uses.iter().filter(|one| one.account == account);
        let as_json = |one: &MailUse| {
            let end = one.used.last_end.as_ref();
            json!({
                "mailbox": one.mailbox,
                "protocol": one.protocol,
                "sessions": one.used.sessions,
                "fetched": one.used.fetched,
                "stored": one.used.stored,
                "last_end": end.map(|(text, at)| json!({ "text": text, "at": time(Some(*at)) })),
                "throttled": one.used.throttled.map(|(at, until)| json!({ "at": time(Some(at)), "until": time(Some(until)) })),
            })
        };
        of.map(as_json).collect()
    }
}

fn was_recreated(mailbox: &str, folders: &[&Recreated], now: SystemTime) -> String {
    let mut names: Vec<&str> = folders.iter().take(NAMED).map(|one| one.folder.as_str()).collect();
    let more = match folders.len().saturating_sub(NAMED) {
        0 => None,
        1 => Some("1 more folder".to_owned()),
        more => Some(format!("{more} more folders")),
    };
    names.extend(more.as_deref());
    let names = match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    };
    let were = if folders.len() == 1 { "was" } else { "were" };
    let at = distance(folders.iter().map(|one| one.at).max(), now);
    format!(
        "{names} of {mailbox} {were} moved or recreated ({at}); software that remembers the last UID will stop fetching: reset \
         it there."
    )
}

#[cfg(test)]
mod tests {
    use oxpost_token_store::store::mail_use::Used;

    use super::*;

    const MAILBOX: &str = "ann@contoso.com";

    fn recreated(folder: &str, at: SystemTime) -> Recreated {
        Recreated { account: MAILBOX.into(), mailbox: MAILBOX.into(), folder: folder.into(), at }
    }

    #[test]
    fn a_few_folders_are_named_and_many_are_counted() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let said = |names: &[&str]| {
            let recreated = names.iter().map(|name| recreated(name, now - Duration::from_secs(180))).collect();
            Noticed { recreated, uses: Vec::new() }.sentences(now)
        };
        assert_eq!(said(&[]), Vec::<String>::new());
        let one = "INBOX of ann@contoso.com was moved or recreated (3m ago); software that remembers the last UID will stop \
                   fetching: reset it there.";
        assert_eq!(said(&["INBOX"]), [one]);
        assert!(said(&["a", "b"])[0].starts_with("a and b of ann@contoso.com were moved"));
        assert!(said(&["a", "b", "c", "d"])[0].starts_with("a, b, c and 1 more folder of "));
        assert!(said(&["a", "b", "c", "d", "e"])[0].starts_with("a, b, c and 2 more folders of "));
    }

    #[test]
    fn throttling_is_shown_while_it_lasts() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let until = now + Duration::from_secs(300);
        let used = Used { fetched: 7, throttled: Some((now, until)), ..Used::default() };
        let uses = vec![MailUse { account: MAILBOX.into(), mailbox: MAILBOX.into(), protocol: "IMAP".into(), used }];
        let noticed = Noticed { recreated: Vec::new(), uses };
        let said = noticed.sentences(now);
        assert!(said.len() == 1 && said[0].contains("throttles IMAP of this mailbox; it ends in 5m."), "{said:?}");
        assert_eq!(noticed.sentences(until), Vec::<String>::new());
        let json = noticed.uses_as_json(MAILBOX, |time| time.map(|_| "then".into()));
        assert_eq!((&json[0]["fetched"], &json[0]["throttled"]["until"]), (&7.into(), &"then".into()), "{json}");
        assert_eq!(noticed.uses_as_json("ben@contoso.com", |_| None), json!([]));
    }
}
