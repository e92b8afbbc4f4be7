//! Accounts that the configuration declares: what the store becomes, what it keeps, and what is refused.

use super::{fixture::Place, *};
use crate::{
    Accounts, AdmissionLimits, Changes, DeclareError, Declared, DeclaredPassword, Denied, Origin, PasswordHash,
    PasswordText, SenderMode, SenderPolicy, TokenSource, store::RefreshToken,
};

const ANN: &str = "ann@contoso.com";
const INFO: &str = "info@contoso.com";

fn own(address: &str, application: &str, grant: Grant) -> Declared {
    let token_source = TokenSource::Own { application: application.into(), grant };
    Declared {
        mailbox: mailbox(address),
        token_source,
        login: address.into(),
        senders: SenderPolicy::default(),
        passwords: Vec::new(),
    }
}

fn ann() -> Declared {
    own(ANN, "office", Grant::SignIn)
}

fn info() -> Declared {
    Declared { token_source: TokenSource::Delegate(mailbox(ANN)), ..own(INFO, "", Grant::SignIn) }
}

fn with_password(account: Declared, name: &str, text: PasswordText) -> Declared {
    Declared { passwords: vec![DeclaredPassword { name: name.into(), text }], ..account }
}

fn plain(password: &str) -> PasswordText {
    PasswordText::Plain(Secret::from(password))
}

async fn apply(store: &Store, declared: &[Declared]) -> Changes {
    store.reconcile(declared, &[], start()).await.unwrap()
}

async fn conflicts(store: &Store, declared: &[Declared]) -> String {
    let before = format!("{:?}", store.accounts().await.unwrap());
    let error = store.reconcile(declared, &[], start()).await.unwrap_err();
    assert!(matches!(&error, DeclareError::Conflicts(conflicts) if !conflicts.is_empty()), "{error}");
    assert_eq!(store.compare(declared).await.unwrap_err(), error);
    assert_eq!(format!("{:?}", store.accounts().await.unwrap()), before, "nothing was changed");
    error.to_string()
}

async fn refresh_token(store: &Store, address: &str) -> Option<String> {
    match store.tokens(&mailbox(address)).await.unwrap().refresh {
        RefreshToken::Some(token) => Some(text(&token)),
        _ => None,
    }
}

#[tokio::test]
async fn account_no_longer_declared_is_disabled_and_loses_nothing() {
    let store = fresh_store().await;
    let gate = Accounts::new(store.clone(), Arc::new(ManualClock::new(start())), AdmissionLimits::default());
    let password = Secret::from("correct-horse-battery");
    let hash = PasswordHash::of(&password).unwrap();
    let declared = [with_password(ann(), "scanner", PasswordText::Hash(hash)), info()];
    let changes = apply(&store, &declared).await;
    assert_eq!((changes.added, changes.changed.len()), (vec![mailbox(ANN), mailbox(INFO)], 0));
    store.save_signed_in(&mailbox(ANN), &token_set("at", Some("rt")), None, start()).await.unwrap();
    assert!(gate.admit(ANN, &password).await.is_ok());
    gate.wait_for_background_writes().await;
    assert!(apply(&store, &declared).await.is_empty(), "a second start changes nothing");
    assert!(store.passwords(&mailbox(ANN)).await.unwrap()[0].last_used.is_some(), "and forgets nothing");

    let changes = apply(&store, &[]).await;
    assert_eq!(changes.disabled, [mailbox(ANN), mailbox(INFO)]);
    assert_eq!(gate.admit(ANN, &password).await.unwrap_err(), Denied::BadCredentials);
    assert_eq!(gate.admit("ann@contoso.com\\info@contoso.com", &password).await.unwrap_err(), Denied::BadCredentials);
    assert!(store.plan().await.unwrap().is_empty(), "it is not refreshed");
    assert!(store.token_states().await.unwrap().is_empty(), "and raises no alert");
    assert!(apply(&store, &[]).await.is_empty());

    let changes = apply(&store, &declared).await;
    assert_eq!(changes.added, [mailbox(ANN), mailbox(INFO)]);
    assert_eq!(refresh_token(&store, ANN).await.as_deref(), Some("rt"), "the sign-in was kept");
    assert!(gate.admit(ANN, &password).await.is_ok());
    assert_eq!(store.plan().await.unwrap().len(), 1);
}

