//! The gate of one process: who waits there and for how long, and what it asks of the store.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use super::{
    circuits::{silence, told_to_wait},
    endpoint::Reply,
    *,
};
use crate::{
    TokenError,
    database::{Database, DatabaseError, Outcome, Statement},
    request_gate::{Class, Refusal, RequestGate, RequestGateLimits, RequestOutcome},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// An engine that counts what it is asked about circuits, and whose disk can be full.
struct Counting {
    inner: Arc<dyn Database>,
    full: AtomicBool,
    reads: AtomicUsize,
    writes: AtomicUsize,
}

impl Counting {
    /// How many reads and writes of circuits there were since this was last asked, those included that found a full disk.
    fn take(&self) -> (usize, usize) {
        (self.reads.swap(0, Ordering::SeqCst), self.writes.swap(0, Ordering::SeqCst))
    }

    fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }
}

#[async_trait]
impl Database for Counting {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        let is_read = statements.iter().all(|statement| statement.sql.starts_with("SELECT"));
        if statements.iter().any(|statement| statement.sql.contains("authority_circuit")) {
            let count = if is_read { &self.reads } else { &self.writes };
            count.fetch_add(1, Ordering::SeqCst);
        }
        if !is_read && self.full.load(Ordering::SeqCst) {
            return Err(DatabaseError::Failed("database or disk is full".into()));
        }
        self.inner.transaction(statements).await
    }
}

async fn counting_bench() -> (Bench, Arc<Counting>) {
    let counting = Arc::new(Counting {
        inner: fresh_engine().await,
        full: AtomicBool::new(false),
        reads: AtomicUsize::new(0),
        writes: AtomicUsize::new(0),
    });
    let bench = Bench::signed_in_to(Store::with(counting.clone(), vault()).await.unwrap()).await;
    counting.take();
    (bench, counting)
}

impl Bench {
    fn gate_with(&self, limits: RequestGateLimits) -> Arc<RequestGate> {
        Arc::new(RequestGate::new("a".into(), self.store.clone(), self.shared_clock(), limits))
    }

    /// Opens the circuit, and closes it again by a probe.
    async fn play_outage(&self, gate: &Arc<RequestGate>) {
        self.enter(gate, Class::Login).await.unwrap().complete(told_to_wait(10)).await;
        self.clock.advance(11 * MINUTE);
        self.enter(gate, Class::Login).await.unwrap().complete(RequestOutcome::Answered).await;
    }

    /// How many of ten logins without patience may ask immediately, two seconds after another one.
    async fn begin_immediately(&self, gate: &Arc<RequestGate>) -> usize {
        let _ = self.enter(gate, Class::Login).await;
        tokio::time::advance(2 * SECOND).await;
        let mut begun = 0;
        for _ in 0..10 {
            begun += usize::from(self.enter(gate, Class::Login).await.is_ok());
        }
        begun
    }
}

/// Those without patience.
const AT_ONCE: RequestGateLimits =
    RequestGateLimits { per_authority: 16, in_all: 64, per_second: 20, login_patience: Duration::ZERO };

/// Lets everything go as far as it can without the clock.
async fn settle() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20))).await.unwrap();
}

/// With one place that is taken, and with one request a second: both are waits that nothing else would end.
#[tokio::test(start_paused = true)]
async fn requests_that_wait_at_the_gate_end_with_the_process() {
    stand_still();
    let bench = Bench::signed_in().await;
    let patient = RequestGateLimits { login_patience: MINUTE, ..AT_ONCE };
    for limits in [RequestGateLimits { per_authority: 1, ..patient }, RequestGateLimits { per_second: 1, ..patient }] {
        let gate = bench.gate_with(limits);
        let held = bench.enter(&gate, Class::Login).await.unwrap();
        let waiting: Vec<_> = (0..8)
            .map(|number| {
                let (gate, application) = (gate.clone(), application(&bench.endpoint));
                let class = if number % 2 == 0 { Class::Login } else { Class::Background };
                tokio::spawn(async move { gate.enter(&application, None, class).await.map(drop) })
            })
            .collect();
        settle().await;
        assert!(waiting.iter().any(|waiting| !waiting.is_finished()), "{limits:?}");
        gate.end();
        until("no request waits", async || waiting.iter().all(tokio::task::JoinHandle::is_finished)).await;
        let mut ended = 0;
        for waiting in waiting {
            if let Err(Refusal { problem, .. }) = waiting.await.unwrap() {
                assert!(problem.to_string().contains("shutting down"), "{problem}");
                ended += 1;
            }
        }
        assert!(ended > 0);
        drop(held);
    }
}

