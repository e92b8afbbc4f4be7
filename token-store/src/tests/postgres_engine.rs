//! What only PostgreSQL has: lost connections, nodes, exclusive use, a clock of its own.

use super::{endpoint::Reply, key_rotation::StopsAfter, on_postgres::*, *};
use crate::{
    KeySource, PostgresSettings, StoreError,
    database::{Database, DatabaseError, Migration, Schema, Statement, Value, postgres::Postgres},
    store::{
        STORE_SCHEMA,
        key_rotation::{RotateError, rotate, rotate_key_on_postgres},
    },
};

#[tokio::test]
async fn two_nodes_that_start_on_an_empty_database_make_one_store() {
    for _ in 0..5 {
        let url = server().socket_url(&server().database().unwrap());
        for store in concurrently(8, || Store::open_postgres(settings(&url), tls(), vault())).await {
            store.unwrap().accounts().await.unwrap();
        }
    }
}

/// Runs so many concurrently.
async fn concurrently<F>(count: usize, make: impl Fn() -> F) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let running: tokio::task::JoinSet<_> = (0..count).map(|_| make()).collect();
    running.join_all().await
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let database = open(&server().socket_url(&server().database().unwrap())).await;
    let kill = "SELECT pg_terminate_backend(pg_backend_pid())";
    let error = database.transaction(vec![Statement::new(kill, []), Statement::new("DELETE FROM meta", [])]).await;
    assert!(matches!(error, Err(DatabaseError::Unavailable { .. })), "{error:?}");
    let counted = database.transaction(rows("SELECT count(*) FROM account")).await.unwrap();
    assert_eq!(counted[0].rows[0].0, [Value::Integer(0)]);
}

/// The key is changed while a node has lost its connection: it must not go on sealing with the old one.
#[tokio::test]
async fn node_that_returns_after_a_key_rotation_writes_nothing() {
    let (name, folder) = (server().database().unwrap(), tempfile::tempdir().unwrap());
    let url = server().socket_url(&name);
    let source = KeySource::File(folder.path().join("oxpost.key"));
    let node = Store::open_postgres(settings(&url), tls(), source.open().unwrap().0).await.unwrap();
    node.add_account(&account("ann@contoso.com", Grant::SignIn)).await.unwrap();
    let rotate = || rotate_key_on_postgres(settings(&url), tls(), &source);
    let error = rotate().await.unwrap_err().to_string();
    assert!(error.contains("the machine of the database") && error.contains("on every node"), "{error}");

    cut_off(&name).await;
    rotate().await.unwrap();
    let changed = |error: StoreError| matches!(error, StoreError::Database(DatabaseError::KeyChanged { .. }));
    let tokens = token_set("at", Some("rt"));
    // Its first words after that may still get the news that the connection is gone.
    let (mut error, mut tries) = (None, 0);
    while !error.is_some_and(changed) && tries < 10 {
        error = node.save_signed_in(&mailbox("ann@contoso.com"), &tokens, None, start()).await.err();
        tries += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(tries < 10);
    assert!(changed(node.accounts().await.unwrap_err()));
    let text = node.accounts().await.unwrap_err().to_string();
    assert!(text.contains("copy the key") && text.contains("restart"), "{text}");
    let again = Store::open_postgres(settings(&url), tls(), source.read().unwrap()).await.unwrap();
    let state = again.token_state(&mailbox("ann@contoso.com")).await.unwrap();
    assert!(!state.has_refresh_token, "nothing was written with the old key");
}

/// A node that has the old key alone would take values that it cannot open for damaged ones.
#[tokio::test]
async fn old_key_is_refused_after_an_unfinished_rotation() {
    let (name, folder) = (server().database().unwrap(), tempfile::tempdir().unwrap());
    let url = server().socket_url(&name);
    let source = KeySource::File(folder.path().join("oxpost.key"));
    let before = source.open().unwrap().0;
    let node = Store::open_postgres(settings(&url), tls(), before.clone()).await.unwrap();
    node.add_account(&account("ann@contoso.com", Grant::SignIn)).await.unwrap();
    cut_off(&name).await;
    let database = Postgres::open_alone(settings(&url), tls(), STORE_SCHEMA).await.unwrap();
    // Two writes are those of the openings, the third is the first batch.
    let database = Arc::new(StopsAfter(Arc::new(database), 3.into()));
    let error = rotate(database, before.clone(), &source).await.unwrap_err();
    assert!(matches!(error, RotateError::Unfinished { .. }) && source.read().unwrap().keys() == 2, "{error}");

    let changed = |error: StoreError| matches!(error, StoreError::Database(DatabaseError::KeyChanged { .. }));
    until("the node is refused", async || node.accounts().await.is_err_and(changed)).await;
    let error = Store::open_postgres(settings(&url), tls(), before).await.unwrap_err();
    assert_eq!(error, StoreError::WrongKey);
    let both = Store::open_postgres(settings(&url), tls(), source.read().unwrap()).await.unwrap();
    assert_eq!(both.accounts().await.unwrap().len(), 1);
}

/// (For a store in SQLite the command line looks for the file first.)
#[tokio::test]
async fn a_store_that_is_not_there_gets_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let source = KeySource::File(folder.path().join("oxpost.key"));
    source.open().unwrap();
    let before = std::fs::read(folder.path().join("oxpost.key")).unwrap();
    let url = server().socket_url(&server().database().unwrap());
    let error = rotate_key_on_postgres(settings(&url), tls(), &source).await.unwrap_err();
    assert!(matches!(error, RotateError::Store(StoreError::Database(DatabaseError::NoStore { .. }))), "{error}");
    assert_eq!(std::fs::read(folder.path().join("oxpost.key")).unwrap(), before);
}

