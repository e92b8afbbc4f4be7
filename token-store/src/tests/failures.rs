//! A failure that passes costs nothing while the access token lives, and no failure costs the refresh token.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::{endpoint::Reply, *};
use crate::{
    Clock, ErrorKind, TokenError,
    database::{Database, DatabaseError, Outcome, Statement},
};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn passing_failures() -> Vec<Reply> {
    vec![
        Reply::Http(429, "Retry-After: 17\r\nContent-Type: application/json\r\n", r#"{"error":"throttled"}"#.into()),
        Reply::json(500, "{}"),
        Reply::Http(503, "Content-Type: text/html\r\n", "<html>busy</html>".into()),
        Reply::Http(200, "Content-Type: text/html\r\n", "<html>log in to the hotel's network</html>".into()),
        Reply::Http(200, "", String::new()),
        Reply::Http(400, "", String::new()),
        Reply::Http(302, "Location: /elsewhere\r\n", String::new()),
        Reply::json(200, r#"{"token_type":"Bearer","expires_in":3600}"#),
        Reply::json(200, r#"{"token_type":"Bearer","access_token":"a\r\nb"}"#),
        Reply::json(200, r#"["access_token"]"#),
        Reply::Huge(50 * 1024 * 1024),
        Reply::Close,
        Reply::error("invalid_grant", 90_033),
        Reply::error("temporarily_unavailable", 0),
    ]
}

#[tokio::test]
async fn passing_failure_is_hidden_while_the_token_lives() {
    for failure in passing_failures() {
        let bench = Bench::signed_in().await;
        bench.clock.advance(HOUR - MINUTE);
        bench.endpoint.then(failure.clone());
        assert_eq!(bench.access_token().await.unwrap(), "at-0", "{failure:?}");
        assert_eq!(bench.endpoint.requests(), 1, "it was tried");
        assert!(bench.endpoint.written() < 16 * 1024 * 1024, "50 MB are cut off without being read");
        let state = bench.store.token_state(bench.mailbox()).await.unwrap();
        assert_eq!(state.last_error.unwrap().kind, ErrorKind::Transient, "{failure:?}");

        // It is not tried again immediately, whatever asks: neither while the token lives nor after.
        assert_eq!(bench.access_token().await.unwrap(), "at-0");
        assert_eq!(bench.endpoint.requests(), 1);

        bench.clock.advance(6 * MINUTE);
        bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
        assert_eq!(bench.access_token().await.unwrap(), "at-1", "{failure:?}");
        assert_eq!(bench.store.token_state(bench.mailbox()).await.unwrap().last_error, None);
    }
}

#[tokio::test]
async fn expired_token_fails_fast_until_the_next_try() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::Http(429, "Retry-After: 120\r\n", String::new()));
    // A little more than was asked for, so that not all accounts come back at the same moment.
    for (passed, left) in [(0, 120..=132), (119, 1..=13)] {
        bench.clock.advance(Duration::from_secs(passed));
        let error = bench.access_token().await.unwrap_err();
        let TokenError::Transient { retry_after, .. } = error else { panic!("{error}") };
        assert!(left.contains(&retry_after.unwrap().as_secs()), "{retry_after:?}");
    }
    assert_eq!(bench.endpoint.requests(), 1);
    bench.clock.advance(Duration::from_secs(13));
    bench.endpoint.then(Reply::tokens("at-1", None));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
}

#[tokio::test]
async fn refused_connection_is_transient_and_shows_no_secret() {
    let store = fresh_store().await;
    let bench = Bench::signed_in_to(store).await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut nowhere = application(&bench.endpoint);
    nowhere.token_url = format!("http://{}/token?key=hidden", unused.local_addr().unwrap()).parse().unwrap();
    drop(unused);
    let tokens = Tokens::new(
        bench.store.clone(),
        Applications::from_iter([nowhere]),
        http_client(),
        bench.shared_clock(),
        RefreshLimits::default(),
    );
    bench.clock.advance(HOUR - MINUTE);
    assert_eq!(text(tokens.access_token(&bench.admitted).await.unwrap().secret()), "at-0");
    bench.clock.advance(MINUTE + MINUTE);
    let error = tokens.access_token(&bench.admitted).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("refused") && shown.contains("could not be reached"), "{shown}");
    assert!(["hidden", "rt-0", "client~secret"].iter().all(|secret| !shown.contains(secret)), "{shown}");
}

#[tokio::test]
async fn plain_http_to_another_machine_is_never_asked() {
    let bench = Bench::signed_in().await;
    let mut plain = application(&bench.endpoint);
    plain.token_url = "http://login.example/token".parse().unwrap();
    let applications = Applications::from_iter([plain]);
    let tokens =
        Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), RefreshLimits::default());
    bench.clock.advance(HOUR);
    let error = tokens.access_token(&bench.admitted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
}

