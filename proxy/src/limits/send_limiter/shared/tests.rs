//! Two nodes on one store, with their tasks.

use oxpost_protocol::smtp::submission::{Event, Outcome, Report};
use oxpost_token_store::{Store, Vault};

use super::super::mailbox_limiter::MailboxLimiter;
use super::super::{Class, SendLimiter, SendSlot};
use super::*;
use crate::limits::nodes::FALLBACK_AFTER;

const LIMITS: SendingLimits = SendingLimits { max_connections: 3, messages_per_minute: 4, recipients_per_day: 10 };

/// Generous, and less than [`POLL_INTERVAL_WHILE_HELD`].
const SOON: Duration = Duration::from_secs(10);

async fn store() -> Store {
    Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap()
}

fn node(store: &Store) -> (Arc<Nodes>, SendLimiter) {
    let nodes = Arc::new(Nodes::new(store.clone(), "node.example"));
    let limiter = SendLimiter::new(SOON).shared_by(Some(Arc::clone(&nodes)));
    (nodes, limiter)
}

fn mailbox() -> Mailbox {
    Mailbox::parse("scan@contoso.com").unwrap()
}

async fn slot(limiter: &SendLimiter) -> Option<SendSlot> {
    let deadline = Some(Instant::now() + SOON);
    limiter.acquire(("smtp.example", LIMITS), &mailbox(), Class::Live, deadline).await
}

/// What all nodes hold, by the row.
async fn held(store: &Store) -> u32 {
    let read = store.send_limit("smtp.example", "scan@contoso.com").await.unwrap().unwrap();
    let state: serde_json::Value = serde_json::from_str(&read.state.unwrap()).unwrap();
    let nodes = state["nodes"].as_object().unwrap().values();
    nodes.map(|share| u32::try_from(share["slots"]["live"].as_u64().unwrap()).unwrap()).sum()
}

async fn recipients(store: &Store) -> u64 {
    let read = store.send_limit("smtp.example", "scan@contoso.com").await.unwrap().unwrap();
    let state: serde_json::Value = serde_json::from_str(&read.state.unwrap()).unwrap();
    let hours = state["day"]["hours"].as_array().unwrap();
    hours.iter().map(|hour| hour[1].as_u64().unwrap()).sum()
}

fn sent(recipient_count: usize) -> Event {
    Event::Message(Report {
        sender: String::new(),
        given_sender: None,
        from_changed: false,
        recipients: Vec::new(),
        recipient_count,
        octets: 0,
        outcome: Outcome::InDoubt,
    })
}

