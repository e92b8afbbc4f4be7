//! The manual says what the program does: its tables are those the program answers from, and what it shows can be typed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod commands;
mod configuration;
mod imports;
mod links;
mod proofs;
mod quirks;
mod readers;
mod rooms;
mod words;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use oxpost_token_store::{ErrorKind, entra_codes};

/// The generated part of a page is between these.
const BEGIN: &str =
    "<!-- the tables below are generated: WRITE_MANUAL=1 cargo test -p oxpost-tests --test manual -->\n";
const END: &str = "<!-- end of the generated tables -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages that a reader has: README.md and what it leads to.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "certs/README.md"]
        .into_iter()
        .map(PathBuf::from)
        .collect();
    for folder in ["docs", "docs/decisions"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                pages.push(Path::new(folder).join(name));
            }
        }
    }
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

fn checks() -> String {
    let mut text = String::from("\n### The checks\n\n| check | what it says when it passes |\n|---|---|\n");
    for (name, what) in oxpost::testing::CHECKS {
        let _ = writeln!(text, "| {name} | {what} |");
    }
    text.push('\n');
    text
}

fn refusals() -> String {
    let mut text = String::from(
        "\n## Refusals of Entra ID\n\n| code | what happened | does waiting help? | what to do |\n|---|---|---|---|\n",
    );
    let mut rows: Vec<_> = entra_codes::rows().collect();
    rows.sort_by_key(|row| row.code);
    print(&mut text, &rows, "no, a person must sign in");
    text.push_str(
        "\nFor accounts with the grant password, these instead:\n\n| code | what happened | does waiting help? | what to do |\n\
         |---|---|---|---|\n",
    );
    let mut rows: Vec<_> = entra_codes::password_grant_codes().iter().collect();
    rows.sort_by_key(|row| row.code);
    print(&mut text, &rows, "no, an administrator must act");
    text.push_str(
        "\nFor accounts with the grant client-credentials, these instead:\n\n| code | what happened | does waiting help? | what to do |\n\
         |---|---|---|---|\n",
    );
    let mut rows: Vec<_> = entra_codes::app_only_codes().iter().collect();
    rows.sort_by_key(|row| row.code);
    print(&mut text, &rows, "no, an administrator must act");
    text.push_str(
        "\nMicrosoft may add numbers at any time. For one that is not known here, the names that OAuth gives to errors decide, the \
         first that fits, and Oxpost adds Microsoft's own sentence and the trace id that its support asks for:\n",
    );
    print_names(&mut text, entra_codes::names());
    text.push_str("\n## Refusals of Google's sign-in service\n");
    print_names(&mut text, entra_codes::google_names());
    text.push_str("\n## Refusals of other sign-in services\n");
    print_names(&mut text, entra_codes::other_names());
    text.push_str(
        "\n## Refusals of mail servers\n\nThe first row that fits counts. Where a column says *any*, all of them are meant.\n\n\
         | whose server | protocol | reply to | the reply says | what happened | does waiting help? | what to do |\n|---|---|---|---|---|---|---|\n",
    );
    for row in oxpost::testing::known_replies() {
        let waiting = if row.waiting_helps { "yes" } else { "no" };
        let (what, remedy) = (row.what.replace("MAILBOX", "ADDRESS"), row.remedy.replace("MAILBOX", "ADDRESS"));
        let service = row.service.map_or("any".to_owned(), |service| service.to_string());
        let (protocols, steps) = (listed(row.protocols), listed(row.steps));
        let says = match row.pattern.strip_prefix('^') {
            Some(beginning) => format!("{beginning}..."),
            None => row.pattern.replace('*', "\\*"),
        };
        let _ = writeln!(text, "| {service} | {protocols} | {steps} | {says} | {what} | {waiting} | {remedy} |");
    }
    text.push('\n');
    text
}

fn listed<T: std::fmt::Display>(all: &[T]) -> String {
    let names: Vec<String> = all.iter().map(T::to_string).collect();
    if names.is_empty() { "any".to_owned() } else { names.join(", ") }
}

fn print_names(text: &mut String, rows: impl Iterator<Item = &'static entra_codes::NameRow>) {
    text.push_str(
        "\n| error | suberror or text | what happened | does waiting help? | what to do |\n|---|---|---|---|---|\n",
    );
    for row in rows {
        let any = |names: &[&str]| if names.is_empty() { "any".to_owned() } else { names.join(", ") };
        let error = format!("{}{}", any(row.errors), if row.app_only { " (app-only)" } else { "" });
        let (what, remedy) = (plain(row.what), plain(row.remedy));
        let more = if row.says.is_empty() { any(row.suberrors) } else { format!("\"{}\"", row.says) };
        let waiting = waiting(row.kind, "no, a person must sign in");
        let _ = writeln!(text, "| {error} | {more} | {what} | {waiting} | {remedy} |");
    }
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

/// Compares the generated part of a page with what it must be, or writes it.
fn check_generated(page: &str, expected: &str) {
    let path = root().join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap_or_else(|| panic!("{page} has no generated part"));
    let (printed, after) = rest.split_once(END).expect("the generated part ends");
    if std::env::var_os("WRITE_MANUAL").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(
        printed == expected,
        "{page} is not what the program says. Run: WRITE_MANUAL=1 cargo test -p oxpost-tests --test manual"
    );
    assert!(!printed.contains('{'), "a placeholder is left in {page}");
}

#[test]
fn page_of_refusals_has_the_tables_of_the_program() {
    check_generated("docs/refusals.md", &refusals());
}

#[test]
fn troubleshooting_page_has_the_checks_of_the_doctor() {
    check_generated("docs/troubleshooting.md", &checks());
}

/// Who starts here reads no more than this before the first mail.
#[test]
fn readme_has_at_most_150_lines() {
    let lines = read(Path::new("README.md")).lines().count();
    assert!(lines <= 150, "README.md has {lines} lines: move what is not for everyone into docs/");
}
