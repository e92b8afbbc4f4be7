//! Which connections there are, how far each has come, and which is evicted for which. Pure: no socket, no clock, no lock.
//!
//! - A connection is *unauthenticated* until a correct password was sent on it, *logging in* while the mail server is asked,
//!   and a *session* from the moment on when its login is accepted.
//! - Only a session is never evicted. A connection that is logging in is evicted last, and never while it is the only one of
//!   its delegate: of an account whose logins hang, all but one make room for others.
//! - Unauthenticated connections from familiar sources and those from others each have half of the slots when there are too
//!   few for both. Within its half, the source with the most loses its oldest.
//! - Logins in progress and sessions count together for their account, their delegate and their source, so that no number of
//!   hanging logins goes past those limits either.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use oxpost_token_store::{Account, Mailbox};

use oxpost_token_store::Source;

/// The limits an administrator may move. They count what this process serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// Client connections at the same time.
    pub max_connections: usize,
    /// Those of them that have not logged in.
    pub max_unauthenticated: usize,
    /// Those of these from one source that is not familiar.
    pub max_unauthenticated_per_source: usize,
    /// Logins of one account, in progress or accepted.
    pub max_sessions_per_account: usize,
    /// Those of all accounts that one sign-in or one pattern opens: its password may be the password of all of them.
    pub max_sessions_per_delegate: usize,
    /// Those from one source.
    pub max_sessions_per_source: usize,
}

/// A connection. Older ones have smaller numbers.
pub(super) type Id = u64;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its source.
    pub source: Source,
    /// Many clients share this source (this machine, a load balancer): the limits per source do not hold for it.
    pub exempt: bool,
}

/// Whose login it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    account: Mailbox,
    delegate: Mailbox,
}

impl Login {
    /// A login of this account.
    pub(crate) fn of(account: &Account) -> Self {
        Self { account: account.mailbox.clone(), delegate: account.token_of().clone() }
    }
}

/// What lets a client log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A correct password.
    Password,
    /// A device permit: its network, which proves nothing about a single connection.
    Network,
}

/// A limit that keeps a login from being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionLimit {
    /// `max-sessions-per-account`
    Account,
    /// `max-sessions-per-delegate`
    Delegate,
    /// `max-sessions-per-source`
    Source,
}

/// The limit that a login has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// Which one.
    pub limit: SessionLimit,
    /// How many sessions it allows.
    pub allowed: usize,
    /// The account, delegate or source that has so many.
    pub of: String,
}

/// A limit that keeps a connection out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `max-connections`, and none of them may be evicted.
    Connections,
    /// `max-unauthenticated`, and none of them may be evicted for this one.
    Unauthenticated,
}

/// A connection that has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entered {
    /// What it is called.
    pub id: Id,
    /// The connection that was evicted for it.
    pub evicted: Option<Id>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unauthenticated,
    LoggingIn,
    Session,
}

#[derive(Debug)]
struct Connection {
    origin: Origin,
    stage: Stage,
    /// What it counts for, from the beginning of its login on.
    login: Option<Login>,
}

/// All connections.
#[derive(Debug)]
pub(super) struct SlotState {
    limits: SlotLimits,
    next: Id,
    connections: HashMap<Id, Connection>,
    unauthenticated: Groups<Source>,
    /// By delegate, which is whose password it may have been.
    logging_in: Groups<Mailbox>,
    accounts: Counts<Mailbox>,
    delegates: Counts<Mailbox>,
    sources: Counts<Source>,
}

impl SlotState {
    /// No connections.
    pub(super) fn new(limits: SlotLimits) -> Self {
        Self {
            limits,
            next: 0,
            connections: HashMap::new(),
            unauthenticated: Groups::default(),
            logging_in: Groups::default(),
            accounts: Counts::default(),
            delegates: Counts::default(),
            sources: Counts::default(),
        }
    }

