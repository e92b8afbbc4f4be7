//! Applications without a secret of their own: the word of a platform, and the identity of the machine.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oxpost_protocol::Secret;
use oxpost_tests::harness::{ALICE, CLIENT_ID, InProcess, PASSWORD};
use oxpost_tests::office365::{Application, Mailbox, Tenant};
use oxpost_token_store::{Account, Grant, PasswordHash};

use crate::token_life::{login, state};

pub(crate) const ISSUER: &str = "https://oidc.cluster.example/";
pub(crate) const SUBJECT: &str = "system:serviceaccount:mail:oxpost";

async fn tenant(application: Application) -> Tenant {
    Tenant::builder()
        .mailbox(Mailbox::user(ALICE).full_access(CLIENT_ID))
        .application(application)
        .start()
        .await
        .unwrap()
}

/// The proxy, with an app-only account of Alice's mailbox, whose application has these keys.
async fn proxy(tenant: Tenant, keys: &str) -> InProcess {
    let more = format!("[[application]]\nname = \"machine\"\nprovider = \"test\"\n{keys}\n");
    let in_process = InProcess::start(tenant, &more).await.unwrap();
    let mailbox = oxpost_token_store::Mailbox::parse(ALICE).unwrap();
    let (store, now) = (&in_process.context.runtime.store, in_process.tenant.clock().now());
    store.add_account(&Account::new(mailbox.clone(), "machine", Grant::ClientCredentials, now)).await.unwrap();
    let hash = PasswordHash::of(&Secret::from(PASSWORD)).unwrap();
    store.set_password(&mailbox, "default", &hash, now).await.unwrap();
    in_process
}

/// A token as Kubernetes makes them. Nothing here verifies its signature.
pub(crate) fn statement(tenant: &Tenant, subject: &str) -> String {
    let now = tenant.clock().now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = serde_json::json!({
        "iss": ISSUER, "sub": subject, "aud": "api://AzureADTokenExchange", "iat": now, "nbf": now, "exp": now + 3600,
    });
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}\n", part("{\"alg\":\"RS256\"}".into()), part(claims.to_string()), part("signature".into()))
}

#[tokio::test]
async fn federated_token_is_read_again_for_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let tenant = tenant(Application::confidential(CLIENT_ID, "unused").federated(ISSUER, SUBJECT)).await;
    let keys = format!("tenant = {:?}\nclient-id = {CLIENT_ID:?}\nfederated-token-file = {file:?}", tenant.id());
    let in_process = proxy(tenant, &keys).await;

    let answer = login(&in_process).await;
    assert!(answer.contains("token by which the application `machine` proves itself"), "no file yet: {answer}");
    for (subject, words) in [
        (Some(SUBJECT), "a OK"),
        (Some("another:subject"), "compare the subject"),
        (None, "is no token"),
        (Some(SUBJECT), "a OK"),
    ] {
        // Past the life of every token, and past the pause after a failure.
        in_process.tenant.clock().advance(Duration::from_secs(2 * 3600));
        let text = subject.map_or_else(|| "nonsense".to_owned(), |subject| statement(&in_process.tenant, subject));
        std::fs::write(&file, text).unwrap();
        let answer = login(&in_process).await;
        assert!(answer.contains(words), "{words}: {answer}");
    }
    in_process.stop().await;
}

pub(crate) fn endpoint(tenant: &Tenant) -> String {
    format!("http://{}/metadata/identity/oauth2/token", tenant.instance_metadata())
}

#[tokio::test]
async fn a_virtual_machine_needs_no_secret_at_all() {
    for client_id in ["", CLIENT_ID] {
        let tenant = tenant(Application::managed_identity(CLIENT_ID)).await;
        let keys = format!(
            "client-id = {client_id:?}\nmanaged-identity = \"azure-vm\"\nmanaged-identity-endpoint = {:?}",
            endpoint(&tenant)
        );
        let in_process = proxy(tenant, &keys).await;
        assert!(login(&in_process).await.starts_with("a OK"));
        in_process.tenant.clock().advance(Duration::from_secs(26 * 3600));
        assert!(login(&in_process).await.starts_with("a OK"), "it is asked again");
        in_process.stop().await;
    }
}

#[tokio::test]
async fn virtual_machine_without_identity_gets_instructions() {
    let tenant = tenant(Application::confidential(CLIENT_ID, "unused")).await;
    let keys = format!("managed-identity = \"azure-vm\"\nmanaged-identity-endpoint = {:?}", endpoint(&tenant));
    let in_process = proxy(tenant, &keys).await;
    let answer = login(&in_process).await;
    assert!(answer.contains("Security > Identity"), "{answer}");
    assert!(state(&in_process).await.last_error.unwrap().text.contains("Identity not found"));
    in_process.stop().await;
}

async fn arc(tenant: Tenant, keys: &Path) -> InProcess {
    let keys = format!(
        "managed-identity = \"azure-arc\"\nmanaged-identity-endpoint = {:?}\nmanaged-identity-keys = {keys:?}",
        endpoint(&tenant)
    );
    proxy(tenant, &keys).await
}

#[tokio::test]
async fn azure_arc_server_proves_access_to_the_agent_file() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = tenant(Application::managed_identity(CLIENT_ID)).await;
    tenant.join_arc(folder.path());
    let in_process = arc(tenant, folder.path()).await;
    assert!(login(&in_process).await.starts_with("a OK"));
    in_process.stop().await;
}

/// A program that has taken the agent's port could otherwise obtain any of our files.
#[tokio::test]
async fn a_file_outside_the_agents_folder_is_not_read() {
    let (agents, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tenant = tenant(Application::managed_identity(CLIENT_ID)).await;
    tenant.join_arc(others.path());
    let in_process = arc(tenant, agents.path()).await;
    let answer = login(&in_process).await;
    assert!(!answer.starts_with("a OK") && answer.contains("is no .key file in"), "{answer}");
    in_process.stop().await;
}
