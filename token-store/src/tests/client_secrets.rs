//! An application has two client secrets, and the next one replaces the current one.

use async_trait::async_trait;

use super::{
    endpoint::Reply,
    fixture::{Place, fresh_engine},
    *,
};
use crate::{
    ErrorKind, NextSecret, SecretExpiry, TokenError,
    application::ClientSecrets,
    circuit::{Circuit, Span},
    database::{Database, DatabaseError, Outcome, Statement},
};

const WRONG: u32 = 7_000_215;
const EXPIRED: u32 = 7_000_222;

fn secrets(current: Option<&str>, next: Option<&str>) -> ClientSecrets {
    ClientSecrets { current: current.map(Secret::from), next: next.map(Secret::from) }
}

/// The current one is `old`, the next one `new`, which expires in 100 hours.
async fn with_both(store: &Store) {
    store.set_client_secret("office", &Secret::from("old")).await.unwrap();
    store.set_secret_expiry("office", start() + HOUR).await.unwrap();
    store.set_next_client_secret("office", &Secret::from("new"), Some(start() + 100 * HOUR)).await.unwrap();
}

/// `ann`, and a number of others, whose tokens have expired.
async fn crowd_in(store: Store, others: usize) -> (Bench, Vec<Account>) {
    let bench = Bench::signed_in_to(store).await;
    with_both(&bench.store).await;
    let mut accounts = vec![bench.admitted.account().clone()];
    for number in 0..others {
        let account = account(&format!("m{number}@contoso.com"), Grant::SignIn);
        bench.store.add_account(&account).await.unwrap();
        let tokens = token_set("at-0", Some("rt-0"));
        bench.store.save_signed_in(&account.mailbox, &tokens, None, start()).await.unwrap();
        accounts.push(account);
    }
    bench.clock.advance(2 * HOUR);
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    (bench, accounts)
}

impl Bench {
    async fn secrets(&self) -> ClientSecrets {
        self.store.client_secrets("office").await.unwrap()
    }

    fn sent_secrets(&self) -> Vec<String> {
        let sent = |request| self.endpoint.sent(request, "client_secret").unwrap_or_default();
        (0..self.endpoint.requests()).map(sent).collect()
    }

    /// What a refresh of this account has brought.
    async fn refresh(&self, account: &Account) -> Result<(), TokenError> {
        self.tokens.ask_now(account).await.map(drop)
    }
}

#[tokio::test]
async fn expired_secret_is_replaced_within_the_same_refresh() {
    let (bench, accounts) = crowd_in(fresh_store().await, 3).await;
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!((bench.sent_secrets(), bench.secrets().await), (vec!["old".into()], secrets(Some("old"), Some("new"))));

    bench.endpoint.refuse_secret("old", EXPIRED);
    bench.clock.advance(2 * HOUR);
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.sent_secrets(), ["old", "old", "new"]);
    assert_eq!(bench.endpoint.sent(1, "refresh_token"), bench.endpoint.sent(2, "refresh_token"));
    assert_eq!(bench.secrets().await, secrets(Some("new"), None));
    let end = SecretExpiry { application: "office".into(), expires: Some(start() + 100 * HOUR), ..Default::default() };
    assert_eq!(bench.store.secret_expiries().await.unwrap(), [end]);
    assert_eq!(bench.store.token_state(bench.mailbox()).await.unwrap().last_error, None);

    for account in &accounts {
        bench.refresh(account).await.unwrap();
    }
    assert_eq!(bench.sent_secrets()[3..], ["new"; 4]);
}

#[tokio::test]
async fn secret_stored_by_another_process_counts_at_the_next_request() {
    let place = Place::new();
    let bench = Bench::signed_in_to(place.open().await).await;
    let other = place.open().await;
    let applications = Applications::from_iter([application(&bench.endpoint)]);
    let limits = RefreshLimits::default();
    let node = Tokens::new(other.clone(), applications, http_client(), bench.shared_clock(), limits);
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    other.set_client_secret("office", &Secret::from("one")).await.unwrap();
    bench.refresh(bench.admitted.account()).await.unwrap();
    other.set_next_client_secret("office", &Secret::from("two"), None).await.unwrap();
    bench.endpoint.refuse_secret("one", WRONG);
    node.ask_now(bench.admitted.account()).await.unwrap();
    bench.refresh(bench.admitted.account()).await.unwrap();
    // The second node learned it from the store, and not from Microsoft.
    assert_eq!(bench.sent_secrets(), ["one", "one", "two", "two"]);
    other.set_client_secret("office", &Secret::from("three")).await.unwrap();
    bench.refresh(bench.admitted.account()).await.unwrap();
    node.ask_now(bench.admitted.account()).await.unwrap();
    assert_eq!(bench.sent_secrets()[4..], ["three", "three"]);
}

