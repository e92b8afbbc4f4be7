//! A store, a clock that only the test moves, and a local receiver.

use oxpost_token_store::{Account, Grant, Mailbox, ManualClock, TokenSet, Vault};

use super::super::receiver::{Answer, Receiver};
use super::super::webhook::tests::{channels, to};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    watch: Notifier,
    store: Store,
    clock: ManualClock,
    receiver: Receiver,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in_memory(Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let receiver = Receiver::start().await;
        let watch = watch(&store, &clock, &receiver.url, folder.path());
        let bench = Self { watch, store, clock, receiver, _folder: folder };
        for mailbox in ["alice@contoso.com", "bob@contoso.com"] {
            let account = Account::new(Mailbox::parse(mailbox).unwrap(), "default", Grant::SignIn, bench.now());
            bench.store.add_account(&account).await.unwrap();
        }
        bench
    }

    fn now(&self) -> SystemTime {
        oxpost_token_store::Clock::now(&self.clock)
    }

    /// One pass, and what of it was delivered.
    async fn look(&mut self) -> Vec<(Kind, String)> {
        let mut said = Vec::new();
        for claimed in self.watch.look(ON_THE_WAY).await {
            let message = claimed.message(self.now(), "gateway.example");
            let arrived = self.watch.channels.deliver(&message).await.iter().all(|(_, outcome)| outcome.is_ok());
            said.extend(claimed.notices.iter().map(|notice| (claimed.kind, notice.subject.clone())));
            self.watch.delivered(claimed, arrived).await;
        }
        said
    }
}

fn watch(store: &Store, clock: &ManualClock, url: &str, folder: &std::path::Path) -> Notifier {
    let notify = to(url);
    let settings = Settings::of(&notify, "gateway.example");
    let own = Own::beside(&folder.join("oxpost.db"));
    let clock: SharedClock = Arc::new(clock.clone());
    let watch = Notifier::new(store, Applications::default(), Arc::new(channels(&notify)), clock, settings, own);
    // It has begun some time ago.
    Notifier { settling_until: Duration::ZERO, ..watch }
}

/// Alice's sign-in was last used 61 days ago: of all troubles the one that a test can make without an authority.
async fn condition(bench: &Bench) {
    signed_in(bench, bench.now() - 61 * 24 * HOUR).await;
}

async fn mended(bench: &Bench) {
    signed_in(bench, bench.now()).await;
}

async fn signed_in(bench: &Bench, at: SystemTime) {
    let mailbox = Mailbox::parse("alice@contoso.com").unwrap();
    let tokens = TokenSet { access_token: "a".into(), lifetime: HOUR, refresh_token: Some("r".into()), identity: None };
    bench.store.save_signed_in(&mailbox, &tokens, None, at).await.unwrap();
}

fn alice(kind: Kind) -> Vec<(Kind, String)> {
    vec![(kind, "alice@contoso.com".to_owned())]
}

#[tokio::test]
async fn alert_is_raised_once_reminded_of_and_resolved() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.look().await, []);
    condition(&bench).await;
    assert_eq!(bench.look().await, alice(Kind::Raised));
    assert_eq!(bench.look().await, []);
    let (_, first) = bench.receiver.next().await;
    assert_eq!((&first["event"], &first["account"]), (&"expiring".into(), &"alice@contoso.com".into()));
    bench.clock.advance(24 * HOUR);
    assert_eq!(bench.look().await, alice(Kind::Reminder));
    mended(&bench).await;
    assert_eq!(bench.look().await, alice(Kind::Resolved));
    assert_eq!(bench.look().await, []);
    assert_eq!(bench.receiver.next().await.1["id"], first["id"]);
    assert_eq!(bench.receiver.next().await.1["id"], first["id"]);
    assert_eq!(bench.store.alerts().await.unwrap(), []);
    condition(&bench).await;
    assert_eq!(bench.look().await, alice(Kind::Raised));
    assert_ne!(bench.receiver.next().await.1["id"], first["id"]);
}

