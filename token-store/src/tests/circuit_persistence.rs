//! Circuits and tokens when the store accepts no writes, a process was killed, or the service shuts down.

use super::{
    circuits::{ask, silence, someone, throttled, told_to_wait},
    endpoint::Reply,
    *,
};
use crate::request_gate::{Class, RequestGate, RequestGateLimits, RequestOutcome};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn waiting_requests_are_not_sent_once_the_circuit_is_open() {
    stand_still();
    let bench = Bench::signed_in().await;
    let gate = bench.gate("a", bench.store.clone(), 1);
    let first = bench.enter(&gate, Class::Login).await.unwrap();
    let waiting: tokio::task::JoinSet<_> = (0..4)
        .map(|_| {
            let (gate, application) = (gate.clone(), application(&bench.endpoint));
            async move { gate.enter(&application, None, Class::Login).await.map(drop) }
        })
        .collect();
    // A request that looks at the circuit only later is refused too.
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(100))).await.unwrap();
    first.complete(told_to_wait(10)).await;
    tokio::time::advance(Duration::from_secs(11)).await;
    for entered in waiting.join_all().await {
        assert!(entered.unwrap_err().wait >= 10 * MINUTE);
    }
}

#[tokio::test]
async fn pause_in_memory_is_written_when_the_store_takes_writes_again() {
    let (bench, disk, other) = bench_of_two().await;
    let (here, there) = (bench.gate("a", bench.store.clone(), 1000), bench.gate("b", other, 1000));
    disk.1.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.enter(&here, Class::Login).await.unwrap().complete(told_to_wait(10)).await;
    assert!(bench.wait_of(&here).await >= Some(10 * MINUTE));
    disk.1.store(false, std::sync::atomic::Ordering::SeqCst);
    tokio::time::pause();
    tokio::time::advance(MINUTE).await;
    tokio::time::resume();
    assert!(bench.enter(&here, Class::Login).await.is_err());
    assert!(bench.wait_of(&there).await >= Some(10 * MINUTE));
}

#[tokio::test]
async fn pause_in_memory_does_not_hide_or_end_that_of_another_node() {
    let (bench, disk, other) = bench_of_two().await;
    let (here, there) = (bench.gate("a", bench.store.clone(), 1000), bench.gate("b", other, 1000));
    disk.1.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.enter(&here, Class::Login).await.unwrap().complete(told_to_wait(2)).await;
    bench.enter(&there, Class::Login).await.unwrap().complete(told_to_wait(30)).await;
    disk.1.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(bench.wait_of(&here).await >= Some(30 * MINUTE));
    bench.clock.advance(3 * MINUTE);
    assert!(bench.enter(&here, Class::Login).await.is_err());
    assert!(bench.wait_of(&there).await >= Some(27 * MINUTE));
    // Shorter than one that only memory has: that one counts.
    disk.1.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.enter(&here, Class::Diagnosis).await.unwrap().complete(told_to_wait(50)).await;
    bench.enter(&there, Class::Diagnosis).await.unwrap().complete(told_to_wait(40)).await;
    assert!(bench.wait_of(&here).await >= Some(50 * MINUTE));
}

/// A store whose disk can be full, and another node's on the same database, whose is not.
async fn bench_of_two() -> (Bench, Arc<super::failures::FullDisk>, Store) {
    let engine = fresh_engine().await;
    let disk = Arc::new(super::failures::FullDisk::new(engine.clone()));
    let bench = Bench::signed_in_to(Store::with(disk.clone(), vault()).await.unwrap()).await;
    (bench, disk, Store::with(engine, vault()).await.unwrap())
}

