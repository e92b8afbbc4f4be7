//! What can go wrong on the way to a token, in the three kinds that decide what is done about it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    account::{Mailbox, PASSWORDS_LIMIT, list},
    database::DatabaseError,
    pattern::BadPattern,
    vault::VaultError,
};

/// Why there is no token now. It can be cloned, because everybody who waited for one request gets its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It will pass by itself: everything is kept, and asked again after a while.
    #[error("{problem}")]
    Transient {
        /// How long to wait before the next try.
        retry_after: Option<Duration>,
        /// What happened.
        problem: Problem,
    },
    /// The authority was not asked, because it is left alone for now, whatever the account.
    #[error("{problem}")]
    Paused {
        /// How long to wait before the next try.
        retry_after: Duration,
        /// What happened, and until when.
        problem: Problem,
    },
    /// A person must sign in, or allow something. What is stored is kept, and tried again from time to time.
    #[error("{0}")]
    SignInRequired(Problem),
    /// The application registration, or our configuration of it, is wrong.
    #[error("{0}")]
    Misconfigured(Problem),
    /// Our own store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Which kind of [`TokenError`] a problem is; what is stored and shown as the state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// See [`TokenError::Transient`].
    Transient,
    /// See [`TokenError::SignInRequired`].
    SignInRequired,
    /// See [`TokenError::Misconfigured`].
    Misconfigured,
    /// See [`TokenError::Store`].
    Store,
}

/// How a remedy says that the service asks again. A command that ends does not: see [`TokenError::for_a_command`].
pub(crate) const RETRIED: &str = "Oxpost tries again by itself.";

/// What it is instead for a command that ends.
const NOT_RETRIED: &str = "Run the command again in a few minutes.";

/// What went wrong with the store, and the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The engine's own errors: cannot open, damaged, newer, full.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The vault's own errors.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The key file is not the one that the store was made with.
    #[error(
        "the key is not the one this store was sealed with; check `key` in proxy.toml (a key file, most often; nodes that share a \
         database share one key: copy it from the first), or restore store and key from the same backup"
    )]
    WrongKey,
    /// The mailbox has an account already.
    #[error("there is already an account for {0}; remove it first, or change it")]
    AccountExists(Mailbox),
    /// The login name belongs to another account, or is another account's mailbox.
    #[error("the login name `{0}` belongs to another account; choose another one")]
    LoginTaken(String),
    /// The mailbox has no account, or it was removed meanwhile.
    #[error("there is no account for {0}; `oxpost account add {0}` adds it")]
    NoSuchAccount(Mailbox),
    /// The account stands for a whole domain and cannot.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// An account has as many local passwords as it may.
    #[error("{0} has {limit} local passwords already, and every login tries all of them; revoke one first", limit = PASSWORDS_LIMIT)]
    TooManyPasswords(Mailbox),
    /// Others go through the account, and could not be opened without it.
    #[error("{0} is the delegate of {list}; give them another delegate first, or remove them", list = list(.1))]
    HasDependents(Mailbox, Vec<Mailbox>),
    /// The account that another one should go through goes through a third itself.
    #[error(
        "{delegate} has no sign-in of its own; its delegate is {third}. Make {third} the delegate of {mailbox} too"
    )]
    DelegateHasDelegate {
        /// Which account.
        mailbox: Mailbox,
        /// What it should go through.
        delegate: Mailbox,
        /// What that goes through.
        third: Mailbox,
    },
    /// What grants access to an account is not as Oxpost has written it.
    #[error(
        "the account {mailbox} is not opened, because something other than Oxpost has changed it in the database: {how}. `oxpost \
         store confirm` shows all of it, `oxpost store undo` puts back what was there"
    )]
    ChangedOutside {
        /// Which.
        mailbox: Mailbox,
        /// What is not as it was.
        how: String,
    },
    /// The row that says which accounts were written together.
    #[error(
        "the access ledger is missing in the store, or does not open: the database is damaged, or something other than Oxpost \
         has changed it. Restore a backup, or check the accounts and confirm them as they are: `oxpost store confirm`"
    )]
    NoLedger,
    /// The store is older than it was.
    #[error(
        "the store is older than it was. If a backup was restored, or another database server has taken over without the last \
         changes of accounts, restart this service; if not, the database was changed from outside"
    )]
    OlderLedger,
    /// One sealed value does not open, though the key is right: its row was damaged or moved. Others are not concerned.
    #[error("the stored {what} does not open: its row is damaged or was moved; {remedy}")]
    Unreadable {
        /// What it is.
        what: String,
        /// How to write it again.
        remedy: String,
    },
}

