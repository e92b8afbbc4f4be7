//! The store: names, keys, versions, damage.

use rusqlite::Connection;

use super::{fixture::Place, *};
use crate::{
    Block, LocalPassword, PasswordHash, SecretExpiry, StoreError, TokenError,
    database::DatabaseError,
    store::{RefreshToken, STORE_SCHEMA, UpstreamRefusal},
};

async fn file_with_two_accounts(path: &std::path::Path) -> Store {
    with_two_accounts(Store::open(path, vault()).await.unwrap()).await
}

async fn with_two_accounts(store: Store) -> Store {
    for name in ["ann@contoso.com", "ben@contoso.com"] {
        store.add_account(&account(name, Grant::SignIn)).await.unwrap();
        let tokens = token_set(&format!("at-{name}"), Some(&format!("rt-{name}")));
        store.save_signed_in(&mailbox(name), &tokens, None, start()).await.unwrap();
    }
    store
}

#[tokio::test]
async fn accounts_are_found_by_login_and_mailbox_and_names_are_unique() {
    let store = fresh_store().await;
    let mut ann = account("ann@contoso.com", Grant::SignIn);
    ann.login = "Scanner-3".into();
    store.add_account(&ann).await.unwrap();
    ann.login = "scanner-3".into();
    for login in ["SCANNER-3", "scanner-3", "Ann@Contoso.com"] {
        assert_eq!(store.account_by_login(login).await.unwrap().as_ref(), Some(&ann));
    }
    assert_eq!(store.account_by_login("ben").await.unwrap(), None);
    assert_eq!(store.accounts().await.unwrap(), [ann.clone()]);
    assert_eq!(store.add_account(&ann).await, Err(StoreError::AccountExists(ann.mailbox.clone())));

    let mut ben = account("ben@contoso.com", Grant::ClientCredentials);
    for taken in ["scanner-3", "ann@contoso.com"] {
        ben.login = taken.into();
        assert_eq!(store.add_account(&ben).await, Err(StoreError::LoginTaken(taken.into())));
    }
    let twin = account("scanner-3@contoso.com", Grant::SignIn);
    store.add_account(&twin).await.unwrap();
    assert!(store.remove_account(&ann.mailbox).await.unwrap().is_some());
    assert!(store.remove_account(&ann.mailbox).await.unwrap().is_none());
    assert_eq!(store.tokens(&ann.mailbox).await.unwrap_err(), StoreError::NoSuchAccount(ann.mailbox.clone()));
}

#[tokio::test]
async fn upstream_refusal_lasts_until_a_login_succeeds() {
    let store = with_two_accounts(fresh_store().await).await;
    let ann = mailbox("ann@contoso.com");
    let refused = |protocol: &str, text: &str, seconds: u64| UpstreamRefusal {
        protocol: protocol.into(),
        text: text.into(),
        said: format!("535 at {seconds}"),
        at: start() + Duration::from_secs(seconds),
    };
    let (first, again) = (refused("SMTP", "Switched off.", 0), refused("SMTP", "Switched off.", 59));
    for one in [&first, &again, &refused("IMAP", "Does not open.", 0)] {
        store.note_upstream_refusal(&ann, one).await.unwrap();
    }
    assert_eq!(store.upstream_refusals(&ann).await.unwrap(), [refused("IMAP", "Does not open.", 0), first]);
    store.forget_upstream_refusal(&ann, "IMAP").await.unwrap();
    store.forget_upstream_refusal(&ann, "POP3").await.unwrap();
    for next in [refused("SMTP", "Switched off.", 61), refused("SMTP", "Another reason.", 62)] {
        store.note_upstream_refusal(&ann, &next).await.unwrap();
        assert_eq!(store.upstream_refusals(&ann).await.unwrap(), [next]);
    }
    assert_eq!(store.upstream_refusals(&mailbox("ben@contoso.com")).await.unwrap(), []);
    store.note_upstream_refusal(&mailbox("nobody@contoso.com"), &again).await.unwrap();
    store.remove_account(&ann).await.unwrap();
    assert_eq!(store.upstream_refusals(&ann).await.unwrap(), [], "what belongs to an account goes with it");
}

