//! Text that is not TOML, as people write it: what is wrong in a line, and the line as it must be. The parser's own messages name what it
//! expected next ("invalid float, expected `inf`"), which helps only those who wrote it.

use super::{BACKSLASHES, quotable};

/// Quotes of word processors.
const TYPOGRAPHIC: [char; 7] = ['“', '”', '„', '‘', '’', '«', '»'];

/// Characters that look like nothing or like a space.
const INVISIBLE: [char; 7] = ['\u{feff}', '\u{a0}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{202f}'];

/// What is wrong in the line where the parser stopped. `line` is counted from 1; the message is the parser's.
pub(super) fn explain(text: &str, line: usize, message: &str) -> Option<String> {
    let there = text.lines().nth(line.checked_sub(1)?)?;
    let code = without_comment(there).trim();
    if let Some(found) = there.chars().find(|c| INVISIBLE.contains(c)) {
        return Some(format!(
            "an invisible character (U+{:04X}) is in this line, as copying from a page or a document adds. Delete the line and type it again.",
            u32::from(found)
        ));
    }
    if message == "duplicate key" {
        return Some(twice(text, line, code));
    }
    if let Some(name) = code.strip_prefix('[') {
        return section(name, message);
    }
    let Some((key, value)) = code.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
        return without_equals(code, message);
    };
    if key.is_empty() || !key.chars().all(is_key) {
        let right = format!("{} = {}", spelled(key), quoted(value));
        return Some(format!(
            "a key consists of letters, digits, - and _, without quotes or spaces. Write for example `{}`.",
            if quotable(&right) { &right } else { "level = \"info\"" }
        ));
    }
    Mistake { key, value, is_quotable: quotable(there) }.explain(message)
}

/// A line `key = value` that cannot be read.
struct Mistake<'a> {
    key: &'a str,
    value: &'a str,
    is_quotable: bool,
}

impl Mistake<'_> {
    fn explain(&self, message: &str) -> Option<String> {
        let Self { key, value, .. } = self;
        if value.is_empty() {
            return Some(format!("`{key}` has no value. Write {}, or remove the line.", self.with("\"…\"")));
        }
        if value.contains(TYPOGRAPHIC) {
            return Some(format!(
                "typographic quotes (“ ” ‘ ’), which word processors write, do not quote a value. Write straight ones: {}.",
                self.suggestion()
            ));
        }
        if message.contains("escaped value") || message.contains("unicode value") {
            return Some(format!("{BACKSLASHES}. Write {}.", self.suggestion()));
        }
        if value.starts_with('[') {
            return self.list(message);
        }
        if value.starts_with(['"', '\'']) {
            return match message {
                _ if message.starts_with("invalid basic string, expected `\"`")
                    || message.starts_with("invalid literal string, expected `'`") =>
                {
                    Some(format!("the closing quote of `{key}` is missing. Write {}.", self.suggestion()))
                }
                _ if message.starts_with("unexpected key or value") => Some(format!(
                    "there is more after the closing quote of `{key}`. Put the whole value into one pair of quotes that it does not \
                     contain; a comment begins with #."
                )),
                _ => None,
            };
        }
        let lower = value.to_ascii_lowercase();
        match lower.as_str() {
            "true" | "yes" | "on" => {
                return Some(format!("`{key}` is written in lower case and without quotes: {}.", self.with("true")));
            }
            "false" | "no" | "off" => {
                return Some(format!("`{key}` is written in lower case and without quotes: {}.", self.with("false")));
            }
            _ => {}
        }
        let is_about_the_value =
            ["string values", "invalid", "unexpected"].iter().any(|begin| message.starts_with(begin));
        is_about_the_value.then(|| format!("the value of `{key}` has no quotes. Write {}.", self.suggestion()))
    }

    fn list(&self, message: &str) -> Option<String> {
        let Self { key, value, .. } = self;
        let elements = value.trim_start_matches('[').trim_end_matches(']');
        let elements: Vec<String> =
            elements.split(',').map(str::trim).filter(|element| !element.is_empty()).map(quoted).collect();
        let list = format!("[{}]", elements.join(", "));
        if message.starts_with("missing comma") {
            return Some(format!("a comma is missing in the list of `{key}`. Write {}.", self.with("[\"…\", \"…\"]")));
        }
        if message.starts_with("unclosed array") {
            return Some(format!("the list of `{key}` is not closed. Write {}.", self.with(&list)));
        }
        Some(format!("each string in the list of `{key}` needs quotes. Write {}.", self.with(&list)))
    }

    fn suggestion(&self) -> String {
        self.with(&quoted(self.value))
    }

    /// The line with this value; without it if it may be a secret.
    fn with(&self, value: &str) -> String {
        let key = self.key;
        match self.is_quotable {
            true => format!("`{key} = {value}`"),
            false if value.contains('\\') || value.starts_with('\'') => format!("`{key} = '…'`"),
            false => format!("`{key} = \"…\"`"),
        }
    }
}