    /// Gives a new connection a slot, that of another one if need be.
    ///
    /// # Errors
    /// There is none, and no connection may be evicted.
    pub(super) fn enter(&mut self, origin: Origin, familiar: impl Fn(Source) -> bool) -> Result<Entered, Full> {
        let limits = self.limits;
        let is_familiar = familiar(origin.source);
        let bounded = !origin.exempt && !is_familiar;
        let own = self.unauthenticated.count(&origin.source);
        let victim = if bounded && own >= limits.max_unauthenticated_per_source {
            self.unauthenticated.oldest(&origin.source)
        } else if self.unauthenticated.total >= limits.max_unauthenticated {
            Some(self.unauthenticated_victim(is_familiar, familiar).ok_or(Full::Unauthenticated)?)
        } else if self.connections.len() >= limits.max_connections {
            let victim = self.unauthenticated_victim(is_familiar, familiar);
            Some(victim.or_else(|| self.login_victim()).ok_or(Full::Connections)?)
        } else {
            None
        };
        if let Some(victim) = victim {
            self.leave(victim);
        }
        let id = self.next;
        self.next += 1;
        self.unauthenticated.insert(origin.source, id);
        self.connections.insert(id, Connection { origin, stage: Stage::Unauthenticated, login: None });
        Ok(Entered { id, evicted: victim })
    }

    /// A login begins. It counts from now on, and one with a correct password is no longer unauthenticated.
    ///
    /// # Errors
    /// As many as are allowed are in progress or accepted already.
    pub(super) fn begin_login(&mut self, id: Id, login: Login, proof: Proof) -> Result<(), LimitReached> {
        // A connection that was evicted meanwhile is about to end.
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        if connection.login.is_some() {
            return Ok(());
        }
        let Origin { source, exempt } = connection.origin;
        if let Some(reached) = self.reached(&login, source, exempt) {
            return Err(reached);
        }
        self.accounts.add(&login.account);
        self.delegates.add(&login.delegate);
        self.sources.add(&source);
        if proof == Proof::Password {
            self.unauthenticated.remove(&source, id);
            self.logging_in.insert(login.delegate.clone(), id);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.login = Some(login);
            if proof == Proof::Password {
                connection.stage = Stage::LoggingIn;
            }
        }
        Ok(())
    }

    fn reached(&self, login: &Login, source: Source, exempt: bool) -> Option<LimitReached> {
        let SlotLimits { max_sessions_per_account, max_sessions_per_delegate, max_sessions_per_source, .. } =
            self.limits;
        let reached = |limit, allowed, of: String| Some(LimitReached { limit, allowed, of });
        if self.accounts.count(&login.account) >= max_sessions_per_account {
            reached(SessionLimit::Account, max_sessions_per_account, login.account.to_string())
        } else if self.delegates.count(&login.delegate) >= max_sessions_per_delegate {
            reached(SessionLimit::Delegate, max_sessions_per_delegate, login.delegate.to_string())
        } else if !exempt && self.sources.count(&source) >= max_sessions_per_source {
            reached(SessionLimit::Source, max_sessions_per_source, source.to_string())
        } else {
            None
        }
    }

    /// The login has failed: the connection is unauthenticated again. Gives back who is evicted because there are too many of
    /// those now, which may be this one.
    pub(super) fn fail_login(&mut self, id: Id, familiar: impl Fn(Source) -> bool) -> Option<Id> {
        let connection = self.connections.get_mut(&id)?;
        let login = connection.login.take()?;
        let (Origin { source, exempt }, stage) = (connection.origin, connection.stage);
        connection.stage = Stage::Unauthenticated;
        self.uncount(&login, source);
        if stage == Stage::LoggingIn {
            self.logging_in.remove(&login.delegate, id);
            self.unauthenticated.insert(source, id);
        }
        let is_familiar = familiar(source);
        let own = self.unauthenticated.count(&source);
        let victim = if !exempt && !is_familiar && own > self.limits.max_unauthenticated_per_source {
            self.unauthenticated.oldest(&source)
        } else if self.unauthenticated.total > self.limits.max_unauthenticated {
            self.unauthenticated_victim(false, familiar)
        } else {
            None
        }?;
        self.leave(victim);
        Some(victim)
    }

