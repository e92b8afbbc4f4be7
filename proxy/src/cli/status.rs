//! `oxpost status`: from the store, whether the proxy runs or not.

mod condition;
mod json;
mod report;
mod watch;

use std::time::{Duration, SystemTime};

use clap::Args;

use self::report::Report;
use super::Failed;
use crate::config::Config;
use crate::context::open_store;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// As JSON, for scripts; with --watch one line for each change
    #[arg(long)]
    json: bool,
    /// Go on until Ctrl-C: a terminal is drawn anew, anything else gets a new report when something has changed
    #[arg(long)]
    watch: bool,
    /// The pause between two looks of --watch
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration, requires = "watch")]
    every: Duration,
}

pub(super) async fn status(options: &Options, config: &Config) -> Result<(), Failed> {
    let store = open_store(config).await?;
    if options.watch {
        return watch::watch(&store, config, options.json, options.every).await;
    }
    let report = Report::read(&store, config, SystemTime::now()).await?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&json::accounts(&report))?);
    } else {
        print!("{report}");
    }
    Ok(())
}
