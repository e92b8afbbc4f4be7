//! The browser is on another computer: the user copies the address of the last page, and pastes it here.

use oxpost_token_store::entra_codes::{Names, Refusal, classify};
use oxpost_token_store::text_file::{self, TextError};
use oxpost_token_store::{Account, Application, BrowserSignIn, REDIRECT_LIMIT, Redirect, begin_browser_sign_in};
use url::Url;

use super::{ERROR_PAGE, Failed, SignIn};

/// Where the browser goes at the end if the registration names no page. Nothing is expected to listen there, so that the
/// page fails to load and its address stays: Entra ignores the port of localhost.
const UNUSED_ADDRESS: &str = "http://localhost:49321";

/// Number of attempts.
const TRIES: usize = 5;

pub(super) async fn sign_in(sign_in: &SignIn<'_>) -> Result<(), Failed> {
    let SignIn { http, store, application, account, clock } = sign_in;
    let mailbox = &account.mailbox;
    let redirect_uri = application.redirect_uri.as_deref().unwrap_or(UNUSED_ADDRESS);
    let begun = begin_browser_sign_in(http, store, application, account, clock, redirect_uri).await?;
    println!(
        "To sign in {mailbox}, open this address in a browser on any computer, and sign in as {}:\n",
        sign_in.user_name().await?
    );
    println!("  {}\n", begun.url);
    if super::is_here(redirect_uri) {
        println!(
            "At the end the browser reports that it cannot reach a page on localhost. This is expected: copy the whole"
        );
        println!("address of that page (from http://localhost to its end) and paste it here.\n");
    } else {
        println!(
            "At the end the browser shows an empty page. Copy its whole address immediately, and paste it here.\n"
        );
    }
    println!("{ERROR_PAGE}, or paste its text here.\n");
    let redirect = pasted(&begun, application, account).await?;
    sign_in.keep(&begun.finish(redirect).await?).await
}

/// Asks until an address answers this sign-in.
async fn pasted(sign_in: &BrowserSignIn, application: &Application, account: &Account) -> Result<Redirect, Failed> {
    let mailbox = account.mailbox.as_ref();
    for _ in 0..TRIES {
        println!("Paste the address, then press Enter:");
        let line = tokio::task::spawn_blocking(read_line).await??.ok_or_else(|| {
            Failed::new(format!(
                "nothing was pasted; nothing was changed. Run `oxpost sign-in {mailbox} --paste` again."
            ))
        })?;
        let query = match query_of(&line, &sign_in.url) {
            Ok(query) => query,
            Err(NotIt::CodeRemoved) => return Err(Failed::new(code_removed(mailbox))),
            // The text of an error page that does not redirect.
            Err(_) if line.contains("AADSTS") => return Err(explained(application, account, &line)),
            Err(not_it) => {
                println!("\n{not_it}\n");
                continue;
            }
        };
        match sign_in.read(&query) {
            Ok(redirect) => return Ok(redirect),
            Err(error) => {
                println!("\n{}: copy the whole address of the page where the browser is now.\n", capital(&error))
            }
        }
    }
    Err(Failed::new(format!(
        "none of these addresses belongs to this sign-in; nothing was changed. Run `oxpost sign-in {mailbox} --paste` again."
    )))
}

/// What the number in an error page means. Errors that concern the application itself do not come back to it.
fn explained(application: &Application, account: &Account, line: &str) -> Failed {
    let refusal = Refusal { description: line, ..Refusal::default() };
    Failed::new(classify(&refusal, &Names::of(application, account.mailbox.as_ref(), account.grant)).for_a_command())
}

/// A line of standard input; none at its end.
fn read_line() -> Result<Option<String>, TextError> {
    let limit = u64::try_from(2 * REDIRECT_LIMIT).unwrap_or(u64::MAX);
    let line = text_file::next_line(&mut std::io::stdin().lock(), limit)?;
    Ok(line.map(|line| line.reveal_str().unwrap_or_default().to_owned()))
}

