//! One account for a domain: which mailbox it opens, with whose password, and with one token.

use super::{endpoint::Reply, *};
use crate::{Accounts, AdmissionLimits, Declared, Denied, LocalPassword, SenderPolicy, StoreError, TokenSource};

const ALL: &str = "*@contoso.com";

async fn password(store: &Store, address: &str) -> Secret {
    let password = LocalPassword::generate().unwrap();
    store.set_password(&mailbox(address), "device", &password.hash().await.unwrap(), start()).await.unwrap();
    password.secret().clone()
}

fn gate(bench: &Bench) -> Accounts {
    Accounts::new(bench.store.clone(), bench.shared_clock(), AdmissionLimits::default())
}

#[tokio::test]
async fn own_account_precedes_the_pattern_even_if_disabled() {
    let bench = Bench::cold().await;
    let store = &bench.store;
    store.add_account(&account(ALL, Grant::ClientCredentials)).await.unwrap();
    let all = password(store, ALL).await;
    let anns = password(store, "ann@contoso.com").await;
    let gate = gate(&bench);
    let admitted = gate.admit(" Bob@Contoso.com", &all).await.unwrap();
    let bob = admitted.account();
    assert_eq!((bob.mailbox.as_str(), bob.token_of().as_str(), bob.sender()), ("bob@contoso.com", ALL, &bob.mailbox));
    gate.wait_for_background_writes().await;
    assert!(store.passwords(&mailbox(ALL)).await.unwrap()[0].last_used.is_some());
    assert!(gate.admit("ann@contoso.com", &anns).await.is_ok());
    for (user, password) in
        [("ann@contoso.com", &all), (ALL, &all), ("bob@contoso.com", &anns), ("bob", &all), ("b b@contoso.com", &all)]
    {
        assert_eq!(gate.admit(user, password).await.unwrap_err(), Denied::BadCredentials, "{user}");
    }

    let token_source = TokenSource::Own { application: "office".into(), grant: Grant::ClientCredentials };
    let senders = SenderPolicy::default();
    let carol = Declared {
        mailbox: mailbox("carol@contoso.com"),
        token_source,
        login: "carol".into(),
        senders,
        passwords: Vec::new(),
    };
    assert!(gate.admit("carol@contoso.com", &all).await.is_ok());
    store.reconcile(&[carol], &[], start()).await.unwrap();
    assert_eq!(gate.admit("carol@contoso.com", &all).await.unwrap_err(), Denied::BadCredentials);
    store.reconcile(&[], &[], start()).await.unwrap();
    assert_eq!(
        gate.admit("carol@contoso.com", &all).await.unwrap_err(),
        Denied::BadCredentials,
        "disabled is disabled"
    );
}

#[tokio::test]
async fn all_mailboxes_of_the_domain_share_one_request() {
    let bench = Bench::cold().await;
    bench.store.add_account(&account(ALL, Grant::ClientCredentials)).await.unwrap();
    let all = password(&bench.store, ALL).await;
    let gate = gate(&bench);
    bench.endpoint.then(Reply::tokens("at-1", None));
    for user in ["bob@contoso.com", "carol@contoso.com", "dave@contoso.com"] {
        let admitted = gate.admit(user, &all).await.unwrap();
        assert_eq!(text(bench.tokens.access_token(&admitted).await.unwrap().secret()), "at-1");
    }
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn a_pattern_for_persons_is_not_stored() {
    let store = Bench::cold().await.store;
    let error = store.add_account(&account(ALL, Grant::SignIn)).await.unwrap_err();
    assert!(matches!(error, StoreError::Pattern(_)), "{error}");
    assert!(store.account(&mailbox(ALL)).await.unwrap().is_none());
}
