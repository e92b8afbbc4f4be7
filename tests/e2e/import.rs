//! `oxpost import`, as it is typed: from another program's configuration to a mailbox that opens, without a new sign-in.

use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings};
use oxpost_tests::office365::{Application, Tenant};

use crate::logins::imap;
use crate::story::tenant;

const OLD_PASSWORD: &str = "Alte Kuh 7";
const SALT: &[u8] = b"a salt of 16 oct";
const ITERATIONS: u32 = 1000;

/// Seals as email-oauth2-proxy does. A file that the program itself has written is read by the tests of the reader.
fn seal(text: &str) -> String {
    let mut key = [0; 32];
    let iterations = NonZeroU32::new(ITERATIONS).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, SALT, OLD_PASSWORD.as_bytes(), &mut key);
    let encrypting = UnboundCipherKey::new(&AES_128, &key[16..]).unwrap();
    let mut sealed = text.as_bytes().to_vec();
    let context = PaddedBlockEncryptingKey::cbc_pkcs7(encrypting).unwrap().encrypt(&mut sealed).unwrap();
    let DecryptionContext::Iv128(iv) = context else { panic!("AES-CBC has an IV of 128 bits") };
    let mut token = vec![0x80, 0, 0, 0, 0, 1, 2, 3, 4];
    token.extend(iv.as_ref());
    token.extend(sealed);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key[..16]), &token);
    token.extend(tag.as_ref());
    URL_SAFE.encode(token)
}

/// A configuration of email-oauth2-proxy in front of the tenant, with a sign-in of Alice.
fn emailproxy(tenant: &Tenant) -> String {
    let refresh_token = tenant.grant_refresh_token(CLIENT_ID, ALICE).unwrap();
    let base = format!("{}/{}/oauth2/v2.0", tenant.authority(), tenant.id());
    let server = |name: &str, port: u16| {
        format!("[{name}]\nserver_address = localhost\nserver_port = {port}\nlocal_address = 127.0.0.1\n\n")
    };
    let scopes = ["IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send"];
    let scopes = scopes.map(|scope| format!("https://outlook.office.com/{scope}")).join(" ");
    format!(
        "{}{}{}server_starttls = True\n\n[{ALICE}]\npermission_url = {base}/authorize\ntoken_url = {base}/token\n\
         oauth2_scope = {scopes} offline_access\nredirect_uri = http://localhost\nclient_id = {CLIENT_ID}\n\
         token_salt = {}\ntoken_iterations = {ITERATIONS}\naccess_token = {}\naccess_token_expiry = 1795602652\n\
         refresh_token = {}\nlast_activity = 1795602652\n",
        server("IMAP-1993", tenant.imap().port()),
        server("POP-1995", tenant.pop3().port()),
        server("SMTP-1587", tenant.smtp().port()).trim_end().to_owned() + "\n",
        STANDARD.encode(SALT),
        seal("an old access token"),
        seal(&refresh_token),
    )
}

/// Its listeners at any port, and what makes it trust the tenant.
fn adapt_to_the_test(oxpost: &Oxpost) {
    let file = oxpost.folder().join("proxy.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    for port in ["1993", "1995", "1587"] {
        text = text.replace(&format!(":{port}\""), ":0\"");
    }
    let of_the_test =
        "[log]\nlevel = \"trace\"\nformat = \"json\"\n[trust]\nsystem-roots = false\nca-file = \"ca.pem\"\n";
    std::fs::write(&file, format!("{text}\n{of_the_test}")).unwrap();
}

/// The password that is shown for Alice.
fn shown_password(words: &str) -> String {
    let password = words.lines().find_map(|line| line.trim().strip_prefix(ALICE)?.trim().strip_prefix("password "));
    password.unwrap().split(',').next().unwrap().to_owned()
}

/// A program with that file, and with a proxy.toml or without.
async fn with_file(has_proxy_toml: bool) -> (Tenant, Oxpost) {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    std::fs::write(oxpost.folder().join("emailproxy.config"), emailproxy(&tenant)).unwrap();
    if !has_proxy_toml {
        std::fs::remove_file(oxpost.folder().join("proxy.toml")).unwrap();
    }
    (tenant, oxpost)
}

