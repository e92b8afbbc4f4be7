//! Whether this node hears the database that it shares with others, and what it may rely on if not. Pure.
//!
//! When the database is away, each node has a share of what all have together. What was granted before it went must have ended
//! by then, so no node begins with its share before that; and when it is back, a node that was cut off keeps to its share until whatever
//! others have sent in theirs has ended, too. A node that has just started does so as well if any other is cut off, or was a moment ago.

use std::collections::BTreeMap;
use std::time::Duration;

use oxpost_token_store::store::nodes::NodeLease;
use tokio::time::Instant;

/// At so many beats after the first one the lease of a dead node was the same: 15 seconds.
const BEATS_OF_A_LEASE: u32 = 3;

/// How long after the database was last heard a node begins with its share: the minute of the messages that were granted until then,
/// and the time for which a grant is good.
pub(crate) const FALLBACK_AFTER: Duration = Duration::from_secs(65);

/// A shorter outage than this causes no change to shares: nodes notice its beginning and its end some seconds apart.
const SHORT: Duration = Duration::from_secs(30);

/// What this node may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// What nodes share.
    Shared,
    /// What it was granted before.
    InHand,
    /// Its share.
    Share,
    /// What nodes share, and no more than its share of it.
    Settling,
}

/// How long a node has been one before it has a share: all others know of it by then.
const KNOWN_TO_ALL: Duration = Duration::from_secs(15);

/// How long after the database is back a node asks for no more send slots than its share: all others that were cut off renew their
/// leases every five seconds, and have said by then which slots they use.
const ALL_HAVE_REPORTED: Duration = Duration::from_secs(15);

/// This node among the others, as it was last seen.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    pub(crate) contact: Contact,
    id: Option<String>,
    joined: Option<Instant>,
    seen: Option<Instant>,
    /// All there were, in order, this one among them.
    all: Vec<String>,
    /// When the lease of each ends, and at how many beats without a gap it was the same.
    leases: BTreeMap<String, (i64, u32)>,
}

impl Membership {
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(crate) fn joined(&mut self, id: String, now: Instant) {
        (self.id, self.joined, self.seen) = (Some(id), Some(now), None);
    }

    /// These are all nodes, for the first time since this process started: from then on it is known whether others have done
    /// something that the database does not know of.
    pub(crate) fn started(&mut self, all: &[NodeLease], now: Instant) {
        let another_was = all.iter().any(|node| node.was_cut_off && Some(&node.id) != self.id.as_ref());
        self.contact.started(another_was, now);
    }

    pub(crate) fn was_removed(&mut self) {
        self.id = None;
    }

    /// This node has said that it is alive, and these are all. Gives back those that are dead: this node has seen, at one beat after
    /// the other, that they did not renew their lease.
    ///
    /// No clock decides that: one that is set forward, or a pause of all processes, would make every other node look dead.
    pub(crate) fn saw(&mut self, all: Vec<NodeLease>, now: Instant) -> Vec<NodeLease> {
        let mut leases = BTreeMap::new();
        for node in &all {
            let before = self.leases.get(&node.id).filter(|(until, _)| *until == node.until);
            leases.insert(node.id.clone(), (node.until, before.map_or(0, |(_, beats)| beats.saturating_add(1))));
        }
        let is_dead = |node: &NodeLease| {
            Some(&node.id) != self.id.as_ref()
                && leases.get(&node.id).is_some_and(|(_, beats)| *beats >= BEATS_OF_A_LEASE)
        };
        let (dead, alive): (Vec<_>, Vec<_>) = all.into_iter().partition(is_dead);
        self.all = alive.into_iter().map(|node| node.id).collect();
        (self.leases, self.seen) = (leases, Some(now));
        dead
    }

    /// A beat has failed: what was seen before it says nothing of the others, who may not have been able to renew their leases.
    pub(crate) fn missed_a_beat(&mut self) {
        self.leases.clear();
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len().max(1)
    }

