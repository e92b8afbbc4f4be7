//! The slots, case by case.

use std::collections::HashSet;
use std::time::SystemTime;

use oxpost_token_store::Grant;

use super::*;

const WIDE: SlotLimits = SlotLimits {
    max_connections: 100,
    max_unauthenticated: 100,
    max_unauthenticated_per_source: 100,
    max_sessions_per_account: 100,
    max_sessions_per_delegate: 100,
    max_sessions_per_source: 100,
};

/// The slots, and the sources that are familiar.
struct Hall {
    state: SlotState,
    familiar: HashSet<Source>,
}

fn source(peer: &str) -> Source {
    Source::of(peer.parse().unwrap())
}

fn account(mailbox: &str, delegate: &str) -> Login {
    let mailbox = Mailbox::parse(mailbox).unwrap();
    let account = Account::new(mailbox, "default", Grant::SignIn, SystemTime::UNIX_EPOCH);
    Login::of(&Account { delegate: Some(Mailbox::parse(delegate).unwrap()), ..account })
}

fn of(name: &str) -> Login {
    account(&format!("{name}@contoso.com"), &format!("{name}@contoso.com"))
}

impl Hall {
    fn new(limits: SlotLimits) -> Self {
        Self { state: SlotState::new(limits), familiar: HashSet::new() }
    }

    fn enter(&mut self, peer: &str) -> Result<Entered, Full> {
        self.enter_as(peer, false)
    }

    fn enter_as(&mut self, peer: &str, exempt: bool) -> Result<Entered, Full> {
        let origin = Origin { source: source(peer), exempt };
        let entered = self.state.enter(origin, |source| self.familiar.contains(&source));
        self.check();
        entered
    }

    fn id(&mut self, peer: &str) -> Id {
        self.enter(peer).unwrap().id
    }

    fn many(&mut self, peer: &str, count: usize) -> Vec<Id> {
        (0..count).map(|_| self.id(peer)).collect()
    }

    fn session(&mut self, peer: &str, login: Login) -> Id {
        let id = self.logging_in(peer, login);
        assert!(self.state.accept_login(id));
        self.check();
        id
    }

    fn logging_in(&mut self, peer: &str, login: Login) -> Id {
        let id = self.id(peer);
        self.state.begin_login(id, login, Proof::Password).unwrap();
        self.check();
        id
    }

    fn fail(&mut self, id: Id) -> Option<Id> {
        let evicted = self.state.fail_login(id, |source| self.familiar.contains(&source));
        self.check();
        evicted
    }

    fn has(&self, id: Id) -> bool {
        self.state.connections.contains_key(&id)
    }

    /// What is counted is what is there.
    fn check(&self) {
        let state = &self.state;
        let stages = |stage| state.connections.values().filter(|connection| connection.stage == stage).count();
        assert_eq!(state.unauthenticated.total, stages(Stage::Unauthenticated));
        assert_eq!(state.logging_in.total, stages(Stage::LoggingIn));
        let logins = state.connections.values().filter(|connection| connection.login.is_some()).count();
        for counted in [&state.accounts, &state.delegates] {
            assert_eq!(counted.0.values().sum::<usize>(), logins);
        }
        assert_eq!(state.sources.0.values().sum::<usize>(), logins);
        assert!(state.connections.len() <= state.limits.max_connections);
        assert!(state.unauthenticated.total <= state.limits.max_unauthenticated);
    }
}

#[test]
fn oldest_connection_of_busiest_source_is_evicted() {
    let mut hall = Hall::new(SlotLimits { max_unauthenticated: 4, ..WIDE });
    let modest = hall.id("192.0.2.1");
    let busy = hall.many("192.0.2.2", 3);
    assert_eq!(hall.enter("192.0.2.3").unwrap().evicted, Some(busy[0]));
    assert_eq!(hall.enter("192.0.2.4").unwrap().evicted, Some(busy[1]));
    assert_eq!(hall.enter("192.0.2.5").unwrap().evicted, Some(modest), "none is busier than the others: the oldest");
}