/// What a device without a password sends as. A disabled account is there, and is not to be used.
#[tokio::test]
async fn device_account_is_vouched_for_while_it_is_enabled() {
    let store = fresh_store().await;
    let gate = Accounts::new(store.clone(), Arc::new(ManualClock::new(start())), AdmissionLimits::default());
    let vouched = async |address| {
        let admitted = gate.admit_without_password(&mailbox(address)).await.unwrap();
        admitted.map(|admitted| admitted.account().mailbox.clone())
    };
    apply(&store, &[ann(), info()]).await;
    assert_eq!(vouched(ANN).await, Some(mailbox(ANN)));
    assert_eq!(vouched(INFO).await, Some(mailbox(INFO)));
    assert_eq!(vouched("nobody@contoso.com").await, None);
    apply(&store, &[ann()]).await;
    assert_eq!((vouched(ANN).await, vouched(INFO).await), (Some(mailbox(ANN)), None), "disabled");
    apply(&store, &[]).await;
    assert_eq!(vouched(ANN).await, None, "disabled");
    apply(&store, &[ann()]).await;
    assert_eq!(vouched(ANN).await, Some(mailbox(ANN)), "enabled again");
}

/// One of them still uses it.
#[tokio::test]
async fn disabled_delegate_is_kept_fresh_for_its_dependents() {
    let store = fresh_store().await;
    apply(&store, &[ann()]).await;
    let delegate = Account { delegate: Some(mailbox(ANN)), ..account(INFO, Grant::SignIn) };
    store.add_account(&delegate).await.unwrap();
    apply(&store, &[]).await;
    assert_eq!(store.account(&mailbox(ANN)).await.unwrap().unwrap().origin, Origin::Disabled);
    assert_eq!(store.plan().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_declared_otherwise_is_changed_and_keeps_its_sign_in() {
    let store = fresh_store().await;
    apply(&store, &[ann(), info()]).await;
    store.save_signed_in(&mailbox(ANN), &token_set("at", Some("rt")), None, start()).await.unwrap();
    // Names are exchanged, and delegates too.
    let names = |ann: &str, info: &str| {
        [Declared { login: ann.into(), ..self::ann() }, Declared { login: info.into(), ..self::info() }]
    };
    apply(&store, &names("hall", "desk")).await;
    let changes = apply(&store, &names("desk", "hall")).await;
    assert_eq!(changes.changed, [mailbox(ANN), mailbox(INFO)]);
    assert_eq!(store.account_by_login("desk").await.unwrap().unwrap().mailbox, mailbox(ANN));

    let swapped =
        [Declared { token_source: TokenSource::Delegate(mailbox(INFO)), ..ann() }, own(INFO, "office", Grant::SignIn)];
    apply(&store, &swapped).await;
    let ann_now = store.account(&mailbox(ANN)).await.unwrap().unwrap();
    assert_eq!((ann_now.token_of(), ann_now.application.as_str()), (&mailbox(INFO), "office"));
    assert_eq!(store.plan().await.unwrap().len(), 1, "what is left of her own sign-in is not refreshed");
    apply(&store, &[ann(), info()]).await;
    assert_eq!(refresh_token(&store, ANN).await.as_deref(), Some("rt"), "and is there again");

    apply(&store, &[own(ANN, "other", Grant::SignIn), info()]).await;
    let state = store.token_state(&mailbox(ANN)).await.unwrap();
    assert_eq!((state.access_token_expires, state.next_refresh), (None, None), "another application has other tokens");
    assert_eq!(refresh_token(&store, ANN).await.as_deref(), Some("rt"), "but nothing is lost by a slip");
}

#[tokio::test]
async fn declared_passwords_and_those_by_command_are_kept() {
    let store = fresh_store().await;
    let declared = |password: &str| [with_password(ann(), "erp", plain(password))];
    apply(&store, &declared("first password")).await;
    store.set_password(&mailbox(ANN), "hand-made", &PasswordHash::dummy(), start()).await.unwrap();
    assert!(apply(&store, &declared("first password")).await.is_empty(), "it is known by its hash");
    assert_eq!(apply(&store, &declared("second password")).await.changed, [mailbox(ANN)]);
    let stored = store.account_and_passwords(ANN).await.unwrap().unwrap().1;
    let erp = stored.iter().find(|password| password.name == "erp").unwrap();
    assert!(erp.hash.verify(&Secret::from("second password")) && !erp.hash.verify(&Secret::from("first password")));

    apply(&store, &[ann()]).await;
    let left: Vec<_> = store.passwords(&mailbox(ANN)).await.unwrap();
    assert_eq!(left.iter().map(|one| (one.name.as_str(), one.declared)).collect::<Vec<_>>(), [("hand-made", false)]);
    let said = conflicts(&store, &[with_password(ann(), "hand-made", plain("x"))]).await;
    assert!(said.contains("oxpost account password remove ann@contoso.com 'hand-made'"), "{said}");
    let many = Declared {
        passwords: (0..8)
            .map(|n| DeclaredPassword { name: n.to_string(), text: PasswordText::Hash(PasswordHash::dummy()) })
            .collect(),
        ..ann()
    };
    let said = conflicts(&store, &[many]).await;
    assert!(said.contains("9 passwords"), "{said}");
}

#[tokio::test]
async fn what_the_store_has_otherwise_is_not_overwritten() {
    let store = fresh_store().await;
    store.add_account(&account(ANN, Grant::SignIn)).await.unwrap();
    store.add_account(&Account { login: "hall".into(), ..account("bob@contoso.com", Grant::Password) }).await.unwrap();
    store.add_account(&Account { delegate: Some(mailbox(ANN)), ..account(INFO, Grant::SignIn) }).await.unwrap();
    store.save_signed_in(&mailbox(ANN), &token_set("at", Some("rt")), None, start()).await.unwrap();
    let sales =
        |token_source: TokenSource| Declared { token_source, ..own("sales@contoso.com", "office", Grant::SignIn) };
    for (declared, words) in [
        (ann(), "oxpost account declare ann@contoso.com"),
        (
            Declared { login: "hall".into(), ..sales(ann().token_source) },
            "`hall` belongs to the account bob@contoso.com",
        ),
        (
            sales(TokenSource::Delegate(mailbox("carol@contoso.com"))),
            "oxpost account add carol@contoso.com --no-password",
        ),
        (sales(TokenSource::Delegate(mailbox(INFO))), "its delegate is ann@contoso.com"),
        (
            with_password(sales(TokenSource::Delegate(mailbox("bob@contoso.com"))), "a", plain("x")),
            "Microsoft verifies",
        ),
    ] {
        let said = conflicts(&store, &[declared]).await;
        assert!(said.contains(words), "{said}");
    }
    let both = [
        Declared { token_source: TokenSource::Delegate(mailbox("sales@contoso.com")), ..ann() },
        sales(ann().token_source),
    ];
    let said = store.reconcile(&both, &[mailbox(ANN)], start()).await.unwrap_err().to_string();
    assert!(said.contains("it is the delegate of info@contoso.com"), "{said}");

    let changes = store.reconcile(&[ann()], &[mailbox(ANN)], start()).await.unwrap();
    assert_eq!(changes.changed, [mailbox(ANN)]);
    assert_eq!(refresh_token(&store, ANN).await.as_deref(), Some("rt"), "handed over with its sign-in");
    apply(&store, &[ann(), sales(TokenSource::Delegate(mailbox(ANN)))]).await;
}

/// All of them start at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_nodes_declare_the_same_accounts_concurrently() {
    let store = fresh_store().await;
    let nodes: tokio::task::JoinSet<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            async move { store.reconcile(&[ann(), info()], &[], start()).await }
        })
        .collect();
    let changes: Vec<Changes> = nodes.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(changes.iter().map(|changes| changes.added.len()).sum::<usize>(), 2, "each was added once");
    assert_eq!(store.accounts().await.unwrap().len(), 2);
}

