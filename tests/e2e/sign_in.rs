//! Every way in for a person: the real program, and a scripted browser at the tenant's sign-in page.

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings, choose, open, say};
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_tests::office365::{Application, Mailbox, Protocol, Tenant};

use crate::client::Client;

const BOB: &str = "bob@contoso.com";
const INFO: &str = "info@contoso.com";
const NATIVE: &str = "https://login.microsoftonline.com/common/oauth2/nativeclient";

async fn tenant() -> Tenant {
    tenant_with(Application::public(CLIENT_ID).redirect_uri(NATIVE)).await
}

async fn tenant_with(application: Application) -> Tenant {
    Tenant::builder()
        .mailbox(ALICE)
        .mailbox(BOB)
        .mailbox(Mailbox::shared(INFO).full_access(BOB).send_as(BOB))
        .application(application)
        .start()
        .await
        .unwrap()
}

/// The program with an account without a sign-in.
async fn oxpost(tenant: &Tenant, mailbox: &str) -> (Oxpost, String) {
    let oxpost = Oxpost::new(&Settings::of(tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(mailbox, &[]).await.unwrap();
    (oxpost, password)
}

async fn signed_in_as(oxpost: &Oxpost) -> Option<String> {
    let status = oxpost.call(&["status", "--json"]).await.unwrap().accounts().unwrap();
    status[0]["signed_in_as"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn the_browser_of_this_computer_comes_back_by_itself() {
    let tenant = tenant().await;
    let (oxpost, password) = oxpost(&tenant, ALICE).await;
    let signing_in = oxpost.begin_sign_in(ALICE, &["--no-open"]).await.unwrap();
    assert_eq!(signing_in.asks("login_hint"), ALICE);
    assert_eq!(signing_in.asks("prompt"), "select_account");
    assert_eq!(signing_in.asks("code_challenge_method"), "S256");
    let back = choose(&tenant, &signing_in.address, ALICE).await.unwrap().location.unwrap();
    assert_eq!((back.scheme(), back.host_str(), back.path()), ("http", Some("localhost"), "/"));

    // Browsers ask for this too.
    assert_eq!(open(&back.join("/favicon.ico").unwrap()).await.unwrap().status, 404);
    let page = open(&back).await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text.contains("Signed in") && page.text.contains("You can close this page"), "{}", page.text);
    assert!(page.text.contains("no-store") && page.text.contains("no-referrer"), "{}", page.text);
    let (well, said) = signing_in.end().await.unwrap();
    assert!(well && said.contains("alice@contoso.com is signed in"), "{said}");
    assert_eq!(signed_in_as(&oxpost).await.as_deref(), Some(ALICE));
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    assert!(!said.contains(&code) && !page.text.contains(&code));
    assert!(open(&back).await.is_err(), "the listener has gone with the sign-in");

    let running = oxpost.run().await.unwrap();
    let mut client = Client::connect(running.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {password}")).await;
    assert!(client.until("a ").await.starts_with("a OK"));
    drop(client);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn unknown_requests_at_the_redirect_listener_are_not_believed() {
    let tenant = tenant().await;
    let (oxpost, _) = oxpost(&tenant, ALICE).await;
    let mut signing_in = oxpost.begin_sign_in(ALICE, &["--no-open"]).await.unwrap();
    let back = choose(&tenant, &signing_in.address, ALICE).await.unwrap().location.unwrap();
    let with_query = |query: &str| {
        let mut address = back.clone();
        address.set_query(Some(query));
        address
    };
    for query in ["code=1.AbC&state=made-up", "error=access_denied&state=made-up", "code=1.AbC", "nothing=here"] {
        let page = open(&with_query(query)).await.unwrap();
        assert_eq!(page.status, 400, "{query}");
        assert!(
            page.text.contains("does not belong to the present sign-in") && page.text.contains("still waits"),
            "{}",
            page.text
        );
        signing_in.until("Still waiting").await.unwrap();
    }
    let long = format!("GET /?code={} HTTP/1.1\r\n\r\n", "x".repeat(1_000_000));
    // It may stop listening in the middle of that.
    if let Ok(page) = say(&back, &long).await {
        assert_eq!(page.status, 431);
    }
    assert_eq!(say(&back, "POST / HTTP/1.1\r\n\r\n").await.unwrap().status, 405);
    // A connection that a browser opens ahead of time, and says nothing.
    let silent = tokio::net::TcpStream::connect(("localhost", back.port().unwrap())).await.unwrap();
    assert_eq!(open(&back).await.unwrap().status, 200);
    drop(silent);
    let (well, said) = signing_in.end().await.unwrap();
    assert!(well, "{said}");
    assert!(!said.contains("1.AbC"), "{said}");
}

#[tokio::test]
async fn second_redirect_hears_that_the_sign_in_has_ended() {
    let tenant = tenant().await;
    let (oxpost, _) = oxpost(&tenant, ALICE).await;
    let signing_in = oxpost.begin_sign_in(ALICE, &["--no-open"]).await.unwrap();
    let back = choose(&tenant, &signing_in.address, ALICE).await.unwrap().location.unwrap();
    // The first one is held while its code is being redeemed.
    tenant.behave(|tenant| tenant.entra.next_faults = vec![TokenFault::Hang].into());
    let first = tokio::spawn({
        let back = back.clone();
        async move { open(&back).await.unwrap() }
    });
    tenant.wait_until_held(1).await;
    let second = open(&back).await.unwrap();
    assert_eq!(second.status, 410);
    assert!(second.text.contains("is already finished"), "{}", second.text);
    tenant.release();
    assert!(first.await.unwrap().text.contains("Signed in"));
    let (well, said) = signing_in.end().await.unwrap();
    assert!(well && said.contains("is signed in"), "{said}");
    let redeemed = tenant.token_requests().iter().filter(|request| request.grant_type == "authorization_code").count();
    assert_eq!(redeemed, 1, "a code is redeemed once");
}

/// What Microsoft's page sends back as an error, and what the token endpoint refuses.
#[tokio::test]
async fn declined_sign_in_says_why_and_changes_nothing() {
    let tenant = tenant().await;
    let (oxpost, _) = oxpost(&tenant, ALICE).await;
    let signing_in = oxpost.begin_sign_in(ALICE, &["--no-open"]).await.unwrap();
    let back = choose(&tenant, &signing_in.address, "").await.unwrap().location.unwrap();
    let page = open(&back).await.unwrap();
    assert!(page.text.contains("Not signed in"), "{}", page.text);
    let (well, said) = signing_in.end().await.unwrap();
    assert!(!well && said.contains("did not consent") && said.contains("oxpost sign-in alice@contoso.com"), "{said}");

    for (code, words) in [
        (54_005, "used already"),
        (65_001, "Grant admin consent"),
        (7_000_218, "Mobile and desktop applications"),
        (53_003, "Conditional Access"),
    ] {
        tenant.behave(|tenant| tenant.entra.next_faults = vec![TokenFault::Aadsts(code)].into());
        let signing_in = oxpost.begin_sign_in(ALICE, &["--no-open"]).await.unwrap();
        let back = choose(&tenant, &signing_in.address, ALICE).await.unwrap().location.unwrap();
        let page = open(&back).await.unwrap();
        let (well, said) = signing_in.end().await.unwrap();
        assert!(!well && said.contains(words), "{code}: {said}");
        assert!(page.text.contains("Not signed in") && !page.text.contains("is signed in"), "{}", page.text);
    }
    assert_eq!(signed_in_as(&oxpost).await, None);
}

#[tokio::test]
async fn a_redirect_that_is_not_registered_is_explained() {
    let tenant = tenant_with(Application::public(CLIENT_ID)).await;
    let settings = Settings { redirect_uri: Some(NATIVE.into()), ..Settings::of(&tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    oxpost.add_account(ALICE, &[]).await.unwrap();
    let mut signing_in = oxpost.begin_sign_in(ALICE, &[]).await.unwrap();
    // Microsoft's page keeps it to itself: nothing comes back, and the person can only read it.
    let page = choose(&tenant, &signing_in.address, ALICE).await.unwrap();
    assert!(page.location.is_none() && page.text.contains("AADSTS50011"), "{}", page.text);
    let shown = page.text.split("<p>").find(|text| text.starts_with("AADSTS50011")).unwrap();
    let shown = shown.lines().next().unwrap();
    signing_in.types(shown).await.unwrap();
    let (well, said) = signing_in.end().await.unwrap();
    assert!(!well && said.contains("is not registered") && said.contains("http://localhost"), "{said}");

    let signing_in = oxpost.begin_sign_in(ALICE, &["--no-open"]).await.unwrap();
    assert!(signing_in.asks("redirect_uri").starts_with("http://localhost:"), "localhost is still possible");
}

#[tokio::test]
async fn the_browser_of_another_computer_and_a_pasted_address() {
    let tenant = tenant().await;
    let (oxpost, _) = oxpost(&tenant, ALICE).await;
    let older = oxpost.begin_sign_in(ALICE, &["--paste"]).await.unwrap();
    let of_the_older = choose(&tenant, &older.address, ALICE).await.unwrap().location.unwrap();
    let mut signing_in = oxpost.begin_sign_in(ALICE, &["--paste"]).await.unwrap();
    let back = choose(&tenant, &signing_in.address, ALICE).await.unwrap().location.unwrap();
    signing_in.types(of_the_older.as_str()).await.unwrap();
    signing_in.until("answers another sign-in").await.unwrap();
    let address = signing_in.address.to_string();
    signing_in.types(&address).await.unwrap();
    signing_in.until("the address of the sign-in page").await.unwrap();
    signing_in.types("alice").await.unwrap();
    signing_in.until("not an address").await.unwrap();
    signing_in.types(&format!("\"{back}\" ")).await.unwrap();
    let (well, said) = signing_in.end().await.unwrap();
    assert!(well && said.contains("is signed in"), "{said}");
    assert_eq!(signed_in_as(&oxpost).await.as_deref(), Some(ALICE));

    // Nothing is pasted.
    let (well, said) = older.end().await.unwrap();
    assert!(!well && said.contains("nothing was changed"), "{said}");
    assert_eq!(signed_in_as(&oxpost).await.as_deref(), Some(ALICE));
}

#[tokio::test]
async fn a_registration_with_microsofts_page_for_native_clients() {
    let tenant = tenant().await;
    let settings = Settings { redirect_uri: Some(NATIVE.into()), ..Settings::of(&tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    oxpost.add_account(ALICE, &[]).await.unwrap();
    let mut signing_in = oxpost.begin_sign_in(ALICE, &[]).await.unwrap();
    assert_eq!(signing_in.asks("redirect_uri"), NATIVE);
    let back = choose(&tenant, &signing_in.address, ALICE).await.unwrap().location.unwrap();
    assert!(back.as_str().starts_with(NATIVE), "{back}");
    signing_in.types(back.as_str()).await.unwrap();
    let (well, said) = signing_in.end().await.unwrap();
    assert!(well, "{said}");

    // What has become of that page since January 2026.
    let mut signing_in = oxpost.begin_sign_in(ALICE, &[]).await.unwrap();
    signing_in.types("https://login.microsoftonline.com/common/wrongplace").await.unwrap();
    let (well, said) = signing_in.end().await.unwrap();
    assert!(!well && said.contains("removed the code"), "{said}");
    assert!(said.contains("add the redirect URI http://localhost") && said.contains("redirect-uri from proxy.toml"));
}

#[tokio::test]
async fn tokens_of_the_wrong_person_are_not_stored() {
    let tenant = tenant().await;
    let (oxpost, password) = oxpost(&tenant, INFO).await;
    for flags in [["--no-open"], ["--paste"]] {
        let mut signing_in = oxpost.begin_sign_in(INFO, &flags).await.unwrap();
        assert_eq!(signing_in.asks("login_hint"), INFO);
        let back = choose(&tenant, &signing_in.address, BOB).await.unwrap().location.unwrap();
        match flags {
            ["--paste"] => signing_in.types(back.as_str()).await.unwrap(),
            _ => assert!(open(&back).await.unwrap().text.contains("Not signed in")),
        }
        let (well, said) = signing_in.end().await.unwrap();
        assert!(!well && said.contains("made as bob@contoso.com, but this account is info@contoso.com"), "{said}");
        assert!(said.contains("`oxpost account delegate info@contoso.com bob@contoso.com --create`"), "{said}");
    }
    let said = oxpost.sign_in(INFO, &tenant, BOB).await.unwrap_err().to_string();
    assert!(said.contains("nothing was stored"), "by device code as well: {said}");
    assert_eq!(signed_in_as(&oxpost).await, None);
    let status = oxpost.call(&["status"]).await.unwrap().text();
    assert!(status.contains("not signed in"), "{status}");

    // The remedy, as it was printed.
    oxpost.call(&["account", "delegate", INFO, BOB, "--create"]).await.unwrap().output().unwrap();
    let signing_in = oxpost.begin_sign_in(INFO, &["--no-open"]).await.unwrap();
    assert_eq!(signing_in.asks("login_hint"), BOB);
    let back = choose(&tenant, &signing_in.address, BOB).await.unwrap().location.unwrap();
    assert!(open(&back).await.unwrap().text.contains("Signed in"));
    let (well, said) = signing_in.end().await.unwrap();
    assert!(well && said.contains("sign in as bob@contoso.com"), "{said}");
    shared_mailbox_works(&oxpost, &tenant, &password).await;
}

/// IMAP as the shared mailbox, SMTP as the delegate, which is what Exchange takes.
async fn shared_mailbox_works(oxpost: &Oxpost, tenant: &Tenant, password: &str) {
    let running = oxpost.run().await.unwrap();
    let mut imap = Client::connect(running.address(Protocol::Imap)).await;
    imap.say(&format!("a LOGIN {INFO} {password}")).await;
    assert!(imap.until("a ").await.starts_with("a OK"));
    let mut smtp = Client::connect(running.address(Protocol::Smtp)).await;
    smtp.until("220 ").await;
    smtp.say("EHLO test").await;
    smtp.until("250 ").await;
    smtp.say("AUTH LOGIN").await;
    smtp.until("334 ").await;
    for word in [INFO, password] {
        use base64::Engine as _;
        smtp.say(&base64::engine::general_purpose::STANDARD.encode(word)).await;
        smtp.line().await.unwrap();
    }
    let users: Vec<_> = tenant.logins().iter().map(|login| (login.protocol, login.user.clone())).collect();
    assert!(
        users.contains(&(Protocol::Imap, INFO.into())) && users.contains(&(Protocol::Smtp, BOB.into())),
        "{users:?}"
    );
    assert_eq!(tenant.accepted_logins(Protocol::Smtp), 1);
    drop((imap, smtp));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn app_only_access_needs_one_tenant() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings { tenant: "organizations".into(), ..Settings::of(&tenant, CLIENT_ID) }).unwrap();
    let said = oxpost.call(&["account", "add", ALICE, "--grant", "client-credentials"]).await.unwrap();
    assert!(said.status == Some(1) && said.text().contains("is no tenant"), "{said}");
    assert!(said.text().contains("Overview"), "{said}");

    // The tenant is changed afterwards.
    let settings = Settings { client_secret: Some("Aa1~value\n".into()), ..Settings::of(&tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    oxpost.add_account(ALICE, &["--grant", "client-credentials"]).await.unwrap();
    oxpost.call(&["check"]).await.unwrap().output().unwrap();
    let file = oxpost.folder().join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(tenant.id(), "common")).unwrap();
    let said = oxpost.call(&["check"]).await.unwrap();
    assert!(said.status == Some(1) && said.text().contains(ALICE) && said.text().contains("is no tenant"), "{said}");
}
