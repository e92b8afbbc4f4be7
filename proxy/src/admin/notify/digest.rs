//! Many alerts at the same moment become one message, a digest: an outage that concerns ten thousand accounts is reported in a minute,
//! and in few words. Pure.

use std::collections::HashMap;

use oxpost_token_store::store::alerts::Alert;

use super::conditions::Event;
use super::decide::Step;
use super::message::Kind;

/// This many alerts of one kind and event become one message; fewer are delivered one by one, each with its own remedy.
const DIGEST_FROM: usize = 4;

/// The most alerts in one message, which carries the id of each: a webhook's body and an environment variable of the command
/// (Windows: 32,767 characters for all of them) have their limits.
const DIGEST_LIMIT: usize = 1000;

/// How many of them a digest names.
const NAMED: usize = 10;

/// Alerts that are delivered in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// The kind of the notification.
    pub(super) kind: Kind,
    /// The changes of what is remembered.
    pub(super) steps: Vec<Step>,
}

/// Sorts what was decided: what is not delivered, and what is, in as few messages as it takes.
pub(super) fn batches(steps: Vec<Step>) -> (Vec<Step>, Vec<Batch>) {
    let mut silent = Vec::new();
    let mut groups: Vec<Batch> = Vec::new();
    let mut places: HashMap<(&'static str, String), usize> = HashMap::new();
    for step in steps {
        let Some(kind) = step.tell else {
            silent.push(step);
            continue;
        };
        let place = *places.entry((kind.as_str(), step.new.event.clone())).or_insert_with(|| {
            groups.push(Batch { kind, steps: Vec::new() });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.steps.push(step);
        }
    }
    let alone = |step: Step, kind| Batch { kind, steps: vec![step] };
    let mut batches = Vec::new();
    for Batch { kind, mut steps } in groups {
        while steps.len() >= DIGEST_FROM {
            let rest = steps.split_off(steps.len().min(DIGEST_LIMIT));
            batches.push(Batch { kind, steps });
            steps = rest;
        }
        batches.extend(steps.into_iter().map(|step| alone(step, kind)));
    }
    (silent, batches)
}

/// What a digest says: what happened, and what to do. `notices` is not empty.
pub(super) fn words(notices: &[Alert], kind: Kind) -> (String, String) {
    let count = notices.len();
    let event = notices.first().map_or("", |notice| notice.event.as_str());
    let named: Vec<&str> = notices.iter().take(NAMED).map(|notice| notice.subject.as_str()).collect();
    let more = match count.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = format!("{}{more}", named.join(", "));
    if kind == Kind::Resolved {
        return (format!("{count} alerts are resolved: {named}."), String::new());
    }
    let of = |known: Event| event == known.as_str();
    let what = if of(Event::SignInNeeded) {
        format!("{count} accounts need a new sign-in")
    } else if of(Event::Misconfigured) {
        format!("Microsoft refuses the app registration for {count} accounts")
    } else if of(Event::RefreshFailing) {
        format!("{count} accounts cannot get a new token")
    } else if of(Event::Expiring) {
        format!("{count} sign-ins or secrets are about to expire")
    } else {
        format!("{count} alerts ({event})")
    };
    let first = notices.first().map_or("", |notice| notice.what.trim());
    let remedy = notices.first().map_or("", |notice| notice.remedy.trim());
    let remedy = format!("`oxpost status` lists all of them. For the first: {remedy}");
    (format!("{what}: {named}. The first: {first}"), remedy)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn step(subject: &str, event: Event, tell: Option<Kind>) -> Step {
        let new = Alert {
            subject: subject.to_owned(),
            topic: "tokens".into(),
            id: subject.to_owned(),
            event: event.as_str().into(),
            cause: String::new(),
            what: format!("It is {subject}."),
            remedy: format!("Repair {subject}."),
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            notified: None,
            due: None,
            resolved: None,
        };
        Step { old: None, new, tell }
    }

    fn steps(count: usize, event: Event, kind: Kind) -> Vec<Step> {
        (0..count).map(|number| step(&format!("m{number}@x"), event, Some(kind))).collect()
    }

    fn notices(steps: Vec<Step>) -> Vec<Alert> {
        steps.into_iter().map(|step| step.new).collect()
    }

    #[test]
    fn few_alerts_are_delivered_one_by_one_and_many_in_one_message() {
        let (silent, batches) = batches(
            [
                steps(3, Event::SignInNeeded, Kind::Raised),
                steps(4, Event::Misconfigured, Kind::Raised),
                steps(2_002, Event::SignInNeeded, Kind::Resolved),
                vec![step("quiet@x", Event::SignInNeeded, None)],
                steps(3, Event::SignInNeeded, Kind::Reminder),
            ]
            .concat(),
        );
        assert_eq!(silent.len(), 1);
        let sizes: Vec<(Kind, usize)> = batches.iter().map(|batch| (batch.kind, batch.steps.len())).collect();
        let (one, reminder) = ((Kind::Raised, 1), (Kind::Reminder, 1));
        let many = [(Kind::Raised, 4), (Kind::Resolved, 1000), (Kind::Resolved, 1000)];
        assert_eq!(sizes, [&[one; 3][..], &many, &[(Kind::Resolved, 1); 2], &[reminder; 3]].concat());
    }

    #[test]
    fn digest_names_the_first_and_counts_the_rest() {
        let (what, remedy) = words(&notices(steps(10_000, Event::SignInNeeded, Kind::Raised)), Kind::Raised);
        assert!(what.starts_with("10000 accounts need a new sign-in: m0@x, m1@x, "), "{what}");
        assert!(what.contains("m9@x and 9990 more. The first: It is m0@x.") && what.len() < 300, "{what}");
        assert_eq!(remedy, "`oxpost status` lists all of them. For the first: Repair m0@x.");
        let (what, remedy) = words(&notices(steps(4, Event::SignInNeeded, Kind::Resolved)), Kind::Resolved);
        assert_eq!((what.as_str(), remedy.as_str()), ("4 alerts are resolved: m0@x, m1@x, m2@x, m3@x.", ""));
    }
}
