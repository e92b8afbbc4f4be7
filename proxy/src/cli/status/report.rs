//! The state of the service and its accounts at one moment.

use std::sync::Arc;
use std::time::SystemTime;

use oxpost_token_store::store::alerts::Alert;
use oxpost_token_store::store::nodes::NodeStatus;
use oxpost_token_store::{
    Account, Applications, Block, ChangedOutside, ClockSkew, Grant, Mailbox, OpenCircuit, Origin, Store, StoreError,
    SystemClock, TokenState,
};

use super::condition::{NOT_SIGNED_IN, Severity, condition, severity, without_service};
use super::service;

use crate::admin::credential_expiry::End;
use crate::admin::notify::conditions::Topic;
use crate::admin::service_record::ServiceState;
use crate::cli::Failed;
use crate::cli::mail_use::Noticed;
use crate::cli::refused::AllRefused;
use crate::cli::times::distance;
use crate::config::Config;

/// Everything that is shown.
pub(super) struct Report {
    pub(super) now: SystemTime,
    /// Whether the service of this node runs.
    pub(super) service: ServiceState,
    /// The lines that describe it.
    pub(super) service_lines: String,
    /// Whether `[notify]` delivers alerts anywhere.
    delivers_alerts: bool,
    pub(super) accounts: Vec<Shown>,
    pub(super) notices: Vec<Alert>,
    pub(super) refused: AllRefused,
    pub(super) noticed: Noticed,
    pub(super) unreadable: Vec<String>,
    pub(super) changed: Vec<ChangedOutside>,
    pub(super) blocks: Vec<Block>,
    /// The authorities that Oxpost sends no requests to now.
    pub(super) open_circuits: Vec<OpenCircuit>,
    /// Machines whose clock is wrong.
    pub(super) clock_skews: Vec<(String, ClockSkew)>,
    /// The nodes that share the database; none with SQLite.
    pub(super) nodes: Vec<NodeStatus>,
    /// The time by the clock of the database.
    pub(super) database_now: SystemTime,
    /// Those of the configuration, with the ends of client secrets that the store knows.
    pub(super) applications: Applications,
}

/// One account.
pub(super) struct Shown {
    pub(super) account: Account,
    pub(super) state: TokenState,
    pub(super) last_login: Option<SystemTime>,
}

impl Report {
    /// `only` limits it to one account, which must exist.
    pub(super) async fn read(
        store: &Store,
        config: &Config,
        only: Option<&Mailbox>,
        now: SystemTime,
    ) -> Result<Self, Failed> {
        let listed = match only {
            Some(mailbox) => vec![the_account(store, mailbox).await?],
            None => store.accounts().await?,
        };
        let mut accounts = Vec::new();
        for account in listed {
            // One account that was damaged, or removed at this very moment, must not hide the others.
            let state = match store.token_state(account.token_of()).await {
                Err(StoreError::NoSuchAccount(_)) => TokenState::default(),
                state => state?,
            };
            let last_login = last_login(store, &account).await?;
            accounts.push(Shown { account, state, last_login });
        }
        let refused = AllRefused::of(store, accounts.iter().map(|shown| &shown.account)).await?;
        let unreadable = store.unreadable_accounts().await?;
        let database_now = store.clock(Arc::new(SystemClock)).now();
        let service = ServiceState::read(&config.own_files);
        Ok(Self {
            service_lines: service::lines(&service, &config.file, &config.store.to_string(), now),
            service,
            delivers_alerts: config.notify.webhook.is_some() || config.notify.command.is_some(),
            nodes: store.node_statuses().await?,
            database_now,
            now,
            accounts,
            refused,
            notices: store.alerts().await?,
            noticed: Noticed::read(store, now).await?,
            changed: changed(store, &unreadable).await?,
            unreadable,
            blocks: store.blocks(now).await?,
            open_circuits: store.open_circuits(database_now).await?,
            clock_skews: clock_skews(store, config).await?,
            applications: config.applications.with_secret_expiries(&store.secret_expiries().await?),
        })
    }

