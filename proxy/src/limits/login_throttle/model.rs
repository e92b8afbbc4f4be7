//! The policy against random attackers, owners, devices, restarts and nodes, for simulated days and weeks. The clock is the
//! simulation's; nothing here waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use oxpost_token_store::Source;
use tokio::time::Instant;

use super::attempt::{Attempt, Comparison, Subject, Target};
use super::policy::{Charge, Decision, Policy, Ticket};
use super::source_failures::BlockLimits;
use super::{REFUSED_AFTER, WINDOW};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What comparing one password takes.
const COMPARE: Duration = Duration::from_millis(30);

const LIMITS: BlockLimits = BlockLimits {
    after: 100,
    repeat_interval: Duration::from_secs(900),
    duration: Duration::from_secs(900),
    decay_interval: Duration::from_secs(300),
};

fn source(number: u32) -> Source {
    Source::of(IpAddr::from((0xc612_0000 + number).to_be_bytes()))
}

/// Who sends logins, and what with.
#[derive(Clone, Debug)]
struct Actor {
    source: Source,
    account: u64,
    /// The password, as a number; 0 is right. `None`: another wrong one each time.
    password: Option<u64>,
    /// How long it rests between two logins.
    rest: Duration,
    /// Logins at the same time.
    concurrent: usize,
    shared: bool,
    node: usize,
}

/// How logins of one actor went.
#[derive(Clone, Debug, Default)]
struct Went {
    right: usize,
    wrong: usize,
    refused: usize,
    /// The longest that one which succeeded took, and the longest time without a success from the first attempt on.
    slowest: Duration,
    longest_without: Duration,
    trying_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Login(usize),
    Poll(usize, u64),
    Comparison(usize, u64),
}

struct Waiting {
    actor: usize,
    attempt: Attempt,
    since: Duration,
}

struct Node {
    policy: Policy,
    waiting: BTreeMap<Ticket, Waiting>,
}

struct World {
    base: Instant,
    now: Duration,
    nodes: Vec<Node>,
    actors: Vec<Actor>,
    went: Vec<Went>,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    comparing: HashMap<u64, (usize, usize, Charge, bool, Duration)>,
    tickets: HashMap<u64, Ticket>,
    familiar: HashSet<(u64, Source)>,
    familiar_sources: HashSet<Source>,
    /// Wrong ones: when, which account, from where, and whether that is familiar.
    compared: Vec<(Duration, u64, Source, bool)>,
    blocked: HashSet<Source>,
    next: u64,
}

impl World {
    fn new(nodes: usize) -> Self {
        Self {
            base: Instant::now(),
            now: Duration::ZERO,
            nodes: (0..nodes).map(|_| Node { policy: Policy::new(LIMITS), waiting: BTreeMap::new() }).collect(),
            actors: Vec::new(),
            went: Vec::new(),
            events: BinaryHeap::new(),
            comparing: HashMap::new(),
            tickets: HashMap::new(),
            familiar: HashSet::new(),
            familiar_sources: HashSet::new(),
            compared: Vec::new(),
            blocked: HashSet::new(),
            next: 1,
        }
    }

    fn attacker(&mut self, number: u32, account: u64, concurrent: usize) -> usize {
        let rest = Duration::from_millis(10);
        self.actor(Actor { source: source(number), account, password: None, rest, concurrent, shared: false, node: 0 })
    }

    fn owner(&mut self, number: u32, account: u64, rest: Duration) -> usize {
        let source = source(number);
        self.actor(Actor { source, account, password: Some(0), rest, concurrent: 1, shared: false, node: 0 })
    }

    fn device(&mut self, number: u32, account: u64, password: u64) -> usize {
        let source = source(number);
        let password = Some(password);
        self.actor(Actor { source, account, password, rest: MINUTE, concurrent: 1, shared: false, node: 0 })
    }

    fn actor(&mut self, actor: Actor) -> usize {
        let index = self.actors.len();
        for _ in 0..actor.concurrent {
            self.schedule(self.now + Duration::from_millis(index as u64), Event::Login(index));
        }
        self.actors.push(actor);
        self.went.push(Went::default());
        index
    }

