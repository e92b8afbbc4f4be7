//! The sign-in service.

use aws_lc_rs::digest;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::office365::Outcome;
use crate::office365::behaviour::TokenFault;

fn endpoint(tenant: &Tenant) -> String {
    format!("/{}/oauth2/v2.0/token", tenant.id())
}

async fn refresh(tenant: &Tenant, token: &str) -> Answer {
    let form = [("grant_type", "refresh_token"), ("client_id", DESKTOP), ("refresh_token", token), ("scope", OUTLOOK)];
    post(tenant, &endpoint(tenant), &form).await
}

#[tokio::test]
async fn metadata_names_endpoints_and_rejects_unknown_tenant() {
    let tenant = tenant().await;
    for segment in ["contoso.com", "common", "organizations"] {
        let answer = get(&tenant, &format!("/{segment}/v2.0/.well-known/openid-configuration")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text("token_endpoint").starts_with(&tenant.authority()));
        assert!(answer.text("device_authorization_endpoint").ends_with("/oauth2/v2.0/devicecode"));
    }
    let answer = get(&tenant, "/fabrikam.com/v2.0/.well-known/openid-configuration").await;
    assert_eq!((answer.status, answer.code(), answer.text("error").as_str()), (400, 90_002, "invalid_tenant"));
}

#[tokio::test]
async fn a_person_signs_in_by_browser_and_the_code_is_good_once() {
    let tenant = tenant().await;
    let verifier = "a".repeat(43);
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    let redirect = "http://localhost:41999";
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", DESKTOP),
            ("response_type", "code"),
            ("redirect_uri", redirect),
            ("scope", &format!("openid {OUTLOOK}")),
            ("state", "st&te"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("login_hint", "bob@contoso.com"),
        ])
        .finish();
    let path = format!("/contoso.com/oauth2/v2.0/authorize?{query}");
    let page = String::from_utf8(get(&tenant, &path).await.body).unwrap();
    let (bob, alice) = (page.find("account=bob%40contoso.com").unwrap(), page.find("account=alice%40").unwrap());
    assert!(bob < alice && !page.contains("info%40contoso.com"));
    let answer = get(&tenant, &format!("{path}&account=alice@contoso.com")).await;
    assert_eq!(answer.status, 302);
    let target = url::Url::parse(&answer.headers["location"]).unwrap();
    assert!(target.as_str().starts_with("http://localhost:41999/?code="), "{target}");
    let fields: HashMap<String, String> = target.query_pairs().into_owned().collect();
    assert_eq!(fields["state"], "st&te");
    let redeem = async |code_verifier: &str| {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", DESKTOP),
            ("code", &fields["code"]),
            ("redirect_uri", redirect),
            ("code_verifier", code_verifier),
        ];
        post(&tenant, &endpoint(&tenant), &form).await
    };
    let wrong = redeem(&"b".repeat(43)).await;
    assert_eq!((wrong.code(), wrong.text("error").as_str()), (501_481, "invalid_grant"));
    let answer = redeem(&verifier).await;
    assert_eq!(answer.json()["expires_in"], 4500);
    assert_eq!(answer.text("token_type"), "Bearer");
    let id_token = answer.text("id_token");
    let claims = URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["preferred_username"], "alice@contoso.com");
    assert_eq!(claims["tid"], tenant.id());
    assert_eq!(refresh(&tenant, &answer.text("refresh_token")).await.status, 200);
    assert_eq!(redeem(&verifier).await.code(), 54_005);
    let cancelled = get(&tenant, &format!("{path}&account=")).await;
    assert!(cancelled.headers["location"].contains("error=access_denied"));
    let elsewhere = get(&tenant, &path.replace("localhost%3A41999", "evil.example")).await;
    assert_eq!(elsewhere.status, 400);
    assert!(String::from_utf8(elsewhere.body).unwrap().contains("AADSTS50011"));
}

