//! `oxpost doctor` against a tenant that is whole, and against each way it can be broken: the failing line, its remedy, and
//! what is not checked because of it.

use std::time::Duration;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings, eventually};
use oxpost_tests::office365::behaviour::{Act, Certificate, Fault, SmtpRefusal, Stage, TokenFault};
use oxpost_tests::office365::{Application, Behaviour, LoginOutcome, Mailbox, Protocol, Tenant};
use serde_json::Value;

use crate::story::tenant;

/// The checklist as `oxpost doctor --json` prints it.
pub(crate) struct Checklist {
    status: Option<i32>,
    pub(crate) checks: Vec<Value>,
}

impl Checklist {
    pub(crate) async fn of(oxpost: &Oxpost, mailbox: &[&str]) -> Self {
        let ran = oxpost.call(&[&["doctor", "--json"], mailbox].concat()).await.unwrap();
        let all: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("no JSON: {ran}"));
        assert_eq!(all["healthy"], ran.status == Some(0), "{ran}");
        Self { status: ran.status, checks: all["checks"].as_array().unwrap().clone() }
    }

    pub(crate) fn lines(&self) -> String {
        self.checks.iter().map(|check| format!("{check}\n")).collect()
    }

    /// The checks with this verdict, without those of the service: most tests run none.
    pub(crate) fn with(&self, verdict: &str) -> Vec<&str> {
        self.all_with(verdict).into_iter().filter(|check| *check != "service" && !check.ends_with("listener")).collect()
    }

    fn all_with(&self, verdict: &str) -> Vec<&str> {
        let checks = self.checks.iter().filter(|check| check["verdict"] == verdict);
        checks.map(|check| check["check"].as_str().unwrap()).collect()
    }

    /// Exactly these checks have failed, each with these words in its remedy.
    pub(crate) fn fails(&self, expected: &[(&str, &str)]) {
        let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
        assert_eq!(self.with("failed"), names, "\n{}", self.lines());
        let status = if self.all_with("failed").is_empty() { 0 } else { 3 };
        assert_eq!(self.status, Some(status), "the exit status");
        for (name, words) in expected {
            let found = self.checks.iter().filter(|check| check["check"] == *name && check["verdict"] == "failed");
            let texts: Vec<&str> = found.map(|check| check["text"].as_str().unwrap()).collect();
            assert!(texts.iter().any(|text| text.contains(words)), "{name}: {texts:?} has no {words:?}");
        }
    }

    pub(crate) fn not_checked(&self, expected: &[&str]) {
        assert_eq!(self.with("not-checked"), expected, "\n{}", self.lines());
    }
}

/// Everything as at the beginning, but for what was revoked.
fn mend(tenant: &Tenant) {
    tenant.behave(|it| *it = Behaviour::default());
    tenant.add_mailbox(Mailbox::user(ALICE));
    tenant.add_application(Application::public(CLIENT_ID));
}

async fn signed_in() -> (Tenant, Oxpost) {
    let tenant = tenant().await;
    tenant.behave(|it| it.entra.device_code_interval = Duration::from_secs(1));
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    mend(&tenant);
    (tenant, oxpost)
}

const BEHIND_THE_TOKEN: [&str; 8] =
    ["audience", "identity", "token length", "IMAP login", "mailbox", "POP3 login", "SMTP login", "sender"];

