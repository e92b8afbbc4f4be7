//! An attacker who can write to the database, and has no key, can use neither a revoked password nor another person's token.

use super::{fixture::Place, *};
use crate::{
    Accounts, AdmissionLimits, Denied, LocalPassword, StoreError,
    database::{Database, Statement, Value},
    store::{Declared, DeclaredPassword, PasswordText, STORE_SCHEMA, TokenSource},
};

const ANN: &str = "ann@contoso.com";
const BEN: &str = "ben@contoso.com";
const INFO: &str = "info@contoso.com";

/// A store that an attacker writes to as well.
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
        let info = Account { delegate: Some(mailbox(ANN)), ..account(INFO, Grant::SignIn) };
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
        self.store.audit_access().await.unwrap().changed.iter().map(ToString::to_string).collect()
    }

    async fn confirm(&self) {
        let code = self.store.audit_access().await.unwrap().code;
        assert!(self.store.confirm_access(&code).await.unwrap());
        assert_eq!(self.found().await, NOTHING);
    }

    /// A service that is started now, and has seen nothing.
    async fn restarted(&self) -> Accounts {
        let store = self.place.open().await;
        Accounts::new(store, Arc::new(ManualClock::new(start())), AdmissionLimits::default())
    }
}

const NOTHING: [String; 0] = [];

