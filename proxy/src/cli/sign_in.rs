//! `oxpost sign-in MAILBOX`

use std::sync::Arc;
use std::time::SystemTime;

use oxpost_token_store::{
    Account, Application, Grant, HttpClient, HttpPolicy, Mailbox, SharedClock, Store, SystemClock,
    begin_device_sign_in, connect_client_credentials,
};

use super::Failed;
use super::account::known;
use crate::config::Config;
use crate::gateway::open_store;
use crate::tls;

pub(super) async fn sign_in(mailbox: &Mailbox, config: &Config) -> Result<(), Failed> {
    let store = open_store(config).await?;
    let account = known(&store, mailbox).await?;
    let application = config.applications.get(&account.application).ok_or_else(|| {
        Failed::new(format!(
            "{mailbox} uses the application {}, which proxy.toml does not have. Add an [[application]] of that name.",
            account.application
        ))
    })?;
    let tls = tls::client_config(config.ca_file.as_deref(), config.system_roots)?;
    let http = oxpost_token_store::http::client(tls, HttpPolicy::HttpsOnly)?;
    let clock: SharedClock = Arc::new(SystemClock);
    match account.grant {
        Grant::SignIn => with_a_browser(&http, &store, application, &account, &clock).await,
        Grant::ClientCredentials => app_only(&http, &store, application, &account, &clock).await,
    }
}

async fn with_a_browser(
    http: &HttpClient,
    store: &Store,
    application: &Application,
    account: &Account,
    clock: &SharedClock,
) -> Result<(), Failed> {
    let mailbox = &account.mailbox;
    let begun = begin_device_sign_in(http, store, application, account, clock).await?;
    println!("To connect {mailbox}, open this page in any browser, on any device:\n");
    println!("  {}\n", begun.verification_uri);
    println!("enter this code, and sign in as {mailbox} (or as somebody with Full Access to it):\n");
    println!("  {}\n", begun.user_code);
    println!(
        "Waiting, for at most {} minutes. Ctrl-C gives up; nothing is changed then.",
        begun.expires_in.as_secs() / 60
    );
    let signed_in = begun.wait().await?;
    let who = signed_in.signed_in_as.as_deref();
    store.save_signed_in(mailbox, &signed_in.tokens, who, SystemTime::now()).await?;
    println!("\n{mailbox} is connected. Oxpost keeps it so by itself; a running one uses it at once.");
    if let Some(who) = who.filter(|who| !who.eq_ignore_ascii_case(mailbox.as_ref())) {
        println!(
            "\nNote: the sign-in was made as {who}. That works if {who} has Full Access to {mailbox} (and Send As, to send). \
             If another account was meant, run this command again and choose it on Microsoft's page."
        );
    }
    Ok(())
}

async fn app_only(
    http: &HttpClient,
    store: &Store,
    application: &Application,
    account: &Account,
    clock: &SharedClock,
) -> Result<(), Failed> {
    connect_client_credentials(http, store, application, account, clock).await?;
    println!("The application {} has got a token for {}. Oxpost keeps it fresh.", application.name, account.mailbox);
    Ok(())
}