#[tokio::test]
async fn probe_that_asked_nothing_is_left_to_the_next_request() {
    let bench = Bench::signed_in().await;
    let (here, there) = (bench.gate("a", bench.store.clone(), 1000), bench.gate("b", bench.store.clone(), 1000));
    bench.enter(&here, Class::Login).await.unwrap().complete(told_to_wait(10)).await;
    bench.clock.advance(11 * MINUTE);
    let probe = bench.enter(&here, Class::Login).await.unwrap();
    assert!(bench.enter(&there, Class::Login).await.is_err());
    probe.complete(RequestOutcome::NotAsked).await;
    bench.enter(&there, Class::Login).await.unwrap().complete(RequestOutcome::Answered).await;
    assert_eq!(bench.wait_of(&here).await, None);
}

#[tokio::test]
async fn answer_costs_no_look_at_the_store_while_nothing_is_wrong() {
    let (bench, counting) = counting_bench().await;
    let gate = bench.gate("a", bench.store.clone(), 1000);
    let answered = async || {
        let pass = bench.enter(&gate, Class::Login).await.unwrap();
        counting.take();
        pass.complete(RequestOutcome::Answered).await;
        counting.take()
    };
    assert_eq!(answered().await, (0, 0));
    bench.enter(&gate, Class::Login).await.unwrap().complete(silence()).await;
    bench.clock.advance(SECOND);
    assert_eq!(answered().await, (1, 1), "the failure is over, also for other nodes");
    bench.clock.advance(SECOND);
    assert_eq!(answered().await, (0, 0));
}

/// A store that takes nothing is not asked to with every login.
#[tokio::test(start_paused = true)]
async fn unwritten_pause_is_tried_again_every_five_seconds() {
    stand_still();
    let (bench, counting) = counting_bench().await;
    let gate = bench.gate("a", bench.store.clone(), 1000);
    let pass = bench.enter(&gate, Class::Login).await.unwrap();
    counting.fill(true);
    pass.complete(told_to_wait(10)).await;
    counting.take();
    for _ in 0..3 {
        for _ in 0..20 {
            assert!(bench.wait_of(&gate).await >= Some(9 * MINUTE));
        }
        assert_eq!(counting.take(), (20, 1));
        tokio::time::advance(5 * SECOND).await;
    }
    counting.fill(false);
    assert!(bench.wait_of(&gate).await.is_some());
    assert_eq!(counting.take(), (1, 1));
    tokio::time::advance(5 * SECOND).await;
    assert!(bench.wait_of(&gate).await.is_some());
    assert_eq!(counting.take(), (1, 0), "it is written");
}

/// Otherwise an outage would last for as long as the disk is full.
#[tokio::test]
async fn store_that_takes_nothing_leaves_one_probe_at_a_time() {
    let (bench, counting) = counting_bench().await;
    let gate = bench.gate("a", bench.store.clone(), 1000);
    let pass = bench.enter(&gate, Class::Login).await.unwrap();
    counting.fill(true);
    pass.complete(told_to_wait(10)).await;
    assert!(bench.enter(&gate, Class::Login).await.is_err());
    bench.clock.advance(11 * MINUTE);
    let entering: tokio::task::JoinSet<_> = (0..16)
        .map(|_| {
            let (gate, application) = (gate.clone(), application(&bench.endpoint));
            async move { gate.enter(&application, None, Class::Login).await }
        })
        .collect();
    let mut probes: Vec<_> = entering.join_all().await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(probes.len(), 1);
    probes.remove(0).complete(RequestOutcome::Answered).await;
    bench.enter(&gate, Class::Login).await.unwrap();
}

