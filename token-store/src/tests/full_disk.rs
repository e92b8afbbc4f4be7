//! A store that takes no writes: mail goes on, and nothing is lost that a process that lives can keep.

use std::sync::atomic::Ordering;

use super::{endpoint::Reply, failures::FullDisk, *};

async fn bench_on_a_disk() -> (Bench, Arc<FullDisk>) {
    let disk = Arc::new(FullDisk::new(fresh_engine().await));
    (Bench::signed_in_to(Store::with(disk.clone(), vault()).await.unwrap()).await, disk)
}

/// A refresh token that is rotated while nothing can be written lives in memory only.
#[tokio::test]
async fn full_disk_stops_requests_while_the_token_lives() {
    let (bench, disk) = bench_on_a_disk().await;
    disk.1.store(true, Ordering::SeqCst);
    bench.clock.advance(HOUR.mul_f64(0.8));
    let version = bench.store.tokens(bench.mailbox()).await.unwrap().version;
    for _ in 0..5 {
        bench.tokens.refresh_due(bench.admitted.account(), version).await;
        assert_eq!(bench.access_token().await.unwrap(), "at-0");
        bench.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(bench.endpoint.requests(), 0);
}

/// A day, in which every second answer brings a new refresh token, and every other one none.
#[tokio::test]
async fn expired_tokens_are_replaced_in_memory_and_written_later() {
    let (bench, disk) = bench_on_a_disk().await;
    disk.1.store(true, Ordering::SeqCst);
    let rotated = |hour: usize| hour - (hour + 1) % 2;
    for hour in 1..=24 {
        let refresh = format!("rt-{hour}");
        let refresh = Some(refresh.as_str()).filter(|_| rotated(hour) == hour);
        bench.endpoint.then(Reply::tokens(&format!("at-{hour}"), refresh));
        bench.clock.advance(HOUR);
        for _ in 0..10 {
            assert_eq!(bench.access_token().await.unwrap(), format!("at-{hour}"));
        }
        assert_eq!((bench.endpoint.requests(), bench.stored_refresh_token().await.as_deref()), (hour, Some("rt-0")));
        // It is asked for with the newest refresh token, which is nowhere but in memory.
        let newest = if hour == 1 { 0 } else { rotated(hour - 1) };
        assert_eq!(bench.endpoint.sent(hour - 1, "refresh_token").unwrap(), format!("rt-{newest}"));
        assert!(bench.store.unwritten().is_some(), "the notifier sees it");
    }

    disk.1.store(false, Ordering::SeqCst);
    bench.clock.advance(Duration::from_secs(120));
    let (stop, refresher) = bench.keep_fresh();
    bench.stored("ann@contoso.com", "at-24").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!((bench.endpoint.requests(), bench.stored_refresh_token().await.as_deref()), (24, Some("rt-23")));
    assert_eq!(bench.store.unwritten(), None);
    assert!(!bench.tokens.has_unsaved(bench.mailbox()));
}

/// A token that the mail server has refused is replaced early in its life, and its account is not due for long.
#[tokio::test]
async fn unsaved_tokens_are_written_though_their_account_is_not_due() {
    let (bench, disk) = bench_on_a_disk().await;
    bench.clock.advance(Duration::from_secs(600));
    let refused = bench.tokens.access_token(&bench.admitted).await.unwrap();
    disk.1.store(true, Ordering::SeqCst);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    let token = bench.tokens.refused(&bench.admitted, &refused).await.unwrap();
    assert_eq!((text(token.secret()).as_str(), bench.stored_refresh_token().await.as_deref()), ("at-1", Some("rt-0")));
    disk.1.store(false, Ordering::SeqCst);
    let (stop, refresher) = bench.keep_fresh();
    bench.stored("ann@contoso.com", "at-1").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!((bench.endpoint.requests(), bench.stored_refresh_token().await.as_deref()), (1, Some("rt-1")));
}

/// Before the end the first try is for those whose request is over, the last one for all.
#[tokio::test]
async fn last_write_before_the_end_leaves_out_no_account() {
    let (bench, disk) = bench_on_a_disk().await;
    bench.clock.advance(HOUR);
    disk.1.store(true, Ordering::SeqCst);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    bench.tokens.write_unsaved().await;
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-0", "there is no room yet");
    disk.1.store(false, Ordering::SeqCst);
    bench.tokens.write_unsaved().await;
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-1");
    assert!(!bench.tokens.has_unsaved(bench.mailbox()));
}

#[tokio::test]
async fn sign_in_after_a_full_disk_replaces_unsaved_tokens() {
    let (bench, disk) = bench_on_a_disk().await;
    disk.1.store(true, Ordering::SeqCst);
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    disk.1.store(false, Ordering::SeqCst);
    let now = crate::Clock::now(&bench.clock);
    bench.store.save_signed_in(bench.mailbox(), &token_set("at-new", Some("rt-new")), None, now).await.unwrap();
    assert_eq!(bench.access_token().await.unwrap(), "at-new");
    let (stop, refresher) = bench.keep_fresh();
    bench.endpoint.then(Reply::tokens("at-newer", Some("rt-newer")));
    bench.clock.advance(HOUR.mul_f64(0.8));
    until("what was not written is dropped", async || {
        bench.clock.advance(Duration::from_secs(1));
        !bench.tokens.has_unsaved(bench.mailbox())
    })
    .await;
    bench.stored("ann@contoso.com", "at-newer").await;
    stop.cancel();
    refresher.await.unwrap();
    assert_eq!(bench.endpoint.sent(1, "refresh_token").unwrap(), "rt-new");
}
