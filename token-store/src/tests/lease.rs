//! Two nodes on one store: one of them asks, the other one reads.

use super::{endpoint::Reply, fixture::Place, *};
use crate::{Clock, ErrorKind};

/// Another node, on the same store, clock and authority.
async fn other_node(bench: &Bench, place: &Place) -> Tokens {
    let applications = Applications::from_iter([application(&bench.endpoint)]);
    Tokens::new(place.open().await, applications, http_client(), bench.shared_clock(), RefreshLimits::default())
}

async fn token(tokens: &Tokens, bench: &Bench) -> Result<String, crate::TokenError> {
    tokens.access_token(&bench.admitted).await.map(|token| text(token.secret()))
}

/// Until a node has found that another one has the lease.
async fn has_waited(tokens: &Tokens) {
    until("it waits", async || tokens.waits() > 0).await;
}

#[tokio::test]
async fn twenty_nodes_make_one_request_for_each_token_that_ran_out() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    let mut nodes = vec![bench.tokens.clone()];
    for _ in 1..20 {
        nodes.push(other_node(&bench, &place).await);
    }
    for round in 1..=5 {
        bench.clock.advance(HOUR);
        bench.endpoint.then(Reply::tokens(&format!("at-{round}"), Some(&format!("rt-{round}"))));
        bench.endpoint.hold().await;
        let mut callers = tokio::task::JoinSet::new();
        for node in &nodes {
            let (node, admitted) = (node.clone(), bench.admitted.clone());
            callers.spawn(async move { node.access_token(&admitted).await.map(|token| text(token.secret())) });
        }
        bench.endpoint.arrived(round).await;
        bench.endpoint.release();
        while let Some(token) = callers.join_next().await {
            assert_eq!(token.unwrap().unwrap(), format!("at-{round}"));
        }
        assert_eq!(bench.endpoint.requests(), round);
    }
}

#[tokio::test]
async fn nodes_that_waited_share_the_failure() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    let other = other_node(&bench, &place).await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::Http(429, "Retry-After: 120\r\n", String::new()));
    bench.endpoint.hold().await;
    let (first, second) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        let (second, ()) = tokio::join!(token(&other, &bench), async {
            has_waited(&other).await;
            bench.endpoint.release();
        });
        second
    });
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
    // And the pause that the authority had asked for.
    assert!(token(&other, &bench).await.is_err());
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn lease_of_a_dead_node_is_taken_over_at_its_expiry() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    let mut row = bench.store.tokens(bench.mailbox()).await.unwrap();
    assert!(bench.store.lease(bench.mailbox(), &row, "the dead one").await.unwrap());
    assert!(!bench.store.lease(bench.mailbox(), &row, "another").await.unwrap());
    assert!(bench.store.lease(bench.mailbox(), &row, "the dead one").await.unwrap(), "its own it may prolong");
    row.version += 1;
    assert!(!bench.store.lease(bench.mailbox(), &row, "the dead one").await.unwrap(), "not over another version");
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    let (token, ()) = tokio::join!(bench.access_token(), async {
        has_waited(&bench.tokens).await;
        assert_eq!(bench.endpoint.requests(), 0);
        let past = "UPDATE token SET lease_until = 1";
        place.meddle(past, past);
    });
    assert_eq!(token.unwrap(), "at-1");
    assert_eq!(bench.endpoint.requests(), 1);
}

/// A process that slept (a laptop, a virtual machine that was moved) wakes up with tokens that it may no longer write.
#[tokio::test]
async fn node_that_lost_its_lease_does_not_overwrite_the_owner() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-late", Some("rt-late")));
    bench.endpoint.hold().await;
    let (late, ()) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        place.meddle("UPDATE token SET lease_until = 1", "UPDATE token SET lease_until = 1");
        let row = bench.store.tokens(bench.mailbox()).await.unwrap();
        assert!(bench.store.lease(bench.mailbox(), &row, "the new one").await.unwrap());
        bench.endpoint.release();
        // The late one tries to write now; it must neither succeed nor take the lease back.
        until("its tokens could not be saved", async || bench.tokens.has_unsaved(bench.mailbox())).await;
        let tokens = token_set("at-new", Some("rt-new"));
        let now = bench.clock.now();
        assert!(
            bench.store.save_refreshed(bench.mailbox(), row.version, "the new one", &tokens, None, now).await.unwrap()
        );
    });
    assert_eq!(late.unwrap(), "at-late", "it is good, and is not written");
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(bench.access_token().await.unwrap(), "at-new");
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-new");
    assert_eq!(bench.endpoint.requests(), 1);
}

