//! `docs/quirks.md`: what clients and devices do that no standard foresees, and the transcript that proves that it works.
//!
//! A transcript of a quirk begins with `# quirk: WHO: WHAT`, and its file's name with the name of who has it.

use std::fmt::Write as _;
use std::path::Path;

use crate::root;

const BEGIN: &str = "<!-- the table below is generated: WRITE_MANUAL=1 cargo test -p oxpost-tests --test manual -->\n";
const FOLDERS: [(&str, &str); 4] = [
    ("smtp/local", "SMTP"),
    ("smtp/submission", "SMTP, behind the login"),
    ("imap/local", "IMAP"),
    ("pop3/local", "POP3"),
];

struct Quirk {
    who: String,
    what: String,
    protocol: &'static str,
    file: String,
}

fn quirks() -> Vec<Quirk> {
    let mut quirks = Vec::new();
    for (folder, protocol) in FOLDERS {
        for entry in std::fs::read_dir(root().join("protocol/transcripts").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let Some(words) = text.lines().next().unwrap().strip_prefix("# quirk: ") else {
                assert!(!text.contains("# quirk:"), "{name}: the quirk belongs into its first line");
                continue;
            };
            let (who, what) = words.split_once(": ").unwrap_or_else(|| panic!("{name}: `# quirk: WHO: WHAT`"));
            assert!(name.starts_with(&format!("{}-", as_file_name(who))), "{name} is not named for {who}");
            quirks.push(Quirk { who: who.into(), what: what.into(), protocol, file: format!("{folder}/{name}") });
        }
    }
    quirks.sort_by_key(|quirk| (quirk.who.to_lowercase(), quirk.file.clone()));
    quirks
}

fn as_file_name(who: &str) -> String {
    let words = who.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

fn table() -> String {
    let mut text = String::from("\n| client or device | what it does | protocol | transcript |\n|---|---|---|---|\n");
    for Quirk { who, what, protocol, file } in quirks() {
        let name = Path::new(&file).file_stem().unwrap().to_string_lossy().into_owned();
        let what = what.replace('|', "\\|");
        let _ = writeln!(text, "| {who} | {what} | {protocol} | [{name}](../protocol/transcripts/{file}) |");
    }
    text
}

#[test]
fn page_of_quirks_and_transcripts_match() {
    let path = root().join("docs/quirks.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, printed) = page.split_once(BEGIN).expect("the page has a generated part");
    if std::env::var_os("WRITE_MANUAL").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}", table())).unwrap();
        return;
    }
    assert!(
        printed == table(),
        "docs/quirks.md is not what the transcripts say. Run: WRITE_MANUAL=1 cargo test -p oxpost-tests --test manual"
    );
}

/// A transcript can be taken away with its row. These words of the page must be on some row all the same: what Oxpost
/// promises to live with.
#[test]
fn no_quirk_is_forgotten() {
    let table = table();
    for promised in [
        "two spaces",
        "angle brackets",
        "HELO only",
        "AUTH as its first command",
        "the user name on the AUTH line",
        "reply to MAIL",
        "byte for byte",
        "a text in the 354 reply",
        "NTLM and GSSAPI first",
        "no CAPABILITY",
        "literals, and waits for",
        "non-synchronizing literals",
        r#"`\\` and `\"`"#,
        "8-bit letters in its code page",
        "NULs after the line end",
        "a bare LF",
        "verbs in lower case",
        "without QUIT",
        "PROXY header of version 1",
        "PROXY header of version 2",
        "TLS on a port without TLS",
        "a wrong port",
    ] {
        assert!(table.contains(promised), "no transcript has `{promised}`");
    }
}
