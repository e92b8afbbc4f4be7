//! Polite to the authority: what one account has learned of it counts for all, after a restart and on every node; and one that
//! hangs takes nothing from another.

use super::{
    endpoint::{Endpoint, Reply},
    fixture::Place,
    *,
};
use crate::{
    Clock, ErrorKind, Readiness, TokenError,
    circuit::RequestFailure,
    request_gate::{Class, Refusal, RequestGate, RequestGateLimits, RequestOutcome, RequestPermit},
};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn limits() -> RefreshLimits {
    RefreshLimits { look_every: Duration::from_millis(5), per_second: 100_000, ..RefreshLimits::default() }
}

pub(super) fn throttled() -> Reply {
    Reply::Http(429, "Retry-After: 600\r\n", String::new())
}

pub(super) fn someone(number: usize) -> Admitted {
    Admitted::authenticated(account(&format!("m{number}@contoso.com"), Grant::SignIn))
}

impl Bench {
    /// Accounts that have signed in now, besides the one that there is.
    pub(super) async fn add_signed_in(&self, count: usize) {
        for number in 0..count {
            self.add_signed_in_by(&format!("m{number}@contoso.com"), "office").await;
        }
    }

    pub(super) async fn add_signed_in_by(&self, address: &str, application: &str) {
        let account = Account::new(mailbox(address), application, Grant::SignIn, start());
        self.store.add_account(&account).await.unwrap();
        let tokens = token_set("at-0", Some("rt-0"));
        self.store.save_signed_in(&account.mailbox, &tokens, None, self.clock.now()).await.unwrap();
    }

    pub(super) fn process_on(&self, store: Store) -> Tokens {
        let applications = Applications::from_iter([application(&self.endpoint)]);
        Tokens::new(store, applications, http_client(), self.shared_clock(), limits())
    }
}

pub(super) async fn ask(tokens: &Tokens, admitted: &Admitted) -> Result<String, TokenError> {
    tokens.access_token(admitted).await.map(|token| text(token.secret()))
}

