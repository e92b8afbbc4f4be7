//! Connection slots: how many connections there may be, and which one is asked to close when there are too many.
//!
//! [`SlotState`] decides; here is the lock around it, the close request of each connection, and what is logged. This is also
//! where all connections of the process are known, so that a stop can ask each of them to close.

mod familiar;
mod state;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use oxpost_token_store::{Account, Accounts};
use tracing::{Level, warn};

use self::familiar::FamiliarSources;
use self::state::{Entered, Id, SlotState};
use crate::limits::close_request::{CloseHandle, CloseReason, CloseRequest, close_request};
use crate::log::rate_limit::LogRateLimit;
use oxpost_token_store::Source;

pub use self::state::SlotLimits;
pub(crate) use self::state::{Full, LimitReached, Login, Origin, Proof, SessionLimit};

/// What a configuration says of connection slots.
#[derive(Debug, Clone)]
pub struct SlotSettings {
    /// The limits.
    pub limits: SlotLimits,
    /// Networks that many clients share one address of, such as that of a load balancer: limits per source do not hold for
    /// them. They do not hold for this machine either.
    pub exempt_networks: Vec<IpNet>,
}

/// The connection slots of all listeners.
#[derive(Debug)]
pub struct ConnectionSlots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    exempt_networks: Vec<IpNet>,
    logged: Logged,
}

#[derive(Debug)]
struct Table {
    state: SlotState,
    familiar: FamiliarSources,
    handles: HashMap<Id, CloseHandle>,
}

/// Lines that an unauthenticated client can cause.
#[derive(Debug)]
struct Logged {
    full: LogRateLimit,
    evicted: LogRateLimit,
}

impl Default for Logged {
    fn default() -> Self {
        Self {
            full: LogRateLimit::new(Level::WARN, "connection refused"),
            evicted: LogRateLimit::new(Level::WARN, "connection evicted"),
        }
    }
}

/// The slot of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    source: Source,
    id: Id,
    request: CloseRequest,
}

impl ConnectionSlots {
    /// All free.
    pub fn new(settings: SlotSettings) -> Self {
        Self::with_familiar(settings, FamiliarSources::default())
    }

    /// All free; the store has familiar sources.
    pub fn with_accounts(settings: SlotSettings, accounts: Accounts) -> Self {
        Self::with_familiar(settings, FamiliarSources::stored(accounts))
    }

    fn with_familiar(settings: SlotSettings, familiar: FamiliarSources) -> Self {
        let table = Table { state: SlotState::new(settings.limits), familiar, handles: HashMap::new() };
        let (table, exempt_networks) = (Mutex::new(table), settings.exempt_networks);
        Self(Arc::new(Shared { table, exempt_networks, logged: Logged::default() }))
    }

    /// Gives a new connection a slot; another one is evicted for it if need be.
    ///
    /// # Errors
    /// There is none; the log says why.
    pub fn enter(&self, peer: IpAddr) -> Result<Slot, Full> {
        let source = Source::of(peer);
        let exempt = source == Source::Loopback || is_within(&self.0.exempt_networks, peer);
        let mut table = self.0.table();
        let Table { state, familiar, .. } = &mut *table;
        let Entered { id, evicted } = state
            .enter(Origin { source, exempt }, |source| familiar.is_familiar(source))
            .inspect_err(|full| self.0.logged.full(peer, *full))?;
        let (handle, request) = close_request();
        table.handles.insert(id, handle);
        if let Some(evicted) = evicted {
            table.evict(evicted);
            self.0.logged.evicted();
        }
        Ok(Slot { shared: Arc::clone(&self.0), source, id, request })
    }

    /// Whether a login from this source has succeeded.
    pub fn is_familiar(&self, peer: IpAddr) -> bool {
        self.0.table().familiar.is_familiar(Source::of(peer))
    }

    /// How many sessions there are: connections with an accepted login.
    pub fn sessions(&self) -> usize {
        self.0.table().state.sessions()
    }

    /// Asks every connection without an accepted login to close because Oxpost is stopping. Gives back the sessions, the oldest
    /// first, for [`Self::ask_to_stop`]. The listeners are closed by then.
    pub fn begin_stop(&self) -> Vec<u64> {
        let table = self.0.table();
        let (sessions, others) = table.state.sessions_and_others();
        for id in others {
            table.ask(id, CloseReason::Stopping);
        }
        sessions
    }

    /// Asks a session to close because Oxpost is stopping.
    pub fn ask_to_stop(&self, session: u64) {
        self.0.table().ask(session, CloseReason::Stopping);
    }
}

impl Slot {
    /// Made when the connection is to close.
    pub fn close_request(&self) -> &CloseRequest {
        &self.request
    }

    /// A login begins that was proved.
    ///
    /// # Errors
    /// As many as are allowed are in progress or accepted already.
    pub fn begin_login(&self, account: &Account, proof: Proof) -> Result<(), LimitReached> {
        let mut table = self.shared.table();
        if proof == Proof::Password {
            table.familiar.note(self.source);
        }
        table.state.begin_login(self.id, Login::of(account), proof)
    }

    /// The login that has begun has failed.
    pub fn fail_login(&self) {
        let mut table = self.shared.table();
        let Table { state, familiar, .. } = &mut *table;
        if let Some(evicted) = state.fail_login(self.id, |source| familiar.is_familiar(source)) {
            table.evict(evicted);
            self.shared.logged.evicted();
        }
    }

    /// The login that has begun is accepted: the connection is a session from now on, and is never evicted. `false` if it was
    /// evicted before.
    pub fn accept_login(&self) -> bool {
        self.shared.table().state.accept_login(self.id)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        table.state.leave(self.id);
        table.handles.remove(&self.id);
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn ask(&self, id: Id, reason: CloseReason) {
        if let Some(handle) = self.handles.get(&id) {
            handle.close(reason);
        }
    }

    fn evict(&mut self, id: Id) {
        self.ask(id, CloseReason::Evicted);
        self.handles.remove(&id);
    }
}

impl Full {
    /// The key of `[limits]`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Connections => "max-connections",
            Self::Unauthenticated => "max-unauthenticated",
        }
    }
}

impl SessionLimit {
    /// The key of `[limits]`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Account => "max-sessions-per-account",
            Self::Delegate => "max-sessions-per-delegate",
            Self::Source => "max-sessions-per-source",
        }
    }
}

impl Logged {
    fn full(&self, peer: IpAddr, full: Full) {
        if self.full.permit() {
            warn!(client = %peer, limit = full.key(), "connection refused: no other connection can be evicted");
        }
    }

    fn evicted(&self) {
        if self.evicted.permit() {
            warn!(
                "evicted a connection that was not logged in to free its slot (see max-unauthenticated and max-connections in [limits])"
            );
        }
    }
}

fn is_within(networks: &[IpNet], peer: IpAddr) -> bool {
    // An IPv4 client on a dual-stack socket arrives as ::ffff:a.b.c.d.
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}

#[cfg(test)]
mod tests;
