//! Accounts whose passwords Microsoft verifies.

use std::net::IpAddr;

use super::{endpoint::Reply, *};
use crate::{Accounts, AdmissionLimits, Credential, Denied, ErrorKind, StoreError, TokenError, connect_with_password};

pub(super) const USER: &str = "ann@contoso.com";

pub(super) struct RequestGate {
    pub(super) bench: Bench,
    pub(super) accounts: Accounts,
}

pub(super) async fn gate() -> RequestGate {
    let bench = Bench::new(fresh_store().await, Grant::Password).await;
    let accounts = accounts(&bench);
    RequestGate { bench, accounts }
}

/// The gate of a process that has just started.
pub(super) fn accounts(bench: &Bench) -> Accounts {
    Accounts::with_remote_verification(
        bench.store.clone(),
        bench.shared_clock(),
        AdmissionLimits::default(),
        bench.tokens.clone(),
    )
}

pub(super) fn here() -> IpAddr {
    "10.0.0.1".parse().unwrap()
}

pub(super) fn stranger(number: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, number])
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);

impl RequestGate {
    pub(super) async fn login(&self, password: &str) -> Result<(), Denied> {
        self.login_from(here(), password).await
    }

    pub(super) async fn login_from(&self, from: IpAddr, password: &str) -> Result<(), Denied> {
        self.accounts.admit_from(from, USER, &Secret::from(password)).await.map(drop)
    }

    /// The first login; `right` opens from then on.
    pub(super) async fn opened() -> Self {
        let gate = gate().await;
        gate.bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
        gate.login("right").await.unwrap();
        gate
    }

    pub(super) fn asked(&self) -> usize {
        self.bench.endpoint.requests()
    }

    async fn kept(&self) -> Option<String> {
        self.bench.stored_refresh_token().await
    }
}

pub(super) fn refused() -> Reply {
    Reply::error("invalid_grant", 50_126)
}

#[tokio::test]
async fn first_login_fetches_the_tokens_and_later_ones_reuse_them() {
    let gate = gate().await;
    gate.bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    for user in [USER, "ANN@Contoso.com", "another\\ann@contoso.com"] {
        let admitted = gate.accounts.admit_from(here(), user, &Secret::from("Grüße 1")).await.unwrap();
        assert_eq!(text(gate.bench.tokens.access_token(&admitted).await.unwrap().secret()), "at-1");
    }
    assert_eq!(gate.asked(), 1);
    let sent = |member| gate.bench.endpoint.sent(0, member).unwrap();
    assert_eq!(
        (sent("grant_type"), sent("username"), sent("password")),
        ("password".into(), USER.into(), "Grüße 1".into())
    );
    assert_eq!(sent("scope"), "https://outlook.office.com/IMAP.AccessAsUser.All offline_access");
    let state = gate.bench.store.token_state(gate.bench.mailbox()).await.unwrap();
    assert_eq!((state.signed_in_as.as_deref(), state.has_refresh_token), (Some(USER), true));
    gate.accounts.wait_for_background_writes().await;
    assert_eq!(gate.bench.store.last_remote_login(gate.bench.mailbox()).await.unwrap(), Some(start()));

    // Refreshed like any other: without the password.
    gate.bench.clock.advance(59 * MINUTE);
    gate.bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    gate.login("Grüße 1").await.unwrap();
    assert_eq!(gate.bench.endpoint.sent(1, "grant_type").unwrap(), "refresh_token");
    // Old programs write Latin-1. To us it is another password; to Microsoft it goes as the same.
    gate.bench.endpoint.then(Reply::tokens("at-3", Some("rt-3")));
    let latin = Secret::new(*b"Gr\xfc\xdfe 1");
    gate.accounts.admit_from(here(), USER, &latin).await.unwrap();
    assert_eq!(gate.bench.endpoint.sent(2, "password").unwrap(), "Grüße 1");
}

#[tokio::test]
async fn refused_password_keeps_the_tokens_and_is_asked_once() {
    let gate = RequestGate::opened().await;
    gate.bench.endpoint.then(refused());
    for _ in 0..5 {
        assert_eq!(gate.login("wrong").await.unwrap_err(), Denied::RejectedByMicrosoft);
    }
    assert_eq!((gate.asked(), gate.kept().await.as_deref()), (2, Some("rt-1")));
    let state = gate.bench.store.token_state(gate.bench.mailbox()).await.unwrap();
    assert_eq!(state.last_error, None, "unknown sources send wrong passwords; that is no error of the account");
    gate.login("right").await.unwrap();
    assert_eq!(gate.asked(), 2);
}

