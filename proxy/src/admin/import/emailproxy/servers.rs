//! `[IMAP-1993]` and the like: a listener, and the server behind it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::account::{Key, Wanted};
use super::{Kind, Section, kind_of, name_of, shown, unknown};
use crate::admin::import::service::{Family, site};
use crate::admin::import::{Listener, Plan};
use crate::config::file::Server;
use crate::config::{ListenerTls, Protocol, ServerTls};

/// Where it listens if its section does not say.
const EVERYWHERE: &str = "::";

const KNOWN: [&str; 9] = [
    "documentation",
    "server_address",
    "server_port",
    "server_starttls",
    "starttls",
    "local_address",
    "local_starttls",
    "local_certificate_path",
    "local_key_path",
];

/// The servers of one mail service, as far as no preset names them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Servers {
    pub(super) imap: Option<Server>,
    pub(super) pop3: Option<Server>,
    pub(super) smtp: Option<Server>,
}

/// What the sections of servers say.
#[derive(Debug, Default)]
pub(super) struct Found {
    of: HashMap<Key, Servers>,
    hosts: HashSet<String>,
}

impl Found {
    /// The servers of a service that no preset names.
    pub(super) fn of(&self, key: &Key) -> Servers {
        self.of.get(key).cloned().unwrap_or_default()
    }

    /// Whether the file names this server.
    pub(super) fn reaches(&self, host: &str) -> bool {
        self.hosts.contains(host)
    }
}

/// Plans the listeners, and finds out whose the servers are.
pub(super) fn servers(plan: &mut Plan, sections: &[Section], wanted: &[Wanted<'_>], folder: &Path) -> Found {
    let mut found = Found::default();
    for section in sections {
        let Kind::Server(protocol, port) = kind_of(&section.name) else { continue };
        unknown(plan, section, &KNOWN);
        if let Some(listener) = server(plan, section, protocol, port, wanted, &mut found, folder) {
            plan.listeners.push(listener);
        }
    }
    found
}

fn server(
    plan: &mut Plan,
    section: &Section,
    protocol: Protocol,
    port: u16,
    wanted: &[Wanted<'_>],
    found: &mut Found,
    folder: &Path,
) -> Option<Listener> {
    let mut leave = |why: String| plan.leave(section.line, name_of(section), why);
    if port == 0 {
        leave("its port is invalid; ports are 1 to 65535".into());
        return None;
    }
    let Some(host) = section.get("server_address").map(str::to_ascii_lowercase) else {
        leave("it has no `server_address`; the servers of Microsoft 365 need none here".into());
        return None;
    };
    if Family::of_server(&host).is_none() {
        let server = match remote(section, protocol, &host) {
            Ok(server) => server,
            Err(why) => {
                leave(why);
                return None;
            }
        };
        let Some(owner) = owner(&host, wanted) else {
            leave(format!(
                "nothing says which accounts use its server `{}`; spell the service out as a [[provider]] in proxy.toml",
                shown(&host)
            ));
            return None;
        };
        let servers = found.of.entry(owner).or_default();
        let place = match protocol {
            Protocol::Imap => &mut servers.imap,
            Protocol::Pop3 => &mut servers.pop3,
            Protocol::Smtp => &mut servers.smtp,
        };
        let known = place.get_or_insert_with(|| server.clone());
        if *known != server {
            leave(format!(
                "an account has one {protocol} server here, and `{}` was found first; add an [[application]] with another \
                 [[provider]] to proxy.toml for accounts that need this one",
                shown(&known.host)
            ));
            return None;
        }
    }
    found.hosts.insert(host);
    listener(plan, section, protocol, port, folder)
}

/// A server that no preset names.
fn remote(section: &Section, protocol: Protocol, host: &str) -> Result<Server, String> {
    let port = section.get("server_port").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    let port = port.ok_or_else(|| "its `server_port` is missing or no port".to_owned())?;
    let start_tls = protocol == Protocol::Smtp
        && if section.entry("server_starttls").is_some() {
            section.is_on("server_starttls")
        } else {
            section.is_on("starttls")
        };
    let tls = if start_tls { ServerTls::StartTls } else { ServerTls::Implicit };
    Ok(Server { host: host.to_owned(), port, tls })
}

/// Whose server it is: a service whose sign-in, or whose mailboxes, are of the same site; or the only service there is.
fn owner(host: &str, wanted: &[Wanted<'_>]) -> Option<Key> {
    let related = |wanted: &&Wanted<'_>| site(&wanted.authority) == site(host) || site(wanted.domain()) == site(host);
    let only = |keys: HashSet<&Key>| if keys.len() == 1 { keys.into_iter().next().cloned() } else { None };
    only(wanted.iter().filter(related).map(|wanted| &wanted.key).collect())
        .or_else(|| only(wanted.iter().map(|wanted| &wanted.key).collect()))
}

fn listener(plan: &mut Plan, section: &Section, protocol: Protocol, port: u16, folder: &Path) -> Option<Listener> {
    // Relative to wherever it was started; most often that is where its file is.
    let absolute = |path: &str| -> PathBuf {
        let path = folder.join(path);
        std::path::absolute(&path).unwrap_or(path)
    };
    let certificate = match (section.get("local_certificate_path"), section.get("local_key_path")) {
        (Some(certificate), Some(key)) => Some((absolute(certificate), absolute(key))),
        _ => None,
    };
    let start_tls = protocol == Protocol::Smtp && section.is_on("local_starttls");
    let tls = match (&certificate, start_tls) {
        (None, true) => {
            let why = "`local_starttls` needs both `local_certificate_path` and `local_key_path`; docs/tls.md says how to make them";
            plan.leave(section.line, name_of(section), why);
            return None;
        }
        (None, false) => ListenerTls::None,
        (Some(_), true) => ListenerTls::StartTls,
        (Some(_), false) => ListenerTls::Implicit,
    };
    let entry = section.entry("local_address");
    let asked = entry.map_or(EVERYWHERE, |entry| entry.value.as_str());
    let (host, reached_at) = match asked.parse() {
        Ok(ip) if std::net::IpAddr::is_loopback(&ip) => (ip.to_string(), None),
        _ if asked.eq_ignore_ascii_case("localhost") => ("127.0.0.1".to_owned(), None),
        Ok(ip) => ("127.0.0.1".to_owned(), Some(address(&ip.to_string(), port))),
        Err(_) => ("127.0.0.1".to_owned(), Some(address("0.0.0.0", port))),
    };
    if reached_at.is_some() {
        plan.leave(
            entry.map_or(section.line, |entry| entry.line),
            format!("{}, listening on {}", name_of(section), shown(asked)),
            "other machines could reach it there. It listens on 127.0.0.1 now; to serve others, write its address and their networks \
             into its [[listener]] (proxy.toml shows how)",
        );
    }
    let address = address(&host, port);
    if let Some(other) = plan.listeners.iter().find(|other| other.address == address) {
        let why = format!(
            "{address} is the address of the {} listener of line {} too; give it another port",
            other.protocol, other.line
        );
        plan.leave(section.line, name_of(section), why);
        return None;
    }
    Some(Listener { line: section.line, protocol, address, tls, certificate, reached_at })
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
