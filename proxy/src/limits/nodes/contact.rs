//! Whether this node hears the database that it shares with others, and what it may rely on if not. Pure.
//!
//! When the database is away, each node has a share of its own of what all have together. What was granted before it went must be over
//! by then, so nobody begins with his share before that; and when it is back, whoever was cut off keeps to his share until whatever
//! others have sent in theirs is over, too.

use std::collections::BTreeMap;
use std::time::Duration;

use oxpost_token_store::store::nodes::NodeLease;
use tokio::time::Instant;

/// At so many beats after the first one the lease of a dead node was the same: 15 seconds.
const BEATS_OF_A_LEASE: u32 = 3;

/// How long after the database was last heard a node begins with its share: the minute of the messages that were granted until then,
/// and the time for which a grant is good.
pub(crate) const FALLBACK_AFTER: Duration = Duration::from_secs(65);

/// A shorter outage than this lets nobody come to its share: nodes notice its beginning and its end some seconds apart.
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
    lost: Option<Instant>,
    settles_since: Option<Instant>,
}

impl Contact {
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
        let settles = self.settles_since.is_some_and(|at| now.saturating_duration_since(at) < FALLBACK_AFTER);
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
    fn share_begins_when_what_was_granted_is_over_and_ends_when_that_of_others_is() {
        let (mut contact, start) = (Contact::default(), Instant::now());
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
        let mut contact = Contact::default();
        contact.failed(at(0));
        contact.answered(at(29));
        assert_eq!(contact.mode(at(29)), Mode::Shared);
    }

    #[test]
    fn node_is_dead_when_its_lease_was_the_same_at_four_beats() {
        let leases = |leases: &[(&str, i64)]| -> Vec<NodeLease> {
            leases.iter().map(|(id, until)| NodeLease { id: (*id).to_owned(), until: *until }).collect()
        };
        let (mut membership, now) = (Membership::default(), Instant::now());
        membership.joined("me".into(), now);
        // This node's own lease is not what it judges itself by.
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
        // All were paused, or the clock of the database was set: at the first beat after it nothing is judged.
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
