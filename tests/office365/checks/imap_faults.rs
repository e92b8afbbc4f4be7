//! IMAP, as it goes wrong.

use super::*;
use crate::office365::behaviour::{Act, Certificate, ErrorChallenge, Fault, Stage};
use crate::office365::{LoginOutcome, Refusal};

async fn login(tenant: &Tenant, user: &str, token: &str) -> (Client, String) {
    let mut client = Client::tls(tenant, tenant.imap()).await;
    client.line().await;
    let line = client.ask(&format!("A1 AUTHENTICATE XOAUTH2 {}", xoauth2(user, token))).await;
    (client, line)
}

fn last(tenant: &Tenant) -> LoginOutcome {
    tenant.logins().last().unwrap().outcome
}

#[tokio::test]
async fn token_is_rejected_for_audience_scope_age_and_revocation() {
    let tenant = tenant().await;
    let alice = "alice@contoso.com";
    let refused = |refusal| LoginOutcome::Token(refusal);
    let graph = token_for(&tenant, alice, "IMAP.AccessAsUser.All").await;
    let smtp_only = token_for(&tenant, alice, "https://outlook.office.com/SMTP.Send").await;
    let partner = token_for(&tenant, alice, "https://ps.outlook.com/.default").await;
    let cases = [
        (graph, Refusal::Audience),
        (partner, Refusal::Audience),
        (smtp_only, Refusal::Permission),
        ("EwBnothing".to_owned(), Refusal::Unknown),
    ];
    for (token, refusal) in cases {
        let (_, line) = login(&tenant, alice, &token).await;
        assert_eq!(line, "A1 NO AUTHENTICATE failed.");
        assert_eq!(last(&tenant), refused(refusal));
    }
    let good = token_for(&tenant, alice, "https://outlook.office365.com/IMAP.AccessAsUser.All").await;
    assert_eq!(login(&tenant, alice, &good).await.1, "A1 OK AUTHENTICATE completed.");
    tenant.revoke_access_tokens(alice);
    assert_eq!(login(&tenant, alice, &good).await.1, "A1 NO AUTHENTICATE failed.");
    assert_eq!(last(&tenant), refused(Refusal::Revoked));
    let good = token(&tenant, alice).await;
    tenant.clock().advance(Duration::from_mins(75));
    login(&tenant, alice, &good).await;
    assert_eq!(last(&tenant), refused(Refusal::Expired));
}