#[tokio::test]
async fn a_device_waits_for_a_person() {
    let tenant = tenant().await;
    let begin = async || {
        let path = format!("/{}/oauth2/v2.0/devicecode", tenant.id());
        post(&tenant, &path, &[("client_id", DESKTOP), ("scope", OUTLOOK)]).await
    };
    let poll = async |device_code: &str| {
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let form = [("grant_type", grant), ("client_id", DESKTOP), ("device_code", device_code)];
        post(&tenant, &endpoint(&tenant), &form).await
    };
    let first = begin().await;
    assert_eq!(first.json()["interval"], 5);
    let waiting = poll(&first.text("device_code")).await;
    assert_eq!(
        (waiting.status, waiting.text("error").as_str(), waiting.code()),
        (400, "authorization_pending", 70_016)
    );
    assert_eq!(tenant.pending_device_codes(), [first.text("user_code")]);
    let code = first.text("user_code").to_lowercase();
    let page = post(&tenant, "/devicelogin", &[("user_code", &code), ("account", "alice@contoso.com")]).await;
    assert!(String::from_utf8(page.body).unwrap().contains("You have signed in"));
    assert!(!poll(&first.text("device_code")).await.text("refresh_token").is_empty());

    let second = begin().await;
    assert!(tenant.decline_device_code(&second.text("user_code")));
    assert_eq!(poll(&second.text("device_code")).await.text("error"), "authorization_declined");
    let third = begin().await;
    tenant.behave(|behaviour| behaviour.entra.slow_down = true);
    poll(&third.text("device_code")).await;
    assert_eq!(poll(&third.text("device_code")).await.text("error"), "slow_down");
    tenant.clock().advance(Duration::from_secs(900));
    assert_eq!(poll(&third.text("device_code")).await.text("error"), "expired_token");
    assert!(!tenant.approve_device_code(&third.text("user_code"), "alice@contoso.com"));
    assert_eq!(poll("nonsense").await.text("error"), "bad_verification_code");
}

#[tokio::test]
async fn refresh_rotates_keeps_old_token_and_binds_application() {
    let tenant = tenant().await;
    let old = tenant.grant_refresh_token(DESKTOP, "alice@contoso.com").unwrap();
    let new = refresh(&tenant, &old).await.text("refresh_token");
    assert_ne!(new, old);
    assert_eq!((refresh(&tenant, &old).await.status, refresh(&tenant, &new).await.status), (200, 200));
    let garbage = refresh(&tenant, "garbage").await;
    assert_eq!((garbage.code(), garbage.text("error").as_str()), (9_002_313, "invalid_request"));
    let foreign = tenant.grant_refresh_token(SERVICE, "alice@contoso.com").unwrap();
    assert_eq!((refresh(&tenant, &foreign).await.code()), 70_000);
    let form = [("grant_type", "refresh_token"), ("client_id", DESKTOP), ("refresh_token", &old)];
    let answer = post(&tenant, &endpoint(&tenant), &form).await;
    assert_eq!(answer.code(), 900_144);
    assert!(
        answer
            .text("error_description")
            .starts_with("AADSTS900144: The request body must contain the following parameter: 'scope'. Trace ID: ")
    );
    tenant.clock().advance(Duration::from_hours(90 * 24));
    assert_eq!(refresh(&tenant, &old).await.code(), 700_082);
    let fresh = tenant.grant_refresh_token(DESKTOP, "alice@contoso.com").unwrap();
    tenant.revoke("alice@contoso.com");
    let revoked = refresh(&tenant, &fresh).await;
    assert_eq!((revoked.status, revoked.code(), revoked.text("error").as_str()), (400, 50_173, "invalid_grant"));
    assert_eq!(
        tenant.token_requests().last().unwrap().outcome,
        Outcome::Refused { error: "invalid_grant".into(), code: 50_173 }
    );
}