    /// The login is accepted: from now on the connection is a session. `false` if it was evicted before that.
    pub(super) fn accept_login(&mut self, id: Id) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let source = connection.origin.source;
        match (connection.stage, &connection.login) {
            (Stage::Unauthenticated, _) => self.unauthenticated.remove(&source, id),
            (Stage::LoggingIn, Some(login)) => self.logging_in.remove(&login.delegate, id),
            (Stage::LoggingIn, None) | (Stage::Session, _) => {}
        }
        connection.stage = Stage::Session;
        true
    }

    /// The connection has ended, or is evicted: its slot is free.
    pub(super) fn leave(&mut self, id: Id) {
        let Some(Connection { origin, stage, login }) = self.connections.remove(&id) else { return };
        if stage == Stage::Unauthenticated {
            self.unauthenticated.remove(&origin.source, id);
        }
        if let Some(login) = login {
            if stage == Stage::LoggingIn {
                self.logging_in.remove(&login.delegate, id);
            }
            self.uncount(&login, origin.source);
        }
    }

    fn uncount(&mut self, login: &Login, source: Source) {
        self.accounts.remove(&login.account);
        self.delegates.remove(&login.delegate);
        self.sources.remove(&source);
    }

    /// How many sessions there are.
    pub(super) fn sessions(&self) -> usize {
        self.connections.values().filter(|connection| connection.stage == Stage::Session).count()
    }

    /// The sessions, the oldest first; everything else, in no order.
    pub(super) fn sessions_and_others(&self) -> (Vec<Id>, Vec<Id>) {
        let ids = self.connections.iter();
        let (mut sessions, mut others) = (Vec::new(), Vec::new());
        for (id, connection) in ids {
            if connection.stage == Stage::Session { sessions.push(*id) } else { others.push(*id) }
        }
        sessions.sort_unstable();
        (sessions, others)
    }

    /// Whose turn it is among the unauthenticated: the oldest of the busiest source, among the familiar ones if these (with
    /// one more that comes, if that is familiar) would have more than half, and among the others if not.
    fn unauthenticated_victim(&self, one_more_familiar: bool, familiar: impl Fn(Source) -> bool) -> Option<Id> {
        let groups = &self.unauthenticated;
        let of_familiar: usize =
            groups.members.iter().filter(|(source, _)| familiar(**source)).map(|(_, ids)| ids.len()).sum();
        let too_many_familiar = of_familiar + usize::from(one_more_familiar) > groups.total.div_ceil(2);
        groups.oldest_of_busiest(|source| familiar(*source) == too_many_familiar)
    }

    /// The oldest login of the delegate that has the most in progress, if that has more than one.
    fn login_victim(&self) -> Option<Id> {
        let groups = &self.logging_in;
        groups.oldest_of_busiest(|delegate| groups.count(delegate) > 1)
    }
}

/// Connections by what they have in common.
#[derive(Debug)]
struct Groups<K> {
    members: HashMap<K, BTreeSet<Id>>,
    total: usize,
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self { members: HashMap::new(), total: 0 }
    }
}

impl<K: Eq + Hash> Groups<K> {
    fn insert(&mut self, key: K, id: Id) {
        if self.members.entry(key).or_default().insert(id) {
            self.total += 1;
        }
    }

    fn remove(&mut self, key: &K, id: Id) {
        let Some(ids) = self.members.get_mut(key) else { return };
        if ids.remove(&id) {
            self.total -= 1;
        }
        if ids.is_empty() {
            self.members.remove(key);
        }
    }

    fn count(&self, key: &K) -> usize {
        self.members.get(key).map_or(0, BTreeSet::len)
    }

    fn oldest(&self, key: &K) -> Option<Id> {
        self.members.get(key)?.first().copied()
    }

    /// Of the group with the most members; of several such groups, of the one whose oldest has been here longest.
    fn oldest_of_busiest(&self, counts: impl Fn(&K) -> bool) -> Option<Id> {
        let groups = self.members.iter().filter(|(key, _)| counts(key));
        let groups = groups.filter_map(|(_, ids)| ids.first().map(|oldest| (ids.len(), *oldest)));
        groups.max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest))).map(|(_, oldest)| oldest)
    }
}

/// How many there are of each; what there is none of takes no memory.
#[derive(Debug)]
struct Counts<K>(HashMap<K, usize>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Counts<K> {
    fn add(&mut self, key: &K) {
        *self.0.entry(key.clone()).or_default() += 1;
    }

    fn remove(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    fn count(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod model;
