//! Nodes, deaths, restarts and outages of the database, played for days. What must hold: never more sessions than slots, never more
//! messages within any minute than the limit, and mail that flows.

use std::collections::BTreeMap;

use oxpost_token_store::store::nodes::NodeLease;

use super::super::fair_queue::Class;
use super::member::Member;
use super::queue::{Counted, NodeQueue};
use super::state::{Granted, Limits, Report, State};
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

/// The database: its clock is ahead by this, and is set back now and then.
struct Database {
    offset: i64,
    nodes: BTreeMap<String, i64>,
    state: State,
    away_until: i64,
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
    counted: Counted,
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
}

struct Play {
    dice: Dice,
    base: Instant,
    now: i64,
    database: Database,
    nodes: Vec<Node>,
    joined: u64,
    began: std::collections::VecDeque<i64>,
    sent: u64,
    most_sessions: usize,
    most_in_a_minute: usize,
}

impl Play {
    fn new(nodes: usize, seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            base: Instant::now(),
            now: 0,
            database: Database {
                offset: 1_800_000_000_000,
                nodes: BTreeMap::new(),
                state: State::default(),
                away_until: 0,
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

    fn is_away(&self) -> bool {
        self.now < self.database.away_until
    }

    fn step(&mut self, troubles: bool) {
        self.now += STEP;
        if troubles {
            if !self.is_away() && self.dice.once_in(2 * HOUR) {
                self.database.away_until = self.now + 1000 * (1 + self.dice.below(300));
            }
            if self.dice.once_in(6 * HOUR) {
                self.database.offset -= self.dice.below(HOUR);
            }
        }
        for place in 0..self.nodes.len() {
            if troubles && self.dice.once_in(3 * HOUR) {
                // Killed: its sessions end with it, and nobody says so.
                let down_until = self.now + 1000 * self.dice.below(120);
                let member = Some(Member::new(LIMITS.permits));
                self.nodes[place] = Node { member, down_until, ..Node::default() };
            }
            if self.now >= self.nodes[place].down_until {
                self.beat(place);
                self.live(place);
                self.look(place);
            }
        }
        let sessions = self.nodes.iter().map(|node| node.sessions.len()).sum();
        self.most_sessions = self.most_sessions.max(sessions);
        assert!(sessions <= 3, "{sessions} sessions at {}", self.now);
        while self.began.front().is_some_and(|at| at + 60_000 <= self.now) {
            self.began.pop_front();
        }
        self.most_in_a_minute = self.most_in_a_minute.max(self.began.len());
        assert!(self.began.len() <= 30, "{} messages in a minute at {}", self.began.len(), self.now);
    }

    fn beat(&mut self, place: usize) {
        let (now, instant, away) = (self.now, self.instant(), self.is_away());
        let node = &mut self.nodes[place];
        if now < node.next_beat {
            return;
        }
        node.next_beat = now + BEAT;
        if away {
            node.membership.missed_a_beat();
            return node.membership.contact.failed(instant);
        }
        let time = now + self.database.offset;
        let is_node = node.membership.id().is_some_and(|id| self.database.nodes.contains_key(id));
        if !is_node {
            self.joined += 1;
            node.membership.joined(format!("node{}", self.joined), instant);
        }
        let id = node.membership.id().unwrap().to_owned();
        self.database.nodes.insert(id, time + LEASE);
        let all = self.database.nodes.iter().map(|(id, until)| NodeLease { id: id.clone(), until: *until });
        for dead in node.membership.saw(all.collect(), instant) {
            self.database.nodes.remove(&dead.id);
        }
        node.membership.contact.answered(instant);
    }

    /// Clients come, send, and leave.
    fn live(&mut self, place: usize) {
        let (now, instant, dice) = (self.now, self.instant(), &mut self.dice);
        let node = &mut self.nodes[place];
        // Mail comes in waves. While the database is away nobody logs in.
        let busy = (now / HOUR) % 2 == 0;
        if node.membership.contact.mode(instant) == Mode::Shared && dice.once_in(if busy { 3_000 } else { 120_000 }) {
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
        while let Some(id) = node.queue.grant() {
            let at = node.waiting.iter().position(|(waiting, ..)| *waiting == id).unwrap();
            let (_, class, _) = node.waiting.remove(at);
            let messages = 1 + dice.below(12);
            node.sessions.push(Session { class, messages, next: now + dice.below(3_000), waits: false });
        }
        let (mode, share) = (node.membership.contact.mode(instant), node.membership.share_of(LIMITS.permits));
        let member = node.member.as_mut().unwrap();
        for mut session in std::mem::take(&mut node.sessions) {
            session.waits = session.next <= now;
            if session.waits && session.messages > 0 && member.take_permit(mode, share, instant) {
                self.began.push_back(now);
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

    /// A look at the row takes some steps: it is asked, it is decided, and the node hears of it, or does not.
    fn look(&mut self, place: usize) {
        let (now, instant, away, base) = (self.now, self.instant(), self.is_away(), self.base);
        let time = now + self.database.offset;
        let node = &mut self.nodes[place];
        let at = |now: i64| base + Duration::from_millis(u64::try_from(now).unwrap());
        if let Some(mut asking) = node.asking.take() {
            // The answer may be lost with the connection, after it was written.
            if away || self.dice.below(2_000) == 0 {
                node.membership.contact.failed(instant);
                node.queue.set_alone(true, None);
                node.next_look = now + 1_000;
                return;
            }
            if let Some(granted) = asking.granted {
                node.membership.contact.answered(instant);
                node.queue.set_alone(false, None);
                node.member.as_mut().unwrap().granted(&granted, at(asking.asked));
                node.queue.granted(granted.slots, asking.counted, granted.others_wait);
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
            state.report(&asking.node, &asking.report, LIMITS, time);
            asking.granted = Some(state.granted(&asking.node, LIMITS, time));
            node.asking = Some(asking);
            return;
        }
        let Some(id) = node.membership.id().filter(|_| now >= node.next_look) else { return };
        let known = self.database.state.number_of(id);
        let (counted, messages) = (node.queue.count(), node.sessions.iter().filter(|session| session.waits).count());
        let has_sessions = !node.sessions.is_empty() || node.queue.len() > 0;
        let messages = u32::try_from(messages).unwrap();
        let report = node.member.as_mut().unwrap().report(known, counted, messages, has_sessions, instant);
        node.asking = Some(Asking { asked: now, node: id.to_owned(), counted, report, granted: None });
    }
}

#[test]
fn limits_hold_for_days_of_deaths_and_outages() {
    for (nodes, seed, hours) in [(1, 1, 24), (2, 2, 48), (3, 3, 24), (5, 4, 24)] {
        let mut play = Play::new(nodes, seed);
        for _ in 0..hours * HOUR / STEP {
            play.step(true);
        }
        println!(
            "{nodes} nodes, {hours} hours: {} messages, at most {} sessions at once and {} messages in a minute",
            play.sent, play.most_sessions, play.most_in_a_minute
        );
        assert!(play.sent > 10_000 && play.most_sessions == 3, "{} messages", play.sent);
    }
}

/// Without troubles and with more mail than the limits allow, nothing of them is given away.
#[test]
fn limits_are_used_whole() {
    for nodes in [1, 2, 4] {
        let mut play = Play::new(nodes, 9);
        for _ in 0..HOUR / STEP {
            play.step(false);
        }
        println!("{nodes} nodes, an hour of more than they may: {} messages", play.sent);
        assert!(play.sent >= 60 * 26, "{} messages", play.sent);
    }
}