/// What docs/grants.md says under "Remote verification".
#[tokio::test]
async fn changed_password_opens_until_its_tokens_are_refused() {
    let gate = RequestGate::opened().await;
    // The user changes it. The old one still opens, as the access token does.
    gate.bench.clock.advance(30 * MINUTE);
    gate.login("right").await.unwrap();
    // The refresher finds that the refresh token has ended with the old password; Microsoft is asked about it, and says no.
    gate.bench.clock.advance(26 * MINUTE);
    gate.bench.endpoint.then(Reply::error("invalid_grant", 50_173));
    gate.bench.tokens.access_token(&gate.bench.admitted).await.unwrap();
    gate.bench.endpoint.then(refused());
    assert_eq!(gate.login("right").await.unwrap_err(), Denied::RejectedByMicrosoft);
    let state = gate.bench.store.token_state(gate.bench.mailbox()).await.unwrap();
    let error = state.last_error.unwrap();
    assert_eq!((error.kind, state.has_refresh_token), (ErrorKind::SignInRequired, true));
    assert!(error.text.contains("Enter the new password in the mail program"), "{}", error.text);
    // The new one.
    gate.bench.endpoint.then(Reply::tokens("at-9", Some("rt-9")));
    gate.login("new").await.unwrap();
    assert_eq!(gate.kept().await.unwrap(), "rt-9");
    assert_eq!(gate.bench.store.token_state(gate.bench.mailbox()).await.unwrap().last_error, None);
    assert_eq!(gate.asked(), 4);
    assert_eq!(gate.login("right").await.unwrap_err(), Denied::RejectedByMicrosoft);
    assert_eq!(gate.asked(), 4);
}

/// The refresh token of a confidential application outlives its user's password.
#[tokio::test]
async fn old_password_opens_for_at_most_an_hour() {
    let gate = RequestGate::opened().await;
    gate.bench.clock.advance(59 * MINUTE);
    gate.bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    gate.login("right").await.unwrap();
    gate.bench.clock.advance(MINUTE);
    gate.bench.endpoint.then(refused());
    assert_eq!(gate.login("right").await.unwrap_err(), Denied::RejectedByMicrosoft);
    assert_eq!(gate.kept().await.unwrap(), "rt-2", "a refused password deletes nothing");
}

/// No refresh token, or one that was revoked: the password gets the next tokens, in the same login.
#[tokio::test]
async fn a_right_password_replaces_tokens_that_cannot_go_on() {
    let gate = gate().await;
    gate.bench.endpoint.then(Reply::tokens("at-1", None));
    gate.login("right").await.unwrap();
    gate.bench.clock.advance(61 * MINUTE);
    gate.bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    gate.login("right").await.unwrap();
    assert_eq!(gate.bench.endpoint.sent(1, "grant_type").unwrap(), "password");
    gate.bench.clock.advance(61 * MINUTE);
    gate.bench.endpoint.then(Reply::error("invalid_grant", 50_173));
    gate.bench.endpoint.then(Reply::tokens("at-3", Some("rt-3")));
    gate.login("right").await.unwrap();
    assert_eq!(
        (gate.bench.access_token().await.unwrap().as_str(), gate.kept().await.as_deref()),
        ("at-3", Some("rt-3"))
    );
}

#[tokio::test]
async fn other_refusals_have_a_kind_a_remedy_and_a_pause() {
    for (error, code, kind, words) in [
        ("invalid_grant", 50_076, ErrorKind::SignInRequired, "second factor"),
        ("invalid_grant", 50_079, ErrorKind::SignInRequired, "enrol a second factor"),
        ("invalid_grant", 65_001, ErrorKind::SignInRequired, "Grant admin consent"),
        (
            "invalid_grant",
            50_034,
            ErrorKind::SignInRequired,
            "`oxpost account delegate ann@contoso.com USER-NAME --create`",
        ),
        ("invalid_grant", 50_053, ErrorKind::Transient, "Wait"),
        ("invalid_grant", 50_055, ErrorKind::SignInRequired, "expired"),
        ("invalid_client", 7_000_218, ErrorKind::Misconfigured, "Allow public client flows"),
    ] {
        let gate = gate().await;
        gate.bench.endpoint.then(Reply::error(error, code));
        for _ in 0..2 {
            let Denied::NotVerified(error) = gate.login("right").await.unwrap_err() else { panic!("{code}") };
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.to_string().contains("--device-code"), "{error}");
        }
        assert_eq!(gate.asked(), 1, "{code}");
        let state = gate.bench.store.token_state(gate.bench.mailbox()).await.unwrap();
        assert_eq!(state.last_error.unwrap().kind, kind, "`oxpost status` says it: {code}");
        // Fixed.
        gate.bench.clock.advance(2 * MINUTE);
        gate.bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
        gate.login("right").await.unwrap();
    }
}

