//! Nothing secret in any log, at the most talkative level.
//!
//! The real program is run with `level = "trace"` through sign-ins, logins and refreshes that succeed and that fail, with every
//! grant. Everything it has written anywhere outside its sealed store is searched for every secret that existed in this run:
//! what the tenant has issued or was sent, and what was typed. That each kind existed and each scenario happened is checked too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings, choose, open};
use oxpost_tests::office365::behaviour::{Act, Fault, Stage, TokenFault};
use oxpost_tests::office365::{Application, Behaviour, Mailbox, Outcome, Protocol, SecretKind, Tenant};

use crate::client::Client;
use crate::client_assertions::{YEAR, pair, write_private};
use crate::managed_identity::endpoint;
use crate::secret_search::Searcher;
use crate::story::tenant;

const BOB: &str = "bob@contoso.com";
const CAROL: &str = "carol@contoso.com";
const DAVE: &str = "dave@contoso.com";
const ERIN: &str = "erin@contoso.com";
const FRANK: &str = "frank@contoso.com";

/// The applications of Carol, Dave and Erin: with a secret, with a certificate, of a machine.
const WITH_SECRET: &str = "22222222-0000-4000-8000-000000000001";
const WITH_CERTIFICATE: &str = "22222222-0000-4000-8000-000000000002";
const OF_THE_MACHINE: &str = "22222222-0000-4000-8000-000000000003";

const CLIENT_SECRET: &str = "Qx8~the-value-of-a-client-secret-.7";
const MICROSOFT_PASSWORD: &str = "Correct-horse-battery-9!";
const WRONG: &str = "hunter2-is-no-password";

/// Their messages contain these, each by another way.
const APPENDED: &str = "the-secret-recipe-appended";
const SUBMITTED: &str = "the-secret-recipe-submitted";
const RETRIEVED: &str = "the-secret-recipe-retrieved";

const PROTOCOLS: [Protocol; 3] = [Protocol::Imap, Protocol::Pop3, Protocol::Smtp];

/// Logs in and, once in, moves a message. Gives back the answer to the login.
async fn session(running: &Running, protocol: Protocol, user: &str, password: &str) -> String {
    let mut client = Client::connect(running.address(protocol)).await;
    client.line().await.unwrap();
    match protocol {
        Protocol::Imap => {
            client.say(&format!("a LOGIN {user} \"{password}\"")).await;
            let answer = client.until("a ").await;
            if answer.starts_with("a OK") {
                client.say(&format!("b APPEND INBOX {{{}+}}\r\n{APPENDED}", APPENDED.len())).await;
                client.until("b ").await;
            }
            answer
        }
        Protocol::Pop3 => {
            client.say(&format!("USER {user}\r\nPASS {password}")).await;
            client.line().await.unwrap();
            let answer = client.line().await.unwrap();
            if answer.starts_with("+OK") {
                client.say("RETR 1").await;
                client.until(RETRIEVED).await;
                client.until(".").await;
            }
            answer
        }
        Protocol::Smtp => {
            client.say(&format!("AUTH LOGIN {}", STANDARD.encode(user))).await;
            client.line().await.unwrap();
            client.say(&STANDARD.encode(password)).await;
            let answer = client.line().await.unwrap();
            if answer.starts_with("235") {
                client.say(&format!("MAIL FROM:<{user}>\r\nRCPT TO:<{user}>\r\nDATA")).await;
                client.until("354").await;
                client.say(&format!("Subject: x\r\n\r\n{SUBMITTED}\r\n.")).await;
                client.until("250 2.0.0").await;
            }
            answer
        }
    }
}

fn is_accepted(answer: &str) -> bool {
    ["a OK", "+OK", "235"].iter().any(|beginning| answer.starts_with(beginning))
}

