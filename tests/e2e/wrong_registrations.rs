//! What an administrator gets wrong when an application is set up, as Microsoft's side answers it, at the sign-in of a person.

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Ran, Settings, choose, open};
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_tests::office365::{Application, Mailbox, Tenant};

use crate::story::tenant;

async fn with_account(settings: &Settings) -> Oxpost {
    let oxpost = Oxpost::new(settings).unwrap();
    oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost
}

async fn device_code(settings: &Settings) -> String {
    let ran: Ran = with_account(settings).await.call(&["sign-in", ALICE, "--device-code"]).await.unwrap();
    assert_eq!(ran.status, Some(1), "{ran}");
    let said = ran.text();
    assert!(said.contains("oxpost: ") && !said.contains("panicked"), "{said}");
    said
}

#[tokio::test]
async fn wrong_tenant_and_wrong_client_id_differ_at_sign_in() {
    let tenant = tenant().await;
    let right = Settings::of(&tenant, CLIENT_ID);
    let mistyped = CLIENT_ID.replace("5555", "5556");
    for (tenant_id, client_id, words) in [
        ("fabrikam.example", CLIENT_ID, ["AADSTS90002", "Tenant ID"]),
        ("contoso", CLIENT_ID, ["AADSTS900023", "to an id or a domain"]),
        ("common", CLIENT_ID, ["AADSTS50194", "belongs to one tenant"]),
        (tenant.id(), mistyped.as_str(), ["AADSTS700016", "client id"]),
    ] {
        let settings = Settings { tenant: tenant_id.into(), client_id: client_id.into(), ..right.clone() };
        let said = device_code(&settings).await;
        assert!(words.iter().all(|words| said.contains(words)), "{said}");
    }
}

/// Microsoft's page keeps such errors to itself; a person reads them there, and can paste them.
#[tokio::test]
async fn the_same_on_the_page_is_explained_from_its_text() {
    let tenant = tenant().await;
    let right = Settings::of(&tenant, CLIENT_ID);
    let mistyped = CLIENT_ID.replace("5555", "5556");
    for (tenant_id, client_id, words) in
        [("fabrikam.example", CLIENT_ID, "Tenant ID"), (tenant.id(), mistyped.as_str(), "Compare client id and tenant")]
    {
        let settings = Settings { tenant: tenant_id.into(), client_id: client_id.into(), ..right.clone() };
        let oxpost = with_account(&settings).await;
        let mut signing_in = oxpost.begin_sign_in(ALICE, &["--paste"]).await.unwrap();
        let page = choose(&tenant, &signing_in.address, ALICE).await.unwrap();
        let shown = page.text.split("<p>").find(|text| text.starts_with("AADSTS")).unwrap();
        signing_in.types(shown.lines().next().unwrap()).await.unwrap();
        let (well, said) = signing_in.end().await.unwrap();
        assert!(!well && said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn expired_secret_is_distinguished_from_a_wrong_one() {
    let (expired, wrong) = ("Aa1~expired-0123456789", "Aa1~never-registered-0123456789");
    let tenant = Tenant::builder()
        .mailbox(Mailbox::user(ALICE).full_access(CLIENT_ID))
        .application(Application::confidential(CLIENT_ID, "Aa1~new-0123456789").expired_secret(expired))
        .start()
        .await
        .unwrap();
    for (secret, words) in
        [(expired, ["AADSTS7000222", "make a new secret"]), (wrong, ["AADSTS7000215", "not its Secret ID"])]
    {
        let settings = Settings { client_secret: Some(secret.into()), ..Settings::of(&tenant, CLIENT_ID) };
        let oxpost = Oxpost::new(&settings).unwrap();
        oxpost.add_account(ALICE, &["--grant", "client-credentials"]).await.unwrap();
        let said = oxpost.call(&["sign-in", ALICE]).await.unwrap().text();
        assert!(words.iter().all(|words| said.contains(words)) && !said.contains(secret), "{said}");
        // A person's sign-in needs the secret as well, when the code is redeemed.
        let oxpost = with_account(&settings).await;
        let signing_in = oxpost.begin_sign_in(ALICE, &["--no-open"]).await.unwrap();
        let back = choose(&tenant, &signing_in.address, ALICE).await.unwrap().location.unwrap();
        open(&back).await.unwrap();
        let (well, said) = signing_in.end().await.unwrap();
        assert!(!well && words.iter().all(|words| said.contains(words)) && !said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn authority_with_invalid_answers_is_named_and_stores_nothing() {
    let tenant = tenant().await;
    let oxpost = with_account(&Settings::of(&tenant, CLIENT_ID)).await;
    for (fault, words) in [
        (TokenFault::Garbage, "no JSON object"),
        (TokenFault::Html(200), "a page of HTML"),
        (TokenFault::Empty, "an empty body"),
        (TokenFault::Huge(10_000_000), "which is no token"),
        (TokenFault::Close, "could not be reached"),
        (TokenFault::Status(500, None), "is busy or failing"),
    ] {
        tenant.behave(|it| it.entra.next_faults = vec![fault].into());
        let signing_in = oxpost.begin_sign_in(ALICE, &["--no-open"]).await.unwrap();
        let back = choose(&tenant, &signing_in.address, ALICE).await.unwrap().location.unwrap();
        let page = open(&back).await.unwrap();
        let (well, said) = signing_in.end().await.unwrap();
        assert!(!well && said.contains("The sign-in service at localhost") && said.contains(words), "{words}: {said}");
        assert!(page.text.contains("Not signed in"), "{}", page.text);
    }
    let status = oxpost.call(&["status"]).await.unwrap().text();
    assert!(status.contains("not signed in"), "{status}");
}

/// The address of another service, and of one that does not exist.
#[tokio::test]
async fn host_that_is_no_authority_is_named() {
    let tenant = tenant().await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let imap = format!("https://localhost:{}", tenant.imap().port());
    for authority in [imap, format!("https://localhost:{}", unused.port())] {
        let said = device_code(&Settings { authority, ..Settings::of(&tenant, CLIENT_ID) }).await;
        assert!(said.contains("The sign-in service at localhost could not be reached"), "{said}");
        assert!(said.contains("the address in proxy.toml"), "{said}");
    }
}
