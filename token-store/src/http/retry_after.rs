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

/// The one form of date that is still written (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn date(text: &str) -> Option<SystemTime> {
    let (_weekday, rest) = text.split_once(", ")?;
    let mut parts = rest.split([' ', ':']);
    let mut part = || parts.next();
    let day = number(part()?, 1, 31)?;
    let month = part()?;
    let year = number(part()?, 1970, 9999)?;
    let hour = number(part()?, 0, 23)?;
    let minute = number(part()?, 0, 59)?;
    let second = number(part()?, 0, 60)?;
    if part() != Some("GMT") || part().is_some() {
        return None;
    }
    let days = days_before(year, month)? + day - 1;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

fn number(text: &str, least: u64, most: u64) -> Option<u64> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}

/// Days from 1 January 1970 to the first of this month.
fn days_before(year: u64, month: &str) -> Option<u64> {
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let index = MONTHS.iter().position(|(name, _)| *name == month)?;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u64 = MONTHS.iter().take(index).map(|(_, days)| days).sum();
    Some(years + months + u64::from(leap(year) && index > 1))
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
