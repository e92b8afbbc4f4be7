//! Logging: one line of text or one JSON object per event, on standard error, each within its session.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// Crates whose debug output can carry what we must not log (HTTP bodies and headers, SQL values, TLS secrets): they are
/// held at `warn` whatever level is asked for.
const QUIET: [&str; 9] = [
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

/// A level or filter as an administrator writes it.
///
/// # Errors
/// It is neither.
pub fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let mut filter = EnvFilter::try_new(level)?;
    for name in QUIET {
        if let Ok(directive) = format!("{name}=warn").parse() {
            filter = filter.add_directive(directive);
        }
    }
    Ok(filter)
}

/// Starts logging. A second call does nothing.
pub fn start(log: &Log) {
    let filter = filter(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    hide_panic_messages();
}

/// A panic's message can carry anything that was at hand, so only its place is logged. It ends the session it happened
/// in, never the process.
fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        tracing::error!(place, "a bug in Oxpost ended this task; please report this line");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noisy_crates_stay_quiet_at_trace() {
        let filter = filter("trace").unwrap().to_string();
        assert!(filter.contains("hyper=warn") && filter.contains("trace"), "{filter}");
        assert!(super::filter("oxpost=lots").is_err());
    }
}
