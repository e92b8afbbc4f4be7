//! The suite once more, on a real PostgreSQL; and what only PostgreSQL has.

use std::{collections::BTreeSet, process::Command, sync::OnceLock};

pub(super) use self::server::Postgres as Server;
use super::*;
use crate::{
    PostgresSettings,
    database::{DatabaseError, Statement, postgres::Postgres},
    store::STORE_SCHEMA,
};

#[path = "../../../tests/harness/postgres.rs"]
#[allow(dead_code, unreachable_pub, reason = "a file of the harness, of which only a part is used here")]
pub(super) mod server;

/// Set for the second run only: the server it plays with, as the folder of its socket and its port.
const SERVER: &str = "OXPOST_TEST_POSTGRES";

/// The tests of these files are run on both engines.
const BOTH: &[&str] = &[
    "store::",
    "single_flight::",
    "durability::",
    "refresher::",
    "admission::",
    "lease::",
    "circuits::story_",
    "client_secrets::",
    "certificates::",
    "app_only::",
    "full_disk::",
    "key_rotation::",
    "nodes::",
    "browser::",
    "password_grant::",
    "remote_budget::",
    "alerts::",
    "delegates::",
    "reconcile::",
    "patterns::",
    "mail_use::",
    "migrations::",
    "smtp_extensions::",
    "upstream_refusals::",
    "renamed::",
    "renamed_password::",
    "sealed_access::",
    "failures::tokens_that",
];

/// The tests of these files are not: about one engine (the first four) or about none, or with a paused clock, which a socket to
/// PostgreSQL would let run ahead.
const ONE: &[&str] = &[
    "maintenance",
    "interrupted_writes",
    "circuit_persistence",
    "growth",
    "on_postgres",
    "postgres_engine",
    "credential",
    "endpoint",
    "fixture",
    "refresh_load",
    "request_gate",
    "outages",
    "sign_in",
];

/// These tests of the files above are about files of SQLite.
const WITHOUT_DATABASE: &[&str] = &[
    "admission::a_login_does_not_wait_for_another_process_that_writes",
    "lease::lease_of_a_killed_process_ends_at_an_exclusive_open",
    "migrations::backup_of_version_1_is_restored_and_migrated",
    "migrations::migration_cut_short_at_any_byte_is_finished_later",
    "password_grant::no_password_of_microsofts_is_stored_or_logged",
    "store::the_files_of_the_store_are_private_and_must_stay_so",
    "store::what_is_no_store_of_ours_is_refused_and_left_as_it_is",
];

/// The server that the parent has started, for a test of the second run; none in the first.
pub(super) fn fresh_database() -> Option<String> {
    let url = std::env::var(SERVER).ok()?;
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("test_{}_{count}", std::process::id());
    sql(&url, &format!("CREATE DATABASE {name} OWNER {}", server::USER));
    // Which test it was made for: see below.
    let thread = std::thread::current();
    sql(&url, &format!("COMMENT ON DATABASE {name} IS '{}'", thread.name().unwrap_or_default()));
    let (server, _) = url.rsplit_once('/').unwrap();
    Some(format!("{server}/{name}"))
}

/// Runs SQL as the server's superuser, in a psql of its own.
pub(super) fn sql(url: &str, text: &str) {
    sql_as_owner(&url.replacen(server::USER, "postgres", 1), text);
}

/// The same as the owner of the store.
pub(super) fn sql_as_owner(url: &str, sql: &str) {
    let done = Command::new("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

pub(super) fn settings(url: &str) -> PostgresSettings {
    PostgresSettings::parse(url, None).unwrap()
}

/// Trusts no authority: these servers are on this machine.
pub(super) fn tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// Until no process has the store open.
pub(super) async fn alone(url: &str) {
    until("no process has the store open", async || {
        match Postgres::open_alone(settings(url), tls(), STORE_SCHEMA).await {
            Err(DatabaseError::InUseByNodes { .. }) => false,
            other => {
                drop(other.unwrap());
                true
            }
        }
    })
    .await;
}

/// One server for all tests of this process.
pub(super) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("fsync = off", &[]).unwrap())
}

pub(super) async fn open(url: &str) -> Postgres {
    Postgres::open(settings(url), tls(), STORE_SCHEMA).await.unwrap()
}

pub(super) fn rows(sql: &'static str) -> Vec<Statement> {
    vec![Statement::new(sql, [])]
}

#[test]
fn the_suite_of_the_store_passes_on_postgres_too() {
    if std::env::var_os(SERVER).is_some() {
        return;
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(BOTH.iter().map(|name| format!("tests::{name}"))).args(arguments);
        let run = command.env(SERVER, server().socket_url("postgres")).output().unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
        said
    };
    let listed = |arguments: &[&str]| {
        let said = run(&[&["--list", "--format", "terse"], arguments].concat());
        said.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let expected: BTreeSet<String> = listed(&[]).difference(&listed(&["--ignored"])).cloned().collect();
    let said = run(&[]);
    let passed = said.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"));
    assert_eq!(passed.map(str::to_owned).collect::<BTreeSet<_>>(), expected);
    // Each has had a database, or is about files.
    let had =
        server().sql("postgres", "SELECT DISTINCT shobj_description(oid, 'pg_database') FROM pg_database").unwrap();
    let without = expected.iter().filter(|test| !had.lines().any(|name| name == *test));
    let without: Vec<&str> = without.map(|test| test.trim_start_matches("tests::")).collect();
    assert_eq!(without, WITHOUT_DATABASE);
    println!(
        "on PostgreSQL: {} tests passed, {} of them with a database",
        expected.len(),
        expected.len() - without.len()
    );
}

/// A new file of tests has to say where it is run.
#[test]
fn every_file_of_tests_is_run_on_both_engines_or_said_not_to_be() {
    let files = include_str!("../tests.rs").lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    for file in files {
        let on_both = BOTH.iter().any(|name| name.split("::").next() == Some(file));
        assert!(on_both || ONE.contains(&file), "{file} is neither in BOTH nor in ONE");
    }
}