/// The output of a command that succeeds; nothing of it is secret.
async fn said(oxpost: &Oxpost, arguments: &[&str], typed: &str) -> String {
    let ran = oxpost.call_with(arguments, typed).await.unwrap();
    let said = String::from_utf8(ran.output().unwrap()).unwrap();
    for secret in [OLD_PASSWORD, "gAAA", "1.A", &STANDARD.encode(SALT)] {
        assert!(!said.contains(secret), "{said}");
    }
    said
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.map(|file| (file.to_string_lossy().into_owned(), std::fs::read(&file).unwrap())).collect();
    files.sort();
    files
}

/// Every token was obtained with the refresh token: there was no sign-in.
fn no_sign_in_was_made(tenant: &Tenant) {
    let requests = tenant.token_requests();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|request| request.grant_type == "refresh_token"), "{requests:?}");
}

#[tokio::test]
async fn imported_email_oauth2_proxy_account_needs_no_new_sign_in() {
    let (tenant, oxpost) = with_file(false).await;
    let before = files(oxpost.folder());
    let words = said(&oxpost, &["import", "emailproxy.config", "--dry-run"], "").await;
    for part in
        ["IMAP on 127.0.0.1:1993", "SMTP on 127.0.0.1:1587", ALICE, CLIENT_ID, "[[provider]]", "nothing was changed"]
    {
        assert!(words.contains(part), "{words}");
    }
    assert_eq!(files(oxpost.folder()), before, "a dry run leaves no trace");

    // A wrong password costs the sign-in only, and the next run makes up for it.
    let words = said(&oxpost, &["import", "emailproxy.config"], "hunter2\n").await;
    assert!(words.contains("does not decrypt") && words.contains("oxpost sign-in alice@contoso.com"), "{words}");
    let password = shown_password(&words);
    let written = std::fs::read_to_string(oxpost.folder().join("proxy.toml")).unwrap();
    let words = said(&oxpost, &["import", "emailproxy.config"], &format!("{OLD_PASSWORD}\r\n")).await;
    assert!(words.contains("exists without a sign-in") && words.contains("password unchanged, signed in:"), "{words}");
    let words = said(&oxpost, &["import", "emailproxy.config"], "").await;
    assert!(words.contains("already exists") && words.contains("already in proxy.toml"), "{words}");
    assert_eq!(std::fs::read_to_string(oxpost.folder().join("proxy.toml")).unwrap(), written);

    said(&oxpost, &["check"], "").await;
    adapt_to_the_test(&oxpost);
    let running = oxpost.run().await.unwrap();
    let answer = imap(running.imap, ALICE, &password).await;
    assert!(answer.starts_with("a OK"), "{answer}");
    running.stop().await.unwrap();
    no_sign_in_was_made(&tenant);
    let words = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    assert!(words.contains(" not served "), "{words}");
}

