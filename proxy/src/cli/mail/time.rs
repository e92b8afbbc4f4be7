//! Times as people write them: `14:03`, `yesterday`, `2026-11-30 14:03`, `2h`.
//!
//! Each is a span: `14:03` is that whole minute, `yesterday` a whole day. `--from` takes its beginning and `--to` its end, so that
//! `--from 14:03 --to 14:03` is one minute.

use std::time::{Duration, SystemTime};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// What a person wrote.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    /// A time of day, and how long it lasts: a minute or a second.
    TimeOfDay(Time, Duration),
    /// A day, or a minute or second of one.
    Local(DateTime, Lasts),
    /// So long ago.
    Ago(Duration),
    /// A moment with its time zone.
    Moment(Timestamp),
}

/// How long a written time lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// A calendar day, which has 23 or 25 hours twice a year.
    Day,
    /// So long.
    For(Duration),
}

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// How a time can be written, for the error.
const EXAMPLES: &str = "write it like 14:03, yesterday, 2026-11-30, \"2026-11-30 14:03\" or 2h (two hours ago)";

/// Reads a time.
///
/// # Errors
/// It cannot be read; the text says how times are written.
pub(super) fn parse(text: &str, now: &ZonedDateTime) -> Result<Written, String> {
    let text = text.trim();
    let unknown = || format!("`{text}` is not a time; {EXAMPLES}");
    let day = |date: Option<Date>| date.map(|date| Written::Local(date.to_datetime(Time::midnight()), Lasts::Day));
    match text.to_ascii_lowercase().as_str() {
        "now" => return Ok(Written::Ago(Duration::ZERO)),
        "today" => return day(Some(now.date())).ok_or_else(unknown),
        "yesterday" => return day(now.date().yesterday().ok()).ok_or_else(unknown),
        _ => {}
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(Written::Moment(moment));
    }
    if let Some((time, lasts)) = time_of_day(text) {
        return Ok(Written::TimeOfDay(time, lasts));
    }
    let (date, time) = text.split_once([' ', 'T', 't']).map_or((text, None), |(date, time)| (date, Some(time.trim())));
    if let Some(date) = date_of(date) {
        return match time {
            None => day(Some(date)).ok_or_else(unknown),
            Some(time) => {
                let (time, lasts) = time_of_day(time).ok_or_else(unknown)?;
                Ok(Written::Local(date.to_datetime(time), Lasts::For(lasts)))
            }
        };
    }
    let ago = text.strip_suffix("ago").unwrap_or(text).trim();
    humantime::parse_duration(ago).map(Written::Ago).map_err(|_| unknown())
}

/// `14:03` or `14:03:22`, and how long it lasts.
fn time_of_day(text: &str) -> Option<(Time, Duration)> {
    let mut parts = text.split(':');
    let mut next = || parts.next().map(|part| number(part, 1..=2));
    let (hour, minute, second) = (next()??, next()??, next());
    let (second, lasts) = match second {
        None => (0, MINUTE),
        Some(second) => (second?, SECOND),
    };
    if parts.next().is_some() {
        return None;
    }
    let narrow = |number: i16| i8::try_from(number).ok();
    Some((Time::new(narrow(hour)?, narrow(minute)?, narrow(second)?, 0).ok()?, lasts))
}

/// `2026-11-30`
fn date_of(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4..=4)?, number(parts.next()?, 1..=2)?, number(parts.next()?, 1..=2)?);
    if parts.next().is_some() {
        return None;
    }
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// A number with so many digits and nothing else.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i16> {
    let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

impl Written {
    /// Where it begins. A time of day is the last one that has begun: in the morning, 14:03 is yesterday's.
    pub(super) fn beginning(&self, now: &ZonedDateTime) -> Option<SystemTime> {
        self.span(now, |(begin, _)| *begin <= now.timestamp(), 0..=1).and_then(|(begin, _)| begin.try_into().ok())
    }

    /// Where it ends. A time of day is the first that ends after `from`; without that, the last one that has begun.
    pub(super) fn end(&self, now: &ZonedDateTime, from: Option<SystemTime>) -> Option<SystemTime> {
        let Some(from) = from.map(|from| Timestamp::try_from(from).ok()) else {
            return self
                .span(now, |(begin, _)| *begin <= now.timestamp(), 0..=1)
                .and_then(|(_, end)| end.try_into().ok());
        };
        let (from, days) = (from?, 366);
        // From the day of `from` on, which is `days` ago at most where a time of day was written.
        let first = now.date().duration_since(from.to_zoned_datetime(now.time_zone().clone()).date()).as_hours() / 24;
        let first = first.clamp(0, days);
        let days = (0..=first).rev();
        days.filter_map(|ago| self.span(now, |(_, end)| *end > from, ago..=ago))
            .next()
            .and_then(|(_, end)| end.try_into().ok())
    }

