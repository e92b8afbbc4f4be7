//! The few HTML pages that people see.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

pub(super) fn html(status: u16, title: &str, body: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let title = escape(title);
    let text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:16px/1.5 sans-serif;max-width:34em;margin:4em auto;padding:0 1em}}\
         a,button{{display:inline-block;margin:.3em 0;font:inherit}}</style></head>\n\
         <body><p><em>Simulated Microsoft 365 tenant. Nothing here is real.</em></p><h1>{title}</h1>\n{body}\n</body></html>\n"
    );
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store, no-cache")];
    (status, headers, text).into_response()
}

/// Makes a text safe between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
