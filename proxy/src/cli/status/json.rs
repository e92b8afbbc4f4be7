//! The report for scripts.

use oxpost_token_store::{Account, Application, ClockSkew, Origin};
use serde_json::{Value, json};

use super::report::{Report, Shown};
use super::service;
use crate::admin::service_record::ServiceState;
use crate::admin::timestamp::rfc3339 as time;
use crate::admin::{credential_expiry, node_report};

/// The service, whether anything needs attention, and one object for each account.
pub(super) fn report(report: &Report) -> Value {
    json!({
        "service": service::as_json(&report.service),
        "needs_attention": report.needs_attention(),
        "accounts": accounts(report),
        "unreadable": report.unreadable,
    })
}

/// One object for each account.
fn accounts(report: &Report) -> Value {
    report.accounts.iter().map(|shown| account(report, shown)).collect()
}

/// Everything but what changes by itself from one moment to the next.
pub(super) fn everything(report: &Report) -> Value {
    let blocks: Vec<_> = report.blocks.iter().map(|block| (&block.source, &block.node)).collect();
    let mut accounts = accounts(report);
    // Counters change with every message; throttling is an event.
    for account in accounts.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        account.remove("mail");
    }
    let throttled: Vec<_> = report.noticed.throttled(report.now).map(|one| (&one.mailbox, &one.protocol)).collect();
    let changed: Vec<_> = report.changed.iter().map(ToString::to_string).collect();
    let service = matches!(report.service, ServiceState::Running(_));
    json!({ "service": service, "accounts": accounts, "unreadable": report.unreadable, "changed": changed, "blocks": blocks, "throttled": throttled,
            "nodes": node_report::steady(&report.nodes) })
}

/// Why the sign-in service of an account is not asked now, and when it is again.
fn open_circuit(report: &Report, account: &Account, application: Option<&Application>) -> Option<Value> {
    let open =
        report.open_circuits.iter().find(|open| application.is_some_and(|one| open.concerns(one, Some(account))))?;
    Some(json!({ "authority": open.authority(), "reason": open.reason, "asked_again": time(open.asked_again) }))
}

/// The machines whose clock disagrees with the database's, or with that of the application's sign-in service.
fn clock_skew(report: &Report, application: Option<&Application>) -> Vec<Value> {
    let authority = application.and_then(|application| application.token_url.host_str());
    let concerns = |skew: &ClockSkew| skew.peer == ClockSkew::DATABASE || Some(skew.peer.as_str()) == authority;
    let skews = report.clock_skews.iter().filter(|(_, skew)| concerns(skew));
    skews
        .map(|(host, skew)| json!({ "host": host, "peer": skew.peer, "seconds": skew.by.as_secs(), "ahead": skew.ahead }))
        .collect()
}

fn account(report: &Report, shown: &Shown) -> Value {
    let Shown { account, state, last_login } = shown;
    let application = report.applications.get(&account.application).map(|one| &**one);
    json!({
        "mailbox": account.mailbox.to_string(),
        "login": account.login,
        "delegate": account.delegate.as_ref().map(ToString::to_string),
        "application": account.application,
        "credential": credential_expiry::as_json(application, report.now),
        "grant": account.grant.to_string(),
        "declared": account.origin == Origin::Declared,
        "state": report.condition(shown),
        "signed_in_as": state.signed_in_as,
        "renamed_to": state.renamed_to.as_ref().map(ToString::to_string),
        "token_expires": time(state.access_token_expires),
        "refreshed_at": time(state.refreshed_at),
        "next_refresh": time(state.next_refresh),
        "last_login": time(*last_login),
        "refused": report.refused.json(account, |one| time(Some(one.at))),
        "open_circuit": open_circuit(report, account, application),
        "clock_skew": clock_skew(report, application),
        "last_error": state.last_error.as_ref().map(|error| json!({
            "kind": error.kind.to_string(),
            "text": error.text,
            "what": error.what,
            "remedy": error.remedy,
            "code": error.code,
            "since": time(Some(error.since)),
            "at": time(Some(error.at)),
        })),
        "recreated_folders": report.noticed.recreated_as_json(account.mailbox.as_str(), time),
        "mail": report.noticed.uses_as_json(account.mailbox.as_str(), time),
        "alerts": report
            .notices
            .iter()
            .filter(|notice| notice.subject == account.mailbox.as_str())
            .map(|notice| json!({
                "id": notice.id,
                "event": notice.event,
                "since": time(Some(notice.since)),
                "notified": time(notice.notified),
                "resolved": time(notice.resolved),
            }))
            .collect::<Vec<_>>(),
    })
}
