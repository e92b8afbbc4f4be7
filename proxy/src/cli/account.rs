//! `oxpost account …`

use std::time::SystemTime;

use clap::Subcommand;
use oxpost_token_store::{Account, Grant, LocalPassword, Mailbox, Store};

use super::Failed;
use super::table::table;
use crate::config::Config;
use crate::gateway::open_store;

/// The name of a password when none is given.
pub(super) const DEFAULT_PASSWORD: &str = "default";

/// Longest name of a password, in characters.
const PASSWORD_NAME_LIMIT: usize = 64;

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Add an account and print its password for mail programs (shown once; none with --grant password)
    Add {
        /// The mail address, such as scanner@contoso.com
        mailbox: Mailbox,
        /// The application in proxy.toml it signs in with [default: the only one]
        #[arg(long)]
        application: Option<String>,
        /// How its tokens are got: sign-in (a person signs in once), client-credentials (app-only, no person), or password
        /// (Microsoft judges the mail program's password: no second factor, no federated and no personal accounts)
        #[arg(long, default_value = "sign-in")]
        grant: Grant,
        /// The user name mail programs send [default: the mail address, which always works too]
        #[arg(long)]
        login: Option<String>,
        /// Somebody else who may sign in for it, such as a member of a shared mailbox; can be given several times
        #[arg(long, value_name = "ADDRESS")]
        delegate: Vec<Mailbox>,
        /// Who sends by SMTP, also a delegate [default: whoever signs in]
        #[arg(long, value_name = "ADDRESS")]
        smtp_user: Option<Mailbox>,
    },
    /// Say who else may sign in for an account, such as a member of a shared mailbox
    Delegate {
        /// The mail address of the account
        mailbox: Mailbox,
        /// Who may sign in for it
        delegate: Mailbox,
        /// Take it back
        #[arg(long)]
        remove: bool,
    },
    /// List the accounts
    List,
    /// Remove an account with its passwords and tokens
    Remove {
        /// The mail address
        mailbox: Mailbox,
    },
    /// Make a new password for mail programs (shown once); the old one of the same name stops working
    Password {
        /// The mail address
        mailbox: Mailbox,
        /// A name to tell several passwords apart, such as the device that has it
        #[arg(long, default_value = DEFAULT_PASSWORD, value_parser = password_name)]
        name: String,
        /// Remove the password of this name instead
        #[arg(long)]
        revoke: bool,
    },
}

pub(super) async fn run(command: AccountCommand, config: &Config) -> Result<(), Failed> {
    let store = open_store(config).await?;
    match command {
        AccountCommand::Add { mailbox, application, grant, login, mut delegate, smtp_user } => {
            let application = choose_application(config, application)?;
            if let Some(application) = config.applications.get(&application) {
                application.suits(grant).map_err(Failed::new)?;
            }
            delegate.splice(0..0, smtp_user.clone());
            // Exchange takes a person's token by SMTP from that person alone.
            let sender = if grant == Grant::ClientCredentials { smtp_user.as_ref() } else { delegate.first() };
            let smtp_user = sender.map(Mailbox::to_string);
            let login = login.unwrap_or_else(|| mailbox.to_string()).to_lowercase();
            let created = SystemTime::now();
            let account = Account { mailbox, application, grant, login, smtp_user, created };
            add(&store, account, &delegate).await
        }
        AccountCommand::List => list(&store).await,
        AccountCommand::Delegate { mailbox, delegate, remove } => {
            set_delegate(&store, &mailbox, &delegate, remove).await
        }
        AccountCommand::Remove { mailbox } => remove(&store, &mailbox).await,
        AccountCommand::Password { mailbox, name, revoke: true } => revoke(&store, &mailbox, &name).await,
        AccountCommand::Password { mailbox, name, revoke: false } => {
            let account = known(&store, &mailbox).await?;
            if account.grant == Grant::Password {
                return Err(Failed::new(format!(
                    "{mailbox} has the grant password: Microsoft judges its password, and Oxpost gives it none. Use the one of \
                     Microsoft 365 in the mail program, or add the account again with another grant."
                )));
            }
            let password = new_password(&store, &mailbox, &name).await?;
            println!("New password `{name}` for {mailbox} (shown once):\n\n  {password}\n");
            Ok(())
        }
    }
}

/// A name that can be typed again to revoke the password.
fn password_name(name: &str) -> Result<String, String> {
    let name = name.trim();
    let plain = !name.is_empty() && name.chars().count() <= PASSWORD_NAME_LIMIT && !name.chars().any(char::is_control);
    plain.then(|| name.to_owned()).ok_or_else(|| format!("a name has 1 to {PASSWORD_NAME_LIMIT} characters"))
}

/// The account, or the sentence for a person who mistyped it.
pub(super) async fn known(store: &Store, mailbox: &Mailbox) -> Result<Account, Failed> {
    store.account(mailbox).await?.ok_or_else(|| {
        Failed::new(format!(
            "there is no account {mailbox}. `oxpost account list` shows those there are; `oxpost account add {mailbox}` adds it."
        ))
    })
}

