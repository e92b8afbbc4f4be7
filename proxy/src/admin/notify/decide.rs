//! What to tell of what is wrong: pure, from the findings, what was told before, and the time.
//!
//! Each trouble is told once, whatever happens at every retry; again if its cause changes; at the reminder interval for as
//! long as it lasts; and once more when it is over. A later trouble of the same subject and topic is a new one.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use oxpost_token_store::store::alerts::Alert;

use super::message::Kind;
use super::trouble::{Event, Finding, Trouble};

/// How long whoever is about to tell something keeps others from telling it. What was not told by then (a webhook that is
/// down, a process that ended) is told again.
pub(crate) const CLAIM: Duration = Duration::from_secs(3600);

/// By how much the clocks of two nodes may differ, both of which follow the database's.
const TOLERANCE: Duration = Duration::from_secs(60);

/// One change of what is remembered, and what to tell if it was ours to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The notice as it was read; none if there was none.
    pub old: Option<Alert>,
    /// The notice as it is to be.
    pub new: Alert,
    /// What it is told as.
    pub tell: Option<Kind>,
}

/// What is to be done. `reminder` is the time between two tellings of one trouble; `new_id` names a new one.
pub(crate) fn decide(
    findings: &[Finding],
    notices: &[Alert],
    now: SystemTime,
    reminder: Option<Duration>,
    mut new_id: impl FnMut() -> String,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let by_subject: HashMap<(&str, &str), &Alert> =
        notices.iter().map(|notice| ((notice.subject.as_str(), notice.topic.as_str()), notice)).collect();
    let mut found = HashSet::with_capacity(findings.len());
    for finding in findings {
        let (subject, topic) = match finding {
            Finding::Trouble(trouble) => (&trouble.subject, trouble.topic),
            Finding::Unsure(subject, topic) => (subject, *topic),
        };
        let about = (subject.as_str(), topic.as_str());
        found.insert(about);
        let notice = by_subject.get(&about).copied();
        let step = match (finding, notice) {
            (Finding::Trouble(trouble), None) => Some(begin(trouble, new_id(), now)),
            (Finding::Trouble(trouble), Some(notice)) => go_on(trouble, notice, now, reminder),
            // A reminder would say of something that it lasts, and nothing shows that it does.
            (Finding::Unsure(..), Some(notice)) if notice.notified.is_some() && notice.resolved.is_none() => None,
            (Finding::Unsure(..), Some(notice)) => tell_when_due(notice, now, reminder),
            (Finding::Unsure(..), None) => None,
        };
        steps.extend(step);
    }
    for notice in notices {
        if !found.contains(&(notice.subject.as_str(), notice.topic.as_str())) {
            steps.extend(end(notice, now, reminder));
        }
    }
    steps
}

/// What is remembered once people were told.
pub(crate) fn told(notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Alert {
    Alert { notified: Some(now), due: reminder.and_then(|reminder| now.checked_add(reminder)), ..notice.clone() }
}

fn begin(trouble: &Trouble, id: String, now: SystemTime) -> Step {
    Step { old: None, new: claimed(trouble, id, now), tell: Some(Kind::Raised) }
}

/// The trouble was there before: the same, another one, or one that had been thought over.
fn go_on(trouble: &Trouble, notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Option<Step> {
    if !is_the_same(trouble, notice) {
        let new = claimed(trouble, notice.id.clone(), now);
        return Some(Step { old: Some(notice.clone()), new, tell: Some(Kind::Raised) });
    }
    if notice.resolved.is_none() {
        let mut step = tell_when_due(notice, now, reminder)?;
        if step.tell.is_some() && trouble.event.as_str() == notice.event {
            // The days that are left are fewer than they were.
            (step.new.what, step.new.remedy) = (trouble.what.clone(), trouble.remedy.clone());
        }
        return Some(step);
    }
    // It came back before anybody could be told that it was over, so there is nothing to tell yet.
    let due =
        notice.notified.map_or(Some(now), |told| reminder.and_then(|reminder| told.min(now).checked_add(reminder)));
    Some(Step { old: Some(notice.clone()), new: Alert { resolved: None, due, ..notice.clone() }, tell: None })
}

/// While a person must act, requests fail now one way and now another; that is no news.
fn is_the_same(trouble: &Trouble, notice: &Alert) -> bool {
    let waits_for_a_person = [Event::SignInNeeded, Event::Misconfigured].map(Event::as_str);
    let is_less = trouble.event == Event::RefreshFailing && waits_for_a_person.contains(&notice.event.as_str());
    is_less || (trouble.event.as_str() == notice.event && trouble.cause == notice.cause)
}

fn tell_when_due(notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Option<Step> {
    match notice.notified.filter(|_| notice.resolved.is_none()) {
        Some(told) => remind_when_due(notice, told, now, reminder?),
        None => tell_when_claim_is_over(notice, now, reminder),
    }
}

/// A node reminds at its own interval after the last telling, whichever node told, and whatever interval that one has: so nobody is
/// reminded more often than the node that delivers would.
fn remind_when_due(notice: &Alert, told: SystemTime, now: SystemTime, reminder: Duration) -> Option<Step> {
    if told > now + CLAIM {
        // A clock that was ahead has written it: nobody would be reminded for years. What was told is not told twice for that.
        let new = Alert { due: Some(now + reminder), notified: Some(now), ..notice.clone() };
        return Some(Step { old: Some(notice.clone()), new, tell: None });
    }
    // Another node may be telling it.
    let is_claimed = notice.due.is_some_and(|due| now < due && due <= now + CLAIM + TOLERANCE);
    if is_claimed || told.min(now) + reminder > now {
        return None;
    }
    let new = Alert { due: Some(now + CLAIM), ..notice.clone() };
    Some(Step { old: Some(notice.clone()), new, tell: Some(Kind::Reminder) })
}

fn tell_when_claim_is_over(notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Option<Step> {
    let due = notice.due?;
    if due > now + CLAIM.max(reminder.unwrap_or_default()) {
        // A clock that was ahead has written it: nothing would be told for years.
        let notified = notice.notified.map(|told| told.min(now));
        let new = Alert { due: Some(now + CLAIM), notified, ..notice.clone() };
        return Some(Step { old: Some(notice.clone()), new, tell: None });
    }
    if due > now {
        return None;
    }
    let kind = if notice.resolved.is_some() { Kind::Resolved } else { Kind::Raised };
    let new = Alert { due: Some(now + CLAIM), ..notice.clone() };
    Some(Step { old: Some(notice.clone()), new, tell: Some(kind) })
}

/// It is over. Whoever was told of it, or may have been, is told that too.
fn end(notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Option<Step> {
    if notice.resolved.is_some() {
        return tell_when_due(notice, now, reminder);
    }
    let new = Alert { resolved: Some(now), due: Some(now + CLAIM), ..notice.clone() };
    Some(Step { old: Some(notice.clone()), new, tell: Some(Kind::Resolved) })
}

fn claimed(trouble: &Trouble, id: String, now: SystemTime) -> Alert {
    Alert {
        subject: trouble.subject.clone(),
        topic: trouble.topic.as_str().to_owned(),
        id,
        event: trouble.event.as_str().to_owned(),
        cause: trouble.cause.clone(),
        what: trouble.what.clone(),
        remedy: trouble.remedy.clone(),
        since: trouble.since,
        notified: None,
        due: Some(now + CLAIM),
        resolved: None,
    }
}

#[cfg(test)]
mod tests;