#[tokio::test]
async fn client_and_consent_are_verified() {
    let tenant = tenant().await;
    let grant = [("grant_type", "client_credentials"), ("scope", "https://outlook.office365.com/.default")];
    let ask = async |segment: &str, more: &[(&str, &str)]| {
        let form: Vec<(&str, &str)> = grant.iter().chain(more).copied().collect();
        let answer = post(&tenant, &format!("/{segment}/oauth2/v2.0/token"), &form).await;
        (answer.status, answer.code())
    };
    let domain = "contoso.com";
    assert_eq!(ask(domain, &[("client_id", "11111111-0000-4000-8000-000000000000")]).await, (400, 700_016));
    assert_eq!(ask("fabrikam.com", &[("client_id", SERVICE)]).await, (400, 90_002));
    assert_eq!(ask("token", &[("client_id", SERVICE)]).await, (400, 900_023));
    assert_eq!(ask("common", &[("client_id", SERVICE)]).await, (400, 9_001_023));
    assert_eq!(ask(domain, &[("client_id", SERVICE)]).await, (401, 7_000_218));
    assert_eq!(ask(domain, &[("client_id", SERVICE), ("client_secret", "wrong")]).await, (401, 7_000_215));
    assert_eq!(ask(domain, &[("client_id", DESKTOP), ("client_secret", "s3cret")]).await, (401, 700_025));
    tenant.add_application(Application::confidential(SERVICE, "new").expired_secret("s3cret"));
    assert_eq!(ask(domain, &[("client_id", SERVICE), ("client_secret", "s3cret")]).await, (401, 7_000_222));
    tenant.add_application(Application::confidential(SERVICE, "new").enabled(false));
    assert_eq!(ask(domain, &[("client_id", SERVICE), ("client_secret", "new")]).await, (400, 7_000_112));

    let token = tenant.grant_refresh_token(DESKTOP, "alice@contoso.com").unwrap();
    tenant.withdraw_consent(DESKTOP);
    let answer = refresh(&tenant, &token).await;
    assert_eq!((answer.code(), answer.text("suberror").as_str()), (65_001, "consent_required"));
    tenant.consent(DESKTOP, "alice@contoso.com");
    assert_eq!(refresh(&tenant, &token).await.status, 200);
    tenant.change_mailbox("alice@contoso.com", |mailbox| mailbox.enabled(false));
    assert_eq!(refresh(&tenant, &token).await.code(), 50_057);
    let common =
        [("grant_type", "refresh_token"), ("client_id", DESKTOP), ("refresh_token", &token), ("scope", OUTLOOK)];
    assert_eq!(post(&tenant, "/common/oauth2/v2.0/token", &common).await.code(), 50_194);
    tenant.add_application(Application::public(DESKTOP).delegated(&[]));
    tenant.change_mailbox("alice@contoso.com", |mailbox| mailbox.enabled(true));
    let answer = refresh(&tenant, &token).await;
    assert_eq!((answer.code(), answer.text("error").as_str()), (650_057, "invalid_resource"));
}

#[tokio::test]
async fn password_grant_depends_on_password_account_and_mfa() {
    let tenant = tenant().await;
    let ask = async |user: &str, password: &str| {
        let form = [
            ("grant_type", "password"),
            ("client_id", DESKTOP),
            ("username", user),
            ("password", password),
            ("scope", OUTLOOK),
        ];
        post(&tenant, &endpoint(&tenant), &form).await
    };
    assert_eq!(ask("Alice@Contoso.com", "Passw0rd!").await.status, 200);
    assert_eq!(ask("alice@contoso.com", "wrong").await.code(), 50_126);
    assert_eq!(ask("nobody@contoso.com", "x").await.code(), 50_034);
    tenant.behave(|behaviour| behaviour.entra.second_factor_required = true);
    let answer = ask("alice@contoso.com", "Passw0rd!").await;
    assert_eq!((answer.code(), answer.text("suberror").as_str()), (50_076, "basic_action"));

    // Smart lockout.
    for guess in 0..40 {
        // Of three in turn, each counts once.
        assert_eq!(ask("bob@contoso.com", &format!("guess {}", guess % 3)).await.code(), 50_126);
    }
    for guess in 10..17 {
        assert!(!tenant.is_locked_out("bob@contoso.com"));
        assert_eq!(ask("bob@contoso.com", &format!("guess {guess}")).await.code(), 50_126);
    }
    assert_eq!(ask("bob@contoso.com", "Passw0rd!").await.code(), 50_053, "the right one too");
    tenant.clock().advance(Duration::from_secs(60));
    assert_eq!(ask("bob@contoso.com", "guess 20").await.code(), 50_126);
    tenant.clock().advance(Duration::from_secs(60));
    assert_eq!(ask("bob@contoso.com", "Passw0rd!").await.code(), 50_053, "twice as long");
    tenant.clock().advance(Duration::from_secs(60));
    assert_eq!(
        (ask("bob@contoso.com", "Passw0rd!").await.code(), tenant.wrong_passwords("bob@contoso.com")),
        (50_076, 0)
    );
}