/// A restart, and a second node on the same store.
#[tokio::test]
async fn what_one_process_has_told_no_other_tells() {
    let mut bench = Bench::new().await;
    condition(&bench).await;
    let folder = tempfile::tempdir().unwrap();
    let mut other = watch(&bench.store, &bench.clock, &bench.receiver.url, folder.path());
    let (here, there) = tokio::join!(bench.watch.look(ON_THE_WAY), other.look(ON_THE_WAY));
    assert_eq!(here.len() + there.len(), 1);
    let mut restarted = watch(&bench.store, &bench.clock, &bench.receiver.url, folder.path());
    assert!(restarted.look(ON_THE_WAY).await.is_empty());
    // The node that had claimed it was stopped before it delivered.
    bench.clock.advance(HOUR);
    assert_eq!(restarted.look(ON_THE_WAY).await.len(), 1);
}

/// A row that one node has found damaged is not over because the other has not looked yet.
#[tokio::test]
async fn damaged_row_is_delivered_once_by_two_nodes() {
    use oxpost_token_store::database::{Database, Statement, sqlite::Sqlite};
    let bench = Bench::new().await;
    let database = Arc::new(Sqlite::open_in_memory(oxpost_token_store::store::STORE_SCHEMA).await.unwrap());
    let store = Store::with(database.clone(), Vault::from_key(&[7; 32]).unwrap()).await.unwrap();
    let account = Account::new(Mailbox::parse("alice@contoso.com").unwrap(), "default", Grant::SignIn, bench.now());
    store.add_account(&account).await.unwrap();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut nodes = folders.each_ref().map(|folder| watch(&store, &bench.clock, &bench.receiver.url, folder.path()));
    for node in &mut nodes {
        assert!(node.look(ON_THE_WAY).await.is_empty());
    }
    let damage = Statement::new("UPDATE account SET grant_kind = 'nonsense'", []);
    database.transaction(vec![damage]).await.unwrap();
    let mut delivered = 0;
    for _ in 0..2 * LOOKS_BETWEEN_FULL_ONES {
        for node in &mut nodes {
            for claimed in node.look(ON_THE_WAY).await {
                assert_eq!(claimed.kind, Kind::Raised);
                delivered += claimed.notices.len();
                node.delivered(claimed, true).await;
            }
        }
    }
    assert_eq!(delivered, 1);
}

#[tokio::test]
async fn webhook_that_is_down_is_served_later() {
    let mut bench = Bench::new().await;
    condition(&bench).await;
    bench.receiver.answer(&[Answer::Status(500); 3]);
    assert_eq!(bench.look().await, alice(Kind::Raised));
    assert_eq!(bench.receiver.waiting(), 3);
    assert_eq!(bench.look().await, []);
    bench.clock.advance(HOUR);
    assert_eq!(bench.look().await, alice(Kind::Raised));
    assert_eq!(bench.receiver.waiting(), 1);
    bench.clock.advance(HOUR);
    assert_eq!(bench.look().await, []);
}

#[tokio::test]
async fn no_more_is_claimed_than_can_be_delivered() {
    let mut bench = Bench::new().await;
    condition(&bench).await;
    assert!(bench.watch.look(0).await.is_empty());
    assert_eq!(bench.look().await, alice(Kind::Raised), "it is there for the next node with room");
}

