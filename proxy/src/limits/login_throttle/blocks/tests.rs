//! A block in the store and in memory, until it is over or lifted.

use std::sync::Arc;

use oxpost_token_store::{Clock as _, ManualClock, SystemClock, Vault};

use super::*;

/// Waits until so many blocks are in the store.
async fn is_written(blocks: &Blocks, count: usize) {
    while locked(&blocks.running).values().filter(|own| own.stored == Stored::Written).count() != count {
        sleep(Duration::from_millis(1)).await;
    }
}

/// What a look changes.
async fn look(blocks: &Blocks) -> Vec<Change> {
    let changes = Mutex::new(Vec::new());
    blocks.check_once(&|change| locked(&changes).push(change)).await;
    changes.into_inner().unwrap()
}

struct Nodes {
    store: Store,
    manual: ManualClock,
    one: Blocks,
    two: Blocks,
}

/// Two nodes that share a store and its clock.
async fn nodes() -> Nodes {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let manual = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let node = |name: &str| Blocks::new(store.clone(), Arc::new(manual.clone()), name.into());
    let (one, two) = (node("one"), node("two"));
    Nodes { store, manual, one, two }
}

fn stored(node: &str, since: SystemTime, seconds: u64) -> Block {
    Block { source: "192.0.2.7".into(), node: node.into(), since, until: since + Duration::from_secs(seconds) }
}

