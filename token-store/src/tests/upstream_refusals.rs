//! A token that the mail server refused.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{endpoint::Reply, *};
use crate::{
    AccessToken, ErrorKind, TokenError,
    database::{Database, DatabaseError, Outcome, Statement},
};

impl Bench {
    async fn refused(&self, token: &AccessToken) -> Result<AccessToken, TokenError> {
        self.tokens.refused(&self.admitted, token).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_sessions_that_report_it_cause_one_request() {
    let bench = Bench::signed_in().await;
    let refused = bench.tokens.access_token(&bench.admitted).await.unwrap();
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    let sessions: Vec<_> = (0..64)
        .map(|_| {
            let (tokens, admitted, refused) = (bench.tokens.clone(), bench.admitted.clone(), refused.clone());
            tokio::spawn(async move { tokens.refused(&admitted, &refused).await.map(|token| text(token.secret())) })
        })
        .collect();
    for session in sessions {
        assert_eq!(session.await.unwrap().unwrap(), "at-1");
    }
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn refused_replacement_token_pauses_further_requests() {
    let bench = Bench::signed_in().await;
    let old = bench.tokens.access_token(&bench.admitted).await.unwrap();
    bench.endpoint.then(Reply::tokens("at-1", None));
    let new = bench.refused(&old).await.unwrap();
    let error = bench.refused(&new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("Get-CASMailbox"), "{error}");
    assert_eq!(bench.endpoint.requests(), 1);
    // Who still held the old one gets the new one, and sessions without a complaint are served.
    assert_eq!(bench.refused(&old).await.unwrap(), new);
    assert_eq!(bench.access_token().await.unwrap(), "at-1");

    bench.clock.advance(Duration::from_secs(30));
    bench.endpoint.then(Reply::tokens("at-2", None));
    assert_eq!(text(bench.refused(&new).await.unwrap().secret()), "at-2");
}

#[tokio::test]
async fn a_failure_does_not_give_the_refused_token_back() {
    let bench = Bench::signed_in().await;
    let refused = bench.tokens.access_token(&bench.admitted).await.unwrap();
    bench.endpoint.then(Reply::json(503, "{}"));
    assert_eq!(bench.refused(&refused).await.unwrap_err().kind(), ErrorKind::Transient);
    // A failed try does not count as a replacement.
    bench.clock.advance(Duration::from_secs(2));
    bench.endpoint.then(Reply::tokens("at-1", None));
    assert_eq!(text(bench.refused(&refused).await.unwrap().secret()), "at-1");
}

/// An engine that keeps one answer back.
struct LateAnswer {
    engine: Arc<dyn Database>,
    next: AtomicBool,
    held: Notify,
    go: Notify,
}

#[async_trait]
impl Database for LateAnswer {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        let outcome = self.engine.transaction(statements).await;
        if self.next.swap(false, Ordering::SeqCst) {
            self.held.notify_one();
            self.go.notified().await;
        }
        outcome
    }
}

#[tokio::test]
async fn late_session_gets_the_token_that_was_just_replaced() {
    let engine = fresh_engine().await;
    let late = Arc::new(LateAnswer { engine, next: false.into(), held: Notify::new(), go: Notify::new() });
    let bench = Bench::signed_in_to(Store::with(late.clone(), vault()).await.unwrap()).await;
    let refused = bench.tokens.access_token(&bench.admitted).await.unwrap();
    bench.endpoint.then(Reply::tokens("at-1", None));
    late.next.store(true, Ordering::SeqCst);
    let (late_one, ()) = tokio::join!(bench.refused(&refused), async {
        tokio::time::timeout(Duration::from_secs(60), late.held.notified()).await.unwrap();
        assert_eq!(text(bench.refused(&refused).await.unwrap().secret()), "at-1");
        late.go.notify_one();
    });
    assert_eq!(text(late_one.unwrap().secret()), "at-1");
    assert_eq!(bench.endpoint.requests(), 1);
}
