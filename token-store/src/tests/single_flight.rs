//! One request per account, however many logins wait, and nothing that it brought is lost.

use super::{endpoint::Reply, fixture::Place, *};
use crate::Clock;
use crate::{ErrorKind, TokenError};

async fn sixty_four(bench: &Bench) -> Vec<Result<String, TokenError>> {
    bench.endpoint.hold().await;
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let (tokens, admitted) = (bench.tokens.clone(), bench.admitted.clone());
            tokio::spawn(async move { tokens.access_token(&admitted).await.map(|token| text(token.secret())) })
        })
        .collect();
    bench.endpoint.arrived(1).await;
    bench.endpoint.release();
    let mut results = Vec::new();
    for caller in callers {
        results.push(caller.await.unwrap());
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_cold_callers_make_one_request() {
    let bench = Bench::cold().await;
    bench.endpoint.then(Reply::tokens("at-1", None));
    for token in sixty_four(&bench).await {
        assert_eq!(token.unwrap(), "at-1");
    }
    assert_eq!(bench.endpoint.requests(), 1);
    assert_eq!(bench.endpoint.sent(0, "grant_type").unwrap(), "client_credentials");
    assert_eq!(bench.endpoint.sent(0, "scope").unwrap(), "https://outlook.office365.com/.default");
    assert_eq!(bench.endpoint.sent(0, "client_secret").unwrap(), "client~secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_cold_callers_share_one_failure() {
    let bench = Bench::cold().await;
    bench.endpoint.then(Reply::json(503, "{}"));
    for token in sixty_four(&bench).await {
        assert_eq!(token.unwrap_err().kind(), ErrorKind::Transient);
    }
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_and_sent_next() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    assert_eq!(bench.access_token().await.unwrap(), "at-0", "no request while it lives");
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.sent(0, "refresh_token").unwrap(), "rt-0");
    assert_eq!(
        bench.endpoint.sent(0, "scope").unwrap(),
        "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
        "without a scope Entra answers AADSTS900144"
    );
    // An answer without a refresh token keeps the one there is.
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-2", None));
    assert_eq!(bench.access_token().await.unwrap(), "at-2");
    assert_eq!(bench.endpoint.sent(1, "refresh_token").unwrap(), "rt-1");

    let again = place.open().await;
    let stored = again.tokens(bench.mailbox()).await.unwrap();
    assert_eq!(text(&stored.access.unwrap().secret), "at-2");
    assert_eq!(stored.refresh, crate::store::RefreshToken::Some(Secret::from("rt-1")));
}

#[tokio::test]
async fn disconnect_does_not_lose_the_rotated_refresh_token() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let caller = {
        let (tokens, admitted) = (bench.tokens.clone(), bench.admitted.clone());
        tokio::spawn(async move { tokens.access_token(&admitted).await })
    };
    bench.endpoint.arrived(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    bench.endpoint.release();
    bench.tokens.wait_for_refreshes().await;
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-1");
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn sign_in_during_a_refresh_wins() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    let other_process = place.open().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let (token, ()) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        let theirs = token_set("at-theirs", Some("rt-theirs"));
        other_process
            .save_signed_in(bench.mailbox(), &theirs, Some("ann@contoso.com"), bench.clock.now())
            .await
            .unwrap();
        bench.endpoint.release();
    });
    assert_eq!(token.unwrap(), "at-theirs");
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-theirs");
}

#[tokio::test]
async fn raised_version_does_not_lose_the_rotated_token() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let (token, ()) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        bench.store.set_client_secret("office", &Secret::from("another")).await.unwrap();
        bench.endpoint.release();
    });
    assert_eq!(token.unwrap(), "at-1");
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-1");
}

#[tokio::test]
async fn an_account_removed_during_a_refresh_stays_removed() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let (token, ()) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        assert!(bench.store.remove_account(bench.mailbox()).await.unwrap().is_some());
        bench.endpoint.release();
    });
    let error = token.unwrap_err();
    assert!(matches!(error, TokenError::Store(crate::StoreError::NoSuchAccount(_))), "{error}");
}
