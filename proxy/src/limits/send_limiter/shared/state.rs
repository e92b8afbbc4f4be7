//! What nodes share about the sending limits of one mailbox at one server, and what becomes of it when a node reports: a pure function
//! of the state, the time and the report. The state is a row that is written over the version it was read with, so of nodes that decide
//! at the same moment one decides and the others look again.
//!
//! - A send slot is granted to a node, for a class, when one is free: first to the node with the fewest, then to the one that has waited
//!   for longest. Classes share as in [`super::super::fair_queue`]. The node that frees a slot grants it, also to another node.
//! - A node that is gone has no slots. It is gone when its row is, and then for good: so what it had can be granted again.
//! - A report says how things are at its node, and how much has happened there since the one before; each is counted once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::fair_queue::{Class, LIVE_SHARE};
use super::recipients_per_day::RecipientsPerDay;
use super::window::Window;

/// How long no node begins anything after the server has said that it was too much; each further time twice as long.
const FIRST_PAUSE: i64 = 1_000;

/// The longest of these pauses.
const LONGEST_PAUSE: i64 = 30_000;

/// After so long without another such answer the next one is the first again.
const PAUSES_FORGOTTEN: i64 = 60_000;

/// How long a row is kept in which a node still holds something. No session is silent for so long.
const HELD_FOR: i64 = 48 * 3_600_000;

/// Both classes, in the order in which they are looked at.
pub(super) const CLASSES: [Class; 2] = [Class::Live, Class::Background];

/// Numbers by class.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ByClass {
    live: u32,
    background: u32,
}

impl ByClass {
    pub(super) fn of(self, class: Class) -> u32 {
        match class {
            Class::Live => self.live,
            Class::Background => self.background,
        }
    }

    pub(super) fn set(&mut self, class: Class, count: u32) {
        match class {
            Class::Live => self.live = count,
            Class::Background => self.background = count,
        }
    }

    pub(super) fn add(&mut self, class: Class, count: u32) {
        self.set(class, self.of(class).saturating_add(count));
    }

    pub(super) fn take(&mut self, class: Class, count: u32) {
        self.set(class, self.of(class).saturating_sub(count));
    }

    pub(super) fn sum(self) -> u32 {
        self.live.saturating_add(self.background)
    }

    #[cfg(test)]
    pub(crate) fn new(live: u32, background: u32) -> Self {
        Self { live, background }
    }
}

/// The limits as a node has them; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) slots: u32,
    pub(super) permits: u32,
    pub(super) recipients: u64,
}

/// What has happened at a node since its last report.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Happened {
    /// Slots whose holders have ended.
    pub(super) ended: ByClass,
    /// Permits that were used, and that will not be.
    pub(super) used: u32,
    pub(super) returned: u32,
    /// Recipients of messages that were sent.
    pub(super) recipients: u64,
    /// The server has said that it is too much.
    pub(super) refused: bool,
}

/// What a node reports.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// The number of what has happened: what came before is not counted again.
    pub(super) number: u64,
    pub(super) happened: Happened,
    /// Slots in use, and how many wait for one, at this moment.
    pub(super) in_use: ByClass,
    pub(super) waiting: ByClass,
    /// Permits that are wanted, those in hand among them.
    pub(super) permits: u32,
}

impl Report {
    /// The same from a node that may have this many slots at most: it asks for no more.
    pub(super) fn within(mut self, most_slots: Option<u32>) -> Self {
        let mut room = most_slots.map_or(u32::MAX, |most| most.saturating_sub(self.in_use.sum()));
        for class in CLASSES {
            let waiting = self.waiting.of(class).min(room);
            self.waiting.set(class, waiting);
            room -= waiting;
        }
        self
    }
}

/// The state.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    nodes: BTreeMap<String, Share>,
    live_in_a_row: u32,
    window: Window,
    day: RecipientsPerDay,
    pause: Option<Pause>,
}

/// What a node has, and waits for.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Share {
    number: u64,
    slots: ByClass,
    wanted: ByClass,
    since: i64,
    permits_wanted: u32,
    permits_since: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Pause {
    since: i64,
    length: i64,
}

/// What a node may do.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    /// Slots, those in use among them.
    pub(super) slots: ByClass,
    /// Permits: for how many milliseconds from now, and how many.
    pub(super) permits: Vec<(i64, u32)>,
    /// How many wait for a slot at other nodes.
    pub(super) others_wait: u32,
    /// In how many milliseconds it is worth asking again for a permit, if one is still wanted.
    pub(super) ask_again: Option<i64>,
}

impl Share {
    fn slots(&self) -> u32 {
        self.slots.sum()
    }

    fn wanted(&self) -> u32 {
        self.wanted.sum()
    }
}

impl State {
    /// The state at this moment, with the nodes there are.
    pub(super) fn tick(&mut self, nodes: &[String], now: i64) {
        let is_gone = |node: &str| !nodes.iter().any(|other| other == node);
        self.nodes.retain(|node, _| !is_gone(node));
        self.window.close(is_gone);
        self.window.tick(now);
        self.day.tick(now);
        for share in self.nodes.values_mut() {
            share.since = share.since.min(now);
            share.permits_since = share.permits_since.min(now);
        }
        // A clock that was set back ends a pause.
        self.pause = self.pause.filter(|pause| {
            pause.since <= now && now < pause.since.saturating_add(pause.length).saturating_add(PAUSES_FORGOTTEN)
        });
    }

    /// The number of the last report of a node that was counted.
    pub(super) fn number_of(&self, node: &str) -> u64 {
        self.nodes.get(node).map_or(0, |share| share.number)
    }

    /// The slots of a node.
    pub(super) fn slots_of(&self, node: &str) -> ByClass {
        self.nodes.get(node).map_or_else(ByClass::default, |share| share.slots)
    }

