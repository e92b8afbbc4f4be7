//! The state of all accounts at one moment, and its text for a terminal.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use oxpost_token_store::store::alerts::Alert;
use oxpost_token_store::store::nodes::NodeStatus;
use oxpost_token_store::{
    Account, Applications, Block, ChangedOutside, ClockSkew, Grant, OpenCircuit, Origin, Store, StoreError,
    SystemClock, TokenState,
};

use super::condition::{NOT_SIGNED_IN, condition};

use crate::admin::credential_expiry::{self, End};
use crate::admin::notify::trouble::Topic;
use crate::admin::{circuit_report, clock_report, node_report};
use crate::cli::mail_use::Noticed;
use crate::cli::refused::AllRefused;
use crate::cli::table::table;
use crate::cli::times::distance;
use crate::cli::{Failed, block, nodes};
use crate::config::Config;

/// Everything that is shown.
pub(super) struct Report {
    pub(super) now: SystemTime,
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
    database_now: SystemTime,
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
    pub(super) async fn read(store: &Store, config: &Config, now: SystemTime) -> Result<Self, Failed> {
        let mut accounts = Vec::new();
        for account in store.accounts().await? {
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
        Ok(Self {
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
        self.refused.state(&shown.account, of_the_tokens)
    }

    fn row(&self, shown: &Shown) -> Vec<String> {
        let Shown { account, state, last_login } = shown;
        vec![
            account.mailbox.to_string(),
            self.condition(shown).to_owned(),
            account.grant.to_string(),
            account.delegate.as_ref().map_or_else(|| "-".into(), ToString::to_string),
            state.signed_in_as.clone().unwrap_or_else(|| "-".into()),
            distance(state.access_token_expires, self.now),
            distance(state.next_refresh, self.now),
            self.end(account).map_or_else(|| "-".into(), |end| end.days()),
            distance(*last_login, self.now),
        ]
    }

    /// The problem of one account, for the text below the table.
    fn problem(&self, shown: &Shown) -> Option<String> {
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
        notified.map(|at| format!(" (Notified {}.)", distance(Some(at), self.now))).unwrap_or_default()
    }

    /// The warnings about accounts; those about applications are printed with their expiries.
    fn warnings(&self) -> impl Iterator<Item = &Alert> {
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
fn renamed(shown: &Shown) -> Option<String> {
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

async fn last_login(store: &Store, account: &Account) -> Result<Option<SystemTime>, Failed> {
    let with_ours = store.passwords(&account.mailbox).await?.iter().filter_map(|password| password.last_used).max();
    Ok(with_ours.max(store.last_remote_login(account.token_of()).await?))
}

const HEADER: [&str; 9] = [
    "MAILBOX",
    "STATE",
    "GRANT",
    "DELEGATE",
    "SIGNED IN AS",
    "TOKEN EXPIRES",
    "NEXT REFRESH",
    "SECRET EXPIRES",
    "LAST LOGIN",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.accounts.is_empty() && self.unreadable.is_empty() {
            return writeln!(f, "There are no accounts yet. Add one: oxpost account add ADDRESS");
        }
        let rows: Vec<Vec<String>> = self.accounts.iter().map(|shown| self.row(shown)).collect();
        f.write_str(&table(&HEADER, &rows))?;
        for open in &self.open_circuits {
            writeln!(f, "\n{}", circuit_report::sentence(open, &self.applications))?;
        }
        if !self.nodes.is_empty() {
            write!(f, "\n{}", nodes::shown(&self.nodes, self.database_now))?;
        }
        if let Some(disagreement) = node_report::disagreement(&self.nodes) {
            writeln!(f, "\n{disagreement}")?;
        }
        for (host, skew) in &self.clock_skews {
            writeln!(f, "\n{}", clock_report::sentence(host, skew))?;
        }
        for end in credential_expiry::ends(&self.applications, self.now) {
            writeln!(f, "\n{end}.")?;
        }
        for sentence in credential_expiry::next_secrets(&self.applications) {
            writeln!(f, "\n{sentence}")?;
        }
        for problem in self.accounts.iter().filter_map(|shown| self.problem(shown)) {
            writeln!(f, "\n{problem}")?;
        }
        for renamed in self.accounts.iter().filter_map(renamed) {
            writeln!(f, "\n{renamed}")?;
        }
        for shown in self.accounts.iter().filter(|shown| shown.account.origin != Origin::Disabled) {
            for line in self.refused.lines(&shown.account, |one| distance(Some(one.at), self.now)) {
                writeln!(f, "\n{line}")?;
            }
        }
        for notice in self.warnings() {
            writeln!(f, "\n{} {}", notice.what, notice.remedy)?;
        }
        for sentence in self.noticed.sentences(self.now) {
            writeln!(f, "\n{sentence}")?;
        }
        for changed in &self.changed {
            writeln!(f, "\n{changed}, in the database and not by Oxpost. See `oxpost store confirm`.")?;
        }
        for mailbox in &self.unreadable {
            writeln!(
                f,
                "\n{mailbox}: its record in the store is damaged. Run `oxpost account remove {mailbox}`, then add it again."
            )?;
        }
        if !self.blocks.is_empty() {
            let blocks = block::shown(&self.blocks, self.now);
            write!(
                f,
                "\nBlocked after too many failed logins; lift a block with `oxpost block lift ADDRESS`:\n{blocks}"
            )?;
        }
        Ok(())
    }
}
