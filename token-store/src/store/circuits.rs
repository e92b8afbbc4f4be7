//! How each authority answers each application, for all nodes and after a restart. Written by compare-and-swap, because nodes
//! decide from what they have read.

use std::time::{Duration, SystemTime};

use super::{Store, StoreError};
use crate::{
    account::Account,
    application::Application,
    circuit::{Circuit, Probe, Span},
    database::{Row, Statement},
    schedule,
};

/// Identifies a circuit: the token endpoint, which names the tenant, and the client id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CircuitKey {
    pub(crate) authority: String,
    pub(crate) client_id: String,
}

/// The first path segments of a token endpoint that stand for any tenant. (`consumers` is a tenant of its own.)
const ANY_TENANT: [&str; 2] = ["common", "organizations"];

impl CircuitKey {
    /// The circuit of an application's requests for an account; none: for the application itself. Where the token endpoint does not
    /// name the tenant, the domain of the account does: one tenant's answers say nothing about another tenant.
    pub(crate) fn of(application: &Application, account: Option<&str>) -> Self {
        let mut url = application.token_url.clone();
        url.set_query(None);
        let first = url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
        let names_no_tenant = ANY_TENANT.iter().any(|any| first.eq_ignore_ascii_case(any));
        let domain = account.and_then(|account| account.rsplit_once('@')).map(|(_, domain)| domain);
        url.set_fragment(domain.filter(|_| names_no_tenant));
        Self { authority: url.into(), client_id: application.client_id.clone() }
    }

    /// The token endpoint, for all tenants that it serves.
    pub(crate) fn endpoint(&self) -> Self {
        let authority = self.authority.split_once('#').map_or(self.authority.as_str(), |(endpoint, _)| endpoint);
        Self { authority: authority.to_owned(), client_id: self.client_id.clone() }
    }
}

/// An authority that an application does not ask now, for administrators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCircuit {
    key: CircuitKey,
    /// Why.
    pub reason: String,
    /// When it is asked again by itself; none: with the next request.
    pub asked_again: Option<SystemTime>,
}

impl OpenCircuit {
    /// Whether requests of this application for this account have this circuit; without an account, whether those for any
    /// account do.
    pub fn concerns(&self, application: &Application, account: Option<&Account>) -> bool {
        match account {
            Some(account) => self.key == CircuitKey::of(application, account.user_in_requests()),
            None => {
                let key = CircuitKey::of(application, None);
                let authority = self.key.authority.split('#').next().unwrap_or_default();
                key.client_id == self.key.client_id && key.authority == authority
            }
        }
    }

    /// The token endpoint, which names the tenant, or the domain after a `#`.
    pub fn authority(&self) -> &str {
        &self.key.authority
    }
}

/// A circuit unused for this long may belong to an application that is no longer configured.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// A circuit as it was read; version 0 was never written.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredCircuit {
    pub(crate) version: i64,
    pub(crate) circuit: Circuit,
}

impl Store {
    /// The circuit of one authority and application.
    pub(crate) async fn circuit(&self, key: &CircuitKey) -> Result<StoredCircuit, StoreError> {
        let select = "SELECT version, failures, pauses, paused, pause, reason, probe_node, probed, recovered \
                      FROM authority_circuit WHERE authority = $1 AND client_id = $2";
        let values = [key.authority.as_str().into(), key.client_id.as_str().into()];
        let row = self.rows(Statement::new(select, values)).await?.into_iter().next();
        Ok(row.map_or_else(StoredCircuit::default, |mut row| read(&mut row, 0)))
    }

    /// All that are written.
    pub(crate) async fn circuits(&self) -> Result<Vec<(CircuitKey, StoredCircuit)>, StoreError> {
        let select = "SELECT authority, client_id, version, failures, pauses, paused, pause, reason, probe_node, probed, \
                      recovered FROM authority_circuit ORDER BY authority, client_id";
        let read = |mut row: Row| {
            let key = CircuitKey { authority: row.text(0)?, client_id: row.text(1)? };
            Some((key, read(&mut row, 2)))
        };
        Ok(self.rows(Statement::new(select, [])).await?.into_iter().filter_map(read).collect())
    }

    /// The authorities that are not asked now. `now` is by [`Store::clock`].
    pub async fn open_circuits(&self, now: SystemTime) -> Result<Vec<OpenCircuit>, StoreError> {
        let open = |(key, StoredCircuit { circuit, .. }): (CircuitKey, StoredCircuit)| {
            let pause = circuit.pause.filter(|_| circuit.pauses > 0)?;
            let left = pause.left(now);
            let ended = now.duration_since(schedule::after(pause.since, pause.length)).unwrap_or_default();
            let asked_again = left.map(|left| schedule::after(now, left));
            (ended < FORGOTTEN).then_some(OpenCircuit { key, reason: circuit.reason, asked_again })
        };
        Ok(self.circuits().await?.into_iter().filter_map(open).collect())
    }

    /// Writes a circuit over the version it was decided from. `false` if another node was faster.
    pub(crate) async fn save_circuit(
        &self,
        key: &CircuitKey,
        version: i64,
        circuit: &Circuit,
    ) -> Result<bool, StoreError> {
        let sql = if version == 0 {
            "INSERT INTO authority_circuit (authority, client_id, version, failures, pauses, paused, pause, reason, probe_node, \
             probed, recovered) VALUES ($1, $2, $3 + 1, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (authority, client_id) DO NOTHING"
        } else {
            "UPDATE authority_circuit SET version = $3 + 1, failures = $4, pauses = $5, paused = $6, pause = $7, reason = $8, \
             probe_node = $9, probed = $10, recovered = $11 WHERE authority = $1 AND client_id = $2 AND version = $3"
        };
        let probe = circuit.probe.as_ref();
        let values = [
            key.authority.as_str().into(),
            key.client_id.as_str().into(),
            version.into(),
            i64::from(circuit.failures).into(),
            i64::from(circuit.pauses).into(),
            circuit.pause.map(|pause| pause.since).into(),
            circuit.pause.map(|pause| millis(pause.length)).into(),
            circuit.reason.as_str().into(),
            probe.map(|probe| probe.node.as_str()).into(),
            probe.map(|probe| probe.since).into(),
            circuit.recovered.into(),
        ];
        self.change(Statement::new(sql, values)).await
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// The circuit in the columns from this one on.
fn read(row: &mut Row, first: usize) -> StoredCircuit {
    let mut number = |column: usize| row.integer(first + column).unwrap_or_default();
    let (version, failures, pauses) = (number(0), number(1), number(2));
    let count = |number: i64| u32::try_from(number).unwrap_or(if number < 0 { 0 } else { u32::MAX });
    let length = row.integer(first + 4).and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis);
    let pause = row.time(first + 3).zip(length).map(|(since, length)| Span { since, length });
    let reason = row.text(first + 5).unwrap_or_default();
    let probe = row.text(first + 6).zip(row.time(first + 7)).map(|(node, since)| Probe { node, since });
    let recovered = row.time(first + 8);
    let circuit = Circuit { failures: count(failures), pauses: count(pauses), pause, reason, probe, recovered };
    StoredCircuit { version, circuit }
}
