//! Signing in.

use super::{endpoint::Reply, *};
use crate::{DeviceSignIn, ErrorKind, SignInError, begin_device_sign_in, connect_client_credentials};

async fn begin(bench: &Bench) -> DeviceSignIn {
    bench.endpoint.then(Reply::json(
        200,
        r#"{"user_code":"ABCD-EFGH","device_code":"dc-secret","verification_uri":"https://microsoft.com/devicelogin",
            "expires_in":"900","interval":"5","message":"To sign in …"}"#,
    ));
    let clock = bench.shared_clock();
    begin_device_sign_in(&http_client(), &bench.store, &application(&bench.endpoint), bench.admitted.account(), &clock)
        .await
        .unwrap()
}

/// From here on the clock of the runtime runs ahead whenever everybody sleeps. (A request that it overtakes is a poll
/// that failed, and is made again: the last reply is repeated.)
fn hurry() -> tokio::time::Instant {
    tokio::time::pause();
    tokio::time::Instant::now()
}

#[tokio::test]
async fn user_signs_in_with_a_device_code() {
    let bench = Bench::signed_in().await;
    let sign_in = begin(&bench).await;
    assert_eq!(
        sign_in.message,
        "To sign in for ann@contoso.com, open https://microsoft.com/devicelogin in a browser and enter the code ABCD-EFGH"
    );
    assert_eq!(sign_in.expires_in, Duration::from_secs(900));
    assert!(!format!("{sign_in:?}").contains("dc-secret"));
    assert_eq!(
        bench.endpoint.sent(0, "scope").unwrap(),
        "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid profile"
    );

    bench.endpoint.then(Reply::error("authorization_pending", 70_016));
    bench.endpoint.then(Reply::json(400, r#"{"error":"slow_down"}"#));
    bench.endpoint.then(Reply::Http(503, "", String::new()));
    // {"preferred_username":"Ann@Contoso.com"}
    bench.endpoint.always(Reply::json(
        200,
        r#"{"token_type":"Bearer","expires_in":3600,"access_token":"at-9","refresh_token":"rt-9",
            "id_token":"e30.eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJBbm5AQ29udG9zby5jb20ifQ.sig"}"#,
    ));
    let began = hurry();
    let signed_in = sign_in.wait().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(5 + 10), "slow_down adds five seconds (RFC 8628, 3.5)");
    tokio::time::resume();
    assert_eq!(signed_in.signed_in_as.as_deref(), Some("ann@contoso.com"));
    assert_eq!(bench.endpoint.sent(1, "device_code").unwrap(), "dc-secret");
    assert!(!format!("{signed_in:?}").contains("t-9"));

    bench
        .store
        .save_signed_in(bench.mailbox(), &signed_in.tokens, signed_in.signed_in_as.as_deref(), start())
        .await
        .unwrap();
    assert_eq!(bench.access_token().await.unwrap(), "at-9");
    let state = bench.store.token_state(bench.mailbox()).await.unwrap();
    assert_eq!((state.signed_in_as.as_deref(), state.has_refresh_token), (Some("ann@contoso.com"), true));
}

#[tokio::test]
async fn a_person_declines_or_is_too_late_or_may_not() {
    for (reply, expected) in [
        (Reply::error("authorization_declined", 65_004), "declined"),
        (Reply::json(400, r#"{"error":"access_denied"}"#), "declined"),
        (Reply::error("access_denied", 50_105), "Users and groups"),
        (Reply::error("expired_token", 70_020), "expired"),
        (Reply::error("invalid_grant", 53_003), "Conditional Access"),
        (Reply::error("invalid_client", 7_000_218), "Allow public client flows"),
        (Reply::tokens("at-1", None), "offline_access"),
    ] {
        let bench = Bench::signed_in().await;
        let sign_in = begin(&bench).await;
        bench.endpoint.always(reply);
        hurry();
        let error = sign_in.wait().await.unwrap_err();
        tokio::time::resume();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn unused_device_code_expires_by_the_clock() {
    let bench = Bench::signed_in().await;
    let sign_in = begin(&bench).await;
    bench.endpoint.always(Reply::error("authorization_pending", 70_016));
    bench.clock.advance(Duration::from_secs(100));
    let clock = bench.clock.clone();
    let (waited, ()) = tokio::join!(sign_in.wait(), async {
        bench.endpoint.arrived(2).await;
        clock.advance(Duration::from_secs(1000));
        hurry();
    });
    assert!(matches!(waited.unwrap_err(), SignInError::Expired));
}

#[tokio::test]
async fn an_application_connects_or_says_what_is_wrong() {
    let bench = Bench::cold().await;
    let (http, application, clock) = (http_client(), application(&bench.endpoint), bench.shared_clock());
    let account = bench.admitted.account();
    bench.endpoint.then(Reply::json(
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS7000215: client~secret","error_codes":[7000215]}"#,
    ));
    let error = connect_client_credentials(&http, &bench.store, &application, account, &clock).await.unwrap_err();
    assert!(error.to_string().contains("Value"), "{error}");
    assert!(!format!("{error:?}").contains("client~secret"), "what we sent does not come back in a text: {error:?}");
    bench.endpoint.then(Reply::tokens("at-1", None));
    connect_client_credentials(&http, &bench.store, &application, account, &clock).await.unwrap();
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.requests(), 2);

    let empty = fresh_store().await;
    empty.add_account(account).await.unwrap();
    let error = connect_client_credentials(&http, &empty, &application, account, &clock).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "no secret at all: {error}");
}