#[tokio::test]
async fn an_assertion_is_verified_against_the_registered_certificate() {
    let tenant = tenant().await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["app".to_owned()]).unwrap().self_signed(&key).unwrap();
    let der = certificate.der().to_vec();
    tenant.add_application(Application::confidential(SERVICE, "s3cret").certificate(&der));
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(&key.serialize_der()).unwrap();
    let now = tenant.clock().unix();
    let assertion = |alg: &str, expires: u64, spoil: bool| {
        let thumbprint = if alg == "PS256" {
            format!(r#""x5t#S256":"{}""#, URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &der)))
        } else {
            format!(r#""x5t":"{}""#, STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &der)))
        };
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT",{thumbprint}}}"#);
        let audience = format!("{}{}", tenant.authority(), endpoint(&tenant));
        let claims = format!(
            r#"{{"aud":"{audience}","iss":"{SERVICE}","sub":"{SERVICE}","jti":"1","nbf":{now},"iat":{now},"exp":{expires}}}"#
        );
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let encoding: &dyn aws_lc_rs::signature::RsaEncoding = if alg == "PS256" {
            &aws_lc_rs::signature::RSA_PSS_SHA256
        } else {
            &aws_lc_rs::signature::RSA_PKCS1_SHA256
        };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        if spoil {
            signature[7] ^= 1;
        }
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let ask = async |assertion: String| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", SERVICE),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.as_str()),
            ("scope", "https://outlook.office365.com/.default"),
        ];
        post(&tenant, &endpoint(&tenant), &form).await
    };
    assert_eq!(ask(assertion("PS256", now + 600, false)).await.status, 200);
    assert_eq!(ask(assertion("RS256", now + 600, false)).await.status, 200);
    assert_eq!(ask(assertion("PS256", now + 600, true)).await.code(), 700_027);
    assert_eq!(ask(assertion("PS256", now - 600, false)).await.code(), 700_024);
    assert_eq!(ask("a.b.c".to_owned()).await.code(), 700_027);
}

#[tokio::test]
async fn faults_of_the_token_endpoint_come_in_their_order() {
    let tenant = tenant().await;
    let token = tenant.grant_refresh_token(DESKTOP, "alice@contoso.com").unwrap();
    tenant.behave(|behaviour| {
        behaviour.entra.next_faults = [
            TokenFault::TooManyRequests(Some(30)),
            TokenFault::Status(503, None),
            TokenFault::Html(200),
            TokenFault::Empty,
            TokenFault::Huge(1_000_000),
            TokenFault::Aadsts(90_033),
            TokenFault::Disguised { error: "invalid_grant".into(), code: 90_033, suberror: None },
            TokenFault::UselessToken,
        ]
        .into();
    });
    let busy = refresh(&tenant, &token).await;
    assert_eq!((busy.status, busy.headers["retry-after"].as_str()), (429, "30"));
    assert_eq!(refresh(&tenant, &token).await.status, 503);
    let html = refresh(&tenant, &token).await;
    assert!(html.status == 200 && html.headers["content-type"].starts_with("text/html"));
    assert!(refresh(&tenant, &token).await.body.is_empty());
    assert_eq!(refresh(&tenant, &token).await.body.len(), 1_000_000);
    let transient = refresh(&tenant, &token).await;
    assert_eq!((transient.status, transient.text("error").as_str()), (503, "temporarily_unavailable"));
    let disguised = refresh(&tenant, &token).await;
    assert_eq!((disguised.status, disguised.text("error").as_str(), disguised.code()), (400, "invalid_grant", 90_033));
    assert_eq!(refresh(&tenant, &token).await.text("access_token"), "not-a-token");
    assert_eq!(refresh(&tenant, &token).await.status, 200);
    tenant.behave(|behaviour| behaviour.entra.fault = Some(TokenFault::Close));
    let form = [("grant_type", "refresh_token"), ("client_id", DESKTOP), ("refresh_token", &token), ("scope", OUTLOOK)];
    assert!(try_post(&tenant, &endpoint(&tenant), &form).await.is_none());
    tenant.behave(|behaviour| behaviour.entra.fault = Some(TokenFault::Hang));
    let (answer, ()) = tokio::join!(refresh(&tenant, &token), async {
        tenant.wait_until_held(1).await;
        tenant.release();
    });
    assert_eq!(answer.status, 200);
    assert_eq!(tenant.token_requests().len(), 11);
}

