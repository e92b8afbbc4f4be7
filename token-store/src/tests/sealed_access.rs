//! Somebody who can write to the database, and has no key: neither a revoked password nor another person's token opens for them.

use super::{fixture::Place, *};
use crate::{
    Accounts, AdmissionLimits, Denied, LocalPassword, StoreError,
    database::{Database, Statement, Value},
    store::{Declared, STORE_SCHEMA, Way},
};

const ANN: &str = "ann@contoso.com";
const BEN: &str = "ben@contoso.com";
const INFO: &str = "info@contoso.com";

/// A store that somebody else writes to as well.
struct Meddled {
    place: Place,
    store: Store,
    /// The way past the store.
    database: Arc<dyn Database>,
    gate: Accounts,
}

impl Meddled {
    /// Ann and Ben have tokens, and `info` goes through Ann.
    async fn new() -> Self {
        let place = Place::new();
        let store = place.open().await;
        for address in [ANN, BEN] {
            store.add_account(&account(address, Grant::SignIn)).await.unwrap();
        }
        let info = Account { through: Some(mailbox(ANN)), ..account(INFO, Grant::SignIn) };
        store.add_account(&info).await.unwrap();
        let database = place.open_as(STORE_SCHEMA).await.unwrap();
        let gate = Accounts::new(store.clone(), Arc::new(ManualClock::new(start())), AdmissionLimits::default());
        Self { place, store, database, gate }
    }

    async fn password(&self, address: &str, name: &str) -> Secret {
        let password = LocalPassword::generate().unwrap();
        self.store.set_password(&mailbox(address), name, &password.hash().await.unwrap(), start()).await.unwrap();
        password.secret().clone()
    }

    async fn login(&self, user: &str, password: &Secret) -> Result<String, Denied> {
        Ok(self.gate.admit(user, password).await?.account().token_of().to_string())
    }

    async fn sql(&self, sql: &'static str) {
        self.database.transaction(vec![Statement::new(sql, [])]).await.unwrap();
    }

    /// What a backup would have: all rows of a table, in the order of its columns.
    async fn rows(&self, sql: &'static str) -> Vec<Vec<Value>> {
        let mut outcomes = self.database.transaction(vec![Statement::new(sql, [])]).await.unwrap();
        outcomes.pop().unwrap().rows.into_iter().map(|row| row.0).collect()
    }

    async fn put_back(&self, sql: &'static str, rows: Vec<Vec<Value>>) {
        for row in rows {
            self.database.transaction(vec![Statement::new(sql, row)]).await.unwrap();
        }
    }

    async fn found(&self) -> Vec<String> {
        let changed = self.store.changed_outside().await.unwrap();
        changed.into_iter().map(|one| format!("{}: {}", one.mailbox.unwrap_or_default(), one.how)).collect()
    }
}

fn is_changed(denied: Result<String, Denied>, words: &str) -> bool {
    let Err(Denied::Store(error @ StoreError::ChangedOutside { .. })) = denied else { return false };
    error.to_string().contains(words) && error.to_string().contains("oxpost store confirm")
}

const PASSWORD_ROWS: &str = "SELECT mailbox, name, hash, declared, created, last_used FROM local_password";
const PUT_PASSWORD: &str =
    "INSERT INTO local_password (mailbox, name, hash, declared, created, last_used) VALUES ($1, $2, $3, $4, $5, $6)";

#[tokio::test]
async fn a_revoked_password_that_is_put_back_opens_nothing() {
    let meddled = Meddled::new().await;
    let (old, other) = (meddled.password(ANN, "old").await, meddled.password(ANN, "other").await);
    let rows = meddled.rows(PASSWORD_ROWS).await;
    assert!(meddled.store.revoke_password(&mailbox(ANN), "old").await.unwrap());
    meddled.sql("DELETE FROM local_password").await;
    meddled.put_back(PUT_PASSWORD, rows).await;
    assert_eq!(meddled.login(ANN, &old).await, Err(Denied::BadCredentials));
    assert_eq!(meddled.login(ANN, &other).await.unwrap(), ANN, "the one that was not revoked goes on");
    assert_eq!(meddled.found().await, ["ann@contoso.com: its local password `old` was put there, or put back"]);
    // Nor does the old text of one that was replaced.
    let rows = meddled.rows(PASSWORD_ROWS).await;
    let new = meddled.password(ANN, "other").await;
    meddled.sql("DELETE FROM local_password").await;
    meddled.put_back(PUT_PASSWORD, rows).await;
    assert_eq!(meddled.login(ANN, &other).await, Err(Denied::BadCredentials));
    assert_eq!(meddled.login(ANN, &new).await, Err(Denied::BadCredentials));
}