    /// The span on the first of these days that is as it should be; the days are counted back from today. Only a time of day is on another
    /// day than the one that was written.
    fn span(
        &self,
        now: &ZonedDateTime,
        fits: impl Fn(&(Timestamp, Timestamp)) -> bool,
        days_ago: std::ops::RangeInclusive<i64>,
    ) -> Option<(Timestamp, Timestamp)> {
        let zone = now.time_zone();
        match self {
            Self::Moment(moment) => Some((*moment, *moment)),
            Self::Ago(ago) => {
                let then = now.timestamp().checked_sub(*ago).ok()?;
                Some((then, then))
            }
            Self::Local(begin, lasts) => span_of(*begin, *lasts, zone),
            Self::TimeOfDay(time, lasts) => days_ago
                .filter_map(|ago| {
                    let date = now.date().checked_sub(jiff::Span::new().try_days(ago).ok()?).ok()?;
                    span_of(date.to_datetime(*time), Lasts::For(*lasts), zone)
                })
                .find(fits),
        }
    }
}

fn span_of(begin: DateTime, lasts: Lasts, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let begin_at = begin.to_zoned_datetime(zone.clone()).ok()?.timestamp();
    let end = match lasts {
        Lasts::For(duration) => begin_at.checked_add(duration).ok()?,
        Lasts::Day => begin.date().tomorrow().ok()?.to_zoned_datetime(zone.clone()).ok()?.timestamp(),
    };
    Some((begin_at, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Tuesday in Berlin, where clocks were set back on 25 October.
    fn now() -> ZonedDateTime {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        Date::new(2026, 12, 1).unwrap().to_datetime(Time::new(9, 30, 0, 0).unwrap()).to_zoned_datetime(berlin).unwrap()
    }

    fn shown(time: Option<SystemTime>) -> String {
        let time = Timestamp::try_from(time.unwrap()).unwrap().to_zoned_datetime(now().time_zone().clone());
        time.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn from(text: &str) -> String {
        shown(parse(text, &now()).unwrap().beginning(&now()))
    }

    fn to(text: &str, from: &str) -> String {
        let from = parse(from, &now()).unwrap().beginning(&now());
        shown(parse(text, &now()).unwrap().end(&now(), from))
    }

    #[test]
    fn from_takes_the_beginning_of_a_time() {
        for (text, begins) in [
            ("09:03", "2026-12-01 09:03:00"),
            ("9:03:07", "2026-12-01 09:03:07"),
            ("14:03", "2026-11-30 14:03:00"),
            ("yesterday", "2026-11-30 00:00:00"),
            ("Today", "2026-12-01 00:00:00"),
            ("2026-11-30", "2026-11-30 00:00:00"),
            ("2026-11-30 14:03", "2026-11-30 14:03:00"),
            ("2026-11-30T14:03:09", "2026-11-30 14:03:09"),
            ("2h", "2026-12-01 07:30:00"),
            ("90 min ago", "2026-12-01 08:00:00"),
            ("2026-11-30T14:03:00Z", "2026-11-30 15:03:00"),
        ] {
            assert_eq!(from(text), begins, "{text}");
        }
    }

    #[test]
    fn to_takes_the_end_of_a_time() {
        for (text, begin, ends) in [
            ("09:03", "09:03", "2026-12-01 09:04:00"),
            ("14:03", "14:03", "2026-11-30 14:04:00"),
            ("14:03", "2026-11-28", "2026-11-28 14:04:00"),
            ("02:00", "22:00", "2026-12-01 02:01:00"),
            ("yesterday", "yesterday", "2026-12-01 00:00:00"),
            ("2026-10-25", "2026-10-25", "2026-10-26 00:00:00"),
            ("30m", "2h", "2026-12-01 09:00:00"),
        ] {
            assert_eq!(to(text, begin), ends, "{begin} to {text}");
        }
        assert_eq!(shown(parse("14:03", &now()).unwrap().end(&now(), None)), "2026-11-30 14:04:00");
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for text in
            ["", "25:00", "14:60", "14:3:x", "2026-13-01", "2026-11-30 25:00", "half past two", "14:03:00:00", "-5"]
        {
            let error = parse(text, &now()).unwrap_err();
            assert!(error.contains("14:03, yesterday"), "{text}: {error}");
        }
    }
}
