//! A few slots that are waited for in fair order ([`FairQueue`]), and given back when their holder is dropped.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::fair_queue::{Class, FairQueue, Id};
use super::shared::queue::{Counted, NodeQueue};
use super::shared::state::ByClass;

/// The slots.
#[derive(Debug)]
pub(super) struct FairSlots {
    inner: Mutex<Inner>,
    /// Counts what could change whether a holder must make room.
    changes: watch::Sender<u64>,
    /// Notified of changes, where the slots are shared with other nodes.
    news: Option<Arc<Notify>>,
}

/// Whose slots they are.
#[derive(Debug)]
enum Queue {
    /// This process's.
    Own(FairQueue),
    /// Those of several nodes.
    Shared(NodeQueue),
}

impl Queue {
    fn arrive(&mut self, class: Class) -> Id {
        match self {
            Self::Own(queue) => queue.arrive(class),
            Self::Shared(queue) => queue.arrive(class),
        }
    }

    fn give_up(&mut self, id: Id, class: Class) {
        match self {
            Self::Own(queue) => queue.give_up(id, class),
            Self::Shared(queue) => queue.give_up(id, class),
        }
    }

    fn release(&mut self, class: Class) {
        match self {
            Self::Own(queue) => queue.release(class),
            Self::Shared(queue) => queue.release(class),
        }
    }

    fn grant(&mut self) -> Option<Id> {
        match self {
            Self::Own(queue) => queue.grant(),
            Self::Shared(queue) => queue.grant(),
        }
    }

    /// How many wait here.
    fn len(&self) -> usize {
        match self {
            Self::Own(queue) => queue.len(),
            Self::Shared(queue) => queue.len(),
        }
    }

    /// Slots that were released and may have been granted to a waiter by now.
    fn unanswered(&self) -> usize {
        match self {
            Self::Own(_) => 0,
            Self::Shared(queue) => queue.unanswered(),
        }
    }