#[tokio::test]
async fn exclusive_connection_locks_others_out_and_never_reconnects() {
    let name = server().database().unwrap();
    let url = server().socket_url(&name);
    let node = Store::open_postgres(settings(&url), tls(), vault()).await.unwrap();
    cut_off(&name).await;
    let alone = Postgres::open_alone(settings(&url), tls(), STORE_SCHEMA).await.unwrap();
    let newcomer = Postgres::open(settings(&url), tls(), STORE_SCHEMA).await.unwrap_err();
    assert!(matches!(newcomer, DatabaseError::InUseByNodes { .. }), "{newcomer}");
    assert!(node.accounts().await.is_err());
    cut_off(&name).await;
    for _ in 0..3 {
        let error = alone.transaction(rows("SELECT 1")).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Unavailable { .. }), "{error}");
    }
    until("the node is connected again", async || node.accounts().await.is_ok()).await;
}

/// Ends every connection to a database, and waits until the server has forgotten them.
async fn cut_off(database: &str) {
    let select = format!("FROM pg_stat_activity WHERE datname = '{database}'");
    server().sql("postgres", &format!("SELECT pg_terminate_backend(pid) {select}")).unwrap();
    let count = format!("SELECT count(*) {select}");
    until("every connection has ended", async || server().sql("postgres", &count).unwrap().trim() == "0").await;
}

#[tokio::test]
async fn reading_a_database_without_a_store_changes_nothing() {
    let name = server().database().unwrap();
    let error = Postgres::open_existing(settings(&server().socket_url(&name)), tls(), STORE_SCHEMA).await.unwrap_err();
    assert!(matches!(error, DatabaseError::NoStore { .. }), "{error}");
    assert_eq!(server().sql(&name, "SELECT count(*) FROM pg_namespace WHERE nspname = 'oxpost'").unwrap().trim(), "0");
}

/// Another node adds an account that is due immediately. Without a notification from the database it would be seen in an hour.
#[tokio::test]
async fn refresher_hears_other_nodes_after_a_lost_connection() {
    let name = server().database().unwrap();
    let url = server().socket_url(&name);
    let node = || Store::open_postgres(settings(&url), tls(), vault());
    let bench = Bench::new(node().await.unwrap(), Grant::SignIn).await;
    let other = node().await.unwrap();
    let limits = RefreshLimits { look_every: HOUR, ..RefreshLimits::default() };
    let applications = Applications::from_iter([application(&bench.endpoint)]);
    let tokens = Tokens::new(bench.store.clone(), applications, http_client(), bench.shared_clock(), limits);
    bench.endpoint.always(Reply::tokens("at", None));
    let stop = tokio_util::sync::CancellationToken::new();
    let refresher = tokio::spawn(tokens.keep_fresh(stop.clone()));
    for address in ["ben@contoso.com", "cas@contoso.com", "dan@contoso.com"] {
        other.add_account(&account(address, Grant::ClientCredentials)).await.unwrap();
        until("the token is stored", async || {
            other.token_state(&mailbox(address)).await.unwrap().access_token_expires.is_some()
        })
        .await;
        server()
            .sql(
                "postgres",
                &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
            )
            .unwrap();
        // Until both are connected again: the refresher by itself, the other one because it is asked.
        until("both are connected", async || other.accounts().await.is_ok() && connections(&name) >= 2).await;
    }
    stop.cancel();
    refresher.await.unwrap();
}

