//! The body of an answer: brought to the shape that `oauth2` reads, or recognized as no answer at all.

use http::StatusCode;
use oauth2::HttpResponse;
use serde_json::{Map, Value, json};

use super::HttpFailure;

/// Numbers that some authorities write as strings (Entra's v1 endpoints do).
const NUMBERS: [&str; 4] = ["expires_in", "ext_expires_in", "interval", "refresh_in"];

/// Only a JSON object goes on to `oauth2`: with its numbers as numbers if it is a success, with the members that errors
/// have, in their right types, if it is an error.
pub(super) fn normalise(status: StatusCode, body: &[u8]) -> Result<HttpResponse, HttpFailure> {
    let not = |what| HttpFailure::NotAnAnswer { status: status.as_u16(), what };
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(not("an empty body"));
    }
    let Ok(Value::Object(mut object)) = serde_json::from_slice(body) else {
        let html = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
        return Err(not(if html { "a page of HTML" } else { "no JSON object" }));
    };
    // Some authorities send errors with status 200.
    if object.contains_key("error") {
        let status = if status.is_success() { StatusCode::BAD_REQUEST } else { status };
        return respond(status, &error_members(&object));
    }
    if status != StatusCode::OK {
        return Err(not("JSON without an error in it"));
    }
    for name in NUMBERS {
        if let Some(value) = object.get_mut(name) {
            match whole_number(value) {
                Some(number) => *value = json!(number),
                None => drop(object.remove(name)),
            }
        }
    }
    respond(status, &Value::Object(object))
}

fn respond(status: StatusCode, body: &Value) -> Result<HttpResponse, HttpFailure> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let response = http::Response::builder().status(status).body(body);
    response.map_err(|_| HttpFailure::NotAnAnswer { status: status.as_u16(), what: "an impossible status" })
}

fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        // 3599.0 counts as 3599.
        number => number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0 && *n < 1e12).map(|n| n as u64)),
    }
}

/// The members of an error (RFC 6749, 5.2, and Entra's own), each in its type, whatever came.
fn error_members(object: &Map<String, Value>) -> Value {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let codes: Vec<u64> = match object.get("error_codes") {
        Some(Value::Array(codes)) => codes.iter().filter_map(whole_number).collect(),
        Some(one) => whole_number(one).into_iter().collect(),
        None => Vec::new(),
    };
    let codes: Vec<u64> = codes.into_iter().filter(|code| u32::try_from(*code).is_ok()).collect();
    json!({
        "error": text("error").unwrap_or("unknown"),
        "error_description": text("error_description"),
        "suberror": text("suberror"),
        "trace_id": text("trace_id"),
        "error_codes": codes,
    })
}

/// The error in the body of a busy answer, for the log.
pub(super) fn describe_error(body: &[u8]) -> Option<String> {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return None };
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    Some(format!("{}: {}", text("error"), text("error_description")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(status: u16, body: &str) -> Result<(u16, Value), HttpFailure> {
        let response = normalise(StatusCode::from_u16(status).unwrap(), body.as_bytes())?;
        Ok((response.status().as_u16(), serde_json::from_slice(response.body()).unwrap()))
    }

    #[test]
    fn numbers_become_numbers() {
        for written in ["3599", "\"3599\"", "3599.0", "\" 3599 \""] {
            let (_, body) = value(200, &format!(r#"{{"access_token":"a","expires_in":{written}}}"#)).unwrap();
            assert_eq!(body["expires_in"], 3599, "{written}");
        }
        for nonsense in ["\"soon\"", "-5", "null", "{}", "1e300"] {
            let (_, body) = value(200, &format!(r#"{{"access_token":"a","expires_in":{nonsense}}}"#)).unwrap();
            assert_eq!(body, json!({"access_token": "a"}), "{nonsense}");
        }
    }

    #[test]
    fn errors_keep_their_members_and_nothing_else() {
        let (status, body) = value(
            400,
            r#"{"error":"invalid_grant","error_codes":["70008",50173,1e99],"suberror":7,"access_token":"x"}"#,
        )
        .unwrap();
        assert_eq!(
            (status, &body["error"], &body["error_codes"]),
            (400, &json!("invalid_grant"), &json!([70008, 50173]))
        );
        assert_eq!((&body["suberror"], body.get("access_token")), (&Value::Null, None));
        assert_eq!(value(200, r#"{"error":"slow_down"}"#).unwrap().0, 400, "an error with status 200");
        assert_eq!(value(400, r#"{"error":{"code":1}}"#).unwrap().1["error"], "unknown");
    }

    #[test]
    fn what_is_no_answer_is_named() {
        for (status, body, expected) in [
            (200, "", "an empty body"),
            (200, " \r\n", "an empty body"),
            (200, "<html>", "a page of HTML"),
            (404, "\n<!doctype html>", "a page of HTML"),
            (200, "[]", "no JSON object"),
            (302, "{}", "JSON without an error in it"),
        ] {
            assert_eq!(value(status, body), Err(HttpFailure::NotAnAnswer { status, what: expected }), "{body:?}");
        }
    }
}
