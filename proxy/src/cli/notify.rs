//! `oxpost notify …`

use std::time::SystemTime;

use clap::Subcommand;
use oxpost_token_store::store::alerts::Alert;

use super::Failed;
use crate::admin::notify::conditions::Event;
use crate::admin::notify::{Channels, Kind, Message};
use crate::config::Config;
use crate::net::tls;

#[derive(Debug, Subcommand)]
pub(super) enum NotifyCommand {
    /// Send a test notification by every method of `[notify]`, and report the result
    Test,
}

pub(super) async fn run(command: &NotifyCommand, config: &Config) -> Result<(), Failed> {
    match command {
        NotifyCommand::Test => test(config).await,
    }
}

async fn test(config: &Config) -> Result<(), Failed> {
    let tls = tls::client_config(config.ca_file.as_deref(), config.system_roots)?;
    let channels = Channels::new(&config.notify, &tls).map_err(Failed::new)?.with_pauses(&[]).heard();
    if channels.is_empty() {
        return Err(Failed::new(
            "[notify] in proxy.toml has neither `webhook` nor `command`: alerts appear only in the log and in `oxpost status`. \
             Add one of them.",
        ));
    }
    let now = SystemTime::now();
    let notice = Alert {
        subject: String::new(),
        topic: String::new(),
        id: "test".to_owned(),
        event: Event::Test.as_str().to_owned(),
        cause: String::new(),
        what: "This is a test notification. Alerts will arrive here.".to_owned(),
        remedy: "Nothing needs to be done.".to_owned(),
        since: now,
        notified: None,
        due: None,
        resolved: None,
    };
    let message = Message::of(&notice, Kind::Test, now, &config.host_name);
    let mut all_arrived = true;
    for (channel, outcome) in channels.deliver(&message).await {
        match outcome {
            Ok(()) => println!("{channel}: delivered."),
            Err(undelivered) => {
                all_arrived = false;
                println!("{channel}: {undelivered}.");
            }
        }
    }
    if all_arrived {
        Ok(())
    } else {
        Err(Failed::new("the test notification was not delivered everywhere; check [notify] in proxy.toml."))
    }
}
