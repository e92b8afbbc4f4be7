//! Which waiter is granted a slot next: in order within a class, and two classes share. Pure.

use std::collections::VecDeque;

/// What a slot or a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A client that is connected and waits.
    Live,
    /// Something that can wait for minutes.
    Background,
}

/// While both classes wait, so many slots go to [`Class::Live`] for each that goes to [`Class::Background`].
pub(super) const LIVE_SHARE: u32 = 3;

/// A waiter or a holder.
pub(super) type Id = u64;

/// Those who wait for a slot, in order, by class.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    live: VecDeque<Id>,
    background: VecDeque<Id>,
    next: Id,
}

impl Waiters {
    pub(super) fn arrive(&mut self, class: Class) -> Id {
        self.next += 1;
        let id = self.next;
        self.of_class(class).push_back(id);
        id
    }

    pub(super) fn give_up(&mut self, id: Id, class: Class) {
        self.of_class(class).retain(|waiting| *waiting != id);
    }

    pub(super) fn take(&mut self, class: Class) -> Option<Id> {
        self.of_class(class).pop_front()
    }

    pub(super) fn count(&self, class: Class) -> usize {
        match class {
            Class::Live => self.live.len(),
            Class::Background => self.background.len(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len() + self.background.len()
    }

    fn of_class(&mut self, class: Class) -> &mut VecDeque<Id> {
        match class {
            Class::Live => &mut self.live,
            Class::Background => &mut self.background,
        }
    }
}

/// Slots, those who have them, and those who wait.
#[derive(Debug)]
pub(super) struct FairQueue {
    capacity: usize,
    held: usize,
    held_in_background: usize,
    waiters: Waiters,
    /// Slots that have gone to live waiters since one last went to the background, while the background waited.
    live_in_a_row: u32,
}

impl FairQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, held: 0, held_in_background: 0, waiters: Waiters::default(), live_in_a_row: 0 }
    }

    /// Adds a waiter. Ask [`Self::grant`] next.
    pub(super) fn arrive(&mut self, class: Class) -> Id {
        self.waiters.arrive(class)
    }

    /// A waiter gives up.
    pub(super) fn give_up(&mut self, id: Id, class: Class) {
        self.waiters.give_up(id, class);
    }

    /// A holder is done. Ask [`Self::grant`] next.
    pub(super) fn release(&mut self, class: Class) {
        self.held = self.held.saturating_sub(1);
        if class == Class::Background {
            self.held_in_background = self.held_in_background.saturating_sub(1);
        }
    }

    /// The next waiter that gets a slot, if one does.
    pub(super) fn grant(&mut self) -> Option<Id> {
        if self.held >= self.capacity {
            return None;
        }
        // The last slot is kept for a connected client, where there is more than one.
        let room = self.held_in_background < self.capacity.saturating_sub(1).max(1);
        let background_may = room && self.waiters.count(Class::Background) > 0;
        let no_live = self.waiters.count(Class::Live) == 0;
        let background_next = background_may && (no_live || self.live_in_a_row >= LIVE_SHARE);
        let granted = self.waiters.take(if background_next { Class::Background } else { Class::Live })?;
        self.held += 1;
        if background_next {
            self.held_in_background += 1;
            self.live_in_a_row = 0;
        } else if background_may {
            self.live_in_a_row += 1;
        }
        Some(granted)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who gets the slots, one after the other, each released before the next is granted.
    fn in_turn(queue: &mut FairQueue, classes: &[(Id, Class)]) -> Vec<Id> {
        let class_of = |id| classes.iter().find(|(other, _)| *other == id).unwrap().1;
        let mut granted = Vec::new();
        while let Some(id) = queue.grant() {
            granted.push(id);
            queue.release(class_of(id));
        }
        granted
    }

    #[test]
    fn waiters_of_a_class_go_in_order_and_may_give_up() {
        let mut queue = FairQueue::new(1);
        let ids: Vec<Id> = (0..4).map(|_| queue.arrive(Class::Live)).collect();
        assert_eq!((queue.grant(), queue.grant()), (Some(ids[0]), None));
        queue.give_up(ids[1], Class::Live);
        queue.give_up(ids[2], Class::Background);
        assert_eq!(queue.len(), 2);
        queue.release(Class::Live);
        assert_eq!((queue.grant(), queue.grant()), (Some(ids[2]), None));
    }

    #[test]
    fn neither_class_starves_the_other() {
        for capacity in [1, 3] {
            let mut queue = FairQueue::new(capacity);
            let live: Vec<_> = (0..12).map(|_| (queue.arrive(Class::Live), Class::Live)).collect();
            let background: Vec<_> = (0..12).map(|_| (queue.arrive(Class::Background), Class::Background)).collect();
            let all = [live.clone(), background.clone()].concat();
            let order = in_turn(&mut queue, &all);
            let place = |id: Id| order.iter().position(|other| *other == id).unwrap();
            let places: Vec<usize> = background.iter().take(4).map(|(id, _)| place(*id)).collect();
            assert_eq!(places, [3, 7, 11, 15], "every fourth");
            assert_eq!(order.len(), 24);
        }
    }

    #[test]
    fn background_leaves_one_slot_to_connected_clients() {
        let mut queue = FairQueue::new(3);
        for _ in 0..5 {
            queue.arrive(Class::Background);
        }
        assert_eq!((queue.grant(), queue.grant(), queue.grant()), (Some(1), Some(2), None));
        let live = queue.arrive(Class::Live);
        assert_eq!((queue.grant(), queue.grant()), (Some(live), None));
        queue.release(Class::Live);
        assert_eq!(queue.grant(), None);
        queue.release(Class::Background);
        assert_eq!(queue.grant(), Some(3));
        // With one slot alone there is none to leave.
        let mut queue = FairQueue::new(1);
        queue.arrive(Class::Background);
        assert_eq!(queue.grant(), Some(1));
    }

    #[test]
    fn background_share_does_not_accumulate() {
        let mut queue = FairQueue::new(1);
        // No background work waits while these go.
        let before: Vec<_> = (0..9).map(|_| (queue.arrive(Class::Live), Class::Live)).collect();
        assert_eq!(in_turn(&mut queue, &before).len(), 9);
        let background = queue.arrive(Class::Background);
        let live: Vec<_> = (0..3).map(|_| (queue.arrive(Class::Live), Class::Live)).collect();
        let order = in_turn(&mut queue, &[vec![(background, Class::Background)], live.clone()].concat());
        assert_eq!(order, [live[0].0, live[1].0, live[2].0, background]);
    }
}
