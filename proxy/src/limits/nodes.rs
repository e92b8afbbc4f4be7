//! This process as one of the nodes that share a database: the name under which it has what nodes share, and whether it hears the
//! database. Only with PostgreSQL: a SQLite store belongs to one process.

pub(crate) mod contact;
pub(crate) mod send_limits;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(test)]
use oxpost_token_store::store::nodes::NodeLease;
use oxpost_token_store::store::nodes::{NODE_LEASE, NewNode};
use oxpost_token_store::{Store, StoreError};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use contact::Membership;
pub(crate) use contact::{FALLBACK_AFTER, Mode};

/// How often a node says that it is alive. Two of these may fail before its lease ends.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// After how many heartbeats unused rows of sending limits are removed.
const FORGET_EVERY: u32 = 60;

/// How long the end waits to say that this node ends.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// This node among the others.
#[derive(Debug)]
pub struct Nodes {
    store: Store,
    name: String,
    /// The send limits of the configuration, for people to compare.
    send_limits: String,
    inner: Mutex<Membership>,
    joining: tokio::sync::Mutex<()>,
    ended: AtomicBool,
}

impl Nodes {
    /// A node with this name for people, if the store is one that nodes share.
    pub fn of(store: &Store, name: &str, send_limits: String) -> Option<Self> {
        store.is_shared_by_nodes().then(|| Self { send_limits, ..Self::new(store.clone(), name) })
    }

    pub(crate) fn new(store: Store, name: &str) -> Self {
        Self {
            store,
            name: name.to_owned(),
            send_limits: String::new(),
            inner: Mutex::default(),
            joining: tokio::sync::Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// The store that is shared.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The id of this node. One that was removed gets another one.
    ///
    /// # Errors
    /// The store does not take it.
    pub(crate) async fn id(&self) -> Result<String, StoreError> {
        let known = || self.inner().id().map(str::to_owned);
        if let Some(id) = known() {
            return Ok(id);
        }
        let _joining = self.joining.lock().await;
        if let Some(id) = known() {
            return Ok(id);
        }
        let id = Store::new_node_id();
        let was_cut_off = self.inner().contact.was_cut_off(Instant::now());
        let new = NewNode { id: &id, name: &self.name, send_limits: &self.send_limits, was_cut_off };
        self.store.add_node(new).await?;
        debug!(node = %id, "this process is a node of the database");
        self.inner().joined(id.clone(), Instant::now());
        // If that fails, the next renewal does it.
        let all = self.store.nodes(FALLBACK_AFTER).await?;
        self.inner().started(&all, Instant::now());
        Ok(id)
    }

    /// Whether this process has left the nodes, because it is stopping.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The node of this id is gone.
    pub(crate) fn forget(&self, id: &str) {
        let mut inner = self.inner();
        if inner.id() == Some(id) {
            inner.was_removed();
            warn!(
                "this node sent no heartbeat for {} seconds; the other nodes have taken over its share of the sending limits",
                NODE_LEASE.as_secs()
            );
        }
    }

    /// A beat has succeeded, or not. What a single mailbox is refused (its row is locked) says nothing of the database.
    pub(crate) fn heard(&self, answered: bool) {
        let (mut inner, now) = (self.inner(), Instant::now());
        let was = inner.contact.is_lost();
        if answered {
            inner.contact.answered(now);
        } else {
            inner.contact.failed(now);
        }
        match (was, inner.contact.is_lost()) {
            (false, true) => info!(
                nodes = inner.count(),
                "the database cannot be reached: this node keeps the send slots it has, and after {} seconds its share of the messages of a minute",
                FALLBACK_AFTER.as_secs()
            ),
            (true, false) => info!("the database can be reached again; sending limits are shared by all nodes again"),
            _ => {}
        }
    }

    /// How far what nodes share can be relied on.
    pub(crate) fn mode(&self) -> Mode {
        self.inner().contact.mode(Instant::now())
    }

    /// The part of a limit that is this node's when nodes cannot agree: those of all nodes add up to the limit.
    pub(crate) fn share_of(&self, limit: u32) -> u32 {
        self.inner().share_of(limit)
    }

    /// The part of a limit of send slots that this node keeps to while it asks for more of them; `None`: what nodes agree on.
    pub(crate) fn most_slots(&self, limit: u32) -> Option<u32> {
        self.inner().most_slots(limit, Instant::now())
    }

    /// Says that this node is alive until `stop`, and removes others that are not; then says that it ends.
    pub async fn keep(&self, stop: CancellationToken) {
        let mut beats = 0_u32;
        loop {
            let outcome = self.beat(beats.is_multiple_of(FORGET_EVERY)).await;
            if let Err(error) = &outcome {
                debug!("this node cannot say that it is alive: {error}");
                self.inner().missed_a_beat();
            }
            self.heard(outcome.is_ok());
            beats = beats.wrapping_add(1);
            if stop.run_until_cancelled(sleep(HEARTBEAT_INTERVAL)).await.is_none() {
                break;
            }
        }
        // A removed row must not make this node join again.
        self.ended.store(true, Ordering::SeqCst);
        let id = self.inner().id().map(str::to_owned);
        if let Some(id) = id {
            let _ = timeout(LEAVE_TIMEOUT, self.store.remove_node(&id)).await;
        }
    }

    async fn beat(&self, forget: bool) -> Result<(), StoreError> {
        let id = self.id().await?;
        if !self.store.renew_node(&id).await? {
            self.forget(&id);
            self.id().await?;
        }
        if forget {
            self.store.forget_send_limits().await?;
        }
        let all = self.store.nodes(FALLBACK_AFTER).await?;
        let dead = {
            let (mut inner, now) = (self.inner(), Instant::now());
            inner.started(&all, now);
            inner.saw(all, now)
        };
        for node in dead {
            if self.store.remove_dead_node(&node).await? {
                info!(
                    "a node sent no heartbeat for {} seconds; its share is free for the others",
                    NODE_LEASE.as_secs()
                );
            }
        }
        Ok(())
    }

    /// As if this node had seen these others at its renewals since long ago.
    #[cfg(test)]
    pub(crate) fn has_seen(&self, others: &[&str]) {
        let (mut inner, now) = (self.inner(), Instant::now());
        let ids = inner.id().into_iter().chain(others.iter().copied()).map(str::to_owned).collect::<Vec<_>>();
        let mut all: Vec<_> = ids.into_iter().map(|id| NodeLease { id, until: 0, was_cut_off: false }).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        inner.saw(all, now + NODE_LEASE);
    }

    fn inner(&self) -> MutexGuard<'_, Membership> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
