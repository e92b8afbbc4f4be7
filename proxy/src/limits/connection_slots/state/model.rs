//! Random clients against the promises, in simulated time: attackers with what a stolen password, a compromised device or many
//! addresses give them, and owners who only want to read their mail.

use std::collections::HashSet;
use std::time::SystemTime;

use oxpost_token_store::Grant;

use super::*;

const LIMITS: SlotLimits = SlotLimits {
    // What one source may have, and one for each owner.
    max_connections: 48,
    max_unauthenticated: 24,
    max_unauthenticated_per_source: 6,
    max_sessions_per_account: 10,
    max_sessions_per_delegate: 30,
    max_sessions_per_source: 40,
};

const RUNS: u64 = 4;
const STEPS: u64 = 1_500;

/// Each owner has one program that connects once in a while from a usual address. Together they need less than what the
/// attackers' limits leave over.
const OWNERS: u8 = 8;

/// A connection attempt of an owner takes so many steps to send its password, and so many for the mail server.
const OWNER_LOGIN_STEPS: u64 = 4;

/// As many numbers as one wants, the same ones for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
}

/// What an attacker has.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Many addresses, and no password.
    Addresses,
    /// The same, and one account's password. Its logins hang at the mail server, fail or are accepted.
    Account,
    /// The password of a delegate, which opens many accounts.
    Delegate,
    /// A device at one address, from which a login has succeeded before.
    FamiliarSource,
    /// Passwords of many accounts, but one address.
    OneSource,
}

const ATTACKS: [Attack; 5] =
    [Attack::Addresses, Attack::Account, Attack::Delegate, Attack::FamiliarSource, Attack::OneSource];

struct World {
    random: Random,
    attack: Attack,
    state: SlotState,
    familiar: HashSet<Source>,
    /// What the attacker has open, as far as it knows.
    open: Vec<Id>,
    accepted: BTreeSet<Id>,
    owners: Vec<Owner>,
    logins: u64,
    slowest: u64,
    /// How often a connection was evicted or refused.
    full: u64,
}

/// An owner's program: idle, connecting since a step, or in a session until one.
#[derive(Clone, Copy)]
enum Program {
    Idle,
    Connected { id: Id, since: u64, first_try: u64 },
    Session { id: Id, until: u64 },
}

struct Owner {
    number: u8,
    program: Program,
    wanting_since: Option<u64>,
}

fn login(account: &str, delegate: &str) -> Login {
    let mailbox = |name: &str| Mailbox::parse(&format!("{name}@contoso.com")).unwrap();
    let account = Account::new(mailbox(account), "default", Grant::SignIn, SystemTime::UNIX_EPOCH);
    Login::of(&Account { delegate: Some(mailbox(delegate)), ..account })
}

fn source(a: u8, b: u8) -> Source {
    Source::of(std::net::IpAddr::from([10, 0, a, b]))
}

impl World {
    fn new(seed: u64, attack: Attack) -> Self {
        let mut familiar: HashSet<Source> = (0..OWNERS).map(|number| source(1, number)).collect();
        if matches!(attack, Attack::FamiliarSource) {
            familiar.insert(source(9, 9));
        }
        let owners = (0..OWNERS).map(|number| Owner { number, program: Program::Idle, wanting_since: None }).collect();
        Self {
            random: Random(seed),
            attack,
            state: SlotState::new(LIMITS),
            familiar,
            open: Vec::new(),
            accepted: BTreeSet::new(),
            owners,
            logins: 0,
            slowest: 0,
            full: 0,
        }
    }

    fn enter(&mut self, from: Source) -> Option<Id> {
        let before = (self.state.unauthenticated.total, self.state.logging_in.total);
        let entered =
            self.state.enter(Origin { source: from, exempt: false }, |source| self.familiar.contains(&source));
        self.full += u64::from(entered.as_ref().map_or(true, |entered| entered.evicted.is_some()));
        let Entered { id, evicted } = entered.ok()?;
        if let Some(evicted) = evicted {
            assert!(!self.accepted.contains(&evicted), "a session was evicted");
            if self.state.logging_in.total < before.1 {
                assert!(before.0 <= 1, "a login was evicted where an unauthenticated connection could have been");
            }
        }
        Some(id)
    }

