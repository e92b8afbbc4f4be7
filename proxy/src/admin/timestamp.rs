//! Times as text for reports.

use std::time::SystemTime;

/// Seconds from 1970 to the end of the year 9999.
const END_OF_9999: u64 = 253_402_300_800;

/// RFC 3339 in UTC, to the second; `None` outside the years 1970 to 9999, which a damaged row may hold and humantime cannot print.
pub(crate) fn rfc3339(time: Option<SystemTime>) -> Option<String> {
    let printable = |time: &SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.as_secs() < END_OF_9999)
    };
    time.filter(printable).map(|time| humantime::format_rfc3339_seconds(time).to_string())
}

/// The same to the millisecond.
pub(crate) fn rfc3339_millis(time: SystemTime) -> Option<String> {
    rfc3339(Some(time)).map(|_| humantime::format_rfc3339_millis(time).to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn unprintable_time_has_no_text() {
        let at = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        assert_eq!(rfc3339(at(0)).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(rfc3339(at(END_OF_9999 - 1)).as_deref(), Some("9999-12-31T23:59:59Z"));
        assert_eq!(rfc3339(at(END_OF_9999)), None);
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(1))), None);
    }
}
