//! Name lookups of all sessions: one at a time for each name, shared by everyone who waits for it, and remembered briefly.
//!
//! The system's resolver (`getaddrinfo`) occupies a thread until it returns, and cannot be stopped. A lookup is
//! therefore a task of its own: a session that gives up leaves nothing running, and when DNS hangs, [`MAX_RUNNING`] threads
//! hang with it, however many sessions wait.

mod cached_answer;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::dns::Resolve;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::debug;

use self::cached_answer::{Addresses, CachedAnswer, Need, STALE_ANSWER_TIMEOUT};

/// How long a lookup may take for those who wait. The system's resolver gives up after 10 seconds where nothing else is set
/// (`man resolv.conf`: two attempts of 5 seconds), after more with several name servers.
pub(crate) const LOOKUP_TIME: Duration = Duration::from_secs(15);

/// How many lookups may occupy a thread at a time: names in proxy.toml are few.
pub(crate) const MAX_RUNNING: usize = 8;

/// How many of these may be for one name: a hung one must not keep a second from finding DNS well again, and a name that
/// always hangs must leave room for others.
pub(crate) const MAX_RUNNING_PER_NAME: usize = 2;

/// What a resolver holds for as long as it occupies a thread.
#[derive(Debug)]
pub struct Running(#[expect(dead_code, reason = "they are held, not read")] [OwnedSemaphorePermit; 2]);

/// A lookup on its way.
pub(crate) type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks for the addresses of a name.
pub(crate) type Resolver = Box<dyn Fn(String, Running) -> Resolving + Send + Sync>;

/// Why there are no addresses. It is shared by everyone who waited.
#[derive(Debug, Clone)]
pub struct LookupError(Arc<str>);

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Outcome = Result<Addresses, LookupError>;

/// The lookups of this process. Cheap to clone.
#[derive(Clone)]
pub struct Lookups(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    running: Arc<Semaphore>,
    /// By name. They are the hosts of proxy.toml, so there are few.
    names: Mutex<HashMap<String, Name>>,
}

struct Name {
    known: CachedAnswer,
    running: Arc<Semaphore>,
    /// The lookup that was begun last; over when it has a value, or its sender is gone.
    lookup: Option<watch::Receiver<Option<Outcome>>>,
}

impl Name {
    fn new() -> Self {
        Self { known: CachedAnswer::default(), running: Arc::new(Semaphore::new(MAX_RUNNING_PER_NAME)), lookup: None }
    }
}

/// The addresses that are known, or the lookup to wait for.
enum Lookup {
    Known(Addresses),
    Running { stale: Option<Addresses>, lookup: watch::Receiver<Option<Outcome>> },
}

fn is_on_its_way(lookup: &watch::Receiver<Option<Outcome>>) -> bool {
    lookup.borrow().is_none() && lookup.has_changed().is_ok()
}

impl Default for Lookups {
    /// With the system's resolver.
    fn default() -> Self {
        Self::with(Box::new(|host, running| Box::pin(system(host, running))))
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookups")
    }
}

impl Lookups {
    /// With another resolver.
    pub fn with(resolver: Resolver) -> Self {
        Self(Arc::new(Shared { resolver, running: Arc::new(Semaphore::new(MAX_RUNNING)), names: Mutex::default() }))
    }

    /// The addresses of a name, in the order of the resolver; at least one.
    ///
    /// # Errors
    /// It has none, or the resolver fails, and no recent answer is known.
    pub async fn addresses(&self, host: &str) -> Result<Addresses, LookupError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok([address].into());
        }
        let (stale, lookup) = match self.begin(host) {
            Lookup::Known(addresses) => return Ok(addresses),
            Lookup::Running { stale: None, lookup } => return outcome(lookup).await,
            Lookup::Running { stale: Some(stale), lookup } => (stale, lookup),
        };
        match timeout(STALE_ANSWER_TIMEOUT, outcome(lookup)).await {
            Ok(Ok(addresses)) => return Ok(addresses),
            Ok(Err(error)) => {
                debug!(host, %error, "the lookup failed; using the last known addresses");
            }
            Err(_) => {
                debug!(host, "the lookup is slow; using the last known addresses");
                self.note(host, Instant::now(), &Err(ended()));
            }
        }
        Ok(stale)
    }

    /// Joins the lookup that is on its way, or begins one, if what is known will not do.
    fn begin(&self, host: &str) -> Lookup {
        let mut names = self.names();
        let name = names.entry(host.to_owned()).or_insert_with(Name::new);
        let stale = match name.known.need(Instant::now()) {
            Need::Nothing(addresses) => return Lookup::Known(addresses),
            Need::Newer(addresses) => Some(addresses),
            Need::Any => None,
        };
        if let Some(lookup) = name.lookup.as_ref().filter(|lookup| is_on_its_way(lookup)) {
            return Lookup::Running { stale, lookup: lookup.clone() };
        }
        let (sender, lookup) = watch::channel(None);
        name.lookup = Some(lookup.clone());
        tokio::spawn(self.clone().look_up(host.to_owned(), Arc::clone(&name.running), sender));
        Lookup::Running { stale, lookup }
    }

    async fn look_up(self, host: String, of_this_name: Arc<Semaphore>, sender: watch::Sender<Option<Outcome>>) {
        let all = Arc::clone(&self.0.running);
        let asking = async {
            let permits = [of_this_name.acquire_owned().await, all.acquire_owned().await];
            let [Ok(one), Ok(other)] = permits else { return Err(ended()) };
            let found = (self.0.resolver)(host.clone(), Running([one, other])).await;
            match found {
                Ok(found) if found.is_empty() => Err(LookupError("the name has no address".into())),
                Ok(found) => Ok(found.into()),
                Err(error) => Err(LookupError(error.to_string().into())),
            }
        };
        let outcome = timeout(LOOKUP_TIME, asking).await.unwrap_or_else(|_| {
            let text = format!("no answer from the resolver within {} s", LOOKUP_TIME.as_secs());
            Err(LookupError(text.into()))
        });
        self.note(&host, Instant::now(), &outcome);
        sender.send_replace(Some(outcome));
    }

    fn note(&self, host: &str, now: Instant, outcome: &Outcome) {
        let mut names = self.names();
        let Some(name) = names.get_mut(host) else { return };
        match outcome {
            Ok(addresses) => name.known.answered(Arc::clone(addresses), now),
            Err(_) => name.known.failed(now),
        }
    }

    /// None of the addresses of a name answers: the next one who needs them asks for newer ones.
    pub fn expire(&self, host: &str) {
        if let Some(name) = self.names().get_mut(host) {
            name.known.expire();
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Name>> {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn outcome(mut lookup: watch::Receiver<Option<Outcome>>) -> Outcome {
    match lookup.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(ended())),
        Err(_) => Err(ended()),
    }
}

fn ended() -> LookupError {
    LookupError("the lookup ended without an answer".into())
}

/// For requests over HTTP, to the authorities.
impl Resolve for Lookups {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let lookups = self.clone();
        Box::pin(async move {
            let found = lookups.addresses(name.as_str()).await.map_err(|error| io::Error::other(error.to_string()))?;
            let found: Vec<SocketAddr> = found.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// `getaddrinfo`, on a thread of its own.
async fn system(host: String, running: Running) -> io::Result<Vec<IpAddr>> {
    let looking = tokio::task::spawn_blocking(move || {
        let found = (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect());
        drop(running);
        found
    });
    looking.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