/// The wait and the text that a login receives.
pub(super) fn paused(result: Result<String, TokenError>) -> (u64, String) {
    match result.unwrap_err() {
        TokenError::Paused { retry_after, problem } => (retry_after.as_secs(), problem.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn story_retry_after_counts_for_all_accounts_restarts_and_nodes() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    bench.add_signed_in(3).await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(throttled());
    assert_eq!(bench.access_token().await.unwrap_err().kind(), ErrorKind::Transient);
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    let (restarted, node) = (bench.process_on(bench.store.clone()), bench.process_on(place.open().await));
    for (number, tokens) in [&bench.tokens, &restarted, &node].into_iter().enumerate() {
        let (wait, text) = paused(ask(tokens, &someone(number)).await);
        assert!((590..=660).contains(&wait), "{wait}");
        assert!(text.contains("429") && text.contains("It is asked again at ") && text.contains(" UTC"), "{text}");
        let ready = tokens.readiness(someone(number).account()).await.unwrap();
        let Readiness::NotBefore { at, .. } = ready else { panic!("{ready:?}") };
        assert!(at > bench.clock.now() + 9 * MINUTE && at <= bench.clock.now() + 11 * MINUTE);
        let noted = bench.store.token_state(&someone(number).account().mailbox).await.unwrap().last_error;
        assert_eq!(noted, None, "it is no failure of the account's");
    }
    assert_eq!(bench.endpoint.requests(), 1);
    let mut recoveries = node.recoveries();
    bench.clock.advance(11 * MINUTE);
    assert_eq!(node.readiness(someone(2).account()).await.unwrap(), Readiness::Now);
    assert_eq!(ask(&node, &someone(2)).await.unwrap(), "at-1");
    assert!(recoveries.has_changed().unwrap());
    recoveries.mark_unchanged();
    // All others know it.
    for (number, tokens) in [&bench.tokens, &restarted].into_iter().enumerate() {
        assert_eq!(ask(tokens, &someone(number)).await.unwrap(), "at-1");
    }
    assert_eq!(bench.endpoint.requests(), 4);
}

#[tokio::test]
async fn story_one_probe_at_a_time_on_all_nodes() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    bench.add_signed_in(20).await;
    let node = bench.process_on(place.open().await);
    bench.clock.advance(HOUR);
    bench.endpoint.then(throttled());
    bench.access_token().await.unwrap_err();
    bench.clock.advance(11 * MINUTE);
    bench.endpoint.always(Reply::json(503, "{}"));
    bench.endpoint.hold().await;
    let probe = {
        let tokens = bench.tokens.clone();
        tokio::spawn(async move { ask(&tokens, &someone(0)).await })
    };
    bench.endpoint.arrived(2).await;
    for number in 1..20 {
        let tokens = if number % 2 == 0 { &bench.tokens } else { &node };
        let (wait, text) = paused(ask(tokens, &someone(number)).await);
        assert!(wait <= 5 && text.contains("asked again now"), "{wait} {text}");
    }
    assert_eq!(bench.endpoint.requests(), 2, "immediately, and without a request");
    bench.endpoint.release();
    assert_eq!(probe.await.unwrap().unwrap_err().kind(), ErrorKind::Transient);
    // It has failed: the pause begins again, a longer one.
    let (wait, _) = paused(ask(&node, &someone(5)).await);
    assert!((6..=8).contains(&wait), "{wait}");
    bench.clock.advance(Duration::from_secs(8));
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(ask(&node, &someone(5)).await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.requests(), 3);
}

#[tokio::test]
async fn story_failures_of_accounts_never_open_the_circuit() {
    let bench = Bench::signed_in().await;
    bench.add_signed_in(20).await;
    bench.clock.advance(HOUR);
    for reply in [Reply::error("invalid_grant", 50_173), Reply::error("invalid_client", 7_000_222)] {
        bench.endpoint.always(reply);
        for number in 0..20 {
            assert!(!matches!(ask(&bench.tokens, &someone(number)).await, Err(TokenError::Paused { .. }) | Ok(_)));
        }
        bench.clock.advance(2 * HOUR);
    }
    assert_eq!(bench.endpoint.requests(), 40);
}

#[tokio::test]
async fn story_living_tokens_are_used_while_the_circuit_is_open() {
    let bench = Bench::signed_in().await;
    bench.add_signed_in(2).await;
    bench.clock.advance(HOUR - 2 * MINUTE);
    bench.endpoint.always(throttled());
    for round in 0..3 {
        assert_eq!(bench.access_token().await.unwrap(), "at-0", "{round}");
        assert_eq!(ask(&bench.tokens, &someone(1)).await.unwrap(), "at-0", "{round}");
    }
    assert_eq!(bench.endpoint.requests(), 1);
    bench.clock.advance(2 * MINUTE);
    let begun = std::time::Instant::now();
    paused(ask(&bench.tokens, &someone(1)).await);
    assert!(begun.elapsed() < Duration::from_secs(4), "no login waits");
}

#[tokio::test]
async fn story_unanswered_account_opens_no_circuit_for_others() {
    let bench = Bench::signed_in().await;
    bench.add_signed_in(4).await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(ask(&bench.tokens, &someone(0)).await.unwrap(), "at-1");
    bench.endpoint.always(Reply::json(500, "{}"));
    for _ in 0..5 {
        bench.clock.advance(6 * MINUTE);
        assert_eq!(bench.access_token().await.unwrap_err().kind(), ErrorKind::Transient);
    }
    assert_eq!(bench.endpoint.requests(), 6);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(ask(&bench.tokens, &someone(1)).await.unwrap(), "at-1");
    // Those of others do, whichever accounts they have.
    for admitted in [&bench.admitted, &someone(2), &bench.admitted] {
        bench.clock.advance(6 * MINUTE);
        ask(&bench.tokens, admitted).await.unwrap_err();
    }
    paused(ask(&bench.tokens, &someone(3)).await);
    assert_eq!(bench.endpoint.requests(), 10);
}

/// What `oxpost status` shows: who is left alone, until when and why; and machines whose clock is wrong.
#[tokio::test]
async fn story_open_circuits_and_wrong_clocks_are_shown() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    bench.clock.advance(HOUR);
    assert_eq!(bench.store.open_circuits(bench.clock.now()).await.unwrap(), []);
    bench.endpoint.then(throttled());
    bench.access_token().await.unwrap_err();
    let elsewhere = place.open().await;
    let open = elsewhere.open_circuits(bench.clock.now()).await.unwrap();
    let [circuit] = &open[..] else { panic!("{open:?}") };
    let until = circuit.asked_again.unwrap();
    assert!(until > bench.clock.now() + 9 * MINUTE && until <= bench.clock.now() + 11 * MINUTE);
    assert!(circuit.reason.contains("429") && circuit.authority().ends_with("/token"), "{circuit:?}");
    let (office, mut other) = (application(&bench.endpoint), application(&bench.endpoint));
    other.client_id = "another".into();
    for account in [None, Some(bench.admitted.account())] {
        assert!(circuit.concerns(&office, account) && !circuit.concerns(&other, account));
    }
    bench.clock.advance(12 * MINUTE);
    let open = bench.store.open_circuits(bench.clock.now()).await.unwrap();
    assert_eq!((open.len(), open[0].asked_again), (1, None), "with the next request");
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.access_token().await.unwrap();
    assert_eq!(bench.store.open_circuits(bench.clock.now()).await.unwrap(), []);

    let skew = |peer: &str, ahead| crate::ClockSkew { peer: peer.into(), by: 6 * MINUTE, ahead };
    let wrong = [skew("login.example", true), skew(crate::ClockSkew::DATABASE, false)];
    bench.store.note_clock_skews("mx1", &wrong).await.unwrap();
    bench.store.note_clock_skews("mx2", &wrong[..1]).await.unwrap();
    bench.store.note_clock_skews("mx1", &wrong[1..]).await.unwrap();
    let shown = elsewhere.clock_skews().await.unwrap();
    assert_eq!(shown, [("mx1".to_owned(), wrong[1].clone()), ("mx2".to_owned(), wrong[0].clone())]);
    bench.store.note_clock_skews("mx1", &[]).await.unwrap();
    bench.store.note_clock_skews("mx2", &[]).await.unwrap();
    assert_eq!(elsewhere.clock_skews().await.unwrap(), []);
}

