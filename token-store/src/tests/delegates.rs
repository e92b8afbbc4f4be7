//! Many mailboxes through one sign-in: one refresh token, one request, and whose password opens what.

use super::{endpoint::Reply, *};
use crate::{Accounts, AdmissionLimits, Denied, LocalPassword, Source, StoreError, store::Removed};

const INFO: &str = "info@contoso.com";
const SALES: &str = "sales@contoso.com";

/// Ann has signed in, and two shared mailboxes go through her.
async fn shared_mailboxes() -> Bench {
    let bench = Bench::signed_in().await;
    for address in [INFO, SALES] {
        bench.store.add_account(&through_ann(address)).await.unwrap();
    }
    bench
}

fn through_ann(address: &str) -> Account {
    Account { delegate: Some(mailbox("ann@contoso.com")), ..account(address, Grant::SignIn) }
}

async fn password(store: &Store, address: &str) -> Secret {
    let password = LocalPassword::generate().unwrap();
    store.set_password(&mailbox(address), "device", &password.hash().await.unwrap(), start()).await.unwrap();
    password.secret().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_that_go_through_one_sign_in_share_one_request() {
    let bench = shared_mailboxes().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let callers: Vec<_> = ["ann@contoso.com", INFO, SALES]
        .into_iter()
        .cycle()
        .take(48)
        .map(|address| {
            let (store, tokens) = (bench.store.clone(), bench.tokens.clone());
            tokio::spawn(async move {
                let account = store.account(&mailbox(address)).await.unwrap().unwrap();
                let token = tokens.access_token(&Admitted::authenticated(account)).await.unwrap();
                text(token.secret())
            })
        })
        .collect();
    bench.endpoint.arrived(1).await;
    bench.endpoint.release();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "at-1");
    }
    assert_eq!(bench.endpoint.requests(), 1);
    assert_eq!(bench.stored_refresh_token().await.as_deref(), Some("rt-1"));
    assert_eq!(bench.store.plan().await.unwrap().len(), 1, "the refresher has one account to keep fresh");
}

#[tokio::test]
async fn a_missing_sign_in_names_the_one_who_must_sign_in() {
    let bench = Bench::cold().await;
    bench.store.add_account(&account("bob@contoso.com", Grant::SignIn)).await.unwrap();
    let info = Account { delegate: Some(mailbox("bob@contoso.com")), ..account(INFO, Grant::SignIn) };
    bench.store.add_account(&info).await.unwrap();
    let error = bench.tokens.access_token(&Admitted::authenticated(info)).await.unwrap_err().to_string();
    assert!(error.contains("`oxpost sign-in bob@contoso.com`"), "{error}");
}

#[tokio::test]
async fn delegates_of_delegates_are_refused() {
    let store = shared_mailboxes().await.store;
    let ann = mailbox("ann@contoso.com");
    let info = store.account(&mailbox(INFO)).await.unwrap().unwrap();
    assert_eq!((info.token_of(), info.sender(), info.application.as_str()), (&ann, &ann, "office"));
    assert_eq!(store.dependents(&ann).await.unwrap(), [mailbox(INFO), mailbox(SALES)]);

    // The delegate has a delegate, or does not exist.
    let third = Account { delegate: Some(mailbox(INFO)), ..account("third@contoso.com", Grant::SignIn) };
    let error = store.add_account(&third).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::DelegateHasDelegate { .. }) && error.to_string().contains("ann@contoso.com"),
        "{error}"
    );
    let nobody = Account { delegate: Some(mailbox("nobody@contoso.com")), ..third };
    assert_eq!(store.add_account(&nobody).await, Err(StoreError::NoSuchAccount(mailbox("nobody@contoso.com"))));

    // A delegate of others can neither have one nor lose its sign-in.
    store.add_account(&account("bob@contoso.com", Grant::SignIn)).await.unwrap();
    let bob = mailbox("bob@contoso.com");
    let needed = StoreError::HasDependents(ann.clone(), vec![mailbox(INFO), mailbox(SALES)]);
    assert_eq!(store.set_delegate(&ann, &bob).await.unwrap_err(), needed);
    assert_eq!(store.remove_account(&ann).await.unwrap_err(), needed);
    assert!(store.token_state(&ann).await.unwrap().has_refresh_token, "and nothing was lost");

    store.set_delegate(&mailbox(INFO), &bob).await.unwrap();
    assert_eq!(store.account(&mailbox(INFO)).await.unwrap().unwrap().token_of(), &bob);
    password(&store, SALES).await;
    let removed = store.remove_account(&mailbox(SALES)).await.unwrap().unwrap();
    let gone = Removed { passwords: vec!["device".into()], signed_in: false, delegate: Some(ann.clone()) };
    assert_eq!(removed, gone);
    assert!(store.token_state(&ann).await.unwrap().has_refresh_token);
    let removed = store.remove_account(&ann).await.unwrap().unwrap();
    assert_eq!(removed, Removed { signed_in: true, ..Removed::default() });
    assert_eq!(store.remove_account(&ann).await.unwrap(), None);
}