#[tokio::test]
async fn who_an_account_may_send_as_follows_what_is_declared() {
    let store = fresh_store().await;
    let senders = SenderPolicy::parse(SenderMode::Account, ["info@contoso.com"], []).unwrap();
    let declared = [Declared { senders: senders.clone(), ..ann() }];
    apply(&store, &declared).await;
    assert_eq!(store.account(&mailbox(ANN)).await.unwrap().unwrap().senders, senders);
    assert!(apply(&store, &declared).await.is_empty());
    let changes = apply(&store, &[ann()]).await;
    assert_eq!(changes.changed, [mailbox(ANN)]);
    assert_eq!(store.account(&mailbox(ANN)).await.unwrap().unwrap().senders, SenderPolicy::default());
}

#[tokio::test]
async fn who_an_account_may_send_as_is_said_by_command_too() {
    let store = fresh_store().await;
    store.add_account(&account(ANN, Grant::SignIn)).await.unwrap();
    let senders = SenderPolicy::parse(SenderMode::Map, [], [("*@old.local", ANN)]).unwrap();
    assert!(store.set_senders(&mailbox(ANN), &senders).await.unwrap());
    assert_eq!(store.account(&mailbox(ANN)).await.unwrap().unwrap().senders, senders);
    assert!(!store.set_senders(&mailbox(INFO), &senders).await.unwrap());
}

