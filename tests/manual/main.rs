//! The manual says what the program does: `docs/operations.md` prints the tables the program answers from, and what
//! README.md shows can be typed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod proofs;
mod quirks;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use oxpost_token_store::{ErrorKind, entra_codes};

/// The generated part of the page stands between these.
const BEGIN: &str =
    "<!-- the tables below are generated: WRITE_MANUAL=1 cargo test -p oxpost-tests --test manual -->\n";
const END: &str = "<!-- end of the generated tables -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn tables() -> String {
    let mut text =
        String::from("\n## What `oxpost doctor` looks at\n\n| check | what it says when it passes |\n|---|---|\n");
    for (name, what) in oxpost::doctor::CHECKS {
        let _ = writeln!(text, "| {name} | {what} |");
    }
    text.push_str(
        "\n## Refusals of Entra ID\n\n| code | what happened | does waiting help? | what to do |\n|---|---|---|---|\n",
    );
    let mut rows: Vec<_> = entra_codes::rows().collect();
    rows.sort_by_key(|row| row.code);
    print(&mut text, &rows, "no, a person must sign in");
    text.push_str(
        "\nFor accounts with the grant password, these instead:\n\n| code | what happened | does waiting help? | what to do |\n\
         |---|---|---|---|\n",
    );
    let mut rows: Vec<_> = entra_codes::rows_of_the_password_grant().iter().collect();
    rows.sort_by_key(|row| row.code);
    print(&mut text, &rows, "no, somebody must act");
    text.push_str(
        "\nMicrosoft may add numbers at any time. For one that is not known here, the names that OAuth gives to errors decide, the \
         first that fits:\n\n| error | suberror | what happened | does waiting help? | what to do |\n|---|---|---|---|---|\n",
    );
    for row in entra_codes::names() {
        let any = |names: &[&str]| if names.is_empty() { "any".to_owned() } else { names.join(", ") };
        let error = format!("{}{}", any(row.errors), if row.app_only { " (app-only)" } else { "" });
        let (what, remedy) = (plain(row.what), plain(row.remedy));
        let waiting = waiting(row.kind, "no, a person must sign in");
        let _ = writeln!(text, "| {error} | {} | {what} | {waiting} | {remedy} |", any(row.suberrors));
    }
    text.push_str("\n## Refusals of Exchange Online\n\n| the reply says | what happened | does waiting help? | what to do |\n|---|---|---|---|\n");
    for row in oxpost::remedy::rows() {
        let waiting = if row.waiting_helps { "yes" } else { "no" };
        let (what, remedy) = (row.what.replace("MAILBOX", "ADDRESS"), row.remedy.replace("MAILBOX", "ADDRESS"));
        let _ = writeln!(text, "| {} | {what} | {waiting} | {remedy} |", row.said);
    }
    text.push('\n');
    text
}

fn print(text: &mut String, rows: &[&entra_codes::Row], a_person: &'static str) {
    for row in rows {
        let (what, remedy) = (plain(row.what), plain(row.remedy));
        let _ = writeln!(text, "| AADSTS{} | {what} | {} | {remedy} |", row.code, waiting(row.kind, a_person));
    }
}

fn waiting(kind: ErrorKind, a_person: &'static str) -> &'static str {
    match kind {
        ErrorKind::Transient => "yes; Oxpost tries again by itself",
        ErrorKind::SignInRequired => a_person,
        _ => "no",
    }
}

fn plain(text: &str) -> String {
    text.replace("{application}", "NAME").replace("{mailbox}", "ADDRESS").replace('|', "\\|").replace('<', "&lt;")
}

#[test]
fn the_operations_page_prints_the_tables_of_the_program() {
    let path = root().join("docs/operations.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a generated part");
    let (printed, after) = rest.split_once(END).expect("the generated part ends");
    if std::env::var_os("WRITE_MANUAL").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", tables())).unwrap();
        return;
    }
    assert!(
        printed == tables(),
        "docs/operations.md is not what the program says. Run: WRITE_MANUAL=1 cargo test -p oxpost-tests --test manual"
    );
    assert!(!printed.contains('{'), "a placeholder is left in the page");
}

/// Every `oxpost …` line of the README is one the program takes.
#[test]
fn the_commands_of_the_readme_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut count = 0;
    for line in readme.lines().map(str::trim).filter(|line| line.starts_with("oxpost ")) {
        let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        if let Err(error) = oxpost::cli::parses(&words) {
            panic!("README.md shows `{line}`, but:\n{error}");
        }
        count += 1;
    }
    assert!(count >= 8, "only {count} commands were found");
}

/// The `[[application]]` of the README can be pasted behind the shipped file.
#[test]
fn the_configuration_of_the_readme_can_be_used() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shipped = std::fs::read_to_string(root().join("proxy.toml")).unwrap();
    let snippet = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, format!("{shipped}\n{snippet}")).unwrap();
    let config = oxpost::Config::load(&file).unwrap();
    assert_eq!(config.applications.names(), ["default"]);
}