#[tokio::test]
async fn numbers_tokens_and_errors_come_in_their_other_forms() {
    let tenant = tenant().await;
    let token = tenant.grant_refresh_token(DESKTOP, "alice@contoso.com").unwrap();
    tenant.behave(|behaviour| {
        behaviour.entra.numbers_as_strings = true;
        behaviour.entra.opaque_tokens = true;
        behaviour.entra.multi_line_errors = true;
        behaviour.entra.rotate_refresh_tokens = false;
        behaviour.entra.token_lifetime = Duration::from_secs(20);
    });
    let answer = refresh(&tenant, &token).await;
    assert_eq!(answer.text("expires_in"), "20");
    assert!(answer.text("access_token").starts_with("EwB"));
    assert!(answer.json().get("refresh_token").is_none());
    let error = refresh(&tenant, "1.unknown").await;
    assert!(
        error
            .text("error_description")
            .starts_with("AADSTS70000: Provided grant is invalid or malformed.\r\nTrace ID: ")
    );
    let form = [
        ("grant_type", "password"),
        ("client_id", DESKTOP),
        ("username", "alice@contoso.com"),
        ("password", "Passw0rd!"),
        ("resource", "https://outlook.office365.com"),
    ];
    let v1 = post(&tenant, "/contoso.com/oauth2/token", &form).await;
    assert_eq!(v1.text("resource"), "https://outlook.office365.com");
}

#[tokio::test]
async fn metadata_service_issues_token_and_arc_requires_a_file() {
    let tenant = tenant().await;
    tenant.add_application(Application::managed_identity("5e1f0000-0000-4000-8000-000000000003"));
    tenant.change_mailbox("alice@contoso.com", |mailbox| mailbox.full_access("5e1f0000-0000-4000-8000-000000000003"));
    let directory = tempfile::tempdir().unwrap();
    let ask = async |version: &str, more: &str| {
        let mut client = Client::plain(tenant.instance_metadata()).await;
        let path =
            format!("/metadata/identity/oauth2/token?api-version={version}&resource=https://outlook.office365.com");
        client.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n").as_bytes()).await;
        let mut answer = String::new();
        client.0.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(ask("2018-02-01", "").await.starts_with("HTTP/1.1 400 "));
    let answer = ask("2018-02-01", "Metadata: true\r\n").await;
    let json: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert!(json["expires_on"].is_string());
    let mut imap = Client::tls(&tenant, tenant.imap()).await;
    imap.line().await;
    let token = json["access_token"].as_str().unwrap();
    let line = imap.ask(&format!("A1 AUTHENTICATE XOAUTH2 {}", xoauth2("alice@contoso.com", token))).await;
    assert_eq!(line, "A1 OK AUTHENTICATE completed.");
    assert_eq!(imap.all("A2 NAMESPACE", "A2").await[1], "A2 OK NAMESPACE completed.");

    assert!(ask("2020-06-01", "Metadata: true\r\n").await.starts_with("HTTP/1.1 404 "));
    tenant.join_arc(directory.path());
    let challenged = ask("2020-06-01", "Metadata: true\r\n").await;
    assert!(challenged.starts_with("HTTP/1.1 401 "), "{challenged}");
    let path = challenged.split_once("Basic realm=").unwrap().1.lines().next().unwrap();
    assert!(path.ends_with(".key"));
    let key = std::fs::read_to_string(path).unwrap();
    let proof = format!("Metadata: true\r\nAuthorization: Basic {key}\r\n");
    assert!(ask("2020-06-01", &proof).await.starts_with("HTTP/1.1 200 "));
    assert!(ask("2020-06-01", &proof).await.starts_with("HTTP/1.1 401 "));
}