#[tokio::test]
async fn own_sign_in_is_kept_until_the_delegate_has_worked() {
    let bench = Bench::signed_in().await;
    let (store, ann, bob) = (&bench.store, bench.mailbox(), mailbox("bob@contoso.com"));
    let gate = Accounts::new(store.clone(), bench.shared_clock(), AdmissionLimits::default());
    store.add_account(&account("bob@contoso.com", Grant::SignIn)).await.unwrap();
    store.set_delegate(ann, &bob).await.unwrap();
    assert!(store.token_state(ann).await.unwrap().has_refresh_token, "it is kept");
    assert_eq!(store.plan().await.unwrap().len(), 1, "and not refreshed");
    let error = store.save_signed_in(ann, &token_set("at", Some("rt")), None, start()).await;
    assert_eq!(error, Err(StoreError::NoSuchAccount(ann.clone())), "and none can be stored");
    // It was a mistake: nothing was lost, but for an access token that may be another application's.
    store.set_delegate(ann, ann).await.unwrap();
    let again = store.account(ann).await.unwrap().unwrap();
    assert_eq!((again.delegate, again.application.as_str(), again.grant), (None, "office", Grant::SignIn));
    assert_eq!(bench.stored_refresh_token().await.as_deref(), Some("rt-0"));
    assert!(store.tokens(ann).await.unwrap().access.is_none());
    let mut opened = store.account(ann).await.unwrap().unwrap();
    gate.note_login_accepted(&opened);
    opened.delegate = Some(mailbox("cas@contoso.com"));
    store.set_delegate(ann, &bob).await.unwrap();
    gate.note_login_accepted(&opened);
    gate.wait_for_background_writes().await;
    assert_eq!(
        bench.stored_refresh_token().await.as_deref(),
        Some("rt-0"),
        "its own login, or that of another delegate"
    );

    let gate = Accounts::new(store.clone(), bench.shared_clock(), AdmissionLimits::default());
    gate.note_login_accepted(&store.account(ann).await.unwrap().unwrap());
    gate.wait_for_background_writes().await;
    assert_eq!(store.token_state(ann).await, Err(StoreError::NoSuchAccount(ann.clone())), "the delegate has worked");
    assert!(store.token_state(&bob).await.is_ok());
    store.set_delegate(ann, ann).await.unwrap();
    assert!(!store.token_state(ann).await.unwrap().has_refresh_token);
    store.save_signed_in(ann, &token_set("at", Some("rt")), None, start()).await.unwrap();
}

