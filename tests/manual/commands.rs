//! Every command that a page or a message shows is one that the program accepts: in code blocks, in backticks, and in remedies.

use std::path::{Path, PathBuf};

use crate::links::sources;
use crate::{pages, read};

/// Code blocks that show no commands.
const NO_COMMANDS: [&str; 6] = ["toml", "ini", "json", "text", "powershell", "rust"];

/// What may be after `oxpost` where it is a command and not the name of something.
const COMMANDS: [&str; 13] = [
    "run",
    "check",
    "account",
    "application",
    "sign-in",
    "store",
    "doctor",
    "cert",
    "block",
    "import",
    "notify",
    "status",
    "--config",
];

/// Values for the placeholders of the pages.
const SAMPLES: [(&str, &str); 11] = [
    // Only Windows accepts it, in the same places.
    ("dpapi:", "file:"),
    ("ADDRESS", "scanner@contoso.com"),
    ("DELEGATE", "alice@contoso.com"),
    ("USER-NAME", "alice@contoso.com"),
    ("MAILBOX", "info@contoso.com"),
    ("NAME", "default"),
    ("FILE", "file"),
    ("FOLDER", "folder"),
    ("CODE", "code"),
    ("YYYY-MM-DD", "2030-06-30"),
    ("…", "scanner@contoso.com"),
];

/// A page as its code blocks (language, text) and the text between them.
fn parts(page: &str) -> (Vec<(String, String)>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut block: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), block.take()) {
            (Some(language), None) => block = Some((language.to_owned(), String::new())),
            (Some(_), Some(ended)) => blocks.push(ended),
            (None, Some((language, text))) => block = Some((language, format!("{text}{}\n", line.trim()))),
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    assert!(block.is_none(), "a code block does not end");
    (blocks, prose)
}

/// The words of a shell line, one list for each command of it. Comments are left out.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    let end = |word: &mut String, begun: &mut bool, commands: &mut Vec<Vec<String>>| {
        if std::mem::take(begun) {
            commands.last_mut().unwrap().push(std::mem::take(word));
        }
    };
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.push(c),
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, '#') if !begun => break,
            (None, '|' | '&' | ';') => {
                end(&mut word, &mut begun, &mut commands);
                commands.push(Vec::new());
            }
            (None, _) if c.is_whitespace() => end(&mut word, &mut begun, &mut commands),
            (None, _) => {
                word.push(c);
                begun = true;
            }
        }
    }
    end(&mut word, &mut begun, &mut commands);
    commands
}

/// The command line of `oxpost` in a command, without what runs it: `sudo -u USER`, `systemd-run -p PROPERTY`.
fn of_oxpost(words: &[String]) -> Option<Vec<&str>> {
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(runner) = words.next_if(|word| ["sudo", "systemd-run"].contains(word)) {
        let with_value = if runner == "sudo" { "-u" } else { "-p" };
        while let Some(option) = words.next_if(|word| word.starts_with('-')) {
            if option == with_value {
                words.next();
            }
        }
    }
    let program = Path::new(words.next()?).file_name()?;
    (program == "oxpost").then(|| std::iter::once("oxpost").chain(words).collect())
}

/// Whether the program accepts it, or it is the name of a command, such as `oxpost account add`.
fn check(words: &[&str]) -> Result<(), String> {
    let sample = |word: &str| SAMPLES.iter().fold(word.to_owned(), |word, (name, value)| word.replace(name, value));
    let words: Vec<String> = words.iter().map(|word| sample(word)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Err(error) = oxpost::testing::parses(&words) else { return Ok(()) };
    let help = oxpost::testing::parses(&[&words[..], &["--help"]].concat()).unwrap_err();
    let wanted = words.iter().filter(|word| **word != "--help").copied().collect::<Vec<_>>().join(" ");
    let is_name = help.lines().any(|line| line.strip_prefix("Usage: ").is_some_and(|usage| names(usage, &wanted)));
    if is_name { Ok(()) } else { Err(error) }
}

/// Whether a line of usage is that of this command and of no shorter one.
fn names(usage: &str, command: &str) -> bool {
    usage.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with(" [") || rest.starts_with(" <"))
}

/// Every command of a page, as it is written.
fn all_of(page: &str) -> Vec<String> {
    let (blocks, prose) = parts(page);
    let mut found = Vec::new();
    for (language, text) in blocks {
        if !NO_COMMANDS.contains(&language.as_str()) {
            found.extend(text.replace("\\\n", " ").lines().map(str::to_owned));
        }
    }
    for (number, text) in prose.split('`').enumerate() {
        let text = text.replace('\n', " ");
        if number % 2 == 1 {
            found.push(text);
            continue;
        }
        // A remedy that has no backticks, such as one that a mail program shows.
        for (at, _) in text.match_indices("oxpost ") {
            let ends = |c: char| ".;:,|()".contains(c);
            let rest = text[at..].split(ends).next().unwrap();
            if rest.split_whitespace().nth(1).is_some_and(|word| COMMANDS.contains(&word)) {
                found.push(rest.to_owned());
            }
        }
    }
    found
}