#[tokio::test]
async fn a_whole_tenant_passes_and_nothing_is_sent() {
    let (tenant, oxpost) = signed_in().await;
    let running = oxpost.run().await.unwrap();
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    assert_eq!(list.all_with("passed").len(), list.checks.len(), "{}", list.lines());
    assert_eq!(list.status, Some(0));
    // Nodes share PostgreSQL alone: see `interop/nodes/status.rs`.
    assert!(!list.with("passed").iter().any(|check| check.ends_with("nodes")));
    for (name, _) in oxpost::testing::CHECKS.iter().filter(|(name, _)| *name != "nodes") {
        let permission = |check: &str| check.ends_with("AccessAsUser.All") || check == "SMTP.Send";
        let named = |check: &&str| check.ends_with(name) || *name == "permission" && permission(check);
        assert!(list.all_with("passed").iter().any(named), "no line of the checklist is for {name}");
    }
    assert!(tenant.outgoing().is_empty() && tenant.messages(ALICE, "Sent Items").is_empty());
    let text = oxpost.call(&["doctor"]).await.unwrap().said().unwrap();
    assert!(text.contains(&format!("account {ALICE}")) && text.contains("  ok   SMTP login"), "{text}");
    tenant.behave(|it| it.entra.opaque_tokens = true);
    Checklist::of(&oxpost, &[ALICE]).await.fails(&[]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn stopped_service_and_listeners_that_do_not_greet_are_named() {
    let (_tenant, oxpost) = signed_in().await;
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    assert_eq!(list.all_with("failed"), ["service"], "{}", list.lines());
    assert_eq!(list.all_with("not-checked"), ["IMAP listener", "POP3 listener", "SMTP listener"], "{}", list.lines());
    assert!(list.status == Some(3) && list.lines().contains("mail programs cannot connect"), "{}", list.lines());

    let running = oxpost.run().await.unwrap();
    let file = oxpost.folder().join("proxy.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    let more = "[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:65533\"\n";
    std::fs::write(&file, format!("{written}\n{more}")).unwrap();
    let list = Checklist::of(&oxpost, &[ALICE]).await;
    assert_eq!(list.all_with("failed"), ["IMAP listener"], "{}", list.lines());
    assert!(list.lines().contains("does not listen on 127.0.0.1:65533, plain text"), "{}", list.lines());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_broken_registration_names_what_to_change_in_the_portal() {
    let (tenant, oxpost) = signed_in().await;
    tenant.remove_application(CLIENT_ID);
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("client id", "no application with the client id")]);
    let permissions = ["IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send"];
    list.not_checked(&[&["kind of client"], &permissions[..], &["token"], &BEHIND_THE_TOKEN].concat());

    tenant.add_application(Application::confidential(CLIENT_ID, "Aa1~a-secret-that-nobody-has-configured"));
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("kind of client", "Allow public client flows = Yes")]);
    assert!(list.lines().contains("AADSTS7000218"));

    mend(&tenant);
    tenant.withdraw_consent(CLIENT_ID);
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&permissions.map(|name| (name, "Grant admin consent")));
    list.not_checked(&[&["token"], &BEHIND_THE_TOKEN[..]].concat());

    tenant.add_application(Application::public(CLIENT_ID).delegated(&["IMAP.AccessAsUser.All", "SMTP.Send"]));
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("POP.AccessAsUser.All", "API permissions")]);

    tenant.add_application(Application::public(CLIENT_ID).enabled(false));
    Checklist::of(&oxpost, &[]).await.fails(&[("client id", "Enabled for users to sign in")]);
    mend(&tenant);
    Checklist::of(&oxpost, &[]).await.fails(&[]);
}

#[tokio::test]
async fn disabled_protocols_and_closed_mailboxes_are_distinguished() {
    let (tenant, oxpost) = signed_in().await;
    let off = |tenant: &Tenant, change: fn(Mailbox) -> Mailbox| assert!(tenant.change_mailbox(ALICE, change));
    off(&tenant, |mailbox| mailbox.imap(false));
    Checklist::of(&oxpost, &[]).await.fails(&[("mailbox", "IMAP is enabled for it")]);
    mend(&tenant);
    off(&tenant, |mailbox| mailbox.pop3(false));
    Checklist::of(&oxpost, &[]).await.fails(&[("POP3 login", "-PopEnabled $true")]);
    mend(&tenant);
    off(&tenant, |mailbox| mailbox.smtp_auth(false));
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("SMTP login", "Set-CASMailbox -Identity alice@contoso.com")]);
    list.not_checked(&["sender"]);
    mend(&tenant);
    type Change = fn(&mut Behaviour);
    let smtp = "SMTP login";
    let cases: [(Change, &str, &str); 12] = [
        (|it| it.smtp.disabled_for_tenant = true, smtp, "Set-TransportConfig"),
        (|it| it.smtp.refusal = Some(SmtpRefusal::SecurityDefaults), smtp, "security defaults"),
        (|it| it.smtp.refusal = Some(SmtpRefusal::Criteria), smtp, "Conditional Access"),
        (|it| it.smtp.refusal = Some(SmtpRefusal::BasicDisabled), smtp, "Sign-in logs"),
        (|it| it.smtp.refusal = Some(SmtpRefusal::CredentialsIncorrect), smtp, "wrong password"),
        (|it| it.smtp.refusal = Some(SmtpRefusal::BasicNotSupported), smtp, "XOAUTH2"),
        (|it| it.smtp.refusal = Some(SmtpRefusal::Temporary), smtp, "few minutes"),
        (|it| it.smtp.offer_xoauth2 = false, smtp, "does not offer what Oxpost needs"),
        (|it| it.imap.not_connected = 2, "mailbox", "licence"),
        (|it| it.imap.throttle_logins = Some(299_961), "IMAP login", "is throttling"),
        (
            |it| it.smtp.faults = vec![say(Stage::Mail, "554 5.2.252 SendAsDenied; a not allowed to send as b")],
            "sender",
            "Add-RecipientPermission SENDER -Trustee WHO",
        ),
        (
            |it| it.smtp.faults = vec![say(Stage::Recipient, "550 5.1.8 Access denied, bad outbound sender")],
            "sender",
            "Restricted entities",
        ),
    ];
    for (change, name, words) in cases {
        tenant.behave(change);
        Checklist::of(&oxpost, &[]).await.fails(&[(name, words)]);
        mend(&tenant);
    }
    // Once is no reason for an alarm: a mailbox may be between two servers.
    tenant.behave(|it| it.imap.not_connected = 1);
    Checklist::of(&oxpost, &[]).await.fails(&[]);
}

