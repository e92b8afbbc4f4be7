//! A block in the store and in memory, until it is over or lifted.

use std::sync::Arc;

use oxpost_token_store::{SystemClock, Vault};

use super::*;

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
    let is_running = async |count| {
        while locked(&blocks.running).len() != count {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let until = Instant::now() + Duration::from_secs(900);
    blocks.note(source, until);
    is_running(1).await;
    let shown = store.blocks(std::time::SystemTime::now()).await.unwrap().remove(0);
    assert_eq!((shown.source.as_str(), shown.node.as_str()), ("192.0.2.7", "gateway"));
    assert_eq!(shown.until.duration_since(shown.since).unwrap(), Duration::from_secs(900));
    blocks.look_once(&lift).await;
    assert_eq!((locked(&lifted).len(), locked(&blocks.running).len()), (0, 1), "it goes on");
    store.lift_block("192.0.2.7").await.unwrap();
    blocks.look_once(&lift).await;
    assert_eq!((locked(&lifted).as_slice(), locked(&blocks.running).len()), ([source].as_slice(), 0));

    blocks.note(source, until);
    is_running(1).await;
    tokio::time::sleep_until(until).await;
    blocks.look_once(&lift).await;
    assert_eq!((locked(&lifted).len(), locked(&blocks.running).len()), (1, 0), "over, not lifted");
    assert!(format!("{blocks:?}").starts_with("Blocks { running: "));
}

/// What one node blocks all nodes block, until it is lifted or over; what a node forgets that starts is lifted everywhere.
#[tokio::test(start_paused = true)]
async fn block_of_one_node_counts_on_all_nodes() {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let node = |name: &str| Blocks::new(store.clone(), Arc::new(SystemClock), name.into());
    let (one, two) = (node("one"), node("two"));
    let changes = Mutex::new(Vec::new());
    let change = |change| locked(&changes).push(change);
    let look = async |blocks: &Blocks| {
        blocks.look_once(&change).await;
        std::mem::take(&mut *locked(&changes))
    };
    let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.7".parse().unwrap(), "2001:db8:1:2::".parse().unwrap());
    for address in [v4, v6] {
        one.note(Source::of(address), Instant::now() + Duration::from_secs(900));
    }
    while locked(&one.running).len() < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(look(&one).await, [], "its own it knows");
    let mut blocked = look(&two).await;
    blocked.sort_by_key(|change| format!("{change:?}"));
    let [Change::Block(first, until), Change::Block(second, _)] = blocked[..] else { panic!("{blocked:?}") };
    assert_eq!((first, second), (v4, v6));
    assert!(until - Instant::now() <= Duration::from_secs(900) && until > Instant::now() + Duration::from_secs(800));
    assert_eq!(look(&two).await, [], "it is said once");
    // A third node, which had not read it, blocks it for longer.
    let longer = Block {
        source: "192.0.2.7".into(),
        node: "three".into(),
        since: SystemTime::now(),
        until: SystemTime::now() + Duration::from_secs(1500),
    };
    store.note_block(&longer).await.unwrap();
    let [Change::Block(address, until)] = look(&two).await[..] else { panic!("it is not followed") };
    assert!(address == v4 && until > Instant::now() + Duration::from_secs(1400));
    assert_eq!(look(&two).await, []);
    assert!(matches!(look(&one).await[..], [Change::Block(address, _)] if address == v4), "longer than its own");
    store.lift_block("192.0.2.7").await.unwrap();
    for blocks in [&one, &two] {
        let changes = look(blocks).await;
        assert!(
            !changes.is_empty() && changes.iter().all(|change| *change == Change::Lift(Source::of(v4))),
            "{changes:?}"
        );
    }
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

/// A machine that starts with a clock of years ago, and sets it right: a block is a span of time, and goes on.
#[tokio::test(start_paused = true)]
async fn clock_set_forward_lifts_no_block() {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let clock = oxpost_token_store::ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800));
    let blocks = Blocks::new(store, Arc::new(clock.clone()), "gateway".into());
    blocks.note(Source::of([192, 0, 2, 7].into()), Instant::now() + Duration::from_secs(900));
    while locked(&blocks.running).len() != 1 {
        sleep(Duration::from_millis(1)).await;
    }
    clock.advance(Duration::from_secs(6 * 365 * 86_400));
    blocks.look_once(&|change| panic!("{change:?}")).await;
    assert_eq!(locked(&blocks.running).len(), 1);
}
