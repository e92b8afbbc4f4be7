//! What is going on for one account: decided under a short lock that is never held over an await.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use oxpost_protocol::Secret;
use tokio::sync::watch;

use super::{AccessToken, Outcome, Why};
use crate::{
    account::Grant,
    error::{Problem, TokenError},
    identity::KnownIdentity,
    schedule::{self, Usable, usable},
    store::{IssuedToken, Stored, TokenSet},
};

#[derive(Default)]
pub(super) struct AccountState(Mutex<State>);

#[derive(Default)]
struct State {
    refresh: Option<watch::Receiver<Option<Outcome>>>,
    failed: Option<Failed>,
    /// When a token that the mail server had refused was last replaced.
    forced: Option<SystemTime>,
    unsaved: Option<Unsaved>,
    /// The tokens that last came.
    received: Option<Received>,
}

struct Received {
    /// When, by the monotonic clock.
    elapsed: Duration,
    /// What the store says of when they were asked for.
    issued_at: SystemTime,
    lifetime: Duration,
}

/// A successful refresh is followed by no other within this time, whatever the wall clock says: a clock that is wrong on one
/// node, or jumps, must not cause a flood of requests that all succeed. A tenth of the shortest lifetime of Microsoft's tokens.
const MINIMUM_DISTANCE: Duration = Duration::from_secs(60);

/// The same for a token of this lifetime, which another authority may make shorter.
pub(super) fn minimum_distance(lifetime: Duration) -> Duration {
    MINIMUM_DISTANCE.min(lifetime / 10)
}

/// The pause after a failure. It belongs to a version of the row: a new sign-in ends it.
struct Failed {
    version: i64,
    failures: u32,
    error: TokenError,
    since: SystemTime,
    pause: Duration,
    /// The authority did not answer, so the pause ends when it answers a request for any account.
    until_answered: bool,
}

/// Tokens that the authority gave and the store did not accept (a full disk). They are served from here, and written as soon as
/// the store accepts them.
#[derive(Clone)]
pub(super) struct Unsaved {
    pub(super) tokens: TokenSet,
    pub(super) issued_at: SystemTime,
    /// The row they were obtained from: they are written over it, and over no other.
    pub(super) base: Stored,
    /// Whose they are.
    pub(super) identity: Option<KnownIdentity>,
    /// The application that obtained them, and the grant.
    pub(super) got_by: (String, Grant),
}

impl Unsaved {
    /// Its access token.
    pub(super) fn unexpired(&self) -> IssuedToken {
        IssuedToken {
            secret: self.tokens.access_token.clone(),
            issued_at: self.issued_at,
            expires_at: schedule::after(self.issued_at, self.tokens.lifetime),
            sign_in_name: self.identity.as_ref().and_then(KnownIdentity::sign_in_name),
        }
    }
}

/// What a caller does next.
pub(super) enum Entry {
    /// Return this error; it is too early for another try.
    Blocked(Box<TokenError>),
    /// Wait for the request in flight.
    Join(watch::Receiver<Option<Outcome>>),
    /// Start one, and tell the others.
    Start(watch::Sender<Option<Outcome>>),
}

impl AccountState {
    /// What a caller does. Nothing is remembered of a caller that may not start a request.
    pub(super) fn enter(&self, caller: &Caller<'_>) -> Entry {
        let mut state = self.lock();
        if let Some(refresh) = &state.refresh {
            // A refresh whose task died has no answer.
            if refresh.borrow().is_none() && refresh.has_changed().is_ok() {
                return Entry::Join(refresh.clone());
            }
        }
        if let Some(error) = state.blocked(caller) {
            return Entry::Blocked(Box::new(error));
        }
        let (sender, answer) = watch::channel(None);
        state.refresh = Some(answer);
        Entry::Start(sender)
    }

    /// Whether a request is in flight, to be joined.
    pub(super) fn is_asking(&self) -> bool {
        let state = self.lock();
        state.refresh.as_ref().is_some_and(|refresh| refresh.borrow().is_none() && refresh.has_changed().is_ok())
    }

    /// Why no request may be started for this account.
    pub(super) fn blocked(&self, caller: &Caller<'_>) -> Option<TokenError> {
        self.lock().blocked(caller)
    }

    /// The refresh is over, and nothing was asked.
    pub(super) fn not_asked(&self) {
        self.lock().refresh = None;
    }

