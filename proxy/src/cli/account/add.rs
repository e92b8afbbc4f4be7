//! `oxpost account add`: one mailbox, with a sign-in of its own or with a delegate.

use std::time::SystemTime;

use clap::Args;
use oxpost_token_store::{Account, Grant, Mailbox, Origin, Store, StoreError, pattern};

use super::password::{DEFAULT_NAME, new_password};
use super::{apply_if_new, declared, delegate};
use crate::cli::Failed;
use crate::cli::application::{may_have_end, secret_end};
use crate::config::Config;

#[derive(Debug, Args)]
pub(in crate::cli) struct AddOptions {
    /// The mail address, such as scanner@contoso.com, or '*@contoso.com' for every mailbox of the domain that an app-only
    /// application may open
    mailbox: Mailbox,
    /// The `[[application]]` of proxy.toml to sign in with [default: the only one]
    #[arg(long)]
    application: Option<String>,
    /// How its tokens are obtained: sign-in (a user signs in once), client-credentials (app-only, no user), or password
    /// (Microsoft verifies the mail program's password: no second factor, no federated or personal accounts) [default:
    /// that of the delegate, or sign-in]
    #[arg(long)]
    grant: Option<Grant>,
    /// A user name for mail programs besides the mail address
    #[arg(long)]
    login: Option<String>,
    /// The user whose sign-in opens it, such as a member of a shared mailbox; one sign-in serves all accounts of a delegate
    #[arg(long, value_name = "ADDRESS")]
    delegate: Option<Mailbox>,
    /// The day the client secret of its application expires, as shown in Microsoft's portal
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = secret_end, conflicts_with = "delegate")]
    secret_expires: Option<SystemTime>,
    /// Create no password yet
    #[arg(long)]
    no_password: bool,
}

pub(super) async fn add(options: AddOptions, store: &Store, config: &Config) -> Result<(), Failed> {
    let AddOptions { mailbox, application, grant, login, delegate, secret_expires, no_password } = options;
    let delegate = delegate.filter(|delegate| *delegate != mailbox);
    let login = login.unwrap_or_else(|| mailbox.to_string()).to_lowercase();
    declared::not_declared(config, &mailbox)?;
    pattern::check(&mailbox, delegate.as_ref(), grant.unwrap_or(Grant::SignIn), &login)?;
    check_unused(store, &mailbox, &login).await?;
    let owner = match &delegate {
        Some(delegate) => Some(delegate_account(store, config, delegate, application.as_deref(), grant).await?),
        None => None,
    };
    let (application, grant) = match &owner {
        Some(owner) => (owner.account.application.clone(), owner.account.grant),
        None => own(config, application, grant)?,
    };
    let account = Account { delegate, login, ..Account::new(mailbox, application, grant, SystemTime::now()) };
    if secret_expires.is_some() {
        may_have_end(config, &account.application)?;
    }
    store.add_account(&account).await?;
    if let Some(expires) = secret_expires {
        store.set_secret_expiry(&account.application, expires).await?;
    }
    say(store, &account, owner, no_password).await
}

/// Before an account is added for the delegate.
async fn check_unused(store: &Store, mailbox: &Mailbox, login: &str) -> Result<(), Failed> {
    if let Some(account) = store.account(mailbox).await? {
        if account.origin == Origin::Disabled {
            return Err(Failed::new(format!(
                "{mailbox} is disabled because proxy.toml no longer declares it; its sign-in is kept. Declare it again, or remove it \
                 before you add it: oxpost account remove {mailbox}"
            )));
        }
        return Err(StoreError::AccountExists(mailbox.clone()).into());
    }
    match store.account_by_login(login).await? {
        Some(_) => Err(StoreError::LoginTaken(login.to_owned()).into()),
        None => Ok(()),
    }
}

/// The account of a delegate.
struct Delegate {
    account: Account,
    /// It was added by this command, without a password.
    new: bool,
}

/// Application and grant of an account without a delegate.
fn own(config: &Config, application: Option<String>, grant: Option<Grant>) -> Result<(String, Grant), Failed> {
    let (application, grant) = (choose_application(config, application)?, grant.unwrap_or(Grant::SignIn));
    if let Some(application) = config.applications.get(&application) {
        application.suits(grant).map_err(Failed::new)?;
    }
    Ok((application, grant))
}

