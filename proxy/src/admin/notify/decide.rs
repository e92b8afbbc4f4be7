//! Which notifications follow: pure, from the findings, what was delivered before, and the time.
//!
//! Each alert is delivered once, whatever happens at every retry; again if its cause changes; at the reminder interval for as
//! long as it lasts; and once more when it is over. A later condition of the same subject and topic is a new one.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use oxpost_token_store::store::alerts::Alert;

use super::conditions::{Condition, Event, Finding};
use super::message::Kind;

/// How long a claim to deliver keeps other nodes from delivering. What was not delivered by then (a webhook that is
/// down, a process that ended) is sent again.
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
    /// The kind of the notification.
    pub tell: Option<Kind>,
}

/// What is to be done. `reminder` is the time between two tellings of one condition; `new_id` names a new one.
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
            Finding::Condition(condition) => (&condition.subject, condition.topic),
            Finding::Unsure(subject, topic) => (subject, *topic),
        };
        let about = (subject.as_str(), topic.as_str());
        found.insert(about);
        let notice = by_subject.get(&about).copied();
        let step = match (finding, notice) {
            (Finding::Condition(condition), None) => Some(begin(condition, new_id(), now)),
            (Finding::Condition(condition), Some(notice)) => go_on(condition, notice, now, reminder),
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

/// What is stored once it was delivered.
pub(crate) fn delivered(notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Alert {
    Alert { notified: Some(now), due: reminder.and_then(|reminder| now.checked_add(reminder)), ..notice.clone() }
}

fn begin(condition: &Condition, id: String, now: SystemTime) -> Step {
    Step { old: None, new: claimed(condition, id, now), tell: Some(Kind::Raised) }
}

/// The condition was there before: the same, another one, or one that had been thought over.
fn go_on(condition: &Condition, notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Option<Step> {
    if !is_the_same(condition, notice) {
        let new = claimed(condition, notice.id.clone(), now);
        return Some(Step { old: Some(notice.clone()), new, tell: Some(Kind::Raised) });
    }
    if notice.resolved.is_none() {
        let mut step = tell_when_due(notice, now, reminder)?;
        if step.tell.is_some() && condition.event.as_str() == notice.event {
            // The days that are left are fewer than they were.
            (step.new.what, step.new.remedy) = (condition.what.clone(), condition.remedy.clone());
        }
        return Some(step);
    }
    // It came back before its end could be delivered, so there is nothing to send yet.
    let due = notice
        .notified
        .map_or(Some(now), |delivered| reminder.and_then(|reminder| delivered.min(now).checked_add(reminder)));
    Some(Step { old: Some(notice.clone()), new: Alert { resolved: None, due, ..notice.clone() }, tell: None })
}

/// While a sign-in is required, requests fail in changing ways; that is no news.
fn is_the_same(condition: &Condition, notice: &Alert) -> bool {
    let waits_for_a_person = [Event::SignInNeeded, Event::Misconfigured].map(Event::as_str);
    let is_less = condition.event == Event::RefreshFailing && waits_for_a_person.contains(&notice.event.as_str());
    is_less || (condition.event.as_str() == notice.event && condition.cause == notice.cause)
}

fn tell_when_due(notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Option<Step> {
    match notice.notified.filter(|_| notice.resolved.is_none()) {
        Some(delivered) => remind_when_due(notice, delivered, now, reminder?),
        None => tell_when_claim_is_over(notice, now, reminder),
    }
}

/// A node reminds at its own interval after the last delivery of any node, whatever interval that one has: so an alert is not
/// repeated more often than the node that delivers would.
fn remind_when_due(notice: &Alert, delivered: SystemTime, now: SystemTime, reminder: Duration) -> Option<Step> {
    if delivered > now + CLAIM {
        // A clock that was ahead has written it: there would be no reminder for years. What was delivered is not repeated for that.
        let new = Alert { due: Some(now + reminder), notified: Some(now), ..notice.clone() };
        return Some(Step { old: Some(notice.clone()), new, tell: None });
    }
    // Another node may be telling it.
    let is_claimed = notice.due.is_some_and(|due| now < due && due <= now + CLAIM + TOLERANCE);
    if is_claimed || delivered.min(now) + reminder > now {
        return None;
    }
    let new = Alert { due: Some(now + CLAIM), ..notice.clone() };
    Some(Step { old: Some(notice.clone()), new, tell: Some(Kind::Reminder) })
}

fn tell_when_claim_is_over(notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Option<Step> {
    let due = notice.due?;
    if due > now + CLAIM.max(reminder.unwrap_or_default()) {
        // A clock that was ahead has written it: nothing would be delivered for years.
        let notified = notice.notified.map(|delivered| delivered.min(now));
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

/// It is over. Where it was delivered, or may have been, its end is delivered too.
fn end(notice: &Alert, now: SystemTime, reminder: Option<Duration>) -> Option<Step> {
    if notice.resolved.is_some() {
        return tell_when_due(notice, now, reminder);
    }
    let new = Alert { resolved: Some(now), due: Some(now + CLAIM), ..notice.clone() };
    Some(Step { old: Some(notice.clone()), new, tell: Some(Kind::Resolved) })
}

fn claimed(condition: &Condition, id: String, now: SystemTime) -> Alert {
    Alert {
        subject: condition.subject.clone(),
        topic: condition.topic.as_str().to_owned(),
        id,
        event: condition.event.as_str().to_owned(),
        cause: condition.cause.clone(),
        what: condition.what.clone(),
        remedy: condition.remedy.clone(),
        since: condition.since,
        notified: None,
        due: Some(now + CLAIM),
        resolved: None,
    }
}

#[cfg(test)]
mod tests;