/// Why a pasted text is not the address that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NotIt {
    #[error("That is not an address; it must begin with http:// or https:// and contain `code=`.")]
    NotAnAddress,
    #[error(
        "That is the address of the sign-in page. Open it in a browser, sign in, and paste the address of the last page."
    )]
    OurOwn,
    #[error("That address contains no code. Finish the sign-in, then copy the address of the last page.")]
    NoCode,
    #[error("Microsoft's page removed the code")]
    CodeRemoved,
}

/// The query, or the fragment, of what was pasted: an address, or only its end.
fn query_of(pasted: &str, asked: &Url) -> Result<String, NotIt> {
    let text = pasted.trim().trim_matches(['"', '\'', '<', '>', '`']).trim();
    let answers = |text: &str| {
        url::form_urlencoded::parse(text.as_bytes()).any(|(name, _)| matches!(name.as_ref(), "code" | "error"))
    };
    let Ok(url) = Url::parse(text) else {
        let end = text.trim_start_matches(['?', '#', '/']);
        return if answers(end) { Ok(end.to_owned()) } else { Err(NotIt::NotAnAddress) };
    };
    if let Some(answer) = [url.query(), url.fragment()].into_iter().flatten().find(|part| answers(part)) {
        return Ok(answer.to_owned());
    }
    let path = url.path().trim_end_matches('/');
    if path.ends_with("/wrongplace") || path.ends_with("/nativeclient") {
        return Err(NotIt::CodeRemoved);
    }
    if url.host_str() == asked.host_str() && url.path() == asked.path() {
        return Err(NotIt::OurOwn);
    }
    Err(NotIt::NoCode)
}

/// Since January 2026 Microsoft's page for native clients redirects to another one without the code.
fn code_removed(mailbox: &str) -> String {
    format!(
        "Microsoft's page (.../oauth2/nativeclient) redirected to .../common/wrongplace and removed the code, so \
         there is nothing to paste. Nothing was changed. Use localhost instead: in the Microsoft Entra admin center > App \
         registrations > Authentication > Mobile and desktop applications add the redirect URI http://localhost, remove the line \
         redirect-uri from proxy.toml, and run `oxpost sign-in {mailbox}` again (with --paste if the browser is on another computer)."
    )
}

fn capital(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_with_what_copying_adds() {
        let asked =
            Url::parse("https://login.microsoftonline.com/contoso.com/oauth2/v2.0/authorize?client_id=x").unwrap();
        let read = |text| query_of(text, &asked);
        let query = Ok("code=1.AbC&state=x".to_owned());
        assert_eq!(read("http://localhost:49321/?code=1.AbC&state=x\n"), query);
        assert_eq!(read("  \"http://localhost/?code=1.AbC&state=x\"\r\n"), query);
        assert_eq!(read("<http://localhost/#code=1.AbC&state=x>"), query);
        assert_eq!(read("?code=1.AbC&state=x"), query);
        assert_eq!(read("https://login.microsoftonline.com/common/oauth2/nativeclient?code=1.AbC&state=x"), query);
        assert_eq!(read("http://localhost/?error=access_denied&state=x"), Ok("error=access_denied&state=x".into()));
        assert_eq!(read(asked.as_str()), Err(NotIt::OurOwn));
        assert_eq!(read("https://login.microsoftonline.com/common/wrongplace"), Err(NotIt::CodeRemoved));
        assert_eq!(read("https://login.microsoftonline.com/common/oauth2/nativeclient"), Err(NotIt::CodeRemoved));
        assert_eq!(read("https://login.microsoftonline.com/kmsi"), Err(NotIt::NoCode));
        assert_eq!(read("alice@contoso.com"), Err(NotIt::NotAnAddress));
        assert_eq!(read(""), Err(NotIt::NotAnAddress));
    }
}
