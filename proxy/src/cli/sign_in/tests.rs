//! Which way is taken; and the listener by itself: both addresses, the registered path, a person who never comes back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use oxpost_token_store::{
    Account, Application, BrowserSignIn, Grant, HttpClient, HttpPolicy, Identity, Mailbox, SharedClock, Store,
    SystemClock, TokenSet, Vault, begin_browser_sign_in, http,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use super::loopback::Loopback;
use super::{SignIn, SignInOptions, Way};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: SignInOptions,
}

fn way(flags: &[&str], redirect_uri: Option<&str>) -> Result<Way, String> {
    let words = ["sign-in", "ann@contoso.com"].iter().chain(flags);
    let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    Ok(line.options.way(redirect_uri))
}

#[test]
fn sign_in_flow_follows_the_flag_or_the_registration() {
    let native = Some("https://login.microsoftonline.com/common/oauth2/nativeclient");
    assert_eq!(way(&["--browser"], native), Ok(Way::Browser));
    assert_eq!(way(&["--no-open"], None), Ok(Way::Browser));
    assert_eq!(way(&["--paste"], None), Ok(Way::Paste));
    assert_eq!(way(&["--device-code"], native), Ok(Way::DeviceCode));
    assert_eq!(way(&[], native), Ok(Way::Paste));
    assert!(way(&["--paste", "--browser"], None).is_err());
    assert!(way(&["--device-code", "--no-open"], None).is_err());
}

async fn begun(redirect_uri: &str) -> BrowserSignIn {
    let (http, store, account, application) = parts().await;
    begin_browser_sign_in(&http, &store, &application, &account, &(Arc::new(SystemClock) as _), redirect_uri)
        .await
        .unwrap()
}

/// What a sign-in of Ann needs.
async fn parts() -> (HttpClient, Store, Account, Application) {
    let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let address = |name: &str| Url::parse(&format!("https://login.example.com/{name}")).unwrap();
    let application = Application {
        name: "default".into(),
        tenant: None,
        authorize_url: address("authorize"),
        authorize_parameters: Vec::new(),
        redirect_uri: None,
        openid: true,
        token_url: address("token"),
        device_code_url: None,
        client_id: "c".into(),
        credential: oxpost_token_store::Credential::Secret,
        client_secret: None,
        client_secret_expires: None,
        next_client_secret: None,
        delegated_scopes: vec!["mail".into()],
        app_scopes: Vec::new(),
    };
    let mailbox: Mailbox = "ann@contoso.com".parse().unwrap();
    let account = Account::new(mailbox, "default", Grant::SignIn, SystemTime::now());
    // No request is sent, so no authority must be trusted: Wine has no certificate authorities.
    let tls = rustls::ClientConfig::builder_with_provider(crate::net::tls::provider());
    let tls = tls.with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    (http::client(tls, HttpPolicy::HttpsOnly).unwrap(), store, account, application)
}

/// Every text names the user as the sign-in page proposes them.
#[tokio::test]
async fn renamed_user_is_asked_to_sign_in_under_the_new_name() {
    let (http, store, account, application) = parts().await;
    let clock: SharedClock = Arc::new(SystemClock);
    let delegated = Account { delegate: Some(account.mailbox.clone()), ..account.clone() };
    let names = async || {
        let mut names = Vec::new();
        for account in [&account, &delegated] {
            let (http, store, application, clock) = (&http, &store, &application, &clock);
            names.push(SignIn { http, store, application, account, clock }.user_name().await.unwrap().to_string());
        }
        names
    };
    assert_eq!(names().await, ["ann@contoso.com"; 2], "without a row of tokens");
    store.add_account(&account).await.unwrap();
    for name in ["ann@contoso.com", "anna@contoso.com"] {
        let identity = Identity { tenant: "t".into(), object_id: "1".into(), name: name.into(), from_id_token: true };
        let tokens = TokenSet {
            access_token: "at".into(),
            lifetime: Duration::from_secs(3600),
            refresh_token: Some("rt".into()),
            identity: Some(identity),
        };
        store.save_signed_in(&account.mailbox, &tokens, Some(name), SystemTime::now()).await.unwrap();
        assert_eq!(names().await, [name; 2]);
        let begun = begin_browser_sign_in(&http, &store, &application, &account, &clock, "http://localhost/").await;
        let url = begun.unwrap().url;
        assert!(url.query_pairs().any(|(key, value)| key == "login_hint" && value == name), "{url}");
    }
}

#[tokio::test]
async fn only_the_exact_registered_path_is_answered() {
    for (registered, end, path) in [
        (None, "", "/"),
        (Some("http://localhost"), "", "/"),
        (Some("http://localhost/"), "/", "/"),
        (Some("http://127.0.0.1/Oxpost"), "/Oxpost", "/Oxpost"),
        (Some("https://login.microsoftonline.com/common/oauth2/nativeclient"), "", "/"),
    ] {
        let mut listener = Loopback::bind(registered).await.unwrap();
        let uri = Url::parse(&listener.redirect_uri).unwrap();
        let port = uri.port().unwrap();
        assert!(listener.redirect_uri.ends_with(&format!(":{port}{end}")), "{}", listener.redirect_uri);
        let begun = begun(&listener.redirect_uri).await;
        let state = begun.url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        for host in ["127.0.0.1", "::1"] {
            let Ok(mut elsewhere) = TcpStream::connect((host, port)).await else {
                // A machine without IPv6.
                assert_eq!(host, "::1");
                continue;
            };
            elsewhere.write_all(b"GET /other?code=1 HTTP/1.1\r\n\r\n").await.unwrap();
            let mut said = String::new();
            elsewhere.read_to_string(&mut said).await.unwrap();
            assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
            let mut browser = TcpStream::connect((host, port)).await.unwrap();
            let request = format!("GET {path}?code=1.AbC&state={state} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            // As slow networks do it.
            for part in request.as_bytes().chunks(7) {
                browser.write_all(part).await.unwrap();
            }
            let (_, waiting) = listener.answer(&begun).await.unwrap();
            waiting.show("200 OK", "<Well>", "a & b").await;
            let mut said = String::new();
            browser.read_to_string(&mut said).await.unwrap();
            assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
            assert!(said.contains("<h1>&lt;Well&gt;</h1>") && said.contains("a &amp; b"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_person_who_never_comes_back_is_not_waited_for_for_ever() {
    let mut listener = Loopback::bind(None).await.unwrap();
    let begun = begun(&listener.redirect_uri).await;
    // The clock runs ahead while everybody waits.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert!(listener.answer(&begun).await.is_none());
    assert_eq!(began.elapsed().as_secs() / 60, 15);
}