    fn is_familiar(&mut self, account: u64, number: u32) {
        self.familiar.insert((account, source(number)));
        self.familiar_sources.insert(source(number));
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at, self.next, event)));
    }

    /// Every process begins again; what the store knows stays.
    fn restart(&mut self) {
        for node in &mut self.nodes {
            node.policy = Policy::new(LIMITS);
            for (_, waiting) in std::mem::take(&mut node.waiting) {
                self.next += 1;
                self.events.push(Reverse((self.now + Duration::from_secs(1), self.next, Event::Login(waiting.actor))));
            }
        }
        self.tickets.clear();
        let comparing: Vec<_> = std::mem::take(&mut self.comparing).into_values().collect();
        for (_, actor, ..) in comparing {
            self.schedule(self.now + Duration::from_secs(1), Event::Login(actor));
        }
    }

    fn run(&mut self, until: Duration) {
        while let Some(Reverse((at, _, _))) = self.events.peek()
            && *at <= until
        {
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            self.now = at;
            match event {
                Event::Login(actor) => self.login(actor),
                Event::Poll(node, id) => {
                    if let Some(ticket) = self.tickets.remove(&id) {
                        self.ask_again(node, ticket);
                    }
                }
                Event::Comparison(node, id) => self.compared(node, id),
            }
        }
        self.now = until;
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn login(&mut self, index: usize) {
        let actor = self.actors[index].clone();
        let password = actor.password.unwrap_or_else(|| {
            self.next += 1;
            self.next + 1_000_000
        });
        let mut pair = [0; 16];
        pair[..8].copy_from_slice(&actor.account.to_be_bytes());
        pair[8..].copy_from_slice(&password.to_be_bytes());
        let familiar = self.familiar.contains(&(actor.account, actor.source));
        let attempt = Attempt {
            targets: vec![Target { subject: Subject(actor.account), familiar }],
            source: actor.source,
            shared: actor.shared,
            familiar_source: self.familiar_sources.contains(&actor.source),
            pair,
        };
        self.went[index].trying_since.get_or_insert(self.now);
        let now = self.instant();
        let decision = self.nodes[actor.node].policy.begin(attempt.clone(), now);
        self.decided(decision, Waiting { actor: index, attempt, since: self.now });
    }

    fn decided(&mut self, decision: Decision, waiting: Waiting) {
        let index = waiting.actor;
        let (rest, node) = (self.actors[index].rest, self.actors[index].node);
        match decision {
            Decision::Repeated => {
                self.went[index].wrong += 1;
                self.schedule(self.now + Duration::from_secs(2) + rest, Event::Login(index));
            }
            Decision::Refuse(_) => {
                self.went[index].refused += 1;
                self.schedule(self.now + REFUSED_AFTER + rest, Event::Login(index));
            }
            Decision::Compare(charge) => {
                self.next += 1;
                let id = self.next;
                let right = waiting.attempt.pair[8..] == [0; 8];
                if !right {
                    let familiar = waiting.attempt.targets[0].familiar;
                    self.compared.push((
                        self.now,
                        waiting.attempt.targets[0].subject.0,
                        waiting.attempt.source,
                        familiar,
                    ));
                }
                self.comparing.insert(id, (node, index, charge, right, waiting.since));
                self.schedule(self.now + COMPARE, Event::Comparison(node, id));
            }
            Decision::Wait(ticket, until) => {
                self.next += 1;
                self.tickets.insert(self.next, ticket);
                let id = self.next;
                self.nodes[node].waiting.insert(ticket, waiting);
                let at = until.saturating_duration_since(self.base).max(self.now);
                self.schedule(at, Event::Poll(node, id));
            }
        }
    }

    fn ask_again(&mut self, node: usize, ticket: Ticket) {
        let now = self.instant();
        let Some(waiting) = self.nodes[node].waiting.remove(&ticket) else { return };
        let decision = self.nodes[node].policy.ask_again(ticket, now);
        self.decided(decision, waiting);
    }

    fn compared(&mut self, node: usize, id: u64) {
        let Some((_, index, charge, right, since)) = self.comparing.remove(&id) else { return };
        let now = self.instant();
        let compared = if right { Comparison::Right } else { Comparison::Wrong };
        let source = charge.source();
        if self.nodes[node].policy.end(charge, compared, now).is_some() {
            self.blocked.insert(source);
        }
        let actor = self.actors[index].clone();
        let went = &mut self.went[index];
        if right {
            went.right += 1;
            went.slowest = went.slowest.max(self.now - since);
            if let Some(since) = went.trying_since.take() {
                went.longest_without = went.longest_without.max(self.now - since);
            }
            self.familiar.insert((actor.account, actor.source));
            self.familiar_sources.insert(actor.source);
        } else {
            went.wrong += 1;
        }
        self.schedule(self.now + actor.rest, Event::Login(index));
        let waiting: Vec<Ticket> = self.nodes[node].waiting.keys().copied().collect();
        for ticket in waiting {
            self.ask_again(node, ticket);
        }
    }

    /// The most wrong passwords compared within any window, by what `of` says they count for.
    fn most<K: std::hash::Hash + Eq>(&self, of: impl Fn(&(Duration, u64, Source, bool)) -> Option<K>) -> usize {
        let mut windows: HashMap<K, VecDeque<Duration>> = HashMap::new();
        let mut most = 0;
        for entry in &self.compared {
            let Some(key) = of(entry) else { continue };
            let window = windows.entry(key).or_default();
            window.push_back(entry.0);
            while window.front().is_some_and(|&then| entry.0 - then >= WINDOW) {
                window.pop_front();
            }
            most = most.max(window.len());
        }
        most
    }

    fn most_of_one_source(&self) -> usize {
        self.most(|(_, account, source, familiar)| (!familiar).then_some((*account, *source)))
    }

    fn most_of_an_account(&self) -> usize {
        self.most(|(_, account, _, familiar)| (!familiar).then_some(*account))
    }
}