/// With `common` the endpoint is the same for all tenants: one whose accounts are never answered is no outage of another.
#[tokio::test]
async fn story_unanswered_tenant_opens_no_circuit_for_other_tenants() {
    let mut bench = Bench::signed_in().await;
    for segment in ["common", "organizations"] {
        let mut common = application(&bench.endpoint);
        common.token_url.set_path(&format!("/{segment}/oauth2/v2.0/token"));
        bench.tokens = Tokens::new(
            bench.store.clone(),
            Applications::from_iter([common]),
            http_client(),
            bench.shared_clock(),
            limits(),
        );
        let broken = ["x", "y", "z"].map(|name| format!("{name}@{segment}.example"));
        for address in &broken {
            bench.add_signed_in_by(address, "office").await;
        }
        let broken = broken.map(|address| Admitted::authenticated(account(&address, Grant::SignIn)));
        bench.clock.advance(2 * HOUR);
        bench.endpoint.always(Reply::json(500, "{}"));
        for _ in 0..2 {
            for admitted in &broken[..2] {
                bench.clock.advance(6 * MINUTE);
                ask(&bench.tokens, admitted).await.unwrap_err();
            }
        }
        let before = bench.endpoint.requests();
        paused(ask(&bench.tokens, &broken[2]).await);
        assert_eq!(bench.endpoint.requests(), before, "its own circuit is open");
        bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
        assert_eq!(bench.access_token().await.unwrap(), "at-1");
        assert_eq!(bench.endpoint.requests(), before + 1);
    }
}

/// The tenants behind `common` have circuits of their own, and one token endpoint: it is asked no more for many than for one.
#[tokio::test]
async fn story_tenants_of_common_share_its_request_slots() {
    let mut bench = Bench::signed_in().await;
    let mut common = application(&bench.endpoint);
    common.token_url.set_path("/common/oauth2/v2.0/token");
    let applications = Applications::from_iter([common]);
    bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits());
    let addresses: Vec<String> = (0..60).map(|number| format!("m@tenant{number}.example")).collect();
    for address in &addresses {
        bench.add_signed_in_by(address, "office").await;
    }
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(2 * HOUR);
    bench.endpoint.hold().await;
    let (stop, refresher) = bench.keep_fresh();
    bench.endpoint.arrived(8).await;
    // Time for more, if there are any.
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.endpoint.release();
    for address in &addresses {
        bench.stored(address, "at-1").await;
    }
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(bench.endpoint.most_in_flight(), 8);
}