    /// The attacker does something, as fast as it likes.
    fn attack(&mut self) {
        let a = u8::try_from(self.random.below(200)).unwrap();
        let from = match self.attack {
            Attack::FamiliarSource | Attack::OneSource => source(9, 9),
            Attack::Addresses | Attack::Account | Attack::Delegate => source(100, a),
        };
        match self.random.below(8) {
            0..=3 => {
                let id = self.enter(from);
                self.open.extend(id);
            }
            4 | 5 => {
                let Some(id) = self.any_open() else { return };
                let number = self.random.below(50);
                let login = match self.attack {
                    Attack::Addresses => return,
                    Attack::Account | Attack::FamiliarSource => login("stolen", "stolen"),
                    Attack::Delegate => login(&format!("shared{number}"), "stolen"),
                    Attack::OneSource => login(&format!("stolen{number}"), &format!("stolen{number}")),
                };
                let _ = self.state.begin_login(id, login, Proof::Password);
            }
            6 => {
                let Some(id) = self.any_open() else { return };
                let begun = self.state.connections.get(&id).is_some_and(|connection| connection.login.is_some());
                if begun && self.random.one_in(2) && self.state.accept_login(id) {
                    self.accepted.insert(id);
                } else if begun && !self.accepted.contains(&id) {
                    let evicted = self.state.fail_login(id, |source| self.familiar.contains(&source));
                    assert!(evicted.is_none_or(|evicted| !self.accepted.contains(&evicted)));
                }
            }
            _ if self.random.one_in(4) => {
                let Some(id) = self.any_open() else { return };
                self.state.leave(id);
                self.accepted.remove(&id);
                self.open.retain(|open| *open != id);
            }
            _ => {}
        }
    }

    fn any_open(&mut self) -> Option<Id> {
        while !self.open.is_empty() {
            let at = usize::try_from(self.random.below(self.open.len() as u64)).unwrap();
            let id = self.open[at];
            if self.state.connections.contains_key(&id) {
                return Some(id);
            }
            self.open.swap_remove(at);
        }
        None
    }

    /// Each owner does what is due. One that is refused or evicted tries again in the next step.
    fn owners(&mut self, now: u64) {
        for index in 0..self.owners.len() {
            let Owner { number, program, wanting_since } = self.owners[index];
            let (next, wanting) = match program {
                Program::Idle if wanting_since.is_none() && !self.random.one_in(50) => (Program::Idle, None),
                Program::Idle => {
                    let first_try = wanting_since.unwrap_or(now);
                    match self.enter(source(1, number)) {
                        Some(id) => (Program::Connected { id, since: now, first_try }, Some(first_try)),
                        None => (Program::Idle, Some(first_try)),
                    }
                }
                Program::Connected { id, since, first_try } if now - since < OWNER_LOGIN_STEPS => {
                    if now - since == OWNER_LOGIN_STEPS / 2 {
                        let name = format!("owner{number}");
                        let begun = self.state.begin_login(id, login(&name, &name), Proof::Password);
                        assert_eq!(begun, Ok(()), "{:?}", self.attack);
                    }
                    (Program::Connected { id, since, first_try }, Some(first_try))
                }
                Program::Connected { id, first_try, .. } if self.state.accept_login(id) => {
                    self.accepted.insert(id);
                    self.logins += 1;
                    self.slowest = self.slowest.max(now - first_try);
                    let until = now + self.random.below(200);
                    (Program::Session { id, until }, None)
                }
                Program::Connected { first_try, .. } => (Program::Idle, Some(first_try)),
                Program::Session { id, until } if now >= until => {
                    assert!(self.state.connections.contains_key(&id));
                    self.state.leave(id);
                    self.accepted.remove(&id);
                    (Program::Idle, None)
                }
                session @ Program::Session { .. } => (session, None),
            };
            (self.owners[index].program, self.owners[index].wanting_since) = (next, wanting);
        }
    }

    fn check(&self) {
        let state = &self.state;
        assert!(state.connections.len() <= LIMITS.max_connections);
        assert!(state.unauthenticated.total <= LIMITS.max_unauthenticated);
        assert!(state.accounts.0.values().all(|count| *count <= LIMITS.max_sessions_per_account));
        assert!(state.delegates.0.values().all(|count| *count <= LIMITS.max_sessions_per_delegate));
        assert!(state.sources.0.values().all(|count| *count <= LIMITS.max_sessions_per_source));
        let unfamiliar = state.unauthenticated.members.iter().filter(|(source, _)| !self.familiar.contains(source));
        assert!(unfamiliar.into_iter().all(|(_, ids)| ids.len() <= LIMITS.max_unauthenticated_per_source));
        for id in &self.accepted {
            assert!(state.connections.contains_key(id), "a session has lost its slot");
        }
    }
}

/// Whatever one account, one delegate, one source or any number of unauthenticated clients does, an owner at a familiar source logs in at the
/// first attempt.
#[test]
fn unauthenticated_connections_never_take_sessions_slots() {
    for attack in ATTACKS {
        let (mut logins, mut slowest, mut full) = (0, 0, 0);
        for run in 0..RUNS {
            let mut world = World::new(run, attack);
            for now in 0..STEPS {
                for _ in 0..world.random.below(12) {
                    world.attack();
                }
                world.owners(now);
                world.check();
            }
            logins += world.logins;
            slowest = slowest.max(world.slowest);
            full += world.full;
        }
        println!(
            "{attack:?}: {logins} logins of owners, the slowest after {slowest} steps of {OWNER_LOGIN_STEPS}; {full} times full"
        );
        assert!(logins > 200, "{attack:?}: the owners were busy");
        assert!(full > 1_000, "{attack:?}: there was no pressure");
        assert_eq!(slowest, OWNER_LOGIN_STEPS, "{attack:?}");
    }
}
