//! Relative times.

use std::time::{Duration, SystemTime};

/// A time seen from now: `in 12m`, `3m ago`; `-` for none.
pub(super) fn distance(time: Option<SystemTime>, now: SystemTime) -> String {
    let Some(time) = time else { return "-".into() };
    let short = |distance: Duration| {
        let whole = match distance.as_secs() {
            seconds @ 0..60 => Duration::from_secs(seconds),
            seconds @ 60..86_400 => Duration::from_secs(seconds / 60 * 60),
            seconds => Duration::from_secs(seconds / 3600 * 3600),
        };
        humantime::format_duration(whole).to_string()
    };
    match time.duration_since(now) {
        Ok(ahead) => format!("in {}", short(ahead)),
        Err(past) => format!("{} ago", short(past.duration())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_and_rounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(distance(None, now), "-");
        assert_eq!(distance(Some(now + Duration::from_secs(750)), now), "in 12m");
        assert_eq!(distance(Some(now - Duration::from_secs(42)), now), "42s ago");
        assert_eq!(distance(Some(now + Duration::from_secs(90_000)), now), "in 1day 1h");
    }
}
