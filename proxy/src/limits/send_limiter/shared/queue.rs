//! Who waits on this node for the send slots that nodes share, and what of them this node has. Pure. Which node gets the next one is not
//! decided here ([`super::state`]).

use super::super::fair_queue::{Class, Id, Waiters};
use super::state::{ByClass, CLASSES};

/// The waiters and the slots of this node.
#[derive(Debug, Default)]
pub(crate) struct NodeQueue {
    waiters: Waiters,
    free: ByClass,
    held: ByClass,
    ended: ByClass,
    /// How many have ended and are reported, and who has them now is not known yet.
    reported: u32,
    others_wait: u32,
    /// No other node hears of a slot that ends: it stays here.
    alone: bool,
    /// Nothing has been agreed for so long that this node has its share of the limit instead of what it was granted.
    own_share: Option<u32>,
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
        self.waiters.arrive(class)
    }

    pub(crate) fn give_up(&mut self, id: Id, class: Class) {
        self.waiters.give_up(id, class);
    }

    /// A holder has ended. Its slot goes to the next node, unless the database cannot be asked.
    pub(crate) fn release(&mut self, class: Class) {
        self.held.take(class, 1);
        if self.own_share.is_some() {
            return;
        }
        let to = if self.alone { &mut self.free } else { &mut self.ended };
        to.add(class, 1);
    }

    /// The next waiter that gets a slot of this node's, if one does.
    pub(crate) fn grant(&mut self) -> Option<Id> {
        let has_room = |class: &Class| match self.own_share {
            Some(share) => self.share_has_room(share, *class),
            None => self.free.of(*class) > 0,
        };
        let class = CLASSES.into_iter().find(|class| has_room(class) && self.waiters.count(*class) > 0)?;
        self.free.take(class, 1);
        self.held.add(class, 1);
        self.waiters.take(class)
    }

    /// The last slot of a share is kept for a client that is connected, where there is more than one.
    fn share_has_room(&self, share: u32, class: Class) -> bool {
        let most_in_background = share.saturating_sub(1).max(1);
        self.held.sum() < share && (class == Class::Live || self.held.of(class) < most_in_background)
    }

    /// How many have ended that waiting sessions may have by now.
    pub(crate) fn unanswered(&self) -> usize {
        usize::try_from(self.ended.sum().saturating_add(self.reported)).unwrap_or(usize::MAX)
    }

    /// How many wait here.
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
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

    /// What is reported now. A slot that no session takes goes with it.
    pub(crate) fn count(&mut self) -> Counted {
        // Nothing is given on this node's own account before the answer is known.
        (self.free, self.own_share) = (ByClass::default(), None);
        self.reported = self.reported.saturating_add(self.ended.sum());
        let mut waiting = ByClass::default();
        for class in CLASSES {
            waiting.set(class, u32::try_from(self.waiters.count(class)).unwrap_or(u32::MAX));
        }
        Counted { in_use: self.held, waiting, ended: std::mem::take(&mut self.ended) }
    }

    /// This node has so many slots. Those that are neither held nor ended are free, also the ones that ended since the report was made and
    /// stayed here because no other node could be asked.
    pub(crate) fn granted(&mut self, slots: ByClass, others_wait: u32) {
        for class in CLASSES {
            let used = self.held.of(class).saturating_add(self.ended.of(class));
            self.free.set(class, slots.of(class).saturating_sub(used));
        }
        (self.reported, self.own_share) = (0, None);
        self.others_wait = others_wait;
    }

    /// The row was read, and the last write was lost: the slots that it lists for this node belong to the sessions that
    /// waits here.
    pub(crate) fn kept(&mut self, slots: ByClass) {
        if !self.alone || self.own_share.is_some() {
            return;
        }
        for class in CLASSES {
            self.free.set(class, slots.of(class).saturating_sub(self.held.of(class)));
        }
    }

    /// Whether the database cannot be asked: then what this node has stays with it, or it has its share of the limit.
    pub(crate) fn set_alone(&mut self, alone: bool, own_share: Option<u32>) {
        self.own_share = own_share.filter(|_| alone);
        if alone {
            self.reported = 0;
        }
        if self.own_share.is_some() {
            (self.free, self.ended) = (ByClass::default(), ByClass::default());
        }
        if alone && !self.alone {
            let ended = std::mem::take(&mut self.ended);
            CLASSES.into_iter().for_each(|class| self.free.add(class, ended.of(class)));
            self.others_wait = 0;
        }
        self.alone = alone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_that_ends_while_nothing_can_be_written_is_used_again() {
        let mut queue = NodeQueue::default();
        let ids: Vec<_> = (0..4).map(|_| queue.arrive(Class::Live)).collect();
        queue.granted(ByClass::new(2, 0), 0);
        assert_eq!([queue.grant(), queue.grant(), queue.grant()], [Some(ids[0]), Some(ids[1]), None]);
        // It has ended and was reported, which may have been written or not.
        queue.release(Class::Live);
        queue.kept(ByClass::new(2, 0));
        queue.count();
        queue.set_alone(true, None);
        assert_eq!(queue.grant(), None);
        // The row says that it was not.
        queue.kept(ByClass::new(2, 0));
        assert_eq!([queue.grant(), queue.grant()], [Some(ids[2]), None]);
        queue.count();
        queue.set_alone(true, None);
        // One that ends while the database cannot be asked stays here in any case, and counts once.
        queue.release(Class::Live);
        queue.kept(ByClass::new(2, 0));
        assert_eq!([queue.grant(), queue.grant()], [Some(ids[3]), None]);
        // The row says that another node has it.
        queue.arrive(Class::Live);
        queue.release(Class::Live);
        queue.count();
        queue.set_alone(true, None);
        queue.kept(ByClass::new(1, 0));
        assert_eq!(queue.grant(), None);
    }

    #[test]
    fn node_has_its_share_while_nothing_can_be_written() {
        let mut queue = NodeQueue::default();
        let ids =
            [Class::Background, Class::Background, Class::Live, Class::Live].map(|class| (queue.arrive(class), class));
        // The row is read and not written, again and again.
        queue.count();
        queue.set_alone(true, None);
        assert_eq!(queue.grant(), None);
        for _ in 0..2 {
            queue.count();
            queue.set_alone(true, Some(2));
        }
        assert_eq!([queue.grant(), queue.grant(), queue.grant()], [Some(ids[2].0), Some(ids[3].0), None]);
        // What ends stays within the share, and the background takes no more of it than it may.
        queue.release(Class::Live);
        queue.release(Class::Live);
        queue.count();
        queue.set_alone(true, Some(2));
        assert_eq!([queue.grant(), queue.grant()], [Some(ids[0].0), None]);
        // Then what was agreed on counts again.
        let counted = queue.count();
        assert_eq!(counted.in_use, ByClass::new(0, 1));
        queue.granted(ByClass::new(0, 1), 0);
        queue.set_alone(false, None);
        assert_eq!(queue.grant(), None);
    }

    #[test]
    fn slot_freed_during_the_first_read_after_an_outage_is_returned() {
        let mut queue = NodeQueue::default();
        queue.arrive(Class::Live);
        queue.granted(ByClass::new(1, 0), 0);
        assert!(queue.grant().is_some());
        queue.set_alone(true, None);
        queue.kept(ByClass::new(1, 0));
        queue.count();
        // While the row is written.
        queue.release(Class::Live);
        queue.granted(ByClass::new(1, 0), 0);
        queue.set_alone(false, None);
        assert!(queue.has_ended());
    }

    #[test]
    fn node_with_more_than_its_share_gives_none_of_it_again() {
        let mut queue = NodeQueue::default();
        for _ in 0..4 {
            queue.arrive(Class::Live);
        }
        queue.granted(ByClass::new(3, 0), 0);
        assert!((0..3).all(|_| queue.grant().is_some()));
        queue.set_alone(true, Some(1));
        queue.release(Class::Live);
        queue.release(Class::Live);
        assert_eq!(queue.grant(), None);
        queue.release(Class::Live);
        assert!(queue.grant().is_some());
    }
}
