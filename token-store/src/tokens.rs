//! Tokens for admitted sessions. Single flight: one request per account at a time, however many callers and nodes want a token.
//!
//! Every decision starts from the stored row, so that nothing here can be stale. An `AccountState` holds only what is going on:
//! the request in flight, the pause after a failure, and tokens that could not be written.

mod account_state;
mod app_only;
mod lease;
mod probe;
mod readiness;
mod refresh;
mod remote_verification;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, SystemTime},
};

use dashmap::DashMap;
use oxpost_protocol::Secret;
use tokio::{sync::watch, time::timeout};
use tokio_util::task::TaskTracker;

use self::account_state::{AccountState, Caller, Entry};
use self::app_only::AppOnly;
pub use self::readiness::Readiness;
use crate::{
    account::{Account, Admitted, Grant, Mailbox},
    application::Applications,
    clock::{ClockSkew, SharedClock},
    database::Hints,
    error::{Problem, TokenError},
    http::HttpClient,
    request_gate::{Class, Refusal, RequestGate, RequestGateLimits},
    schedule::{Usable, usable},
    store::{CircuitKey, IssuedToken, Store, Stored, node_name},
};

/// An access token, for one upstream login. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Arc<IssuedToken>);

impl AccessToken {
    /// The token itself.
    pub fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// When it ends; Exchange ends a session opened with it then too.
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at
    }

    /// The name by which mail servers know the user whose token this is, who may have been renamed since the account was added.
    /// None: the account's address, as far as is known.
    pub fn sign_in_name(&self) -> Option<&Mailbox> {
        self.0.sign_in_name.as_ref()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.expires_at()).finish_non_exhaustive()
    }
}

impl From<&IssuedToken> for AccessToken {
    fn from(unexpired: &IssuedToken) -> Self {
        Self(Arc::new(unexpired.clone()))
    }
}

/// How long a caller waits for a new token whose old one still lives: an authority that hangs must not cost more than
/// mail programs have patience for. The request goes on without them.
const PATIENCE: Duration = Duration::from_secs(5);

/// The limits of refreshing. An authority is a token endpoint as one application asks it; each has limits of its own, so that
/// one that hangs does not affect the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshLimits {
    /// How many requests to one authority are in flight, those of logins included.
    pub per_authority: usize,
    /// How many of them the background refresher may start, so that a login finds room.
    pub background_per_authority: usize,
    /// How many requests are in flight in all, except for the first one of each authority.
    pub in_all: usize,
    /// How many requests to one authority begin in a second; fewer for a minute after an outage.
    pub per_second: u32,
    /// How long a login waits until its request may begin.
    pub login_patience: Duration,
    /// How long it sleeps at most before it looks at the store and the clock again.
    pub look_every: Duration,
    /// How often the token of one account may be replaced because the mail server refused it. A mailbox that refuses
    /// every token must not become a flood of requests to the authority.
    pub forced_every: Duration,
}

impl Default for RefreshLimits {
    fn default() -> Self {
        Self {
            per_authority: 16,
            background_per_authority: 8,
            in_all: 64,
            // Ten thousand accounts with tokens of an hour need four.
            per_second: 20,
            login_patience: Duration::from_secs(10),
            look_every: Duration::from_secs(30),
            forced_every: Duration::from_secs(30),
        }
    }
}

/// Hands out access tokens and keeps them fresh. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Shared>);

struct Shared {
    /// Who we are among the nodes that share the store.
    node: String,
    store: Store,
    applications: Applications,
    /// For requests that a login waits for, and for those of the refresher.
    http: HttpClient,
    background_http: HttpClient,
    gate: Arc<RequestGate>,
    /// For an administrator at the command line: no open circuit prevents a request.
    is_diagnosis: bool,
    clock: SharedClock,
    limits: RefreshLimits,
    account_states: DashMap<Mailbox, Arc<AccountState>>,
    /// By the application's name.
    app_only: DashMap<String, Arc<AppOnly>>,
    refreshes: TaskTracker,
    /// How often a refresh had to wait for another node.
    waits: AtomicUsize,
}

/// The result for every caller that waited for one request.
type Outcome = Result<AccessToken, TokenError>;

/// Why a token is wanted.
#[derive(Clone, Debug)]
enum Why {
    /// A session needs one.
    Serve,
    /// The token of this version is due for a refresh.
    Due(i64),
    /// The mail server refused this token.
    Refused(AccessToken),
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Tokens from this store, requested by these applications.
    pub fn new(
        store: Store,
        applications: Applications,
        http: HttpClient,
        clock: SharedClock,
        limits: RefreshLimits,
    ) -> Self {
        Self::of(store, applications, http, clock, limits, (Class::Login, Class::Background))
    }

