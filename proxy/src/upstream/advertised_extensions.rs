//! The SMTP extensions that a client is offered before it logs in.
//!
//! Before the login no one knows which server the client will end up at, and most clients never say EHLO again after it.
//! So only what every server in use offers is advertised: servers of applications that have accounts. What a server offers
//! is what it said after its last login, on any node, before or after a restart; until then, what is documented of it.

mod sync;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use oxpost_token_store::store::smtp_extensions::SmtpExtensions;

use crate::config::Server;

/// What may be advertised at all, in this order. BINARYMIME is not among them: it may only be used with BDAT, and old
/// clients do not keep that apart.
const POSSIBLE: [&str; 7] = ["SIZE", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING", "SMTPUTF8"];

/// What Exchange Online offers on the submission port after AUTH, in every cloud.
const EXCHANGE: &[&str] =
    &["SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING", "SMTPUTF8"];

/// What smtp.gmail.com offers after AUTH.
const GMAIL: &[&str] = &["SIZE 35882577", "PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING", "SMTPUTF8"];

/// Servers whose extensions are known before anyone has logged in, by the end of their names: those of every preset.
const DOCUMENTED: [(&str, &[&str]); 5] = [
    (".office365.com", EXCHANGE),
    (".outlook.com", EXCHANGE),
    (".office365.us", EXCHANGE),
    (".partner.outlook.cn", EXCHANGE),
    ("smtp.gmail.com", GMAIL),
];

/// The lists of all servers, and which of them count.
#[derive(Debug)]
pub struct AdvertisedExtensions(RwLock<State>);

#[derive(Debug)]
struct State {
    /// The server of each application.
    servers: HashMap<String, ServerName>,
    lists: HashMap<ServerName, List>,
    /// Applications with accounts; none as long as that is unknown, and then all count.
    in_use: Option<HashSet<String>>,
    /// What follows from all that.
    advertised: Arc<[String]>,
}

/// Host, in lower case, and port.
type ServerName = (String, u16);

/// What is known of one server.
#[derive(Debug, Default)]
struct List {
    documented: &'static [&'static str],
    /// What it said after its last login.
    learned: Option<Vec<String>>,
    /// What the store has.
    stored: Option<Vec<String>>,
}

impl AdvertisedExtensions {
    /// For the SMTP servers of these applications.
    pub fn new<'a>(servers: impl Iterator<Item = (&'a str, &'a Server)>) -> Self {
        let servers: HashMap<_, _> =
            servers.map(|(application, server)| (application.to_owned(), name_of(server))).collect();
        let known = |name: &ServerName| List { documented: documented(&name.0), ..List::default() };
        let lists = servers.values().map(|name| (name.clone(), known(name))).collect();
        let mut state = State { servers, lists, in_use: None, advertised: Arc::default() };
        state.refresh();
        Self(RwLock::new(state))
    }

    /// What is offered now.
    pub fn now(&self) -> Arc<[String]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).advertised)
    }

    /// What the server of an application has said after a login. Most often it is what it said before.
    pub fn learn(&self, application: &str, extensions: &[String]) {
        let extensions = usable(extensions);
        let is_known = |state: &State| {
            let in_use = state.in_use.as_ref().is_none_or(|applications| applications.contains(application));
            let list = state.servers.get(application).and_then(|name| state.lists.get(name));
            in_use && list.is_none_or(|list| list.learned.as_ref() == Some(&extensions))
        };
        if is_known(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        self.change(|state| {
            if let Some(applications) = &mut state.in_use {
                applications.insert(application.to_owned());
            }
            if let Some(list) = state.servers.get(application).and_then(|name| state.lists.get_mut(name)) {
                list.learned = Some(extensions);
            }
        });
    }

    /// The applications that have accounts, as the store has them.
    fn applications_are_used(&self, applications: Vec<String>) {
        self.change(|state| state.in_use = Some(applications.into_iter().collect()));
    }

    /// The lists that the store has, maybe of other nodes.
    fn read_from_store(&self, lists: Vec<SmtpExtensions>) {
        self.change(|state| {
            for SmtpExtensions { host, port, extensions } in lists {
                let Some(list) = state.lists.get_mut(&(host, port)) else { continue };
                let extensions = usable(&extensions);
                // What was learned here and is not written yet is newer.
                if list.learned == list.stored {
                    list.learned = Some(extensions.clone());
                }
                list.stored = Some(extensions);
            }
        });
    }

    /// What was learned and is not in the store.
    fn unwritten(&self) -> Vec<SmtpExtensions> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let unwritten = state.lists.iter().filter_map(|((host, port), list)| {
            let learned = list.learned.as_ref().filter(|_| list.learned != list.stored)?;
            Some(SmtpExtensions { host: host.clone(), port: *port, extensions: learned.clone() })
        });
        unwritten.collect()
    }

    /// The store has it now.
    fn written(&self, written: SmtpExtensions) {
        self.change(|state| {
            if let Some(list) = state.lists.get_mut(&(written.host, written.port)) {
                list.stored = Some(written.extensions);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.refresh();
    }
}

impl State {
    fn refresh(&mut self) {
        let has_accounts = |application: &String| self.in_use.as_ref().is_none_or(|used| used.contains(application));
        let mut count: HashSet<&ServerName> =
            self.servers.iter().filter(|(application, _)| has_accounts(application)).map(|(_, name)| name).collect();
        if count.is_empty() {
            // The first account may be added for any of them.
            count = self.servers.values().collect();
        }
        let lists: Vec<Vec<String>> =
            count.into_iter().filter_map(|name| self.lists.get(name)).map(List::current).collect();
        self.advertised = in_all(&lists).into();
    }
}

impl List {
    fn current(&self) -> Vec<String> {
        let documented = || self.documented.iter().map(|line| (*line).to_owned()).collect();
        self.learned.clone().unwrap_or_else(documented)
    }
}

fn name_of(server: &Server) -> ServerName {
    (server.host.to_ascii_lowercase(), server.port)
}

fn documented(host: &str) -> &'static [&'static str] {
    let known = DOCUMENTED.iter().find(|(end, _)| host.ends_with(end) || end.strip_prefix('.') == Some(host));
    known.map_or(&[], |(_, extensions)| extensions)
}

/// The part of what a server has said after a login that a client may use.
pub(crate) fn usable(extensions: &[String]) -> Vec<String> {
    in_all(&[extensions.to_vec()])
}

fn in_all(lists: &[Vec<String>]) -> Vec<String> {
    if lists.is_empty() {
        return Vec::new();
    }
    POSSIBLE.iter().filter_map(|keyword| common(keyword, lists)).collect()
}

/// The extension as all of the servers offer it; of SIZE the smallest. A server's `SIZE 0`, or `SIZE` alone, means that it
/// names no limit (RFC 1870, 4).
fn common(keyword: &str, lists: &[Vec<String>]) -> Option<String> {
    let mut smallest: Option<u64> = None;
    for extensions in lists {
        let line = extensions.iter().find(|line| {
            line.split_ascii_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(keyword))
        })?;
        let limit = line.split_ascii_whitespace().nth(1).and_then(|size| size.parse().ok()).filter(|&size| size > 0);
        smallest = [smallest, limit].into_iter().flatten().min();
    }
    Some(match smallest {
        Some(size) if keyword == "SIZE" => format!("SIZE {size}"),
        _ => keyword.to_owned(),
    })
}

#[cfg(test)]
mod tests;