#[tokio::test]
async fn two_refused_secrets_are_named_and_tried_once() {
    let (bench, accounts) = crowd_in(fresh_store().await, 10).await;
    bench.endpoint.refuse_secret("old", EXPIRED);
    bench.endpoint.refuse_secret("new", WRONG);
    for account in &accounts {
        let error = bench.refresh(account).await.unwrap_err();
        let text = error.to_string();
        assert_eq!((error.kind(), error.problem().unwrap().code), (ErrorKind::Misconfigured, Some(WRONG)));
        assert!(text.contains("the current one (AADSTS7000222) and the next one (AADSTS7000215)"), "{text}");
        assert!(text.contains("not its Secret ID"), "the remedy is that of the newest: {text}");
    }
    assert_eq!(bench.sent_secrets()[..3], ["old", "new", "new"]);
    assert_eq!(bench.endpoint.requests(), accounts.len() + 1);
    assert_eq!(bench.secrets().await, secrets(Some("old"), Some("new")));

    // The administrator has seen it. Accounts that wait do not wait on.
    bench.store.set_next_client_secret("office", &Secret::from("newer"), None).await.unwrap();
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.endpoint.requests(), accounts.len() + 2);
    assert_eq!(bench.secrets().await, secrets(Some("newer"), None));
    assert_eq!(bench.store.secret_expiries().await.unwrap(), [], "its expiry was not entered");
}

/// Refreshes all of them concurrently: no request is answered before all of them have arrived.
async fn refresh_together(bench: &Bench, accounts: &[Account]) -> Vec<Result<(), TokenError>> {
    bench.endpoint.hold().await;
    let before = bench.endpoint.requests();
    let refreshes: Vec<_> = accounts
        .iter()
        .map(|account| {
            let (tokens, account) = (bench.tokens.clone(), account.clone());
            tokio::spawn(async move { tokens.ask_now(&account).await.map(drop) })
        })
        .collect();
    bench.endpoint.arrived(before + accounts.len()).await;
    bench.endpoint.release();
    let mut results = Vec::new();
    for refresh in refreshes {
        results.push(refresh.await.unwrap());
    }
    results
}

fn count(sent: &[String], secret: &str) -> usize {
    sent.iter().filter(|one| *one == secret).count()
}

#[tokio::test]
async fn concurrent_requests_try_a_refused_next_secret_once() {
    let (bench, accounts) = crowd_in(fresh_store().await, 7).await;
    bench.endpoint.refuse_secret("old", EXPIRED);
    bench.endpoint.refuse_secret("new", WRONG);
    for result in refresh_together(&bench, &accounts).await {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("the current one (AADSTS7000222) and the next one (AADSTS7000215)"), "{text}");
    }
    let sent = bench.sent_secrets();
    assert_eq!((count(&sent, "old"), count(&sent, "new")), (accounts.len(), 1), "{sent:?}");

    // When the refusal is no longer recent, one of them tries the current one again.
    bench.clock.advance(Duration::from_secs(61));
    for result in refresh_together(&bench, &accounts).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Misconfigured);
    }
    assert_eq!(count(&bench.sent_secrets(), "old"), accounts.len() + 1);
}

#[tokio::test]
async fn concurrent_requests_all_get_tokens_with_the_next_secret() {
    let (bench, accounts) = crowd_in(fresh_store().await, 7).await;
    bench.endpoint.refuse_secret("old", EXPIRED);
    for result in refresh_together(&bench, &accounts).await {
        result.unwrap();
    }
    let sent = bench.sent_secrets();
    assert_eq!((count(&sent, "old"), count(&sent, "new")), (accounts.len(), accounts.len()), "{sent:?}");
    assert_eq!(bench.secrets().await, secrets(Some("new"), None));
}

/// A store that takes everything but the change of the secrets.
struct Unchangeable(Arc<dyn Database>);

#[async_trait]
impl Database for Unchangeable {
    async fn transaction(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, DatabaseError> {
        if statements.iter().any(|statement| statement.sql.contains("SELECT application, $3 FROM next_client_secret")) {
            return Err(DatabaseError::Failed("database or disk is full".into()));
        }
        self.0.transaction(statements).await
    }
}

#[tokio::test]
async fn many_accounts_make_one_extra_request_on_a_read_only_store() {
    let store = Store::with(Arc::new(Unchangeable(fresh_engine().await)), vault()).await.unwrap();
    let (bench, accounts) = crowd_in(store, 30).await;
    bench.endpoint.refuse_secret("old", EXPIRED);
    for account in &accounts {
        bench.refresh(account).await.unwrap();
    }
    assert_eq!(bench.endpoint.requests(), accounts.len() + 1);
    assert_eq!(bench.secrets().await, secrets(Some("old"), Some("new")));
}

#[tokio::test]
async fn next_secret_is_not_tried_while_the_circuit_is_open() {
    let (bench, accounts) = crowd_in(fresh_store().await, 0).await;
    bench.endpoint.refuse_secret("old", EXPIRED);
    bench.endpoint.hold().await;
    let version = bench.store.tokens(bench.mailbox()).await.unwrap().version;
    let (tokens, account) = (bench.tokens.clone(), accounts[0].clone());
    let refresh = tokio::spawn(async move { tokens.refresh_due(&account, version).await });
    bench.endpoint.arrived(1).await;
    // Meanwhile another node received a back-off.
    bench.clock.advance(Duration::from_secs(1));
    let pause = Span { since: bench.shared_clock().now(), length: Duration::from_secs(600) };
    let circuit = Circuit { pauses: 1, pause: Some(pause), reason: "Busy.".into(), ..Circuit::default() };
    let key = crate::store::CircuitKey::of(&application(&bench.endpoint), Some(accounts[0].mailbox.as_str()));
    assert!(bench.store.save_circuit(&key, 0, &circuit).await.unwrap());
    bench.endpoint.release();
    assert!(refresh.await.unwrap().is_some());
    assert_eq!(bench.sent_secrets(), ["old"]);
    assert_eq!(bench.secrets().await, secrets(Some("old"), Some("new")));
    let state = bench.store.token_state(bench.mailbox()).await.unwrap();
    assert_eq!(state.last_error, None, "it is no failure of the account's");
}

#[tokio::test]
async fn next_secret_is_promoted_only_when_tokens_came_for_it() {
    let (bench, accounts) = crowd_in(fresh_store().await, 1).await;
    bench.endpoint.refuse_secret("old", EXPIRED);
    bench.endpoint.always(Reply::error("invalid_grant", 50_173));
    for account in &accounts {
        let error = bench.refresh(account).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SignInRequired);
        assert_eq!(bench.secrets().await, secrets(Some("old"), Some("new")));
    }
    assert_eq!(bench.sent_secrets(), ["old", "new", "new"]);
}