fn choose_application(config: &Config, asked: Option<String>) -> Result<String, Failed> {
    let names = config.applications.names();
    match (asked, names.as_slice()) {
        (Some(name), names) if names.contains(&name.as_str()) => Ok(name),
        (Some(name), names) => Err(Failed::new(format!(
            "proxy.toml has no application `{name}`; it has {}.",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        ))),
        (None, []) => Err(Failed::new(
            "proxy.toml has no [[application]] yet. Add one with the tenant and client id of your app registration; README.md \
             shows how to make it.",
        )),
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => {
            Err(Failed::new(format!("name the application with --application; proxy.toml has {}.", names.join(", "))))
        }
    }
}

async fn add(store: &Store, account: Account, delegates: &[Mailbox]) -> Result<(), Failed> {
    store.add_account(&account).await?;
    for delegate in delegates {
        store.add_delegate(&account.mailbox, delegate).await?;
    }
    if account.grant == Grant::Password {
        say_what_the_password_grant_is(&account);
        return Ok(());
    }
    let password = new_password(store, &account.mailbox, DEFAULT_PASSWORD).await?;
    println!("Added {} (application {}, {}).\n", account.mailbox, account.application, account.grant);
    println!("In the mail program, use\n");
    println!("  user name  {}", account.login);
    println!("  password   {password}   (shown once)\n");
    println!("Next: oxpost sign-in {}", account.mailbox);
    Ok(())
}

fn say_what_the_password_grant_is(account: &Account) {
    println!("Added {} (application {}, {}).\n", account.mailbox, account.application, account.grant);
    println!("In the mail program, use\n");
    println!("  user name  {}", account.login);
    println!("  password   the one of Microsoft 365\n");
    println!(
        "Microsoft judges it. That works without a second factor only, and not for federated or personal accounts;"
    );
    println!("Microsoft advises against it. Where the grant sign-in is possible, it is the better one.\n");
    println!("To try a password now: oxpost sign-in {}", account.mailbox);
}

async fn set_delegate(store: &Store, mailbox: &Mailbox, delegate: &Mailbox, remove: bool) -> Result<(), Failed> {
    known(store, mailbox).await?;
    if !remove {
        store.add_delegate(mailbox, delegate).await?;
        println!("{delegate} may sign in for {mailbox}. Next: oxpost sign-in {mailbox}");
        return Ok(());
    }
    if !store.remove_delegate(mailbox, delegate).await? {
        return Err(Failed::new(format!("{delegate} is no delegate of {mailbox}.")));
    }
    println!("{delegate} may no longer sign in for {mailbox}. A sign-in that was made goes on; a new one replaces it.");
    Ok(())
}

/// Stores a fresh password and gives it back for the one time it is shown.
pub(super) async fn new_password(store: &Store, mailbox: &Mailbox, name: &str) -> Result<String, Failed> {
    let password = LocalPassword::generate()?;
    let hash = password.hash().await?;
    store.set_password(mailbox, name, &hash, SystemTime::now()).await?;
    Ok(password.secret().reveal_str().unwrap_or_default().to_owned())
}

async fn list(store: &Store) -> Result<(), Failed> {
    let accounts = store.accounts().await?;
    if accounts.is_empty() {
        println!("There is no account yet. Add one with: oxpost account add ADDRESS");
        return Ok(());
    }
    let mut rows = Vec::new();
    for account in accounts {
        let passwords = store.passwords(&account.mailbox).await?;
        let mut names: Vec<String> = passwords.into_iter().map(|password| password.name).collect();
        if account.grant == Grant::Password {
            names = vec!["Microsoft's".to_owned()];
        }
        rows.push(vec![
            account.mailbox.to_string(),
            account.login,
            account.application,
            account.grant.to_string(),
            names.join(", "),
        ]);
    }
    print!("{}", table(&["MAILBOX", "USER NAME", "APPLICATION", "GRANT", "PASSWORDS"], &rows));
    Ok(())
}

async fn remove(store: &Store, mailbox: &Mailbox) -> Result<(), Failed> {
    // Not only accounts that can be read: to remove it is the remedy for one that cannot.
    if !store.remove_account(mailbox).await? {
        known(store, mailbox).await?;
    }
    println!("Removed {mailbox} with its passwords and tokens. Sessions that run now go on until they end.");
    Ok(())
}

async fn revoke(store: &Store, mailbox: &Mailbox, name: &str) -> Result<(), Failed> {
    known(store, mailbox).await?;
    if !store.revoke_password(mailbox, name).await? {
        return Err(Failed::new(format!(
            "{mailbox} has no password named `{name}`; `oxpost account list` shows them."
        )));
    }
    println!("Revoked the password `{name}` of {mailbox}.");
    Ok(())
}
