//! `oxpost status`: what an administrator knows of every account, once, for scripts, and as it changes.

use std::time::{Duration, SystemTime};

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings, eventually};
use oxpost_tests::office365::behaviour::TokenFault;
use oxpost_tests::office365::{Application, Mailbox, Protocol, Tenant};
use serde_json::Value;

use crate::client::Client;

const BOB: &str = "bob@contoso.com";
const SECRET: &str = "Aa1~app-only-client-secret-value-0123456";

async fn json(oxpost: &Oxpost) -> Value {
    oxpost.call(&["status", "--json"]).await.unwrap().accounts().unwrap()
}

/// The day so many days from now, in UTC.
fn day(days: u64) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut left = since / 86_400 + days;
    let divides = |by: u64, year: u64| year.is_multiple_of(by);
    let is_leap = |year: u64| divides(4, year) && !divides(100, year) || divides(400, year);
    let mut year = 1970;
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

#[tokio::test]
async fn status_shows_each_account_and_what_to_do() {
    let tenant = Tenant::builder().mailbox(ALICE).mailbox(BOB).application(Application::public(CLIENT_ID));
    let tenant = tenant.start().await.unwrap();
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.add_account(BOB, &[]).await.unwrap();
    for who in [ALICE, BOB] {
        oxpost.sign_in(who, &tenant, who).await.unwrap();
    }
    let running = oxpost.run().await.unwrap();
    let mut client = Client::connect(running.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {password}")).await;
    client.until("a OK").await;
    drop(client);
    // Its use is recorded after the login.
    let mut watching = oxpost.watch(&["status", "--watch", "--json", "--every", "100ms"]).unwrap();
    watching.until("\"last_login\":\"2").await.unwrap();
    drop(watching);
    // Bob's sign-in is revoked; doctor asks Microsoft.
    tenant.revoke(BOB);
    oxpost.call(&["doctor", BOB]).await.unwrap().attention().unwrap();

    let table = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    let columns = ["MAILBOX", "STATE", "TOKEN", "REFRESH", "LAST LOGIN"];
    let header = table.lines().find(|line| line.starts_with("MAILBOX")).unwrap();
    assert!(columns.iter().all(|column| header.contains(column)), "{table}");
    let row = |mailbox: &str| table.lines().find(|line| line.starts_with(mailbox)).unwrap();
    assert!(row(ALICE).contains("  ok  "), "{table}");
    assert!(row(BOB).contains("  sign in again  ") && row(BOB).trim_end().ends_with('-'), "{table}");
    assert!(table.contains("oxpost sign-in bob@contoso.com"), "{table}");

    let status = json(&oxpost).await;
    let (alice, bob) = (&status[0], &status[1]);
    for member in ["token_expires", "next_refresh", "last_login"] {
        assert!(alice[member].as_str().is_some_and(|time| time.ends_with('Z')), "{member}: {alice}");
    }
    assert_eq!((&alice["grant"], &alice["signed_in_as"]), (&"sign-in".into(), &ALICE.into()));
    assert_eq!(
        (&alice["last_error"], &alice["credential"], &bob["last_login"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let error = &bob["last_error"];
    assert!(error["remedy"].as_str().unwrap().contains("oxpost sign-in bob@contoso.com"), "{error}");
    assert!(error["code"].is_u64() && error["what"].is_string(), "{error}");
    running.stop().await.unwrap();
}

/// The address of an account that has no room in its column.
const LONG: &str = "accounts-receivable-and-reminders@subsidiary.contoso.com";

/// With the process gone, nothing is called healthy.
#[tokio::test]
async fn stopped_service_is_reported_and_running_one_described() {
    let tenant = Tenant::builder().mailbox(ALICE).mailbox(LONG).application(Application::public(CLIENT_ID));
    let tenant = tenant.start().await.unwrap();
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    for who in [ALICE, LONG] {
        oxpost.add_account(who, &[]).await.unwrap();
        oxpost.sign_in(who, &tenant, who).await.unwrap();
    }
    let stopped = oxpost.call(&["status"]).await.unwrap().attention().unwrap();
    assert!(stopped.contains(" is not running: mail programs cannot connect"), "{stopped}");
    assert!(stopped.contains("oxpost: the service is not running"), "{stopped}");
    assert!(stopped.contains("not served") && !stopped.contains("  ok  "), "{stopped}");

    let running = oxpost.run().await.unwrap();
    let ran = oxpost.call(&["status"]).await.unwrap();
    assert_eq!(ran.status, Some(0), "{ran}");
    let text = ran.report().unwrap();
    let first = text.lines().next().unwrap();
    assert!(first.contains(" is running, process ") && first.contains("since 20"), "{text}");
    for words in
        ["  configuration  /", "  store          /", "  listeners      IMAP on 127.0.0.1:", "  sessions       0\n"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let mut table = text.lines().skip_while(|line| !line.starts_with("MAILBOX"));
    assert!(table.all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains(&format!("\n{LONG}\n")) && !text.contains('\u{1b}'), "{text}");
    let object: Value =
        serde_json::from_str(&oxpost.call(&["status", "--json"]).await.unwrap().said().unwrap()).unwrap();
    assert_eq!(
        (&object["service"]["state"], &object["needs_attention"]),
        (&"running".into(), &Value::Null),
        "{object}"
    );

    let one = oxpost.call(&["status", ALICE]).await.unwrap().said().unwrap();
    for words in ["alice@contoso.com: ok\n", "  grant          sign-in\n", "  passwords      default (never used)\n"] {
        assert!(one.contains(words), "{words}: {one}");
    }
    assert!(!one.contains(LONG), "{one}");
    let unknown = oxpost.call(&["status", "unknown@contoso.com"]).await.unwrap().refusal().unwrap();
    assert!(unknown.contains("there is no account unknown@contoso.com. `oxpost account list`"), "{unknown}");

    running.kill().await.unwrap();
    let killed = oxpost.call(&["status"]).await.unwrap().attention().unwrap();
    assert!(killed.contains(" is not running"), "{killed}");
}

async fn app_only() -> (Tenant, Oxpost) {
    let tenant = Tenant::builder()
        .mailbox(Mailbox::user(ALICE).full_access(CLIENT_ID))
        .application(Application::confidential(CLIENT_ID, SECRET))
        .start()
        .await
        .unwrap();
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    (tenant, oxpost)
}

#[tokio::test]
async fn client_secret_expiry_is_entered_and_warned_of() {
    let (_tenant, oxpost) = app_only().await;
    let seal = async |options: &[&str]| {
        let arguments = [&["application", "secret", "default"], options].concat();
        oxpost.call_with(&arguments, SECRET).await.unwrap()
    };
    seal(&[]).await.said().unwrap();
    for (day, words) in [("soon", "not a date"), ("2020-01-31", "has passed")] {
        let arguments = ["account", "add", ALICE, "--grant", "client-credentials", "--secret-expires", day];
        let ran = oxpost.call(&arguments).await.unwrap();
        assert!(ran.status != Some(0) && ran.text().contains(words), "{ran}");
    }
    oxpost.add_account(ALICE, &["--grant", "client-credentials", "--secret-expires", &day(400)]).await.unwrap();
    oxpost.call(&["sign-in", ALICE]).await.unwrap().said().unwrap();
    let status = json(&oxpost).await;
    assert_eq!(
        (&status[0]["state"], &status[0]["credential"]["days_left"]),
        (&"not served".into(), &399.into()),
        "{status}"
    );

    // Another secret has another end, and says so.
    let running = oxpost.run().await.unwrap();
    let words = seal(&[]).await.said().unwrap();
    assert!(words.contains("is forgotten") && json(&oxpost).await[0]["credential"].is_null(), "{words}");
    let soon = day(20);
    seal(&["--expires", &soon]).await.said().unwrap();
    let table = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    let row = table.lines().find(|line| line.starts_with(ALICE)).unwrap();
    assert!(row.contains("renew soon"), "{table}");
    assert!(table.contains(&format!("its client secret expires on {soon}, in 19 days. Make a new one")), "{table}");
    let checked = oxpost.call(&["check"]).await.unwrap().said().unwrap();
    assert!(checked.contains("in 19 days"), "{checked}");
    running.wait_for_log("client secret expires on").await.unwrap();
    let log = running.stop().await.unwrap();
    assert!(!log.contains(SECRET), "{log}");

    let text = std::fs::read_to_string(oxpost.folder().join("proxy.toml")).unwrap();
    let written = text.replace("[trust]", &format!("client-secret-expires = \"{}\"\n\n[trust]", day(90)));
    std::fs::write(oxpost.folder().join("proxy.toml"), written).unwrap();
    assert_eq!(json(&oxpost).await[0]["credential"]["days_left"], 89, "what the file says counts");
    let words = seal(&["--expires", &soon]).await;
    assert!(words.status == Some(1) && words.text().contains("change it there"), "{words}");
}

/// A client secret expires while the service runs, and mail continues.
#[tokio::test]
async fn next_client_secret_takes_over_when_the_current_one_expires() {
    const NEXT: &str = "Bb2~next-client-secret-value-0123456789";
    let (tenant, oxpost) = app_only().await;
    let store = async |options: &[&str], secret: &str| {
        let arguments = [&["application", "secret", "default"], options].concat();
        oxpost.call_with(&arguments, secret).await.unwrap()
    };
    store(&["--expires", &day(5)], SECRET).await.said().unwrap();
    let password = oxpost.add_account(ALICE, &["--grant", "client-credentials"]).await.unwrap();
    let running = oxpost.run().await.unwrap();
    let login = async || {
        let mut client = Client::connect(running.address(Protocol::Imap)).await;
        client.say(&format!("a LOGIN {ALICE} {password}")).await;
        client.until("a OK").await;
    };
    login().await;
    assert_eq!(json(&oxpost).await[0]["state"], "renew soon");

    for options in [&[][..], &["--next"]] {
        let words = store(options, "11111111-2222-3333-4444-555555555555\n").await.refusal().unwrap();
        assert!(words.contains("column Value") && words.contains("Nothing was stored"), "{words}");
    }
    let words = store(&["--next"], SECRET).await.refusal().unwrap();
    assert!(words.contains("is the current client secret"), "{words}");
    let expires = day(400);
    let words = store(&["--next", "--expires", &expires], NEXT).await.said().unwrap();
    assert!(words.contains("Stored the next client secret"), "{words}");
    let table = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    assert!(table.contains("the next client secret is stored") && table.contains(&expires), "{table}");
    let status = json(&oxpost).await;
    let next = status[0]["credential"]["next"]["expires"].as_str().unwrap();
    assert!(next.starts_with(&expires), "{status}");
    // Microsoft has not accepted it yet: the current one still expires in five days.
    assert_eq!((&status[0]["state"], &status[0]["credential"]["days_left"]), (&"renew soon".into(), &4.into()));
    assert!(
        table.contains("its client secret expires on") && table.contains("in 4 days. The next client secret"),
        "{table}"
    );

    let requests = tenant.token_requests().len();
    tenant.add_application(Application::confidential(CLIENT_ID, NEXT).expired_secret(SECRET));
    tenant.revoke_access_tokens(CLIENT_ID);
    login().await;
    assert_eq!(tenant.token_requests().len(), requests + 2, "one that is refused, and one that is not");
    tenant.revoke_access_tokens(CLIENT_ID);
    let status = json(&oxpost).await;
    let credential = &status[0]["credential"];
    assert!(status[0]["state"] == "ok" && credential["next"].is_null() && credential["days_left"] == 399, "{status}");
    let log = running.stop().await.unwrap();
    let line = log.lines().find(|line| line.contains("it is the client secret from now on")).unwrap();
    assert!(line.contains("\"application\":\"default\"") && line.contains("AADSTS7000222"), "{line}");
    assert!(!log.contains(SECRET) && !log.contains(NEXT), "{log}");
}

#[tokio::test]
async fn next_client_secret_of_the_configuration_is_refused() {
    let tenant = Tenant::builder().mailbox(ALICE).application(Application::confidential(CLIENT_ID, SECRET));
    let tenant = tenant.start().await.unwrap();
    let settings = Settings { client_secret: Some(SECRET.into()), ..Settings::of(&tenant, CLIENT_ID) };
    let oxpost = Oxpost::new(&settings).unwrap();
    let ran = oxpost.call_with(&["application", "secret", "default", "--next"], "another").await.unwrap();
    let words = ran.refusal().unwrap();
    assert!(words.contains("client-secret-file") && words.contains("oxpost application secret default"), "{words}");
    let words = oxpost.call_with(&["application", "secret", "default"], SECRET).await.unwrap().said().unwrap();
    assert!(words.contains("It is not used yet"), "{words}");
}

/// In a pipe a report is printed when something has changed, and only then.
#[cfg(unix)]
#[tokio::test]
async fn the_status_is_watched_until_ctrl_c() {
    let (_tenant, oxpost) = app_only().await;
    oxpost.call_with(&["application", "secret", "default"], SECRET).await.unwrap().said().unwrap();
    let watch = |options: &[&str]| {
        let arguments = [&["status", "--watch", "--every", "100ms"], options].concat();
        oxpost.watch(&arguments).unwrap()
    };
    let (mut table, mut lines) = (watch(&[]), watch(&["--json"]));
    table.until("There are no accounts yet").await.unwrap();
    let line: Value = serde_json::from_str(lines.until("").await.unwrap().trim()).unwrap();
    assert_eq!((&line["service"]["state"], &line["accounts"]), (&"stopped".into(), &Value::Array(Vec::new())));

    oxpost.add_account(ALICE, &["--grant", "client-credentials", "--no-password"]).await.unwrap_err();
    let heard = table.until(ALICE).await.unwrap();
    assert_eq!(heard.matches("MAILBOX").count(), 1, "one report for one change: {heard}");
    let line: Value = serde_json::from_str(lines.until("").await.unwrap().trim()).unwrap();
    let account = &line["accounts"][0];
    assert_eq!((&account["mailbox"], &account["state"]), (&ALICE.into(), &"not served".into()));

    oxpost.call(&["sign-in", ALICE]).await.unwrap().said().unwrap();
    let heard = table.until("  not served ").await.unwrap();
    assert_eq!(heard.matches("MAILBOX").count(), 1, "{heard}");
    let line: Value = serde_json::from_str(lines.until("").await.unwrap().trim()).unwrap();
    assert!(line["accounts"][0]["token_expires"].is_string(), "{line}");
    // Twenty looks, and nothing is new but that time goes by.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    for watching in [table, lines] {
        let (status, rest) = watching.interrupt().await.unwrap();
        assert_eq!(status, Some(0));
        assert!(!rest.contains(ALICE), "said twice: {rest}");
    }
}

/// An authority that asks for a pause, and a machine whose clock is an hour behind it, as `oxpost status` and `oxpost doctor` show it.
#[tokio::test]
async fn open_circuit_and_wrong_clock_are_shown_with_what_to_do() {
    let tenant = Tenant::builder().mailbox(ALICE).application(Application::public(CLIENT_ID)).start().await.unwrap();
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let status = async || oxpost.call(&["status"]).await.unwrap().report().unwrap();
    let quiet = status().await;
    assert!(!quiet.contains("is not asked") && !quiet.contains("The clock of"), "{quiet}");

    let running = oxpost.run().await.unwrap();
    tenant.clock().advance(Duration::from_secs(3600));
    tenant.revoke_access_tokens(ALICE);
    let mut client = Client::connect(running.address(Protocol::Imap)).await;
    client.say(&format!("a LOGIN {ALICE} {password}")).await;
    client.until("a OK").await;
    let shown = eventually("the wrong clock is shown", async || {
        let shown = status().await;
        shown.contains("The clock of").then_some(shown)
    });
    let shown = shown.await;
    assert!(
        shown.contains("behind that of localhost. Set it: ") && shown.contains("timedatectl set-ntp true"),
        "{shown}"
    );
    let one = &json(&oxpost).await[0];
    let skew = &one["clock_skew"][0];
    assert_eq!(
        (&skew["peer"], &skew["ahead"], one["clock_skew"].as_array().unwrap().len()),
        (&"localhost".into(), &false.into(), 1)
    );
    assert!((3500..3700).contains(&skew["seconds"].as_u64().unwrap()) && one["open_circuit"].is_null(), "{one}");

    tenant.behave(|tenant| tenant.entra.fault = Some(TokenFault::TooManyRequests(Some(600))));
    let ran = oxpost.call(&["doctor"]).await.unwrap();
    assert!(ran.text().contains("clocks") && ran.text().contains("The clock of"), "{ran}");
    let shown = status().await;
    assert!(shown.contains("application default: the sign-in service gets no requests until 2"), "{shown}");
    assert!(shown.contains("HTTP status 429") && shown.contains("If this continues, run `oxpost doctor`"), "{shown}");
    let one = &json(&oxpost).await[0];
    assert!(one["open_circuit"]["reason"].as_str().unwrap().contains("429"), "{one}");
    assert!(one["open_circuit"]["asked_again"].is_string(), "{one}");
    let ran = oxpost.call(&["doctor"]).await.unwrap();
    assert!(ran.text().contains("pause") && ran.text().contains("gets no requests until"), "{ran}");
    running.stop().await.unwrap();
}
