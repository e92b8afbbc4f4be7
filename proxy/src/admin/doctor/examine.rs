//! Examines step by step and records what is found. It continues only where the checks so far allow it, as [`evaluate()`](evaluate::evaluate) says.

mod account;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use oxpost_token_store::diagnosis::{self, Examiner};
use oxpost_token_store::{
    Account, Application, Credential, HttpClient, HttpPolicy, Mailbox, Origin, SharedClock, Store, SystemClock,
};
use rustls::client::danger::ServerCertVerifier;

use super::evaluate;
use super::findings::{Authority, Findings, MailServer};
use super::listener::{ListenerFinding, probe};
use super::server::explore;
use crate::admin::clock_report;
use crate::admin::service_record::ServiceState;
use crate::admin::{circuit_report, credential_expiry};
use crate::config::NO_LISTENER;
use crate::config::{Config, Protocol, Server, ServerTls};
use crate::context::ServerContext;
use crate::net::tls;

/// Said where a store is opened, and where there is none yet.
const NO_ACCOUNT: &str = "There are no accounts yet. Add one: oxpost account add ADDRESS";

/// What is to be examined.
pub(crate) struct Doctor {
    configuration: PathBuf,
    mailbox: Option<Mailbox>,
    clock: SharedClock,
}

impl Doctor {
    /// For one mailbox, or for all of the store.
    pub(crate) fn new(configuration: &Path, mailbox: Option<Mailbox>) -> Self {
        Self { configuration: configuration.to_owned(), mailbox, clock: Arc::new(SystemClock) }
    }

    /// Examines everything; what an earlier round found right is taken over from it.
    pub(crate) async fn examine(&self, before: Option<&Findings>) -> Findings {
        let mut findings = Findings::default();
        let (config, verifier) = match load(&self.configuration) {
            Ok(loaded) => loaded,
            Err(sentence) => {
                findings.configuration = Some(Err(sentence));
                return findings;
            }
        };
        findings.configuration = Some(Ok(format!("{} is valid", self.configuration.display())));
        examine_service(&config, &mut findings).await;
        match Round::begin(&config, verifier, &self.clock).await {
            Ok(round) => round.walk(self.mailbox.as_ref(), before, &mut findings).await,
            Err(sentence) => findings.configuration = Some(Err(sentence)),
        }
        findings
    }
}

/// Whether the service runs, and how its listeners answer.
async fn examine_service(config: &Config, findings: &mut Findings) {
    let state = ServiceState::read(&config.own_files);
    let recorded = match &state {
        ServiceState::Running(record) => record.as_ref().map(|record| record.listeners.as_slice()),
        ServiceState::Stopped | ServiceState::Unknown(_) => None,
    };
    for listener in &config.listeners {
        findings.listeners.push(match state {
            ServiceState::Stopped => ListenerFinding::not_tried(listener),
            _ => probe(listener, recorded).await,
        });
    }
    findings.service = Some(state);
}

fn load(path: &Path) -> Result<(Config, Arc<dyn ServerCertVerifier>), String> {
    let config = Config::load(path).map_err(|error| error.to_string())?;
    if config.listeners.is_empty() {
        return Err(NO_LISTENER.to_owned());
    }
    let verifier = tls::verifier(config.ca_file.as_deref(), config.system_roots).map_err(|error| error.to_string())?;
    for (certificate, key) in config.listeners.iter().filter_map(|listener| listener.certificate.as_ref()) {
        tls::server_config(certificate, key).map_err(|error| error.to_string())?;
    }
    Ok((config, verifier))
}

/// One walk with one configuration.
struct Round<'a> {
    config: &'a Config,
    verifier: Arc<dyn ServerCertVerifier>,
    http: HttpClient,
    clock: &'a SharedClock,
    /// The store with its accounts; why not, otherwise. Everything that needs no account is examined all the same.
    open: Result<Open, String>,
}

/// What the store is needed for.
struct Open {
    context: ServerContext,
    examiner: Examiner,
}

impl Open {
    async fn of(config: &Config, http: HttpClient, clock: &SharedClock) -> Result<Self, String> {
        // One who only looks makes no store.
        let context =
            ServerContext::open_existing(config, Arc::clone(clock)).await.map_err(|error| error.to_string())?;
        let context = context.ok_or(NO_ACCOUNT)?;
        let examiner =
            Examiner::new(context.runtime.store.clone(), config.applications.clone(), http, Arc::clone(clock));
        Ok(Self { context, examiner })
    }
}

impl<'a> Round<'a> {
    async fn begin(
        config: &'a Config,
        verifier: Arc<dyn ServerCertVerifier>,
        clock: &'a SharedClock,
    ) -> Result<Self, String> {
        let tls = tls::client_config_with(Arc::clone(&verifier)).map_err(|error| error.to_string())?;
        let http = oxpost_token_store::http::client(tls, HttpPolicy::HttpsOnly).map_err(|error| error.to_string())?;
        let open = Open::of(config, http.clone(), clock).await;
        Ok(Self { config, verifier, http, clock, open })
    }

