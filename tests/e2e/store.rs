//! The care of the store, as it is typed: a new key, a copy, a copy put in place, and damage that costs one account.

use std::path::Path;

use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Settings};
use oxpost_tests::office365::Tenant;

use crate::logins::imap;
use crate::story::{BOB, tenant, tenant_of_two};

/// An account that has signed in; gives back its local password.
async fn signed_in(oxpost: &Oxpost, tenant: &Tenant, mailbox: &str) -> String {
    let password = oxpost.add_account(mailbox, &[]).await.unwrap();
    oxpost.sign_in(mailbox, tenant, mailbox).await.unwrap();
    password
}

/// Two accounts of a tenant that have signed in, and their local passwords.
async fn alice_and_bob() -> (Oxpost, Tenant, [String; 2]) {
    let tenant = tenant_of_two().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let passwords = [signed_in(&oxpost, &tenant, ALICE).await, signed_in(&oxpost, &tenant, BOB).await];
    (oxpost, tenant, passwords)
}

#[tokio::test]
async fn a_new_key_needs_the_store_alone_and_no_new_sign_in() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = signed_in(&oxpost, &tenant, ALICE).await;
    let key = oxpost.folder().join("oxpost.key");
    let before = std::fs::read_to_string(&key).unwrap();

    let running = oxpost.run().await.unwrap();
    let words = oxpost.call(&["store", "rotate-key"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("in use") && words.contains("stop the service"), "{words}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), before);
    running.stop().await.unwrap();

    let words = oxpost.call(&["store", "rotate-key"]).await.unwrap().said().unwrap();
    assert!(words.contains("new key") && words.contains("back it up"), "{words}");
    let after = std::fs::read_to_string(&key).unwrap();
    assert_ne!(after, before);
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
    std::fs::write(&key, before).unwrap();
    assert!(oxpost.call(&["status"]).await.unwrap().refusal().unwrap().contains("`key` in proxy.toml"));
}

#[tokio::test]
async fn a_backup_of_a_running_service_is_restored_after_a_mishap() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = signed_in(&oxpost, &tenant, ALICE).await;
    let running = oxpost.run().await.unwrap();
    let words = oxpost.call(&["store", "backup", "copy.db"]).await.unwrap().said().unwrap();
    assert!(words.contains("copy.db") && words.contains("oxpost.key"), "{words}");
    let words = oxpost.call(&["store", "backup", "copy.db"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("not overwritten"), "{words}");
    oxpost.call(&["account", "remove", ALICE]).await.unwrap().said().unwrap();
    assert!(imap(running.imap, ALICE, &password).await.contains("AUTHENTICATIONFAILED"));
    let words = oxpost.call(&["store", "restore", "copy.db"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("stop the service"), "{words}");
    running.stop().await.unwrap();

    let words = oxpost.call(&["store", "restore", "no.db"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("no.db"), "{words}");
    let words = oxpost.call(&["store", "restore", "copy.db"]).await.unwrap().said().unwrap();
    assert!(words.contains("oxpost.db.before-"), "{words}");
    assert!(
        words.contains(&format!("Restored from the copy:\n  the account {ALICE}, which was removed since")),
        "{words}"
    );
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn the_key_may_come_from_the_environment_or_from_systemd() {
    let tenant = tenant().await;
    let mut oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let new_key = oxpost.call(&["store", "new-key"]).await.unwrap().said().unwrap().trim().to_owned();

    oxpost.set_variable("OXPOST__STORE__KEY", "environment:MAIL_KEY");
    let words = oxpost.call(&["status"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("MAIL_KEY") && words.contains("oxpost store new-key"), "{words}");
    assert!(!oxpost.folder().join("oxpost.db").exists(), "no store is begun without its key");
    oxpost.set_variable("MAIL_KEY", &new_key);
    let words = oxpost.call(&["account", "add", ALICE]).await.unwrap().refusal().unwrap();
    assert!(words.contains("oxpost store create"), "{words}");
    oxpost.call(&["store", "create"]).await.unwrap().said().unwrap();
    let password = signed_in(&oxpost, &tenant, ALICE).await;
    let words = oxpost.call(&["store", "rotate-key"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("in front of it"), "{words}");
    assert!(!oxpost.folder().join("oxpost.key").exists());

    // The same key, handed over as systemd does, with a newer one in front of it.
    let newer = oxpost.call(&["store", "new-key"]).await.unwrap().said().unwrap().trim().to_owned();
    let credentials = oxpost.folder().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let file = credentials.join("oxpost-key");
    write_private(&file, &format!("{newer} {new_key}"));
    oxpost.set_variable("OXPOST__STORE__KEY", "credential:oxpost-key");
    let words = oxpost.call(&["status"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("LoadCredential=oxpost-key:"), "{words}");
    oxpost.set_variable("CREDENTIALS_DIRECTORY", &credentials.to_string_lossy());
    let words = oxpost.call(&["store", "rotate-key"]).await.unwrap().said().unwrap();
    assert!(words.contains("remove the old key from the credential oxpost-key"), "{words}");
    write_private(&file, &newer);
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
    oxpost.set_variable("OXPOST__STORE__KEY", "oxpost.key");
    let words = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("file:oxpost.key"), "{words}");
}

#[tokio::test]
async fn the_key_is_copied_and_the_copy_opens_the_store() {
    let tenant = tenant().await;
    let mut oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = signed_in(&oxpost, &tenant, ALICE).await;
    let words = oxpost.call(&["store", "copy-key", "file:safe.key"]).await.unwrap().said().unwrap();
    assert!(words.contains("oxpost.key to the key file safe.key"), "{words}");
    let words = oxpost.call(&["store", "copy-key", "file:safe.key"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("not overwritten"), "{words}");
    let words = oxpost.call(&["store", "copy-key", "environment:X"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("file:PATH"), "{words}");
    std::fs::remove_file(oxpost.folder().join("oxpost.key")).unwrap();
    let words = oxpost.call(&["store", "copy-key", "file:other.key"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("oxpost.key") && !oxpost.folder().join("other.key").exists(), "{words}");
    oxpost.set_variable("OXPOST__STORE__KEY", "file:safe.key");
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
}

#[cfg(not(windows))]
#[tokio::test]
async fn windows_key_is_rejected_elsewhere_with_alternatives() {
    let tenant = tenant().await;
    let mut oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    oxpost.set_variable("OXPOST__STORE__KEY", "dpapi:oxpost.key");
    let words = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("for Windows") && words.contains("file:oxpost.key"), "{words}");
    assert!(!oxpost.folder().join("oxpost.key").exists());
}

#[cfg(windows)]
#[tokio::test]
async fn windows_seals_the_key_and_the_store_works() {
    let tenant = tenant().await;
    let mut oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    oxpost.set_variable("OXPOST__STORE__KEY", "dpapi:oxpost.key");
    let password = signed_in(&oxpost, &tenant, ALICE).await;
    let words = oxpost.call(&["store", "rotate-key"]).await.unwrap().said().unwrap();
    assert!(words.contains("new key"), "{words}");
    let words = oxpost.call(&["store", "backup", "copy.db"]).await.unwrap().said().unwrap();
    assert!(words.contains("this machine only"), "{words}");
    oxpost.call(&["store", "restore", "copy.db"]).await.unwrap().said().unwrap();
    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &password).await.starts_with("a OK"));
    running.stop().await.unwrap();
    oxpost.set_variable("OXPOST__STORE__KEY", "file:oxpost.key");
    oxpost.call(&["status"]).await.unwrap().refusal().unwrap();
}

fn write_private(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// An attacker with the rights of a database administrator lets Bob's password open mail with Alice's token.
#[tokio::test]
async fn tampered_account_is_not_opened_until_confirmed() {
    let (oxpost, _tenant, [alice, bob]) = alice_and_bob().await;
    let words = oxpost.call(&["store", "confirm"]).await.unwrap().said().unwrap();
    assert!(words.contains("No account was changed outside Oxpost"), "{words}");
    let database = rusqlite::Connection::open(oxpost.folder().join("oxpost.db")).unwrap();
    let change = "UPDATE account SET through = ?1, application = NULL, grant_kind = NULL WHERE mailbox = ?2";
    database.execute(change, [ALICE, BOB]).unwrap();
    drop(database);

    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &alice).await.starts_with("a OK"));
    let answer = imap(running.imap, BOB, &bob).await;
    assert!(answer.starts_with("a NO [UNAVAILABLE]"), "{answer}");
    let how = format!("{BOB}: its delegate was not set and is {ALICE}");
    let status = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    assert!(status.contains(&how) && status.contains("oxpost store confirm"), "{status}");
    let words = oxpost.call(&["check"]).await.unwrap().refusal().unwrap();
    assert!(words.contains(&how), "{words}");
    let log = running.stop().await.unwrap();
    assert!(log.contains(&how) && !log.contains(&bob), "{log}");

    let words = oxpost.call(&["store", "confirm"]).await.unwrap();
    assert!(
        words.status == Some(1) && words.text().contains(&how) && words.text().contains("oxpost store undo"),
        "{words}"
    );
    let words = oxpost.call(&["store", "confirm", "00000000"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("nothing was changed"), "{words}");
    let code = words.trim().rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
    let words = oxpost.call(&["store", "undo"]).await.unwrap().said().unwrap();
    assert!(words.contains(&how), "{words}");
    oxpost.call(&["check"]).await.unwrap().said().unwrap();
    let database = rusqlite::Connection::open(oxpost.folder().join("oxpost.db")).unwrap();
    database.execute(change, [ALICE, BOB]).unwrap();
    drop(database);
    let words = oxpost.call(&["store", "confirm", &code]).await.unwrap().said().unwrap();
    assert!(words.contains(&how) && words.contains("Accepted the changes"), "{words}");
    oxpost.call(&["check"]).await.unwrap().said().unwrap();
}

#[tokio::test]
async fn a_damaged_record_costs_its_account_only() {
    let (oxpost, tenant, [alice, bob]) = alice_and_bob().await;
    let carol = oxpost.add_account("carol@contoso.com", &[]).await.unwrap();
    let damage = rusqlite::Connection::open(oxpost.folder().join("oxpost.db")).unwrap();
    damage.execute("UPDATE token SET access_token = x'01', refresh_token = x'01' WHERE mailbox = ?1", [BOB]).unwrap();
    damage.execute("UPDATE account SET grant_kind = 'nonsense' WHERE mailbox = 'carol@contoso.com'", []).unwrap();
    drop(damage);

    let running = oxpost.run().await.unwrap();
    assert!(imap(running.imap, ALICE, &alice).await.starts_with("a OK"));
    let answer = imap(running.imap, BOB, &bob).await;
    assert!(answer.contains("[CONTACTADMIN]"), "{answer}");
    let answer = imap(running.imap, "carol@contoso.com", &carol).await;
    assert!(answer.starts_with("a NO"), "{answer}");
    let status = oxpost.call(&["status"]).await.unwrap().report().unwrap();
    let line = |mailbox: &str| status.lines().find(|line| line.starts_with(mailbox)).unwrap_or_default().to_owned();
    assert!(line(ALICE).contains(" ok "), "{status}");
    assert!(status.contains(&format!("oxpost sign-in {BOB}")), "{status}");
    assert!(status.contains("oxpost account remove carol@contoso.com"), "{status}");

    oxpost.sign_in(BOB, &tenant, BOB).await.unwrap();
    assert!(imap(running.imap, BOB, &bob).await.starts_with("a OK"), "a sign-in repairs it");
    oxpost.call(&["account", "remove", "carol@contoso.com"]).await.unwrap().said().unwrap();
    assert!(!oxpost.call(&["status"]).await.unwrap().report().unwrap().contains("carol"));
    running.stop().await.unwrap();
}

/// An unmounted disk, or a file that was emptied, must not become a store without accounts.
#[tokio::test]
async fn missing_store_is_an_error_until_init_is_requested() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    signed_in(&oxpost, &tenant, ALICE).await;
    let store = oxpost.folder().join("oxpost.db");
    let whole = std::fs::read(&store).unwrap();
    for lose in [|path: &Path| std::fs::write(path, ""), |path: &Path| std::fs::remove_file(path)] {
        lose(&store).unwrap();
        for arguments in [&["run"][..], &["status"], &["check"], &["account", "list"], &["account", "add", BOB]] {
            let words = oxpost.call(arguments).await.unwrap().refusal().unwrap();
            assert!(words.contains("oxpost.db is missing or empty, although"), "{arguments:?}: {words}");
            assert!(words.contains("oxpost store restore") && words.contains("oxpost store create"), "{words}");
            assert!(store.metadata().map_or(0, |metadata| metadata.len()) == 0, "{arguments:?}: nothing was made");
        }
    }
    // Tables without a single sealed value are no store either.
    std::fs::write(&store, &whole).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&store, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let emptied = rusqlite::Connection::open(&store).unwrap();
    emptied.execute_batch("DELETE FROM token; DELETE FROM account; DELETE FROM meta").unwrap();
    drop(emptied);
    let words = oxpost.call(&["run"]).await.unwrap().refusal().unwrap();
    assert!(words.contains("missing or empty"), "{words}");

    std::fs::remove_file(&store).unwrap();
    for (words, made) in [("Created an empty store", true), ("The store already exists", false)] {
        let said = oxpost.call(&["store", "create"]).await.unwrap().said().unwrap();
        assert!(said.contains(words), "{made}: {said}");
    }
    oxpost.add_account(BOB, &[]).await.unwrap();
    oxpost.run().await.unwrap().stop().await.unwrap();
}

/// As an administrator does who copies the file while nothing runs.
#[tokio::test]
async fn stopped_store_is_one_file() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    signed_in(&oxpost, &tenant, ALICE).await;
    let log = oxpost.folder().join("oxpost.db-wal");
    assert!(!log.exists(), "after a command");
    let running = oxpost.run().await.unwrap();
    oxpost.add_account(BOB, &[]).await.unwrap();
    running.stop().await.unwrap();
    assert!(!log.exists(), "after a service");
    let copy = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    for name in ["oxpost.db", "oxpost.key"] {
        std::fs::copy(oxpost.folder().join(name), copy.folder().join(name)).unwrap();
    }
    let listed = copy.call(&["account", "list"]).await.unwrap().said().unwrap();
    assert!(listed.contains(ALICE) && listed.contains(BOB), "{listed}");
}