/// A password typed into each wrong field, and a goodbye.
async fn confused(running: &Running, protocol: Protocol, password: &str) {
    let lines = match protocol {
        Protocol::Imap => format!("a LOGIN {password} x\r\n{password}\r\nb {password}\r\nz LOGOUT"),
        Protocol::Pop3 => format!("USER {password}\r\nPASS y\r\n{password}\r\nAPOP {password} x\r\nQUIT"),
        Protocol::Smtp => format!("EHLO {password}\r\nAUTH {password}\r\nMAIL FROM:<{password}>\r\n{password}\r\nQUIT"),
    };
    let mut client = Client::connect(running.address(protocol)).await;
    client.say(&lines).await;
    let heard = client.rest().await;
    let refusals =
        heard.lines().filter(|line| ["a NO", "* BAD", "b BAD", "-ERR", "5"].iter().any(|it| line.starts_with(it)));
    assert!(refusals.count() >= 3, "not every line was answered: {heard}");
}

/// Six people, each with another way to a token; Alice has a message.
async fn everybody(certificate: &[u8]) -> Tenant {
    let app_only = |address, id: &str| Mailbox::user(address).full_access(id);
    let tenant = Tenant::builder()
        .mailbox(Mailbox::user(ALICE))
        .mailbox(Mailbox::user(BOB).password(MICROSOFT_PASSWORD))
        .mailbox(app_only(CAROL, WITH_SECRET))
        .mailbox(app_only(DAVE, WITH_CERTIFICATE))
        .mailbox(app_only(ERIN, OF_THE_MACHINE))
        .mailbox(Mailbox::user(FRANK))
        .application(Application::public(CLIENT_ID))
        .application(Application::confidential(WITH_SECRET, CLIENT_SECRET))
        .application(Application::confidential(WITH_CERTIFICATE, "unused").certificate(certificate))
        .application(Application::managed_identity(OF_THE_MACHINE))
        .start()
        .await
        .unwrap();
    tenant.deliver(ALICE, format!("From: bob@fabrikam.example\r\nSubject: hello\r\n\r\n{RETRIEVED}\r\n"));
    tenant
}

fn applications(tenant: &Tenant, keys: &std::path::Path) -> String {
    let application = |name: &str, client_id: &str, more: &str| {
        format!(
            "[[application]]\nname = {name:?}\nprovider = \"test\"\ntenant = {:?}\nclient-id = {client_id:?}\n{more}\n",
            tenant.id()
        )
    };
    let machine = format!(
        "[[application]]\nname = \"machine\"\nprovider = \"test\"\nmanaged-identity = \"azure-arc\"\n\
         managed-identity-endpoint = {:?}\nmanaged-identity-keys = {keys:?}\n",
        endpoint(tenant)
    );
    application("secret", WITH_SECRET, "client-secret-file = \"secret\"")
        + &application("certificate", WITH_CERTIFICATE, "certificate = \"app.pem\"")
        + &machine
}

/// The outcomes of the tenant's token requests.
fn outcomes(tenant: &Tenant, grant_type: &str) -> Vec<Outcome> {
    let requests = tenant.token_requests().into_iter().filter(|request| request.grant_type == grant_type);
    requests.map(|request| request.outcome).collect()
}

fn is_refused(outcome: &Outcome, number: u32) -> bool {
    matches!(outcome, Outcome::Refused { code, .. } if *code == number)
}