#[tokio::test]
async fn whose_tokens_an_account_opens_cannot_be_changed_from_outside() {
    for (sql, words) in [
        (
            "UPDATE account SET through = 'ann@contoso.com', application = NULL, grant_kind = NULL WHERE mailbox = 'ben@contoso.com'",
            "its delegate was none and is ann@contoso.com",
        ),
        (
            "UPDATE account SET through = 'ben@contoso.com' WHERE mailbox = 'info@contoso.com'",
            "its delegate was ann@contoso.com and is ben@contoso.com",
        ),
        ("UPDATE account SET application = 'other' WHERE mailbox = 'ann@contoso.com'", "application"),
        ("UPDATE account SET grant_kind = 'password' WHERE mailbox = 'ann@contoso.com'", "grant"),
        (
            "UPDATE account SET senders = '{\"mode\":\"account\",\"allowed\":[],\"map\":[]}' WHERE mailbox = 'ben@contoso.com'",
            "send as",
        ),
        ("UPDATE account SET origin = 'declared' WHERE mailbox = 'ben@contoso.com'", "command and is declared"),
        ("UPDATE account SET access_seal = NULL WHERE mailbox = 'info@contoso.com'", "its seal is missing"),
        (
            "UPDATE account SET access_seal = (SELECT a.access_seal FROM account a WHERE a.mailbox = 'ben@contoso.com') WHERE mailbox = 'ann@contoso.com'",
            "does not open",
        ),
    ] {
        let meddled = Meddled::new().await;
        let mut passwords = Vec::new();
        for address in [ANN, BEN, INFO] {
            passwords.push((address, meddled.password(address, "device").await));
        }
        assert_eq!(meddled.found().await, [] as [String; 0]);
        meddled.sql(sql).await;
        let mut refused = 0;
        for (address, password) in &passwords {
            match meddled.login(address, password).await {
                Ok(token_of) => assert_eq!(token_of, if *address == INFO { ANN } else { address }, "{sql}"),
                denied => {
                    refused += 1;
                    assert!(is_changed(denied.clone(), if refused == 1 { words } else { "" }), "{sql}: {denied:?}");
                }
            }
        }
        assert!(refused > 0, "{sql}");
        assert!(meddled.found().await.iter().any(|found| found.contains(words)), "{sql}: {:?}", meddled.found().await);
    }
}

#[tokio::test]
async fn a_login_name_that_was_moved_to_another_account_opens_nothing() {
    let meddled = Meddled::new().await;
    let password = meddled.password(BEN, "device").await;
    meddled.sql("UPDATE account SET login = 'boss' WHERE mailbox = 'ben@contoso.com'").await;
    assert!(is_changed(meddled.login("boss", &password).await, "its login name was ben@contoso.com and is boss"));
}

const ACCOUNT_ROWS: &str =
    "SELECT access_seal, through, application, grant_kind, mailbox FROM account WHERE mailbox = 'info@contoso.com'";

/// The row, its seal and its passwords as they all were once: only the ledger, or what this process has seen, tells.
#[tokio::test]
async fn an_account_that_is_put_back_as_it_was_is_found_and_not_opened_by_who_has_seen_it_since() {
    let meddled = Meddled::new().await;
    let password = meddled.password(INFO, "device").await;
    let (accounts, passwords) = (meddled.rows(ACCOUNT_ROWS).await, meddled.rows(PASSWORD_ROWS).await);
    assert_eq!(meddled.login(INFO, &password).await.unwrap(), ANN);
    meddled.store.revoke_password(&mailbox(INFO), "device").await.unwrap();
    meddled.store.set_through(&mailbox(INFO), &mailbox(BEN)).await.unwrap();
    let other = meddled.password(INFO, "other").await;
    assert_eq!(meddled.login(INFO, &other).await.unwrap(), BEN);
    meddled.sql("DELETE FROM local_password").await;
    meddled.put_back(PUT_PASSWORD, passwords).await;
    let update =
        "UPDATE account SET access_seal = $1, through = $2, application = $3, grant_kind = $4 WHERE mailbox = $5";
    meddled.put_back(update, accounts).await;
    assert_eq!(meddled.found().await, [": accounts were removed, or a part of an older backup was put back"]);
    // A row that was read before a change may be looked at after it.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert!(is_changed(meddled.login(INFO, &password).await, "an older state"));
}