#[tokio::test]
async fn imported_app_only_account_keeps_its_client_secret() {
    let secret = "Aa1~app-only-client-secret-value-0123456";
    let tenant = crate::client_assertions::tenant(Application::confidential(CLIENT_ID, secret)).await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    std::fs::remove_file(oxpost.folder().join("proxy.toml")).unwrap();
    let mut text = emailproxy(&tenant);
    for (from, to) in [
        ("permission_url", "#"),
        ("refresh_token", "#"),
        ("redirect_uri = http://localhost", "oauth2_flow = client_credentials"),
        ("last_activity = 1795602652", &format!("client_secret_encrypted = {}", seal(secret))),
    ] {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    let scopes = text.lines().find(|line| line.starts_with("oauth2_scope")).unwrap().to_owned();
    text = text.replace(&scopes, "oauth2_scope = https://outlook.office365.com/.default");
    std::fs::write(oxpost.folder().join("emailproxy.config"), text).unwrap();

    let words = said(&oxpost, &["import", "emailproxy.config"], "").await;
    let password = shown_password(&words);
    assert!(!words.contains("Sealed the client secret"), "{words}");
    let words = said(&oxpost, &["import", "emailproxy.config"], OLD_PASSWORD).await;
    assert!(
        words.contains("Sealed the client secret of the application default") && !words.contains(secret),
        "{words}"
    );
    let words = said(&oxpost, &["import", "emailproxy.config"], OLD_PASSWORD).await;
    assert!(!words.contains("Sealed the client secret"), "{words}");
    adapt_to_the_test(&oxpost);
    let running = oxpost.run().await.unwrap();
    let answer = imap(running.imap, ALICE, &password).await;
    assert!(answer.starts_with("a OK"), "{answer}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn import_into_existing_configuration_adds_only_accounts() {
    let (tenant, oxpost) = with_file(true).await;
    let file = oxpost.folder().join("proxy.toml");
    let before = std::fs::read(&file).unwrap();
    let words = said(&oxpost, &["import", "emailproxy.config", "--keep-passwords"], &format!("{OLD_PASSWORD}\n")).await;
    assert!(words.contains("application  default") && words.contains("already in proxy.toml"), "{words}");
    assert!(words.contains("Add this to proxy.toml") && words.contains("127.0.0.1:1995"), "{words}");
    assert!(words.contains("password kept, which is short") && words.contains("signed in: its"), "{words}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let running = oxpost.run().await.unwrap();
    let answer = imap(running.imap, ALICE, OLD_PASSWORD).await;
    assert!(answer.starts_with("a OK"), "{answer}");
    running.stop().await.unwrap();
    no_sign_in_was_made(&tenant);
}

#[tokio::test]
async fn missing_application_is_shown_and_its_accounts_wait() {
    let (_tenant, oxpost) = with_file(true).await;
    let file = oxpost.folder().join("proxy.toml");
    let theirs = "[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:1993\"\n";
    std::fs::write(&file, theirs).unwrap();
    let ran = oxpost.call(&["import", "emailproxy.config"]).await.unwrap();
    assert_eq!(ran.status, Some(1), "{ran}");
    assert!(ran.text().contains("wait for their application"), "{ran}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs);
    let words = said(&oxpost, &["import", "emailproxy.config", "--output", "add.toml"], "").await;
    assert!(words.contains("Wrote add.toml"), "{words}");
    let add = std::fs::read_to_string(oxpost.folder().join("add.toml")).unwrap();
    assert!(!add.contains("1993") && add.contains(CLIENT_ID), "{add}");
    let words = oxpost.call(&["import", "emailproxy.config", "--output", "add.toml"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("never overwritten"), "{words}");
    std::fs::write(&file, format!("{theirs}{add}")).unwrap();
    let words = said(&oxpost, &["import", "emailproxy.config"], &format!("{OLD_PASSWORD}\n")).await;
    assert!(words.contains("signed in: its"), "{words}");
}

#[tokio::test]
async fn what_is_no_configuration_is_refused_before_anything_is_made() {
    let (tenant, oxpost) = with_file(false).await;
    let put = |name: &str, bytes: &[u8]| std::fs::write(oxpost.folder().join(name), bytes).unwrap();
    put("prose.txt", b"Dear Sir or Madam,\n");
    put("twice.config", format!("{0}\n[{ALICE}]\nclient_id = 1\n", emailproxy(&tenant)).as_bytes());
    put(
        "cut.config",
        emailproxy(&tenant).replace("token_iterations", "my-secret-half-a-token\ntoken_iterations").as_bytes(),
    );
    put("wide.config", b"\xff\xfe[\0I\0");
    let large = std::fs::File::create(oxpost.folder().join("large.config")).unwrap();
    large.set_len(100 * 1024 * 1024).unwrap();
    let before = files(oxpost.folder()).len();
    for (name, part) in [
        ("none.config", "cannot be read"),
        (".", "cannot be read"),
        ("prose.txt", "neither a configuration of email-oauth2-proxy"),
        ("twice.config", "merge the two"),
        ("cut.config", "neither a [section] nor `key = value`"),
        ("wide.config", "UTF-16"),
        ("large.config", "more than 16 MiB"),
    ] {
        let words = oxpost.call(&["import", name]).await.unwrap().refusal().unwrap();
        assert!(words.contains(part) && words.contains(name) && !words.contains("my-secret"), "{words}");
    }
    assert_eq!(files(oxpost.folder()).len(), before);

    // A token whose salt is gone, and a comment in Latin-1: the account comes without its sign-in.
    let text = emailproxy(&tenant).replace("token_salt", "tokensalt");
    put("salt.config", &[b"# gr\xfc\xdfe\n", text.as_bytes()].concat());
    let words = said(&oxpost, &["import", "salt.config"], "").await;
    for part in ["`token_salt` is missing", "`tokensalt`", "next: oxpost sign-in alice@contoso.com", "Wrote proxy.toml"]
    {
        assert!(words.contains(part), "{part}\n{words}");
    }
    let words = oxpost
        .call(&["--config", "no/folder/proxy.toml", "import", "emailproxy.config"])
        .await
        .unwrap()
        .refusal()
        .unwrap();
    assert!(words.contains("cannot be written"), "{words}");
}
