//! What is wrong now, with which account or application: pure, from what the store says and the time.

use std::fmt;
use std::time::{Duration, SystemTime};

use oxpost_token_store::{Account, Applications, ErrorKind, Grant, TokenState};

use crate::admin::credential_expiry;

/// How long an unused refresh token lives. Each refresh restarts the period.
/// <https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-lifetime>
const REFRESH_TOKEN_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// How long a refresh may fail where no token was ever had, so that its half life is not known: that of an hour's token.
const PATIENCE_WITHOUT_TOKEN: Duration = Duration::from_secs(30 * 60);

/// The least that a refresh may fail, however short its tokens live.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(60);

/// An error that was noted longer ago says nothing of the present, where refreshes go on: they are tried again within an hour (the longest
/// pause, and the longest Retry-After that is obeyed) and some. Either the next try confirms it, or it is over.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(3 * 3600);

/// The same where nothing is tried until a mail program logs in: after a day without a login it is not missed.
const MISSED_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// So far ahead another node's clock may be.
const AHEAD_TOLERATED: Duration = Duration::from_secs(5 * 60);

/// What happened, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A person must sign in.
    SignInNeeded,
    /// The app registration, or our configuration of it, is wrong.
    Misconfigured,
    /// No new access token for longer than half the life of one.
    RefreshFailing,
    /// A certificate, a client secret or a refresh token ends soon, or has ended.
    Expiring,
    /// The store or its key cannot be used, as a whole or for one account.
    Store,
    /// Nothing happened: a test notification.
    Test,
}

impl Event {
    /// The name in messages, in the log and in the store.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SignInNeeded => "sign-in-needed",
            Self::Misconfigured => "misconfigured",
            Self::RefreshFailing => "refresh-failing",
            Self::Expiring => "expiring",
            Self::Store => "store",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a condition is about. Of each, a subject has one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Getting tokens.
    Tokens,
    /// Something that ends.
    End,
    /// The store.
    Store,
}

impl Topic {
    /// The name in the store.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::End => "end",
            Self::Store => "store",
        }
    }
}

/// Something that an administrator must act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// A mailbox, or `application NAME`, or nothing for all of Oxpost.
    pub subject: String,
    /// What it is about.
    pub topic: Topic,
    /// What happened, in a word.
    pub event: Event,
    /// Its cause; when that changes, it is delivered again.
    pub cause: String,
    /// What happened, in a sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Since when.
    pub since: SystemTime,
}

/// What was found about one subject and topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is in condition.
    Condition(Condition),
    /// It is unknown whether anything is wrong; what was delivered about it still counts.
    Unsure(String, Topic),
}

/// Everything that is looked at.
pub(crate) struct Observed<'a> {
    /// The accounts and the state of their tokens; those without an error that have used their sign-in after [`unused_since`] may be
    /// left out.
    pub accounts: &'a [(Account, TokenState)],
    /// The mailboxes of accounts that the store cannot read.
    pub unreadable: &'a [String],
    /// The applications of the configuration.
    pub applications: &'a Applications,
    /// The service has just begun, or its clock was set: what is due has not been tried yet.
    pub is_settling: bool,
}

/// What is found in them. `warn_before` is how long before an expiry an alert is raised.
pub(crate) fn find(observed: &Observed<'_>, now: SystemTime, warn_before: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (account, state) in observed.accounts {
        findings.extend(of_tokens(account, state, now));
        findings.extend(of_refresh_token(account, state, now, warn_before).map(|condition| {
            let is_tried = state.last_error.is_some() || state.next_refresh.is_some_and(|next| next > now);
            match observed.is_settling && !is_tried {
                true => Finding::Unsure(condition.subject, condition.topic),
                false => Finding::Condition(condition),
            }
        }));
    }
    findings.extend(observed.unreadable.iter().map(|mailbox| Finding::Condition(unreadable(mailbox, now))));
    for end in credential_expiry::ends(observed.applications, now) {
        if end.expires() <= now + warn_before {
            findings.push(Finding::Condition(of_application(&end, warn_before)));
        }
    }
    findings
}