fn say(stage: Stage, line: &str) -> Fault {
    Fault::always(stage, Act::Say(line.to_owned()))
}

#[tokio::test]
async fn tokens_that_do_not_come_and_tokens_that_do_not_fit_are_named() {
    let (tenant, oxpost) = signed_in().await;
    tenant.behave(|it| it.entra.fault = Some(TokenFault::TooManyRequests(Some(30))));
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("token", "Run the command again")]);
    assert!(list.with("not-checked").contains(&"client id"), "nothing is said of what was not examined");
    mend(&tenant);
    tenant.behave(|it| it.entra.token_bloat = 5000);
    Checklist::of(&oxpost, &[]).await.fails(&[("token length", "4096"), ("POP3 login", "4096")]);
    tenant.behave(|it| it.entra.token_bloat = 2300);
    let list = Checklist::of(&oxpost, &[]).await;
    assert_eq!(list.with("warning"), ["token length"], "{}", list.lines());
    mend(&tenant);
    tenant.clock().advance(Duration::from_secs(3600));
    Checklist::of(&oxpost, &[]).await.fails(&[("clock", "1h behind")]);
    tenant.clock().set_back(Duration::from_secs(3600));
    tenant.revoke(ALICE);
    Checklist::of(&oxpost, &[]).await.fails(&[("token", "oxpost sign-in alice@contoso.com")]);
}

#[tokio::test]
async fn servers_that_are_not_reached_or_not_trusted_are_named() {
    let (tenant, oxpost) = signed_in().await;
    tenant.behave(|it| it.certificate = Certificate::OtherAuthority);
    let list = Checklist::of(&oxpost, &[]).await;
    let other = "issued by `CN=Some other CA`";
    list.fails(&[("authority", other), ("certificate", other), ("certificate", other), ("certificate", other)]);
    assert!(list.lines().contains("[trust] ca-file"), "{}", list.lines());
    tenant.behave(|it| it.certificate = Certificate::WrongName);
    let list = Checklist::of(&oxpost, &[]).await;
    let names = ["authority", "certificate", "certificate", "certificate"];
    list.fails(&names.map(|name| (name, "a certificate for mail.fabrikam.example")));
    mend(&tenant);
    tenant.behave(|it| it.smtp.offer_starttls = false);
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("certificate", "STARTTLS")]);
    list.not_checked(&["SMTP login", "sender"]);
    mend(&tenant);

    let file = oxpost.folder().join("proxy.toml");
    let right = std::fs::read_to_string(&file).unwrap();
    let imap = tenant.imap().port();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let wrong = |from: &str, to: &str| {
        assert!(right.contains(from), "{right}");
        std::fs::write(&file, right.replace(from, to)).unwrap();
    };
    wrong(&format!("port = {imap}"), &format!("port = {closed}"));
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("connection", "cannot be reached")]);
    list.not_checked(&["certificate", "IMAP login", "mailbox"]);
    wrong(&format!("host = \"localhost\", port = {imap}"), &format!("host = \"nowhere.invalid\", port = {imap}"));
    Checklist::of(&oxpost, &[]).await.fails(&[("name", "nslookup nowhere.invalid")]);
    wrong("https://outlook.office.com/", "https://graph.microsoft.com/");
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("audience", "The token is for `https://graph.microsoft.com`")]);
    list.not_checked(&["IMAP login", "mailbox", "POP3 login", "SMTP login", "sender"]);
    wrong(tenant.id(), "fabrikam.example");
    Checklist::of(&oxpost, &[]).await.fails(&[("tenant", "AADSTS90002")]);
    wrong(&tenant.authority(), &format!("https://localhost:{imap}"));
    Checklist::of(&oxpost, &[]).await.fails(&[("authority", "does not answer, although a TLS")]);
    wrong(&tenant.authority(), &format!("https://localhost:{closed}"));
    Checklist::of(&oxpost, &[]).await.fails(&[("authority", "cannot be reached at this port")]);
    wrong("name = \"default\"", "name = \"another\"");
    Checklist::of(&oxpost, &[]).await.fails(&[("application", "no application `default`")]);
    wrong("[trust]", "[turst]");
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("configuration", "`trust`")]);
    list.not_checked(&["store and key", "everything else"]);
    wrong("ca.pem", "no-such.pem");
    Checklist::of(&oxpost, &[]).await.fails(&[("configuration", "no-such.pem")]);
    std::fs::write(&file, &right).unwrap();
    Checklist::of(&oxpost, &["bob@contoso.com"])
        .await
        .fails(&[("store and key", "oxpost account add bob@contoso.com")]);
    std::fs::remove_file(oxpost.folder().join("oxpost.key")).unwrap();
    Checklist::of(&oxpost, &[]).await.fails(&[("store and key", "backup")]);
}

