//! What the pages show of proxy.toml can be used.

use std::path::Path;

use oxpost::Config;

use crate::{pages, read, root};

/// The examples of proxy.toml in a page.
fn examples(page: &str) -> Vec<String> {
    let indented = page.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    let blocks = indented.split("```toml\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

/// What is around an example: a listener, and an application where it has none.
fn whole(example: &str) -> String {
    let mut text = String::new();
    if !example.contains("[[listener]]") {
        text.push_str("[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:1143\"\n");
    }
    if !example.contains("[[application]]") {
        text.push_str("[[application]]\nname = \"default\"\ntenant = \"contoso.onmicrosoft.com\"\nclient-id = \"00000000-0000-0000-0000-000000000000\"\n");
    }
    // Only Windows accepts the one, in the place of the other.
    text.push_str(&example.replace("dpapi:", "file:"));
    text
}

fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&file).map_err(|error| error.to_string())
}

/// Whether a problem is only that a file of the reader's is not here.
fn only_a_file_is_missing(error: &str) -> bool {
    error.lines().all(|line| line.contains("os error 2"))
}

#[test]
fn examples_of_the_configuration_can_be_used() {
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages() {
        for example in examples(&read(&page)) {
            let problem = load(&whole(&example)).err().filter(|error| !only_a_file_is_missing(error));
            wrong.extend(problem.map(|error| format!("{}:\n{example}\n\n{error}", page.display())));
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count >= 8, "only {count} examples were found");
}

#[test]
fn wrong_examples_are_found() {
    let error = load(&whole("[[account]]\nmailbox = \"scanner@contoso.com\"\nfrobnicate = 1\n")).unwrap_err();
    assert!(!only_a_file_is_missing(&error), "{error}");
}

/// The first application can be pasted after the shipped file.
#[test]
fn first_application_works_with_the_shipped_file() {
    let page = read(Path::new("docs/register-application.md"));
    let shipped = std::fs::read_to_string(root().join("proxy.toml")).unwrap();
    let config = load(&format!("{shipped}\n{}", examples(&page)[0])).unwrap();
    assert_eq!(config.applications.names(), ["default"]);
}