    /// The most send slots that this node asks for, those in use among them; `None`: as many as it can use.
    pub(crate) fn most_slots(&self, limit: u32, now: Instant) -> Option<u32> {
        self.contact.others_may_use_unknown_slots(now).then(|| self.share_of(limit))
    }

    /// The part of a limit that is this node's when nodes cannot agree: those of all nodes add up to the limit.
    pub(crate) fn share_of(&self, limit: u32) -> u32 {
        let known_for = self.seen.zip(self.joined).map(|(seen, joined)| seen.saturating_duration_since(joined));
        let place = self.all.iter().position(|id| Some(id) == self.id.as_ref());
        share(limit, self.all.len(), place.filter(|_| known_for.is_some_and(|time| time >= KNOWN_TO_ALL)))
    }
}

/// When the database was heard.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    /// What others do was seen since this process started.
    has_started: bool,
    lost: Option<Instant>,
    settles_since: Option<Instant>,
}

impl Contact {
    /// What others do was seen; only the first time counts. One that was cut off may have used its share a moment ago.
    pub(crate) fn started(&mut self, another_was_cut_off: bool, now: Instant) {
        if !std::mem::replace(&mut self.has_started, true) && another_was_cut_off {
            self.settles_since = Some(now);
        }
    }

    /// Whether this node may have used its share, or may be about to, which the others should know when it joins them.
    pub(crate) fn was_cut_off(&self, now: Instant) -> bool {
        self.lost.is_some_and(|lost| now.saturating_duration_since(lost) >= SHORT)
            || self.has_started && self.mode(now) == Mode::Settling
    }

    fn others_may_use_unknown_slots(&self, now: Instant) -> bool {
        let is_within = |since: Option<Instant>| {
            since.is_some_and(|since| now.saturating_duration_since(since) < ALL_HAVE_REPORTED)
        };
        let is_cut_off = self.lost.is_some_and(|lost| now.saturating_duration_since(lost) >= SHORT);
        !self.has_started || is_cut_off || is_within(self.settles_since)
    }

