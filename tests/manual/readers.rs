//! There is one reader of text that people write, `oxpost_token_store::text_file`, and every file and pipe is read by it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::links::sources;
use crate::read;

/// Calls that read a file or a pipe.
const CALLS: [&str; 5] = ["read_to_string(", "fs::read(", "File::open(", "OpenOptions::new()", "stdin()"];

/// The sources that may do so, and why.
const ALLOWED: [(&str, &str); 12] = [
    ("token-store/src/text_file.rs", "the reader itself"),
    ("token-store/src/database/lock.rs", "a lock, which is empty"),
    ("token-store/src/database/sqlite_file.rs", "a database"),
    ("token-store/src/platform/unix.rs", "a new file, and a folder"),
    ("token-store/src/platform/windows.rs", "a new file"),
    ("proxy/src/platform/unix.rs", "a new file"),
    ("proxy/src/platform/windows.rs", "a new file"),
    ("proxy/src/admin/notify/start.rs", "a file of Oxpost's own"),
    ("proxy/src/admin/service_record.rs", "a file of Oxpost's own"),
    ("proxy/src/cli/ask.rs", "whether it is a terminal"),
    ("proxy/src/cli/import/passwords.rs", "whether it is a terminal, and lines for the reader"),
    ("proxy/src/cli/sign_in/paste.rs", "lines for the reader"),
];

/// The calls in a source, without its tests.
fn calls(source: &str) -> Vec<&'static str> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().replace("TextFile::open(", "");
    CALLS
        .into_iter()
        .filter(|call| code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(call)))
        .collect()
}

#[test]
fn every_file_and_pipe_is_read_by_the_one_reader() {
    let mut files = Vec::new();
    for folder in ["proxy/src", "token-store/src"] {
        sources(Path::new(folder), &mut files);
    }
    let is_test = |path: &Path| {
        path.iter().any(|part| part == "tests") || path.ends_with("tests.rs") || path.ends_with("notify/receiver.rs")
    };
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs") && !is_test(path);
    let (mut wrong, mut found) = (Vec::new(), BTreeSet::new());
    for file in files.iter().filter(|file| is_source(file)) {
        let calls = calls(&read(file));
        match ALLOWED.iter().find(|(allowed, _)| Path::new(allowed) == file) {
            Some((allowed, _)) if !calls.is_empty() => {
                found.insert(*allowed);
            }
            None if !calls.is_empty() => wrong.push(format!("{}: {}", file.display(), calls.join(", "))),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "use oxpost_token_store::text_file in\n{}", wrong.join("\n"));
    let unused: Vec<_> = ALLOWED.iter().filter(|(allowed, _)| !found.contains(allowed)).collect();
    assert!(unused.is_empty(), "no longer needed: {unused:?}");
}

#[test]
fn call_that_reads_is_found() {
    assert_eq!(calls("let text = std::fs::read_to_string(path)?;"), ["read_to_string("]);
    assert_eq!(calls("// fs::read(path)\n#[cfg(test)]\nmod tests {\n fs::read(path) }"), [""; 0]);
}