/// While the refreshes of one tenant are in flight, the probe of another one at the same endpoint does not wait for all of them.
#[tokio::test]
async fn story_probe_of_a_tenant_does_not_wait_for_others_of_common() {
    let mut bench = Bench::signed_in().await;
    let mut common = application(&bench.endpoint);
    common.token_url.set_path("/common/oauth2/v2.0/token");
    let applications = Applications::from_iter([common]);
    bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits());
    for address in ["a@broken.example", "b@broken.example", "c@broken.example"] {
        bench.add_signed_in_by(address, "office").await;
    }
    bench.clock.advance(2 * HOUR);
    bench.endpoint.always(Reply::json(500, "{}"));
    let broken = ["a@broken.example", "b@broken.example"].map(|address| account(address, Grant::SignIn));
    for account in broken.iter().cycle().take(4) {
        bench.clock.advance(6 * MINUTE);
        ask(&bench.tokens, &Admitted::authenticated(account.clone())).await.unwrap_err();
    }
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    for number in 0..6 {
        bench.add_signed_in_by(&format!("m{number}@healthy.example"), "office").await;
    }
    bench.clock.advance(2 * HOUR);
    let before = bench.endpoint.requests();
    bench.endpoint.hold().await;
    let (stop, refresher) = bench.keep_fresh();
    // The six, the one of the bench itself, and the probe.
    bench.endpoint.arrived(before + 8).await;
    bench.endpoint.release();
    bench.stored("c@broken.example", "at-1").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(bench.endpoint.most_in_flight(), 8, "the probe was in flight together with the others");
}

/// An account that failed with the authority is asked for again as soon as the authority has answered for another one.
#[tokio::test]
async fn story_success_of_one_account_ends_the_pause_of_another() {
    let bench = Bench::signed_in().await;
    bench.add_signed_in(1).await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::Close);
    bench.endpoint.then(Reply::Close);
    assert!(bench.access_token().await.is_err());
    bench.clock.advance(Duration::from_secs(1));
    assert!(bench.access_token().await.is_err());
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(Duration::from_millis(10));
    assert!(bench.access_token().await.is_err(), "it is in its pause");
    assert_eq!(bench.endpoint.requests(), 2);
    assert_eq!(ask(&bench.tokens, &someone(0)).await.unwrap(), "at-1");
    bench.clock.advance(Duration::from_millis(10));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.requests(), 4);
}

#[tokio::test]
async fn story_logins_start_no_more_requests_than_the_share_allows() {
    let mut bench = Bench::signed_in().await;
    bench.add_signed_in(100).await;
    bench.tokens = bench.process_on(bench.store.clone());
    bench.clock.advance(HOUR);
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let logins: tokio::task::JoinSet<_> = (0..100)
        .map(|number| {
            let tokens = bench.tokens.clone();
            async move { ask(&tokens, &someone(number)).await }
        })
        .collect();
    bench.endpoint.arrived(16).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.endpoint.requests(), 16);
    bench.endpoint.release();
    for token in logins.join_all().await {
        assert_eq!(token.unwrap(), "at-1");
    }
    assert_eq!((bench.endpoint.requests(), bench.endpoint.most_in_flight()), (100, 16));
}

