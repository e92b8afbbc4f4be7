//! The words that docs/glossary.md forbids, in what users and engineers read: pages, `proxy.toml`, comments, texts and names of tests.
//!
//! A pattern is here only if it has no false alarms. Words that are wrong in one sense only (takes, behind) are left to the reader.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{pages, root};

/// What is forbidden and what to write instead. `|` separates alternatives; each is a sequence of words.
const FORBIDDEN: &[(&str, &str)] = &[
    ("whoever|whomever|whosoever", "name who: the client, the administrator, the first connection"),
    ("whom", "name who"),
    ("nobody|somebody|anybody", "name who, or use the passive voice"),
    ("anew", "again"),
    ("at once", "immediately, or concurrently"),
    ("is none|are none|was none|were none", "there is no ..., or: is missing"),
    ("spelt out|spelled out", "written in full, or: explicit"),
    ("in clear|in the clear", "unencrypted, in plain text"),
    ("mend|mends|mended|mending", "fix, correct"),
    ("stands in|stands beside|stands behind|stands before|stands between|stands there|stand in|stand beside", "is"),
    ("beside", "next to, in addition to"),
    (
        "account goes through|accounts go through|mailbox goes through|goes through another|whom it goes through",
        "uses a delegate",
    ),
    ("hang up|hangs up|hung up", "disconnect"),
    ("stranger|strangers", "unauthenticated client, unknown source"),
    ("is told|are told|be told|was told|were told|being told", "is notified, hears; or say what is shown"),
    ("is had|are had|be had|was had|were had", "is available, exists"),
    ("let go", "closed, evicted, released"),
    ("a person must act|somebody must act", "sign-in required; say what to do"),
    ("bring in line|brings in line|brought in line|bringing in line", "reconcile"),
    ("got", "received, is, has"),
    ("judge|judges|judged|judging", "evaluate, verify"),
    ("docket|dockets|scribe|scribes|lane|lanes", "the term of docs/glossary.md"),
    ("seldom", "rarely, or: rate-limited"),
    ("wants to be left alone", "requests a back-off"),
];

/// Where forbidden words may still be found, so that the rest stays clean. A line without a hit fails the test: remove it.
/// `ALL_WORDS=1 cargo test -p oxpost-tests --test manual words` lists what is left.
const STILL_TO_BE_CLEANED: &[&str] = &["token-store/src/application.rs", "token-store/src/credential"];

/// A test's name is a sentence to be read in a list.
const TEST_NAME: usize = 60;

/// The page of terms names what they replace; this file names what is forbidden.
const EXEMPT: [&str; 2] = ["docs/glossary.md", "tests/manual/words.rs"];

/// Something that is read: its words in lower case, each with its line. What ends a phrase is the word `.`.
struct Text {
    words: Vec<(usize, String)>,
}

impl Text {
    fn new(line: usize, text: &str) -> Self {
        let mut words = Vec::new();
        for (offset, row) in text.lines().enumerate() {
            let mut word = String::new();
            // What marks a comment is no part of a phrase that goes over its lines.
            let row = row.trim_start().trim_start_matches(['/', '!', '#', '*', '>']);
            for next in row.chars().chain([' ']) {
                if next.is_alphanumeric() || matches!(next, '_' | '-' | '\'' | '@') {
                    word.extend(next.to_lowercase());
                    continue;
                }
                if !word.is_empty() {
                    words.push((line + offset, std::mem::take(&mut word)));
                }
                if !next.is_whitespace() {
                    words.push((line + offset, ".".to_owned()));
                }
            }
        }
        Self { words }
    }

    fn name(line: usize, name: &str) -> Self {
        Self { words: name.split('_').map(|word| (line, word.to_owned())).collect() }
    }

    fn hits(&self) -> Vec<(usize, &'static str, &'static str)> {
        let mut hits = Vec::new();
        // A single word in quotes is a value, not prose.
        if self.words.len() == 1 {
            return hits;
        }
        for (patterns, better) in FORBIDDEN {
            for pattern in patterns.split('|') {
                let phrase: Vec<&str> = pattern.split(' ').collect();
                for (start, words) in self.words.windows(phrase.len()).enumerate() {
                    let before = start.checked_sub(1).map(|before| self.words[before].1.as_str());
                    // "If there is none" is good English.
                    if phrase.ends_with(&["none"]) && before == Some("there") {
                        continue;
                    }
                    if words.iter().zip(&phrase).all(|((_, word), expected)| word == expected) {
                        hits.push((words[0].0, pattern, *better));
                    }
                }
            }
        }
        hits
    }
}