    /// The same for an administrator at the command line: no open circuit prevents a request.
    pub(crate) fn for_diagnosis(
        store: Store,
        applications: Applications,
        http: HttpClient,
        clock: SharedClock,
    ) -> Self {
        let classes = (Class::Diagnosis, Class::Diagnosis);
        Self::of(store, applications, http, clock, RefreshLimits::default(), classes)
    }

    fn of(
        store: Store,
        applications: Applications,
        http: HttpClient,
        clock: SharedClock,
        limits: RefreshLimits,
        (login, background): (Class, Class),
    ) -> Self {
        let node = node_name();
        let gate_limits = RequestGateLimits {
            per_authority: limits.per_authority,
            in_all: limits.in_all,
            per_second: limits.per_second,
            login_patience: limits.login_patience,
        };
        let gate = Arc::new(RequestGate::new(node.clone(), store.clone(), clock.clone(), gate_limits));
        let background_http = http.clone().with_gate(&gate, background);
        let http = http.with_gate(&gate, login);
        Self(Arc::new(Shared {
            node,
            store,
            applications,
            http,
            background_http,
            gate,
            is_diagnosis: login == Class::Diagnosis,
            clock,
            limits,
            account_states: DashMap::new(),
            app_only: DashMap::new(),
            refreshes: TaskTracker::new(),
            waits: AtomicUsize::new(0),
        }))
    }

    /// The access token of the admitted account. It is the stored one while that has life left; a caller waits for a new
    /// one only near its end, for a few seconds, and gets the old one if there is no new one yet. Dropping the future does
    /// not stop the request: what it brings is stored.
    pub async fn access_token(&self, admitted: &Admitted) -> Result<AccessToken, TokenError> {
        self.obtain(admitted.account(), Why::Serve).await
    }

    /// The mail server refused this token: returns another one. If a newer token is stored, that; otherwise one request is made,
    /// even when many sessions report the same token. If a token obtained in this way is refused too within
    /// [`RefreshLimits::forced_every`], no further one is requested, because it would be refused as well; the error is
    /// [`TokenError::Misconfigured`], which says what to check.
    pub async fn refused(&self, admitted: &Admitted, refused: &AccessToken) -> Result<AccessToken, TokenError> {
        let token = self.obtain(admitted.account(), Why::Refused(refused.clone())).await?;
        if token.secret() != refused.secret() {
            return Ok(token);
        }
        // We had joined a request made for another reason, which found the stored token good.
        self.obtain(admitted.account(), Why::Refused(refused.clone())).await
    }

    /// For a diagnosis: asks the authority now, whatever is stored, and stores the answer. Fails even while the stored token
    /// lives.
    pub(crate) async fn ask_now(&self, account: &Account) -> Outcome {
        let shared = &self.0;
        let account = &account.token_account();
        let stored = shared.store.tokens(&account.mailbox).await?;
        let (why, account_state) = (Why::Due(stored.version), shared.account_state(&account.mailbox));
        match account_state.enter(&shared.caller(account, stored.version, &why)) {
            Entry::Blocked(error) => Err(*error),
            Entry::Join(answer) => wait(answer).await,
            Entry::Start(sender) => {
                let answer = sender.subscribe();
                shared.refreshes.spawn(refresh::run(shared.clone(), account.clone(), why, account_state, sender));
                wait(answer).await
            }
        }
    }

    /// The clocks that disagree with this machine's clock, as answers of the authorities and the database have shown.
    pub fn clock_skews(&self) -> Vec<ClockSkew> {
        self.0.http.clock_skews(self.0.clock.elapsed()).into_iter().chain(self.0.store.clock_skew()).collect()
    }

    /// Changes whenever an authority's clock starts or stops disagreeing with this machine's.
    pub fn clock_news(&self) -> watch::Receiver<u64> {
        self.0.http.clock_news()
    }