#[tokio::test]
async fn story_hung_authority_takes_nothing_from_another() {
    const HUNG: usize = 60;
    const WELL: usize = 50;
    let mut bench = Bench::signed_in().await;
    let hung = Endpoint::start().await;
    hung.always(Reply::Silent);
    for number in 0..HUNG {
        bench.add_signed_in_by(&format!("h{number}@contoso.com"), "hung").await;
    }
    bench.add_signed_in(WELL).await;
    let other = Application { name: "hung".into(), ..application(&hung) };
    let applications = Applications::from_iter([application(&bench.endpoint), other]);
    bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits());
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    bench.clock.advance(HOUR.mul_f64(0.8));
    let (stop, refresher) = bench.keep_fresh();
    hung.arrived(8).await;
    for number in 0..WELL {
        bench.stored(&format!("m{number}@contoso.com"), "at-1").await;
    }
    // Logins of the hung one are no way around.
    let logins: Vec<_> = (0..HUNG)
        .map(|number| {
            let tokens = bench.tokens.clone();
            let admitted = Admitted::authenticated(Account::new(
                mailbox(&format!("h{number}@contoso.com")),
                "hung",
                Grant::SignIn,
                start(),
            ));
            tokio::spawn(async move { tokens.refused(&admitted, &tokens.access_token(&admitted).await.unwrap()).await })
        })
        .collect();
    hung.arrived(16).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hung.requests(), 16, "its share");
    bench.clock.advance(HOUR);
    bench.endpoint.always(Reply::tokens("at-2", Some("rt-2")));
    for number in 0..WELL {
        bench.stored(&format!("m{number}@contoso.com"), "at-2").await;
    }
    println!("{HUNG} accounts of a hung authority: {} requests; {WELL} of another: all fresh, twice", hung.requests());
    assert_eq!(hung.requests(), 16);
    logins.iter().for_each(tokio::task::JoinHandle::abort);
    refresher.abort();
    drop(stop);
}

/// Ten thousand would be as many in each second.
#[tokio::test(start_paused = true)]
async fn wave_after_an_outage_is_paced() {
    stand_still();
    let mut bench = Bench::signed_in().await;
    bench.add_signed_in(200).await;
    let limits = RefreshLimits { look_every: Duration::from_secs(1), ..RefreshLimits::default() };
    let applications = Applications::from_iter([application(&bench.endpoint)]);
    bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits);
    bench.clock.advance(HOUR.mul_f64(0.8));
    bench.endpoint.then(throttled());
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    let (_stop, refresher) = bench.keep_fresh();
    until("the circuit is open", async || {
        bench.tokens.gate().refusal(&application(&bench.endpoint), None).await.is_some()
    })
    .await;
    let before = bench.endpoint.requests();
    bench.clock.advance(11 * MINUTE);
    // On a slow machine they come later, and never more of them in a second.
    let mut seconds = Vec::new();
    until("fifty requests have begun", async || {
        let begun = bench.endpoint.requests();
        for _ in 0..4 {
            tokio::time::advance(Duration::from_millis(250)).await;
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(15))).await.unwrap();
        }
        seconds.push(bench.endpoint.requests() - begun);
        seconds.iter().sum::<usize>() > 50
    })
    .await;
    refresher.abort();
    println!("after an outage, requests in each second: {seconds:?}, {before} before it");
    assert!(seconds.iter().take(5).sum::<usize>() <= 15, "{seconds:?}");
    assert!(seconds.iter().all(|count| *count <= 20), "{seconds:?}");
}

impl Bench {
    /// The gate of a node.
    pub(super) fn gate(&self, node: &str, store: Store, per_second: u32) -> Arc<RequestGate> {
        let limits =
            RequestGateLimits { per_authority: 16, in_all: 64, per_second, login_patience: Duration::from_secs(10) };
        Arc::new(RequestGate::new(node.into(), store, self.shared_clock(), limits))
    }

    pub(super) async fn enter(&self, gate: &Arc<RequestGate>, class: Class) -> Result<RequestPermit, Refusal> {
        gate.enter(&application(&self.endpoint), None, class).await
    }

    pub(super) async fn wait_of(&self, gate: &Arc<RequestGate>) -> Option<Duration> {
        gate.refusal(&application(&self.endpoint), None).await.map(|refusal| refusal.wait)
    }
}

pub(super) fn told_to_wait(minutes: u32) -> RequestOutcome {
    RequestOutcome::Failed(RequestFailure {
        throttled: true,
        retry_after: Some(minutes * MINUTE),
        reason: "429".into(),
    })
}

pub(super) fn silence() -> RequestOutcome {
    RequestOutcome::Failed(RequestFailure { throttled: false, retry_after: None, reason: "silent".into() })
}
