//! Signing in with a browser, and who may.

use std::collections::HashMap;

use super::{endpoint::Reply, *};
use crate::{BrowserSignIn, RedirectError, SignInError, begin_browser_sign_in, connect_client_credentials};

const REDIRECT: &str = "http://localhost:50123";

/// {"preferred_username":"Ann@Contoso.com"}
const ANN: &str = "e30.eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJBbm5AQ29udG9zby5jb20ifQ.sig";
/// {"preferred_username":"bob@contoso.com"}
const BOB: &str = "e30.eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJib2JAY29udG9zby5jb20ifQ.sig";

fn tokens_of(id_token: &str) -> Reply {
    Reply::json(
        200,
        format!(
            r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"at-9","refresh_token":"rt-9","id_token":"{id_token}"}}"#
        ),
    )
}

async fn begin_with(bench: &Bench, application: &Application) -> BrowserSignIn {
    let (account, clock) = (bench.admitted.account(), bench.shared_clock());
    begin_browser_sign_in(&http_client(), &bench.store, application, account, &clock, REDIRECT).await.unwrap()
}

async fn begin(bench: &Bench) -> BrowserSignIn {
    begin_with(bench, &application(&bench.endpoint)).await
}

fn query(sign_in: &BrowserSignIn) -> HashMap<String, String> {
    sign_in.url.query_pairs().into_owned().collect()
}

/// The redirect of a browser that has followed the page.
fn answer(sign_in: &BrowserSignIn, fields: &str) -> crate::Redirect {
    sign_in.read(&format!("{fields}&state={}", query(sign_in)["state"])).unwrap()
}

#[tokio::test]
async fn authorize_url_proposes_the_mailbox_and_asks_for_a_choice() {
    let bench = Bench::signed_in().await;
    let (first, second) = (begin(&bench).await, begin(&bench).await);
    let asked = query(&first);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "11111111-2222-3333-4444-555555555555"),
        ("redirect_uri", "http://localhost:50123"),
        ("scope", "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid profile"),
        ("code_challenge_method", "S256"),
        ("prompt", "select_account"),
        ("login_hint", "ann@contoso.com"),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    let other = query(&second);
    assert!(asked["state"] != other["state"] && asked["code_challenge"] != other["code_challenge"]);
    assert_eq!(asked["code_challenge"].len(), 43, "SHA-256 in base64url");
    assert_eq!(bench.endpoint.requests(), 0);

    let parameters = [("prompt", "consent"), ("access_type", "offline")];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let google = Application { authorize_parameters: parameters, openid: false, ..application(&bench.endpoint) };
    let sign_in = begin_with(&bench, &google).await;
    let asked = query(&sign_in);
    assert_eq!((asked["prompt"].as_str(), asked["access_type"].as_str()), ("consent", "offline"));
    assert!(!asked["scope"].contains("openid"));
    assert_eq!(sign_in.url.query_pairs().filter(|(name, _)| name == "prompt").count(), 1);
}

#[tokio::test]
async fn a_code_is_redeemed_with_its_verifier_and_the_same_redirect() {
    let bench = Bench::signed_in().await;
    let sign_in = begin(&bench).await;
    let asked = query(&sign_in);
    let redirect = answer(&sign_in, "code=1.AbC");
    assert!(!format!("{sign_in:?} {redirect:?}").contains("AbC"));
    bench.endpoint.then(tokens_of(ANN));
    let signed_in = sign_in.finish(redirect).await.unwrap();
    assert_eq!(signed_in.signed_in_as.as_deref(), Some("ann@contoso.com"));
    let sent = |name| bench.endpoint.sent(0, name).unwrap_or_default();
    assert_eq!((sent("grant_type"), sent("code")), ("authorization_code".into(), "1.AbC".into()));
    assert_eq!((sent("redirect_uri"), sent("scope")), (asked["redirect_uri"].clone(), asked["scope"].clone()));
    let hashed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, sent("code_verifier").as_bytes());
    let hashed = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, hashed);
    assert_eq!(hashed, asked["code_challenge"], "RFC 7636, 4.6");
}

#[tokio::test]
async fn another_state_is_not_believed() {
    let bench = Bench::signed_in().await;
    let (sign_in, other) = (begin(&bench).await, begin(&bench).await);
    let theirs = query(&other)["state"].clone();
    assert_eq!(sign_in.read(&format!("code=1.AbC&state={theirs}")), Err(RedirectError::WrongState));
}

