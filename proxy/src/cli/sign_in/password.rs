//! The grant password: Microsoft verifies one password now, so that errors show before a mail program is set up.

use oxpost_token_store::connect_with_password;

use super::{Failed, SignIn};
use crate::cli::ask::ask;

pub(super) async fn sign_in(sign_in: &SignIn<'_>) -> Result<(), Failed> {
    let SignIn { http, store, application, account, clock } = sign_in;
    let (mailbox, name) = (&account.mailbox, sign_in.user_name().await?);
    let prompt = format!("Microsoft 365 password of {name} (sent to Microsoft, not stored): ");
    let password = ask(&prompt, "the password")?;
    if password.is_empty() {
        return Err(Failed::new("the password is empty; nothing was changed."));
    }
    connect_with_password(http, store, application, account, &password, clock).await?;
    println!("Microsoft accepted the password; {mailbox} is signed in. Use the same password in the mail program.");
    Ok(())
}