/// A process that was killed in the middle of a refresh leaves its lease. On a file that no other process has open, the next
/// one knows that it is dead; next to a process that lives it does not.
#[tokio::test]
async fn lease_of_a_killed_process_ends_at_an_exclusive_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let ann = mailbox("ann@contoso.com");
    let store = Store::open(&path, vault()).await.unwrap();
    store.add_account(&account("ann@contoso.com", Grant::SignIn)).await.unwrap();
    let row = store.tokens(&ann).await.unwrap();
    assert!(store.lease(&ann, &row, "the killed one").await.unwrap());
    let beside = Store::open(&path, vault()).await.unwrap();
    assert!(!beside.lease(&ann, &row, "another").await.unwrap(), "whose process still has the store open");
    drop((store, beside));
    super::maintenance::alone(&path).await;
    let next = Store::open(&path, vault()).await.unwrap();
    assert!(next.lease(&ann, &row, "the next one").await.unwrap(), "it waits for no other");
    // And others may open it meanwhile.
    let beside = Store::open(&path, vault()).await.unwrap();
    assert!(!beside.lease(&ann, &row, "another").await.unwrap());
}

#[tokio::test]
async fn sign_in_on_another_node_is_used_immediately() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    let other = place.open().await;
    other.save_signed_in(bench.mailbox(), &token_set("at-theirs", Some("rt-theirs")), None, start()).await.unwrap();
    assert_eq!(bench.access_token().await.unwrap(), "at-theirs");
}

/// Each node believes of the other's tokens that they are over, or not yet. Both are right by their own clock.
#[tokio::test]
async fn clock_skew_between_nodes_causes_no_refresh_loop() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    bench.add_signed_in(2).await;
    let ahead = ManualClock::new(start() + HOUR + Duration::from_secs(60));
    let limits = RefreshLimits { look_every: Duration::from_millis(5), ..RefreshLimits::default() };
    let applications = Applications::from_iter([application(&bench.endpoint)]);
    let shared: SharedClock = Arc::new(ahead.clone());
    let other = Tokens::new(place.open().await, applications, http_client(), shared, limits);
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    let (stop, refresher) = bench.keep_fresh();
    let (stop_other, other) = bench.keep_fresh_with(other);
    for _ in 0..60 {
        bench.clock.advance(Duration::from_secs(1));
        ahead.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    stop.cancel();
    stop_other.cancel();
    refresher.await.unwrap();
    other.await.unwrap();
    let requests = bench.endpoint.requests();
    println!("two nodes, one 61 minutes ahead, 3 accounts, 60 s: {requests} requests (183 before)");
    assert!((3..=12).contains(&requests), "{requests}");
}

/// A session that joins a request made for another reason, whose answer is the very token that its mail server has refused.
#[tokio::test]
async fn refused_token_is_not_given_back_by_a_request_that_was_joined() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    let row = bench.store.tokens(bench.mailbox()).await.unwrap();
    assert!(bench.store.lease(bench.mailbox(), &row, "another").await.unwrap());
    let (issued_at, expires_at) = (bench.clock.now(), bench.clock.now() + HOUR);
    let theirs = crate::store::IssuedToken { secret: Secret::from("at-1"), issued_at, expires_at, sign_in_name: None };
    let refused = crate::AccessToken::from(&theirs);
    bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    // The request for a token that was refused joins the other one. If it comes too late for that, it has the same outcome.
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let refused = async {
        has_begun.await.unwrap();
        bench.tokens.refused(&bench.admitted, &refused).await
    };
    let (served, replaced, ()) = tokio::join!(bench.access_token(), refused, async {
        has_waited(&bench.tokens).await;
        begun.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let tokens = token_set("at-1", Some("rt-1"));
        let now = bench.clock.now();
        assert!(bench.store.save_refreshed(bench.mailbox(), row.version, "another", &tokens, None, now).await.unwrap());
    });
    assert_eq!((served.unwrap().as_str(), text(replaced.unwrap().secret()).as_str()), ("at-1", "at-2"));
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn scope_probe_waits_for_the_lease_of_another_node() {
    let bench = Bench::signed_in().await;
    let row = bench.store.tokens(bench.mailbox()).await.unwrap();
    assert!(bench.store.lease(bench.mailbox(), &row, "another").await.unwrap());
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    let application = application(&bench.endpoint);
    let (asked, ()) = tokio::join!(bench.tokens.probe_scopes(bench.admitted.account(), &application), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(bench.endpoint.requests(), 0);
        bench.store.release_lease(bench.mailbox(), "another").await.unwrap();
    });
    asked.unwrap();
    assert_eq!((bench.endpoint.requests(), bench.stored_refresh_token().await.as_deref()), (1, Some("rt-1")));
}