#[tokio::test]
async fn failed_diagnosis_shortens_no_pause_and_ends_no_probe() {
    let bench = Bench::signed_in().await;
    let (here, there) = (bench.gate("a", bench.store.clone(), 1000), bench.gate("b", bench.store.clone(), 1000));
    bench.enter(&here, Class::Login).await.unwrap().complete(told_to_wait(10)).await;
    bench.clock.advance(Duration::from_secs(1));
    bench.enter(&here, Class::Diagnosis).await.unwrap().complete(silence()).await;
    assert!(bench.wait_of(&here).await >= Some(9 * MINUTE));
    bench.clock.advance(11 * MINUTE);
    let probe = bench.enter(&there, Class::Login).await.unwrap();
    bench.enter(&here, Class::Diagnosis).await.unwrap().complete(silence()).await;
    bench.clock.advance(Duration::from_secs(20));
    assert!(bench.enter(&here, Class::Login).await.is_err(), "the probe is still on its way");
    probe.complete(RequestOutcome::Answered).await;
    assert_eq!(bench.wait_of(&here).await, None);
    // And one that is answered ends a pause.
    bench.enter(&here, Class::Login).await.unwrap().complete(told_to_wait(10)).await;
    bench.clock.advance(Duration::from_secs(1));
    bench.enter(&there, Class::Diagnosis).await.unwrap().complete(RequestOutcome::Answered).await;
    assert_eq!(bench.wait_of(&here).await, None);
}

#[tokio::test]
async fn sessions_of_one_account_share_the_probe_that_is_made_for_it() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(throttled());
    bench.access_token().await.unwrap_err();
    bench.clock.advance(11 * MINUTE);
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let session = || {
        let (tokens, admitted) = (bench.tokens.clone(), bench.admitted.clone());
        tokio::spawn(async move { ask(&tokens, &admitted).await })
    };
    let first = session();
    bench.endpoint.arrived(2).await;
    let mut second = session();
    let early = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
    assert!(early.is_err(), "{early:?}");
    bench.endpoint.release();
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), ("at-1".into(), "at-1".into()));
    assert_eq!(bench.endpoint.requests(), 2);
}

#[tokio::test]
async fn probe_of_a_killed_process_ends_at_an_exclusive_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let bench = Bench::signed_in_to(Store::open(&path, vault()).await.unwrap()).await;
    let gate = bench.gate("a", bench.store.clone(), 1000);
    bench.enter(&gate, Class::Login).await.unwrap().complete(told_to_wait(10)).await;
    bench.clock.advance(11 * MINUTE);
    let probe = bench.enter(&gate, Class::Login).await.unwrap();
    assert!(bench.enter(&gate, Class::Login).await.is_err());
    let clock = bench.clock.clone();
    let application = application(&bench.endpoint);
    drop((probe, gate, bench));
    super::maintenance::alone(&path).await;
    let limits = RequestGateLimits { per_authority: 1, in_all: 1, per_second: 1, login_patience: MINUTE };
    let store = Store::open(&path, vault()).await.unwrap();
    let gate = Arc::new(RequestGate::new("b".into(), store, Arc::new(clock), limits));
    assert!(gate.enter(&application, None, Class::Login).await.is_ok());
}

#[tokio::test]
async fn unwritten_tokens_are_written_while_the_circuit_is_open() {
    let (bench, disk, _) = bench_of_two().await;
    bench.add_signed_in(1).await;
    disk.1.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    bench.endpoint.always(throttled());
    ask(&bench.tokens, &someone(0)).await.unwrap_err();
    disk.1.store(false, std::sync::atomic::Ordering::SeqCst);
    bench.clock.advance(MINUTE);
    ask(&bench.tokens, &someone(0)).await.unwrap_err();
    let (stop, refresher) = bench.keep_fresh();
    bench.stored("ann@contoso.com", "at-1").await;
    assert_eq!(bench.stored_refresh_token().await.as_deref(), Some("rt-1"));
    assert_eq!(bench.endpoint.requests(), 2);
    stop.cancel();
    refresher.await.unwrap();
}

/// A request that hangs longer than a stop may take.
#[tokio::test]
async fn unwritten_tokens_are_written_at_shutdown() {
    let (bench, disk, _) = bench_of_two().await;
    disk.1.store(true, std::sync::atomic::Ordering::SeqCst);
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    disk.1.store(false, std::sync::atomic::Ordering::SeqCst);
    let tokens = bench.tokens.clone();
    let hung = tokio::spawn(async move { tokens.run_to_completion(std::future::pending::<()>()).await });
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    let refresher = tokio::spawn(bench.tokens.clone().keep_fresh(stop));
    let written = async || bench.stored_refresh_token().await.as_deref() == Some("rt-1");
    let begun = std::time::Instant::now();
    while !written().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "it waits for what does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refresher.abort();
    hung.abort();
}