#[tokio::test(start_paused = true)]
async fn silent_authority_times_out_after_thirty_seconds() {
    stand_still();
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.always(Reply::Silent);
    let mut caller = {
        let (tokens, admitted) = (bench.tokens.clone(), bench.admitted.clone());
        tokio::spawn(async move { tokens.access_token(&admitted).await })
    };
    bench.endpoint.arrived(1).await;
    tokio::time::advance(Duration::from_secs(29)).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!caller.is_finished(), "not before its time");
    tokio::time::advance(Duration::from_secs(1)).await;
    let error = (&mut caller).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("did not answer in time"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn invalid_grant_asks_for_a_sign_in_and_keeps_the_refresh_token() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::error("invalid_grant", 50_173));
    let error = bench.access_token().await.unwrap_err();
    assert!(error.to_string().contains("oxpost sign-in ann@contoso.com"), "{error}");
    assert_eq!(error.problem().unwrap().code, Some(50_173));
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-0");

    // It is left alone for a minute, then tried again with the same refresh token.
    bench.clock.advance(Duration::from_secs(59));
    assert_eq!(bench.access_token().await.unwrap_err().kind(), ErrorKind::SignInRequired);
    assert_eq!(bench.endpoint.requests(), 1);
    bench.clock.advance(Duration::from_secs(1));
    bench.endpoint.then(Reply::tokens("at-1", None));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.sent(1, "refresh_token").unwrap(), "rt-0");
}

#[tokio::test]
async fn sign_in_by_another_process_counts_immediately() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::error("invalid_grant", 700_082));
    assert_eq!(bench.access_token().await.unwrap_err().kind(), ErrorKind::SignInRequired);
    let now = bench.clock.now();
    bench.store.save_signed_in(bench.mailbox(), &token_set("at-new", Some("rt-new")), None, now).await.unwrap();
    assert_eq!(bench.access_token().await.unwrap(), "at-new");
    assert_eq!(bench.endpoint.requests(), 1);
}

#[tokio::test]
async fn new_client_secret_counts_immediately() {
    let bench = Bench::cold().await;
    bench.endpoint.then(Reply::error("invalid_client", 7_000_222));
    assert_eq!(bench.access_token().await.unwrap_err().kind(), ErrorKind::Misconfigured);
    bench.store.set_client_secret("office", &Secret::from("renewed")).await.unwrap();
    bench.endpoint.then(Reply::tokens("at-1", None));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.sent(1, "client_secret").unwrap(), "renewed");
}

#[tokio::test]
async fn account_without_sign_in_is_named() {
    let bench = Bench::new(fresh_store().await, Grant::SignIn).await;
    let error = bench.access_token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SignInRequired);
    assert!(error.to_string().contains("oxpost sign-in ann@contoso.com"), "{error}");
    assert_eq!(bench.endpoint.requests(), 0);
}

/// An engine whose disk can be full.
pub(super) struct FullDisk(pub(super) Arc<dyn Database>, pub(super) AtomicBool);

