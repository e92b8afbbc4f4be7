//! A code that a person enters in any browser, on any device (RFC 8628).

use oxpost_token_store::begin_device_sign_in;

use super::{Failed, SignIn};

pub(super) async fn sign_in(sign_in: &SignIn<'_>) -> Result<(), Failed> {
    let SignIn { http, store, application, account, clock } = sign_in;
    let mailbox = &account.mailbox;
    let begun = begin_device_sign_in(http, store, application, account, clock).await?;
    println!("To connect {mailbox}, open this page in any browser, on any device:\n");
    println!("  {}\n", begun.verification_uri);
    println!("enter this code, and sign in as {}:\n", sign_in.user_name().await?);
    println!("  {}\n", begun.user_code);
    println!(
        "Waiting, for at most {} minutes. Ctrl-C gives up; nothing is changed then.",
        begun.expires_in.as_secs() / 60
    );
    sign_in.keep(&begun.wait().await?).await
}
