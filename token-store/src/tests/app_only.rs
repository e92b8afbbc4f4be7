//! Tokens of an application itself: one for all its accounts, on all nodes.

use std::sync::atomic::Ordering;

use super::{endpoint::Reply, failures::FullDisk, fixture::Place, *};
use crate::{Clock, ErrorKind, StoreError, TokenError};

const ACCOUNTS: usize = 50;

fn one(number: usize) -> Admitted {
    Admitted::authenticated(account(&format!("m{number}@contoso.com"), Grant::ClientCredentials))
}

/// Fifty accounts of one application that have no token yet.
async fn fifty(store: Store) -> Bench {
    let bench = Bench::new(store, Grant::ClientCredentials).await;
    for number in 0..ACCOUNTS {
        bench.store.add_account(one(number).account()).await.unwrap();
    }
    bench
}

async fn ask(tokens: &Tokens, number: usize) -> Result<String, TokenError> {
    tokens.access_token(&one(number)).await.map(|token| text(token.secret()))
}

/// All fifty concurrently.
async fn ask_all(tokens: &Tokens) -> Vec<Result<String, TokenError>> {
    let asking: tokio::task::JoinSet<_> = (0..ACCOUNTS)
        .map(|number| {
            let tokens = tokens.clone();
            async move { ask(&tokens, number).await }
        })
        .collect();
    asking.join_all().await
}

impl Bench {
    async fn all_stored(&self, access: &str) {
        for number in 0..ACCOUNTS {
            self.stored(&format!("m{number}@contoso.com"), access).await;
        }
    }
}

#[tokio::test]
async fn fifty_accounts_of_one_application_make_one_request() {
    let place = Place::new();
    let bench = fifty(place.open().await).await;
    bench.endpoint.then(Reply::tokens("at-1", None));
    for token in ask_all(&bench.tokens).await {
        assert_eq!(token.unwrap(), "at-1");
    }
    assert_eq!(bench.endpoint.requests(), 1);
    // Each has a state of its own.
    bench.all_stored("at-1").await;
    let state = bench.store.token_state(&one(7).account().mailbox).await.unwrap();
    assert_eq!((state.access_token_expires, state.last_error), (Some(start() + HOUR), None));

    // A day of refreshes; the second half of it on another node, after a restart.
    bench.endpoint.always(Reply::tokens("at-2", None));
    let mut refreshes = 0;
    for tokens in [bench.tokens.clone(), bench.process_on(place.open().await)] {
        let (stop, refresher) = bench.keep_fresh_with(tokens);
        for _ in 0..12 {
            bench.clock.advance(HOUR.mul_f64(0.76));
            refreshes += 1;
            until("no account is due", async || {
                let now = bench.clock.now();
                bench
                    .store
                    .plan()
                    .await
                    .unwrap()
                    .iter()
                    .all(|planned| planned.next_refresh.is_some_and(|due| due > now))
            })
            .await;
        }
        stop.cancel();
        refresher.await.unwrap();
    }
    println!(
        "{} accounts of one application: {} requests for {refreshes} refreshes",
        ACCOUNTS + 1,
        bench.endpoint.requests()
    );
    assert_eq!(bench.endpoint.requests(), 1 + refreshes);
}

