//! Relative times.

use std::time::{Duration, SystemTime};

/// The units that are shown, the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// A time seen from now: `in 12m`, `3d 2h ago`; `-` for none.
pub(super) fn distance(time: Option<SystemTime>, now: SystemTime) -> String {
    let Some(time) = time else { return "-".into() };
    match time.duration_since(now) {
        Ok(ahead) => format!("in {}", short(ahead)),
        Err(past) => format!("{} ago", short(past.duration())),
    }
}

/// A duration in its largest unit and, of hours and days, the next one: `42s`, `12m`, `5h 3m`, `3d 2h`.
pub(super) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let of = |(unit, length): (&str, u64), seconds: u64| (format!("{}{unit}", seconds / length), seconds % length);
    let largest = UNITS.into_iter().find(|(_, length)| seconds >= *length).unwrap_or(("s", 1));
    let (text, rest) = of(largest, seconds);
    match largest.0 {
        "d" if rest >= 3600 => format!("{text} {}", of(("h", 3600), rest).0),
        "h" if rest >= 60 => format!("{text} {}", of(("m", 60), rest).0),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_and_rounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100_000_000);
        assert_eq!(distance(None, now), "-");
        let shown = |seconds| distance(Some(now + Duration::from_secs(seconds)), now);
        assert_eq!([0, 59, 750, 3600, 4000].map(shown), ["in 0s", "in 59s", "in 12m", "in 1h", "in 1h 6m"]);
        assert_eq!([86_400, 90_000, 31_536_000].map(shown), ["in 1d", "in 1d 1h", "in 365d"]);
        assert_eq!(distance(Some(now - Duration::from_secs(42)), now), "42s ago");
    }
}