#[tokio::test]
async fn missing_or_foreign_sign_in_is_named() {
    let (tenant, oxpost) = signed_in().await;
    tenant.add_mailbox("bob@contoso.com");
    oxpost.add_account("bob@contoso.com", &[]).await.unwrap();
    let bob = ["bob@contoso.com"];
    let list = Checklist::of(&oxpost, &bob).await;
    list.fails(&[("token", "oxpost sign-in bob@contoso.com")]);
    assert!(list.with("passed").contains(&"client id"), "{}", list.lines());
    tenant.remove_application(CLIENT_ID);
    Checklist::of(&oxpost, &bob).await.fails(&[("client id", "no application with the client id")]);
    mend(&tenant);

    tenant.add_mailbox(Mailbox::shared("info@contoso.com"));
    oxpost.add_account("info@contoso.com", &["--delegate", ALICE]).await.unwrap();
    let list = Checklist::of(&oxpost, &["info@contoso.com"]).await;
    list.fails(&[("mailbox", "Full Access"), ("POP3 login", "that the user who signed in may open it")]);
    assert!(list.lines().contains("Add-MailboxPermission info@contoso.com -User alice@contoso.com"));
    tenant.add_mailbox(Mailbox::shared("info@contoso.com").full_access(ALICE).send_as(ALICE));
    let list = Checklist::of(&oxpost, &["info@contoso.com"]).await;
    list.fails(&[]);
    assert!(list.lines().contains("alice@contoso.com, for info@contoso.com"), "{}", list.lines());
}