#[test]
fn source_at_its_limit_loses_its_own_oldest() {
    let mut hall = Hall::new(SlotLimits { max_unauthenticated_per_source: 2, ..WIDE });
    let own = hall.many("2001:db8::1", 2);
    assert_eq!(hall.enter("2001:db8::2").unwrap().evicted, Some(own[0]), "its /64 is one source");
    for _ in 0..5 {
        assert_eq!(hall.enter_as("192.0.2.1", true).unwrap().evicted, None, "exempt");
    }
    hall.familiar.insert(source("192.0.2.2"));
    assert_eq!(hall.many("192.0.2.2", 5).len(), 5);
    assert_eq!(hall.state.connections.len(), 12, "familiar");
}

#[test]
fn familiar_and_other_sources_have_half_of_the_slots_each() {
    let mut hall = Hall::new(SlotLimits { max_unauthenticated: 6, ..WIDE });
    hall.familiar.insert(source("192.0.2.1"));
    let own = hall.many("192.0.2.1", 2);
    for number in 0..100 {
        hall.id(&format!("198.51.100.{number}"));
    }
    assert!(own.iter().all(|id| hall.has(*id)), "many unknown sources evict no connection from a familiar one");
    let more = hall.many("192.0.2.1", 10);
    let kept = own.iter().chain(&more).filter(|id| hall.has(**id)).count();
    assert_eq!(kept, 3, "and no familiar source takes all");
    assert!(hall.has(*more.last().unwrap()));
    let other = hall.id("203.0.113.1");
    assert!(hall.has(other));
}

#[test]
fn last_slot_belongs_to_a_familiar_source() {
    let mut hall = Hall::new(SlotLimits { max_connections: 2, ..WIDE });
    hall.session("192.0.2.1", of("alice"));
    hall.familiar.insert(source("192.0.2.1"));
    let stranger = hall.id("198.51.100.1");
    let entered = hall.enter("192.0.2.1").unwrap();
    assert_eq!(entered.evicted, Some(stranger));
    assert_eq!(hall.enter("198.51.100.1"), Err(Full::Connections));
    assert_eq!(hall.enter("192.0.2.1").unwrap().evicted, Some(entered.id));

    let mut hall = Hall::new(SlotLimits { max_unauthenticated: 1, ..WIDE });
    hall.familiar.insert(source("192.0.2.1"));
    hall.id("192.0.2.1");
    assert_eq!(hall.enter("198.51.100.1"), Err(Full::Unauthenticated));
}

#[test]
fn sessions_are_never_evicted() {
    let mut hall = Hall::new(SlotLimits { max_connections: 3, ..WIDE });
    let sessions = [hall.session("192.0.2.1", of("alice")), hall.session("192.0.2.1", of("bob"))];
    let stranger = hall.id("192.0.2.2");
    let entered = hall.enter("192.0.2.3").unwrap();
    assert_eq!(entered.evicted, Some(stranger));
    hall.state.begin_login(entered.id, of("carol"), Proof::Password).unwrap();
    assert!(hall.state.accept_login(entered.id));
    assert_eq!(hall.enter("192.0.2.4"), Err(Full::Connections));
    assert!(sessions.iter().all(|id| hall.has(*id)));
    hall.state.leave(entered.id);
    assert_eq!(hall.enter("192.0.2.4").unwrap().evicted, None);
}

#[test]
fn login_in_progress_is_evicted_last_and_never_a_lone_one() {
    let mut hall = Hall::new(SlotLimits { max_connections: 5, ..WIDE });
    let lone = hall.logging_in("192.0.2.1", of("alice"));
    let hanging: Vec<Id> = (0..3).map(|_| hall.logging_in("192.0.2.2", of("bob"))).collect();
    let stranger = hall.id("192.0.2.3");
    let next = hall.enter("192.0.2.4").unwrap();
    assert_eq!(next.evicted, Some(stranger));
    hall.state.begin_login(next.id, of("carol"), Proof::Password).unwrap();
    let next = hall.enter("192.0.2.5").unwrap();
    assert_eq!(next.evicted, Some(hanging[0]), "the oldest of the account with the most");
    hall.state.begin_login(next.id, of("dave"), Proof::Password).unwrap();
    let next = hall.enter("192.0.2.6").unwrap();
    assert_eq!(next.evicted, Some(hanging[1]));
    hall.state.begin_login(next.id, of("erin"), Proof::Password).unwrap();
    assert_eq!(hall.enter("192.0.2.7"), Err(Full::Connections), "each has one");
    assert!(hall.has(lone) && hall.has(hanging[2]));
}

