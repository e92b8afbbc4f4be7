//! Who waits on this node for the send slots that nodes share, and what of them this node has. Pure. Which node gets the next one is not
//! decided here ([`super::state`]).

use std::collections::VecDeque;

use super::super::fair_queue::{Class, Id};
use super::state::{ByClass, CLASSES};

/// The waiters and the slots of this node.
#[derive(Debug, Default)]
pub(crate) struct NodeQueue {
    live: VecDeque<Id>,
    background: VecDeque<Id>,
    free: ByClass,
    held: ByClass,
    ended: ByClass,
    others_wait: u32,
    /// Nobody hears of a slot that ends: it stays here.
    alone: bool,
    next: Id,
}

/// What is reported of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(super) in_use: ByClass,
    pub(super) waiting: ByClass,
    pub(super) ended: ByClass,
}

impl NodeQueue {
    pub(crate) fn arrive(&mut self, class: Class) -> Id {
        self.next += 1;
        let id = self.next;
        self.waiting(class).push_back(id);
        id
    }

    pub(crate) fn give_up(&mut self, id: Id, class: Class) {
        self.waiting(class).retain(|waiting| *waiting != id);
    }

    /// A holder has ended. Its slot goes to whichever node is next, unless nobody can be asked.
    pub(crate) fn release(&mut self, class: Class) {
        self.held.take(class, 1);
        let to = if self.alone { &mut self.free } else { &mut self.ended };
        to.add(class, 1);
    }

    /// The next waiter that gets a slot of this node's, if one does.
    pub(crate) fn grant(&mut self) -> Option<Id> {
        let class = CLASSES.into_iter().find(|class| self.free.of(*class) > 0 && !self.waiting(*class).is_empty())?;
        self.free.take(class, 1);
        self.held.add(class, 1);
        self.waiting(class).pop_front()
    }

    /// How many wait here.
    pub(crate) fn len(&self) -> usize {
        self.live.len() + self.background.len()
    }

    /// How many wait here and at other nodes.
    pub(crate) fn wanted(&self) -> usize {
        self.len().saturating_add(usize::try_from(self.others_wait).unwrap_or(usize::MAX))
    }

    /// Whether slots are in use here.
    pub(crate) fn is_in_use(&self) -> bool {
        self.held.sum() > 0
    }

    /// Whether something is to be reported.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.sum() > 0 || self.free.sum() > 0
    }

    /// What is reported now. A slot that nobody takes goes with it.
    pub(crate) fn count(&mut self) -> Counted {
        self.free = ByClass::default();
        let count = |waiting: &VecDeque<Id>| u32::try_from(waiting.len()).unwrap_or(u32::MAX);
        let mut waiting = ByClass::default();
        waiting.set(Class::Live, count(&self.live));
        waiting.set(Class::Background, count(&self.background));
        Counted { in_use: self.held, waiting, ended: std::mem::take(&mut self.ended) }
    }

    /// This node has so many slots. What has ended since it was counted is among them.
    pub(crate) fn granted(&mut self, slots: ByClass, counted: Counted, others_wait: u32) {
        for class in CLASSES {
            self.free.set(class, slots.of(class).saturating_sub(counted.in_use.of(class)));
        }
        self.others_wait = others_wait;
    }

    /// Whether nobody can be asked: then what this node has stays with it.
    pub(crate) fn set_alone(&mut self, alone: bool) {
        if alone && !self.alone {
            let ended = std::mem::take(&mut self.ended);
            CLASSES.into_iter().for_each(|class| self.free.add(class, ended.of(class)));
            self.others_wait = 0;
        }
        self.alone = alone;
    }

    fn waiting(&mut self, class: Class) -> &mut VecDeque<Id> {
        match class {
            Class::Live => &mut self.live,
            Class::Background => &mut self.background,
        }
    }
}
