//! From a file that could be parsed to a [`Config`] that can be used: what a type cannot express is checked here, all of it
//! together, so that an administrator corrects a file in one go.

mod applications;
mod listeners;

use std::path::Path;
use std::time::Duration;

use oxpost_token_store::KeySource;

use super::account::{self, DeclaredAccount};
use super::file::{self, File};
use super::log_filter;
use super::notify::{self, Notify};
use super::password_checks;
use super::positions::Positions;
use super::problem::ConfigError;
use super::token_requests;
use super::{Config, Limits, Listener, Log, StorePlace, slots, store};

/// The longest timeout accepted. Longer ones have no use, and the clock must be able to add it.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest a client is let wait for its turn to send: it gives the answer to MAIL five minutes (RFC 5321, 4.5.3.2.2).
const LONGEST_WAIT: Duration = Duration::from_secs(4 * 60);

/// The longest period of another kind.
pub(super) const LONGEST_PERIOD: Duration = Duration::from_secs(366 * 24 * 3600);

pub(super) fn check(path: &Path, text: &str, file: File) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut checker = Checker { positions: Positions::of(text), folder, problems: Vec::new() };
    let listeners: Vec<Listener> =
        file.listener.iter().enumerate().filter_map(|(index, listener)| checker.listener(index, listener)).collect();
    checker.no_address_twice(&listeners, &file.listener);
    let (applications, certificate_files, servers) = checker.applications(&file);
    let (accounts, problems) = account::check(folder, &file, &applications);
    for (index, key, sentence) in problems {
        checker.report("account", Some(index), Some(key), sentence);
    }
    checker.limits(&file.limits);
    let (admission, mut problems) = password_checks::check(&file.limits);
    let (refresh, more) = token_requests::check(&file.limits);
    problems.extend(more);
    let (throttle, throttle_problems) = super::login_throttle::check(&file.login_throttle);
    problems.extend(throttle_problems);
    let (journal, journal_problems) = super::journal::check(&file.journal);
    problems.extend(journal_problems);
    for (section, key, sentence) in problems {
        checker.report(section, None, Some(key), sentence);
    }
    let (slots, problems) = slots::check(&file.limits, throttle.exempt_networks.clone());
    for (key, sentence) in problems {
        checker.report("limits", None, Some(key), sentence);
    }
    checker.trust(&file.trust);
    checker.log(&file.log);
    checker.host_name(file.host_name.as_deref());
    let key = checker.key(&file.store.key.0.to_string_lossy());
    let notify = checker.notify(&file.notify, secret_variables(&file, key.as_ref()));
    let store =
        store::place(&file.store, folder).map_err(|(key, sentence)| checker.report("store", None, Some(key), sentence));
    let (Some(key), Ok(store), true) = (key, store, checker.problems.is_empty()) else {
        return Err(ConfigError::of_file(path, checker.problems));
    };
    // Whatever was left out has a problem, and there is none.
    let accounts = accounts.into_iter().enumerate();
    let accounts = accounts
        .map(|(index, declared)| DeclaredAccount {
            declared,
            line: checker.positions.section("account", Some(index), None),
        })
        .collect();
    Ok(Config {
        file: path.to_owned(),
        listeners,
        accounts,
        applications,
        certificate_files,
        servers,
        own_files: match &store {
            StorePlace::File(path) => path.clone(),
            StorePlace::Postgres(_) => folder.join("oxpost"),
        },
        store,
        key,
        ca_file_line: checker.positions.section("trust", None, Some("ca-file")),
        ca_file: file.trust.ca_file.map(|ca_file| folder.join(ca_file.0)),
        system_roots: file.trust.system_roots,
        log: Log { level: file.log.level, format: file.log.format },
        notify,
        journal,
        limits: Limits {
            login_timeout: file.limits.login_timeout.0,
            upstream_timeout: file.limits.upstream_timeout.0,
            idle_timeout: file.limits.idle_timeout.0,
            smtp_command_timeout: file.limits.smtp_command_timeout.0,
            drain_timeout: file.limits.drain_timeout.0,
            send_slot_timeout: file.limits.send_slot_timeout.0,
        },
        slots,
        login_throttle: throttle,
        admission,
        refresh,
        host_name: file.host_name.unwrap_or_else(own_host_name),
    })
}

