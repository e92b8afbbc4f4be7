//! `oxpost status --watch`: repeats until Ctrl-C.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, SystemTime};

use oxpost_token_store::Store;
use serde_json::Value;

use super::json;
use super::report::Report;
use crate::admin::timestamp::rfc3339;
use crate::cli::Failed;
use crate::config::Config;

/// The shortest interval.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Moves to the first column of the first line and erases the rest (ECMA-48: CUP, ED).
const REDRAW: &str = "\x1b[H\x1b[J";

pub(super) async fn watch(store: &Store, config: &Config, as_json: bool, every: Duration) -> Result<(), Failed> {
    tokio::select! {
        ended = repeat(store, config, as_json, every.max(SHORTEST_PAUSE)) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn repeat(store: &Store, config: &Config, as_json: bool, every: Duration) -> Result<(), Failed> {
    let drawn = std::io::stdout().is_terminal() && !as_json;
    let mut before = None;
    loop {
        let report = Report::read(store, config, None, SystemTime::now()).await?;
        if drawn {
            let at = rfc3339(Some(report.now)).unwrap_or_default();
            anstream::print!("{REDRAW}{report}\n{at}, every {}; Ctrl-C ends.\n", humantime::format_duration(every));
        } else if let Some(text) = changed_report(&report, as_json, &mut before)? {
            anstream::println!("{text}");
        }
        std::io::stdout().flush()?;
        tokio::time::sleep(every).await;
    }
}

/// The report, if anything but relative times has changed.
fn changed_report(report: &Report, as_json: bool, before: &mut Option<Value>) -> Result<Option<String>, Failed> {
    let now = json::everything(report);
    if before.as_ref() == Some(&now) {
        return Ok(None);
    }
    *before = Some(now);
    if as_json {
        return Ok(Some(serde_json::to_string(&json::report(report))?));
    }
    Ok(Some(format!("{}\n{report}", rfc3339(Some(report.now)).unwrap_or_default())))
}
