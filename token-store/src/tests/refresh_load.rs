//! A thousand accounts that were all signed in within the same minute.

use super::{endpoint::Reply, *};
use crate::Clock;

const ACCOUNTS: usize = 1000;
const STEP: Duration = Duration::from_secs(10);

async fn crowd() -> Bench {
    let mut bench = Bench::new(fresh_store().await, Grant::SignIn).await;
    assert!(bench.store.remove_account(bench.mailbox()).await.unwrap().is_some());
    for number in 0..ACCOUNTS {
        let account = account(&format!("m{number}@contoso.com"), Grant::SignIn);
        bench.store.add_account(&account).await.unwrap();
        bench.store.save_signed_in(&account.mailbox, &token_set("at-0", Some("rt-0")), None, start()).await.unwrap();
    }
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    // A look reads a thousand rows; looking all the time would be most of the work here.
    let limits =
        RefreshLimits { look_every: Duration::from_millis(30), per_second: 100_000, ..RefreshLimits::default() };
    let applications = Applications::from_iter([application(&bench.endpoint)]);
    bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits);
    bench
}

impl Bench {
    /// How many of the accounts are due, and how long from now the first and the last of the others are.
    async fn due(&self) -> (usize, Duration, Duration) {
        let now = self.clock.now();
        let plan = self.store.plan().await.unwrap();
        assert_eq!(plan.len(), ACCOUNTS);
        let ahead: Vec<_> = plan
            .iter()
            .filter_map(|planned| planned.next_refresh.unwrap().duration_since(now).ok())
            .filter(|it| !it.is_zero())
            .collect();
        let (first, last) = (ahead.iter().min().copied(), ahead.iter().max().copied());
        (ACCOUNTS - ahead.len(), first.unwrap_or_default(), last.unwrap_or_default())
    }

    /// Waits until no account is due.
    async fn all_refreshed(&self) {
        until("no account is due", async || self.due().await.0 == 0).await;
    }
}

#[tokio::test]
async fn thousand_accounts_expiring_together_are_spread_out() {
    let bench = crowd().await;
    let (due, first, last) = bench.due().await;
    assert_eq!(due, 0);
    assert!(first >= HOUR.mul_f64(0.65) && last <= HOUR.mul_f64(0.75), "{first:?} to {last:?}");
    assert!(last - first > Duration::from_secs(300), "they drift apart over six minutes: {first:?} to {last:?}");

    let (stop, refresher) = bench.keep_fresh();
    bench.clock.advance(HOUR.mul_f64(0.65));
    let (mut most, mut before) = (0, 0);
    for _ in 0..36 {
        bench.clock.advance(STEP);
        bench.all_refreshed().await;
        let now = bench.endpoint.requests();
        most = most.max(now - before);
        before = now;
    }
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(bench.endpoint.requests(), ACCOUNTS, "each once");
    // On the average 28 in ten seconds; a stampede would be a thousand.
    assert!(most < 70, "{most} within ten seconds");
    let (most_concurrent, seconds) = (bench.endpoint.most_in_flight(), (last - first).as_secs());
    assert!(most_concurrent <= 8, "{most_concurrent} concurrently");
    println!(
        "{ACCOUNTS} accounts: {} requests over {seconds} s, at most {most} within ten seconds and {most_concurrent} concurrently",
        bench.endpoint.requests()
    );
}

/// A week of sleep, or an outage: now they are due at the same moment.
#[tokio::test]
async fn thousand_overdue_accounts_are_refreshed_eight_at_a_time() {
    let bench = crowd().await;
    bench.clock.advance(7 * 24 * HOUR);
    assert_eq!(bench.due().await.0, ACCOUNTS);
    bench.endpoint.hold().await;
    let (stop, refresher) = bench.keep_fresh();
    bench.endpoint.arrived(8).await;
    // Time for several looks, in which a ninth would come.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.endpoint.requests(), 8);
    bench.endpoint.release();
    bench.all_refreshed().await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!((bench.endpoint.requests(), bench.endpoint.most_in_flight()), (ACCOUNTS, 8));
    let (_, first, last) = bench.due().await;
    assert!(last - first > Duration::from_secs(300), "{first:?} to {last:?}");
}

/// While the authority throttles, those that were in flight have asked, and nothing else: no other account, no login, no
/// restart and no other node. Then one asks, and when it was answered all do.
#[tokio::test]
async fn thousand_throttled_accounts_obey_the_pause() {
    let bench = crowd().await;
    bench.endpoint.always(Reply::Http(429, "Retry-After: 600\r\n", String::new()));
    bench.clock.advance(HOUR.mul_f64(0.75));
    let (stop, refresher) = bench.keep_fresh();
    until("the circuit is open", async || bench.is_paused().await).await;
    // Time for some looks.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = bench.endpoint.requests();
    assert!(asked <= 8, "{asked}");
    // Tokens are over now: every login would ask.
    bench.clock.advance(HOUR.mul_f64(0.15));
    bench.clock.advance(Duration::from_secs(30));
    stop.cancel();
    refresher.await.unwrap();
    let (restarted, other_node) = (bench.another_process(), bench.another_process());
    for tokens in [&bench.tokens, &restarted, &other_node] {
        for number in 0..50 {
            let admitted = Admitted::authenticated(account(&format!("m{number}@contoso.com"), Grant::SignIn));
            let _ = tokens.access_token(&admitted).await;
        }
    }
    assert_eq!(bench.endpoint.requests(), asked, "148 a second were sent before");
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(Duration::from_secs(660));
    let (stop, refresher) = bench.keep_fresh_with(restarted);
    bench.all_refreshed().await;
    stop.cancel();
    refresher.await.unwrap();
    println!("{ACCOUNTS} accounts, 429 with 600 s: {asked} requests, then {}", bench.endpoint.requests() - asked);
    assert_eq!(bench.endpoint.requests(), asked + ACCOUNTS);
    assert!(bench.endpoint.most_in_flight() <= 8);
}

impl Bench {
    async fn is_paused(&self) -> bool {
        self.tokens.gate().refusal(&application(&self.endpoint), None).await.is_some()
    }

    fn another_process(&self) -> Tokens {
        let limits =
            RefreshLimits { look_every: Duration::from_millis(30), per_second: 100_000, ..RefreshLimits::default() };
        let applications = Applications::from_iter([application(&self.endpoint)]);
        Tokens::new(self.store.clone(), applications, http_client(), self.shared_clock(), limits)
    }
}