#[tokio::test]
async fn refusals_of_page_and_token_endpoint_have_a_remedy() {
    let bench = Bench::signed_in().await;
    for (fields, words) in [
        ("error=access_denied&error_description=the+user+said+no", "declined"),
        ("error=access_denied&error_description=AADSTS65004%3A+declined", "did not consent"),
        ("error=access_denied&error_description=AADSTS90094%3A+admin", "Grant admin consent"),
        ("error=invalid_client&error_description=AADSTS650057%3A+no", "API permissions"),
        ("error=access_denied&error_description=AADSTS50105%3A+not+assigned", "Users and groups"),
        ("error=access_denied&error_description=AADSTS53003%3A+blocked", "Conditional Access policy blocks"),
        (
            "error=access_denied&error_description=AADSTS999123%3A+no+luck+Trace+ID%3A+5f-1",
            "\"no luck\" (trace id 5f-1)",
        ),
        ("error=server_error&error_description=AADSTS90033%3A+busy", "Run the command again in a few minutes."),
    ] {
        let sign_in = begin(&bench).await;
        let redirect = answer(&sign_in, fields);
        let said = sign_in.finish(redirect).await.unwrap_err().to_string();
        assert!(said.contains(words), "{fields}: {said}");
        let is_declined = said.contains("was declined");
        assert_eq!(is_declined, words == "declined", "{fields}: {said}");
    }
    for (error, code, words) in [
        ("invalid_grant", 54_005, "oxpost sign-in ann@contoso.com"),
        ("invalid_client", 7_000_218, "Mobile and desktop applications"),
        ("invalid_grant", 65_001, "Grant admin consent"),
    ] {
        let sign_in = begin(&bench).await;
        let redirect = answer(&sign_in, "code=1.AbC");
        bench.endpoint.then(Reply::json(
            400,
            format!(
                r#"{{"error":"{error}","error_description":"AADSTS{code}: not with 1.AbC","error_codes":[{code}]}}"#
            ),
        ));
        let error = sign_in.finish(redirect).await.unwrap_err();
        assert!(error.to_string().contains(words), "{code}: {error}");
        assert!(!format!("{error:?}").contains("1.AbC"), "{error:?}");
    }
    assert_eq!(bench.stored_refresh_token().await.as_deref(), Some("rt-0"), "what was there is still there");
}

#[tokio::test]
async fn other_user_is_refused_until_being_the_delegate() {
    let bench = Bench::signed_in().await;
    bench.endpoint.always(tokens_of(BOB));
    let sign_in = begin(&bench).await;
    let redirect = answer(&sign_in, "code=1.AbC");
    let error = sign_in.finish(redirect).await.unwrap_err();
    assert!(matches!(&error, SignInError::WrongPerson { .. }), "{error}");
    assert!(error.to_string().contains("ann@contoso.com") && error.to_string().contains("bob@contoso.com"), "{error}");

    let bob = mailbox("Bob@contoso.com");
    bench.store.add_account(&account("bob@contoso.com", Grant::SignIn)).await.unwrap();
    bench.store.set_delegate(bench.mailbox(), &bob).await.unwrap();
    let account = bench.store.account(bench.mailbox()).await.unwrap().unwrap();
    let (application, clock) = (application(&bench.endpoint), bench.shared_clock());
    let begin =
        begin_browser_sign_in(&http_client(), &bench.store, &application, &account, &clock, REDIRECT).await.unwrap();
    assert_eq!(query(&begin)["login_hint"], "bob@contoso.com", "a shared mailbox has no sign-in");
    let redirect = answer(&begin, "code=1.AbC");
    let signed_in = begin.finish(redirect).await.unwrap();
    assert_eq!(signed_in.signed_in_as.as_deref(), Some("bob@contoso.com"));
    assert_eq!(account.sender(), &bob);
}

#[tokio::test]
async fn an_application_of_many_tenants_cannot_act_in_its_own_name() {
    let bench = Bench::cold().await;
    for tenant in ["common", "Organizations", "consumers"] {
        let application = Application { tenant: Some(tenant.into()), ..application(&bench.endpoint) };
        let said = application.can_be_app_only().unwrap_err().to_string();
        assert!(said.contains(tenant) && said.contains("Overview"), "{said}");
        let (account, http, clock) = (bench.admitted.account(), http_client(), bench.shared_clock());
        connect_client_credentials(&http, &bench.store, &application, account, &clock).await.unwrap_err();
    }
    assert_eq!(bench.endpoint.requests(), 0, "nothing is sent that cannot work");
    let no_such_thing = Application { app_scopes: Vec::new(), ..application(&bench.endpoint) };
    assert!(no_such_thing.can_be_app_only().unwrap_err().to_string().contains("sign-in"));
    application(&bench.endpoint).can_be_app_only().unwrap();
}