#[tokio::test]
async fn a_sign_in_in_another_process_ends_the_pause() {
    let gate = gate().await;
    gate.bench.endpoint.then(Reply::error("invalid_client", 7_000_218));
    gate.login("right").await.unwrap_err();
    gate.bench.clock.advance(Duration::from_secs(1));
    let (http, clock) = (http_client(), gate.bench.shared_clock());
    let application = application(&gate.bench.endpoint);
    let account = gate.bench.admitted.account();
    gate.bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    connect_with_password(&http, &gate.bench.store, &application, account, &Secret::from("right"), &clock)
        .await
        .unwrap();
    gate.bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    gate.login("right").await.unwrap();
    assert_eq!(gate.asked(), 3);
}

#[tokio::test]
async fn unreachable_microsoft_admits_only_the_right_password() {
    let gate = RequestGate::opened().await;
    gate.bench.clock.advance(59 * MINUTE);
    gate.bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    gate.login("right").await.unwrap();
    // An hour later it would be asked about again.
    gate.bench.endpoint.always(Reply::Http(429, "Retry-After: 600\r\n", String::new()));
    gate.bench.clock.advance(2 * MINUTE);
    gate.login("right").await.unwrap();
    let error = gate.login("other").await.unwrap_err();
    let Denied::NotVerified(TokenError::Transient { retry_after, .. }) = error else { panic!("{error}") };
    assert!((600..=660).contains(&retry_after.unwrap().as_secs()), "{retry_after:?}");
    for _ in 0..20 {
        gate.login("right").await.unwrap();
    }
    assert_eq!(gate.asked(), 3, "Retry-After is obeyed");
    let state = gate.bench.store.token_state(gate.bench.mailbox()).await.unwrap();
    assert_eq!(state.last_error, None, "its tokens are well");
}

#[tokio::test]
async fn account_added_again_has_no_verified_password() {
    let gate = RequestGate::opened().await;
    let (store, mailbox) = (&gate.bench.store, gate.bench.mailbox());
    assert!(store.remove_account(mailbox).await.unwrap().is_some());
    assert_eq!(gate.login("right").await.unwrap_err(), Denied::BadCredentials);
    store.add_account(gate.bench.admitted.account()).await.unwrap();
    store.save_signed_in(mailbox, &token_set("at-5", Some("rt-5")), Some(USER), start()).await.unwrap();
    gate.bench.endpoint.then(refused());
    assert_eq!(gate.login("right").await.unwrap_err(), Denied::RejectedByMicrosoft);
}

#[tokio::test]
async fn shared_mailbox_opens_with_the_password_of_its_delegate() {
    let gate = gate().await;
    let (store, ann) = (&gate.bench.store, gate.bench.mailbox());
    gate.bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    for shared in ["info@contoso.com", "sales@contoso.com"] {
        store.add_account(&Account { delegate: Some(ann.clone()), ..account(shared, Grant::Password) }).await.unwrap();
    }
    for user in ["info@contoso.com", "sales@contoso.com", "ann@contoso.com\\info@contoso.com", USER] {
        let admitted = gate.accounts.admit_from(here(), user, &Secret::from("hers")).await.unwrap();
        assert!(user.ends_with(admitted.account().mailbox.as_str()), "{user}");
        assert_eq!(admitted.account().sender(), ann);
    }
    assert_eq!(gate.asked(), 1, "Microsoft has heard of one password of one person");
    assert_eq!(gate.bench.endpoint.sent(0, "username").unwrap(), USER);
    gate.bench.endpoint.then(refused());
    for user in ["sales@contoso.com", "info@contoso.com", USER] {
        let denied = gate.accounts.admit_from(here(), user, &Secret::from("wrong")).await.unwrap_err();
        assert_eq!(denied, Denied::RejectedByMicrosoft);
    }
    assert_eq!(gate.asked(), 2, "and of one wrong one");

    // Another user's password opens it from now on, and hers no longer.
    store.add_account(&account("bob@contoso.com", Grant::Password)).await.unwrap();
    store.set_delegate(&mailbox("info@contoso.com"), &mailbox("bob@contoso.com")).await.unwrap();
    gate.accounts.admit_from(here(), "info@contoso.com", &Secret::from("his")).await.unwrap();
    assert_eq!(gate.bench.endpoint.sent(2, "username").unwrap(), "bob@contoso.com");
    gate.bench.endpoint.then(refused());
    let denied = gate.accounts.admit_from(here(), "info@contoso.com", &Secret::from("hers")).await.unwrap_err();
    assert_eq!(denied, Denied::RejectedByMicrosoft);
}

