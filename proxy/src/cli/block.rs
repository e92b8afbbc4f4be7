//! `oxpost block …`

use std::net::IpAddr;
use std::time::SystemTime;

use clap::Subcommand;
use ipnet::IpNet;
use oxpost_token_store::{Block, Source};

use super::Failed;
use super::table::table;
use super::times::distance;
use crate::config::Config;
use crate::context::open_store;

#[derive(Debug, Subcommand)]
pub(super) enum BlockCommand {
    /// List the addresses that are blocked after too many failed logins
    List {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Lift the block of an address or of an IPv6 /64 network; the running service notices within seconds
    Lift {
        /// An address or network as `oxpost block list` shows it, or any address of a blocked network
        address: String,
    },
}

pub(super) async fn run(command: BlockCommand, config: &Config) -> Result<(), Failed> {
    let store = open_store(config).await?;
    match command {
        BlockCommand::List { json } => {
            let now = SystemTime::now();
            let blocks = store.blocks(now).await?;
            if json {
                let all: Vec<_> = blocks.iter().map(as_json_object).collect();
                println!("{}", serde_json::to_string_pretty(&all)?);
            } else if blocks.is_empty() {
                println!("No address is blocked.");
            } else {
                print!("{}", shown(&blocks, now));
            }
        }
        BlockCommand::Lift { address } => {
            let source = source(&address)?;
            if !store.lift_block(&source).await? {
                return Err(Failed::new(format!(
                    "{address} is not blocked; `oxpost block list` shows the blocked addresses."
                )));
            }
            println!("Lifted the block of {source}.");
        }
    }
    Ok(())
}

/// The blocks in columns.
pub(super) fn shown(blocks: &[Block], now: SystemTime) -> String {
    let rows: Vec<Vec<String>> = blocks
        .iter()
        .map(|block| {
            vec![
                block.source.clone(),
                distance(Some(block.since), now),
                distance(Some(block.until), now),
                block.node.clone(),
            ]
        })
        .collect();
    table(&["BLOCKED", "SINCE", "ENDS", "BY"], &rows)
}

fn as_json_object(block: &Block) -> serde_json::Value {
    let time = |time| humantime::format_rfc3339_seconds(time).to_string();
    serde_json::json!({ "source": block.source, "node": block.node, "since": time(block.since), "until": time(block.until) })
}

/// The source that an address, or a network as it is shown, belongs to.
fn source(text: &str) -> Result<String, Failed> {
    let address = match text.parse::<IpAddr>() {
        Ok(address) => Some(address),
        Err(_) => text.parse::<IpNet>().ok().map(|network| network.addr()),
    };
    match address {
        Some(address) => Ok(Source::of(address).to_string()),
        None => Err(Failed::new(format!(
            "`{text}` is neither an address nor a network; write it as `oxpost block list` shows it."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_address_becomes_its_network() {
        assert_eq!(source("192.0.2.7").unwrap(), "192.0.2.7");
        assert_eq!(source("::ffff:192.0.2.7").unwrap(), "192.0.2.7");
        assert_eq!(source("2001:DB8::7").unwrap(), "2001:db8::/64");
        assert_eq!(source("2001:db8::7/64").unwrap(), "2001:db8::/64");
        assert!(source("mail.example").unwrap_err().message.contains("oxpost block list"));
    }
}
