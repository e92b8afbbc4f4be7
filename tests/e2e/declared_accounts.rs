//! Accounts that proxy.toml declares: they come, change and go with the file, and their sign-ins stay.

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings};
use oxpost_tests::office365::{Application, Mailbox, Tenant};

use crate::logins::imap;

const INFO: &str = "info@contoso.com";

async fn tenant() -> Tenant {
    let info = Mailbox::shared(INFO).full_access(ALICE).send_as(ALICE);
    let tenant = Tenant::builder().mailbox(ALICE).mailbox(info).application(Application::public(CLIENT_ID));
    tenant.start().await.unwrap()
}

/// The program, and the text of its proxy.toml without accounts.
fn oxpost(tenant: &Tenant) -> (Oxpost, String) {
    let oxpost = Oxpost::new(&Settings::of(tenant, CLIENT_ID)).unwrap();
    let text = std::fs::read_to_string(oxpost.folder().join("proxy.toml")).unwrap();
    (oxpost, text)
}

fn declare(oxpost: &Oxpost, text: &str, accounts: &str) {
    std::fs::write(oxpost.folder().join("proxy.toml"), format!("{text}\n{accounts}")).unwrap();
}

/// The line of the file that has these words.
fn line_of(oxpost: &Oxpost, words: &str) -> usize {
    let text = std::fs::read_to_string(oxpost.folder().join("proxy.toml")).unwrap();
    text.lines().position(|line| line.contains(words)).unwrap() + 1
}

/// A password, and the line for the file that has its hash.
async fn password(oxpost: &Oxpost) -> (String, String) {
    let shown = oxpost.call(&["account", "password", "hash"]).await.unwrap().said().unwrap();
    let password = shown.lines().map(str::trim).find(|line| line.matches('-').count() == 5).unwrap().to_owned();
    let line = shown.lines().find(|line| line.starts_with("password-hash = ")).unwrap().to_owned();
    (password, line)
}

#[tokio::test]
async fn accounts_come_and_go_with_the_file_and_keep_their_sign_ins() {
    let tenant = tenant().await;
    let (oxpost, text) = oxpost(&tenant);
    let (alices, alices_hash) = password(&oxpost).await;
    assert!(!oxpost.folder().join("oxpost.db").exists(), "a hash needs no store");
    let alice = format!("[[account]]\nmailbox = \"{ALICE}\"\nlogin = \"Hall\"\n{alices_hash}\n");
    let info =
        format!("[[account]]\nmailbox = \"{INFO}\"\ndelegate = \"{ALICE}\"\npassword-file = \"info.password\"\n");
    crate::client_assertions::write_private(&oxpost, "info.password", "a password of the site\n");
    declare(&oxpost, &text, &format!("{alice}{info}"));
    let checked = oxpost.call(&["check"]).await.unwrap().said().unwrap();
    assert!(checked.contains("account alice@contoso.com") && checked.contains("account info@contoso.com"), "{checked}");

    // Before the first start.
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, "hall", &alices).await.starts_with("a OK"));
    assert!(imap(running.imap, INFO, "a password of the site").await.starts_with("a OK"));
    let listed = oxpost.call(&["account", "list"]).await.unwrap().said().unwrap();
    assert_eq!(listed.matches("proxy.toml").count(), 2, "{listed}");

    // What is declared is changed where it is declared.
    let place = |words: &str| format!("proxy.toml, line {}", line_of(&oxpost, words) - 1);
    for (arguments, place) in [
        (vec!["remove", ALICE], place(&format!("mailbox = \"{ALICE}\""))),
        (vec!["add", ALICE], place(&format!("mailbox = \"{ALICE}\""))),
        (vec!["delegate", INFO, INFO], place(&format!("mailbox = \"{INFO}\""))),
        (vec!["password", "remove", ALICE], place(&format!("mailbox = \"{ALICE}\""))),
        (vec!["password", "add", INFO, "--replace"], place(&format!("mailbox = \"{INFO}\""))),
    ] {
        let words = oxpost.call(&[&["account"], arguments.as_slice()].concat()).await.unwrap().refusal().unwrap();
        assert!(words.contains(&place) && words.contains("oxpost account apply"), "{arguments:?}: {words}");
    }
    // Passwords that need not be in the file are created by a command.
    let made =
        oxpost.call(&["account", "password", "add", ALICE, "--name", "hand-made"]).await.unwrap().said().unwrap();
    let made = made.lines().map(str::trim).find(|line| line.matches('-').count() == 5).unwrap().to_owned();
    assert!(imap(running.imap, ALICE, &made).await.starts_with("a OK"));

    // Removed from the file, while the service runs.
    declare(&oxpost, &text, "");
    let words = oxpost.call(&["account", "apply"]).await.unwrap().said().unwrap();
    assert!(words.contains("Disabled") && words.contains(ALICE) && words.contains(INFO), "{words}");
    for (user, password) in [("hall", &alices), (ALICE, &alices), (ALICE, &made)] {
        assert!(imap(running.imap, user, password).await.contains("AUTHENTICATIONFAILED"), "{user}");
    }
    let status = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    let row = status.lines().find(|line| line.starts_with(ALICE)).unwrap();
    assert!(row.contains("disabled") && status.contains("oxpost account remove alice@contoso.com"), "{status}");
    let words = oxpost.call(&["account", "add", ALICE]).await.unwrap().refusal().unwrap();
    assert!(words.contains("its sign-in is kept") && words.contains("oxpost account remove"), "{words}");

    let words = oxpost.call(&["sign-in", ALICE]).await.unwrap().refusal().unwrap();
    assert!(words.contains("is disabled"), "{words}");

    // Declared again, without Info, and without a new sign-in.
    declare(&oxpost, &text, &alice);
    let words = oxpost.call(&["account", "apply"]).await.unwrap().said().unwrap();
    assert!(words.contains("Added, as declared: alice@contoso.com") && !words.contains("sign-in"), "{words}");
    assert!(imap(running.imap, "hall", &alices).await.starts_with("a OK"));
    assert!(imap(running.imap, INFO, "a password of the site").await.contains("AUTHENTICATIONFAILED"));
    let log = running.stop().await.unwrap();
    assert!(!log.contains(&alices) && !log.contains("a password of the site") && !log.contains("argon2id"), "{log}");

    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, "hall", &alices).await.starts_with("a OK"));
    let words = oxpost.call(&["account", "remove", INFO]).await.unwrap().said().unwrap();
    assert!(words.contains("Removed the account info@contoso.com"), "{words}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn account_moves_between_configuration_file_and_store() {
    let tenant = tenant().await;
    let (oxpost, text) = oxpost(&tenant);
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let words = oxpost.call(&["account", "declare", ALICE]).await.unwrap().refusal().unwrap();
    assert!(words.contains("has no [[account]] section for alice@contoso.com"), "{words}");

    declare(
        &oxpost,
        &text,
        &format!("[[account]]\nmailbox = \"{INFO}\"\nlogin = \"{ALICE}\"\n[[account]]\nmailbox = \"{ALICE}\"\n"),
    );
    let words = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("the login name `alice@contoso.com` already belongs to"), "{words}");
    declare(&oxpost, &text, &format!("[[account]]\nmailbox = \"{ALICE}\"\n"));
    let line = format!("proxy.toml, line {}", line_of(&oxpost, "[[account]]"));
    for command in ["check", "run"] {
        let words = oxpost.call(&[command]).await.unwrap().refusal().unwrap();
        assert!(words.contains(&line) && words.contains("oxpost account declare alice@contoso.com"), "{words}");
    }
    let words = oxpost.call(&["account", "declare", ALICE]).await.unwrap().said().unwrap();
    assert!(words.contains("Changed, as declared: alice@contoso.com"), "{words}");
    oxpost.call(&["check"]).await.unwrap().said().unwrap();
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &password).await.starts_with("a OK"), "sign-in and password were handed over");
    running.stop().await.unwrap();
}

