//! `oxpost sign-in MAILBOX`: signs an account in at Microsoft with a browser, a device code or a password.

mod device_code;
mod loopback;
mod page;
mod password;
mod paste;

use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use oxpost_token_store::{
    Account, Application, Grant, HttpClient, HttpPolicy, Mailbox, Origin, SharedClock, SignedIn, Store, StoreError,
    SystemClock, connect_client_credentials,
};
use url::Url;

use super::Failed;
use super::account::{apply_if_new, known};
use crate::config::Config;
use crate::context::open_store;
use crate::net::tls;
use crate::platform;

#[derive(Debug, Args)]
pub(super) struct SignInOptions {
    /// The account's mail address
    mailbox: Mailbox,
    #[command(flatten)]
    ways: Ways,
    /// Print the address of the sign-in page instead of opening it, for a private window or another browser on this computer
    #[arg(long, conflicts_with_all = ["paste", "device_code"])]
    no_open: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct Ways {
    /// Sign in with the browser of this computer, which returns to http://localhost [default if there is a browser]
    #[arg(long)]
    browser: bool,
    /// Sign in with a browser on another computer, and paste the address of the last page here [default if there is no
    /// browser]
    #[arg(long)]
    paste: bool,
    /// Show a code to enter in any browser, for example on a phone (many organizations block device codes)
    #[arg(long)]
    device_code: bool,
}

/// Microsoft's page does not redirect for errors of the registration itself.
const ERROR_PAGE: &str =
    "If Microsoft's page shows an error such as AADSTS50011 instead, look it up in docs/refusals.md";

/// How the user signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Browser,
    Paste,
    DeviceCode,
}

/// What every method needs.
struct SignIn<'a> {
    http: &'a HttpClient,
    store: &'a Store,
    application: &'a Application,
    account: &'a Account,
    clock: &'a SharedClock,
}

pub(super) async fn sign_in(options: &SignInOptions, config: &Config) -> Result<(), Failed> {
    let mailbox = &options.mailbox;
    let store = open_store(config).await?;
    apply_if_new(&store, config, mailbox).await?;
    let account = known(&store, mailbox).await?;
    // Other accounts may have it as their delegate.
    if account.origin == Origin::Disabled && !is_needed(&store, mailbox).await? {
        return Err(Failed::new(format!(
            "{mailbox} is disabled because proxy.toml no longer declares it; its sign-in is kept. Declare it again first."
        )));
    }
    let application = config.applications.get(&account.application).ok_or_else(|| {
        Failed::new(format!(
            "{mailbox} uses the application {}, which proxy.toml does not have. Add an [[application]] of that name.",
            account.application
        ))
    })?;
    let tls = tls::client_config(config.ca_file.as_deref(), config.system_roots)?;
    let http = oxpost_token_store::http::client(tls, HttpPolicy::HttpsOnly)?;
    let clock: SharedClock = Arc::new(SystemClock);
    let sign_in = SignIn { http: &http, store: &store, application, account: &account, clock: &clock };
    match account.grant {
        Grant::SignIn => match options.way(application.redirect_uri.as_deref()) {
            Way::Browser => loopback::sign_in(&sign_in, options.no_open).await,
            Way::Paste => paste::sign_in(&sign_in).await,
            Way::DeviceCode => device_code::sign_in(&sign_in).await,
        },
        Grant::ClientCredentials => sign_in.app_only().await,
        Grant::Password => password::sign_in(&sign_in).await,
    }
}

/// Whether it is the delegate of an enabled account.
async fn is_needed(store: &Store, mailbox: &Mailbox) -> Result<bool, Failed> {
    for other in store.dependents(mailbox).await? {
        if store.account(&other).await?.is_some_and(|other| other.origin != Origin::Disabled) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl SignInOptions {
    fn way(&self, redirect_uri: Option<&str>) -> Way {
        match &self.ways {
            Ways { browser: true, .. } => Way::Browser,
            Ways { paste: true, .. } => Way::Paste,
            Ways { device_code: true, .. } => Way::DeviceCode,
            _ if self.no_open => Way::Browser,
            // The registration sends the browser to a page that is not ours.
            _ if redirect_uri.is_some_and(|uri| !is_here(uri)) => Way::Paste,
            _ if platform::has_browser() => Way::Browser,
            _ => Way::Paste,
        }
    }
}

/// Whether a redirect leads to this machine.
fn is_here(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|uri| matches!(uri.host_str(), Some("localhost" | "127.0.0.1")))
}

impl SignIn<'_> {
    /// The name under which the account's user signs in: another one than the address if they were renamed.
    async fn user_name(&self) -> Result<Mailbox, StoreError> {
        let user = self.account.token_of();
        match self.store.token_state(user).await {
            Ok(state) => Ok(state.renamed_to.unwrap_or_else(|| user.clone())),
            // That there is none is said when its sign-in is to be stored.
            Err(StoreError::NoSuchAccount(_)) => Ok(user.clone()),
            Err(error) => Err(error),
        }
    }

    /// Keeps what a sign-in brought, and says so.
    async fn keep(&self, signed_in: &SignedIn) -> Result<(), Failed> {
        let (mailbox, holder) = (&self.account.mailbox, self.account.token_of());
        let who = signed_in.signed_in_as.as_deref();
        self.store.save_signed_in(holder, &signed_in.tokens, who, SystemTime::now()).await?;
        println!(
            "\n{mailbox} is signed in. Oxpost refreshes its token from now on; a running service uses it immediately."
        );
        if !signed_in.missing_scopes.is_empty() {
            println!(
                "Microsoft granted less than was asked for. Missing: {}. Add the permissions at Microsoft Entra admin center >\nApp registrations \
                 > API permissions, grant admin consent, and run `oxpost sign-in {mailbox}` again; until then the mail\nserver refuses what needs them.",
                signed_in.missing_scopes.join(", ")
            );
        }
        for other in self.store.dependents(holder).await?.iter().filter(|other| *other != mailbox) {
            println!("Also signed in: {other}, whose delegate is {holder}.");
        }
        Ok(())
    }

    async fn app_only(&self) -> Result<(), Failed> {
        let Self { http, store, application, account, clock } = self;
        connect_client_credentials(http, store, application, account, clock).await?;
        println!(
            "The application {} received a token for {}. Oxpost refreshes it from now on.",
            application.name,
            account.token_of()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