    async fn obtain(&self, account: &Account, why: Why) -> Outcome {
        let shared = &self.0;
        // All accounts with the same delegate wait for its one request.
        let account = &account.token_account();
        let stored = shared.store.tokens(&account.mailbox).await?;
        let now = shared.clock.now();
        if let Some(token) = settled(&stored, &why, now) {
            return Ok(token);
        }
        let account_state = shared.account_state(&account.mailbox);
        // What the store did not take is as good as what it has.
        if matches!(why, Why::Serve)
            && let Some((token, Usable::Yes)) = account_state.unsaved_token(&stored, now)
        {
            return Ok(token);
        }
        // Clocks may say what they want: a token that has just come is not replaced by another one.
        if matches!(why, Why::Serve | Why::Due(_))
            && shared.store.unwritten().is_none()
            && let Some(token) = &stored.access
            && account_state.is_fresh(shared.clock.elapsed(), token.issued_at)
        {
            return Ok(token.into());
        }
        let lives = || {
            let now = shared.clock.now();
            unexpired(&stored, &why, now).or_else(|| {
                let (token, _) = account_state.unsaved_token(&stored, now)?;
                let refused = matches!(&why, Why::Refused(refused) if refused.secret() == token.secret());
                (!refused).then_some(token)
            })
        };
        let caller = shared.caller(account, stored.version, &why);
        // While the authority is paused, no caller waits and nothing is written. (Exceptions: another account's token may do; a
        // request in flight for this account is joined; unsaved tokens are written without a request.)
        if account.grant != Grant::ClientCredentials
            && !account_state.is_asking()
            && !account_state.has_unsaved()
            && account_state.blocked(&caller).is_none()
            && let Some(refusal) = shared.refusal(account).await
        {
            return lives().ok_or_else(|| refusal.into());
        }
        let answer = match account_state.enter(&caller) {
            Entry::Blocked(error) => {
                // A new token may have been stored between reading the row and entering the account state.
                let stored = shared.store.tokens(&account.mailbox).await?;
                return settled(&stored, &why, now).or_else(lives).ok_or(*error);
            }
            Entry::Join(answer) => answer,
            Entry::Start(sender) => {
                let answer = sender.subscribe();
                // A task of its own: a mail client that disconnects must not cost us a refresh token that was just rotated.
                shared.refreshes.spawn(refresh::run(
                    shared.clone(),
                    account.clone(),
                    why.clone(),
                    account_state.clone(),
                    sender,
                ));
                answer
            }
        };
        // The refresher waits to the end, because it counts how many are on their way.
        if matches!(why, Why::Serve)
            && lives().is_some()
            && timeout(PATIENCE, wait(answer.clone())).await.is_err()
            && let Some(token) = lives()
        {
            return Ok(token);
        }
        wait(answer).await.or_else(|error| lives().ok_or(error))
    }
}

/// What the refresher needs.
impl Tokens {
    pub(crate) fn limits(&self) -> RefreshLimits {
        self.0.limits
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    pub(crate) fn hints(&self) -> Hints {
        self.0.store.hints()
    }

    /// The store, for what no login waits for.
    pub(crate) fn store_in_background(&self) -> Store {
        self.0.store.in_background()
    }

    pub(crate) async fn look_at_the_time(&self) {
        self.0.store.look_at_the_time().await;
    }

    /// Refreshes what was planned at this version. A failure was logged and stored where it happened. Returns for how long the
    /// account's authority is paused, if it is.
    pub(crate) async fn refresh_due(&self, account: &Account, version: i64) -> Option<Duration> {
        // A refresh that only writes unsaved tokens says nothing about the authority.
        let had_unsaved = self.has_unsaved(&account.token_account().mailbox);
        match self.obtain(account, Why::Due(version)).await {
            _ if had_unsaved => None,
            Err(TokenError::Paused { retry_after, .. }) => Some(retry_after),
            // Its request may have been the last that was made.
            _ => self.0.refusal(&account.token_account()).await.map(|refusal| refusal.wait),
        }
    }

    /// Which authority an account's tokens come from; none if its application is not configured.
    pub(crate) fn authority_of(&self, account: &Account) -> Option<CircuitKey> {
        let application = self.0.applications.get(&account.application)?;
        Some(CircuitKey::of(application, account.user_in_requests()))
    }

    pub(crate) fn gate(&self) -> &RequestGate {
        &self.0.gate
    }

    /// Drops what is kept for accounts that are gone.
    pub(crate) fn forget_all_but(&self, known: &HashSet<&Mailbox>) {
        self.0.account_states.retain(|mailbox, account_state| known.contains(mailbox) || !account_state.is_idle());
    }

    /// Whether there are tokens of this mailbox that the store did not take.
    pub(crate) fn has_unsaved(&self, mailbox: &Mailbox) -> bool {
        self.0.account_states.get(mailbox).is_some_and(|account_state| account_state.has_unsaved())
    }

    /// Before the process ends: writes unsaved tokens, except for accounts with a request in flight, which writes them too.
    pub(crate) async fn write_unsaved_of_idle(&self) {
        for (mailbox, account_state) in self.unsaved() {
            if !account_state.is_asking()
                && let Err(error) = self.0.write_unsaved(&mailbox, &account_state).await
            {
                tracing::debug!(%mailbox, "tokens could not be written; it is tried once more: {error}");
            }
        }
    }

    /// Writes what the store did not take when it came, up to the first that it does not take now. Its account may not be due for
    /// long.
    pub(crate) async fn write_unsaved_where_there_is_room(&self) {
        if self.0.store.unwritten().is_none() {
            return;
        }
        for (mailbox, account_state) in self.unsaved() {
            if !account_state.is_asking() && self.0.write_unsaved(&mailbox, &account_state).await.is_err() {
                return;
            }
        }
    }

    /// The last try to do so.
    pub(crate) async fn write_unsaved(&self) {
        for (mailbox, account_state) in self.unsaved() {
            if let Err(error) = self.0.write_unsaved(&mailbox, &account_state).await {
                tracing::error!(
                    %mailbox,
                    "new tokens could not be written before the shutdown; if Microsoft no longer accepts the older ones, run \
                     `oxpost sign-in {mailbox}`: {error}"
                );
            }
        }
    }

    fn unsaved(&self) -> Vec<(Mailbox, Arc<AccountState>)> {
        // Collected first: the map's guards must not be held over an await.
        self.0
            .account_states
            .iter()
            .filter(|entry| entry.value().has_unsaved())
            .map(|entry| (entry.key().clone(), entry.value().clone()))
            .collect()
    }

    /// Until no request is in flight.
    pub(crate) async fn wait_for_refreshes(&self) {
        self.0.refreshes.close();
        self.0.refreshes.wait().await;
    }
}

#[cfg(test)]
impl Tokens {
    /// The gate, to be held open or shut.
    pub(crate) fn gate_for_tests(&self) -> &Arc<RequestGate> {
        &self.0.gate
    }

