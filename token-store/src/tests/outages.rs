//! What goes wrong and passes without an administrator: the account works while its access token lives, and recovers by
//! itself. What does not pass requires a sign-in, and costs nothing else.

use tokio::net::TcpSocket;

use super::{
    endpoint::{Endpoint, Reply},
    failures::passing_failures,
    *,
};
use crate::{Clock, ErrorKind, TokenError};

const MINUTE: Duration = Duration::from_secs(60);

impl Bench {
    /// Waits until the store has an error of the account, or none.
    async fn noted(&self, error: Option<ErrorKind>) {
        until("the error is noted", async || {
            let state = self.store.token_state(self.mailbox()).await.unwrap();
            state.last_error.map(|noted| noted.kind) == error
        })
        .await;
    }
}

/// The refresher drops what is kept of accounts that are gone, and of no others.
#[tokio::test]
async fn pause_after_a_failed_refresh_survives_the_next_look() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.always(Reply::error("invalid_grant", 50_173));
    assert_eq!(bench.access_token().await.unwrap_err().kind(), ErrorKind::SignInRequired);
    let known = std::collections::HashSet::from([bench.mailbox()]);
    for _ in 0..3 {
        bench.tokens.forget_all_but(&known);
        assert_eq!(bench.access_token().await.unwrap_err().kind(), ErrorKind::SignInRequired);
    }
    assert_eq!(bench.endpoint.requests(), 1, "the account is left alone for a minute");

    // Of an account that is gone nothing is kept.
    bench.tokens.forget_all_but(&std::collections::HashSet::new());
    assert!(bench.access_token().await.is_err());
    assert_eq!(bench.endpoint.requests(), 2);
}

/// A request in flight is not forgotten with its account: another one would spend the same refresh token.
#[tokio::test]
async fn request_in_flight_survives_the_removal_of_its_account() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let (first, second) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        bench.tokens.forget_all_but(&std::collections::HashSet::new());
        let (token, ()) = tokio::join!(bench.access_token(), async {
            tokio::task::yield_now().await;
            bench.endpoint.release();
        });
        token
    });
    assert_eq!((first.unwrap(), second.unwrap()), ("at-1".to_owned(), "at-1".to_owned()));
    assert_eq!(bench.endpoint.requests(), 1);
}