impl FullDisk {
    pub(super) fn new(engine: Arc<dyn Database>) -> Self {
        Self(engine, AtomicBool::new(false))
    }
}

#[async_trait]
impl Database for FullDisk {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        let writes = statements.iter().any(|statement| !statement.sql.starts_with("SELECT"));
        if writes && self.1.load(Ordering::SeqCst) {
            return Err(DatabaseError::Failed("database or disk is full".into()));
        }
        self.0.transaction(statements).await
    }
}

impl Bench {
    /// Asks for a token, and fills the disk while the authority takes its time.
    async fn access_token_while_the_disk_fills(&self, disk: &FullDisk) -> Result<String, TokenError> {
        let requests = self.endpoint.requests();
        self.endpoint.hold().await;
        let (token, ()) = tokio::join!(self.access_token(), async {
            self.endpoint.arrived(requests + 1).await;
            disk.1.store(true, Ordering::SeqCst);
            self.endpoint.release();
        });
        token
    }
}

#[tokio::test]
async fn tokens_that_a_full_disk_refused_are_written_first() {
    let disk = Arc::new(FullDisk(fresh_engine().await, AtomicBool::new(false)));
    let bench = Bench::signed_in_to(Store::with(disk.clone(), vault()).await.unwrap()).await;
    bench.clock.advance(HOUR - MINUTE);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    let token = bench.access_token_while_the_disk_fills(&disk).await;
    assert_eq!(token.unwrap(), "at-1");
    disk.1.store(false, Ordering::SeqCst);
    bench.clock.advance(30 * Duration::from_secs(1));
    let version = bench.store.tokens(bench.mailbox()).await.unwrap().version;
    bench.tokens.refresh_due(bench.admitted.account(), version).await;
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-1");
    assert_eq!(bench.endpoint.requests(), 1, "written, not asked for again");
}

#[tokio::test]
async fn tokens_that_were_not_written_replace_no_later_sign_in() {
    let disk = Arc::new(FullDisk(fresh_engine().await, AtomicBool::new(false)));
    let bench = Bench::signed_in_to(Store::with(disk.clone(), vault()).await.unwrap()).await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token_while_the_disk_fills(&disk).await.unwrap(), "at-1");
    disk.1.store(false, Ordering::SeqCst);
    let now = bench.clock.now();
    bench.store.save_signed_in(bench.mailbox(), &token_set("at-new", Some("rt-new")), None, now).await.unwrap();
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-2", Some("rt-2")));
    // The first try finds that its tokens are out of date; the next one starts from the sign-in.
    let _ = bench.access_token().await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.access_token().await.unwrap(), "at-2");
    assert_eq!(bench.endpoint.sent(1, "refresh_token").unwrap(), "rt-new");
}

#[tokio::test]
async fn tokens_that_could_not_be_written_are_no_other_applications() {
    let disk = Arc::new(FullDisk(fresh_engine().await, AtomicBool::new(false)));
    let bench = Bench::signed_in_to(Store::with(disk.clone(), vault()).await.unwrap()).await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", None));
    assert_eq!(bench.access_token_while_the_disk_fills(&disk).await.unwrap(), "at-1");
    disk.1.store(false, Ordering::SeqCst);
    let mailbox = bench.mailbox().clone();
    let declared = crate::Declared {
        token_source: crate::TokenSource::Own { application: "another".into(), grant: Grant::SignIn },
        login: mailbox.to_string(),
        senders: crate::SenderPolicy::default(),
        passwords: Vec::new(),
        mailbox: mailbox.clone(),
    };
    bench.store.reconcile(&[declared], std::slice::from_ref(&mailbox), bench.clock.now()).await.unwrap();
    bench.clock.advance(MINUTE);
    let _ = bench.access_token().await;
    assert!(bench.store.tokens(&mailbox).await.unwrap().access.is_none());
}