    pub(crate) fn answered(&mut self, now: Instant) {
        if let Some(lost) = self.lost.take()
            && now.saturating_duration_since(lost) >= SHORT
        {
            self.settles_since = Some(now);
        }
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        self.lost.get_or_insert(now);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(crate) fn mode(&self, now: Instant) -> Mode {
        let settles = !self.has_started
            || self.settles_since.is_some_and(|at| now.saturating_duration_since(at) < FALLBACK_AFTER);
        match self.lost {
            Some(lost) if now.saturating_duration_since(lost) >= FALLBACK_AFTER => Mode::Share,
            Some(_) => Mode::InHand,
            None if settles => Mode::Settling,
            None => Mode::Shared,
        }
    }
}

/// The share of one of so many nodes, at its place among them. A node that does not know its place has none.
fn share(limit: u32, nodes: usize, place: Option<usize>) -> u32 {
    let (Ok(nodes), Some(place)) = (u32::try_from(nodes), place.and_then(|place| u32::try_from(place).ok())) else {
        return 0;
    };
    let whole = limit.checked_div(nodes).unwrap_or(0);
    whole + u32::from(place < limit.checked_rem(nodes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_limit() {
        for limit in [0, 1, 3, 30, 31] {
            for nodes in 1..=7 {
                let sum: u32 = (0..nodes).map(|place| share(limit, nodes, Some(place))).sum();
                assert_eq!(sum, limit);
            }
        }
        assert_eq!((share(3, 0, Some(0)), share(3, 2, None)), (0, 0));
    }

    #[test]
    fn share_applies_between_expiry_of_own_and_others_grants() {
        let (mut contact, start) = (Contact { has_started: true, ..Contact::default() }, Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        contact.answered(at(0));
        contact.failed(at(10));
        contact.failed(at(20));
        assert_eq!((contact.mode(at(74)), contact.mode(at(75))), (Mode::InHand, Mode::Share));
        contact.answered(at(100));
        contact.answered(at(110));
        assert_eq!((contact.mode(at(164)), contact.mode(at(165))), (Mode::Settling, Mode::Shared));
        // The others may be done with settling: one that fails while it settles has no share sooner than any other.
        contact.failed(at(120));
        assert_eq!((contact.mode(at(121)), contact.mode(at(184))), (Mode::InHand, Mode::InHand));
        assert_eq!(contact.mode(at(185)), Mode::Share);
        // A short one changes nothing.
        let mut contact = Contact { has_started: true, ..Contact::default() };
        contact.failed(at(0));
        contact.answered(at(29));
        assert_eq!(contact.mode(at(29)), Mode::Shared);
    }

    #[test]
    fn node_that_starts_settles_if_another_was_cut_off() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let node = |id: &str, was_cut_off| NodeLease { id: id.to_owned(), until: 1, was_cut_off };
        let mut membership = Membership::default();
        membership.joined("me".into(), start);
        let known = |membership: &Membership, seconds| {
            (membership.contact.mode(at(seconds)), membership.most_slots(3, at(seconds)))
        };
        assert_eq!(known(&membership, 0), (Mode::Settling, Some(0)), "nothing is known of the others");
        membership.started(&[node("me", true), node("you", true)], at(5));
        assert_eq!((known(&membership, 19), known(&membership, 20).1), ((Mode::Settling, Some(0)), None));
        assert_eq!((known(&membership, 69).0, known(&membership, 70).0), (Mode::Settling, Mode::Shared));
        // What others do later is no start.
        membership.started(&[node("you", true)], at(70));
        assert_eq!(known(&membership, 71), (Mode::Shared, None));
        // Others that were there all the time are waited for no longer than it takes to see them.
        let mut membership = Membership::default();
        membership.joined("me".into(), start);
        membership.started(&[node("me", true), node("you", false)], at(0));
        assert_eq!(known(&membership, 0), (Mode::Shared, None));
        assert!(!membership.contact.was_cut_off(at(0)));
        membership.contact.failed(at(0));
        assert_eq!((known(&membership, 29).1, known(&membership, 30).1), (None, Some(0)));
        assert!(!membership.contact.was_cut_off(at(29)) && membership.contact.was_cut_off(at(30)));
    }

    #[test]
    fn node_is_dead_when_its_lease_was_the_same_at_four_beats() {
        let leases = |leases: &[(&str, i64)]| -> Vec<NodeLease> {
            leases
                .iter()
                .map(|(id, until)| NodeLease { id: (*id).to_owned(), until: *until, was_cut_off: false })
                .collect()
        };
        let (mut membership, now) = (Membership::default(), Instant::now());
        membership.joined("me".into(), now);
        // This node's own lease proves nothing about itself.
        let beat = |membership: &mut Membership, a: i64, b: i64| {
            membership
                .saw(leases(&[("a", a), ("b", b), ("me", 1)]), now)
                .into_iter()
                .map(|node| node.id)
                .collect::<Vec<_>>()
        };
        for at in 0..3 {
            assert_eq!(beat(&mut membership, 1, at), Vec::<String>::new(), "beat {at}");
        }
        assert_eq!(beat(&mut membership, 1, 3), ["a"]);
        assert_eq!(membership.count(), 2, "the dead one has no share");
        // All were paused, or the clock of the database was set: the first contact after it decides nothing.
        assert_eq!(beat(&mut membership, 90_000, 3), Vec::<String>::new());
        // A beat that failed begins the count again.
        assert_eq!(beat(&mut membership, 90_000, 3), Vec::<String>::new());
        membership.missed_a_beat();
        for at in 0..3 {
            assert_eq!(beat(&mut membership, 90_000, 3), Vec::<String>::new(), "beat {at}");
        }
        assert_eq!(beat(&mut membership, 90_000, 3), ["a", "b"]);
    }
}
