//! `oxpost import FILE`: from another program's configuration to this one's.
//!
//! First it says what it will do, then it asks for the old passwords, and only then it writes something:
//! proxy.toml only where there is none, accounts only where there are none, and a sign-in only where there is none.
//! So it can be run again at any time, and continues where it was.

mod apply;
mod passwords;
mod report;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use oxpost_token_store::text_file::{Text, TextFile};
use oxpost_token_store::{Credential, Grant, Store, StoreError};

use super::Failed;
use crate::admin::import::{self, FILE_LIMIT, Missing, Plan, Present};
use crate::admin::reconcile;
use crate::config::Config;
use crate::context::{open_existing_store, open_store};

#[derive(Debug, Args)]
pub(super) struct ImportOptions {
    /// The other program's configuration: emailproxy.config, or davmail.properties
    file: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Write what belongs into proxy.toml to this new file, and do nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    output: Option<PathBuf>,
    /// The second file of an email-oauth2-proxy that was started with its own --cache-store
    #[arg(long, value_name = "FILE")]
    cache_store: Option<PathBuf>,
    /// Let mail programs keep the passwords they have, where the old password is known, instead of making new ones
    #[arg(long)]
    keep_passwords: bool,
}

/// What is done with one account of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// It is added.
    Add,
    /// It exists without a sign-in: its refresh token is imported.
    SignIn,
    /// It stays as it is, because of this.
    Stays(String),
    /// Its application must be added to proxy.toml first.
    Waits,
}

/// A plan, measured against what is there.
struct Work {
    plan: Plan,
    missing: Missing,
    steps: Vec<Step>,
    /// For each application, whether it has nothing yet to prove itself with.
    secretless: Vec<bool>,
    keep_passwords: bool,
}

pub(super) async fn import(options: &ImportOptions, path: &Path) -> Result<(), Failed> {
    let plan = read(options, path)?;
    let present = match std::fs::symlink_metadata(path) {
        Ok(_) => Some(Config::load_with_text(path)?),
        Err(_) => None,
    };
    let beside = present.as_ref().map(|(config, text)| Present { text: text.reveal(), config });
    let missing = Missing::of(&plan, beside, &options.file);
    let acts = !options.dry_run && options.output.is_none();
    let store = match &present {
        // A command that only shows creates no store.
        Some((config, _)) if acts => Some(open_store(config).await?),
        Some((config, _)) => open_existing_store(config).await?,
        None => None,
    };
    let config = present.as_ref().map(|(config, _)| config);
    let steps = steps(&plan, &missing, config, store.as_ref()).await?;
    let secretless = secretless(&plan, &missing, config, store.as_ref()).await?;
    let work = Work { plan, missing, steps, secretless, keep_passwords: options.keep_passwords };
    report::plan(&work, options, present.is_some());
    if options.dry_run {
        report::text(&work, path, present.is_some());
        println!("Dry run: nothing was changed.");
        return Ok(());
    }
    if let Some(output) = &options.output {
        return write_output(&work, output);
    }
    let opened = passwords::ask(&work)?;
    let config = match present {
        Some((config, _)) => {
            report::text(&work, path, true);
            config
        }
        None => {
            write_new(path, &work.missing.text)?;
            println!("Wrote {}.", path.display());
            Config::load(path)?
        }
    };
    let store = match store {
        Some(store) => store,
        None => open_store(&config).await?,
    };
    apply::apply(&work, &opened, &store).await?;
    report::next(&work, path)
}

fn read(options: &ImportOptions, path: &Path) -> Result<Plan, Failed> {
    let failed = |file: &Path, error: &dyn std::fmt::Display| Failed::new(format!("{}: {error}", file.display()));
    // Properties of Java are in ISO 8859-1 unless they say otherwise.
    let text = |file: &Path| {
        let text = TextFile::open(file).and_then(|file| file.text_or_latin1(FILE_LIMIT));
        text.map_err(|error| Failed::new(format!("{}.", error.about("the configuration"))))
    };
    let main = text(&options.file)?;
    let cache = options.cache_store.as_deref().map(text).transpose()?;
    let folder = options.file.parent().unwrap_or(Path::new(""));
    let mut plan = import::read(main.reveal(), cache.as_ref().map(Text::reveal), folder)
        .map_err(|error| failed(&options.file, &error))?;
    plan.fit(path);
    Ok(plan)
}

async fn steps(
    plan: &Plan,
    missing: &Missing,
    config: Option<&Config>,
    store: Option<&Store>,
) -> Result<Vec<Step>, Failed> {
    let mut steps = Vec::new();
    for account in &plan.accounts {
        let application = missing.applications.get(account.application).and_then(Option::as_ref);
        let Some(application) = application.filter(|application| application.usable) else {
            steps.push(Step::Waits);
            continue;
        };
        if let Some(place) = config.and_then(|config| reconcile::place(config, &account.mailbox)) {
            steps.push(Step::Stays(format!("{place} declares it")));
            continue;
        }
        let there = match store {
            None => Ok(None),
            Some(store) => store.account_by_login(account.mailbox.as_str()).await,
        };
        let there = match there {
            Err(StoreError::Unreadable { what, remedy }) => {
                steps.push(Step::Stays(format!("the stored {what} is damaged; {remedy}")));
                continue;
            }
            there => there?,
        };
        let (Some(store), Some(there)) = (store, there) else {
            steps.push(Step::Add);
            continue;
        };
        let same = there.application == application.name && there.grant == account.grant;
        steps.push(if there.mailbox != account.mailbox {
            Step::Stays(format!("the account {} uses it as its login name", there.mailbox))
        } else if same
            && account.grant == Grant::SignIn
            && account.sealed.as_ref().is_some_and(|sealed| sealed.refresh_token.is_some())
            && !store.token_state(&account.mailbox).await?.has_refresh_token
        {
            Step::SignIn
        } else {
            Step::Stays("it already exists".to_owned())
        });
    }
    Ok(steps)
}

/// A client secret of the file is taken only where there is nothing yet.
async fn secretless(
    plan: &Plan,
    missing: &Missing,
    config: Option<&Config>,
    store: Option<&Store>,
) -> Result<Vec<bool>, Failed> {
    let mut secretless = Vec::new();
    for (application, named) in plan.applications.iter().zip(&missing.applications) {
        let name = named.as_ref().map_or("", |named| named.name.as_str());
        let there = config.and_then(|config| config.applications.get(name));
        let mut has_none =
            there.is_none_or(|there| there.client_secret.is_none() && matches!(there.credential, Credential::Secret));
        has_none &= application.certificate.is_none();
        if let Some(store) = store.filter(|_| has_none) {
            has_none = store.client_secret(name).await?.is_none();
        }
        secretless.push(has_none);
    }
    Ok(secretless)
}

fn write_output(work: &Work, output: &Path) -> Result<(), Failed> {
    if work.missing.text.is_empty() {
        println!("proxy.toml already contains everything; {} was not written.", output.display());
        return Ok(());
    }
    write_new(output, &work.missing.text)?;
    println!("Wrote {}; nothing else was changed.", output.display());
    Ok(())
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> Result<(), Failed> {
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return Failed::new(format!(
                "{} already exists and is never overwritten; nothing was changed.",
                path.display()
            ));
        }
        Failed::new(format!("{} cannot be written: {error}.", path.display()))
    };
    let mut file = File::options().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a configuration would obstruct the next attempt.
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}