    /// Whether nothing is asked for or to be written for this mailbox.
    pub(crate) fn is_idle(&self, mailbox: &Mailbox) -> bool {
        self.0.account_state(mailbox).is_idle()
    }

    /// How often a refresh had to wait for another node.
    pub(crate) fn waits(&self) -> usize {
        self.0.waits.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Shared {
    /// What the state of an account needs to know of a caller that wants a token.
    fn caller<'a>(&self, account: &Account, version: i64, why: &'a Why) -> Caller<'a> {
        let application = self.applications.get(&account.application);
        let answered = application.and_then(|application| self.gate.answered(application, account.user_in_requests()));
        Caller { version, why, now: self.clock.now(), forced_every: self.limits.forced_every, answered }
    }

    /// Why the authority of an account is not asked now.
    async fn refusal(&self, account: &Account) -> Option<Refusal> {
        if self.is_diagnosis {
            return None;
        }
        self.gate.refusal(self.applications.get(&account.application)?, account.user_in_requests()).await
    }

    /// The map's guard ends here: it must never be held over an await.
    fn account_state(&self, mailbox: &Mailbox) -> Arc<AccountState> {
        self.account_states.entry(mailbox.clone()).or_default().clone()
    }
}

/// The stored token, if it answers the wish without a request.
fn settled(stored: &Stored, why: &Why, now: SystemTime) -> Option<AccessToken> {
    let token = stored.access.as_ref()?;
    let usable = usable(token.issued_at, token.expires_at, now);
    let good = match why {
        Why::Serve => usable == Usable::Yes,
        Why::Due(version) => stored.version != *version && usable == Usable::Yes,
        Why::Refused(refused) => token.secret != *refused.secret() && usable != Usable::No,
    };
    good.then(|| token.into())
}

/// The stored token, if it has not expired and no mail server has refused it: better than an error.
fn unexpired(stored: &Stored, why: &Why, now: SystemTime) -> Option<AccessToken> {
    let token = stored.access.as_ref()?;
    let refused = matches!(why, Why::Refused(refused) if token.secret == *refused.secret());
    (!refused && usable(token.issued_at, token.expires_at, now) != Usable::No).then(|| token.into())
}

async fn wait(mut answer: watch::Receiver<Option<Outcome>>) -> Outcome {
    let answered = answer.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
    answered.unwrap_or_else(|| {
        let what = "The request for a token was dropped inside Oxpost.";
        let remedy = "Try again; if it lasts, see the log and report it.";
        Err(TokenError::Transient { retry_after: None, problem: Problem::new(what, remedy) })
    })
}