#[test]
fn evicted_connection_is_not_accepted_and_counts_for_nothing() {
    let mut hall = Hall::new(SlotLimits { max_connections: 2, max_sessions_per_account: 2, ..WIDE });
    let hanging = [hall.logging_in("192.0.2.1", of("bob")), hall.logging_in("192.0.2.1", of("bob"))];
    let next = hall.enter("192.0.2.2").unwrap();
    assert_eq!(next.evicted, Some(hanging[0]));
    assert!(!hall.state.accept_login(hanging[0]));
    assert_eq!(hall.fail(hanging[0]), None);
    hall.state.leave(hanging[0]);
    hall.check();
    assert_eq!(hall.state.begin_login(hanging[0], of("bob"), Proof::Password), Ok(()));
    hall.check();
    assert_eq!(hall.state.begin_login(next.id, of("bob"), Proof::Password), Ok(()), "its count is free");
}

#[test]
fn each_session_limit_is_named_when_it_is_reached() {
    let limits =
        SlotLimits { max_sessions_per_account: 2, max_sessions_per_delegate: 3, max_sessions_per_source: 4, ..WIDE };
    let mut hall = Hall::new(limits);
    let shared = |name: &str| account(&format!("{name}@contoso.com"), "alice@contoso.com");
    let first = hall.session("192.0.2.1", shared("info"));
    hall.logging_in("192.0.2.1", shared("info"));
    let id = hall.id("192.0.2.1");
    let reached = |limit, allowed, of: &str| Err(LimitReached { limit, allowed, of: of.into() });
    let begin = |hall: &mut Hall, login| hall.state.begin_login(id, login, Proof::Password);
    assert_eq!(begin(&mut hall, shared("info")), reached(SessionLimit::Account, 2, "info@contoso.com"));
    hall.session("192.0.2.2", shared("sales"));
    assert_eq!(begin(&mut hall, shared("sales")), reached(SessionLimit::Delegate, 3, "alice@contoso.com"));
    hall.session("192.0.2.1", of("bob"));
    hall.session("192.0.2.1", of("carol"));
    assert_eq!(begin(&mut hall, of("dave")), reached(SessionLimit::Source, 4, "192.0.2.1"));
    hall.state.leave(first);
    assert_eq!(begin(&mut hall, of("dave")), Ok(()));
    let exempt = hall.enter_as("192.0.2.1", true).unwrap().id;
    assert_eq!(hall.state.begin_login(exempt, of("erin"), Proof::Password), Ok(()));
    hall.check();
}

#[test]
fn device_is_unauthenticated_until_its_login_is_accepted() {
    let mut hall = Hall::new(SlotLimits { max_connections: 2, max_sessions_per_account: 1, ..WIDE });
    let device = hall.id("192.0.2.1");
    hall.state.begin_login(device, of("scan"), Proof::Network).unwrap();
    hall.check();
    let other = hall.id("192.0.2.2");
    assert!(hall.state.begin_login(other, of("scan"), Proof::Network).is_err(), "it counts");
    let next = hall.enter("192.0.2.3").unwrap();
    assert_eq!(next.evicted, Some(device), "and is evicted like the others");
    hall.state.begin_login(other, of("scan"), Proof::Network).unwrap();
    assert!(hall.state.accept_login(other));
    hall.check();
    assert_eq!(hall.enter("192.0.2.4").unwrap().evicted, Some(next.id));
}

