//! What is kept of folders and of what went through.

use super::*;
use crate::store::mail_use::{MailUse, Recreated, Used};

#[tokio::test]
async fn a_folder_that_was_recreated_is_noticed_once() {
    let bench = Bench::signed_in().await;
    let (store, ann) = (&bench.store, bench.mailbox());
    let note = async |folder, value, now| store.note_uid_validity(ann, folder, value, now).await.unwrap();
    assert_eq!(note("INBOX", 14, start()).await, None, "there is nothing to compare it with");
    assert_eq!(note("INBOX", 14, start()).await, None);
    assert_eq!(note("Sent", u32::MAX, start()).await, None);
    assert_eq!(note("INBOX", 15, start() + HOUR).await, Some(14));
    assert_eq!(note("INBOX", 15, start() + 2 * HOUR).await, None);
    assert_eq!(note("Sent", 1, start() + 3 * HOUR).await, Some(u32::MAX));
    let recreated =
        |folder: &str, at| Recreated { account: ann.to_string(), mailbox: ann.to_string(), folder: folder.into(), at };
    let both = [recreated("Sent", start() + 3 * HOUR), recreated("INBOX", start() + HOUR)];
    assert_eq!(store.recreated_folders(start()).await.unwrap(), both);
    assert_eq!(store.recreated_folders(start() + 2 * HOUR).await.unwrap(), both[..1]);
    // What its own client has done to a folder is no surprise.
    assert_eq!(note("Sent/2026", 1, start()).await, None);
    assert_eq!(note("Sent%", 1, start()).await, None);
    store.forget_uid_validity(ann, "Sent").await.unwrap();
    assert_eq!(store.recreated_folders(start()).await.unwrap(), both[1..]);
    assert_eq!(note("Sent", 2, start()).await, None);
    assert_eq!(note("Sent/2026", 2, start()).await, None);
    assert_eq!(note("Sent%", 2, start()).await, Some(1));
    // An account that is gone leaves nothing, and gets nothing.
    store.remove_account(ann).await.unwrap();
    assert_eq!(note("INBOX", 16, start()).await, None);
    assert_eq!(store.recreated_folders(start()).await.unwrap(), []);
}

#[tokio::test]
async fn what_went_through_adds_up() {
    let bench = Bench::signed_in().await;
    let (store, ann) = (&bench.store, bench.mailbox());
    let first = Used {
        sessions: 1,
        fetched: 20,
        stored: 3,
        last_end: Some(("Connection is closed. 13".into(), start())),
        throttled: Some((start(), start() + HOUR)),
    };
    let second = Used { sessions: 2, fetched: 1, ..Used::default() };
    store.add_mail_use([(ann, "IMAP", &first), (ann, "POP3", &second)]).await.unwrap();
    store.add_mail_use([(ann, "IMAP", &second)]).await.unwrap();
    store.add_mail_use([]).await.unwrap();
    let of = |protocol: &str, used| MailUse {
        account: ann.to_string(),
        mailbox: ann.to_string(),
        protocol: protocol.into(),
        used,
    };
    let imap = Used { sessions: 3, fetched: 21, ..first };
    assert_eq!(store.mail_use().await.unwrap(), [of("IMAP", imap), of("POP3", second.clone())]);
    store.remove_account(ann).await.unwrap();
    store.add_mail_use([(ann, "IMAP", &second)]).await.unwrap();
    assert_eq!(store.mail_use().await.unwrap(), []);
}

/// One account opens all mailboxes of the domain: what is noticed of each is its own, and goes with the account.
#[tokio::test]
async fn the_mailboxes_of_a_domain_are_kept_apart() {
    let bench = Bench::cold().await;
    let store = &bench.store;
    store.add_account(&account("*@contoso.com", Grant::ClientCredentials)).await.unwrap();
    let (bob, eve) = (mailbox("bob@contoso.com"), mailbox("eve@fabrikam.example"));
    for (mailbox, value) in [(&bob, 1), (&bob, 2), (bench.mailbox(), 3), (bench.mailbox(), 4), (&eve, 5), (&eve, 6)] {
        store.note_uid_validity(mailbox, "INBOX", value, start()).await.unwrap();
    }
    let used = Used { sessions: 1, ..Used::default() };
    store.add_mail_use([(&bob, "IMAP", &used), (bench.mailbox(), "IMAP", &used), (&eve, "IMAP", &used)]).await.unwrap();
    let noticed = async || {
        let folders = store.recreated_folders(start()).await.unwrap().into_iter().map(|one| (one.account, one.mailbox));
        let uses = store.mail_use().await.unwrap().into_iter().map(|one| (one.account, one.mailbox));
        let (mut folders, uses): (Vec<_>, Vec<_>) = (folders.collect(), uses.collect());
        folders.sort();
        (folders, uses)
    };
    let anns = ("ann@contoso.com".to_owned(), "ann@contoso.com".to_owned());
    let bobs = ("*@contoso.com".to_owned(), "bob@contoso.com".to_owned());
    assert_eq!(noticed().await, (vec![bobs.clone(), anns.clone()], vec![anns.clone(), bobs]));
    store.remove_account(&mailbox("*@contoso.com")).await.unwrap();
    assert_eq!(noticed().await, (vec![anns.clone()], vec![anns]));
}

/// Any node writes it, and all of them read it at a login.
#[tokio::test]
async fn a_shorter_back_off_does_not_end_a_longer_one() {
    let bench = Bench::signed_in().await;
    let (store, ann) = (&bench.store, bench.mailbox());
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let note = async |at, until| {
        let used = Used { throttled: Some((at, until)), ..Used::default() };
        store.add_mail_use([(ann, "IMAP", &used)]).await.unwrap();
        store.back_off(ann, "IMAP").await.unwrap()
    };
    assert_eq!(store.back_off(ann, "IMAP").await.unwrap(), None);
    assert_eq!(note(start(), start() + minutes(5)).await, Some(start() + minutes(5)));
    assert_eq!(note(start() + minutes(1), start() + minutes(2)).await, Some(start() + minutes(5)));
    assert_eq!(note(start() + minutes(6), start() + minutes(7)).await, Some(start() + minutes(7)));
    assert_eq!(store.back_off(ann, "POP3").await.unwrap(), None, "each protocol has its own");
    // What goes through leaves it as it is.
    let used = Used { sessions: 1, ..Used::default() };
    store.add_mail_use([(ann, "IMAP", &used)]).await.unwrap();
    assert_eq!(store.back_off(ann, "IMAP").await.unwrap(), Some(start() + minutes(7)));
    // A clock that was a year ahead when it was noted does not hide those that come after it was set right.
    note(start() + 9000 * HOUR, start() + 9000 * HOUR + minutes(1)).await;
    assert_eq!(note(start() + minutes(8), start() + minutes(9)).await, Some(start() + minutes(9)));
}
