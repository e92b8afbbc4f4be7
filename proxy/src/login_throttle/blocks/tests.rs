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
    let lift = |source| locked(&lifted).push(source);
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
