//! `oxpost status`: reads the store, so it works whether the service runs or not.

mod condition;
mod json;
mod one_account;
mod report;
mod service;
mod style;
mod text;
mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use oxpost_token_store::{Mailbox, Store, SystemClock};

use self::report::Report;
use super::{Failed, nodes};
use crate::admin::node_report;
use crate::config::Config;
use crate::context::open_store;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Show one account in detail [default: a table of all]
    #[arg(conflicts_with_all = ["nodes", "watch"])]
    mailbox: Option<Mailbox>,
    /// As JSON, for scripts; with --watch one line for each change
    #[arg(long)]
    json: bool,
    /// Show the nodes that share a PostgreSQL database instead of the accounts
    #[arg(long, conflicts_with = "watch")]
    nodes: bool,
    /// Repeat until Ctrl-C: redraw on a terminal, otherwise print a new report when something changes
    #[arg(long)]
    watch: bool,
    /// The interval of --watch
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration, requires = "watch")]
    every: Duration,
}

pub(super) async fn status(options: &Options, config: &Config) -> Result<(), Failed> {
    let store = open_store(config).await?;
    if options.watch {
        return watch::watch(&store, config, options.json, options.every).await;
    }
    if options.nodes {
        return print_nodes(&store, options.json).await;
    }
    let report = Report::read(&store, config, options.mailbox.as_ref(), SystemTime::now()).await?;
    match (options.json, options.mailbox.is_some()) {
        (true, _) => println!("{}", serde_json::to_string_pretty(&json::report(&report))?),
        (false, true) => anstream::print!("{}", one_account::text(&report, &store).await?),
        (false, false) => anstream::print!("{report}"),
    }
    report.needs_attention().map_or(Ok(()), |why| Err(Failed::needs_attention(why)))
}

async fn print_nodes(store: &Store, as_json: bool) -> Result<(), Failed> {
    let all = store.node_statuses().await?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&node_report::as_json(&all))?);
    } else if !store.is_shared_by_nodes() {
        println!("The store is a SQLite file, which one node uses alone.");
    } else {
        print!("{}", nodes::shown(&all, store.clock(Arc::new(SystemClock)).now()));
        if let Some(disagreement) = node_report::disagreement(&all) {
            println!("\n{disagreement}");
        }
    }
    Ok(())
}
