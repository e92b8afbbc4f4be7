//! Logging: one line of text or one JSON object per event, on standard error, each within its session.

mod json;
pub(crate) mod limits;
pub(crate) mod rate_limit;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use self::json::JsonEvents;
use crate::config::{Log, LogFormat, QUIET, log_filter};

/// Whether this may be logged at all, whatever the filter says. It is applied in addition to the filter, because a directive for a
/// module of such a crate would win over one for the crate.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let name = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::WARN || !QUIET.contains(&name)
}

/// Starts logging. A second call does nothing.
pub(crate) fn start(log: &Log) {
    let filter = log_filter(&log.level).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = match log.format {
        LogFormat::Text => layer.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => layer.fmt_fields(JsonFields::new()).event_format(JsonEvents { timer: SystemTime }).boxed(),
    };
    let filtered = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged));
    let _ = filtered.with(layer).try_init();
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