#[tokio::test(start_paused = true)]
async fn source_stays_blocked_until_the_last_nodes_block_ends() {
    let Nodes { store, manual, two, .. } = nodes().await;
    let (since, v4): (_, IpAddr) = (manual.now(), "192.0.2.7".parse().unwrap());
    let until = |changes: Vec<Change>| {
        let until = changes.iter().map(|change| match change {
            Change::Block(address, until) if *address == v4 => *until,
            change => panic!("{change:?}"),
        });
        until.max().unwrap()
    };
    store.note_block(&stored("one", since, 900)).await.unwrap();
    let began = Instant::now();
    let first = until(look(&two).await);
    assert!(first >= began + Duration::from_secs(900));
    store.note_block(&stored("three", since, 1500)).await.unwrap();
    let longer = until(look(&two).await);
    assert!(longer >= began + Duration::from_secs(1500));
    // There may have been no room for it: it is said on every look, and always the same, even by a clock that is set back.
    manual.set(since - Duration::from_secs(86_400));
    assert_eq!(until(look(&two).await), longer);
    tokio::time::sleep_until(longer).await;
    assert_eq!(look(&two).await, [], "it ends by itself, whatever the clock says");
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_set_forward_lifts_no_block() {
    let Nodes { store, manual, one, two } = nodes().await;
    let source = Source::of([192, 0, 2, 7].into());
    let until = Instant::now() + Duration::from_secs(900);
    one.note(source, until);
    is_written(&one, 1).await;
    assert!(matches!(look(&two).await[..], [Change::Block(..)]));
    manual.advance(Duration::from_secs(6 * 365 * 86_400));
    // Nor does what is noted by the new clock.
    one.note(Source::of([192, 0, 2, 8].into()), until);
    is_written(&one, 2).await;
    assert_eq!(look(&one).await, []);
    assert!(look(&two).await.iter().all(|change| matches!(change, Change::Block(..))));
    assert_eq!(locked(&one.running).len(), 2);
    // What is over goes from the store as well.
    tokio::time::sleep_until(until).await;
    manual.advance(Duration::from_secs(900));
    assert_eq!(look(&one).await, []);
    assert_eq!(store.all_blocks().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn unwritten_block_stays_and_is_written_later() {
    let Nodes { store, manual, one, two } = nodes().await;
    let source = Source::of([192, 0, 2, 7].into());
    store.note_block(&stored("one", manual.now(), 900)).await.unwrap();
    assert!(matches!(look(&two).await[..], [Change::Block(..)]));
    let until = Instant::now() + Duration::from_secs(900);
    let (since, ends) = (manual.now(), manual.now() + Duration::from_secs(900));
    locked(&two.running).insert(source, OwnBlock { until, since, ends, stored: Stored::Failed });
    store.forget_blocks("one").await.unwrap();
    assert_eq!(look(&two).await, [], "its own goes on");
    assert_eq!(store.all_blocks().await.unwrap(), [stored("two", since, 900)]);
    assert!(matches!(look(&one).await[..], [Change::Block(..)]));
    store.lift_block("192.0.2.7").await.unwrap();
    assert_eq!((look(&two).await, look(&one).await), (vec![Change::Lift(source)], vec![Change::Lift(source)]));
}

#[tokio::test(start_paused = true)]
async fn block_is_shown_until_it_is_over_and_lifted_once() {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let blocks = Blocks::new(store.clone(), Arc::new(SystemClock), "gateway".into());
    let source = Source::of([192, 0, 2, 7].into());
    let lifted = Mutex::new(Vec::new());
    let lift = |change| match change {
        Change::Lift(source) => locked(&lifted).push(source),
        Change::Block(..) => panic!("there is no other node"),
    };
    let until = Instant::now() + Duration::from_secs(900);
    blocks.note(source, until);
    is_written(&blocks, 1).await;
    let shown = store.blocks(std::time::SystemTime::now()).await.unwrap().remove(0);
    assert_eq!((shown.source.as_str(), shown.node.as_str()), ("192.0.2.7", "gateway"));
    assert_eq!(shown.until.duration_since(shown.since).unwrap(), Duration::from_secs(900));
    blocks.check_once(&lift).await;
    assert_eq!((locked(&lifted).len(), locked(&blocks.running).len()), (0, 1), "it goes on");
    store.lift_block("192.0.2.7").await.unwrap();
    blocks.check_once(&lift).await;
    assert_eq!((locked(&lifted).as_slice(), locked(&blocks.running).len()), ([source].as_slice(), 0));

    blocks.note(source, until);
    is_written(&blocks, 1).await;
    tokio::time::sleep_until(until).await;
    blocks.check_once(&lift).await;
    assert_eq!((locked(&lifted).len(), locked(&blocks.running).len()), (1, 0), "over, not lifted");
    assert!(format!("{blocks:?}").starts_with("Blocks { running: "));
}

/// What one node blocks all nodes block, until it is lifted or over; what a node forgets that starts is lifted everywhere.
#[tokio::test(start_paused = true)]
async fn block_of_one_node_counts_on_all_nodes() {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let node = |name: &str| Blocks::new(store.clone(), Arc::new(SystemClock), name.into());
    let (one, two) = (node("one"), node("two"));
    let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.7".parse().unwrap(), "2001:db8:1:2::".parse().unwrap());
    for address in [v4, v6] {
        one.note(Source::of(address), Instant::now() + Duration::from_secs(900));
    }
    is_written(&one, 2).await;
    assert_eq!(look(&one).await, [], "its own it knows");
    let mut blocked = look(&two).await;
    blocked.sort_by_key(|change| format!("{change:?}"));
    let [Change::Block(first, until), Change::Block(second, _)] = blocked[..] else { panic!("{blocked:?}") };
    assert_eq!((first, second), (v4, v6));
    assert!(until - Instant::now() <= Duration::from_secs(900) && until > Instant::now() + Duration::from_secs(800));
    assert_eq!(look(&two).await.len(), 2, "they go on");
    store.lift_block("192.0.2.7").await.unwrap();
    assert_eq!(look(&one).await, [Change::Lift(Source::of(v4))]);
    assert_eq!(look(&two).await[0], Change::Lift(Source::of(v4)));
    // The first node was restarted.
    store.forget_blocks("one").await.unwrap();
    assert_eq!(look(&two).await, [Change::Lift(Source::of(v6))]);
    // A clock that was a month behind when it was noted.
    let since = std::time::SystemTime::now() + Duration::from_secs(30 * 86_400);
    let until = since + Duration::from_secs(60);
    let block = Block { source: "192.0.2.8".into(), node: "one".into(), since, until };
    store.note_block(&block).await.unwrap();
    let [Change::Block(_, until)] = look(&two).await[..] else { panic!() };
    assert!(until <= Instant::now() + Duration::from_secs(60));
}