/// The commands in backticks of a source file: remedies and comments. What is formatted into one gets a sample.
fn of_source(source: &str) -> Vec<String> {
    let mut text = String::new();
    for line in source.lines() {
        let line = line.trim_start().trim_start_matches(['/', '!', '#']);
        text.push_str(line.strip_suffix('\\').unwrap_or(line));
        if !line.ends_with('\\') {
            text.push(' ');
        }
    }
    let mut found = Vec::new();
    for (at, _) in text.match_indices("`oxpost ") {
        let command = text[at + 1..].split('`').next().unwrap().replace("{option}", "");
        if command.contains('"') {
            // The backtick was the end of what a test looks for.
            continue;
        }
        let mut with_samples = String::new();
        for (number, part) in command.split(['{', '}']).enumerate() {
            with_samples.push_str(if number % 2 == 0 { part } else { "scanner@contoso.com" });
        }
        found.push(with_samples.trim_end_matches([' ', '…']).to_owned());
    }
    found
}

/// What is wrong with a written line; `None` if it is no command of ours.
fn verdict(line: &str) -> Option<Result<(), String>> {
    let mut verdict = None;
    for command in commands(line) {
        let Some(words) = of_oxpost(&command).filter(|words| words.len() > 1) else { continue };
        let one = check(&words).map_err(|error| format!("`{line}`: {error}"));
        verdict = Some(verdict.unwrap_or(Ok(())).and(one));
    }
    verdict
}

#[test]
fn commands_of_the_pages_are_accepted() {
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages() {
        for line in all_of(&read(&page)) {
            match verdict(&line) {
                None => {}
                Some(Ok(())) => count += 1,
                Some(Err(error)) => wrong.push(format!("{}: {error}", page.display())),
            }
        }
    }
    println!("{count} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 200, "only {count} commands were found");
}

#[test]
fn commands_of_messages_are_accepted() {
    let mut files = vec![PathBuf::from("proxy.toml")];
    for folder in ["proxy/src", "token-store/src"] {
        sources(Path::new(folder), &mut files);
    }
    let (mut count, mut wrong) = (0, Vec::new());
    for file in files {
        for line in of_source(&read(&file)) {
            match verdict(&line) {
                None => {}
                Some(Ok(())) => count += 1,
                Some(Err(error)) => wrong.push(format!("{}: {error}", file.display())),
            }
        }
    }
    println!("{count} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 150, "only {count} commands were found");
}

#[test]
fn wrong_commands_of_messages_are_found() {
    let source = "    \"it is missing. Run `oxpost account add {mailbox} \\\n     --frobnicate {option}`.\"";
    assert_eq!(of_source(source), ["oxpost account add scanner@contoso.com --frobnicate"]);
    assert!(matches!(verdict(&of_source(source)[0]), Some(Err(_))));
    assert_eq!(of_source("//! `oxpost account …`\n"), ["oxpost account"]);
}

#[test]
fn wrong_commands_of_a_page_are_found() {
    for wrong in [
        "```sh\noxpost account add scanner@contoso.com --frobnicate\n```\n",
        "```sh\nsudo -u oxpost oxpost --config /var/lib/oxpost/proxy.toml account frobnicate\n```\n",
        "```sh\nsudo systemd-run -p User=oxpost \\\n    oxpost store frobnicate\n```\n",
        "```sh\noxpost store new-key --frobnicate | cat\n```\n",
        "Run `oxpost doctor --frobnicate ADDRESS`.\n",
        "Run `oxpost account add frobnicate`.\n",
        "| it fails | Or let Oxpost do it: oxpost account sender ADDRESS frobnicate. |\n",
    ] {
        let verdicts: Vec<_> = all_of(wrong).iter().filter_map(|line| verdict(line)).collect();
        assert!(matches!(&verdicts[..], [Err(_)]), "{wrong}: {verdicts:?}");
    }
    for right in ["`oxpost account add`", "`oxpost --help`", "`sudo -u oxpost oxpost status`", "`oxpost account`"] {
        assert!(matches!(verdict(right.trim_matches('`')), Some(Ok(()))), "{right}");
    }
    for none in ["the user `oxpost`", "`journalctl -u oxpost`", "the oxpost program"] {
        assert!(all_of(none).iter().all(|line| verdict(line).is_none()), "{none}");
    }
}
