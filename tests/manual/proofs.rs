//! Pages that name the tests which prove what they say: each is there, is one, and is run.

use crate::root;

/// Transcripts that are played, all that are in these folders.
const PLAYED: [&str; 10] = [
    "protocol/transcripts/imap/local/",
    "protocol/transcripts/imap/upstream/",
    "protocol/transcripts/imap/relay/",
    "protocol/transcripts/pop3/relay/",
    "protocol/transcripts/pop3/local/",
    "protocol/transcripts/pop3/upstream/",
    "protocol/transcripts/smtp/local/",
    "protocol/transcripts/smtp/upstream/",
    "protocol/transcripts/smtp/submission/",
    "tests/e2e/stories/",
];

/// Checks every proof of a page, and says how many there are. Each row of its tables ends with one.
fn proofs_of(page: &str) -> usize {
    let page = std::fs::read_to_string(root().join(page)).unwrap();
    let mut count = 0;
    for proof in page.split('`').filter(|words| words.contains(".rs::")) {
        let (file, test) = proof.split_once("::").unwrap();
        let source = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let (before, _) = source.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("{file} has no `{test}`"));
        // Its attributes stand between it and the end of what is before it.
        let attributes = before.rsplit_once("}\n").map_or(before, |(_, behind)| behind);
        let is_run = attributes.contains("test]\n") || attributes.contains("::test(");
        assert!(is_run && !attributes.contains("#[ignore"), "{proof} is no test that is run");
        count += 1;
    }
    for proof in page.split('`').filter(|words| words.ends_with(".txt")) {
        let (folder, _) = proof.rsplit_once('/').unwrap();
        assert!(PLAYED.contains(&format!("{folder}/").as_str()), "{proof} is in no folder that is played");
        assert!(root().join(proof).is_file(), "there is no {proof}");
        count += 1;
    }
    let rows = page.lines().filter(|line| line.starts_with('|') && line.ends_with("` |")).count();
    assert!(count >= rows, "{rows} rows, but {count} tests");
    count
}

#[test]
fn the_tests_that_prove_the_grants_exist() {
    assert!(proofs_of("docs/grants.md") >= 50, "the page has lost its rows");
}

#[test]
fn the_tests_that_prove_what_stands_against_abuse_exist() {
    assert!(proofs_of("docs/abuse.md") >= 60, "the page has lost its rows");
    let page = std::fs::read_to_string(root().join("docs/abuse.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    for row in rows {
        assert!(row.ends_with("` |"), "nothing proves: {row}");
    }
}
