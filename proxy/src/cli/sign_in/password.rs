//! The grant password: Microsoft judges one password now, so that what is wrong shows before a mail program is set up.

use oxpost_token_store::connect_with_password;

use super::{Failed, SignIn};
use crate::cli::ask::ask;

pub(super) async fn sign_in(sign_in: &SignIn<'_>) -> Result<(), Failed> {
    let SignIn { http, store, application, account, clock } = sign_in;
    let (mailbox, name) = (&account.mailbox, sign_in.user_name().await?);
    let prompt = format!("Password of Microsoft 365 for {name} (it is sent there, and not kept): ");
    let password = ask(&prompt)?;
    if password.is_empty() {
        return Err(Failed::new("the password is empty; nothing was changed."));
    }
    connect_with_password(http, store, application, account, &password, clock).await?;
    println!("Microsoft has accepted the password, and {mailbox} is connected. Use the same in the mail program.");
    Ok(())
}
