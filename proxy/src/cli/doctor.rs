//! `oxpost doctor`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use oxpost_token_store::Mailbox;
use serde_json::json;

use super::Failed;
use crate::admin::doctor::{Check, Doctor, Findings, evaluate, report};
use crate::config::Config;

/// The shortest pause between two rounds: Entra answers a tighter loop with AADSTS50196.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The account to check [default: all]
    mailbox: Option<Mailbox>,
    /// As JSON, for scripts
    #[arg(long)]
    json: bool,
    /// Repeat failed checks until they pass, for example after a change in Microsoft's portal; print only changes
    #[arg(long, conflicts_with = "json")]
    wait: bool,
    /// The interval of --wait
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Also write a report of the service's replies and what Oxpost expects, with names and secrets masked
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

pub(super) async fn doctor(options: Options, configuration: &Path) -> Result<(), Failed> {
    // Only the first Ctrl-C is handled here.
    tokio::select! {
        ended = walk(&options, configuration) => ended,
        _ = tokio::signal::ctrl_c() => Err(Failed::new("stopped before every check passed")),
    }
}

async fn walk(options: &Options, configuration: &Path) -> Result<(), Failed> {
    let doctor = Doctor::new(configuration, options.mailbox.clone());
    let mut findings = Box::pin(doctor.examine(None)).await;
    let mut lines = evaluate(&findings);
    write_report(options, configuration, &findings)?;
    if options.json {
        let checks: Vec<_> = lines.iter().map(Check::json).collect();
        let all = json!({ "healthy": failures(&lines) == 0, "checks": checks });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print(lines.iter());
    }
    while options.wait && failures(&lines) > 0 {
        tokio::time::sleep(options.every.max(SHORTEST_PAUSE)).await;
        findings = Box::pin(doctor.examine(Some(&findings))).await;
        let now = evaluate(&findings);
        print(changed(&lines, &now));
        lines = now;
        write_report(options, configuration, &findings)?;
    }
    match failures(&lines) {
        0 => Ok(()),
        1 => Err(Failed::needs_attention("one check failed; see the checklist above")),
        count => Err(Failed::needs_attention(format!("{count} checks failed; see the checklist above"))),
    }
}

fn failures(lines: &[Check]) -> usize {
    lines.iter().filter(|line| line.verdict.is_failure()).count()
}

/// The checks that are new or whose result differs. Times and server ids always differ and do not count.
fn changed<'a>(before: &'a [Check], now: &'a [Check]) -> impl Iterator<Item = &'a Check> {
    now.iter().filter(|line| {
        let old = before.iter().find(|old| old.subject == line.subject && old.name == line.name);
        let same = |old: &Check| match (&old.verdict, &line.verdict) {
            (old, new) if old.is_failure() && new.is_failure() => remedy(old) == remedy(new),
            (old, new) if old.is_good() && new.is_good() => true,
            (old, new) => old == new,
        };
        !old.is_some_and(same)
    })
}

fn remedy(verdict: &crate::admin::doctor::Verdict) -> Option<&str> {
    match verdict {
        crate::admin::doctor::Verdict::Failed { remedy, .. } => Some(remedy),
        _ => None,
    }
}

fn print<'a>(lines: impl Iterator<Item = &'a Check>) {
    let mut subject = "";
    for line in lines {
        if line.subject != subject {
            println!("{}", line.subject);
            subject = &line.subject;
        }
        println!("{line}");
    }
}

fn write_report(options: &Options, configuration: &Path, findings: &Findings) -> Result<(), Failed> {
    let Some(file) = &options.report else { return Ok(()) };
    let text = report(findings, Config::load(configuration).ok().as_ref());
    std::fs::write(file, text)
        .map_err(|error| Failed::new(format!("cannot write the report to {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::doctor::Verdict;

    #[test]
    fn only_changed_checks_are_printed_again() {
        let line = |name: &str, verdict| Check { subject: "account a".into(), name: name.into(), verdict };
        let failed = |said: &str| Verdict::Failed { remedy: "Switch it on.".into(), said: said.into() };
        let before = [
            line("token", Verdict::Pass("12 ms".into())),
            line("SMTP login", failed("535 id 1")),
            line("sender", Verdict::NotChecked("SMTP login".into())),
        ];
        let same = [
            line("token", Verdict::Pass("15 ms".into())),
            line("SMTP login", failed("535 id 2")),
            line("sender", Verdict::NotChecked("SMTP login".into())),
        ];
        assert_eq!(changed(&before, &same).count(), 0);
        let now = [
            line("token", Verdict::Pass("15 ms".into())),
            line("SMTP login", Verdict::Pass("9 ms".into())),
            line("sender", failed("550")),
        ];
        let names: Vec<&str> = changed(&before, &now).map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["SMTP login", "sender"]);
    }
}
