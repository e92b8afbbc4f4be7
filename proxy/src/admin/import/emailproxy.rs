//! The configuration of email-oauth2-proxy (`emailproxy.config`).
//!
//! `[IMAP-1993]` and the like are listeners with their server, `[name@domain]` accounts, `[@domain]` and `[@]` defaults for
//! accounts if `[emailproxy] allow_catch_all_accounts` is on. Which server an account uses is decided there by the port
//! that a mail program connects to, and here by the account.

mod account;
mod provider;
mod servers;

use std::path::Path;

use super::ini::Section;
use super::{Plan, key_name, shown};
use crate::config::Protocol;
use account::Found;

/// The section of its options.
const OPTIONS: &str = "emailproxy";

/// Sections of the example that comes with it. They hold explanations.
const EXPLANATIONS: &str = "documentation";

/// What it writes into the second file when it has one (`--cache-store`).
const CACHED: [&str; 7] = [
    "access_token",
    "access_token_expiry",
    "refresh_token",
    "token_salt",
    "token_iterations",
    "client_secret_encrypted",
    "last_activity",
];

/// Options that need no counterpart: a wrong password never costs a sign-in here, secrets are always sealed, and the
/// last two are looked at with the accounts they are about.
const KNOWN_OPTIONS: [&str; 5] = [
    EXPLANATIONS,
    "delete_account_token_on_password_error",
    "encrypt_client_secret_on_first_use",
    "use_login_password_as_client_credentials_secret",
    "allow_catch_all_accounts",
];

pub(super) fn looks_like(sections: &[Section]) -> bool {
    sections.iter().any(|section| kind_of(&section.name) != Kind::Other)
}

/// Merges the second file into the sections of the first, as the program does at its start.
pub(super) fn merge_cache(sections: &mut Vec<Section>, cache: &[Section]) {
    let catch_all = allows_catch_all(sections);
    for cached in cache.iter().filter(|section| kind_of(&section.name) == Kind::Account) {
        let own = sections.iter_mut().find(|section| section.name == cached.name);
        let entries = cached.entries.iter().filter(|entry| CACHED.contains(&entry.key.as_str()));
        match own {
            Some(own) => entries.for_each(|entry| own.put(entry)),
            None if catch_all => sections.push(cached.clone()),
            None => {}
        }
    }
}

pub(super) fn plan(sections: &[Section], folder: &Path) -> Plan {
    let mut plan = Plan::default();
    let catch_all = allows_catch_all(sections);
    let accounts: Vec<Found<'_>> =
        of_kind(sections, Kind::Account).map(|section| Found::new(section, sections, catch_all)).collect();
    let wanted = account::wanted(&mut plan, &accounts);
    let servers = servers::servers(&mut plan, sections, &wanted, folder);
    account::accounts(&mut plan, wanted, &servers, folder);
    for section in of_kind(sections, Kind::CatchAll) {
        let why = if catch_all {
            "an Oxpost account is one mailbox. Mailboxes that have logged in were imported; add others with `oxpost account add ADDRESS`"
        } else {
            "it had no effect, because allow_catch_all_accounts is off"
        };
        plan.leave(section.line, name_of(section), why);
    }
    for section in of_kind(sections, Kind::Options) {
        unknown(&mut plan, section, &KNOWN_OPTIONS);
    }
    for section in of_kind(sections, Kind::Other) {
        if section.entries.iter().any(|entry| !is_explanation(&entry.key)) {
            plan.leave(
                section.line,
                name_of(section),
                "unknown section; check whether Oxpost has an equivalent setting",
            );
        }
    }
    plan.left.sort_by_key(|left| left.line);
    plan
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server(Protocol, u16),
    Account,
    CatchAll,
    Options,
    Other,
}

fn kind_of(name: &str) -> Kind {
    let server = name.split_once('-').and_then(|(kind, port)| {
        let protocol = match kind {
            "IMAP" => Protocol::Imap,
            "POP" => Protocol::Pop3,
            "SMTP" => Protocol::Smtp,
            _ => return None,
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        // An invalid port is reported with its section.
        digits.then(|| Kind::Server(protocol, port.parse().unwrap_or_default()))
    });
    match server {
        Some(server) => server,
        None if name.starts_with('@') => Kind::CatchAll,
        None if name.contains('@') => Kind::Account,
        None if name == OPTIONS => Kind::Options,
        None => Kind::Other,
    }
}

fn of_kind(sections: &[Section], kind: Kind) -> impl Iterator<Item = &Section> {
    sections.iter().filter(move |section| kind_of(&section.name) == kind)
}

fn allows_catch_all(sections: &[Section]) -> bool {
    of_kind(sections, Kind::Options).any(|section| section.is_on("allow_catch_all_accounts"))
}

fn name_of(section: &Section) -> String {
    format!("[{}]", shown(&section.name))
}

/// The example has `documentation`, `format` and `warning` as keys of sections that explain.
fn is_explanation(key: &str) -> bool {
    matches!(key, EXPLANATIONS | "format" | "warning")
}

/// Lists the keys of a section that nothing is known of. Their values may be secrets, and are not repeated.
fn unknown(plan: &mut Plan, section: &Section, known: &[&str]) {
    for entry in section.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        let what = format!("{}, {}", name_of(section), key_name(&entry.key));
        plan.leave(entry.line, what, "unknown key; check whether Oxpost has an equivalent setting");
    }
}
