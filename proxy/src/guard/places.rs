//! Who may stay while there is no room for everybody.
//!
//! A connection that has not logged in is a stranger's. Strangers have few places, and each source few of those; whoever
//! comes when they are taken is let in, and the oldest stranger of the greediest source is let go instead. So a crowd of
//! strangers keeps nobody out but itself: a client needs its place for as long as its login takes, and a source from which
//! somebody has logged in is let go last.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::source::Source;

/// Sources that are remembered because somebody has logged in from there.
const FRIENDS: usize = 4096;

/// The bounds an administrator may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Connections at once.
    pub connections: usize,
    /// Those of them that have not logged in.
    pub strangers: usize,
    /// Those of these that come from one source where nobody has logged in yet.
    pub strangers_per_source: usize,
}

/// The places.
#[derive(Debug)]
pub(super) struct Places(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limits: PlaceLimits,
    connections: usize,
    strangers: usize,
    sources: HashMap<Source, VecDeque<Stranger>>,
    /// Where somebody has logged in, and when, as a number that grows.
    friends: HashMap<Source, u64>,
    next: u64,
}

#[derive(Debug)]
struct Stranger {
    number: u64,
    let_go: CancellationToken,
}

/// The place of one connection; it is given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    state: Arc<Mutex<State>>,
    source: Source,
    number: u64,
    known: bool,
    let_go: CancellationToken,
}

/// Every place is taken by somebody who has logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// A place, and how many strangers had to go for it.
pub(super) type Entered = (Place, usize);

impl Places {
    /// All free.
    pub(super) fn new(limits: PlaceLimits) -> Self {
        Self(Arc::new(Mutex::new(State {
            limits,
            connections: 0,
            strangers: 0,
            sources: HashMap::new(),
            friends: HashMap::new(),
            next: 0,
        })))
    }

    /// Gives a new connection its place. `stop` ends it as well.
    ///
    /// # Errors
    /// There is no place, and no stranger to take one from.
    pub(super) fn enter(&self, source: Source, stop: &CancellationToken) -> Result<Entered, Full> {
        let mut state = lock(&self.0);
        let before = state.strangers;
        let limits = state.limits;
        let own = state.sources.get(&source).map_or(0, VecDeque::len);
        // All local software shares one source; who has logged in is known to need more than one.
        let bounded = source != Source::Loopback && !state.friends.contains_key(&source);
        if bounded && own >= limits.strangers_per_source {
            state.let_go(source);
        }
        while state.strangers >= limits.strangers || state.connections >= limits.connections {
            let Some(greediest) = state.greediest() else { break };
            state.let_go(greediest);
        }
        if state.connections >= limits.connections {
            return Err(Full);
        }
        let gone = before - state.strangers;
        let (number, let_go) = (state.next, stop.child_token());
        state.next += 1;
        state.connections += 1;
        state.strangers += 1;
        state.sources.entry(source).or_default().push_back(Stranger { number, let_go: let_go.clone() });
        Ok((Place { state: Arc::clone(&self.0), source, number, known: false, let_go }, gone))
    }

    /// Whether somebody has logged in from there.
    pub(super) fn is_friend(&self, source: Source) -> bool {
        lock(&self.0).friends.contains_key(&source)
    }
}

impl Place {
    /// Its client has proved who it is: it is no stranger any more, and not let go from now on.
    pub fn make_known(&mut self) {
        let mut state = lock(&self.state);
        self.known = self.known || state.forget(self.source, self.number);
        let now = state.next;
        state.next += 1;
        if state.friends.len() >= FRIENDS && !state.friends.contains_key(&self.source) {
            let oldest = state.friends.iter().min_by_key(|(_, since)| **since).map(|(source, _)| *source);
            oldest.and_then(|oldest| state.friends.remove(&oldest));
        }
        state.friends.insert(self.source, now);
    }

    /// Its client may stay, though it has proved nothing: it is let go no more, and makes its source no friend.
    pub fn let_stay(&mut self) {
        let known = self.known || lock(&self.state).forget(self.source, self.number);
        self.known = known;
    }

    /// Cancelled when its client has to go: for somebody else, or because everybody has to.
    pub fn let_go(&self) -> &CancellationToken {
        &self.let_go
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        // Who was let go has given the place back then.
        if self.known || state.forget(self.source, self.number) {
            state.connections = state.connections.saturating_sub(1);
        }
    }
}

impl State {
    /// The source with the most strangers; of several the one whose oldest has been here longest. One where somebody has
    /// logged in only when there is no other.
    fn greediest(&self) -> Option<Source> {
        let greed = |(source, strangers): &(&Source, &VecDeque<Stranger>)| {
            let oldest = strangers.front().map_or(u64::MAX, |stranger| stranger.number);
            (!self.friends.contains_key(*source), strangers.len(), u64::MAX - oldest)
        };
        self.sources.iter().max_by_key(greed).map(|(source, _)| *source)
    }

    /// Lets the oldest stranger of a source go.
    fn let_go(&mut self, source: Source) {
        let Some(oldest) = self.sources.get_mut(&source).and_then(VecDeque::pop_front) else { return };
        oldest.let_go.cancel();
        self.strangers -= 1;
        self.connections -= 1;
        self.without_empty(source);
    }

    /// This one is no stranger any more. `false`: it was none.
    fn forget(&mut self, source: Source, number: u64) -> bool {
        let Some(strangers) = self.sources.get_mut(&source) else { return false };
        let Ok(at) = strangers.binary_search_by_key(&number, |stranger| stranger.number) else { return false };
        strangers.remove(at);
        self.strangers -= 1;
        self.without_empty(source);
        true
    }