/// Failures that pass, under the names that Entra gives them; and some under the name of one that does not.
fn failures() -> Vec<(Reply, ErrorKind)> {
    let passing = passing_failures().into_iter().map(|failure| (failure, ErrorKind::Transient));
    let dressed =
        [70_000, 70_008, 700_082, 999_999].map(|code| (Reply::error("invalid_grant", code), ErrorKind::SignInRequired));
    passing
        .chain(dressed)
        .chain([(Reply::json(400, r#"{"error":"invalid_grant"}"#), ErrorKind::SignInRequired)])
        .collect()
}

#[tokio::test]
async fn every_failure_that_passes_heals_without_logins() {
    for (failure, kind) in failures() {
        let bench = Bench::signed_in().await;
        let (stop, refresher) = bench.keep_fresh();
        bench.endpoint.then(failure.clone());
        bench.clock.advance(46 * MINUTE);
        bench.noted(Some(kind)).await;
        // A login meanwhile does not notice, and causes no further request.
        for _ in 0..3 {
            assert_eq!(bench.access_token().await.unwrap(), "at-0", "{failure:?}");
        }
        assert_eq!((bench.endpoint.requests(), bench.stored_refresh_token().await.as_deref()), (1, Some("rt-0")));
        bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
        bench.clock.advance(6 * MINUTE);
        bench.stored("ann@contoso.com", "at-1").await;
        bench.noted(None).await;
        assert_eq!(bench.endpoint.sent(1, "refresh_token").unwrap(), "rt-0", "{failure:?}");
        stop.cancel();
        refresher.await.unwrap();
        assert_eq!(bench.endpoint.requests(), 2, "{failure:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_costs_nothing_and_heals() {
    let mut bench = Bench::signed_in().await;
    // A port that is ours, and on which nothing listens yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut elsewhere = application(&bench.endpoint);
    elsewhere.token_url = format!("http://{}/token", socket.local_addr().unwrap()).parse().unwrap();
    let limits = RefreshLimits { look_every: Duration::from_millis(5), ..RefreshLimits::default() };
    let applications = Applications::from_iter([elsewhere]);
    bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits);
    let (stop, refresher) = bench.keep_fresh();
    bench.clock.advance(46 * MINUTE);
    bench.noted(Some(ErrorKind::Transient)).await;
    assert_eq!(bench.access_token().await.unwrap(), "at-0");
    bench.clock.advance(15 * MINUTE);
    let error = bench.access_token().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Transient && error.to_string().contains("could not be reached"), "{error}");
    let endpoint = Endpoint::start_on(socket.listen(16).unwrap());
    endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(6 * MINUTE);
    bench.stored("ann@contoso.com", "at-1").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_hangs_costs_nothing_while_the_token_lives() {
    stand_still();
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR - MINUTE);
    bench.endpoint.then(Reply::Silent);
    // A login waits five seconds; the request goes on for thirty.
    let (token, ()) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        tokio::time::advance(Duration::from_secs(5)).await;
    });
    assert_eq!(token.unwrap(), "at-0");
    assert_eq!(bench.store.token_state(bench.mailbox()).await.unwrap().last_error, None);
    tokio::time::advance(Duration::from_secs(25)).await;
    bench.noted(Some(ErrorKind::Transient)).await;
    let state = bench.store.token_state(bench.mailbox()).await.unwrap();
    assert!(state.last_error.unwrap().text.contains("did not answer in time"));
    assert_eq!(bench.access_token().await.unwrap(), "at-0", "and immediately from now on");
    assert_eq!(bench.endpoint.requests(), 1);
    bench.clock.advance(6 * MINUTE);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    bench.noted(None).await;
}

/// An answer that comes when no login waits for it any more.
#[tokio::test(start_paused = true)]
async fn an_authority_that_is_slow_costs_five_seconds_and_no_token() {
    stand_still();
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR - MINUTE);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let (token, ()) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        tokio::time::advance(Duration::from_secs(5)).await;
    });
    assert_eq!(token.unwrap(), "at-0");
    bench.endpoint.release();
    bench.stored("ann@contoso.com", "at-1").await;
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!((bench.endpoint.requests(), bench.stored_refresh_token().await.as_deref()), (1, Some("rt-1")));

    // A login that comes before the earlier request has reported its end receives its result.
    until("no request is in flight", async || bench.tokens.is_idle(bench.mailbox())).await;
    // Without a living token there is nothing else to give: the caller waits.
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    bench.endpoint.hold().await;
    let (token, ()) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(2).await;
        tokio::time::advance(Duration::from_secs(20)).await;
        bench.endpoint.release();
    });
    assert_eq!(token.unwrap(), "at-2");
}

#[tokio::test]
async fn a_revocation_asks_for_a_sign_in_and_costs_nothing_else() {
    let bench = Bench::signed_in().await;
    let ben = account("ben@contoso.com", Grant::SignIn);
    bench.store.add_account(&ben).await.unwrap();
    bench.store.save_signed_in(&ben.mailbox, &token_set("at-ben", Some("rt-ben")), None, start()).await.unwrap();
    bench.clock.advance(56 * MINUTE);
    bench.endpoint.then(Reply::error("invalid_grant", 50_173));
    // The token that there is goes on to its end.
    for _ in 0..3 {
        assert_eq!(bench.access_token().await.unwrap(), "at-0");
    }
    let state = bench.store.token_state(bench.mailbox()).await.unwrap();
    let error = state.last_error.unwrap();
    assert_eq!((error.kind, state.has_refresh_token), (ErrorKind::SignInRequired, true));
    assert!(error.text.contains("Run `oxpost sign-in ann@contoso.com`"), "{}", error.text);
    bench.endpoint.then(Reply::tokens("at-ben-2", None));
    let ben = Admitted::authenticated(ben);
    assert_eq!(text(bench.tokens.access_token(&ben).await.unwrap().secret()), "at-ben-2", "no other account notices");

    // A day of logins, one a minute, against an authority that says no.
    bench.endpoint.always(Reply::error("invalid_grant", 50_173));
    for _ in 0..24 * 60 {
        bench.clock.advance(MINUTE);
        match bench.access_token().await {
            Ok(token) => assert_eq!(token, "at-0"),
            Err(TokenError::SignInRequired(problem)) => assert_eq!(problem.code, Some(50_173)),
            Err(other) => panic!("{other}"),
        }
    }
    let requests = bench.endpoint.requests();
    assert!((20..=40).contains(&requests), "{requests} requests in a day");
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-0", "kept until there is another");
    let now = bench.clock.now();
    bench.store.save_signed_in(bench.mailbox(), &token_set("at-new", Some("rt-new")), None, now).await.unwrap();
    assert_eq!(bench.access_token().await.unwrap(), "at-new");
    assert_eq!(bench.endpoint.requests(), requests);
}