/// Property 2, and 3 before and after a restart.
#[test]
fn guesses_stay_in_budget_and_do_not_delay_familiar_owner() {
    for attackers in [1, 3, 200] {
        let mut world = World::new(1);
        world.is_familiar(1, 9000);
        let owner = world.owner(9000, 1, MINUTE);
        for number in 0..attackers {
            world.attacker(number, 1, if attackers == 200 { 1 } else { 8 });
        }
        for _ in 0..3 {
            world.run(world.now + 15 * MINUTE);
            world.restart();
        }
        let (source, account) = (world.most_of_one_source(), world.most_of_an_account());
        let went = &world.went[owner];
        println!(
            "{attackers} sources: most compared in 10 minutes: {source} from one source, {account} for the account; the owner's \
             slowest login {:?}, {} refused",
            went.slowest, went.refused
        );
        // A restart forgets what was compared before it: the window that spans one may have two budgets.
        assert!(source <= 20 && account <= 120, "{source} {account}");
        assert!(went.slowest <= Duration::from_secs(2) && went.refused == 0, "{went:?}");
        assert!(went.right >= 42, "{went:?}");
        let mut world = World::new(1);
        for number in 0..attackers {
            world.attacker(number, 1, if attackers == 200 { 1 } else { 4 });
        }
        world.run(25 * MINUTE);
        assert!(world.most_of_one_source() <= 10 && world.most_of_an_account() <= 60);
        assert!(world.most_of_an_account() >= if attackers < 6 { 10 } else { 55 }, "the budget can be used");
    }
}

/// Property 4.
#[test]
fn owner_at_an_unfamiliar_source_gets_a_share_during_an_attack() {
    let mut world = World::new(1);
    for number in 0..200 {
        world.attacker(number, 1, 1);
    }
    // Until each of them has had a turn.
    world.run(90 * MINUTE);
    // A new phone each time, so that it stays unfamiliar.
    let mut slowest = Duration::ZERO;
    for phone in 0..20 {
        let owner = world.owner(9000 + phone, 1, DAY);
        world.run(world.now + MINUTE);
        let went = &world.went[owner];
        assert_eq!((went.right, went.refused), (1, 0), "phone {phone}: {went:?}");
        slowest = slowest.max(went.longest_without);
    }
    println!("an owner at a new source, with 200 sources guessing: in after {slowest:?} at most");
    assert!(slowest <= Duration::from_secs(20));
    assert!(world.most_of_an_account() <= 60);
}

/// Property 5: a week, every device once a minute.
#[test]
fn stale_devices_do_not_block_the_device_with_the_new_password() {
    for (accounts, passwords) in [(3, 1), (1, 10), (100, 1), (300, 1)] {
        let mut world = World::new(1);
        for account in 1..=accounts {
            for password in 1..=passwords {
                world.device(5000, account, password);
            }
        }
        world.run(10 * MINUTE);
        // Two that have the right password: for one of these accounts, and for another.
        let (same, other) = (world.device(5000, 1, 0), world.device(5000, 10_000, 0));
        let days = if accounts > 50 { 6 * HOUR } else { 7 * DAY };
        for _ in 0..2 {
            world.run(world.now + days / 2);
            world.restart();
        }
        world.run(world.now + HOUR);
        assert!(world.blocked.is_empty(), "{accounts} accounts are blocked");
        for device in [same, other] {
            let went = &world.went[device];
            println!(
                "{accounts} x {passwords} stale devices: {} logins, longest without {:?}",
                went.right, went.longest_without
            );
            assert!(went.longest_without <= 11 * MINUTE, "{went:?}");
            assert!(went.right as u128 * 62 * 1000 >= days.as_millis(), "{went:?}");
        }
        let stale: usize = world.compared.len();
        assert!(
            stale <= 4 * (accounts * passwords) as usize,
            "{stale} passwords were compared: once each, and after a restart"
        );
    }
}