    fn without_empty(&mut self, source: Source) {
        if self.sources.get(&source).is_some_and(VecDeque::is_empty) {
            self.sources.remove(&source);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        places: Places,
        stop: CancellationToken,
    }

    fn room(connections: usize, strangers: usize, strangers_per_source: usize) -> Room {
        let places = Places::new(PlaceLimits { connections, strangers, strangers_per_source });
        Room { places, stop: CancellationToken::new() }
    }

    impl Room {
        fn enter(&self, peer: &str) -> Result<Place, Full> {
            self.places.enter(Source::of(peer.parse().unwrap()), &self.stop).map(|(place, _)| place)
        }

        fn many(&self, peer: &str, count: usize) -> Vec<Place> {
            (0..count).map(|_| self.enter(peer).unwrap()).collect()
        }
    }

    fn gone(places: &[Place]) -> Vec<bool> {
        places.iter().map(|place| place.let_go().is_cancelled()).collect()
    }

    /// Devices are let in because of where they are: nobody else there is trusted for that.
    #[test]
    fn who_may_stay_makes_no_friends() {
        let places = Places::new(PlaceLimits { connections: 2, strangers: 2, strangers_per_source: 2 });
        let source = Source::of("10.1.2.3".parse().unwrap());
        let stop = CancellationToken::new();
        let (mut device, _) = places.enter(source, &stop).unwrap();
        device.let_stay();
        assert!(!places.is_friend(source));
        let (first, _) = places.enter(source, &stop).unwrap();
        let (_second, gone) = places.enter(source, &stop).unwrap();
        assert_eq!((gone, first.let_go().is_cancelled(), device.let_go().is_cancelled()), (1, true, false));
    }

    #[test]
    fn the_oldest_of_the_greediest_source_goes() {
        let room = room(100, 4, 100);
        let modest = room.many("192.0.2.1", 1);
        let greedy = room.many("192.0.2.2", 3);
        let new = room.enter("192.0.2.3").unwrap();
        assert_eq!((gone(&modest), gone(&greedy)), (vec![false], vec![true, false, false]));
        let (_newer, count) = room.places.enter(Source::of("192.0.2.4".parse().unwrap()), &room.stop).unwrap();
        assert_eq!(count, 1);
        assert_eq!((gone(&modest), gone(&greedy)), (vec![false], vec![true, true, false]));
        assert!(!new.let_go().is_cancelled());
        let _even = room.enter("192.0.2.5").unwrap();
        assert_eq!(gone(&modest), [true], "nobody is greedier than the others: the oldest");
    }

    #[test]
    fn a_source_has_its_share_and_this_machine_has_all_of_it() {
        let room = room(100, 10, 2);
        let three = room.many("2001:db8::1", 2);
        let (_third, count) = room.places.enter(Source::of("2001:db8::2".parse().unwrap()), &room.stop).unwrap();
        assert_eq!((gone(&three), count), (vec![true, false], 1), "its /64 is one source");
        let local = room.many("127.0.0.1", 5);
        assert_eq!(gone(&local), [false; 5]);
    }

    #[test]
    fn who_has_logged_in_stays_and_so_does_a_newcomer_from_there() {
        let room = room(100, 3, 2);
        let mut known = room.enter("192.0.2.1").unwrap();
        known.make_known();
        known.make_known();
        assert!(room.places.is_friend(Source::of("192.0.2.1".parse().unwrap())));
        let again = room.many("192.0.2.1", 2);
        // A crowd of a thousand addresses.
        let crowd: Vec<Place> =
            (0..1000).map(|n| room.enter(&format!("198.51.{}.{}", n / 250, n % 250)).unwrap()).collect();
        assert!(!known.let_go().is_cancelled());
        assert_eq!(gone(&again), [false, false]);
        assert_eq!(gone(&crowd).iter().filter(|gone| !**gone).count(), 1);
        let _more = room.many("192.0.2.1", 10);
        assert!(gone(&crowd).iter().all(|gone| *gone));
    }

    #[test]
    fn a_full_house_has_room_as_long_as_there_is_a_stranger() {
        let room = room(2, 100, 100);
        let mut known = room.many("192.0.2.1", 2);
        known[0].make_known();
        let mut newcomer = room.enter("192.0.2.2").unwrap();
        assert_eq!(gone(&known), [false, true]);
        newcomer.make_known();
        assert_eq!(room.enter("192.0.2.3").unwrap_err(), Full);
        drop(newcomer);
        room.enter("192.0.2.3").unwrap();
    }

    #[test]
    fn every_place_is_given_back() {
        let room = room(5, 3, 2);
        for round in 0..1000_u32 {
            let mut places = room.many(&format!("192.0.2.{}", round % 7), 3);
            places.extend(room.many("127.0.0.1", 2));
            for place in &mut places {
                if !place.let_go().is_cancelled() && round % 2 == 0 {
                    place.make_known();
                }
            }
        }
        let state = lock(&room.places.0);
        assert_eq!((state.connections, state.strangers, state.sources.len()), (0, 0, 0));
    }

    #[test]
    fn everybody_goes_when_the_proxy_stops() {
        let room = room(5, 5, 5);
        let place = room.enter("192.0.2.1").unwrap();
        room.stop.cancel();
        assert!(place.let_go().is_cancelled());
        drop(place);
        assert_eq!(lock(&room.places.0).connections, 0);
    }
}
