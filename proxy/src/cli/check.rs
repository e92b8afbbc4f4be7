//! `oxpost check`: whether `run` would start, and whether every account could work, as far as this machine knows.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use oxpost_protocol::smtp::sender_policy::Pattern;
use oxpost_token_store::{Applications, Credential, Mailbox, SenderMode, SystemClock};
use serde_json::{Value, json};

use super::Failed;
use crate::admin::account_problems::account_problems;
use crate::admin::credential_expiry;
use crate::config::{Config, Device, Listener};
use crate::context::open_existing_store;
use crate::net::certificate::CertificateInfo;
use crate::net::tls;
use crate::server::device;
use crate::server::startup::{Purpose, Startup};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Print one JSON object, with all problems and their lines
    #[arg(long)]
    json: bool,
}

pub(super) async fn check(options: &Options, path: &Path) -> Result<(), Failed> {
    let mut report = Report::default();
    let found = match Config::load(path) {
        Err(error) => {
            report.add(Keeps::ServiceFromStarting, error.sentences());
            None
        }
        Ok(config) => Some(Found::of(config, &mut report).await?),
    };
    if options.json {
        println!("{}", report.json(path, found.as_ref()));
    }
    if report.problems.is_empty() {
        if let Some(found) = found.filter(|_| !options.json) {
            print!("{}", found.text(path, &report));
        }
        return Ok(());
    }
    let messages: Vec<&str> = report.problems.iter().map(|problem| problem.message.as_str()).collect();
    Err(Failed::new(messages.join("\n")))
}

/// What a problem keeps from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    ServiceFromStarting,
    AccountFromWorking,
}

/// One thing that is wrong.
#[derive(Debug)]
struct Problem {
    keeps: Keeps,
    /// The line of the configuration, where there is one.
    line: Option<usize>,
    /// The sentence, with the file and the line, and what to do.
    message: String,
}

/// Everything that was found wrong, or soon will be.
#[derive(Debug, Default)]
struct Report {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Report {
    fn add(&mut self, keeps: Keeps, sentences: impl IntoIterator<Item = (Option<usize>, String)>) {
        self.problems.extend(sentences.into_iter().map(|(line, message)| Problem { keeps, line, message }));
    }

    /// The report for scripts; `docs/troubleshooting.md` lists its members.
    fn json(&self, path: &Path, found: Option<&Found>) -> Value {
        let problem = |problem: &Problem| {
            let keeps = match problem.keeps {
                Keeps::ServiceFromStarting => "service",
                Keeps::AccountFromWorking => "account",
            };
            json!({ "concerns": keeps, "line": problem.line, "message": problem.message })
        };
        json!({
            "configuration": path.display().to_string(),
            "valid": self.problems.is_empty(),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "warnings": self.warnings,
            "listeners": found.map(Found::listeners).unwrap_or_default(),
            "applications": found.map(|found| found.applications.names()).unwrap_or_default(),
            "accounts": found.map(Found::accounts).unwrap_or_default(),
        })
    }
}

/// A configuration that could be read, and what belongs to it.
struct Found {
    config: Config,
    /// With the expiries that the store knows.
    applications: Applications,
}

impl Found {
    /// Examines everything; what is wrong is added to the report.
    async fn of(config: Config, report: &mut Report) -> Result<Self, Failed> {
        let now = SystemTime::now();
        let store = match Startup::begin(&config, Arc::new(SystemClock), Purpose::Check).await {
            Ok(startup) => startup.context.map(|context| context.runtime.store.clone()),
            Err(error) => {
                report.add(Keeps::ServiceFromStarting, error.sentences());
                // What does not depend on it is examined all the same.
                open_existing_store(&config).await.ok().flatten()
            }
        };
        let applications = match &store {
            Some(store) => config.applications.with_secret_expiries(&store.secret_expiries().await?),
            None => config.applications.clone(),
        };
        let problems = account_problems(&config, &applications, store.as_ref(), now).await?;
        report.add(Keeps::AccountFromWorking, problems.into_iter().map(|message| (None, message)));
        let declared: HashSet<&Mailbox> = config.accounts.iter().map(|account| &account.declared.mailbox).collect();
        for mailbox in device::without_account(&config, store.as_ref()).await? {
            if !declared.contains(&mailbox) {
                report.warnings.push(format!(
                    "a device sends as {mailbox}, which has no account yet: oxpost account add {mailbox}"
                ));
            }
        }
        let ends = credential_expiry::ends(&applications, now);
        report.warnings.extend(ends.iter().filter(|end| !end.has_passed() && end.is_near()).map(ToString::to_string));
        report.warnings.extend(credential_expiry::secret_id_warnings(&config.applications));
        for (listener, info) in config.listeners.iter().filter_map(|one| certificate(one).map(|info| (one, info))) {
            if info.expires_soon(now) {
                report.warnings.push(format!(
                    "the certificate of {} on {} is valid until {}; renew it (`oxpost cert` if that command created it)",
                    listener.protocol,
                    listener.address,
                    info.expiry_date()
                ));
            }
        }
        if config.applications.names().is_empty() {
            report
                .warnings
                .push("no [[application]] yet: add the tenant and client id of your app registration".to_owned());
        }
        Ok(Self { config, applications })
    }