#[tokio::test]
async fn laptop_recovers_after_a_week_of_sleep_without_network() {
    let bench = Bench::signed_in().await;
    let (stop, refresher) = bench.keep_fresh();
    for _ in 0..3 {
        bench.endpoint.then(Reply::Close);
    }
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(7 * 24 * HOUR);
    for tries in 1..=3 {
        bench.endpoint.arrived(tries).await;
        bench.noted(Some(ErrorKind::Transient)).await;
        assert_eq!(bench.access_token().await.unwrap_err().kind(), ErrorKind::Transient, "its token is long over");
        // The pauses are one second, two, four.
        bench.clock.advance(Duration::from_secs(4));
    }
    bench.stored("ann@contoso.com", "at-1").await;
    bench.noted(None).await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!((bench.endpoint.requests(), bench.stored_refresh_token().await.as_deref()), (4, Some("rt-1")));
}

#[tokio::test]
async fn a_clock_that_jumps_back_ends_pauses_and_dates_nothing() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::Http(429, "Retry-After: 3600\r\n", String::new()));
    bench.access_token().await.unwrap_err();
    // The clock was a day ahead.
    bench.clock.set(start() - 24 * HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token().await.unwrap(), "at-1", "no login waits for a day");
    // A token that was obtained in a year to come is not believed to live until then.
    bench.clock.advance(365 * 24 * HOUR);
    bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    assert_eq!(bench.access_token().await.unwrap(), "at-2");
    bench.clock.set(start());
    assert_eq!(bench.access_token().await.unwrap(), "at-2", "it has just come");
    bench.clock.advance(MINUTE);
    bench.endpoint.then(Reply::json(503, "{}"));
    assert_eq!(bench.access_token().await.unwrap(), "at-2", "while nothing better is available");
    bench.clock.advance(2 * MINUTE);
    bench.endpoint.then(Reply::tokens("at-3", Some("rt-3")));
    assert_eq!(bench.access_token().await.unwrap(), "at-3");
    for _ in 0..10 {
        assert_eq!(bench.access_token().await.unwrap(), "at-3");
    }
    assert_eq!(bench.endpoint.requests(), 5);
}

/// One start with the clock at 2020, and the alert would say for years that nothing works.
#[tokio::test]
async fn failure_under_a_wrong_clock_does_not_start_a_later_one() {
    let bench = Bench::signed_in().await;
    bench.clock.set(start() - 6 * 365 * 24 * HOUR);
    bench.endpoint.then(Reply::Close);
    assert_eq!(bench.access_token().await.unwrap(), "at-0");
    let since = async || bench.store.token_state(bench.mailbox()).await.unwrap().last_error.map(|error| error.since);
    assert_eq!(since().await, Some(bench.clock.now()));
    for _ in 0..2 {
        // Set right, or ahead and set right.
        bench.clock.set(start() + HOUR - MINUTE);
        bench.endpoint.then(Reply::Close);
        assert_eq!(bench.access_token().await.unwrap(), "at-0");
        let right = since().await;
        assert_eq!(right, Some(start() + HOUR - MINUTE));
        bench.clock.advance(10 * Duration::from_secs(1));
        bench.endpoint.then(Reply::Close);
        assert_eq!(bench.access_token().await.unwrap(), "at-0");
        assert_eq!(since().await, right, "the same one goes on");
        bench.endpoint.then(Reply::Close);
        bench.clock.set(start() + 10 * 24 * HOUR);
        assert!(bench.access_token().await.is_err());
        assert_eq!(since().await, Some(bench.clock.now()));
    }
}