#[tokio::test]
async fn no_log_has_a_password_a_token_or_a_message() {
    let certificate = pair(YEAR);
    let keys = tempfile::tempdir().unwrap();
    let tenant = everybody(&certificate.der).await;
    tenant.join_arc(keys.path());
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    settings.level = "trace".into();
    settings.more = applications(&tenant, keys.path());
    let mut oxpost = Oxpost::new(&settings).unwrap();
    oxpost.set_variable("RUST_LOG", "trace");
    write_private(&oxpost, "secret", CLIENT_SECRET);
    write_private(&oxpost, "app.pem", &certificate.pem);
    let mut searcher = Searcher::default();
    let mut written: Vec<(&str, Vec<u8>)> = Vec::new();

    // A sign-in by device code, one in a browser, and one with Microsoft's password.
    let default = ["--application", "default"];
    let password = oxpost.add_account(ALICE, &default).await.unwrap();
    // The code for another device is there to be read.
    let shown = oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let franks = oxpost.add_account(FRANK, &default).await.unwrap();
    let signing_in = oxpost.begin_sign_in(FRANK, &["--no-open"]).await.unwrap();
    let back = choose(&tenant, &signing_in.address, FRANK).await.unwrap().location.unwrap();
    written.push(("the page", open(&back).await.unwrap().text.into_bytes()));
    let (well, said) = signing_in.end().await.unwrap();
    assert!(well, "{said}");
    written.push(("sign-in", said.into_bytes()));
    oxpost
        .call(&["account", "add", BOB, "--grant", "password", default[0], default[1]])
        .await
        .unwrap()
        .output()
        .unwrap();
    let said = oxpost.call_with(&["sign-in", BOB], &format!("{WRONG}-of-bob\n")).await.unwrap();
    assert!(said.status == Some(1) && said.text().contains("AADSTS50126"), "{said}");
    written.push(("sign-in", said.text().into_bytes()));
    // Logins with every grant.
    let mut passwords = vec![(BOB, MICROSOFT_PASSWORD.to_owned()), (FRANK, franks)];
    for (mailbox, application) in [(CAROL, "secret"), (DAVE, "certificate"), (ERIN, "machine")] {
        let options = ["--application", application, "--grant", "client-credentials"];
        passwords.push((mailbox, oxpost.add_account(mailbox, &options).await.unwrap()));
    }
    let running = oxpost.run().await.unwrap();
    for (mailbox, password) in &passwords {
        let answer = session(&running, Protocol::Imap, mailbox, password).await;
        assert!(is_accepted(&answer), "{mailbox}: {answer}");
    }
    for protocol in PROTOCOLS {
        let answer = session(&running, protocol, ALICE, &password).await;
        assert!(is_accepted(&answer), "{protocol:?}: {answer}");
        let answer = session(&running, protocol, ALICE, WRONG).await;
        assert!(!is_accepted(&answer), "{protocol:?}: {answer}");
        confused(&running, protocol, &password).await;
    }
    // A refresh that rotates the refresh token.
    tenant.revoke_access_tokens(ALICE);
    let answer = session(&running, Protocol::Imap, ALICE, &password).await;
    assert!(is_accepted(&answer), "{answer}");
    // A server that repeats what it was sent.
    tenant.behave(|it| {
        let repeat = |line: &str| vec![Fault::always(Stage::Credentials, Act::Say(line.into()))];
        it.imap.faults = repeat("{tag} NO [UNAVAILABLE] what is {credentials}?");
        it.pop3.faults = repeat("-ERR [SYS/TEMP] what is {credentials}?");
        it.smtp.faults = repeat("454 4.7.0 what is {credentials}?");
    });
    for protocol in PROTOCOLS {
        let answer = session(&running, protocol, ALICE, &password).await;
        assert!(!is_accepted(&answer), "{protocol:?}: {answer}");
        written.push(("an answer", answer.into_bytes()));
    }
    tenant.behave(|it| *it = Behaviour::default());
    // An authority that repeats what it was sent, or makes no sense.
    for (mailbox, protocol, fault) in [
        (FRANK, Protocol::Smtp, TokenFault::Repeat(50_173)),
        (BOB, Protocol::Imap, TokenFault::Garbage),
        (CAROL, Protocol::Imap, TokenFault::Repeat(7_000_215)),
        (DAVE, Protocol::Imap, TokenFault::Repeat(700_027)),
    ] {
        tenant.behave(|it| it.entra.fault = Some(fault));
        tenant.revoke_access_tokens(mailbox);
        for (_, id) in [(CAROL, WITH_SECRET), (DAVE, WITH_CERTIFICATE)].iter().filter(|(of, _)| *of == mailbox) {
            tenant.revoke_access_tokens(id);
        }
        let known = passwords.iter().find(|(of, _)| *of == mailbox).map_or(&password, |(_, password)| password);
        let answer = session(&running, protocol, mailbox, known).await;
        assert!(!is_accepted(&answer), "{mailbox}: {answer}");
        written.push(("an answer", answer.into_bytes()));
    }
    tenant.behave(|it| *it = Behaviour::default());
    for arguments in [&["status"][..], &["status", "--json"], &["account", "list"]] {
        written.push(("a command", oxpost.call(arguments).await.unwrap().text().into_bytes()));
    }
    let log = running.stop().await.unwrap();

    // Each scenario happened.
    for protocol in PROTOCOLS {
        assert!(tenant.accepted_logins(protocol) >= 1, "{protocol:?}");
    }
    let delivered = tenant.messages(ALICE, "INBOX");
    for body in [APPENDED, SUBMITTED, RETRIEVED] {
        let delivered = delivered.iter().any(|message| memchr::memmem::find(message, body.as_bytes()).is_some());
        assert!(delivered, "{body} is in no mailbox");
        searcher.add("message", body);
    }
    for (grant_type, wanted) in [
        ("refresh_token", Outcome::Issued),
        ("authorization_code", Outcome::Issued),
        ("urn:ietf:params:oauth:grant-type:device_code", Outcome::Issued),
        ("client_credentials", Outcome::Issued),
        ("password", Outcome::Issued),
        ("refresh_token", Outcome::Fault(TokenFault::Repeat(50_173))),
        ("refresh_token", Outcome::Fault(TokenFault::Garbage)),
        ("client_credentials", Outcome::Fault(TokenFault::Repeat(7_000_215))),
        ("client_credentials", Outcome::Fault(TokenFault::Repeat(700_027))),
    ] {
        let seen = outcomes(&tenant, grant_type);
        assert!(seen.contains(&wanted), "{grant_type} {wanted:?}: {seen:?}");
    }
    assert!(outcomes(&tenant, "password").iter().any(|outcome| is_refused(outcome, 50_126)));
    for level in ["TRACE", "DEBUG", "INFO", "WARN"] {
        assert!(log.contains(&format!("\"level\":\"{level}\"")), "no line at {level}");
    }
    for (words, times) in [
        ("logged in", 8),
        ("[UNAVAILABLE] what is X2 AUTHENTICATE XOAUTH2 [redacted]", 1),
        ("[SYS/TEMP] what is [redacted]", 1),
        ("454 4.7.0 what is AUTH XOAUTH2 [redacted]", 1),
        ("AADSTS50173", 1),
        ("AADSTS7000215", 1),
        ("AADSTS700027", 1),
        ("The request was [redacted]", 3),
    ] {
        assert!(log.matches(words).count() >= times, "the log has `{words}` less than {times} times:\n{log}");
    }

    // Every secret that existed in this run, and each kind did.
    for (kind, secret) in tenant.secrets() {
        searcher.add(&format!("{kind:?}"), &secret);
    }
    for (_, password) in passwords.iter().filter(|(mailbox, _)| *mailbox != BOB) {
        searcher.add("local password", password);
    }
    searcher.add("local password", &password);
    searcher.add("wrong local password", WRONG);
    let tenants = [
        SecretKind::AccessToken,
        SecretKind::RefreshToken,
        SecretKind::AuthorizationCode,
        SecretKind::CodeVerifier,
        SecretKind::DeviceCode,
        SecretKind::UserCode,
        SecretKind::ClientSecret,
        SecretKind::Assertion,
        SecretKind::Password,
        SecretKind::MachineKey,
        SecretKind::Xoauth2,
    ];
    for kind in tenants.iter().map(|kind| format!("{kind:?}")) {
        assert!(searcher.kinds().contains(&kind.as_str()), "no {kind} existed: {:?}", searcher.kinds());
    }
    let rotated = tenant.secrets().iter().filter(|(kind, _)| *kind == SecretKind::RefreshToken).count();
    assert!(rotated >= 4, "{rotated} refresh tokens: two sign-ins, a password, and what replaced one of them");
    for (kind, secret) in tenant.secrets() {
        let planted = format!("{log}{secret}");
        assert!(searcher.find(planted.as_bytes()).is_some(), "a {kind:?} would not be found");
    }

    searcher.assert_none_in("the log", log.as_bytes());
    for (name, text) in &written {
        searcher.assert_none_in(name, text);
    }
    let mut but_the_code = Searcher::default();
    for (kind, secret) in tenant.secrets().iter().filter(|(kind, _)| *kind != SecretKind::UserCode) {
        but_the_code.add(&format!("{kind:?}"), secret);
    }
    but_the_code.assert_none_in("sign-in", shown.as_bytes());
    println!(
        "searched {} lines of log for secrets of {} kinds: none found",
        log.lines().count(),
        searcher.kinds().len()
    );
    // The store is sealed: nothing of a token may be readable in it either.
    let mut files = 0;
    for file in std::fs::read_dir(oxpost.folder()).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !["secret", "app.pem"].contains(&name.as_str()) {
            searcher.assert_none_in(&name, &std::fs::read(&file).unwrap());
            files += 1;
        }
    }
    assert!(files >= 3, "the configuration, the key and the store");
}