    /// The text for people, where nothing is wrong.
    fn text(&self, path: &Path, report: &Report) -> String {
        let mut text = format!("{} is valid.\n", path.display());
        for listener in &self.config.listeners {
            let _ = writeln!(text, "  {} on {}, {}", listener.protocol, listener.address, listener.tls.name());
            for device in &listener.devices {
                let _ = writeln!(text, "    {}", without_login(device));
            }
            if let Some(info) = certificate(listener) {
                let _ =
                    writeln!(text, "    certificate for {}, valid until {}", info.names.join(", "), info.expiry_date());
            }
        }
        for name in self.applications.names() {
            let _ = match self.applications.get(name).map(|application| &application.credential) {
                None | Some(Credential::Secret) => writeln!(text, "  application {name}"),
                Some(other) => writeln!(text, "  application {name}, {}", other.name()),
            };
        }
        let ends = credential_expiry::ends(&self.applications, SystemTime::now());
        for end in ends.iter().filter(|end| !end.is_near()) {
            let _ = writeln!(text, "  {end}");
        }
        for account in &self.config.accounts {
            let _ = writeln!(text, "  account {}", account.declared.mailbox);
        }
        for warning in &report.warnings {
            let _ = writeln!(text, "  warning: {warning}");
        }
        text
    }

    fn listeners(&self) -> Vec<Value> {
        let listener = |listener: &Listener| {
            let info = certificate(listener);
            json!({
                "protocol": listener.protocol.to_string(),
                "address": listener.address.to_string(),
                "tls": listener.tls.name(),
                "certificate_names": info.as_ref().map(|info| info.names.clone()),
                "certificate_expires": info.as_ref().map(CertificateInfo::expiry_date),
            })
        };
        self.config.listeners.iter().map(listener).collect()
    }

    fn accounts(&self) -> Vec<&str> {
        self.config.accounts.iter().map(|account| account.declared.mailbox.as_str()).collect()
    }
}

/// Which clients may send without a login, as which sender and to which recipients.
fn without_login(device: &Device) -> String {
    let Device { networks, account, senders, recipients, messages_per_minute } = device;
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let to = match recipients {
        None => "any recipient".to_owned(),
        Some(patterns) => patterns.iter().map(Pattern::name).collect::<Vec<_>>().join(", "),
    };
    let others = match senders.mode {
        SenderMode::AsIs => "refused",
        SenderMode::Account => "replaced",
        SenderMode::Map => "replaced by the map",
    };
    let allowed: String = senders.allowed.iter().map(|sender| format!(", {sender}")).collect();
    format!(
        "without a login: {} sends as {account}{allowed} (other senders are {others}) to {to}, {messages_per_minute} messages a minute",
        networks.join(", ")
    )
}

/// What the certificate of a listener says.
fn certificate(listener: &Listener) -> Option<CertificateInfo> {
    let (certificate, _) = listener.certificate.as_ref()?;
    tls::certificates(certificate).ok()?.first().and_then(CertificateInfo::of)
}