async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    timeout(SOON, async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn slot_that_ends_on_one_node_goes_to_another() {
    let store = store().await;
    let ((_, one), (_, two)) = (node(&store), node(&store));
    let (a, b, _c) = (slot(&one).await.unwrap(), slot(&one).await.unwrap(), slot(&two).await.unwrap());
    let mut fourth = Box::pin(slot(&two));
    assert!(timeout(Duration::from_millis(300), &mut fourth).await.is_err());
    assert_eq!((held(&store).await, one.waiting(), two.waiting()), (3, 0, 1));
    drop(a);
    let _fourth = fourth.await.unwrap();
    assert_eq!(held(&store).await, 3);
    // A session that gives up waiting leaves nothing over.
    let mut fifth = Box::pin(slot(&one));
    assert!(timeout(Duration::from_millis(50), &mut fifth).await.is_err());
    drop(fifth);
    drop(b);
    until(async || held(&store).await == 2).await;
}

#[tokio::test]
async fn slots_of_a_dead_node_return_and_it_is_no_node_any_more() {
    let store = store().await;
    let ((nodes, one), (_, two)) = (node(&store), node(&store));
    let _held = (slot(&one).await.unwrap(), slot(&one).await.unwrap(), slot(&one).await.unwrap());
    let mut waiting = Box::pin(slot(&two));
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    let (before, _there) = loop {
        let before = nodes.id().await.unwrap();
        // As another node does when it has not heard of it. If this one looks first, it has a new id, and lives on.
        store.remove_node(&before).await.unwrap();
        if let Ok(slot) = timeout(SOON / 20, &mut waiting).await {
            break (before, slot.unwrap());
        }
    };
    // It lives after all: what it uses counts, and no node gets more until there is room.
    let mut another = Box::pin(slot(&one));
    assert!(timeout(Duration::from_millis(300), &mut another).await.is_err());
    assert_ne!(nodes.id().await.unwrap(), before);
    assert_eq!(held(&store).await, 4);
}

#[tokio::test]
async fn messages_and_recipients_are_counted_for_all_nodes() {
    let store = store().await;
    let ((_, one), (_, two)) = (node(&store), node(&store));
    let (a, b) = (slot(&one).await.unwrap(), slot(&two).await.unwrap());
    // While the sessions go on, and long before the next look that a session alone makes.
    a.recipient_counter().note(&sent(2));
    b.recipient_counter().note(&sent(3));
    until(async || recipients(&store).await == 5).await;
    // Half of a minute's permits are granted immediately.
    a.permit().wait().await.1.unwrap();
    b.permit().wait().await.1.unwrap();
    let mut third = a.permit().wait();
    assert!(timeout(Duration::from_millis(800), &mut third).await.is_err());
    drop(third);
    drop((a, b));
    until(async || {
        let read = store.send_limit("smtp.example", "scan@contoso.com").await.unwrap().unwrap();
        let state: serde_json::Value = serde_json::from_str(&read.state.unwrap()).unwrap();
        let permits = state["window"]["permits"].as_array().unwrap();
        permits.iter().all(|permits| permits["node"].is_null())
            && permits.iter().map(|permits| permits["count"].as_u64().unwrap()).sum::<u64>() == 2
    })
    .await;
    until(async || held(&store).await == 0).await;
}

fn limiter(store: &Store) -> Arc<SharedLimiter> {
    let nodes = Arc::new(Nodes::new(store.clone(), "node.example"));
    Arc::new(SharedLimiter::new(nodes, "smtp.example", mailbox(), LIMITS))
}

#[tokio::test]
async fn task_continues_while_a_session_is_about_to_wait() {
    let limiter = limiter(&store().await);
    let arrives = limiter.arrives();
    // The task has looked before the one who waits is in the queue.
    assert_eq!(limiter.need(), Need::Wait);
    assert!(!limiter.ends() && limiter.runs());
    drop(arrives);
    until(async || !limiter.runs()).await;
}

#[tokio::test]
async fn task_that_panics_is_started_again() {
    let limiter = limiter(&store().await);
    *limiter.runs.lock().unwrap() = true;
    let panics = Arc::clone(&limiter);
    let task = tokio::spawn(async move {
        let _restartable = Restartable(&panics);
        panic!("as a defect does");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(!limiter.runs());
    // One that ends on its own does not speak for the next one.
    *limiter.runs.lock().unwrap() = true;
    drop(Restartable(&limiter));
    assert!(limiter.runs());
}

#[tokio::test]
async fn outage_reply_does_not_blame_the_message_rate() {
    let nodes = Arc::new(Nodes::new(store().await, "node.example"));
    let limiter = MailboxLimiter::new(mailbox(), LIMITS, SOON).shared("smtp.example", &nodes);
    nodes.id().await.unwrap();
    nodes.heard(true);
    assert!(limiter.permit_timed_out().contains("scan@contoso.com sends more than the 4 messages a minute"));
    // Any wait that is shorter than until this node has its share ends here.
    nodes.heard(false);
    let text = limiter.permit_timed_out();
    assert!(text.starts_with("451 4.3.2 The database that holds the sending limits is out of reach"), "{text}");
}

#[tokio::test]
async fn slots_are_the_share_once_the_row_is_long_unwritten() {
    let limiter = limiter(&store().await);
    limiter.nodes.id().await.unwrap();
    // The first of two, by id.
    limiter.nodes.has_seen(&["~"]);
    limiter.was_read.store(true, Ordering::SeqCst);
    tokio::time::pause();
    limiter.nodes.heard(false);
    let just = Duration::from_millis(1);
    tokio::time::advance(FALLBACK_AFTER - just).await;
    assert_eq!(limiter.own_slots(), None, "what was granted before is not over");
    tokio::time::advance(just).await;
    assert_eq!(limiter.own_slots(), Some(2));
    limiter.was_read.store(false, Ordering::SeqCst);
    assert_eq!(limiter.own_slots(), None, "no login is possible");
    limiter.was_read.store(true, Ordering::SeqCst);
    limiter.nodes.heard(true);
    assert_eq!(limiter.own_slots(), None);
}

/// As with a full disk: what is read is answered, what is written is not.
#[tokio::test]
async fn slot_that_ends_goes_to_the_next_while_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = Store::open(&path, Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let (_nodes, one) = node(&store);
    let (a, _b, _c) = (slot(&one).await.unwrap(), slot(&one).await.unwrap(), slot(&one).await.unwrap());
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TRIGGER full BEFORE UPDATE ON send_limit BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        .unwrap();
    // It is reported and not written, before any session waits for it.
    drop(a);
    sleep(Duration::from_millis(300)).await;
    let d = slot(&one).await.unwrap();
    // There is one more wait than slots.
    let mut fifth = Box::pin(slot(&one));
    assert!(timeout(Duration::from_millis(1500), &mut fifth).await.is_err());
    drop(d);
    assert!(fifth.await.is_some());
}