fn is_changed<T>(denied: Result<T, Denied>, words: &str) -> bool {
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
async fn delegate_cannot_be_changed_from_outside() {
    for (sql, words) in [
        (
            "UPDATE account SET through = 'ann@contoso.com', application = NULL, grant_kind = NULL WHERE mailbox = 'ben@contoso.com'",
            "its delegate was not set and is ann@contoso.com",
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
        assert_eq!(meddled.found().await, NOTHING);
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

/// The row, its seal and its passwords as they all were once: only the ledger tells, to a process that has seen nothing as well.
#[tokio::test]
async fn account_restored_from_outside_is_found_and_refused() {
    let meddled = Meddled::new().await;
    let password = meddled.password(INFO, "device").await;
    let (accounts, passwords) = (meddled.rows(ACCOUNT_ROWS).await, meddled.rows(PASSWORD_ROWS).await);
    assert_eq!(meddled.login(INFO, &password).await.unwrap(), ANN);
    meddled.store.revoke_password(&mailbox(INFO), "device").await.unwrap();
    meddled.store.set_delegate(&mailbox(INFO), &mailbox(BEN)).await.unwrap();
    meddled.sql("DELETE FROM local_password").await;
    meddled.put_back(PUT_PASSWORD, passwords.clone()).await;
    let update =
        "UPDATE account SET access_seal = $1, through = $2, application = $3, grant_kind = $4 WHERE mailbox = $5";
    meddled.put_back(update, accounts).await;
    let older = "info@contoso.com: an older state of it was put back";
    assert_eq!(meddled.found().await, [older]);
    assert!(is_changed(meddled.login(INFO, &password).await, "an older state"));
    assert!(is_changed(meddled.restarted().await.admit(INFO, &password).await, "an older state"));
    // It cannot be undone, for it is not known what it was.
    let left = meddled.store.undo_outside_changes().await.unwrap();
    assert_eq!(left.iter().map(ToString::to_string).collect::<Vec<_>>(), [older]);
    // Nor is one that was removed.
    meddled.store.remove_account(&mailbox(INFO)).await.unwrap();
    assert_eq!(meddled.found().await, NOTHING);
}

#[tokio::test]
async fn a_removed_account_that_is_put_back_opens_nothing() {
    let meddled = Meddled::new().await;
    let password = meddled.password(BEN, "device").await;
    let columns = "SELECT mailbox, application, grant_kind, login, origin, created, access_seal FROM account WHERE mailbox = 'ben@contoso.com'";
    let (account, passwords) = (meddled.rows(columns).await, meddled.rows(PASSWORD_ROWS).await);
    meddled.store.remove_account(&mailbox(BEN)).await.unwrap();
    let insert = "INSERT INTO account (mailbox, application, grant_kind, login, origin, created, access_seal) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    meddled.put_back(insert, account).await;
    meddled.put_back(PUT_PASSWORD, passwords).await;
    for gate in [meddled.gate.clone(), meddled.restarted().await] {
        assert!(is_changed(gate.admit(BEN, &password).await, "it was put there"));
    }
    assert_eq!(meddled.store.undo_outside_changes().await.unwrap(), []);
    assert_eq!(meddled.login(BEN, &password).await, Err(Denied::BadCredentials));
}

/// The ledger too is put back: to a service that runs it is older than what it has seen.
#[tokio::test]
async fn a_whole_older_state_is_refused_by_who_has_seen_a_later_one() {
    let meddled = Meddled::new().await;
    let password = meddled.password(BEN, "device").await;
    let select = "SELECT value, name FROM meta WHERE name IN ('access', 'access-list')";
    let (ledger, passwords) = (meddled.rows(select).await, meddled.rows(PASSWORD_ROWS).await);
    let seals = meddled.rows("SELECT access_seal, mailbox FROM account").await;
    meddled.store.revoke_password(&mailbox(BEN), "device").await.unwrap();
    meddled.put_back("UPDATE meta SET value = $1 WHERE name = $2", ledger).await;
    meddled.put_back("UPDATE account SET access_seal = $1 WHERE mailbox = $2", seals).await;
    meddled.put_back(PUT_PASSWORD, passwords).await;
    let denied = meddled.login(BEN, &password).await.unwrap_err();
    assert_eq!(denied, Denied::Store(StoreError::OlderLedger));
    assert!(denied.to_string().contains("restart this service"), "{denied}");
    // A backup that a person restores is a store like any other.
    meddled.restarted().await.admit(BEN, &password).await.unwrap();
}

/// One of its own wins over the pattern, also if an attacker deletes it.
#[tokio::test]
async fn deleted_account_is_not_opened_by_its_domains_pattern() {
    let meddled = Meddled::new().await;
    meddled.store.add_account(&account("*@contoso.com", Grant::ClientCredentials)).await.unwrap();
    let password = meddled.password("*@contoso.com", "all").await;
    assert_eq!(meddled.login("erin@contoso.com", &password).await.unwrap(), "*@contoso.com");
    meddled.sql("DELETE FROM account WHERE mailbox = 'ben@contoso.com'").await;
    assert!(is_changed(meddled.login(BEN, &password).await, "it was removed"));
    let vouched = meddled.gate.admit_without_password(&mailbox(BEN)).await;
    assert!(matches!(vouched, Err(StoreError::ChangedOutside { .. })), "{vouched:?}");
    assert_eq!(meddled.found().await, ["ben@contoso.com: it was removed"]);
}

#[tokio::test]
async fn lost_ledger_is_found_and_resealed_by_confirmation_only() {
    let meddled = Meddled::new().await;
    let password = meddled.password(BEN, "device").await;
    meddled.sql("UPDATE account SET through = 'ann@contoso.com' WHERE mailbox = 'ben@contoso.com'").await;
    meddled.sql("DELETE FROM meta WHERE name = 'access'").await;
    let found = meddled.found().await;
    assert!(
        found.len() == 2 && found[0].contains("the access ledger") && found[1].contains("its delegate was not set"),
        "{found:?}"
    );
    assert_eq!(meddled.store.add_account(&account("c@contoso.com", Grant::SignIn)).await, Err(StoreError::NoLedger));
    for gate in [meddled.gate.clone(), meddled.restarted().await] {
        assert_eq!(gate.admit(BEN, &password).await.unwrap_err(), Denied::Store(StoreError::NoLedger));
    }
    assert_eq!(meddled.found().await, found, "a start makes none, or an attacker who deletes it succeeds");
    meddled.confirm().await;
    // Removals have left no seal that tells how late it was.
    for _ in 0..2 {
        meddled.store.remove_account(&mailbox(INFO)).await.unwrap();
        meddled.store.remove_account(&mailbox(BEN)).await.unwrap();
        meddled.sql("DELETE FROM meta WHERE name = 'access'").await;
        meddled.confirm().await;
        let ann = meddled.store.account(&mailbox(ANN)).await;
        assert!(ann.is_ok(), "{ann:?}");
    }
    meddled.store.add_account(&account("c@contoso.com", Grant::SignIn)).await.unwrap();
    assert_eq!(meddled.found().await, NOTHING);
}

#[tokio::test]
async fn a_person_confirms_what_was_shown_and_nothing_else() {
    let meddled = Meddled::new().await;
    let password = meddled.password(BEN, "device").await;
    meddled.sql("UPDATE account SET login = 'scanner' WHERE mailbox = 'ben@contoso.com'").await;
    assert!(is_changed(meddled.login("scanner", &password).await, "login name"));
    let shown = meddled.store.audit_access().await.unwrap();
    meddled.sql("UPDATE account SET through = 'ann@contoso.com' WHERE mailbox = 'ben@contoso.com'").await;
    assert!(!meddled.store.confirm_access(&shown.code).await.unwrap());
    meddled.sql("UPDATE account SET through = NULL WHERE mailbox = 'ben@contoso.com'").await;
    assert!(meddled.store.confirm_access(&shown.code).await.unwrap());
    assert_eq!(meddled.login("scanner", &password).await.unwrap(), BEN);
    assert_eq!(meddled.found().await, NOTHING);
}

#[tokio::test]
async fn outside_changes_are_undone() {
    let meddled = Meddled::new().await;
    let (ann, ben) = (meddled.password(ANN, "device").await, meddled.password(BEN, "device").await);
    let old = meddled.rows(PASSWORD_ROWS).await;
    meddled.store.revoke_password(&mailbox(ANN), "device").await.unwrap();
    meddled.sql("DELETE FROM local_password").await;
    meddled.put_back(PUT_PASSWORD, old).await;
    meddled.sql("UPDATE account SET login = '?' WHERE mailbox = 'ann@contoso.com'").await;
    meddled.sql("UPDATE account SET login = 'ann@contoso.com' WHERE mailbox = 'ben@contoso.com'").await;
    meddled.sql("UPDATE account SET through = 'ben@contoso.com' WHERE mailbox = 'info@contoso.com'").await;
    assert_eq!(meddled.found().await.len(), 4);
    // A user without an account has taken her name meanwhile.
    meddled.sql("UPDATE account SET login = 'nobody' WHERE mailbox = 'ben@contoso.com'").await;
    meddled
        .sql("INSERT INTO account (mailbox, application, grant_kind, login, origin, created) VALUES ('x@contoso.com', 'a', 'sign-in', 'ann@contoso.com', 'command', 0)")
        .await;
    assert_eq!(meddled.found().await.len(), 5);
    assert_eq!(meddled.store.undo_outside_changes().await.unwrap(), []);
    assert_eq!(meddled.login(ANN, &ann).await, Err(Denied::BadCredentials));
    assert_eq!(meddled.login(BEN, &ben).await.unwrap(), BEN);
    assert_eq!(meddled.store.account(&mailbox(INFO)).await.unwrap().unwrap().delegate, Some(mailbox(ANN)));
}

/// What the file no longer declares is disabled, whatever an attacker has made of its columns.
#[tokio::test]
async fn disabled_account_cannot_be_kept_by_changing_its_row() {
    let meddled = Meddled::new().await;
    let password = LocalPassword::generate().unwrap();
    let hash = password.hash().await.unwrap();
    let with = |passwords| Declared {
        mailbox: mailbox("new@contoso.com"),
        token_source: TokenSource::Own { application: "office".into(), grant: Grant::SignIn },
        login: "new@contoso.com".into(),
        senders: crate::SenderPolicy::default(),
        passwords,
    };
    let declared = DeclaredPassword { name: "device".into(), text: PasswordText::Hash(hash) };
    meddled.store.reconcile(&[with(vec![declared.clone()])], &[], start()).await.unwrap();
    assert_eq!(meddled.login("new@contoso.com", password.secret()).await.unwrap(), "new@contoso.com");
    meddled.sql("UPDATE local_password SET declared = 0").await;
    meddled.store.reconcile(&[with(Vec::new())], &[], start()).await.unwrap();
    assert_eq!(meddled.login("new@contoso.com", password.secret()).await, Err(Denied::BadCredentials));
    // A seal that is lost is made again with the passwords of the file.
    meddled.store.reconcile(&[with(vec![declared.clone()])], &[], start()).await.unwrap();
    meddled.sql("UPDATE account SET access_seal = NULL WHERE mailbox = 'new@contoso.com'").await;
    meddled.store.reconcile(&[with(vec![declared])], &[], start()).await.unwrap();
    assert_eq!(meddled.found().await, NOTHING);
    assert_eq!(meddled.login("new@contoso.com", password.secret()).await.unwrap(), "new@contoso.com");
    meddled.sql("UPDATE account SET origin = 'command' WHERE mailbox = 'new@contoso.com'").await;
    meddled.store.reconcile(&[], &[], start()).await.unwrap();
    assert_eq!(meddled.login("new@contoso.com", password.secret()).await, Err(Denied::BadCredentials));
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
                store.set_delegate(&mailbox(&address), &mailbox(ANN)).await.unwrap();
                store.revoke_password(&mailbox(&address), "a").await.unwrap();
            } else {
                store.remove_account(&mailbox(&address)).await.unwrap();
            }
        });
    }
    while let Some(ended) = changing.join_next().await {
        ended.unwrap();
    }
    assert_eq!(meddled.found().await, NOTHING);
    assert_eq!(meddled.store.accounts().await.unwrap().len(), 3 + 4);

    let declared = |address: &str, token_source: TokenSource| Declared {
        mailbox: mailbox(address),
        token_source,
        login: address.to_owned(),
        senders: crate::SenderPolicy::default(),
        passwords: Vec::new(),
    };
    let own = || TokenSource::Own { application: "office".into(), grant: Grant::SignIn };
    let all = [
        declared("new@contoso.com", own()),
        declared("shared@contoso.com", TokenSource::Delegate(mailbox("new@contoso.com"))),
    ];
    meddled.store.reconcile(&all, &[], start()).await.unwrap();
    assert_eq!(meddled.found().await, NOTHING);
    // The file is the truth for what it declares.
    meddled.sql("UPDATE account SET through = 'ann@contoso.com' WHERE mailbox = 'shared@contoso.com'").await;
    assert_eq!(meddled.found().await.len(), 1);
    meddled.store.reconcile(&all, &[], start()).await.unwrap();
    assert_eq!(meddled.found().await, NOTHING);
    meddled.sql("UPDATE account SET access_seal = NULL WHERE mailbox = 'new@contoso.com'").await;
    meddled.store.reconcile(&all, &[], start()).await.unwrap();
    assert_eq!(meddled.found().await, NOTHING);
    meddled.store.reconcile(&[], &[], start()).await.unwrap();
    assert_eq!(
        meddled.store.account(&mailbox("new@contoso.com")).await.unwrap().unwrap().origin,
        crate::Origin::Disabled
    );
}