/// The comments and string literals of a Rust source, and the names of its functions.
fn texts_of_rust(source: &str) -> Vec<Text> {
    let mut texts = Vec::new();
    let mut comment: Option<(usize, String)> = None;
    let mut rest = source;
    let (mut line, mut counted) = (1, 0);
    while let Some(first) = rest.chars().next() {
        let position = source.len() - rest.len();
        line += source[counted..position].matches('\n').count();
        counted = position;
        if rest.starts_with("//") {
            let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
            comment.get_or_insert((line, String::new())).1.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        if !first.is_whitespace()
            && let Some((line, text)) = comment.take()
        {
            texts.push(Text::new(line, &text));
        }
        if let Some((literal, after)) = string_literal(rest) {
            // The names of tables and columns are those of the stores that exist.
            if !["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "ON CONFLICT "]
                .iter()
                .any(|verb| literal.starts_with(verb))
            {
                texts.push(Text::new(line, &literal.replace("\\n", ". ").replace("\\r", ". ")));
            }
            rest = after;
        } else if first == '\'' {
            rest = after_quote(rest);
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|next: char| !(next.is_alphanumeric() || next == '_')).unwrap_or(rest.len());
            let after = &rest[end..];
            if &rest[..end] == "fn" {
                let name = after.trim_start();
                let end = name.find(|next: char| !(next.is_alphanumeric() || next == '_')).unwrap_or(name.len());
                texts.push(Text::name(line, &name[..end]));
            }
            rest = after;
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    texts.extend(comment.map(|(line, text)| Text::new(line, &text)));
    texts
}

/// A string literal at the beginning of a source, and what follows it.
fn string_literal(source: &str) -> Option<(&str, &str)> {
    let unprefixed = source.trim_start_matches(['b', 'c']);
    if source.len() - unprefixed.len() > 1 {
        return None;
    }
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        return body.split_once(&format!("\"{}", "#".repeat(hashes)));
    }
    let body = unprefixed.strip_prefix('"')?;
    let mut escaped = false;
    let end = body.find(|next| {
        let ends = next == '"' && !escaped;
        escaped = next == '\\' && !escaped;
        ends
    })?;
    Some((&body[..end], &body[end + 1..]))
}

/// What follows a character literal or the quote of a lifetime.
fn after_quote(source: &str) -> &str {
    let mut chars = source.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            let from = escaped + 1;
            source[from..].find('\'').map_or("", |end| &source[from + end + 1..])
        }
        (_, Some((end, '\''))) => &source[end + 1..],
        _ => &source[1..],
    }
}

/// The names of tests, each with its line.
fn tests_of(source: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_test = false;
    for (number, line) in source.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("::test(");
        } else if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test) {
            found.push((number + 1, name.split('(').next().unwrap_or(name)));
            is_test = false;
        } else if !line.starts_with("//") {
            is_test = false;
        }
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                collect(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// Everything that is checked, and what is wrong in it.
fn check(path: &Path) -> Vec<String> {
    let bytes = fs::read(root().join(path)).unwrap();
    let source = String::from_utf8_lossy(&bytes);
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    let texts = match kind {
        "rs" => texts_of_rust(&source),
        "md" | "toml" => vec![Text::new(1, &source)],
        // Of a transcript or a story, what is not said on the wire.
        "txt" => {
            let lines = source.lines().enumerate().filter(|(_, line)| line.starts_with('#'));
            lines.map(|(number, line)| Text::new(number + 1, line)).collect()
        }
        _ => return Vec::new(),
    };
    let file = path.display();
    let mut wrong: Vec<String> = texts
        .iter()
        .flat_map(Text::hits)
        .map(|(line, phrase, better)| format!("{file}:{line}: \"{phrase}\": write {better}"))
        .collect();
    if kind == "rs" {
        for (line, name) in tests_of(&source).into_iter().filter(|(_, name)| name.len() > TEST_NAME) {
            wrong.push(format!("{file}:{line}: `{name}` has {} characters, of {TEST_NAME}", name.len()));
        }
    }
    wrong
}

#[test]
fn texts_have_no_forbidden_words_and_tests_short_names() {
    let mut files = pages();
    files.push(PathBuf::from("proxy.toml"));
    for folder in ["protocol", "token-store", "proxy", "tests"] {
        collect(Path::new(folder), &mut files);
    }
    files.retain(|path| !EXEMPT.iter().any(|exempt| path == Path::new(exempt)));
    assert!(files.len() > 500, "the sources are not where they were");
    let mut unused: BTreeSet<&str> = STILL_TO_BE_CLEANED.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in &files {
        let hits = check(path);
        match STILL_TO_BE_CLEANED.iter().find(|place| path.starts_with(place)) {
            Some(place) if !hits.is_empty() => {
                unused.remove(place);
            }
            _ => wrong.extend(hits),
        }
    }
    if std::env::var_os("ALL_WORDS").is_some() {
        wrong = files.iter().flat_map(|path| check(path)).collect();
    }
    assert!(wrong.is_empty(), "{} forbidden:\n{}", wrong.len(), wrong.join("\n"));
    assert!(unused.is_empty(), "clean now, remove these from STILL_TO_BE_CLEANED: {unused:?}");
}

#[test]
fn forbidden_words_are_found_across_lines_and_in_names() {
    let source = "/// It ends at\n/// once.\nfn nobody_reads() {\n    let a = \"whoever comes\"; let user = \"nobody\"; let b = '\"'; let c: &'static str = \"x\\\" got\";\n\
                  let got = br#\"try anew\"#; // at, once\n}\n";
    let found: Vec<_> = texts_of_rust(source).iter().flat_map(Text::hits).collect();
    let found: Vec<_> = found.iter().map(|(line, phrase, _)| (*line, *phrase)).collect();
    assert_eq!(found, [(1, "at once"), (3, "nobody"), (4, "whoever"), (4, "got"), (5, "anew")]);
    assert_eq!(
        tests_of("#[test]\nfn a() {}\nfn b() {}\n    #[tokio::test(x)]\n    async fn c() {}"),
        [(2, "a"), (5, "c")]
    );
}
