//! Nodes that share a store: who is alive, and what they share about sending limits.

use super::{fixture::Place, *};
use crate::store::{
    nodes::{NODE_LEASE, NewNode, NodeLease},
    send_limits::{NewSendLimit, SendLimit},
};

const KEY: (&str, &str) = ("smtp.example", "ann@contoso.com");

const MINUTE: Duration = Duration::from_secs(60);

async fn add(store: &Store, id: &str, was_cut_off: bool) {
    let new = NewNode { id, name: &format!("name of {id}"), send_limits: "3/30/10000", was_cut_off };
    store.add_node(new).await.unwrap();
}

async fn read(store: &Store) -> SendLimit {
    store.send_limit(KEY.0, KEY.1).await.unwrap().unwrap()
}

async fn write(store: &Store, read: &SendLimit, node: &str, state: &str) -> bool {
    let ends = read.now + HOUR;
    store.save_send_limit(KEY, read, node, NewSendLimit { state, waiting: 0, ends }).await.unwrap()
}

#[tokio::test]
async fn node_that_is_not_heard_of_is_removed_and_does_not_come_back() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    assert_eq!(one.send_limit(KEY.0, KEY.1).await.unwrap(), None, "there are no nodes");
    add(&one, "a", false).await;
    add(&two, "b", false).await;
    let seen = two.nodes(MINUTE).await.unwrap();
    assert_eq!(seen.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    // It was slow, and renews its lease before it is taken for dead.
    let past = "UPDATE node SET lease_until = 1 WHERE id = 'a'";
    place.meddle(past, past);
    assert!(one.renew_node("a").await.unwrap());
    assert!(!two.remove_dead_node(&NodeLease { id: "a".into(), until: 1, was_cut_off: true }).await.unwrap());
    let seen = two.nodes(MINUTE).await.unwrap();
    assert!(two.remove_dead_node(&seen[0]).await.unwrap());
    assert!(!two.remove_dead_node(&seen[0]).await.unwrap());
    assert!(!one.renew_node("a").await.unwrap(), "it hears that it was taken for dead");
    assert_eq!(read(&one).await.nodes, ["b"]);
    two.remove_node("b").await.unwrap();
    assert_eq!(one.nodes(MINUTE).await.unwrap(), []);
}

#[tokio::test]
async fn node_that_was_cut_off_is_seen_by_others_for_a_moment() {
    let place = Place::new();
    let store = place.open().await;
    add(&store, "a", false).await;
    add(&store, "b", true).await;
    let seen = async |a_moment| {
        let nodes = store.nodes(a_moment).await.unwrap();
        nodes.into_iter().filter(|node| node.was_cut_off).map(|node| node.id).collect::<Vec<_>>()
    };
    assert_eq!(seen(MINUTE).await, ["b"]);
    let past = "UPDATE node SET regained = regained - 61000 WHERE id = 'b'";
    place.meddle(past, past);
    assert_eq!(seen(MINUTE).await, Vec::<String>::new());
    // Its lease has ended; a renewal soon after it is no news for others, a late one is.
    for (sql, before, after) in [
        ("UPDATE node SET lease_until = lease_until - 20000 WHERE id = 'a'", &["a"][..], &[][..]),
        ("UPDATE node SET lease_until = lease_until - 40000 WHERE id = 'a'", &["a"], &["a"]),
    ] {
        place.meddle(sql, sql);
        assert_eq!(seen(MINUTE).await, before);
        assert!(store.renew_node("a").await.unwrap());
        assert_eq!(seen(MINUTE).await, after);
    }
}

#[tokio::test]
async fn nodes_are_listed_for_people_with_their_limits_and_contact() {
    let place = Place::new();
    let store = place.open().await;
    add(&store, "a", false).await;
    let old = "INSERT INTO node (id, name, lease_until) VALUES ('z', 'before', 20000)";
    place.meddle(old, old);
    let [old, new] = store.node_statuses().await.unwrap().try_into().unwrap();
    assert_eq!((old.id.as_str(), old.since, old.send_limits), ("z", None, None));
    assert_eq!(old.last_contact, SystemTime::UNIX_EPOCH + Duration::from_millis(20_000) - NODE_LEASE);
    assert_eq!((new.name.as_str(), new.send_limits.as_deref()), ("name of a", Some("3/30/10000")));
    assert!(new.last_contact.duration_since(new.since.unwrap()).unwrap() < MINUTE);
}

#[tokio::test]
async fn send_limits_are_compared_and_swapped_by_nodes_only() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    add(&one, "a", false).await;
    add(&two, "b", false).await;
    let empty = read(&one).await;
    assert_eq!((empty.version, &empty.state, empty.nodes.len()), (0, &None, 2));
    let off = empty.now.duration_since(SystemTime::now()).unwrap_or_else(|error| error.duration());
    assert!(off < Duration::from_secs(60), "{off:?}");
    assert!(!write(&one, &empty, "nobody", "x").await);
    assert!(write(&one, &empty, "a", "x").await);
    assert!(!write(&two, &empty, "b", "y").await, "another node was faster");
    let first = read(&two).await;
    assert_eq!(first.state.as_deref(), Some("x"));
    assert!(write(&two, &first, "b", "y").await);
    assert!(!write(&one, &first, "a", "z").await);
    let second = read(&one).await;
    assert!(second.version > first.version && second.state.as_deref() == Some("y"));
    assert!(!write(&two, &second, "c", "z").await, "no node of that id is there");
    // What is over is forgotten, and what was decided from it is not written over what came after.
    one.forget_send_limits().await.unwrap();
    assert_eq!(read(&one).await.version, second.version);
    let over = "UPDATE send_limit SET ends = 1";
    place.meddle(over, over);
    one.forget_send_limits().await.unwrap();
    assert_eq!(read(&one).await.state, None);
    assert!(write(&one, &read(&one).await, "a", "new").await);
    assert!(!write(&two, &second, "b", "old").await);
    assert_eq!(read(&one).await.state.as_deref(), Some("new"));
}

/// Many decide from the same row: each writes over what it has read.
#[tokio::test]
async fn no_write_of_sending_limits_is_lost() {
    let place = Place::new();
    let mut nodes = tokio::task::JoinSet::new();
    for id in ["a", "b", "c", "d"] {
        let store = place.open().await;
        nodes.spawn(async move {
            add(&store, id, false).await;
            for _ in 0..10 {
                loop {
                    let read = read(&store).await;
                    let state = format!("{}{id}", read.state.as_deref().unwrap_or_default());
                    if write(&store, &read, id, &state).await {
                        break;
                    }
                }
            }
        });
    }
    nodes.join_all().await;
    let state = read(&place.open().await).await.state.unwrap();
    assert_eq!(state.len(), 40);
    assert!(["a", "b", "c", "d"].iter().all(|id| state.matches(id).count() == 10), "{state}");
}
