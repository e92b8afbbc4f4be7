//! `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

use crate::schedule::RETRY_AFTER_LIMIT;

/// How long we are asked to wait, within our limit.
pub(super) fn read(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => date(value)?.duration_since(now).unwrap_or_default(),
    };
    Some(asked.min(RETRY_AFTER_LIMIT))
}

/// A date in any of the three forms that a recipient must accept (RFC 9110, 5.6.7).
pub(super) fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, now: u64) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        read(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(now)).map(|asked| asked.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_read_and_bounded() {
        assert_eq!(read_text("17", 0), Some(17));
        assert_eq!(read_text("86400", 0), Some(3600));
        assert_eq!(read_text("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_700), Some(77));
        assert_eq!(read_text("Tue, 29 Feb 2028 00:00:10 GMT", 1_835_395_200), Some(10), "a leap day");
        assert_eq!(read_text("Sun, 06 Nov 1994 08:49:37 GMT", 800_000_000), Some(0), "past");
        for obsolete in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(read_text(obsolete, 784_111_700), Some(77), "{obsolete}");
        }
        for nonsense in [
            "",
            "soon",
            "-1",
            "1.5",
            "Sun, 06 Nov 1994",
            "Sun, 40 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
        ] {
            assert_eq!(read_text(nonsense, 0), None, "{nonsense:?}");
        }
        assert_eq!(read(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
    }
}
