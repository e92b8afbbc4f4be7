//! Nodes, deaths, restarts and outages of the database, played for days. What must hold: never more sessions than slots, never more
//! messages within any minute than the limit, and mail that flows. Where the database is away from one node alone, or takes no writes, the
//! same holds of what begins with the agreement of others, and of the rest: no node begins more than it has in hand, or its share.

use std::collections::BTreeMap;

use oxpost_token_store::store::nodes::NodeLease;

use super::super::fair_queue::Class;
use super::member::Member;
use super::queue::NodeQueue;
use super::state::{Granted, Limits, Report, State};
use crate::limits::nodes::FALLBACK_AFTER;
use crate::limits::nodes::Mode;
use crate::limits::nodes::contact::Membership;
use std::time::Duration;
use tokio::time::Instant;

const LIMITS: Limits = Limits { slots: 3, permits: 30, recipients: 0 };
const STEP: i64 = 250;
const LEASE: i64 = 15_000;
const BEAT: i64 = 5_000;
const HOUR: i64 = 3_600_000;

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % u64::try_from(end).unwrap()).unwrap()
    }

    fn once_in(&mut self, milliseconds: i64) -> bool {
        self.below(milliseconds / STEP) == 0
    }
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Troubles {
    None,
    /// Nodes die, the database is away from all of them, its clock is set back.
    OfAll,
    /// All that, and the database takes no writes for a while, or is away from one node alone.
    OfSome,
}

/// The database: its clock is ahead by this, and is set back now and then.
struct Database {
    offset: i64,
    nodes: BTreeMap<String, Row>,
    state: State,
    away_until: i64,
    /// Until then it answers and takes no writes.
    full_until: i64,
}

/// The row of a node.
#[derive(Clone, Copy)]
struct Row {
    until: i64,
    regained: i64,
}

struct Session {
    class: Class,
    messages: i64,
    next: i64,
    waits: bool,
}

struct Asking {
    asked: i64,
    node: String,
    report: Report,
    granted: Option<Granted>,
}

#[derive(Default)]
struct Node {
    membership: Membership,
    queue: NodeQueue,
    member: Option<Member>,
    waiting: Vec<(u64, Class, i64)>,
    sessions: Vec<Session>,
    asking: Option<Asking>,
    next_beat: i64,
    next_look: i64,
    down_until: i64,
    /// Until then the database is away from this node alone.
    cut_until: i64,
    /// What this node does is not known to the others, since it was cut off and until it has reported.
    is_cut: bool,
    /// Its last look did not end in an agreement.
    is_alone: bool,
    /// The slots that the row was last seen to say it has, and its share if it goes by that.
    in_hand: u32,
    own_slots: Option<u32>,
}

/// A message that has begun.
struct Begun {
    at: i64,
    place: usize,
    is_known: bool,
}

struct Play {
    dice: Dice,
    base: Instant,
    now: i64,
    database: Database,
    nodes: Vec<Node>,
    joined: u64,
    began: std::collections::VecDeque<Begun>,
    sent: u64,
    most_sessions: usize,
    most_in_a_minute: usize,
    troubles: Troubles,
}

impl Play {
    fn new(nodes: usize, seed: u64, troubles: Troubles) -> Self {
        Self {
            troubles,
            dice: Dice(seed),
            base: Instant::now(),
            now: 0,
            database: Database {
                offset: 1_800_000_000_000,
                nodes: BTreeMap::new(),
                state: State::default(),
                away_until: 0,
                full_until: 0,
            },
            nodes: (0..nodes).map(|_| Node { member: Some(Member::new(LIMITS.permits)), ..Node::default() }).collect(),
            joined: 0,
            began: std::collections::VecDeque::new(),
            sent: 0,
            most_sessions: 0,
            most_in_a_minute: 0,
        }
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_millis(u64::try_from(self.now).unwrap())
    }

    /// Whether this node cannot read.
    fn is_away(&self, place: usize) -> bool {
        self.now < self.database.away_until || self.now < self.nodes[place].cut_until
    }

