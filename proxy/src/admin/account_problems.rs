//! What keeps accounts from working although the service starts: `check` fails with it, and `run` logs it and serves the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use oxpost_token_store::{Account, Applications, Credential, Declared, Grant, Origin, Store, StoreError, TokenSource};

use super::credential_expiry;
use crate::config::Config;

/// The most accounts that one sentence names.
const NAMED: usize = 5;

/// The sentences, each with its remedy. `applications` has the expiries that the store knows.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn account_problems(
    config: &Config,
    applications: &Applications,
    store: Option<&Store>,
    now: SystemTime,
) -> Result<Vec<String>, StoreError> {
    let mut problems = Vec::new();
    if let Some(store) = store {
        for changed in store.audit_access().await?.changed {
            problems.push(format!(
                "access data in the database was changed outside Oxpost: {changed}. `oxpost store confirm` shows all changes; \
                 `oxpost store undo` reverts them."
            ));
        }
        let accounts = store.accounts().await?;
        let added = accounts.iter().filter(|account| account.origin == Origin::Command).map(Used::of);
        // A declared account is as the file says, also before the service has taken it over.
        let declared = config.accounts.iter().filter_map(|account| Used::of_declared(&account.declared));
        let used: Vec<Used<'_>> = added.chain(declared).collect();
        problems.extend(without_application(config, &used));
        for account in &used {
            let Some(application) = applications.get(account.application) else { continue };
            if let Err(problem) = application.suits(account.grant) {
                problems.push(format!("{}: {problem}", account.mailbox));
            }
        }
        problems.extend(without_secret(applications, &used, store).await?);
    }
    for name in applications.names() {
        let Some(application) = applications.get(name) else { continue };
        if let Credential::Federated(token) = &application.credential
            && let Err(problem) = token.read(name).await
        {
            problems.push(problem.to_string());
        }
    }
    for end in credential_expiry::ends(applications, now).iter().filter(|end| end.has_passed()) {
        problems.push(format!("{end}."));
    }
    Ok(problems)
}

/// What an account needs of its application.
struct Used<'a> {
    mailbox: &'a str,
    application: &'a str,
    grant: Grant,
}

impl<'a> Used<'a> {
    fn of(account: &'a Account) -> Self {
        Self { mailbox: account.mailbox.as_str(), application: &account.application, grant: account.grant }
    }

    /// `None`: its tokens are those of its delegate.
    fn of_declared(account: &'a Declared) -> Option<Self> {
        match &account.token_source {
            TokenSource::Own { application, grant } => {
                Some(Self { mailbox: account.mailbox.as_str(), application, grant: *grant })
            }
            TokenSource::Delegate(_) => None,
        }
    }
}

/// Accounts whose `[[application]]` is not in the file.
fn without_application(config: &Config, accounts: &[Used<'_>]) -> Vec<String> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for account in accounts.iter().filter(|account| config.applications.get(account.application).is_none()) {
        missing.entry(account.application).or_default().insert(account.mailbox);
    }
    let sentence = |(application, accounts): (&str, BTreeSet<&str>)| {
        format!(
            "{} has no [[application]] named `{application}`, and these accounts cannot log in without it: {}. Add it again, or remove each \
             account: `oxpost account remove ADDRESS`.",
            config.file.display(),
            named(&accounts)
        )
    };
    missing.into_iter().map(sentence).collect()
}

/// Accounts of applications that must prove themselves and have no client secret, or one that does not open.
async fn without_secret(
    applications: &Applications,
    accounts: &[Used<'_>],
    store: &Store,
) -> Result<Vec<String>, StoreError> {
    let mut problems = Vec::new();
    for name in applications.names() {
        let Some(application) = applications.get(name) else { continue };
        if !matches!(application.credential, Credential::Secret) || application.client_secret.is_some() {
            continue;
        }
        let of_it = accounts.iter().filter(|account| account.application == application.name);
        let app_only: BTreeSet<&str> =
            of_it.filter(|account| account.grant == Grant::ClientCredentials).map(|account| account.mailbox).collect();
        let is_stored = store.has_client_secret(name).await?;
        if is_stored && store.client_secret(name).await?.is_none() {
            problems.push(format!(
                "the stored client secret of the application {name} does not open: its row is damaged. Store it again: `oxpost application \
                 secret {name}`."
            ));
        } else if !is_stored && !app_only.is_empty() {
            problems.push(format!(
                "the application {name} has no client secret, and these accounts cannot log in without one: {}. Store it: `oxpost \
                 application secret {name}`.",
                named(&app_only)
            ));
        }
    }
    Ok(problems)
}

/// Some of the accounts, and how many more there are.
fn named(accounts: &BTreeSet<&str>) -> String {
    let some: Vec<&str> = accounts.iter().take(NAMED).copied().collect();
    match accounts.len().saturating_sub(NAMED) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}
