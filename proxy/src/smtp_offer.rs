//! What an SMTP client is offered before it logs in.
//!
//! Before the login nobody knows which server the client will end up at, and most clients never say EHLO again after it.
//! So only what every configured server keeps is offered: for Exchange Online that is known, for another server nothing is
//! until its first login has shown it.

use std::collections::HashMap;
use std::sync::RwLock;

use crate::config::Server;

/// What may be offered at all, in this order. BINARYMIME is not among them: it may only be used with BDAT, and old
/// clients do not keep that apart.
const POSSIBLE: [&str; 7] = ["SIZE", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING", "SMTPUTF8"];

/// What Exchange Online offers on the submission port.
const EXCHANGE: [&str; 7] =
    ["SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING", "SMTPUTF8"];

/// Extensions of every server in use, by host.
#[derive(Debug)]
pub struct SmtpOffer {
    known: RwLock<HashMap<String, Vec<String>>>,
}

impl SmtpOffer {
    /// For these servers.
    pub fn new<'a>(servers: impl Iterator<Item = &'a Server>) -> Self {
        let known = servers.map(|server| (server.host.clone(), assumed(&server.host))).collect();
        Self { known: RwLock::new(known) }
    }

    /// What a server has said after a login.
    pub fn learn(&self, server: &Server, extensions: &[String]) {
        let unchanged = read(&self.known).get(&server.host).is_some_and(|known| known == extensions);
        if !unchanged {
            let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            known.insert(server.host.clone(), extensions.to_vec());
        }
    }

    /// What may be offered now.
    pub fn extensions(&self) -> Vec<String> {
        let known = read(&self.known);
        POSSIBLE.iter().filter_map(|keyword| common(keyword, known.values())).collect()
    }
}

/// The part of what a server has said after a login that a client may use.
pub fn usable(extensions: &Vec<String>) -> Vec<String> {
    POSSIBLE.iter().filter_map(|keyword| common(keyword, std::iter::once(extensions))).collect()
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn assumed(host: &str) -> Vec<String> {
    let exchange = [".office365.com", ".outlook.com"].iter().any(|suffix| host.ends_with(suffix));
    if exchange { EXCHANGE.map(String::from).into() } else { Vec::new() }
}

/// The extension as all of the servers keep it; of SIZE the smallest.
fn common<'a>(keyword: &str, servers: impl Iterator<Item = &'a Vec<String>>) -> Option<String> {
    let mut smallest: Option<u64> = None;
    for extensions in servers {
        let line = extensions.iter().find(|line| {
            line.split_ascii_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(keyword))
        })?;
        if let Some(size) =
            line.split_ascii_whitespace().nth(1).and_then(|size| size.parse().ok()).filter(|&size| size > 0)
        {
            smallest = Some(smallest.map_or(size, |smallest| smallest.min(size)));
        }
    }
    Some(match smallest {
        Some(size) if keyword == "SIZE" => format!("SIZE {size}"),
        _ => keyword.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerTls;

    fn server(host: &str) -> Server {
        Server { host: host.into(), port: 587, tls: ServerTls::StartTls }
    }

    #[test]
    fn exchange_is_known_before_the_first_login() {
        let offer = SmtpOffer::new([server("smtp.office365.com")].iter());
        assert_eq!(offer.extensions(), EXCHANGE);
    }

    #[test]
    fn only_what_every_server_keeps_is_offered() {
        let (exchange, other) = (server("smtp.office365.com"), server("mail.example"));
        let offer = SmtpOffer::new([exchange.clone(), other.clone()].iter());
        assert!(offer.extensions().is_empty(), "nothing is known of the other yet");
        offer.learn(&other, &["size 1000".into(), "8BITMIME".into(), "XCLIENT".into()]);
        assert_eq!(offer.extensions(), ["SIZE 1000", "8BITMIME"]);
    }
}
