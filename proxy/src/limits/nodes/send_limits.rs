//! The send limits of a configuration as one line, so that nodes whose configurations differ can be found. Pure.

use std::collections::BTreeSet;

use crate::config::{SendingLimits, Servers};

/// The limits at each SMTP server, in order: nodes with the same limits give the same line.
pub(crate) fn summary<'a>(servers: impl IntoIterator<Item = &'a Servers>) -> String {
    let limits: BTreeSet<String> =
        servers.into_iter().map(|servers| of_server(&servers.smtp.host, servers.sending)).collect();
    limits.into_iter().collect::<Vec<_>>().join("; ")
}

fn of_server(host: &str, limits: SendingLimits) -> String {
    let number = |limit: u64| if limit == 0 { "any number of".to_owned() } else { limit.to_string() };
    let count = |limit: usize| number(u64::try_from(limit).unwrap_or(u64::MAX));
    format!(
        "{host}: {} connections, {} messages a minute, {} recipients a day",
        count(limits.max_connections),
        count(limits.messages_per_minute),
        number(limits.recipients_per_day)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_server_are_one_line() {
        let limits = SendingLimits { max_connections: 3, messages_per_minute: 0, recipients_per_day: 10_000 };
        assert_eq!(
            of_server("smtp.example", limits),
            "smtp.example: 3 connections, any number of messages a minute, 10000 recipients a day"
        );
        let other = SendingLimits { messages_per_minute: 30, ..limits };
        assert_ne!(of_server("smtp.example", other), of_server("smtp.example", limits));
    }
}