/// One goes through the other, so that neither could be handed over alone.
#[tokio::test]
async fn several_accounts_are_handed_over_by_one_command() {
    let tenant = tenant().await;
    let (oxpost, text) = oxpost(&tenant);
    oxpost.add_account(ALICE, &[]).await.unwrap();
    let password = oxpost.add_account(INFO, &["--delegate", ALICE]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let alice = format!("[[account]]\nmailbox = \"{ALICE}\"\n");
    declare(&oxpost, &text, &format!("{alice}[[account]]\nmailbox = \"{INFO}\"\ndelegate = \"{ALICE}\"\n"));
    let words = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("oxpost account declare alice@contoso.com info@contoso.com"), "{words}");
    oxpost.call(&["account", "declare", ALICE, INFO]).await.unwrap().said().unwrap();
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, INFO, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
}

/// A command that needs a declared account does not add it a second time, and an account that is declared no more still
/// serves those that go through it.
#[tokio::test]
async fn disabled_delegate_still_serves_its_accounts() {
    let tenant = tenant().await;
    let (oxpost, text) = oxpost(&tenant);
    let alice = format!("[[account]]\nmailbox = \"{ALICE}\"\n");
    declare(&oxpost, &text, &alice);
    let password = oxpost.add_account(INFO, &["--delegate", ALICE]).await.unwrap();
    let listed = oxpost.call(&["account", "list"]).await.unwrap().said().unwrap();
    let line = listed.lines().find(|line| line.starts_with(ALICE)).unwrap();
    assert!(line.trim_end().ends_with("proxy.toml"), "{listed}");
    declare(&oxpost, &text, "");
    oxpost.call(&["account", "apply"]).await.unwrap().said().unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, INFO, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
    let words = oxpost.call(&["status"]).await.unwrap();
    assert!(!words.text().contains("no longer declares it"), "{words}");
}

/// Neither the secret nor its name in the file is a password for mail programs.
#[tokio::test]
async fn app_only_account_takes_secret_from_the_environment() {
    let secret = "Aa1~app-only-client-secret-value-0123456";
    let tenant = crate::client_assertions::tenant(Application::confidential(CLIENT_ID, secret)).await;
    let (mut oxpost, text) = oxpost(&tenant);
    let (password, hash) = password(&oxpost).await;
    let text = text.replace("[trust]", "client-secret-environment = \"MAIL_SECRET\"\n\n[trust]");
    declare(&oxpost, &text, &format!("[[account]]\nmailbox = \"{ALICE}\"\ngrant = \"client-credentials\"\n{hash}\n"));
    let words = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    let line = format!("line {}", line_of(&oxpost, "MAIL_SECRET"));
    assert!(words.contains(&line) && words.contains("the environment variable `MAIL_SECRET` is not set"), "{words}");
    oxpost.set_variable("MAIL_SECRET", secret);
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
}
