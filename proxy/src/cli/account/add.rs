//! `oxpost account add`: one mailbox, with a sign-in of its own or through somebody else's.

use std::time::SystemTime;

use clap::Args;
use oxpost_token_store::{Account, Grant, Mailbox, Origin, Store, StoreError, pattern};

use super::password::{DEFAULT_NAME, new_password};
use super::{apply_if_new, declared, through};
use crate::cli::Failed;
use crate::cli::application::{may_have_end, secret_end};
use crate::config::Config;

#[derive(Debug, Args)]
pub(in crate::cli) struct AddOptions {
    /// The mail address, such as scanner@contoso.com, or '*@contoso.com' for every mailbox of the domain that an app-only
    /// application may open
    mailbox: Mailbox,
    /// The application in proxy.toml it signs in with [default: the only one]
    #[arg(long)]
    application: Option<String>,
    /// How its tokens are got: sign-in (a person signs in once), client-credentials (app-only, no person), or password
    /// (Microsoft judges the mail program's password: no second factor, no federated and no personal accounts) [default:
    /// sign-in, or that of the account it goes through]
    #[arg(long)]
    grant: Option<Grant>,
    /// The user name mail programs send [default: the mail address, which always works too]
    #[arg(long)]
    login: Option<String>,
    /// Who signs in for it, such as a member of a shared mailbox; one sign-in serves all mailboxes that go through them
    #[arg(long, value_name = "ADDRESS")]
    through: Option<Mailbox>,
    /// The day the client secret of its application ends, as Microsoft shows it beside the secret
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = secret_end, conflicts_with = "through")]
    secret_expires: Option<SystemTime>,
    /// Make no password yet
    #[arg(long)]
    no_password: bool,
}

pub(super) async fn add(options: AddOptions, store: &Store, config: &Config) -> Result<(), Failed> {
    let AddOptions { mailbox, application, grant, login, through, secret_expires, no_password } = options;
    let through = through.filter(|through| *through != mailbox);
    let login = login.unwrap_or_else(|| mailbox.to_string()).to_lowercase();
    declared::not_declared(config, &mailbox)?;
    pattern::check(&mailbox, through.as_ref(), grant.unwrap_or(Grant::SignIn), &login)?;
    nobody_has(store, &mailbox, &login).await?;
    let person = match &through {
        Some(through) => Some(person(store, config, through, application.as_deref(), grant).await?),
        None => None,
    };
    let (application, grant) = match &person {
        Some(person) => (person.account.application.clone(), person.account.grant),
        None => own(config, application, grant)?,
    };
    let account = Account { delegate: through, login, ..Account::new(mailbox, application, grant, SystemTime::now()) };
    if secret_expires.is_some() {
        may_have_end(config, &account.application)?;
    }
    store.add_account(&account).await?;
    if let Some(expires) = secret_expires {
        store.set_secret_expiry(&account.application, expires).await?;
    }
    say(store, &account, person, no_password).await
}