#[tokio::test]
async fn a_removed_account_and_a_lost_ledger_are_found() {
    let meddled = Meddled::new().await;
    meddled.sql("DELETE FROM account WHERE mailbox = 'ben@contoso.com'").await;
    assert_eq!(meddled.found().await, [": accounts were removed, or a part of an older backup was put back"]);
    meddled.sql("DELETE FROM meta WHERE name = 'access'").await;
    assert_eq!(meddled.found().await, [": the ledger of what grants access is missing, or does not open"]);
    let added = meddled.store.add_account(&account(BEN, Grant::SignIn)).await;
    assert_eq!(added, Err(StoreError::NoLedger));
    // A start does not make a new one by itself, or whoever deletes it has what they want.
    let again = meddled.place.open().await;
    assert_eq!(again.changed_outside().await.unwrap().len(), 1);
    meddled.store.confirm_access().await.unwrap();
    assert_eq!(meddled.found().await, [] as [String; 0]);
    meddled.store.add_account(&account(BEN, Grant::SignIn)).await.unwrap();
    assert_eq!(meddled.found().await, [] as [String; 0]);
}

#[tokio::test]
async fn a_person_confirms_what_was_changed_by_other_means() {
    let meddled = Meddled::new().await;
    let password = meddled.password(BEN, "device").await;
    meddled.sql("UPDATE account SET login = 'scanner' WHERE mailbox = 'ben@contoso.com'").await;
    assert!(is_changed(meddled.login("scanner", &password).await, "login name"));
    meddled.store.confirm_access().await.unwrap();
    assert_eq!(meddled.login("scanner", &password).await.unwrap(), BEN);
    assert_eq!(meddled.found().await, [] as [String; 0]);
}

/// Every way to change an account leaves it as it was written, also when many do it at the same time.
#[tokio::test]
async fn whatever_changes_accounts_writes_their_seals() {
    let meddled = Meddled::new().await;
    let hash = LocalPassword::generate().unwrap().hash().await.unwrap();
    let mut changing = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (store, hash) = (meddled.store.clone(), hash.clone());
        changing.spawn(async move {
            let address = format!("user{number}@contoso.com");
            store.add_account(&account(&address, Grant::SignIn)).await.unwrap();
            store.set_password(&mailbox(&address), "a", &hash, start()).await.unwrap();
            store.set_password(&mailbox(ANN), &format!("a{number}"), &hash, start()).await.unwrap();
            if number % 2 == 0 {
                store.set_through(&mailbox(&address), &mailbox(ANN)).await.unwrap();
                store.revoke_password(&mailbox(&address), "a").await.unwrap();
            } else {
                store.remove_account(&mailbox(&address)).await.unwrap();
            }
        });
    }
    while let Some(ended) = changing.join_next().await {
        ended.unwrap();
    }
    assert_eq!(meddled.found().await, [] as [String; 0]);
    assert_eq!(meddled.store.accounts().await.unwrap().len(), 3 + 4);

    let declared = |address: &str, way: Way| Declared {
        mailbox: mailbox(address),
        way,
        login: address.to_owned(),
        senders: crate::SenderPolicy::default(),
        passwords: Vec::new(),
    };
    let own = || Way::Own { application: "office".into(), grant: Grant::SignIn };
    let all =
        [declared("new@contoso.com", own()), declared("shared@contoso.com", Way::Through(mailbox("new@contoso.com")))];
    meddled.store.bring_in_line(&all, &[], start()).await.unwrap();
    assert_eq!(meddled.found().await, [] as [String; 0]);
    // The file is the truth for what it declares.
    meddled.sql("UPDATE account SET through = 'ann@contoso.com' WHERE mailbox = 'shared@contoso.com'").await;
    assert_eq!(meddled.found().await.len(), 1);
    meddled.store.bring_in_line(&all, &[], start()).await.unwrap();
    assert_eq!(meddled.found().await, [] as [String; 0]);
    meddled.sql("UPDATE account SET access_seal = NULL WHERE mailbox = 'new@contoso.com'").await;
    meddled.store.bring_in_line(&all, &[], start()).await.unwrap();
    assert!(meddled.found().await.iter().all(|found| found.starts_with(": accounts were removed")));
    meddled.store.bring_in_line(&[], &[], start()).await.unwrap();
    assert_eq!(
        meddled.store.account(&mailbox("new@contoso.com")).await.unwrap().unwrap().origin,
        crate::Origin::Withdrawn
    );
}

/// An old password is not made a new one: the moment at which Microsoft has judged it right is a part of the seal.
#[tokio::test]
async fn the_time_of_a_judged_password_cannot_be_changed() {
    let meddled = Meddled::new().await;
    let hash = LocalPassword::generate().unwrap().hash().await.unwrap();
    meddled.store.save_judged(&mailbox(ANN), &hash, start()).await.unwrap();
    assert_eq!(meddled.store.judged_password(&mailbox(ANN)).await.unwrap().unwrap().judged, start());
    meddled.sql("UPDATE judged_password SET judged = judged + 3600000").await;
    assert!(meddled.store.judged_password(&mailbox(ANN)).await.unwrap().is_none());
}