fn of_tokens(account: &Account, state: &TokenState, now: SystemTime) -> Option<Finding> {
    let error = state.last_error.as_ref()?;
    let subject = account.mailbox.to_string();
    // A clock that was wrong, or a service that did not run, leaves errors whose cause may be gone.
    let is_retried = account.grant == Grant::ClientCredentials || state.has_refresh_token;
    if is_retried && !was_within(error.at, CONFIRMED_WITHIN, now) {
        return Some(Finding::Unsure(subject, Topic::Tokens));
    }
    // Without a sign-in there will be none by itself; anything else the next login tells. Until then nothing shows that it is over.
    if !is_retried && error.kind != ErrorKind::SignInRequired && !was_within(error.at, MISSED_WITHIN, now) {
        return Some(Finding::Unsure(subject, Topic::Tokens));
    }
    let event = match error.kind {
        ErrorKind::SignInRequired => Event::SignInNeeded,
        ErrorKind::Misconfigured => Event::Misconfigured,
        ErrorKind::Transient | ErrorKind::Store => {
            let failing_for = now.duration_since(error.since).unwrap_or_default();
            if failing_for < patience(state) {
                return Some(Finding::Unsure(subject, Topic::Tokens));
            }
            Event::RefreshFailing
        }
    };
    let cause = match (event, error.code) {
        // A busy service changes its words from one try to the next.
        (Event::RefreshFailing, _) => String::new(),
        (_, Some(code)) => format!("AADSTS{code}"),
        (_, None) => error.what.clone(),
    };
    Some(Finding::Condition(Condition {
        subject,
        topic: Topic::Tokens,
        event,
        cause,
        what: error.what.clone(),
        remedy: error.remedy.clone(),
        since: error.since,
    }))
}

/// Whether something happened within this time, by a clock that has not been set since.
fn was_within(at: SystemTime, time: Duration, now: SystemTime) -> bool {
    match now.duration_since(at) {
        Ok(ago) => ago <= time,
        Err(ahead) => ahead.duration() <= AHEAD_TOLERATED,
    }
}

/// Half the life of the account's last access token.
fn patience(state: &TokenState) -> Duration {
    let life = match (state.refreshed_at, state.access_token_expires) {
        (Some(from), Some(to)) => to.duration_since(from).ok(),
        _ => None,
    };
    life.map_or(PATIENCE_WITHOUT_TOKEN, |life| life / 2).max(SHORTEST_PATIENCE)
}

/// Every refresh extends its life, so only a refresh token that was not used for long expires.
fn of_refresh_token(
    account: &Account,
    state: &TokenState,
    now: SystemTime,
    warn_before: Duration,
) -> Option<Condition> {
    if account.grant != Grant::SignIn || !state.has_refresh_token {
        return None;
    }
    let used = state.refreshed_at?;
    let ends = used.checked_add(REFRESH_TOKEN_LIFE)?;
    let warn_before = warning_time(warn_before);
    if now + warn_before < ends {
        return None;
    }
    let mailbox = &account.mailbox;
    Some(Condition {
        subject: mailbox.to_string(),
        topic: Topic::End,
        event: Event::Expiring,
        cause: format!("refresh token {}", day(used)),
        what: format!(
            "The sign-in of {mailbox} has not been used since {}; Microsoft revokes it on {}.",
            day(used),
            day(ends)
        ),
        remedy: format!(
            "Find out with `oxpost status` why it is not refreshed, and fix that; otherwise run `oxpost sign-in {mailbox}`."
        ),
        since: ends.checked_sub(warn_before).unwrap_or(now),
    })
}

/// A warning time of 90 days or more would warn of every healthy one.
fn warning_time(warn_before: Duration) -> Duration {
    warn_before.min(REFRESH_TOKEN_LIFE / 2)
}

/// A refresh token that was last used then, or before, is near its end.
pub(crate) fn unused_since(now: SystemTime, warn_before: Duration) -> SystemTime {
    now.checked_sub(REFRESH_TOKEN_LIFE - warning_time(warn_before)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn unreadable(mailbox: &str, now: SystemTime) -> Condition {
    Condition {
        subject: mailbox.to_owned(),
        topic: Topic::Store,
        event: Event::Store,
        cause: "unreadable".to_owned(),
        what: format!("The record of {mailbox} in the store is damaged."),
        remedy: format!("Run `oxpost account remove {mailbox}`, then add it again."),
        since: now,
    }
}

fn of_application(end: &credential_expiry::End<'_>, warn_before: Duration) -> Condition {
    // The expiry itself is another cause than the weeks before.
    let ended = if end.has_passed() { "expired" } else { "expires" };
    Condition {
        subject: format!("application {}", end.application()),
        topic: Topic::End,
        event: Event::Expiring,
        cause: format!("{ended} {}", day(end.expires())),
        what: end.what(),
        remedy: end.remedy(),
        since: end.expires().checked_sub(warn_before).unwrap_or(end.expires()),
    }
}

fn day(time: SystemTime) -> String {
    let text = super::message::time(time);
    text.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