    /// Whether this node cannot write.
    fn is_full(&self, place: usize) -> bool {
        self.is_away(place) || self.now < self.database.full_until
    }

    fn step(&mut self) {
        self.now += STEP;
        if self.troubles != Troubles::None {
            if self.now >= self.database.away_until && self.dice.once_in(2 * HOUR) {
                self.database.away_until = self.now + 1000 * (1 + self.dice.below(300));
            }
            if self.dice.once_in(6 * HOUR) {
                self.database.offset -= self.dice.below(HOUR);
            }
        }
        if self.troubles == Troubles::OfSome && self.dice.once_in(2 * HOUR) {
            self.database.full_until = self.now + 1000 * (1 + self.dice.below(300));
        }
        for place in 0..self.nodes.len() {
            if self.troubles != Troubles::None && self.dice.once_in(3 * HOUR) {
                // Killed: its sessions end with it, and are not reported.
                let down_until = self.now + 1000 * self.dice.below(120);
                let member = Some(Member::new(LIMITS.permits));
                self.nodes[place] = Node { member, down_until, ..Node::default() };
            }
            if self.troubles == Troubles::OfSome && self.dice.once_in(6 * HOUR) {
                self.nodes[place].cut_until = self.now + 1000 * (1 + self.dice.below(300));
                self.nodes[place].is_cut = true;
            }
            if self.now >= self.nodes[place].down_until {
                self.beat(place);
                self.live(place);
                self.look(place);
            }
        }
        let sessions = self.nodes.iter().map(|node| node.sessions.len()).sum();
        self.most_sessions = self.most_sessions.max(sessions);
        // A node that has more than its share when that begins keeps them until they end.
        let may_exceed = self.troubles == Troubles::OfSome || self.database.full_until > 0;
        assert!(sessions <= 3 || may_exceed, "{sessions} sessions at {}", self.now);
        while self.began.front().is_some_and(|begun| begun.at + 60_000 <= self.now) {
            self.began.pop_front();
        }
        self.most_in_a_minute = self.most_in_a_minute.max(self.began.len());
        let known = self.began.iter().filter(|begun| begun.is_known).count();
        assert!(known <= 30, "{known} messages in a minute at {}", self.now);
        for place in 0..self.nodes.len() {
            let unknown = self.began.iter().filter(|begun| begun.place == place).count();
            assert!(unknown <= 30, "{unknown} messages of a node in a minute at {}", self.now);
        }
    }

    /// A session has begun at this node.
    fn assert_may_begin(&self, place: usize) {
        let node = &self.nodes[place];
        let here = u32::try_from(node.sessions.len()).unwrap();
        let known = self.nodes.iter().filter(|node| !node.is_cut).map(|node| node.sessions.len()).sum::<usize>();
        match node.own_slots {
            Some(share) => assert!(here <= share, "{here} sessions of {share} of its own at {}", self.now),
            None if node.is_alone || node.is_cut => {
                assert!(here <= node.in_hand, "{here} sessions of {} in hand at {}", node.in_hand, self.now);
            }
            None => assert!(known <= 3, "{known} sessions at {}", self.now),
        }
    }

    fn beat(&mut self, place: usize) {
        let (now, instant, full) = (self.now, self.instant(), self.is_full(place));
        let node = &mut self.nodes[place];
        if now < node.next_beat {
            return;
        }
        node.next_beat = now + BEAT;
        if full {
            node.membership.missed_a_beat();
            return node.membership.contact.failed(instant);
        }
        let time = now + self.database.offset;
        let is_node = node.membership.id().is_some_and(|id| self.database.nodes.contains_key(id));
        let was_cut_off = node.membership.contact.was_cut_off(instant);
        if !is_node {
            self.joined += 1;
            node.membership.joined(format!("node{}", self.joined), instant);
        }
        let id = node.membership.id().unwrap().to_owned();
        let new = Row { until: time, regained: if was_cut_off { time } else { 0 } };
        let row = self.database.nodes.entry(id).or_insert(new);
        if row.until < time - LEASE {
            row.regained = time;
        }
        row.until = time + LEASE;
        let fallback = i64::try_from(FALLBACK_AFTER.as_millis()).unwrap();
        let all: Vec<_> = self
            .database
            .nodes
            .iter()
            .map(|(id, row)| NodeLease {
                id: id.clone(),
                until: row.until,
                was_cut_off: row.until < time || row.regained > time - fallback,
            })
            .collect();
        node.membership.started(&all, instant);
        for dead in node.membership.saw(all, instant) {
            self.database.nodes.remove(&dead.id);
        }
        node.membership.contact.answered(instant);
    }

