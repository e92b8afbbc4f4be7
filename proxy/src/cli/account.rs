//! `oxpost account …`

mod add;
mod declared;
mod delegate;
mod password;
mod remove;
mod sender;

use clap::Subcommand;
use oxpost_token_store::{Account, Grant, Mailbox, Origin, Store};

pub(super) use self::declared::apply_if_new;
pub(super) use self::password::{DEFAULT_NAME, new_password};
use super::Failed;
use super::table::table;
use crate::config::Config;
use crate::context::open_store;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AccountCommand {
    /// Add an account and print its password for mail programs (shown once; none with --grant password)
    Add(add::AddOptions),
    /// Set the delegate of an account: the user whose sign-in opens it, such as a member of a shared mailbox
    ///
    /// One sign-in of the delegate serves all accounts that name it. The delegate needs Full Access to each mailbox, and Send As to
    /// send from it. To return to a sign-in of its own, name the account as its own delegate. Oxpost keeps the account's own sign-in
    /// until a login with the delegate's has succeeded.
    Delegate {
        /// The mail address of the account
        mailbox: Mailbox,
        /// The mail address of the delegate
        delegate: Mailbox,
        /// Add an account for the delegate if there is none
        #[arg(long)]
        create: bool,
    },
    /// Set which senders an account may use, and what happens to messages with other senders
    ///
    /// as-is leaves the decision to the mail server, or refuses other senders if --allow names any. account replaces another sender
    /// with the account's own address. map replaces it by the first matching --rule. Reply-To keeps the original sender.
    Sender(sender::SenderOptions),
    /// List the accounts
    List,
    /// Apply the `[[account]]` sections of proxy.toml, as every start does; a running service uses them immediately
    Apply,
    /// Hand accounts that were added by command over to their sections in proxy.toml; sign-ins and passwords are kept
    Declare {
        /// The mail addresses
        #[arg(required = true)]
        mailboxes: Vec<Mailbox>,
    },
    /// Remove an account with its passwords and its sign-in
    Remove {
        /// The mail address
        mailbox: Mailbox,
    },
    /// Create, list and remove passwords for mail programs
    #[command(subcommand)]
    Password(password::PasswordCommand),
}

pub(super) async fn run(command: AccountCommand, config: &Config) -> Result<(), Failed> {
    // Needs no store, and must not create one.
    if let AccountCommand::Password(password::PasswordCommand::Hash { ask }) = command {
        return password::hash(ask).await;
    }
    let store = open_store(config).await?;
    match command {
        AccountCommand::Add(options) => add::add(options, &store, config).await,
        AccountCommand::Delegate { mailbox, delegate, create } => {
            declared::not_declared(config, &mailbox)?;
            apply_if_new(&store, config, &delegate).await?;
            delegate::set(&store, &mailbox, &delegate, create).await
        }
        AccountCommand::Sender(options) => {
            if !options.only_shows() {
                declared::not_declared(config, options.mailbox())?;
            }
            sender::sender(options, &store).await
        }
        AccountCommand::List => list(&store).await,
        AccountCommand::Apply => declared::apply(&store, config, &[]).await,
        AccountCommand::Declare { mailboxes } => declared::declare(&store, config, &mailboxes).await,
        AccountCommand::Remove { mailbox } => {
            // One that cannot be read is created again by the next start.
            if !store.unreadable_accounts().await?.iter().any(|damaged| damaged == mailbox.as_str()) {
                declared::not_declared(config, &mailbox)?;
            }
            remove::remove(&store, &mailbox).await
        }
        AccountCommand::Password(command) => password::run(command, &store, config).await,
    }
}

/// The account, or an error that says how to find or add it.
pub(super) async fn known(store: &Store, mailbox: &Mailbox) -> Result<Account, Failed> {
    if let Some(account) = store.account(mailbox).await? {
        return Ok(account);
    }
    if let Some(Account { delegate: Some(pattern), .. }) = store.opened_by(mailbox).await? {
        return Err(Failed::new(format!(
            "{mailbox} has no account of its own: {pattern} opens it. `oxpost doctor {mailbox}` checks this; \
             `oxpost account add {mailbox} --delegate '{pattern}'` adds an account with passwords of its own; \
             `oxpost sign-in '{pattern}'` obtains a token for all mailboxes of {pattern}."
        )));
    }
    Err(Failed::new(format!(
        "there is no account {mailbox}. `oxpost account list` shows the accounts; `oxpost account add {mailbox}` adds it."
    )))
}

async fn list(store: &Store) -> Result<(), Failed> {
    let accounts = store.accounts().await?;
    if accounts.is_empty() {
        println!("There are no accounts yet. Add one: oxpost account add ADDRESS");
        return Ok(());
    }
    let declared = accounts.iter().any(|account| account.origin != Origin::Command);
    let mut rows = Vec::new();
    for account in accounts {
        let passwords = store.passwords(&account.mailbox).await?;
        let mut names: Vec<String> = passwords.into_iter().map(|password| password.name).collect();
        if account.grant == Grant::Password {
            names = vec!["Microsoft's".to_owned()];
        }
        let mut row = vec![
            account.mailbox.to_string(),
            account.login,
            account.delegate.map_or_else(|| "-".to_owned(), |delegate| delegate.to_string()),
            account.application,
            account.grant.to_string(),
            if names.is_empty() { "-".to_owned() } else { names.join(", ") },
        ];
        row.extend(declared.then(|| kept_in(account.origin).to_owned()));
        rows.push(row);
    }
    let mut header = vec!["MAILBOX", "USER NAME", "DELEGATE", "APPLICATION", "GRANT", "PASSWORDS"];
    header.extend(declared.then_some("DECLARED IN"));
    print!("{}", table(&header, &rows));
    Ok(())
}

fn kept_in(origin: Origin) -> &'static str {
    match origin {
        Origin::Command => "the store",
        Origin::Declared => "proxy.toml",
        Origin::Disabled => "disabled: no longer in proxy.toml",
    }
}