struct Checker<'a> {
    positions: Positions<'a>,
    folder: &'a Path,
    problems: Vec<(Option<usize>, String)>,
}

impl Checker<'_> {
    fn report(&mut self, section: &str, index: Option<usize>, key: Option<&str>, sentence: impl Into<String>) {
        self.problems.push((self.positions.section(section, index, key), sentence.into()));
    }

    fn limits(&mut self, limits: &file::Limits) {
        if limits.send_slot_timeout.0 > LONGEST_WAIT {
            let sentence = "at most 4 minutes: few mail programs wait longer for a reply.";
            self.report("limits", None, Some("send-slot-timeout"), sentence);
        }
        for (key, period) in [
            ("login-timeout", limits.login_timeout),
            ("upstream-timeout", limits.upstream_timeout),
            ("idle-timeout", limits.idle_timeout),
            ("smtp-command-timeout", limits.smtp_command_timeout),
            ("drain-timeout", limits.drain_timeout),
        ] {
            if period.0.is_zero() && key != "drain-timeout" {
                self.report("limits", None, Some(key), "a timeout of zero ends every session immediately.");
            }
            if period.0 > LONGEST_TIMEOUT {
                self.report("limits", None, Some(key), "a timeout is at most 30 days.");
            }
        }
    }

    fn trust(&mut self, trust: &file::Trust) {
        if !trust.system_roots && trust.ca_file.is_none() {
            let sentence = "with system-roots = false and no ca-file no certificate is trusted; name a ca-file.";
            self.report("trust", None, Some("system-roots"), sentence);
        }
    }

    fn host_name(&mut self, name: Option<&str>) {
        if let Some(name) = name.filter(|name| !is_valid_in_ehlo(name)) {
            let sentence =
                format!("`{name}` is not valid in an EHLO command; write a DNS name such as \"gateway.contoso.com\".");
            self.problems.push((self.positions.key("host-name"), sentence));
        }
    }

    fn key(&mut self, key: &str) -> Option<KeySource> {
        match key.parse::<KeySource>() {
            Ok(source) => Some(source.within(self.folder)),
            Err(error) => {
                self.report("store", None, Some("key"), format!("{error}."));
                None
            }
        }
    }

    fn notify(&mut self, section: &notify::Section, withheld: Vec<String>) -> Notify {
        let mut wrong = Vec::new();
        let notify = notify::check(self.folder, section, withheld, &mut wrong);
        for (key, sentence) in wrong {
            self.report("notify", None, Some(key), sentence);
        }
        notify
    }

    fn log(&mut self, log: &file::Log) {
        if let Err(sentence) = log_filter(&log.level) {
            self.report("log", None, Some("level"), sentence);
        }
    }
}

/// The environment variables that have secrets in them: the key of the store, and client secrets.
fn secret_variables(file: &File, key: Option<&KeySource>) -> Vec<String> {
    let key = match key {
        Some(KeySource::Environment(name)) => Some(name.clone()),
        _ => None,
    };
    key.into_iter().chain(file.application.iter().filter_map(|one| one.client_secret_environment.clone())).collect()
}

/// The host's own name, as far as EHLO may contain it.
fn own_host_name() -> String {
    let name = hostname::get().unwrap_or_default().to_string_lossy().into_owned();
    if is_valid_in_ehlo(&name) { name } else { "oxpost.localdomain".into() }
}

/// RFC 5321, 4.1.2: letters, digits, hyphens and dots; at most 255 of them (4.5.3.1.2).
fn is_valid_in_ehlo(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    !name.is_empty() && name.len() <= 255 && name.chars().all(plain)
}