    /// Clients come, send, and leave.
    fn live(&mut self, place: usize) {
        let (now, instant, away, dice) = (self.now, self.instant(), self.is_away(place), &mut self.dice);
        let node = &mut self.nodes[place];
        // Mail comes in waves. While the database is away there are no logins.
        let busy = (now / HOUR) % 2 == 0;
        if !away && node.membership.id().is_some() && dice.once_in(if busy { 3_000 } else { 120_000 }) {
            let class = if dice.below(4) == 0 { Class::Background } else { Class::Live };
            let id = node.queue.arrive(class);
            node.waiting.push((id, class, now + 45_000));
            node.next_look = now;
        }
        for (id, class, until) in std::mem::take(&mut node.waiting) {
            if until <= now {
                node.queue.give_up(id, class);
                node.next_look = now;
            } else {
                node.waiting.push((id, class, until));
            }
        }
        self.begin(place);
        let (dice, node) = (&mut self.dice, &mut self.nodes[place]);
        let (mode, share) = (node.membership.contact.mode(instant), node.membership.share_of(LIMITS.permits));
        let member = node.member.as_mut().unwrap();
        for mut session in std::mem::take(&mut node.sessions) {
            session.waits = session.next <= now;
            if session.waits && session.messages > 0 && member.take_permit(mode, share, instant) {
                let is_known = !node.is_cut;
                self.began.push_back(Begun { at: now, place, is_known });
                self.sent += 1;
                session.messages -= 1;
                session.waits = false;
                session.next = now + STEP + dice.below(2_000);
            }
            if session.messages == 0 {
                node.queue.release(session.class);
                node.next_look = now;
            } else {
                if session.waits {
                    node.next_look = node.next_look.min(now + 500);
                }
                node.sessions.push(session);
            }
        }
    }

    /// Those who are next begin.
    fn begin(&mut self, place: usize) {
        let (now, dice, node) = (self.now, &mut self.dice, &mut self.nodes[place]);
        let before = node.sessions.len();
        while let Some(id) = node.queue.grant() {
            let at = node.waiting.iter().position(|(waiting, ..)| *waiting == id).unwrap();
            let (_, class, _) = node.waiting.remove(at);
            let messages = 1 + dice.below(12);
            node.sessions.push(Session { class, messages, next: now + dice.below(3_000), waits: false });
        }
        if node.sessions.len() > before {
            self.assert_may_begin(place);
        }
    }

    /// A look at the row takes some steps: it is read, it is decided and written, and the node hears of it, or does not.
    fn look(&mut self, place: usize) {
        let (now, instant, base) = (self.now, self.instant(), self.base);
        let (away, full) = (self.is_away(place), self.is_full(place));
        let time = now + self.database.offset;
        let at = |now: i64| base + Duration::from_millis(u64::try_from(now).unwrap());
        let Some(mut asking) = self.nodes[place].asking.take() else { return self.read(place) };
        // The answer may be lost with the connection, after it was written.
        if away || full && asking.granted.is_none() || self.dice.below(2_000) == 0 {
            return self.failed(place, !away);
        }
        let node = &mut self.nodes[place];
        if let Some(granted) = asking.granted {
            (node.is_alone, node.is_cut, node.own_slots) = (false, false, None);
            node.in_hand = granted.slots.sum();
            node.member.as_mut().unwrap().granted(&granted, at(asking.asked));
            node.queue.granted(granted.slots, granted.others_wait);
            node.queue.set_alone(false, None);
            let waits = node.queue.len() > 0 || node.sessions.iter().any(|session| session.waits);
            node.next_look = now + if waits { 500 } else { 15_000 };
            return;
        }
        if !self.database.nodes.contains_key(&asking.node) {
            node.next_beat = now;
            return;
        }
        let state = &mut self.database.state;
        state.tick(&self.database.nodes.keys().cloned().collect::<Vec<_>>(), time);
        // Its report of what is in use is of the moment when it was made.
        let report = asking.report.within(node.membership.most_slots(LIMITS.slots, instant));
        state.report(&asking.node, &report, LIMITS, time);
        asking.granted = Some(state.granted(&asking.node, LIMITS, time));
        node.asking = Some(asking);
    }

