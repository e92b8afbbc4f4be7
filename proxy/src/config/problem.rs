//! What is wrong with a configuration, on which line, and what to write instead.

mod toml_mistake;

use std::fmt;
use std::path::{Path, PathBuf};

use oxpost_token_store::text_file::TextError;

use super::renamed;

/// Lowest Jaro-Winkler similarity (0 to 1) at which a known key is suggested for an unknown one.
const SIMILAR: f64 = 0.75;

/// The remedy for Windows paths in TOML basic strings.
pub(super) const BACKSLASHES: &str =
    r"in double quotes a backslash begins an escape: write paths as 'C:\Oxpost\oxpost.key' or with /";

/// A configuration that cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    place: Place,
    /// Each thing that is wrong, as a sentence with its remedy.
    problems: Vec<(Option<usize>, String)>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    /// The sentence names the file and the line.
    Named,
    Environment,
}

impl ConfigError {
    pub(super) fn unreadable(error: &TextError) -> Self {
        let advice = match error.is_missing() {
            true => " Name another file with --config, or copy the proxy.toml that comes with Oxpost.",
            false => "",
        };
        Self { place: Place::Named, problems: vec![(error.line(), format!("{error}.{advice}"))] }
    }

    /// All problems of a file that could be parsed, each with its line if known.
    pub(crate) fn of_file(path: &Path, problems: Vec<(Option<usize>, String)>) -> Self {
        Self { place: Place::File(path.to_owned()), problems }
    }

    /// The problems as sentences that name the file and the line, each with its line if known.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = (Option<usize>, String)> {
        self.problems.iter().map(|(line, sentence)| {
            let whole = match (&self.place, line) {
                (Place::Named, _) => sentence.clone(),
                (Place::File(path), Some(line)) => format!("{}, line {line}: {sentence}", path.display()),
                (Place::File(path), None) => format!("{}: {sentence}", path.display()),
                (Place::Environment, _) => {
                    format!("the environment (variables that begin with OXPOST__): {sentence}")
                }
            };
            (*line, whole)
        })
    }

    /// The problems, each with its line if known.
    pub(crate) fn problems(&self) -> &[(Option<usize>, String)] {
        &self.problems
    }

    pub(super) fn from_toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map(|span| line_at(text, span.start));
        let message = error.message();
        let sentence = match unknown_key(message) {
            Some((key, known)) => describe_unknown(&key, &known),
            None if message.contains("missing field") => {
                format!("{}. Add it to this section.", message.replace("missing field", "the key is missing:"))
            }
            None if message.starts_with("unknown variant") => message.replace("unknown variant", "unknown value"),
            None if toml::from_str::<toml::Table>(text).is_ok() => {
                let there = line.and_then(|line| text.lines().nth(line.saturating_sub(1))).unwrap_or_default();
                match brackets(there, message) {
                    Some(sentence) => sentence,
                    None if quotable(there) => format!("{}, in `{}`", without_value(message), there.trim()),
                    // It may be a password written there by mistake.
                    None => "this value has the wrong type; see the comments of the shipped proxy.toml".to_owned(),
                }
            }
            None => line
                .and_then(|line| toml_mistake::explain(text, line, message))
                .unwrap_or_else(|| format!("invalid TOML: {}", message.lines().collect::<Vec<_>>().join(", "))),
        };
        Self::of_file(path, vec![(line, sentence)])
    }

    pub(super) fn in_environment(message: &str) -> Self {
        let sentence = match unknown_key(message) {
            Some((key, known)) => describe_unknown(&key, &known),
            None => without_value(message),
        };
        Self { place: Place::Environment, problems: vec![(None, sentence)] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (_, sentence)) in self.sentences().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{sentence}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

fn describe_unknown(key: &str, known: &[String]) -> String {
    if let Some(new) = renamed::new_name(key, known) {
        return format!("the key `{key}` was renamed: write `{new}` instead.");
    }
    let nearest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, nearest)) => format!("unknown key `{key}`; did you mean `{nearest}`?"),
        None => format!("unknown key `{key}`; the keys here are {}.", known.join(", ")),
    }
}

/// The sentence for a section with one bracket too many or too few.
fn brackets(line: &str, message: &str) -> Option<String> {
    let name = line.trim().strip_prefix('[')?.trim_matches(['[', ']', ' ']);
    let is_array = line.trim().starts_with("[[");
    if !is_array && message.contains("expected a sequence") {
        return Some(format!("there can be several of this section. Write [[{name}]]."));
    }
    is_array.then(|| format!("there is one section of this kind. Write [{name}]."))
}

/// Whether a line may be quoted: not where a secret is expected, or written by mistake, and not where a value goes on
/// from a line before, whose key is not known here.
fn quotable(line: &str) -> bool {
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    let has_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    // An address may have a password in it, and that of a webhook is one.
    has_key && !["password", "secret", "hash", "://"].iter().any(|word| line.contains(word))
}

/// Serde's sentence "invalid type: string "x", expected y" without the value, which may be a secret in the wrong place.
fn without_value(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((invalid, expected)) if invalid.starts_with("invalid ") => {
            let key = expected.rsplit_once(" for key `").map_or("", |(_, key)| key.trim_end_matches('`'));
            let expected = expected.split_once(" for key `").map_or(expected, |(expected, _)| expected);
            let expected = match expected {
                "a sequence" => "a list, [\"…\"]",
                "a string" => "text in quotes",
                "a boolean" => "true or false without quotes",
                "usize" | "u16" | "u32" | "u64" => "a number without quotes",
                other => other,
            };
            let at = if key.is_empty() { String::new() } else { format!(", at `{key}`") };
            format!("a value of the wrong type, expected {expected}{at}")
        }
        _ => message.to_owned(),
    }
}

/// Takes serde's sentence "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_key(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.split_once("unknown field `")?.1;
    let (key, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}

/// The line, counted from 1, of a byte of the text.
fn line_at(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|&b| b == b'\n').count() + 1
}