    /// How many wait wherever.
    fn wanted(&self) -> usize {
        match self {
            Self::Own(queue) => queue.len(),
            Self::Shared(queue) => queue.wanted(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    waiting: HashMap<Id, oneshot::Sender<()>>,
    /// When each holder that is idle is idle for too long; `None` once it makes room.
    idle: HashMap<Id, Option<Instant>>,
}

/// One slot. It is free again when this is dropped.
pub(super) struct HeldSlot {
    slots: Arc<FairSlots>,
    id: Id,
    class: Class,
    /// Its idleness was noted; while it is in use nothing is locked.
    noted_idle: bool,
    /// Ready when the answer to whether it must make room may have changed.
    change: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// A waiter in the queue; removed when it is dropped.
struct QueuedWaiter {
    slots: Arc<FairSlots>,
    id: Id,
    class: Class,
    granted: oneshot::Receiver<()>,
}

impl FairSlots {
    pub(super) fn new(capacity: usize) -> Self {
        Self::of(Queue::Own(FairQueue::new(capacity)), None)
    }

    /// Slots that nodes share: there are none until some are granted.
    pub(super) fn shared(news: Arc<Notify>) -> Self {
        Self::of(Queue::Shared(NodeQueue::default()), Some(news))
    }

    fn of(queue: Queue, news: Option<Arc<Notify>>) -> Self {
        let inner = Inner { queue, waiting: HashMap::new(), idle: HashMap::new() };
        Self { inner: Mutex::new(inner), changes: watch::Sender::new(0), news }
    }

    /// Waits for a slot, for as long as this is awaited.
    pub(super) async fn acquire(self: &Arc<Self>, class: Class) -> HeldSlot {
        let (grant, granted) = oneshot::channel();
        let id = {
            let mut inner = self.lock();
            let id = inner.queue.arrive(class);
            inner.waiting.insert(id, grant);
            id
        };
        let mut waiter = QueuedWaiter { slots: Arc::clone(self), id, class, granted };
        self.pass_on();
        // The sender is only dropped once it has sent.
        let _ = (&mut waiter.granted).await;
        waiter.into_held()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// Until there is a waiter.
    pub(super) async fn is_wanted(&self) {
        let mut changes = self.changes.subscribe();
        while self.lock().queue.wanted() == 0 {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The report for nodes that share the slots; see [`NodeQueue::count`].
    pub(super) fn count(&self) -> Counted {
        self.with_shared(NodeQueue::count)
    }

    /// Nodes have agreed on who has how many; see [`NodeQueue::granted`].
    pub(super) fn granted(&self, slots: ByClass, others_wait: u32) {
        self.with_shared(|queue| queue.granted(slots, others_wait));
        self.give_free();
    }

    /// The row was read and not written; see [`NodeQueue::kept`].
    pub(super) fn kept(&self, slots: ByClass) {
        self.with_shared(|queue| queue.kept(slots));
        self.give_free();
    }

    /// Whether other nodes cannot be asked; see [`NodeQueue::set_alone`].
    pub(super) fn set_alone(&self, alone: bool, own_share: Option<u32>) {
        self.with_shared(|queue| queue.set_alone(alone, own_share));
        self.give_free();
    }

    /// Whether slots that nodes share are in use here.
    pub(super) fn is_in_use(&self) -> bool {
        self.with_shared(|queue| queue.is_in_use())
    }

    /// Whether nodes that share the slots must hear of a change.
    pub(super) fn has_ended(&self) -> bool {
        self.with_shared(|queue| queue.has_ended())
    }

    fn with_shared<T: Default>(&self, act: impl FnOnce(&mut NodeQueue) -> T) -> T {
        match &mut self.lock().queue {
            Queue::Own(_) => T::default(),
            Queue::Shared(queue) => act(queue),
        }
    }

    /// Gives free slots to those who are next, and lets other nodes know.
    fn pass_on(&self) {
        self.give_free();
        if let Some(news) = &self.news {
            news.notify_one();
        }
    }

    /// Gives free slots to those who are next.
    fn give_free(&self) {
        let mut inner = self.lock();
        while let Some(id) = inner.queue.grant() {
            if let Some(grant) = inner.waiting.remove(&id) {
                let _ = grant.send(());
            }
        }
        drop(inner);
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether this idle holder is among those that must make room: as many as wait, those that have been idle for longest.
    fn must_make_room(&self, id: Id) -> bool {
        let Some(Some(due)) = self.idle.get(&id) else { return false };
        let leaving = self.idle.values().filter(|due| due.is_none()).count().saturating_add(self.queue.unanswered());
        let ahead = self.idle.iter().filter(|(other, at)| at.is_some_and(|at| (at, **other) < (*due, id))).count();
        leaving + ahead < self.queue.wanted()
    }
}

impl QueuedWaiter {
    fn into_held(self) -> HeldSlot {
        HeldSlot { slots: Arc::clone(&self.slots), id: self.id, class: self.class, noted_idle: false, change: None }
    }
}

impl Drop for QueuedWaiter {
    fn drop(&mut self) {
        let mut inner = self.slots.lock();
        if inner.waiting.remove(&self.id).is_some() {
            inner.queue.give_up(self.id, self.class);
        } else if self.granted.try_recv().is_ok() {
            // It was granted after the waiter had stopped.
            inner.queue.release(self.class);
        } else {
            return;
        }
        drop(inner);
        self.slots.pass_on();
    }
}

impl fmt::Debug for HeldSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldSlot").field("id", &self.id).field("class", &self.class).finish_non_exhaustive()
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        {
            let mut inner = self.slots.lock();
            inner.idle.remove(&self.id);
            inner.queue.release(self.class);
        }
        self.slots.pass_on();
    }
}

impl HeldSlot {
    /// The holder is idle, and for too long from this moment on while others wait. Whether it is one of those that must make room
    /// then; it is woken when that changes.
    pub(super) fn poll_must_make_room(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        self.note_idle(due);
        loop {
            let mut changes = self.slots.changes.subscribe();
            let must = self.slots.lock().must_make_room(self.id);
            let change = self.change.get_or_insert_with(|| {
                Box::pin(async move {
                    if changes.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                })
            });
            match change.as_mut().poll(cx) {
                Poll::Pending => return must,
                Poll::Ready(()) => self.change = None,
            }
        }
    }

    /// The holder does something.
    pub(super) fn busy(&mut self) {
        if std::mem::take(&mut self.noted_idle) {
            self.slots.lock().idle.remove(&self.id);
            self.slots.changed();
        }
    }

    /// The holder is ending; the slot is free when it is dropped.
    pub(super) fn mark_leaving(&mut self) {
        self.noted_idle = false;
        self.slots.lock().idle.insert(self.id, None);
        self.slots.changed();
    }

    fn note_idle(&mut self, due: Instant) {
        self.noted_idle = true;
        let before = self.slots.lock().idle.insert(self.id, Some(due));
        if before != Some(Some(due)) {
            self.slots.changed();
        }
    }
}

#[cfg(test)]
mod tests;