    /// A look did not end in an agreement.
    fn failed(&mut self, place: usize, was_read: bool) {
        let (now, instant) = (self.now, self.instant());
        let node = &mut self.nodes[place];
        let is_due = was_read && node.membership.contact.mode(instant) == Mode::Share;
        node.own_slots = is_due.then(|| node.membership.share_of(LIMITS.slots));
        node.queue.set_alone(true, node.own_slots);
        node.is_alone = true;
        node.next_look = now + 1_000;
    }

    fn read(&mut self, place: usize) {
        let (now, instant, away) = (self.now, self.instant(), self.is_away(place));
        let node = &mut self.nodes[place];
        let Some(id) = node.membership.id().filter(|_| now >= node.next_look).map(str::to_owned) else { return };
        if away {
            return self.failed(place, false);
        }
        let nodes: Vec<String> = self.database.nodes.keys().cloned().collect();
        if !nodes.contains(&id) {
            // It hears that it was taken for dead, and joins at its next beat.
            node.next_beat = now;
            return self.failed(place, false);
        }
        let had = self.database.state.slots_of(&id);
        node.in_hand = had.sum();
        node.queue.kept(had);
        self.begin(place);
        let node = &mut self.nodes[place];
        let known = self.database.state.number_of(&id);
        let (counted, messages) = (node.queue.count(), node.sessions.iter().filter(|session| session.waits).count());
        let has_sessions = !node.sessions.is_empty() || node.queue.len() > 0;
        let messages = u32::try_from(messages).unwrap();
        let report = node.member.as_mut().unwrap().report(known, counted, messages, has_sessions, instant);
        node.asking = Some(Asking { asked: now, node: id, report, granted: None });
    }
}

#[test]
fn limits_hold_for_days_of_deaths_and_outages() {
    for (nodes, seed, hours) in [(1, 1, 24), (2, 2, 48), (3, 3, 24), (5, 4, 24)] {
        let mut play = Play::new(nodes, seed, Troubles::OfAll);
        for _ in 0..hours * HOUR / STEP {
            play.step();
        }
        println!(
            "{nodes} nodes, {hours} hours: {} messages, at most {} concurrent sessions and {} messages in a minute",
            play.sent, play.most_sessions, play.most_in_a_minute
        );
        assert!(play.sent > 10_000 && play.most_sessions == 3, "{} messages", play.sent);
    }
}

/// Without troubles and with more mail than the limits allow, nothing of them is given away.
#[test]
fn limits_are_used_whole() {
    for nodes in [1, 2, 4] {
        let mut play = Play::new(nodes, 9, Troubles::None);
        for _ in 0..HOUR / STEP {
            play.step();
        }
        println!("{nodes} nodes, an hour of more than they may: {} messages", play.sent);
        assert!(play.sent >= 60 * 26, "{} messages", play.sent);
    }
}

#[test]
fn limits_hold_where_writes_fail_or_one_node_is_cut_off() {
    for (nodes, seed, hours) in [(2, 5, 48), (3, 6, 48), (5, 7, 24)] {
        let mut play = Play::new(nodes, seed, Troubles::OfSome);
        for _ in 0..hours * HOUR / STEP {
            play.step();
        }
        println!(
            "{nodes} nodes, {hours} hours: {} messages, at most {} concurrent sessions and {} messages in a minute",
            play.sent, play.most_sessions, play.most_in_a_minute
        );
        assert!(play.sent > 10_000, "{} messages", play.sent);
    }
}