fn connections(database: &str) -> usize {
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    server().sql("postgres", &count).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn failed_transaction_leaves_nothing_and_the_next_works() {
    let database = open(&server().socket_url(&server().database().unwrap())).await;
    let insert = || Statement::new("INSERT INTO meta (name, value) VALUES ('a', $1)", [Value::Bytes(vec![1])]);
    assert_eq!(database.transaction(vec![insert(), insert()]).await, Err(DatabaseError::Conflict));
    let counted = database.transaction(rows("SELECT count(*) FROM meta")).await.unwrap();
    assert_eq!(counted[0].rows[0].0, [Value::Integer(0)]);
}

#[tokio::test]
async fn concurrent_transactions_share_a_connection_unmixed() {
    let database = Arc::new(open(&server().socket_url(&server().database().unwrap())).await);
    database
        .transaction(vec![Statement::new("INSERT INTO meta (name, value) VALUES ('n', $1)", [vec![].into()])])
        .await
        .unwrap();
    let add = || {
        let database = database.clone();
        async move {
            let read = Statement::new("SELECT octet_length(value) FROM meta WHERE name = 'n'", []);
            let write = Statement::new("UPDATE meta SET value = value || $1 WHERE name = 'n'", [vec![1_u8].into()]);
            let outcomes = database.transaction(vec![read, write]).await.unwrap();
            database.transaction(rows("SELECT 1")).await.unwrap();
            outcomes[0].rows[0].clone().integer(0).unwrap()
        }
    };
    let mut seen = concurrently(50, add).await;
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<_>>(), "each saw what the one before it had written");
}

#[tokio::test]
async fn connection_lost_during_a_migration_leaves_the_version_before() {
    const DIES: &[Migration] = &[
        STORE_SCHEMA.migrations[0],
        Migration { sql: "DELETE FROM token;", postgres: "SELECT pg_terminate_backend(pg_backend_pid())" },
    ];
    let name = server().database().unwrap();
    let url = server().socket_url(&name);
    sql_as_owner(&url, include_str!("stores/version-1.postgres.sql"));
    let dying = Schema { migrations: DIES, ..STORE_SCHEMA };
    let error = Postgres::open(settings(&url), tls(), dying).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Unavailable { .. }), "{error}");
    let tokens = server().sql(&name, "SELECT version, (SELECT count(*) FROM oxpost.token) FROM oxpost.store_version");
    assert_eq!(tokens.unwrap().trim(), "1|4");
    let store = Store::open_postgres(settings(&url), tls(), fixture::version_1_vault()).await.unwrap();
    assert_eq!(store.accounts().await.unwrap().len(), 5);
}

#[tokio::test]
async fn name_with_a_nul_matches_no_account() {
    let url = server().socket_url(&server().database().unwrap());
    let store = Store::open_postgres(settings(&url), tls(), vault()).await.unwrap();
    assert_eq!(store.account_by_login("ann\0@contoso.com").await, Ok(None));
}

#[tokio::test]
async fn wrong_postgres_password_is_named_with_its_remedy() {
    let url = server().tcp_url(&server().database().unwrap());
    let with = |password: &str| PostgresSettings::parse(&url, Some(&Secret::from(password))).unwrap();
    Postgres::open(with(server::PASSWORD), tls(), STORE_SCHEMA).await.unwrap();
    let error = Postgres::open(with("another"), tls(), STORE_SCHEMA).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Refused { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("postgres-password-file") && !text.contains("another"), "{text}");
    let none = Postgres::open(settings(&server().tcp_url("no_such")), tls(), STORE_SCHEMA).await.unwrap_err();
    assert!(none.to_string().contains("password"), "{none}");
}

