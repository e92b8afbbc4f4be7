//! What is going on for one account: decided under a short lock that is never held over an await.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::{Outcome, Why};
use crate::{
    account::Grant,
    error::{Problem, TokenError},
    schedule,
    store::{Stored, TokenSet},
};

#[derive(Default)]
pub(super) struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    flight: Option<watch::Receiver<Option<Outcome>>>,
    failed: Option<Failed>,
    /// When a token that the mail server had refused was last replaced.
    forced: Option<SystemTime>,
    unsaved: Option<Unsaved>,
}

/// The pause after a failure. It belongs to a version of the row: a new sign-in ends it.
struct Failed {
    version: i64,
    failures: u32,
    error: TokenError,
    since: SystemTime,
    pause: Duration,
}

/// Tokens that the authority gave and the store did not take (a full disk). They are written before anything is asked
/// for again, so that the newest refresh token is not lost while the process lives.
pub(super) struct Unsaved {
    pub(super) tokens: TokenSet,
    pub(super) issued_at: SystemTime,
    /// The row they were got from: they are written over it, and over no other.
    pub(super) base: Stored,
    /// The application that got them, and how.
    pub(super) got_by: (String, Grant),
}

/// What a caller does next.
pub(super) enum Entry {
    /// Take this error; it is not yet time for another try.
    Blocked(Box<TokenError>),
    /// Wait for the request in flight.
    Join(watch::Receiver<Option<Outcome>>),
    /// Start one, and tell the others.
    Start(watch::Sender<Option<Outcome>>),
}

impl Slot {
    /// `version` is that of the row the caller has read.
    pub(super) fn enter(&self, version: i64, why: &Why, now: SystemTime, forced_every: Duration) -> Entry {
        let mut state = self.lock();
        if let Some(flight) = &state.flight {
            // A flight whose task died has an end and no answer.
            if flight.borrow().is_none() && flight.has_changed().is_ok() {
                return Entry::Join(flight.clone());
            }
        }
        if let Some(failed) = state.failed.as_ref().filter(|failed| failed.version == version)
            && let Some(left) = left(failed.since, failed.pause, now)
        {
            return Entry::Blocked(Box::new(with_retry_after(failed.error.clone(), left)));
        }
        if matches!(why, Why::Refused(_))
            && state.forced.is_some_and(|forced| left(forced, forced_every, now).is_some())
        {
            return Entry::Blocked(Box::new(TokenError::Misconfigured(refused_again())));
        }
        let (sender, answer) = watch::channel(None);
        state.flight = Some(answer);
        Entry::Start(sender)
    }

    /// The flight is over, and brought tokens.
    pub(super) fn succeeded(&self, why: &Why, now: SystemTime) {
        let mut state = self.lock();
        state.flight = None;
        state.failed = None;
        if matches!(why, Why::Refused(_)) {
            state.forced = Some(now);
        }
    }

    /// The flight is over, and failed: how long to leave the account alone.
    pub(super) fn failed(&self, version: i64, error: &TokenError, pause: Duration, now: SystemTime) {
        let mut state = self.lock();
        let failures = state.failures(version).saturating_add(1);
        state.flight = None;
        state.failed = Some(Failed { version, failures, error: error.clone(), since: now, pause });
    }

    /// How often in a row it has failed.
    pub(super) fn failures(&self, version: i64) -> u32 {
        self.lock().failures(version)
    }

    pub(super) fn keep_unsaved(&self, unsaved: Unsaved) {
        self.lock().unsaved = Some(unsaved);
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
        state.flight.is_none() && state.unsaved.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn failures(&self, version: i64) -> u32 {
        self.failed.as_ref().filter(|failed| failed.version == version).map_or(0, |failed| failed.failures)
    }
}

/// What is left of a pause. A clock that was set back before its beginning ends it.
fn left(since: SystemTime, pause: Duration, now: SystemTime) -> Option<Duration> {
    let passed = now.duration_since(since).ok()?;
    pause.checked_sub(passed).filter(|left| !left.is_zero())
}

fn with_retry_after(error: TokenError, left: Duration) -> TokenError {
    match error {
        TokenError::Transient { problem, .. } => {
            // A whole second at least, so that nobody is told to try again in no time.
            TokenError::Transient { retry_after: Some(left.max(Duration::from_secs(1))), problem }
        }
        other => other,
    }
}

fn refused_again() -> Problem {
    Problem::new(
        "The mail server refuses this account's tokens, new ones too.",
        "Check in Exchange Online PowerShell that the mailbox allows the protocol (`Get-CASMailbox`; for SMTP \
         `SmtpClientAuthenticationDisabled`) and that whoever signed in, or the application's service principal, may open it \
         (`Get-MailboxPermission`); `oxpost status` shows who signed in.",
    )
}

/// The pause that follows an error.
pub(super) fn pause_after(error: &TokenError, failures: u32) -> Duration {
    let retry_after = if let TokenError::Transient { retry_after, .. } = error { *retry_after } else { None };
    schedule::pause(error.kind(), failures, retry_after, schedule::jitter())
}
