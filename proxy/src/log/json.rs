//! One event as a line of JSON, byte for byte as the JSON format of `tracing-subscriber` writes it (event flattened, current span): the
//! test compares both.
//!
//! That format passes each piece of text through three writers and parses the fields of the span again for every event: a fifth of
//! the instructions of a small message. Here the line is made in one buffer, and the fields of the span, which are JSON already, are
//! copied.

use std::fmt::{self, Debug};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Room for a line with most of the fields that there are.
const USUAL_LENGTH: usize = 1024;

/// Writes events as JSON. The fields of spans must be formatted by `JsonFields`.
pub(super) struct JsonEvents<T> {
    /// Writes the time of an event.
    pub(super) timer: T,
}

impl<S, N, T> FormatEvent<S, N> for JsonEvents<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        self.timer.format_time(&mut Writer::new(&mut time))?;
        let mut object = Object { json: Vec::with_capacity(USUAL_LENGTH), result: Ok(()) };
        object.entry("timestamp", &time);
        object.entry("level", event.metadata().level().as_str());
        event.record(&mut object);
        let span = event.parent().and_then(|id| context.span(id)).or_else(|| context.lookup_current());
        if let Some(span) = span
            && let Some(fields) = span.extensions().get::<FormattedFields<N>>()
        {
            object.span(fields, span.metadata().name());
        }
        writer.write_str(&object.line()?)
    }
}

/// An object that is being written, without its closing bracket.
struct Object {
    json: Vec<u8>,
    /// Nothing is written once an entry has failed.
    result: serde_json::Result<()>,
}

impl Object {
    fn entry<V: Serialize + ?Sized>(&mut self, name: &str, value: &V) {
        if self.result.is_ok() {
            self.json.push(if self.json.is_empty() { b'{' } else { b',' });
            self.result = serde_json::to_writer(&mut self.json, name).and_then(|()| {
                self.json.push(b':');
                serde_json::to_writer(&mut self.json, value)
            });
        }
    }

    /// The span of the event: its fields, which are an object already, followed by its name.
    fn span(&mut self, fields: &str, name: &str) {
        let fields = fields.strip_prefix('{').and_then(|fields| fields.strip_suffix('}')).unwrap_or_default();
        self.json.extend_from_slice(b",\"span\":{");
        self.json.extend_from_slice(fields.as_bytes());
        self.json.extend_from_slice(if fields.is_empty() { b"\"name\":" } else { b",\"name\":" });
        if self.result.is_ok() {
            self.result = serde_json::to_writer(&mut self.json, name);
        }
        self.json.push(b'}');
    }

    fn line(mut self) -> Result<String, fmt::Error> {
        self.json.extend_from_slice(b"}\n");
        self.result.ok().and_then(|()| String::from_utf8(self.json).ok()).ok_or(fmt::Error)
    }
}

impl Visit for Object {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.entry(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.entry(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.entry(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.entry(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.entry(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.entry(field.name(), &format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, Write};
    use std::sync::{Arc, Mutex};

    use tracing::{Level, debug, error, info, info_span, span, warn};
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    struct Noon;

    impl FormatTime for Noon {
        fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
            writer.write_str("2026-12-01T12:00:00.000000Z")
        }
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What this subscriber writes for these events.
    fn written<S: Subscriber + Send + Sync + 'static>(subscriber: impl FnOnce(Sink) -> S, events: fn()) -> String {
        let sink = Sink::default();
        tracing::subscriber::with_default(subscriber(sink.clone()), events);
        let bytes = std::mem::take(&mut *sink.0.lock().unwrap());
        String::from_utf8(bytes).unwrap()
    }

    fn expected(events: fn()) -> String {
        let layer = |sink: Sink| tracing_subscriber::fmt::layer().with_writer(move || sink.clone()).with_target(false);
        let subscriber = |sink| {
            let layer = layer(sink).json().flatten_event(true).with_span_list(false).with_timer(Noon);
            tracing_subscriber::registry().with(layer)
        };
        written(subscriber, events)
    }

    fn ours(events: fn()) -> String {
        let subscriber = |sink: Sink| {
            let layer = tracing_subscriber::fmt::layer().with_writer(move || sink.clone());
            let layer = layer.fmt_fields(JsonFields::new()).event_format(JsonEvents { timer: Noon });
            tracing_subscriber::registry().with(layer)
        };
        written(subscriber, events)
    }

    /// Everything that must not be the end of a JSON string.
    const AWKWARD: &str = "\"quoted\" \\ / \n\r\t\0\u{1}\u{8}\u{c}\u{1b}[31m \u{7f} \u{fc} \u{2028} \u{1f4e8} }{,:";

    fn each_kind_of_value() {
        info!("plain");
        warn!(text = AWKWARD, "{AWKWARD}");
        error!(text = %AWKWARD, debug = ?AWKWARD, owned = AWKWARD.to_owned(), "shown");
        debug!(yes = true, no = false, small = -1_i8, large = u64::MAX, least = i64::MIN, huge = u128::MAX, "numbers");
        info!(half = 0.5, whole = 1.0, tiny = 1e-300_f64, none = f64::NAN, infinite = f64::INFINITY, "fractions");
        info!(missing = None::<u64>, there = Some(1), flag = None::<bool>, "options");
        let problem: &(dyn std::error::Error + 'static) = &Error::other(AWKWARD);
        info!(problem, list = ?["a", "b"], nothing = tracing::field::Empty, "others");
        info!(a.b = 1, "quoted \" name" = 2, r#type = %"raw", "names");
        info!(only = "a field");
        info!("{}", "");
    }

    fn within_spans() {
        let session = info_span!("session", id = "1a2b", protocol = %"IMAP", peer = %AWKWARD, count = 7, empty = true);
        session.in_scope(|| {
            each_kind_of_value();
            let inner = info_span!("inner \" span", late = tracing::field::Empty, name = "own");
            inner.in_scope(|| info!("in the inner one"));
            inner.record("late", AWKWARD);
            inner.in_scope(|| info!("with another field"));
            info!(parent: &inner, "of another span");
            info!(parent: None, "of none, as it seems");
        });
        let without_fields = span!(Level::ERROR, "bare");
        without_fields.in_scope(|| info!("without fields"));
        info!("outside");
    }

    #[test]
    fn events_are_what_tracing_subscriber_writes() {
        for events in [each_kind_of_value as fn(), within_spans] {
            let (ours, expected) = (ours(events), expected(events));
            for (ours, expected) in ours.lines().zip(expected.lines()) {
                assert_eq!(ours, expected);
                assert!(serde_json::from_str::<serde_json::Value>(ours).is_ok(), "{ours}");
            }
            assert_eq!(ours, expected);
            assert!(ours.lines().count() >= 10, "{ours}");
        }
    }
}