    async fn walk(&self, mailbox: Option<&Mailbox>, before: Option<&Findings>, findings: &mut Findings) {
        let chosen = match &self.open {
            Ok(open) => chosen(&open.context.runtime.store, mailbox).await,
            Err(sentence) => Err(sentence.clone()),
        };
        let accounts = match chosen {
            Ok(accounts) => {
                findings.store = Some(Ok(format!("{} of {} opens", accounts.len(), self.config.store)));
                accounts
            }
            Err(sentence) => {
                findings.store = Some(Err(sentence));
                Vec::new()
            }
        };
        if let Ok(open) = &self.open {
            if open.context.runtime.store.is_shared_by_nodes() {
                findings.nodes = open.context.runtime.store.node_statuses().await.ok();
            }
            let skews = open.context.runtime.store.clock_skews().await.unwrap_or_default();
            findings.clocks = Some(skews.iter().map(|(host, skew)| clock_report::sentence(host, skew)).collect());
        }
        let mut names: Vec<&str> = accounts.iter().map(|account| account.application.as_str()).collect();
        if mailbox.is_none() || accounts.is_empty() {
            // The whole context: also what no account uses yet.
            names.extend(self.config.applications.names());
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.application(name, before, findings).await;
        }
        for account in &accounts {
            let known = before.and_then(|before| before.accounts.iter().find(|old| old.mailbox == account.mailbox));
            let known = known.filter(|old| evaluate::account_is_good(old, findings));
            let person = match (known, &self.open) {
                (Some(person), _) => person.clone(),
                (None, Ok(open)) => self.person(open, account, findings).await,
                // There would be no account.
                (None, Err(_)) => continue,
            };
            findings.accounts.push(person);
        }
    }

    async fn application(&self, name: &str, before: Option<&Findings>, findings: &mut Findings) {
        let (Some(application), Some(servers)) = (self.config.applications.get(name), self.config.servers.get(name))
        else {
            return;
        };
        let known = before.and_then(|before| before.authorities.iter().find(|old| old.application == name));
        findings.authorities.push(match known.filter(|old| evaluate::authority_is_good(old)) {
            Some(authority) => authority.clone(),
            None => self.authority(application).await,
        });
        for protocol in self.protocols() {
            let server = servers.of(protocol);
            let same = |other: &&MailServer| other.protocol == protocol && other.server == *server;
            if findings.servers.iter().any(|other| same(&other)) {
                continue;
            }
            let known = before.and_then(|before| before.servers.iter().find(same));
            findings.servers.push(match known.filter(|old| evaluate::is_reached(&old.way)) {
                Some(server) => server.clone(),
                None => {
                    let way = explore(server, &self.config.host_name, &self.verifier).await;
                    MailServer { protocol, server: server.clone(), way }
                }
            });
        }
    }

    /// The protocols that matter here: those that clients are awaited by.
    fn protocols(&self) -> Vec<Protocol> {
        let listened = |protocol: &Protocol| self.config.listeners.iter().any(|one| one.protocol == *protocol);
        [Protocol::Imap, Protocol::Pop3, Protocol::Smtp].into_iter().filter(listened).collect()
    }

    async fn authority(&self, application: &Application) -> Authority {
        let here = matches!(application.credential, Credential::ManagedIdentity(_));
        let host = application.token_url.host_str().unwrap_or_default().to_owned();
        let metadata = match here {
            true => None,
            false => Some(diagnosis::metadata(&self.http, self.clock, application).await),
        };
        let way = match &metadata {
            None | Some(Ok(_)) => None,
            Some(Err(_)) => {
                let port = application.token_url.port_or_known_default().unwrap_or(443);
                let server = Server { host: host.clone(), port, tls: ServerTls::Implicit };
                Some(explore(&server, &self.config.host_name, &self.verifier).await)
            }
        };
        let proof = match &self.open {
            Ok(open) => Some(open.examiner.proof(application).await),
            Err(_) => None,
        };
        let told = match &self.open {
            Ok(open) => open.context.runtime.store.secret_expiries().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let applications = self.config.applications.with_secret_expiries(&told);
        let end =
            applications.get(&application.name).and_then(|one| credential_expiry::End::of(one, SystemTime::now()));
        let ends = end.map(|end| (format!("{end}."), end.is_near()));
        let pause = self.pause(application).await;
        Authority { application: application.name.clone(), host, metadata, way, pause, proof, ends }
    }

    /// Whether the service asks the authority of an application now, or why not.
    async fn pause(&self, application: &Application) -> Option<Result<(), String>> {
        let context = &self.open.as_ref().ok()?.context;
        let open = context.runtime.store.open_circuits(context.runtime.clock.now()).await.ok()?;
        let pauses = open.iter().filter(|open| open.concerns(application, None));
        let sentences: Vec<String> =
            pauses.map(|open| circuit_report::sentence(open, &self.config.applications)).collect();
        Some(if sentences.is_empty() { Ok(()) } else { Err(sentences.join(" ")) })
    }
}

/// The accounts to look at.
async fn chosen(store: &Store, mailbox: Option<&Mailbox>) -> Result<Vec<Account>, String> {
    let mut all = store.accounts().await.map_err(|error| error.to_string())?;
    let withdrawn = |account: &Account| account.origin == Origin::Disabled;
    if let Some(mailbox) = mailbox.filter(|mailbox| all.iter().any(|one| one.mailbox == **mailbox && withdrawn(one))) {
        return Err(format!(
            "{mailbox} is disabled: proxy.toml no longer declares it. Declare it again, or remove it: oxpost account remove \
             {mailbox}"
        ));
    }
    all.retain(|account| !withdrawn(account));
    match mailbox {
        Some(mailbox) => {
            let opened = store.opened_by(mailbox).await.map_err(|error| error.to_string())?;
            // The pattern may be disabled, too.
            let opened = opened
                .filter(|account| all.iter().any(|one| [&account.mailbox, account.token_of()].contains(&&one.mailbox)));
            let add = || format!("There is no account {mailbox}. Add it: oxpost account add {mailbox}");
            opened.map(|account| vec![account]).ok_or_else(add)
        }
        None if all.is_empty() => Err(NO_ACCOUNT.into()),
        None => Ok(all),
    }
}