#[tokio::test]
async fn blocks_are_shown_lifted_and_forgotten_by_their_node() {
    let store = fresh_store().await;
    let ban = |source: &str, node: &str, minutes: u64| Block {
        source: source.into(),
        node: node.into(),
        since: start(),
        until: start() + Duration::from_secs(minutes * 60),
    };
    for ban in [ban("192.0.2.7", "a", 15), ban("192.0.2.7", "b", 15), ban("2001:db8::/64", "a", 5)] {
        store.note_block(&ban).await.unwrap();
    }
    store.note_block(&ban("192.0.2.7", "b", 20)).await.unwrap();
    assert_eq!(
        store.blocks(start() + Duration::from_secs(5 * 60)).await.unwrap(),
        [ban("192.0.2.7", "a", 15), ban("192.0.2.7", "b", 20)]
    );
    store.forget_blocks("a").await.unwrap();
    assert_eq!(store.blocks(start()).await.unwrap(), [ban("192.0.2.7", "b", 20)]);
    assert!(store.lift_block("192.0.2.7").await.unwrap());
    assert!(!store.lift_block("192.0.2.7").await.unwrap());
    assert_eq!(store.all_blocks().await.unwrap(), []);
    // A row that is gone is a block that was lifted: no clock that was set forward removes those of the node itself.
    let since = start() + Duration::from_secs(6 * 365 * 86_400);
    let later = Block { source: "192.0.2.8".into(), node: "a".into(), since, until: since + Duration::from_secs(900) };
    for block in [&ban("192.0.2.7", "a", 15), &ban("192.0.2.7", "is gone", 15), &later] {
        store.note_block(block).await.unwrap();
    }
    let mut all = store.all_blocks().await.unwrap();
    all.sort_by(|one, other| one.source.cmp(&other.source));
    assert_eq!(all, [ban("192.0.2.7", "a", 15), later.clone()]);
    // It forgets what is over, but not what was blocked again meanwhile.
    store.forget_ended_blocks(&[ban("192.0.2.7", "a", 15), ban("192.0.2.8", "a", 15)]).await.unwrap();
    store.forget_ended_blocks(&[]).await.unwrap();
    assert_eq!(store.all_blocks().await.unwrap(), [later]);
}

#[tokio::test]
async fn passwords_are_listed_replaced_limited_and_removed() {
    let store = fresh_store().await;
    let ann = account("ann@contoso.com", Grant::SignIn);
    let hash = LocalPassword::generate().unwrap().hash().await.unwrap();
    assert_eq!(
        store.set_password(&ann.mailbox, "x", &hash, start()).await,
        Err(StoreError::NoSuchAccount(ann.mailbox.clone()))
    );
    store.add_account(&ann).await.unwrap();
    for number in 0..8 {
        store.set_password(&ann.mailbox, &format!("device {number}"), &hash, start()).await.unwrap();
    }
    assert_eq!(
        store.set_password(&ann.mailbox, "one more", &hash, start()).await,
        Err(StoreError::TooManyPasswords(ann.mailbox.clone()))
    );
    store.set_password(&ann.mailbox, "device 3", &hash, start() + HOUR).await.unwrap();
    let listed = store.passwords(&ann.mailbox).await.unwrap();
    assert_eq!((listed.len(), listed[7].name.as_str(), listed[7].created), (8, "device 3", start() + HOUR));
    store.remove_account(&ann.mailbox).await.unwrap();
    assert_eq!(store.passwords(&ann.mailbox).await.unwrap(), []);
}

#[tokio::test]
async fn a_refresh_token_is_adopted_only_where_there_is_none() {
    let store = fresh_store().await;
    let (ann, token) = (mailbox("ann@contoso.com"), Secret::from("rt-of-another-program"));
    assert!(!store.adopt_refresh_token(&ann, &token).await.unwrap(), "there is no such account");
    store.add_account(&account("ann@contoso.com", Grant::SignIn)).await.unwrap();
    let before = store.tokens(&ann).await.unwrap();
    assert!(store.adopt_refresh_token(&ann, &token).await.unwrap());
    let adopted = store.tokens(&ann).await.unwrap();
    assert_eq!(adopted.refresh, RefreshToken::Some(token.clone()));
    assert!(adopted.access.is_none() && adopted.version > before.version);
    let plan = store.plan().await.unwrap();
    assert_eq!((plan[0].has_refresh_token, plan[0].next_refresh), (true, None), "due immediately");

    assert!(!store.adopt_refresh_token(&ann, &Secret::from("rt-another")).await.unwrap());
    let tokens = token_set("at-new", Some("rt-new"));
    store.save_signed_in(&ann, &tokens, None, start()).await.unwrap();
    assert!(!store.adopt_refresh_token(&ann, &token).await.unwrap());
    assert_eq!(store.tokens(&ann).await.unwrap().refresh, RefreshToken::Some(Secret::from("rt-new")));
}