#[tokio::test]
async fn another_node_takes_the_token_from_the_store() {
    let place = Place::new();
    let bench = fifty(place.open().await).await;
    let node = bench.process_on(place.open().await);
    bench.endpoint.then(Reply::tokens("at-1", None));
    assert_eq!(ask(&bench.tokens, 0).await.unwrap(), "at-1");
    assert_eq!(ask(&node, 1).await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn removed_account_leaves_the_others_their_app_only_token() {
    let bench = fifty(fresh_store().await).await;
    bench.endpoint.then(Reply::tokens("at-1", None));
    assert_eq!(ask(&bench.tokens, 0).await.unwrap(), "at-1");
    assert!(bench.store.remove_account(&one(0).account().mailbox).await.unwrap().is_some());
    assert_eq!(ask(&bench.tokens, 1).await.unwrap(), "at-1");
    let gone = ask(&bench.tokens, 0).await.unwrap_err();
    assert!(matches!(gone, TokenError::Store(StoreError::NoSuchAccount(_))), "{gone}");
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn account_removed_while_the_application_asks_gets_no_token() {
    let bench = fifty(fresh_store().await).await;
    bench.endpoint.then(Reply::tokens("at-1", None));
    bench.endpoint.hold().await;
    let (token, ()) = tokio::join!(ask(&bench.tokens, 0), async {
        bench.endpoint.arrived(1).await;
        assert!(bench.store.remove_account(&one(0).account().mailbox).await.unwrap().is_some());
        bench.endpoint.release();
    });
    let gone = token.unwrap_err();
    assert!(matches!(gone, TokenError::Store(StoreError::NoSuchAccount(_))), "{gone}");
}

/// A wrong secret is found out once, and the right one counts immediately, for all.
#[tokio::test]
async fn refused_application_is_asked_once_until_its_secret_changes() {
    let bench = fifty(fresh_store().await).await;
    bench.endpoint.always(Reply::error("invalid_client", 7_000_222));
    for (number, error) in ask_all(&bench.tokens).await.into_iter().enumerate() {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Misconfigured, "{number}");
    }
    assert_eq!(bench.endpoint.requests(), 1);
    bench.store.set_client_secret("office", &Secret::from("renewed")).await.unwrap();
    bench.endpoint.always(Reply::tokens("at-1", None));
    for token in ask_all(&bench.tokens).await {
        assert_eq!(token.unwrap(), "at-1");
    }
    assert_eq!(bench.endpoint.requests(), 2);
    assert_eq!(bench.endpoint.sent(1, "client_secret").unwrap(), "renewed");
    // Another one is tried, though the token lives: whether it is right shows now, and not in an hour.
    bench.store.set_client_secret("office", &Secret::from("renewed once more")).await.unwrap();
    bench.clock.advance(Duration::from_secs(60));
    bench.endpoint.always(Reply::tokens("at-2", None));
    let (stop, refresher) = bench.keep_fresh();
    bench.all_stored("at-2").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(bench.endpoint.requests(), 3);
}

#[tokio::test]
async fn token_that_mailboxes_refuse_is_replaced_once_for_all() {
    let bench = fifty(fresh_store().await).await;
    bench.endpoint.always(Reply::tokens("at-1", None));
    let refused = bench.tokens.access_token(&one(0)).await.unwrap();
    ask_all(&bench.tokens).await;
    bench.clock.advance(Duration::from_secs(60));
    bench.endpoint.always(Reply::tokens("at-2", None));
    let mut others = Vec::new();
    for number in 0..ACCOUNTS {
        let token = bench.tokens.refused(&one(number), &refused).await.unwrap();
        assert_eq!(text(token.secret()), "at-2");
        others.push(token);
    }
    assert_eq!(bench.endpoint.requests(), 2);
    // The new one too: no further one is asked for, by none of them.
    for (number, token) in others.iter().enumerate() {
        let error = bench.tokens.refused(&one(number), token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{number}");
    }
    assert_eq!(bench.endpoint.requests(), 2);
}

/// Such a token needs no write.
#[tokio::test]
async fn full_disk_does_not_keep_applications_from_their_token() {
    let disk = Arc::new(FullDisk::new(fresh_engine().await));
    let bench = fifty(Store::with(disk.clone(), vault()).await.unwrap()).await;
    disk.1.store(true, Ordering::SeqCst);
    bench.endpoint.always(Reply::tokens("at-1", None));
    for _ in 0..2 {
        for token in ask_all(&bench.tokens).await {
            assert_eq!(token.unwrap(), "at-1");
        }
    }
    assert_eq!(bench.endpoint.requests(), 1);
    assert!(bench.store.unwritten().is_some());
    disk.1.store(false, Ordering::SeqCst);
    let (stop, refresher) = bench.keep_fresh();
    bench.all_stored("at-1").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!((bench.endpoint.requests(), bench.store.unwritten()), (1, None));
}

/// An attacker who can write to the database makes another account look like one of the application.
#[tokio::test]
async fn token_of_an_account_changed_in_the_database_is_not_shared() {
    let place = Place::new();
    let bench = fifty(place.open().await).await;
    bench.store.add_account(&account("person@contoso.com", Grant::SignIn)).await.unwrap();
    let theirs = token_set("at-of-a-person", Some("rt-of-a-person"));
    bench.store.save_signed_in(&mailbox("person@contoso.com"), &theirs, None, start()).await.unwrap();
    let change = "UPDATE account SET grant_kind = 'client-credentials' WHERE mailbox = 'person@contoso.com'";
    place.meddle(change, change);
    bench.endpoint.always(Reply::tokens("at-1", None));
    assert_eq!(ask(&bench.tokens, 0).await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.requests(), 1);
}