async fn not_connected(client: &mut Client, line: &str) {
    assert_eq!(line, "A1 OK AUTHENTICATE completed.");
    assert_eq!(client.all("A2 CAPABILITY", "A2").await[1], "A2 OK CAPABILITY completed.");
    assert_eq!(client.ask("A3 NAMESPACE").await, "A3 BAD User is authenticated but not connected.");
    assert_eq!(client.ask(r#"A4 LIST "" "INBOX""#).await, "A4 BAD User is authenticated but not connected.");
    assert_eq!(client.line().await, "* BYE Connection closed. 14");
    assert!(client.closed().await);
}

#[tokio::test]
async fn good_token_for_wrong_mailbox_is_not_connected() {
    let tenant = tenant().await;
    tenant.add_mailbox(Mailbox::user("carol@contoso.com").imap(false));
    tenant.add_mailbox(Mailbox::user("dan@contoso.com").without_mailbox());
    let pairs = [
        ("alice@contoso.com", "bob@contoso.com"),
        ("alice@contoso.com", "info@contoso.com"),
        ("carol@contoso.com", "carol@contoso.com"),
        ("dan@contoso.com", "dan@contoso.com"),
        ("alice@contoso.com", "nobody@contoso.com"),
    ];
    for (who, mailbox) in pairs {
        let token = token(&tenant, who).await;
        let (mut client, line) = login(&tenant, mailbox, &token).await;
        not_connected(&mut client, &line).await;
        assert_eq!(last(&tenant), LoginOutcome::NotConnected);
    }
    tenant.behave(|behaviour| behaviour.imap.not_connected = 1);
    let token = token(&tenant, "alice@contoso.com").await;
    let (mut client, line) = login(&tenant, "alice@contoso.com", &token).await;
    not_connected(&mut client, &line).await;
    let (mut client, _) = login(&tenant, "alice@contoso.com", &token).await;
    assert_eq!(client.all("A3 NAMESPACE", "A3").await[1], "A3 OK NAMESPACE completed.");
}

#[tokio::test]
async fn delegate_and_application_open_only_granted_mailboxes() {
    let tenant = tenant().await;
    let bob = token(&tenant, "bob@contoso.com").await;
    let (mut client, _) = login(&tenant, "Info@Contoso.com", &bob).await;
    assert_eq!(client.all("A2 SELECT INBOX", "A2").await.last().unwrap(), "A2 OK [READ-WRITE] SELECT completed.");
    let app = app_token(&tenant).await;
    let (mut client, _) = login(&tenant, "bob@contoso.com", &app).await;
    assert_eq!(client.all("A2 NAMESPACE", "A2").await[1], "A2 OK NAMESPACE completed.");
    let (mut client, line) = login(&tenant, "alice@contoso.com", &app).await;
    not_connected(&mut client, &line).await;
    tenant.add_application(Application::confidential(SERVICE, "s3cret").unknown_to_exchange());
    let (mut client, line) = login(&tenant, "bob@contoso.com", &app).await;
    not_connected(&mut client, &line).await;
}

#[tokio::test]
async fn a_session_ends_when_its_token_expires_also_in_idle() {
    let tenant = tenant().await;
    let token = token(&tenant, "alice@contoso.com").await;
    let (mut busy, _) = login(&tenant, "alice@contoso.com", &token).await;
    let (mut idle, _) = login(&tenant, "alice@contoso.com", &token).await;
    assert_eq!(idle.ask("A2 IDLE").await, "+ IDLE accepted, awaiting DONE command.");
    tenant.clock().advance(Duration::from_mins(75));
    for line in [idle.line().await, busy.ask("A2 NOOP").await] {
        assert_eq!(line, "* BYE Session invalidated - AccessTokenExpired");
    }
    assert!(idle.closed().await && busy.closed().await);
}

#[tokio::test]
async fn switches_throttle_challenge_and_refuse_good_tokens() {
    let tenant = tenant().await;
    let good = token(&tenant, "alice@contoso.com").await;
    tenant.behave(|behaviour| behaviour.imap.throttle = Some(299_961));
    let (mut client, _) = login(&tenant, "alice@contoso.com", &good).await;
    let line = client.ask("A2 NOOP").await;
    assert_eq!(line, "A2 BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds");
    assert!(client.closed().await);

    tenant.behave(|behaviour| {
        behaviour.refuse_good_tokens = 1;
        behaviour.error_challenge = ErrorChallenge::Json;
    });
    let (mut client, line) = login(&tenant, "alice@contoso.com", &good).await;
    let json = STANDARD.decode(line.strip_prefix("+ ").unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap()["status"], "400");
    assert_eq!(client.ask("").await, "A1 NO AUTHENTICATE failed.");
    assert_eq!(last(&tenant), LoginOutcome::Switched);
    assert_eq!(login(&tenant, "alice@contoso.com", &good).await.1, "A1 OK AUTHENTICATE completed.");
}

#[tokio::test]
async fn faults_happen_at_their_stage_and_as_often_as_they_were_set() {
    let tenant = tenant().await;
    let set = |stage, act| tenant.behave(|behaviour| behaviour.imap.faults = vec![Fault::once(stage, act)]);
    set(Stage::Greeting, Act::Say("* PREAUTH ready".to_owned()));
    assert_eq!(Client::tls(&tenant, tenant.imap()).await.line().await, "* PREAUTH ready");
    set(Stage::Greeting, Act::HalfLine);
    let mut client = Client::tls(&tenant, tenant.imap()).await;
    assert_eq!(client.line().await, "+O");
    assert!(client.closed().await);
    let good = token(&tenant, "alice@contoso.com").await;
    set(Stage::Credentials, Act::SayAndClose("{tag} NO [UNAVAILABLE] later".to_owned()));
    assert_eq!(login(&tenant, "alice@contoso.com", &good).await.1, "A1 NO [UNAVAILABLE] later");
    set(Stage::Credentials, Act::Close);
    assert_eq!(login(&tenant, "alice@contoso.com", &good).await.1, "");
    assert_eq!(login(&tenant, "alice@contoso.com", &good).await.1, "A1 OK AUTHENTICATE completed.");

    set(Stage::Command, Act::Silence);
    let (mut client, _) = login(&tenant, "alice@contoso.com", &good).await;
    client.send("A2 NOOP").await;
    tenant.wait_until_held(1).await;
    tenant.release();
    assert!(client.closed().await);

    set(Stage::Connect, Act::Reset);
    let client = Client::plain(tenant.imap()).await;
    assert!(client.start_tls(&tenant).await.is_err());
}

#[tokio::test]
async fn certificate_name_and_authority_can_be_wrong() {
    let tenant = tenant().await;
    for certificate in [Certificate::WrongName, Certificate::OtherAuthority] {
        tenant.behave(|behaviour| behaviour.certificate = certificate);
        let Err(error) = Client::plain(tenant.imap()).await.start_tls(&tenant).await else { panic!() };
        let wanted = if certificate == Certificate::WrongName { "NotValidForName" } else { "UnknownIssuer" };
        assert!(format!("{error:?}").contains(wanted), "{error:?}");
    }
    tenant.behave(|behaviour| behaviour.certificate = Certificate::Right);
    assert!(Client::plain(tenant.imap()).await.start_tls(&tenant).await.is_ok());
}