#[tokio::test]
async fn several_accounts_are_handed_over_together() {
    let store = fresh_store().await;
    store.add_account(&account(ANN, Grant::SignIn)).await.unwrap();
    store.add_account(&Account { delegate: Some(mailbox(ANN)), ..account(INFO, Grant::SignIn) }).await.unwrap();
    let said = conflicts(&store, &[info(), ann()]).await;
    assert_eq!(said.matches("oxpost account declare info@contoso.com ann@contoso.com").count(), 2, "{said}");
    let one = store.reconcile(&[info(), ann()], &[mailbox(ANN)], start()).await.unwrap_err().to_string();
    assert!(one.ends_with("oxpost account declare info@contoso.com"), "{one}");
    let both = [mailbox(ANN), mailbox(INFO)];
    let changes = store.reconcile(&[info(), ann()], &both, start()).await.unwrap();
    assert_eq!(changes.changed.len(), 2);
    assert!(apply(&store, &[info(), ann()]).await.is_empty());
}

/// While it has a delegate its own access token is unused, and may be another application's than the next.
#[tokio::test]
async fn account_without_delegate_again_has_no_old_access_token() {
    let store = fresh_store().await;
    apply(&store, &[ann(), own(INFO, "office", Grant::SignIn)]).await;
    store.save_signed_in(&mailbox(INFO), &token_set("at", Some("rt")), None, start()).await.unwrap();
    apply(&store, &[ann(), info()]).await;
    apply(&store, &[ann(), own(INFO, "other", Grant::SignIn)]).await;
    assert!(store.tokens(&mailbox(INFO)).await.unwrap().access.is_none());
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_does_not_stay_for_ever() {
    let place = Place::new();
    let store = place.open().await;
    let hash = PasswordHash::of(&Secret::from("correct-horse-battery")).unwrap();
    apply(&store, &[with_password(ann(), "scanner", PasswordText::Hash(hash))]).await;
    // A password that cannot be opened goes with its line in the file.
    place.meddle("UPDATE local_password SET hash = x'00'", "UPDATE local_password SET hash = '\\x00'");
    apply(&store, &[ann()]).await;
    assert_eq!(store.passwords(&mailbox(ANN)).await.unwrap().len(), 0);
    let damage = "UPDATE account SET origin = 'magic'";
    place.meddle(damage, damage);
    let said = conflicts(&store, &[ann()]).await;
    assert!(
        said.contains("the row of ann@contoso.com") && said.contains("oxpost account remove ann@contoso.com"),
        "{said}"
    );
    store.remove_account(&mailbox(ANN)).await.unwrap().unwrap();
    apply(&store, &[ann()]).await;
}