    /// The refresh is over, and brought tokens.
    pub(super) fn succeeded(&self, why: &Why, now: SystemTime) {
        let mut state = self.lock();
        state.refresh = None;
        state.failed = None;
        if matches!(why, Why::Refused(_)) {
            state.forced = Some(now);
        }
    }

    /// The refresh failed: how long to pause the account, and whether an answer to any other account ends the pause.
    pub(super) fn failed(
        &self,
        version: i64,
        error: &TokenError,
        (pause, until_answered): (Duration, bool),
        now: SystemTime,
    ) {
        let mut state = self.lock();
        let failures = state.failures(version).saturating_add(1);
        state.refresh = None;
        state.failed = Some(Failed { version, failures, error: error.clone(), since: now, pause, until_answered });
    }

    /// The authority has given tokens.
    pub(super) fn tokens_received(&self, elapsed: Duration, issued_at: SystemTime, lifetime: Duration) {
        let issued_at = schedule::to_the_millisecond(issued_at);
        self.lock().received = Some(Received { elapsed, issued_at, lifetime });
    }

    /// Whether the tokens with this time of issue, as stored, have just been received here.
    pub(super) fn is_fresh(&self, elapsed: Duration, issued_at: SystemTime) -> bool {
        let state = self.lock();
        // While a request is in flight, callers wait for its tokens.
        state.refresh.is_none()
            && state.received.as_ref().is_some_and(|received| {
                received.issued_at == issued_at
                    && elapsed.saturating_sub(received.elapsed) < minimum_distance(received.lifetime)
            })
    }

    /// How often in a row it has failed.
    pub(super) fn failures(&self, version: i64) -> u32 {
        self.lock().failures(version)
    }

    /// Returns whether these are the first that the store did not accept.
    pub(super) fn keep_unsaved(&self, unsaved: Unsaved) -> bool {
        self.lock().unsaved.replace(unsaved).is_none()
    }

    /// The access token that the store did not accept, if it came from this row and is usable.
    pub(super) fn unsaved_token(&self, stored: &Stored, now: SystemTime) -> Option<(AccessToken, Usable)> {
        let state = self.lock();
        let unsaved = state.unsaved.as_ref().filter(|unsaved| unsaved.base.refresh == stored.refresh)?;
        let unexpired = unsaved.unexpired();
        let usable = usable(unexpired.issued_at, unexpired.expires_at, now);
        (usable != Usable::No).then(|| (AccessToken::from(&unexpired), usable))
    }

    /// The newest refresh token that came from this row, if the store did not accept it.
    pub(super) fn unsaved_refresh_token(&self, stored: &Stored) -> Option<Secret> {
        let state = self.lock();
        let unsaved = state.unsaved.as_ref().filter(|unsaved| unsaved.base.refresh == stored.refresh)?;
        unsaved.tokens.refresh_token.clone()
    }

    pub(super) fn take_unsaved(&self) -> Option<Unsaved> {
        self.lock().unsaved.take()
    }

    pub(super) fn has_unsaved(&self) -> bool {
        self.lock().unsaved.is_some()
    }

    /// Whether nothing is going on.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.refresh.is_none() && state.unsaved.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who wants a token, and what it knows.
pub(super) struct Caller<'a> {
    /// The version of the row it has read.
    pub(super) version: i64,
    pub(super) why: &'a Why,
    pub(super) now: SystemTime,
    pub(super) forced_every: Duration,
    /// When the authority last answered any account.
    pub(super) answered: Option<SystemTime>,
}

impl State {
    fn blocked(&self, caller: &Caller<'_>) -> Option<TokenError> {
        if let Some(failed) = self.failed.as_ref().filter(|failed| failed.version == caller.version)
            && let Some(left) = left(failed.since, failed.pause, caller.now)
            && !(failed.until_answered && caller.answered.is_some_and(|answered| answered > failed.since))
        {
            return Some(with_retry_after(failed.error.clone(), left));
        }
        let forced = self.forced.filter(|_| matches!(caller.why, Why::Refused(_)))?;
        left(forced, caller.forced_every, caller.now).map(|_| TokenError::Misconfigured(refused_again()))
    }

    fn failures(&self, version: i64) -> u32 {
        self.failed.as_ref().filter(|failed| failed.version == version).map_or(0, |failed| failed.failures)
    }
}

/// What is left of a pause. A clock that was set back before its beginning ends it.
pub(super) fn left(since: SystemTime, pause: Duration, now: SystemTime) -> Option<Duration> {
    let passed = now.duration_since(since).ok()?;
    pause.checked_sub(passed).filter(|left| !left.is_zero())
}

