//! A code that the user enters in a browser on any device (RFC 8628).

use oxpost_token_store::begin_device_sign_in;

use super::{Failed, SignIn};

pub(super) async fn sign_in(sign_in: &SignIn<'_>) -> Result<(), Failed> {
    let SignIn { http, store, application, account, clock } = sign_in;
    let mailbox = &account.mailbox;
    let begun = begin_device_sign_in(http, store, application, account, clock).await?;
    println!("To sign in {mailbox}, open this page in any browser, on any device:\n");
    println!("  {}\n", begun.verification_uri);
    println!("enter this code, and sign in as {}:\n", sign_in.user_name().await?);
    println!("  {}\n", begun.user_code);
    println!("Waiting for up to {} minutes. Press Ctrl-C to cancel without changes.", begun.expires_in.as_secs() / 60);
    sign_in.keep(&begun.wait().await?).await
}