/// Whatever the servers say, and at the most talkative level.
#[tokio::test]
async fn the_doctor_prints_no_secret() {
    let tenant = tenant().await;
    let mut settings = Settings::of(&tenant, CLIENT_ID);
    settings.level = "trace".into();
    let mut oxpost = Oxpost::new(&settings).unwrap();
    oxpost.set_variable("RUST_LOG", "trace");
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    let report = oxpost.folder().join("report.md");
    let examine = async |oxpost: &Oxpost| {
        let checklist = oxpost.call(&["doctor", "--report", "report.md"]).await.unwrap().text();
        let json = oxpost.call(&["doctor", "--json"]).await.unwrap().text();
        [checklist, json, std::fs::read_to_string(&report).unwrap()]
    };
    let mut printed = Vec::new();
    // With a code that waits for a person, and with tokens.
    printed.extend(examine(&oxpost).await);
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    printed.extend(examine(&oxpost).await);
    let repeated = "{tag} BAD -ERR what is {credentials}?";
    for stage in [Stage::Credentials, Stage::Command, Stage::Mail] {
        tenant.behave(|it| {
            let says = |line: &str| vec![Fault::always(stage, Act::Say(line.to_owned()))];
            it.imap.faults = says(repeated);
            it.pop3.faults = says("-ERR what is {credentials}?");
            it.smtp.faults = says("550 5.0.0 what is {credentials}?");
        });
        let heard = examine(&oxpost).await;
        assert!(heard.iter().all(|text| text.contains("what is [redacted]")), "the servers were not heard: {heard:?}");
        printed.extend(heard);
        tenant.behave(|it| *it = Behaviour::default());
    }
    for fault in [TokenFault::Garbage, TokenFault::UselessToken, TokenFault::Aadsts(70_008)] {
        tenant.behave(|it| it.entra.fault = Some(fault));
        printed.extend(examine(&oxpost).await);
    }
    let mut searcher = Searcher::default();
    searcher.add("local password", &password);
    for (kind, secret) in tenant.secrets() {
        searcher.add(&format!("{kind:?}"), &secret);
    }
    for kind in [SecretKind::AccessToken, SecretKind::RefreshToken, SecretKind::DeviceCode, SecretKind::Xoauth2] {
        assert!(searcher.kinds().contains(&format!("{kind:?}").as_str()), "no {kind:?} existed");
    }
    for text in &printed {
        assert!(text.lines().count() >= 3, "nothing was printed: {text}");
        searcher.assert_none_in("the doctor", text.as_bytes());
    }
}
