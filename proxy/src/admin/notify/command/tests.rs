//! The command is this very test program, so that it is tested wherever it runs.

use std::io::Read;
use std::path::PathBuf;

use super::super::receiver::message;
use super::*;

/// Not a test: the program that the tests below start, distinguished by the account.
#[test]
fn what_is_run() {
    let Ok(account) = std::env::var("OXPOST_ACCOUNT") else { return };
    if account.starts_with("hang") {
        loop {
            std::thread::park();
        }
    }
    if account.starts_with("fail") {
        std::process::exit(3);
    }
    let mut json = String::new();
    std::io::stdin().read_to_string(&mut json).unwrap();
    let mut said: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("OXPOST_") || WITHHELD.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    said.sort();
    std::fs::write(written_to(&account), format!("{json}\n{}", said.join("\n"))).unwrap();
}

/// Variables that every test program has, in the place of those with the key and with a client secret.
const WITHHELD: [&str; 2] = ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"];

fn written_to(account: &str) -> PathBuf {
    std::env::temp_dir().join(format!("oxpost-delivered-{account}"))
}

fn this_program() -> Command {
    Command {
        program: std::env::current_exe().unwrap().into_os_string(),
        arguments: ["--exact", "admin::notify::command::tests::what_is_run"].map(str::to_owned).to_vec(),
        withheld: WITHHELD.map(str::to_owned).to_vec(),
        is_heard: false,
    }
}

#[tokio::test]
async fn a_command_gets_the_message_as_variables_and_as_json() {
    let account = format!("alice-{}@contoso.com", std::process::id());
    let message = message(&account);
    this_program().run(&message).await.unwrap();
    let said = std::fs::read_to_string(written_to(&account)).unwrap();
    std::fs::remove_file(written_to(&account)).unwrap();
    let (json, variables) = said.split_once('\n').unwrap();
    assert_eq!(json, message.json());
    for (name, value) in message.variables() {
        assert!(variables.lines().any(|line| line == format!("{name}={value}")), "{name} in {variables}");
    }
    for name in WITHHELD {
        assert!(std::env::var_os(name).is_some() && !variables.contains(name), "{variables}");
    }
}

#[tokio::test]
async fn a_command_that_fails_is_named_with_its_status() {
    let error = this_program().run(&message("fail@contoso.com")).await.unwrap_err();
    assert!(error.try_again && error.why.contains('3'), "{error}");
    let missing = Command { program: "no-such-program-anywhere".into(), ..this_program() };
    let error = missing.run(&message("alice@contoso.com")).await.unwrap_err();
    assert!(!error.try_again && error.why.contains("no-such-program-anywhere cannot be started"), "{error}");
}

#[tokio::test]
async fn a_command_that_does_not_end_is_ended() {
    let error = this_program().run_within(&message("hang@contoso.com"), Duration::from_millis(50)).await.unwrap_err();
    assert!(error.try_again && error.why.contains("was ended"), "{error}");
}
