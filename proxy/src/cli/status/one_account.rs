//! `oxpost status ADDRESS`: everything about one account.

use std::fmt::Write as _;

use oxpost_token_store::{Account, LocalPasswordInfo, Store};

use super::condition::{Severity, severity};
use super::report::{Report, Shown, renamed};
use super::style::{BAD, GOOD, WARNING, styled};
use crate::admin::{circuit_report, credential_expiry};
use crate::cli::Failed;
use crate::cli::times::distance;

pub(super) async fn text(report: &Report, store: &Store) -> Result<String, Failed> {
    let mut text = format!("{}\n", report.service_lines);
    for shown in &report.accounts {
        details(&mut text, report, shown, &passwords(store, &shown.account, report).await?);
    }
    Ok(text)
}

fn details(text: &mut String, report: &Report, shown: &Shown, passwords: &[String]) {
    let Shown { account, state, last_login } = shown;
    let condition = report.condition(shown);
    let condition = match severity(condition) {
        Severity::Good => styled(condition, GOOD),
        Severity::Warning => styled(condition, WARNING),
        Severity::Bad => styled(condition, BAD),
        Severity::Unused => condition.to_owned(),
    };
    let _ = writeln!(text, "{}: {condition}", account.mailbox);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<14} {value}");
    };
    line("login", &account.login);
    line("application", &account.application);
    line("grant", &account.grant.to_string());
    if let Some(delegate) = &account.delegate {
        line("delegate", delegate.as_str());
    }
    if let Some(user) = &state.signed_in_as {
        line("signed in as", user);
    }
    line("token expires", &distance(state.access_token_expires, report.now));
    line("next refresh", &distance(state.next_refresh, report.now));
    line("last refresh", &distance(state.refreshed_at, report.now));
    line("last login", &distance(*last_login, report.now));
    for (index, password) in passwords.iter().enumerate() {
        line(if index == 0 { "passwords" } else { "" }, password);
    }
    let application = report.applications.get(&account.application);
    if let Some(end) = report.end(account) {
        line("credential", &format!("expires {}", end.days()));
    }
    let circuit = report
        .open_circuits
        .iter()
        .find(|open| application.is_some_and(|application| open.concerns(application, Some(account))));
    let mut paragraphs: Vec<String> = report.problem(shown).into_iter().chain(renamed(shown)).collect();
    paragraphs.extend(report.refused.lines(account, |one| distance(Some(one.at), report.now)));
    paragraphs.extend(circuit.map(|open| circuit_report::sentence(open, &report.applications)));
    paragraphs.extend(report.end(account).filter(credential_expiry::End::is_near).map(|end| format!("{end}.")));
    let warnings = report.warnings().filter(|notice| notice.subject == account.mailbox.as_str());
    paragraphs.extend(warnings.map(|notice| format!("{} {}", notice.what, notice.remedy)));
    for paragraph in paragraphs {
        let _ = writeln!(text, "\n{paragraph}");
    }
}

async fn passwords(store: &Store, account: &Account, report: &Report) -> Result<Vec<String>, Failed> {
    let passwords = store.passwords(&account.mailbox).await?;
    let one = |password: &LocalPasswordInfo| match password.last_used {
        Some(used) => format!("{} (used {})", password.name, distance(Some(used), report.now)),
        None => format!("{} (never used)", password.name),
    };
    Ok(passwords.iter().map(one).collect())
}