/// All sign-ins of a company are revoked in the same minute, and renewed one day later.
#[tokio::test]
async fn thousand_alerts_are_one_message_and_each_is_delivered_once() {
    let mut bench = Bench::new().await;
    let all: Vec<Mailbox> = (0..1_000).map(|n| Mailbox::parse(&format!("m{n:03}@contoso.com")).unwrap()).collect();
    for mailbox in &all {
        bench.store.add_account(&Account::new(mailbox.clone(), "default", Grant::SignIn, bench.now())).await.unwrap();
    }
    let sign_in = async |store: &Store, at: SystemTime| {
        for mailbox in &all {
            let tokens =
                TokenSet { access_token: "a".into(), lifetime: HOUR, refresh_token: Some("r".into()), identity: None };
            store.save_signed_in(mailbox, &tokens, None, at).await.unwrap();
        }
    };
    sign_in(&bench.store, bench.now() - 61 * 24 * HOUR).await;
    // The receiver is away at first.
    bench.receiver.answer(&[Answer::Status(500); 3]);
    assert_eq!(bench.look().await.len(), 1_000);
    assert_eq!((bench.receiver.waiting(), bench.look().await.len()), (3, 0));
    // Nothing is forgotten over a restart.
    let folder = tempfile::tempdir().unwrap();
    bench.watch = watch(&bench.store, &bench.clock, &bench.receiver.url, folder.path());
    bench.clock.advance(HOUR);
    assert_eq!(bench.look().await.len(), 1_000);
    let (_, problem) = bench.receiver.next().await;
    assert_eq!(
        (&problem["count"], &problem["account"], &problem["kind"]),
        (&1_000.into(), &().into(), &"raised".into())
    );
    let what = problem["what"].as_str().unwrap();
    assert!(what.contains("m000@contoso.com, m001@contoso.com") && what.contains("and 990 more"), "{what}");
    assert_eq!(bench.look().await, []);
    bench.clock.advance(24 * HOUR);
    assert_eq!(bench.look().await.len(), 1_000);
    assert_eq!(bench.receiver.next().await.1["kind"], "reminder");
    sign_in(&bench.store, bench.now()).await;
    assert_eq!(bench.look().await.len(), 1_000);
    let (_, resolved) = bench.receiver.next().await;
    assert_eq!((&resolved["count"], &resolved["kind"]), (&1_000.into(), &"resolved".into()));
    assert_eq!((bench.receiver.waiting(), bench.store.alerts().await.unwrap()), (0, Vec::new()));
}

/// What is opened by a digest and what is opened alone is closed by its id, however it is grouped at its end.
#[tokio::test]
async fn every_alert_is_closed_by_the_id_that_opened_it() {
    let mut bench = Bench::new().await;
    let all: Vec<Mailbox> = (0..6).map(|n| Mailbox::parse(&format!("m{n}@contoso.com")).unwrap()).collect();
    let sign_in = async |store: &Store, of: &[Mailbox], at: SystemTime| {
        for mailbox in of {
            let (access_token, refresh_token) = ("a".into(), Some("r".into()));
            let tokens = TokenSet { access_token, lifetime: HOUR, refresh_token, identity: None };
            store.save_signed_in(mailbox, &tokens, None, at).await.unwrap();
        }
    };
    for mailbox in &all {
        bench.store.add_account(&Account::new(mailbox.clone(), "default", Grant::SignIn, bench.now())).await.unwrap();
    }
    let (old, now) = (bench.now() - 61 * 24 * HOUR, bench.now());
    let mut open = std::collections::BTreeSet::new();
    // Opened: five in a digest, one alone. Closed: one alone, one alone, four in a digest.
    for (of, at) in [(&all[..5], old), (&all[5..], old), (&all[..1], now), (&all[1..2], now), (&all[2..], now)] {
        sign_in(&bench.store, of, at).await;
        assert_eq!(bench.look().await.len(), of.len());
        let (_, message) = bench.receiver.next().await;
        let ids: Vec<&str> = message["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert_eq!(ids.len(), of.len());
        assert_eq!(message["id"] == ids[0], of.len() == 1, "a digest has an id of its own");
        for id in ids {
            let changed = if message["kind"] == "resolved" { open.remove(id) } else { open.insert(id.to_owned()) };
            assert!(changed, "{id} is opened once and closed once");
        }
    }
    assert_eq!((open.len(), bench.receiver.waiting()), (0, 0));
}

/// A start with the clock in 2020: what is alerted then, and what it leaves in the store, ends when the clock is right.
#[tokio::test]
async fn start_in_2020_leaves_no_alert_once_the_clock_is_right() {
    let mut bench = Bench::new().await;
    let (right, bob) = (bench.now(), Mailbox::parse("bob@contoso.com").unwrap());
    let sign_in = async |bench: &Bench, mailbox: &Mailbox, at: SystemTime| {
        let (access_token, refresh_token) = ("a".into(), Some("r".into()));
        let tokens = TokenSet { access_token, lifetime: HOUR, refresh_token, identity: None };
        bench.store.save_signed_in(mailbox, &tokens, None, at).await.unwrap();
    };
    signed_in(&bench, right).await;
    sign_in(&bench, &bob, right).await;
    bench.clock.set(SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800));
    let folder = tempfile::tempdir().unwrap();
    bench.watch = watch(&bench.store, &bench.clock, &bench.receiver.url, folder.path());
    // The authority takes nothing that says it is 2020; Bob's gives tokens.
    let refusing = Refusing::start(&bench).await;
    refusing.ask("alice@contoso.com").await;
    sign_in(&bench, &bob, bench.now()).await;
    assert_eq!(bench.look().await, []);
    bench.clock.advance(HOUR / 2);
    assert_eq!(bench.look().await, alice(Kind::Raised));
    // NTP sets the clock. Bob's sign-in was last used six years ago, as it seems, and Alice has failed for as long.
    bench.clock.set(right + HOUR);
    for _ in 0..3 {
        assert_eq!(bench.look().await, []);
        bench.clock.advance(Duration::from_secs(60));
    }
    // What is due is refreshed.
    for mailbox in [Mailbox::parse("alice@contoso.com").unwrap(), bob] {
        sign_in(&bench, &mailbox, bench.now()).await;
    }
    assert_eq!(bench.look().await, alice(Kind::Resolved));
    bench.clock.advance(24 * HOUR);
    assert_eq!(bench.look().await, []);
    assert_eq!((bench.store.alerts().await.unwrap(), bench.receiver.waiting()), (Vec::new(), 2));
}