impl ErrorKind {
    /// The name used in the store and by `oxpost status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::SignInRequired => "sign-in-required",
            Self::Misconfigured => "misconfigured",
            Self::Store => "store",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Transient, Self::SignInRequired, Self::Misconfigured, Self::Store]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TokenError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Transient { .. } | Self::Paused { .. } => ErrorKind::Transient,
            Self::SignInRequired(_) => ErrorKind::SignInRequired,
            Self::Misconfigured(_) => ErrorKind::Misconfigured,
            Self::Store(_) => ErrorKind::Store,
        }
    }

    /// What happened and what to do, for all kinds but [`TokenError::Store`], whose text says both.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Transient { problem, .. }
            | Self::Paused { problem, .. }
            | Self::SignInRequired(problem)
            | Self::Misconfigured(problem) => Some(problem),
            Self::Store(_) => None,
        }
    }

    /// The same error as the result of a command that ends with it, so that nothing tries again.
    #[must_use]
    pub fn for_a_command(mut self) -> Self {
        if let Self::Transient { problem, .. }
        | Self::Paused { problem, .. }
        | Self::SignInRequired(problem)
        | Self::Misconfigured(problem) = &mut self
        {
            problem.remedy = problem.remedy.replace(RETRIED, NOT_RETRIED);
        }
        self
    }

    /// The same error about another mailbox.
    pub(crate) fn about(mut self, mailbox: &str, other: &str) -> Self {
        if let Self::Transient { problem, .. }
        | Self::Paused { problem, .. }
        | Self::SignInRequired(problem)
        | Self::Misconfigured(problem) = &mut self
            && !mailbox.is_empty()
        {
            problem.what = problem.what.replace(mailbox, other);
            problem.remedy = problem.remedy.replace(mailbox, other);
        }
        self
    }

    pub(crate) fn new(kind: ErrorKind, problem: Problem) -> Self {
        match kind {
            ErrorKind::SignInRequired => Self::SignInRequired(problem),
            ErrorKind::Misconfigured => Self::Misconfigured(problem),
            ErrorKind::Transient | ErrorKind::Store => Self::Transient { retry_after: None, problem },
        }
    }
}

/// One failure, for people. It never holds a token, a password or a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What happened, in one sentence.
    pub what: String,
    /// What to do about it, and where.
    pub remedy: String,
    /// The number of Microsoft's error code, as in `AADSTS700082`.
    pub code: Option<u32>,
    /// More for the log: the error's name, the first line of its description, the trace id. Bounded and printable.
    pub detail: String,
}

impl Problem {
    /// A problem without a code.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into(), code: None, detail: String::new() }
    }

    /// A problem about which the service asks again by itself, and what to do if it lasts.
    pub(crate) fn retried(what: impl Into<String>, if_it_lasts: &str) -> Self {
        Self::new(what, format!("{RETRIED} {if_it_lasts}").trim_end())
    }

    pub(crate) fn with_detail(mut self, detail: &str) -> Self {
        self.detail = printable(detail);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.remedy)?;
        match self.code {
            Some(code) => write!(f, " (AADSTS{code})"),
            None => Ok(()),
        }
    }
}

/// The longest text from outside that goes into a log.
const DETAIL_LIMIT: usize = 400;

/// A longer word than any GUID or sensible address may be a token that was echoed back to us.
const WORD_LIMIT: usize = 72;

/// Text from outside, fit for a log: one line, no control characters, bounded, and without words that may be secrets.
pub(crate) fn printable(text: &str) -> String {
    let one_line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(16 * DETAIL_LIMIT).collect();
    let mut shown = String::new();
    for word in one_line.split_whitespace() {
        let word = if word.chars().count() > WORD_LIMIT { "[redacted]" } else { word };
        if shown.len() + 1 + word.len() > DETAIL_LIMIT {
            shown.push_str(" …");
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
    }
    shown
}

impl StoreError {
    /// Whether a write may have been made although it failed, or may be made yet.
    pub fn outcome_is_unknown(&self) -> bool {
        matches!(self, Self::Database(DatabaseError::Unavailable { outcome_is_unknown: true, .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_made_fit_for_a_log() {
        assert_eq!(printable("AADSTS1: a\r\nTrace ID: 1\u{1b}[31m"), "AADSTS1: a Trace ID: 1 [31m");
        assert_eq!(printable(&format!("bad token {} here", "x".repeat(100))), "bad token [redacted] here");
        assert!(printable(&"word ".repeat(1000)).len() <= DETAIL_LIMIT + 4);
    }

    #[test]
    fn kinds_read_back_what_they_print() {
        for kind in [ErrorKind::Transient, ErrorKind::SignInRequired, ErrorKind::Misconfigured, ErrorKind::Store] {
            assert_eq!(ErrorKind::parse(kind.as_str()), Some(kind));
        }
    }
}