#[tokio::test]
async fn another_key_is_noticed_when_the_store_is_opened() {
    let place = Place::new();
    drop(with_two_accounts(place.open().await).await);
    let error = place.try_open(Vault::from_key(&[8; 32]).unwrap()).await.unwrap_err();
    assert_eq!(error, StoreError::WrongKey);
    assert!(error.to_string().contains("`key` in proxy.toml"), "{error}");
    place.open().await;
}

#[tokio::test]
async fn newer_store_is_refused_naming_both_versions() {
    let place = Place::new();
    drop(with_two_accounts(place.open().await).await);
    let known = STORE_SCHEMA.version();
    let newer = known + 1;
    place.meddle(&format!("PRAGMA user_version = {newer}"), &format!("UPDATE store_version SET version = {newer}"));
    for _ in 0..2 {
        let error = place.try_open(vault()).await.unwrap_err();
        let expected = matches!(&error, StoreError::Database(DatabaseError::Newer { found, known: ours, .. })
            if (*found, *ours) == (newer, known));
        assert!(expected, "{error}");
        let text = error.to_string();
        let named = text.contains(&format!("version {newer}")) && text.contains(&format!("up to {known}"));
        assert!(named && text.contains("backup"), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_store_of_ours_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, "this is no database at all, ".repeat(100)).unwrap();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    for path in [&garbage, &foreign] {
        make_private(path);
        let before = std::fs::read(path).unwrap();
        let error = Store::open(path, vault()).await.unwrap_err();
        assert!(matches!(error, StoreError::Database(DatabaseError::Garbled { .. })), "{error}");
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
    let nowhere = Store::open(&dir.path().join("none/store.db"), vault()).await.unwrap_err();
    assert!(matches!(nowhere, StoreError::Database(DatabaseError::Open { .. })), "{nowhere}");
}

fn make_private(path: &std::path::Path) {
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    #[cfg(not(unix))]
    let _ = path;
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_of_the_store_are_private_and_must_stay_so() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = file_with_two_accounts(&path).await;
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(files.len() >= 3, "the store, its log and its index: {files:?}");
    for entry in files {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
    drop(store);
    super::maintenance::alone(&path).await;
    for (name, mode) in [("store.db", 0o644), ("store.db-wal", 0o604), ("store.db-shm", 0o660)] {
        let file = dir.path().join(name);
        if !file.exists() {
            std::fs::write(&file, "").unwrap();
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = Store::open(&path, vault()).await.unwrap_err();
        assert!(matches!(error, StoreError::Database(DatabaseError::TooOpen { .. })), "{error}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", file.display())), "{error}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A row that was damaged, or written by a newer version: the right password must not be called wrong.
#[tokio::test]
async fn unreadable_account_is_no_wrong_password() {
    let place = Place::new();
    let store = with_two_accounts(place.open().await).await;
    let damage = "UPDATE account SET grant_kind = 'from-the-future' WHERE mailbox = 'ben@contoso.com'";
    place.meddle(damage, damage);
    let error = store.account_by_login("ben@contoso.com").await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("oxpost account remove ben@contoso.com"), "{error}");
    assert!(store.account_by_login("ann@contoso.com").await.unwrap().is_some());
    assert_eq!(store.accounts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn sealed_value_does_not_open_for_another_account() {
    let place = Place::new();
    let store = with_two_accounts(place.open().await).await;
    let (ann, ben) = (mailbox("ann@contoso.com"), mailbox("ben@contoso.com"));
    let moved = "UPDATE token SET refresh_token = (SELECT refresh_token FROM token WHERE mailbox = 'ann@contoso.com'), \
                 access_token = (SELECT access_token FROM token WHERE mailbox = 'ann@contoso.com') WHERE mailbox = 'ben@contoso.com'";
    place.meddle(moved, moved);
    let stored = store.tokens(&ben).await.unwrap();
    assert!(stored.access.is_none());
    assert_eq!(stored.refresh, RefreshToken::Unreadable);
    assert!(store.tokens(&ann).await.unwrap().access.is_some());

    let endpoint = endpoint::Endpoint::start().await;
    let clock: SharedClock = Arc::new(ManualClock::new(start()));
    let applications = Applications::from_iter([application(&endpoint)]);
    let tokens = Tokens::new(store.clone(), applications, http_client(), clock, RefreshLimits::default());
    let admitted = |name| Admitted::authenticated(account(name, Grant::SignIn));
    let error = tokens.access_token(&admitted("ben@contoso.com")).await.unwrap_err();
    assert!(matches!(error, TokenError::SignInRequired(_)), "{error}");
    assert!(error.to_string().contains("oxpost sign-in ben@contoso.com"), "{error}");
    assert_eq!(text(tokens.access_token(&admitted("ann@contoso.com")).await.unwrap().secret()), "at-ann@contoso.com");
    assert_eq!(endpoint.requests(), 0);
}

#[tokio::test]
async fn nothing_secret_is_printed_or_stored_in_plain_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = file_with_two_accounts(&path).await;
    store.set_client_secret("office", &Secret::from("client~secret")).await.unwrap();
    assert_eq!(store.client_secret("office").await.unwrap(), Some(Secret::from("client~secret")));
    assert_eq!(store.client_secret("other").await.unwrap(), None);
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(files.len() >= 2, "the store and its log: {files:?}");
    for entry in files {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in ["at-ann@", "rt-ann@", "client~secret"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
    let bench = Bench::signed_in().await;
    let mut application = application(&bench.endpoint);
    application.client_secret = Some(Secret::from("client~secret"));
    let token = bench.tokens.access_token(&bench.admitted).await.unwrap();
    let stored = store.tokens(&mailbox("ann@contoso.com")).await.unwrap();
    let hash = PasswordHash::from_stored("argon2id-hash".into());
    let rows = store.account_and_passwords("ann@contoso.com").await.unwrap();
    let shown = format!(
        "{application:?} {token:?} {:?} {stored:?} {:?} {hash:?} {rows:?} {store:?} {:?} {:?} {:?}",
        bench.tokens,
        token_set("at-0", Some("rt-0")),
        bench.admitted,
        vault(),
        crate::database::Value::from("at-0"),
    );
    for secret in ["at-", "rt-", "client~secret", "argon2id"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn expiry_of_a_client_secret_is_what_was_entered() {
    let store = fresh_store().await;
    assert!(!store.forget_secret_expiry("office").await.unwrap());
    for end in [start(), start() + HOUR] {
        store.set_secret_expiry("office", end).await.unwrap();
        let known = SecretExpiry { application: "office".into(), expires: Some(end), ..Default::default() };
        assert_eq!(store.secret_expiries().await.unwrap(), [known]);
    }
    let endpoint = Endpoint::start().await;
    let of = |application: Application, ends: &[SecretExpiry]| {
        Applications::from_iter([application]).with_secret_expiries(ends).get("office").unwrap().client_secret_expires
    };
    let ends = store.secret_expiries().await.unwrap();
    assert_eq!(of(application(&endpoint), &ends), Some(start() + HOUR));
    let written = Application { client_secret_expires: Some(start()), ..application(&endpoint) };
    assert_eq!(of(written, &ends), Some(start()), "the configuration wins");
    let other = Application { name: "office".into(), ..application(&endpoint) };
    let another = SecretExpiry { application: "another".into(), expires: Some(start()), ..Default::default() };
    assert_eq!(of(other, &[another]), None);
    assert!(store.forget_secret_expiry("office").await.unwrap());
    assert!(store.secret_expiries().await.unwrap().is_empty());
}

/// An attacker who can write the store, and has no key, cannot replace a password with another one.
#[tokio::test]
async fn a_password_moved_to_another_account_opens_nothing_there() {
    let place = Place::new();
    let store = with_two_accounts(place.open().await).await;
    for (name, password) in [("ann@contoso.com", "ann's own"), ("ben@contoso.com", "ben's own")] {
        let hash = PasswordHash::of(&Secret::from(password)).unwrap();
        store.set_password(&mailbox(name), "default", &hash, start()).await.unwrap();
    }
    let moved = "UPDATE local_password SET hash = (SELECT hash FROM local_password WHERE mailbox = 'ann@contoso.com') \
                 WHERE mailbox = 'ben@contoso.com'";
    place.meddle(moved, moved);
    let (_, passwords) = store.account_and_passwords("ben@contoso.com").await.unwrap().unwrap();
    assert!(passwords.is_empty());
    let (_, passwords) = store.account_and_passwords("ann@contoso.com").await.unwrap().unwrap();
    assert!(passwords.first().unwrap().hash.verify(&Secret::from("ann's own")));
}