/// Tokens of an application whose authority cannot be reached.
struct Refusing {
    tokens: oxpost_token_store::Tokens,
    accounts: oxpost_token_store::Accounts,
}

impl Refusing {
    async fn start(bench: &Bench) -> Self {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let url = |path: &str| url::Url::parse(&format!("http://{closed}/t/oauth2/v2.0/{path}")).unwrap();
        let application = oxpost_token_store::Application {
            name: "default".into(),
            tenant: None,
            authorize_url: url("authorize"),
            authorize_parameters: Vec::new(),
            redirect_uri: None,
            openid: true,
            token_url: url("token"),
            device_code_url: None,
            client_id: "c".into(),
            credential: oxpost_token_store::Credential::Secret,
            client_secret: None,
            client_secret_expires: None,
            next_client_secret: None,
            delegated_scopes: vec!["offline_access".into()],
            app_scopes: Vec::new(),
        };
        let tls = tls::client_config(None, true).unwrap();
        let http = oxpost_token_store::http::client(tls, oxpost_token_store::HttpPolicy::LoopbackHttp).unwrap();
        let clock: SharedClock = Arc::new(bench.clock.clone());
        let applications = Applications::from_iter([application]);
        let limits = oxpost_token_store::RefreshLimits::default();
        let tokens =
            oxpost_token_store::Tokens::new(bench.store.clone(), applications, http, Arc::clone(&clock), limits);
        let limits = oxpost_token_store::AdmissionLimits::default();
        Self { tokens, accounts: oxpost_token_store::Accounts::new(bench.store.clone(), clock, limits) }
    }

    /// Asks in vain; the token that there is may still be given.
    async fn ask(&self, mailbox: &str) {
        let admitted = self.accounts.admit_without_password(&Mailbox::parse(mailbox).unwrap()).await.unwrap().unwrap();
        let _ = self.tokens.access_token(&admitted).await;
    }
}

/// From the first look to the receiver, as the service does it.
#[tokio::test]
async fn the_task_tells_and_stops() {
    let mut bench = Bench::new().await;
    condition(&bench).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(bench.watch.run(stop.clone()));
    assert_eq!(bench.receiver.next().await.1["kind"], "raised");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn store_that_fails_for_a_minute_raises_and_resolves_an_alert() {
    let mut bench = Bench::new().await;
    let error = StoreError::WrongKey;
    assert!(matches!(bench.watch.of_the_store(Some(&error), bench.now())[..], [Finding::Unsure(..)]));
    bench.clock.advance(Duration::from_secs(59));
    assert!(matches!(bench.watch.of_the_store(Some(&error), bench.now())[..], [Finding::Unsure(..)]));
    bench.clock.advance(Duration::from_secs(1));
    let findings = bench.watch.of_the_store(Some(&error), bench.now());
    let [Finding::Condition(condition)] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(condition.event, Event::Store);
    let [step] = <[Step; 1]>::try_from(decide(&findings, &[], bench.now(), None, new_id)).unwrap();
    bench.watch.own.set(&step.new);
    // The next process that opens the store tells that it is over.
    assert_eq!(bench.look().await, [(Kind::Resolved, String::new())]);
    assert_eq!(bench.look().await, []);
}