/// A section or key that is there before.
fn twice(text: &str, line: usize, code: &str) -> String {
    let before = || text.lines().take(line.saturating_sub(1)).map(|line| without_comment(line).trim()).enumerate();
    if code.starts_with('[') {
        let name = header(code);
        let first = before().find(|(_, other)| other.starts_with('[') && header(other) == name);
        return match first {
            Some((at, other)) if other.starts_with("[[") != code.starts_with("[[") => format!(
                "the section {code} is {other} in line {}. Write both with the same brackets: [[{name}]] if there can be several, [{name}] if \
                 there is one.",
                at.saturating_add(1)
            ),
            Some((at, _)) => format!(
                "the section [{name}] is there twice, first in line {}. Move its keys there, and remove this line.",
                at.saturating_add(1)
            ),
            None => format!("the section [{name}] is there twice. Keep one, with the keys of both."),
        };
    }
    let key = code.split('=').next().unwrap_or_default().trim();
    if key.is_empty() || !key.chars().all(is_key) {
        return "a key is there twice. Remove one of the two.".to_owned();
    }
    let begin = before().filter(|(_, other)| other.starts_with('[')).last().map_or(0, |(at, _)| at);
    let same = |other: &str| other.split_once('=').is_some_and(|(other, _)| other.trim() == key);
    match before().skip(begin).find(|(_, other)| same(other)) {
        Some((at, _)) => {
            format!("the key `{key}` is there twice, first in line {}. Remove one of the two.", at.saturating_add(1))
        }
        None => format!("the key `{key}` is there twice. Remove one of the two."),
    }
}

/// The head of a section.
fn section(name: &str, message: &str) -> Option<String> {
    let is_array = name.starts_with('[');
    let name: String = name.trim_start_matches('[').chars().take_while(|c| is_key(*c) || *c == '.').collect();
    let whole = if is_array { format!("[[{name}]]") } else { format!("[{name}]") };
    if name.is_empty() {
        return None;
    }
    if message.starts_with("unclosed") {
        return Some(format!("the bracket of this section is not closed. Write {whole}."));
    }
    message.starts_with("unexpected key or value").then(|| format!("the section {whole} needs a line of its own."))
}

/// A line that is no section and has no `=`. It is not shown: it may be a secret in the wrong place.
fn without_equals(code: &str, message: &str) -> Option<String> {
    if code.starts_with(';') || code.starts_with("//") {
        return Some("a comment begins with #.".to_owned());
    }
    if code.starts_with(['{', '}', '<']) {
        return Some(
            "this is JSON or XML, and the file is TOML: sections such as [log], and lines such as `level = \"info\"`."
                .to_owned(),
        );
    }
    if message.starts_with("unclosed") {
        return Some("a list or a section before this line is not closed with ].".to_owned());
    }
    let key: String = code.chars().take_while(|c| is_key(*c)).collect();
    let rest = code.strip_prefix(key.as_str()).unwrap_or_default().trim_start();
    if !key.is_empty() && rest.starts_with(':') {
        return Some(format!("a key and its value are separated by `=`. Write `{key} = \"…\"`."));
    }
    message.starts_with("key with no value").then(|| {
        "this line is neither a section such as [log] nor a line such as `level = \"info\"`; a comment begins with #.".to_owned()
    })
}

/// The name in the head of a section.
fn header(code: &str) -> &str {
    code.trim_matches(['[', ']', ' ', '\t'])
}

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// A key without what a word processor has made of its quotes.
fn spelled(key: &str) -> String {
    key.chars().filter(|c| is_key(*c)).collect()
}

/// A value in quotes that TOML reads back as it was. Numbers and truth values stay as they are.
fn quoted(value: &str) -> String {
    let bare = value.trim_matches(|c: char| TYPOGRAPHIC.contains(&c) || matches!(c, '"' | '\''));
    match bare {
        "true" | "false" => bare.to_owned(),
        _ if bare == value && bare.parse::<i64>().is_ok() => bare.to_owned(),
        _ if bare.contains(['\\', '"']) && !bare.contains('\'') => format!("'{bare}'"),
        _ => format!("\"{}\"", bare.replace('\\', r"\\").replace('"', "\\\"")),
    }
}

/// A line up to its comment. A # within quotes begins none.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return line.get(..at).unwrap_or(line),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests;