#[test]
fn failed_login_is_unauthenticated_again_and_within_the_limits() {
    let mut hall = Hall::new(SlotLimits { max_unauthenticated: 2, max_sessions_per_account: 1, ..WIDE });
    let failing = hall.logging_in("192.0.2.1", of("alice"));
    let others = [hall.id("192.0.2.2"), hall.id("192.0.2.3")];
    assert_eq!(hall.fail(failing), Some(failing), "the oldest");
    assert!(!hall.has(failing) && others.iter().all(|id| hall.has(*id)));
    let again = hall.logging_in("192.0.2.4", of("alice"));
    assert_eq!(hall.fail(again), None, "there is a slot");
    assert_eq!(hall.state.begin_login(again, of("alice"), Proof::Password), Ok(()), "it may try again");
    hall.check();
    assert_eq!(hall.fail(again), None);
    assert_eq!(hall.fail(again), None, "once");

    let mut hall = Hall::new(SlotLimits { max_unauthenticated_per_source: 2, ..WIDE });
    let failing = hall.logging_in("192.0.2.1", of("alice"));
    let first = hall.id("192.0.2.1");
    assert_eq!(hall.fail(failing), None, "as many as are allowed");
    hall.state.leave(first);
    hall.state.begin_login(failing, of("alice"), Proof::Password).unwrap();
    let own = hall.many("192.0.2.1", 2);
    assert_eq!(hall.fail(failing), Some(failing));
    assert!(own.iter().all(|id| hall.has(*id)));
    let exempt = hall.enter_as("192.0.2.9", true).unwrap().id;
    hall.state.begin_login(exempt, of("bob"), Proof::Password).unwrap();
    for _ in 0..3 {
        hall.enter_as("192.0.2.9", true).unwrap();
    }
    assert_eq!(hall.fail(exempt), None, "the limit does not hold there");
    hall.familiar.insert(source("192.0.2.8"));
    let failing = hall.logging_in("192.0.2.8", of("carol"));
    hall.many("192.0.2.8", 2);
    assert_eq!(hall.fail(failing), None, "nor for a familiar source");
}

#[test]
fn login_begins_once() {
    let mut hall = Hall::new(SlotLimits { max_sessions_per_account: 2, ..WIDE });
    let id = hall.logging_in("192.0.2.1", of("alice"));
    assert_eq!(hall.state.begin_login(id, of("alice"), Proof::Password), Ok(()));
    hall.check();
    assert!(hall.state.accept_login(id) && hall.state.accept_login(id));
    hall.check();
}

#[test]
fn sessions_are_distinguished_from_others_oldest_first() {
    let mut hall = Hall::new(WIDE);
    let sessions: Vec<Id> = (0..20).map(|_| hall.session("192.0.2.1", of("alice"))).collect();
    let (stranger, logging_in) = (hall.id("192.0.2.1"), hall.logging_in("192.0.2.1", of("alice")));
    let (found, mut others) = hall.state.sessions_and_others();
    others.sort_unstable();
    assert_eq!((found, others), (sessions, vec![stranger, logging_in]));
}

#[test]
fn ended_connections_leave_no_state() {
    let mut hall = Hall::new(SlotLimits { max_unauthenticated: 3, max_connections: 5, ..WIDE });
    for round in 0..200_u64 {
        let peer = format!("192.0.2.{}", round % 7);
        if let Ok(Entered { id, .. }) = hall.enter(&peer) {
            let name = format!("user{}", round % 3);
            if round % 2 == 0 && hall.state.begin_login(id, of(&name), Proof::Password).is_ok() && round % 4 == 0 {
                hall.state.accept_login(id);
            }
        }
        if round % 5 == 0 {
            hall.state.leave(round / 2);
        }
        hall.check();
    }
    for id in 0..200 {
        hall.state.leave(id);
    }
    hall.check();
    let SlotState { connections, unauthenticated, logging_in, accounts, delegates, sources, .. } = hall.state;
    assert_eq!((connections.len(), unauthenticated.members.len(), logging_in.members.len()), (0, 0, 0));
    assert_eq!((accounts.0.len(), delegates.0.len(), sources.0.len()), (0, 0, 0));
}
