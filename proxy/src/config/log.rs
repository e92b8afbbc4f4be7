//! `[log]`: the level or filter.

use tracing_subscriber::filter::EnvFilter;

/// The levels, from the fewest lines to the most.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What other programs call a level, and its name here.
const SYNONYMS: [(&str, &str); 12] = [
    ("warning", "warn"),
    ("warnings", "warn"),
    ("err", "error"),
    ("errors", "error"),
    ("critical", "error"),
    ("fatal", "error"),
    ("notice", "info"),
    ("information", "info"),
    ("normal", "info"),
    ("verbose", "debug"),
    ("all", "trace"),
    ("none", "off"),
];

/// The parts of Oxpost that log.
const OWN: [&str; 3] = ["oxpost", "oxpost_token_store", "oxpost_protocol"];

/// Crates whose debug output can carry what we must not log (HTTP bodies and headers, SQL values, TLS secrets): they are
/// held at `warn` whatever level is asked for.
pub(crate) const QUIET: [&str; 9] = [
    "hyper",
    "hyper_util",
    "h2",
    "reqwest",
    "rustls",
    "tokio_rustls",
    "rustls_platform_verifier",
    "rusqlite",
    "oauth2",
];

/// A level or filter as an administrator writes it. tracing takes every word that is no level for the name of a part, and then logs nothing
/// of any other part; so the names are checked here.
///
/// # Errors
/// It is neither; the sentence names the choices.
pub(crate) fn log_filter(level: &str) -> Result<EnvFilter, String> {
    let directives = directives(level);
    if directives.is_empty() {
        return Err(format!("the log level is empty; {}", choices()));
    }
    for directive in &directives {
        check(directive)?;
    }
    EnvFilter::try_new(directives.join(","))
        .map_err(|error| format!("`{level}` is not a log level or filter ({error}); {}", choices()))
}

/// The directives of a filter.
fn directives(level: &str) -> Vec<&str> {
    level.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect()
}

/// Checks the names in one directive: a level, `PART=LEVEL`, or `PART[SPAN]=LEVEL`.
fn check(directive: &str) -> Result<(), String> {
    let (part, level) = match (directive.split_once('['), directive.split_once('=')) {
        (Some((part, rest)), _) => (part, rest.rsplit_once("]=").map(|(_, level)| level)),
        (None, Some((part, level))) => (part, Some(level)),
        (None, None) if LEVELS.iter().any(|known| directive.eq_ignore_ascii_case(known)) => return Ok(()),
        (None, None) => return Err(no_level(directive)),
    };
    if let Some(level) = level.filter(|level| !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known))) {
        return Err(no_level(level));
    }
    if part.replace("::", "").contains(':') {
        return Err(one_colon(part));
    }
    let name = part.split("::").next().unwrap_or_default();
    if part.is_empty() || OWN.contains(&name) || QUIET.contains(&name) {
        return Ok(());
    }
    Err(format!("`{name}` is no part of Oxpost that logs; the parts are {}; {}", OWN.join(", "), choices()))
}

/// The sentence for a word that is no level.
fn no_level(word: &str) -> String {
    if word.replace("::", "").contains(':') {
        return one_colon(word);
    }
    if OWN.contains(&word.split("::").next().unwrap_or_default()) {
        return format!("the log filter has no level for `{word}`; write for example \"info,{word}=debug\".");
    }
    let lower = word.to_ascii_lowercase();
    let synonym = SYNONYMS.iter().find(|(other, _)| *other == lower).map(|(_, level)| *level);
    match synonym {
        Some(level) => format!("`{word}` is not a log level; write `{level}`. Or {}", choices()),
        None => format!("`{word}` is not a log level; {}", choices()),
    }
}

fn one_colon(part: &str) -> String {
    let right: Vec<&str> = part.split(':').filter(|segment| !segment.is_empty()).collect();
    let right = right.join("::");
    let right = if right.contains('=') { right } else { format!("{right}=debug") };
    format!("`{part}` has a single colon, and modules are separated by two; write for example \"info,{right}\".")
}

fn choices() -> &'static str {
    "write error, warn, info, debug, trace or off, or a filter such as \"info,oxpost::server=debug\"."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_accepted() {
        for level in [
            "trace",
            "INFO",
            "off",
            "oxpost=debug",
            "info,oxpost::server=debug",
            "warn, oxpost_token_store::tokens=trace",
            "info,rustls=warn",
            "info,[session]=debug",
            "info,oxpost[session]=trace",
        ] {
            assert_eq!(log_filter(level).map(drop), Ok(()), "{level}");
        }
    }

    /// What tracing accepts, and then logs nothing.
    #[test]
    fn name_that_means_nothing_is_refused_with_the_choices() {
        for (level, words) in [
            ("warning", "write `warn`"),
            ("Verbose", "write `debug`"),
            ("inof", "error, warn, info, debug, trace or off"),
            ("", "is empty"),
            (" , ", "is empty"),
            ("3", "not a log level"),
            ("oxpost=lots", "`lots` is not a log level"),
            ("oxpost=warning", "write `warn`"),
            ("info,oxpost:server=debug", "\"info,oxpost::server=debug\""),
            ("oxpost:server", "\"info,oxpost::server=debug\""),
            ("oxpost::server", "\"info,oxpost::server=debug\""),
            ("oxpsot=debug", "the parts are oxpost, "),
            ("info,server=debug", "the parts are oxpost, "),
            ("info;oxpost=debug", "the parts are oxpost, "),
        ] {
            let error = log_filter(level).map(drop).expect_err(level);
            assert!(error.contains(words), "{level}: {error}");
        }
    }
}