/// A source that only guesses, at any account, is blocked; one with a successful login is not.
#[test]
fn source_trying_every_account_is_blocked_unless_familiar() {
    let spray = |world: &mut World, number: u32| {
        for account in 0..400 {
            let (source, rest) = (source(number), 20 * MINUTE);
            world.actor(Actor { source, account, password: None, rest, concurrent: 1, shared: false, node: 0 });
        }
    };
    let mut world = World::new(1);
    spray(&mut world, 1);
    world.run(HOUR);
    assert!(world.blocked.contains(&source(1)));
    let compared = world.compared.len();
    world.run(25 * HOUR);
    let per_day = world.compared.len() - compared;
    println!("a source that tries 400 accounts: {compared} passwords in the first hour, {per_day} in the next day");
    assert!(per_day < 600, "{per_day}");

    let mut world = World::new(1);
    world.is_familiar(7, 1);
    let owner = world.owner(1, 7, MINUTE);
    spray(&mut world, 1);
    world.run(DAY);
    assert!(world.blocked.is_empty());
    assert_eq!(world.went[owner].refused, 0);
}

/// All local software shares one address: guesses cost time, and a login that was right before still gets in between them.
#[test]
fn guesses_from_a_shared_source_take_turns_and_cost_real_time() {
    let mut world = World::new(1);
    let loopback = |password, rest, concurrent| Actor {
        source: Source::Loopback,
        account: 1,
        password,
        rest,
        concurrent,
        shared: true,
        node: 0,
    };
    world.familiar.insert((1, Source::Loopback));
    world.actor(loopback(None, Duration::from_millis(1), 16));
    world.run(2 * HOUR);
    let most = world.most(|(_, account, ..)| Some(*account));
    println!("loopback: {most} guesses in 10 minutes");
    assert!(most <= 70 && world.blocked.is_empty());
    let elsewhere = world.owner(9000, 1, DAY);
    world.run(world.now + MINUTE);
    assert_eq!(world.went[elsewhere].right, 1, "another source is not kept out by it");
}

/// Nodes know the same familiar sources; each has budgets of its own.
#[test]
fn owner_is_familiar_on_every_node() {
    let mut world = World::new(3);
    world.is_familiar(1, 9000);
    let owners: Vec<usize> = (0..3)
        .map(|node| {
            let rest = MINUTE;
            let source = source(9000);
            world.actor(Actor { source, account: 1, password: Some(0), rest, concurrent: 1, shared: false, node })
        })
        .collect();
    for number in 0..60 {
        let (source, rest) = (source(number), Duration::from_millis(10));
        let node = number as usize % 3;
        world.actor(Actor { source, account: 1, password: None, rest, concurrent: 2, shared: false, node });
    }
    world.run(3 * HOUR);
    for owner in owners {
        assert_eq!((world.went[owner].refused, world.went[owner].slowest), (0, COMPARE));
    }
    assert!(world.most_of_one_source() <= 10 && world.most_of_an_account() <= 180);
}

/// Everything together, at random: the bounds hold, and nothing is left over.
#[test]
fn random_worlds_keep_the_bounds_for_simulated_weeks() {
    for seed in 1..=2_u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let mut world = World::new(1);
        let mut owners = Vec::new();
        for account in 1..=20 {
            world.is_familiar(account, 9000 + u32::try_from(account).unwrap());
            owners.push(world.owner(9000 + u32::try_from(account).unwrap(), account, HOUR));
        }
        for _ in 0..30 {
            let rest = Duration::from_secs(60 * (1 + below(120)));
            let (source, account) = (source(u32::try_from(below(12)).unwrap()), 1 + below(25));
            let (password, concurrent) = ((below(3) == 0).then(|| 1 + below(5)), 1 + below(3) as usize);
            let shared = below(10) == 0;
            world.actor(Actor { source, account, password, rest, concurrent, shared, node: 0 });
        }
        world.run(14 * DAY);
        assert!(world.most(|(_, account, source, familiar)| (!familiar).then_some((*account, *source))) <= 70);
        assert!(world.most_of_an_account() <= 60, "seed {seed}");
        for owner in owners {
            assert_eq!((world.went[owner].refused, world.went[owner].slowest), (0, COMPARE), "seed {seed}");
        }
    }
}
