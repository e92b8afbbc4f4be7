//! Errors as Entra reports them: a JSON object, whose description repeats the code, the ids and the time.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::codes::code;
use crate::office365::Shared;
use crate::office365::clock::Civil;
use crate::office365::tokens::guid;

/// A failed request.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: u32,
    pub(super) error: String,
    status: u16,
    suberror: Option<String>,
    text: String,
}

impl Failure {
    pub(super) fn new(number: u32) -> Self {
        let row = code(number);
        Self {
            code: row.number,
            error: row.error.to_owned(),
            status: row.status,
            suberror: row.suberror.map(str::to_owned),
            text: row.text.to_owned(),
        }
    }

    pub(super) fn app(self, client_id: &str) -> Self {
        self.fill("{app}", client_id)
    }

    pub(super) fn user(self, address: &str) -> Self {
        self.fill("{user}", address)
    }

    pub(super) fn value(self, value: &str) -> Self {
        self.fill("{value}", value)
    }

    /// The same with more in its description.
    pub(super) fn adding(mut self, text: &str) -> Self {
        self.text = format!("{} The request was {text}", self.text);
        self
    }

    /// The same code under another `error`.
    pub(super) fn under(mut self, error: &str) -> Self {
        error.clone_into(&mut self.error);
        self
    }

    pub(super) fn disguised(mut self, error: &str, suberror: Option<String>) -> Self {
        self.status = if error == "invalid_client" { 401 } else { 400 };
        self.suberror = suberror;
        self.under(error)
    }

    fn fill(mut self, place: &str, value: &str) -> Self {
        self.text = self.text.replace(place, value);
        self
    }

    /// `AADSTSnnnnn: text Trace ID: … Correlation ID: … Timestamp: …`
    pub(super) fn describe(&self, shared: &Shared) -> String {
        self.describe_with(shared, &Ids::new(shared))
    }

    fn describe_with(&self, shared: &Shared, ids: &Ids) -> String {
        let gap = if shared.behaviour(|behaviour| behaviour.entra.multi_line_errors) { "\r\n" } else { " " };
        let text = self.text.replace("{tenant}", &shared.id).replace("{user}", "").replace("{value}", "");
        format!(
            "AADSTS{}: {text}{gap}Trace ID: {}{gap}Correlation ID: {}{gap}Timestamp: {}",
            self.code, ids.trace, ids.correlation, ids.timestamp
        )
    }

    pub(super) fn response(&self, shared: &Shared) -> Response {
        let ids = Ids::new(shared);
        let mut body = json!({
            "error": self.error,
            "error_description": self.describe_with(shared, &ids),
            "error_codes": [self.code],
            "timestamp": ids.timestamp,
            "trace_id": ids.trace,
            "correlation_id": ids.correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        if let (Some(suberror), Some(object)) = (&self.suberror, body.as_object_mut()) {
            object.insert("suberror".to_owned(), json!(suberror));
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, axum::Json(body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store, no-cache"));
        response
    }
}

struct Ids {
    trace: String,
    correlation: String,
    timestamp: String,
}

impl Ids {
    fn new(shared: &Shared) -> Self {
        Self {
            trace: guid().unwrap_or_default(),
            correlation: guid().unwrap_or_default(),
            timestamp: Civil::of(shared.clock.now()).entra(),
        }
    }
}
