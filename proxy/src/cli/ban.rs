//! `oxpost ban …`

use std::net::IpAddr;
use std::time::SystemTime;

use clap::Subcommand;
use ipnet::IpNet;
use oxpost_token_store::Ban;

use super::Failed;
use super::table::table;
use super::times::distance;
use crate::config::Config;
use crate::gateway::open_store;
use crate::guard::counted;

#[derive(Debug, Subcommand)]
pub(super) enum BanCommand {
    /// List the addresses from which no login is taken for now, after too many wrong passwords
    List {
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Lift the ban of an address or a /64 network of IPv6; the running service notices within seconds
    Lift {
        /// As `oxpost ban list` shows it, or any address of a banned network
        address: String,
    },
}

pub(super) async fn run(command: BanCommand, config: &Config) -> Result<(), Failed> {
    let store = open_store(config).await?;
    match command {
        BanCommand::List { json } => {
            let now = SystemTime::now();
            let bans = store.bans(now).await?;
            if json {
                let all: Vec<_> = bans.iter().map(as_json_object).collect();
                println!("{}", serde_json::to_string_pretty(&all)?);
            } else if bans.is_empty() {
                println!("No address is banned.");
            } else {
                print!("{}", shown(&bans, now));
            }
        }
        BanCommand::Lift { address } => {
            let mut lifted = false;
            for source in sources(&address)? {
                if store.lift_ban(&source).await? {
                    println!("Lifted the ban of {source}.");
                    lifted = true;
                }
            }
            if !lifted {
                return Err(Failed::new(format!("{address} is not banned; `oxpost ban list` shows who is.")));
            }
        }
    }
    Ok(())
}

/// The bans in columns.
pub(super) fn shown(bans: &[Ban], now: SystemTime) -> String {
    let rows: Vec<Vec<String>> = bans
        .iter()
        .map(|ban| {
            vec![ban.source.clone(), distance(Some(ban.since), now), distance(Some(ban.until), now), ban.node.clone()]
        })
        .collect();
    table(&["BANNED", "SINCE", "ENDS", "BY"], &rows)
}

fn as_json_object(ban: &Ban) -> serde_json::Value {
    let time = |time| humantime::format_rfc3339_seconds(time).to_string();
    serde_json::json!({ "source": ban.source, "node": ban.node, "since": time(ban.since), "until": time(ban.until) })
}

/// What bans an address, or the one network that was written, can have.
fn sources(text: &str) -> Result<Vec<String>, Failed> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(counted(address, &[]).map(|source| source.to_string()).collect());
    }
    match text.parse::<IpNet>() {
        Ok(network) => Ok(vec![network.trunc().to_string()]),
        Err(_) => Err(Failed::new(format!(
            "`{text}` is neither an address nor a network; write it as `oxpost ban list` shows it."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_lifted_with_its_network() {
        assert_eq!(sources("192.0.2.7").unwrap(), ["192.0.2.7"]);
        assert_eq!(sources("::ffff:192.0.2.7").unwrap(), ["192.0.2.7"]);
        assert_eq!(sources("2001:DB8::7").unwrap(), ["2001:db8::7", "2001:db8::/64"]);
        assert_eq!(sources("2001:db8::7/64").unwrap(), ["2001:db8::/64"]);
        assert!(sources("mail.example").unwrap_err().0.contains("oxpost ban list"));
    }
}