/// An engine that can fail to read accounts.
struct NoAccounts(Arc<dyn Database>, AtomicBool);

#[async_trait]
impl Database for NoAccounts {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        let reads_accounts = statements.iter().any(|statement| statement.sql.contains("FROM account"));
        if reads_accounts && self.1.load(Ordering::SeqCst) {
            return Err(DatabaseError::Failed("disk I/O error".into()));
        }
        self.0.transaction(statements).await
    }
}

/// The version was raised meanwhile, and the store fails when it is asked whose tokens these are now.
#[tokio::test]
async fn tokens_that_came_during_a_read_failure_are_kept() {
    let engine = Arc::new(NoAccounts(fresh_engine().await, AtomicBool::new(false)));
    let bench = Bench::signed_in_to(Store::with(engine.clone(), vault()).await.unwrap()).await;
    bench.clock.advance(HOUR);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    bench.endpoint.hold().await;
    let (token, ()) = tokio::join!(bench.access_token(), async {
        bench.endpoint.arrived(1).await;
        bench.store.set_client_secret("office", &Secret::from("another")).await.unwrap();
        engine.1.store(true, Ordering::SeqCst);
        bench.endpoint.release();
    });
    assert!(bench.tokens.has_unsaved(bench.mailbox()), "{token:?}");
    engine.1.store(false, Ordering::SeqCst);
    bench.clock.advance(MINUTE);
    assert_eq!(bench.access_token().await.unwrap(), "at-1", "from memory");
    let version = bench.store.tokens(bench.mailbox()).await.unwrap().version;
    bench.tokens.refresh_due(bench.admitted.account(), version).await;
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-1");
    assert_eq!(bench.endpoint.requests(), 1, "written, not asked for again");
}

impl Bench {
    /// Asks concurrently with the refreshes, and does something while the authority takes its time.
    async fn ask_for_scopes(&self, meanwhile: impl AsyncFnOnce()) -> Result<(), TokenError> {
        self.endpoint.then(Reply::tokens("at-beside", Some("rt-beside")));
        self.endpoint.hold().await;
        let application = application(&self.endpoint);
        let (asked, ()) = tokio::join!(self.tokens.probe_scopes(self.admitted.account(), &application), async {
            self.endpoint.arrived(1).await;
            meanwhile().await;
            self.endpoint.release();
        });
        asked
    }
}

#[tokio::test]
async fn refresh_token_rotated_elsewhere_survives_a_raised_version() {
    let bench = Bench::signed_in().await;
    bench
        .ask_for_scopes(async || bench.store.set_client_secret("office", &Secret::from("another")).await.unwrap())
        .await
        .unwrap();
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-beside");
}

#[tokio::test]
async fn refresh_token_rotated_elsewhere_replaces_no_sign_in() {
    let bench = Bench::signed_in().await;
    let theirs = token_set("at-theirs", Some("rt-theirs"));
    bench
        .ask_for_scopes(async || bench.store.save_signed_in(bench.mailbox(), &theirs, None, start()).await.unwrap())
        .await
        .unwrap();
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-theirs");
}

/// The database was away when they came, and the service is stopped to help it.
#[tokio::test]
async fn tokens_that_could_not_be_written_are_written_before_the_end() {
    let disk = Arc::new(FullDisk(fresh_engine().await, AtomicBool::new(false)));
    let bench = Bench::signed_in_to(Store::with(disk.clone(), vault()).await.unwrap()).await;
    bench.clock.advance(HOUR - MINUTE);
    bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    assert_eq!(bench.access_token_while_the_disk_fills(&disk).await.unwrap(), "at-1");
    disk.1.store(false, Ordering::SeqCst);
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    bench.tokens.clone().keep_fresh(stop).await;
    assert_eq!(bench.stored_refresh_token().await.unwrap(), "rt-1");
    assert_eq!(bench.endpoint.requests(), 1);
}