/// The runtime's clock is paused, so that how many may ask immediately is known for certain.
#[tokio::test(start_paused = true)]
async fn requests_begin_one_at_a_time_right_after_an_outage_only() {
    stand_still();
    let bench = Bench::signed_in().await;
    let gate = bench.gate_with(AT_ONCE);
    assert_eq!(bench.begin_immediately(&gate).await, 10);
    bench.play_outage(&gate).await;
    assert_eq!(bench.begin_immediately(&gate).await, 1);
    bench.clock.advance(59 * SECOND);
    assert_eq!(bench.begin_immediately(&bench.gate_with(AT_ONCE)).await, 1, "a process that began since");
    bench.clock.advance(SECOND);
    assert_eq!(bench.begin_immediately(&bench.gate_with(AT_ONCE)).await, 10, "it was over before this one began");
    tokio::time::advance(MINUTE).await;
    assert_eq!(bench.begin_immediately(&gate).await, 10);
}

/// A login has ten seconds, the refresher a minute.
#[tokio::test(start_paused = true)]
async fn refresh_in_the_background_waits_longer_than_a_login() {
    stand_still();
    for grant in [Grant::SignIn, Grant::ClientCredentials] {
        let mut bench = Bench::new(fresh_store().await, grant).await;
        if grant == Grant::SignIn {
            bench.store.save_signed_in(bench.mailbox(), &token_set("at-0", Some("rt-0")), None, start()).await.unwrap();
        }
        bench.clock.advance(HOUR);
        let limits = RefreshLimits { per_authority: 1, ..RefreshLimits::default() };
        let applications = Applications::from_iter([application(&bench.endpoint)]);
        bench.tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits);
        bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
        let held =
            bench.tokens.gate_for_tests().enter(&application(&bench.endpoint), None, Class::Login).await.unwrap();

        let (tokens, admitted) = (bench.tokens.clone(), bench.admitted.clone());
        let login = tokio::spawn(async move { tokens.access_token(&admitted).await });
        let mut passed = 0;
        until("the login has given up", async || {
            tokio::time::advance(SECOND).await;
            passed += 1;
            settle().await;
            login.is_finished()
        })
        .await;
        assert!(passed >= 10, "{passed}");
        assert!(matches!(login.await.unwrap(), Err(TokenError::Paused { .. })), "{grant:?}");

        let version = bench.store.tokens(bench.mailbox()).await.unwrap().version;
        let (tokens, account) = (bench.tokens.clone(), bench.admitted.account().clone());
        let refresh = tokio::spawn(async move { tokens.refresh_due(&account, version).await });
        settle().await;
        tokio::time::advance(30 * SECOND).await;
        settle().await;
        assert_eq!(bench.endpoint.requests(), 0);
        drop(held);
        until("the refresh is over", async || refresh.is_finished()).await;
        assert_eq!(bench.endpoint.requests(), 1, "{grant:?}");
        bench.stored("ann@contoso.com", "at-1").await;
    }
}

/// What another account of the application has received is as good, and of an account that cannot be served nothing is written.
#[tokio::test]
async fn open_circuit_keeps_no_app_only_token_from_being_shared() {
    let bench = Bench::cold().await;
    bench.endpoint.then(Reply::tokens("at-1", None));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    let other = Admitted::authenticated(account("other@contoso.com", Grant::ClientCredentials));
    bench.store.add_account(other.account()).await.unwrap();
    let gate = bench.tokens.gate_for_tests();
    gate.enter(&application(&bench.endpoint), None, Class::Login).await.unwrap().complete(told_to_wait(10)).await;
    let token = bench.tokens.access_token(&other).await.unwrap();
    assert_eq!((text(token.secret()).as_str(), bench.endpoint.requests()), ("at-1", 1));
}

#[tokio::test]
async fn login_refused_by_an_open_circuit_writes_nothing() {
    let engine = fresh_engine().await;
    let disk = Arc::new(super::failures::FullDisk::new(engine));
    let bench = Bench::signed_in_to(Store::with(disk.clone(), vault()).await.unwrap()).await;
    bench.clock.advance(HOUR);
    let gate = bench.tokens.gate_for_tests();
    gate.enter(&application(&bench.endpoint), None, Class::Login).await.unwrap().complete(told_to_wait(10)).await;
    // Its lease could not be taken.
    disk.1.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(bench.access_token().await, Err(TokenError::Paused { .. })));
        assert!(bench.tokens.is_idle(bench.mailbox()));
    }
    assert_eq!(bench.store.unwritten(), None);
}