/// The account of the delegate, added for the sign-in only if there is none.
async fn delegate_account(
    store: &Store,
    config: &Config,
    delegate: &Mailbox,
    application: Option<&str>,
    grant: Option<Grant>,
) -> Result<Delegate, Failed> {
    apply_if_new(store, config, delegate).await?;
    if let Some(account) = store.account(delegate).await? {
        let same = application.is_none_or(|asked| asked == account.application)
            && grant.is_none_or(|asked| asked == account.grant);
        if !same {
            return Err(Failed::new(format!(
                "the delegate {delegate} signs in with the application {} and the grant {}, and so do all accounts of this delegate. \
                 Omit --application and --grant.",
                account.application, account.grant
            )));
        }
        return Ok(Delegate { account, new: false });
    }
    if grant == Some(Grant::ClientCredentials) {
        return Err(Failed::new(
            "with client-credentials the application opens mailboxes itself, without a delegate. Omit --delegate.",
        ));
    }
    let (application, grant) = own(config, application.map(str::to_owned), grant)?;
    let account = Account::new(delegate.clone(), application, grant, SystemTime::now());
    store.add_account(&account).await?;
    Ok(Delegate { account, new: true })
}

pub(super) fn choose_application(config: &Config, asked: Option<String>) -> Result<String, Failed> {
    let names = config.applications.names();
    match (asked, names.as_slice()) {
        (Some(name), names) if names.contains(&name.as_str()) => Ok(name),
        (Some(name), names) => Err(Failed::new(format!(
            "proxy.toml has no application `{name}`; its applications: {}.",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        ))),
        (None, []) => Err(Failed::new(
            "proxy.toml has no [[application]] yet. Add one with the tenant and client id of your app registration; \
             docs/register-application.md shows how to make it.",
        )),
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => {
            Err(Failed::new(format!("choose an application with --application; proxy.toml has {}.", names.join(", "))))
        }
    }
}

async fn say(store: &Store, account: &Account, owner: Option<Delegate>, no_password: bool) -> Result<(), Failed> {
    let Account { mailbox, application, grant, .. } = account;
    match &account.delegate {
        Some(delegate) => {
            println!("Added {mailbox} with the delegate {delegate} (application {application}, {grant}).")
        }
        None => println!("Added {mailbox} (application {application}, {grant})."),
    }
    if let Some(Delegate { account: added, new: true }) = &owner {
        println!("{}", delegate::added(added));
    }
    println!();
    let holder = account.token_of();
    if mailbox.is_pattern() {
        return say_of_pattern(store, account, no_password).await;
    }
    if *grant == Grant::Password {
        println!("In the mail program, use\n");
        println!("  user name  {}", account.login);
        println!("  password   the Microsoft 365 password of {holder}\n");
        println!(
            "Microsoft verifies it. This works only without a second factor, and not for federated or personal accounts;"
        );
        println!("Microsoft advises against it. Prefer the grant sign-in where it is possible.\n");
    } else if no_password {
        println!("It has no password yet. Create one: oxpost account password add {mailbox}\n");
    } else {
        let password = new_password(store, mailbox, DEFAULT_NAME).await?;
        println!("In the mail program, use\n");
        println!("  user name  {}", account.login);
        println!("  password   {password}   (shown once)\n");
    }
    if account.sender() != mailbox {
        println!("{holder} needs Full Access to {mailbox}, and Send As to send as {mailbox} by SMTP.\n");
    }
    match grant {
        Grant::Password => println!("To test a password now: oxpost sign-in {holder}"),
        _ if store.token_state(holder).await?.has_refresh_token => {
            println!("{holder} has already signed in: {mailbox} is ready to use.");
        }
        _ => println!("Next: oxpost sign-in {}", typed(holder)),
    }
    Ok(())
}

/// One password opens all mailboxes of a domain: warn of it.
async fn say_of_pattern(store: &Store, account: &Account, no_password: bool) -> Result<(), Failed> {
    let (pattern, domain) = (typed(&account.mailbox), account.mailbox.domain());
    if no_password {
        println!(
            "It has no password: mail programs can open only mailboxes of {domain} that have an account of their own.\n"
        );
    } else {
        let password = new_password(store, &account.mailbox, DEFAULT_NAME).await?;
        println!("In the mail program, use\n");
        println!("  user name  the address of the mailbox, NAME@{domain}");
        println!("  password   {password}   (shown once)\n");
        println!(
            "Warning: this password opens every mailbox of {domain} that the application may open at Exchange. Restrict the application \
             (Add-MailboxPermission for single mailboxes, or RBAC for Applications), or remove the password: \
             oxpost account password remove {pattern}\n"
        );
    }
    println!(
        "A mailbox with an account of its own is opened by that account's password only. This applies to the exact address of the account; \
         an alias of the same mailbox counts as a different mailbox:"
    );
    println!("  oxpost account add NAME@{domain} --delegate {pattern}\n");
    println!("Next: oxpost sign-in {pattern}");
    Ok(())
}

/// As it is typed in a shell, where a star is a wildcard.
fn typed(mailbox: &Mailbox) -> String {
    if mailbox.is_pattern() { format!("'{mailbox}'") } else { mailbox.to_string() }
}