#[tokio::test]
async fn an_application_in_its_own_name_is_examined_too() {
    let secret = "Aa1~app-only-client-secret-value-0123456";
    let application = || Application::confidential(CLIENT_ID, secret);
    let tenant = Tenant::builder()
        .mailbox(Mailbox::user(ALICE).full_access(CLIENT_ID))
        .application(application())
        .start()
        .await
        .unwrap();
    let settings = Settings { client_secret: Some(secret.into()), ..Settings::of(&tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    oxpost.add_account(ALICE, &["--grant", "client-credentials"]).await.unwrap();
    Checklist::of(&oxpost, &[]).await.fails(&[]);
    tenant.add_application(application().app_roles(&["IMAP.AccessAsApp", "SMTP.SendAsApp"]));
    let list = Checklist::of(&oxpost, &[]).await;
    list.fails(&[("POP.AccessAsApp", "Application permissions > POP.AccessAsApp")]);
    list.not_checked(&["POP3 login"]);
    tenant.add_application(application().unknown_to_exchange());
    let list = Checklist::of(&oxpost, &[]).await;
    assert_eq!(list.with("failed"), ["mailbox", "POP3 login", "SMTP login"], "{}", list.lines());
    tenant.add_application(Application::confidential(CLIENT_ID, "another").expired_secret(secret));
    Checklist::of(&oxpost, &[]).await.fails(&[("kind of client", "has expired")]);
    std::fs::write(oxpost.folder().join("client-secret.txt"), "wrong").unwrap();
    Checklist::of(&oxpost, &[]).await.fails(&[("kind of client", "Value (not its Secret ID)")]);
}

#[tokio::test]
async fn doctor_wait_ends_with_the_change_and_prints_only_it() {
    let (tenant, oxpost) = signed_in().await;
    tenant.behave(|it| it.smtp.disabled_for_tenant = true);
    let refused = |tenant: &Tenant| {
        let logins = tenant.logins();
        logins.iter().filter(|it| it.protocol == Protocol::Smtp && it.outcome == LoginOutcome::Denied).count()
    };
    let running = oxpost.run().await.unwrap();
    let administrator = async {
        // The third round still finds it switched off.
        eventually("it looks three times", async || (refused(&tenant) >= 3).then_some(())).await;
        tenant.behave(|it| it.smtp.disabled_for_tenant = false);
    };
    let (ran, ()) = tokio::join!(oxpost.call(&["doctor", "--wait", "--every", "1s"]), administrator);
    let text = String::from_utf8(ran.unwrap().output().unwrap()).unwrap();
    assert_eq!(text.matches("FAIL SMTP login").count(), 1, "{text}");
    assert_eq!(text.matches("ok   SMTP login").count(), 1, "{text}");
    assert_eq!(text.matches("ok   configuration").count(), 1, "what stays right is printed once:\n{text}");
    assert!(text.trim_end().lines().last().unwrap().contains("ok   sender"), "{text}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_shows_what_differs_and_nothing_of_whose_it_is() {
    let (tenant, oxpost) = signed_in().await;
    let file = oxpost.folder().join("report.md");
    let write = async || {
        oxpost.call(&["doctor", "--report", "report.md"]).await.unwrap();
        std::fs::read_to_string(&file).unwrap()
    };
    let mut reports = vec![write().await];
    assert!(reports[0].contains("as assumed") && !reports[0].contains("**differs**"), "{}", reports[0]);
    for said in
        ["* OK The Microsoft Exchange", "250 2.1.0 Sender OK", "235 2.7.0", "S: +OK", "a JWT with (name, length): "]
    {
        assert!(reports[0].contains(said), "no {said:?} in\n{}", reports[0]);
    }
    // A server that words it differently, and repeats what it was sent.
    tenant.behave(|it| {
        it.entra.opaque_tokens = true;
        it.imap.faults = vec![say(Stage::Greeting, "* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] hello 203.0.113.9")];
        it.smtp.faults = vec![say(Stage::Mail, &format!("550 5.7.1 {ALICE} of {} may not", tenant_words()))];
        it.pop3.faults =
            vec![say(Stage::Credentials, "-ERR no bob@fabrikam.example 0c6b2f4e-0000-4000-8000-000000000001")];
    });
    reports.push(write().await);
    assert!(reports[1].contains("**differs**") && reports[1].contains("opaque"), "{}", reports[1]);
    tenant.behave(|it| {
        *it = Behaviour::default();
        it.entra.fault = Some(TokenFault::Aadsts(700_016));
    });
    reports.push(write().await);
    assert!(reports[2].contains("AADSTS700016"), "{}", reports[2]);
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default().trim().to_owned();
    let secrets = [
        ALICE,
        "contoso",
        "fabrikam",
        CLIENT_ID,
        tenant.id(),
        "Bearer",
        "eyJ",
        "EwB",
        "1.A",
        "127.0.0.1",
        "203.0.113.9",
        "AM0PR02CA0134",
        "0c6b2f4e",
        "QQBNADAAUABSADAAMg",
        "simulated tenant",
        "/tmp",
        host.as_str(),
    ];
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        for report in &reports {
            let found = report.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "{secret:?} is in the report: {found:?}");
        }
    }
    let opaque = |line: &&str| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| run.len() > 32);
    assert_eq!(reports.iter().flat_map(|report| report.lines()).find(opaque), None, "something long is left");
}

fn tenant_words() -> &'static str {
    "contoso.com [AM0PR02CA0134.eurprd02.prod.outlook.com 2026-01-01T00:00:00.000Z 08DCA18218166FB4]"
}