    /// The expiry of the credential of an account's application.
    pub(super) fn end(&self, account: &Account) -> Option<End<'_>> {
        End::of(self.applications.get(&account.application)?, self.now)
    }

    pub(super) fn condition(&self, shown: &Shown) -> &'static str {
        let of_the_tokens = condition(&shown.account, &shown.state, self.end(&shown.account).as_ref(), self.now);
        let state = self.refused.state(&shown.account, of_the_tokens);
        if self.service == ServiceState::Stopped { without_service(state) } else { state }
    }

    /// Why an administrator must look at it, if so.
    pub(super) fn needs_attention(&self) -> Option<String> {
        let bad = self.accounts.iter().filter(|shown| severity(self.condition(shown)) == Severity::Bad).count();
        let accounts = match (bad.saturating_add(self.unreadable.len()), self.accounts.as_slice()) {
            (0, _) => None,
            (_, [only]) => Some(format!("{} needs attention", only.account.mailbox)),
            (1, _) => Some("1 account needs attention".to_owned()),
            (bad, _) => Some(format!("{bad} accounts need attention")),
        };
        let changed = (!self.changed.is_empty()).then(|| "the database was changed outside Oxpost".to_owned());
        let reasons: Vec<String> = match self.service {
            ServiceState::Stopped => vec!["the service is not running".to_owned()],
            ServiceState::Running(_) | ServiceState::Unknown(_) => accounts.into_iter().chain(changed).collect(),
        };
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// The problem of one account, for the text below the table.
    pub(super) fn problem(&self, shown: &Shown) -> Option<String> {
        let Shown { account, state, .. } = shown;
        let mailbox = &account.mailbox;
        let needed = self
            .accounts
            .iter()
            .any(|other| other.account.origin != Origin::Disabled && other.account.delegate.as_ref() == Some(mailbox));
        if account.origin == Origin::Disabled && !needed {
            return Some(format!(
                "{mailbox}: disabled because proxy.toml no longer declares it; its sign-in is kept. Declare it again, or remove it: \
                 oxpost account remove {mailbox}"
            ));
        }
        // An account with a delegate has no token of its own.
        if account.delegate.is_some() {
            return None;
        }
        if let Some(error) = &state.last_error {
            let notified = self.notified(account);
            return Some(format!("{mailbox} ({}): {}{notified}", distance(Some(error.at), self.now), error.text));
        }
        (self.condition(shown) == NOT_SIGNED_IN).then(|| {
            let or = if account.grant == Grant::Password { "log in with the mail program, or " } else { "" };
            format!("{mailbox}: {or}run `oxpost sign-in {mailbox}`.")
        })
    }

    /// When the last notification of this error was delivered.
    fn notified(&self, account: &Account) -> String {
        let open = self.notices.iter().find(|notice| {
            notice.subject == account.mailbox.as_str()
                && notice.topic == Topic::Tokens.as_str()
                && notice.resolved.is_none()
        });
        let notified = open.and_then(|notice| notice.notified);
        match notified {
            Some(_) if !self.delivers_alerts => " (Logged only: [notify] is empty.)".to_owned(),
            Some(at) => format!(" (Notified {}.)", distance(Some(at), self.now)),
            None => String::new(),
        }
    }

    /// The warnings about accounts; those about applications are printed with their expiries.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &Alert> {
        let of_an_account =
            |notice: &&Alert| self.accounts.iter().any(|shown| shown.account.mailbox.as_str() == notice.subject);
        let open = |notice: &&Alert| notice.topic == Topic::End.as_str() && notice.resolved.is_none();
        self.notices.iter().filter(open).filter(of_an_account)
    }
}

/// What the services have noted, and what this process sees of the clock of its own machine.
async fn clock_skews(store: &Store, config: &Config) -> Result<Vec<(String, ClockSkew)>, Failed> {
    let mut skews = store.clock_skews().await?;
    if let Some(own) = store.clock_skew()
        && !skews.iter().any(|(host, skew)| *host == config.host_name && skew.peer == own.peer)
    {
        skews.push((config.host_name.clone(), own));
    }
    Ok(skews)
}

/// The user of an account was renamed. Accounts of this delegate use the same tokens.
pub(super) fn renamed(shown: &Shown) -> Option<String> {
    let Shown { account, state, .. } = shown;
    let name = state.renamed_to.as_ref().filter(|_| account.delegate.is_none())?;
    Some(format!(
        "{}: renamed to {name} in Microsoft Entra. Oxpost logs in at mail servers with the new name; mail programs still log in as {}.",
        account.mailbox, account.login
    ))
}

/// What was changed outside Oxpost, except rows that cannot be read.
async fn changed(store: &Store, unreadable: &[String]) -> Result<Vec<ChangedOutside>, Failed> {
    let mut changed = store.audit_access().await?.changed;
    changed.retain(|one| one.mailbox.as_ref().is_none_or(|mailbox| !unreadable.contains(mailbox)));
    Ok(changed)
}

async fn the_account(store: &Store, mailbox: &Mailbox) -> Result<Account, Failed> {
    let found = store.account(mailbox).await?;
    found.ok_or_else(|| {
        Failed::new(format!(
            "there is no account {mailbox}. `oxpost account list` shows all; add it: oxpost account add {mailbox}"
        ))
    })
}

async fn last_login(store: &Store, account: &Account) -> Result<Option<SystemTime>, Failed> {
    let with_ours = store.passwords(&account.mailbox).await?.iter().filter_map(|password| password.last_used).max();
    Ok(with_ours.max(store.last_remote_login(account.token_of()).await?))
}