#[tokio::test]
async fn tables_of_another_program_are_left_alone() {
    let name = server().database().unwrap();
    server()
        .sql(
            &name,
            &format!("CREATE SCHEMA oxpost AUTHORIZATION {}; CREATE TABLE oxpost.account (x int)", server::USER),
        )
        .unwrap();
    let error = Postgres::open(settings(&server().socket_url(&name)), tls(), STORE_SCHEMA).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Garbled { .. }), "{error}");
    assert_eq!(server().sql(&name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'oxpost'").unwrap().trim(), "1");
}

#[tokio::test]
async fn unavailable_database_fails_fast_and_recovers() {
    let server = Server::start("fsync = off", &[]).unwrap();
    let url = server.socket_url(&server.database().unwrap());
    let database = open(&url).await;
    for how in ["fast", "immediate"] {
        server.down(how).unwrap();
        for _ in 0..3 {
            let error = database.transaction(rows("SELECT 1")).await.unwrap_err();
            assert!(matches!(error, DatabaseError::Unavailable { .. }), "{error}");
            assert!(error.to_string().contains("cannot be reached"), "{error}");
        }
        server.up().unwrap();
        until("it is used again", async || database.transaction(rows("SELECT 1")).await.is_ok()).await;
    }
}

/// What is read in the background waits in the server; no login waits after it.
#[tokio::test]
async fn login_is_answered_while_a_background_read_is_held() {
    let database = Arc::new(open(&server().socket_url(&server().database().unwrap())).await);
    let other = Arc::clone(&database);
    let held = tokio::spawn(async move { other.read_in_background(rows("SELECT pg_sleep(9)::text")).await });
    for _ in 0..100 {
        database.transaction(rows("SELECT count(*) FROM account")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let read = database.transaction(rows("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(9)%' AND state = 'active' AND datname = current_database() AND pid <> pg_backend_pid()"));
    assert_eq!(read.await.unwrap()[0].rows[0].0, [Value::Integer(1)], "it is held");
    assert!(!held.is_finished());
    held.abort();
}

/// A node whose clock is wrong by this.
struct Ahead(Duration);

impl crate::Clock for Ahead {
    fn now(&self) -> SystemTime {
        SystemTime::now() + self.0
    }
}

/// Times in the store are the database's, whatever the clocks of the nodes say.
#[tokio::test]
async fn nodes_with_different_clocks_use_the_databases_clock() {
    let name = server().database().unwrap();
    let url = server().socket_url(&name);
    let node = || Store::open_postgres(settings(&url), tls(), vault());
    let bench = Bench::new(node().await.unwrap(), Grant::SignIn).await;
    bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    let addresses = ["a@contoso.com", "b@contoso.com", "c@contoso.com"];
    for address in addresses {
        bench.store.add_account(&account(address, Grant::SignIn)).await.unwrap();
        let over = SystemTime::now() - HOUR;
        bench.store.save_signed_in(&mailbox(address), &token_set("at-0", Some("rt-0")), None, over).await.unwrap();
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let mut refreshers = Vec::new();
    for skew in [0, 61 * 60] {
        let store = node().await.unwrap();
        let clock = store.clock(Arc::new(Ahead(Duration::from_secs(skew))));
        let off = clock.now().duration_since(SystemTime::now()).unwrap_or_default();
        assert!(off < Duration::from_secs(5), "{off:?}");
        let limits = RefreshLimits { look_every: Duration::from_millis(5), ..RefreshLimits::default() };
        let applications = Applications::from_iter([application(&bench.endpoint)]);
        let tokens = Tokens::new(store, applications, http_client(), clock, limits);
        refreshers.push(tokio::spawn(tokens.keep_fresh(stop.clone())));
    }
    for address in addresses {
        bench.stored(address, "at-1").await;
    }
    // Time for many looks.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    for refresher in refreshers {
        refresher.await.unwrap();
    }
    assert_eq!(bench.endpoint.requests(), addresses.len());
}
