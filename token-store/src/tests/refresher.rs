//! The background refresher, driven by a clock that only the test moves.

use tokio_util::sync::CancellationToken;

use super::{endpoint::Reply, *};

impl Bench {
    pub(super) fn keep_fresh(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        self.keep_fresh_with(self.tokens.clone())
    }

    pub(super) fn keep_fresh_with(&self, tokens: Tokens) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let stop = CancellationToken::new();
        (stop.clone(), tokio::spawn(tokens.keep_fresh(stop)))
    }

    /// Waits until the stored access token is this one.
    pub(super) async fn stored(&self, address: &str, access: &str) {
        until("the token is stored", async || {
            let stored = self.store.tokens(&mailbox(address)).await.unwrap().access;
            stored.is_some_and(|token| text(&token.secret) == access)
        })
        .await;
    }
}

#[tokio::test]
async fn an_idle_account_is_refreshed_when_it_is_due_and_not_before() {
    let bench = Bench::signed_in().await;
    let (stop, refresher) = bench.keep_fresh();
    bench.clock.advance(HOUR.mul_f64(0.64));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.endpoint.requests(), 0, "65 % are the earliest");
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(HOUR.mul_f64(0.12));
    bench.stored("ann@contoso.com", "at-1").await;
    // A week of sleep.
    bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    bench.clock.advance(7 * 24 * HOUR);
    bench.stored("ann@contoso.com", "at-2").await;
    // The clock is set back by a day: nothing that is stored can be dated.
    bench.endpoint.then(Reply::tokens("at-3", Some("rt-3")));
    bench.clock.set(start());
    bench.clock.advance(Duration::from_secs(60));
    bench.stored("ann@contoso.com", "at-3").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(bench.endpoint.requests(), 3);
}

/// A refresh that is in flight while the clock is set back plans the next one by the old time, after all accounts were read.
#[tokio::test]
async fn refresh_in_flight_at_clock_set_back_is_replanned() {
    let bench = Bench::signed_in().await;
    let (stop, refresher) = bench.keep_fresh();
    bench.endpoint.hold().await;
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(7 * 24 * HOUR);
    bench.endpoint.arrived(1).await;
    bench.clock.set(start());
    // Several looks.
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.endpoint.release();
    bench.stored("ann@contoso.com", "at-1").await;
    bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    bench.clock.advance(Duration::from_secs(60));
    bench.stored("ann@contoso.com", "at-2").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(bench.endpoint.requests(), 2);
}

#[tokio::test]
async fn accounts_come_and_go_through_the_store() {
    let bench = Bench::signed_in().await;
    bench.endpoint.always(Reply::tokens("at-1", None));
    let (stop, refresher) = bench.keep_fresh();
    bench.store.add_account(&account("new@contoso.com", Grant::ClientCredentials)).await.unwrap();
    bench.stored("new@contoso.com", "at-1").await;
    bench.store.remove_account(&mailbox("new@contoso.com")).await.unwrap();
    bench.store.add_account(&account("later@contoso.com", Grant::ClientCredentials)).await.unwrap();
    bench.stored("later@contoso.com", "at-1").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(bench.endpoint.requests(), 1, "it is the application's token");
}

#[tokio::test]
async fn one_account_that_fails_does_not_keep_the_others_waiting() {
    let bench = Bench::new(fresh_store().await, Grant::SignIn).await;
    bench.endpoint.always(Reply::tokens("at-1", None));
    bench.endpoint.then(Reply::Silent);
    bench.add_signed_in(1).await;
    bench.clock.advance(HOUR);
    let (stop, refresher) = bench.keep_fresh();
    bench.endpoint.arrived(1).await;
    bench.store.add_account(&account("b@contoso.com", Grant::SignIn)).await.unwrap();
    let over = token_set("at-0", Some("rt-0"));
    bench.store.save_signed_in(&mailbox("b@contoso.com"), &over, None, start()).await.unwrap();
    bench.stored("b@contoso.com", "at-1").await;
    refresher.abort();
    drop(stop);
}

#[tokio::test]
async fn refresher_has_no_more_on_their_way_than_its_part() {
    for part in [RefreshLimits::default().background_per_authority, 3] {
        let mut bench = Bench::signed_in().await;
        let look_every = Duration::from_millis(5);
        let limits = RefreshLimits { background_per_authority: part, look_every, ..RefreshLimits::default() };
        let applications = Applications::from_iter([application(&bench.endpoint)]);
        bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits);
        bench.endpoint.always(Reply::tokens("at-1", None));
        bench.add_signed_in(20).await;
        bench.clock.advance(HOUR);
        bench.endpoint.hold().await;
        let (stop, refresher) = bench.keep_fresh();
        bench.endpoint.arrived(part).await;
        bench.endpoint.release();
        for number in 0..20 {
            bench.stored(&format!("m{number}@contoso.com"), "at-1").await;
        }
        stop.cancel();
        refresher.await.unwrap();
        assert_eq!(bench.endpoint.most_in_flight(), part);
    }
}

#[tokio::test]
async fn the_end_waits_for_what_is_in_flight() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let (stop, refresher) = bench.keep_fresh();
    bench.endpoint.arrived(1).await;
    stop.cancel();
    tokio::task::yield_now().await;
    assert!(!refresher.is_finished());
    bench.endpoint.release();
    refresher.await.unwrap();
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-1");
}