/// A gateway that intercepts the request says 200 to anything.
#[tokio::test]
async fn next_secret_is_not_promoted_by_an_answer_without_a_token() {
    for body in ["{\"message\":\"blocked\"}", "{\"access_token\":\"\"}", "{\"access_token\":7}", "[]", "blocked"] {
        let (bench, accounts) = crowd_in(fresh_store().await, 0).await;
        bench.endpoint.refuse_secret("old", WRONG);
        bench.endpoint.always(Reply::json(200, body));
        bench.refresh(&accounts[0]).await.unwrap_err();
        assert_eq!(bench.sent_secrets(), ["old", "new"], "{body}");
        assert_eq!(bench.secrets().await, secrets(Some("old"), Some("new")), "{body}");
    }
}

/// A secret that is stored a month ahead costs no refresh.
#[tokio::test]
async fn next_secret_makes_only_failed_accounts_due() {
    let (bench, accounts) = crowd_in(fresh_store().await, 1).await;
    bench.refresh(&accounts[0]).await.unwrap();
    bench.endpoint.refuse_secret("old", EXPIRED);
    bench.endpoint.refuse_secret("new", WRONG);
    bench.refresh(&accounts[1]).await.unwrap_err();
    let next_refresh = async |account: &Account| {
        let plan = bench.store.plan().await.unwrap();
        plan.into_iter().find(|planned| planned.account.mailbox == account.mailbox).unwrap().next_refresh
    };
    let before = next_refresh(&accounts[0]).await;
    assert!(before.is_some() && next_refresh(&accounts[1]).await.is_some());
    bench.store.set_next_client_secret("office", &Secret::from("newer"), None).await.unwrap();
    assert_eq!((next_refresh(&accounts[0]).await, next_refresh(&accounts[1]).await), (before, None));
}

#[tokio::test]
async fn app_only_token_is_obtained_with_the_next_secret_too() {
    let bench = Bench::cold().await;
    with_both(&bench.store).await;
    bench.endpoint.refuse_secret("old", WRONG);
    bench.endpoint.always(Reply::tokens("at-1", None));
    assert_eq!(bench.access_token().await.unwrap(), "at-1");
    assert_eq!(bench.sent_secrets(), ["old", "new"]);
    assert_eq!(bench.secrets().await, secrets(Some("new"), None));
}

#[tokio::test]
async fn secret_that_is_stored_is_the_only_one() {
    let store = fresh_store().await;
    with_both(&store).await;
    let next = Some(NextSecret { expires: Some(start() + 100 * HOUR) });
    let known =
        SecretExpiry { application: "office".into(), expires: Some(start() + HOUR), next, ..Default::default() };
    assert_eq!(store.secret_expiries().await.unwrap(), [known]);
    assert!(!store.promote_client_secret("office", &Secret::from("another")).await.unwrap());
    assert_eq!(store.client_secrets("office").await.unwrap(), secrets(Some("old"), Some("new")));
    store.set_client_secret("office", &Secret::from("newest")).await.unwrap();
    assert_eq!(store.client_secrets("office").await.unwrap(), secrets(Some("newest"), None));
    assert!(!store.promote_client_secret("office", &Secret::from("new")).await.unwrap());
    assert_eq!(store.client_secrets("office").await.unwrap(), secrets(Some("newest"), None));
    store.set_next_client_secret("gmail", &Secret::from("only"), None).await.unwrap();
    assert!(store.promote_client_secret("gmail", &Secret::from("only")).await.unwrap());
    assert_eq!(store.client_secrets("gmail").await.unwrap(), secrets(Some("only"), None));
}