    /// Takes a report into the state, and grants what there is to grant, to every node. With a warning about the recipients of the day.
    pub(super) fn report(&mut self, node: &str, report: &Report, limits: Limits, now: i64) -> Option<u64> {
        let share = self.nodes.entry(node.to_owned()).or_default();
        let mut warning = None;
        if report.number > share.number {
            share.number = report.number;
            let happened = &report.happened;
            for class in CLASSES {
                share.slots.take(class, happened.ended.of(class));
            }
            self.window.settle(node, happened.used, happened.returned, now);
            if happened.recipients > 0 {
                warning = self.day.count(happened.recipients, limits.recipients, now);
            }
            if happened.refused {
                self.refused(now);
            }
        }
        let share = self.nodes.entry(node.to_owned()).or_default();
        let waited = share.wanted() > 0;
        for class in CLASSES {
            let in_use = report.in_use.of(class);
            let needed = in_use.saturating_add(report.waiting.of(class));
            // What is in use is in use, also if the node was taken for dead.
            let slots = share.slots.of(class).min(needed).max(in_use);
            share.slots.set(class, slots);
            share.wanted.set(class, needed.saturating_sub(slots));
        }
        if !waited && share.wanted() > 0 {
            share.since = now;
        }
        let waited = share.permits_wanted > 0;
        let in_hand: u32 = self.window.in_hand(node, now).iter().map(|(_, count)| *count).sum();
        share.permits_wanted = report.permits.saturating_sub(in_hand);
        if !waited && share.permits_wanted > 0 {
            share.permits_since = now;
        }
        if self.paused(now).is_none() {
            self.grant_slots(limits.slots, now);
            self.grant_permits(limits.permits, now);
        }
        warning
    }

    /// What a node may do now.
    pub(super) fn granted(&self, node: &str, limits: Limits, now: i64) -> Granted {
        let share = self.nodes.get(node).cloned().unwrap_or_default();
        let others = self.nodes.iter().filter(|(other, _)| *other != node);
        let permits = self.window.in_hand(node, now).into_iter().map(|(until, count)| (until - now, count)).collect();
        let due = match self.paused(now) {
            Some(left) => Some(left),
            None => self.window.available(limits.permits, now).err(),
        };
        Granted {
            slots: share.slots,
            permits,
            others_wait: others.map(|(_, share)| share.wanted()).sum(),
            ask_again: due.filter(|_| share.permits_wanted > 0),
        }
    }

    /// How much is waited for, by all nodes.
    pub(super) fn waiting(&self) -> u32 {
        self.nodes.values().map(|share| share.wanted().saturating_add(share.permits_wanted)).sum()
    }

    /// When the state says nothing any more.
    pub(super) fn ends(&self, now: i64) -> i64 {
        let is_held = self.nodes.values().any(|share| share.slots() > 0 || share.wanted() > 0);
        let held = if is_held { now.saturating_add(HELD_FOR) } else { 0 };
        let pause =
            self.pause.map_or(0, |pause| pause.since.saturating_add(pause.length).saturating_add(PAUSES_FORGOTTEN));
        held.max(pause).max(self.window.ends()).max(self.day.ends()).max(now)
    }

    fn refused(&mut self, now: i64) {
        let length = match self.pause {
            // Those that were on their way when the first one was refused say nothing new.
            Some(pause) if now < pause.since.saturating_add(pause.length) => return,
            Some(pause) => pause.length.saturating_mul(2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.pause = Some(Pause { since: now, length });
    }

    /// How long nothing is granted.
    fn paused(&self, now: i64) -> Option<i64> {
        let left = self.pause.map(|pause| pause.since.saturating_add(pause.length).saturating_sub(now));
        left.filter(|left| *left > 0)
    }

    fn grant_slots(&mut self, limit: u32, now: i64) {
        loop {
            let held: u32 = self.nodes.values().map(Share::slots).sum();
            if held >= limit {
                return;
            }
            let held_in_background: u32 = self.nodes.values().map(|share| share.slots.background).sum();
            let wants = |class| self.nodes.values().any(|share| share.wanted.of(class) > 0);
            // The last slot is kept for a client that is connected, where there is more than one.
            let background_may = held_in_background < limit.saturating_sub(1).max(1) && wants(Class::Background);
            let background_next = background_may && (!wants(Class::Live) || self.live_in_a_row >= LIVE_SHARE);
            let class = if background_next { Class::Background } else { Class::Live };
            let waiting = self.nodes.iter_mut().filter(|(_, share)| share.wanted.of(class) > 0);
            let Some((_, share)) = waiting.min_by_key(|(_, share)| (share.slots(), share.since)) else { return };
            share.slots.add(class, 1);
            share.wanted.take(class, 1);
            share.since = now;
            if background_next {
                self.live_in_a_row = 0;
            } else if background_may {
                self.live_in_a_row += 1;
            }
        }
    }

    fn grant_permits(&mut self, limit: u32, now: i64) {
        if limit == 0 {
            return;
        }
        loop {
            let in_hand = |node: &str| self.window.in_hand(node, now).iter().map(|(_, count)| *count).sum::<u32>();
            let waiting = self.nodes.iter().filter(|(_, share)| share.permits_wanted > 0);
            let next = waiting.min_by_key(|(node, share)| (in_hand(node), share.permits_since));
            let Some(node) = next.map(|(node, _)| node.clone()) else { return };
            if !self.window.available(limit, now).is_ok_and(|count| count > 0) {
                return;
            }
            self.window.grant(&node, now);
            if let Some(share) = self.nodes.get_mut(&node) {
                share.permits_wanted -= 1;
                share.permits_since = now;
            }
        }
    }
}

#[cfg(test)]
mod tests;