pub(super) fn with_retry_after(error: TokenError, left: Duration) -> TokenError {
    match error {
        TokenError::Transient { problem, .. } => {
            // At least a whole second, so that no client tries again immediately.
            TokenError::Transient { retry_after: Some(left.max(Duration::from_secs(1))), problem }
        }
        other => other,
    }
}

pub(super) fn refused_again() -> Problem {
    Problem::new(
        "The mail server refuses this account's tokens, new ones too.",
        "Check in Exchange Online PowerShell that the mailbox allows the protocol (`Get-CASMailbox`; for SMTP \
         `SmtpClientAuthenticationDisabled`) and that the user who signed in, or the application's service principal, may open \
         it (`Get-MailboxPermission`); `oxpost status` shows who signed in.",
    )
}

/// The pause that follows an error.
pub(super) fn pause_after(error: &TokenError, failures: u32) -> Duration {
    let retry_after = if let TokenError::Transient { retry_after, .. } = error { *retry_after } else { None };
    schedule::pause(error.kind(), failures, retry_after, schedule::jitter())
}

#[cfg(test)]
mod tests {
    use oxpost_protocol::Secret;

    use super::*;
    use crate::{error::ErrorKind, store::IssuedToken, tokens::AccessToken};

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const EVERY: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn caller(version: i64, why: &Why, now: SystemTime) -> Caller<'_> {
        Caller { version, why, now, forced_every: EVERY, answered: None }
    }

    fn refused() -> Why {
        let unexpired =
            IssuedToken { secret: Secret::from("at"), issued_at: at(0), expires_at: at(3600), sign_in_name: None };
        Why::Refused(AccessToken::from(&unexpired))
    }

    fn transient() -> TokenError {
        TokenError::Transient { retry_after: None, problem: Problem::new("It is away.", "Wait.") }
    }

    /// The sender of a flight that was started.
    fn started(entry: Entry) -> watch::Sender<Option<Outcome>> {
        match entry {
            Entry::Start(sender) => sender,
            Entry::Blocked(error) => panic!("blocked: {error}"),
            Entry::Join(_) => panic!("joined"),
        }
    }

    fn blocked(entry: Entry) -> TokenError {
        match entry {
            Entry::Blocked(error) => *error,
            Entry::Start(_) => panic!("started"),
            Entry::Join(_) => panic!("joined"),
        }
    }

    #[test]
    fn refresh_in_flight_is_joined() {
        let account_state = AccountState::default();
        assert!(account_state.is_idle() && !account_state.has_unsaved());
        let sender = started(account_state.enter(&caller(1, &Why::Serve, at(0))));
        assert!(!account_state.is_idle());
        assert!(matches!(account_state.enter(&caller(1, &refused(), at(0))), Entry::Join(_)));
        // Its answer is there, and the slot does not have it yet: a login that comes now starts another request.
        sender.send_replace(Some(Err(transient())));
        drop(started(account_state.enter(&caller(1, &Why::Serve, at(0)))));
        // A task that died has no answer.
        let sender = started(account_state.enter(&caller(1, &Why::Serve, at(0))));
        account_state.succeeded(&Why::Serve, at(0));
        assert!(account_state.is_idle());
        drop(sender);
    }

    /// Otherwise its slot would be kept after its account is gone, and no token that came before would be fresh.
    #[test]
    fn request_that_was_not_made_leaves_nothing_behind() {
        let account_state = AccountState::default();
        account_state.tokens_received(SECOND, at(0), 3600 * SECOND);
        let sender = started(account_state.enter(&caller(1, &Why::Serve, at(0))));
        assert!(account_state.is_asking() && !account_state.is_idle() && !account_state.is_fresh(SECOND, at(0)));
        account_state.not_asked();
        assert!(!account_state.is_asking() && account_state.is_idle() && account_state.is_fresh(SECOND, at(0)));
        drop(sender);
    }

    #[test]
    fn a_pause_blocks_its_version_until_it_is_over() {
        let account_state = AccountState::default();
        let _sender = started(account_state.enter(&caller(1, &Why::Serve, at(0))));
        account_state.failed(1, &transient(), (MINUTE, false), at(0));
        assert!(account_state.is_idle());
        for (now, left) in [(0, 60), (59, 1), (20, 40)] {
            let error = blocked(account_state.enter(&caller(1, &Why::Serve, at(now))));
            let TokenError::Transient { retry_after, .. } = error else { panic!("{error}") };
            assert_eq!(retry_after, Some(left * SECOND), "at {now}");
        }
        let almost = at(59) + Duration::from_millis(999);
        let TokenError::Transient { retry_after, .. } = blocked(account_state.enter(&caller(1, &Why::Serve, almost)))
        else {
            panic!("another error")
        };
        assert_eq!(retry_after, Some(SECOND), "no client is asked to try again in no time");
        drop(started(account_state.enter(&caller(1, &Why::Serve, at(60)))));
        drop(started(account_state.enter(&caller(2, &Why::Serve, at(1)))));
    }

    #[test]
    fn a_clock_that_was_set_back_ends_a_pause() {
        let account_state = AccountState::default();
        account_state.failed(1, &transient(), (MINUTE, false), at(100));
        drop(started(account_state.enter(&caller(1, &Why::Serve, at(99)))));
    }

    #[test]
    fn answer_to_another_account_ends_an_unanswered_pause() {
        let blocked_at = |until_answered, answered: Option<u64>| {
            let account_state = AccountState::default();
            account_state.failed(1, &transient(), (MINUTE, until_answered), at(10));
            let caller = Caller { answered: answered.map(at), ..caller(1, &Why::Serve, at(20)) };
            account_state.blocked(&caller).is_some()
        };
        assert!(!blocked_at(true, Some(15)));
        assert!(blocked_at(true, Some(10)), "it was answered before");
        assert!(blocked_at(true, None));
        assert!(blocked_at(false, Some(15)), "the account's own failure");
    }

    #[test]
    fn tokens_are_fresh_for_a_minute_by_the_monotonic_clock() {
        let account_state = AccountState::default();
        assert!(!account_state.is_fresh(Duration::ZERO, at(0)));
        account_state.tokens_received(100 * SECOND, at(0), 3600 * SECOND);
        assert!(account_state.is_fresh(100 * SECOND, at(0)) && account_state.is_fresh(159 * SECOND, at(0)));
        assert!(!account_state.is_fresh(160 * SECOND, at(0)));
        assert!(!account_state.is_fresh(100 * SECOND, at(1)), "others are there now");
        account_state.tokens_received(200 * SECOND, at(0), 4 * SECOND);
        assert!(
            account_state.is_fresh(200 * SECOND, at(0)) && !account_state.is_fresh(201 * SECOND, at(0)),
            "they live for four seconds"
        );
    }

    #[test]
    fn failures_in_a_row_are_counted_for_one_version() {
        let account_state = AccountState::default();
        assert_eq!(account_state.failures(1), 0);
        for count in 1..4 {
            account_state.failed(1, &transient(), (SECOND, false), at(0));
            assert_eq!((account_state.failures(1), account_state.failures(2)), (count, 0));
        }
        account_state.failed(2, &transient(), (SECOND, false), at(0));
        assert_eq!((account_state.failures(1), account_state.failures(2)), (0, 1));
        account_state.succeeded(&Why::Due(2), at(1));
        assert_eq!(account_state.failures(2), 0);
        drop(started(account_state.enter(&caller(2, &Why::Serve, at(0)))));
    }

    /// A mailbox that refuses every token is no flood of requests.
    #[test]
    fn a_refused_token_is_replaced_once_in_a_while() {
        let account_state = AccountState::default();
        drop(started(account_state.enter(&caller(1, &refused(), at(0)))));
        account_state.succeeded(&refused(), at(0));
        let error = blocked(account_state.enter(&caller(2, &refused(), at(29))));
        assert!(error.kind() == ErrorKind::Misconfigured && error.to_string().contains("new ones too"), "{error}");
        drop(started(account_state.enter(&caller(2, &Why::Serve, at(29)))));
        account_state.succeeded(&Why::Serve, at(29));
        assert_eq!(blocked(account_state.enter(&caller(3, &refused(), at(29)))).kind(), ErrorKind::Misconfigured);
        drop(started(account_state.enter(&caller(2, &refused(), at(30)))));
    }

    #[test]
    fn only_a_failure_that_passes_says_when_to_try_again() {
        let required = TokenError::SignInRequired(Problem::new("Over.", "Sign in."));
        assert_eq!(with_retry_after(required.clone(), MINUTE), required);
        let asked = TokenError::Transient { retry_after: Some(7 * MINUTE), problem: Problem::new("Busy.", "Wait.") };
        assert!(pause_after(&asked, 1) >= 7 * MINUTE);
        assert!(pause_after(&transient(), 1) < 7 * MINUTE);
        assert!(pause_after(&required, 1) >= MINUTE);
    }
}