/// An old password is not made a new one: the moment at which Microsoft has verified it is a part of the seal.
#[tokio::test]
async fn time_of_a_verified_password_cannot_be_changed() {
    let meddled = Meddled::new().await;
    let hash = LocalPassword::generate().unwrap().hash().await.unwrap();
    meddled.store.save_verified_password(&mailbox(ANN), &hash, start()).await.unwrap();
    assert_eq!(meddled.store.verified_password(&mailbox(ANN)).await.unwrap().unwrap().verified, start());
    meddled.sql("UPDATE judged_password SET judged = judged + 3600000").await;
    assert!(meddled.store.verified_password(&mailbox(ANN)).await.unwrap().is_none());
}

/// The refresher plans with unverified columns.
#[tokio::test]
async fn refresh_token_is_sent_to_the_sealed_authority_only() {
    let place = Place::new();
    let mut bench = Bench::signed_in_to(place.open().await).await;
    let stranger = endpoint::Endpoint::start().await;
    let other = Application { name: "other".into(), ..application(&stranger) };
    let applications = Applications::from_iter([application(&bench.endpoint), other]);
    let clock = bench.shared_clock();
    bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), clock, RefreshLimits::default());
    bench.endpoint.always(endpoint::Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(HOUR);
    let planned = Account { application: "other".into(), ..bench.admitted.account().clone() };
    let version = bench.store.tokens(bench.mailbox()).await.unwrap().version;
    let sql = "UPDATE account SET application = 'other'";
    place.meddle(sql, sql);
    bench.tokens.refresh_due(&planned, version).await;
    assert_eq!((stranger.requests(), bench.endpoint.requests()), (0, 0));
    let sql = "UPDATE account SET application = 'office'";
    place.meddle(sql, sql);
    bench.clock.advance(HOUR);
    bench.tokens.refresh_due(&planned, version).await;
    assert_eq!((stranger.requests(), bench.endpoint.requests()), (0, 1), "it is asked for as it is stored");
}