/// Before the person it goes through is added for nothing.
async fn nobody_has(store: &Store, mailbox: &Mailbox, login: &str) -> Result<(), Failed> {
    if let Some(account) = store.account(mailbox).await? {
        if account.origin == Origin::Disabled {
            return Err(Failed::new(format!(
                "{mailbox} was declared in proxy.toml and is disabled, and its sign-in is kept. Declare it again, or remove it for good \
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

/// Whoever signs in for others.
struct Person {
    account: Account,
    /// They were added just now, without a password.
    new: bool,
}

/// Application and grant of an account that goes through no other.
fn own(config: &Config, application: Option<String>, grant: Option<Grant>) -> Result<(String, Grant), Failed> {
    let (application, grant) = (choose_application(config, application)?, grant.unwrap_or(Grant::SignIn));
    if let Some(application) = config.applications.get(&application) {
        application.suits(grant).map_err(Failed::new)?;
    }
    Ok((application, grant))
}

/// The account that another one is to go through. A person who has none gets one that only signs in.
async fn person(
    store: &Store,
    config: &Config,
    through: &Mailbox,
    application: Option<&str>,
    grant: Option<Grant>,
) -> Result<Person, Failed> {
    apply_if_new(store, config, through).await?;
    if let Some(account) = store.account(through).await? {
        let same = application.is_none_or(|asked| asked == account.application)
            && grant.is_none_or(|asked| asked == account.grant);
        if !same {
            return Err(Failed::new(format!(
                "{through} signs in with the application {} and the grant {}, and so does whatever goes through {through}. Leave \
                 --application and --grant out.",
                account.application, account.grant
            )));
        }
        return Ok(Person { account, new: false });
    }
    if grant == Some(Grant::ClientCredentials) {
        return Err(Failed::new(format!(
            "with client-credentials the application opens mailboxes itself, and {through} need not sign in. Leave --through out."
        )));
    }
    let (application, grant) = own(config, application.map(str::to_owned), grant)?;
    let account = Account::new(through.clone(), application, grant, SystemTime::now());
    store.add_account(&account).await?;
    Ok(Person { account, new: true })
}

pub(super) fn choose_application(config: &Config, asked: Option<String>) -> Result<String, Failed> {
    let names = config.applications.names();
    match (asked, names.as_slice()) {
        (Some(name), names) if names.contains(&name.as_str()) => Ok(name),
        (Some(name), names) => Err(Failed::new(format!(
            "proxy.toml has no application `{name}`; it has {}.",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        ))),
        (None, []) => Err(Failed::new(
            "proxy.toml has no [[application]] yet. Add one with the tenant and client id of your app registration; \
             docs/register-application.md shows how to make it.",
        )),
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => {
            Err(Failed::new(format!("name the application with --application; proxy.toml has {}.", names.join(", "))))
        }
    }
}

async fn say(store: &Store, account: &Account, person: Option<Person>, no_password: bool) -> Result<(), Failed> {
    let Account { mailbox, application, grant, .. } = account;
    match &account.delegate {
        Some(through) => println!("Added {mailbox}, opened through {through} (application {application}, {grant})."),
        None => println!("Added {mailbox} (application {application}, {grant})."),
    }
    if let Some(Person { account: person, new: true }) = &person {
        println!("{}", through::added(person));
    }
    println!();
    let holder = account.token_of();
    if mailbox.is_pattern() {
        return say_of_pattern(store, account, no_password).await;
    }
    if *grant == Grant::Password {
        println!("In the mail program, use\n");
        println!("  user name  {}", account.login);
        println!("  password   that of {holder} at Microsoft 365\n");
        println!(
            "Microsoft judges it. That works without a second factor only, and not for federated or personal accounts;"
        );
        println!("Microsoft advises against it. Where the grant sign-in is possible, it is the better one.\n");
    } else if no_password {
        println!("It has no password yet; `oxpost account password add {mailbox}` makes one.\n");
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
        Grant::Password => println!("To try a password now: oxpost sign-in {holder}"),
        _ if store.token_state(holder).await?.has_refresh_token => {
            println!("{holder} has signed in already: {mailbox} can be used at once.");
        }
        _ => println!("Next: oxpost sign-in {}", typed(holder)),
    }
    Ok(())
}

/// One password, and then, for all of a domain: that is a danger to be told.
async fn say_of_pattern(store: &Store, account: &Account, no_password: bool) -> Result<(), Failed> {
    let (pattern, domain) = (typed(&account.mailbox), account.mailbox.domain());
    if no_password {
        println!("It has no password: only mailboxes of {domain} that get an account of their own can be opened.\n");
    } else {
        let password = new_password(store, &account.mailbox, DEFAULT_NAME).await?;
        println!("In the mail program, use\n");
        println!("  user name  the address of the mailbox, NAME@{domain}");
        println!("  password   {password}   (shown once)\n");
        println!(
            "Danger: whoever knows this password opens every mailbox of {domain} that the application may open at Exchange. Let it open \
             few (Add-MailboxPermission for single ones, or RBAC for Applications), or do without such a password: \
             oxpost account password remove {pattern}\n"
        );
    }
    println!(
        "A mailbox with an account of its own is opened by that one's password, and not by this one. That holds for its address as it is \
         written there; another address of the same mailbox (an alias) is another one here:"
    );
    println!("  oxpost account add NAME@{domain} --through {pattern}\n");
    println!("Next: oxpost sign-in {pattern}");
    Ok(())
}

/// As it is typed in a shell, to which a star means something else.
fn typed(mailbox: &Mailbox) -> String {
    if mailbox.is_pattern() { format!("'{mailbox}'") } else { mailbox.to_string() }
}