/// The mailbox that opens is the last one; its own password counts, and the owner's.
#[tokio::test]
async fn whose_password_opens_a_shared_mailbox_under_which_name() {
    let bench = shared_mailboxes().await;
    bench.store.add_account(&account("bob@contoso.com", Grant::SignIn)).await.unwrap();
    let accounts = Accounts::new(bench.store.clone(), bench.shared_clock(), AdmissionLimits::default());
    let infos = password(&bench.store, INFO).await;
    let anns = password(&bench.store, "ann@contoso.com").await;
    let bobs = password(&bench.store, "bob@contoso.com").await;
    for (user, password) in [
        ("info@contoso.com", &infos),
        ("ann@contoso.com\\info@contoso.com", &infos),
        ("ann@contoso.com\\info@contoso.com", &anns),
        ("ann@contoso.com/info@contoso.com", &anns),
        ("CONTOSO\\Ann@contoso.com\\INFO@contoso.com", &anns),
        ("bob@contoso.com\\info@contoso.com", &infos),
        ("ann\\info", &anns),
        ("ann/info", &infos),
        ("CONTOSO\\Ann\\INFO", &anns),
        ("ann\\info@contoso.com", &anns),
        ("ann@contoso.com\\info", &anns),
    ] {
        let admitted = accounts.admit(user, password).await.unwrap();
        assert_eq!(admitted.account().mailbox, mailbox(INFO), "{user}");
        assert_eq!(admitted.account().token_of(), &mailbox("ann@contoso.com"), "{user}");
    }
    for (user, password) in [
        ("info@contoso.com", &anns),
        ("bob@contoso.com\\info@contoso.com", &bobs),
        ("bob@contoso.com\\info@contoso.com", &anns),
        ("ann@contoso.com\\info@contoso.com", &bobs),
        ("ann@contoso.com\\bob@contoso.com", &anns),
        ("info@contoso.com\\ann@contoso.com", &infos),
        ("sales@contoso.com\\info@contoso.com", &anns),
        ("ann@contoso.com\\", &anns),
        ("ann", &anns),
        ("bob\\info", &infos),
        ("bob\\info", &bobs),
        ("info", &infos),
        ("CONTOSO\\info", &infos),
        ("ann\\bob", &anns),
        ("ann\\inf", &anns),
        ("ann\\info@", &anns),
        ("\\info", &infos),
        ("%\\info", &anns),
    ] {
        assert_eq!(accounts.admit(user, password).await.unwrap_err(), Denied::BadCredentials, "{user}");
    }
    // The use is noted with the password that was used.
    let used = async |address| bench.store.passwords(&mailbox(address)).await.unwrap()[0].last_used;
    assert_eq!((used("ann@contoso.com").await, used("bob@contoso.com").await), (Some(start()), None));
}

/// Two mailboxes of one name, and a login name that is another account's short name.
#[tokio::test]
async fn a_short_name_that_may_mean_two_opens_neither() {
    let bench = shared_mailboxes().await;
    let store = &bench.store;
    let accounts = Accounts::new(store.clone(), bench.shared_clock(), AdmissionLimits::default());
    let anns = password(store, "ann@contoso.com").await;
    store.add_account(&through_ann("info@fabrikam.example")).await.unwrap();
    assert_eq!(accounts.admit("ann\\info", &anns).await.unwrap_err(), Denied::BadCredentials);
    assert!(accounts.admit("ann\\info@fabrikam.example", &anns).await.is_ok());
    assert!(accounts.admit("ann\\sales", &anns).await.is_ok());
    store.add_account(&Account { login: "ann".into(), ..account("bob@contoso.com", Grant::SignIn) }).await.unwrap();
    assert_eq!(accounts.admit("ann\\sales", &anns).await.unwrap_err(), Denied::BadCredentials, "that is Bob now");
    assert!(accounts.admit("ann@contoso.com\\sales", &anns).await.is_ok());
}

#[tokio::test]
async fn log_names_the_mailbox_and_no_invalid_name() {
    let bench = shared_mailboxes().await;
    let accounts = Accounts::new(bench.store.clone(), bench.shared_clock(), AdmissionLimits::default());
    let named =
        async |user: &str| accounts.attempt(user, &Secret::from("x"), Source::Loopback).await.unwrap().name_for_log();
    for user in ["INFO@contoso.com", "ann@contoso.com\\info@contoso.com", "other/info@contoso.com"] {
        assert_eq!(named(user).await, INFO, "{user}");
    }
    for user in ["hunter2", "ann@contoso.com\\hunter2", "hunter2\\hunter3", &"x".repeat(10_000)] {
        assert_eq!(named(user).await, "[no such account]");
    }
}