#[tokio::test]
async fn what_cannot_work_is_said_before_a_password_is_sent() {
    let gate = gate().await;
    let like =
        |tenant: Option<&str>| Application { tenant: tenant.map(str::to_owned), ..application(&gate.bench.endpoint) };
    for (application, words) in [
        (like(Some("consumers")), "personal accounts"),
        (like(Some("Common")), "organizations"),
        (like(None), "does not verify passwords"),
    ] {
        let said = application.can_verify_passwords().unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
        let (account, http, clock) = (gate.bench.admitted.account(), http_client(), gate.bench.shared_clock());
        let password = Secret::from("right");
        let error = connect_with_password(&http, &gate.bench.store, &application, account, &password, &clock).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Misconfigured);
    }
    assert_eq!(gate.asked(), 0);
    for tenant in ["contoso.com", "organizations"] {
        like(Some(tenant)).can_verify_passwords().unwrap();
    }
    let stranger = account("gone@contoso.com", Grant::Password);
    let (http, clock) = (http_client(), gate.bench.shared_clock());
    let error =
        connect_with_password(&http, &gate.bench.store, &like(Some("x.com")), &stranger, &Secret::from("p"), &clock)
            .await;
    assert!(matches!(error, Err(TokenError::Store(StoreError::NoSuchAccount(_)))));
    assert!(matches!(like(None).credential, Credential::Secret));
}

#[tokio::test]
async fn no_password_of_microsofts_is_stored_or_logged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.db"), vault()).await.unwrap();
    let bench = Bench::new(store, Grant::Password).await;
    let gate = RequestGate { accounts: accounts(&bench), bench };
    gate.bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    gate.login("hunter2-hunter2").await.unwrap();
    gate.bench.endpoint.then(Reply::json(
        400,
        r#"{"error":"invalid_grant","error_description":"AADSTS50076: not with hunter3-hunter3","error_codes":[50076]}"#,
    ));
    let error = gate.login("hunter3-hunter3").await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter3"), "{error:?}");
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(files.len() >= 2, "the store and its log: {files:?}");
    for entry in files {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in ["hunter2", "hunter3", "argon2id"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
    // Admission without remote verification admits no login.
    let local = Accounts::new(gate.bench.store.clone(), gate.bench.shared_clock(), AdmissionLimits::default());
    assert_eq!(local.admit(USER, &Secret::from("hunter2-hunter2")).await.unwrap_err(), Denied::BadCredentials);
}

/// What another account has learned of the authority is no news of this one's.
#[tokio::test]
async fn open_circuit_admits_a_right_password_and_leaves_no_pause() {
    let disk = std::sync::Arc::new(super::failures::FullDisk::new(fresh_engine().await));
    let bench = Bench::new(crate::Store::with(disk.clone(), vault()).await.unwrap(), Grant::Password).await;
    let gate = RequestGate { accounts: accounts(&bench), bench };
    let other = crate::Admitted::authenticated(account("m@contoso.com", Grant::SignIn));
    gate.bench.store.add_account(other.account()).await.unwrap();
    let tokens = token_set("at-0", Some("rt-0"));
    gate.bench.store.save_signed_in(&other.account().mailbox, &tokens, None, start()).await.unwrap();
    gate.bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    gate.login("right").await.unwrap();
    gate.bench.clock.advance(59 * MINUTE);
    gate.bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    gate.login("right").await.unwrap();
    gate.bench.clock.advance(2 * MINUTE);
    gate.bench.endpoint.then(Reply::Http(429, "Retry-After: 600\r\n", String::new()));
    gate.bench.tokens.access_token(&other).await.unwrap_err();
    for _ in 0..30 {
        gate.login("right").await.unwrap();
        let denied = gate.login("other").await.unwrap_err();
        assert!(matches!(denied, Denied::NotVerified(TokenError::Paused { .. })), "{denied:?}");
        gate.bench.clock.advance(Duration::from_secs(15));
    }
    disk.1.store(true, std::sync::atomic::Ordering::SeqCst);
    let denied = gate.login("other").await.unwrap_err();
    assert!(matches!(denied, Denied::NotVerified(TokenError::Paused { .. })), "nothing is written: {denied:?}");
    disk.1.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(gate.asked(), 3);
    gate.bench.clock.advance(4 * MINUTE);
    gate.bench.endpoint.then(refused());
    assert_eq!(gate.login("other").await.unwrap_err(), Denied::RejectedByMicrosoft, "it is asked about again");
}
